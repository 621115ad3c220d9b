"""`views adopt`, and what `status` says of views that somebody else touched, on a real PostgreSQL."""

from __future__ import annotations

import psycopg2
import pytest

pytestmark = pytest.mark.postgres


def execute(uri: str, *statements: str) -> None:
    connection = psycopg2.connect(uri)
    try:
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
    finally:
        connection.close()


STEPS = """
    from migrate_graph import migration


    @migration
    def create_base_1(db):
        db.executesql("CREATE TABLE IF NOT EXISTS base (id integer, name text)")
        return True
"""


def test_views_are_adopted_into_a_new_file_that_checks_and_rebuilds(shell, postgres_uri: str) -> None:
    shell.write("migrations.py", STEPS)
    shell.env["MIGRATE_URI"] = postgres_uri
    assert shell("apply").code == 0
    execute(
        postgres_uri,
        "CREATE VIEW first_view AS SELECT id FROM base",
        "CREATE VIEW second_view AS SELECT id + 1 AS id FROM first_view",
    )
    ran = shell("views", "adopt")
    assert ran.code == 0, ran.err
    assert "written: views.py:1  FirstView, SecondView" in ran.out
    assert "2 views adopted" in ran.out
    assert "next: import views in migrations.py" in ran.out
    again = shell("views", "adopt")
    assert again.code == 2
    assert "views.py exists already" in again.err
    text = (shell.path / "migrations.py").read_text()
    (shell.path / "migrations.py").write_text(
        f"{text}\n\nfrom views import FirstView\n\n\n@migration(requires=[create_base_1])\ndef widen_2(db):\n"
        "    with FirstView(db):\n"
        '        db.executesql("ALTER TABLE base ALTER COLUMN id TYPE bigint")\n'
        "    return True\n"
    )
    assert shell("check").code == 0
    done = shell("apply")
    assert done.code == 0, done.err
    assert "view up: SecondView" in done.err
    assert shell("views", "adopt", "-o", "more.py").out == "nothing to adopt: every view has a manager\n"
    wrong = shell("views", "adopt", "third_view", "-o", "more.py")
    assert wrong.code == 2
    assert "third_view" in wrong.err
    assert not (shell.path / "more.py").exists()


def test_what_is_left_out_is_not_said_to_have_a_manager(shell, postgres_uri: str) -> None:
    shell.write("migrations.py", STEPS)
    shell.env["MIGRATE_URI"] = postgres_uri
    assert shell("apply").code == 0
    execute(
        postgres_uri,
        "CREATE VIEW a AS SELECT 1 AS id",
        "CREATE VIEW b AS SELECT id FROM a",
        "CREATE OR REPLACE VIEW a AS SELECT id FROM b",
    )
    ran = shell("views", "adopt")
    assert (ran.code, ran.out) == (0, "nothing to adopt: 2 views left out\n")
    assert "public.a is left out" in ran.err


def test_status_tells_which_views_somebody_changed_or_dropped(shop, postgres_uri: str) -> None:
    shop.env["MIGRATE_URI"] = postgres_uri
    assert shop("apply").code == 0
    assert shop("status", "--json").json["views"][0]["changed"] == []
    execute(postgres_uri, "CREATE OR REPLACE VIEW totals AS SELECT max(total)::bigint AS total FROM invoice")
    changed = shop("status")
    assert "changed by hand since it was made: public.totals" in changed.out
    execute(postgres_uri, "DROP VIEW totals")
    assert "not in the database: public.totals" in shop("status").out
    assert shop("status", "--json").json["views"][0]["missing"] == ["public.totals"]


def test_adopting_needs_a_database_that_knows_what_a_view_reads(shop) -> None:
    ran = shop("views", "adopt")
    assert ran.code in {2, 6}
    assert shop("apply").code == 0
    ran = shop("views", "adopt")
    assert ran.code == 2
    assert "SQLite does not tell" in ran.err
    none = shop("views", "adopt", MIGRATE_URI="")
    assert none.code == 2
    assert "no database is configured" in none.err


ADOPTED = """
    from migrate_graph import migration
    import views


    @migration
    def create_base_1(db):
        db.executesql("CREATE TABLE IF NOT EXISTS base (id integer, name text)")
        return True
"""


