"""Views that are declared by their query: what is created, kept, edited, and refused."""

from __future__ import annotations

import sqlite3
from typing import Any

import psycopg2
import pytest
from bystanders import bystanding
from catalog_probe import difference, probe
from servers import PostgresServer
from user_project import Project

PROJECT = r"""
from migrate_graph import SqlView, migration, sql_file

class Shared(SqlView):
    "What all of them have in common: it has no query, so it is no view itself."
    grants = {{"PUBLIC": "SELECT"}}
    since = "create_20260101_001"

class OrderTotals(Shared):
    query = sql_file("sql/totals.sql")
    uses = ()
    options = {{"security_barrier": True}}
    comment = "It's 100% \\ <kind>"

class HTTPOrders(Shared):
    query = "SELECT id FROM order_totals WHERE customer LIKE 'a%' -- the last line is a comment"
    uses = (OrderTotals,)
    {more}

class Best(SqlView):
    name = '"Best ""of"" all"'
    query = "SELECT customer, max(total) AS most FROM order_totals GROUP BY customer;"
    materialized = True
    with_data = False
    indexes = {{"Best one": "UNIQUE (customer)", "best_hash": "USING hash (most) WHERE most > 1"}}
    uses = (OrderTotals,)
    since = "create_20260101_001"

@migration
def create_20260101_001(db):
    db.executesql("CREATE TABLE orders (id int, customer varchar(20), total int, secret text)")
    db.executesql("INSERT INTO orders VALUES (1, 'ann', 3, 's'), (2, 'bob', 4, 's')")
    with OrderTotals(db):
        pass
    return True

@migration(requires=create_20260101_001)
def drop_20260102_001(db):
    with OrderTotals(db):
        db.executesql("ALTER TABLE orders DROP COLUMN secret")
    return True
"""
TOTALS = "SELECT id, customer, total FROM orders;\n"
OPENED = """
@migration(requires=drop_20260102_001)
def open_20260103_001(db):
    with OrderTotals(db):
        pass
    return True
"""


def write(project: Project, more: str = "pass", opened: str = "", totals: str = TOTALS) -> None:
    project.write("migrations.py", PROJECT.format(more=more) + opened)
    project.write("sql/totals.sql", totals)


def applied(project: Project, *args: str) -> None:
    done = project.migrate("apply", *args)
    assert done.returncode == 0, done.stdout + done.stderr


