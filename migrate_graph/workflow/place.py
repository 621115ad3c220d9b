"""Where a rehearsal happens."""

from __future__ import annotations

from enum import StrEnum


class Place(StrEnum):
    """Where a rehearsal happens."""

    CLONE = "clone"
    """In an empty copy of the schema, which is dropped afterwards."""
    SCRATCH = "scratch"
    """In a database made for it: what is applied is replayed there, then everything is really committed."""
    HERE = "here"
    """In the database itself, in one transaction that is rolled back."""
