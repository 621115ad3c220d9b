"""Which steps may run side by side, why others wait, and the forecast made of that."""

import random
from collections.abc import Mapping
from typing import Any

import networkx as nx
from drawing import graph_of
from msgspec.structs import replace

from migrate_graph.core.commuting import Commuting
from migrate_graph.core.footprint import Fact
from migrate_graph.core.graph import MigrationGraph, Ordering
from migrate_graph.core.history import History
from migrate_graph.core.lanes import Order, Queue, Slot, WaitKind, forecast, order_of
from migrate_graph.core.model import TransactionMode
from migrate_graph.core.plan import build_plan
from migrate_graph.core.traces import Touch, Trace


def order(graph: MigrationGraph, ordering: Ordering = Ordering.LEGACY, **options: Any) -> Order:
    return order_of(build_plan(graph, History(), ordering=ordering), graph, ordering=ordering, **options)


def waits(graph: MigrationGraph, ordering: Ordering = Ordering.LEGACY, **options: Any) -> dict[str, dict[str, str]]:
    found = order(graph, ordering, **options).waits
    return {name: {before: str(kind) for before, kind in befores.items()} for name, befores in found.items()}


def test_a_step_waits_for_what_it_requires() -> None:
    assert waits(graph_of("a < b < d", "a < c < d")) == {
        "a": {},
        "b": {"a": "requires"},
        "c": {"a": "requires"},
        "d": {"b": "requires", "c": "requires"},
    }


def test_one_that_declares_nothing_keeps_its_place_in_its_file() -> None:
    graph = graph_of("a < b", declared=["a", "b", "c", "d"])
    assert waits(graph) == {
        "a": {},
        "b": {"a": "requires"},
        "c": {"a": "place", "b": "place"},
        "d": {"c": "place"},  # and so for a and b
    }
    assert order(graph).keeps_place == ("c", "d")


def test_a_file_keeps_no_place_in_another_one() -> None:
    graph = graph_of(declared=["a", "b", "c"], migrations={"b": {"module": "other.py"}})
    assert waits(graph) == {"a": {}, "b": {}, "c": {"a": "place"}}


def test_several_files_are_one_history_where_numbers_decide_or_each_holds_one_migration() -> None:
    graph = graph_of(declared=["a_1", "b_2"], migrations={"b_2": {"module": "other.py"}})
    assert waits(graph, Ordering.INTERTWINED) == {"a_1": {}, "b_2": {"a_1": "place"}}
    assert waits(graph, one_history=True) == {"a_1": {}, "b_2": {"a_1": "place"}}


def test_what_is_independent_or_declared_keeps_no_place() -> None:
    graph = graph_of(declared=["a", "b", "c"], migrations={"b": {"independent": True}})
    assert waits(graph) == {"a": {}, "b": {}, "c": {"a": "place", "b": "place"}}
    assert waits(graph, Ordering.DECLARED) == {"a": {}, "b": {}, "c": {}}


def test_what_is_applied_is_not_waited_for() -> None:
    graph = graph_of("a < b", "a < c")
    from migrate_graph.core.history import Record

    plan = build_plan(graph, History(records={"a": Record("a", installed=True)}))
    assert order_of(plan, graph).waits == {"b": {}, "c": {}}


VIEWS: dict[str, Mapping[str, Any]] = {
    "Base": {},
    "Reader": {"uses": "Base"},
    "Next": {"replaces": "Reader"},
    "Other": {"since": "d", "until": "e"},
}


def test_steps_whose_views_hang_together_keep_their_order() -> None:
    touched = {"a": ["Base"], "b": ["Next"], "c": ["Other"], "d": [], "e": [], "f": ["Nowhere"]}
    graph = graph_of(
        declared=list("abcdef"),
        views=VIEWS,
        migrations={name: {"touches": views, "independent": True} for name, views in touched.items()},
    )
    assert waits(graph) == {
        "a": {},
        "b": {"a": "views"},
        "c": {},
        "d": {"c": "views"},  # it opens the window
        "e": {"d": "views"},
        "f": {},
    }


def test_a_requirement_is_named_before_a_view() -> None:
    graph = graph_of("a < b", views={"V": {}}, migrations={"a": {"touches": ["V"]}, "b": {"touches": ["V"]}})
    assert waits(graph)["b"] == {"a": WaitKind.REQUIRES}


def outside(*names: str, declared: str = "abc") -> MigrationGraph:
    mode = {name: {"transaction": TransactionMode.NONE} for name in names}
    return graph_of(
        declared=list(declared), migrations={name: {"independent": True, **mode.get(name, {})} for name in declared}
    )


def test_one_outside_of_a_transaction_runs_alone_and_is_not_overtaken_for_ever() -> None:
    found = order(outside("b"))
    assert found.alone == ("b",)
    queue = Queue(found, 4)
    assert queue.begin() == "a"
    assert queue.begin() is None, "b waits for a, and c stands behind b"
    queue.end("a")
    assert queue.begin() == "b"
    assert queue.begin() is None
    queue.end("b")
    assert queue.begin() == "c"
    queue.end("c")
    assert queue.begin() is None


def test_no_more_run_at_once_than_there_are_jobs() -> None:
    queue = Queue(order(outside()), 2)
    assert [queue.begin(), queue.begin(), queue.begin()] == ["a", "b", None]
    queue.end("b")
    assert queue.begin() == "c"
    assert queue.running == {"a", "c"}


def test_a_row_is_known_for_one() -> None:
    assert order(graph_of("a < b < c")).is_a_row
    assert order(graph_of(declared=["a", "b"])).is_a_row
    assert not order(outside()).is_a_row
    assert order(graph_of()).is_a_row


