"""A database that lived before gets its ledger."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

ORDER = ("create_customer_20260301_001", "create_invoice_20260301_002", "widen_total_20260302_001")


def on_sqlite(shop, *statements: str) -> None:
    with closing(sqlite3.connect(shop.path / "shop.db")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


@pytest.fixture
def alive(shop):
    """The shop, whose database was made by other means up to the invoice and its view."""
    on_sqlite(
        shop,
        "CREATE TABLE customer (id INTEGER PRIMARY KEY)",
        "CREATE TABLE invoice (id INTEGER PRIMARY KEY, total INTEGER)",
        "CREATE VIEW totals AS SELECT sum(total) AS total FROM invoice",
        "INSERT INTO customer VALUES (7)",
    )
    return shop


def relations(shop) -> set[str]:
    with closing(sqlite3.connect(shop.path / "shop.db")) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite%'")}


def test_plan_says_beforehand_what_apply_refuses(alive) -> None:
    planned, applied = alive("plan"), alive("apply")
    assert planned.code == applied.code == 8
    assert "migrate baseline" in planned.out
    assert "migrate baseline" in applied.err
    assert "customer" in planned.out
    assert alive("plan", "--json").json["exit_code"] == 8
    assert relations(alive) == {"customer", "invoice", "totals"}


def test_a_proposal_by_the_names_of_tables_writes_nothing(alive) -> None:
    ran = alive("baseline")
    assert ran.code == 0
    assert "customer exists" in ran.out
    assert "Nothing was written" in ran.out
    assert ran.out.endswith("next: migrate baseline create_customer_20260301_001 create_invoice_20260301_002 --yes\n")
    assert relations(alive) == {"customer", "invoice", "totals"}


def test_the_command_that_it_proposes_works(alive) -> None:
    words = alive("baseline").out.splitlines()[-1].removeprefix("next: migrate ").split()
    ran = alive(*words)
    assert ran.code == 0, ran.err
    assert "recorded as applied: 2; pending: 1" in ran.out
    states = {each["name"]: each["status"] for each in alive("status", "--json").json["migrations"]}
    assert states == dict(zip(ORDER, ("applied", "applied", "pending"), strict=True))
    assert alive("apply").code == 0
    with closing(sqlite3.connect(alive.path / "shop.db")) as connection:
        assert connection.execute("SELECT id FROM customer").fetchall() == [(7,)]
        assert connection.execute("SELECT vat FROM invoice").fetchall() == []


@pytest.mark.parametrize(
    ("words", "recorded"),
    [
        (["--to", ORDER[1]], ORDER[:2]),
        ([ORDER[1]], ORDER[:2]),
        (["--all"], ORDER),
        (["--none"], ()),
    ],
)
def test_what_is_asked_for_is_recorded_with_what_it_requires(
    alive, words: list[str], recorded: tuple[str, ...]
) -> None:
    shown = alive("baseline", *words, "--json").json
    assert not shown["written"]
    assert relations(alive) == {"customer", "invoice", "totals"}
    written = alive("baseline", *words, "--yes", "--reason", "made by hand", "--json").json
    assert written["written"]
    for found in (shown, written):
        assert [each["name"] for each in found["migrations"] if each["recorded"]] == list(recorded)
    status = alive("status", "--json").json["migrations"]
    assert [each["name"] for each in status if each["status"] == "applied"] == list(recorded)
    attempts = alive("log", "--json").json["attempts"]
    assert {each["state"] for each in attempts} <= {"marked"}
    assert all("made by hand" in each["error"] for each in attempts)


def test_a_view_of_ours_is_not_lost_by_the_next_apply(alive) -> None:
    alive("baseline", "--to", ORDER[1], "--yes")
    assert alive("apply").code == 0
    assert "totals" in relations(alive)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--all", "--none"], "contradict each other"),
        (["--to", ORDER[0], ORDER[1]], "contradict each other"),
        (["--yes"], "say what is there already"),
        (["create_custmer_20260301_001", "--yes"], "nothing is called"),
        (["--to", "Totals", "--yes"], "nothing is called"),
    ],
)
def test_bad_words_write_nothing(alive, words: list[str], told: str) -> None:
    ran = alive("baseline", *words)
    assert ran.code == 2
    assert told in ran.err
    assert relations(alive) == {"customer", "invoice", "totals"}


def test_a_database_with_a_ledger_is_left_alone(shop) -> None:
    shop("apply")
    ran = shop("baseline", "--none", "--yes")
    assert ran.code == 2
    assert "has its ledger already" in ran.err
    assert {each["status"] for each in shop("status", "--json").json["migrations"]} == {"applied"}


def test_an_empty_database_may_be_begun(shop) -> None:
    assert shop("baseline", "--none", "--yes").code == 0
    assert shop("apply").code == 0


def test_without_a_database_there_is_nothing_to_begin(shop) -> None:
    ran = shop("baseline", MIGRATE_URI="")
    assert ran.code == 2


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("alembic_version", "the ledger of Alembic"),
        ("django_migrations", "the ledger of Django"),
        ("typedal_implemented_features", 'migrate_table = "typedal_implemented_features"'),
        ("flyway_schema_history", "the ledger of Flyway"),
    ],
)
def test_the_ledger_of_another_tool_is_named(alive, table: str, told: str) -> None:
    on_sqlite(alive, f"CREATE TABLE {table} (id INTEGER)")
    assert told in alive("baseline").out
    assert told in alive("plan").out
    assert told in alive("apply").err


def test_a_ledger_under_the_usual_name_is_named_where_the_settings_say_another(alive) -> None:
    on_sqlite(alive, "CREATE TABLE ewh_implemented_features (id INTEGER)")
    told = 'ewh_implemented_features is a ledger of edwh-migrate: to go on with it, set migrate_table = "ewh_implemented_features"'
    assert told in alive("baseline", MIGRATE_TABLE="features").out
    assert told in alive("plan", MIGRATE_TABLE="features").out
    assert told in alive("apply", MIGRATE_TABLE="features").err


def test_what_is_called_like_the_ledger_and_is_no_table_is_no_advice(alive) -> None:
    on_sqlite(alive, "CREATE VIEW ewh_implemented_features AS SELECT 1 AS id")
    ran = alive("apply")
    assert (ran.code, "to go on with it" in ran.err) == (8, False)


def test_a_ledger_in_another_schema_is_named(shop, postgres_server, postgres_uri: str) -> None:
    import psycopg2

    with closing(psycopg2.connect(postgres_uri)) as connection, connection.cursor() as cursor:
        cursor.execute(
            'CREATE SCHEMA "Old"; CREATE TABLE "Old".ewh_implemented_features (id serial, name text, installed char(1), last_update_dttm timestamp)'
        )
        cursor.execute('CREATE TABLE customer (id int); CREATE TABLE public."Invoice" (id int)')
        connection.commit()
    ran = shop("baseline", MIGRATE_URI=postgres_uri)
    assert 'Old.ewh_implemented_features is a ledger of edwh-migrate: to go on with it, set schema = "Old"' in ran.out
    assert "customer exists" in ran.out
    assert shop("plan", MIGRATE_URI=postgres_uri).code == 8
    assert shop("plan", MIGRATE_URI=postgres_uri, SCHEMA="Old").code == 0, "it is found there"
    assert shop("baseline", ORDER[0], "--yes", MIGRATE_URI=postgres_uri).code == 0
    assert shop("plan", MIGRATE_URI=postgres_uri).code == 0
