"""Word the parts of messages: numbers with nouns, similar names, the first line of an exception, durations, sizes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from shlex import quote

from migrate_graph.foreign_text import kind_of, text_of


def counted(number: int, noun: str) -> str:
    """Write a number with its noun: `1 view`, `2,000 views`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def some(words: Sequence[str], most: int) -> str:
    """Return words separated by commas; of more than `most`, only the first ones, and the number of the others."""
    rest = len(words) - most
    return ", ".join(words[:most]) + (f" and {rest} more" if rest > 0 else "")


def similar(name: str, among: Iterable[str], *, most: int = 2, cutoff: float = 0.6) -> list[str]:
    """Return known names that are spelled like this one, the most similar first.

    Args:
        name: the name that somebody wrote.
        among: the known names.
        most: the greatest number of names to return.
        cutoff: the least similarity, from 0 (nothing in common) to 1 (equal).
    """
    from difflib import get_close_matches  # imported here: needed only for error messages

    return get_close_matches(name, [other for other in among if other != name], n=most, cutoff=cutoff)


def did_you_mean(names: Iterable[str], otherwise: str) -> str:
    """Return a hint that proposes these names; `otherwise` when there are none."""
    proposed = " or ".join(dict.fromkeys(names))
    return f"did you mean {proposed}?" if proposed else otherwise


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message; the name of its class when the message is empty."""
    return text_of(error).strip().partition("\n")[0] or kind_of(error)


def typed(command: str, name: str, options: str = "") -> str:
    """Return a command line that can be typed as it is: the name is quoted, and never parsed as an option.

    Args:
        command: the part before the name.
        name: of a migration, a view or a file.
        options: the options of the command.
    """
    word = quote(name)
    words = [command, options, "--", word] if name.startswith("-") else [command, word, options]
    return " ".join(each for each in words if each)


def lasting(seconds: float) -> str:
    """Return a duration as text: `0.2 s`, `3 m 12 s`, `2 h 05 m`."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} m {rest:02} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} m"


def sized(number: int) -> str:
    """Return a number of bytes as text: `12.3 MB`."""
    amount = float(number)
    for unit in ("bytes", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"
