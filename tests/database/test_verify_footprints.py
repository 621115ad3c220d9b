"""What a footprint tells of a migration beyond the words of its statements, family by family: what the graph is judged by."""

from __future__ import annotations

from pathlib import Path

import pytest
from bystanders import bystanding
from verify_stand import VerifyStand, migrations, words

GROUND = """
CREATE TYPE colour AS ENUM ('red', 'green');
CREATE DOMAIN percent AS int CHECK (VALUE BETWEEN 0 AND 100);
CREATE FUNCTION one(x int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT x + 1';
CREATE FUNCTION peep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO log (what) VALUES (1); RETURN NEW; END';
CREATE SEQUENCE counter;
CREATE TABLE parent (id int PRIMARY KEY, name text);
CREATE TABLE child (id int, parent int, note text);
CREATE TABLE log (what int, more int);
CREATE VIEW names AS SELECT id, name FROM parent;
CREATE VIEW names2 AS SELECT name FROM names;
INSERT INTO parent VALUES (1, 'a'), (2, 'b')
"""


@pytest.fixture
def stand(may_create_databases: None, postgres_uri: str, tmp_path: Path) -> VerifyStand:
    return VerifyStand(tmp_path, postgres_uri)


HANGS = [
    ("enum", "CREATE TABLE t{n} (a colour)", {"type public.colour"}),
    ("enum-array", "CREATE TABLE t{n} (a colour[])", {"type public.colour"}),
    ("rows-as-type", "CREATE TABLE t{n} (a parent)", {"table public.parent"}),
    ("domain", "ALTER TABLE child ADD COLUMN p{n} percent", {"type public.percent", "table public.child"}),
    ("default", "ALTER TABLE child ADD COLUMN p{n} int DEFAULT one(1)", {"function public.one(x integer)", "table public.child"}),
    ("default-of-column", "ALTER TABLE child ALTER COLUMN id SET DEFAULT one(1)",
     {"function public.one(x integer)", "table public.child"}),
    ("sequence", "CREATE TABLE t{n} (a int DEFAULT nextval('counter'))", {"sequence public.counter"}),
    ("generated", "ALTER TABLE child ADD COLUMN p{n} int GENERATED ALWAYS AS (id + 1) STORED",
     {"column public.child.id", "table public.child"}),
    ("index", "CREATE INDEX i{n} ON child (note)", {"column public.child.note", "table public.child"}),
    ("index-of-function", "CREATE INDEX i{n} ON child (one(id))",
     {"column public.child.id", "function public.one(x integer)", "table public.child"}),
    ("check", "ALTER TABLE child ADD CONSTRAINT c{n} CHECK (one(id) > 0)",
     {"column public.child.id", "function public.one(x integer)", "table public.child"}),
    ("foreign-key", "ALTER TABLE child ADD CONSTRAINT f{n} FOREIGN KEY (parent) REFERENCES parent",
     {"column public.child.parent", "column public.parent.id", "constraint public.parent.parent_pkey", "table public.child"}),
    ("view", "CREATE VIEW v{n} AS SELECT one(id) AS n FROM parent", {"column public.parent.id", "function public.one(x integer)"}),
    ("view-of-view", "CREATE VIEW v{n} AS SELECT name FROM names", {"column public.names.name"}),
    ("view-replaced", "CREATE OR REPLACE VIEW names2 AS SELECT name, one(id) FROM names",
     {"column public.names.id", "column public.names.name", "function public.one(x integer)", "view public.names2"}),
    ("materialized", "CREATE MATERIALIZED VIEW v{n} AS SELECT note FROM child", {"column public.child.note"}),
    ("trigger", "CREATE TRIGGER t{n} BEFORE UPDATE OF note ON child FOR EACH ROW EXECUTE FUNCTION peep()",
     {"column public.child.note", "function public.peep()", "table public.child"}),
    ("policy", "CREATE POLICY p{n} ON child USING (one(id) > 1)",
     {"column public.child.id", "function public.one(x integer)", "table public.child"}),
    ("rule", "CREATE RULE r{n} AS ON DELETE TO child DO INSTEAD UPDATE parent SET name = ''",
     {"column public.parent.name", "table public.child"}),
    ("inheritance", "CREATE TABLE t{n} () INHERITS (log)", {"table public.log"}),
    ("statistics", "CREATE STATISTICS s{n} ON id, note FROM child", {"column public.child.id", "column public.child.note", "table public.child"}),
    ("atomic-function", "CREATE FUNCTION f{n}() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(note) FROM child; END",
     {"column public.child.note"}),
    ("function-of-type", "CREATE FUNCTION f{n}(colour) RETURNS setof parent LANGUAGE sql AS 'SELECT * FROM parent'",
     {"table public.parent", "type public.colour"}),
    ("composite", "CREATE TYPE pair{n} AS (a colour, b percent)", {"type public.colour", "type public.percent"}),
    ("comment", "COMMENT ON COLUMN child.note IS 'x'", {"column public.child.note"}),
    ("grant", "GRANT SELECT ON child TO public", {"table public.child"}),
    ("column", "ALTER TABLE child ALTER COLUMN note SET NOT NULL", {"table public.child"}),
]  # fmt: skip


