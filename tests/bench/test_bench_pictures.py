"""How long a reader waits for a picture, in seconds of processor time: `python -m pytest tests/bench/test_bench_pictures.py`."""

import os
from collections.abc import Callable

from drawing import drawn, graph_of, history_of

from migrate_graph.core.graph import MigrationGraph
from migrate_graph.core.plan import build_plan
from migrate_graph.render import PictureOptions, render


def spent(work: Callable[[], object]) -> float:
    """Return the processor time of some work and of the processes it started: the wall clock counts what others do, too."""
    before = os.times()
    work()
    after = os.times()
    return sum(
        getattr(after, each) - getattr(before, each) for each in ("user", "system", "children_user", "children_system")
    )


def braid(size: int) -> tuple[MigrationGraph, list[str]]:
    """Draw eight strands that meet now and then."""
    names = [f"m{number:04d}" for number in range(size)]
    paths = [f"{names[number - 8]} < {names[number]}" for number in range(8, size)]
    paths += [f"{names[number - 5]} < {names[number]}" for number in range(8, size, 7)]
    return graph_of(*paths, declared=names), names


def test_the_plan_of_two_thousand_migrations_costs_two_seconds() -> None:
    graph, names = braid(2000)
    history = history_of(names[:-40])

    def draw() -> None:
        render(drawn("plan", graph, build_plan(graph, history), history), "svg")

    assert spent(draw) < 2.0


def test_all_of_a_thousand_migrations_cost_ten_seconds() -> None:
    graph, _ = braid(1000)
    picture = drawn("graph", graph, options=PictureOptions(everything=True))
    assert spent(lambda: render(picture, "svg")) < 10.0
