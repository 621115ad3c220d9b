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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(Path(__file__).parent)]

import page  # noqa: E402 - from beside this file
from peers import PEERS, TOOLS, Database, Tool, clean_environ  # noqa: E402 - as above
from servers import PostgresServer, ServerUnavailable  # noqa: E402 - as above


def peers_python() -> str:
    """Return the Python of the environment that holds the peers; it is made when it is not there."""
    home = ROOT / ".bench"
    python = home / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PEERS], check=True)
    return str(python)


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
    """

    def __init__(self, count: int, rounds: int, server: PostgresServer | None) -> None:
        self.count = count
        self.rounds = rounds
        self._server = server
        self._pythons = {True: sys.executable, False: peers_python()}

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

    def measure(self, *, postgres: bool, again: bool) -> dict[str, Cost]:
        """Return each tool's medians for applying everything; or, `again`, for finding that nothing is to do."""
        seconds: dict[str, list[Cost]] = {tool.name: [] for tool in TOOLS}
        for _ in range(self.rounds):
            for tool in TOOLS:
                if not (again and tool.name == "raw driver"):
                    seconds[tool.name].append(self._once(tool, postgres=postgres, again=again))
        return {
            name: Cost(*(statistics.median(each) for each in zip(*found, strict=True)))
            for name, found in seconds.items()
            if found
        }

    def _once(self, tool: Tool, *, postgres: bool, again: bool) -> Cost:
        directory = Path(tempfile.mkdtemp(prefix="mg-bench-"))
        try:
            with self.database(directory, postgres=postgres) as database:
                tool.write(directory, self.count, database)
                python = self._pythons[tool.ours]
                environ = clean_environ(tool.environ(directory, database))

                def run() -> Cost:
                    started, before = perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
                    done = subprocess.run(
                        tool.command(python, directory),
                        cwd=directory,
                        env=environ,
                        capture_output=True,
                        text=True,
                        check=False,
                    )
                    if done.returncode:
                        sys.exit(
                            f"{tool.name} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
                        )
                    wall, after = perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
                    used = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
                    return Cost(wall, used)

                first = run()
                return run() if again else first
        finally:
            shutil.rmtree(directory)


def table(bench: Bench, rows: list[tuple[str, Callable[[], dict[str, Cost]]]]) -> str:
    """Measure the rows and return them as Markdown: seconds, and of these the processor time of the tool; each with its ratio to the raw driver."""
    lines = ["| | " + " | ".join(tool.name for tool in TOOLS) + " |", "|---" * (len(TOOLS) + 1) + "|"]
    for title, measure in rows:
        found = measure()
        raw = found.get("raw driver")
        cells = []
        for tool in TOOLS:
            figure = found.get(tool.name)
            ratio = f" ({figure.wall / raw.wall:.1f} x)" if figure and raw and tool.name != "raw driver" else ""
            cells.append(f"{figure.wall:.2f} s{ratio}, {figure.used:.2f} s" if figure else "-")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
        print(lines[-1], file=sys.stderr, flush=True)  # noqa: T201 - a program for people
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    note = (
        "Seconds from start to end, with the ratio to the raw driver, then the processor time of the tool itself. "
        f"Medians of {bench.rounds} interleaved runs of {bench.count} migrations; Python {platform.python_version()}, {when}."
    )
    return "\n".join([*lines, "", note, ""])


def main() -> None:
    """Measure, print the table, and write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="migrations of each project")
    parser.add_argument("--rounds", type=int, default=5, help="how often each figure is taken")
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
    rows: list[tuple[str, Callable[[], dict[str, Cost]]]] = []
    for again, what in ((False, "everything to do"), (True, "nothing to do")):
        for postgres in (True, False) if server else (False,):
            where = "PostgreSQL 16" if postgres else "SQLite"
            rows.append((f"{what}, {where}", lambda p=postgres, a=again: bench.measure(postgres=p, again=a)))  # type: ignore[misc]
    try:
        found = table(bench, rows)
    finally:
        if server is not None:
            server.close()
    print(found)  # noqa: T201 - as above
    if not options.keep_page:
        page.write("side by side", found)


if __name__ == "__main__":
    main()
