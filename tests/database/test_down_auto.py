"""`down="auto"`: what was only added is dropped again, by exactly the statements that were shown; anything else is refused before it runs."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from revert_stand import Shop

from migrate_graph.core.states import State
from migrate_graph.errors import DatabaseRefused, DecisionNeeded, UsageError
from migrate_graph.workflow.project import read_history
from migrate_graph.workflow.revert import plan_revert, with_derived
from migrate_graph.workflow.ways_back import told_of

HEAD = """
from migrate_graph import ViewMigrationManager, migration
from pydal import Field


@migration
def base_1(db):
    db.executesql("CREATE TABLE base (id integer PRIMARY KEY, name varchar(20))")
    return True
"""


def _file(*statements: str, more: str = "", body: str = "", requires: str = "base_1") -> str:
    lines = "".join(f"    db.executesql({each!r})\n" for each in statements)
    return f"{HEAD}\n{more}\n\n@migration(requires={requires}, down='auto')\ndef auto_2(db):\n{lines}{body}    return True\n"


def _statements(shop: Shop, name: str = "auto_2", *, with_dependents: bool = False) -> list[str]:
    project = shop.project()
    found = plan_revert(project, read_history(project.config), name, with_dependents=with_dependents)
    planned = with_derived(found).found.planned
    return [each for step in planned.steps for each in told_of(project, step.migration).statements or ("written",)]


ADDS = (
    "CREATE TABLE more (id integer PRIMARY KEY, base_id integer REFERENCES base (id), peer integer)",
    "CREATE TABLE most (id integer PRIMARY KEY, more_id integer REFERENCES more (id))",
    "CREATE INDEX more_base ON more (base_id)",
    "ALTER TABLE base ADD COLUMN total integer",
    "CREATE INDEX base_total ON base (total)",
    "CREATE VIEW lower_view AS SELECT total FROM base JOIN more ON base_id = base.id",
    "CREATE VIEW upper_view AS SELECT total FROM lower_view",
    "INSERT INTO more (id) VALUES (1), (2)",
)
ONLY_POSTGRES = (
    "ALTER TABLE more ADD CONSTRAINT round_about FOREIGN KEY (peer) REFERENCES most (id)",
    "CREATE TYPE mood AS ENUM ('good', 'bad')",
    "CREATE DOMAIN share AS numeric CHECK (VALUE <= 1)",
    "CREATE TABLE felt (mood mood, part share, number serial)",
    "CREATE SEQUENCE counter",
    "CREATE FUNCTION felt_often(m mood) RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.felt WHERE mood = m'",
    "CREATE MATERIALIZED VIEW felt_all AS SELECT felt_often('good') AS often, total FROM upper_view",
    "CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NOT EXISTS (SELECT FROM more) THEN RETURN NULL; END IF; RETURN NEW; END $$",
    "CREATE TRIGGER tells BEFORE INSERT ON base FOR EACH ROW EXECUTE FUNCTION told()",
    "ALTER TABLE base ADD CONSTRAINT named CHECK (length(name) > 0)",
    "CREATE STATISTICS base_both ON name, total FROM base",
    "CREATE POLICY seen ON base USING (true)",
    "COMMENT ON TABLE more IS 'more of it'",
    "COMMENT ON COLUMN base.total IS 'new'",
    "COMMENT ON FUNCTION felt_often(mood) IS 'how often'",
    "COMMENT ON CONSTRAINT named ON base IS 'never empty'",
    "GRANT SELECT ON more TO PUBLIC",
    'CREATE TABLE "Odd ""name" ("Column.1" integer)',
)


def test_what_was_added_is_dropped_and_nothing_else(shop: Shop) -> None:
    is_postgres = shop.uri.startswith("postgres")
    text = _file(*ADDS, *(ONLY_POSTGRES if is_postgres else ()))
    assert shop.apply(HEAD) == 0
    before = shop.facts()
    assert shop.apply(text) == 0
    first = shop.facts()
    statements = _statements(shop)
    assert "DROP INDEX public.base_total" in statements or "DROP INDEX base_total" in statements
    assert not [each for each in statements if "CASCADE" in each or "IF EXISTS" in each]
    ties = [each for each in statements if "DROP CONSTRAINT" in each and ".more " in each]
    assert bool(ties) == is_postgres, "two tables that refer to each other cannot go one after the other"
    with pytest.raises(DecisionNeeded, match=r"table (public\.)?more \(2 rows\)") as asks:
        shop.revert("auto_2")
    assert "migrate revert auto_2 --yes" in asks.value.hint
    assert shop.facts() == first, "nothing ran"
    assert shop.revert("auto_2", yes=True) == 0
    assert shop.facts() == before
    assert shop.state("auto_2") is State.REVERTED
    assert shop.apply() == 0
    assert shop.facts() == first
    assert _statements(shop) == statements, "the same every time"


DID_MORE = [
    ("INSERT INTO base (id, name) VALUES (7, 'x')", "puts rows into {}base, which was there before (migrations.py:{line})"),
    ("UPDATE base SET name = 'y'", "changes rows of {}base, which was there before (migrations.py:{line})"),
    ("DELETE FROM base", "changes rows of {}base, which was there before (migrations.py:{line})"),
    ("ALTER TABLE base RENAME COLUMN name TO label", "removes the column {}base.name, which was there before (migrations.py:{line})"),
    ("DROP TABLE base", "removes the table {}base, which was there before (migrations.py:{line})"),
    ("CREATE TABLE IF NOT EXISTS base2 (id integer)", "says IF NOT EXISTS: "),
    ("SELECT count(*) FROM base", "reads rows of {}base, so that what it does may depend on them (migrations.py:{line})"),
    ("ALTER TABLE base ALTER COLUMN name TYPE text", "changes the column public.base.name, which was there before"),
    ("DO $$ BEGIN CREATE TABLE base2 (id int); END $$", "runs a block of statements"),
    ("CREATE OR REPLACE VIEW base2 AS SELECT 1 AS one", "says OR REPLACE"),
    ("SELECT to_regclass('base2')", "asks what is there already"),
    ("COMMENT ON TABLE base IS 'old'", "says something of what was there before (comment table public.base)"),
    ("GRANT SELECT ON base TO PUBLIC", "says something of what was there before (grants public.base)"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("database_uri", "statement", "told"),
    [
        *(pytest.param("postgres", *each, marks=pytest.mark.postgres) for each in DID_MORE),
        *(
            ("sqlite", *each) for each in DID_MORE if "{}" in each[1] or "IF NOT" in each[1]
        ),  # SQLite has no other of these
    ],
    indirect=["database_uri"],
)
def test_what_did_more_is_refused_before_anything_runs(shop: Shop, statement: str, told: str) -> None:
    is_postgres = shop.uri.startswith("postgres")
    assert shop.apply(_file("CREATE TABLE more (id integer)", statement)) == 0
    before = shop.facts()
    with pytest.raises(UsageError) as refused:
        shop.revert("auto_2", yes=True)
    assert "no way back can be derived for 'auto_2': " in refused.value.message
    line = (shop.path / "migrations.py").read_text().splitlines().index(
        "    db.executesql('CREATE TABLE more (id integer)')"
    ) + 2
    assert told.format("public." if is_postgres else "", line=line) in refused.value.message
    assert "down=function" in refused.value.hint
    assert shop.facts() == before
    assert shop.state("auto_2") is State.APPLIED


@pytest.mark.postgres
@pytest.mark.parametrize("database_uri", ["postgres"], indirect=True)
def test_what_dropping_leaves_behind_is_seen(shop: Shop) -> None:
    first = HEAD.replace("    return True", "    db.executesql('CREATE PUBLICATION told')\n    return True")
    more = ("ALTER TABLE base ADD COLUMN size integer", "ALTER PUBLICATION told ADD TABLE base")
    assert shop.apply(first + _file(*more).removeprefix(HEAD)) == 0
    with pytest.raises(
        UsageError, match=r"what it adds cannot be dropped again \(published table told public.base, too\)"
    ):
        shop.revert("auto_2", yes=True)


VIEWS = """
class V(ViewMigrationManager):
    uses = ()
    until = "auto_2"

    def up(self):
        self.db.executesql("CREATE VIEW v AS SELECT name FROM base")

    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS v")


