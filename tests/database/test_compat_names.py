"""edwh-migrate's names: exported, importable, with the signatures of 2.1.0."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import migrate_graph
from migrate_graph import compat
from migrate_graph.errors import ConfigError, DatabaseUnreachable, InvalidGraph, LoadError, RestoreError

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
        _console_hook _get_config DAL Field HeapKey T_Dal Table TypeDAL print_trimmed_exception temporary_import
    """,
    "edwh_migrate.postgres": "PostgresError PostgresUndefinedTable",
    "edwh_migrate.view_migration_manager": "ViewMigrationManager classproperty CURRENT_MIGRATION",
    "edwh_migrate.helpers": "classproperty",
    "edwh_migrate.constants": "CURRENT_MIGRATION",
    "edwh_migrate.__about__": "__version__",
}

# What 2.1.0's modules hold besides, and ours do not, with the reason.
LEFT_OUT = {
    "its imports of other packages": """
        BaseCommand ConfigError ConfigErrorMissingKey IsPostponedError Singleton alias asdict configuraptor dotenv find_dotenv
        plumbum postpone psycopg2 tabulate typing version
    """,
    "type variables without a meaning outside": "E T",
    "private parts of the order, which is the graph's here": "_migration_heap_key _parse_migration_suffix",
}
LEFT_OUT_OF_CLASSES = {
    "parts of configuraptor, which stands behind its Config": "_all_annotations _clone _fill _format _update fill",
    "never asked: a dependent of what failed is blocked before": "check_requires",
    "private parts of a view block, which the executor plans here": """
        _active_manager _has_active_replacement _migration_order _run_ordered_hook _uses_replacements may_go_up
    """,
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


def test_every_other_name_of_2_1_0_is_left_out_for_a_reason(real_names: dict[str, list[str]]) -> None:
    """Asked of edwh-migrate itself, as it is in the index."""
    migrate_graph.install_as_edwh_migrate()
    try:
        left_out = set(" ".join(LEFT_OUT.values()).split())
        for module, names in real_names["modules"].items():
            ours = importlib.import_module(module)
            assert {name for name in names if not hasattr(ours, name)} <= left_out, module
        left_out = set(" ".join(LEFT_OUT_OF_CLASSES.values()).split()) | {"migrate_uri"}  # set by its instances
        classes = {each: getattr(sys.modules["edwh_migrate.migrate"], each) for each in real_names["classes"]}
        for name, attributes in real_names["classes"].items():
            assert {each for each in attributes if not hasattr(classes[name], each)} <= left_out, name
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "edwh_migrate"]:
            del sys.modules[name]


ASK = """
import importlib, json
modules = {
    name: [each for each in vars(importlib.import_module(name)) if not each.startswith("__")]
    for name in ("edwh_migrate", *(f"edwh_migrate.{each}" for each in
    ("migrate", "postgres", "view_migration_manager", "helpers", "constants", "__about__")))
    if importlib.import_module(name)
}
import edwh_migrate.migrate as migrate
from edwh_migrate import ViewMigrationManager
migrate.ViewMigrationManager = ViewMigrationManager
kinds = ("Config", "Migration", "MigrationStore")
classes = {each: [name for name in dir(getattr(migrate, each)) if not name.startswith("__")] for each in kinds}
for each in modules.values():
    each[:] = [name for name in each if name not in ("migrate", "helpers", "constants", "postgres", "view_migration_manager")]
print(json.dumps({"modules": modules, "classes": classes}))
"""


