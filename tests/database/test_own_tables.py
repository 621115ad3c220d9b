"""Whom the tool's tables may belong to, what they may be, and what strangers' rows in them do: a clear refusal, never code that runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from servers import PostgresServer
from user_project import Project

pytestmark = pytest.mark.postgres

LEDGER = "ewh_implemented_features"
FILE = """
from migrate_graph import migration

@migration
def one_1(db):
    db.executesql("CREATE TABLE one (id integer)")
    return True
"""
READING = (("status",), ("plan",), ("log",), ("check", "--history"))
WRITING = (("apply",), ("mark", "one_1", "--pending"))


class Place:
    """A project, its database, and a stranger with CREATE in `public`."""

    def __init__(self, project: Project, server: PostgresServer, database: str) -> None:
        self.project = project
        self.server = server
        self.database = database
        project.write("migrations.py", FILE)
        project.env["MIGRATE_URI"] = server.app_uri(database)

    def sql(self, *statements: str) -> list[Any]:
        with closing(psycopg2.connect(self.server.admin_uri(self.database))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for each in statements:
                    cursor.execute(each)
                return list(cursor.fetchall()) if cursor.description else []

    def run(self, *words: str) -> tuple[int, str]:
        done = self.project.migrate(*words)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def place(project: Project, postgres_server: PostgresServer, postgres_database: str) -> Iterator[Place]:
    place = Place(project, postgres_server, postgres_database)
    role = f"mallory_{postgres_database}"
    place.sql(f"CREATE ROLE {role}", "GRANT CREATE, USAGE ON SCHEMA public TO PUBLIC")
    place.sql(
        f"SET ROLE {role}; CREATE FUNCTION trap() RETURNS text LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO public.called VALUES (current_user); RETURN 'T'; END $$"
    )
    yield place
    place.sql(f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


def applied(place: Place) -> None:
    code, output = place.run("apply")
    assert code == 0, output
    place.sql("CREATE TABLE IF NOT EXISTS called (what text)", "GRANT ALL ON called TO PUBLIC")


@pytest.mark.parametrize("table", [LEDGER, f"{LEDGER}_journal", f"{LEDGER}_views"])
def test_a_view_in_the_place_of_a_table_is_not_read(place: Place, table: str) -> None:
    applied(place)
    columns = ", ".join(
        f"public.trap() AS {name}"
        for (name,) in place.sql(
            f"SELECT attname FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped"
        )
    )
    role = f"mallory_{place.database}"
    place.sql(
        f"DROP TABLE {table} CASCADE",
        f"SET ROLE {role}; CREATE VIEW {table} AS SELECT {columns}; GRANT ALL ON {table} TO PUBLIC",
    )
    for words in READING + WRITING:
        code, output = place.run(*words)
        assert code == 6, (words, output)
        assert "is a view" in output
    assert place.sql("SELECT * FROM called") == []


FOREIGN = {
    "owner": ("ALTER TABLE {t} OWNER TO {m}; GRANT ALL ON {t} TO app", "belongs to the role", "OWNER TO"),
    "a trigger": (
        """CREATE FUNCTION public.ring() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
        CREATE TRIGGER bell BEFORE INSERT ON {t} FOR EACH ROW EXECUTE FUNCTION public.ring()""",
        "has the trigger bell",
        "DROP TRIGGER",
    ),
    "a rule": ("CREATE RULE also AS ON INSERT TO {t} DO ALSO SELECT 1", "has the rule also", "DROP RULE"),
    "row security": ("ALTER TABLE {t} ENABLE ROW LEVEL SECURITY", "has row security", "DISABLE ROW LEVEL SECURITY"),
    "a grant": ("GRANT INSERT, UPDATE ON {t} TO {m}", "may be written by the role", "REVOKE INSERT, UPDATE"),
    "a grant to everybody": ("GRANT DELETE ON {t} TO PUBLIC", "may be written by everybody", "FROM PUBLIC"),
    "a grant on a column": ("GRANT UPDATE (name) ON {l} TO {m}", "may be written by the role", "REVOKE UPDATE (name)"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("way", "table"),
    [
        ("owner", LEDGER),
        ("owner", f"{LEDGER}_journal"),
        *((way, f"{LEDGER}_views") for way in FOREIGN),
        ("a rule", LEDGER),
    ],
)
def test_a_table_that_others_have_a_hand_in_is_refused(place: Place, way: str, table: str) -> None:
    applied(place)
    statement, told, mended = FOREIGN[way]
    role = f"mallory_{place.database}"
    place.sql(statement.format(t=table, m=role, l=LEDGER))
    before = place.sql(f"SELECT * FROM {LEDGER}")
    for words in WRITING:
        code, output = place.run(*words)
        assert code == 6, (words, output)
        assert told in output
        assert mended in output
    assert place.sql(f"SELECT * FROM {LEDGER}") == before
    if way != "row security":
        assert place.run("status")[0] == 0, "reading runs nobody's code"
    code, output = place.run("plan")
    assert (code, told in output, mended in output) == (6, True, True), output


def test_a_superuser_trusts_no_table_of_just_anybody(place: Place) -> None:
    role = f"mallory_{place.database}"
    applied(place)
    place.sql(f"DELETE FROM {LEDGER}", "DROP TABLE one", f"DROP TABLE {LEDGER}_views")
    place.sql(
        f"SET ROLE {role}; CREATE TABLE {LEDGER}_views (manager text, state text, migration text, relations text, changed timestamptz)"
    )
    place.project.env["MIGRATE_URI"] = place.server.admin_uri(place.database)
    code, output = place.run("apply")
    assert code == 6, output
    assert f"belongs to the role {role}" in output
    assert place.sql("SELECT count(*) FROM pg_class WHERE relname = 'one'") == [(0,)]


def test_default_privileges_open_no_door(place: Place) -> None:
    role = f"mallory_{place.database}"
    place.sql(f"ALTER DEFAULT PRIVILEGES FOR ROLE app GRANT ALL ON TABLES TO {role}")
    applied(place)
    rights = place.sql(
        f"SELECT c.relname, has_table_privilege('{role}', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER'), "
        f"has_table_privilege('{role}', c.oid, 'SELECT') FROM pg_class c WHERE c.relname LIKE '{LEDGER}%' AND c.relkind = 'r'"
    )
    assert [(one, two) for _, one, two in rights] == [(False, True)] * 3
    place.sql(f"ALTER DEFAULT PRIVILEGES FOR ROLE app REVOKE ALL ON TABLES FROM {role}")


ROWS = {
    "an unknown state": (f"UPDATE {LEDGER}_journal SET state = 'dancing'", "dancing"),
    "the year 20000": (f"UPDATE {LEDGER}_journal SET started = '20000-01-01'", "20000"),
    "a year before Christ": (f"UPDATE {LEDGER}_journal SET finished = '0044-03-15 BC'", "BC"),
    "for ever": (f"UPDATE {LEDGER}_journal SET finished = 'infinity'", "infinity"),
    "no number": (f"UPDATE {LEDGER}_journal SET duration = 'NaN'", "NaN"),
    "an endless number": (f"UPDATE {LEDGER}_journal SET duration = '-Infinity'", "Infinity"),
    "a record of the year 20000": (f"UPDATE {LEDGER} SET last_update_dttm = '20000-01-01'", "one_1"),
    "a record of for ever": (f"UPDATE {LEDGER} SET last_update_dttm = '-infinity'", "one_1"),
    "bad JSON": (
        f"INSERT INTO {LEDGER}_views VALUES ('V', 'down', 'm', '{{no json', now())", "V",
    ),
    "JSON of another shape": (f"INSERT INTO {LEDGER}_views VALUES ('V', 'down', 'm', '[1, {{}}]', now())", "V"),
    "an unknown state of a view": (f"INSERT INTO {LEDGER}_views VALUES ('V', 'dancing', 'm', '[]', now())", "dancing"),
}  # fmt: skip


@pytest.mark.parametrize("way", ROWS)
def test_a_foreign_row_is_named(place: Place, way: str) -> None:
    applied(place)
    statement, told = ROWS[way]
    place.sql(statement)
    for words in (("status",), ("apply",)):
        code, output = place.run(*words)
        assert code in {2, 6}, (words, code, output)
        assert told in output
        assert "Traceback" not in output
