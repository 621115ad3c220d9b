"""Four times the project may take at most six times as long: `python -m pytest tests/bench/test_bench_core.py`."""

import functools
import gc
import time
from collections.abc import Callable

import pytest
from drawing import registry_of

from migrate_graph.core.graph import EdgeKind, Ordering, build_graph
from migrate_graph.core.history import History, Record
from migrate_graph.core.model import Registry
from migrate_graph.core.plan import build_plan
from migrate_graph.core.rules import check
from migrate_graph.core.selection import select

LIMIT = 6.0


def fastest(work: Callable[[], object], rounds: int = 3) -> float:
    """Return the seconds of the fastest round: the others met something else that ran."""
    seconds = []
    for _ in range(rounds):
        gc.collect()
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def project(size: int) -> Registry:
    """Declare migrations in a band of requirements, and a quarter as many views in families of ten."""
    names = [f"m_{20200101 + index}_001" for index in range(size)]
    views = {
        f"V{index}": {
            "uses": [f"V{used}" for used in range(max(index - index % 10, index - 2), index)],
            "since": names[index],
            "replaces": f"V{index - 5}" if index % 10 == 9 else None,
        }
        for index in range(size // 4)
    }
    return registry_of(
        *(f"{names[index - hop]} < {names[index]}" for hop in (1, 7) for index in range(hop, size)),
        migrations={name: {"touches": [f"V{index % (size // 4)}"]} for index, name in enumerate(names)},
        views=views,
        declared=names,
    )


def half_applied(registry: Registry) -> History:
    done = registry.migrations[: len(registry.migrations) // 2]
    return History(records={each.name: Record(each.name, installed=True) for each in done})


def tangle(size: int) -> Registry:
    return registry_of(*(f"m{index} < m{(index * 7 + 1) % size} < m{(index + 1) % size}" for index in range(size)))


# For every kind of work: what is made ready, and what is measured.
WORK: dict[str, tuple[Callable[[int], Registry], Callable[[Registry], object]]] = {
    "build": (project, build_graph),
    "order": (project, lambda registry: build_graph(registry).order(Ordering.INTERTWINED)),
    "check": (project, lambda registry: check(build_graph(registry), half_applied(registry))),
    "plan": (project, lambda registry: build_plan(build_graph(registry), half_applied(registry))),
    "rings": (tangle, lambda registry: build_graph(registry).cycles(EdgeKind.REQUIRES)),
    "select": (project, lambda registry: select("+V1 m_2020*+", build_graph(registry), {})),
}


@pytest.mark.parametrize("kind", WORK)
def test_four_times_as_much_takes_at_most_six_times_as_long(kind: str) -> None:
    prepare, work = WORK[kind]
    small, large = (fastest(functools.partial(work, prepare(size))) for size in (1_000, 4_000))
    assert large < LIMIT * small, f"{kind}: {small:.4f} s for n, {large:.4f} s for 4n"


def test_two_thousand_migrations_and_five_hundred_views_are_judged_in_two_seconds() -> None:
    registry = project(2_000)
    assert fastest(lambda: check(build_graph(registry), half_applied(registry))) < 2.0