@pytest.fixture(scope="module")
def real_names(edwh_migrate_2_1_0: str) -> dict[str, Any]:
    """What edwh-migrate 2.1.0 holds, by module and by class."""
    told = subprocess.run([edwh_migrate_2_1_0, "-c", ASK], check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(told)
    return found


def test_exceptions_are_caught_by_the_clauses_of_both_worlds() -> None:
    assert issubclass(compat.InvalidConfigException, ConfigError)
    assert issubclass(compat.BackupNotFound, FileNotFoundError)
    for name in ("InvalidConfigException", "UnknownConfigException", "DatabaseNotYetInitialized", "RequimentsNotMet"):
        assert issubclass(getattr(compat, name), compat.BaseEDWHMigrateException)
    assert not issubclass(compat.DatabaseNotYetInitialized, Exception)
    assert issubclass(compat.MigrateLockExists, compat.EDWHMigrateException)
    assert issubclass(compat.MigrationFailed, Exception)


@pytest.mark.parametrize(
    ("text", "old"),
    [
        ("import no_such_module_xyz", ImportError),
        ("def broken(:", SyntaxError),
        ("1 / 0", ZeroDivisionError),
        ("from edwh_migrate import migration\n@migration(requires='nobody')\ndef m(db): return True", ValueError),
        ("from edwh_migrate import migration\n@migration\ndef m(db): ...\n@migration\ndef m(db): ...", ValueError),
    ],
)
def test_a_file_that_does_not_load_raises_what_it_raised_before(
    tmp_path: Path, new_process: None, text: str, old: type[Exception]
) -> None:
    (tmp_path / "migrations.py").write_text(text)
    config = migrate_graph.Config.load({"migrate_uri": f"sqlite://{tmp_path}/x.db"})
    with pytest.raises(old) as caught:
        migrate_graph.import_migrations([], config)
    if old is not ValueError:
        assert isinstance(caught.value, LoadError)
        assert "migrations.py could not be loaded" in str(caught.value)
        assert (caught.value.exit_code, bool(caught.value.hint)) == (2, True)


def test_a_graph_with_errors_is_a_value_error(tmp_path: Path, new_process: None) -> None:
    config = migrate_graph.Config.load({"migrate_uri": f"sqlite://{tmp_path}/x.db"})

    @migrate_graph.migration
    async def m(db: object) -> bool:
        return True

    with pytest.raises(ValueError, match="1 error") as caught:
        migrate_graph.activate_migrations(config)
    assert isinstance(caught.value, InvalidGraph)
    assert caught.value.findings


@pytest.mark.parametrize("call", ["activate_migrations", "try_setup_db"])
def test_no_connection_is_what_it_was(new_process: None, call: str) -> None:
    config = migrate_graph.Config.load({"migrate_uri": "postgres://u:p@127.0.0.1:1/db", "connect_wait": 0})
    with pytest.raises((ValueError, RuntimeError)) as caught:
        getattr(migrate_graph, call)(config=config, max_time=0)
    assert isinstance(caught.value, DatabaseUnreachable)


def test_settings_from_a_file_and_from_the_environment(
    tmp_path: Path, new_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.toml").write_text('[a.b]\nmigrate-uri = "sqlite://file.db"\n')
    assert migrate_graph.Config.load(str(tmp_path / "other.toml"), key="a.b").migrate_uri == "sqlite://file.db"
    with pytest.raises(FileNotFoundError):
        migrate_graph.Config.load("nothing.toml")
    with pytest.raises(ConfigError, match=r"no table \[tool.migrate\]"):
        migrate_graph.Config.load(tmp_path / "other.toml")
    (tmp_path / ".env").write_text("MIGRATE_TABLE=named\n")
    monkeypatch.setenv("MIGRATE_URI", "sqlite://environment.db")
    config = migrate_graph.Config.from_env(load_dotenv=True)
    assert (config.migrate_uri, config.migrate_table) == ("sqlite://environment.db", "named")
    assert migrate_graph.Config.from_env().migrate_table == "ewh_implemented_features"


class DockerPsql:
    """A plumbum command with arguments, as far as it is looked at."""

    def __str__(self) -> str:
        return "/usr/bin/docker exec -i 4f1e psql"


@pytest.mark.postgres
@pytest.mark.parametrize("commands", [False, True])
def test_psql_may_be_a_command_with_arguments(
    postgres_uri: str, tmp_path: Path, new_process: None, commands: bool
) -> None:
    (tmp_path / "dump.sql").write_text(
        "CREATE TABLE ewh_implemented_features (id serial PRIMARY KEY, name varchar(512) UNIQUE, installed char(1), "
        "last_update_dttm timestamp);\n" + "\\echo hello\n" * commands
    )
    settings = {"migrate_uri": postgres_uri, "database_to_restore": "dump.sql", "restore_trusted": commands}
    config = migrate_graph.Config.load(settings)
    if commands:
        with pytest.raises(RestoreError, match="docker exec -i 4f1e psql' is a command with arguments"):
            migrate_graph.recover_database_from_backup(config=config, postgres_client=DockerPsql())
    else:
        migrate_graph.recover_database_from_backup(config=config, postgres_client=DockerPsql())
        assert migrate_graph.setup_db(config=config).tables


def test_the_two_helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    from migrate_graph.compat import importing

    (tmp_path / "only_once_xyz.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ZeroDivisionError) as caught:
        importing.temporary_import("only_once_xyz")
    importing.print_trimmed_exception(caught.value)
    said = capfd.readouterr().err
    assert "only_once_xyz.py" in said
    assert "importlib" not in said
    (tmp_path / "only_once_xyz.py").write_text("")
    importing.temporary_import("only_once_xyz")
    assert "only_once_xyz" not in sys.modules


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
