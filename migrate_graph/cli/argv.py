"""Bring the typed command line into the form `[GLOBAL OPTIONS] COMMAND …`, and explain words of other tools."""

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


_HISTORY = "migrate log tells what was tried, migrate status what is applied"
_BACK = (
    "migrate revert NAME undoes one by its `down`",
    "nothing runs backwards: migrate new undo_it writes a migration that undoes it, migrate restore brings a backup back",
)

_EMPTY = ("nothing empties a database: drop it yourself, then migrate apply, or migrate restore from a backup",)

# Commands of other tools (Alembic, Django, Flyway, Rails, sqitch, dbmate), each with the advice what to type here. If there are several
# pieces of advice, the first one whose command exists is used.
_BROUGHT: dict[str, tuple[str, ...]] = {
    "history": (_HISTORY,),
    "current": ("migrate status tells what is applied, migrate log when",),
    "heads": (
        "migrate graph draws what nothing requires last; migrate new NAME --requires leaves follows all of them",
    ),
    "branches": ("migrate graph draws them",),
    "merge": ("migrate new NAME --requires leaves joins branches: it requires what nothing requires yet",),
    "stamp": ("migrate mark NAME --installed writes a record without running it",),
    "upgrade": ("migrate apply runs what is pending, migrate apply --to NAME up to one",),
    "up": ("migrate apply runs what is pending, migrate apply --to NAME up to one",),
    "deploy": ("migrate apply runs what is pending",),
    "run": ("migrate apply runs what is pending",),
    "downgrade": _BACK,
    "down": _BACK,
    "rollback": _BACK,
    "undo": _BACK,
    "reset": _EMPTY,
    "flush": _EMPTY,
    "lint": ("migrate check tells every finding",),
    "validate": ("migrate check tells every finding, migrate check --history also those about this database",),
    "test": ("migrate check tells every finding; docs/testing.md shows how pytest runs migrations",),
    "makemigrations": ("migrate new NAME writes a migration; its body is yours, nothing is generated from models",),
    "revision": ("migrate new NAME writes a migration",),
    "create": ("migrate new NAME writes a migration",),
    "generate": ("migrate new NAME writes a migration",),
    "sqlmigrate": (
        "migrations are Python: migrate plan tells what would run, a run on a copy of the database which SQL",
    ),
    "showmigrations": ("migrate status lists them",),
    "list": ("migrate status lists them",),
    "info": ("migrate status lists migrations, migrate show NAME tells all about one",),
    "repair": ("migrate apply brings views back, migrate resolve NAME decides about an interrupted migration",),
    "squash": ("nothing squashes: old migrations stay, migrate status folds them into a line",),
    "squashmigrations": ("nothing squashes: old migrations stay, migrate status folds them into a line",),
    "optimizemigration": ("nothing squashes: old migrations stay, migrate status folds them into a line",),
    "redo": _BACK,
    "clean": _EMPTY,
    "drop": _EMPTY,
    "sqlflush": _EMPTY,
    "update": ("migrate apply runs what is pending, migrate apply --to NAME up to one",),
    "latest": ("migrate apply runs what is pending",),
    "goto": ("migrate apply --to NAME runs up to one, migrate revert NAME undoes one",),
    "dev": ("migrate apply runs what is pending, migrate plan tells beforehand what that is",),
    "force": (
        "migrate resolve NAME decides about an interrupted migration, migrate mark NAME --installed writes a record",
    ),
    "set": ("migrate mark NAME --installed writes a record without running it",),
    "sync": ("migrate baseline records what a database has already",),
    "changelog-sync": ("migrate baseline records what a database has already",),
    "ensure_version": ("migrate baseline begins the ledger of a database, migrate apply that of an empty one",),
    "add": ("migrate new NAME writes a migration",),
    "edit": ("migrate show NAME tells where it is declared: edit it there, as long as it is applied nowhere",),
    "verify": ("migrate status tells what somebody changed by hand, migrate check --history what was edited",),
    "diff": (
        "migrate drift tells what was changed by hand, migrate check --base REF what a branch changes; nothing is compared with models",
    ),
    "inspectdb": ("migrate views adopt writes managers for the views of a database; tables are read by nothing here",),
    "pull": ("migrate views adopt writes managers for the views of a database; tables are read by nothing here",),
    "push": ("migrate new NAME writes a migration; nothing is pushed from models",),
    "dump": ("pg_dump, or sqlite3 FILE .dump, writes a backup; migrate restore brings one back",),
    "load": ("migrate restore brings a backup back, into an empty database",),
    "seal": ("migrate plan -o plan.json seals a plan, migrate apply plan.json runs exactly that",),
    "approve": ("migrate plan -o plan.json seals a plan, migrate apply plan.json runs exactly that",),
    "snapshot": (
        "migrate plan -o plan.json seals a plan, migrate drift tells what was changed by hand since the last run",
    ),
    "wait": ("migrate apply waits itself, as long as connect_wait and --lock-timeout say",),
    "unlock": ("a lock ends with the run that holds it; migrate status tells whose it is",),
    "release-locks": ("a lock ends with the run that holds it; migrate status tells whose it is",),
    "tag": ("migrations have tags: @migration(tags=…), migrate apply --select tag:NAME",),
    "seed": ("write what every database needs into a migration",),
    "dbshell": ("psql, or sqlite3, opens the database",),
    "shell": ("psql, or sqlite3, opens the database",),
    "fake": ("migrate apply --fake records without running, migrate mark NAME --installed one of them",),
    "migrate": ("migrate apply runs what is pending",),
    "version": ("migrate --version",),
    "help": ("migrate --help, or migrate COMMAND --help",),
}


