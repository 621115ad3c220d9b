"""Every example survives other orders that its graph permits, and each of its migrations needs nothing that it does not require."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from verify_stand import SQLITE, VerifyStand

from migrate_graph.workflow.laboratory.closing import close
from migrate_graph.workflow.laboratory.permuting import permute

EXAMPLES = Path(__file__).parents[2] / "examples"

ON_SQLITE = ["seed/first", "shop", "with_pydal2sql", "with_pytest"]
ON_POSTGRES = ["seed/first", "seed/views", "shop"]

# These are the words of edwh-migrate's documentation, which leaves the one thing out that this is about.
KNOWN = {
    "seed/views": {("previous_migration", "upgrade_some_source_table_that_my_example_view_depends_on")},
}


@pytest.fixture
def server(may_create_databases: None, postgres_uri: str) -> str:
    return postgres_uri


def prove(example: str, directory: Path, on: str, *, most: int) -> None:
    ignore = shutil.ignore_patterns("__pycache__", "*.db*", "databases")
    root = Path(shutil.copytree(EXAMPLES / example, directory / "example", ignore=ignore))
    with VerifyStand(root, on).laboratory() as laboratory:
        watched = laboratory.watch()
        assert watched.failed == ()
        found = permute(laboratory, most=most, seed=1)
        done = close(laboratory, watched)
    known = KNOWN.get(example, set())
    assert {(pair.first, pair.then) for pair in found.pairs} == known
    assert {one.name for one in done.found} == {then for _, then in known}
    assert found.alike == len(found.tried) or known
    assert example != "shop" or len(found.tried) == most


def test_all_examples_are_tried() -> None:
    found = {str(file.parent.relative_to(EXAMPLES)) for file in EXAMPLES.rglob("migrations.py")}
    assert found == {*ON_SQLITE, *ON_POSTGRES}


@pytest.mark.parametrize("example", ON_SQLITE)
def test_examples_on_sqlite(example: str, tmp_path: Path) -> None:
    prove(example, tmp_path, SQLITE, most=20)


@pytest.mark.postgres
@pytest.mark.parametrize("example", ON_POSTGRES)
def test_examples_on_postgres(example: str, server: str, tmp_path: Path) -> None:
    prove(example, tmp_path, server, most=20)
