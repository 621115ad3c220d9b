"""What a `down` deletes only where there are rows is counted before it: loops, triggers, functions, large objects, and tables made anew."""

from __future__ import annotations

import pytest
from revert_stand import Shop

from migrate_graph.errors import DecisionNeeded

TEXT = """
from migrate_graph import migration


def undo(db):
{down}
    return True


@migration(down=undo)
def one_1(db):
    return True
"""

TABLES = """
CREATE TABLE item (id integer PRIMARY KEY, n integer)
CREATE TABLE archive (id integer, n integer)
CREATE TABLE below (up integer REFERENCES item ON DELETE CASCADE)
CREATE TABLE bystander (id integer)
INSERT INTO item VALUES (1, 1), (2, 2)
INSERT INTO archive VALUES (1, 1), (2, 2), (3, 3)
INSERT INTO below VALUES (1)
INSERT INTO bystander VALUES (1)
"""


def _told(shop: Shop, down: str, *by_hand: str) -> str:
    """Return what is told of the data that goes; empty where it went."""
    text = TEXT.format(down="\n".join(f"    {line}" for line in down.splitlines()))
    shop.apply(text)
    for statement in [*TABLES.strip().split("\n"), *by_hand]:
        shop.run(statement)
    try:
        assert shop.revert("one_1", text) == 0
    except DecisionNeeded as refused:
        return refused.message.partition("this data goes: ")[2].replace("public.", "")
    return ""


LOOP = "for (i,) in db.executesql('SELECT id FROM item'):\n    db.executesql(f'DELETE FROM archive WHERE id = {i}')"
SWAP = "for sql in ('ALTER TABLE archive RENAME TO old', 'ALTER TABLE bystander RENAME TO archive', 'DROP TABLE old'):\n    db.executesql(sql)"
ANEW = "for sql in ('DROP TABLE archive', 'CREATE TABLE archive (id integer, n integer)'):\n    db.executesql(sql)"
KEPT = (
    "for sql in ('CREATE TABLE kept (id integer, n integer)', 'INSERT INTO kept SELECT * FROM archive', 'DROP TABLE archive', "
    "'ALTER TABLE kept RENAME TO archive'):\n    db.executesql(sql)"
)
COLUMN = "for sql in ('ALTER TABLE archive DROP COLUMN n', 'ALTER TABLE archive ADD COLUMN n integer'):\n    db.executesql(sql)"


@pytest.mark.parametrize(
    ("down", "told"),
    [
        (LOOP, "rows of archive (3 rows)"),
        (SWAP, "table archive (3 rows)"),
        (ANEW, "table archive (3 rows)"),
        (COLUMN, "column archive.n (3 values)"),
        (KEPT, ""),
        ("db.executesql('CREATE INDEX i ON archive (id)')", ""),
    ],
    ids=["loop", "swap", "anew", "column", "kept", "nothing"],
)
def test_what_happens_only_where_there_are_rows_is_counted(shop: Shop, down: str, told: str) -> None:
    assert _told(shop, down) == told
    assert shop.run("SELECT count(*) FROM archive") == [(3,)]


