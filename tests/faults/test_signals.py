"""SIGTERM, SIGINT and SIGHUP, wherever they come: rolled back, reported, gone within two seconds."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import psycopg2
import pytest
from fault_field import ONE_SIGNAL, WAITS_TO_GO, Field
from side_by_side import NOT_IN_WORKERS
from waiting import wait_until

from migrate_graph import redis_cache, signals, supervisor_program
from migrate_graph.database.postgres import backend
from migrate_graph.database.postgres.session import patience
from migrate_graph.database.sqlite import backend as sqlite_backend
from migrate_graph.executor import side_by_side, worker_pool

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]

# None of these ends before the test gives up: where the run has ended, it was the signal.
PYTHON = "time.sleep(300)"
POSTGRES = "db.executesql('SELECT pg_sleep(300)')"
SQLITE = "db.executesql('WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000000) SELECT max(i) FROM n')"


def _text(wait: str, before: str = "") -> str:
    return (
        "import time\nfrom migrate_graph import migration\n\n@migration\ndef slow_1(db):\n"
        f"    db.executesql('CREATE TABLE slow (id integer)')\n{before}    print('here')\n    {wait}\n    return True\n\n"
        "@migration\ndef next_2(db):\n    return True\n"
    )


@pytest.mark.parametrize("signum", SIGNALS)
@pytest.mark.parametrize("place", ["python", "statement"])
def test_d20_a_signal_in_a_migration(place: str, signum: signal.Signals, anywhere: Field) -> None:
    anywhere.write(_text(PYTHON if place == "python" else POSTGRES if anywhere.is_postgres else SQLITE))
    process = anywhere.open("apply")
    process.wait_for("slow_1 | here")
    if place == "statement":
        process.wait_until_in_c()
    ended = process.stop(signum)
    assert ended.code == 128 + signum
    assert f"stopped by {signum.name}" in ended.output
    assert "INTERRUPTED slow_1" in ended.output
    assert "not reached" in ended.output, "the summary is printed"
    state = anywhere.probe()
    assert state.tables == set()
    assert state.last("slow_1") == ("failed", 0)
    anywhere.write(_text("pass"))
    assert anywhere.apply().code == 0, "nothing of it was kept, so it is simply run again"


def test_a_signal_that_does_not_end_a_wait_in_c_is_heard(anywhere: Field) -> None:
    """As where it comes just before the wait begins: Python knows of it, and nothing wakes the main thread."""
    elsewhere = (
        "    import signal\n    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # another thread gets it\n"
    )
    anywhere.write(_text(PYTHON, elsewhere))
    process = anywhere.open("apply")
    process.wait_for("slow_1 | here")
    process.wait_until_it_sleeps()
    ended = process.stop(signal.SIGTERM)
    assert ended.code == 143, ended.output
    assert "INTERRUPTED slow_1" in ended.output
    assert anywhere.probe().tables == set()


def test_no_wait_of_ours_is_longer_than_two_seconds() -> None:
    """Until it is said what is waited for, and between a signal and the end, as far as they are ours to choose."""
    until_said = [
        patience._FIRST_REPORT + patience._CHECK_EVERY, backend._QUIET, sqlite_backend._TELL_FIRST,
        redis_cache._FIRST_REPORT + redis_cache._CHECK_EVERY,
    ]  # fmt: skip
    until_ended = [
        patience._CHECK_EVERY + 2 * patience._GRACE, backend._GRACE, sqlite_backend._GRACE,
        signals._CANCEL_EVERY + signals._HANG_UP_AFTER, redis_cache._CHECK_EVERY,
        side_by_side._LOOK_EVERY + worker_pool._UNRESPONSIVE_AFTER, side_by_side._LAST_LOOK,
    ]  # fmt: skip
    assert max(until_said) <= 2.0
    assert max(until_ended) <= 2.0


def test_a_signal_after_own_commits_asks_a_human(anywhere: Field) -> None:
    anywhere.write(_text(PYTHON, "    db.commit()\n    db.executesql('CREATE TABLE more (id integer)')\n"))
    process = anywhere.open("apply")
    process.wait_for("slow_1 | here")
    ended = process.stop(signal.SIGTERM)
    assert ended.code == 143
    assert "1 commit of its own stayed in the database" in ended.output
    state = anywhere.probe()
    assert state.tables == {"slow"}
    assert state.last("slow_1") == ("running", 1)
    assert anywhere.apply().code == 5


def test_a_body_that_swallows_everything_still_stops(anywhere: Field) -> None:
    wait = POSTGRES if anywhere.is_postgres else SQLITE
    anywhere.write(_text(f"try:\n        {wait}\n    except BaseException:\n        pass"))
    process = anywhere.open("apply")
    process.wait_for("slow_1 | here")
    process.wait_until_in_c()
    ended = process.stop(signal.SIGTERM)
    assert ended.code == 143
    assert anywhere.probe().tables == set()


def test_a_second_signal_ends_it_at_once(anywhere: Field) -> None:
    tries = "try:\n            print('in it')\n            time.sleep(300)"
    stubborn = f"while True:\n        {tries}\n        except BaseException:\n            print('no')"
    anywhere.write(_text(stubborn))
    process = anywhere.open("apply")
    process.wait_for("slow_1 | in it")
    process.process.send_signal(signal.SIGTERM)
    process.wait_for("slow_1 | no")
    time.sleep(ONE_SIGNAL)
    ended = process.stop(signal.SIGTERM)
    assert ended.code == 143
    assert "without a last word" not in ended.output
    assert anywhere.probe().tables == set(), "the database rolls back what nobody commits"


# C functions that keep the interpreter, for ever or until the clock says so; a directory shows that they have begun.
BEGUN = "map(operator.not_, map(os.mkdir, ['deaf']))"
FOR_EVER = f"collections.deque(itertools.chain({BEGUN}, itertools.repeat(None)), maxlen=0)"
FOR_SECONDS = f"any(map(operator.lt, itertools.repeat(time.monotonic() + 2.5), itertools.chain({BEGUN}, iter(time.monotonic, None))))"


def _deaf(wait: str, before: str = "") -> str:
    return "import collections, itertools, operator, os, signal\n" + _text(wait, before)


def _wait_until_deaf(field: Field) -> None:
    wait_until((field.path / "deaf").exists)


@NOT_IN_WORKERS
@pytest.mark.parametrize("second", SIGNALS)
def test_a_second_signal_ends_it_while_a_c_function_keeps_the_interpreter(
    second: signal.Signals, anywhere: Field
) -> None:
    anywhere.write(_deaf(FOR_EVER))
    process = anywhere.open("apply")
    _wait_until_deaf(anywhere)
    process.process.send_signal(signal.SIGTERM)
    time.sleep(1)  # two signals at once are one: nothing but the time between them tells them apart
    assert process.process.poll() is None, "one signal asks; only the second one insists"
    ended = process.stop(second)
    assert ended.code == -signal.SIGKILL
    assert f"killed: a second {second.name} came" in ended.output
    assert anywhere.probe().tables == set()
    anywhere.write(_text("pass"))
    assert anywhere.apply().code == 0


def test_a_second_signal_ends_it_when_only_the_first_was_heard(on_sqlite: Field) -> None:
    on_sqlite.write(
        _deaf(
            f"try:\n        print('in it')\n        time.sleep(30)\n    except BaseException:\n        print('no')\n    {FOR_EVER}"
        )
    )
    process = on_sqlite.open("apply")
    process.wait_for("slow_1 | in it")
    process.process.send_signal(signal.SIGTERM)
    process.wait_for("slow_1 | no")
    _wait_until_deaf(on_sqlite)
    time.sleep(1)  # as above: whether our thread had read the first one before the interpreter was kept is chance
    ended = process.stop(signal.SIGTERM)
    assert ended.code == -signal.SIGKILL


@pytest.mark.parametrize("kind", ["alone", "sent twice at once", "beside the body's own"])
def test_one_signal_is_never_taken_for_two(kind: str, on_sqlite: Field) -> None:
    ticks = "signal.signal(signal.SIGALRM, lambda *_: None)\n    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)\n    "
    on_sqlite.write(_deaf((ticks if kind == "beside the body's own" else "") + FOR_SECONDS))
    process = on_sqlite.open("apply")
    _wait_until_deaf(on_sqlite)
    process.process.send_signal(signal.SIGTERM)
    if kind == "sent twice at once":  # as `timeout` does; two numbers, so that the kernel does not make one of them
        process.process.send_signal(signal.SIGHUP)
    ended = process.end()
    assert ended.code in {128 + signal.SIGTERM, 128 + signal.SIGHUP}
    assert "killed" not in ended.output
    assert "INTERRUPTED slow_1" in ended.output


def test_the_supervisor_is_no_child_and_ends_with_the_run(on_sqlite: Field) -> None:
    wait = (
        "child = os.fork()\n    if not child:\n        os._exit(0)\n    met = []\n    while True:\n        try:\n"
        "            met.append(os.wait()[0])\n        except ChildProcessError:\n            break\n    assert met == [child]"
    )
    on_sqlite.write(_deaf(wait, "    print('running as', os.getpid())\n"))
    process = on_sqlite.open("apply")
    line = process.wait_for("running as")
    ended = process.end()
    assert ended.code == 0
    run = line.split("running as")[1].split()[0]
    wait_until(lambda: not _supervisors_of(run))


def _supervisors_of(run: str) -> list[bytes]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            words = entry.read_bytes().split(b"\0")
            if any(word.endswith(b"supervisor_program.py") for word in words) and run.encode() in words:
                found.append(entry.read_bytes())
    return found


NO_LAST_WORD = "the run has ended without a last word"


def test_a_run_that_was_killed_before_its_supervisor_could_look_is_reported() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    unheard, signalled = socket.socketpair()
    with unheard, signalled:
        told = subprocess.run(
            [sys.executable, supervisor_program.__file__, str(unheard.fileno()), str(gone.pid), "2"],
            pass_fds=[unheard.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, check=True, timeout=60,
        )  # fmt: skip
    assert told.stderr.startswith(f"error: {NO_LAST_WORD}")
    assert "Traceback" not in told.stderr


ENDS_BELOW = {
    "exit in C": ("ctypes.CDLL(None)._exit(0)", 0),
    "exec in C": ("ctypes.CDLL(None).execl(b'/bin/true', b'true', None)", 0),
    "a crash": ("ctypes.string_at(0)", -signal.SIGSEGV),
    "a kill": ("os.kill(os.getpid(), 9)", -signal.SIGKILL),
}


@NOT_IN_WORKERS
@pytest.mark.parametrize("kind", ENDS_BELOW)
def test_a_run_that_ends_below_python_is_told_by_the_supervisor(kind: str, anywhere: Field) -> None:
    wait, code = ENDS_BELOW[kind]
    anywhere.write("import ctypes, os\n" + _text(wait))
    ended = anywhere.open("apply").end()
    assert (ended.code, ended.output.count(NO_LAST_WORD)) == (code, 1), ended.output
    assert "migrate status tells the rest" in ended.output
    assert anywhere.probe().tables == set()


ENDS_ABOVE = {
    "a failure": "raise ValueError('no')",
    "os._exit": "os._exit(0)",
    "sys.exit": "sys.exit(0)",
    "closed descriptors": "os.closerange(3, 256)\n    time.sleep(0.5)",
    "a forked child": "os.fork() or os._exit(0)\n    os.wait()",
    "a child that is killed": "child = os.fork()\n    if not child:\n        os.kill(os.getpid(), 9)\n    os.waitpid(child, 0)",
}


@pytest.mark.parametrize("kind", ENDS_ABOVE)
def test_the_supervisor_says_nothing_of_what_the_run_tells_itself(kind: str, on_sqlite: Field) -> None:
    on_sqlite.write("import os, sys\n" + _text(ENDS_ABOVE[kind]))
    ended = on_sqlite.open("apply").end()
    assert NO_LAST_WORD not in ended.output
    assert ended.code == (0 if "child" in kind else ended.code)


def test_a_run_without_a_body_has_no_supervisor(on_sqlite: Field) -> None:
    on_sqlite.write(_text("pass"))
    program = (
        "import sys, subprocess as sp\nreal = sp.run\n"
        "sp.run = lambda *a, **k: print('supervised') or real(*a, **k)\n"
        "from migrate_graph.cli import main\nmain(['apply'])"
    )
    for times in (1, 0):
        done = subprocess.run(
            [sys.executable, "-c", program],
            check=False,
            cwd=on_sqlite.path,
            env=on_sqlite.env,
            text=True,
            capture_output=True,
        )
        said = done.stdout + done.stderr
        assert said.count("supervised") == times, said


def test_nohup_is_respected(anywhere: Field) -> None:
    """A process that was told to ignore SIGHUP goes on when the terminal closes."""
    anywhere.write(_text(WAITS_TO_GO))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = anywhere.open("apply")
    finally:
        signal.signal(signal.SIGHUP, before)
    process.wait_for("slow_1 | here")
    process.process.send_signal(signal.SIGHUP)
    anywhere.go()
    assert process.end().code == 0


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_waiting_for_the_lock(signum: signal.Signals, anywhere: Field) -> None:
    anywhere.write(_text(PYTHON))
    first = anywhere.open("apply")
    first.wait_for("slow_1 | here")
    second = anywhere.open("apply")
    second.wait_for("waiting for another run")
    ended = second.stop(signum)
    assert ended.code == 128 + signum
    assert "stopped by" in ended.output
    assert first.stop(signal.SIGTERM).code == 143


@pytest.mark.postgres
def test_a_signal_while_connecting(on_postgres: Field) -> None:
    """To a server that is not there, and to one that accepts the connection and then says nothing."""
    on_postgres.write(_text(PYTHON))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for port in (silent.getsockname()[1], 9):
            process = on_postgres.open(
                "apply", env={"MIGRATE_URI": f"postgres://app:Tr0ub4dor-Geheim-9e1d@127.0.0.1:{port}/x"}
            )
            if port == 9:
                process.wait_for("does not answer yet")
            else:
                silent.accept()
            ended = process.stop(signal.SIGTERM)
            assert ended.code == 143, ended


def test_a_signal_while_another_program_writes_to_the_file(on_sqlite: Field) -> None:
    """SQLite waits for a lock in C, where it hears nothing."""
    on_sqlite.write(_text("pass").replace("    db.execute", "    print('here')\n    db.execute", 1))
    assert on_sqlite.migrate("mark", "next_2", "--pending").code == 0
    with closing(sqlite3.connect(on_sqlite.uri.partition("://")[2], isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        process = on_sqlite.open("apply", env={"MIGRATE_LOCK_TIMEOUT": "300"})
        process.wait_for("slow_1 | here")
        process.wait_until_it_tries_again()
        # The journal is in the same file, so the failure can be written down only if the other program lets go.
        ended = process.stop(signal.SIGTERM)
        other.execute("ROLLBACK")
    assert ended.code == 143
    assert on_sqlite.probe().tables == set()


@pytest.mark.postgres
def test_a_signal_cancels_the_statement_on_the_server(on_postgres: Field) -> None:
    on_postgres.write(_text(POSTGRES))
    process = on_postgres.open("apply")
    process.wait_for("slow_1 | here")
    process.wait_until_in_c()
    process.process.send_signal(signal.SIGTERM)
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%%' AND state = 'active'"
    wait_until(lambda: on_postgres.query(running) == [(0,)])
    assert process.end().code == 143


@pytest.mark.postgres
def test_a_signal_while_the_servers_process_is_frozen(on_postgres: Field) -> None:
    """No cancel request reaches it; then the connection is hung up on, and what became of the work is not guessed."""
    on_postgres.write(_text("db.executesql('SELECT pg_sleep(0.2)')\n    " * 500 + "pass"))
    process = on_postgres.open("apply")
    process.wait_for("slow_1 | here")
    ((pid,),) = on_postgres.query("SELECT pid FROM pg_stat_activity WHERE application_name = 'migrate_graph:slow_1'")
    os.kill(pid, signal.SIGSTOP)
    try:
        ended = process.stop(signal.SIGTERM)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert ended.code == 143, ended.output
    assert on_postgres.probe().tables == set()
    on_postgres.write(_text("pass"))
    assert on_postgres.apply().code == 0


def test_a_signal_while_views_are_repaired(anywhere: Field) -> None:
    """What is down stays down, and stays stored, for the next run to bring back."""
    text = (
        "import time\nfrom pathlib import Path\nfrom child import here\nfrom migrate_graph import ViewMigrationManager, migration\n\n"
        "class V(ViewMigrationManager):\n    uses = ()\n    since = 'base_1'\n    def up(self):\n"
        "        if Path('slow').exists():\n            Path('up').touch()\n            SLOW\n"
        "        self.db.executesql('CREATE VIEW v AS SELECT 1 AS one')\n"
        "    def down(self):\n        self.db.executesql('DROP VIEW IF EXISTS v')\n\n"
        "@migration\ndef base_1(db):\n    with V(db):\n        return True\n\n"
        "@migration(requires=base_1)\ndef lossy_2(db):\n    with V(db):\n        db.commit()\n        here('inside')\n    return True\n"
    )
    slow = POSTGRES if anywhere.is_postgres else SQLITE
    anywhere.write(text.replace("SLOW", slow.replace("db.", "self.db.")))
    assert anywhere.apply(fatal=("inside", 1)).code == -9
    anywhere.wait_until_quiet()
    (anywhere.path / "slow").touch()
    process = anywhere.open("apply")
    wait_until((anywhere.path / "up").exists)
    process.wait_until_in_c()
    ended = process.stop(signal.SIGTERM)
    assert ended.code == 143, ended
    state = anywhere.probe()
    assert (state.views, state.views_down) == (set(), {"V"})
    (anywhere.path / "slow").unlink()
    assert anywhere.apply().code == 5, "the views are back, and the migration still needs a decision"
    state = anywhere.probe()
    assert (state.views, state.views_down) == ({"v"}, set())


@pytest.mark.postgres
@pytest.mark.parametrize("command", ["status", "apply"])
def test_ctrl_c_while_the_ledger_is_locked(command: str, on_postgres: Field) -> None:
    """The driver waits in C; commands that only read have no handlers of their own."""
    on_postgres.write(_text("pass"))
    assert on_postgres.apply().code == 0
    with closing(psycopg2.connect(on_postgres.uri)) as other, closing(psycopg2.connect(on_postgres.uri)) as eye:
        other.cursor().execute("LOCK TABLE ewh_implemented_features")
        eye.autocommit = True
        cursor = eye.cursor()
        process = on_postgres.open(command)
        while True:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'migrate_graph:keeper' AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone() == (1,):
                break
            assert process.process.poll() is None
        ended = process.stop(signal.SIGINT)
        assert ended.code == 130, ended
