"""Views that take over as they stand when a migration ends: which of them, on paper."""

from __future__ import annotations

from typing import Any

from drawing import graph_of

from migrate_graph.core.hand_overs import HandOver, hand_overs, heirs_in
from migrate_graph.core.timeline import Timeline, ViewBlock


def view(name: str = "", **more: Any) -> dict[str, Any]:
    """Return what is declared of a view that the database can replace."""
    return {"relations": (name,), "can_replace": True, "since": "a", **more}


def handed_over(built: str, **views: dict[str, Any]) -> list[HandOver]:
    """Return what is handed over as it stands at the end of `b`, where `a` is applied."""
    timeline = Timeline(graph_of("a < b", views=views, windows=True))
    there = {*built.split()}
    return [*hand_overs(timeline, timeline.turn("b", applied={"a"}, built=there), there)]


def told(built: str, **views: dict[str, Any]) -> list[str]:
    """Return it in short: what is created before, then who takes over from whom, then who stays."""
    return [
        " ".join((*(f"+{name}" for name in each.first.up), *(f"{old}>{name}" for name, old in each.heirs.items()),
                  *(f"={name}" for name in each.block.up if name not in each.heirs)))
        for each in handed_over(built, **views)
    ]  # fmt: skip


def test_a_successor_of_the_same_name_takes_over_and_its_readers_stay() -> None:
    [only] = handed_over(
        "V X Y", V=view("v"), V2=view("public.V", since="b", replaces="V"), X=view("x", uses="V"), Y=view("y", uses="X")
    )
    assert only == HandOver(ViewBlock(), ViewBlock(("Y", "X", "V"), ("V2", "X", "Y")), {"V2": "V"})


def test_what_can_never_be_replaced_is_not_tried() -> None:
    v2 = {"since": "b", "replaces": "V"}
    assert told("V", V=view("v"), V2=view("other", **v2)) == []
    assert told("V", V=view('"one.v"'), V2=view('"other.v"', **v2)) == []
    assert told("V", V=view('"one.v"'), V2=view('public."one.v"', **v2)) == ["V>V2"]
    assert told("V", V=view("v"), V2=view("v", **v2, can_replace=False)) == []
    assert told("V", V=view("v", can_replace=False), V2=view("v", **v2)) == []
    assert told("V", V=view("v"), V2=view("v", **v2), V3=view("v", **v2)) == []


def test_views_that_begin_or_end_with_the_same_migration_are_none_of_its_readers() -> None:
    v2 = view("v", since="b", replaces="V")
    new, closed, both = view("n", since="b", uses="V2"), view("w", uses="V", until="b"), view("x", uses="V W")
    assert told("V W X", V=view("v"), V2=v2, W=closed, X=both, N=new) == ["V>V2 =X"]
    [only] = handed_over("V W X", V=view("v"), V2=v2, W=closed, X=both, N=new)
    assert only.leaving == ("W",)


def test_what_it_reads_is_created_before() -> None:
    v2 = view("v", since="b", replaces="V", uses="N")
    n, m = view("n", since="b", uses="M"), view("m", since="b")
    assert told("V", V=view("v"), V2=v2, N=n, M=m) == ["+M +N V>V2"]
    # What is created before cannot read it.
    assert told("V", V=view("v"), V2=v2, N=view("n", since="b", uses="V")) == []


def test_what_reads_a_view_that_goes_down_goes_down_too() -> None:
    closed = view("c", until="b")
    assert told("V C", V=view("v"), V2=view("v", since="b", replaces="V", uses="C"), C=closed) == []
    assert told(
        "V U C", U=view("u"), U2=view("u", since="b", replaces="U", uses="C"), C=closed, V=view("v", uses="U"),
        V2=view("v", since="b", replaces="V", uses="U2"),
    ) == []  # fmt: skip


def test_those_that_read_one_another_go_together_and_others_for_themselves() -> None:
    assert told(
        "A B D R", A=view("n1"), A2=view("n1", since="b", replaces="A"), B=view("n2", uses="A"),
        B2=view("n2", since="b", replaces="B", uses="A2"), D=view("n3"), D2=view("n3", since="b", replaces="D"), R=view("r", uses="B D"),
    ) == ["A>A2 B>B2 =R", "D>D2 =R"]  # fmt: skip


def test_one_successor_for_each_that_retires() -> None:
    timeline = Timeline(graph_of("a < b", views={"V": {}, "V2": {"replaces": "V"}, "W": {}}, windows=True))
    assert heirs_in(timeline, ViewBlock(("V",), ("V2",))) == {"V2": "V"}
    assert heirs_in(timeline, ViewBlock(("W", "V"), ("V2", "W"))) == {"V2": "V"}
    assert heirs_in(timeline, ViewBlock(("W", "V"), ("V2",))) is None
