"""What a reader chooses about a picture: who lays it out, and how its modules are shown."""

from __future__ import annotations

from enum import StrEnum


class Renderer(StrEnum):
    """Who lays out."""

    AUTO = "auto"
    """The embedded one; a system `dot` for what it lacks (PDF), or where it is not installed."""
    EMBEDDED = "embedded"
    DOT = "dot"


class Grouping(StrEnum):
    """How modules (the files that declare) are shown."""

    AUTO = "auto"
    """As frames around their nodes, where that helps reading."""
    MODULE = "module"
    """As nodes: one per module, an overview."""
    NONE = "none"
    """Not at all."""
