"""The processes of a run, as the run hears them: who is ended for not hearing a signal, and who is not."""

from __future__ import annotations

import signal
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import pytest

from migrate_graph.core.events import Printed
from migrate_graph.executor import crew as crew_module
from migrate_graph.executor.crew import Crew, Worker
from migrate_graph.executor.line import Heard, Told, packed

assert crew_module._DEAF_AFTER == 1.0


class _Stand:
    """A crew of one that was told to stop, the other end of its line, and a clock that stands still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.killed = 100.0, False
        monkeypatch.setattr(crew_module, "time", SimpleNamespace(monotonic=lambda: self.now))
        ours, theirs = Pipe()
        self.line: Connection = theirs
        process: Any = SimpleNamespace(kill=self._kill, fault="")
        server: Any = SimpleNamespace(is_gone=True)
        self.crew = Crew(lambda _number: pytest.fail("nobody else is started"), server)
        self.crew.workers.append(Worker(1, None, process, ours, "a"))
        self.crew.stop(signal.SIGTERM)

    def _kill(self) -> None:
        self.killed = True

    def says(self, *words: object) -> None:
        for word in words:
            self.line.send_bytes(packed(word))

    def is_ended_after(self, seconds: float) -> bool:
        """Return whether it was ended when so many seconds have passed."""
        self.now += seconds
        self.crew.end_deaf()
        return self.killed


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> _Stand:
    return _Stand(monkeypatch)


def test_who_says_nothing_is_ended(stand: _Stand) -> None:
    assert not stand.is_ended_after(0.9)
    assert stand.is_ended_after(0.2)


def test_who_has_said_so_behind_other_words_is_not(stand: _Stand) -> None:
    """The run reads one word at a time, and may be busy for long between two."""
    stand.says(Told(Printed("a", "one")), Told(Printed("a", "two")), Heard())
    assert not stand.is_ended_after(60)
    for _ in range(3):
        list(stand.crew.heard(0))
        assert not stand.is_ended_after(60 if stand.crew.workers[0].line.poll() else 0)
    assert not stand.is_ended_after(60), "it has heard"


def test_who_speaks_is_not(stand: _Stand) -> None:
    """That it has heard comes after what it said before."""
    for _ in range(3):
        stand.says(Told(Printed("a", "one more")))
        list(stand.crew.heard(0))
        assert not stand.is_ended_after(0.9)
    assert stand.is_ended_after(0.2)