def test_the_forecast_of_a_diamond() -> None:
    found = forecast(order(graph_of("a < b < d", "a < c < d")), 2, {"a": 1.0, "b": 2.0, "c": 5.0, "d": 1.0})
    assert found.slots == (
        Slot("a", 1, 0.0, 1.0, is_known=True),
        Slot("b", 1, 1.0, 2.0, is_known=True),
        Slot("c", 2, 1.0, 5.0, is_known=True),
        Slot("d", 1, 6.0, 1.0, is_known=True),
    )
    assert found.critical == ("a", "c", "d")
    assert (found.seconds, found.critical_seconds, found.in_a_row, found.known) == (7.0, 7.0, 9.0, 4)
    assert [[slot.name for slot in lane] for lane in found.lanes] == [["a", "b", "d"], ["c"]]


def test_what_was_never_measured_counts_like_the_others() -> None:
    found = forecast(order(outside()), 3, {"a": 2.0})
    assert [(slot.seconds, slot.is_known) for slot in found.slots] == [(2.0, True), (2.0, False), (2.0, False)]
    assert found.known == 1
    assert forecast(order(outside()), 1, {}).seconds == 3.0


def test_the_forecast_of_nothing() -> None:
    found = forecast(order(graph_of()), 4, {})
    assert (found.slots, found.critical, found.lanes, found.seconds) == ((), (), (), 0.0)


# -- what was seen ------------------------------------------------------------------------------------------------------------


def _trace(makes: str = "", needs: str = "") -> Trace:
    def named(names: str) -> frozenset[Fact]:
        return frozenset(Fact("relation", name) for name in names.split())

    return Trace(makes=named(makes), needs=named(needs))


def seen_waits(graph: MigrationGraph, **traces: Trace) -> dict[str, set[str]]:
    """Return what each waits for where these were watched."""
    return {name: set(found) for name, found in order(graph, seen=Commuting(graph.order(), traces)).waits.items()}


def test_what_was_seen_to_do_nothing_to_each_other_keeps_no_place() -> None:
    graph = graph_of(declared=["a", "b", "c", "d"])
    known = {"a": _trace("one"), "b": _trace("two"), "c": _trace("", "one"), "d": _trace("", "one two")}
    assert seen_waits(graph, **known) == {"a": set(), "b": set(), "c": {"a"}, "d": {"a", "b"}}
    found = order(graph, seen=Commuting(graph.order(), known))
    assert found.waits["c"] == {"a": WaitKind.PLACE}


def test_what_reads_rows_keeps_its_place() -> None:
    """It was watched in a new database, and with other rows it may do something else."""
    graph = graph_of(declared=["a", "b", "c"])
    reads = replace(_trace("two"), rows={"old": {Touch.READ: frozenset({"x"})}})
    writes = replace(_trace("two"), rows={"old": {Touch.INSERT: frozenset({"*"})}})
    assert seen_waits(graph, a=_trace("one"), b=reads, c=_trace("three")) == {"a": set(), "b": {"a"}, "c": {"b"}}
    assert seen_waits(graph, a=_trace("one"), b=writes, c=_trace("three")) == {"a": set(), "b": set(), "c": set()}


def test_what_was_not_watched_keeps_its_place() -> None:
    """And what comes after it waits for it, and so for all that it waits for."""
    graph = graph_of(declared=["a", "b", "c", "d"])
    known = {"a": _trace("one"), "c": _trace("three"), "d": _trace("", "one")}
    assert seen_waits(graph, **known) == {"a": set(), "b": {"a"}, "c": {"b"}, "d": {"b"}}
    assert seen_waits(graph) == {"a": set(), "b": {"a"}, "c": {"b"}, "d": {"c"}}


def test_who_is_bound_by_way_of_one_that_declares_all_waits_nevertheless() -> None:
    """Nothing says that the one between comes after the first, and so nothing implies that the last does."""
    graph = graph_of("x < b", declared=["a", "x", "b", "c"])
    known = {"x": _trace("zero"), "a": _trace("one"), "b": _trace("two", "one zero"), "c": _trace("", "two")}
    assert seen_waits(graph, **known) == {"a": set(), "x": set(), "b": {"x"}, "c": {"b", "a"}}


def test_what_was_seen_counts_within_a_file_alone() -> None:
    graph = graph_of(declared=["a", "b"], migrations={"b": {"module": "other.py"}})
    assert seen_waits(graph, a=_trace("one"), b=_trace("", "one")) == {"a": set(), "b": set()}


def test_all_that_is_bound_is_in_order_and_nothing_else_is() -> None:
    lot = random.Random(21)
    for _ in range(200):
        names = [f"m{number}" for number in range(lot.randint(2, 9))]
        things = ["one", "two", "three", "four"]
        known = {
            name: _trace(
                " ".join(lot.sample(things, lot.randint(0, 1))), " ".join(lot.sample(things, lot.randint(0, 2)))
            )
            for name in names
            if lot.random() < 0.8
        }
        graph = graph_of(declared=names)
        ties = nx.DiGraph(Commuting(names, known).ties.keys())
        ties.add_nodes_from(names)
        waits = nx.DiGraph((before, name) for name, found in seen_waits(graph, **known).items() for before in found)
        waits.add_nodes_from(names)
        for place, name in enumerate(names):
            must = {before for before in names[:place] if {before, name} - known.keys()} | nx.ancestors(ties, name)
            assert must <= nx.ancestors(waits, name), (known, name)
            for before in waits.predecessors(name):
                assert before in must, (known, before, name)