FUNCTION = "CREATE FUNCTION purge() RETURNS void LANGUAGE plpgsql AS 'BEGIN DELETE FROM archive; END'"
TRIGGER = "CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM purge(); RETURN OLD; END'"
ON = "CREATE TRIGGER t AFTER {} ON {} FOR EACH ROW EXECUTE FUNCTION fired()"
ITEM = "rows of item (2 rows), rows of below (1 row)"
LARGE = "INSERT INTO bystander SELECT lo_from_bytea(0, 'x')::int"


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("down", "by_hand", "told"),
    [
        (
            "DO $$ BEGIN IF EXISTS (SELECT FROM item) THEN TRUNCATE archive; END IF; END $$",
            (),
            "rows of archive (3 rows)",
        ),
        (
            "DO $$ BEGIN IF EXISTS (SELECT FROM item) THEN PERFORM purge(); END IF; END $$",
            (),
            "rows of archive (3 rows)",
        ),
        ("DELETE FROM item", (ON.format("DELETE", "item"),), f"{ITEM}, rows of archive (3 rows)"),
        ("DELETE FROM item", (ON.format("DELETE", "below"),), f"{ITEM}, rows of archive (3 rows)"),
        ("UPDATE item SET n = 1", (ON.format("UPDATE", "item"),), "rows of archive (3 rows)"),
        ("UPDATE item SET n = 1", (ON.format("DELETE", "item"),), ""),
        ("SELECT lo_unlink(id::oid) FROM bystander WHERE id > 9", (LARGE, LARGE), "large objects (2 objects)"),
        (
            "DO $$ BEGIN PERFORM lo_unlink(oid) FROM pg_largeobject_metadata; END $$",
            (LARGE,),
            "large objects (1 object)",
        ),
    ],
)
def test_what_the_server_does_for_each_row_is_counted(
    shop: Shop, down: str, by_hand: tuple[str, ...], told: str
) -> None:
    if not shop.uri.startswith("postgres"):
        pytest.skip("functions and large objects of PostgreSQL")
    assert _told(shop, f"db.executesql({down!r})", FUNCTION, TRIGGER, *by_hand) == told
    assert shop.run("SELECT count(*) FROM archive") == [(3,)]


def test_what_a_trigger_of_sqlite_deletes_is_counted(shop: Shop) -> None:
    if shop.uri.startswith("postgres"):
        pytest.skip("a trigger that is its own text")
    fires = "CREATE TRIGGER t AFTER DELETE ON item BEGIN DELETE FROM archive WHERE id = OLD.id; END"
    assert "rows of archive (3 rows)" in _told(shop, "db.executesql('DELETE FROM item')", fires)


QUOTED = (
    'CREATE TABLE "old. one" (id integer)',
    'CREATE TABLE "x.y" (id integer)',
    'CREATE TABLE "a, b" (id integer)',
    'ALTER TABLE item ADD COLUMN "x.y" integer',
    'INSERT INTO "old. one" VALUES (1)',
    'INSERT INTO "x.y" VALUES (1)',
    'INSERT INTO "a, b" VALUES (1)',
)
PURGE = FUNCTION.replace("purge", '"purge. (all"')
FIRED = TRIGGER.replace("purge", '"purge. (all"')


def _where_there_are_rows(statement: str) -> str:
    return f"for _ in db.executesql('SELECT id FROM item'):\n    db.executesql({statement!r})"


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ('DELETE FROM "old. one"', 'rows of "old. one" (1 row)'),
        ('DELETE FROM "x.y"', 'rows of "x.y" (1 row)'),
        ('DROP TABLE IF EXISTS "x.y"', 'table "x.y" (1 row)'),
        ('DROP TABLE IF EXISTS "a, b"', 'table "a, b" (1 row)'),
    ],
)
def test_a_name_in_quotes_may_hold_a_dot_a_space_or_a_comma(shop: Shop, statement: str, told: str) -> None:
    assert _told(shop, _where_there_are_rows(statement), *QUOTED) == told


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("down", "by_hand"),
    [
        (_where_there_are_rows('SELECT "purge. (all"()'), ()),
        (_where_there_are_rows('SELECT public."purge. (all" ()'), ()),
        ("""db.executesql('UPDATE item SET "x.y" = 1')""", (ON.format("UPDATE", "item"),)),
        (
            """db.executesql('UPDATE item SET "x.y" = 1')""",
            (ON.format("UPDATE", "item").replace("TRIGGER t", 'TRIGGER "what is on it"'),),
        ),
    ],
    ids=["function", "with a schema", "column", "trigger"],
)
def test_what_the_server_does_is_found_by_names_in_quotes(shop: Shop, down: str, by_hand: tuple[str, ...]) -> None:
    if not shop.uri.startswith("postgres"):
        pytest.skip("functions of PostgreSQL")
    assert _told(shop, down, *QUOTED, PURGE, FIRED, *by_hand) == "rows of archive (3 rows)"
