"""The command line as it was typed, brought into the form `[GLOBAL OPTIONS] COMMAND …`."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from itertools import pairwise, takewhile
from pathlib import Path

from migrate_graph.errors import UsageError
from migrate_graph.messages import did_you_mean, similar

_FLAGS = frozenset({"--debug"})
_WITH_VALUE = frozenset({"--color", "-C", "--directory", "--uri", "--set"})
_ALONE = frozenset({"-h", "--help", "--version", "--install-completion", "--show-completion"})
_LIST = frozenset({"-l", "--list"})


def arranged(words: Sequence[str], commands: Collection[str]) -> list[str]:
    """Put global options first and say which command is meant.

    edwh-migrate had no commands: `migrate`, `migrate PATH` and `migrate -l` keep their meaning.

    Args:
        words: what was typed after the program's name.
        commands: the names of the commands.

    Raises:
        UsageError: the first word is neither a command nor a file or directory.
    """
    ahead, rest = _apart(words)
    if rest and (rest[0] in commands or rest[0] in _ALONE):
        return [*ahead, *rest]
    if _LIST & set(rest):
        return [*ahead, "status", *(word for word in rest if word not in _LIST)]
    if not rest or rest[0].startswith("-") or _is_path(rest[0]):
        return [*ahead, "apply", *rest]
    near = (f"'migrate {command}'" for command in similar(rest[0], commands, most=1, cutoff=0.5))
    raise UsageError(
        f"there is no command '{rest[0]}', and no file or directory of that name",
        hint=did_you_mean(near, "migrate --help lists the commands"),
    )


def wants_json(words: Sequence[str]) -> bool:
    """Return whether stdout is asked for as JSON, in any of the spellings; also where the rest of the line is wrong."""
    options = list(takewhile(lambda word: word != "--", words))
    pairs = {f"{option}={value}" for option, value in pairwise(options)}
    return bool({"--json", "--format=json", "--output=json"} & {*options, *pairs})


def _apart(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Take the global options out, wherever they stand before `--`."""
    ahead: list[str] = []
    rest: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            return ahead, [*rest, word, *waiting]
        if word in _FLAGS or word.startswith(("--color=", "--directory=", "--uri=", "--set=")):
            ahead.append(word)
        elif word in _WITH_VALUE:
            ahead += [word, *waiting[:1]]
            del waiting[:1]
        else:
            rest.append(word)
    return ahead, rest


def _is_path(word: str) -> bool:
    return word.endswith(".py") or os.sep in word or Path(word).exists()
