"""Views that come up and go down by their windows: what each step does, on paper."""

from __future__ import annotations

from typing import Any

import pytest
from drawing import graph_of, history_of

from migrate_graph.core.graph import MigrationGraph, Ordering
from migrate_graph.core.history import History
from migrate_graph.core.lanes import order_of
from migrate_graph.core.plan import Plan, build_plan
from migrate_graph.core.rules import check
from migrate_graph.core.timeline import Timeline, ViewBlock, overdue_views
from migrate_graph.core.undoing import changes_of, undoing


def graph(*paths: str, migrations: dict[str, Any] | None = None, **views: dict[str, Any]) -> MigrationGraph:
    return graph_of(*paths, migrations=migrations, views=views, windows=True)


def there(applied: str, *views: str) -> History:
    found = history_of(applied)
    return History(records=found.records, views_there=frozenset(views))


def planned(of: MigrationGraph, history: History | None = None, **more: Any) -> Plan:
    return build_plan(of, history or History(), **more)


def told(plan: Plan) -> dict[str, str]:
    """Return what each step does to views: `+` new, `-` retired, `~` made anew, `V>W` handed over."""
    found = {}
    for step in plan.steps:
        views = step.views
        words = [f"+{name}" for name in views.new] + [f"~{name}" for name in views.rebuilt]
        words += [f"-{name}" for name in views.retired if name not in dict(views.handed_over)]
        words += [f"{old}>{new}" for old, new in views.handed_over]
        if words:
            found[step.migration.name] = " ".join(words)
    return found


def test_views_come_up_with_their_since_and_go_with_their_until() -> None:
    of = graph("a < b < c", W={"uses": "V", "since": "b", "until": "c"}, V={"since": "b"})
    assert told(planned(of)) == {"b": "+V +W", "c": "-W"}


def test_a_successor_takes_over_and_what_reads_it_is_made_anew() -> None:
    of = graph("a < b < c", V={"since": "a"}, V2={"since": "b", "replaces": "V"}, X={"uses": "V", "since": "a"})
    assert told(planned(of)) == {"a": "+V +X", "b": "+V2 ~X V>V2"}
    block = Timeline(of).turn("b", applied={"a"}, built={"V", "X"})
    assert block == ViewBlock(down=("X", "V"), up=("V2", "X")), (
        "of two versions of one relation the one that is there is dropped"
    )


def test_a_successor_skips_versions_that_were_never_made() -> None:
    of = graph(
        "a < b < c", V={"since": "a"}, V2={"since": "b", "replaces": "V"}, V3={"since": "c", "replaces": "V2"},
        X={"uses": "V3", "since": "c"}, Y={"uses": "V2", "since": "b"},
    )  # fmt: skip
    assert told(planned(of, there("a b", "V", "Y"))) == {"c": "+V3 +X ~Y V>V3"}
    block = Timeline(of).turn("c", applied={"a", "b"}, built={"V", "Y"})
    assert block.down.index("Y") < block.down.index("V")


def test_both_in_one_migration() -> None:
    of = graph("a < b", Old={"since": "a", "until": "b"}, New={"since": "b"}, Reads={"since": "b", "uses": "New"})
    assert told(planned(of))["b"] == "+New +Reads -Old"


def test_where_a_successor_ends_first_the_view_that_it_replaced_is_back() -> None:
    of = graph(
        "a < b < c", V={"since": "a"}, V2={"since": "b", "until": "c", "replaces": "V"}, X={"since": "a", "uses": "V"}
    )
    assert told(planned(of)) == {"a": "+V +X", "b": "+V2 ~X V>V2", "c": "+V ~X -V2"}
    assert "V" not in Timeline(of).turn("c", applied={"a", "b"}, built={"V2", "X"}).down


def test_readers_that_end_too_are_not_made_anew() -> None:
    of = graph("a < b", V={"since": "a", "until": "b"}, X={"since": "a", "until": "b", "uses": "V"})
    assert told(planned(of))["b"] == "-X -V"


def test_what_the_body_opens_itself_is_not_made_twice() -> None:
    of = graph(
        "a < b", migrations={"a": {"touches": ["V"]}}, V={"since": "a", "until": "b"}, W={"since": "a", "uses": "V"}
    )
    plan = planned(of)
    assert told(plan) == {"a": "+V +W", "b": "~W -V"}
    assert plan.steps[0].views.up == ("V", "W")


def test_a_view_that_the_body_makes_and_its_end_retires_is_passing() -> None:
    of = graph("a < b", migrations={"b": {"touches": ["V"]}}, V={"until": "b"})
    views = planned(of).steps[1].views
    assert (views.down, views.new, views.retired) == ((), ("V",), ("V",))


