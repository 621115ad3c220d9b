"""What is applied is history: a fault in it stops no run, and one in what is pending does."""

from __future__ import annotations

import pytest

OLD = """
from migrate_graph import ViewMigrationManager, migration

class Below(ViewMigrationManager):
    uses = ()
    since = "old_20260101_001"
    until = "gone_20260102_001"
    def up(self): self.db.executesql("CREATE VIEW below AS SELECT 1 AS id")
    def down(self): self.db.executesql("DROP VIEW IF EXISTS below")

class Above(ViewMigrationManager):
    uses = (Below,)
    since = "old_20260101_001"
    def up(self): self.db.executesql("CREATE VIEW above AS SELECT 1 AS id")
    def down(self): self.db.executesql("DROP VIEW IF EXISTS above")

@migration
def old_20260101_001(db):
    db.executesql("CREATE TABLE a (id INTEGER)")

@migration(requires="old_20260101_001")
def gone_20260102_001(db):
    with Below(db):
        pass
    return True
"""
NEW = """
@migration
def new_20260103_001(db):
    db.executesql("CREATE TABLE b (id INTEGER)")
    return True
"""


@pytest.fixture
def aged(shell):
    """A project whose first two migrations are recorded, by somebody who had other rules."""
    shell.env["MIGRATE_URI"] = f"sqlite://{shell.path / 'a.db'}"
    shell.write("migrations.py", OLD)
    assert shell("mark", "old_20260101_001", "gone_20260102_001", "--installed").code == 0
    shell.write("migrations.py", OLD + NEW)
    return shell


def test_faults_of_what_is_applied_stop_nothing(aged) -> None:
    assert aged("check").code == 3
    assert "if it is not applied yet" in aged("check").out
    asked = aged("check", "--history")
    assert (asked.code, "MG302" in asked.out, "MG206" in asked.out) == (0, True, True)
    assert aged("plan", "--check").code == 4
    ran = aged("apply")
    assert (ran.code, "MG302" in ran.err) == (0, False)
    assert aged("plan", "--check").code == 0


@pytest.mark.parametrize(("words", "code"), [(("apply",), 3), ((), 1)])
def test_faults_of_what_is_pending_stop_apply(aged, words: tuple[str, ...], code: int) -> None:
    """A bare `migrate` runs it, as edwh-migrate did: it fails, and says so beforehand."""
    aged.write("migrations.py", OLD + NEW.replace("    return True\n", ""))
    ran = aged(*words)
    assert ran.code == code
    assert "MG302" in ran.err
    assert aged("plan", "--check").code == 3


def test_a_stray_file_is_an_error_of_check_and_stops_no_run(aged) -> None:
    aged.write("stray.py", "from migrate_graph import migration\n@migration\ndef stray(db): return True\n")
    assert aged("check", "--history").code == 3
    assert aged("plan").code == 0
    ran = aged("apply")
    assert (ran.code, "MG104" in ran.err) == (0, True)


@pytest.mark.parametrize(
    "where",
    [
        "services/b/.env",
        "services/b/requirements.txt",
        "services/b/Dockerfile",
        "services/b/pyproject.toml",
        "tests",
        "examples",
    ],
)
def test_files_of_somebody_else_are_not_ours(aged, where: str) -> None:
    folder = where.rpartition("/")[0] or where
    if "/" in where:
        aged.write(where, "")
    aged.write(f"{folder}/stray.py", "from migrate_graph import migration\n@migration\ndef stray(db): return True\n")
    assert "MG104" not in aged("check").out


def test_a_refused_run_has_written_nothing(shell) -> None:
    shell.env["MIGRATE_URI"] = f"sqlite://{shell.path / 'a.db'}"
    shell.write("migrations.py", OLD)
    assert shell("apply").code == 3
    assert not (shell.path / "a.db").exists() or (shell.path / "a.db").stat().st_size == 0


@pytest.mark.parametrize("words", [(), ("apply",), ("plan",), ("check", "--history")])
def test_a_file_that_lost_its_imports_is_no_green_deployment(aged, words: tuple[str, ...]) -> None:
    aged.write("migrations.py", "import logging\n")
    ran = aged(*words)
    assert (ran.code, "MG109" in ran.out + ran.err) == (3, True)


@pytest.mark.parametrize("words", [(), ("apply",), ("plan",), ("check",)])
def test_lost_imports_are_found_without_a_history(shell, words: tuple[str, ...]) -> None:
    shell.env["MIGRATE_URI"] = f"sqlite://{shell.path / 'a.db'}"
    shell.write("migrations.py", "import logging\n")
    assert shell(*words).code == 0, "a new project"
    shell.write("customers.py", "from migrate_graph import migration\n@migration\ndef m(db): return True\n")
    ran = shell(*words)
    assert (ran.code, "MG109" in ran.out + ran.err) == (3, True)


def test_many_remarks_about_old_history_are_one_line(shell) -> None:
    lines = ["from migrate_graph import migration", "@migration", "def m0(db): return True"]
    for number in range(1, 12):
        needs = ", ".join(f"'m{each}'" for each in range(number))
        lines += [f"@migration(requires=[{needs}])", f"def m{number}(db): return True"]
    shell.write("migrations.py", "\n".join(lines))
    ran = shell("check")
    assert ran.code == 0
    assert ran.out.count("MG105") == 3, "once with the number, and in the hint"
    assert "55 remarks" in ran.out
    assert "migrate check --select MG105 shows them" in ran.out
    assert shell("check", "--select", "MG105").out.count("info MG105") == 55


def test_a_view_that_outlives_another_stops_no_bare_migrate(shell) -> None:
    """2.1.0 applies it, and nothing is lost: what is left of the retired view stays where it is."""
    shell.env["MIGRATE_URI"] = f"sqlite://{shell.path / 'a.db'}"
    shell.write(
        "migrations.py", OLD.replace('INTEGER)")\n', 'INTEGER)")\n    with Below(db):\n        pass\n    return True\n')
    )
    assert shell("apply").code == 3
    ran = shell()
    assert (ran.code, "MG206" in ran.err) == (0, True)
