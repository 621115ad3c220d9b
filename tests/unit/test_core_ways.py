"""How the views of a step come back, on paper."""

from __future__ import annotations

from typing import Any

import pytest
from drawing import graph_of

from migrate_graph.core.history import History
from migrate_graph.core.model import Rebuild
from migrate_graph.core.plan import build_plan
from migrate_graph.core.ways import ways_of


def told(*, alone: bool = True, windows: bool = True, b: dict[str, Any] | None = None, **views: dict[str, Any]) -> str:
    """Return how the views come back in `b`."""
    graph = graph_of("a < b", migrations={"b": b or {}}, views=views, windows=windows)
    step = build_plan(graph, History()).step_of("b")
    assert step is not None
    return ", ".join(f"{name} {way}" for name, way in ways_of(graph, step.migration, step.views, alone=alone).items())


def view(name: str, **more: Any) -> dict[str, Any]:
    return {"relations": (name,), "since": "a", "can_replace": True, **more}


def matview(name: str, **more: Any) -> dict[str, Any]:
    return view(name, can_replace=False, is_materialized=True, **more)


def test_what_a_body_opens_is_made_anew() -> None:
    assert told(b={"touches": ("V",)}, V=view("v"), R=view("r", uses="V")) == "V rebuilt, R rebuilt"


def test_what_is_handed_over_stays_with_its_readers() -> None:
    v2 = view("v", since="b", replaces="V")
    assert told(V=view("v"), V2=v2, R=view("r", uses="V")) == "V2 in place, R in place"
    assert (
        told(V=view("v"), V2=view("other", since="b", replaces="V"), R=view("r", uses="V")) == "V2 rebuilt, R rebuilt"
    )


@pytest.mark.parametrize(
    ("rebuild", "way"), [(Rebuild.SWAP, "beside"), (Rebuild.INLINE, "rebuilt"), (Rebuild.DEFERRED, "deferred")]
)
def test_a_materialized_view_as_it_is_declared(rebuild: Rebuild, way: str) -> None:
    m, m2 = matview("m"), matview("m", since="b", replaces="M", rebuild=rebuild)
    assert told(M=m, M2=m2, R=view("r", uses="M2")) == f"M2 {way}, R rebuilt"
    assert told(b={"touches": ("M",)}, M=matview("m", rebuild=rebuild), R=view("r", uses="M")) == f"M {way}, R rebuilt"


def test_nothing_is_built_beside_what_goes_down_or_in_a_transaction_of_several() -> None:
    m = matview("m", rebuild=Rebuild.SWAP)
    assert told(alone=False, b={"touches": ("M",)}, M=m) == "M rebuilt"
    assert told(b={"touches": ("V",)}, V=view("v"), M=m | {"uses": "V"}) == "V rebuilt, M rebuilt"
    assert told(b={"touches": ("M",)}, M=m | {"can_swap": False}) == "M rebuilt"


def test_a_migration_that_defers_defers_what_has_rows() -> None:
    assert told(b={"touches": ("V",), "defers": True}, V=view("v"), M=matview("m", uses="V")) == "V rebuilt, M deferred"
