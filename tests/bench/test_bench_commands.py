"""What commands cost, from a new process to its end, and what a migration costs above its own statement and commit."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

STEP = "@migration\ndef step_20260101_{0:04d}(db):\n    db.executesql('CREATE TABLE t_{0} (id integer)')\n    return True\n\n"


def project(directory: Path, size: int) -> Path:
    """Write a project of independent migrations, each of one statement."""
    directory.mkdir()
    steps = "".join(STEP.format(number) for number in range(size))
    (directory / "migrations.py").write_text(f"from migrate_graph import migration\n\n{steps}")
    return directory


def migrate(directory: Path, *typed: str) -> float:
    """Run a command in a process of its own; return its seconds of processor time."""
    return spent_by(["-m", "migrate_graph", *typed], directory)


def spent_by(words: list[str], directory: Path) -> float:
    """Return what a new Python process costs, in seconds of processor time: the wall clock counts what others do, too."""
    environment = {**os.environ, "MIGRATE_URI": f"sqlite://{directory / 'bench.db'}"}  # noqa: TID251 - a test is an edge
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], cwd=directory, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


@pytest.mark.parametrize("typed", ["--help", "check", "status", "plan", "apply"])
def test_a_command_with_nothing_to_do(benchmark: BenchmarkFixture, tmp_path: Path, typed: str) -> None:
    directory = project(tmp_path / "idle", 28)
    migrate(directory, "apply")
    benchmark.pedantic(migrate, args=(directory, typed), rounds=7, warmup_rounds=1)


@pytest.mark.parametrize(("typed", "times"), [("--help", 1.6), ("--version", 1.5)])
def test_help_and_version_cost_little_more_than_importing_typer(typed: str, times: float, tmp_path: Path) -> None:
    directory = project(tmp_path / "help", 28)
    typer = fastest(lambda: spent_by(["-c", "import typer"], directory), rounds=7)
    assert fastest(lambda: migrate(directory, typed), rounds=7) < times * typer


def test_four_times_as_many_migrations_are_applied_in_at_most_five_times_as_long(tmp_path: Path) -> None:
    sizes = {size: iter(range(3)) for size in (250, 1000)}
    some, more = (
        fastest(lambda s=size: migrate(project(tmp_path / f"{s}-{next(sizes[s])}", s), "apply"))  # type: ignore[misc]
        for size in sizes
    )
    assert more < 5 * some


def test_a_migration_above_its_own_statement_and_commit(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Compare with `extra_info["bare"]`: the same tables, each made and committed by the driver alone."""
    sizes = iter(range(1000))
    seconds = benchmark.pedantic(lambda: migrate(project(tmp_path / f"p{next(sizes)}", 500), "apply"), rounds=3)
    benchmark.extra_info["bare"] = bare = fastest(lambda: by_the_driver(tmp_path / f"bare{next(sizes)}.db", 500))
    assert seconds > bare, "a journal and a ledger cost something"


def by_the_driver(path: Path, size: int) -> float:
    """Make the tables of a project without us; return the seconds of processor time."""
    started = process_time()
    connection = sqlite3.connect(path, isolation_level=None)
    for number in range(size):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"CREATE TABLE t_{number} (id integer)")
        connection.execute("COMMIT")
    connection.close()
    return process_time() - started


def fastest(work: Callable[[], float], rounds: int = 3) -> float:
    """Return the seconds of the cheapest of some rounds: the one that was disturbed least."""
    return min(work() for _ in range(rounds))
