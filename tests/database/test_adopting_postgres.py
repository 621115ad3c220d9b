"""What is written of changes by hand on PostgreSQL makes another database the same, or says what it leaves out."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg2
import pytest
from servers import PostgresServer

from migrate_graph.core.adopting import Adoption
from migrate_graph.core.footprint import Fact
from migrate_graph.database import Settings, open_backend
from migrate_graph.workflow.drift import look

pytestmark = pytest.mark.postgres

BASE = """
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE customer (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, email text, nr int);
CREATE INDEX customer_email ON customer (email);
CREATE TABLE parent (a int, b text, n int); CREATE TABLE child (c int) INHERITS (parent);
CREATE TABLE ev (id bigint, at date NOT NULL, note text, customer bigint REFERENCES customer, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE INDEX ev_customer ON ev (customer);
CREATE TABLE a_2026 PARTITION OF ev FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE FUNCTION helper(int) RETURNS int LANGUAGE sql AS $$ SELECT $1 $$;
CREATE TRIGGER ev_touch BEFORE INSERT ON ev FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER c_touch BEFORE INSERT ON customer FOR EACH ROW EXECUTE FUNCTION touch();
CREATE VIEW a_view AS SELECT id, name FROM customer;
CREATE VIEW b_view AS SELECT id, name FROM a_view;
"""


def run(uri: str, statements: str) -> None:
    with closing(psycopg2.connect(uri)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statements)


def adopted(uri: str, by_hand: str) -> tuple[Adoption, dict[Fact, str], dict[Fact, str]]:
    """Change a database by hand; return what is written of it, what it is made of, and what another one is made of where that has run."""

    def facts(backend: Any) -> dict[Fact, str]:
        found = backend.read_inventory().facts.items()
        return {
            fact: each.definition for fact, each in found if not fact.identity.endswith("public")
        }  # the schema itself

    run(uri, BASE)
    with open_backend(Settings(uri), writing=True) as backend:
        backend.prepare()
        backend.store_inventory(run="r")
        run(uri, by_hand)
        drift = look(backend, backend.read_history())
        assert drift.changes, drift.unknown
        adoption = backend.adoption_of(drift.changes, managers={})
        here = facts(backend)
    run(uri, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    run(uri, BASE)
    for statement in adoption.statements:
        run(uri, statement)
    with open_backend(Settings(uri)) as backend:
        return adoption, here, facts(backend)


WHOLE = {
    "a partition": "CREATE TABLE ev_2027 PARTITION OF ev FOR VALUES FROM ('2027-01-01') TO ('2028-01-01') PARTITION BY HASH (id);"
    "CREATE TABLE ev_2027a PARTITION OF ev_2027 FOR VALUES WITH (MODULUS 1, REMAINDER 0); CREATE INDEX own ON ev_2027a (note)",
    "a table becomes a partition": "CREATE TABLE evx (id bigint NOT NULL, at date NOT NULL, note text, customer bigint);"
    "ALTER TABLE ev ATTACH PARTITION evx FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')",
    "what a partitioned table has": "CREATE INDEX ev_note ON ev (note); ALTER TABLE ev ADD COLUMN extra int DEFAULT 3;"
    "ALTER TABLE ev ADD CHECK (id > 0), ADD UNIQUE (customer, at), ALTER note SET NOT NULL, ALTER note TYPE varchar(40);"
    "CREATE TRIGGER t2 AFTER UPDATE ON ev FOR EACH ROW EXECUTE FUNCTION touch();"
    "ALTER TABLE ev ADD FOREIGN KEY (extra) REFERENCES customer",
    "what a partitioned table has no more": "DROP INDEX ev_customer; DROP TRIGGER ev_touch ON ev; ALTER TABLE ev DROP COLUMN customer;"
    "ALTER TABLE ev DROP CONSTRAINT ev_pkey",
    "what a partitioned table has otherwise": "ALTER TABLE ev DROP CONSTRAINT ev_customer_fkey; ALTER TABLE ev ADD CONSTRAINT ev_customer_fkey "
    "FOREIGN KEY (customer) REFERENCES customer ON DELETE CASCADE; DROP INDEX ev_customer; CREATE INDEX ev_customer ON ev (customer DESC)",
    "what a parent has": "ALTER TABLE parent ADD COLUMN z int, ADD CHECK (a > 3), DROP COLUMN b, ALTER n TYPE bigint",
    "what its statement does not say": "CREATE TABLE q (a int NOT NULL, b int, UNIQUE (b) WITH (fillfactor = 60));"
    "ALTER TABLE q ENABLE ROW LEVEL SECURITY;"
    "ALTER TABLE q FORCE ROW LEVEL SECURITY; ALTER TABLE q REPLICA IDENTITY FULL; CREATE POLICY p ON q USING (a > 1);"
    "CREATE INDEX ex ON q (lower(CAST(a AS text))); ALTER INDEX ex ALTER COLUMN 1 SET STATISTICS 500; ALTER TABLE q CLUSTER ON ex;"
    "ALTER TABLE customer CLUSTER ON customer_email;"
    "CREATE TRIGGER x BEFORE UPDATE ON customer FOR EACH ROW EXECUTE FUNCTION touch(); ALTER TABLE customer ENABLE REPLICA TRIGGER x;"
    "ALTER TABLE customer ENABLE ALWAYS TRIGGER c_touch; CREATE RULE r AS ON DELETE TO q DO INSTEAD NOTHING; ALTER TABLE q DISABLE RULE r;"
    "CREATE MATERIALIZED VIEW mv WITH (fillfactor = 50) AS SELECT id FROM customer",
    "an identity with a start": "CREATE TABLE q (a int GENERATED BY DEFAULT AS IDENTITY (START WITH 1000 INCREMENT BY 5 CYCLE), b int)",
    "types that widen": "ALTER TABLE customer ALTER nr TYPE bigint, ALTER email TYPE varchar(90)",
    "a view with more columns": "CREATE OR REPLACE VIEW a_view AS SELECT id, name, email FROM customer",
    "views that lose a column": "DROP VIEW b_view; DROP VIEW a_view; CREATE VIEW a_view AS SELECT id FROM customer;"
    "CREATE VIEW b_view AS SELECT id FROM a_view",
    "views that are gone": "DROP VIEW b_view; DROP VIEW a_view",
    "functions that need each other": "CREATE FUNCTION zz(int) RETURNS int LANGUAGE sql AS 'SELECT $1';"
    "CREATE FUNCTION aa(int) RETURNS int LANGUAGE sql AS 'SELECT zz($1)'; CREATE TABLE q (x int DEFAULT aa(3));"
    "DROP FUNCTION helper(int); CREATE FUNCTION helper(int) RETURNS text LANGUAGE sql AS 'SELECT ''x'''",
    "keys in a circle, and a view that needs one": "CREATE TABLE x (id int PRIMARY KEY, y int);"
    "CREATE TABLE y (id int PRIMARY KEY, x int REFERENCES x);"
    "ALTER TABLE x ADD FOREIGN KEY (y) REFERENCES y; CREATE VIEW a0 AS SELECT id, y FROM x GROUP BY id",
}  # fmt: skip


SINCE_18 = {
    "a not null that is not valid": "ALTER TABLE customer ADD CONSTRAINT email_there NOT NULL email NOT VALID;"
    "CREATE TABLE q (a int, b int NOT NULL); ALTER TABLE q ADD CONSTRAINT a_there NOT NULL a NOT VALID;"
    "ALTER TABLE ev ADD CONSTRAINT note_there NOT NULL note NOT VALID",
    "a virtual column": "ALTER TABLE customer ADD COLUMN v int GENERATED ALWAYS AS (nr + 1) VIRTUAL NOT NULL",
    "constraints that are not enforced": "ALTER TABLE customer ADD CHECK (nr > 0) NOT ENFORCED;"
    "ALTER TABLE parent ADD COLUMN d bigint CONSTRAINT of_one REFERENCES customer NOT ENFORCED",
    "keys of periods": "CREATE TABLE room (id int4range, at daterange, PRIMARY KEY (id, at WITHOUT OVERLAPS));"
    "CREATE TABLE stay (room int4range, at daterange, FOREIGN KEY (room, PERIOD at) REFERENCES room (id, PERIOD at))",
}


@pytest.mark.parametrize("case", SINCE_18)
def test_so_does_what_came_with_postgresql_18(postgres_uri: str, postgres_server: PostgresServer, case: str) -> None:
    if postgres_server.version < 180000:
        pytest.skip("PostgreSQL 18 was the first to know it")
    adoption, here, there = adopted(postgres_uri, SINCE_18[case])
    assert adoption.left == ()
    assert there == here
    assert "\n".join(adoption.statements).count("NOT VALID") == SINCE_18[case].count("NOT VALID")


def test_a_not_null_is_written_with_its_name(postgres_uri: str, postgres_server: PostgresServer) -> None:
    """Another migration may drop it by that; before PostgreSQL 18 it had none."""
    by_hand = "CREATE TABLE q (a int CONSTRAINT a_there NOT NULL, b int NOT NULL, c int)"
    adoption, here, there = adopted(postgres_uri, by_hand)
    assert there == here
    named = " CONSTRAINT a_there" if postgres_server.version >= 180000 else ""
    assert f"a integer{named} NOT NULL,\n    b integer NOT NULL,\n    c integer\n" in adoption.statements[0]


@pytest.mark.parametrize("case", WHOLE)
def test_what_is_written_makes_another_database_the_same(postgres_uri: str, case: str) -> None:
    adoption, here, there = adopted(postgres_uri, WHOLE[case])
    assert adoption.left == ()
    assert there == here


SAID = {
    "ALTER TABLE customer ALTER id SET INCREMENT BY 7": "sequence public.customer_id_seq",
    "CREATE TABLE q (a text) WITH (toast.autovacuum_enabled = off)": "table public.q: no statement says its options of its toast table",
    "CREATE TABLE q (a text); ALTER TABLE q ALTER a SET STORAGE external": "table public.q: no statement says its settings of columns (a)",
    "ALTER TABLE customer ADD x int; ALTER TABLE customer ALTER x SET STATISTICS 9": "column public.customer.x: no statement says its settings",
    "CREATE TABLE q PARTITION OF ev (note DEFAULT 'x') DEFAULT": "table public.q: no statement says its own defaults of columns",
    "ALTER TABLE ev DETACH PARTITION a_2026": "table public.a_2026: nothing here writes",
}


@pytest.mark.parametrize("by_hand", SAID)
def test_what_is_not_written_is_said_and_what_is_written_can_run(postgres_uri: str, by_hand: str) -> None:
    adoption, here, there = adopted(postgres_uri, by_hand)
    assert here != there
    [(fact, why)] = adoption.left
    assert f"{fact.kind} {fact.identity}: {why}".startswith(SAID[by_hand])


@pytest.mark.parametrize(
    ("by_hand", "lost"),
    [
        ("ALTER TABLE customer RENAME nr TO number", "the values"),
        ("CREATE TABLE q (a int)\n; DROP TABLE q; ALTER TABLE parent RENAME b TO bb", "the values"),
        ("ALTER TABLE child RENAME TO kid", "the rows"),
    ],
)
def test_what_may_have_been_renamed_is_not_dropped(postgres_uri: str, by_hand: str, lost: str) -> None:
    adoption, _, _ = adopted(postgres_uri, by_hand)
    assert not [each for each in adoption.statements if "DROP TABLE" in each or "DROP COLUMN" in each]
    assert len(adoption.left) == 2
    assert all("may have been renamed" in why and lost in why for _, why in adoption.left)


CONVERTED = {
    "a text with a default": (
        "ALTER TABLE typed ALTER word DROP DEFAULT, ALTER word TYPE int USING 3, ALTER word SET DEFAULT 5",
        "word",
    ),
    "a text without its default": (
        "ALTER TABLE typed ALTER word DROP DEFAULT, ALTER word TYPE mood USING 'ok'",
        "word",
    ),
    "a number that loses its fraction": ("ALTER TABLE typed ALTER amount TYPE bigint", "amount"),
    "a number that is rounded": ("ALTER TABLE typed ALTER amount TYPE numeric(10,1)", "amount"),
    "a time that becomes a day": ("ALTER TABLE typed ALTER seen TYPE date", "seen"),
    "an odd name": ('ALTER TABLE typed ALTER "a default b" TYPE date USING NULL', '"a default b"'),
}
TYPED = "CREATE TABLE typed (word text NOT NULL DEFAULT '1', amount numeric(10,4), seen timestamp, \"a default b\" text, bystander text)"


@pytest.mark.parametrize("case", CONVERTED)
def test_a_type_whose_values_need_a_cast_is_written_with_it_and_said(
    postgres_uri: str, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand, column = CONVERTED[case]
    monkeypatch.setitem(globals(), "BASE", f"{BASE};{TYPED}")
    adoption, here, there = adopted(postgres_uri, by_hand)
    assert there == here
    [(fact, why)] = adoption.left
    assert (fact.identity, "look whether that keeps" in why) == (f"public.typed.{column}", True)


TYPES = [
    "CREATE DOMAIN positive AS int CHECK (VALUE > 0)",
    "ALTER DOMAIN given ADD CONSTRAINT small CHECK (VALUE < 9)",
    "ALTER DOMAIN given DROP CONSTRAINT low",
    "DROP DOMAIN given; CREATE DOMAIN given AS bigint CONSTRAINT low CHECK (VALUE > 0)",
    "CREATE TYPE pair AS (a int, b text)",
    "CREATE TYPE span AS RANGE (subtype = float8)",
    "ALTER TYPE mood ADD VALUE 'fine'",
]


@pytest.mark.parametrize("by_hand", TYPES)
def test_types_that_no_statement_makes_are_said(
    postgres_uri: str, by_hand: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "BASE", f"{BASE};CREATE DOMAIN given AS int CONSTRAINT low CHECK (VALUE > 0)")
    adoption, _, _ = adopted(postgres_uri, by_hand)
    assert adoption.statements == ()
    assert adoption.left
    assert all("write it by hand" in why for _, why in adoption.left)


DRESSED = """
CREATE POLICY seen ON customer USING (nr > 1); COMMENT ON POLICY seen ON customer IS 'p'; COMMENT ON TRIGGER c_touch ON customer IS 't';
CREATE VIEW solo AS SELECT id, name, nr FROM customer; GRANT SELECT, UPDATE ON solo TO pg_monitor WITH GRANT OPTION;
COMMENT ON VIEW solo IS 's'; COMMENT ON COLUMN solo.nr IS 'n'; GRANT SELECT (nr) ON solo TO PUBLIC; ALTER VIEW solo ALTER nr SET DEFAULT 5;
CREATE RULE none AS ON DELETE TO solo DO INSTEAD NOTHING; COMMENT ON RULE none ON solo IS 'r';
CREATE TRIGGER solo_touch INSTEAD OF INSERT ON solo FOR EACH ROW EXECUTE FUNCTION touch();
CREATE MATERIALIZED VIEW kept AS SELECT id, nr FROM solo; CREATE UNIQUE INDEX kept_id ON kept (id); COMMENT ON INDEX kept_id IS 'i';
GRANT SELECT ON kept TO pg_monitor; CREATE VIEW above AS SELECT id FROM kept; COMMENT ON VIEW above IS 'a'; GRANT SELECT ON above TO PUBLIC;
CREATE VIEW said AS SELECT CAST(nr AS text) AS nr FROM customer; GRANT SELECT ON said TO pg_monitor;
REVOKE ALL ON FUNCTION helper FROM PUBLIC; GRANT EXECUTE ON FUNCTION helper TO pg_monitor; COMMENT ON FUNCTION helper IS 'h';
CREATE VIEW helped AS SELECT CAST(helper(1) AS text) AS x; ALTER TABLE customer ADD CONSTRAINT big CHECK (nr > 0);
COMMENT ON CONSTRAINT big ON customer IS 'c'; CREATE DOMAIN given AS int; CREATE TABLE typed (m mood DEFAULT 'ok', g given);
CREATE SEQUENCE counted; ALTER TABLE typed ADD n int DEFAULT nextval('counted');
CREATE TYPE pair AS (a int, b text); COMMENT ON COLUMN pair.a IS 'x'; CREATE TYPE span AS RANGE (subtype = float8);
CREATE DOMAIN low AS int CHECK (VALUE < 9);
"""
ANEW = {
    "a column has another name": "ALTER VIEW solo RENAME nr TO number",
    "columns change places": "DROP VIEW above; DROP MATERIALIZED VIEW kept; DROP VIEW solo; CREATE VIEW solo AS SELECT id, nr, name FROM customer;"
    "CREATE MATERIALIZED VIEW kept AS SELECT id, nr FROM solo; CREATE VIEW above AS SELECT id FROM kept",
    "a column has another type": "DROP VIEW above; DROP MATERIALIZED VIEW kept; CREATE MATERIALIZED VIEW kept AS SELECT CAST(id AS text), nr FROM solo;"
    "CREATE VIEW above AS SELECT id FROM kept",
    "a materialized view has another name": "ALTER MATERIALIZED VIEW kept RENAME nr TO number",
    "a table below has another type": "DROP VIEW said; ALTER TABLE customer ALTER email TYPE varchar(9); CREATE VIEW said AS SELECT "
    "CAST(nr AS text) AS nr FROM customer; GRANT SELECT ON said TO pg_monitor; CREATE OR REPLACE VIEW a_view AS SELECT id, name FROM customer",
    "a view reads nothing of what is gone": "CREATE OR REPLACE VIEW b_view AS SELECT id, name FROM customer; DROP VIEW a_view",
    "a view reads a new one": "CREATE VIEW z_view AS SELECT id, name FROM customer; CREATE OR REPLACE VIEW a_view AS SELECT id, name FROM z_view",
    "a view is a materialized one now": "DROP VIEW said; CREATE MATERIALIZED VIEW said AS SELECT nr FROM customer",
    "a view over a materialized one": "CREATE MATERIALIZED VIEW m AS SELECT id FROM customer; CREATE VIEW a0 AS SELECT id FROM m",
    "views over each other are gone": "DROP VIEW above; DROP MATERIALIZED VIEW kept; DROP VIEW solo",
    "a function returns something else": "DROP VIEW helped; DROP FUNCTION helper; CREATE FUNCTION helper(int) RETURNS bigint LANGUAGE sql AS "
    "'SELECT 1::bigint'; CREATE VIEW helped AS SELECT CAST(helper(1) AS text) AS x; COMMENT ON FUNCTION helper IS 'h';"
    "REVOKE ALL ON FUNCTION helper FROM PUBLIC; GRANT EXECUTE ON FUNCTION helper TO pg_monitor",
    "what has a comment": "DROP POLICY seen ON customer; CREATE POLICY seen ON customer USING (nr > 2); COMMENT ON POLICY seen ON customer IS 'p';"
    "ALTER TABLE customer DISABLE TRIGGER c_touch; ALTER TABLE customer DROP CONSTRAINT big, ADD CONSTRAINT big CHECK (nr > 1);"
    "COMMENT ON CONSTRAINT big ON customer IS 'c'",
    "comments": "COMMENT ON VIEW solo IS NULL; COMMENT ON TRIGGER c_touch ON customer IS 'tt'; COMMENT ON COLUMN pair.a IS NULL;"
    "COMMENT ON CONSTRAINT big ON customer IS NULL; COMMENT ON RULE none ON solo IS 'rr'; COMMENT ON INDEX kept_id IS NULL",
    "types that are gone": "DROP TYPE pair; DROP TYPE span; DROP DOMAIN low; COMMENT ON FUNCTION helper IS NULL",
    "what a column does not use any more": "ALTER TABLE typed ALTER n DROP DEFAULT; DROP SEQUENCE counted; ALTER TABLE typed DROP m; DROP TYPE mood",
}  # fmt: skip


@pytest.mark.parametrize("case", ANEW)
def test_what_is_made_anew_loses_nothing(postgres_uri: str, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "BASE", f"{BASE};{DRESSED}")
    adoption, here, there = adopted(postgres_uri, ANEW[case])
    assert [each for each in adoption.left if "a cast" not in each[1]] == []
    assert there == here
    assert not any("CASCADE" in statement for statement in adoption.statements)


def test_a_view_is_replaced_where_that_is_enough(postgres_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "BASE", f"{BASE};{DRESSED}")
    by_hand = "CREATE OR REPLACE VIEW solo AS SELECT id, name, nr, email FROM customer WHERE nr > 2"
    adoption, here, there = adopted(postgres_uri, by_hand)
    [statement] = adoption.statements
    assert (statement.split(" AS")[0], there) == ("CREATE OR REPLACE VIEW public.solo", here)


@pytest.mark.parametrize(
    ("needs", "told"),
    [
        (
            "CREATE POLICY p ON parent USING (EXISTS (SELECT FROM above WHERE id = a))",
            "policy p on table public.parent",
        ),
        (
            "CREATE FUNCTION taking(above) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "function public.taking(public.above)",
        ),
    ],
)
def test_a_view_that_something_else_needs_is_not_dropped(
    postgres_uri: str, needs: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "BASE", f"{BASE};{DRESSED};{needs}")
    adoption, _, _ = adopted(postgres_uri, "ALTER VIEW solo RENAME nr TO number; CREATE INDEX byst ON customer (name)")
    assert [statement[:12] for statement in adoption.statements] == ["CREATE INDEX"]
    assert {fact.identity for fact, _ in adoption.left} >= {"public.solo"}
    assert f"{told} needs public.above, which would have to be dropped" in {why for _, why in adoption.left}


def test_an_owner_is_named(postgres_uri: str, postgres_admin_uri: str) -> None:
    database = postgres_uri.rpartition("/")[2]
    admin = f"{postgres_admin_uri.rpartition('/')[0]}/{database}"
    run(postgres_uri, BASE)
    with open_backend(Settings(postgres_uri), writing=True) as backend:
        backend.prepare()
        backend.store_inventory(run="r")
        run(admin, "CREATE TABLE public.theirs (a int); ALTER VIEW public.b_view OWNER TO postgres")
        adoption = backend.adoption_of(look(backend, backend.read_history()).changes, managers={})
    assert [statement[:12] for statement in adoption.statements] == ["CREATE TABLE"]
    told = {fact.identity: why for fact, why in adoption.left if fact.kind != "grants"}
    assert told == {
        "public.theirs": "no statement says its owner (postgres): write that by hand",
        "public.b_view": "nothing here writes a statement for it: write it by hand",
    }


def test_what_the_role_may_not_look_at_is_left_and_the_rest_is_written(
    postgres_uri: str, postgres_admin_uri: str
) -> None:
    admin = f"{postgres_admin_uri.rpartition('/')[0]}/{postgres_uri.rpartition('/')[2]}"
    run(postgres_uri, f"{BASE};{DRESSED}")
    run(admin, "CREATE SCHEMA hidden; CREATE VIEW hidden.reads AS SELECT id FROM public.said AS s(id)")
    with open_backend(Settings(postgres_uri), writing=True) as backend:
        backend.prepare()
        backend.store_inventory(run="r")
        run(admin, "CREATE TABLE hidden.theirs (a int); CREATE INDEX byhand ON public.customer (name)")
        run(postgres_uri, "ALTER VIEW said RENAME nr TO number; ALTER VIEW solo RENAME nr TO number")
        adoption = backend.adoption_of(look(backend, backend.read_history()).changes, managers={})
    told = {fact.identity: why for fact, why in adoption.left}
    assert "may not look into its schema" in told["hidden.theirs"]
    assert "may not look into the schema of hidden.reads" in told["public.said"]
    assert "public.solo" not in told
    assert any("VIEW public.solo" in statement for statement in adoption.statements)
    assert any("INDEX byhand" in statement for statement in adoption.statements)
    assert not any("said" in statement for statement in adoption.statements)
