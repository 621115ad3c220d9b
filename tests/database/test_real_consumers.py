"""Packages of the index that require edwh-migrate, as they are, beside the shim: they run on this package."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import networkx as nx
import pytest
from moving_stories import Story
from user_project import RunMigrate

ROOT = Path(__file__).parents[2]
WANTED = ("edwh-migrate==2.1.0", "edwh-auth-rbac", "typedal[migrations]", "pydal2sql")


@pytest.fixture(scope="module")
def consumers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with these packages, the shim, and what this one has installed."""
    directory = tmp_path_factory.mktemp("consumers")
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    site = next(directory.glob("lib/python*/site-packages"))
    paths = [ROOT, Path(nx.__file__).parents[1]]
    (site / "own.pth").write_text("\n".join(map(str, paths)) + "\n")
    python = directory / "bin" / "python"
    done = subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "10", *WANTED],
        check=False, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"the package index is not reachable: {done.stderr.strip().splitlines()[-1]}")
    for file in (ROOT / "examples" / "edwh_migrate_shim").glob("edwh_migrate_shim.*"):
        (site / file.name).write_bytes(file.read_bytes())
    return python


def run(python: Path, directory: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(python), *words],
        check=False,
        cwd=directory,
        env={"HOME": str(directory), **env},
        capture_output=True,
        text=True,
    )


@pytest.mark.postgres
def test_edwh_auth_rbac_applies_its_own_migrations(consumers: Path, tmp_path: Path, postgres_uri: str) -> None:
    (tmp_path / "program.py").write_text(
        textwrap.dedent("""
            import edwh_migrate, edwh_auth_rbac.migrations
            assert edwh_migrate.setup_db.__module__.startswith("migrate_graph.")
            failed = []
            good = edwh_migrate.activate_migrations(failed_migrations=failed)
            assert good and not failed, failed
            db = edwh_migrate.setup_db()
            print(db(db.ewh_implemented_features.installed == True).count() == len(edwh_migrate.migrations))
        """)
    )
    done = run(consumers, tmp_path, "program.py", MIGRATE_URI=postgres_uri)
    assert done.stdout.strip() == "True", done.stdout + done.stderr


def test_the_command_line_of_typedal_runs_and_fakes_migrations(consumers: Path, tmp_path: Path) -> None:
    (tmp_path / "databases").mkdir()
    (tmp_path / "pyproject.toml").write_text(
        '[tool.typedal]\ndatabase = "sqlite://app.db"\ndialect = "sqlite"\nfolder = "databases"\noutput = "migrations.py"\n'
        'flag-location = "flags"\ncreate_flag_location = true\n'
    )
    (tmp_path / "migrations.py").write_text(
        "from edwh_migrate import migration\n"
        "@migration\ndef first_20260101_001(db):\n    db.executesql('CREATE TABLE a (id INTEGER)')\n    return True\n"
        "@migration\ndef second_20260101_002(db):\n    raise RuntimeError('it is recorded')\n"
    )
    faked = run(
        consumers, tmp_path, "-c", "from typedal.cli import app; app()", "migrations.fake", "second_20260101_002"
    )
    assert "Faked 1 new migrations." in faked.stdout, faked.stdout + faked.stderr
    ran = run(consumers, tmp_path, "-c", "from typedal.cli import app; app()", "migrations.run")
    assert "committed: first_20260101_001" in ran.stdout + ran.stderr
    again = run(consumers, tmp_path, "-c", "from typedal.cli import app; app()", "migrations.fake", "--all")
    assert "2 / 2 were already installed." in again.stdout, again.stdout + again.stderr


GROWN = [
    """
def define_tables(db):
    db.define_table("customer", Field("name", length=80, notnull=True))
    db.define_table("invoice", Field("customer", "reference customer"), Field("total", "integer"), Field("old", "text"))
""",
    """
def define_tables(db):
    db.define_table("customer", Field("name", length=80, notnull=True), Field("email", length=120))
    db.define_table("invoice", Field("customer", "reference customer"), Field("total", "integer"), Field("paid", "boolean"))
    db.define_table("note", Field("body", "text"), Field("at", "datetime"), Field("invoice", "reference invoice"))
""",
]


