"""The thread that reads signals ends with the block that listens for them."""

from __future__ import annotations

import os
import select
import signal
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from waiting import wait_until

from migrate_graph import signals
from migrate_graph.database import Settings, open_backend
from migrate_graph.errors import NoRoom
from migrate_graph.forks import file_of
from migrate_graph.signals import Interruption


def _listeners() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name == "migrate_graph signals"}


def test_no_thread_outlives_the_socket_that_it_reads_from() -> None:
    """It waited for whatever file got the number of the socket next, and kept that open: `subprocess.run` then waited for ever."""
    before = _listeners()
    for _ in range(50):
        with Interruption().listening():
            assert len(_listeners() - before) == 1
        assert not _listeners() - before


def test_the_socket_of_a_thread_that_is_late_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    before, may_go = _listeners(), threading.Event()

    def late(*files: Any) -> Any:
        may_go.wait()
        return select.select(*files)

    monkeypatch.setattr(signals, "select", SimpleNamespace(select=late))
    monkeypatch.setattr(signals, "_LISTENER_ENDS_WITHIN", 0)
    interruption = Interruption()
    with interruption.listening():
        assert interruption._ends
        number = interruption._ends[0].fileno()
        known = file_of(number)
    assert file_of(number) == known
    may_go.set()
    for each in _listeners() - before:
        each.join()
    os.close(number)


def test_ctrl_c_is_noticed_by_a_command_that_only_reads(tmp_path: Path) -> None:
    """It has no handlers of its own, and Python runs its handler only when the driver returns: after ten seconds, perhaps."""
    interruption, before = Interruption(), signal.signal(signal.SIGINT, lambda *_: None)
    try:
        with open_backend(Settings(f"sqlite://{tmp_path / 'x.db'}"), interruption=interruption, writing=True):
            signal.raise_signal(signal.SIGINT)
            wait_until(lambda: interruption.is_heard)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no forks")
def test_a_forked_child_that_leaves_the_block_does_not_end_the_thread_of_its_parent() -> None:
    before, parent, code = _listeners(), os.getpid(), 1
    interruption = Interruption(leads=False)
    try:
        with interruption.listening():
            child = os.fork()
            if child:
                assert os.waitpid(child, 0)[1] == 0
                signal.raise_signal(signal.SIGTERM)
                while not interruption.is_heard:
                    pass
                assert len(_listeners() - before) == 1
        code = 0
    finally:
        if os.getpid() != parent:
            os._exit(code)


def _ours() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name.startswith("migrate_graph ")}


@pytest.mark.parametrize("refused", [1, 2, 3])
def test_none_of_its_threads_stays_when_one_cannot_be_started(refused: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before, start, asked = _ours(), threading.Thread.start, 0

    def start_or_refuse(thread: threading.Thread) -> None:
        nonlocal asked
        asked += 1
        if asked == refused:
            raise RuntimeError("can't start new thread")
        start(thread)

    interruption = Interruption()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start_or_refuse)
        with pytest.raises(NoRoom), interruption.listening():
            pytest.fail("it listened")
    assert interruption._ends is None
    for each in _ours() - before:
        each.join(20)
    assert not _ours() - before
    with interruption.listening():
        assert len(_ours() - before) == 3, "what was asked to end the first time has ended nothing now"
