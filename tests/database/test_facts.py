"""What a database is made of: facts are equal exactly when `pg_dump --schema-only` writes the same, whatever kind of thing changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from rehearsal_stand import dump, run
from servers import PostgresServer

from migrate_graph.core.footprint import Fact
from migrate_graph.database.postgres.facts.query import (
    OF_ONE_DATABASE,
    SETTINGS,
    counting,
    facts_query,
    with_numbers,
)
from migrate_graph.database.postgres.facts.reading import Difference, Facts
from migrate_graph.database.postgres.rehearsal.locks_and_counters import read_counters

pytestmark = pytest.mark.postgres

GROUND = """
CREATE SCHEMA side;
CREATE TABLE t (id serial PRIMARY KEY, a int, b varchar(10), c text NOT NULL DEFAULT 'x');
CREATE TABLE child (id int PRIMARY KEY, t int REFERENCES t);
CREATE TABLE heir () INHERITS (t);
CREATE TABLE parts (id int, at date) PARTITION BY RANGE (at);
CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE loose (id int, at date);
CREATE VIEW v AS SELECT id, a FROM t;
CREATE MATERIALIZED VIEW m AS SELECT a FROM t;
CREATE INDEX t_a ON t (a);
CREATE SEQUENCE s;
CREATE TYPE mood AS ENUM ('calm');
CREATE TYPE pair AS (one int, two text);
CREATE DOMAIN short AS text CHECK (length(VALUE) < 5);
CREATE FUNCTION f(x int) RETURNS int LANGUAGE sql AS 'SELECT x';
CREATE PROCEDURE p() LANGUAGE sql AS '';
CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION etf() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION tf();
CREATE FUNCTION near(t, t) RETURNS bool LANGUAGE sql AS 'SELECT $1.id = $2.id';
CREATE FOREIGN DATA WRAPPER fdw;
CREATE SERVER srv FOREIGN DATA WRAPPER fdw;
CREATE TABLE u (a text, b text)
"""

CHANGES = {
    "a column": "ALTER TABLE t ADD COLUMN d int",
    "a column's type": "ALTER TABLE child ALTER COLUMN t TYPE bigint",
    "a column's length": "ALTER TABLE t ALTER COLUMN b TYPE varchar(20)",
    "a default": "ALTER TABLE t ALTER COLUMN c SET DEFAULT 'y'",
    "not null": "ALTER TABLE t ALTER COLUMN a SET NOT NULL",
    "the order of columns": "ALTER TABLE u DROP COLUMN a; ALTER TABLE u ADD COLUMN a text",
    "a column's name": "ALTER TABLE child RENAME COLUMN t TO parent",
    "a column's storage": "ALTER TABLE t ALTER COLUMN c SET STORAGE EXTERNAL",
    "a column's compression": "ALTER TABLE t ALTER COLUMN c SET COMPRESSION pglz",
    "a column's statistics": "ALTER TABLE t ALTER COLUMN c SET STATISTICS 77",
    "a column's options": "ALTER TABLE t ALTER COLUMN c SET (n_distinct = 5)",
    "a generated column": "ALTER TABLE u ADD COLUMN g text GENERATED ALWAYS AS (a || b) STORED",
    "an identity": "ALTER TABLE u ADD COLUMN n int GENERATED ALWAYS AS IDENTITY",
    "a collation of a column": 'ALTER TABLE u ALTER COLUMN a TYPE text COLLATE "C"',
    "a table": "CREATE TABLE new (a int)",
    "a table's name": "ALTER TABLE u RENAME TO w",
    "a table's schema": "ALTER TABLE u SET SCHEMA side",
    "a table's owner": "ALTER TABLE u OWNER TO app",
    "a table's options": "ALTER TABLE u SET (fillfactor = 50)",
    "unlogged": "ALTER TABLE u SET UNLOGGED",
    "row security": "ALTER TABLE u ENABLE ROW LEVEL SECURITY",
    "replica identity": "ALTER TABLE u REPLICA IDENTITY FULL",
    "the end of inheritance": "ALTER TABLE heir NO INHERIT t",
    "a partition": "ALTER TABLE parts ATTACH PARTITION loose FOR VALUES FROM ('2021-01-01') TO ('2022-01-01')",
    "the end of a partition": "ALTER TABLE parts DETACH PARTITION part_1",
    "an index": "CREATE INDEX ON t (b)",
    "the end of an index": "DROP INDEX t_a",
    "an index that orders the table": "CLUSTER t USING t_a",
    "a constraint": "ALTER TABLE t ADD CONSTRAINT positive CHECK (a > 0)",
    "a constraint that is not valid": "ALTER TABLE t ADD CONSTRAINT positive CHECK (a > 0) NOT VALID",
    "a deferrable reference": "ALTER TABLE child ALTER CONSTRAINT child_t_fkey DEFERRABLE INITIALLY DEFERRED",
    "the end of a key": "ALTER TABLE child DROP CONSTRAINT child_pkey",
    "a trigger": "CREATE TRIGGER again AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION tf()",
    "a trigger switched off": "ALTER TABLE t DISABLE TRIGGER tr",
    "a rule": "CREATE RULE r AS ON DELETE TO u DO INSTEAD NOTHING",
    "a policy": "CREATE POLICY mine ON u USING (a = CURRENT_USER)",
    "a view": "CREATE VIEW w AS SELECT 1 AS one",
    "a view's text": "CREATE OR REPLACE VIEW v AS SELECT id, a FROM t WHERE a > 0",
    "a view's options": "ALTER VIEW v SET (security_barrier = true)",
    "a view's default": "ALTER VIEW v ALTER COLUMN a SET DEFAULT 5",
    "a materialized view": "CREATE MATERIALIZED VIEW n AS SELECT 1 AS one",
    "a sequence": "CREATE SEQUENCE another",
    "a sequence's parameters": "ALTER SEQUENCE s INCREMENT 5 CACHE 3 CYCLE",
    "a sequence's owner": "ALTER SEQUENCE s OWNED BY u.a",
    "an enum's value": "ALTER TYPE mood ADD VALUE 'cross'",
    "a type": "CREATE TYPE other AS ENUM ('x')",
    "a type's name": "ALTER TYPE mood RENAME TO humour",
    "a composite's attribute": "ALTER TYPE pair ADD ATTRIBUTE three int",
    "a domain's constraint": "ALTER DOMAIN short ADD CONSTRAINT no_x CHECK (VALUE <> 'x')",
    "a domain's default": "ALTER DOMAIN short SET DEFAULT 'a'",
    "a range type": "CREATE TYPE floats AS RANGE (subtype = float8)",
    "a function": "CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "a function's body": "CREATE OR REPLACE FUNCTION f(x int) RETURNS int LANGUAGE sql AS 'SELECT x + 1'",
    "a function's settings": "ALTER FUNCTION f(int) SET search_path = public",
    "a function's owner": "ALTER FUNCTION f(int) OWNER TO app",
    "a procedure": "CREATE PROCEDURE q() LANGUAGE sql AS ''",
    "an aggregate": "CREATE AGGREGATE total (int) (SFUNC = int4pl, STYPE = int, INITCOND = '0')",
    "an operator": "CREATE OPERATOR === (LEFTARG = t, RIGHTARG = t, FUNCTION = near)",
    "a cast": "CREATE CAST (mood AS int) WITH INOUT",
    "an operator class": "CREATE OPERATOR CLASS odd FOR TYPE int USING hash AS OPERATOR 1 =, FUNCTION 1 hashint4(int)",
    "a collation": "CREATE COLLATION plain FROM \"C\"",
    "a text search configuration": "CREATE TEXT SEARCH CONFIGURATION mine (COPY = simple)",
    "an event trigger": "CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION etf()",
    "a publication": "CREATE PUBLICATION pub FOR TABLE t",
    "a foreign server": "CREATE SERVER other FOREIGN DATA WRAPPER fdw OPTIONS (host 'x')",
    "a foreign table": "CREATE FOREIGN TABLE far (a int) SERVER srv",
    "a user mapping": "CREATE USER MAPPING FOR app SERVER srv OPTIONS (name 'x')",
    "a statistics object": "CREATE STATISTICS ab ON a, b FROM t",
    "a schema": "CREATE SCHEMA more",
    "a schema's name": "ALTER SCHEMA side RENAME TO aside",
    "a schema's owner": "ALTER SCHEMA side OWNER TO app",
    "a language": "CREATE LANGUAGE mine HANDLER plpgsql_call_handler",
    "a grant": "GRANT SELECT ON t TO app",
    "a grant of a column": "GRANT SELECT (a) ON t TO app",
    "a grant on a schema": "GRANT USAGE ON SCHEMA side TO app",
    "a grant on a function": "REVOKE EXECUTE ON FUNCTION f(int) FROM PUBLIC",
    "a grant on a sequence": "GRANT USAGE ON SEQUENCE s TO app",
    "a grant on a type": "REVOKE USAGE ON TYPE mood FROM PUBLIC",
    "a grant on a server": "GRANT USAGE ON FOREIGN SERVER srv TO app",
    "default privileges": "ALTER DEFAULT PRIVILEGES IN SCHEMA side GRANT SELECT ON TABLES TO app",
    "a comment on a table": "COMMENT ON TABLE t IS 'said'",
    "a comment on a column": "COMMENT ON COLUMN t.a IS 'said'",
    "a comment on a constraint": "COMMENT ON CONSTRAINT t_pkey ON t IS 'said'",
    "a comment on a function": "COMMENT ON FUNCTION f(int) IS 'said'",
    "a comment on an index": "COMMENT ON INDEX t_a IS 'said'",
    "a comment on a schema": "COMMENT ON SCHEMA side IS 'said'",
    "a comment on a type": "COMMENT ON TYPE mood IS 'said'",
    "a comment on a trigger": "COMMENT ON TRIGGER tr ON t IS 'said'",
    "an extension": "CREATE EXTENSION vector",
    # and what is no change
    "rows": "INSERT INTO t (a) VALUES (1)",
    "the numbers of a sequence": "SELECT nextval('s')",
    "an analysis": "ANALYZE",
    "a privilege that everybody has": "GRANT EXECUTE ON FUNCTION f(int) TO PUBLIC",
    "a thing that came and went": "CREATE TABLE gone (a int); DROP TABLE gone",
}  # fmt: skip

SINCE_18 = {
    "a not null that is not valid": "ALTER TABLE t ADD CONSTRAINT a_there NOT NULL a NOT VALID",
    "a not null that is not valid, of a partition": "ALTER TABLE parts ADD CONSTRAINT id_there NOT NULL id NOT VALID",
    "a not null with a name": "ALTER TABLE t ADD CONSTRAINT a_there NOT NULL a",
    "a virtual column": "ALTER TABLE u ADD COLUMN g text GENERATED ALWAYS AS (a || b) VIRTUAL",
    "a constraint that is not enforced": "ALTER TABLE t ADD CONSTRAINT positive CHECK (a > 0) NOT ENFORCED",
    "a reference that is not enforced": "ALTER TABLE child ALTER CONSTRAINT child_t_fkey NOT ENFORCED",
    "a key of periods": "CREATE TABLE stay (room int4range, during daterange, PRIMARY KEY (room, during WITHOUT OVERLAPS))",
}


@pytest.fixture
def ground(postgres_server: PostgresServer, postgres_admin_uri: str) -> str:
    run(postgres_admin_uri, GROUND)
    return postgres_admin_uri


def read(uri: str) -> dict[Fact, str]:
    """Return all facts of a database."""
    with closing(psycopg2.connect(uri)) as connection, connection.cursor() as cursor:
        cursor.execute(f"{SETTINGS}; {facts_query(connection.info.server_version, ['public.books'], OF_ONE_DATABASE)}")
        return {Fact(kind, identity): definition or "" for _, kind, identity, definition, *_ in cursor.fetchall()}


class Following:
    """Facts that follow a transaction, as a rehearsal does."""

    def __init__(self, uri: str) -> None:
        self.connection: Any = psycopg2.connect(uri)
        self.facts = Facts(self._read, version=self.connection.info.server_version, own=["public.books"])
        self.facts.read_whole()
        self.connection.commit()

    def _ask(self, statement: str) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def _read(self, query: str, relations: frozenset[int]) -> list[tuple[Any, ...]]:
        return self._ask(f"{SETTINGS}; {with_numbers(query, relations)}")

    def change(self, statement: str) -> Difference:
        """Run a statement, and read what may have changed."""
        self._ask(statement)
        touched = [number for number, seen in read_counters(self._ask).items() if seen.may_have_changed]
        written = frozenset(name for (name,) in self._ask(counting(self.connection.info.server_version)))
        self.connection.commit()
        found = self.facts.read_changed(touched, written, statement.lower())
        self.connection.commit()
        return found


@pytest.fixture
def following(ground: str) -> Iterator[Following]:
    made = Following(ground)
    yield made
    made.connection.close()


@pytest.mark.parametrize("what", [*CHANGES, *SINCE_18])
def test_facts_change_exactly_when_a_dump_does(
    what: str, ground: str, postgres_server: PostgresServer, following: Following
) -> None:
    if what in SINCE_18 and postgres_server.version < 180000:
        pytest.skip("PostgreSQL 18 was the first to know it")
    dump_before, before = dump(postgres_server, ground), read(ground)
    assert read(ground) == before
    found = following.change({**CHANGES, **SINCE_18}[what])
    after = read(ground)
    assert (after == before) == (dump(postgres_server, ground) == dump_before)
    # What was read bit by bit is what is there as a whole.
    known = {
        fact: definition
        for fact, definition in following.facts.definitions().items()
        if fact.kind not in {"role", "membership", "setting"}
    }
    assert known == after
    assert bool(found.added or found.changed or found.removed) == (after != before)


def test_a_not_null_becomes_one_of_its_column_when_it_is_validated(
    following: Following, postgres_server: PostgresServer
) -> None:
    if postgres_server.version < 180000:
        pytest.skip("PostgreSQL 18 was the first to know it")
    column, constraint = Fact("column", "public.t.a"), Fact("constraint", "public.t.a_there")
    found = following.change(SINCE_18["a not null that is not valid"])
    assert (constraint in found.added, column in found.changed) == (True, False)
    found = following.change("ALTER TABLE t VALIDATE CONSTRAINT a_there")
    assert (constraint in found.removed, column in found.changed) == (True, True)


def test_equal_schemas_on_two_databases_have_equal_facts(ground: str, postgres_server: PostgresServer) -> None:
    with postgres_server.database() as name:
        other = postgres_server.admin_uri(name)
        run(other, dump(postgres_server, ground))
        assert dump(postgres_server, other) == dump(postgres_server, ground)
        assert read(other) == read(ground)


def test_settings_of_the_reader_change_nothing(ground: str) -> None:
    run(
        ground,
        "ALTER TABLE t ADD COLUMN at timestamptz DEFAULT '2020-02-03 04:05:06+00', ADD COLUMN how interval DEFAULT '1 day 2 hours'",
    )
    run(
        ground,
        "CREATE TABLE side.pg_class (a int)",
        "CREATE FUNCTION side.format(text, name, name) RETURNS text LANGUAGE sql AS 'SELECT 1'",
    )
    before = read(ground)
    database = ground.rpartition("/")[2]
    for setting in ("DateStyle = 'German'", "IntervalStyle = 'sql_standard'", "TimeZone = 'Asia/Tokyo'", "search_path = side, pg_catalog",
                    "quote_all_identifiers = on", "extra_float_digits = 3", "bytea_output = 'escape'"):  # fmt: skip
        run(ground, f"ALTER DATABASE {database} SET {setting}")
    assert read(ground) == before


def test_what_is_the_tools_own_or_an_extensions_is_no_fact(ground: str) -> None:
    before = read(ground)
    run(
        ground,
        "CREATE TABLE books (id serial PRIMARY KEY, name text)",
        "COMMENT ON TABLE books IS 'ours'",
        "GRANT SELECT ON books TO app",
    )
    assert read(ground) == before
    run(ground, "CREATE EXTENSION vector")
    assert {fact.kind for fact in read(ground).keys() - before.keys()} == {"extension"}


def test_a_rename_is_told_as_one_with_all_that_names_it(following: Following) -> None:
    found = following.change("ALTER TABLE t RENAME COLUMN a TO z")
    assert Fact("column", "public.t.a") in found.renamed <= found.removed
    assert Fact("column", "public.t.z") in found.added
    assert {Fact("view", "public.v"), Fact("matview", "public.m"), Fact("index", "public.t_a")} <= found.changed


@pytest.mark.parametrize("column", ["d", '"d.e"', '"d"".e"'])
def test_the_order_of_columns_has_not_changed_where_one_was_added_or_dropped(following: Following, column: str) -> None:
    added, dropped = (following.change(f"ALTER TABLE u {words}") for words in (f"ADD {column} int", f"DROP {column}"))
    assert added.added == dropped.removed == {Fact("column", f"public.u.{column}")}
    assert added.changed == dropped.changed == frozenset()


def test_code_that_is_kept_in_the_database_may_grant(following: Following) -> None:
    following.change(
        "CREATE FUNCTION give() RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE ''GRANT SELECT ON t TO app''; END'"
    )
    assert following.change("SELECT give()").added == {Fact("grants", "public.t")}


def test_default_privileges_hold_for_what_comes(following: Following) -> None:
    following.change("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO app")
    assert Fact("grants", "public.fresh") in following.change("CREATE TABLE fresh (a int)").added


def test_an_index_that_is_left_invalid_is_told(ground: str, following: Following) -> None:
    run(ground, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 't_a'::regclass")
    assert following.facts.read_whole().invalid == ("public.t_a",)


def test_a_thousand_tables_are_read_by_one_query(postgres_admin_uri: str) -> None:
    run(
        postgres_admin_uri,
        "DO $$ BEGIN FOR n IN 1..1000 LOOP EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, a text)', n); END LOOP; END $$",
    )
    asked: list[str] = []
    with closing(psycopg2.connect(postgres_admin_uri)) as connection, connection.cursor() as cursor:

        def answer(query: str, relations: frozenset[int]) -> list[tuple[Any, ...]]:
            asked.append(query)
            cursor.execute(f"{SETTINGS}; {with_numbers(query, relations)}")
            return list(cursor.fetchall())

        facts = Facts(answer, version=connection.info.server_version, own=[])
        facts.read_whole()
        assert len(asked) == 1
        assert sum(fact.kind == "table" for fact in facts.definitions()) == 1000
        facts.read_changed([1], frozenset({"pg_class", "pg_attribute", "pg_type"}), "create table x (a int)")
    assert len(asked) == 2
    assert "pg_proc p" not in asked[1]