def test_what_pydal2sql_writes_runs_here(
    consumers: Path, tmp_path: Path, database_uri: str, run_migrate: RunMigrate
) -> None:
    """`create` for the first models, `alter` when they have grown; afterwards pyDAL works with the tables as they are."""
    dialect = "sqlite" if database_uri.startswith("sqlite") else "postgres"
    (tmp_path / "one.py").write_text(GROWN[0])
    (tmp_path / "two.py").write_text(GROWN[1])
    for words in (("create", "one.py"), ("alter", "one.py", "two.py")):
        written = run(
            consumers, tmp_path, str(consumers.with_name("pydal2sql")), *words, "--db-type", dialect, "--format", "edwh-migrate",
            "--output-file", "migrations.py", "--function", "define_tables",
        )  # fmt: skip
        assert written.returncode == 0, written.stdout + written.stderr
        done = run_migrate(cwd=tmp_path, env={"MIGRATE_URI": database_uri})
        assert done.returncode == 0, done.stdout + done.stderr
    from pydal import DAL, Field

    db = DAL(database_uri, folder=str(tmp_path), migrate=False)
    exec(GROWN[1], {"Field": Field}, scope := {})
    scope["define_tables"](db)
    ada = db.customer.insert(name="Ada", email="ada@example.org")
    invoice = db.invoice.insert(customer=ada, total=12, paid=True)
    db.note.insert(body="x", invoice=invoice)
    row = db(db.note.invoice == db.invoice.id).select().first()
    assert (row.invoice.total, row.invoice.paid, row.note.body) == (12, True, "x")
    db.rollback()
    db.close()


def test_migrate_goes_on_where_typedal_was(consumers: Path, tmp_path: Path, run_migrate: RunMigrate) -> None:
    """The ledger that TypeDAL's command line wrote is found by its settings, without any of ours."""
    (tmp_path / "databases").mkdir()
    (tmp_path / "pyproject.toml").write_text(
        '[tool.typedal]\ndatabase = "sqlite://app.db"\ndialect = "sqlite"\nfolder = "databases"\noutput = "migrations.py"\n'
    )
    first = (
        "from edwh_migrate import migration\n@migration\ndef first_20260101_001(db):\n"
        "    db.executesql('CREATE TABLE a (id INTEGER)')\n    return True\n"
    )
    (tmp_path / "migrations.py").write_text(first)
    ran = run(consumers, tmp_path, "-c", "from typedal.cli import app; app()", "migrations.run", EDWH_MIGRATE_SHIM="0")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    status = run_migrate("status", "--all", cwd=tmp_path)
    assert "1 migration: 1 applied" in status.stdout, status.stdout + status.stderr
    (tmp_path / "migrations.py").write_text(
        first + "@migration(requires=first_20260101_001)\ndef second_20260101_002(db):\n    return True\n"
    )
    done = run_migrate(cwd=tmp_path)
    assert "committed: second_20260101_002" in done.stdout + done.stderr


@pytest.mark.parametrize("seed", range(4))
def test_edwh_migrate_itself_and_this_tool_take_turns(
    consumers: Path, tmp_path: Path, database_uri: str, run_migrate: RunMigrate, seed: int
) -> None:
    """Random stories of views that change hands, with the real 2.1.0 running every other time."""
    story, told = Story(seed, cascades=False), [""]
    variables = {"MIGRATE_URI": database_uri, "DATABASE_TO_RESTORE": "", "FLAG_LOCATION": str(tmp_path)}
    if database_uri.startswith("sqlite"):
        variables["MIGRATE_URI"] = f"sqlite://{tmp_path / 'app.db'}"
    for edited, theirs, _ in story.stages(5):
        story.dying = None
        story.write(tmp_path)
        told.append(f"{'edwh-migrate' if theirs else 'migrate'}: {edited}; opens {story.opened[-1]}")
        if theirs:
            program = "from edwh_migrate.migrate import console_hook; console_hook()"
            done = run(consumers, tmp_path, "-c", program, EDWH_MIGRATE_SHIM="0", **variables)
        else:
            done = run_migrate(cwd=tmp_path, env=variables)
        assert done.returncode == 0, "\n".join([*told, done.stdout, done.stderr])
        assert views_at(variables["MIGRATE_URI"]) == story.expected(), "\n".join([*told, done.stdout, done.stderr])


def views_at(uri: str) -> dict[str, int]:
    """Return the views of a database, with the version of each."""
    from pydal import DAL

    db = DAL(uri, migrate=False, folder=".")
    query = "SELECT viewname FROM pg_views WHERE schemaname = 'public'"
    if uri.startswith("sqlite"):
        query = "SELECT name FROM sqlite_master WHERE type = 'view'"
    found = {name: db.executesql(f"SELECT max(version) FROM {name}")[0][0] for (name,) in db.executesql(query)}
    db.close()
    return found
