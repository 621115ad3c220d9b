"""`uses` that is left out, or wrong: what a database tells of it, what is kept of that, and what becomes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from verify_stand import SQLITE, VerifyStand

from migrate_graph.core.events import ViewCreated, ViewDropped
from migrate_graph.core.model import UsesFrom
from migrate_graph.workflow.assessment import assess
from migrate_graph.workflow.footprint_file import read_footprints
from migrate_graph.workflow.proof import ProofOptions, keep, prove

POSTGRES = pytest.param("postgres", marks=pytest.mark.postgres)

PROJECT = """
from migrate_graph import SqlView, ViewMigrationManager, migration

class Base(SqlView):
    query = "SELECT id, total FROM orders"

class total(SqlView):  # a word of other queries, which is no view there
    query = "SELECT 1 AS one"

class Reader(SqlView):
    query = "SELECT count(*) AS n, max(total) AS most FROM base"

class Wrong(SqlView):
    uses = ({wrong})
    query = "SELECT r.n FROM reader r -- base"

class Idle(SqlView):
    uses = ({idle})
    query = "SELECT 1 AS one"

class Several(ViewMigrationManager):
    uses = ({several})

    def up(self):
        self.db.executesql("CREATE VIEW several_one AS SELECT n FROM reader")
        self.db.executesql("CREATE VIEW several_two AS SELECT n FROM several_one")
        {more}

    def down(self):
        {less}
        self.db.executesql("DROP VIEW IF EXISTS several_two")
        self.db.executesql("DROP VIEW IF EXISTS several_one")

class Last(SqlView):
    query = "SELECT n FROM several_two, total"

@migration
def create_20260101_001(db):
    db.executesql("CREATE TABLE orders (id int, total int)")
    {opened}
    return True
"""
OPENED = "\n    ".join(f"with {name}(db): pass" for name in ("total", "Base", "Reader", "Several", "Last"))
ONCE = "\n    ".join(f"with {name}(db): pass" for name in ("total", "Base", "Wrong"))
OF_SERVER = {
    "postgres": (
        'self.db.executesql("CREATE FUNCTION known(base) RETURNS int LANGUAGE sql AS $$ SELECT 1 $$")',
        'self.db.executesql("DROP FUNCTION IF EXISTS known")',
    ),
    SQLITE: (
        "self.db.executesql('CREATE TRIGGER tell INSTEAD OF DELETE ON several_one BEGIN SELECT id FROM base; END')",
        "pass",
    ),
}  # fmt: skip


@pytest.fixture
def stand(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> VerifyStand:
    if database == SQLITE:
        return VerifyStand(tmp_path, SQLITE)
    request.getfixturevalue("may_create_databases")
    return VerifyStand(tmp_path, request.getfixturevalue("postgres_uri"))


def write(
    stand: VerifyStand,
    database: str,
    several: str = "Base, Reader,",
    wrong: str = "Reader,",
    idle: str = "",
    opened: str = OPENED,
) -> None:
    more, less = OF_SERVER[database]
    stand.write(PROJECT.format(several=several, wrong=wrong, idle=idle, more=more, less=less, opened=opened))


def uses_of(stand: VerifyStand) -> dict[str, tuple[tuple[str, ...], UsesFrom]]:
    return {name: (view.uses, view.uses_from) for name, view in stand.open().graph.views.items()}


@pytest.mark.parametrize("database", [SQLITE, POSTGRES])
def test_what_the_database_saw_is_kept_and_taken_for_declared(stand: VerifyStand, database: str) -> None:
    write(stand, database)
    guessed = uses_of(stand)
    assert guessed["Reader"] == (("Base", "total"), UsesFrom.GUESSED)
    assert guessed["Last"] == (("total", "Several"), UsesFrom.GUESSED)
    proof = prove(stand.open(), ProofOptions(on=stand.on))
    assert proof.is_complete, proof.watched.results
    assert [
        (each.code, each.subject.name) for each in proof.findings
    ] == []  # of `Wrong` nothing was seen: nothing has opened it
    keep(proof)
    file = json.loads((stand.root / "migrations.footprint.json").read_text())
    assert file["create_20260101_001"]["uses"] == {
        "Base": [], "Last": ["Several", "total"], "Reader": ["Base"], "Several": ["Base", "Reader"], "Wrong": ["Reader"], "total": [],
    }  # fmt: skip
    learnt = uses_of(stand)
    assert learnt["Base"] == learnt["total"] == ((), UsesFrom.LEARNT)
    assert learnt["Reader"] == (("Base",), UsesFrom.LEARNT)
    assert learnt["Last"] == (("total", "Several"), UsesFrom.LEARNT)
    assert learnt["Several"][1] is UsesFrom.DECLARED
    keep(prove(stand.open(), ProofOptions(on=stand.on)))
    assert json.loads((stand.root / "migrations.footprint.json").read_text()) == file

    text = (stand.root / "migrations.py").read_text()
    stand.write(text.replace("max(total)", "min(total)"))
    assert uses_of(stand)["Reader"] == (("Base", "total"), UsesFrom.GUESSED)
    assert uses_of(stand)["Last"][1] is UsesFrom.LEARNT


@pytest.mark.parametrize("database", [SQLITE, POSTGRES])
def test_missing_and_superfluous_uses_are_found_by_the_database_and_in_the_file(
    stand: VerifyStand, database: str
) -> None:
    write(stand, database, several="Reader,", wrong="", idle="total, Base", opened=ONCE)
    proof = prove(stand.open(), ProofOptions(on=stand.on))
    assert proof.is_complete, proof.watched.results
    found = [
        ("MG709", "Wrong", "write: uses = (Reader,)"),
        ("MG709", "Several", "write: uses = (Base, Reader)"),
        ("MG710", "Idle", "unless a function that it calls reads them, write: uses = ()"),
    ]
    assert [(each.code, each.subject.name, each.hint) for each in proof.findings] == found
    keep(proof)
    project = stand.open()
    traces = read_footprints(project)
    kept = assess(project, footprints=traces).findings_of(lambda rule: rule.code in {"MG709", "MG710"})
    assert [(each.code, each.subject.name, each.hint) for each in kept] == found
    text = (stand.root / "migrations.py").read_text()
    stand.write(text.replace("SELECT r.n", "SELECT r.most").replace("SELECT 1 AS one", "SELECT 2 AS one"))
    kept = assess(stand.open(), footprints=traces).findings_of(lambda rule: rule.code in {"MG709", "MG710"})
    assert [(each.code, each.subject.name) for each in kept] == [("MG709", "Several")]


HIDDEN = """
from migrate_graph import SqlView, ViewMigrationManager, migration

