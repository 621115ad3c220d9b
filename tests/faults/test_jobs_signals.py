"""`apply --jobs`: one signal stops all that run, whatever they do; what ends one of them is told."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

import pytest
from fault_field import ONE_SIGNAL, Field
from jobs_stand import (
    BARRIER,
    FOR_EVER,
    HEAD,
    WAITS,
    at_the_gate,
    body,
    gate,
    servers_of,
    wait_for_waiting,
    wait_until_gone,
    workers_of,
)
from side_by_side import PATIENT
from waiting import wait_until

pytestmark = pytest.mark.postgres

DEAF_ONE = "did not hear the signal"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_all_at_once(signum: signal.Signals, on_postgres: Field) -> None:
    with gate(on_postgres):
        process = at_the_gate(on_postgres)
        workers = workers_of(process)
        ended = process.stop(signum)
    assert ended.code == 128 + signum, ended.output
    assert ended.output.count(f"stopped by {signum.name}") >= 3
    assert DEAF_ONE not in ended.output
    assert "1 not reached" in ended.output
    wait_until_gone(workers)
    state = on_postgres.probe()
    assert state.tables == set()
    assert [how for _, how, _ in state.journal] == ["failed"] * 3


def test_a_signal_for_the_whole_group_is_one_signal(on_postgres: Field) -> None:
    """As a terminal sends it, and a service manager."""
    with gate(on_postgres):
        process = at_the_gate(on_postgres)
        for pid in (*workers_of(process), *servers_of(process), process.process.pid):
            os.kill(pid, signal.SIGINT)
        ended = process.end()
    assert ended.code == 130, ended.output
    assert DEAF_ONE not in ended.output
    assert [how for _, how, _ in on_postgres.probe().journal] == ["failed"] * 3, "each has recorded how it ended"


REPLACED = {
    "modules": "[sys.modules.pop(name) for name in list(sys.modules) if name.startswith(('migrate_graph', 'pathlib'))]",
    "os": "os.kill = None",
}


@pytest.mark.parametrize("replaced", REPLACED)
def test_words_pass_while_a_body_has_replaced_what_carries_them(replaced: str, on_postgres: Field) -> None:
    """In both directions: the run hears what it prints, and it hears that the run is stopped."""
    lines = ("print('before')", REPLACED[replaced], "print('after')")
    on_postgres.write("import sys\n" + HEAD + body("a_1", *lines, "time.sleep(300)") + body("b_2", *lines))
    process = on_postgres.open("apply", "--jobs", "2", env=PATIENT)
    process.wait_for_all("a_1 | after", "ok b_2")
    ended = process.stop(signal.SIGTERM)
    assert ended.code == 143, ended.output
    assert DEAF_ONE not in ended.output
    assert [ended.output.count(f"{name} | {word}") for name in ("a_1", "b_2") for word in ("before", "after")] == [
        1
    ] * 4
    assert on_postgres.probe().last("a_1") == ("failed", 0), "it has recorded how it ended"


def test_a_signal_for_one_worker_stops_the_run(on_postgres: Field) -> None:
    with gate(on_postgres):
        process = at_the_gate(on_postgres)
        os.kill(workers_of(process)[0], signal.SIGTERM)
        ended = process.end()
    assert ended.code == 143, ended.output
    assert on_postgres.probe().tables == set()


DEAF = (
    "print('deaf', flush=True)",
    "while True:",
    "    try:",
    "        time.sleep(60)",
    "    except BaseException:",
    "        print('heard')",
)


def test_a_second_signal_ends_all(on_postgres: Field) -> None:
    on_postgres.write(HEAD + body("a_1", *DEAF) + body("b_2", *DEAF))
    process = on_postgres.open("apply", "--jobs", "2")
    process.wait_for_all("a_1 | deaf", "b_2 | deaf")
    workers = workers_of(process)
    process.process.send_signal(signal.SIGINT)
    process.wait_for_all("a_1 | heard", "b_2 | heard")
    time.sleep(ONE_SIGNAL)
    ended = process.stop(signal.SIGINT)
    assert ended.code == 130
    wait_until_gone(workers)
    assert on_postgres.probe().tables == set()


@pytest.mark.parametrize("kill", [False, True])
def test_a_worker_in_a_deaf_c_function_ends_with_the_run(kill: bool, on_postgres: Field) -> None:
    """One signal is enough: the run does not wait for who cannot hear, and records what became of it."""
    on_postgres.write("import collections, itertools, operator\n" + HEAD + body("a_1", FOR_EVER) + body("b_2", WAITS))
    with gate(on_postgres):
        process = on_postgres.open("apply", "--jobs", "2")
        wait_for_waiting(on_postgres, 1)
        deadline = time.monotonic() + 60
        while not (on_postgres.path / "deaf").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        workers = workers_of(process)
        assert len(workers) == 2
        if kill:
            process.process.kill()
            ended = process.end()
        else:
            ended = process.stop(signal.SIGTERM)
            assert DEAF_ONE in ended.output
        try:
            wait_until_gone(workers)
        finally:
            for pid in workers:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    assert ended.code == (-9 if kill else 143)
    state = on_postgres.probe()
    assert state.tables == set()
    assert [state.last(name) for name in ("a_1", "b_2")] == [None if kill else ("failed", 0)] * 2


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("whole", [False, True], ids=["the run", "the group"])
def test_a_signal_stops_all_whatever_they_do(signum: signal.Signals, whole: bool, on_postgres: Field) -> None:
    """One in the server, one in Python, one that is stopped, and one that has nothing to do any more."""
    on_postgres.write(
        HEAD
        + body("a_1", "db.executesql('SELECT pg_sleep(600)')")
        + body("b_2", "db.commit()", "while True: pass")
        + body("c_3", "open('pid', 'w').write(f'{os.getpid()} ')", "time.sleep(600)")
        + body("d_4")
        + body("e_5", how="requires=a_1")
    )
    process = on_postgres.open("apply", "--jobs", "4")
    process.wait_for("ok d_4")
    pid_of_c, done_by_b = on_postgres.path / "pid", "SELECT count(*) FROM pg_class WHERE relname = 'b_2'"
    wait_until(lambda: pid_of_c.exists() and pid_of_c.read_text().endswith(" "))
    wait_until(lambda: on_postgres.query(done_by_b) == [(1,)])
    wait_until(
        lambda: on_postgres.query("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == [(1,)]
    )
    workers = workers_of(process)
    assert len(workers) == 4
    stopped = int(pid_of_c.read_text())
    os.kill(stopped, signal.SIGSTOP)
    process.process.send_signal(signum)
    for pid in (set(workers) | set(servers_of(process))) - {stopped} if whole else ():
        with suppress(ProcessLookupError):  # it may have ended by then: the run had the signal before it
            os.kill(pid, signum)
    ended = process.end()
    assert ended.code == 128 + signum, ended.output
    wait_until_gone(workers)
    state = on_postgres.probe()
    assert state.tables == {"b_2", "d_4"}
    assert {name: state.last(name) for name in ("a_1", "b_2", "c_3", "d_4", "e_5")} == {
        "a_1": ("failed", 0), "b_2": ("running", 1), "c_3": ("failed", 0), "d_4": ("applied", 0), "e_5": None,
    }  # fmt: skip


def test_the_server_ends_the_session_of_one_and_the_others_finish(on_postgres: Field) -> None:
    on_postgres.write(
        HEAD
        + body("a_1", WAITS)
        + body("b_2", "db.commit()", WAITS)
        + body("c_3", WAITS)
        + body("d_4", how="requires=c_3")
        + body("e_5", how="requires=a_1")
    )
    with gate(on_postgres) as open_gate:
        process = on_postgres.open("apply", "--jobs", "3", "--keep-going")
        wait_for_waiting(on_postgres, 3)
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
        assert on_postgres.query(cut, "migrate_graph:a_1") == [(True,)]
        process.wait_for("FAILED a_1")
        open_gate()
        ended = process.end()
    assert ended.code == 1, ended.output
    assert "the connection to the database was lost" in ended.output
    state = on_postgres.probe()
    assert state.tables == {"b_2", "c_3", "d_4"}
    assert [state.last(name) for name in ("a_1", "b_2", "c_3", "d_4")] == [
        ("failed", 0), ("applied", 1), ("applied", 0), ("applied", 0),
    ]  # fmt: skip
    assert on_postgres.apply("--jobs", "3", "--dry-run").code == 0


def test_a_crash_of_one_worker_is_told(on_postgres: Field) -> None:
    on_postgres.write("import ctypes\n" + HEAD + body("a_1", "ctypes.string_at(0)") + body("b_2"))
    ended = on_postgres.apply("--jobs", "2")
    assert ended.code == 1
    assert "was ended by SIGSEGV" in ended.output
    assert "without a last word" not in ended.output, "the run goes on, and has the last word"
    assert on_postgres.probe().tables == {"b_2"}


@pytest.mark.parametrize(
    ("ends", "how", "told"),
    [
        (
            "import os; os.kill(os.getpid(), 9)",
            "was ended by SIGKILL",
            "next: migrate apply, when it is known who ended its process: the system's log tells whether memory ran out",
        ),
        (
            "import os; os._exit(3)",
            "ended with code",
            "hint: the body, or code that it calls, ended its process (os._exit)",
        ),
        ("import ctypes; ctypes.string_at(0)", "was ended by SIGSEGV", "hint: native code crashed"),
    ],
    ids=["killed", "exit", "crash"],
)
def test_who_ended_a_worker_is_told_and_what_to_do(on_postgres: Field, ends: str, how: str, told: str) -> None:
    on_postgres.write(HEAD + body("a_1", ends) + body("b_2"))
    ended = on_postgres.apply("--jobs", "2")
    said = " ".join(ended.output.split())
    assert ended.code == 1
    assert how in said
    assert told in said
    assert ("next: correct a_1" in said) is (how != "was ended by SIGKILL"), "nobody can correct what was killed"
    assert "committed: b_2" in said
    assert on_postgres.probe().tables == {"b_2"}


def test_a_worker_that_was_killed_after_a_commit_of_its_own_is_to_be_decided(on_postgres: Field) -> None:
    on_postgres.write(HEAD + body("a_1", "db.commit()", "import os; os.kill(os.getpid(), 9)") + body("b_2"))
    ended = on_postgres.apply("--jobs", "2")
    said = " ".join(ended.output.split())
    assert ended.code == 5
    assert "was ended by SIGKILL" in said
    assert "migrate resolve a_1 --applied" in said
    assert "next: correct" not in said


def test_no_output_is_lost_or_cut(on_postgres: Field) -> None:
    """Four bodies that print much at once: each line is whole, and in its order."""
    prints = "for n in range(300): print('line', n, 'x' * 200)"
    on_postgres.write(HEAD + BARRIER + "".join(body(f"m_{n}", f"meet(1000, {n}, 4)", prints) for n in range(4)))
    ended = on_postgres.apply("--jobs", "4")
    assert ended.code == 0
    for number in range(4):
        told = [line.partition("| ")[2] for line in ended.output.splitlines() if f" m_{number} | line" in line]
        assert told == [f"line {n} {'x' * 200}" for n in range(300)]
