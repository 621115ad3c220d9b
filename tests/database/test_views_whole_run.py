"""Whole runs over a project of views, on both databases: the acceptance fixture."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from bystanders import bystanding
from catalog_probe import difference, probe
from servers import PostgresServer
from user_project import Project

HEAD = """
from migrate_graph import ViewMigrationManager, migration

def is_sqlite(db):
    return db._uri.startswith("sqlite")

def view(db, text):
    db.executesql(text if not is_sqlite(db) else text.replace("MATERIALIZED ", ""))

class Base(ViewMigrationManager):
    uses = ()
    since = "create_20260101_001"
    def up(self):
        view(self.db, "CREATE VIEW base AS SELECT id, customer, total FROM orders")
    def down(self):
        view(self.db, "DROP VIEW IF EXISTS base")

class BaseV2(Base):
    since = "rename_20260107_001"
    replaces = Base
    def up(self):
        view(self.db, "CREATE VIEW base AS SELECT id, customer, amount AS total FROM orders")

class Lefty(ViewMigrationManager):
    uses = (Base,)
    since = "create_20260101_001"
    def up(self):
        view(self.db, "CREATE VIEW lefty AS SELECT id, customer FROM base")
    def down(self):
        view(self.db, "DROP VIEW IF EXISTS lefty")

class Righty(ViewMigrationManager):
    uses = (Base,)
    since = "create_20260101_001"
    def up(self):
        view(self.db, "CREATE VIEW righty AS SELECT id, total FROM base")
    def down(self):
        view(self.db, "DROP VIEW IF EXISTS righty")

class Top(ViewMigrationManager):
    uses = (Lefty, Righty)
    since = "create_20260101_001"
    def up(self):
        view(self.db, "CREATE MATERIALIZED VIEW top AS SELECT l.id, l.customer, r.total FROM lefty l JOIN righty r ON r.id = l.id")
    def down(self):
        view(self.db, "DROP MATERIALIZED VIEW IF EXISTS top")

class Old(ViewMigrationManager):
    uses = (Base,)
    since = "create_20260101_001"
    until = "retire_20260105_001"
    def up(self):
        view(self.db, "CREATE VIEW old AS SELECT id FROM base")
    def down(self):
        view(self.db, "DROP VIEW IF EXISTS old")

class FlatV1(ViewMigrationManager):
    uses = ()
    since = "create_20260101_001"
    def up(self):
        view(self.db, "CREATE VIEW flat AS SELECT id FROM orders")
    def down(self):
        view(self.db, "DROP VIEW IF EXISTS flat")

class FlatV2(ViewMigrationManager):
    uses = ()
    since = "hand_over_20260106_001"
    replaces = FlatV1
    def up(self):
        view(self.db, "CREATE VIEW flat AS SELECT id, customer FROM orders")
    def down(self):
        view(self.db, "DROP VIEW IF EXISTS flat")

@migration
def create_20260101_001(db):
    db.executesql("CREATE TABLE orders (id int, customer varchar(20), total int, secret text)")
    db.executesql("INSERT INTO orders VALUES (1, 'ann', 3, 's')")
    with Base(db), FlatV1(db):
        pass
    return True
"""
PENDING = """
def rebuild(db, columns):
    db.executesql(f"CREATE TABLE orders_new ({columns})")
    names = ", ".join(column.split()[0] for column in columns.split(", "))
    db.executesql(f"INSERT INTO orders_new SELECT {names} FROM orders")
    db.executesql("DROP TABLE orders")
    db.executesql("ALTER TABLE orders_new RENAME TO orders")

@migration(requires=create_20260101_001)
def widen_20260102_001(db):
    with Base(db), FlatV1(db):
        if is_sqlite(db):
            rebuild(db, "id int, customer varchar(200), total int, secret text")
        else:
            db.executesql("ALTER TABLE orders ALTER COLUMN customer TYPE varchar(200)")
    return True

@migration(requires=widen_20260102_001)
def drop_20260103_001(db):
    with Base(db), FlatV1(db):
        db.executesql("ALTER TABLE orders DROP COLUMN secret")
    return True

