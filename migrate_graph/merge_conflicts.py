"""Finds in the text of a file what a merge has left there that nobody has resolved."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

_HINT = (
    "write what is to stand there, and delete the lines that begin with <<<<<<<, ======= and >>>>>>> (to keep both sides, only these); "
    "git diff shows every conflict"
)
_BEGINS = re.compile(r"<{7}(?: (?P<name>.*))?")
_PARTS = re.compile(r"={7}")
_ENDS = re.compile(r">{7}(?: (?P<name>.*))?")


class Unresolved(Struct, frozen=True):
    """The conflicts that stand in a file.

    Attributes:
        line: number of the line where the first one begins.
        message: what is wrong with the file.
        hint: what to do.
    """

    line: int
    message: str
    hint: str = _HINT


def unresolved_in(text: str) -> Unresolved | None:
    """Return the conflicts in a text; None without any."""
    found = [*_conflicts(text)]
    if not found:
        return None
    first, last, sides = found[0]
    named = f" ({' against '.join(sides)})" if sides else ""
    others = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return Unresolved(first, f"a merge conflict is not resolved, from line {first} to {last}{named}{others}")


def _conflicts(text: str) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """Yield the first and the last line of each conflict, and what its two sides are called there, as far as they have names."""
    first, ours, is_parted = 0, "", False
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.removesuffix("\r")  # noqa: PLW2901 - of Windows
        if begins := _BEGINS.fullmatch(line):
            first, ours, is_parted = number, begins["name"] or "", False
        elif first and _PARTS.fullmatch(line):
            is_parted = True
        elif is_parted and (ends := _ENDS.fullmatch(line)):
            yield first, number, tuple(filter(None, (ours, ends["name"])))
            first, is_parted = 0, False
