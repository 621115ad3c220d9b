"""The JSON of a rehearsal; only its durations differ from one rehearsal to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migrate_graph.cli.json_document import fact_document
from migrate_graph.reports.document import fields_of, place_document

if TYPE_CHECKING:
    from migrate_graph.core.events import Result
    from migrate_graph.core.footprint import Footprint, Statement
    from migrate_graph.workflow.rehearse import Rehearsal


def rehearsal_document(rehearsal: Rehearsal) -> dict[str, Any]:
    """Return a rehearsal; what each step did is written into the steps of the plan, not here."""
    lists = "warnings stepped_aside unfilled unrefreshed replaced"
    return {
        "on": str(rehearsal.on),
        "exit_code": int(rehearsal.exit_code),
        **fields_of(rehearsal, "cut remarks"),
        "results": [{**result_document(each), **fields_of(each, lists)} for each in rehearsal.results],
    }


def result_document(result: Result) -> dict[str, Any]:
    """Return how one migration ended in the rehearsal."""
    return {
        **fields_of(result, "name outcome"),
        "seconds": round(result.seconds, 6),
        **fields_of(result, "error hint"),
        **place_document(result.source),
        "traceback": result.traceback,
    }


def footprint_document(seen: Footprint) -> dict[str, Any]:
    """Return what one migration did."""
    return {
        "statements": [_statement(each) for each in seen.statements],
        "locks": dict(sorted(seen.locks.items())),
        **{
            what: [*map(fact_document, sorted(getattr(seen, what)))]
            for what in ("added", "changed", "removed", "renamed")
        },
        "invalid": list(seen.invalid),
        "uses": sorted(seen.uses),
        "wrote": {name: fields_of(each, "inserted updated deleted") for name, each in sorted(seen.wrote.items())},
        "sizes": {name: fields_of(each, "bytes rows") for name, each in sorted(seen.sizes.items())},
        "own_commits": seen.own_commits,
        "outside": [{**fields_of(each, "what refused"), **place_document(each.source)} for each in seen.outside],
        **fields_of(seen, "without_rows not_rehearsed"),
    }


def _statement(statement: Statement) -> dict[str, Any]:
    return {
        "sql": statement.sql,
        **place_document(statement.source),
        "seconds": round(statement.seconds, 6),
        "rows": statement.rows,
        "locks": dict(sorted(statement.locks.items())),
        "rewrites": [{"relation": each.relation, "bytes": each.size, "rows": each.rows} for each in statement.rewrites],
        **fields_of(statement, "uses scans transaction held error error_code blockers"),
    }