@migration(requires=drop_20260103_001)
def swap_key_20260104_001(db):
    with Base(db), FlatV1(db):
        if is_sqlite(db):
            rebuild(db, "id integer primary key, customer varchar(200), total int")
        else:
            db.executesql("ALTER TABLE orders ADD PRIMARY KEY (id)")
    return True

@migration(requires=swap_key_20260104_001)
def retire_20260105_001(db):
    with Base(db):
        pass
    Old(db).down()
    return True

@migration(requires=retire_20260105_001)
def hand_over_20260106_001(db):
    with FlatV2(db):
        pass
    return True

@migration(requires=hand_over_20260106_001)
def rename_20260107_001(db):
    with BaseV2(db), FlatV2(db):
        db.executesql("ALTER TABLE orders RENAME COLUMN total TO amount")
    return True
"""
DRESS = (
    "GRANT SELECT ON base TO reader", "GRANT SELECT (id) ON top TO clerk", "COMMENT ON VIEW base IS 'the base'",
    "ALTER VIEW lefty SET (security_invoker = true)", "CREATE UNIQUE INDEX top_id ON top (id)",
    "COMMENT ON MATERIALIZED VIEW top IS 'top'", "GRANT SELECT ON flat TO reader",
    "CREATE FUNCTION ring() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
    "CREATE TRIGGER base_insert INSTEAD OF INSERT ON base FOR EACH ROW EXECUTE FUNCTION ring()",
)  # fmt: skip
DRESS_SQLITE = (
    "CREATE TRIGGER base_insert INSTEAD OF INSERT ON base BEGIN INSERT INTO orders (id) VALUES (new.id); END",
)

Ask = Callable[..., list[Any]]


def asking(uri: str) -> Ask:
    """Return what runs statements in a database, each committed, and gives the rows of the last."""

    def run(*statements: str) -> list[Any]:
        connection: Any = (
            sqlite3.connect(uri.removeprefix("sqlite://")) if uri.startswith("sqlite") else psycopg2.connect(uri)
        )
        rows: list[Any] = []
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
        connection.commit()
        connection.close()
        return rows

    return run


@pytest.fixture
def ask(database_uri: str) -> Ask:
    return asking(database_uri)


@pytest.fixture
def shop(project: Project, database_uri: str, request: pytest.FixtureRequest, ask: Ask) -> Iterator[Project]:
    """A project whose first migration is applied and whose views are dressed, in a database that somebody else uses."""
    project.env["MIGRATE_URI"] = database_uri
    project.write("migrations.py", HEAD + PENDING)
    done = project.migrate("apply", "--to", "create_20260101_001")
    assert done.returncode == 0, done.stderr
    if database_uri.startswith("sqlite"):
        ask(*DRESS_SQLITE)
    else:
        request.getfixturevalue("roles")
        ask(*DRESS)
    with bystanding(database_uri):
        yield project


def seen(uri: str) -> Any:
    if uri.startswith("sqlite"):
        connection = sqlite3.connect(uri.removeprefix("sqlite://"))
        rows = connection.execute(
            "SELECT type, name, sql FROM sqlite_master WHERE type IN ('view', 'trigger') ORDER BY 1, 2"
        ).fetchall()
        connection.close()
        return rows
    with psycopg2.connect(uri) as postgres, postgres.cursor() as cursor:
        found = probe(cursor)
    postgres.close()
    return found


def test_everything_changes_below_and_the_views_stay(shop: Project, database_uri: str, ask: Ask) -> None:
    before = seen(database_uri)
    done = shop.migrate("apply")
    assert done.returncode == 0, done.stdout + done.stderr
    after = seen(database_uri)
    if database_uri.startswith("sqlite"):
        meant = [("view", "flat"), ("view", "old"), ("view", "base")]  # handed over or retired
        assert [row for row in before if row[:2] not in meant] == [row for row in after if row[:2] not in meant]
        ask("INSERT INTO base (id) VALUES (7)")
    else:
        about = ("'orders", "'old'", "'flat'", "('base', '_RETURN'")  # what was meant to change
        rest = [line for line in difference(before, after) if not any(name in line for name in about)]
        assert [line for line in rest if "character varying" not in line] == []
        assert ask("SELECT has_table_privilege('reader', 'flat', 'SELECT')") == [(True,)]
    assert ask("SELECT id, customer FROM flat WHERE id = 1") == [(1, "ann")]
    assert ask("SELECT * FROM top WHERE id = 1") == [(1, "ann", 3)]
    assert ask("SELECT id, total FROM base WHERE id = 1") == [(1, 3)]
    assert ask("SELECT count(*) FROM ewh_implemented_features_views WHERE state = 'down'") == [(0,)]
    assert shop.migrate("plan", "--check").returncode == 0


BAD = {
    "d01-raises-after-commit": """
    with Base(db):
        db.commit()
        raise RuntimeError("boom")
    return True
