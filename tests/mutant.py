"""One line of the package, broken: what `tests/mutants.py` tries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One line, broken.

    Attributes:
        name: what is missing then.
        file: in the package.
        line: a text that stands there once.
        broken: what stands there instead.
        tests: of which one must fail.
    """

    name: str
    file: str
    line: str
    broken: str
    tests: str
