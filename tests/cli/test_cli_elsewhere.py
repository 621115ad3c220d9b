"""The command line on a system that is not POSIX (`elsewhere.py` takes away what Python has only there)."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from user_project import Project, clean_environment

ELSEWHERE = Path(__file__).parents[1] / "elsewhere.py"
FILES = """
from edwh_migrate import ViewMigrationManager, migration

@migration
def first_20260101_001(db):
    db.executesql("CREATE TABLE a (id INTEGER)")
    with V(db):
        print("hello")
    return True

class V(ViewMigrationManager):
    uses = ()
    def up(self): self.db.executesql("CREATE VIEW v AS SELECT id FROM a")
    def down(self): self.db.executesql("DROP VIEW IF EXISTS v")
"""
BAD = """
@migration(requires=first_20260101_001)
def second_20260102_001(db):
    db.executesql("INSERT INTO a VALUES (1)")
    db.executesql("SELECT 1 / 0")
    return True
"""


@pytest.fixture
def elsewhere(project: Project):
    project.write("migrations.py", FILES)

    def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ELSEWHERE), *words], check=False, cwd=project.path,
            env=clean_environment(project.path, env), capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    return run


LOOKING = [
    "check", "plan", "status", "graph --format text", "graph -o x.svg", "plan --json", "config", "explain MG101",
    "why first_20260101_001",
]  # fmt: skip


@pytest.mark.parametrize("words", LOOKING)
@pytest.mark.parametrize("applied", [False, True])
def test_what_only_looks_works(elsewhere, project: Project, sqlite_uri: str, words: str, applied: bool) -> None:
    if applied:
        assert project.migrate("apply", env={"MIGRATE_URI": sqlite_uri}).returncode == 0
    done = elsewhere(*words.split(), MIGRATE_URI=sqlite_uri)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_writing_to_sqlite_is_refused_in_words(elsewhere, sqlite_uri: str) -> None:
    done = elsewhere("apply", MIGRATE_URI=sqlite_uri)
    assert (done.returncode, "which this system does not have" in done.stderr) == (6, True), done.stderr


@pytest.mark.postgres
def test_apply_works_on_postgres(elsewhere, project: Project, postgres_uri: str) -> None:
    for words in LOOKING:
        done = elsewhere(*words.split(), MIGRATE_URI=postgres_uri)
        assert done.returncode == 0, done.stdout + done.stderr
    done = elsewhere(MIGRATE_URI=postgres_uri)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hello" in done.stderr
    assert "committed: first_20260101_001" in done.stderr
    (project.path / "migrations.py").write_text(FILES + BAD)
    failed = elsewhere("apply", MIGRATE_URI=postgres_uri)
    assert (failed.returncode, "migrations.py:" in failed.stderr) == (1, True), failed.stderr
    assert elsewhere("plan", "--check", MIGRATE_URI=postgres_uri).returncode == 4
    assert elsewhere("mark", "second_20260102_001", "--installed", MIGRATE_URI=postgres_uri).returncode == 0
    assert elsewhere("plan", "--check", MIGRATE_URI=postgres_uri).returncode == 0


@pytest.mark.postgres
def test_a_backup_is_restored(elsewhere, project: Project, postgres_uri: str) -> None:
    project.write(
        "dump.sql",
        "CREATE TABLE ewh_implemented_features (id serial PRIMARY KEY, name varchar(512) UNIQUE, installed char(1), "
        "last_update_dttm timestamp);\n",
    )
    done = elsewhere("apply", MIGRATE_URI=postgres_uri, DATABASE_TO_RESTORE="dump.sql")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.postgres
def test_a_signal_ends_a_run(elsewhere, project: Project, postgres_uri: str) -> None:
    project.write(
        "migrations.py",
        "from edwh_migrate import migration\n@migration\ndef first_20260101_001(db):\n"
        "    __import__('pathlib').Path('began').touch()\n    db.executesql('SELECT pg_sleep(60)')\n    return True\n",
    )
    process = subprocess.Popen(
        [sys.executable, str(ELSEWHERE), "apply"], cwd=project.path, stdin=subprocess.DEVNULL,
        env=clean_environment(project.path, {"MIGRATE_URI": postgres_uri}), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (project.path / "began").exists():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=120)[1]
    assert process.returncode in {143, -15}, told
    assert "first_20260101_001" in told


def test_the_programs_of_edwh_migrate_import(project: Project) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ELSEWHERE.parent)!r})\n"
        "import elsewhere; elsewhere.leave_posix()\n"
        "import migrate_graph, migrate_graph.compat, migrate_graph.pytest_plugin\n"
        "for name in migrate_graph.__all__: getattr(migrate_graph, name)\n"
        "print('good')"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.stdout.strip() == "good", done.stderr
