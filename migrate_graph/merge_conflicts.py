"""Finds in the text of a file what a merge has left there that nobody has resolved."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

HINT = (
    "write what is to stand there, and delete the lines that begin with <<<<<<<, ======= and >>>>>>> (to keep both sides, only these); "
    "git diff shows every conflict"
)
"""What to do about a conflict."""

_BEGINS = re.compile(r"<{7}(?: (?P<name>.*))?")
_PARTS = re.compile(r"={7}")
_ENDS = re.compile(r">{7}(?: (?P<name>.*))?")


class Conflict(Struct, frozen=True):
    """The lines between the markers of a conflict.

    Attributes:
        first: number of the line `<<<<<<<`.
        last: number of the line `>>>>>>>`.
        sides: what the two sides are called there; empty where they have no names.
    """

    first: int
    last: int
    sides: tuple[str, ...]


def conflicts_in(text: str) -> tuple[Conflict, ...]:
    """Return the conflicts in a text, in the order of their lines."""
    return tuple(_conflicts(text))


def unresolved(found: tuple[Conflict, ...]) -> str:
    """Return what is wrong with a file that has these conflicts."""
    conflict, *more = found
    sides = f" ({' against '.join(conflict.sides)})" if conflict.sides else ""
    others = f", and {len(more)} more" if more else ""
    return f"a merge conflict is not resolved, from line {conflict.first} to {conflict.last}{sides}{others}"


def _conflicts(text: str) -> Iterator[Conflict]:
    first, ours, is_parted = 0, "", False
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.removesuffix("\r")  # noqa: PLW2901 - of Windows
        if begins := _BEGINS.fullmatch(line):
            first, ours, is_parted = number, begins["name"] or "", False
        elif first and _PARTS.fullmatch(line):
            is_parted = True
        elif is_parted and (ends := _ENDS.fullmatch(line)):
            yield Conflict(first, number, tuple(filter(None, (ours, ends["name"]))))
            first, is_parted = 0, False