""",
    "d04-swallows-after-commit": """
    try:
        with Base(db):
            db.commit()
            raise RuntimeError("boom")
    except RuntimeError:
        pass
    return True
""",
    "rolls-back": """
    with Base(db):
        db.rollback()
    return True
""",
    "sql-error": """
    with Base(db):
        db.executesql("ALTER TABLE nosuch ADD COLUMN x int")
    return True
""",
    "refuses-after-commit": """
    with Base(db):
        db.commit()
        db.executesql("ALTER TABLE orders RENAME COLUMN secret TO hidden")
        return False
""",
}


@pytest.mark.parametrize("what", BAD)
def test_d04_whatever_a_migration_does_its_views_are_there_afterwards(
    shop: Project, database_uri: str, ask: Ask, what: str
) -> None:
    before = seen(database_uri)
    shop.write(
        "migrations.py",
        f"{HEAD}{PENDING}\n@migration(requires=create_20260101_001)\ndef bad_20260102_001(db):\n{BAD[what]}",
    )
    done = shop.migrate("apply", "--to", "bad_20260102_001")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "bad_20260102_001" in done.stdout + done.stderr
    after = seen(database_uri)
    assert after == before if isinstance(after, list) else difference(before, after) == []
    assert ask("SELECT count(*) FROM ewh_implemented_features_views WHERE state = 'down'") == [(0,)]


@pytest.mark.parametrize("how", ["raise RuntimeError('boom')", "raise SystemExit(3)", "db.executesql('SELECT nosuch')"])
def test_d01_an_exception_inside_the_block_commits_nothing_and_loses_no_view(
    shop: Project, database_uri: str, ask: Ask, how: str
) -> None:
    before = seen(database_uri)
    shop.write(
        "migrations.py",
        f"{HEAD}{PENDING}\n@migration(requires=create_20260101_001)\ndef bad_20260102_001(db):\n"
        f"    with Base(db), FlatV1(db):\n        db.executesql('CREATE TABLE half_done (id int)')\n        {how}\n    return True\n",
    )
    done = shop.migrate("apply", "--to", "bad_20260102_001")
    assert done.returncode == 1, done.stdout + done.stderr
    after = seen(database_uri)
    assert after == before if isinstance(after, list) else difference(before, after) == []
    assert ask("SELECT name, installed FROM ewh_implemented_features ORDER BY name") == [
        ("bad_20260102_001", "F"), ("create_20260101_001", "T"),
    ]  # fmt: skip
    with pytest.raises((sqlite3.OperationalError, psycopg2.errors.UndefinedTable)):
        ask("SELECT * FROM half_done")


def test_d04_killed_inside_the_block_the_next_run_repairs(shop: Project, database_uri: str, ask: Ask) -> None:
    before = seen(database_uri)
    shop.write(
        "migrations.py",
        f"{HEAD}{PENDING}\nimport os\n\n@migration(requires=create_20260101_001)\ndef bad_20260102_001(db):\n"
        "    with Base(db):\n        db.commit()\n        os.kill(os.getpid(), 9)\n    return True\n",
    )
    assert shop.migrate("apply", "--to", "bad_20260102_001").returncode == -9
    assert ask("SELECT count(*) FROM ewh_implemented_features_views WHERE state = 'down'") == [(5,)]
    done = shop.migrate("apply", "--to", "bad_20260102_001")
    assert done.returncode == 5, done.stdout + done.stderr  # interrupted: a human decides about the migration …
    after = seen(database_uri)  # … but its views are back already
    assert after == before if isinstance(after, list) else difference(before, after) == []


def test_d16_an_unmanaged_reader_stops_the_run(shop: Project, database_uri: str, ask: Ask) -> None:
    ask("CREATE VIEW stranger AS SELECT id FROM base")
    before = seen(database_uri)
    done = shop.migrate("apply")
    assert done.returncode == 1
    assert "stranger" in done.stdout + done.stderr
    assert "widen_20260102_001" in done.stdout + done.stderr
    after = seen(database_uri)
    assert after == before if isinstance(after, list) else difference(before, after) == []


ADOPTING = """
from migrate_graph import migration
{imports}
@migration
def first_20260101_001(db):
    db.executesql("CREATE TABLE t (id int)")
    return True
