"""JSON documents for programs: the frame that all have, and the parts that several share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from migrate_graph import __version__
from migrate_graph.errors import InvalidGraph, MigrateGraphError

if TYPE_CHECKING:
    from migrate_graph.user_files import SourceLocation
    from migrate_graph.workflow.project import Reading


SCHEMA_VERSION = 1
"""Raised when a key changes its meaning or goes; new keys do not raise it."""


def document(kind: str, body: Mapping[str, Any], *, exit_code: int = 0) -> dict[str, Any]:
    """Return a JSON document of one kind."""
    tool = {"name": "migrate_graph", "version": __version__}
    return {"schema_version": SCHEMA_VERSION, "kind": kind, "tool": tool, "exit_code": int(exit_code), **body}


def error_document(error: MigrateGraphError, exit_code: int) -> dict[str, Any]:
    """Return what went wrong; with the findings when the graph is invalid."""
    body: dict[str, Any] = {"error": {"message": error.message, "hint": error.hint, **place_document(error.source)}}
    if isinstance(error, InvalidGraph):
        from migrate_graph.reports.formats import finding_document

        body["findings"] = [finding_document(finding) for finding in error.findings]
    return document("error", body, exit_code=exit_code)


def reading_document(reading: Reading) -> dict[str, Any]:
    """Return which database was read, and why not."""
    return {"database": reading.database or None, "note": reading.note}


def place_document(source: SourceLocation | None) -> dict[str, Any]:
    """Return a place in the user's files."""
    return {"path": source.path if source else None, "line": source.line if source else None}


def time_text(when: datetime | None) -> str | None:
    """Return a time as ISO 8601."""
    return when.isoformat() if when else None
