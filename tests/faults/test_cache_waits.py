"""A cache that accepts and never answers: what is waited for is said, a signal is heard, and there is a limit."""

from __future__ import annotations

import contextlib
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator

import pytest
from fault_field import Field

from migrate_graph.core.events import Event
from migrate_graph.errors import PendingTaskFailed
from migrate_graph.redis_cache import flush

ONE = "from migrate_graph import migration\n\n@migration\ndef one_1(db):\n    db.executesql('CREATE TABLE t (id integer)')\n    return True\n"


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and answers nothing."""
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    accepted.append(server.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        yield f"user:hunter2@127.0.0.1:{server.getsockname()[1]}"
    for connection in accepted:
        connection.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_heard_and_the_flush_stays_pending(on_sqlite: Field, silent: str, number: signal.Signals) -> None:
    on_sqlite.write(ONE)
    on_sqlite.env["REDIS_HOST"] = silent
    process = on_sqlite.open("apply")
    process.wait_for("waiting for the cache redis://user:***@127.0.0.1")
    ended = process.stop(number)
    assert ended.code == 128 + number
    assert "hunter2" not in ended.output
    assert on_sqlite.probe().ledger["one_1"]
    with contextlib.closing(sqlite3.connect(on_sqlite.uri.removeprefix("sqlite://"))) as database:
        pending = database.execute(
            "SELECT name, state FROM ewh_implemented_features_journal WHERE name = 'flush'"
        ).fetchall()
    assert len(pending) == 1, "the next run flushes"


def test_what_is_waited_for_is_said_within_two_seconds(silent: str) -> None:
    told: list[tuple[float, Event]] = []
    started = time.monotonic()
    with pytest.raises(PendingTaskFailed, match="not done within 2 s"):
        flush(silent, observer=lambda event: told.append((time.monotonic() - started, event)), limit=2.0)
    assert "waiting for the cache" in str(told[0][1])


def test_a_server_that_answers_just_often_enough_is_left_at_the_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            with contextlib.suppress(OSError):
                connection = server.accept()[0]
                while True:
                    connection.recv(1 << 16)
                    connection.sendall(b"+")  # never a whole line
                    threading.Event().wait(0.05)

        threading.Thread(target=drip, daemon=True).start()
        with pytest.raises(PendingTaskFailed, match="not done within 1 s"):
            flush(f"127.0.0.1:{server.getsockname()[1]}", timeout=60, limit=1.0)
