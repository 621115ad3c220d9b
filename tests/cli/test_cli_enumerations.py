"""Where the page of a JSON document, or its schema, lists the words that a key may hold, these are the words of the code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import pytest
from drawing import graph_of
from msgspec.structs import replace

from migrate_graph.core.drift import Changed
from migrate_graph.core.events import Outcome, Result
from migrate_graph.core.footprint import Footprint, Statement
from migrate_graph.core.graph import EdgeKind, NodeKind, Ordering
from migrate_graph.core.history import AttemptState, History
from migrate_graph.core.lanes import WaitKind
from migrate_graph.core.model import TransactionMode, UsesFrom, Way
from migrate_graph.core.plan import build_plan
from migrate_graph.core.rules import Severity
from migrate_graph.core.sealed import MovedKind
from migrate_graph.core.states import RUNNABLE, WORDINGS
from migrate_graph.core.traces import TrialKind
from migrate_graph.errors import ExitCode
from migrate_graph.workflow.place import Place
from migrate_graph.workflow.proof import WhoseOrders
from migrate_graph.workflow.rehearse import Rehearsal
from migrate_graph.workflow.revert import Unit

PAGE = (Path(__file__).parents[2] / "docs/json.md").read_text(encoding="utf-8")
SCHEMAS = files("migrate_graph.reports.schemas")

_ENDS = set(Outcome) - {Outcome.DONE, Outcome.ROLLED_BACK}
"""What a migration may end with where the run is not one transaction; a rehearsal never is."""
_STATES = {state for state, wording in WORDINGS.items() if wording.is_asked_for}

WORDS: dict[tuple[str, str], Iterable[str]] = {
    ("plan", "ordering"): Ordering,
    ("plan", "steps[].status"): RUNNABLE,
    ("plan", "steps[].transaction"): TransactionMode,
    ("plan", "steps[].views_how"): Way,
    ("plan", "rehearsal.on"): Place,
    ("plan", "rehearsal.results[].outcome"): _ENDS,
    ("plan", "side_by_side.waits[].why"): WaitKind,
    ("status", "migrations[].status"): _STATES,
    ("status", "views[].uses_from"): UsesFrom,
    ("drift", "changes[].what"): Changed,
    ("findings", "findings[].severity"): set(Severity) - {Severity.OFF},
    ("findings", "findings[].subject_kind"): NodeKind,
    ("verify", "trials[].way"): TrialKind,
    ("verify", "orders.of"): get_args(WhoseOrders),
    ("revert", "rehearsal.losses[].unit"): get_args(Unit),
    ("why", "path[].before_kind"): {NodeKind.MIGRATION, NodeKind.VIEW},
    ("why", "path[].kind"): set(EdgeKind) - {EdgeKind.NEEDS, EdgeKind.CONFLICTS},
    ("show", "nodes[].kind"): {NodeKind.MIGRATION, NodeKind.VIEW},
    ("show", "plan.moved[].what"): MovedKind,
    ("log", "attempts[].state"): AttemptState,
}
ELSEWHERE = {
    ("plan", "findings[].severity"): ("findings", "findings[].severity"),
    ("plan", "findings[].subject_kind"): ("findings", "findings[].subject_kind"),
    ("error", "findings[].severity"): ("findings", "findings[].severity"),
    ("error", "findings[].subject_kind"): ("findings", "findings[].subject_kind"),
    ("verify", "findings[].severity"): ("findings", "findings[].severity"),
    ("verify", "findings[].subject_kind"): ("findings", "findings[].subject_kind"),
    ("status", "drift.changes[].what"): ("drift", "changes[].what"),
    ("revert", "rehearsal.on"): ("plan", "rehearsal.on"),
    ("revert", "rehearsal.results[].outcome"): ("plan", "rehearsal.results[].outcome"),
    ("show", "nodes[].uses_from"): ("status", "views[].uses_from"),
    ("why", "path[].after_kind"): ("why", "path[].before_kind"),
}
"""Keys whose words the page tells at another key."""
EXAMPLES = {
    "tool",  # the names of its keys
    "steps[].footprint.added[].kind",  # a few of many
    "changes[].kind",
}


def rows_of(kind: str) -> Iterator[tuple[list[str], str]]:
    """Yield the rows of a section: the keys, and what they hold."""
    section = PAGE.partition(f"\n## {kind}\n")[2].partition("\n## ")[0]
    for keys, holds in re.findall(r"^\| (`[^|]*?) \| ([^|]*) \|$", section, re.MULTILINE):
        yield re.findall(r"`([^`]+)`", keys), holds


def words_in(text: str) -> set[str]:
    """Return the words of a text that a key may hold: `not reached`, and no key, option or command with one."""
    return set(re.findall(r"`([a-z][a-z ]*)`", text))


def enumerated(kind: str) -> dict[str, set[str]]:
    """Return the words that the schema of a kind of document lists, by their keys."""
    found: dict[str, set[str]] = {}

    def walk(schema: Any, way: str) -> None:
        words = {each for each in schema.get("enum", ()) if isinstance(each, str)}
        if words:
            found[way.removeprefix(".")] = words
        for key, inner in schema.get("properties", {}).items():
            walk(inner, f"{way}.{key}")
        for inner in (*schema.get("allOf", ()), *schema.get("anyOf", ()), *schema.get("oneOf", ())):
            walk(inner, way)
        if "$ref" in schema:
            walk(whole["$defs"][schema["$ref"].rpartition("/")[2]], way)
        if isinstance(schema.get("items"), dict):
            walk(schema["items"], f"{way}[]")
        if isinstance(schema.get("additionalProperties"), dict):  # by name: the page tells the values
            walk(schema["additionalProperties"], way)

    whole = json.loads((SCHEMAS / f"{kind}-1.json").read_text(encoding="utf-8"))
    walk(whole, "")
    return found


KINDS = sorted({kind for kind, _ in WORDS} | {"error", "rules", "config"})


@pytest.mark.parametrize(("kind", "key"), WORDS)
def test_the_page_lists_the_words_of_the_code(kind: str, key: str) -> None:
    (told,) = [holds for keys, holds in rows_of(kind) if key in keys]
    assert words_in(told) == set(map(str, WORDS[kind, key]))


@pytest.mark.parametrize("kind", KINDS)
def test_no_other_row_lists_words(kind: str) -> None:
    """Whoever writes a list writes it here, too."""
    for keys, holds in rows_of(kind):
        if len(words_in(holds)) > 1 and not EXAMPLES.intersection(keys):
            assert any((kind, key) in WORDS for key in keys), f"{kind}: {keys}: {holds}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_lists_the_words_of_the_code(kind: str) -> None:
    known = {key: set(map(str, words)) for (its, key), words in WORDS.items() if its == kind}
    known |= {key: set(map(str, WORDS[there])) for (its, key), there in ELSEWHERE.items() if its == kind}
    assert enumerated(kind) == known


def test_a_line_of_a_run_lists_the_types_of_lines() -> None:
    schema = json.loads((SCHEMAS / "event-1.json").read_text(encoding="utf-8"))
    told = {each["if"]["properties"]["type"]["const"] for each in schema["allOf"]}
    assert told == set(schema["properties"]["type"]["enum"])


_IN_THE_WAY = Footprint(statements=(Statement("DROP TABLE t", blockers=("public.v",)),))
REHEARSED = {
    ExitCode.OK: {},
    ExitCode.FAILED: {"outcome": Outcome.RAISED},
    ExitCode.INVALID_GRAPH: {"outcome": Outcome.RAISED, "footprint": _IN_THE_WAY},
    ExitCode.PENDING_TASK: {"unrefreshed": ("public.m (M) could not be refreshed: division by zero",)},
}


@pytest.mark.parametrize("code", REHEARSED)
def test_a_rehearsal_ends_with_the_codes_that_its_page_tells(code: ExitCode) -> None:
    more = dict(REHEARSED[code])
    footprint = more.pop("footprint", None)
    plan = build_plan(graph_of("a"), History())
    plan = replace(plan, steps=tuple(replace(step, footprint=footprint) for step in plan.steps))
    result = Result("a", more.pop("outcome", Outcome.APPLIED), **more)
    assert Rehearsal(on=Place.CLONE, plan=plan, results=(result,)).exit_code is code
    (told,) = [holds for keys, holds in rows_of("plan") if "rehearsal.exit_code" in keys]
    assert set(map(int, re.findall(r"\b\d+\b", told))) == set(REHEARSED)