"""
WIDENING = """
@migration(requires=first_20260101_001)
def widen_20260102_001(db):
    with views.VA(db):
        db.executesql("ALTER TABLE t ALTER COLUMN id TYPE bigint")
    return True
"""


@pytest.mark.postgres
def test_a_project_adopts_its_views_and_changes_what_they_read(project: Project, postgres_uri: str) -> None:
    project.env["MIGRATE_URI"] = postgres_uri
    project.write("migrations.py", ADOPTING.format(imports=""))
    assert project.migrate("apply").returncode == 0
    connection = psycopg2.connect(postgres_uri)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute(
        "CREATE VIEW v_a AS SELECT id FROM t; CREATE VIEW v_b AS SELECT id FROM v_a; COMMENT ON VIEW v_b IS 'kept'"
    )
    done = project.migrate("views", "adopt", "-o", "views.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "class VB(SqlView)" in (project.path / "views.py").read_text()
    assert project.migrate("views", "adopt", "-o", "views.py").returncode == 2  # never overwritten
    project.write("migrations.py", ADOPTING.format(imports="import views") + WIDENING)
    done = project.migrate("apply")
    assert done.returncode == 0, done.stdout + done.stderr
    cursor.execute(
        "SELECT pg_typeof(id)::text, obj_description('v_b'::regclass) FROM t FULL JOIN v_b USING (id) RIGHT JOIN (SELECT 1) x ON true"
    )
    assert cursor.fetchall() == [("bigint", "kept")]
    connection.close()


TAKEN_OVER = """
from edwh_migrate import ViewMigrationManager, migration

class OldTotals(ViewMigrationManager):
    \"\"\"Nothing to do with v_reader.\"\"\"
    uses = ()
    since = "first_20260101_001"
    def up(self):
        self.db.executesql("CREATE OR REPLACE VIEW v_totals AS SELECT id FROM t")
    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS v_totals")

class Totals(OldTotals):
    replaces = OldTotals
    since = "second_20260102_001"

class Named(ViewMigrationManager):
    name = "v_named"
    uses = (Totals,)
    since = "first_20260101_001"
    def up(self):
        self.db.executesql(f"CREATE MATERIALIZED VIEW {self.name} AS SELECT id FROM v_totals")
    def down(self):
        self.db.executesql(f"DROP MATERIALIZED VIEW IF EXISTS {self.name}")

class Retired(ViewMigrationManager):
    uses = ()
    until = "first_20260101_001"
    def up(self):
        self.db.executesql('CREATE VIEW "V Retired" AS SELECT id FROM t')
    def down(self):
        self.db.executesql('DROP VIEW IF EXISTS "V Retired"')

@migration
def first_20260101_001(db):
    return True

@migration(requires=first_20260101_001)
def second_20260102_001(db):
    return True