class V2(ViewMigrationManager):
    uses = ()
    since = "auto_2"
    replaces = "V"

    def up(self):
        self.db.executesql("CREATE VIEW v AS SELECT name, total FROM base")

    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS v")


@migration(requires=base_1)
def view_1b(db):
    with V(db):
        return True
"""


def test_views_of_managers_are_taken_along_and_are_no_part_of_it(shop: Shop) -> None:
    add = "    with V(db):\n        db.executesql('ALTER TABLE base ADD COLUMN total integer')\n"
    assert shop.apply(_file(more=VIEWS, body=add, requires="view_1b")) == 0
    assert shop.columns("v") == ["name", "total"]
    assert [each.replace("public.", "") for each in _statements(shop)] == ["ALTER TABLE base DROP COLUMN total"]
    assert shop.revert("auto_2") == 0
    assert shop.columns("v") == ["name"]
    assert shop.apply() == 0
    assert shop.columns("v") == ["name", "total"]


def test_what_came_by_hand_since_is_told_and_needs_a_yes(shop: Shop) -> None:
    assert shop.apply(_file("CREATE TABLE more (id integer)")) == 0
    shop.run("CREATE INDEX by_hand ON more (id)")
    with pytest.raises(DecisionNeeded, match=r"auto_2: its way back takes besides, here: index (public\.)?by_hand"):
        shop.revert("auto_2")
    assert shop.state("auto_2") is State.APPLIED
    assert shop.revert("auto_2", yes=True) == 0


def test_what_went_by_hand_since_is_not_left(shop: Shop) -> None:
    assert shop.apply(_file("CREATE TABLE more (id integer)", "CREATE INDEX gone ON more (id)")) == 0
    shop.run("DROP INDEX gone")
    assert shop.revert("auto_2") == 0
    assert not [fact for fact in shop.facts() if "more" in fact.identity]


LEAVES = f"""{HEAD}

