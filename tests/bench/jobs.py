"""Measure what `apply --jobs` saves where migrations wait for their server, and write the table of docs/performance.md: `make bench`.

Every figure is a whole process, from its start to its end: migrations that need nothing of each other, each a second of the
server's time.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import page  # noqa: E402 - from beside this file
from peers import Database, MigrateGraph  # noqa: E402 - as above
from servers import PostgresServer, ServerUnavailable  # noqa: E402 - from the tests
from side_by_side import Bench  # noqa: E402 - from beside this file

_FIRST = "base_20260101_001"
_STEP = """
@migration(requires=[{first}])
def wait_20260102_{number:03d}(db):
    db.executesql("CREATE TABLE t_{number} AS SELECT 1 AS id FROM pg_sleep(1)")
    return True
"""


@dataclass(frozen=True)
class SideBySide(MigrateGraph):
    """This project, with so many migrations at a time.

    Attributes:
        jobs: how many.
    """

    jobs: int

    def write(self, directory: Path, count: int, database: Database) -> None:
        """Write migrations that wait for one, and not for each other."""
        text = f"from migrate_graph import migration\n\n@migration\ndef {_FIRST}(db):\n    return True\n"
        steps = (_STEP.format(first=_FIRST, number=number) for number in range(count))
        (directory / "migrations.py").write_text(text + "".join(steps), encoding="utf-8")
        (directory / "pyproject.toml").write_text("[tool.migrate]\n", encoding="utf-8")

    def command(self, python: str, directory: Path) -> list[str]:
        """Call its command line."""
        return [*super().command(python, directory), "apply", "--jobs", str(self.jobs)]


def table(server: PostgresServer, *, count: int, rounds: int) -> str:
    """Measure everything and return it as Markdown."""
    bench = Bench(count, rounds, server, beside_peers=False)
    lines = ["| | shortest possible | `apply` | besides |", "|---|---|---|---|"]
    for jobs in (1, 2, 4, 8):
        found = [bench.run_once(SideBySide(jobs), postgres=True).wall for _ in range(rounds)]
        least = -(-count // jobs)
        took = statistics.median(found)
        lines.append(f"| `--jobs {jobs}` | {least} s | {took:.2f} s | {took - least:.2f} s |")
        print(lines[-1], file=sys.stderr, flush=True)  # noqa: T201 - a program for people
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    note = (
        f"{count} migrations of one second that need nothing of each other, PostgreSQL 16. Seconds from start to end. "
        f"Medians of {rounds} rounds; Python {platform.python_version()}, {when}."
    )
    return "\n".join([*lines, "", note, ""])


def main() -> None:
    """Measure, print the table, and write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=8, help="migrations of a second")
    parser.add_argument("--rounds", type=int, default=3, help="how often each figure is taken")
    parser.add_argument("--keep-page", action="store_true", help="print only; leave docs/performance.md as it is")
    options = parser.parse_args()
    server = PostgresServer()
    try:
        server.start()
        found = table(server, count=options.count, rounds=options.rounds)
    except ServerUnavailable as error:
        sys.exit(f"without PostgreSQL: {error}")
    finally:
        server.close()
    print(found)  # noqa: T201 - as above
    if not options.keep_page:
        page.write("jobs", found)


if __name__ == "__main__":
    main()
