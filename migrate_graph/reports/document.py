"""JSON documents for programs: the keys that all of them have, and those of a finding."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

from migrate_graph import __version__

if TYPE_CHECKING:
    from migrate_graph.core.rules import Finding
    from migrate_graph.user_files import SourceLocation

SCHEMA_VERSION = 1
"""Increased when a key changes its meaning or is removed; new keys do not increase it."""


def document(kind: str, body: Mapping[str, Any], *, exit_code: int = 0) -> dict[str, Any]:
    """Return a JSON document of one kind."""
    tool = {"name": "migrate_graph", "version": __version__}
    return {"schema_version": SCHEMA_VERSION, "kind": kind, "tool": tool, "exit_code": int(exit_code), **body}


def fields_of(value: object, names: str) -> dict[str, Any]:
    """Return fields of a value as JSON, each under its own name.

    Args:
        value: any.
        names: of the fields, with a space between.
    """
    return {name: _plain(getattr(value, name)) for name in names.split()}


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: a time as ISO 8601, a member of an enumeration as its word, a tuple as a list."""
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Enum) else list(value) if isinstance(value, tuple) else value


def finding_document(finding: Finding) -> dict[str, object]:
    """Return one finding as JSON."""
    from migrate_graph.reports.report import fingerprint  # most commands have no finding to tell

    return {
        **fields_of(finding, "code rule severity"),
        "subject": finding.subject.name,
        "subject_kind": str(finding.subject.kind),
        **fields_of(finding, "message hint"),
        **place_document(finding.source),
        "related": [
            {"subject": related.subject.name, "message": related.message, **place_document(related.source)}
            for related in finding.related
        ],
        "fingerprint": fingerprint(finding),
    }


def place_document(source: SourceLocation | None) -> dict[str, object]:
    """Return a place in the user's files as JSON."""
    return {"path": source.path if source else None, "line": source.line if source else None}
