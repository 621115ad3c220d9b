"""Operators, functions, types and tables of strangers, planted before the server's own, are never ours to call."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing, suppress
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import psycopg2
import pytest
from servers import PostgresServer
from user_project import Project

from migrate_graph.cli import commands

pytestmark = pytest.mark.postgres

FILE = """
import os
from migrate_graph import ViewMigrationManager, migration

class V(ViewMigrationManager):
    uses = ()
    since = "one_1"
    def up(self): self.db.executesql("CREATE VIEW public.v AS SELECT id FROM public.one")
    def down(self): self.db.executesql("DROP VIEW IF EXISTS public.v")

@migration
def one_1(db):
    db.executesql("CREATE TABLE public.one (id pg_catalog.int4, x pg_catalog.varchar)")
    db.commit()
    with V(db):
        db.executesql("ALTER TABLE public.one ADD more pg_catalog.int4")
    return True

@migration(requires=one_1)
def two_2(db):
    with V(db):
        db.executesql("ALTER TABLE public.one ADD note pg_catalog.int4")
    return True

@migration
def three_3(db):
    if db:
        raise KeyError("boom")
    return True

@migration(transaction="none")
def four_4(db):
    db.executesql("CREATE INDEX CONCURRENTLY one_id ON public.one (id)")
    return True

@migration
def five_5(db):
    db.commit()
    db.executesql("CREATE TABLE IF NOT EXISTS public.five (id pg_catalog.int4)")
    db.commit()
    if not os.path.exists("killed"):
        open("killed", "w").close()
        os.kill(os.getpid(), 9)
    return True
