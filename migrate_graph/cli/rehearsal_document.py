"""What a rehearsal saw, for programs: the same every time but for the times."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from migrate_graph.reports.document import place_document

if TYPE_CHECKING:
    from migrate_graph.core.events import Result
    from migrate_graph.core.footprint import Fact, Footprint, Statement
    from migrate_graph.workflow.rehearse import Rehearsal


def rehearsal_document(rehearsal: Rehearsal) -> dict[str, Any]:
    """Return a rehearsal without its steps, which stand in the plan."""
    return {
        "on": str(rehearsal.on),
        "exit_code": int(rehearsal.exit_code),
        "cut": rehearsal.cut,
        "remarks": list(rehearsal.remarks),
        "results": [
            {
                **result_document(each),
                "warnings": list(each.warnings),
                "stepped_aside": list(each.stepped_aside),
                "unfilled": list(each.unfilled),
                "unrefreshed": list(each.unrefreshed),
                "replaced": list(each.replaced),
            }
            for each in rehearsal.results
        ],
    }


def result_document(result: Result) -> dict[str, Any]:
    """Return how a migration ended where it was tried."""
    return {
        "name": result.name,
        "outcome": str(result.outcome),
        "seconds": round(result.seconds, 6),
        "error": result.error,
        "hint": result.hint,
        **place_document(result.source),
        "traceback": result.traceback,
    }


def footprint_document(seen: Footprint) -> dict[str, Any]:
    """Return what one migration did."""
    return {
        "statements": [_statement(each) for each in seen.statements],
        "locks": dict(sorted(seen.locks.items())),
        "added": _facts(seen.added),
        "changed": _facts(seen.changed),
        "removed": _facts(seen.removed),
        "renamed": _facts(seen.renamed),
        "invalid": list(seen.invalid),
        "uses": sorted(seen.uses),
        "wrote": {
            name: {"inserted": each.inserted, "updated": each.updated, "deleted": each.deleted}
            for name, each in sorted(seen.wrote.items())
        },
        "sizes": {name: {"bytes": each.bytes, "rows": each.rows} for name, each in sorted(seen.sizes.items())},
        "own_commits": seen.own_commits,
        "outside": [
            {"what": each.what, "refused": each.refused, **place_document(each.source)} for each in seen.outside
        ],
        "without_rows": seen.without_rows,
        "not_rehearsed": list(seen.not_rehearsed),
    }


def _statement(statement: Statement) -> dict[str, Any]:
    return {
        "sql": statement.sql,
        **place_document(statement.source),
        "seconds": round(statement.seconds, 6),
        "rows": statement.rows,
        "locks": dict(sorted(statement.locks.items())),
        "rewrites": [{"relation": each.relation, "bytes": each.size, "rows": each.rows} for each in statement.rewrites],
        "uses": list(statement.uses),
        "scans": list(statement.scans),
        "transaction": statement.transaction,
        "held": str(statement.held),
        "error": statement.error,
        "error_code": statement.error_code,
        "blockers": list(statement.blockers),
    }


def _facts(facts: Iterable[Fact]) -> list[dict[str, str]]:
    return [{"kind": each.kind, "identity": each.identity} for each in sorted(facts)]
