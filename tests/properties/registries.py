"""Hypothesis strategies for registries: valid ones, and ones with every fault a file can have."""

from typing import Any

from drawing import registry_of
from hypothesis import strategies as st

from migrate_graph.core.model import Registry

# Some names carry numbers, repeated and out of order, so that intertwined ordering has something to decide.
NAMES = [
    "a",
    "b_2",
    "c_20260401_001",
    "d",
    "e_20260330_002",
    "f_20260330_001",
    "g",
    "h_1_000001",
    "i",
    "j_20260330_002",
]


@st.composite
def digraphs(draw: st.DrawFn, *, most: int = 9, cyclic: bool = True) -> dict[str, list[str]]:
    """Return a mapping of name to required names, in order of declaration."""
    names = draw(st.permutations(NAMES[: draw(st.integers(1, most))]))
    requires: dict[str, list[str]] = {}
    for place, name in enumerate(names):
        # An acyclic graph is drawn along a hidden order that has nothing to do with the order of declaration.
        others = names if cyclic else names[:place]
        requires[name] = draw(st.lists(st.sampled_from(others), unique=True, max_size=3)) if others else []
    return {name: requires[name] for name in draw(st.permutations(names))}


def paths_of(requires: dict[str, list[str]]) -> list[str]:
    """Write a digraph as paths for `registry_of`."""
    return [f"{before} < {name}" for name, befores in requires.items() for before in befores]


@st.composite
def registries(draw: st.DrawFn, *, cyclic: bool = False, views: int = 5) -> Registry:
    """Return a registry whose migrations touch views with windows, uses and successors."""
    requires = draw(digraphs(cyclic=cyclic))
    bound = st.none() | st.sampled_from([*requires, *(["nowhere"] if cyclic else [])])
    names = [f"V{index}" for index in range(draw(st.integers(0, views)))]
    declared: dict[str, dict[str, Any]] = {}
    for place, name in enumerate(names):
        others = [*names, "Nowhere"] if cyclic else names[:place]
        declared[name] = {
            "uses": tuple(draw(st.lists(st.sampled_from(others), unique=True, max_size=3))) if others else (),
            "since": draw(bound),
            "until": draw(bound),
            "replaces": draw(st.none() | st.sampled_from(others)) if others else None,
        }
    touches = st.lists(st.sampled_from(names), unique=True, max_size=2) if names else st.just([])
    return registry_of(
        *paths_of(requires),
        migrations={name: {"touches": draw(touches)} for name in requires},
        views=declared,
        declared=requires,
    )
