"""A project whose runs are children that can be killed, and a probe of everything that is in its database."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psycopg2
import side_by_side
from servers import ADMIN_PASSWORD, APP_PASSWORD, PostgresServer
from waiting import wait_until

from migrate_graph import signals

_ROOT = str(Path(__file__).parents[2])
"""Children import the package that stands beside these tests, also where both were copied."""


@cache
def _forker() -> subprocess.Popen[str]:
    """Start what forks children; it ends with this process, when its stdin does."""
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("warm.py"))],
        text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONPATH": _ROOT},  # noqa: TID251
    )  # fmt: skip


def _fork(**request: Any) -> int:
    """Fork a child; give its process."""
    forker = _forker()
    assert forker.stdin is not None
    assert forker.stdout is not None
    forker.stdin.write(json.dumps(request) + "\n")
    forker.stdin.flush()
    return int(forker.stdout.readline())


TABLE = "ewh_implemented_features"

ONE_SIGNAL = 10 * signals._SAME
"""Seconds between two signals. What comes so soon after one is the same one, sent twice: only the time between them tells them apart."""

WAITS_TO_GO = "while not __import__('os').path.exists('go'): __import__('time').sleep(0.02)"
"""In a body: waits until the test says `Field.go()`."""

OPENS_V_AND_W = """
from child import executed, here
from migrate_graph import SqlView, migration


@migration
def base_1(db):
    db.executesql("CREATE TABLE base (id integer PRIMARY KEY, name varchar(20))")
    db.executesql("INSERT INTO base VALUES (1, 'one')")
    with V(db), W(db):
        return True
"""
"""The beginning of a migrations file: a table, and what opens the views over it, which are to follow."""

_TWO_VIEWS = """


class V(SqlView):
    uses = ()
    since = base_1
    rebuild = "{rebuild}"
    materialized = True
    query = "SELECT name FROM base"
    indexes = {{"v_name": "UNIQUE (name)"}}


class W(SqlView):
    uses = (V,)
    since = base_1
    materialized = {w_is_materialized}
    query = "SELECT count(*) AS n FROM v"
"""


def two_views(rebuild: str, *, w_is_materialized: bool) -> str:
    """Return a project with a table `base`, a materialized view V of it that is rebuilt in this way, and W, a view that reads V."""
    return OPENS_V_AND_W + _TWO_VIEWS.format(rebuild=rebuild, w_is_materialized=w_is_materialized)


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code (negative: the signal that killed it), and what it said."""

    code: int
    output: str


@dataclass
class State:
    """Everything there is in a database."""

    tables: set[str] = field(default_factory=set)
    views: set[str] = field(default_factory=set)
    ledger: dict[str, str] = field(default_factory=dict)
    journal: list[tuple[str, str, int]] = field(default_factory=list)
    views_down: set[str] = field(default_factory=set)

    def last(self, name: str) -> tuple[str, int] | None:
        """Return state and own commits of the newest attempt at a migration."""
        rows = [(state, commits) for known, state, commits in self.journal if known == name]
        return rows[-1] if rows else None


