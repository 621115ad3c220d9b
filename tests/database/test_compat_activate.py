"""What `activate_migrations()` runs, names and returns, in programs that use edwh-migrate as a library."""

# ruff: noqa: TID251 - a program's environment is what is tested here

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import psycopg2
import pytest
from compat_programs import installed, write

import migrate_graph
from migrate_graph import Config, migration

pytestmark = pytest.mark.usefixtures("new_process")


def test_migrations_of_the_process_run(config: Config) -> None:
    ran = []

    @migration
    def first(db: object) -> bool:
        ran.append("first")
        return True

    @migration(requires=[first])
    def second(db: object) -> bool:
        ran.append("second")
        return True

    assert migrate_graph.activate_migrations(config) is True
    assert migrate_graph.activate_migrations(config) is True
    assert ran == ["first", "second"]
    assert installed(config) == {"first": True, "second": True}


def test_nothing_declared_is_no_success(config: Config) -> None:
    assert migrate_graph.activate_migrations(config) is False


def test_failures_are_named_and_independent_ones_run(config: Config) -> None:
    @migration
    def refuses(db: object) -> bool:
        return False

    @migration(requires=refuses)
    def waits(db: object) -> bool:
        return True

    @migration
    def independent(db: object) -> bool:
        return True

    failed: list[str] = []
    assert migrate_graph.activate_migrations(config, failed_migrations=failed) is False
    assert failed == ["refuses"]
    assert installed(config) == {"refuses": False, "independent": True}


def test_a_migration_that_raises_is_named(config: Config) -> None:
    @migration
    def breaks(db: object) -> bool:
        raise RuntimeError("no")

    failed: list[str] = []
    assert migrate_graph.activate_migrations(config, 1, failed) is False
    assert failed == ["breaks"]


def test_rules_that_2_1_0_did_not_have_warn_and_do_not_refuse(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    class NeverOpens(migrate_graph.ViewMigrationManager):
        uses = ()
        since = "no_such_migration"

        def up(self) -> None: ...
        def down(self) -> None: ...

    @migration
    def fine(db: object) -> bool:
        return True

    assert migrate_graph.activate_migrations(config) is True
    assert "MG203" in capsys.readouterr().err


def test_d18_a_coroutine_is_refused_and_not_recorded(config: Config) -> None:
    @migration
    async def later(db: object) -> bool:
        return True

    with pytest.raises(migrate_graph.errors.InvalidGraph):
        migrate_graph.activate_migrations(config)


def test_the_settings_that_are_given_are_used_and_not_changed(config: Config, tmp_path: Path) -> None:
    os.environ["MIGRATE_URI"] = f"sqlite://{tmp_path / 'other.db'}"
    before = repr(config)

    @migration
    def fine(db: object) -> bool:
        return True

    assert migrate_graph.activate_migrations(config, max_time=3) is True
    assert repr(config) == before
    assert not (tmp_path / "other.db").exists()


def test_d07b_a_migration_that_is_over_opens_no_window(config: Config) -> None:
    """2.1.0 left its name in the environment, so the view of a failed migration counted as living from then on."""
    found: list[bool] = []

    class Late(migrate_graph.ViewMigrationManager):
        uses = ()
        since = "opens"

        def up(self) -> None:
            self.db.executesql("CREATE VIEW late AS SELECT 1 AS one")

        def down(self) -> None:
            self.db.executesql("DROP VIEW IF EXISTS late")

    @migration
    def opens(db: object) -> bool:
        with Late(db) as late:
            found.append(late.should_run())
        return False

    @migration
    def looks(db: object) -> bool:
        found.append(Late(db).should_run())
        with Late(db):
            return True

    assert migrate_graph.activate_migrations(config) is False
    assert found == [True, False]
    assert "CURRENT_MIGRATION" not in os.environ
    db = migrate_graph.setup_db(config=config)
    assert Late(db).should_run() is False
    with Late(db):
        pass
    catalog = "sqlite_master WHERE name" if config.migrate_uri.startswith("sqlite") else "pg_views WHERE viewname"
    assert db.executesql(f"SELECT count(*) FROM {catalog} = 'late'") == [(0,)]
    db.close()


def test_a_migration_calls_another(config: Config) -> None:
    ran = []

    @migration
    def inner(db: object) -> bool:
        ran.append("inner")
        return True

    @migration
    def outer(db: object) -> bool:
        return bool(inner(db))

    assert migrate_graph.activate_migrations(config) is True
    assert ran == ["inner", "inner"]


@pytest.mark.postgres
def test_d02_replicas_that_start_at_once_run_everything_once(postgres_uri: str, tmp_path: Path) -> None:
    write(
        tmp_path / "program.py",
        f"""
        import migrate_graph, time
        from migrate_graph import migration

        @migration
        def create(db):
            db.executesql("CREATE TABLE ran (who text)")
            time.sleep(0.3)
            return True

        @migration(requires=create)
        def fill(db):
            db.executesql("INSERT INTO ran VALUES ('x')")
            return True

        config = migrate_graph.Config.load({{"migrate_uri": {postgres_uri!r}}})
        raise SystemExit(0 if migrate_graph.activate_migrations(config) else 1)
        """,
    )
    started = [subprocess.Popen([sys.executable, "program.py"], cwd=tmp_path) for _ in range(3)]
    assert [process.wait(120) for process in started] == [0, 0, 0]
    with psycopg2.connect(postgres_uri) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM ran")
        assert cursor.fetchone() == (1,)


def test_d20_a_signal_rolls_back_and_then_has_the_programs_own_effect(config: Config, tmp_path: Path) -> None:
    write(
        tmp_path / "program.py",
        f"""
        import os, signal, time
        import migrate_graph
        from migrate_graph import migration

        @migration
        def slow(db):
            db.executesql("CREATE TABLE half (id int)")
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(20)
            return True

        migrate_graph.activate_migrations(migrate_graph.Config.load({{"migrate_uri": {config.migrate_uri!r}}}))
        """,
    )
    assert (
        subprocess.run([sys.executable, "program.py"], check=False, cwd=tmp_path, timeout=120).returncode
        == -signal.SIGTERM
    )
    with sqlite3.connect(config.migrate_uri.removeprefix("sqlite://")) as database:
        assert database.execute("SELECT name FROM sqlite_master WHERE name = 'half'").fetchall() == []


@pytest.mark.parametrize("atomic", [False, True])
def test_programs_are_one_transaction_only_where_they_ask_for_it(sqlite_uri: str, atomic: bool) -> None:
    config = Config.load({"migrate_uri": sqlite_uri, "atomic": atomic})

    @migration
    def first(db: object) -> bool:
        return True

    @migration(requires=first)
    def breaks(db: object) -> bool:
        raise RuntimeError("no")

    assert migrate_graph.activate_migrations(config) is False
    assert installed(config) == {"breaks": False} | ({} if atomic else {"first": True})