def rows(uri: str, query: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(uri)
    with connection, connection.cursor() as cursor:
        cursor.execute(query)
        found = cursor.fetchall()
    connection.close()
    return found


def described(uri: str) -> dict[str, list[tuple[Any, ...]]]:
    connection = psycopg2.connect(uri)
    with connection, connection.cursor() as cursor:
        found = probe(cursor)
    connection.close()
    return found


BARE = """
from migrate_graph import SqlView, migration

class V(SqlView):
    uses = ()
    since = "make_20260101_001"
    query = "SELECT id FROM orders"

@migration
def make_20260101_001(db):
    db.executesql("CREATE TABLE orders (id int)")
    with V(db):
        return True
"""
OPENS = """
@migration(requires=make_20260101_001)
def open_20260102_001(db):
    with V(db):
        return True
"""


def test_what_somebody_added_to_a_declared_view_is_kept(project: Project, postgres_uri: str) -> None:
    project.env["MIGRATE_URI"] = postgres_uri
    project.write("migrations.py", BARE)
    applied(project)
    by_hand = (
        "COMMENT ON VIEW v IS 'theirs'; COMMENT ON COLUMN v.id IS 'theirs, too'; GRANT SELECT ON v TO PUBLIC; "
        "ALTER VIEW v SET (security_barrier = true); ALTER VIEW v ALTER id SET DEFAULT 5; "
        "CREATE RULE nothing AS ON DELETE TO v DO INSTEAD NOTHING"
    )
    connection = psycopg2.connect(postgres_uri)
    with connection, connection.cursor() as cursor:
        cursor.execute(by_hand)
    connection.close()
    before = described(postgres_uri)
    project.write("migrations.py", BARE + OPENS)
    applied(project)
    assert difference(before, described(postgres_uri)) == []


def test_everything_declared_is_made_on_postgresql_and_kept_in_a_rebuild(
    project: Project, postgres_uri: str, postgres_admin_uri: str, postgres_server: PostgresServer
) -> None:
    project.env["MIGRATE_URI"] = postgres_uri
    write(project)
    applied(project, "--to", "create_20260101_001")
    relations = "SELECT relname, relkind, reloptions FROM pg_class WHERE relname IN ('order_totals', 'http_orders', 'Best \"of\" all') ORDER BY 1"
    assert rows(postgres_uri, relations) == [
        ('Best "of" all', "m", None), ("http_orders", "v", None), ("order_totals", "v", ["security_barrier=true"]),
    ]  # fmt: skip
    assert rows(postgres_uri, "SELECT obj_description('order_totals'::regclass)") == [("It's 100% \\ <kind>",)]
    assert rows(postgres_uri, "SELECT has_table_privilege('public', 'http_orders', 'SELECT')") == [(True,)]
    assert rows(postgres_uri, "SELECT id FROM http_orders") == [(1,)]
    indexes = (
        "SELECT indexname, indexdef LIKE '%UNIQUE%', indexdef LIKE '%hash (most) WHERE%' FROM pg_indexes"
        " WHERE schemaname = 'public' AND indexname ILIKE 'best%' ORDER BY 1"
    )
    assert rows(postgres_uri, indexes) == [("Best one", True, False), ("best_hash", False, True)]
    assert rows(postgres_uri, "SELECT relispopulated FROM pg_class WHERE relname LIKE 'Best%all'") == [(False,)]

    more = (
        "COMMENT ON VIEW http_orders IS 'by hand'", "GRANT SELECT ON order_totals TO pg_monitor",
        """CREATE INDEX added ON "Best ""of"" all" (most)""",
    )  # fmt: skip
    connection = psycopg2.connect(postgres_uri)
    with connection, connection.cursor() as cursor:
        for statement in more:
            cursor.execute(statement)
    connection.close()
    before = described(postgres_uri)
    with bystanding(postgres_admin_uri):
        applied(project)
    after = described(postgres_uri)
    assert [line for line in difference(before, after) if "('orders'," not in line] == []


def test_on_sqlite_it_is_the_query_alone(project: Project, sqlite_uri: str) -> None:
    project.env["MIGRATE_URI"] = sqlite_uri
    write(project)
    applied(project)
    with sqlite3.connect(sqlite_uri.removeprefix("sqlite://")) as connection:
        assert connection.execute("SELECT id FROM http_orders").fetchall() == [(1,)]
        assert connection.execute('SELECT * FROM "Best ""of"" all" ORDER BY 1').fetchall() == [("ann", 3), ("bob", 4)]
        kinds = connection.execute(
            "SELECT DISTINCT type FROM sqlite_master WHERE name IN ('order_totals', 'http_orders')"
        )
        assert kinds.fetchall() == [("view",)]


@pytest.mark.parametrize("database_uri", ["postgres", "sqlite"], indirect=True)
def test_an_edited_file_is_an_edited_view_and_comes_in_where_it_is_opened(project: Project, database_uri: str) -> None:
    project.env["MIGRATE_URI"] = database_uri
    write(project)
    applied(project)
    totals = "SELECT id, customer, total, 2 * total AS twice FROM orders"
    write(project, totals=totals)
    assert "text changed since it was created" in project.migrate("status").stdout
    write(project, totals=totals, opened=OPENED)
    assert "text" in project.migrate("plan").stdout
    applied(project)
    assert "text changed" not in project.migrate("status").stdout
    if database_uri.startswith("postgres"):
        assert rows(database_uri, "SELECT twice FROM order_totals ORDER BY 1") == [(6,), (8,)]


@pytest.mark.parametrize(("at_first", "then"), [("pass", "materialized = True"), ("materialized = True", "pass")])
def test_a_view_may_become_a_materialized_one_and_back(
    project: Project, postgres_uri: str, at_first: str, then: str
) -> None:
    project.env["MIGRATE_URI"] = postgres_uri
    write(project, at_first)
    applied(project)
    write(project, then, opened=OPENED)
    applied(project)
    kind = "v" if then == "pass" else "m"
    assert rows(postgres_uri, "SELECT relkind FROM pg_class WHERE relname = 'http_orders'") == [(kind,)]


def test_what_is_declared_anew_wins_over_what_was_there(project: Project, postgres_uri: str) -> None:
    project.env["MIGRATE_URI"] = postgres_uri
    write(project, 'comment = "first"')
    applied(project)
    write(project, 'comment = "second"', opened=OPENED)
    applied(project)
    assert rows(postgres_uri, "SELECT obj_description('http_orders'::regclass)") == [("second",)]


def test_a_table_of_its_name_is_never_dropped(project: Project, postgres_uri: str) -> None:
    project.env["MIGRATE_URI"] = postgres_uri
    write(project)
    applied(project, "--to", "create_20260101_001")
    connection = psycopg2.connect(postgres_uri)
    with connection, connection.cursor() as cursor:
        cursor.execute("DROP VIEW http_orders; CREATE TABLE http_orders (kept int)")
    connection.close()
    done = project.migrate("apply")
    assert done.returncode == 1
    assert '"http_orders" is not a view' in done.stdout + done.stderr
    assert rows(postgres_uri, "SELECT count(kept) FROM http_orders") == [(0,)]


def test_nothing_that_depends_on_it_is_dropped_along(project: Project, postgres_uri: str) -> None:
    project.env["MIGRATE_URI"] = postgres_uri
    write(project)
    applied(project, "--to", "create_20260101_001")
    connection = psycopg2.connect(postgres_uri)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE VIEW unmanaged AS SELECT * FROM order_totals")
    connection.close()
    done = project.migrate("apply")
    assert done.returncode == 1
    assert "unmanaged" in done.stdout + done.stderr
    assert rows(postgres_uri, "SELECT count(*) FROM unmanaged") == [(2,)]


BAD = {
    "query = ''": "query is empty",
    "query = ' ; '": "query is empty",
    "query = 5": "query is no text",
    "query = 'SELECT 1'; name = 'a b'": "is no name as SQL writes it",
    "query = 'SELECT 1'; name = 'a; DROP TABLE x'": "is no name as SQL writes it",
    "query = 'SELECT 1'; name = ('a',)": "name is no text",
    "query = 'SELECT 1'; options = ['security_barrier']": "options is no mapping",
    "query = 'SELECT 1'; options = {'a) AS SELECT 2 --': 1}": "is no name of an option",
    "query = 'SELECT 1'; indexes = {'i': '(a)'}": "only a materialized view",
    "query = 'SELECT 1'; materialized = True; indexes = {'i': 'a'}": "write the columns in brackets",
    "query = 'SELECT 1'; materialized = True; indexes = {'i': 5}": "is no text",
    "query = 'SELECT 1'; grants = {'reader': 5}": "neither a privilege nor several",
    "query = 'SELECT 1'; comment = None": "comment is no text",
    "query = 'SELECT 1'; materialized = 'no'": "materialized: 'no' is neither True nor False",
    "query = 'SELECT 1'; materialized = True; with_data = 0": "with_data: 0 is neither True nor False",
    "query = sql_file('nowhere.sql')": "nowhere.sql",
}


@pytest.mark.parametrize("body", BAD)
def test_a_bad_declaration_is_an_error_of_its_line(project: Project, body: str) -> None:
    project.write(
        "migrations.py", f"from migrate_graph import SqlView, sql_file\n\nclass V(SqlView):\n    uses = (); {body}\n"
    )
    done = project.migrate("check")
    assert done.returncode in {2, 3}
    said = done.stdout + done.stderr
    assert BAD[body] in said
    assert "migrations.py:" in said
    assert "sql_view.py" not in said


def test_a_declared_view_and_a_manager_mix(project: Project, sqlite_uri: str) -> None:
    project.env["MIGRATE_URI"] = sqlite_uri
    project.write(
        "migrations.py",
        """
        from migrate_graph import SqlView, ViewMigrationManager, migration

        class Low(SqlView):
            query = "SELECT id FROM t"
            uses = ()
            since = "create_20260101_001"

        class High(ViewMigrationManager):
            uses = (Low,)
            since = "create_20260101_001"
            def up(self):
                self.db.executesql("CREATE VIEW high AS SELECT id FROM low")
            def down(self):
                self.db.executesql("DROP VIEW IF EXISTS high")

        class Higher(SqlView):
            query = "SELECT id FROM high"
            uses = (High,)
            since = "create_20260101_001"

        @migration
        def create_20260101_001(db):
            db.executesql("CREATE TABLE t (id int)")
            with Low(db):
                pass
            return True
        """,
    )
    applied(project)
    with sqlite3.connect(sqlite_uri.removeprefix("sqlite://")) as connection:
        assert connection.execute("SELECT * FROM higher").fetchall() == []