def down(db):
    db.executesql("DROP INDEX IF EXISTS gone")
    names = "SELECT relname FROM pg_class" if db._uri.startswith("postgres") else "SELECT name FROM sqlite_master"
    if ("by_hand",) not in db.executesql(names):
        db.executesql("DROP INDEX kept")
    return True


@migration(requires=base_1, down=down)
def auto_2(db):
    db.executesql("CREATE INDEX gone ON base (id)")
    db.executesql("CREATE INDEX kept ON base (name)")
    return True


@migration(requires=auto_2, down=lambda db: True)
def takes_3(db):
    db.executesql("DROP INDEX gone")
    return True
"""


def test_what_another_migration_took_is_not_left(shop: Shop) -> None:
    """The `down` of that one, which does not make it again, is what is told."""
    assert shop.apply(LEAVES) == 0
    with pytest.raises(DecisionNeeded) as refused:
        shop.revert("auto_2", with_dependents=True)
    told = refused.value.message.replace("public.", "")
    assert (
        told == "nothing was undone, since takes_3: its way back does not restore what was there before: no index gone"
    )
    assert shop.revert("auto_2", with_dependents=True, yes=True) == 0


PYDAL = """
@migration
def thing_1b(db):
    db._migrate_enabled = True
    db.define_table("thing", Field("name"), Field("qty"), migrate=True)
    with Stays(db):
        pass
    return True


class Stays(ViewMigrationManager):
    uses = ()

    def up(self):
        if BROKEN and REAL in self.db._uri:
            raise ValueError("it does not come up")
        self.db.executesql("CREATE VIEW stays AS SELECT name FROM thing")

    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS stays")


@migration(requires=thing_1b, down="auto")
def auto_2(db):
    db._migrate_enabled = True
    with Stays(db):
        db.define_table("thing", Field("name"), Field("qty"), Field("Total"), migrate=True)
        db.define_table("other", Field("size"), migrate=True)
    return True
