"""How messages are worded: numbers with their nouns, names that may have been meant, what an exception says first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from shlex import quote

from migrate_graph.foreign_text import kind_of, text_of


def counted(number: int, noun: str) -> str:
    """Write a number with its noun: `1 view`, `2,000 views`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def some(words: Sequence[str], most: int) -> str:
    """Return words in a row; of more than `most` the first ones, and how many there are besides."""
    rest = len(words) - most
    return ", ".join(words[:most]) + (f" and {rest} more" if rest > 0 else "")


def similar(name: str, among: Iterable[str], *, most: int = 2, cutoff: float = 0.6) -> list[str]:
    """Return names that look like this one, the nearest first.

    Args:
        name: what somebody wrote.
        among: what there is.
        most: how many to give.
        cutoff: how much alike, from 0 (not at all) to 1 (the same).
    """
    from difflib import get_close_matches  # only where something is wrong

    return get_close_matches(name, [other for other in among if other != name], n=most, cutoff=cutoff)


def did_you_mean(names: Iterable[str], otherwise: str) -> str:
    """Return the hint that proposes these names, or the other one when there are none."""
    proposed = " or ".join(dict.fromkeys(names))
    return f"did you mean {proposed}?" if proposed else otherwise


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception says; the name of its type when it says nothing."""
    return text_of(error).strip().partition("\n")[0] or kind_of(error)


def typed(command: str, name: str, options: str = "") -> str:
    """Return a command line that can be typed, whatever the name is like: quoted, and never taken for an option.

    Args:
        command: up to the name.
        name: of a migration, a view or a file.
        options: what follows.
    """
    word = quote(name)
    words = [command, options, "--", word] if name.startswith("-") else [command, word, options]
    return " ".join(each for each in words if each)


def lasting(seconds: float) -> str:
    """Return a duration: `0.2 s`, `3 m 12 s`, `2 h 05 m`."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} m {rest:02} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} m"


def sized(number: int) -> str:
    """Return a number of bytes: `12.3 MB`."""
    amount = float(number)
    for unit in ("bytes", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"
