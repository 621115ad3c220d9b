"""MG501 to MG506, and the comparison they read: what a change does to a published graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from drawing import graph_of

from migrate_graph.core.comparison import compare
from migrate_graph.core.graph import MigrationGraph, Node, NodeKind
from migrate_graph.core.rules import RULES, Needs, RuleSettings, check

SETTINGS = RuleSettings(select=("MG5",))


def graph(*paths: str, views: Mapping[str, Mapping[str, Any]] | None = None, **bodies: str) -> MigrationGraph:
    """Draw a graph whose bodies are told apart by a fingerprint: `graph("a < b", a="f00")`."""
    migrations = {name: {"facts": {"fingerprint": mark}} for name, mark in bodies.items()}
    return graph_of(*paths, views=views, migrations=migrations)


def found(before: MigrationGraph, after: MigrationGraph) -> list[tuple[str, str]]:
    return [(each.code, each.subject.name) for each in check(after, base=before, settings=SETTINGS)]


def test_without_a_base_they_are_silent() -> None:
    assert check(graph("a < b"), settings=SETTINGS) == ()


def test_additions_are_no_fault() -> None:
    before, after = graph("a < b", a="1", b="2"), graph("a < b < c", a="1", b="2", c="3", views={"V": {}})
    assert found(before, after) == []
    assert compare(before=before, after=after).added == (Node(NodeKind.MIGRATION, "c"), Node(NodeKind.VIEW, "V"))
    assert not compare(before=before, after=before)


@pytest.mark.parametrize(
    ("old", "new", "edited"), [("1", "2", True), ("1", "1", False), ("", "2", False), ("1", "", False)]
)
def test_mg501_an_edit_is_seen_by_the_fingerprint(old: str, new: str, *, edited: bool) -> None:
    assert found(graph("a", a=old), graph("a", a=new)) == ([("MG501", "a")] if edited else [])


def test_mg502_a_removal_and_mg503_a_rename_are_told_apart_by_the_body() -> None:
    before = graph("a < b", "a < c", a="1", b="2", c="3")
    assert found(before, graph("a", a="1")) == [("MG502", "b"), ("MG502", "c")]
    assert found(before, graph("a < bb", "a < c", a="1", bb="2", c="3")) == [("MG503", "bb")]
    twins = graph("a", "b", a="1", b="1")
    assert found(twins, graph("c", c="1")) == [("MG502", "a"), ("MG502", "b")], "which of the two it was is a guess"
    unknown = graph("a")
    assert found(unknown, graph("b")) == [("MG502", "a")], "bodies that cannot be read are not the same"


def test_mg504_only_what_the_base_did_not_imply_is_new() -> None:
    before = graph("a < b < c", "d")
    assert found(before, graph("a < b < c", "a < c", "d")) == [], "a requires b requires c: nothing new"
    assert found(before, graph("a < b < c", "d < c")) == [("MG504", "c")]
    assert found(before, graph("a < b", "c", "d")) == [], "fewer requirements brick nothing"
    assert found(before, graph("a < b < c", "d", "new < c")) == [("MG504", "c")]


@pytest.mark.parametrize(
    ("was", "now", "changed"),
    [
        ({"since": "a"}, {"since": "b"}, True),
        ({"since": "a"}, {}, True),
        ({}, {"until": "a"}, True),
        ({}, {"until": "c"}, False),
        ({"since": "a"}, {"since": "a", "until": "c"}, False),
        ({"until": "a"}, {"until": "c"}, True),
        ({}, {"replaces": "W"}, True),
    ],
)
def test_mg505_a_window_may_be_closed_only_by_a_migration_of_the_same_change(
    was: dict[str, str], now: dict[str, str], *, changed: bool
) -> None:
    before = graph("a < b", views={"V": was, "W": {}})
    after = graph("a < b < c", views={"V": now, "W": {}})
    assert found(before, after) == ([("MG505", "V")] if changed else [])


def test_mg506_an_edited_view_needs_a_new_migration_that_brings_it_up() -> None:
    was = {
        "V": {"since": "a", "fingerprint": "1"},
        "R": {"uses": "V", "fingerprint": "3"},
        "Unread": {"fingerprint": ""},
    }
    now = {**was, "V": {"since": "a", "fingerprint": "2"}, "Unread": {"fingerprint": "9"}}
    opens = {"a": {"touches": ["V", "Unread"]}}
    before = graph_of("a", views=was, migrations=opens)
    assert found(before, graph_of("a", views=now, migrations=opens)) == [("MG506", "V")]
    assert found(before, graph_of("a < b", views=now, migrations=opens)) == [("MG506", "V")]
    opened = graph_of("a < b", views=now, migrations={**opens, "b": {"touches": ["V"]}})
    assert found(before, opened) == []
    assert found(before, graph_of("a", views=was, migrations=opens)) == []


def test_every_finding_has_a_hint_and_every_rule_its_page() -> None:
    before = graph("a < b", "g", a="1", b="2", g="7", views={"V": {}})
    after = graph("b", "a", "x < a", b="3", x="9", views={"V": {"since": "a"}})
    findings = check(after, base=before, settings=SETTINGS)
    assert all(each.hint and each.message for each in findings)
    for code in ("MG501", "MG502", "MG503", "MG504", "MG505", "MG506"):
        rule = RULES[code]
        assert rule.needs == (Needs.BASE,)
        for heading in ("## What it finds", "## Why it matters", "## How to fix it"):
            assert heading in rule.page