"""

TYPES = (
    "oid",
    "regclass",
    "varchar",
    "text",
    "name",
    "bpchar",
    "int4",
    "int8",
    '"char"',
    "bool",
    "timestamptz",
    "float8",
)
OPERATORS = ("=", "<>", "<", ">", "||", "+", "-", "~", "!~", "!~~", "~~")


def planted(
    server: PostgresServer,
    database: str,
    *,
    bell: str = "PERFORM pg_catalog.nextval('public.rung')",
    relations: bool = True,
) -> list[tuple[str, str]]:
    """Plant what may be planted; give what could not be.

    Args:
        server: where.
        database: in which of its databases.
        bell: what everything planted does when it is called.
        relations: views and a sequence, too.
    """
    statements = ["CREATE SEQUENCE public.rung" if relations else "SELECT 1"]
    for one in TYPES:
        for two in TYPES:
            statements.append(
                f"CREATE FUNCTION public.op(a pg_catalog.{one}, b pg_catalog.{two}) RETURNS pg_catalog.bool LANGUAGE plpgsql AS "
                f"$$ BEGIN {bell}; RETURN true; END $$"
            )
            statements += [
                f"CREATE OPERATOR public.{each} (LEFTARG = pg_catalog.{one}, RIGHTARG = pg_catalog.{two}, FUNCTION = public.op)"
                for each in OPERATORS
            ]
    for name, arguments, result in FUNCTIONS:
        statements.append(
            f"CREATE FUNCTION public.{name}({arguments}) RETURNS {result} LANGUAGE plpgsql AS "
            f"$$ BEGIN {bell}; RETURN NULL; END $$"
        )
    for name in ("timestamptz", "text", "oid", "regclass", "int4"):
        statements.append(
            f"CREATE DOMAIN public.{name} AS pg_catalog.{name} CHECK (public.tolls(VALUE::pg_catalog.text))"
        )
    for name in (
        "pg_class",
        "pg_namespace",
        "pg_locks",
        "pg_stat_activity",
        "pg_roles",
        "pg_index",
        "pg_database",
        "pg_settings",
    ) * relations:
        statements.append(f"CREATE VIEW public.{name} AS SELECT p.*, public.tolls('x') FROM pg_catalog.{name} p")
    with closing(psycopg2.connect(server.app_uri(database), options="-c search_path=pg_catalog")) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statements[0])
            cursor.execute(
                "CREATE FUNCTION public.tolls(a pg_catalog.text) RETURNS pg_catalog.bool LANGUAGE plpgsql AS "
                f"$$ BEGIN {bell}; RETURN true; END $$"
            )
            failed = []
            for each in statements[1:]:
                try:
                    cursor.execute(each)
                except psycopg2.Error as error:
                    failed.append((each, str(error)))
    return failed


FUNCTIONS = [
    ("set_config", "a pg_catalog.text, b pg_catalog.text, c pg_catalog.bool", "pg_catalog.text"),
    ("current_setting", "a pg_catalog.text", "pg_catalog.text"),
    ("pg_backend_pid", "", "pg_catalog.int4"),
    ("pg_try_advisory_lock", "a pg_catalog.int4, b pg_catalog.int4", "pg_catalog.bool"),
    ("pg_try_advisory_xact_lock", "a pg_catalog.int4, b pg_catalog.int4", "pg_catalog.bool"),
    ("pg_advisory_unlock", "a pg_catalog.int4, b pg_catalog.int4", "pg_catalog.bool"),
    ("to_regclass", "a pg_catalog.text", "pg_catalog.regclass"),
    ("current_schema", "", "pg_catalog.name"),
    ("now", "", "pg_catalog.timestamptz"),
    ("format", "a pg_catalog.text, b pg_catalog.name, c pg_catalog.name", "pg_catalog.text"),
    ("unnest", "a pg_catalog.text[]", "pg_catalog.text"),
    ("unnest", "a pg_catalog.oid[]", "pg_catalog.oid"),
    ("to_char", "a pg_catalog.timestamptz, b pg_catalog.text", "pg_catalog.text"),
    ("pg_is_in_recovery", "", "pg_catalog.bool"),
    ("pg_describe_object", "a pg_catalog.oid, b pg_catalog.oid, c pg_catalog.int4", "pg_catalog.text"),
    ("has_table_privilege", "a pg_catalog.text, b pg_catalog.text", "pg_catalog.bool"),
    ("quote_ident", "a pg_catalog.text", "pg_catalog.text"),
]


@pytest.fixture
def place(project: Project, postgres_server: PostgresServer, postgres_database: str) -> Iterator[Project]:
    project.write("migrations.py", FILE)
    project.env["MIGRATE_URI"] = postgres_server.app_uri(postgres_database)
    done = project.migrate(
        "mark", "one_1", "--pending"
    )  # so that the tables are there: what is planted makes the database not empty
    assert done.returncode == 0, done.stderr
    failed = planted(postgres_server, postgres_database)
    assert failed == []
    yield project
    with suppress(psycopg2.Error):
        postgres_server.execute(f'ALTER DATABASE "{postgres_database}" RESET search_path')


def rung(server: PostgresServer, database: str) -> Any:
    with (
        closing(psycopg2.connect(server.admin_uri(database), options="-c search_path=pg_catalog")) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT last_value, is_called FROM public.rung")
        return cursor.fetchone()


def installed(server: PostgresServer, database: str) -> set[str]:
    with (
        closing(psycopg2.connect(server.admin_uri(database), options="-c search_path=pg_catalog")) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT name FROM public.ewh_implemented_features WHERE installed = 'T'")
        return {name for (name,) in cursor.fetchall()}


BACKUP = """
SELECT pg_catalog.set_config('search_path', '', false);
CREATE TABLE public.ewh_implemented_features (id integer PRIMARY KEY, name pg_catalog.varchar(512), installed char(1), last_update_dttm timestamp);
INSERT INTO public.ewh_implemented_features VALUES (1, 'one_1', 'T', NULL);
"""

ANYTHING = {0, 1, 2, 3, 4}
STEPS: list[tuple[str, set[int]]] = [
    ("status", {0}), ("status --views", {0}), ("plan --check", {4}), ("plan --graph plan.svg", {0}), ("log", {0}),
    ("config", {0}), ("explain MG101", {0}), ("init", ANYTHING), ("new another --output-is-not-known", {2}), ("new another", ANYTHING),
    ("check", {0}), ("check --history", {0}), ("graph --history -o graph.svg", {0}), ("show one_1", {0}), ("show V", {0}),
    ("why two_2", {0}), ("apply --dry-run", {0}), ("drift", {0}), ("drift --adopt by_hand", ANYTHING), ("status --drift", {0}),
    ("verify", ANYTHING), ("revert one_1 --plan", ANYTHING),
    ("plan --rehearse --json", {1}), ("plan --sql --on here", {1}),
    ("apply --keep-going --exclude five_5", {1}), ("status", {0, 1}), ("log one_1", {0}),
    ("apply --select five_5", {-9}), ("status", ANYTHING | {5}), ("apply --select five_5", {5}), ("resolve five_5 --retry", {0}),
    ("apply --select five_5", {0}),
    ("mark two_2 --pending", {0}), ("mark three_3 --installed", {0}), ("apply --fake", {0}), ("apply", {0}),
    ("views adopt --output adopted.py", {0, 2}), ("views forget V --reason tried", {0, 2}),
    ("--set migrate_table=another baseline --all", {0}), ("--set migrate_table=another baseline --all --yes", {0}),
    ("--set migrate_table=third --set restore_size_limit=1000 restore backup.sql", {8}),
    ("status --json", {0}),
]  # fmt: skip
"""Every command, in an order in which each has something to do, with the exit codes that it may have."""


def real_commands() -> set[str]:
    """Return the names of all commands, as one types them."""
    found = set()
    for each in iter_modules(commands.__path__):
        module = import_module(f"{commands.__name__}.{each.name}")
        inner = [f" {one.name}" for one in iter_modules(module.__path__)] if each.ispkg else [""]
        found |= {f"{each.name}{rest}".replace("_", "-") for rest in inner}
    return found


def test_every_command_is_tried() -> None:
    typed = {re.sub(r"--set \S+ ", "", words) for words, _ in STEPS}
    assert {name for name in real_commands() if not any(f"{each} ".startswith(f"{name} ") for each in typed)} == set()


@pytest.mark.parametrize("search_path", ["public", "public, pg_catalog"])
@pytest.mark.usefixtures("may_create_databases")
def test_nobody_elses_code_is_called(
    place: Project, search_path: str, postgres_server: PostgresServer, postgres_database: str
) -> None:
    postgres_server.execute(f'ALTER DATABASE "{postgres_database}" SET search_path = {search_path}')
    place.write("backup.sql", BACKUP)
    place.env["PATH"] = os.pathsep.join([str(postgres_server.binaries), os.environ["PATH"]])  # noqa: TID251 - tests are an edge too
    silence = (1, False)
    for words, codes in STEPS:
        done = place.migrate(*words.split())
        assert done.returncode in codes, (words, done.returncode, done.stdout + done.stderr)
        assert rung(postgres_server, postgres_database) == silence, words
        if words.startswith("apply --keep-going"):
            assert {"one_1", "two_2", "four_4"} == installed(postgres_server, postgres_database)
    assert {"five_5"} <= installed(postgres_server, postgres_database)


def test_a_restore_calls_nobody_elses_code_either(
    project: Project, postgres_server: PostgresServer, postgres_database: str
) -> None:
    """Functions, operators and domains make no database full: here each of them raises."""
    assert planted(postgres_server, postgres_database, bell="RAISE EXCEPTION 'rung'", relations=False) == []
    postgres_server.execute(f'ALTER DATABASE "{postgres_database}" SET search_path = public, pg_catalog')
    project.write(
        "migrations.py", "from migrate_graph import migration\n\n@migration\ndef one_1(db):\n    return True\n"
    )
    backup = project.write("backup.sql", BACKUP)
    project.env["MIGRATE_URI"] = postgres_server.app_uri(postgres_database)
    done = project.migrate("restore", backup)
    assert done.returncode == 0, done.stdout + done.stderr
    assert installed(postgres_server, postgres_database) == {"one_1"}
    assert project.migrate("plan", "--check").returncode == 0


def test_the_bells_ring_for_whoever_calls_them(
    place: Project, postgres_server: PostgresServer, postgres_database: str
) -> None:
    """Else the test above could not fail."""
    with (
        closing(psycopg2.connect(postgres_server.app_uri(postgres_database))) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT 1 FROM ewh_implemented_features WHERE name = 'one_1'::varchar")
    assert rung(postgres_server, postgres_database) != (1, False)


TEMPORARY = """
    from migrate_graph import migration

    @migration
    def begin_1(db):
        return True

    @migration(requires=begin_1)
    def hide_2(db):
        for table in ("ewh_implemented_features", "ewh_implemented_features_journal", "ewh_implemented_features_views"):
            db.executesql(f"CREATE TEMP TABLE {table} (LIKE public.{table} INCLUDING ALL)")
        db.executesql("CREATE TEMP TABLE pg_class (oid oid); CREATE TEMP TABLE pg_locks (pid int); CREATE TEMP TABLE pg_namespace (oid oid)")
        db.executesql("CREATE DOMAIN pg_temp.text AS varchar; CREATE DOMAIN pg_temp.int4 AS bigint; CREATE DOMAIN pg_temp.timestamptz AS date")
        db.executesql("CREATE TABLE kept (id int)")
        db.commit()
        db.executesql("CREATE TABLE kept_too (id int)")
        return True
"""


def test_what_a_body_plants_in_pg_temp_stands_in_for_nothing(
    project: Project, postgres_server: PostgresServer, postgres_database: str
) -> None:
    project.write("migrations.py", TEMPORARY)
    project.env["MIGRATE_URI"] = postgres_server.app_uri(postgres_database)
    done = project.migrate("apply")
    assert done.returncode == 0, done.stdout + done.stderr
    assert installed(postgres_server, postgres_database) == {"begin_1", "hide_2"}
    assert project.migrate("plan", "--check").returncode == 0
