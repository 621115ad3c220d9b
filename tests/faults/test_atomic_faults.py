"""`apply --atomic` among signals, poolers and connections of the project's own."""

from __future__ import annotations

import signal

import pytest
from fault_field import Field
from side_by_side import ONE_TRANSACTION

from migrate_graph.executor import Checkpoint

pytestmark = ONE_TRANSACTION

SLOW = """
import time
from child import executed, here
from migrate_graph import migration

@migration
def first_1(db):
    db.executesql("CREATE TABLE first (id integer PRIMARY KEY)")
    db.commit()
    return True

@migration(requires=first_1)
def slow_2(db):
    executed("slow_2")
    db.executesql("CREATE TABLE slow (id integer)")
    print("here")
    WAIT
    return True

@migration(requires=slow_2)
def last_3(db):
    db.executesql("CREATE TABLE last (id integer)")
    return True
"""
GOOD = SLOW.replace("WAIT", "pass")


def _nothing_is_there(field: Field) -> None:
    state = field.probe()
    assert state.tables == set()
    assert set(state.ledger.values()) <= {"F"}
    assert {state for _, state, _ in state.journal} <= {"failed"}


def _all_is_there(field: Field) -> None:
    state = field.probe()
    assert state.tables == {"first", "slow", "last"}
    assert state.ledger == {"first_1": "T", "slow_2": "T", "last_3": "T"}


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("place", ["python", "statement", "swallowed"])
def test_a_signal_in_a_body_rolls_everything_back(place: str, signum: signal.Signals, anywhere: Field) -> None:
    sleeps = "db.executesql('SELECT pg_sleep(300)')" if anywhere.is_postgres else "time.sleep(300)"
    swallowed = f"try:\n        {sleeps}\n    except BaseException:\n        pass"
    waits = {"python": "time.sleep(300)", "statement": sleeps, "swallowed": swallowed}
    anywhere.write(SLOW.replace("WAIT", waits[place]))
    process = anywhere.open("apply", "--atomic")
    process.wait_for("slow_2 | here")
    ended = process.stop(signum)
    assert ended.code == 128 + signum
    assert f"stopped by {signum.name}" in ended.output
    assert "1 rolled back (first_1)" in ended.output
    assert "committed: nothing, the database is as it was" in ended.output
    assert "next: migrate apply --atomic (begins again)" in ended.output
    _nothing_is_there(anywhere)
    anywhere.write(GOOD)
    assert anywhere.apply("--atomic").code == 0
    _all_is_there(anywhere)


@pytest.mark.parametrize("place", [Checkpoint.BODY_RETURNED, Checkpoint.SUCCESS_WRITTEN])
def test_a_kill_leaves_nothing_that_anybody_could_see(place: Checkpoint, anywhere: Field) -> None:
    anywhere.write(GOOD)
    count = 3 if place is Checkpoint.BODY_RETURNED else 1
    assert anywhere.apply("--atomic", fatal=(place, count)).code == -9
    _nothing_is_there(anywhere)
    assert anywhere.migrate("plan", "--check").code == 4, "pending, and no question"
    assert anywhere.apply("--atomic").code == 0
    _all_is_there(anywhere)


BASE = """
from migrate_graph import migration

@migration
def base_1(db):
    db.executesql("CREATE TABLE base (id integer)")
    return True
"""
WAITS_FOR_ITSELF = (
    BASE
    + """
@migration(requires=base_1)
def alters_2(db):
    db.executesql("ALTER TABLE base ADD COLUMN name text")
    return True

@migration(requires=alters_2)
def reads_3(db):
    import psycopg2

    psycopg2.connect(URI, application_name="own").cursor().execute("SELECT * FROM base")
    return True
"""
)


@pytest.mark.postgres
def test_a_connection_of_the_projects_own_that_waits_for_the_run_is_told(on_postgres: Field) -> None:
    """It would wait for ever, for a lock that an earlier migration of the run holds. Ctrl-C ends it."""
    on_postgres.write(BASE)
    assert on_postgres.apply().code == 0
    on_postgres.write(WAITS_FOR_ITSELF.replace("URI", repr(on_postgres.uri)))
    process = on_postgres.open("apply", "--atomic")
    told = process.wait_for("at work outside of the database")
    assert "reads_3" in told
    assert "own, active" in told
    assert "if that is a connection of its own, let db do its work" in told
    ended = process.stop(signal.SIGINT)
    assert ended.code == 130
    assert on_postgres.query(
        "SELECT count(*) FROM pg_attribute WHERE attname = 'name' AND attrelid = 'base'::regclass"
    ) == [(0,)]


@pytest.mark.postgres
def test_a_new_value_of_an_enum_is_of_no_use_before_the_commit(on_postgres: Field) -> None:
    on_postgres.write("""
        from migrate_graph import migration

        @migration
        def mood_1(db):
            db.executesql("CREATE TYPE mood AS ENUM ('sad')")
            return True
        """)
    assert on_postgres.apply().code == 0
    on_postgres.write("""
        from migrate_graph import migration

        @migration
        def mood_1(db):
            return True

        @migration(requires=mood_1)
        def adds_2(db):
            db.executesql("ALTER TYPE mood ADD VALUE 'glad'")
            return True

        @migration(requires=adds_2)
        def uses_3(db):
            db.executesql("CREATE TABLE moods AS SELECT 'glad'::mood AS mood")
            return True
        """)
    told = on_postgres.migrate("plan", "--atomic")
    assert told.code == 0
    assert (
        "adds_2 (migrations.py:9) adds a value to an enum, which nothing after it can use before the run has ended"
        in " ".join(told.output.split())
    )
    ended = on_postgres.apply("--atomic")
    assert ended.code == 1
    assert "failed  uses_3" in ended.output
    assert "migrate apply --no-atomic --to NAME" in ended.output
    assert on_postgres.apply("--no-atomic", "--to", "adds_2").code == 0
    assert on_postgres.apply("--atomic").code == 0
