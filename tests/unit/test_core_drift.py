"""What somebody changed by hand between two inventories, and what a migration must say of it."""

from __future__ import annotations

import pytest
from drawing import history_of

from migrate_graph.core.adopting import Making, adoption_of
from migrate_graph.core.drift import Described, Drift, Drifted, Inventory, drift_between, is_ignored
from migrate_graph.core.footprint import Fact
from migrate_graph.core.history import Attempt, AttemptState, History

TABLE = {
    "table public.t": "",
    "column public.t.id": "integer",
    "column public.t.a": "text",
    "column order public.t": "id, a",
}


def inventory(facts: dict[str, str], *, version: str = "1", server: str = "postgres 16") -> Inventory:
    """Make an inventory of `kind identity`; what is called as a table is begins with the table's name."""
    tables = [name.rpartition(" ")[2] for name in facts if name.startswith(("table ", "view "))]
    made = {}
    for name, definition in facts.items():
        kind, _, identity = name.rpartition(" ")
        owner = next((table for table in tables if identity == table or identity.startswith(f"{table}.")), "")
        made[Fact(kind, identity)] = Described(definition, owner)
    return Inventory(made, server=server, version=version)


def told(drift: Drift) -> list[tuple[str, str, int]]:
    return [(change.what, f"{change.fact.kind} {change.fact.identity}", len(change.parts)) for change in drift.changes]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (TABLE, TABLE, []),
        ({}, TABLE, [("added", "table public.t", 3)]),
        (TABLE, {}, [("removed", "table public.t", 3)]),
        (TABLE, {**TABLE, "index public.i": "CREATE INDEX"}, [("added", "index public.i", 0)]),
        ({**TABLE, "index public.i": "CREATE INDEX"}, TABLE, [("removed", "index public.i", 0)]),
        (TABLE, {**TABLE, "column public.t.a": "varchar"}, [("changed", "column public.t.a", 0)]),
        (
            TABLE,
            {**TABLE, "column public.t.b": "int", "column order public.t": "id, a, b"},
            [("added", "column public.t.b", 0)],
        ),
        (TABLE, {**TABLE, "column order public.t": "a, id"}, [("changed", "column order public.t", 0)]),
        (
            {"view public.v": "SELECT a", "column public.v.a": "int", "comment public.v": "x"},
            {"view public.v": "SELECT b", "column public.v.b": "int", "comment public.v": "y"},
            [("changed", "comment public.v", 0), ("changed", "view public.v", 2)],
        ),
        (
            {**TABLE, "trigger public.t.tr": "x"},
            {**TABLE, "table public.t": "with fillfactor", "trigger public.t.tr": "y"},
            [("changed", "table public.t", 0), ("changed", "trigger public.t.tr", 0)],
        ),
        (
            {**TABLE, "text public.t": "CREATE x"},
            {**TABLE, "text public.t": "CREATE y", "constraint public.t.k": "x"},
            [("added", "constraint public.t.k", 0)],
        ),
        ({**TABLE, "text public.t": "x"}, {**TABLE, "text public.t": "y"}, [("changed", "text public.t", 0)]),
    ],
    ids=[
        "nothing",
        "new",
        "gone",
        "index",
        "index gone",
        "type",
        "column",
        "order",
        "view",
        "table and trigger",
        "in the text",
        "text",
    ],
)
def test_what_changed_is_told_once(
    before: dict[str, str], after: dict[str, str], expected: list[tuple[str, str, int]]
) -> None:
    drift = drift_between(inventory(before), inventory(after))
    assert told(drift) == expected
    assert (inventory(before).digest == inventory(after).digest) == (not expected)