def oids(uri: str) -> list[tuple[str, int]]:
    connection = psycopg2.connect(uri)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT relname::text, oid::int FROM pg_class WHERE relkind IN ('v', 'm') AND relnamespace = 'public'::regnamespace"
            )
            return sorted(cursor.fetchall())
    finally:
        connection.close()


def test_adopted_views_are_known_as_they_are_and_not_built_anew(shell, postgres_uri: str) -> None:
    shell.write("migrations.py", STEPS)
    shell.env["MIGRATE_URI"] = postgres_uri
    assert shell("apply").code == 0
    execute(
        postgres_uri,
        "CREATE VIEW first_view AS SELECT id, '100%%'::text AS share FROM base WHERE name LIKE 'a%'",
        "CREATE VIEW second_view AS SELECT id + 1 AS id FROM first_view",
        "CREATE MATERIALIZED VIEW third_view AS SELECT id FROM second_view",
        "CREATE UNIQUE INDEX third_index ON third_view (id)",
    )
    before = oids(postgres_uri)
    assert shell("views", "adopt").code == 0
    shell.write("migrations.py", ADOPTED)
    found = shell("check")
    assert (found.code, found.out.count("MG210"), "or remove it" in found.out) == (0, 3, False), found.out
    first = shell("apply")
    assert "3 views exist as their managers write them, and are known from now on" in first.err
    assert "known from now on" not in shell("apply").err
    assert oids(postgres_uri) == before
    assert [each["lives"] for each in shell("status", "--json").json["views"]] == [True] * 3
    assert "MG406" not in shell("check", "--history").out
    text = (shell.path / "views.py").read_text()
    (shell.path / "views.py").write_text(text.replace("(id + 1)", "(id + 2)"))
    told = shell("check", "--history").out
    assert "MG406" in told
    assert "SecondView" in told
    execute(postgres_uri, "CREATE OR REPLACE VIEW first_view AS SELECT id, name AS share FROM base")
    assert "changed by hand since it was made: public.first_view" in shell("status").out


def test_a_view_that_its_manager_writes_otherwise_is_not_taken_for_its_own(shell, postgres_uri: str) -> None:
    shell.write("migrations.py", STEPS)
    shell.env["MIGRATE_URI"] = postgres_uri
    assert shell("apply").code == 0
    execute(postgres_uri, "CREATE VIEW first_view AS SELECT id FROM base")
    assert shell("views", "adopt").code == 0
    shell.write("migrations.py", ADOPTED)
    execute(postgres_uri, "CREATE OR REPLACE VIEW first_view AS SELECT id FROM base WHERE id > 1")
    assert "known from now on" not in shell("apply").err


def test_many_adopted_views_are_told_in_few_lines(shell, postgres_uri: str) -> None:
    shell.write("migrations.py", STEPS)
    shell.env["MIGRATE_URI"] = postgres_uri
    assert shell("apply").code == 0
    execute(
        postgres_uri,
        "DO $$ BEGIN FOR i IN 1..300 LOOP EXECUTE format('CREATE VIEW v_%s AS SELECT id + %s AS id FROM base', i, i); END LOOP; END $$",
    )
    adopted = shell("views", "adopt")
    assert len(adopted.out.splitlines()) <= 5
    shell.write("migrations.py", ADOPTED)
    assert len(shell("check").out.splitlines()) <= 11
    assert len(shell("check", "--history").out.splitlines()) <= 11
    assert len(shell("apply").err.splitlines()) <= 6
    assert len(shell("status").out.splitlines()) <= 11


def test_a_database_that_takes_no_writes_is_only_looked_at(shell, postgres_uri: str) -> None:
    shell.write("migrations.py", STEPS)
    shell.env["MIGRATE_URI"] = postgres_uri
    assert shell("apply").code == 0
    execute(postgres_uri, "CREATE VIEW first_view AS SELECT id FROM base")
    assert shell("views", "adopt").code == 0
    shell.write("migrations.py", ADOPTED)
    name = postgres_uri.rpartition("/")[2]
    execute(postgres_uri, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    done = shell("apply")
    assert (done.code, "known from now on" in done.err) == (0, False), done.err
    execute(
        postgres_uri, "SET transaction_read_only = off", f"ALTER DATABASE {name} RESET default_transaction_read_only"
    )
    assert "1 view exists as its manager writes it, and is known from now on" in shell("apply").err
