"""Which migrations need each other, and which may not change places."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from migrate_graph.core.commuting import Commuting, Tie
from migrate_graph.core.footprint import Fact, Footprint, Statement
from migrate_graph.core.traces import Trace, trace_of


def facts(*told: str) -> frozenset[Fact]:
    return frozenset(Fact(*each.split(" ", 1)) for each in told)


def table(name: str, *columns: str, **more: Any) -> Footprint:
    """Make a table."""
    made = facts(f"table public.{name}", *(f"column public.{name}.{column}" for column in columns))
    return Footprint(added=made, locks={f"public.{name}": "ACCESS EXCLUSIVE", **more.pop("locks", {})}, **more)


def column(use: str) -> Footprint:
    """Add a column to a table."""
    relation = use.rpartition(".")[0]
    return Footprint(
        added=facts(f"column {use}"), hangs=facts(f"table {relation}"), locks={relation: "ACCESS EXCLUSIVE"}
    )


def retype(use: str) -> Footprint:
    """Change a column."""
    return Footprint(changed=facts(f"column {use}"), locks={use.rpartition(".")[0]: "ACCESS EXCLUSIVE"})


def drop(use: str) -> Footprint:
    """Remove a column."""
    return Footprint(removed=facts(f"column {use}"), locks={use.rpartition(".")[0]: "ACCESS EXCLUSIVE"})


def update(*uses: str, reads: Iterable[str] = ()) -> Footprint:
    """Write columns."""
    told = Statement("UPDATE", uses=(*uses, *reads), writes=uses)
    locks = {use.rpartition(".")[0]: "ROW EXCLUSIVE" for use in uses}
    return Footprint((told,), uses=frozenset({*uses, *reads}), writes=frozenset(uses), locks=locks)


def insert(relation: str, *columns: str, checked: Iterable[str] = (), reads: Iterable[str] = ()) -> Footprint:
    """Return the footprint of rows that are put into a table."""
    uses = (*(f"{relation}.{each}" for each in columns), *reads)
    told = Statement("INSERT", uses=uses, inserts=(relation,))
    return Footprint(
        (told,), uses=frozenset(uses), inserts=frozenset({relation}), checked=frozenset(checked),
        locks={relation: "ROW EXCLUSIVE"},
    )  # fmt: skip


def read(*uses: str) -> Footprint:
    told = Statement("SELECT", uses=uses)
    return Footprint((told,), uses=frozenset(uses), locks={use.rpartition(".")[0]: "ACCESS SHARE" for use in uses})


def judged(steps: Mapping[str, Footprint], *edges: str, commuting: Iterable[str] = ()) -> Commuting:
    """Judge steps in their order under edges `a<b`, and pairs `a~b` that may change places."""
    return Commuting(
        list(steps),
        {name: trace_of(seen) for name, seen in steps.items()},
        [tuple(edge.split("<")) for edge in edges],  # type: ignore[misc] # two
        frozenset(frozenset(pair.split("~")) for pair in commuting),
    )


def pairs(ties: Iterable[Tie]) -> list[str]:
    return [f"{tie.before}<{tie.after}" for tie in ties]


def reasons(ties: Iterable[Tie]) -> list[str]:
    return [f"{each.what}: {each.before}, {each.after}" for tie in ties for each in tie.conflicts]


BASE = table("t", "a", "b", "c")


def test_what_uses_what_another_made_needs_it() -> None:
    found = judged({"make": BASE, "use": read("public.t.a")})
    assert [(tie.before, tie.after, tie.needs) for tie in found.undeclared] == [
        ("make", "use", ["public.t.a", "public.t"])
    ]
    assert found.unordered == ()
    assert judged({"make": BASE, "use": read("public.t.a")}, "make<use").undeclared == ()
    between = {"make": BASE, "middle": Footprint(), "use": read("public.t.a")}
    assert judged(between, "make<middle", "middle<use").undeclared == (), "by way of another one"


@pytest.mark.parametrize(
    "needing",
    [
        Footprint(locks={"public.t": "ACCESS SHARE"}),
        Footprint(calls=facts("table public.t")),
        Footprint(hangs=facts("column public.t.a")),
        Footprint(checked=frozenset({"public.t"})),
        Footprint(inserts=frozenset({"public.t"})),
        Footprint(writes=frozenset({"public.t.*"})),
        retype("public.t.a"),
        drop("public.t.a"),
        column("public.t.d"),
    ],
)
def test_every_way_to_need_is_one(needing: Footprint) -> None:
    assert pairs(judged({"make": BASE, "need": needing}).undeclared) == ["make<need"]


def test_the_nearest_provider_is_named() -> None:
    steps = {"make": BASE, "more": column("public.t.d"), "use": read("public.t.d", "public.t.a")}
    assert pairs(judged(steps).undeclared) == ["make<more", "more<use"]
    assert pairs(judged(steps, "make<more").undeclared) == ["more<use"]
    assert pairs(judged(steps, "more<use").undeclared) == ["make<more"], (
        "that one is implied by what is missing elsewhere"
    )
    apart = {"make": BASE, "other": table("o", "x"), "use": read("public.t.a", "public.o.x")}
    assert pairs(judged(apart).undeclared) == ["make<use", "other<use"], "two providers that do not build on each other"


def test_what_was_removed_and_made_again_is_needed_of_the_last_who_made_it() -> None:
    steps = {
        "make": BASE,
        "first": read("public.t.a"),
        "gone": Footprint(removed=BASE.added, locks={"public.t": "ACCESS EXCLUSIVE"}),
        "again": table("t", "a"),
        "second": read("public.t.a"),
    }
    found = judged(steps)
    assert pairs(found.undeclared) == ["make<first", "make<gone", "again<second"]
    assert pairs(found.unordered) == ["first<gone", "gone<again"]
    assert found.inferred == (("make", "first"), ("first", "gone"), ("gone", "again"), ("again", "second"))


def test_a_rename_is_needed_under_the_new_name_and_bars_the_old_one() -> None:
    rename = Footprint(
        added=facts("table public.u", "column public.u.a"), removed=facts("table public.t", "column public.t.a"),
        renamed=facts("table public.t", "column public.t.a"), locks={"public.t": "ACCESS EXCLUSIVE"},
    )  # fmt: skip
    steps = {"make": table("t", "a"), "old": read("public.t.a"), "rename": rename, "new": read("public.u.a")}
    found = judged(steps, "make<old", "make<rename", "make<new")
    assert pairs(found.undeclared) == ["rename<new"]
    assert pairs(found.unordered) == ["old<rename"]


def test_what_is_made_and_dropped_within_a_migration_is_nobodys() -> None:
    passing = Footprint(locks={"public.tmp": "ACCESS EXCLUSIVE"}, inserts=frozenset({"public.tmp"}))
    assert judged({"one": passing, "other": passing}).ties == {}


SILENT: dict[str, tuple[Footprint, Footprint]] = {
    "different tables": (update("public.t.a"), update("public.u.a")),
    "two columns added": (column("public.t.x"), column("public.t.y")),
    "two inserts": (insert("public.t", "a"), insert("public.t", "a", "b")),
    "children of one parent, made": (
        table("c", "p", hangs=facts("column public.t.a"), locks={"public.t": "SHARE ROW EXCLUSIVE"}),
        table("d", "p", hangs=facts("column public.t.a"), locks={"public.t": "SHARE ROW EXCLUSIVE"}),
    ),
    "children of one parent, filled": (
        insert("public.u", "p", checked=["public.t"]),
        insert("public.v", "p", checked=["public.t"]),
    ),
    "other columns of one table": (update("public.t.a"), retype("public.t.b")),
    "other columns of the same rows": (update("public.t.a"), update("public.t.b")),
    "two readers": (read("public.t.a"), read("public.t.a")),
    "a column added beside an insert": (insert("public.t", "a"), column("public.t.x")),
    "a column dropped that an insert does not name": (insert("public.t", "a"), drop("public.t.b")),
    "a plain index and an insert": (
        insert("public.t", "a"),
        Footprint(added=facts("index public.i"), hangs=facts("column public.t.a"), locks={"public.t": "SHARE"}),
    ),
    "an index and another column": (
        update("public.t.b"),
        Footprint(added=facts("index public.i"), hangs=facts("column public.t.a"), locks={"public.t": "SHARE"}),
    ),
    "rows put into a parent, and a child made": (
        insert("public.t", "a"),
        table("c", "p", hangs=facts("column public.t.a"), locks={"public.t": "SHARE ROW EXCLUSIVE"}),
    ),
    "two triggers of one table": (
        Footprint(added=facts("trigger public.t.g"), locks={"public.t": "SHARE ROW EXCLUSIVE"}),
        Footprint(added=facts("trigger public.t.h"), locks={"public.t": "SHARE ROW EXCLUSIVE"}),
    ),
    "a delete and another column": (
        Footprint((), uses=frozenset({"public.t.a"}), writes=frozenset({"public.t.*"})),
        retype("public.t.b"),
    ),
}

FOUND: dict[str, tuple[Footprint, Footprint, str]] = {
    "widened and narrowed": (
        retype("public.t.a"), retype("public.t.a"), "public.t.a: changed, changed",
    ),
    "a backfill and NOT NULL": (
        update("public.t.a"), retype("public.t.a"), "public.t.a: used, changed",
    ),
    "a backfill and a column that goes": (
        update("public.t.a"), drop("public.t.a"), "public.t.a: used, removed",
    ),
    "an update in DO": (
        Footprint(uses=frozenset({"public.t.*"}), writes=frozenset({"public.t.*"}), locks={"public.t": "ROW EXCLUSIVE"}),
        update("public.t.a"), "public.t.a: read, written",
    ),
    "an update in DO, and a column that changes": (
        Footprint(uses=frozenset({"public.t.*"}), writes=frozenset({"public.t.*"}), locks={"public.t": "ROW EXCLUSIVE"}),
        retype("public.t.a"), "the columns of public.t: used as a whole, altered",
    ),
    "an update through a view": (
        Footprint(
            (Statement("UPDATE", uses=("public.v.a",), writes=("public.v.a",)),),
            uses=frozenset({"public.v.a", "public.t.a"}), writes=frozenset({"public.v.a", "public.t.a"}),
        ),
        update("public.t.a"), "public.t.a: read, written",
    ),
    "what a trigger writes": (
        Footprint(
            (Statement("UPDATE", uses=("public.u.x",), writes=("public.u.x",)),),
            uses=frozenset({"public.u.x", "public.t.*"}), writes=frozenset({"public.u.x", "public.t.*"}),
        ),
        read("public.t.a"), "public.t.a: written or emptied, read",
    ),
    "rows put there and looked up": (
        insert("public.t", "a"), insert("public.u", "p", checked=["public.t"]),
        "the rows of public.t: given rows, looked up for a foreign key",
    ),
    "rows put there and read": (
        insert("public.t", "a"), read("public.t.a"), "public.t.a: given rows, read",
    ),
    "rows put there, and the same while reading": (
        insert("public.t", "a"), insert("public.u", "p", reads=["public.t.a"]), "public.t.a: given rows, read",
    ),
    "rows put there and written": (
        insert("public.t", "a"), update("public.t.a"), "public.t.a: given rows, read",
    ),
    "written by both": (
        update("public.t.a"), update("public.t.a"), "public.t.a: read, written",
    ),
    "read for what the other writes": (
        update("public.t.a", reads=["public.t.b"]), update("public.t.b"), "public.t.b: read, written",
    ),
    "rows put there under another default": (
        insert("public.t", "a"), retype("public.t.b"), "the columns of public.t: given new rows, altered",
    ),
    "cleaned, then bound": (
        update("public.t.a"),
        Footprint(added=facts("constraint public.t.k"), hangs=facts("column public.t.a"), locks={"public.t": "ACCESS EXCLUSIVE"}),
        "public.t.a: written, bound by a constraint",
    ),
    "cleaned, then indexed": (
        update("public.t.a"),
        Footprint(added=facts("index public.i"), hangs=facts("column public.t.a"), locks={"public.t": "SHARE"}),
        "public.t.a: written, indexed",
    ),
    "rows under a new trigger": (
        insert("public.t", "a"), Footprint(added=facts("trigger public.t.g"), locks={"public.t": "SHARE ROW EXCLUSIVE"}),
        "the rows of public.t: given rows, given another trigger, rule or policy",
    ),
    "a view over what changes": (
        Footprint(added=facts("view public.v"), hangs=facts("column public.t.a"), locks={"public.t": "ACCESS SHARE"}),
        retype("public.t.a"), "public.t.a: used, changed",
    ),
    "let go, then changed": (
        Footprint(removed=facts("view public.v"), lost=facts("column public.t.a")),
        retype("public.t.a"), "public.t.a: used, changed",
    ),
    "two grants": (
        Footprint(added=facts("grants public.t")), Footprint(changed=facts("grants public.t")), "grants public.t: changed, changed",
    ),
    "made by both": (
        Footprint(added=facts("function public.f()")), Footprint(added=facts("function public.f()")),
        "function public.f(): made, made",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SILENT)
@pytest.mark.parametrize("turned", [False, True], ids=["as told", "turned"])
def test_what_commutes_is_not_found(case: str, turned: bool) -> None:
    one, other = SILENT[case][::-1] if turned else SILENT[case]
    assert judged({"one": one, "other": other}).ties == {}


@pytest.mark.parametrize("case", FOUND)
def test_what_may_not_change_places_is_found(case: str) -> None:
    one, other, why = FOUND[case]
    found = judged({"one": one, "other": other})
    assert pairs(found.unordered) == ["one<other"]
    assert why in reasons(found.unordered)
    assert found.undeclared == ()
    assert pairs(judged({"other": other, "one": one}).unordered) == ["other<one"], "whichever comes first"
    assert judged({"one": one, "other": other}, "one<other").unordered == ()
    assert judged({"one": one, "between": Footprint(), "other": other}, "one<between", "between<other").unordered == ()


def test_what_is_told_of_all_rows_is_not_told_of_each_column() -> None:
    gone = Footprint(writes=frozenset({"public.t.*"}))
    assert reasons(judged({"one": gone, "other": gone, "third": update("public.u.x")}).unordered) == [
        "the rows of public.t: written or emptied, written or emptied"
    ]
    assert reasons(judged({"one": gone, "other": gone, "third": read("public.t.a")}).unordered)[0] == (
        "the rows of public.t: written or emptied, written or emptied"
    )


def test_one_that_says_it_commutes_silences_that_pair_and_nothing_else() -> None:
    steps = {name: update("public.t.a") for name in ("one", "two", "three")}
    assert pairs(judged(steps).unordered) == ["one<two", "two<three"]
    assert pairs(judged(steps, commuting=["one~two"]).unordered) == ["one<three", "two<three"]
    assert pairs(judged(steps, commuting=["two~three"]).unordered) == ["one<two", "one<three"]
    assert pairs(judged(steps, commuting=["three~one"]).unordered) == ["one<two", "two<three"]
    every = judged(steps, commuting=["one~two", "two~three", "one~three"])
    assert (every.unordered, every.inferred) == ((), ())
    needing = {"make": BASE, "use": read("public.t.a")}
    assert pairs(judged(needing, commuting=["make~use"]).undeclared) == ["make<use"], "a need is a need"


def test_an_earlier_one_is_met_where_the_one_between_is_excused() -> None:
    steps = {"first": read("public.t.a"), "second": update("public.t.a"), "third": update("public.t.a")}
    assert pairs(judged(steps, commuting=["second~third"]).unordered) == ["first<second", "first<third"]


def test_what_is_declared_for_no_visible_reason_is_told_apart() -> None:
    steps = {"make": BASE, "other": table("o"), "use": read("public.t.a"), "unseen": Footprint()}
    found = judged(steps, "make<use", "other<use", "make<other")
    assert found.unreasoned == (("make", "other"), ("other", "use"))
    traces = {name: trace_of(seen) for name, seen in steps.items() if name != "other"}
    unknown = Commuting(list(steps), traces, [("make", "use"), ("other", "use")])
    assert unknown.unreasoned == (), "of what was not watched nothing is known"


def test_only_the_missing_edges_are_added_to_declared_ones() -> None:
    steps = {
        "make": BASE,
        "fill": insert("public.t", "a"),
        "more": column("public.t.d"),
        "use": update("public.t.a", "public.t.d"),
    }
    found = judged(steps, "make<more")
    assert found.inferred == (("make", "fill"), ("make", "more"), ("fill", "use"), ("more", "use"))
    assert found.missing == (("make", "fill"), ("fill", "use"), ("more", "use"))
    assert judged(steps, "make<fill", "fill<use", "more<use", "make<more").missing == ()


def test_a_declared_edge_against_the_order_does_not_count() -> None:
    steps = {"make": BASE, "use": read("public.t.a")}
    assert pairs(judged(steps, "use<make", "unknown<use", "make<unknown").undeclared) == ["make<use"]


def test_nothing_is_said_of_what_was_not_watched() -> None:
    found = Commuting(["make", "use"], {"use": trace_of(read("public.t.a"))})
    assert (found.ties, found.undeclared, found.unordered) == ({}, (), ())
    assert Commuting([], {}).inferred == ()


def test_a_trace_of_nothing_is_empty() -> None:
    assert trace_of(Footprint()) == Trace()


def test_one_that_clashes_with_less_stands_between_nobody() -> None:
    steps = {
        "fill": insert("public.t", "a"),
        "look": insert("public.u", "p", checked=["public.t"]),
        "read": read("public.t.a"),
        "gone": Footprint(writes=frozenset({"public.t.*"})),
        "again": read("public.t.a"),
    }
    assert pairs(judged(steps).unordered) == [
        "fill<look",
        "fill<read",
        "fill<gone",
        "look<gone",
        "read<gone",
        "gone<again",
    ]


def test_a_need_is_no_conflict_besides() -> None:
    found = judged({"make": BASE, "use": read("public.t.a"), "change": retype("public.t.a")})
    assert [(tie.before, tie.after, bool(tie.needs), reasons([tie])) for tie in found.ties.values()] == [
        ("make", "use", True, []),
        ("make", "change", True, []),
        ("use", "change", False, ["public.t.a: used, changed"]),
    ]