def test_a_view_whose_class_was_added_later_comes_up_with_the_first_step() -> None:
    of = graph("a < b < c", V={"since": "a"}, W={"since": "c", "uses": "V"}, Old={"since": "a", "until": "b"})
    assert told(planned(of, there("a"))) == {"b": "+V", "c": "+W"}
    assert told(planned(of, there("a", "V"))) == {"c": "+W"}
    assert told(planned(of, history_of("a"))) == {"b": "-Old", "c": "+W"}, (
        "nobody has looked: as the migrations have left them"
    )


def test_a_view_without_since_comes_up_when_nothing_is_left_to_run() -> None:
    of = graph("a < b < c", V={}, Gone={"until": "a"})
    assert told(planned(of)) == {"c": "+V"}
    assert told(planned(of, selection={"b"})) == {}
    assert told(planned(of, there("a b"))) == {"c": "+V"}
    assert told(planned(of, there("a b", "V"))) == {}


def test_unless_something_needs_it_before() -> None:
    of = graph("a < b < c", V={}, W={"since": "b", "uses": "V"}, X={"uses": "W"})
    assert told(planned(of)) == {"b": "+V +W", "c": "+X"}


def test_undoing_takes_away_what_came_up_with_it_only() -> None:
    of = graph("a < b", V={}, W={"since": "b"}, Old={"since": "a", "until": "b"}, New={"since": "b", "replaces": "V"})
    changes = changes_of(undoing(of, of.order(Ordering.LEGACY), {"a"}, "b"))
    assert set(changes.retired) == {"W", "New"}
    assert "Old" in changes.new
    plain = graph("a < b", V={})
    assert not changes_of(undoing(plain, plain.order(Ordering.LEGACY), {"a"}, "b")).down, "it came up with b by chance"


def test_steps_side_by_side_wait_where_views_come_up_late() -> None:
    of = graph("a < b", "a < c", "a < d", V={"since": "a"}, W={})
    waits = order_of(planned(of, there("a")), of).waits
    assert told(planned(of, there("a"))) == {"b": "+V", "d": "+W"}
    assert set(waits["d"]) == {"b", "c"}, "when it ends nothing may be left to run"
    assert not waits["c"]


def test_rules_know_what_comes_up_by_itself() -> None:
    of = graph(
        "a < b", "(nowhere) < x < y < x",
        V={"since": "a"}, Never={"until": "b"}, Hidden={"since": "a", "until": "b"}, Over={"replaces": "Hidden", "since": "a"},
        Empty={"since": "a", "until": "a"},
    )  # fmt: skip
    found = {(each.code, each.subject.name): each for each in check(of) if each.code in {"MG210", "MG211"}}
    assert {name for code, name in found if code == "MG211"} == {"Never", "Hidden"}
    assert not [code for code, _ in found if code == "MG210"]
    assert "begins nowhere" in found["MG211", "Never"].message
    assert "another version" in found["MG211", "Hidden"].message


@pytest.mark.parametrize("migrations", [(), ("a", "x < y < x")])
def test_a_view_is_not_to_blame_where_not_everything_can_run(migrations: tuple[str, ...]) -> None:
    """Nor where there is no migration yet, as after views of a database were adopted."""
    of = graph(*migrations, V={}, W={"since": "y"} if migrations else {})
    assert [each.message for each in check(of) if each.code == "MG211"] == []


def test_rules_tell_what_reads_a_view_that_is_gone() -> None:
    of = graph("a < b", V={"since": "a", "until": "b"}, X={"since": "a", "uses": "V"})
    assert [each.code for each in check(of)] == ["MG206"]


def test_without_windows_nothing_comes_up_by_itself() -> None:
    of = graph_of("a < b", views={"V": {"since": "a"}})
    assert told(build_plan(of, there("a"))) == {}
    assert [each.code for each in check(of)] == ["MG210"]


def test_a_ring_of_successors_is_followed_once() -> None:
    of = graph("a", V={"since": "a", "replaces": "W"}, W={"since": "a", "replaces": "V"}, X={"since": "a", "uses": "V"})
    assert set(told(planned(of))["a"].replace("+", "").split()) == {"V", "W", "X"}


def test_what_a_database_never_had_is_what_it_does_not_know() -> None:
    of = graph("a < b", V={"since": "a"}, W={}, Later={"since": "b"})
    known = history_of("a", views={"W": "text"})
    assert overdue_views(of, known) == {"V"}
    assert overdue_views(of, there("a", "V")) == {"W"}
    assert not overdue_views(graph_of("a", views={"V": {}}), known), "nothing comes up by itself"
