"""What other versions see after a revert: edwh-migrate 2.1.0 reads it as not installed, and an older version of this tool reads nothing."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from revert_stand import Shop

ROOT = Path(__file__).parents[2]

PROJECT = """
from migrate_graph import migration


@migration
def base_1(db):
    db.executesql("CREATE TABLE base (id integer PRIMARY KEY)")
    return True


@migration(requires=base_1, down="auto")
def more_2(db):
    db.executesql("CREATE TABLE more (id integer PRIMARY KEY)")
    return True
"""


@pytest.fixture
def reverted(tmp_path: Path) -> Shop:
    """A file in which `more_2` was applied, and undone."""
    shop = Shop(tmp_path / "project", f"sqlite://{tmp_path / 'shop.db'}", "")
    assert shop.apply(PROJECT) == 0
    assert shop.revert("more_2") == 0
    return shop


def _run(shop: Shop, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, cwd=shop.path, capture_output=True, text=True, check=False, timeout=120,
        env={"PATH": os.environ["PATH"], "HOME": str(shop.path), "MIGRATE_URI": shop.uri, **env},  # noqa: TID251
    )  # fmt: skip


def test_edwh_migrate_runs_it_again(reverted: Shop, edwh_migrate_2_1_0: str) -> None:
    text = PROJECT.replace("from migrate_graph", "from edwh_migrate").replace(', down="auto"', "")
    (reverted.path / "migrations.py").write_text(text)
    program = str(Path(edwh_migrate_2_1_0).with_name("migrate"))
    flags = reverted.path / "flags"
    flags.mkdir()
    env = {"FLAG_LOCATION": str(flags), "SCHEMA_VERSION": "1"}
    listed = _run(reverted, program, "--list", **env)
    lines = {
        line.split()[0]: line.split()[1] for line in listed.stdout.splitlines() if line.startswith(("base_1", "more_2"))
    }
    assert lines == {"base_1": "succeeded", "more_2": "failed"}, listed.stdout + listed.stderr
    ran = _run(reverted, program, **env)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert reverted.run("SELECT count(*) FROM more") == [(0,)]
    assert reverted.run("SELECT installed FROM ewh_implemented_features WHERE name = 'more_2'") == [("T",)]


# The states of an attempt that version 0.2.0 knows: any other one in a journal ends its reading, with exit code 6.
STATES_OF_0_2_0 = {"running", "applied", "failed", "resolved", "marked", "owed"}


def test_the_journal_says_what_version_0_2_0_does_not_read_over(reverted: Shop) -> None:
    states = {state for (state,) in reverted.run("SELECT state FROM ewh_implemented_features_journal")}
    assert states - STATES_OF_0_2_0 == {"reverted"}


def test_version_0_2_0_refuses_to_read_on(reverted: Shop, tmp_path: Path) -> None:
    old = tmp_path / "v0.2.0"
    old.mkdir()
    git = shutil.which("git")
    made = git and subprocess.run(
        [git, "-C", str(ROOT), "archive", "-o", str(old / "all.tar"), "v0.2.0", "migrate_graph"],
        check=False,
        capture_output=True,
    )
    if not made or made.returncode:
        pytest.skip("the tag v0.2.0 is not here: the repository was copied without its history")
    shutil.unpack_archive(old / "all.tar", old, filter="data")
    (reverted.path / "migrations.py").write_text(PROJECT.replace(', down="auto"', ""))
    path = Path(reverted.uri.removeprefix("sqlite://"))
    before = _rows(path)
    for words in (["status"], ["plan"], ["check", "--history"], ["apply"]):
        ran = _run(reverted, sys.executable, "-m", "migrate_graph", *words, PYTHONPATH=str(old))
        assert ran.returncode == 6, (words, ran.stdout, ran.stderr)
        assert "its state is 'reverted'" in " ".join(ran.stderr.split()), words
    assert _rows(path) == before


def _rows(path: Path) -> list[object]:
    with closing(sqlite3.connect(path)) as connection:
        return [
            connection.execute(f"SELECT * FROM ewh_implemented_features{each}").fetchall() for each in ("", "_journal")
        ]
