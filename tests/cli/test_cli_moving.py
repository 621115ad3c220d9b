"""`migrate check --moving`: what will be different here than with edwh-migrate, in this project and its database."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from user_project import Project, clean_environment

PLAIN = """
from edwh_migrate import migration

@migration
def first_20260101_001(db):
    db.executesql("CREATE TABLE a (id INTEGER)")
    return True
"""
TELLING = {
    "a schema that is set": ({"pyproject.toml": '[tool.migrate]\nschema = "shop"\n'}, "search_path of every session"),
    "a backup that is absent": ({"pyproject.toml": '[tool.migrate]\ndatabase_to_restore = "x.sql"\n'}, "exit code 8"),
    "a cache": ({"pyproject.toml": '[tool.migrate]\nredis_host = "localhost"\n'}, "flushed after a change"),
    "a flag": ({"pyproject.toml": '[tool.migrate]\nschema_version = "1"\n'}, "names its database"),
    "a caught error": (
        {"migrations.py": PLAIN.replace("    return True", "    try: db.executesql('x')\n    except Exception: pass\n    return True")},
        "migrations.py:6: first_20260101_001 catches an exception",
    ),
    "a print": ({"migrations.py": PLAIN.replace("    return", "    print('x')\n    return")}, "migrations.py:6: first_20260101_001 prints"),
    "a view that is imported late": (
        {"migrations.py": PLAIN.replace("    return", "    from late import V\n    with V(db): pass\n    return"), "late.py": ""},
        "migrations.py:7: first_20260101_001 opens V",
    ),
    "a migration in a body": (
        {"migrations.py": PLAIN.replace("    return", "    @migration\n    def other(db): return True\n    return")},
        "first_20260101_001 declares a migration in its body",
    ),
    "a thread": (
        {"migrations.py": "import threading as t\n" + PLAIN.replace("    return", "    t.Thread(target=db.commit).start()\n    return")},
        "migrations.py:8: first_20260101_001 starts a thread or a process",
    ),
    "a pool of threads": (
        {"migrations.py": PLAIN.replace("    return", "    with ThreadPoolExecutor() as pool: pool.submit(db.commit)\n    return")},
        "migrations.py:6: first_20260101_001 starts a thread or a process",
    ),
    "a vacuum": (
        {"migrations.py": PLAIN.replace("    return", "    db.executesql('VACUUM')\n    return"), ".env": "MIGRATE_URI=sqlite://a.db\n"},
        "first_20260101_001 says VACUUM",
    ),
    "a table of pyDAL's": (
        {"migrations.py": PLAIN.replace("    return", "    db.define_table('t', migrate=True)\n    return")}, "MG305",
    ),
    "a cascade": (
        {"migrations.py": PLAIN + "from edwh_migrate import ViewMigrationManager\nclass V(ViewMigrationManager):\n    uses = ()\n"
         "    def up(self): self.db.executesql('CREATE VIEW v AS SELECT 1')\n"
         "    def down(self): self.db.executesql('DROP VIEW v CASCADE')\n"},
        "V drops with CASCADE",
    ),
    "a backup that is there": (
        {"pyproject.toml": '[tool.migrate]\ndatabase_to_restore = "x.sql"\n', "x.sql": "SELECT 1;"}, "all of it or nothing",
    ),
    "a program that runs them": ({"app.py": "e.activate_migrations()\n"}, "app.py:1: app.py calls activate_migrations()"),
    "settings of the process": ({"app.py": "e.get_config().schema = 'x'\n"}, "calls get_config()"),
    "a flag of a program": ({"app.py": "with e.schema_versioned_lock_file(): ...\n"}, "calls schema_versioned_lock_file()"),
    "a text in a program": ({"app.py": "assert 'already installed' in text\n"}, "looks for the text"),
    "a text in a script": ({"deploy.sh": "migrate 2>&1 | grep 'already installed'\n"}, "deploy.sh:1: deploy.sh looks for"),
    "a pipe": ({"deploy.sh": "migrate | tee log\n"}, "deploy.sh reads what migrate prints"),
    "a truthy text": ({"migrations.py": PLAIN.replace("return True", "return 'failed'")}, "returns 'failed'"),
    "an error of the rules": ({"migrations.py": PLAIN.replace("    return True\n", "")}, "MG302"),
    "a program": ({"app.py": "import os\nfrom edwh_migrate import setup_db\n"}, "app.py:2: app.py imports edwh_migrate outside"),
    "settings of a program": ({"app.py": "import edwh_migrate as e\ne.Config.load({})\n"}, "calls Config.load()"),
    "an exception": ({"app.py": "try: ...\nexcept RequimentsNotMet: ...\n"}, "is never raised"),
    "a kept log": ({"deploy.sh": "set -e\nmigrate > log\n"}, "deploy.sh:2: deploy.sh keeps the output of migrate"),
    "a list that is read": ({"ci/check.yml": "run: migrate --list | grep failed\n"}, "ci/check.yml:1"),
    "an exit code": ({"Makefile": "up:\n\tmigrate; if [ $$? -eq 1 ]; then false; fi\n"}, "tests for the exit code 1"),
}  # fmt: skip


def test_a_plain_project_has_no_differences(shell) -> None:
    shell.write("migrations.py", PLAIN)
    shell.write("deploy.sh", "migrate > log 2>&1 || exit 1\nmigrate plan --json > plan.json\nmigrate status | cat\n")
    ran = shell("check", "--moving")
    assert ran.code == 0
    assert "0 differences to edwh-migrate 2.1.0 in this project; the database was not asked" in ran.out


@pytest.mark.parametrize("what", TELLING)
def test_each_thing_is_told_with_its_place(shell, what: str) -> None:
    files, said = TELLING[what]
    for name, text in {"migrations.py": PLAIN, **files}.items():
        shell.write(name, text)
    ran = shell("check", "--moving")
    assert (ran.code, said in ran.out) == (0, True), ran.out
    assert ran.out.count("  here: ") == ran.out.count("  do: ") == int(ran.out.rstrip().splitlines()[-1].split()[0])


def test_what_is_applied_is_no_difference_and_the_tables_to_come_are(shell) -> None:
    shell.write("migrations.py", PLAIN.replace("    return True\n", ""))
    connection = sqlite3.connect(shell.path / "a.db")
    connection.execute(
        "CREATE TABLE ewh_implemented_features (id INTEGER PRIMARY KEY, name TEXT, installed CHAR(1), last_update_dttm TIMESTAMP)"
    )
    connection.execute("INSERT INTO ewh_implemented_features (name, installed) VALUES ('first_20260101_001', 'T')")
    connection.commit()
    connection.close()
    before = (shell.path / "a.db").read_bytes()
    ran = shell("check", "--moving", MIGRATE_URI=f"sqlite://{shell.path / 'a.db'}")
    assert "MG302" not in ran.out
    assert "ewh_implemented_features_journal" in ran.out
    assert "1 difference to edwh-migrate 2.1.0 in this project\n" in ran.out
    assert (shell.path / "a.db").read_bytes() == before


def test_packages_that_bring_edwh_migrate_are_named(shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.write("migrations.py", PLAIN)
    for name, text in {
        "edwh_migrate-2.1.0": "Name: edwh-migrate\nVersion: 2.1.0\n",
        "acme_rbac-1.0": "Name: acme-rbac\nVersion: 1.0\nRequires-Dist: edwh-migrate>=1\n",
        "acme_full-1.0": "Name: acme-full\nVersion: 1.0\nRequires-Dist: edwh-migrate; extra == 'full'\n",
    }.items():
        shell.write(f"packages/{name}.dist-info/METADATA", f"Metadata-Version: 2.1\n{text}")
    monkeypatch.syspath_prepend(shell.path / "packages")
    ran = shell("check", "--moving")
    assert "edwh-migrate 2.1.0 is installed as well" in ran.out
    assert "acme-rbac requires edwh-migrate" in ran.out
    assert "acme-full" not in ran.out


@pytest.mark.parametrize(("typed", "log"), [("> log 2>&1", True), ("> log", False), ("2> log", True)])
def test_what_a_log_gets_is_what_the_guide_says(project: Project, typed: str, log: bool) -> None:
    """`migrate > log` gets results only, and a run has none; `migrate > log 2>&1` gets what it does, line by line."""
    project.write("migrations.py", PLAIN.replace("    return", "    print('from the body')\n    return"))
    env = clean_environment(project.path, {"MIGRATE_URI": "sqlite://a.db"})
    command = f"{sys.executable} -m migrate_graph {typed}"
    done = subprocess.run(
        ["bash", "-c", command], check=True, cwd=project.path, env=env, capture_output=True, text=True
    )
    text = (project.path / "log").read_text()
    told = text if log else done.stderr
    for each in ("1 migration to run", "ok first_20260101_001", "from the body", "committed: first_20260101_001"):
        assert each in told
    assert log or not text
    guide = (Path(__file__).parents[2] / "docs" / "moving-from-edwh-migrate.md").read_text()
    assert "write `migrate > log 2>&1`" in guide


def test_it_goes_with_no_other_form(shell) -> None:
    shell.write("migrations.py", PLAIN)
    assert shell("check", "--moving", "--json").code == 2