_OPTIONS: dict[str, str] = {
    **dict.fromkeys(("--yes", "-y", "--noinput", "--no-input", "--no-interaction"), "nothing is asked: leave it out"),
    **dict.fromkeys(("--sql", "--print-sql"), "migrations are Python: migrate plan tells what would run"),
    **dict.fromkeys(("--database", "--url", "--db", "--dsn"), "--uri URI names the database"),
    **dict.fromkeys(("--settings", "-x"), "--set NAME=VALUE sets any setting"),
    **dict.fromkeys(("--target", "--until", "--revision"), "--to NAME runs up to one"),
    "--plan": "migrate plan tells what would run",
    "--check": "migrate plan --check ends with 4 when something is pending",
    "--fake-initial": "migrate baseline proposes what a database has already",
    "--run-syncdb": "migrate apply runs what is pending; tables are made by migrations only",
    "--autogenerate": "migrate new NAME writes a migration; its body is yours, nothing is generated from models",
    "--empty": "migrate new NAME writes a migration; its body is yours",
    "--verbose": "migrate apply --output plain tells every step; --debug shows tracebacks",
    "--verbosity": "migrate apply --output plain tells every step; --debug shows tracebacks",
}
"""Options of other tools, each with the advice what to type here. It is used only if the command has no option of that name itself."""


def meant_by(option: str) -> str:
    """Return what to type instead of an unknown option; empty if no other tool has such an option.

    Args:
        option: as it was typed.
    """
    return _OPTIONS.get(option, "")


def _brought(word: str, commands: Collection[str]) -> str:
    """Return what to type instead of a command of another tool; empty if no other tool has such a command."""
    for advice in _BROUGHT.get(word.lower(), ()):
        named = advice.removeprefix("migrate ").split()[0]
        if not advice.startswith("migrate ") or named in commands or named.startswith("-"):
            return advice
    return ""


def arranged(words: Sequence[str], commands: Collection[str]) -> list[str]:
    """Return the words with global options first, then the command, then the rest.

    The command is inserted where none was typed: edwh-migrate had no commands, and `migrate`, `migrate PATH` and `migrate -l` keep their
    meaning.

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
    advice = _brought(rest[0], commands) if rest else ""
    if not rest or rest[0].startswith("-") or (_is_project(rest[0]) if advice else _is_path(rest[0])):
        return [*ahead, "apply", *rest]
    if advice:
        raise UsageError(f"there is no command '{rest[0]}'", hint=advice)
    near = (f"'migrate {command}'" for command in similar(rest[0], commands, most=1, cutoff=0.5))
    raise UsageError(
        f"there is no command '{rest[0]}', and no file or directory of that name",
        hint=did_you_mean(near, "migrate --help lists the commands"),
    )


def wants_json(words: Sequence[str]) -> bool:
    """Return whether JSON on stdout was asked for, in any spelling; also if the rest of the command line is wrong."""
    options = list(takewhile(lambda word: word != "--", words))
    pairs = {f"{option}={value}" for option, value in pairwise(options)}
    return bool({"--json", "--format=json", "--output=json"} & {*options, *pairs})


def _apart(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the global options, wherever they stand before `--`, and the other words."""
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


def _is_project(word: str) -> bool:
    """Return whether a word, which is also a command of another tool, names a migrations file or its directory here."""
    return Path(word).is_file() or (Path(word) / "migrations.py").is_file()