"""


def test_pydal_forgets_the_tables_and_columns_that_it_has_made(shop: Shop, tmp_path: Path) -> None:
    settings = {"db_folder": str(tmp_path / "databases")}
    (tmp_path / "databases").mkdir()
    head = f"{HEAD}\nBROKEN, REAL = False, {shop.uri.rpartition('@')[2].removeprefix('sqlite://')!r}\n"
    assert shop.apply(head + PYDAL, **settings) == 0
    thing, other = (next(tmp_path.rglob(f"*_{name}.table")) for name in ("thing", "other"))
    first = thing.read_bytes()
    assert "total" in pickle.loads(first)
    assert shop.revert("auto_2", head.replace("= False", "= True") + PYDAL, yes=True, settings=settings) == 1
    assert thing.read_bytes() == first, "it was not undone"
    assert other.exists()
    assert shop.revert("auto_2", head + PYDAL, yes=True, settings=settings) == 0
    assert not other.exists()
    assert set(pickle.loads(thing.read_bytes())) == {"id", "name", "qty"}
    assert shop.columns("thing") == ["id", "name", "qty"]
    assert shop.apply(**settings) == 0
    assert [each.lower() for each in shop.columns("thing")] == ["id", "name", "qty", "total"]
    assert shop.columns("other") == ["id", "size"]


@pytest.mark.postgres
@pytest.mark.parametrize("database_uri", ["postgres"], indirect=True)
def test_without_a_place_to_look_nothing_is_derived(shop: Shop) -> None:
    """A file can always be made."""
    assert shop.apply(_file("CREATE TABLE more (id integer)")) == 0
    shop.copies = shop.uri  # the role may create no database, and this one is in use
    with pytest.raises(DatabaseRefused) as refused:
        shop.revert("auto_2", yes=True)
    assert "CREATEDB" in refused.value.hint
    assert shop.state("auto_2") is State.APPLIED


BACKUP = (
    "CREATE TABLE ewh_implemented_features (id integer, name varchar(512) UNIQUE, installed char(1), last_update_dttm timestamp);\n"
    "INSERT INTO ewh_implemented_features (id, name, installed) VALUES (1, '{name}', 'T');\n"
)


def test_what_the_configured_backup_has_done_cannot_be_derived(shop: Shop, tmp_path: Path) -> None:
    """It is there before the first migration, so nobody sees it do anything."""
    backup = tmp_path / "backup.sql"
    backup.write_text(BACKUP.replace("{name}", "auto_2"))
    settings = {"database_to_restore": str(backup)}
    text = _file("CREATE TABLE more (id integer)")
    assert shop.apply(text) == 0
    with pytest.raises(UsageError) as refused:
        shop.revert("auto_2", yes=True, settings=settings)
    assert "no way back can be derived for 'auto_2': is in the configured backup, so that what it does" in str(
        refused.value
    )
    assert "(migrations.py:" in str(refused.value)
    assert shop.state("auto_2") is State.APPLIED
    by_hand = text.replace("down='auto'", "down=lambda db: bool(db.executesql('DROP TABLE more')) or True")
    assert by_hand != text
    assert shop.revert("auto_2", by_hand, settings=settings) == 0
    assert (
        "whether the way back restores what was there before is not known: auto_2 is in the configured backup"
        in shop.told
    )
    assert shop.state("auto_2") is State.REVERTED


def test_several_are_undone_in_one_go(shop: Shop) -> None:
    text = _file("CREATE TABLE more (id integer)")
    body = "    db.executesql('ALTER TABLE more ADD COLUMN size integer')\n    return True\n"
    text += f"\n\n@migration(requires=auto_2, down='auto')\ndef auto_3(db):\n{body}"
    assert shop.apply(HEAD) == 0
    before = shop.facts()
    assert shop.apply(text) == 0
    told = [each.replace("public.", "") for each in _statements(shop, with_dependents=True)]
    assert told == ["ALTER TABLE more DROP COLUMN size", "DROP TABLE more"]
    assert shop.revert("auto_2", with_dependents=True) == 0
    assert shop.facts() == before
