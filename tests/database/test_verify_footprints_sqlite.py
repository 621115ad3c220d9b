"""What a footprint tells of a migration on SQLite beyond its words: what hangs on what, what is written, put in and looked up."""

from __future__ import annotations

from pathlib import Path

import pytest
from verify_stand import SQLITE, VerifyStand, migrations, words

GROUND = "\n".join(
    f"db.executesql({sql!r})"
    for sql in (
        "CREATE TABLE parent (id integer PRIMARY KEY, name text)",
        "CREATE TABLE child (id integer, parent integer, note text)",
        "CREATE TABLE log (what integer, more integer)",
        "CREATE TABLE ref (id integer, parent integer REFERENCES parent)",
        'CREATE TABLE "od d" ("a ""b" integer)',
        "CREATE VIEW names AS SELECT id, name FROM parent",
        "CREATE VIEW names2 AS SELECT name FROM names",
        "CREATE TABLE noisy (a integer)",
        "CREATE TRIGGER noise AFTER UPDATE ON noisy BEGIN INSERT INTO log (what) SELECT id FROM child; END",
        "INSERT INTO parent VALUES (1, 'a')",
        "INSERT INTO noisy VALUES (1)",
    )
)

HANGS = [
    ("CREATE INDEX i ON child (note) WHERE id > 1", {"column child.id", "column child.note"}),
    ("CREATE INDEX i2 ON child (lower(note))", {"column child.note"}),
    ('CREATE INDEX "i 3" ON "od d" ("a ""b")', {'column "od d"."a ""b"'}),
    ("CREATE TABLE r (p integer REFERENCES parent)", {"column parent.id", "table parent"}),
    ("CREATE TABLE r2 (p text REFERENCES parent (name))", {"column parent.name", "table parent"}),
    ("CREATE VIEW v AS SELECT count(*) AS n FROM parent", {"table parent"}),
    ("CREATE VIEW v2 AS SELECT name FROM names", {"column names.name"}),
    ("CREATE TRIGGER t AFTER DELETE ON child BEGIN UPDATE log SET more = old.id; END",
     {"column child.id", "column log.more", "table child"}),
    ("CREATE TRIGGER t2 INSTEAD OF INSERT ON names BEGIN INSERT INTO log VALUES (new.id, 1); END",
     {"column names.id", "table log", "view names"}),
    ("ALTER TABLE child ADD COLUMN more text", {"table child"}),
]  # fmt: skip

USES: list[tuple[str, set[str], set[str], set[str], set[str]]] = [
    ("SELECT name FROM parent WHERE id = 1", {"parent.name", "parent.id"}, set(), set(), set()),
    ("UPDATE child SET note = 'x' WHERE id = 1", {"child.note", "child.id"}, {"child.note"}, set(), set()),
    ("INSERT INTO log (what) VALUES (1)", {"log.what"}, set(), {"log"}, set()),
    ("INSERT INTO log SELECT id, 2 FROM child", {"log.*", "child.id"}, set(), {"log"}, set()),
    ('INSERT INTO "od d" ("a ""b") VALUES (1)', {'"od d"."a ""b"'}, set(), {'"od d"'}, set()),
    ("INSERT OR REPLACE INTO log (what) VALUES (1)", {"log.what"}, {"log.*"}, {"log"}, set()),
    (
        "WITH n AS (SELECT id FROM child) INSERT INTO log (what) SELECT id FROM n",
        {"log.what", "child.id"},
        set(),
        {"log"},
        set(),
    ),
    ("DELETE FROM log WHERE what = 9", {"log.what"}, {"log.*"}, set(), set()),
    ("SELECT name FROM names2", {"names2.name", "names.name", "parent.name", "parent.id"}, set(), set(), set()),
    ("UPDATE noisy SET a = 2", {"noisy.a", "child.id"}, {"noisy.a"}, {"log"}, set()),
    ("INSERT INTO ref (id, parent) VALUES (1, 1)", {"ref.id", "ref.parent", "parent.id"}, set(), {"ref"}, {"parent"}),
    ("INSERT INTO parent (id, name) VALUES (2, 'b')", {"parent.id", "parent.name"}, set(), {"parent"}, set()),
    (
        "INSERT INTO parent SELECT parent, 'c' FROM ref WHERE id = 9",
        {"parent.*", "ref.parent", "ref.id"},
        set(),
        {"parent"},
        set(),
    ),
    ("DELETE FROM parent WHERE id = 7", {"parent.id", "ref.parent"}, {"parent.*"}, set(), set()),
    ("UPDATE ref SET parent = 1", {"ref.parent", "parent.id"}, {"ref.parent"}, set(), {"parent"}),
    ("UPDATE ref SET id = 1", {"ref.id"}, {"ref.id"}, set(), set()),
    ("CREATE TABLE made AS SELECT note FROM child", {"child.note"}, set(), set(), set()),
    ("CREATE INDEX only_built ON child (id, note)", set(), set(), set(), set()),
]


