"""How long the core takes to judge large projects, in seconds of processor time: `python -m pytest tests/bench/test_bench_core.py`.

How the work grows is counted in the suite: `tests/unit/test_growth.py`.
"""

import gc
import time
from collections.abc import Callable

from growing import half_applied, project

from migrate_graph.core.graph import build_graph
from migrate_graph.core.plan import build_plan
from migrate_graph.core.rules import check


def fastest(work: Callable[[], object], rounds: int = 3) -> float:
    """Return the processor time of the fastest round: the others met something else that ran."""
    seconds = []
    for _ in range(rounds):
        gc.collect()
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


def test_two_thousand_migrations_and_five_hundred_views_are_judged_in_a_second() -> None:
    registry = project(2_000)
    assert fastest(lambda: check(build_graph(registry), half_applied(registry))) < 1.0


def test_ten_thousand_migrations_and_two_and_a_half_thousand_views_are_planned_in_three_seconds() -> None:
    registry = project(10_000)
    assert fastest(lambda: build_plan(build_graph(registry), half_applied(registry)), rounds=1) < 3.0
