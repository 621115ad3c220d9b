"""What the executor tells."""

from __future__ import annotations

import pytest

from migrate_graph.core.events import LockHolder, Outcome, Result, RunFinished


@pytest.mark.parametrize(
    ("holder", "told"),
    [
        (LockHolder(4242), "pid 4242"),
        (
            LockHolder(7, "migrate_graph:keeper", "10.0.0.7", "09:00"),
            "pid 7, migrate_graph:keeper, 10.0.0.7, since 09:00",
        ),
        (LockHolder(7, client="10.0.0.7"), "pid 7, 10.0.0.7"),
    ],
)
def test_a_holder_is_told_as_far_as_it_is_known(holder: LockHolder, told: str) -> None:
    assert str(holder) == told


def test_a_run_succeeds_when_everything_is_applied_and_nothing_stopped_it() -> None:
    applied, blocked = Result("a", Outcome.APPLIED), Result("b", Outcome.BLOCKED)
    assert RunFinished("r", (applied,), 1.0).succeeded
    assert not RunFinished("r", (applied, blocked), 1.0).succeeded
    assert not RunFinished("r", (applied,), 1.0, signal=15).succeeded
    assert RunFinished("r", (applied, blocked), 1.0).of(Outcome.BLOCKED, Outcome.RAISED) == (blocked,)