@pytest.fixture
def stand(tmp_path: Path) -> VerifyStand:
    return VerifyStand(tmp_path, SQLITE)


def test_what_is_made_hangs_on_what_sqlite_reads_for_it(stand: VerifyStand) -> None:
    seen = stand.footprints(GROUND, *(sql for sql, _ in HANGS))
    assert seen["m1"].hangs == frozenset()
    wrong = {
        sql: words(seen[f"m{n}"].hangs) ^ expected
        for n, (sql, expected) in enumerate(HANGS, 2)
        if words(seen[f"m{n}"].hangs) != expected
    }
    assert wrong == {}
    assert "ewh_implemented" not in str(seen)


@pytest.mark.parametrize("mode", ["own", "single", "none"])
def test_what_is_used_is_what_the_authorizer_was_asked(stand: VerifyStand, mode: str) -> None:
    stand.write(migrations(GROUND, *(sql for sql, *_ in USES), mode=mode))
    watched = stand.watch()
    assert not watched.failed, watched.failed
    wrong = {}
    for n, (sql, *expected) in enumerate(USES, 2):
        seen = watched.footprints[f"m{n}"]
        found = [set(seen.uses), set(seen.writes), set(seen.inserts), set(seen.checked)]
        if found != expected:
            wrong[sql] = [(left - right, right - left) for left, right in zip(found, expected, strict=True)]
    assert wrong == {}


LOST = [
    ("DROP VIEW names2", {"column names.name"}),
    ("db.executesql('DROP VIEW names'); db.executesql('CREATE VIEW names AS SELECT id FROM parent')", {"column parent.name"}),
    ("DROP TRIGGER noise", {"column child.id", "table log", "table noisy"}),
    # the same view anew hangs on what it hung on: nothing is let go
    ("db.executesql('DROP VIEW names'); db.executesql('CREATE VIEW names AS SELECT id FROM parent')", set()),
    ("DROP TABLE ref", {"column parent.id", "column ref.parent", "table parent", "table ref"}),
]  # fmt: skip


def test_what_goes_lets_go_of_what_it_hung_on(stand: VerifyStand) -> None:
    seen = stand.footprints(GROUND, *(sql for sql, _ in LOST))
    wrong = {
        sql: words(seen[f"m{n}"].lost) ^ expected
        for n, (sql, expected) in enumerate(LOST, 2)
        if words(seen[f"m{n}"].lost) != expected
    }
    assert wrong == {}
    remade = seen["m5"]
    assert (remade.added, remade.changed, remade.removed) == (frozenset(), frozenset(), frozenset())
    assert words(remade.hangs) == {"column parent.id"}


def test_a_view_that_cannot_be_read_is_named_where_it_is_left(stand: VerifyStand) -> None:
    seen = stand.footprints(
        GROUND, "CREATE VIEW early AS SELECT late FROM child", "ALTER TABLE child ADD COLUMN late text"
    )
    assert seen["m2"].unreadable == ("early, which it leaves, cannot be read: no such column: late",)
    assert seen["m3"].unreadable == ()
