"""The process that workers of `apply --jobs` are forked from: one for all of them, nothing of the user's in it, and its death is told."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from subprocess import Popen
from types import SimpleNamespace
from typing import Any

import pytest
from fault_field import Field
from jobs_stand import (
    BARRIER,
    FOR_EVER,
    HEAD,
    WAITS,
    body,
    gate,
    is_gone,
    servers_of,
    wait_for_waiting,
    wait_until_gone,
    workers_of,
)
from side_by_side import AT_FORK
from waiting import wait_until

from migrate_graph import forks
from migrate_graph.cli import main
from migrate_graph.database import Settings
from migrate_graph.errors import DatabaseError, MigrateGraphError
from migrate_graph.executor.fork_server import ForkServer
from migrate_graph.executor.fork_server_program import BORN, ENDED, FORK

pytestmark = pytest.mark.postgres

TELL = "open(f'told-{{os.getpid()}}', 'w').write(' '.join(map(str, ({what}))))"
"""In a body: writes down something of its worker, each of which runs one."""


def _told(field: Field) -> list[list[str]]:
    return [each.read_text().split() for each in field.path.glob("told-*")]


def _four_that_meet(what: str, *, first: str = "") -> str:
    return f"import gc, random, signal, tempfile, uuid\n{first}" + HEAD + BARRIER + "".join(
        body(f"m_{number}", f"meet(1000, {number}, 4)", TELL.format(what=what)) for number in range(4)
    )  # fmt: skip


# -- one for all --------------------------------------------------------------------------------------------------------------


def test_one_interpreter_serves_all_workers_and_loads_nothing_of_the_user(on_postgres: Field) -> None:
    loads = "import os\nopen('loaded', 'a').write(f'{os.getpid()}\\n')\n"
    on_postgres.write(_four_that_meet("os.getpid(), os.getppid()", first=loads))
    process = on_postgres.open("apply", "--jobs", "4")
    assert process.end().code == 0
    told = _told(on_postgres)
    assert len({worker for worker, _ in told}) == 4
    (server,) = {server for _, server in told}
    loaded = (on_postgres.path / "loaded").read_text().split()
    assert sorted(loaded) == sorted([str(process.process.pid), *(worker for worker, _ in told)])
    assert server not in loaded


def test_workers_differ_in_what_is_drawn_by_lot(on_postgres: Field) -> None:
    drawn = "random.random(), uuid.uuid1(), uuid.uuid4(), tempfile.mktemp(), os.urandom(8).hex()"
    on_postgres.write(_four_that_meet(drawn))
    assert on_postgres.apply("--jobs", "4").code == 0
    told = _told(on_postgres)
    assert len(told) == 4
    for each in zip(*told, strict=True):
        assert len(set(each)) == 4


def test_a_worker_is_as_if_it_had_been_started(on_postgres: Field) -> None:
    on_postgres.write(_four_that_meet("gc.isenabled(), signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL"))
    assert on_postgres.apply("--jobs", "4").code == 0
    assert _told(on_postgres) == [["True", "True"]] * 4


@contextmanager
def _three_at_the_gate(field: Field, *lines: str, words: tuple[str, ...] = (), first: str = "") -> Iterator[Any]:
    bodies = "".join(body(f"m_{number}", *lines, WAITS) for number in range(3))
    field.write(
        first + HEAD + bodies + body("n_4", how="requires=(m_0, m_1, m_2)") + body("o_5", how="independent=True")
    )
    with gate(field):
        process = field.open("apply", "--jobs", "3", *words)
        wait_for_waiting(field, 3)
        yield process


def _open(pid: int) -> set[str]:
    """Return which sockets and pipes a process holds beside its three standard ones."""
    found = {int(each.name): str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()}
    standard = {found[number] for number in range(3)}
    return {each for each in found.values() if each.startswith(("socket:", "pipe:"))} - standard


def test_no_worker_holds_what_is_open_in_another_one(on_postgres: Field) -> None:
    """Or the end of one could not be heard."""
    with _three_at_the_gate(on_postgres) as process:
        of_each = [_open(pid) for pid in (*servers_of(process), *workers_of(process))]
        assert len(of_each) == 4
        assert all(of_each)
        assert len(set().union(*of_each)) == sum(map(len, of_each))
        process.stop(signal.SIGTERM)


def test_the_end_of_a_worker_is_heard_at_once_and_nothing_is_left_of_it(on_postgres: Field) -> None:
    with _three_at_the_gate(on_postgres) as process:
        killed = workers_of(process)[0]
        os.kill(killed, signal.SIGKILL)
        assert f"(pid {killed}) was ended by SIGKILL" in process.wait_for("FAILED m_0")
        wait_until(lambda: not Path(f"/proc/{killed}").exists())
        process.stop(signal.SIGTERM)


# -- it is killed -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2])
def test_killed_before_or_between_forks(number: int, on_postgres: Field) -> None:
    """What runs is recorded as failed, what was to run as not begun, and the next run does both."""
    on_postgres.write(HEAD + body("a_1", "time.sleep(0)") + body("b_2"))
    killed = on_postgres.open("apply", "--jobs", "2", env={AT_FORK: f"{number} killed"}).end()
    assert killed.code == 1, killed.output
    assert "the process that it was forked from" in killed.output
    assert "was ended by SIGKILL" in killed.output
    state = on_postgres.probe()
    assert state.tables <= {"a_1"}
    assert state.last("b_2") is None
    assert on_postgres.executions("b_2") == 0
    ended = on_postgres.apply("--jobs", "2")
    assert ended.code == 0, ended.output


def test_killed_while_workers_run(on_postgres: Field) -> None:
    with _three_at_the_gate(on_postgres, "db.executesql('SELECT 1')") as process:
        workers, (server,) = workers_of(process), servers_of(process)
        assert len(workers) == 3
        os.kill(server, signal.SIGKILL)
        ended = process.end()
    assert ended.code == 1, ended.output
    assert ended.output.count(f"the process that it was forked from (pid {server}) was ended by SIGKILL") >= 3
    wait_until_gone(workers)
    state = on_postgres.probe()
    assert state.tables == set()
    assert [state.last(f"m_{number}") for number in range(3)] == [("failed", 0)] * 3


def test_where_a_run_keeps_going_another_one_takes_its_place(on_postgres: Field) -> None:
    with _three_at_the_gate(on_postgres, words=("--keep-going",)) as process:
        os.kill(servers_of(process)[0], signal.SIGKILL)
        ended = process.end()
    assert ended.code == 1, ended.output
    state = on_postgres.probe()
    assert state.last("o_5") == ("applied", 0)
    assert state.tables == {"o_5"}


@contextmanager
def _one_deaf(field: Field) -> Iterator[tuple[Any, int, int]]:
    """Yield a run, its fork server, and its one worker: that is in a function of C that keeps the interpreter."""
    field.write(
        "import collections, itertools, operator\n" + HEAD + body("a_1", FOR_EVER) + body("b_2", how="requires=a_1")
    )
    process = field.open("apply", "--jobs", "2")
    wait_until((field.path / "deaf").exists)
    (server,), (worker,) = servers_of(process), workers_of(process)
    try:
        yield process, server, worker
    finally:
        for pid in (server, worker):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_killed_while_a_worker_is_deaf(on_postgres: Field) -> None:
    with _one_deaf(on_postgres) as (process, server, worker):
        os.kill(server, signal.SIGKILL)
        ended = process.end()
        wait_until_gone([worker])
    assert ended.code == 1, ended.output
    assert on_postgres.probe().last("a_1") == ("failed", 0)


def test_a_stopped_one_keeps_no_run_from_its_end(on_postgres: Field) -> None:
    with _one_deaf(on_postgres) as (process, server, worker):
        os.kill(server, signal.SIGSTOP)
        ended = process.stop(signal.SIGTERM)
        wait_until_gone([server, worker])
    assert ended.code == 143, ended.output
    assert on_postgres.probe().last("a_1") == ("failed", 0)


def test_a_stopped_one_ends_with_the_run(on_postgres: Field) -> None:
    with _one_deaf(on_postgres) as (process, server, worker):
        os.kill(server, signal.SIGSTOP)
        process.process.kill()
        process.end()
        wait_until_gone([server, worker])


# -- it cannot fork -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2])
def test_no_process_can_be_forked(number: int, on_postgres: Field) -> None:
    """What runs beside it is finished."""
    on_postgres.write(HEAD + body("a_1") + body("b_2"))
    ended = on_postgres.open("apply", "--jobs", "2", env={AT_FORK: f"{number} refused"}).end()
    assert ended.code == 1, ended.output
    assert f"no process can be started to run migrations side by side: {os.strerror(11)}" in ended.output
    assert "raise the limits on memory and processes, or leave out --jobs" in ended.output
    assert on_postgres.probe().tables == {"b_2" if number == 1 else "a_1"}


def test_none_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("migrate_graph.executor.fork_server.subprocess", SimpleNamespace(Popen=refused, DEVNULL=-3))
    with pytest.raises(MigrateGraphError, match="no process can be started to run migrations side by side"):
        ForkServer(Settings("postgres://nobody@localhost/none"))
    assert not set(forks.SIGNALS) & signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_it_ends_where_the_run_comes_to_nothing(
    on_postgres: Field, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also in a program that goes on."""
    servers: list[ForkServer] = []
    begin = ForkServer.__init__

    def begins(server: ForkServer, *arguments: Any) -> None:
        begin(server, *arguments)
        servers.append(server)

    def fails(*_: object, **__: object) -> None:
        (server,) = servers
        assert not is_gone(server.pid)
        raise DatabaseError("gone")

    monkeypatch.setattr(ForkServer, "__init__", begins)
    monkeypatch.setattr("migrate_graph.workflow.drift.tell_before_run", fails)
    monkeypatch.chdir(on_postgres.path)
    on_postgres.write(HEAD + body("a_1") + body("b_2"))
    assert main(["apply", "--jobs", "2"], environ=on_postgres.env) == DatabaseError.exit_code
    assert "gone" in capsys.readouterr().err
    assert is_gone(servers[0].pid)


