"""Measure what `with V(db)` costs beside the same statements without it, and write the table of docs/performance.md: `make bench`.

Every figure is the processor time of a whole process and of its server, less that of a run that has nothing to do. Each project is
applied once in each way, in turn, so that a machine that grows slower grows slower for all.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from time import sleep
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(Path(__file__).parent)]

import page  # noqa: E402 - from beside this file
from peers import clean_environ  # noqa: E402 - as above
from servers import PostgresServer, ServerUnavailable  # noqa: E402 - from the tests

_TICKS = os.sysconf("SC_CLK_TCK")
_FIRST = "base_20260101_001"
_CREATE = "CREATE VIEW each{number} AS SELECT id, customer FROM orders WHERE id > {number}"
_DROP = "DROP VIEW IF EXISTS each{number}"
_MANAGER = f'''
class Each{{number}}(ViewMigrationManager):
    uses = ()
    since = "{_FIRST}"
    def up(self):
        self.db.executesql("{_CREATE}")
    def down(self):
        self.db.executesql("{_DROP}")
'''
_BLOCK = "    with Each{number}(db):\n        pass\n"
_STATEMENTS = f'    db.executesql("{_DROP}")\n    db.executesql("{_CREATE}")\n'
_CROWD = "    for number in range({crowd}):\n        db.executesql(f'CREATE VIEW crowd{{number}} AS SELECT id FROM crowd WHERE id > {{number}}')\n"


class Case(NamedTuple):
    """What is measured in one row.

    Attributes:
        title: of the row.
        migrations: over how many the views are spread.
        crowd: other views in the database.
    """

    title: str
    migrations: int
    crowd: int = 0


class Bench:
    """One run.

    Args:
        count: views of each project.
        rounds: how often each figure is taken.
        server: None for SQLite.
    """

    def __init__(self, count: int, rounds: int, server: PostgresServer | None) -> None:
        self.count = count
        self.rounds = rounds
        self._server = server

    def measure(self, case: Case) -> tuple[float, float]:
        """Return the seconds that plain statements cost, and blocks, by the medians of all rounds."""
        found = [(*self._once(case, _STATEMENTS), *self._once(case, _BLOCK)) for _ in range(self.rounds)]
        nothing, plain, nothing_too, blocks = (statistics.median(each) for each in zip(*found, strict=True))
        start = min(nothing, nothing_too)
        return plain - start, blocks - start

    def _project(self, case: Case, opening: str) -> str:
        text = "from migrate_graph import ViewMigrationManager, migration\n"
        text += "".join(_MANAGER.format(number=number) for number in range(self.count))
        text += f"\n@migration\ndef {_FIRST}(db):\n"
        text += '    db.executesql("CREATE TABLE orders (id int, customer varchar(20))")\n'
        text += '    db.executesql("CREATE TABLE crowd (id int)")\n'
        text += _CROWD.format(crowd=case.crowd)
        text += "".join(_BLOCK.format(number=number) for number in range(self.count)) + "    return True\n"
        share = self.count // case.migrations
        for place in range(case.migrations):
            text += f"\n@migration(requires=[{_FIRST}])\ndef open_20260102_{place:03d}(db):\n"
            text += "".join(opening.format(number=place * share + each) for each in range(share)) + "    return True\n"
        return text

    def _once(self, case: Case, opening: str) -> tuple[float, float]:
        """Return the seconds of a run with nothing to do, and of the one that is measured."""
        directory = Path(tempfile.mkdtemp(prefix="mg-bench-"))
        try:
            with self._database(directory) as uri:
                (directory / "migrations.py").write_text(self._project(case, opening), encoding="utf-8")
                self._apply(directory, uri, "--to", _FIRST)
                nothing = self._apply(directory, uri, "--to", _FIRST)
                return nothing, self._apply(directory, uri)
        finally:
            shutil.rmtree(directory)

    @contextmanager
    def _database(self, directory: Path) -> Iterator[str]:
        if self._server is None:
            yield f"sqlite://{directory / 'bench.db'}"
            return
        with self._server.database() as name:
            yield self._server.app_uri(name)

    def _apply(self, directory: Path, uri: str, *more: str) -> float:
        before = self._used()
        command = [str(Path(sys.executable).parent / "migrate"), "apply", *more]
        environ = clean_environ({"MIGRATE_URI": uri, "HOME": str(directory)})
        done = subprocess.run(command, cwd=directory, env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"migrate apply ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        sleep(0.2)  # until the server has counted its sessions that ended
        return self._used() - before

    def _used(self) -> float:
        """Return the processor time of all processes so far: the tool's, and the server's."""
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = usage.ru_utime + usage.ru_stime
        if self._server is None:
            return used
        postmaster = (self._server.data / "postmaster.pid").read_text().split()[0]
        ended = Path(f"/proc/{postmaster}/stat").read_text().rpartition(")")[2].split()[13:15]
        living: list[str] = []
        for child in Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                living += Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11:13]
        return used + sum(map(int, [*ended, *living])) / _TICKS


def table(benches: dict[str, Bench], cases: list[Case]) -> str:
    """Measure everything and return it as Markdown."""
    lines = ["| | the same statements | `with V(db)` | ratio |", "|---|---|---|---|"]
    for where, bench in benches.items():
        for case in cases:
            plain, blocks = bench.measure(case)
            lines.append(f"| {case.title}, {where} | {plain:.2f} s | {blocks:.2f} s | {blocks / plain:.1f} x |")
            print(lines[-1], file=sys.stderr, flush=True)  # noqa: T201 - a program for people
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    note = (
        "Processor time of the tool and its server, less that of a run with nothing to do. "
        f"Medians of {next(iter(benches.values())).rounds} rounds; Python {platform.python_version()}, {when}."
    )
    return "\n".join([*lines, "", note, ""])


def main() -> None:
    """Measure, print the table, and write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="views of each project")
    parser.add_argument("--crowd", type=int, default=4_000, help="other views in the database")
    parser.add_argument("--rounds", type=int, default=3, help="how often each figure is taken")
    parser.add_argument("--keep-page", action="store_true", help="print only; leave docs/performance.md as it is")
    options = parser.parse_args()
    cases = [
        Case(f"{options.count} views in one migration", 1),
        Case(f"{options.count} views in one migration, {options.crowd:,} others", 1, options.crowd),
        Case(f"{options.count} views in {options.count} migrations", options.count),
    ]
    benches = {"SQLite": Bench(options.count, options.rounds, None)}
    server = PostgresServer()
    try:
        server.start()
        benches = {"PostgreSQL 16": Bench(options.count, options.rounds, server)} | benches
        found = table(benches, cases)
    except ServerUnavailable as error:
        print(f"without PostgreSQL: {error}", file=sys.stderr)  # noqa: T201 - as above
        found = table(benches, cases)
    finally:
        server.close()
    print(found)  # noqa: T201 - as above
    if not options.keep_page:
        page.write("views", found)


if __name__ == "__main__":
    main()
