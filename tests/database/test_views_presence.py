"""What `status` says of views: it reads, waits for nobody, and accuses nobody without a reason."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest
from servers import PostgresServer
from view_stand import SHOP, PostgresStand, kept

from migrate_graph.database.books.view_ledger import ViewLedger
from migrate_graph.database.names import POSTGRES, TableNames
from migrate_graph.database.postgres.views.catalog import PostgresCatalog
from migrate_graph.database.views.presence import ViewPresence, settled, view_presences

pytestmark = [pytest.mark.postgres, pytest.mark.usefixtures("bystander")]

LISTED = "CREATE VIEW v AS SELECT id FROM orders WHERE customer IN ('c1', 'c2') AND customer NOT IN ('c3', 'it''s (')"


@pytest.fixture
def stand(postgres_admin_uri: str) -> Iterator[PostgresStand]:
    stand = PostgresStand(postgres_admin_uri)
    stand(SHOP)
    v = stand.manager("V", up=LISTED)
    kept(stand, [v], [v])
    stand.connection.commit()
    yield stand
    stand.connection.close()


def seen(stand: PostgresStand, uri: str = "", name: str = "V") -> ViewPresence:
    """Look as a reader does: on a connection in autocommit, that cannot write and does not wait."""
    connection = psycopg2.connect(uri or stand.uri, options="-c default_transaction_read_only=on -c lock_timeout=5s")
    connection.autocommit = True
    try:
        catalog = PostgresCatalog(lambda: connection)
        rows = ViewLedger(
            TableNames.of("ewh_implemented_features", POSTGRES), catalog.run, locate=catalog.locate
        ).read()
        return view_presences(catalog, rows, {"V": object, "W": object})[name]
    finally:
        connection.close()


FINE = ViewPresence(("public.v",), is_recorded=True)


def test_what_is_as_it_was_made(stand: PostgresStand) -> None:
    assert seen(stand) == FINE
    stand("ALTER TABLE orders RENAME TO renamed", "ALTER TABLE renamed RENAME customer TO client")
    stand.connection.commit()
    assert seen(stand) == FINE  # the server writes it otherwise now, but nobody has touched it


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE OR REPLACE VIEW v AS SELECT id FROM orders WHERE customer IN ('c1')",
        "DROP VIEW v; CREATE VIEW v AS SELECT id FROM orders",
        "ALTER VIEW v RENAME id TO number",
    ],
)
def test_what_was_changed_by_hand(stand: PostgresStand, statement: str) -> None:
    stand(statement)
    stand.connection.commit()
    assert seen(stand) == ViewPresence(("public.v",), changed=("public.v",), is_recorded=True)


def test_what_is_missing(stand: PostgresStand) -> None:
    stand("DROP VIEW v")
    stand.connection.commit()
    assert seen(stand) == ViewPresence(("public.v",), missing=("public.v",), is_recorded=True)


def test_the_servers_second_reading_is_no_change(stand: PostgresStand) -> None:
    """As after a dump and its restore: the view is made from what the server itself wrote."""
    [(before,)] = stand("SELECT pg_get_viewdef('v'::regclass)")
    stand("DROP VIEW v", f"CREATE VIEW v AS {before}")
    [(after,)] = stand("SELECT pg_get_viewdef('v'::regclass)")
    stand.connection.commit()
    assert before != after
    assert settled(before) == settled(after)
    assert seen(stand) == FINE
    stand(
        "CREATE OR REPLACE VIEW v AS SELECT id FROM orders WHERE customer IN ('c1', 'c4') AND customer NOT IN ('c3', 'it''s (')"
    )
    stand.connection.commit()
    assert seen(stand).changed == ("public.v",)


def test_after_a_restore_it_is_remembered_anew(stand: PostgresStand) -> None:
    stand("DROP VIEW v", "CREATE VIEW v AS SELECT id, 1 AS one FROM orders")
    stand.connection.commit()
    assert seen(stand).changed
    stand.keeper.renew()
    stand.connection.commit()
    assert seen(stand) == FINE


@pytest.mark.parametrize(
    "held", ["ALTER TABLE orders ADD COLUMN more int", "DROP VIEW v", "LOCK TABLE v IN ACCESS EXCLUSIVE MODE"]
)
@pytest.mark.parametrize("replaced", [False, True])
def test_nobody_is_waited_for(stand: PostgresStand, held: str, replaced: bool) -> None:
    if replaced:  # then its text must be looked at, and cannot be
        stand("DROP VIEW v", LISTED)
        stand.connection.commit()
    expected = ViewPresence(("public.v",), unknown=("public.v",), is_recorded=True) if replaced else FINE
    stand(held)  # and held open
    assert seen(stand) == expected
    stand.connection.rollback()
    assert seen(stand) == FINE


def test_one_that_is_locked_hides_no_other(stand: PostgresStand) -> None:
    w = stand.manager("W", up="CREATE VIEW w AS SELECT id FROM vault")
    kept(stand, [w], [w])
    stand("DROP VIEW v", LISTED, "CREATE OR REPLACE VIEW w AS SELECT id FROM vault WHERE id > 1")
    stand.connection.commit()
    stand("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
    assert seen(stand).unknown == ("public.v",)
    assert seen(stand, name="W") == ViewPresence(("public.w",), changed=("public.w",), is_recorded=True)
    stand.connection.rollback()


def test_a_schema_that_may_not_be_used_stops_nothing(stand: PostgresStand, postgres_server: PostgresServer) -> None:
    stand("CREATE SCHEMA hidden", "CREATE TABLE hidden.t (id int)")
    v = stand.manager("V", up="CREATE VIEW hidden.v AS SELECT id FROM hidden.t", down="DROP VIEW IF EXISTS hidden.v")
    stand("DROP VIEW v")
    kept(stand, [v], [v])
    stand("GRANT SELECT ON ewh_implemented_features_views TO app")
    stand.connection.commit()
    reader = postgres_server.app_uri(stand.connection.info.dbname)
    assert seen(stand, reader) == ViewPresence(("hidden.v",), is_recorded=True)


def test_lists_and_texts_in_a_definition() -> None:
    text: Any = (
        "SELECT ((a)::text = ANY ((ARRAY['x)'::character varying, 'y'::character varying(3)])::text[])), (b + (c * d))"
    )
    again = "SELECT ((a)::text = ANY (ARRAY[('x)'::character varying)::text, ('y'::character varying(3))::text])), (b + (c * d))"
    assert settled(text) == settled(again)
    assert settled("SELECT (a + b) * c") != settled("SELECT a + (b * c)")
    assert settled(text) != settled(text.replace("'y'", "'z'"))


def test_chains_in_a_definition() -> None:
    assert settled("(((a = 1) AND (b)) AND f(c, d))") == settled("((a = 1) AND (b) AND f(c, d))")
    assert settled("((a) OR ((b) OR (c)))") == settled("((a) OR (b) OR (c))")
    assert settled("(((a) AND (b)) OR (c))") != settled("((a) AND ((b) OR (c)))")
    assert settled("((a) AND ((b) OR (c)))") != settled("((a) AND (b) OR (c))")
    assert settled("('(x AND (y AND z))' AND b)") != settled("('(x AND y AND z)' AND b)")
    deep = "(" * 5_000 + "a" + ")" * 5_000
    assert settled(deep) == deep
    assert settled("a) AND (b") == "a) AND (b"


EXPRESSIONS = """v IN ('a','b')|v NOT IN ('a','b')|v = ANY ('{a,b}')|v LIKE ANY (ARRAY['a%','b'])|va && ARRAY['a','b']::varchar[]
a @> ARRAY[v]::text[]|c IN ('a','b')|m IN ('a','b')|dm IN ('a','b')|n IN (1,2.5)|d IN ('2020-01-01','2021-01-01')|(id, v) IN ((1,'a'),(2,'b'))
CASE WHEN v IN ('a','b') THEN v ELSE 'c' END = 'x'|(v COLLATE "C") IN ('a','b')|j ->> 'a' IN ('x','y')|a[1] IN ('x','y')|v IN ('a', dm)
upper(v) IN ('A','B')|id::text IN ('1','2')|v::varchar(3) IN ('a','b')|id IN (1,2) AND v IN ('it''s (','b)') OR v IN ('c')|m::text IN ('a','b')
va::text[] && ARRAY['a','b']|array_position(ARRAY['a','b'], v::text) = 1|v BETWEEN SYMMETRIC 'b' AND 'a'|iv IN ('1 day','2 days')|ARRAY[v,'z'] = va
id BETWEEN 1 AND 2 AND v BETWEEN 'a' AND 'b'|id = 1 AND (v = 'a' OR c = 'b' OR (n = 1 OR (d IS NULL AND m = 'a')))
id NOT BETWEEN 1 AND 2 OR n NOT BETWEEN 3 AND 4
NOT (v IN ('a','b'))|id = -1|v SIMILAR TO 'a%'|ts::time > '10:00'|EXISTS (SELECT 1 FROM typed u WHERE u.v IN ('a','b'))|t.* IS NULL"""


def test_whatever_the_server_makes_of_its_own_text_is_no_change(postgres_admin_uri: str) -> None:
    """What it has written, it reads and writes once more, as a restore of a dump does."""
    stand = PostgresStand(postgres_admin_uri)
    stand(
        "CREATE TYPE mood AS ENUM ('a', 'b')", "CREATE DOMAIN dom AS varchar CHECK (VALUE <> '')",
        "CREATE TABLE typed (id int, v varchar(20), va varchar[], a text[], c char(5), m mood, dm dom, n numeric(10, 2), d date, j jsonb, "
        "iv interval, ts timestamp)",
    )  # fmt: skip
    unstable = 0
    expressions = [each for line in EXPRESSIONS.splitlines() for each in line.split("|")]
    for expression in expressions:
        for query in (f"SELECT id FROM typed t WHERE {expression}", f"SELECT ({expression}) AS q FROM typed t"):
            texts = [query]
            for _ in range(3):
                stand(f"CREATE VIEW again AS {texts[-1]}")
                texts.append(stand("SELECT rtrim(pg_get_viewdef('again'::regclass), ';')")[0][0])
                stand("DROP VIEW again")
            unstable += texts[1] != texts[2]
            assert settled(texts[1]) == settled(texts[2]) == settled(texts[3]), query
    assert unstable > 10
    stand.connection.close()
