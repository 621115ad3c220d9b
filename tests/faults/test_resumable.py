"""A migration that may be cut off anywhere: `@migration(resumable=True)` is run again, and nobody is asked."""

from __future__ import annotations

import signal

import pytest
from fault_field import Field
from servers import PostgresServer

BATCHES = """
import time
from child import executed, here
from migrate_graph import migration

@migration
def table_1(db):
    db.executesql("CREATE TABLE t (id integer PRIMARY KEY, done integer)")
    for number in range(4):
        db.executesql(f"INSERT INTO t VALUES ({number}, 0)")
    return True

@migration(resumable=True, requires=table_1)
def batches_2(db):
    executed("batches_2")
    while rows := db.executesql("SELECT min(id) FROM t WHERE done = 0 HAVING min(id) IS NOT NULL"):
        number = rows[0][0]
        db.executesql(f"UPDATE t SET done = done + 1 WHERE id = {number}")
        db.commit()
        here(f"batch {number}")
        if number == 1:
            print("here")
            WAIT
    return True

@migration(requires=batches_2)
def after_3(db):
    return True
"""
GOOD = BATCHES.replace("WAIT", "pass")


def _is_done(field: Field) -> None:
    field.write(GOOD)
    ended = field.apply()
    assert ended.code == 0, ended.output
    assert field.query("SELECT count(*), min(done), max(done) FROM t") == [(4, 1, 1)]
    assert field.executions("batches_2") == 2
    assert field.probe().ledger == {"table_1": "T", "batches_2": "T", "after_3": "T"}


def test_a_signal_asks_nobody(anywhere: Field) -> None:
    anywhere.write(BATCHES.replace("WAIT", "time.sleep(60)"))
    process = anywhere.open("apply")
    process.wait_for("batches_2 | here")
    ended = process.stop(signal.SIGTERM)
    assert ended.code == 143
    assert "2 commits of its own stayed in the database" in ended.output
    assert "migrate resolve" not in ended.output
    assert "next: migrate apply" in ended.output
    status = anywhere.migrate("status")
    assert "migrate resolve" not in status.output
    _is_done(anywhere)


def test_a_kill_asks_nobody(anywhere: Field) -> None:
    anywhere.write(GOOD)
    assert anywhere.apply(fatal=("batch 1", 1)).code == -9
    assert anywhere.migrate("plan", "--check").code == 4, "pending, and no question"
    _is_done(anywhere)


def test_a_failure_asks_nobody_even_where_failures_do(anywhere: Field) -> None:
    anywhere.env["MIGRATE_ON_PARTIAL"] = "stop"
    anywhere.write(BATCHES.replace("WAIT", "raise ValueError"))
    assert anywhere.apply().code == 1
    _is_done(anywhere)


@pytest.mark.postgres
def test_a_lost_connection_asks_nobody(on_postgres: Field, postgres_server: PostgresServer) -> None:
    on_postgres.write(BATCHES.replace("WAIT", "db.executesql('SELECT pg_sleep(60)')"))
    process = on_postgres.open("apply")
    process.wait_for("batches_2 | here")
    postgres_server.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'migrate_graph:batches_2'"
    )
    ended = process.end()
    assert ended.code == 1, ended.output
    assert "it is resumable: migrate apply goes on with it" in ended.output
    assert "not reached" in ended.output
    _is_done(on_postgres)


def test_one_that_is_not_resumable_still_asks(anywhere: Field) -> None:
    anywhere.write(GOOD.replace("resumable=True, ", ""))
    assert anywhere.apply(fatal=("batch 1", 1)).code == -9
    assert anywhere.apply().code == 5
    assert anywhere.executions("batches_2") == 1
