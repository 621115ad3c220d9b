"""What of a footprint decides about order."""

from __future__ import annotations

import pytest

from migrate_graph.core.footprint import Fact, Footprint, Statement, Wrote
from migrate_graph.core.traces import Touch, Trace, owner_of, resource_of, trace_of


def facts(*told: str) -> frozenset[Fact]:
    return frozenset(Fact(*each.split(" ", 1)) for each in told)


def names(found: frozenset[Fact]) -> list[str]:
    return sorted(f"{each.kind} {each.identity}" for each in found)


def rows(trace: Trace) -> dict[str, dict[str, list[str]]]:
    return {
        table: {str(touch): sorted(columns) for touch, columns in touches.items()}
        for table, touches in trace.rows.items()
    }


@pytest.mark.parametrize(
    ("identity", "owner"),
    [
        ("public.t.a", "public.t"),
        ("t.a", "t"),
        ('public."a.b"."c.d"', 'public."a.b"'),
        ('public."a""."."x""."', 'public."a""."'),
        ('"a.b"', '"a.b"'),
        ("t", "t"),
        ("t foreign key (p, q)", "t"),
        ('"a b" unique (x)', '"a b"'),
        ('"t unique (y)" foreign key (a)', '"t unique (y)"'),
        ("public.t.*", "public.t"),
    ],
)
def test_a_part_belongs_to_what_stands_before_its_last_name(identity: str, owner: str) -> None:
    assert owner_of(identity) == owner


def test_a_relation_is_one_thing_whatever_its_kind() -> None:
    kinds = ["table", "view", "matview", "sequence", "foreign table", "type"]
    assert {resource_of(Fact(kind, "public.x")) for kind in kinds} == {Fact("relation", "public.x")}
    assert resource_of(Fact("index", "public.x")) == Fact("index", "public.x")


def test_what_it_makes_itself_it_does_not_need() -> None:
    trace = trace_of(
        Footprint(
            added=facts("table public.t", "column public.t.a", "constraint public.t.t_pkey"),
            locks={"public.t": "ACCESS EXCLUSIVE"},
            uses=frozenset({"public.t.a"}),
            writes=frozenset({"public.t.a"}),
            inserts=frozenset({"public.t"}),
        )
    )
    assert names(trace.makes) == ["column public.t.a", "constraint public.t.t_pkey", "relation public.t"]
    assert names(trace.needs) == ["schema public"]
    assert rows(trace) == {}, "nobody else has touched rows of what is new"


def test_what_it_locks_uses_calls_and_hangs_on_is_needed() -> None:
    trace = trace_of(
        Footprint(
            locks={"public.a": "ACCESS SHARE"},
            uses=frozenset({"public.b.x", "public.c.*"}),
            inserts=frozenset({"public.d"}),
            checked=frozenset({"public.e"}),
            calls=facts("function public.f()", "sequence public.s"),
            hangs=facts("column public.g.y", "type public.h"),
        )
    )
    assert names(trace.needs) == [
        "column public.b.x", "column public.g.y", "function public.f()",
        *(f"relation public.{name}" for name in "abcdehs"),
    ]  # fmt: skip


def test_a_part_needs_its_relation_and_a_thing_its_schema() -> None:
    trace = trace_of(
        Footprint(
            added=facts("column app.t.a", "grants app.u"),
            changed=facts("constraint app.v.k"),
            removed=facts("trigger app.w.g"),
        )
    )
    assert names(trace.needs) == ["relation app.t", "relation app.u", "relation app.v", "relation app.w", "schema app"]
    assert trace.fires == {"app.w"}
    of_sqlite = facts("table t", "column t.a", "column u.b", "constraint u foreign key (t)")
    assert names(trace_of(Footprint(added=of_sqlite)).needs) == ["relation u"], "SQLite has no schemas"


def test_what_is_said_of_a_thing_is_changed_and_never_made() -> None:
    trace = trace_of(Footprint(added=facts("grants public.t"), removed=facts("comment table public.u")))
    assert (trace.makes, trace.removes) == (frozenset(), frozenset())
    assert names(trace.changes) == ["comment table public.u", "grants public.t"]


def test_the_order_of_columns_is_no_thing_of_its_own() -> None:
    assert trace_of(Footprint(changed=frozenset({Fact("column order", "public.t")}))).changes == frozenset()


def test_what_was_let_go_is_kept() -> None:
    trace = trace_of(Footprint(removed=facts("view public.v"), lost=facts("column public.t.a", "table public.t")))
    assert names(trace.lost) == ["column public.t.a", "relation public.t"]


def test_rows_are_read_written_put_there_and_looked_up() -> None:
    trace = trace_of(
        Footprint(
            (
                Statement("UPDATE", uses=("public.t.a", "public.t.b"), writes=("public.t.a",)),
                Statement("INSERT", uses=("public.u.x", "public.s.y"), inserts=("public.u",)),
            ),
            uses=frozenset({"public.t.a", "public.t.b", "public.u.x", "public.s.y", "public.log.*", "public.seen.*"}),
            writes=frozenset({"public.t.a", "public.gone.*"}),
            inserts=frozenset({"public.u", "public.log"}),
            checked=frozenset({"public.p"}),
            wrote={"public.t": Wrote(updated=1), "public.old": Wrote(deleted=2), "public.u": Wrote(inserted=1)},
        )
    )
    assert rows(trace) == {
        "public.gone": {"delete": ["*"]},
        "public.log": {"insert": ["*"]},
        "public.old": {"delete": ["*"]},
        "public.p": {"check": ["*"]},
        "public.s": {"read": ["y"]},
        "public.seen": {"read": ["*"]},
        "public.t": {"read": ["a", "b"], "update": ["a"]},
        "public.u": {"insert": ["*"]},
    }


def test_what_a_statement_reads_only_to_build_something_is_not_used() -> None:
    index = Statement("CREATE UNIQUE INDEX", uses=("t.a",))
    assert rows(trace_of(Footprint((index,)))) == {}


def test_a_new_constraint_is_proved_by_the_rows_of_an_older_table() -> None:
    trace = trace_of(
        Footprint(
            added=facts("constraint public.c.fk"),
            hangs=facts("column public.c.parent", "column public.p.id", "column public.other.x"),
            locks={
                "public.c": "ACCESS EXCLUSIVE",
                "public.p": "SHARE ROW EXCLUSIVE",
                "public.other": "ACCESS SHARE",
            },
        )
    )
    assert rows(trace) == {"public.c": {"prove": ["parent"]}, "public.p": {"prove": ["id"]}}
    new = Footprint(
        added=facts("table public.c", "column public.c.parent", "constraint public.c.fk"),
        hangs=facts("column public.p.id"),
        locks={"public.p": "SHARE ROW EXCLUSIVE"},
    )
    assert rows(trace_of(new)) == {}, "a new table has no rows that could break it"


def test_a_new_index_is_built_of_the_rows_of_an_older_table() -> None:
    index = Footprint(
        added=facts("index public.i"),
        hangs=facts("column public.t.a", "column public.seen.b"),
        locks={"public.t": "SHARE", "public.seen": "ACCESS SHARE"},
    )
    assert rows(trace_of(index)) == {"public.t": {"index": ["a"]}}
    view = Footprint(added=facts("view public.v"), hangs=facts("column public.t.a"), locks={"public.t": "SHARE"})
    assert rows(trace_of(view)) == {}
    assert Touch.INDEX in trace_of(index).rows["public.t"]