@pytest.mark.postgres
def test_what_is_made_hangs_on_what_the_server_says(stand: VerifyStand, postgres_admin_uri: str) -> None:
    stand.write(migrations(GROUND) + "".join(
        f"\n\n@migration(requires='m1')\ndef h{n}(db):\n    db.executesql({sql.format(n=n)!r})\n    return True\n"
        for n, (_, sql, _) in enumerate(HANGS)
    ))  # fmt: skip
    with bystanding(postgres_admin_uri):
        watched = stand.watch()
    assert not watched.failed, watched.failed
    assert watched.footprints["m1"].hangs == frozenset()
    wrong = {}
    for number, (name, _, expected) in enumerate(HANGS):
        seen = watched.footprints.get(f"h{number}")
        assert seen is not None, name
        if words(seen.hangs) != expected:
            wrong[name] = words(seen.hangs) ^ expected
    assert wrong == {}


MERGE = (
    "MERGE INTO child USING parent ON parent.id = child.id WHEN MATCHED THEN UPDATE SET note = name "
    "WHEN NOT MATCHED THEN INSERT (id) VALUES (parent.id)"
)
PAST_US = """
import psycopg2.extensions as pg
with pg.connection.cursor(db._adapter.connection, cursor_factory=pg.cursor) as cursor:
    cursor.execute("UPDATE child SET note = 1")
"""

P, C, L = "public.parent", "public.child", "public.log"

