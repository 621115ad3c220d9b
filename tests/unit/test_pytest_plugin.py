"""The pytest plugin, used as a project uses it: in projects of their own, run by pytest itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from plugin_stand import SHOP, Project, databases_of, project
from servers import ADMIN_PASSWORD, APP_PASSWORD, PostgresServer
from user_project import clean_environment

# ruff: noqa: TID251 - the environment is handed on to children

__all__ = ["project"]

pytest_plugins = ["pytester"]


EXAMPLE = Path(__file__).parents[2] / "examples" / "with_pytest"


# -- without being used ------------------------------------------------------------------------------------------------


def test_pytest_finds_the_plugin() -> None:
    assert [each.value for each in entry_points(group="pytest11", name="migrate_graph")] == [
        "migrate_graph.pytest_plugin"
    ]


def test_it_costs_nothing_where_it_is_not_used() -> None:
    heavy = ["networkx", "pydal", "typer", "rich", "tomlkit", "psycopg2", "migrate_graph.core", "migrate_graph.config"]
    script = (
        "import sys, pytest; before = set(sys.modules)\n"
        "import migrate_graph.pytest_plugin\n"
        f"print([name for name in {heavy} if name in sys.modules and name not in before])"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_nothing_is_added_to_a_project_that_does_not_ask(project: Project) -> None:
    project.write("test_own.py", "def test_own(): pass")
    (project.path / "migrations.py").write_text("this is no Python")
    done = project.run("-v")
    done.assert_outcomes(passed=1)
    done.stdout.no_fnmatch_line("*migrate_graph::*")


# -- fixtures ----------------------------------------------------------------------------------------------------------


def test_the_graph_needs_no_database(project: Project) -> None:
    project.write(
        "test_own.py",
        """
        def test_graph(migrate_graph, migrate_graph_project):
            assert migrate_graph.order()[0] == "create_customers_20260401_001"
            assert migrate_graph is migrate_graph_project.graph
            assert migrate_graph_project.config.migrate_uri == "sqlite://real.db"
        """,
    )
    project.configure(migrate='migrate_uri = "sqlite://real.db"')
    project.run().assert_outcomes(passed=1)
    assert not (project.path / "real.db").exists()


def test_each_test_gets_a_database_of_its_own(project: Project) -> None:
    project.write(
        "test_own.py",
        """
        import pytest

        @pytest.mark.parametrize("number", range(3))
        def test_insert(migrated_db, migrated_uri, number):
            assert migrated_db.executesql("SELECT count(*) FROM customer") == [(0,)]
            migrated_db.executesql("INSERT INTO customer (id, name) VALUES (1, 'Ada')")
            migrated_db.commit()
            assert migrated_db.executesql("SELECT initial FROM initials") == [("A",)]
            assert migrated_db(migrated_db.ewh_implemented_features.installed == True).count() == 3
            assert migrated_uri.startswith("sqlite://")
        """,
    )
    project.run().assert_outcomes(passed=3)


def test_migrations_run_once_for_all_tests(project: Project) -> None:
    project.declare(
        SHOP,
        """
        from pathlib import Path

        @migration
        def count_20260403_001(db):
            with (Path(__file__).parent / "runs").open("a") as runs:
                runs.write("once\\n")
            return True
        """,
    )
    project.write(
        "test_own.py",
        """
        import pytest

        @pytest.mark.parametrize("number", range(3))
        def test_it(migrated_db, number): pass
        """,
    )
    project.run().assert_outcomes(passed=3)
    assert (project.path / "runs").read_text() == "once\n"


def test_the_database_of_the_project_is_never_touched(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the database, nor the cache, nor the flags, nor a backup that lies about, nor pyDAL's files."""
    project.write("backup.sql", "this is not SQL")
    project.configure(
        "migrate_graph_tests = 'all'",
        migrate="""
        migrate_uri = "sqlite://real.db"
        redis_host = "redis://127.0.0.1:1"
        schema_version = "7"
        flag_location = "/nowhere"
        database_to_restore = "backup.sql"
        db_folder = "files"
        """.replace("        ", ""),
    )
    monkeypatch.setenv("MIGRATE_URI", f"sqlite://{project.path}/real.db")
    project.declare(
        SHOP,
        """
        import os

        @migration
        def look_round_20260403_001(db):
            assert "real.db" not in os.environ["MIGRATE_URI"]
            return True
        """,
    )
    project.write(
        "test_own.py", "import os\ndef test_it(migrated_db): assert 'real.db' not in os.environ['MIGRATE_URI']"
    )
    project.run().assert_outcomes(passed=5)
    assert os.environ["MIGRATE_URI"].endswith("real.db")
    assert {path.name for path in project.path.iterdir()} >= {"migrations.py"}
    assert not [path for path in project.path.rglob("*") if path.name.startswith("real.db") or path.name == "files"]


