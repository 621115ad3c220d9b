"""Measure commands beside the least that they could cost, and write the table of docs/performance.md: `make bench`.

Every figure is the processor time of a whole process and of those that it starts: what others do on the machine disturbs it less than
the wall clock. Both sides take turns.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

import page
from peers import clean_environ

Words = list[str]

_MIGRATION = """
@migration{requires}
def m_{number:05d}_001(db):
    {opening}db.executesql("ALTER TABLE t ADD COLUMN c_{number} integer")
    return True
"""
_VIEW = """
class V{number}(ViewMigrationManager):
    uses = ({uses})
    since = "m_{number:05d}_001"
    def up(self):
        self.db.executesql("CREATE VIEW v_{number} AS SELECT id FROM t")
    def down(self):
        self.db.executesql("DROP VIEW v_{number}")
"""

# What any tool must do that reads such a file: run it, parse it, and order what it declares.
_READS = """
import ast, sys
import networkx
text = open(sys.argv[1], encoding="utf-8").read()
compile(text, sys.argv[1], "exec")
tree = ast.parse(text)
edges = [line.split() for line in open(sys.argv[2], encoding="utf-8")]
list(networkx.topological_sort(networkx.DiGraph(edges)))
"""


class Used(NamedTuple):
    """What one process used.

    Attributes:
        seconds: of processor time.
        megabytes: of memory, at most.
    """

    seconds: float
    megabytes: float


class Row(NamedTuple):
    """One comparison.

    Attributes:
        title: of the row.
        floor: what it is compared with, in words.
        target: at most so many times the floor.
        least: the command that is the floor; None where it cannot be had here.
        ours: our command.
        fresh: each run finds a new home directory.
        code: what ours ends with.
    """

    title: str
    floor: str
    target: float
    least: Words | None
    ours: Words
    fresh: bool = False
    code: int = 0


class Floors:
    """The projects and pictures that are measured, in a directory of their own.

    Args:
        directory: where they are written.
        rounds: how often each figure is taken.
    """

    def __init__(self, directory: Path, rounds: int) -> None:
        self._directory = directory
        self._rounds = rounds
        self._migrate = str(Path(sys.executable).with_name("migrate"))

    def rows(self) -> list[Row]:
        """Write what is needed, and return what is compared."""
        typer: Words = [sys.executable, "-c", "import typer"]
        rows = [
            Row(f"`migrate {words}`", "`import typer`", 1.5, typer, [self._migrate, *words.split()], code=code)
            for words, code in (("--help", 0), ("--version", 0), ("apply --no-such-option", 2))
        ]
        large, edges = self._project("large", 10_000, 2_000)
        reads = [sys.executable, "-c", _READS, str(large), str(edges)]
        floor = "compile, parse, order"
        rows += [
            Row(
                f"`migrate {word}`, 10,000 migrations, 2,000 views",
                floor,
                2.0,
                reads,
                [self._migrate, *words, str(large)],
            )
            for word, words in (("check", ["check"]), ("plan --offline", ["plan", "--offline", "--json"]))
        ]
        for size, target in ((8, 1.5), (100, 1.5), (500, 1.5), (1_000, 1.3)):
            rows += self._pictures(size, target)
        return rows

    def _pictures(self, size: int, target: float) -> list[Row]:
        file, _ = self._project(f"picture{size}", size, 0)
        drawing = [self._migrate, "graph", str(file), "--all", "-o"]
        native = [*drawing, str(self._directory / "native.svg"), "--renderer", "dot"]
        least = native if shutil.which("dot") else None
        ours = [*drawing, str(self._directory / "ours.svg"), "--renderer", "embedded"]
        title = f"`migrate graph`, {size:,} migrations"
        rows = [Row(title, "the same with native `dot`", target, least, ours)]
        return [Row(f"{title}, the first picture of a user", *rows[0][1:5], fresh=True), *rows] if size == 8 else rows

    def _project(self, name: str, size: int, views: int) -> tuple[Path, Path]:
        """Write a project of eight strands that meet now and then; return its file, and one of its edges."""
        directory = self._directory / name
        directory.mkdir()
        text, edges = ["from migrate_graph import ViewMigrationManager, migration\n"], []
        for number in range(views):
            text.append(_VIEW.format(number=number, uses=f"V{number - 8}," if number // 8 % 10 else ""))
        for number in range(size):
            before = [number - hop for hop in ((8, 5) if number % 7 == 0 else (8,)) if number >= hop]
            requires = ", ".join(f"m_{each:05d}_001" for each in before)
            edges += [f"{each} {number}\n" for each in before]
            text.append(
                _MIGRATION.format(
                    number=number,
                    opening=f"with V{number % views}(db): " if views else "",
                    requires=f"(requires=[{requires}])" if before else "",
                )
            )
        (directory / "migrations.py").write_text("".join(text))
        (directory / "edges").write_text("".join(edges))
        return directory / "migrations.py", directory / "edges"

    def measure(self, row: Row) -> tuple[Used | None, Used]:
        """Return the medians of the floor and of ours; both run once before, unless each is to be the first."""
        if not row.fresh:
            self._run(row.ours, code=row.code)
        least, ours = list[Used](), list[Used]()
        for _ in range(self._rounds):
            if row.least:
                least.append(self._run(row.least))
            ours.append(self._run(row.ours, fresh=row.fresh, code=row.code))
        return (_median(least) if least else None), _median(ours)

    def _run(self, words: Words, *, fresh: bool = False, code: int = 0) -> Used:
        home = Path(tempfile.mkdtemp(dir=self._directory)) if fresh else self._directory
        environ = clean_environ({"HOME": str(home), "CI": "true"})
        with (self._directory / "told").open("wb") as told:
            started = subprocess.Popen(words, cwd=self._directory, env=environ, stdout=told, stderr=told)
            _, status, used = os.wait4(started.pid, 0)
        started.returncode = os.waitstatus_to_exitcode(status)
        if started.returncode != code:
            sys.exit(f"{words} ended with {started.returncode}:\n{(self._directory / 'told').read_text()[-2000:]}")
        return Used(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def _median(found: list[Used]) -> Used:
    return Used(*(statistics.median(each) for each in zip(*found, strict=True)))


def table(rows: list[Row], measure: Callable[[Row], tuple[Used | None, Used]], rounds: int) -> str:
    """Measure the rows and return them as Markdown."""
    lines = ["| | the floor | its time | ours | ratio | target | memory |", "|---" * 7 + "|"]
    for row in rows:
        least, ours = measure(row)
        ratio = f"{ours.seconds / least.seconds:.2f} x" if least else "-"
        cells = [
            row.title, row.floor, f"{least.seconds:.3f} s" if least else "not installed here", f"{ours.seconds:.3f} s", ratio,
            f"{row.target:g} x", f"{ours.megabytes:.0f} MB",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], file=sys.stderr, flush=True)  # noqa: T201 - a program for people
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    return "\n".join(
        [
            *lines,
            "",
            f"Processor time. Medians of {rounds} interleaved runs; Python {platform.python_version()}, {when}.",
            "",
        ]
    )


def main() -> None:
    """Measure, print the table, and write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each figure is taken")
    parser.add_argument("--keep-page", action="store_true", help="print only; leave docs/performance.md as it is")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mg-bench-") as directory:
        floors = Floors(Path(directory), options.rounds)
        found = table(floors.rows(), floors.measure, options.rounds)
    print(found)  # noqa: T201 - as above
    if not options.keep_page:
        page.write("floors", found)


if __name__ == "__main__":
    main()
