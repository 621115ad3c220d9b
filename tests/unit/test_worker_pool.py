"""The processes of a run, as the run hears them: who is ended for not hearing a signal, and who is not."""

from __future__ import annotations

import signal
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import pytest

from migrate_graph.core.events import Printed
from migrate_graph.executor import worker_pool as pool_module
from migrate_graph.executor.worker_messages import Observed, StopConfirmed, packed
from migrate_graph.executor.worker_pool import Worker, WorkerPool

assert pool_module._UNRESPONSIVE_AFTER == 1.0


class _Stand:
    """A worker_pool of one that was told to stop, the other end of its line, and a clock that stands still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.killed = 100.0, False
        monkeypatch.setattr(pool_module, "time", SimpleNamespace(monotonic=lambda: self.now))
        ours, theirs = Pipe()
        self.line: Connection = theirs
        process: Any = SimpleNamespace(kill=self._kill, fault="")
        server: Any = SimpleNamespace(is_gone=True)
        self.worker_pool = WorkerPool(lambda _number: pytest.fail("nobody else is started"), server)
        self.worker_pool.workers.append(Worker(1, None, process, ours, "a"))
        self.worker_pool.stop(signal.SIGTERM)

    def _kill(self) -> None:
        self.killed = True

    def says(self, *words: object) -> None:
        for word in words:
            self.line.send_bytes(packed(word))

    def is_ended_after(self, seconds: float) -> bool:
        """Return whether it was ended when so many seconds have passed."""
        self.now += seconds
        self.worker_pool.kill_unresponsive()
        return self.killed


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> _Stand:
    return _Stand(monkeypatch)


def test_who_says_nothing_is_ended(stand: _Stand) -> None:
    assert not stand.is_ended_after(0.9)
    assert stand.is_ended_after(0.2)


def test_who_has_said_so_behind_other_words_is_not(stand: _Stand) -> None:
    """The run reads one word at a time, and may be busy for long between two."""
    stand.says(Observed(Printed("a", "one")), Observed(Printed("a", "two")), StopConfirmed())
    assert not stand.is_ended_after(60)
    for _ in range(3):
        list(stand.worker_pool.messages(0))
        assert not stand.is_ended_after(60 if stand.worker_pool.workers[0].line.poll() else 0)
    assert not stand.is_ended_after(60), "it has heard"


def test_who_speaks_is_not(stand: _Stand) -> None:
    """That it has heard comes after what it said before."""
    for _ in range(3):
        stand.says(Observed(Printed("a", "one more")))
        list(stand.worker_pool.messages(0))
        assert not stand.is_ended_after(0.9)
    assert stand.is_ended_after(0.2)
