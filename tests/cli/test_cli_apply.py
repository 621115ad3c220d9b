"""`apply`, `mark` and `resolve` through the command line, mostly on SQLite."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from servers import PostgresServer

FAILS = """
    from migrate_graph import migration


    @migration
    def first(db):
        print("hello from inside")
        db.executesql("CREATE TABLE first (id INTEGER)")
        return True


    @migration(requires=[first])
    def second(db):
        raise ValueError("column [red]vat[/red] exists")
        return True


    @migration(requires=[second])
    def third(db):
        return True


    @migration
    def fourth(db):
        return False
        return True
"""


@pytest.fixture
def failing(shell):
    shell.write("migrations.py", FAILS)
    shell.env["MIGRATE_URI"] = f"sqlite://{shell.path / 'shop.db'}"
    return shell


def test_a_run_is_told_line_by_line_on_stderr(shop) -> None:
    ran = shop()
    assert ran.code == 0
    assert not ran.out, "stdout is for what was asked"
    assert "[1/3] start create_customer_20260301_001 (migrations.py:18)" in ran.err
    assert "[3/3] ok widen_total_20260302_001" in ran.err
    assert "view up: Totals" in ran.err
    assert "3 applied in" in ran.err
    again = shop("apply")
    assert again.code == 0
    assert "nothing to do" in again.err


def test_a_failure_is_exit_1_with_what_is_committed_and_what_to_type(failing) -> None:
    ran = failing("apply")
    assert ran.code == 1
    assert "first | hello from inside" in ran.err
    assert "FAILED second" in ran.err
    assert "ValueError: column [red]vat[/red] exists" in ran.err
    assert "(migrations.py:13)" in ran.err
    assert "committed: first" in ran.err
    assert "next: correct second at migrations.py:13, then migrate apply" in ran.err
    assert "migrate_graph/" not in ran.err, "only frames of the user"


def test_keep_going_and_blocked(failing) -> None:
    ran = failing("apply", "--keep-going")
    assert ran.code == 1
    assert "blocked" in ran.err
    assert "third" in ran.err
    assert "FAILED fourth" in ran.err
    states = {state["name"]: state["status"] for state in failing("status", "--json").json["migrations"]}
    assert states == {"first": "applied", "second": "failed", "third": "pending", "fourth": "failed"}


def test_json_lines_tell_everything_with_a_version_first(failing) -> None:
    ran = failing("apply", "--json")
    lines = ran.lines
    assert (lines[0]["type"], lines[0]["ui"]) == ("version", "1.2")
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert all(line["ts"].endswith("Z") and line["message"] for line in lines)
    kinds = [line["type"] for line in lines]
    assert "log" in kinds, "what a migration prints is an event, so that it cannot break the stream"
    assert (
        kinds.index("run_start")
        < kinds.index("migration_start")
        < kinds.index("migration_end")
        < kinds.index("run_end")
    )
    end = next(line for line in lines if line["type"] == "run_end")
    assert {result["name"]: result["outcome"] for result in end["results"]}["second"] == "raised"
    assert lines[-1]["type"] == "exit"
    assert lines[-1]["exit_code"] == ran.code == 1


def test_json_lines_end_with_the_error(broken) -> None:
    ran = broken("apply", "--json", MIGRATE_URI=f"sqlite://{broken.path / 'x.db'}")
    assert ran.code == 3
    assert [line["type"] for line in ran.lines[-2:]] == ["error", "exit"]
    assert [line["exit_code"] for line in ran.lines[-2:]] == [3, 3]


def test_apply_without_a_database_is_exit_2(shop) -> None:
    ran = shop("apply", MIGRATE_URI="")
    assert ran.code == 2
    assert "no database is configured" in ran.err
    assert "MIGRATE_URI" in ran.err


def test_apply_to_and_fake(shop) -> None:
    assert shop("apply", "--to", "create_customer_20260301_001").code == 0
    assert "1 applied" in shop("status").out
    assert shop("apply", "--fake").code == 0
    assert "3 migrations: 3 applied" in shop("status").out
    assert shop("check", "--history").code == 0


def test_mark_writes_who_and_why(shop) -> None:
    ran = shop("mark", "create_customer_20260301_001", "--installed", "--reason", "was there")
    assert (ran.code, ran.out) == (0, "marked installed: create_customer_20260301_001\n")
    attempt = shop("log", "--json").json["attempts"][0]
    assert attempt["state"] == "marked"
    assert "was there" in attempt["error"]
    assert "@" in attempt["error"]
    assert shop("mark", "create_customer_20260301_001", "--pending").code == 0
    assert "3 pending" in shop("status").out
    wrong = shop("mark", "create_custmer_20260301_001", "--installed")
    assert wrong.code == 2
    assert "did you mean" in wrong.err


def test_resolve_refuses_what_is_not_undecided(shop) -> None:
    assert shop("apply").code == 0
    ran = shop("resolve", "create_customer_20260301_001", "--retry")
    assert ran.code == 2
    assert "is applied: there is nothing to decide" in ran.err
    assert shop("resolve", "nobody", "--retry").code == 2


def test_on_a_terminal_finished_lines_scroll_above_a_live_one(shop) -> None:
    shop.write(
        "migrations.py",
        """
        import time
        from migrate_graph import migration, progress

        @migration
        def slow_20260301_001(db):
            for done in range(3):
                progress(done, 3, "rows")
                time.sleep(0.15)
            print("[bold]printed[/bold]")
            return True
        """,
    )
    code, text = _in_a_terminal(shop, "apply")
    assert code == 0
    assert "slow_20260301_001" in text
    assert "of 3 rows" in text
    assert "[bold]printed[/bold]" in text, "no markup is interpreted"
    assert "1 applied in" in text
    assert text.count("\x1b[?25h") == text.count("\x1b[?25l"), "only the display itself shows the cursor again"
    assert text.rstrip().endswith("\x1b[0m") or "committed: slow_20260301_001" in text


def _in_a_terminal(shop: Any, *words: str) -> tuple[int, str]:
    """Run a command in a terminal of its own; return its exit code, and all that it and the processes it left have written."""
    environ = {**os.environ, **shop.env, "TERM": "xterm", "COLUMNS": "100"}  # noqa: TID251 - tests are an edge too
    environ.pop("CI", None)
    environ.pop("NO_COLOR", None)
    leader, follower = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "migrate_graph", *words],
        cwd=shop.path, env=environ, stdout=follower, stderr=follower, stdin=follower, close_fds=True,
    )  # fmt: skip
    os.close(follower)
    seen, until = b"", time.monotonic() + 60
    while time.monotonic() < until and select.select([leader], [], [], 60)[0]:
        try:
            seen += os.read(leader, 65536)
        except OSError:  # nobody has the other end any more
            break
    os.close(leader)
    return child.wait(10), seen.decode()


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ("signal.signal(signal.SIGQUIT, signal.SIG_DFL); os.kill(os.getpid(), signal.SIGQUIT)", -signal.SIGQUIT),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os._exit(0)", 1),
        ("interrupted()", 128 + signal.SIGINT),
    ],
    ids=["quit", "kill", "_exit", "second Ctrl-C"],
)
def test_a_run_that_ends_abruptly_leaves_a_terminal_with_a_cursor(ends: str, code: int, shop: Any) -> None:
    """Ctrl-\\ left the terminal without one: the display had hidden it, and nobody was left to show it again."""
    shop.write(
        "migrations.py",
        f"""
        import os, resource, signal, time
        from migrate_graph import migration


        def interrupted():
            for _ in range(2):
                try:
                    os.kill(os.getpid(), signal.SIGINT)
                    time.sleep(60)
                except BaseException:
                    time.sleep(0.1)  # two signals at the same moment count as one


        @migration
        def quits_20260301_001(db):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            {ends}
            return True
        """,
    )
    ended, text = _in_a_terminal(shop, "apply")
    assert ended == code, text
    assert 0 <= text.rindex("\x1b[?25l") < text.rindex("\x1b[?25h"), text


@pytest.mark.postgres
@pytest.mark.parametrize("schema", ["", "Odd"])
def test_a_ledger_without_a_place_is_told_with_what_to_type(
    schema: str, shop: Any, postgres_uri: str, postgres_server: PostgresServer
) -> None:
    """Of a `schema` that was set the name is told, and else where it would have come from."""
    database = postgres_uri.rpartition("/")[2]
    postgres_server.execute(f"ALTER DATABASE {database} SET search_path = nowhere")
    ran = shop("apply", MIGRATE_URI=postgres_uri, **({"SCHEMA": schema} if schema else {}))
    told = " ".join(ran.err.split())
    assert ran.code == 6
    if schema:
        assert "schema 'Odd' does not exist in" in told
        assert 'hint: CREATE SCHEMA "Odd"; or set `schema`' in told
    else:
        assert "the search_path of the role names no schema that exists in" in told
        assert 'hint: CREATE SCHEMA "nowhere"; or set `schema`; or ALTER ROLE "app" SET search_path = public' in told
