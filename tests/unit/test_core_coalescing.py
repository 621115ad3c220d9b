"""Which steps of a plan share one transaction."""

from __future__ import annotations

from typing import Any

import pytest

from migrate_graph.core.coalescing import segments_of, why_apart
from migrate_graph.core.model import BodyFacts, Migration, TransactionMode
from migrate_graph.core.plan import Plan, Reason, ReasonKind, Step
from migrate_graph.core.timeline import ViewChanges
from migrate_graph.user_files import SourceLocation

HERE = SourceLocation("migrations.py", 7)


def step(name: str, down: str = "", up: str | None = None, **more: Any) -> Step:
    """Return a step that takes views down, and brings them up."""
    views = ViewChanges(down=tuple(down.split()), up=tuple((down if up is None else up).split()))
    return Step(Migration(name, lambda _: True, **more), Reason(ReasonKind.ROOT), views)


def segments(*steps: Step, **woven: str) -> list[str]:
    """Return the segments, each as its names and its views."""
    found = segments_of(Plan(steps=steps), {name: views.split() for name, views in woven.items()})
    return [f"{' '.join(each.names)}: {' '.join(each.views)}" for each in found]


def test_steps_that_open_the_same_views() -> None:
    assert segments() == []
    assert segments(step("a", "V")) == []
    assert segments(step("a", "V W"), step("b", "W"), step("c", "W X"), step("d", "Y")) == ["a b c: W"]
    assert segments(step("a", "V"), step("b", "V"), step("c"), step("d", "V"), step("e", "V")) == ["a b: V", "d e: V"]


def test_a_view_that_retires_or_is_new_is_not_shared() -> None:
    assert segments(step("a", "V", up=""), step("b", "V")) == []
    assert segments(step("a", "", up="V"), step("b", "V")) == ["a b: V"]


def test_views_that_were_in_the_way() -> None:
    steps = step("a"), step("b"), step("c", "V")
    assert segments(*steps) == []
    assert segments(*steps, a="V W", b="W") == ["a b: W"]
    assert segments(*steps, a="V W", b="W V") == ["a b c: V W"]
    (found,) = segments_of(Plan(steps=steps[:2]), {"a": ("V",), "b": ("V",)})
    assert found.woven == {"a": ("V",), "b": ("V",)}


@pytest.mark.parametrize(
    "apart",
    [
        {"transaction": TransactionMode.NONE},
        {"resumable": True},
        {"facts": BodyFacts(ends_transaction=(HERE, "sends COMMIT"))},
    ],
)
def test_what_shares_no_transaction(apart: dict[str, Any]) -> None:
    assert segments(step("a", "V"), step("b", "V", **apart), step("c", "V")) == []


def test_a_new_value_of_an_enum_ends_a_segment() -> None:
    adds = {"facts": BodyFacts(adds_enum_value=HERE)}
    assert segments(step("a", "V"), step("b", "V", **adds), step("c", "V"), step("d", "V")) == ["a b: V", "c d: V"]


def test_why() -> None:
    assert why_apart(Migration("a", lambda _: True)) is None
    assert why_apart(Migration("a", lambda _: True, source=HERE, transaction=TransactionMode.NONE)) == (
        "transaction='none' runs outside of any transaction", HERE,
    )  # fmt: skip
    ends = Migration("a", lambda _: True, facts=BodyFacts(ends_transaction=(HERE, "sends COMMIT")))
    assert why_apart(ends) == ("it sends COMMIT", HERE)