class Field:
    """A project and its database, where things go wrong on purpose."""

    def __init__(self, path: Path, uri: str) -> None:
        self.path = path
        self.uri = uri
        self.env = {"MIGRATE_URI": uri, "HOME": str(path), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}  # noqa: TID251
        self.is_postgres = uri.startswith("postgres")
        path.mkdir(exist_ok=True)

    def write(self, text: str, name: str = "migrations.py") -> None:
        """Write a file of the project."""
        (self.path / name).write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")

    # -- runs ---------------------------------------------------------------------------------------------------------

    def apply(self, *words: str, **options: Any) -> Ended:
        """Run `migrate apply` to its end."""
        return self.migrate("apply", *words, **options)

    def migrate(self, *words: str, **options: Any) -> Ended:
        """Run a command in a forked child; `fatal=(place, n)` kills it there."""
        return self.start(*words, **options)()

    def start(
        self,
        *words: str,
        fatal: tuple[str, int] | None = None,
        trace: Path | None = None,
        env: Mapping[str, str] | None = None,
        killed_after: float | None = None,
        kills: str = "all",
        first_delay: float | None = None,
    ) -> Callable[[], Ended]:
        """Start a command in a forked child; what is given waits for its end. With `kills="one"` only a worker dies at the fatal place."""
        words = side_by_side.with_jobs(words, is_postgres=self.is_postgres)
        output = self.path / f"output-{time.monotonic_ns()}"
        code = output.with_suffix(".code")
        pid = _fork(
            words=words, directory=str(self.path), environ=self.env | dict(env or {}), output=str(output), fatal=fatal,
            trace=str(trace) if trace else None, side_by_side=kills if "--jobs" in words else "", first_delay=first_delay,
        )  # fmt: skip

        def wait() -> Ended:
            deadline = time.monotonic() + (120 if killed_after is None else killed_after)
            while not code.exists():
                if time.monotonic() > deadline:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    deadline += 60
                time.sleep(0.003)
            return self.ended(int(code.read_text()), output.read_text(errors="replace") if output.exists() else "")

        return wait

    def ended(self, code: int, output: str) -> Ended:
        """Make the result of a child; no output of any child may hold a password (I7)."""
        assert APP_PASSWORD not in output
        assert ADMIN_PASSWORD not in output
        assert "Traceback" not in output or "migrate_graph/" not in output, output
        return Ended(code, output)

    def arrivals(self, *words: str) -> list[tuple[str, int]]:
        """Run `migrate apply` to its end; return every place that it passes, each with the how-many-eth time, as `fatal` takes them."""
        trace = self.path / f"trace-{time.monotonic_ns()}"
        self.apply(*words, trace=trace)
        passed = trace.read_text().splitlines()
        return [(place, passed[: at + 1].count(place)) for at, place in enumerate(passed)]

    def go(self) -> None:
        """Let bodies go on that stand at `WAITS_TO_GO`."""
        (self.path / "go").touch()

    def deaths(self) -> int:
        """Count the workers that have died at a fatal place."""
        return len(list(self.path.glob("died-*")))

    def open(self, *words: str, env: Mapping[str, str] | None = None) -> Process:
        """Start a command in a process of its own, to send signals to."""
        words = side_by_side.with_jobs(words, is_postgres=self.is_postgres)
        program = (
            [str(Path(__file__).with_name("side_by_side.py")), "migrate"]
            if "--jobs" in words
            else ["-m", "migrate_graph"]
        )
        environment = (
            self.env
            | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": f"{Path(__file__).parent}:{_ROOT}"}
            | dict(env or {})
        )
        return Process(
            self,
            subprocess.Popen(
                [sys.executable, *program, *words],
                cwd=self.path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            ),
        )  # fmt: skip

    def saying(self, text: str) -> int:
        """Count the children of `start` that have printed a text so far."""
        return sum(text in each.read_text(errors="replace") for each in self.path.glob("output-*") if not each.suffix)

    def executions(self, name: str) -> int:
        """Count how often a body began (see `child.executed`)."""
        log = self.path / "executed"
        return log.read_text().split("\n").count(name) if log.exists() else 0

    # -- the database -------------------------------------------------------------------------------------------------

    def connect(self) -> Any:
        """Open a connection of the test's own, in autocommit."""
        if not self.is_postgres:
            return sqlite3.connect(self.uri.partition("://")[2], isolation_level=None)
        connection = psycopg2.connect(self.uri)
        connection.autocommit = True
        return connection

    def query(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run one statement."""
        with closing(self.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def probe(self) -> State:
        """Read everything, once nothing is left of a child that died: no lock, no session at work."""
        self.wait_until_quiet()
        return self.read()

    def read(self) -> State:
        """Read everything as it is now."""
        with closing(self.connect()) as connection:
            cursor = connection.cursor()

            def rows(statement: str) -> list[tuple[Any, ...]]:
                cursor.execute(statement)
                return cursor.fetchall()

            kinds = (
                "SELECT relname, CASE relkind WHEN 'r' THEN 'table' ELSE 'view' END FROM pg_class "
                "WHERE relkind IN ('r', 'v', 'm') AND oid >= 16384"
                if self.is_postgres
                else "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'"
            )
            relations = rows(kinds)
            tables = {name for name, kind in relations if kind == "table"}
            state = State(
                {name for name in tables if TABLE not in name}, {name for name, kind in relations if kind == "view"}
            )
            if TABLE in tables:
                state.ledger = dict(rows(f"SELECT name, installed FROM {TABLE}"))
            if f"{TABLE}_journal" in tables:
                state.journal = rows(
                    f"SELECT name, state, commits FROM {TABLE}_journal WHERE state <> 'owed' ORDER BY id"
                )
                state.views_down = {name for (name,) in rows(f"SELECT manager FROM {TABLE}_views WHERE state = 'down'")}
            return state

    def wait_until_quiet(self, seconds: float = 60) -> None:
        """Wait until every session of a run is gone, and assert that its locks went with it."""
        if not self.is_postgres:
            return
        deadline = time.monotonic() + seconds
        sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'migrate_graph:%%'"
        while self.query(sessions) != [(0,)]:
            assert time.monotonic() < deadline, "a session of a dead run is still there"
            time.sleep(0.02)
        assert self.query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]


class Process:
    """A command in a process of its own."""

    def __init__(self, field: Field, process: subprocess.Popen[str]) -> None:
        self._field = field
        self._said: list[str] = []
        self.process = process

    def wait_for(self, text: str) -> str:
        """Read what it says until a line holds a text; give the line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._said.append(line)
            if text in line:
                return line
        raise AssertionError(f"it never said {text!r}: {''.join(self._said)}")

    def wait_for_all(self, *texts: str) -> None:
        """Read what it says until each text has stood in a line, in whatever order."""
        left = set(texts)
        while left:
            line = self.wait_for("")
            left = {text for text in left if text not in line}

    def wait_until_in_c(self) -> None:
        """Wait until what it prints last is past, and a statement at work: on the server, or in this process, which computes then."""
        if self._field.is_postgres:
            sleeps = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
            )
            wait_until(lambda: self._field.query(sleeps) == [(1,)])
            return
        before = self._ticks()
        wait_until(lambda: self._ticks() >= before + 10)

    def wait_until_it_sleeps(self) -> None:
        """Wait until its main thread is in `time.sleep`, where the kernel tells what a thread waits in."""
        waits_in = Path(f"/proc/{self.process.pid}/wchan")
        wait_until(lambda: "nanosleep" in (place := waits_in.read_text()) or place == "0")

    def wait_until_it_tries_again(self) -> None:
        """Wait until its main thread has slept some times: SQLite tries again and again while another program writes."""
        status = Path(f"/proc/{self.process.pid}/status")
        slept = lambda: int(status.read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0])  # noqa: E731 - one number
        before = slept()
        wait_until(lambda: slept() >= before + 5)

    def _ticks(self) -> int:
        """Return how much processor time it has had, in hundredths of a second."""
        return int(Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[11])

    def stop(self, signum: int) -> Ended:
        """Send a signal and wait for the end: a test waits for what never ends by itself, so that nothing else can be the reason."""
        self.process.send_signal(signum)
        return self.end()

    def end(self, timeout: float = 120) -> Ended:
        """Wait for its end."""
        try:
            rest, _ = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()  # a body that works for ever must not slow what comes after
            raise
        return self._field.ended(self.process.returncode, "".join(self._said) + (rest or ""))