"""


@pytest.mark.postgres
def test_views_of_a_database_taken_over_have_managers_already(project: Project, postgres_uri: str) -> None:
    """Written by 2.1.0: a ledger table alone, and views whose managers have never run here."""
    project.env["MIGRATE_URI"] = postgres_uri
    connection = psycopg2.connect(postgres_uri)
    connection.autocommit = True
    ask = connection.cursor().execute
    for statement in (
        "CREATE TABLE ewh_implemented_features (id serial PRIMARY KEY, name varchar(512) UNIQUE, installed char(1), last_update_dttm timestamp)",
        "INSERT INTO ewh_implemented_features (name, installed) VALUES ('first_20260101_001', 'T'), ('second_20260102_001', 'T')",
        "CREATE TABLE t (id int)",
        "CREATE VIEW v_totals AS SELECT id FROM t",
        "CREATE MATERIALIZED VIEW v_named AS SELECT id FROM v_totals",
    ):
        ask(statement)
    project.write("migrations.py", TAKEN_OVER)
    done = project.migrate("views", "adopt")
    assert (done.returncode, done.stdout) == (0, "nothing to adopt: every view has a manager\n"), done.stderr
    assert "not in the database" not in project.migrate("status", "--views").stdout
    ask("ALTER VIEW v_totals RENAME TO v_away")
    told = project.migrate("status", "--views").stdout
    assert told.count("not in the database") == 1
    assert "not in the database: v_totals" in told
    ask("ALTER VIEW v_away RENAME TO v_totals")
    ask("CREATE VIEW v_reader AS SELECT id FROM v_totals UNION ALL SELECT id FROM v_named")
    done = project.migrate("views", "adopt")
    assert done.returncode == 0, done.stderr
    text = (project.path / "views.py").read_text()
    assert [line for line in text.splitlines() if line.startswith(("class ", "from migrations "))] == [
        "from migrations import Named",
        "from migrations import Totals",  # the version that lives, not the one it replaced
        "class VReader(SqlView):",
    ]
    assert "    uses = (Totals, Named)\n" in text
    connection.close()


EDITED = """
from migrate_graph import ViewMigrationManager, migration

class Totals(ViewMigrationManager):
    uses = ()
    since = "first_20260101_001"
    def up(self):
        self.db.executesql("CREATE VIEW v_totals AS SELECT {what} AS total FROM t")
    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS v_totals")

@migration
def first_20260101_001(db):
    db.executesql("CREATE TABLE t (id int)")
    with Totals(db):
        pass
    return True
"""
REBUILDING = """
@migration(requires=first_20260101_001)
def totals_20260102_001(db):
    with Totals(db):
        pass
    return True
"""


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_an_edited_view_is_told_until_a_migration_brings_it_in(
    project: Project, request: pytest.FixtureRequest, kind: str
) -> None:
    uri = "sqlite://app.db" if kind == "sqlite" else request.getfixturevalue("postgres_uri")
    project.env["MIGRATE_URI"] = uri
    project.write("migrations.py", EDITED.format(what="count(*)"))
    assert project.migrate("apply").returncode == 0
    assert "text changed" not in project.migrate("status").stdout
    project.write("migrations.py", "# only a comment\n" + EDITED.format(what="count(*)"))
    assert "text changed" not in project.migrate("status").stdout
    project.write("migrations.py", EDITED.format(what="sum(id)"))
    told = project.migrate("status").stdout
    assert "text changed since it was created; no migration brings the new text in" in told
    assert "text changed since it was created; no migration" in project.migrate("show", "Totals").stdout.replace(
        "\n", " "
    )
    plan = " ".join(project.migrate("plan").stdout.split())
    assert (
        "text changed since it was created, and no step brings it in: Totals; bring it in with a new migration" in plan
    )
    assert "`Totals.renew(db)`, or declare a successor with `replaces = Totals`" in plan
    assert json.loads(project.migrate("plan", "--json").stdout)["edited_views"] == ["Totals"]
    assert "MG406" in project.migrate("check", "--history").stdout
    assert "MG406" not in project.migrate("check").stdout
    project.write("migrations.py", EDITED.format(what="sum(id)") + REBUILDING)
    assert "totals_20260102_001 brings the new text in" in project.migrate("status").stdout
    assert "text  Totals, which changed since it was created" in project.migrate("plan").stdout
    document = json.loads(project.migrate("plan", "--json").stdout)
    assert (document["edited_views"], document["steps"][0]["renews"]) == ([], ["Totals"])
    assert "MG406" not in project.migrate("check", "--history").stdout
    assert project.migrate("apply").returncode == 0
    assert "text changed" not in project.migrate("status").stdout


OUT_OF_ORDER = """
from migrate_graph import ViewMigrationManager, migration