class Hidden(ViewMigrationManager):
    uses = ()

    def up(self):
        self.db.executesql("CREATE VIEW %s AS SELECT id FROM orders" % "".join(["hid", "den"]))

    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS hidden")

class Reader(SqlView):
    {uses}
    query = "SELECT id FROM hidden"

class Third(SqlView):
    query = "SELECT id FROM reader"

@migration
def create_20260101_001(db):
    db.executesql("CREATE TABLE orders (id int, total int)")
    with Hidden(db):
        pass
    with Reader(db):
        pass
    return True

@migration(requires=create_20260101_001)
def again_20260102_001(db):
    with Hidden(db):
        db.executesql("ALTER TABLE orders DROP COLUMN total")
    return True
"""


@pytest.mark.parametrize("database", [SQLITE, POSTGRES])
def test_a_block_finds_out_from_the_database_what_nobody_could_guess(stand: VerifyStand, database: str) -> None:
    stand.write(HIDDEN.format(uses="pass"))
    assert uses_of(stand)["Reader"] == ((), UsesFrom.GUESSED)
    watched = stand.watch()
    assert not watched.failed, watched.failed
    told = [(type(each).__name__, each.view) for each in stand.events if isinstance(each, ViewDropped | ViewCreated)]
    again = ["Hidden", "Reader", "Third"]
    assert told[-6:] == [*(("ViewDropped", each) for each in again[::-1]), *(("ViewCreated", each) for each in again)]


@pytest.mark.parametrize("database", [SQLITE, POSTGRES])
def test_where_uses_is_declared_without_it_the_error_says_what_to_write(stand: VerifyStand, database: str) -> None:
    stand.write(HIDDEN.format(uses="uses = ()"))
    (failed,) = stand.watch().failed
    assert failed.name == "again_20260102_001"
    assert "so write uses = (Hidden,)" in failed.hint
    assert "Reader (migrations.py:13) reads Hidden" in failed.hint
