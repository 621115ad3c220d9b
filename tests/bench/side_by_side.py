"""Measure this project beside its peers, in one run, and write the table of docs/performance.md: `make bench`.

Every figure is a whole process, from its start to its end. The tools take turns, so that a machine that grows slower
grows slower for all; what counts is the ratio to the raw driver, not the seconds.
"""

from __future__ import annotations

import argparse
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter, sleep
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(Path(__file__).parent)]

import page  # noqa: E402 - from beside this file
from peers import PEERS, TOOLS, Database, InOneTransaction, Raw, Tool, clean_environ  # noqa: E402 - as above
from servers import PostgresServer, ServerUnavailable  # noqa: E402 - as above


def peers_python() -> str:
    """Return the Python of the environment that holds the peers; it is made when it is not there."""
    home = ROOT / ".bench"
    python = home / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PEERS], check=True)
    return str(python)


RAW = "raw driver"

IN_ONE: tuple[Tool, ...] = (Raw(), InOneTransaction())
"""What is measured for runs that are one transaction; the raw driver commits each statement."""

COMMIT_TAKES = 2_000
"""Microseconds, as on a disk in a network."""


class Cost(NamedTuple):
    """What one process cost, in seconds.

    Attributes:
        wall: from its start to its end.
        used: processor time of the process itself, without the server's: what other programs do disturbs it less.
    """

    wall: float
    used: float


class Bench:
    """One run: the tools, their interpreters, and a server if one can be had.

    Args:
        count: migrations of each project.
        rounds: how often each figure is taken.
        server: for the rows on PostgreSQL; None leaves them out.
        beside_peers: other tools are measured, too.
    """

    def __init__(self, count: int, rounds: int, server: PostgresServer | None, *, beside_peers: bool = True) -> None:
        self.count = count
        self.rounds = rounds
        self._server = server
        self._pythons = {True: sys.executable} | ({False: peers_python()} if beside_peers else {})

    @contextmanager
    def database(self, directory: Path, *, postgres: bool) -> Iterator[Database]:
        """Yield an empty database."""
        if not postgres:
            yield Database(f"sqlite://{directory / 'bench.db'}")
            return
        assert self._server is not None
        with self._server.database() as name:
            yield Database(
                self._server.app_uri(name).replace("postgres://", "postgresql://")
            )  # SQLAlchemy knows no other

    def measure(self, *, postgres: bool) -> tuple[dict[str, Cost], dict[str, Cost]]:
        """Return each tool's medians for applying everything, and for finding then that nothing is to do."""
        first: dict[str, list[Cost]] = {tool.name: [] for tool in TOOLS}
        again: dict[str, list[Cost]] = {tool.name: [] for tool in TOOLS if tool.name != RAW}
        for _ in range(self.rounds):
            for tool in TOOLS:
                with self._project(tool, postgres=postgres) as run:
                    first[tool.name].append(run())
                    if tool.name in again:
                        again[tool.name].append(run())
        return _medians(first), _medians(again)

    def measure_first(self, tools: Sequence[Tool], *, postgres: bool) -> dict[str, Cost]:
        """Return each tool's medians for applying everything."""
        found: dict[str, list[Cost]] = {tool.name: [] for tool in tools}
        for _ in range(self.rounds):
            for tool in tools:
                found[tool.name].append(self.run_once(tool, postgres=postgres))
        return _medians(found)

    def run_once(self, tool: Tool, *, postgres: bool) -> Cost:
        """Return what it costs a tool to apply everything."""
        with self._project(tool, postgres=postgres) as run:
            return run()

    @contextmanager
    def slow_disk(self) -> Iterator[None]:
        """Make each commit take as long as on a disk of its kind: `COMMIT_TAKES`, whatever this machine's disk does."""
        assert self._server is not None
        on = ["fsync = on", "synchronous_commit = on", f"commit_delay = {COMMIT_TAKES}", "commit_siblings = 0"]
        self._server.execute(*(f"ALTER SYSTEM SET {each}" for each in on), "SELECT pg_reload_conf()")
        sleep(1)  # the server reads it when it comes to it, and tells nobody
        try:
            yield
        finally:
            self._server.execute("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")

    @contextmanager
    def _project(self, tool: Tool, *, postgres: bool) -> Iterator[Callable[[], Cost]]:
        """Write a project with an empty database; yield what applies it, and returns what that cost."""
        directory = Path(tempfile.mkdtemp(prefix="mg-bench-"))
        try:
            with self.database(directory, postgres=postgres) as database:
                tool.write(directory, self.count, database)
                command = tool.command(self._pythons[tool.ours], directory)
                environ = clean_environ(tool.environ(directory, database))
                yield lambda: _cost_of(tool.name, command, directory, environ)
        finally:
            shutil.rmtree(directory)