# -- without a run ------------------------------------------------------------------------------------------------------------

SERVES = """
import signal, sys
from multiprocessing.connection import Connection
from migrate_graph.executor.fork_server_program import ForkServer
if ForkServer(Connection(int(sys.argv[1]))).serve() is not None:
    signal.pause()
"""


def test_its_workers_end_where_nothing_but_its_line_tells_that_the_run_is_gone() -> None:
    """Not every system ends a child with its parent."""
    ours, theirs = socket.socketpair()
    with theirs, Popen([sys.executable, "-c", SERVES, str(theirs.fileno())], pass_fds=[theirs.fileno()]) as server:
        line = Connection(ours.detach())
        line.send((FORK, 7))
        with socket.fromfd(line.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as again:
            socket.send_fds(again, [b"."], [theirs.fileno()])
        word, number, worker = line.recv()
        assert (word, number) == (BORN, 7)
        line.close()
        try:
            deadline = time.monotonic() + 60
            while not is_gone(worker):
                assert time.monotonic() < deadline
                time.sleep(0.02)
        finally:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
            server.kill()


def test_it_tells_how_a_worker_has_ended() -> None:
    ours, theirs = socket.socketpair()
    with theirs, Popen([sys.executable, "-c", SERVES, str(theirs.fileno())], pass_fds=[theirs.fileno()]) as server:
        with Connection(ours.detach()) as line:
            line.send((FORK, 7))
            with socket.fromfd(line.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as again:
                socket.send_fds(again, [b"."], [theirs.fileno()])
            _, _, worker = line.recv()
            os.kill(worker, signal.SIGTERM)
            assert line.recv() == (ENDED, 7, -signal.SIGTERM)
        server.kill()