# -- which database ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri", ["postgres://u:geheim@db.example/shop", "postgresql+psycopg2://u:geheim@db.example/shop"]
)
def test_a_project_on_postgres_is_not_tested_on_sqlite_in_silence(
    project: Project, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    project.write("test_own.py", "def test_it(migrated_db): pass\ndef test_other(migrated_uri): pass")
    monkeypatch.setenv("MIGRATE_URI", uri)
    done = project.run()
    done.assert_outcomes(errors=2)
    done.stdout.fnmatch_lines(["*PostgreSQL (MIGRATE_URI in the environment), and no server to test on is named*"])
    done.stdout.fnmatch_lines(["*hint: --migrate-uri postgres://*; --migrate-uri sqlite if that is meant*"])
    done.stdout.no_fnmatch_line("*geheim*")


@pytest.mark.parametrize("way", ["option", "variable", "setting"])
def test_sqlite_may_be_meant(project: Project, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    project.write("test_own.py", "def test_it(migrated_db): pass")
    monkeypatch.setenv("MIGRATE_URI", "postgres://u@db.example/shop")
    if way == "setting":
        project.configure('migrate_graph_uri = "sqlite"')
    if way == "variable":
        monkeypatch.setenv("MIGRATE_TEST_URI", "sqlite")
    done = project.run(*(["--migrate-uri=sqlite"] if way == "option" else []))
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(["migrate_graph: tests ran on SQLite files of their own"])


def test_which_database_is_said_where_one_was_asked_for(project: Project) -> None:
    project.write("test_own.py", "def test_own(): pass\ndef test_graph(migrate_graph): pass")
    project.run().stdout.no_fnmatch_line("*tests ran on*")
    project.write("test_own.py", "def test_it(migrated_db): pass")
    project.run().stdout.fnmatch_lines(["migrate_graph: tests ran on SQLite files of their own"])


def test_workers_say_it_too(project: Project) -> None:
    pytest.importorskip("xdist", reason="pytest-xdist runs tests in several processes, and is not installed here")
    project.write("test_own.py", "def test_it(migrated_db): pass\ndef test_other(migrated_db): pass")
    done = project.pytester.runpytest_subprocess(
        "-p", "xdist", "-p", "migrate_graph.pytest_plugin", "-n", "2", timeout=120
    )
    done.assert_outcomes(passed=2)
    assert done.outlines.count("migrate_graph: tests ran on SQLite files of their own") == 1


def test_nothing_is_left_behind(project: Project, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    project.write("test_own.py", "def test_it(migrated_db): pass")
    project.configure("migrate_graph_tests = 'all'")
    project.run().assert_outcomes(passed=5)
    assert set(tmp_path.iterdir()) == before


def test_a_test_may_stop_half_way(project: Project) -> None:
    project.write(
        "test_own.py",
        """
        import pytest

        @pytest.mark.migrated_to("create_customers_20260401_001")
        def test_tables(migrated_db):
            assert migrated_db.executesql("SELECT name FROM sqlite_master WHERE type = 'view'") == []

        @pytest.mark.migrated_to(before="shout_20260402_001")
        def test_data(migrated_db, migrate_to):
            migrated_db.executesql("INSERT INTO customer (id, name) VALUES (1, 'Ada')")
            migrate_to("shout_20260402_001")
            assert migrated_db.executesql("SELECT name FROM customer") == [("ADA",)]

        @pytest.mark.migrated_to("create_customers_20260401_001")
        def test_to_the_end(migrated_db, migrate_to):
            migrate_to()
            assert migrated_db.executesql("SELECT count(*) FROM initials") == [(0,)]
        """,
    )
    project.run().assert_outcomes(passed=3)


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ("'create_customer_20260401_001'", "*did you mean 'create_customers_20260401_001'?*"),
        ("until='create_customers_20260401_001'", '*write @pytest.mark.migrated_to("name") or*'),
    ],
)
def test_a_wrong_mark_is_explained(project: Project, mark: str, said: str) -> None:
    project.write("test_own.py", f"import pytest\n@pytest.mark.migrated_to({mark})\ndef test_it(migrated_db): pass")
    done = project.run()
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines([said])
    done.stdout.no_fnmatch_line("*pytest_plugin.py*")


def test_a_failing_migration_fails_each_test_in_few_words(project: Project) -> None:
    project.declare(SHOP, '@migration\ndef broken_20260403_001(db):\n    db.executesql("SELEKT 1")\n    return True')
    project.write("test_own.py", "def test_one(migrated_db): pass\ndef test_two(migrated_db): pass")
    done = project.run()
    done.assert_outcomes(errors=2)
    done.stdout.fnmatch_lines(['broken_20260403_001 (migrations.py:*): OperationalError: near "SELEKT": syntax error'])
    done.stdout.no_fnmatch_line("*migrate_graph/*.py*")


def test_a_project_that_does_not_load_is_explained(project: Project) -> None:
    project.declare("import nowhere_to_be_found")
    project.write("test_own.py", "def test_it(migrate_graph): pass")
    done = project.run()
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*nowhere_to_be_found*"])
    done.stdout.no_fnmatch_line("*pytest_plugin.py*")


def test_what_a_migration_says_is_made_harmless(project: Project) -> None:
    project.declare(
        SHOP,
        """
        @migration
        def hostile_20260403_001(db):
            if db:
                raise ValueError("password=geheim \\x1b[31m \\u202e <script>")
            return True
        """,
    )
    done = project.ready("applies_from_scratch")
    done.assert_outcomes(failed=1)
    assert "password=***" in done.stdout.str()
    assert not [text for text in ("geheim", "\x1b", "\u202e") if text in done.stdout.str()]


def test_ctrl_c_stops_pytest(project: Project) -> None:
    project.declare(
        SHOP,
        """
        import os, signal, time

        @migration
        def long_20260403_001(db):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(300)
            return True
        """,
    )
    (project.path / "tests").mkdir()
    project.configure("migrate_graph_tests = 'all'")
    done = project.pytester.runpytest_subprocess("-p", "migrate_graph.pytest_plugin", "tests", timeout=120)
    assert done.ret == pytest.ExitCode.INTERRUPTED
    done.assert_outcomes(passed=1)


def test_typedal_where_the_project_uses_it(project: Project) -> None:
    project.configure(migrate="use_typedal = true")
    project.write(
        "test_own.py",
        "import typedal\ndef test_it(migrated_db): assert isinstance(migrated_db, typedal.TypeDAL)",
    )
    project.run().assert_outcomes(passed=1)


def test_the_project_may_lie_elsewhere(project: Project) -> None:
    (project.path / "service").mkdir()
    (project.path / "migrations.py").rename(project.path / "service" / "history.py")
    project.write("service/pyproject.toml", '[tool.migrate]\nmigrations_file = "history.py"')
    project.configure('migrate_graph_root = "service"')
    project.write("test_own.py", "def test_it(migrated_db, migrate_graph): assert len(migrate_graph.migrations) == 3")
    project.run().assert_outcomes(passed=1)


def test_a_backup_may_be_what_everything_starts_from(project: Project) -> None:
    import sqlite3

    with sqlite3.connect(project.path / "old.db") as old:
        old.execute("CREATE TABLE customer (id INTEGER PRIMARY KEY, name VARCHAR(80))")
        old.execute("INSERT INTO customer VALUES (1, 'Grace')")
        old.execute(
            "CREATE TABLE ewh_implemented_features (id INTEGER PRIMARY KEY, name CHAR(512) UNIQUE, installed CHAR(1), "
            "last_update_dttm TIMESTAMP)"
        )
        old.execute(
            "INSERT INTO ewh_implemented_features VALUES (1, 'create_customers_20260401_001', 'T', '2026-04-01')"
        )
        (project.path / "backup.sql").write_text("\n".join(old.iterdump()))
    project.configure('migrate_graph_backup = "backup.sql"')
    project.write(
        "test_own.py",
        'def test_it(migrated_db): assert migrated_db.executesql("SELECT name FROM customer") == [("GRACE",)]',
    )
    project.run().assert_outcomes(passed=1)


# -- PostgreSQL --------------------------------------------------------------------------------------------------------


@pytest.mark.postgres
def test_on_postgres_each_use_has_a_database(project: Project, postgres_server: PostgresServer) -> None:
    project.write(
        "tests/test_own.py",
        """
        import pytest

        @pytest.mark.parametrize("number", range(2))
        def test_insert(migrated_db, number):
            name = migrated_db.executesql("SELECT current_database()")[0][0]
            assert name.startswith("migrate_graph_test_")
            assert migrated_db.executesql("SELECT count(*) FROM meta.features JOIN shop.customer ON true") == [(0,)]
            assert migrated_db(migrated_db.ewh_implemented_features.installed == True).count() == 3
            assert migrated_db.executesql("SELECT count(*) FROM customer") == [(0,)]
            migrated_db.executesql("INSERT INTO customer (id, name) VALUES (1, 'Ada')")
            migrated_db.commit()
        """,
    )
    project.configure("migrate_graph_tests = 'all'", migrate='schema = "shop"\nmigrate_table = "meta.features"')
    project.run("--migrate-uri", postgres_server.admin_uri()).assert_outcomes(passed=6)
    assert not databases_of(postgres_server)


@pytest.mark.postgres
def test_without_the_right_to_create_databases_each_use_has_a_schema(
    project: Project, postgres_server: PostgresServer, postgres_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(
        "tests/test_own.py",
        """
        import psycopg2

        def test_insert(migrated_db, migrated_uri):
            assert migrated_db.executesql("SELECT current_schema()")[0][0].startswith("migrate_graph_test_")
            migrated_db.executesql("INSERT INTO customer (id, name) VALUES (1, 'Ada')")
            migrated_db.commit()
            with psycopg2.connect(migrated_uri) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT name FROM customer")
                assert cursor.fetchall() == [("Ada",)]
            connection.close()
        """,
    )
    project.configure("migrate_graph_tests = 'all'")
    monkeypatch.setenv("MIGRATE_TEST_URI", postgres_uri)
    project.run().assert_outcomes(passed=5)
    import psycopg2

    connection = psycopg2.connect(postgres_uri)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'migrate_graph_test_%'")
        assert cursor.fetchall() == []
    connection.close()


@pytest.mark.postgres
def test_a_database_in_use_is_refused(
    project: Project, postgres_server: PostgresServer, postgres_database: str
) -> None:
    import psycopg2

    uri = postgres_server.app_uri(postgres_database)
    connection = psycopg2.connect(uri)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE invoice (id int)")
    project.configure("migrate_graph_tests = 'all'")
    (project.path / "tests").mkdir()
    done = project.run("tests", "--migrate-uri", uri)
    done.assert_outcomes(passed=1, failed=3)
    done.stdout.fnmatch_lines(["*is in use (1 relations, e.g. public.invoice)*", "hint: ALTER ROLE*"])
    assert APP_PASSWORD not in done.stdout.str() + done.stderr.str()
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")
        assert cursor.fetchall() == [("invoice",)]
    connection.close()


@pytest.mark.postgres
def test_a_view_that_does_not_say_what_it_uses_is_found(project: Project, postgres_server: PostgresServer) -> None:
    text = SHOP.replace("uses = (Names,)", "uses = ()").replace(
        "with Names(db):\n            pass",
        "with Names(db):\n            pass\n        with Initials(db):\n            pass",
    )
    project.declare(text)
    (project.path / "tests").mkdir()
    project.configure('migrate_graph_tests = ["every_view_is_rebuilt_equal"]')
    done = project.run("tests", "--migrate-uri", postgres_server.admin_uri())
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["rebuild of Names *initials*", "hint: *uses*"])
    assert ADMIN_PASSWORD not in done.stdout.str() + done.stderr.str()


@pytest.mark.postgres
def test_a_view_granted_by_hand_stays_granted(project: Project, postgres_server: PostgresServer) -> None:
    project.declare(
        SHOP,
        """
        @migration(requires=shout_20260402_001)
        def grant_20260403_001(db):
            db.executesql("GRANT SELECT ON names TO app")
            db.executesql("COMMENT ON VIEW initials IS 'first letters'")
            return True
        """,
    )
    (project.path / "tests").mkdir()
    project.configure('migrate_graph_tests = "all"')
    project.run("tests", "--migrate-uri", postgres_server.admin_uri()).assert_outcomes(passed=4)


@pytest.mark.postgres
def test_a_server_that_does_not_let_us_in_is_asked_once(project: Project, postgres_server: PostgresServer) -> None:
    uri = postgres_server.admin_uri().replace(ADMIN_PASSWORD, "not-the-passw0rd")
    before = postgres_server.log().count("password authentication failed")
    done = project.ready("all", arguments=("--migrate-uri", uri))
    done.assert_outcomes(passed=1, failed=3)
    done.stdout.fnmatch_lines(
        ["cannot connect to postgres://postgres:[*][*][*]@*password authentication failed*", "hint: *"]
    )
    assert "not-the-passw0rd" not in done.stdout.str() + done.stderr.str()
    assert postgres_server.log().count("password authentication failed") == before + 1


def test_another_kind_of_database_is_refused(project: Project) -> None:
    done = project.ready("applies_from_scratch", arguments=("--migrate-uri", "mysql://root:geheim@host/db"))
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["mysql://root:[*][*][*]@host/db is no PostgreSQL server to test on"])


# -- the example, and several processes --------------------------------------------------------------------------------


def run_example(tmp_path: Path, *arguments: str) -> str:
    copy = Path(shutil.copytree(EXAMPLE, tmp_path / "example", ignore=shutil.ignore_patterns("__pycache__", "*.db*")))
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        check=False, cwd=copy, env=clean_environment(home), timeout=120, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(copy.rglob("*.db*"))
    assert not list(home.glob("migrate_graph*"))
    return done.stdout


def test_the_example(tmp_path: Path) -> None:
    assert "7 passed" in run_example(tmp_path)


@pytest.mark.postgres
def test_the_example_on_postgres_in_several_processes(tmp_path: Path, postgres_server: PostgresServer) -> None:
    plugins = ("--disable-plugin-autoload", "-p", "xdist", "-p", "migrate_graph.pytest_plugin")
    assert "7 passed" in run_example(tmp_path, *plugins, "-n", "2", "--migrate-uri", postgres_server.admin_uri())
    assert not databases_of(postgres_server)