def test_a_digest_does_not_depend_on_the_order_and_tells_relations_apart() -> None:
    turned = inventory(dict(reversed(TABLE.items())))
    assert turned.digest == inventory(TABLE).digest
    more = inventory({**TABLE, "table public.u": "", "schema side": ""})
    assert set(more.relations) == {"public.t", "public.u", "schema side"}
    assert more.relations["public.t"] == turned.relations["public.t"]
    assert inventory({**TABLE, "column public.t.a": "int"}).relations["public.t"] != turned.relations["public.t"]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"version": "2"}, "stored by migrate_graph 1, and this is 2"),
        ({"server": "postgres 17"}, "this is postgres 17"),
    ],
)
def test_what_cannot_be_compared_is_no_drift(other: dict[str, str], words: str) -> None:
    drift = drift_between(inventory(TABLE), inventory({}, **other))
    assert drift.changes == ()
    assert words in drift.unknown


@pytest.mark.parametrize(
    ("pattern", "ignored"),
    [
        ("public.log_*", True),
        ("index public.log_1_at", True),
        ("public.log_1", True),
        ("log_1", False),
        ("table public.log_1_at", False),
        ("PUBLIC.LOG_*", False),
    ],
)
def test_patterns_name_things_and_what_belongs_to_them(pattern: str, ignored: bool) -> None:
    fact = Fact("index", "public.log_1_at")
    assert is_ignored(fact, "public.log_1", [pattern]) is ignored
    drift = drift_between(
        inventory({}), inventory({"table public.log_1": "", "column public.log_1.a": "int"}), ignore=["public.log_*"]
    )
    assert (drift.changes, drift.ignored) == ((), 1)


def attempt(number: int, state: AttemptState, commits: int = 0) -> Attempt:
    return Attempt(number, "m", "run", state, commits=commits)


@pytest.mark.parametrize(
    ("facts_at", "attempts", "current", "lost"),
    [
        (0, [], False, False),
        (2, [attempt(1, AttemptState.APPLIED)], True, False),
        (2, [attempt(3, AttemptState.APPLIED)], False, True),
        (2, [attempt(3, AttemptState.FAILED)], True, False),
        (2, [attempt(3, AttemptState.FAILED, 1)], False, True),
        (2, [attempt(3, AttemptState.RUNNING)], False, True),
        (2, [attempt(3, AttemptState.MARKED)], False, False),
    ],
)
def test_what_is_stored_is_known_to_be_old(facts_at: int, attempts: list[Attempt], current: bool, lost: bool) -> None:
    history = History(attempts=tuple(attempts), facts_at=facts_at)
    assert (history.facts_are_current, history.has_lost_facts) == (current, lost)
    assert not history_of().facts_are_current


def test_statements_stand_in_the_order_in_which_they_can_run() -> None:
    def change(name: str, before: str | None, after: str | None, *parts: str) -> Drifted:
        kind, _, identity = name.rpartition(" ")
        return Drifted(Fact(kind, identity), before, after, identity, tuple(Fact(*part.split(" ")) for part in parts))

    changes = [
        change("trigger t.x", None, "x"),
        change("index i", "x", None),
        change("table u", "x", None),
        change("table t", None, "x", "column t.a", "index t_a", "odd thing"),
        change("sequence s", None, "x"),
        change("view v", "x", "y", "column v.a"),
        change("view managed", "x", "y"),
        change("odd thing", "x", None),
    ]
    found = adoption_of(
        changes,
        made=lambda _, fact: Making(
            [] if fact.kind == "odd" else [f"make {fact.identity}"], ["tie s"] if fact.identity == "s" else []
        ),
        dropped=lambda each: "" if each.fact.kind == "odd" else f"drop {each.fact.identity}",
        included=frozenset({"column"}),
        managed=frozenset({"managed"}),
    )
    assert found.statements == ("drop i", "drop u", "make s", "make t", "make v", "make t_a", "make t.x", "tie s")
    assert [fact.identity for fact, _ in found.left] == ["thing", "managed", "thing"]