def _medians(found: dict[str, list[Cost]]) -> dict[str, Cost]:
    return {name: Cost(*(statistics.median(each) for each in zip(*some, strict=True))) for name, some in found.items()}


def _cost_of(name: str, command: list[str], directory: Path, environ: dict[str, str]) -> Cost:
    started, before = perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=directory, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    wall, after = perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall, (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime))


def table(bench: Bench, databases: dict[str, bool]) -> str:
    """Measure, and return Markdown: seconds, and of these the processor time of the tool; each with its ratio to the raw driver."""
    lines = ["| | " + " | ".join(tool.name for tool in TOOLS) + " |", "|---" * (len(TOOLS) + 1) + "|"]
    idle = []
    for where, postgres in databases.items():
        first, again = bench.measure(postgres=postgres)
        lines.append(_row(f"everything to do, {where}", first))
        idle.append(_row(f"nothing to do, {where}", again))
        lines += _where_commits_take_time(bench, TOOLS) if postgres else []
    lines += idle
    for where, postgres in databases.items():
        found = bench.measure_first(IN_ONE, postgres=postgres)
        lines.append(_row(f"everything in one transaction (`--atomic`), {where}", found))
        lines += _where_commits_take_time(bench, IN_ONE) if postgres else []
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    note = (
        "Seconds from start to end, with the ratio to the raw driver, then the processor time of the tool itself. "
        f"Medians of {bench.rounds} interleaved runs of {bench.count} migrations; Python {platform.python_version()}, {when}."
    )
    return "\n".join([*lines, "", note, ""])


def _where_commits_take_time(bench: Bench, tools: Sequence[Tool]) -> list[str]:
    with bench.slow_disk():
        found = bench.measure_first(tools, postgres=True)
        return [_row(f"the same, where a commit takes {COMMIT_TAKES / 1000:g} ms", found)]


def _row(title: str, found: dict[str, Cost]) -> str:
    raw, cells = found.get(RAW), []
    for tool in TOOLS:
        figure = found.get(tool.name)
        ratio = f" ({figure.wall / raw.wall:.1f} x)" if figure and raw and tool.name != RAW else ""
        cells.append(f"{figure.wall:.2f} s{ratio}, {figure.used:.2f} s" if figure else "-")
    row = f"| {title} | {' | '.join(cells)} |"
    print(row, file=sys.stderr, flush=True)  # noqa: T201 - a program for people
    return row


def main() -> None:
    """Measure, print the table, and write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="migrations of each project")
    parser.add_argument("--rounds", type=int, default=3, help="how often each figure is taken")
    parser.add_argument("--keep-page", action="store_true", help="print only; leave docs/performance.md as it is")
    options = parser.parse_args()
    server: PostgresServer | None = None
    try:
        server = PostgresServer()
        server.start()
    except ServerUnavailable as error:
        print(f"without PostgreSQL: {error}", file=sys.stderr)  # noqa: T201 - as above
        server = None
    bench = Bench(options.count, options.rounds, server)
    databases = {"PostgreSQL 16": True, "SQLite": False} if server else {"SQLite": False}
    try:
        found = table(bench, databases)
    finally:
        if server is not None:
            server.close()
    print(found)  # noqa: T201 - as above
    if not options.keep_page:
        page.write("side by side", found)


if __name__ == "__main__":
    main()
