"""Which views stand in the way of a statement: found by what the server names, not by its words."""

from __future__ import annotations

from contextlib import closing

import psycopg2
import psycopg2.extensions
import pytest

from migrate_graph.database.postgres.views.blockers import REFUSALS, views_named

pytestmark = pytest.mark.postgres

SETUP = (
    "CREATE SCHEMA aside",
    "CREATE TABLE t (a int, b int, c int)",
    "CREATE VIEW v AS SELECT a FROM t",
    "CREATE VIEW v2 AS SELECT b FROM t",
    'CREATE VIEW aside."My view" AS SELECT b FROM t',
    "CREATE MATERIALIZED VIEW m AS SELECT c FROM t",
    "CREATE TABLE child (b int)",
    "CREATE VIEW untouched AS SELECT b FROM child",
)


def refused(connection: psycopg2.extensions.connection, statement: str) -> tuple[str, str]:
    with connection.cursor() as cursor, pytest.raises(psycopg2.Error) as caught:
        cursor.execute(statement)
    connection.rollback()
    return caught.value.pgcode or "", caught.value.diag.message_detail or ""


@pytest.mark.parametrize("search_path", ["public", "pg_catalog", "aside, public"])
@pytest.mark.parametrize(
    ("statement", "views"),
    [
        ("ALTER TABLE public.t DROP COLUMN a", ["public.v"]),
        ("ALTER TABLE public.t DROP COLUMN b", ['aside."My view"', "public.v2"]),
        ("ALTER TABLE public.t DROP COLUMN c", ["public.m"]),
        ("DROP TABLE public.t", ['aside."My view"', "public.m", "public.v", "public.v2"]),
        ("ALTER TABLE public.t ALTER COLUMN a TYPE bigint", ["public.v"]),
        ("ALTER TABLE public.t ALTER COLUMN c TYPE bigint", ["public.m"]),
    ],
)
def test_the_views_in_the_way_are_named(postgres_uri: str, search_path: str, statement: str, views: list[str]) -> None:
    with closing(psycopg2.connect(postgres_uri)) as connection:
        with connection.cursor() as cursor:
            for each in SETUP:
                cursor.execute(each)
            cursor.execute(f"SET search_path = {search_path}")
        connection.commit()
        code, detail = refused(connection, statement)
        assert code in REFUSALS

        def ask(query: str) -> list[tuple[object, ...]]:
            with connection.cursor() as cursor:
                cursor.execute(query)
                return list(cursor.fetchall())

        assert list(views_named(detail, ask)) == views
        assert views_named("", ask) == ()
        assert views_named("view vx depends on column a of table t", ask) == (), "no name is the beginning of another"