class All(ViewMigrationManager):
    uses = ()
    def up(self):
        self.db.executesql("CREATE VIEW person_all AS SELECT id, name FROM person")
    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS person_all")

class Middle(ViewMigrationManager):
    uses = (All,)
    def up(self):
        self.db.executesql("CREATE VIEW person_middle AS SELECT id, name FROM person_all")
    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS person_middle")

class Api(ViewMigrationManager):
    uses = (Middle,)
    def up(self):
        self.db.executesql("CREATE VIEW person_api AS SELECT id, name FROM person")
        self.db.executesql(
            "CREATE RULE ins AS ON INSERT TO person_api DO INSTEAD INSERT INTO {} VALUES (new.id, new.name)"
        )
    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS person_api")

@migration
def base_20260101_001(db):
    db.executesql("CREATE TABLE person (id int, name text)")
    with Api(db):
        pass
    with All(db):
        pass
    return True
"""


@pytest.mark.postgres
def test_what_a_view_uses_and_nothing_has_made_yet_comes_up_first(project: Project, postgres_uri: str) -> None:
    ask = asking(postgres_uri)
    project.env["MIGRATE_URI"] = postgres_uri
    project.write("migrations.py", OUT_OF_ORDER.format("person_middle"))
    done = project.migrate("apply")
    assert done.returncode == 0, done.stderr
    assert ask("SELECT string_agg(viewname, ' ' ORDER BY 1) FROM pg_views WHERE viewname LIKE 'person%'") == [
        ("person_all person_api person_middle",)
    ]
    assert ask("SELECT count(*) FROM ewh_implemented_features_views WHERE state = 'up'") == [(3,)]


@pytest.mark.postgres
def test_what_nothing_would_make_is_told_as_the_server_says_it(project: Project, postgres_uri: str) -> None:
    ask = asking(postgres_uri)
    project.env["MIGRATE_URI"] = postgres_uri
    project.write("migrations.py", OUT_OF_ORDER.format("person_nowhere"))
    done = project.migrate("apply")
    assert done.returncode == 1
    assert 'relation "person_nowhere" does not exist' in done.stderr
    assert ask("SELECT count(*) FROM pg_views WHERE viewname LIKE 'person%'") == [(0,)]


@pytest.mark.postgres
@pytest.mark.parametrize("how", ["restore", "apply"])
def test_after_a_restore_no_view_is_called_changed_by_hand(
    project: Project, postgres_server: PostgresServer, tmp_path: Path, how: str
) -> None:
    """Alone, too: the server has read every definition of the dump anew, and this one was another when it was made."""
    with postgres_server.database() as first, postgres_server.database() as second:
        uri = postgres_server.app_uri(first)
        project.env["MIGRATE_URI"] = uri
        project.write("migrations.py", EDITED.format(what="count(*)"))
        assert project.migrate("apply").returncode == 0
        asking(uri)("CREATE OR REPLACE VIEW v_totals AS SELECT count(*) + 0 AS total FROM t")
        assert "changed by hand" in project.migrate("status").stdout
        command = [
            str(postgres_server.binaries / "pg_dump"),
            "--no-owner",
            "--no-privileges",
            "--dbname",
            uri.replace("postgres://", "postgresql://"),
        ]
        dump = tmp_path / "backup.sql"
        dump.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
        project.env["MIGRATE_URI"] = postgres_server.app_uri(second)
        done = (
            project.migrate("restore", str(dump))
            if how == "restore"
            else project.migrate("apply", env={"DATABASE_TO_RESTORE": str(dump)})
        )
        assert done.returncode == 0, done.stderr
        told = project.migrate("status").stdout
        assert "Totals" in told
        assert "changed by hand" not in told