class Templates:
    """Databases to start from, made once and copied."""

    def __init__(self, directory: Path, server: Callable[[], PostgresServer]) -> None:
        self._directory = directory
        self._server = server
        self._made: dict[tuple[str, ...], Field] = {}

    def copy(self, kind: str, text: str, path: Path, *words: str) -> Field:
        """Return a project on a copy of the database in which `migrate apply` has run with these words."""
        key = (kind, text, *words)
        if key not in self._made:
            name = f"template_{time.monotonic_ns()}"
            if kind == "postgres":
                self._server().execute(f"CREATE DATABASE {name} OWNER app TEMPLATE template0")
                uri = self._server().app_uri(name)
            else:
                uri = f"sqlite://{self._directory / name}"
            made = Field(self._directory / f"{kind}-{len(self._made)}", uri)
            made.write(text)
            ended = made.apply(*words)
            assert ended.code == 0, ended.output
            made.wait_until_quiet()
            self._made[key] = made
        made = self._made[key]
        if kind == "postgres":
            source, name = made.uri.rpartition("/")[2], f"copy_{time.monotonic_ns()}"
            self._server().execute(f"CREATE DATABASE {name} OWNER app TEMPLATE {source} STRATEGY file_copy")
            return Field(path, self._server().app_uri(name))
        path.mkdir(exist_ok=True)
        target = path / "database.sqlite"
        shutil.copy(made.uri.partition("://")[2], target)
        return Field(path, f"sqlite://{target}")

    def drop(self, field: Field) -> None:
        """Remove a copy."""
        if field.is_postgres:
            self._server().drop_database(field.uri.rpartition("/")[2])
