"""Every example is sound, plans, applies, and has nothing left to do afterwards: on each database it is made for."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from user_project import RunMigrate

EXAMPLES = Path(__file__).parents[2] / "examples"
Query = Callable[[str], list[tuple[object, ...]]]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A copy of the shop: nothing is written into the checkout."""
    return Path(
        shutil.copytree(EXAMPLES / "shop", tmp_path / "shop", ignore=shutil.ignore_patterns("__pycache__", "*.db*"))
    )


@pytest.fixture
def query(database_uri: str) -> Query:
    """Ask the database itself, past everything of ours."""

    def ask(sql: str) -> list[tuple[object, ...]]:
        if database_uri.startswith("sqlite"):
            import sqlite3

            connection = sqlite3.connect(database_uri.removeprefix("sqlite://"))
            try:
                return connection.execute(sql).fetchall()
            finally:
                connection.close()
        import psycopg2

        with psycopg2.connect(database_uri) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()

    return ask


def test_the_rules_find_nothing_in_the_shop(shop: Path, run_migrate: RunMigrate) -> None:
    done = run_migrate("check", "--strict", "--format", "json", cwd=shop)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"code": "MG' not in done.stdout


def test_the_shop_goes_all_the_way(shop: Path, database_uri: str, query: Query, run_migrate: RunMigrate) -> None:
    environment = {"MIGRATE_URI": database_uri}
    before = run_migrate("plan", "--check", cwd=shop, env=environment)
    assert before.returncode == 4, before.stdout + before.stderr

    applied = run_migrate("apply", cwd=shop, env=environment)
    assert applied.returncode == 0, applied.stdout + applied.stderr

    after = run_migrate("plan", "--check", cwd=shop, env=environment)
    assert after.returncode == 0, after.stdout + after.stderr
    assert query("SELECT count(*) FROM ewh_implemented_features WHERE installed = 'T'") == [(28,)]
    rows = [
        tuple(map(str, row)) for row in query("SELECT month, orders, loyal_customers FROM dashboard ORDER BY month")
    ]
    assert rows == [("2025-11", "1", "1"), ("2025-12", "2", "1")]
    revenue = [round(float(str(row[0])), 2) for row in query("SELECT revenue FROM dashboard ORDER BY month")]
    assert revenue == [34.90, 70.45]
    assert query("SELECT family_name FROM customer WHERE given_name = 'Ada'") == [("Lovelace",)]


def test_reports_say_the_same_in_cents(shop: Path, database_uri: str, query: Query, run_migrate: RunMigrate) -> None:
    """The hand-over to OrderTotals_V2 is seen by nobody who reads the reports."""

    def totals() -> list[tuple[str, float]]:
        return [
            (str(name), round(float(str(total)), 2))
            for name, total in query("SELECT number, total FROM order_totals ORDER BY 1")
        ]

    environment = {"MIGRATE_URI": database_uri}
    first = run_migrate("apply", "--exclude", "order_lines_in_cents_20260309_001+", cwd=shop, env=environment)
    assert first.returncode == 0, first.stdout + first.stderr
    assert query("SELECT paper_number FROM paper_orders") == [("F-17",)]
    before = totals()
    assert len(before) == 3
    rest = run_migrate("apply", cwd=shop, env=environment)
    assert rest.returncode == 0, rest.stdout + rest.stderr
    assert totals() == before


def test_the_first_migrations_of_the_seed(
    tmp_path: Path, database_uri: str, query: Query, run_migrate: RunMigrate
) -> None:
    project = Path(shutil.copytree(EXAMPLES / "seed" / "first", tmp_path / "first"))
    done = run_migrate("migrations.py", cwd=project, env={"MIGRATE_URI": database_uri})
    assert done.returncode == 0, done.stdout + done.stderr
    assert query("SELECT count(*) FROM feature") == [(0,)]


@pytest.mark.postgres
def test_the_views_of_the_seed(tmp_path: Path, postgres_uri: str, run_migrate: RunMigrate) -> None:
    import psycopg2

    project = Path(shutil.copytree(EXAMPLES / "seed" / "views", tmp_path / "views"))
    environment = {"MIGRATE_URI": postgres_uri}
    planned = run_migrate("plan", cwd=project, env=environment)
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert planned.stdout.index("previous_migration") < planned.stdout.index("upgrade_some_source_table")
    done = run_migrate(cwd=project, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    with psycopg2.connect(postgres_uri) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT matviewname FROM pg_matviews ORDER BY 1")
        assert cursor.fetchall() == [("another_example_view",), ("my_example_view",)]


def test_graph_and_plan_tell_one_order(shop: Path, run_migrate: RunMigrate) -> None:
    """The shop's files are told apart by sequence numbers: also a picture without a plan has to follow them."""
    planned, drawn = (run_migrate(command, cwd=shop).stdout for command in ("plan", "graph"))
    names = re.compile(r"[a-z_]+_2026\d{4}_\d{3}")
    order = re.findall(r"^ *\d+  ([a-z_]+_2026\d{4}_\d{3})", planned, re.MULTILINE)
    assert len(order) == 28
    assert names.findall(drawn.partition("\nviews\n")[0]) == order
