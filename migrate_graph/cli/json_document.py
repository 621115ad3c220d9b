"""JSON documents for programs: errors, and the parts that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migrate_graph.errors import InvalidGraph, MigrateGraphError
from migrate_graph.reports.document import document, fields_of, finding_document, place_document

if TYPE_CHECKING:
    from migrate_graph.core.footprint import Fact
    from migrate_graph.core.history import StoredView
    from migrate_graph.core.model import Migration
    from migrate_graph.workflow.project import Reading


def error_document(error: MigrateGraphError, exit_code: int) -> dict[str, Any]:
    """Return an error; with the findings when the graph is invalid."""
    body: dict[str, Any] = {"error": {"message": error.message, "hint": error.hint, **place_document(error.source)}}
    if isinstance(error, InvalidGraph):
        body["findings"] = [finding_document(finding) for finding in error.findings]
    return document("error", body, exit_code=exit_code)


def reading_document(reading: Reading, note: str | None = None) -> dict[str, Any]:
    """Return which database was read, and a note that says why none was, or what `apply` would refuse.

    Args:
        reading: what was read.
        note: the note; None: that of the reading.
    """
    return {"database": reading.database or None, "note": reading.note if note is None else note}


def stored_view_document(stored: StoredView) -> dict[str, Any]:
    """Return a row of the view ledger: the relation, its manager and the migration."""
    return fields_of(stored, "relation manager migration")


def fact_document(fact: Fact) -> dict[str, str]:
    """Return a part of a schema: its kind (table, column, …) and its name."""
    return fields_of(fact, "kind identity")


def condition_document(migration: Migration) -> dict[str, Any] | None:
    """Return the condition that must be true after a migration (`after=`); None if it has none."""
    after = migration.after
    return None if after is None else {"text": after.text, "sql": after.is_sql, **place_document(after.source)}
