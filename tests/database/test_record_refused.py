"""What refuses a record on the ledger is found before anything runs, and nothing of the try stays; triggers on PostgreSQL: `test_own_tables`."""

from __future__ import annotations

from typing import Any

import pytest
from bodies import ask
from stand import Stand

from migrate_graph.database import open_backend
from migrate_graph.errors import DatabaseRefused

LEDGER = "ewh_implemented_features"
JOURNAL = f"{LEDGER}_journal"

_KNOWN = "CREATE TABLE known (name text PRIMARY KEY); INSERT INTO known VALUES ('one_1')"
_KEY = f"ALTER TABLE {LEDGER} ADD FOREIGN KEY (name) REFERENCES known"

ON_POSTGRES = {
    "a check": (f"ALTER TABLE {LEDGER} ADD CHECK (name !~ 'two')", "violates check constraint"),
    "a key": (f"{_KNOWN}; {_KEY}", "violates foreign key constraint"),
    "a key at the commit": (f"{_KNOWN}; {_KEY} DEFERRABLE INITIALLY DEFERRED", "violates foreign key constraint"),
    "a unique index": (f"CREATE UNIQUE INDEX ON {LEDGER} (installed)", "duplicate key value"),
    "an index on an expression": (f"CREATE INDEX ON {LEDGER} ((1 / (ascii(name) - 116)))", "division by zero"),
    "an exclusion": (f"ALTER TABLE {LEDGER} ADD EXCLUDE (installed WITH =)", "conflicting key value"),
    "a domain": (
        f"CREATE DOMAIN small AS varchar(512) CHECK (VALUE <> 'two_2'); ALTER TABLE {LEDGER} ALTER name TYPE small",
        "violates check constraint",
    ),
    "a generated column": (
        f"ALTER TABLE {LEDGER} ADD made int GENERATED ALWAYS AS (1 / (ascii(name) - 116)) STORED",
        "division by zero",
    ),
    "a check of the journal": (f"ALTER TABLE {JOURNAL} ADD CHECK (name !~ 'two')", "violates check constraint"),
}

_MADE = f'DROP TABLE {LEDGER}; CREATE TABLE {LEDGER} ("id" INTEGER PRIMARY KEY AUTOINCREMENT, "name" CHAR(512) UNIQUE {{}}, '
_MADE += f"\"installed\" CHAR(1), \"last_update_dttm\" TIMESTAMP); INSERT INTO {LEDGER} VALUES (1, 'one_1', 'T', NULL)"
_TRIGGER = "CREATE TRIGGER t BEFORE {} ON {} BEGIN SELECT RAISE({})| END"
ON_SQLITE = {
    "a check": (_MADE.format("CHECK (name <> 'two_2')"), "CHECK constraint failed"),
    "a key": (f"{_KNOWN}; {_MADE.format('REFERENCES known (name)')}", "refers to a row of known that is not there"),
    "a unique index": (f"CREATE UNIQUE INDEX i ON {LEDGER} (installed)", "UNIQUE constraint failed"),
    "a trigger": (_TRIGGER.format("INSERT", LEDGER, "ABORT, 'not here'"), "not here"),
    "a trigger that drops it": (_TRIGGER.format("INSERT", LEDGER, "IGNORE"), "changes or drops it"),
    "a trigger of the journal": (_TRIGGER.format("UPDATE", JOURNAL, "ABORT, 'not here'"), "not here"),
    "a trigger that drops it from the journal": (_TRIGGER.format("INSERT", JOURNAL, "IGNORE"), "changes or drops"),
}


def one_1(_: Any) -> bool:
    return True


def _by_hand(uri: str, statements: str) -> None:
    ask(uri, *(each.replace("|", ";") for each in statements.split("; ")))


def _check(uri: str, by_hand: str, told: str) -> None:
    def two_2(_: Any) -> bool:
        pytest.fail("it was begun")

    stand = Stand(uri)
    assert stand.run(one_1).succeeded
    _by_hand(uri, by_hand)
    before = ask(uri, f"SELECT * FROM {LEDGER}"), ask(uri, f"SELECT * FROM {JOURNAL}")
    refused = f"cannot record migrations: the record of 'two_2' does not stand: .*({told})"
    with pytest.raises(DatabaseRefused, match=refused):
        stand.run(one_1, two_2)
    assert (ask(uri, f"SELECT * FROM {LEDGER}"), ask(uri, f"SELECT * FROM {JOURNAL}")) == before


@pytest.mark.postgres
@pytest.mark.parametrize("way", ON_POSTGRES)
def test_a_record_that_is_refused_on_postgres(way: str, postgres_uri: str) -> None:
    _check(postgres_uri, *ON_POSTGRES[way])


@pytest.mark.parametrize("way", ON_SQLITE)
def test_a_record_that_is_refused_on_sqlite(way: str, sqlite_uri: str) -> None:
    _check(sqlite_uri, *ON_SQLITE[way])


@pytest.mark.postgres
@pytest.mark.parametrize(
    "by_hand",
    [
        f"ALTER TABLE {LEDGER} ADD CHECK (name <> ''), ADD note text",
        f"{_KNOWN}, ('two_2'); {_KEY} DEFERRABLE INITIALLY DEFERRED",
    ],
    ids=["a check", "a key"],
)
@pytest.mark.parametrize("atomic", [False, True])
def test_what_refuses_nothing_is_no_obstacle(by_hand: str, atomic: bool, postgres_uri: str) -> None:
    def two_2(_: Any) -> bool:
        return True

    stand = Stand(postgres_uri)
    assert stand.run(one_1).succeeded
    _by_hand(postgres_uri, by_hand)
    assert stand.run(one_1, two_2, atomic=atomic).succeeded
    assert stand.history().applied == {"one_1", "two_2"}


def test_a_revert_is_tried_as_one(database_uri: str) -> None:
    """That of an applied one may be refused, where that it is applied is not."""
    stand = Stand(database_uri)
    assert stand.run(one_1).succeeded
    if database_uri.startswith("postgres"):
        ask(database_uri, f"ALTER TABLE {LEDGER} ADD CHECK (installed = 'T')")
    else:
        _by_hand(database_uri, _MADE.format("CHECK (installed = 'T')"))
    with open_backend(stand.settings, writing=True) as backend:
        backend.preflight(["one_1"], installed=True)
        backend.preflight(["one_1"])
        with pytest.raises(DatabaseRefused, match="the record of 'one_1' does not stand"):
            backend.preflight(["one_1"], installed=False)
    assert stand.history().applied == {"one_1"}