# What a body uses and writes, puts rows into, looks up, and calls; with rows to be met, and without.
USES = [
    ("read", "SELECT name FROM parent WHERE id = 1", {f"{P}.name", f"{P}.id"}, set(), set(), set(), set()),
    ("count", "SELECT count(*) FROM parent", {f"{P}.*"}, set(), set(), set(), set()),
    ("update", "UPDATE child SET note = 'x' WHERE id = 1", {f"{C}.note", f"{C}.id"}, {f"{C}.note"}, set(), set(), set()),
    ("update-of-nothing", "UPDATE log SET more = what", {f"{L}.more", f"{L}.what"}, {f"{L}.more"}, set(), set(), set()),
    ("insert", "INSERT INTO log (what) VALUES (1)", {f"{L}.what"}, set(), {L}, set(), set()),
    ("delete", "DELETE FROM log WHERE what = 9", {f"{L}.what"}, {f"{L}.*"}, set(), set(), set()),
    ("upsert", "INSERT INTO parent VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = excluded.name",
     {f"{P}.id", f"{P}.name"}, {f"{P}.name"}, {P}, set(), set()),
    ("with", "WITH n AS (UPDATE log SET more = 1 RETURNING what) INSERT INTO child (id) SELECT what FROM n",
     {f"{L}.more", f"{L}.what", f"{C}.id"}, {f"{L}.more"}, {C}, set(), set()),
    ("merge", MERGE,
     {f"{P}.id", f"{P}.name", f"{C}.id", f"{C}.note"}, {f"{C}.note"}, {C}, set(), set()),
    ("view", "SELECT name FROM names2", {"public.names2.name", "public.names.name", f"{P}.name", f"{P}.id"},
     set(), set(), set(), set()),
    ("update-through-view", "UPDATE names SET name = 'x'", {"public.names.name", f"{P}.name", f"{P}.id"},
     {"public.names.name", f"{P}.name", f"{P}.id"}, set(), set(), set()),
    ("do", "DO $$ BEGIN UPDATE child SET note = 'x'; PERFORM what FROM log; END $$", {f"{C}.*", f"{L}.*"}, {f"{C}.*"}, set(), set(), set()),
    ("do-insert", "DO $$ BEGIN INSERT INTO log (what) VALUES (1); END $$", set(), set(), {L}, set(), set()),
    ("function", "SELECT reads()", {f"{L}.*"}, set(), set(), set(), {"function public.reads()"}),
    ("trigger", "UPDATE noisy SET a = 2", {"public.noisy.a"}, {"public.noisy.a"}, {L}, set(), set()),
    ("key", "INSERT INTO ref VALUES (1)", {"public.ref.parent"}, set(), {"public.ref"}, {P}, set()),
    ("select-for-update", "SELECT id FROM parent FOR UPDATE", {f"{P}.id"}, set(), set(), {P}, set()),
    ("cascade", "DELETE FROM top WHERE id = 1", {"public.top.id", "public.below.*"}, {"public.top.*", "public.below.*"}, set(), set(), set()),
    ("copy", "import io; db._adapter.cursor.copy_expert('COPY log (what) FROM STDIN', io.StringIO('1\\n'))", set(), set(), {L}, set(), set()),
    ("copy-out", "import io; db._adapter.cursor.copy_expert('COPY child TO STDOUT', io.StringIO())", {f"{C}.*"}, set(), set(), set(), set()),
    ("truncate", "TRUNCATE log", set(), {f"{L}.*"}, set(), set(), set()),
    ("table-of-rows", "CREATE TABLE made AS SELECT note FROM child", {f"{C}.*"}, set(), set(), set(), set()),
    ("table-of-view", "CREATE TABLE made2 AS SELECT * FROM names", {f"{P}.*"}, set(), set(), set(), set()),
    ("refresh", "REFRESH MATERIALIZED VIEW held", {f"{C}.note"}, set(), set(), set(), set()),
    ("matview-is-no-reading-of-its-base", "SELECT note FROM held", {"public.held.note"}, set(), set(), set(), set()),
    ("type", "SELECT 'red'::colour, nextval('counter')", set(), set(), set(), set(), {"type public.colour", "sequence public.counter"}),
    ("proof", "ALTER TABLE child ALTER COLUMN id SET NOT NULL", set(), set(), set(), set(), set()),
    ("index-reads-nothing", "CREATE INDEX ON child (note)", set(), set(), set(), set(), set()),
    ("prepared", "db.executesql('PREPARE p AS UPDATE child SET note = 1')\ndb.executesql('EXECUTE p')", {f"{C}.*"}, {f"{C}.*"}, set(), set(), set()),
    ("again-and-again", "for n in range(3): db.executesql('INSERT INTO noisy VALUES (%s)', (n,))", {"public.noisy.a"}, set(),
     {"public.noisy"}, set(), set()),
    ("again-and-otherwise", "for n in range(3): db.executesql('SELECT perhaps(%s)', (n,))", {f"{L}.*"}, set(), set(), set(),
     {"function public.perhaps(n integer)"}),
    ("past-us", PAST_US, {f"{C}.*"}, {f"{C}.*"}, set(), set(), set()),
    ("own-commits", "db.executesql('UPDATE child SET note = 1'); db.commit(); db.executesql('SELECT what FROM log')",
     {f"{C}.note", f"{L}.what"}, {f"{C}.note"}, set(), set(), set()),
]  # fmt: skip

MORE = """
CREATE FUNCTION reads() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM log); END';
CREATE FUNCTION perhaps(n int) RETURNS bigint LANGUAGE plpgsql
  AS 'BEGIN IF n = 2 THEN RETURN (SELECT count(*) FROM log); END IF; RETURN 0; END';
CREATE TABLE noisy (a int); INSERT INTO noisy VALUES (1);
CREATE TRIGGER t AFTER UPDATE ON noisy FOR EACH ROW EXECUTE FUNCTION peep();
CREATE TABLE ref (parent int REFERENCES parent);
CREATE TABLE top (id int PRIMARY KEY); CREATE TABLE below (top int REFERENCES top ON DELETE CASCADE);
INSERT INTO top VALUES (1); INSERT INTO below VALUES (1);
CREATE MATERIALIZED VIEW held AS SELECT note FROM child
"""


@pytest.mark.postgres
@pytest.mark.parametrize("mode", ["own", "single", "none"])
def test_what_is_used_is_what_the_server_resolves_and_what_that_sets_off(
    stand: VerifyStand, postgres_admin_uri: str, mode: str
) -> None:
    # Of a transaction that is over nothing is left to be seen: what is set off outside of any is not known, and said where it is likely.
    alone = {
        "read",
        "count",
        "update",
        "update-of-nothing",
        "insert",
        "delete",
        "upsert",
        "with",
        "merge",
        "type",
        "proof",
        "truncate",
    }
    cases = [
        case
        for case in USES
        if mode == "own"
        or (mode == "single" and case[0] not in {"own-commits", "past-us"})
        or case[0] in alone - {"truncate"}
    ]
    stand.write(migrations(GROUND + ";" + MORE) + "".join(
        f"\n\n@migration(requires='m1', transaction={mode!r})\ndef u{n}(db):\n"
        + "".join(f"    {line}\n" for line in (body if "db." in body else f"db.executesql({body!r})").splitlines()) + "    return True\n"
        for n, (_, body, *_) in enumerate(cases)
    ))  # fmt: skip
    with bystanding(postgres_admin_uri):
        watched = stand.watch()
    assert not watched.failed, watched.failed
    wrong = {}
    for n, (name, _, *expected) in enumerate(cases):
        seen = watched.footprints[f"u{n}"]
        found = [set(seen.uses), set(seen.writes), set(seen.inserts), set(seen.checked), words(seen.calls)]
        if found != expected:
            wrong[name] = [(left - right, right - left) for left, right in zip(found, expected, strict=True)]
    assert wrong == {}


