"""edwh-migrate's names: exported, importable, with the signatures of 2.1.0."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import migrate_graph
from migrate_graph import compat
from migrate_graph.errors import ConfigError

NOTHING = object()

# Read from edwh-migrate 2.1.0 with inspect.signature: (name, default) of each parameter, all positional or by keyword.
SIGNATURES: dict[str, list[tuple[str, object]]] = {
    "migration": [("func", None), ("requires", None)],
    "activate_migrations": [("config", None), ("max_time", 600), ("failed_migrations", None)],
    "setup_db": [
        ("migrate", False),
        ("migrate_enabled", False),
        ("appname", " ".join(sys.argv)),
        ("long_running", False),
        ("dal_class", None),
        ("impl_feat_table_name", None),
        ("folder", None),
        ("config", None),
        ("remove_migrate_tablefile", False),
    ],
    "recover_database_from_backup": [("set_schema", None), ("config", None), ("postgres_client", None)],
    "get_config": [],
    "list_migrations": [("config", NOTHING), ("args", None)],
    "mark_migration": [("db", NOTHING), ("name", NOTHING), ("installed", NOTHING)],
    "should_run": [("db", NOTHING), ("name", NOTHING)],
    "schema_versioned_lock_file": [("flag_location", None), ("create_flag_location", False), ("config", None)],
    "import_migrations": [("args", NOTHING), ("config", NOTHING)],
    "define_ewh_implemented_features": [("db", NOTHING), ("rname", "ewh_implemented_features"), ("migrate", True)],
    "print_migrations_status_table": [("config", NOTHING)],
    "console_hook": [("args", NOTHING), ("config", None)],
}

EXPORTED = [
    "migration", "migrations", "activate_migrations", "setup_db", "recover_database_from_backup", "InvalidConfigException",
    "UnknownConfigException", "Config", "get_config", "console_hook", "list_migrations", "mark_migration",
    "ViewMigrationManager", "classproperty",
]  # fmt: skip

# Read from edwh-migrate 2.1.0 with vars(): what its modules hold besides imports and private names.
INSIDE = {
    "edwh_migrate.migrate": """
        BaseEDWHMigrateException CURRENT_MIGRATION Config DatabaseNotYetInitialized EDWHMigrateException InvalidConfigException
        MIGRATION_SUFFIX_RE MigrateLockExists Migration MigrationFailed MigrationFn MigrationOrderingMode MigrationStore
        PostgresError PostgresUndefinedTable RequimentsNotMet TEN_MINUTES UnknownConfigException
        VALID_MIGRATION_ORDERING_MODES activate_migrations console_hook define_ewh_implemented_features get_config
        import_migrations list_migrations mark_migration migration migrations print_migrations_status_table
        recover_database_from_backup schema_versioned_lock_file setup_db should_run truncate_appname try_setup_db
        _console_hook _get_config
    """,
    "edwh_migrate.postgres": "PostgresError PostgresUndefinedTable",
    "edwh_migrate.view_migration_manager": "ViewMigrationManager classproperty CURRENT_MIGRATION",
    "edwh_migrate.helpers": "classproperty",
    "edwh_migrate.constants": "CURRENT_MIGRATION",
    "edwh_migrate.__about__": "__version__",
}
OLD_NAMES = [("edwh_migrate", name) for name in EXPORTED] + [
    (module, name) for module, names in INSIDE.items() for name in names.split()
]


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_signature_is_that_of_2_1_0(name: str) -> None:
    parameters = list(inspect.signature(getattr(migrate_graph, name)).parameters.values())
    given = [
        (each.name, NOTHING if each.default is inspect.Parameter.empty else each.default)
        for each in parameters
        if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]
    assert given == SIGNATURES[name]
    # What is ours besides can only be given by keyword, so no call of 2.1.0's can mean it.
    rest = [each.kind for each in parameters if each.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert set(rest) <= {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("name", EXPORTED)
def test_the_front_door_exports_the_name(name: str) -> None:
    assert name in migrate_graph.__all__
    assert getattr(migrate_graph, name) is not None


@pytest.mark.parametrize(("module", "name"), OLD_NAMES)
def test_programs_can_import_it_by_its_old_name(module: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for known in [name for name in sys.modules if name.partition(".")[0] == "edwh_migrate"]:
        monkeypatch.delitem(sys.modules, known)
    before = set(sys.modules)
    migrate_graph.install_as_edwh_migrate()
    try:
        assert hasattr(importlib.import_module(module), name)
    finally:
        for added in set(sys.modules) - before:
            if added.partition(".")[0] == "edwh_migrate":
                del sys.modules[added]


def test_exceptions_are_caught_by_the_clauses_of_both_worlds() -> None:
    assert issubclass(compat.InvalidConfigException, ConfigError)
    assert issubclass(compat.BackupNotFound, FileNotFoundError)
    for name in ("InvalidConfigException", "UnknownConfigException", "DatabaseNotYetInitialized", "RequimentsNotMet"):
        assert issubclass(getattr(compat, name), compat.BaseEDWHMigrateException)
    assert not issubclass(compat.DatabaseNotYetInitialized, Exception)
    assert issubclass(compat.MigrateLockExists, compat.EDWHMigrateException)
    assert issubclass(compat.MigrationFailed, Exception)


def test_the_drivers_exceptions() -> None:
    import psycopg2

    from migrate_graph.compat import drivers

    assert drivers.PostgresError is psycopg2.Error
    assert issubclass(drivers.PostgresUndefinedTable, psycopg2.Error)


def test_without_the_driver_there_are_stand_ins() -> None:
    code = """
        import sys
        sys.modules["psycopg2"] = sys.modules["psycopg2.errors"] = None
        import migrate_graph
        migrate_graph.install_as_edwh_migrate()
        from edwh_migrate.postgres import PostgresError, PostgresUndefinedTable
        assert issubclass(PostgresError, Exception) and issubclass(PostgresUndefinedTable, Exception)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_importing_the_compatible_names_brings_in_no_database_and_no_terminal() -> None:
    code = """
        import sys
        import migrate_graph.compat
        print(*sorted({"networkx", "pydal", "typedal", "psycopg2", "redis", "typer", "rich"} & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""


def test_a_program_whose_third_parties_say_edwh_migrate(tmp_path: Path) -> None:
    """A package that imports edwh_migrate in a module of its own, outside of any loading."""
    package = tmp_path / "thirdparty"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "features.py").write_text(
        "from edwh_migrate import migration\nfrom edwh_migrate.migrate import should_run\n"
        "@migration\ndef third_party_1(db):\n    db.executesql('CREATE TABLE third (id int)')\n    return True\n"
    )
    code = f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        import migrate_graph
        migrate_graph.install_as_edwh_migrate()
        import thirdparty.features
        config = migrate_graph.Config.load({{"migrate_uri": "sqlite://{tmp_path / "x.db"}"}})
        assert migrate_graph.activate_migrations(config)
        db = migrate_graph.setup_db(config=config)
        assert not thirdparty.features.should_run(db, "third_party_1")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, cwd=tmp_path)


def test_the_modules_look_like_an_installed_package() -> None:
    code = """
        import importlib.util, sys
        import migrate_graph
        migrate_graph.install_as_edwh_migrate()
        import edwh_migrate
        assert edwh_migrate.migrate.setup_db is migrate_graph.setup_db  # a submodule as an attribute
        assert importlib.util.find_spec("edwh_migrate") is not None
        assert importlib.util.find_spec("edwh_migrate.migrate") is not None
        assert edwh_migrate.__about__.__version__ == "2.1.0"
        namespace = {}
        exec("from edwh_migrate import *", namespace)
        assert namespace["migration"] is migrate_graph.migration and "setup_db" in namespace
        try:
            import edwh_migrate.nothing
        except ModuleNotFoundError:
            pass
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_the_script_of_2_1_0_ends_the_process(tmp_path: Path) -> None:
    code = """
        import migrate_graph
        migrate_graph.install_as_edwh_migrate()
        from edwh_migrate.migrate import console_hook
        console_hook()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), "--help"],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, "migrate" in done.stdout) == (0, True)
