"""The first command that writes into a database which lived before is killed, or refuses: no empty ledger stays, by which all would run again."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from fault_field import TABLE, Field

MIGRATIONS = """
from migrate_graph import migration


@migration
def customer_1(db):
    db.executesql("CREATE TABLE IF NOT EXISTS customer (id integer PRIMARY KEY)")
    db.executesql("INSERT INTO customer SELECT count(*) + 1 FROM customer")
    return True


@migration(requires=customer_1)
def orders_1(db):
    db.executesql("CREATE TABLE orders (id integer PRIMARY KEY)")
    return True
"""

DIES = """
import os, signal, sys
from migrate_graph.cli import main
from migrate_graph.database.books.ledger import Ledger

def die(*_arguments, **_options):
    os.kill(os.getpid(), signal.SIGKILL)

setattr(Ledger, sys.argv[1], die)
sys.exit(main(sys.argv[2:]))
"""
"""Runs a command, and dies where it calls a method of the ledger."""

COMMANDS = [("baseline", "customer_1", "--yes"), ("mark", "customer_1", "--installed")]


@pytest.fixture
def alive(anywhere: Field) -> Field:
    """A database with a table and a row, in which nobody remembers migrations."""
    anywhere.write(MIGRATIONS)
    anywhere.query("CREATE TABLE customer (id integer PRIMARY KEY)")
    anywhere.query("INSERT INTO customer VALUES (1)")
    return anywhere


def nothing_was_begun(field: Field) -> bool:
    """Return whether the database is as it was, and the next run still refuses it."""
    assert field.probe().tables == {"customer"}
    ended = field.apply()
    return ended.code == 8 and f"the table {TABLE} is missing" in ended.output


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
@pytest.mark.parametrize("place", ["write_record", "write_note"])
def test_a_ledger_begins_with_its_first_record_or_not_at_all(alive: Field, words: tuple[str, ...], place: str) -> None:
    died = subprocess.run([sys.executable, "-c", DIES, place, *words], check=False, cwd=alive.path, env=alive.env)
    assert died.returncode == -signal.SIGKILL
    assert nothing_was_begun(alive)
    assert alive.migrate(*words).code == 0
    assert alive.read().ledger == {"customer_1": "T"}
    assert alive.apply().code == 0
    assert alive.query("SELECT id FROM customer") == [(1,)]


@pytest.mark.parametrize("words", [("mark", "custommer_1", "--installed"), ("mark", "custommer_1", "--pending")])
def test_a_mark_that_is_refused_begins_no_ledger(alive: Field, words: tuple[str, ...]) -> None:
    refused = alive.migrate(*words)
    assert refused.code == 2
    assert "nothing is called 'custommer_1'" in refused.output
    assert nothing_was_begun(alive)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_record_that_is_refused_begins_no_ledger(alive: Field, words: tuple[str, ...]) -> None:
    if not alive.is_postgres:
        pytest.skip("a name may be of any length there")
    long = "c" * 600
    alive.write(MIGRATIONS.replace("customer_1", long))
    refused = alive.migrate(words[0], long, *words[2:])
    assert refused.code == 6
    assert "nothing was run" in refused.output
    alive.write(MIGRATIONS)
    assert nothing_was_begun(alive)
