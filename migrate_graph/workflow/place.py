"""Where a rehearsal happens."""

from __future__ import annotations

from enum import StrEnum


class Place(StrEnum):
    """Where a rehearsal happens."""

    CLONE = "clone"
    """In an empty copy of the schema, which is dropped afterwards."""
    SCRATCH = "scratch"
    """In a new database: the applied migrations run there first, then the pending ones, with real commits."""
    HERE = "here"
    """In the database itself, in one transaction that is rolled back."""