def test_what_may_have_been_renamed_is_left_to_a_person() -> None:
    """What is alike under another name may be the same thing: its data would be lost elsewhere. What differs, or has none, is not."""

    def adopted(*changes: tuple[str, str, str | None, str | None]) -> tuple[list[str], list[str]]:
        found = adoption_of(
            [Drifted(Fact(kind, name), before, after, name.partition(".")[0]) for kind, name, before, after in changes],
            made=lambda _, fact: Making([f"make {fact.identity}"]),
            dropped=lambda each: f"drop {each.fact.identity}",
            included=frozenset(),
        )
        return list(found.statements), [fact.identity for fact, _ in found.left]

    gone, come = ("column", "t.a", "int", None), ("column", "t.b", None, "int")
    assert adopted(gone, come) == ([], ["t.a", "t.b"])
    assert adopted(gone, ("column", "t.b", None, "text")) == (["drop t.a", "make t.b"], [])
    assert adopted(gone, ("column", "u.b", None, "int")) == (["drop t.a", "make u.b"], [])
    assert adopted(gone, ("column", "t.b", "text", "int")) == (["drop t.a", "make t.b"], [])
    assert adopted(("index", "i", "x", None), ("index", "j", None, "x")) == (["drop i", "make j"], [])
    assert adopted(("sequence", "s", "x", None), ("sequence", "r", None, "x"))[0] == []


def test_what_reads_others_is_dropped_before_them() -> None:
    changes = [
        Drifted(Fact("view", name), before, None, name) for name, before in (("a", "b c"), ("b", "t"), ("c", "b"))
    ]
    found = adoption_of(
        changes, made=lambda *_: Making(), dropped=lambda each: each.fact.identity, included=frozenset()
    )
    assert found.statements == ("a", "c", "b")


def test_what_columns_use_is_dropped_when_they_use_it_no_more() -> None:
    def adopted(*changes: tuple[str, str, str | None, str | None]) -> tuple[str, ...]:
        return adoption_of(
            [Drifted(Fact(kind, name), before, after) for kind, name, before, after in changes],
            made=lambda _, fact: Making([f"make {fact.identity}"]),
            dropped=lambda each: f"drop {each.fact.identity}",
            included=frozenset(),
        ).statements

    gone, changed = ("type", "mood", "x", None), ("column", "t.a", "mood", "text")
    assert adopted(("index", "i", "x", None), gone, changed) == ("drop i", "make t.a", "drop mood")
    assert adopted(gone, ("table", "mood", None, "x")) == ("drop mood", "make mood")


def test_views_of_both_kinds_are_made_in_the_order_in_which_they_come() -> None:
    changes = [
        Drifted(Fact(kind, name), None, "x") for kind, name in (("matview", "m"), ("view", "a"), ("matview", "b"))
    ]
    found = adoption_of(
        changes, made=lambda _, fact: Making([fact.identity]), dropped=lambda _: "", included=frozenset()
    )
    assert found.statements == ("m", "a", "b")


def test_a_view_that_is_gone_and_one_that_came_in_its_place_are_both_told() -> None:
    parts = {"column public.v.a": "int", "index public.i": "x"}
    before, after = {"view public.v": "x", "column public.v.old": "int"}, {"matview public.v": "x", **parts}
    [come, gone] = drift_between(inventory(before), inventory(after)).changes
    assert (come.fact, come.before, [part.identity for part in come.parts]) == (
        Fact("matview", "public.v"), None, ["public.v.a", "public.i"],
    )  # fmt: skip
    assert (gone.fact, gone.after, [part.identity for part in gone.parts]) == (
        Fact("view", "public.v"),
        None,
        ["public.v.old"],
    )


def test_what_no_statement_says_of_a_new_thing_is_named() -> None:
    found = adoption_of(
        [Drifted(Fact("table", "t"), None, "x", "t")],
        made=lambda *_: Making(["make t"], lacks=["toast options", "tablespace"]),
        dropped=lambda _: "",
        included=frozenset(),
    )
    assert found.statements == ("make t",)
    assert found.left == ((Fact("table", "t"), "no statement says its toast options, tablespace: write that by hand"),)


def test_what_somebody_has_to_look_at_is_named_beside_what_is_written() -> None:
    found = adoption_of(
        [Drifted(Fact("column", "t.a"), "x", "y", "t")],
        made=lambda *_: Making(["change a"], doubts=["look at a"]),
        dropped=lambda _: "",
        included=frozenset(),
    )
    assert (found.statements, found.left) == (("change a",), ((Fact("column", "t.a"), "look at a"),))
