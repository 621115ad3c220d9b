"""What hangs on a view, kind by kind: everything is as before after a rebuild and after a repair, or is refused by name."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from catalog_probe import difference, probe
from servers import PostgresServer
from view_stand import SHOP, PostgresStand, kept

from migrate_graph.errors import ViewError

pytestmark = [pytest.mark.postgres, pytest.mark.usefixtures("bystander")]

VIEW = "CREATE VIEW v AS SELECT id, customer, total, note FROM orders"
HELD = "CREATE MATERIALIZED VIEW v AS SELECT id, customer, total, note FROM orders"
ODD_COLUMN = 'CREATE VIEW v AS SELECT id, note AS "No te" FROM orders'
ODD_NAME = 'CREATE VIEW "Sché ma"."V ""x" AS SELECT id FROM orders'
LONG_NAME = f'"{"é" * 31}"'
POLICY = 'CREATE POLICY p ON vault AS RESTRICTIVE FOR UPDATE TO reader, "Odd Role" USING (id IN (SELECT id FROM v)) WITH CHECK (id > 0)'
ROW_FUNCTION = "CREATE FUNCTION f(v) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1'"
SET_FUNCTION = "CREATE FUNCTION fs() RETURNS SETOF v LANGUAGE sql STABLE SECURITY DEFINER AS 'SELECT * FROM v'"
PROCEDURE = "CREATE PROCEDURE pr(v) LANGUAGE sql AS 'SELECT 1'"
RECURSIVE = "CREATE RECURSIVE VIEW v (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM v WHERE n < 5"
DATED = "CREATE VIEW v AS SELECT * FROM dated"
FAR = "CREATE VIEW v AS SELECT id FROM far"
TYPED = "CREATE VIEW v AS SELECT 1::ty.pos AS p, 'a''b'::ty.\"Mood\" AS m, 'x' COLLATE \"C\" AS c"
CALLING = "CREATE VIEW v AS SELECT id FROM orders WHERE id OPERATOR(op.===) 1"

OVER = "CREATE VIEW w AS SELECT id FROM v"
RULE = "CREATE RULE heard AS ON DELETE TO vault DO ALSO SELECT * FROM v"
TRIGGER = "CREATE TRIGGER tr BEFORE INSERT ON vault FOR EACH ROW WHEN (f(NULL::v) = 1) EXECUTE FUNCTION shout()"
CONSTRAINT_TRIGGER = (
    "CREATE CONSTRAINT TRIGGER tr AFTER INSERT ON vault DEFERRABLE INITIALLY DEFERRED "
    "FOR EACH ROW WHEN (f(NULL::v) = 1) EXECUTE FUNCTION shout()"
)
OPERATOR = (
    "CREATE FUNCTION same(v, v) RETURNS bool LANGUAGE sql AS 'SELECT true'; "
    "CREATE OPERATOR === (leftarg = v, rightarg = v, function = same)"
)
CLASS = (
    "CREATE OPERATOR FAMILY family USING hash; "
    "CREATE OPERATOR CLASS oc FOR TYPE v USING hash FAMILY family AS OPERATOR 1 pg_catalog.=(record, record)"
)
AGGREGATE = "CREATE FUNCTION acc(int, v) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE AGGREGATE agg(v) (sfunc = acc, stype = int)"

Managers = tuple[tuple[str, str, str], ...]
V: Managers = (("V", VIEW, ""),)

KEPT: dict[str, tuple[Managers, list[str]]] = {
    "triggers": (V, [
        r"CREATE TRIGGER a INSTEAD OF INSERT ON v FOR EACH ROW EXECUTE FUNCTION shout('x''y', 'b\\c')",
        "CREATE TRIGGER b BEFORE UPDATE ON v FOR EACH STATEMENT EXECUTE FUNCTION shout()",
        'CREATE TRIGGER "C d" AFTER DELETE ON v EXECUTE FUNCTION shout()', "COMMENT ON TRIGGER \"C d\" ON v IS 'q''q'"]),
    "rules": (V, [
        ("CREATE RULE u AS ON UPDATE TO v WHERE old.id > 0 DO INSTEAD (UPDATE orders SET note = new.note WHERE id = old.id; "
        "INSERT INTO vault VALUES (old.id))"),
        "CREATE RULE u2 AS ON UPDATE TO v DO INSTEAD NOTHING", "COMMENT ON RULE u ON v IS 'x; y'"]),
    "a comment on the query itself": (V, ["COMMENT ON RULE \"_RETURN\" ON v IS 'as agreed'"]),
    "a comment on the array of its rows": (V, ["COMMENT ON TYPE v[] IS 'rows'"]),
    "options": (V, ["ALTER VIEW v SET (security_barrier = true, security_invoker = true, check_option = local)"]),
    "odd columns": ((("V", ODD_COLUMN, ""),), [
        "COMMENT ON COLUMN v.\"No te\" IS E'a\\nb'", "ALTER VIEW v ALTER \"No te\" SET DEFAULT lower('X''y') || current_user",
        'GRANT SELECT ("No te"), UPDATE (id) ON v TO "Odd Role" WITH GRANT OPTION']),
    "marks of ours in texts": (V, [
        "COMMENT ON VIEW v IS '<kind> $oids $stamp %s {} $1 $views'", "COMMENT ON COLUMN v.id IS '$classes %(x)s'"]),
    "grants of grants": (V, [
        "GRANT SELECT ON v TO reader WITH GRANT OPTION", "SET ROLE reader", "GRANT SELECT ON v TO clerk WITH GRANT OPTION",
        "SET ROLE clerk", "GRANT SELECT ON v TO auditor", "RESET ROLE"]),
    "an owner without rights": (V, ["REVOKE ALL ON v FROM postgres", "GRANT SELECT ON v TO reader"]),
    "an odd owner": (V, ['GRANT CREATE ON SCHEMA public TO "Odd Role"', 'ALTER VIEW v OWNER TO "Odd Role"', "GRANT ALL ON v TO PUBLIC"]),
    "default privileges": (V, [
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT INSERT ON TABLES TO clerk"]),
    "indexes": ((("V", HELD, ""),), [
        "CREATE UNIQUE INDEX i1 ON v (id) INCLUDE (note)", "CREATE INDEX i2 ON v USING hash (customer)",
        "CREATE INDEX i3 ON v (lower(note) text_pattern_ops DESC NULLS LAST) WHERE note <> '<kind> $oids {1}'",
        "CREATE INDEX i4 ON v USING brin (id) WITH (pages_per_range = 4)",
        "CREATE INDEX i5 ON v USING gin ((string_to_array(note, ',')))", 'CREATE INDEX "I 6" ON v (customer COLLATE "C")',
        "ALTER MATERIALIZED VIEW v CLUSTER ON i1", "ALTER INDEX i3 ALTER COLUMN 1 SET STATISTICS 50", "ANALYZE v"]),
    "an index that calls a function": ((("V", HELD, ""),), [
        "CREATE FUNCTION lo(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT pg_catalog.lower($1)'", "CREATE INDEX il ON v (lo(note))"]),
    "extended statistics": ((("V", HELD, ""),), [
        "CREATE SCHEMA other", "CREATE STATISTICS s1 (ndistinct, dependencies, mcv) ON id, total FROM v",
        "CREATE STATISTICS other.s2 ON (total * 2), lower(note) FROM v", "COMMENT ON STATISTICS s1 IS 'c'"]),
    "storage": ((("V", HELD, ""),), [
        "ALTER MATERIALIZED VIEW v SET (fillfactor = 50, autovacuum_enabled = false, toast.autovacuum_enabled = false)",
        "ALTER MATERIALIZED VIEW v ALTER note SET STORAGE EXTERNAL, ALTER note SET STATISTICS 7, ALTER note SET (n_distinct = 3)"]),
    "an empty one": ((("V", HELD, ""),), ["CREATE UNIQUE INDEX i1 ON v (id)", "REFRESH MATERIALIZED VIEW v WITH NO DATA"]),
    "publications": (V, ["CREATE PUBLICATION pub FOR ALL TABLES", "CREATE PUBLICATION one FOR TABLE orders"]),
    "odd names": ((("V", ODD_NAME, 'DROP VIEW IF EXISTS "Sché ma"."V ""x"'),), [
        "COMMENT ON VIEW \"Sché ma\".\"V \"\"x\" IS 'ü'", 'GRANT SELECT ON "Sché ma"."V ""x" TO reader']),
    "a long name": ((("V", f"CREATE VIEW {LONG_NAME} AS SELECT 1 AS x", f"DROP VIEW IF EXISTS {LONG_NAME}"),), [
        f"GRANT SELECT ON {LONG_NAME} TO reader"]),
    "a keyword": ((("V", 'CREATE VIEW "select" AS SELECT 1 AS "from"', 'DROP VIEW IF EXISTS "select"'),), [
        "COMMENT ON COLUMN \"select\".\"from\" IS 'q'"]),
    "namesakes": (V, [
        "CREATE SCHEMA a", "CREATE VIEW a.v AS SELECT 1 AS x", "COMMENT ON VIEW a.v IS 'a'",
        "CREATE FUNCTION a.f(a.v) RETURNS int LANGUAGE sql AS 'SELECT 1'"]),
    "a recursive one": ((("V", RECURSIVE, ""),), ["COMMENT ON VIEW v IS 'r'"]),
    "partitions": ((("V", DATED, ""),), ["COMMENT ON VIEW v IS 'p'", "CREATE RULE r AS ON DELETE TO v DO INSTEAD NOTHING"]),
    "a foreign table": ((("V", FAR, ""),), ["GRANT SELECT ON v TO reader"]),
    "types of another schema": ((("V", TYPED, ""),), ["COMMENT ON VIEW v IS 't'"]),
    "operators of another schema": ((("V", CALLING, ""),), ["GRANT SELECT ON v TO reader"]),
    "a policy": ((("V", f"{VIEW}; {POLICY}", "DROP POLICY p ON vault; DROP VIEW v"),), ["COMMENT ON POLICY p ON vault IS 'why'"]),
    "a procedure": ((*V, ("Pr", PROCEDURE, "DROP PROCEDURE IF EXISTS pr(v)")), [
        "REVOKE ALL ON PROCEDURE pr(v) FROM PUBLIC", "GRANT EXECUTE ON PROCEDURE pr(v) TO clerk WITH GRANT OPTION",
        "COMMENT ON PROCEDURE pr(v) IS 'x'", 'ALTER PROCEDURE pr(v) SET search_path = public, "Odd"']),
    "one of several functions": ((*V, ("F", ROW_FUNCTION, "DROP FUNCTION IF EXISTS f(v)")), [
        "CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 2'", "REVOKE ALL ON FUNCTION f(v) FROM PUBLIC",
        "ALTER FUNCTION f(v) OWNER TO keeper"]),
    "a function that returns it": ((*V, ("Fs", SET_FUNCTION, "DROP FUNCTION IF EXISTS fs()")), ["REVOKE ALL ON FUNCTION fs() FROM PUBLIC"]),
    "a view over a function over it": (
        (*V, ("F", ROW_FUNCTION, "DROP FUNCTION IF EXISTS f(v)"), ("W", "CREATE VIEW w AS SELECT f(v) FROM v", "")), ["GRANT SELECT ON w TO reader"]),
    "two views of one manager": ((("V", f"{VIEW}; CREATE VIEW v2 AS SELECT id FROM v", "DROP VIEW IF EXISTS v CASCADE"),), [
        "GRANT SELECT ON v2 TO reader"]),
    "its row type": (V, [
        "COMMENT ON TYPE v IS 'a row'", "COMMENT ON TYPE v[] IS 'rows'",
        "REVOKE USAGE ON TYPE v FROM PUBLIC", "GRANT USAGE ON TYPE v TO clerk WITH GRANT OPTION"]),
    "replica identity": ((("V", HELD, ""),), ["ALTER MATERIALIZED VIEW v REPLICA IDENTITY FULL"]),
    "what goes with an extension": ((("V", HELD, ""), ("F", ROW_FUNCTION, "DROP FUNCTION IF EXISTS f(v)"), ("W", OVER, "")), [
        "CREATE INDEX i ON v (id)", "CREATE TRIGGER t INSTEAD OF DELETE ON w FOR EACH ROW EXECUTE FUNCTION shout()",
        "ALTER MATERIALIZED VIEW v DEPENDS ON EXTENSION plpgsql", "ALTER INDEX i DEPENDS ON EXTENSION plpgsql",
        "ALTER FUNCTION f(v) DEPENDS ON EXTENSION plpgsql", "ALTER TRIGGER t ON w DEPENDS ON EXTENSION plpgsql"]),
    "a rule that is switched off": ((*V, ("R", RULE, "DROP RULE heard ON vault")), [
        "ALTER TABLE vault DISABLE RULE heard", "COMMENT ON RULE heard ON vault IS 'c'"]),
    "a rule that is always on": ((*V, ("R", RULE, "DROP RULE heard ON vault")), ["ALTER TABLE vault ENABLE ALWAYS RULE heard"]),
    "a trigger that is switched off": (
        (*V, ("F", ROW_FUNCTION, "DROP FUNCTION IF EXISTS f(v)"), ("T", TRIGGER, "DROP TRIGGER tr ON vault")), [
        "ALTER TABLE vault DISABLE TRIGGER tr", "COMMENT ON TRIGGER tr ON vault IS 'c'"]),
    "a constraint trigger of replicas": (
        (*V, ("F", ROW_FUNCTION, "DROP FUNCTION IF EXISTS f(v)"), ("T", CONSTRAINT_TRIGGER, "DROP TRIGGER tr ON vault")), [
        "ALTER TABLE vault ENABLE REPLICA TRIGGER tr"]),
    "event triggers": (V, [
        "CREATE TABLE dropped (what text)",
        ("CREATE FUNCTION given() RETURNS event_trigger LANGUAGE plpgsql AS $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM "
        "pg_event_trigger_ddl_commands() WHERE command_tag = 'CREATE VIEW' LOOP EXECUTE format('GRANT SELECT ON %s TO clerk', r.object_identity); "
        "END LOOP; END $$"),
        "CREATE EVENT TRIGGER given ON ddl_command_end WHEN TAG IN ('CREATE VIEW') EXECUTE FUNCTION given()",
        ("CREATE FUNCTION gone() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO dropped SELECT object_identity FROM "
        "pg_event_trigger_dropped_objects(); END $$"),
        "CREATE EVENT TRIGGER gone ON sql_drop EXECUTE FUNCTION gone()"]),
}  # fmt: skip

# What has a manager and no stored definition: it comes back by that, or a repair names it.
MANAGED: dict[str, tuple[Managers, list[str]]] = {
    "a domain": ((*V, ("D", "CREATE DOMAIN d AS v[]", "DROP DOMAIN d")), ["COMMENT ON DOMAIN d IS 'c'", "GRANT USAGE ON DOMAIN d TO clerk"]),
    "a type": ((*V, ("D", "CREATE TYPE ct AS (a v)", "DROP TYPE ct")), [
        "COMMENT ON TYPE ct IS 'c'", "REVOKE USAGE ON TYPE ct FROM PUBLIC", "COMMENT ON COLUMN ct.a IS 'c'"]),
    "an operator": ((*V, ("O", OPERATOR, "DROP OPERATOR ===(v, v); DROP FUNCTION same(v, v)")), [
        "COMMENT ON OPERATOR ===(v, v) IS 'c'", "ALTER OPERATOR ===(v, v) OWNER TO keeper"]),
    "a cast": ((*V, ("F", f"{ROW_FUNCTION}; CREATE CAST (v AS int) WITH FUNCTION f(v)", "DROP CAST (v AS int); DROP FUNCTION f(v)")), [
        "COMMENT ON CAST (v AS int) IS 'c'"]),
    "an aggregate": ((*V, ("A", AGGREGATE, "DROP AGGREGATE agg(v); DROP FUNCTION acc(int, v)")), [
        "COMMENT ON AGGREGATE agg(v) IS 'c'", "REVOKE ALL ON FUNCTION agg(v) FROM PUBLIC", "ALTER AGGREGATE agg(v) OWNER TO keeper"]),
    "a table": ((*V, ("T", "CREATE TABLE h (x v)", "DROP TABLE h")), [
        "COMMENT ON TABLE h IS 'c'", "COMMENT ON COLUMN h.x IS 'c'", "GRANT SELECT ON h TO reader", "GRANT UPDATE (x) ON h TO clerk",
        "ALTER TABLE h OWNER TO keeper"]),
    "a table that holds what it read": (
        (("V", f"{VIEW}; CREATE TABLE held AS SELECT * FROM v", "DROP TABLE held; DROP VIEW v"),), ["GRANT SELECT ON held TO reader"]),
    "a default": (
        (*V, ("F", ROW_FUNCTION, "DROP FUNCTION f(v)"),
        ("D", "ALTER TABLE vault ALTER id SET DEFAULT f(NULL)", "ALTER TABLE vault ALTER id DROP DEFAULT")), []),
    "a constraint": (
        (*V, ("F", ROW_FUNCTION, "DROP FUNCTION f(v)"),
        ("C", "ALTER TABLE vault ADD CONSTRAINT ck CHECK (f(NULL) = 1)", "ALTER TABLE vault DROP CONSTRAINT ck")),
        ["COMMENT ON CONSTRAINT ck ON vault IS 'c'"]),
    "a generated column": (
        (*V, ("F", ROW_FUNCTION, "DROP FUNCTION f(v)"),
        ("G", "ALTER TABLE vault ADD g int GENERATED ALWAYS AS (f(NULL)) STORED", "ALTER TABLE vault DROP g")),
        ["COMMENT ON COLUMN vault.g IS 'c'"]),
    "an index of a partitioned table": (
        (*V, ("F", ROW_FUNCTION, "DROP FUNCTION f(v)"), ("I", "CREATE INDEX ix ON dated (f(NULL::v))", "DROP INDEX ix")),
        ["COMMENT ON INDEX ix IS 'c'"]),
    "an exclusion constraint": (
        (*V, ("F", ROW_FUNCTION, "DROP FUNCTION f(v)"),
        ("C", "ALTER TABLE vault ADD CONSTRAINT ex EXCLUDE USING hash (f(NULL::v) WITH =)", "ALTER TABLE vault DROP CONSTRAINT ex")),
        ["COMMENT ON CONSTRAINT ex ON vault IS 'c'"]),
    "an operator class": (
        (*V, ("O", CLASS, "DROP OPERATOR CLASS oc USING hash; DROP OPERATOR FAMILY family USING hash")), [
        "COMMENT ON OPERATOR CLASS oc USING hash IS 'c'", "ALTER OPERATOR CLASS oc USING hash OWNER TO keeper",
        "COMMENT ON OPERATOR FAMILY family USING hash IS 'f'", "ALTER OPERATOR FAMILY family USING hash OWNER TO keeper"]),
    "a schema of its own": (
        (("V", "CREATE SCHEMA api; CREATE VIEW api.v AS SELECT id FROM orders", "DROP SCHEMA IF EXISTS api CASCADE"),), [
        "GRANT USAGE ON SCHEMA api TO reader WITH GRANT OPTION", "GRANT CREATE ON SCHEMA api TO keeper", "COMMENT ON SCHEMA api IS 'c'",
        "GRANT SELECT ON api.v TO reader", "ALTER SCHEMA api OWNER TO keeper"]),
    "a sequence": (
        (("V", "CREATE SEQUENCE seq; CREATE VIEW v AS SELECT nextval('seq') AS n", "DROP VIEW IF EXISTS v; DROP SEQUENCE IF EXISTS seq"),), [
        "GRANT USAGE ON SEQUENCE seq TO reader WITH GRANT OPTION", "COMMENT ON SEQUENCE seq IS 'c'", "ALTER SEQUENCE seq OWNER TO keeper"]),
    "a sequence that a column of the view owns": (
        (("V", f"{VIEW}; CREATE SEQUENCE owned OWNED BY v.id", "DROP VIEW IF EXISTS v"),), [
        "GRANT USAGE ON SEQUENCE owned TO reader", "COMMENT ON SEQUENCE owned IS 'c'"]),
    "a column": (
        (*V, ("C", "ALTER TABLE vault ADD x v", "ALTER TABLE vault DROP COLUMN IF EXISTS x")), [
        "GRANT SELECT (x), UPDATE (x) ON vault TO reader", "GRANT SELECT (x) ON vault TO clerk WITH GRANT OPTION", "COMMENT ON COLUMN vault.x IS 'c'"]),
    "an index": (
        (*V, ("F", ROW_FUNCTION, "DROP FUNCTION f(v)"), ("I", "CREATE INDEX ix ON vault (f(NULL::v))", "DROP INDEX ix")),
        ["COMMENT ON INDEX ix IS 'c'"]),
}  # fmt: skip
WORLD = (
    'CREATE SCHEMA "Sché ma"', "CREATE SCHEMA ty", "CREATE DOMAIN ty.pos AS int CHECK (VALUE > 0)",
    "CREATE TYPE ty.\"Mood\" AS ENUM ('a''b', 'c')", "CREATE SCHEMA op",
    "CREATE FUNCTION op.eq(int, int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1 = $2'",
    "CREATE OPERATOR op.=== (leftarg = int, rightarg = int, function = op.eq)",
    "CREATE TABLE dated (id int, d date) PARTITION BY RANGE (d)",
    "CREATE TABLE dated_1 PARTITION OF dated FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')",
    "CREATE FOREIGN DATA WRAPPER w", "CREATE SERVER s FOREIGN DATA WRAPPER w", "CREATE FOREIGN TABLE far (id int) SERVER s",
)  # fmt: skip

# A `down()` with CASCADE would take these along.
REFUSED = {
    "default value for public.vault.x": [ROW_FUNCTION, "ALTER TABLE vault ADD x int DEFAULT f(NULL::v)"],
    "table column public.h.x": ["CREATE TABLE h (x v)"],
    "table column public.h.xs": ["CREATE TABLE h (xs v[])"],
    "type public.d": ["CREATE DOMAIN d AS v[]", "CREATE TABLE h (x d)"],
    "composite type column public.ct.a": ["CREATE TYPE ct AS (a v)"],
    "aggregate public.agg(public.v)": [
        "CREATE FUNCTION acc(int, v) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE AGGREGATE agg(v) (sfunc = acc, stype = int)",
    ],
    "operator public.===(public.v,public.v)": [
        "CREATE FUNCTION same(v, v) RETURNS bool LANGUAGE sql AS 'SELECT true'",
        "CREATE OPERATOR === (leftarg = v, rightarg = v, function = same)",
    ],
    "operator class public.oc": [
        "CREATE OPERATOR CLASS oc FOR TYPE v USING hash AS OPERATOR 1 pg_catalog.=(record, record)"
    ],
    "cast (public.v AS integer)": [ROW_FUNCTION, "CREATE CAST (v AS int) WITH FUNCTION f(v)"],
    "policy p ON public.vault": ['CREATE ROLE "Odd Role"', POLICY],
    "policy pp ON public.vault": [
        "CREATE FUNCTION allowed() RETURNS bool LANGUAGE sql BEGIN ATOMIC SELECT EXISTS (SELECT 1 FROM v); END",
        "CREATE POLICY pp ON vault USING (allowed())",
    ],
    "rule r ON public.vault": [
        "CREATE RULE r AS ON INSERT TO vault DO ALSO DELETE FROM orders WHERE id IN (SELECT id FROM v)"
    ],
    "rule w ON public.vault": ["CREATE RULE w AS ON INSERT TO vault DO INSTEAD INSERT INTO v (id) VALUES (new.id)"],
    "materialized view public.w": ["CREATE MATERIALIZED VIEW w AS SELECT * FROM v", "CREATE INDEX ON w (id)"],
    "function public.af()": [
        "CREATE FUNCTION af() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM v; END"
    ],
    "table column public.vault.g": [
        ROW_FUNCTION, "ALTER TABLE vault ADD g int GENERATED ALWAYS AS (f(NULL::v)) STORED",
    ],
    "view public.by_column": [
        ROW_FUNCTION, "ALTER TABLE vault ADD g int GENERATED ALWAYS AS (f(NULL::v)) STORED", "CREATE VIEW by_column AS SELECT g FROM vault",
    ],
    "table public.parted": [ROW_FUNCTION, "CREATE TABLE parted (x int) PARTITION BY RANGE ((x + f(NULL::v)))"],
    "index public.pix": [ROW_FUNCTION, *WORLD, "CREATE INDEX pix ON dated (f(NULL::v))"],
    "table constraint ex on public.vault": [ROW_FUNCTION, "ALTER TABLE vault ADD CONSTRAINT ex EXCLUDE USING hash (f(NULL::v) WITH =)"],
    "extension plpgsql": [ROW_FUNCTION, "ALTER EXTENSION plpgsql ADD FUNCTION f(v)"],
    "function public.shout()": [ROW_FUNCTION, "ALTER EXTENSION plpgsql ADD FUNCTION f(v)"],
    "table constraint ck on public.vault": [ROW_FUNCTION, "ALTER TABLE vault ADD CONSTRAINT ck CHECK (f(NULL::v) = 1)"],
    "trigger tr ON public.vault": [ROW_FUNCTION, TRIGGER],
    "statistics object public.st": [ROW_FUNCTION, "CREATE STATISTICS st ON (f(NULL::v) + id), id FROM vault"],
    "sequence public.owned": ["CREATE SEQUENCE owned OWNED BY v.id"],
    "index public.ix": [ROW_FUNCTION, "CREATE INDEX ix ON vault (f(NULL::v))"],
}  # fmt: skip


@pytest.fixture
def stand(postgres_admin_uri: str, roles: tuple[str, ...]) -> Iterator[PostgresStand]:
    stand = PostgresStand(postgres_admin_uri)
    stand('DROP ROLE IF EXISTS "Odd Role"', SHOP)
    stand.connection.commit()
    yield stand
    stand.connection.rollback()
    stand('DROP OWNED BY "Odd Role"', 'DROP ROLE "Odd Role"') if stand(
        "SELECT FROM pg_roles WHERE rolname = 'Odd Role'"
    ) else None
    stand.connection.commit()
    stand.connection.close()


@pytest.mark.parametrize("family", KEPT)
def test_it_is_as_before(stand: PostgresStand, family: str) -> None:
    described, dress = KEPT[family]
    stand('CREATE ROLE "Odd Role"', *WORLD)
    managers: list[Any] = [stand.manager(name, up=up, down=down) for name, up, down in described]
    stand(*(up for _, up, _ in described), *dress)
    stand.connection.commit()
    before = probe(stand.connection.cursor())
    for _ in range(2):  # the second time the view ledger knows them
        kept(stand, managers[::-1], managers)
        assert difference(before, probe(stand.connection.cursor())) == []
    stand.connection.commit()
    stand.keeper.take_down(managers[::-1], managers, migration="m")
    stand.connection.commit()
    stand.reconnect()  # as after a kill
    assert stand.keeper.repair([], declared=set()) == ()
    assert difference(before, probe(stand.connection.cursor())) == []
    assert [event for event in stand.events if type(event).__name__ == "Warned"] == []


def test_tablespaces_and_access_methods_are_as_before(postgres_server: PostgresServer) -> None:
    folder = Path(tempfile.mkdtemp(dir=postgres_server.directory))
    shutil.chown(folder, postgres_server.data.stat().st_uid)
    postgres_server.execute(f"CREATE TABLESPACE roomy LOCATION '{folder}'")
    try:
        with postgres_server.database() as name:
            stand = PostgresStand(postgres_server.admin_uri(name))
            stand(
                SHOP, "CREATE ACCESS METHOD other_heap TYPE TABLE HANDLER heap_tableam_handler", HELD,
                "CREATE INDEX near ON v (id)", "CREATE INDEX far ON v (note) TABLESPACE roomy",
                "ALTER MATERIALIZED VIEW v SET TABLESPACE roomy",
                "CREATE MATERIALIZED VIEW w USING other_heap TABLESPACE roomy AS SELECT id FROM v",
            )  # fmt: skip
            stand.connection.commit()
            v = stand.manager("V", up=f"{HELD}; CREATE INDEX near ON v (id)")
            w = stand.manager("W", up="CREATE MATERIALIZED VIEW w AS SELECT id FROM v")
            before = probe(stand.connection.cursor())
            assert str(before["pg_class"]).count("'roomy'") == 3
            for _ in range(2):
                kept(stand, [w, v], [v, w])
                assert difference(before, probe(stand.connection.cursor())) == []
            stand.keeper.take_down([w, v], [v, w], migration="m")
            stand.connection.commit()
            stand.reconnect()
            assert stand.keeper.repair([], declared=set()) == ()
            assert difference(before, probe(stand.connection.cursor())) == []
            stand.connection.close()
    finally:
        postgres_server.execute("DROP TABLESPACE roomy")


@pytest.mark.parametrize("family", MANAGED)
def test_what_has_no_stored_definition_comes_back_by_its_manager(stand: PostgresStand, family: str) -> None:
    described, dress = MANAGED[family]
    managers: list[Any] = [stand.manager(name, up=up, down=down) for name, up, down in described]
    stand(*WORLD, "GRANT CREATE ON SCHEMA public TO keeper", *(up for _, up, _ in described), *dress)
    stand.connection.commit()
    before = probe(stand.connection.cursor())
    for _ in range(2):
        kept(stand, managers[::-1], managers)
        assert difference(before, probe(stand.connection.cursor())) == []
    stand.connection.commit()
    for living in ([], managers):  # nobody has its definition; then its manager
        if not living:
            stand.keeper.take_down(managers[::-1], managers, migration="m")
            stand.connection.commit()
        stand.reconnect()
        left = stand.keeper.repair(living, declared={type(each).__name__ for each in living})
        assert all("has no stored definition" in each.error for each in left)
        assert bool(left) is not bool(living)
        stand.connection.commit()
    assert difference(before, probe(stand.connection.cursor())) == []


@pytest.mark.parametrize("family", MANAGED)
def test_what_its_manager_does_not_make_again_is_refused_by_name(stand: PostgresStand, family: str) -> None:
    described, _ = MANAGED[family]
    managers: list[Any] = [stand.manager(name, up=up, down=down) for name, up, down in described]
    stand(*WORLD, *(up for _, up, _ in described))
    stand.connection.commit()
    before = probe(stand.connection.cursor())
    type(managers[-1]).statement_up = VIEW if len(managers) == 1 else "SELECT 1"
    with pytest.raises(ViewError, match=r"did not create it again|created nothing|would lose"):
        kept(stand, managers[::-1], managers)
    stand.connection.rollback()
    assert difference(before, probe(stand.connection.cursor())) == []


@pytest.mark.parametrize("lost", REFUSED)
def test_it_is_refused_by_name(stand: PostgresStand, lost: str) -> None:
    stand(VIEW, *REFUSED[lost])
    stand.connection.commit()
    before = probe(stand.connection.cursor(), without="ewh%")
    cascading = stand.manager("V", up=VIEW, down="DROP VIEW IF EXISTS v CASCADE")
    with pytest.raises(ViewError) as refused:
        kept(stand, [cascading], [cascading])
    assert lost in refused.value.message
    assert difference(before, probe(stand.connection.cursor())) == []
