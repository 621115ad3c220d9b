"""The JSON of `migrate verify`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from migrate_graph.cli.rehearsal_document import result_document
from migrate_graph.reports.document import document, fields_of, finding_document, place_document

if TYPE_CHECKING:
    from migrate_graph.core.commuting import Pair, Tie
    from migrate_graph.core.traces import Trial
    from migrate_graph.workflow.adding_requires import Added
    from migrate_graph.workflow.proof import Proof


def proof_document(proof: Proof, *, exit_code: int, written: bool | None, added: Added | None) -> dict[str, Any]:
    """Return the result of a proof.

    Args:
        proof: the result.
        exit_code: of the process.
        written: whether the footprint file has changed; None if it was not asked for.
        added: the requirements that were written into the files; None if that was not asked for.
    """
    watched, project = proof.watched, proof.found.project
    body = {
        "project": project.name,
        "migrations": [result_document(each) for each in watched.results],
        "not_watched": sorted(watched.start),
        **fields_of(watched, "cut remarks"),
        "findings": [finding_document(each) for each in proof.findings],
        "ties": [_tie(each) for each in proof.commuting.ties.values()],
        "unreasoned": _pairs(proof.commuting.unreasoned),
        "trials": [_trial(each) for each in proof.traces.trials],
        "closure": _closure(proof),
        "orders": _orders(proof),
        "reverts": _reverts(proof),
        "inferred": None if proof.additions is None else _pairs(proof.commuting.inferred),
        "additions": None if proof.additions is None else _additions(proof, added),
        "footprints": None if written is None else {"path": project.config.footprints, "changed": written},
    }
    return document("verify", body, exit_code=exit_code)


def _tie(tie: Tie) -> dict[str, Any]:
    return {
        **fields_of(tie, "before after needs"),
        "conflicts": [fields_of(each, "what before after") for each in tie.conflicts],
    }


def _closure(proof: Proof) -> dict[str, Any] | None:
    closure = proof.closure
    return None if closure is None else {"tried": closure.tried, "not_tried": dict(sorted(closure.behind.items()))}


def _reverts(proof: Proof) -> list[dict[str, Any]] | None:
    if proof.trips is None:
        return None
    return [
        {
            "name": trip.migration.name,
            "leads_back": trip.is_round,
            "derived": None if trip.down is None else list(trip.down.statements),
        }
        for trip in proof.trips
    ]


def _orders(proof: Proof) -> dict[str, Any] | None:
    orders = proof.orders
    if orders is None:
        return None
    return {
        "of": proof.whose_orders,
        **fields_of(orders, "seed asked"),
        "tried": len(orders.tried),
        "alike": orders.alike,
    }


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "name": trial.name,
        "way": str(trial.kind),
        "error": trial.error,
        **place_document(trial.source),
        **fields_of(trial, "other differences order"),
        "reasons": [{"what": what, **place_document(place)} for what, place in trial.reasons],
    }


def _pairs(pairs: Iterable[Pair]) -> list[dict[str, str]]:
    return [{"before": before, "after": after} for before, after in pairs]


def _additions(proof: Proof, added: Added | None) -> list[dict[str, Any]]:
    graph, additions = proof.found.graph, proof.additions or {}
    by_hand = {each.migration.name: each.why for each in added.unable} if added else {}
    return [
        {
            "name": name,
            **place_document(graph.migrations[name].source),
            "requires": list(additions[name]),
            "written": added is not None and name in added.names,
            "by_hand": by_hand.get(name, ""),
        }
        for name in graph.migrations
        if name in additions
    ]
