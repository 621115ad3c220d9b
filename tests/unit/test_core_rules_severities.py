"""How bad a finding is: what is applied is history, and what ran with edwh-migrate is not stopped without need."""

from __future__ import annotations

from typing import Any

import pytest
from drawing import graph_of, history_of

from migrate_graph.core.graph import MigrationGraph, Ordering
from migrate_graph.core.model import UnreachedFile
from migrate_graph.core.rules import RULES, Doing, RuleSettings, Severity, check
from migrate_graph.user_files import SourceLocation

LONG = "m" * 600
GRAPHS: dict[str, tuple[str, MigrationGraph, str]] = {
    # What is found, in which graph, and what is applied where it is history.
    "MG101": ("MG101", graph_of("a < b < a"), "a b"),
    "MG102": ("MG102", graph_of("(x) < a"), "a"),
    "MG104": ("MG104", graph_of("a", unreached=(UnreachedFile("b.py", (("b", 1),)),)), "a"),
    "MG107": ("MG107", graph_of(*(f"m_20260101_00{n}" for n in range(1, 8)), "b"), "b"),
    "MG108": ("MG108", graph_of("a_20260101_001", "b_20260101_001"), "a_20260101_001 b_20260101_001"),
    "MG302": ("MG302", graph_of(migrations={"a": {"facts": {"returns_value": False}}}), "a"),
    "MG303": ("MG303", graph_of(LONG), LONG),
    "MG304": (
        "MG304",
        graph_of(migrations={"a": {"facts": {"commits_before_return": SourceLocation("m.py", 1)}}}),
        "a",
    ),
    "MG306": ("MG306", graph_of(migrations={"a": {"function": lambda: True}}), "a"),
    "MG203, opened": ("MG203", graph_of(views={"V": {"since": "x"}}, migrations={"a": {"touches": ["V"]}}), "a"),
    "MG203, not opened": ("MG203", graph_of("a", views={"V": {"since": "x"}}), "a"),
    "MG205, opened": (
        "MG205",
        graph_of("a < b", views={"V": {"since": "b", "until": "a"}}, migrations={"b": {"touches": ["V"]}}),
        "a b",
    ),
    "MG206, coming": (
        "MG206",
        graph_of("a < b", views={"U": {"until": "b"}, "V": {"uses": "U"}}, migrations={"b": {"touches": ["U"]}}),
        "a b",
    ),
}
# In `check`, in `plan` and `apply`, in a bare `migrate`: not asked · pending · applied.
TABLE = {
    "MG101": "error   error   error   | error   error   error   | error   error   error",
    "MG102": "error   error   error   | error   error   error   | error   error   error",
    "MG104": "error   error   error   | warning warning warning | warning warning warning",
    "MG107": "warning warning off     | warning warning off     | warning warning off",
    "MG108": "info    info    off     | info    info    off     | info    info    off",
    "MG302": "error   error   info    | error   error   info    | warning warning info",
    "MG303": "error   error   info    | error   error   info    | error   error   info",
    "MG304": "info    info    off     | info    info    off     | info    info    off",
    "MG306": "error   error   off     | error   error   off     | warning warning off",
    "MG203, opened": "error   error   error   | error   error   error   | error   error   warning",
    "MG203, not opened": "error   error   error   | error   error   error   | warning warning warning",
    "MG205, opened": "error   error   warning | error   error   warning | error   error   warning",
    "MG206, coming": "error   error   warning | error   error   warning | warning warning warning",
}


def worst(code: str, graph: MigrationGraph, **values: Any) -> str:
    found = [
        each.severity
        for each in check(graph, ordering=Ordering.INTERTWINED, settings=RuleSettings(select=(code,)), **values)
    ]
    return str(min(found, key=list(Severity).index, default=Severity.OFF))


@pytest.mark.parametrize("case", TABLE)
def test_the_table_of_severities(case: str) -> None:
    code, graph, applied = GRAPHS[case]
    rows = []
    for doing in Doing:
        histories = None, history_of(), history_of(applied)
        rows.append([worst(code, graph, history=history, doing=doing) for history in histories])
    assert rows == [part.split() for part in TABLE[case].split("|")]


def test_the_other_severities_are_never_worse() -> None:
    order = list(Severity)
    for rule in RULES.values():
        for other in (rule.applied, rule.running, *rule.compatible.values()):
            assert other is None or order.index(other) >= order.index(rule.severity), rule.code


def test_the_project_has_the_last_word() -> None:
    code, graph, applied = GRAPHS["MG302"]
    settings = RuleSettings(select=(code,), error=(code,))
    (finding,) = check(graph, history_of(applied), settings=settings, doing=Doing.COMPATIBLE)
    assert finding.severity is Severity.ERROR


def test_without_a_database_the_hint_says_when_it_holds() -> None:
    code, graph, _ = GRAPHS["MG304"]
    (finding,) = check(graph, settings=RuleSettings(select=(code,)))
    assert finding.hint.endswith(", if it is not applied yet")
    (finding,) = check(graph, history_of(), settings=RuleSettings(select=(code,)))
    assert "if it is not applied yet" not in finding.hint


def test_view_managers_of_one_name_stop_no_bare_migrate_and_migrations_do() -> None:
    from msgspec.structs import replace

    from migrate_graph.core.graph import build_graph

    graph = graph_of("a", views={"V": {}})
    views = build_graph(replace(graph.registry, views=graph.registry.views * 2))
    migrations = build_graph(replace(graph.registry, migrations=graph.registry.migrations * 2))
    assert worst("MG103", views, doing=Doing.CHECK) == worst("MG103", views, doing=Doing.RUN) == "error"
    assert worst("MG103", views, doing=Doing.COMPATIBLE) == "warning"
    assert worst("MG103", migrations, doing=Doing.COMPATIBLE) == "error"


@pytest.mark.parametrize("name", GRAPHS)
def test_who_asks_for_errors_alone_gets_all_of_them(name: str) -> None:
    _, graph, applied = GRAPHS[name]
    for history in (None, history_of(applied), history_of()):
        found = check(graph, history, ordering=Ordering.INTERTWINED)
        grave = check(graph, history, ordering=Ordering.INTERTWINED, errors_only=True)
        errors = [each for each in found if each.severity is Severity.ERROR]
        assert [each for each in grave if each.severity is Severity.ERROR] == errors
        assert set(grave) <= set(found)