LOST = [
    ("DROP VIEW names2", {"column public.names.name"}),
    ("CREATE OR REPLACE VIEW names AS SELECT id, text 'x' AS name FROM parent", {"column public.parent.name"}),
    ("CREATE TABLE k (a int DEFAULT one(1), c colour, p int REFERENCES parent)", set()),
    ("ALTER TABLE k DROP COLUMN c", {"type public.colour"}),
    ("ALTER TABLE k ALTER COLUMN a DROP DEFAULT", {"function public.one(x integer)"}),
    ("ALTER TABLE k DROP CONSTRAINT k_p_fkey", {"column public.k.p", "column public.parent.id", "constraint public.parent.parent_pkey"}),
    ("DROP VIEW names", {"column public.parent.id"}),
    ("ALTER TABLE parent RENAME TO elder", set()),
    ("CREATE VIEW names AS SELECT id FROM elder", set()),
    # the same view anew hangs on what it hung on: nothing is let go
    ("DROP VIEW names; CREATE VIEW names AS SELECT id FROM elder", set()),
    ("DROP VIEW names; DROP TABLE k; DROP TABLE elder", {"column public.elder.id"}),
]  # fmt: skip


@pytest.mark.postgres
def test_what_goes_lets_go_of_what_it_hung_on(stand: VerifyStand) -> None:
    seen = stand.footprints(GROUND, *(sql for sql, _ in LOST))
    wrong = {
        sql: words(seen[f"m{number}"].lost) ^ expected
        for number, (sql, expected) in enumerate(LOST, 2)
        if words(seen[f"m{number}"].lost) != expected
    }
    assert wrong == {}
    remade = seen[f"m{len(LOST)}"]
    assert (remade.added, remade.changed, remade.removed) == (frozenset(), frozenset(), frozenset())
    assert words(remade.hangs) == {"column public.elder.id"}
    assert "public.ewh_implemented_features" not in str(seen)


@pytest.mark.postgres
def test_a_manager_s_view_that_comes_up_as_it_was_hangs_on_what_it_reads(stand: VerifyStand) -> None:
    stand.write("""
from migrate_graph import ViewMigrationManager, migration


class Names(ViewMigrationManager):
    since = "m1"

    def up(self):
        self.db.executesql("CREATE VIEW names AS SELECT a FROM t")

    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS names")


@migration
def m1(db):
    db.executesql("CREATE TABLE t (a int, b int)")
    with Names(db):
        pass
    return True


@migration(requires=m1)
def m2(db):
    with Names(db):
        db.executesql("ALTER TABLE t DROP COLUMN b")
    return True
""")
    seen = stand.watch().footprints
    assert words(seen["m1"].hangs) == set()
    assert words(seen["m2"].removed) == {"column public.t.b"}
    assert words(seen["m2"].hangs) == {"column public.t.a", "table public.t"}
    assert words(seen["m2"].lost) == set()


@pytest.mark.postgres
def test_partitions_and_pydal_s_own_words(stand: VerifyStand) -> None:
    seen = stand.footprints(
        "CREATE TABLE p (d date, n int) PARTITION BY RANGE (d)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
        "db.executesql(\"INSERT INTO p VALUES ('2026-02-02', 1)\"); db.executesql('UPDATE p SET n = 2')",
        "CREATE TABLE gadget (id serial PRIMARY KEY, name varchar(512))",
        "from pydal import Field; db.define_table('gadget', Field('name'))\n"
        "db.gadget.insert(name='x'); db(db.gadget.name == 'x').update(name='y')",
    )
    assert words(seen["m2"].hangs) == {"table public.p"}
    assert seen["m3"].uses == {"public.p.d", "public.p.n", "public.p1.*"}
    assert seen["m3"].writes == {"public.p.n", "public.p1.*"}
    assert seen["m3"].inserts == {"public.p", "public.p1"}
    assert seen["m5"].uses == {"public.gadget.id", "public.gadget.name"}
    assert (seen["m5"].writes, seen["m5"].inserts) == ({"public.gadget.name"}, {"public.gadget"})
