"""Programs that use edwh-migrate as a library: they go on working, each with its own settings."""

# ruff: noqa: TID251 - a program's environment is what is tested here

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest
from servers import APP_PASSWORD, postgres_binaries

import migrate_graph
from migrate_graph import Config, authoring, compat, migration, migrations
from migrate_graph.errors import (
    ConfigError,
    DatabaseUnreachable,
    ExitCode,
    LoadError,
    RestoreError,
)


@pytest.fixture(autouse=True)
def as_in_a_new_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Yield each test a default store, process settings, a directory and an environment of its own."""
    monkeypatch.setattr(migrations, "_declared", authoring.Collector())
    monkeypatch.setattr(compat, "_imported", compat._Imported())
    monkeypatch.setattr(compat, "_process", compat._ProcessConfig())
    before = dict(os.environ)
    for name in [*before]:
        if name.upper() in {variable for each in Config.settings() for variable in each.variables}:
            del os.environ[name]
    monkeypatch.chdir(tmp_path)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def config(sqlite_uri: str) -> Config:
    return Config.load({"migrate_uri": sqlite_uri})


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def three(prefix: str = "m") -> str:
    return f"""
        from edwh_migrate import migration

        @migration
        def {prefix}_1(db):
            db.executesql("CREATE TABLE {prefix} (id int)")
            return True

        @migration(requires=[{prefix}_1])
        def {prefix}_2(db):
            db.executesql("INSERT INTO {prefix} VALUES (2)")
            db.commit()
            return True

        @migration(requires="{prefix}_2")
        def {prefix}_3(db):
            return True
    """


def installed(config: Config) -> dict[str, bool]:
    db = migrate_graph.setup_db(config=config)
    rows = {row.name: row.installed for row in db(db.ewh_implemented_features).select()}
    db.close()
    return rows


# --- activate_migrations -----------------------------------------------------------------------------------------


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
    assert [process.wait(60) for process in started] == [0, 0, 0]
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
        subprocess.run([sys.executable, "program.py"], check=False, cwd=tmp_path, timeout=30).returncode
        == -signal.SIGTERM
    )
    with sqlite3.connect(config.migrate_uri.removeprefix("sqlite://")) as database:
        assert database.execute("SELECT name FROM sqlite_master WHERE name = 'half'").fetchall() == []


# --- listing, and several settings in one process ----------------------------------------------------------------


def test_list_migrations_of_a_file(config: Config, tmp_path: Path) -> None:
    write(tmp_path / "migrations.py", three())
    found = migrate_graph.list_migrations(config)
    assert isinstance(found, OrderedDict)
    assert list(found) == ["m_1", "m_2", "m_3"]
    assert found["m_2"].requires == ("m_1",)
    assert list(dict(migrations)) == ["m_1", "m_2", "m_3"]


def test_the_order_in_which_libraries_drive_it(config: Config, tmp_path: Path) -> None:
    """Load, list, set up, mark: what tools around edwh-migrate do, in this order."""
    write(tmp_path / "migrations.py", three())
    names = list(migrate_graph.list_migrations(config))
    with pytest.raises(compat.DatabaseNotYetInitialized) as caught:
        migrate_graph.setup_db(config=config)
    message, unfinished = caught.value.args
    assert message == "ewh_implemented_features is missing."
    unfinished.close()
    db = migrate_graph.setup_db(migrate=True, migrate_enabled=True, remove_migrate_tablefile=True, config=config)
    assert db(db.ewh_implemented_features).count() == 0
    for name in names[:2]:
        assert isinstance(migrate_graph.mark_migration(db, name=name, installed=True), int)
    assert migrate_graph.mark_migration(db, name=names[0], installed=True) is None
    db.commit()
    assert not compat.should_run(db, "m_1")
    assert compat.should_run(db, "m_3")
    db.close()
    assert migrate_graph.activate_migrations(config) is True
    assert installed(config) == dict.fromkeys(names, True)


def test_several_settings_do_not_mix(tmp_path: Path) -> None:
    configs = {}
    for name in ("a", "b"):
        write(tmp_path / name / "migrations.py", three(name))
        configs[name] = Config.load(
            {
                "migrate_uri": f"sqlite://{tmp_path / name / 'x.db'}",
                "migrations_file": str(tmp_path / name / "migrations.py"),
            }
        )
    for name in ("a", "b", "a"):
        assert list(migrate_graph.list_migrations(configs[name])) == [f"{name}_1", f"{name}_2", f"{name}_3"]
    # The store holds those of `a`; both are given what is theirs.
    assert migrate_graph.activate_migrations(configs["b"])
    assert migrate_graph.activate_migrations(configs["a"])
    for name, config in configs.items():
        assert list(installed(config)) == [f"{name}_1", f"{name}_2", f"{name}_3"]


def test_settings_without_a_file_do_not_run_those_of_another(config: Config, tmp_path: Path) -> None:
    write(tmp_path / "migrations.py", three())
    migrate_graph.list_migrations(config)
    other = Config.load({"migrate_uri": f"sqlite://{tmp_path / 'o.db'}", "migrations_file": "elsewhere.py"})
    with pytest.raises(LoadError):
        migrate_graph.activate_migrations(other)
    assert list(migrate_graph.list_migrations(other)) == []


def test_import_migrations(config: Config, tmp_path: Path) -> None:
    write(tmp_path / "deep" / "migrations.py", three("deep"))
    write(tmp_path / "deep" / "named.py", three("named"))
    for args, first in ([str(tmp_path / "deep")], "deep_1"), (["deep/named.py"], "named_1"):
        assert compat.import_migrations(args, config) is True
        assert next(iter(migrations))[0] == first
    assert migrate_graph.activate_migrations(config) is True
    assert list(installed(config)) == ["named_1", "named_2", "named_3"]


def test_d18_a_missing_file_is_no_other_file(config: Config, tmp_path: Path) -> None:
    write(tmp_path / "migrations.py", three())
    config.migrations_file = "absent.py"
    assert compat.import_migrations([], config) is False
    assert compat.import_migrations(["--dry-run"], config) is False
    assert len(migrations) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("@migration(requires='ghost')\ndef a(db): return True", "unknown"),
        ("@migration\ndef a(db): return True\n@migration\ndef a(db): return True", "Duplicate migration name a"),
        (
            "@migration(requires='b')\ndef a(db): return True\n@migration(requires='a')\ndef b(db): return True",
            "circular dependency",
        ),
    ],
)
def test_a_broken_file_is_a_value_error_and_leaves_the_store_alone(
    config: Config, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "migrations.py").write_text(f"from edwh_migrate import migration\n{text}\n")
    with pytest.raises(ValueError, match=said):
        compat.import_migrations([], config)
    assert len(migrations) == 0


def test_a_file_and_the_process_together(config: Config, tmp_path: Path) -> None:
    write(tmp_path / "migrations.py", three())

    @migration
    def of_the_process(db: object) -> bool:
        return True

    assert compat.import_migrations([], config) is True
    assert list(migrations.list()) == ["of_the_process", "m_1", "m_2", "m_3"]
    assert migrate_graph.activate_migrations(config) is True
    assert set(installed(config)) == {"of_the_process", "m_1", "m_2", "m_3"}


def test_intertwined_and_cascading_order_across_files(config: Config, tmp_path: Path) -> None:
    write(tmp_path / "other.py", """
        from edwh_migrate import migration
        @migration
        def other_20260102_001(db): return True
        @migration(requires="main_20260103_001")
        def cascades_20260104_001(db): return True
    """)  # fmt: skip
    write(tmp_path / "migrations.py", """
        from edwh_migrate import migration
        @migration
        def main_20260101_001(db): return True
        @migration
        def main_20260103_001(db): return True
        import other
        @migration
        def unnumbered(db): return True
    """)  # fmt: skip
    legacy = list(migrate_graph.list_migrations(config))
    compat.import_migrations([], Config.load({"migration_ordering_mode": "intertwined"}))
    intertwined = list(migrations.list())
    # Both as edwh-migrate 2.1.0 gives them.
    assert legacy == [
        "main_20260101_001",
        "main_20260103_001",
        "cascades_20260104_001",
        "other_20260102_001",
        "unnumbered",
    ]
    assert intertwined == [
        "unnumbered",
        "main_20260101_001",
        "other_20260102_001",
        "main_20260103_001",
        "cascades_20260104_001",
    ]


# --- settings ----------------------------------------------------------------------------------------------------


def test_one_configuration_per_process(tmp_path: Path) -> None:
    write(tmp_path / "pyproject.toml", '[tool.migrate]\nmigrate_uri = "sqlite://one.db"\nmigrate-table = "t1"\n')
    config = migrate_graph.get_config()
    assert migrate_graph.get_config() is config
    assert (config.migrate_uri, config.migrate_table) == ("sqlite://one.db", "t1")
    config.migrate_table = "set"
    assert migrate_graph.get_config().migrate_table == "set"


def test_the_environment_is_read_anew(tmp_path: Path) -> None:
    write(tmp_path / "pyproject.toml", '[tool.migrate]\nmigrate_uri = "sqlite://one.db"\n')
    config = migrate_graph.get_config()
    os.environ["MIGRATE_URI"] = "sqlite://env.db"
    assert migrate_graph.get_config().migrate_uri == "sqlite://env.db"
    config.migrate_uri = "sqlite://set.db"
    assert migrate_graph.get_config().migrate_uri == "sqlite://set.db"
    config.update_from_env({"MIGRATE_URI": "sqlite://given.db"})
    assert config.migrate_uri == "sqlite://given.db"


def test_dotenv_becomes_part_of_the_environment_as_in_2_1_0(tmp_path: Path) -> None:
    write(tmp_path / ".env", "MIGRATE_URI=sqlite://dot.db\nSOMETHING_ELSE=x\n")
    assert migrate_graph.get_config().migrate_uri == "sqlite://dot.db"
    assert os.environ["SOMETHING_ELSE"] == "x"


def test_d08b_a_bad_value_is_told_and_does_not_drop_the_file(tmp_path: Path) -> None:
    write(tmp_path / "pyproject.toml", '[tool.migrate]\nmigrate_uri = "sqlite://one.db"\nuse_typedal = "maybe"\n')
    with pytest.raises(ConfigError, match=r"pyproject\.toml:3.*use_typedal"):
        migrate_graph.get_config()


def test_no_database_is_an_invalid_config() -> None:
    with pytest.raises(compat.InvalidConfigException, match="MIGRATE_URI not found"):
        migrate_graph.setup_db()


# --- setup_db ----------------------------------------------------------------------------------------------------

HOSTILE = ["Mixed Case", 'quo"te', "it's; DROP TABLE x", "per%cent", "ünï", "select"]


@pytest.mark.parametrize("table", ["plain", "Folded", *HOSTILE])
def test_d26_any_name_of_the_ledger_table(database_uri: str, table: str) -> None:
    config = Config.load({"migrate_uri": database_uri, "migrate_table": table})

    @migration
    def looks_itself(db: object) -> bool:
        return db(db.ewh_implemented_features).count() == 0  # type: ignore[operator,attr-defined]

    assert migrate_graph.activate_migrations(config) is True
    db = migrate_graph.setup_db(config=config)
    assert [row.name for row in db(db.ewh_implemented_features).select()] == ["looks_itself"]
    migrate_graph.mark_migration(db, "by_hand", True)
    db.commit()
    assert not compat.should_run(db, "by_hand")
    db.close()
    assert installed(Config.load({"migrate_uri": database_uri, "migrate_table": table}))["by_hand"] is True


@pytest.mark.parametrize("table", ["plain", *HOSTILE])
def test_the_ledger_made_by_pydal_is_the_ledger(database_uri: str, table: str) -> None:
    config = Config.load({"migrate_uri": database_uri})
    with pytest.raises(compat.DatabaseNotYetInitialized) as caught:
        migrate_graph.setup_db(impl_feat_table_name=table, config=config)
    caught.value.args[1].close()
    db = migrate_graph.setup_db(
        migrate=True, migrate_enabled=True, impl_feat_table_name=table, config=config, remove_migrate_tablefile=True
    )
    migrate_graph.mark_migration(db, "done", True)
    db.commit()
    db.close()

    @migration
    def done(db: object) -> bool:
        raise AssertionError("it is recorded")

    config.migrate_table = table
    assert migrate_graph.activate_migrations(config) is True


@pytest.mark.postgres
@pytest.mark.parametrize("schema", ["app", "Mixed Case", 'quo"te', "a'; DROP SCHEMA public; --"])
def test_d26_any_name_of_the_schema(postgres_uri: str, schema: str) -> None:
    quoted = '"' + schema.replace('"', '""') + '"'
    with psycopg2.connect(postgres_uri) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA {quoted}")
    config = Config.load({"migrate_uri": postgres_uri, "schema": schema})

    @migration
    def creates(db: object) -> bool:
        db.executesql("CREATE TABLE here (id int)")  # type: ignore[attr-defined]
        return True

    assert migrate_graph.activate_migrations(config) is True
    db = migrate_graph.setup_db(config=config)
    assert db.executesql("SELECT current_schema(), count(*) FROM here") == [(schema, 0)]
    db.close()


@pytest.mark.postgres
def test_schema_false_leaves_the_search_path_alone(postgres_uri: str) -> None:
    config = Config.load({"migrate_uri": postgres_uri, "schema": False})

    @migration
    def looks(db: object) -> bool:
        return db.executesql("SHOW search_path") == [('"$user", public',)]  # type: ignore[attr-defined]

    assert migrate_graph.activate_migrations(config) is True
    db = migrate_graph.setup_db(config=config)
    assert db.executesql("SHOW search_path") == [('"$user", public',)]
    db.close()


@pytest.mark.postgres
@pytest.mark.parametrize("long_running", [True, 60])
def test_a_server_without_pgpool_is_tolerated(postgres_uri: str, long_running: bool | int) -> None:
    config = Config.load({"migrate_uri": postgres_uri})
    migrate_graph.activate_migrations(config)
    db = migrate_graph.setup_db(long_running=long_running, appname="é" * 100, config=config)
    assert db.executesql("SELECT application_name <> '' FROM pg_stat_activity WHERE pid = pg_backend_pid()") == [
        (True,)
    ]
    db.close()


def test_a_typedal_where_the_project_uses_it(database_uri: str) -> None:
    from typedal import TypeDAL

    config = Config.load({"migrate_uri": database_uri, "use_typedal": True})
    seen: list[type] = []

    @migration
    def looks(db: object) -> bool:
        seen.append(type(db))
        return True

    assert migrate_graph.activate_migrations(config) is True
    db = migrate_graph.setup_db(config=config)
    assert isinstance(db, TypeDAL)
    assert seen == [TypeDAL]
    assert [row.name for row in db(db.ewh_implemented_features).select()] == ["looks"]
    db.close()


def test_an_own_class_of_dal(config: Config) -> None:
    from pydal import DAL

    class Own(DAL):
        pass

    migrate_graph.activate_migrations(config)
    db = migrate_graph.setup_db(dal_class=Own, config=config)
    assert type(db) is Own
    db.close()


def test_db_folder_is_where_pydal_keeps_its_files(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    config = Config.load({"migrate_uri": "sqlite://relative.db", "db_folder": str(tmp_path / "files")})

    @migration
    def fine(db: object) -> bool:
        return True

    assert migrate_graph.activate_migrations(config) is True
    assert (tmp_path / "files" / "relative.db").exists()
    assert list(installed(config)) == ["fine"]


def test_d08_a_locked_database_is_not_an_uninitialised_one(config: Config) -> None:
    migrate_graph.activate_migrations(config)
    with sqlite3.connect(config.migrate_uri.removeprefix("sqlite://"), isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            migrate_graph.setup_db(config=config)


# --- restore -----------------------------------------------------------------------------------------------------

LEDGER = "CREATE TABLE ewh_implemented_features (id {serial} PRIMARY KEY, name VARCHAR(512) UNIQUE, installed CHAR(1), last_update_dttm TIMESTAMP);\n"


@pytest.fixture
def dump(tmp_path: Path, database_uri: str) -> Path:
    serial = "SERIAL" if database_uri.startswith("postgres") else "INTEGER"
    text = LEDGER.format(serial=serial) + (
        "INSERT INTO ewh_implemented_features (name, installed) VALUES ('m_1', 'T');\nCREATE TABLE m (id int);\n"
    )
    return write(tmp_path / "backup.sql", text)


def psql_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{postgres_binaries()}{os.pathsep}{os.environ['PATH']}")


def test_an_empty_database_is_made_from_the_backup_and_then_migrated(
    tmp_path: Path, database_uri: str, dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    psql_on_path(monkeypatch)
    write(tmp_path / "migrations.py", three())
    config = Config.load({"migrate_uri": database_uri, "database_to_restore": str(dump)})
    assert migrate_graph.console_hook([], config=config) == 0
    assert installed(config) == {"m_1": True, "m_2": True, "m_3": True}
    db = migrate_graph.setup_db(config=config)
    assert db.executesql("SELECT id FROM m") == [(2,)]
    db.close()


def test_d08_a_database_with_relations_and_no_ledger_is_refused(tmp_path: Path, database_uri: str, dump: Path) -> None:
    config = Config.load({"migrate_uri": database_uri, "database_to_restore": str(dump), "migrate_table": "typo"})
    if database_uri.startswith("postgres"):
        with psycopg2.connect(database_uri) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE live (id int)")
    else:
        with sqlite3.connect(database_uri.removeprefix("sqlite://")) as database:
            database.execute("CREATE TABLE live (id int)")
    write(tmp_path / "migrations.py", three())
    assert migrate_graph.console_hook([], config=config) == ExitCode.RESTORE
    with pytest.raises(RestoreError, match="is not empty"):
        migrate_graph.recover_database_from_backup(config=config)


@pytest.mark.parametrize("typedal", [False, True])
@pytest.mark.parametrize("folder", [None, "files", "absolute"])
def test_d15a_one_sqlite_file_for_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str | None, typedal: bool
) -> None:
    """2.1.0 restored into another file than it used; TypeDAL by itself takes yet another one."""
    write(
        tmp_path / "backup.sql",
        LEDGER.format(serial="INTEGER") + "INSERT INTO ewh_implemented_features (name) VALUES ('old');\n",
    )
    write(tmp_path / "migrations.py", three())
    folder = str(tmp_path / "absolute") if folder == "absolute" else folder
    directory = tmp_path / (folder or "")
    directory.mkdir(exist_ok=True)
    config = Config.load(
        {
            "migrate_uri": "sqlite://relative.db",
            "db_folder": folder,
            "use_typedal": typedal,
            "database_to_restore": "backup.sql",
        }
    )
    assert migrate_graph.console_hook([], config=config) == ExitCode.OK
    assert set(installed(config)) == {"old", "m_1", "m_2", "m_3"}
    assert list(tmp_path.rglob("*.db")) == [directory / "relative.db"]
    assert list(tmp_path.rglob("*.lock")) == [directory / "relative.db.migrate.lock"]
    monkeypatch.chdir("/")
    if folder and Path(folder).is_absolute():
        assert set(installed(config)) == {"old", "m_1", "m_2", "m_3"}


def test_recover_alone(database_uri: str, dump: Path) -> None:
    config = Config.load({"migrate_uri": database_uri, "database_to_restore": str(dump)})
    migrate_graph.recover_database_from_backup("public", config, postgres_binaries() / "psql")
    assert installed(config) == {"m_1": True}
    with pytest.raises(RestoreError, match="already has the table"):
        migrate_graph.recover_database_from_backup(config=config)


def test_a_backup_that_is_absent_is_caught_as_a_file_that_is_absent(config: Config) -> None:
    config.database_to_restore = "absent.sql"
    with pytest.raises(FileNotFoundError) as caught:
        migrate_graph.recover_database_from_backup(config=config)
    assert isinstance(caught.value, RestoreError)


def test_the_default_backup_may_be_absent_and_a_configured_one_may_not(config: Config) -> None:
    @migration
    def fine(db: object) -> bool:
        return True

    assert migrate_graph.activate_migrations(config) is True
    other = Config.load({"migrate_uri": config.migrate_uri + "2", "database_to_restore": "absent.sql"})
    with pytest.raises(RestoreError, match="does not exist"):
        migrate_graph.activate_migrations(other)


# --- flags, redis, exit codes ------------------------------------------------------------------------------------


def hook(config: Config, tmp_path: Path, *args: str) -> int:
    if not (tmp_path / "migrations.py").exists():
        write(tmp_path / "migrations.py", three())
    return migrate_graph.console_hook(list(args), config=config)


def test_a_flag_is_set_and_found(config: Config, tmp_path: Path) -> None:
    config.update(schema_version="v1", flag_location=str(tmp_path))
    assert hook(config, tmp_path) == 0
    assert (tmp_path / "migrate-v1.complete").exists()
    (tmp_path / "migrations.py").write_text("raise SystemExit('not even loaded again, or at least not run')\n")
    with (
        pytest.raises(compat.MigrateLockExists, match=r"migrate-v1\.complete"),
        compat.schema_versioned_lock_file(config=config),
    ):
        pytest.fail("the block is not entered")


def test_d12_the_flag_of_another_database_does_not_count(config: Config, tmp_path: Path) -> None:
    config.update(schema_version="v1", flag_location=str(tmp_path))
    assert hook(config, tmp_path) == 0
    other = Config.load(
        {"migrate_uri": f"sqlite://{tmp_path / 'o.db'}", "schema_version": "v1", "flag_location": str(tmp_path)}
    )
    assert hook(other, tmp_path) == 0
    assert set(installed(other)) == {"m_1", "m_2", "m_3"}


def test_the_empty_flag_of_2_1_0_counts(config: Config, tmp_path: Path) -> None:
    config.update(schema_version="v1", flag_location=str(tmp_path))
    (tmp_path / "migrate-v1.complete").touch()
    assert hook(config, tmp_path) == 0
    assert not Path(config.migrate_uri.removeprefix("sqlite://")).exists()


@pytest.mark.parametrize("version", ["../x", "x" * 300])
def test_d12_a_bad_version_runs_nothing(config: Config, tmp_path: Path, version: str) -> None:
    config.update(schema_version=version, flag_location=str(tmp_path))
    assert hook(config, tmp_path) == ExitCode.USAGE
    assert not Path(config.migrate_uri.removeprefix("sqlite://")).exists()


def test_d12_an_empty_version_is_refused(config: Config) -> None:
    with pytest.raises(ConfigError, match="schema_version"):
        config.schema_version = ""


@pytest.mark.parametrize("where", ["absent", "a_file", "/proc/self"])
def test_d12_a_bad_directory_runs_nothing(config: Config, tmp_path: Path, where: str) -> None:
    (tmp_path / "a_file").touch()
    config.update(schema_version="v1", flag_location=where)
    assert hook(config, tmp_path) == ExitCode.USAGE
    assert not Path(config.migrate_uri.removeprefix("sqlite://")).exists()


def test_the_lock_file_of_a_programs_own_block(config: Config, tmp_path: Path) -> None:
    with compat.schema_versioned_lock_file(config=config) as nothing:
        assert nothing is None
    config.schema_version = "v1"
    directory = tmp_path / "flags"
    for clause in (ConfigError, NotADirectoryError):
        with pytest.raises(clause, match="does not exist"), compat.schema_versioned_lock_file(directory, config=config):
            pytest.fail("the block is not entered")
    with compat.schema_versioned_lock_file(directory, True, config):
        raise compat.MigrationFailed("x")
    flag = directory / "migrate-v1.complete"
    assert not flag.exists()

    def run(error: type[BaseException]) -> None:
        with compat.schema_versioned_lock_file(directory, config=config):
            raise error

    for error in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(error):
            run(error)
    assert not flag.exists()
    with compat.schema_versioned_lock_file(directory, config=config) as path:
        assert path == flag
        assert not flag.exists()
    assert flag.exists()


@pytest.mark.redis
def test_d13_the_cache_is_flushed_after_a_change_also_when_something_failed(
    config: Config, redis_uri: str, tmp_path: Path
) -> None:
    import redis

    cache = redis.Redis.from_url(redis_uri)
    config.redis_host = redis_uri
    write(
        tmp_path / "migrations.py", three() + "\n        @migration\n        def bad(db):\n            return False\n"
    )
    cache.set("key", "stale")
    assert hook(config, tmp_path) == ExitCode.FAILED
    assert cache.dbsize() == 0
    cache.set("key", "fresh")
    assert hook(config, tmp_path) == ExitCode.FAILED
    assert cache.dbsize() == 1


@pytest.mark.redis
def test_d13_a_flush_that_failed_is_remembered(config: Config, redis_uri: str, tmp_path: Path) -> None:
    import redis

    cache = redis.Redis.from_url(redis_uri)
    cache.set("key", "stale")
    config.update(redis_host="127.0.0.1:1", schema_version="v1", flag_location=str(tmp_path))
    assert hook(config, tmp_path) == ExitCode.AFTERWORK
    assert set(installed(config).values()) == {True}
    assert not (tmp_path / "migrate-v1.complete").exists()
    config.redis_host = redis_uri
    assert hook(config, tmp_path) == ExitCode.OK
    assert cache.dbsize() == 0
    assert (tmp_path / "migrate-v1.complete").exists()


def test_a_bad_redis_address_runs_nothing(config: Config, tmp_path: Path) -> None:
    config.redis_host = "http://cache"
    assert hook(config, tmp_path) == ExitCode.USAGE
    assert not Path(config.migrate_uri.removeprefix("sqlite://")).exists()


def test_exit_codes_of_the_hook(config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hook(config, tmp_path) == 0
    assert hook(config, tmp_path, "--list") == 0
    assert "m_2" in capsys.readouterr().out
    assert hook(config, tmp_path, "--help") == 0
    assert hook(config, tmp_path, "absent.py") == ExitCode.USAGE
    write(
        tmp_path / "bad" / "bad.py", "from edwh_migrate import migration\n@migration\ndef bad(db):\n    return False\n"
    )
    assert hook(config, tmp_path, "bad/bad.py") == ExitCode.FAILED
    write(tmp_path / "broken" / "broken.py", "import no_such_module_here\n")
    assert hook(config, tmp_path, "broken/broken.py") == ExitCode.USAGE


def test_the_hook_runs_what_the_process_declared_as_well(config: Config, tmp_path: Path) -> None:
    @migration
    def of_the_process(db: object) -> bool:
        return True

    assert hook(config, tmp_path) == 0
    assert set(installed(config)) == {"of_the_process", "m_1", "m_2", "m_3"}


def test_the_hook_with_settings_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "pyproject.toml", "[tool.migrate]\nno_such_setting = 1\n")
    assert migrate_graph.console_hook([]) == ExitCode.USAGE
    assert "no_such_setting" in capsys.readouterr().err


def test_the_status_table(config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "migrations.py", three())
    compat.print_migrations_status_table(config)
    assert "m_1" in capsys.readouterr().out


# --- secrets -----------------------------------------------------------------------------------------------------


@pytest.mark.postgres
def test_d14_no_password_in_what_is_said(
    postgres_uri: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    psql_on_path(monkeypatch)
    write(tmp_path / "backup.sql", f"SELECT '{APP_PASSWORD}'::int;\n")
    config = Config.load({"migrate_uri": postgres_uri, "database_to_restore": str(tmp_path / "backup.sql")})
    assert hook(config, tmp_path) == ExitCode.RESTORE
    assert hook(config, tmp_path, "config") == 0
    said = capfd.readouterr()
    assert APP_PASSWORD not in said.out + said.err + repr(config)


@pytest.mark.postgres
@pytest.mark.parametrize(
    "change", [lambda uri: uri.replace(APP_PASSWORD, "wrong-password"), lambda uri: uri + "_absent"]
)
def test_d10_what_waiting_cannot_mend_fails_at_once(postgres_uri: str, change: Callable[[str], str]) -> None:
    @migration
    def fine(db: object) -> bool:
        return True

    with pytest.raises(DatabaseUnreachable):
        migrate_graph.activate_migrations(Config.load({"migrate_uri": change(postgres_uri)}))


def test_a_folder_of_one_database_is_not_that_of_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyDAL remembers a folder for every later `DAL` of the thread that has none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    for folder in ("elsewhere", None):
        config = Config.load({"migrate_uri": "sqlite://same.db", "db_folder": folder})
        db = migrate_graph.setup_db(migrate=True, migrate_enabled=True, config=config)
        db.commit()
        db.close()
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.db")) == [
        "elsewhere/same.db",
        "same.db",
    ]
