"""A run that is one transaction: all of its migrations are kept, with their records, or nothing is."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from atomic_stand import Body, called, making, nothing_was_kept, outcomes_of, tables_of
from bodies import ask
from servers import PostgresServer
from stand import Stand

from migrate_graph.core.events import Outcome, RunStarted, StepFinished, Warned


def driver_of(db: Any) -> Any:
    return db._adapter.connection


# -- all or nothing ------------------------------------------------------------------------------------------------------------


def test_all_is_kept(database_uri: str) -> None:
    stand = Stand(database_uri)
    finished = stand.run(making("a"), making("b"), making("c"), atomic=True)
    assert finished.succeeded
    assert finished.atomic
    assert finished.changed
    assert tables_of(database_uri) == {"a", "b", "c"}
    history = stand.history()
    assert history.applied == {"makes_a", "makes_b", "makes_c"}
    attempts = history.attempts
    assert [(each.name, each.state, each.commits) for each in attempts] == [
        ("makes_a", "applied", 0), ("makes_b", "applied", 0), ("makes_c", "applied", 0),
    ]  # fmt: skip
    assert len({each.run for each in attempts}) == 1
    assert all(each.duration is not None for each in attempts)
    assert [event.result.outcome for event in stand.told(StepFinished)] == [Outcome.DONE] * 3
    assert stand.told(RunStarted)[0].atomic


def test_nothing_is_kept(database_uri: str) -> None:
    stand = Stand(database_uri)

    def fails(db: Any) -> bool:
        db.executesql("CREATE TABLE c (id integer)")
        db.commit()
        raise ValueError("oops")

    finished = stand.run(making("a"), making("b"), fails, making("d"), atomic=True)
    assert outcomes_of(finished) == [Outcome.ROLLED_BACK, Outcome.ROLLED_BACK, Outcome.RAISED, Outcome.NOT_REACHED]
    assert finished.results[2].commits == 0
    assert not finished.changed
    nothing_was_kept(database_uri, stand)
    (attempt,) = stand.history().attempts
    assert attempt.name == "fails"
    assert "oops; nothing of the run was kept (--atomic); 2 migrations before it" in attempt.error


def test_it_is_run_again_after_a_failure(database_uri: str) -> None:
    stand = Stand(database_uri)
    assert not stand.run(making("a"), called("fails", lambda _: 1 / 0), atomic=True).succeeded
    assert stand.run(making("a"), called("fails", lambda _: 0), atomic=True).succeeded
    assert stand.history().applied == {"makes_a", "fails"}


def test_a_falsy_return_undoes_all(database_uri: str) -> None:
    def refuses(db: Any) -> bool:
        db.executesql("CREATE TABLE b (id integer)")
        return False

    stand = Stand(database_uri)
    finished = stand.run(making("a"), refuses, making("c"), atomic=True)
    assert outcomes_of(finished) == [Outcome.ROLLED_BACK, Outcome.REFUSED, Outcome.NOT_REACHED]
    nothing_was_kept(database_uri, stand)


def test_commits_of_a_body_are_savepoints(database_uri: str) -> None:
    def body(db: Any) -> None:
        db.executesql("INSERT INTO a VALUES (1)")
        db.commit()
        db.executesql("INSERT INTO a VALUES (2)")
        db.rollback()
        db.executesql("INSERT INTO a VALUES (3)")

    def goes_back(db: Any) -> None:
        assert db.executesql("SELECT id FROM a ORDER BY id") == [(1,), (3,)]
        db.executesql("DELETE FROM a")
        db.rollback()  # not further than to its own beginning
        assert db.executesql("SELECT count(*) FROM a") == [(2,)]

    stand = Stand(database_uri)
    assert stand.run(making("a"), called("body", body), called("goes_back", goes_back), atomic=True).succeeded
    assert ask(database_uri, "SELECT id FROM a ORDER BY id") == [(1,), (3,)]


def test_what_a_body_records_of_others_counts_at_once(database_uri: str) -> None:
    """A body may write records of others; they are not run, and what it wrote stays or goes with the run."""

    def squashes(db: Any) -> None:
        ledger = db.ewh_implemented_features
        ledger.insert(name="makes_b", installed=True)

    stand = Stand(database_uri)
    finished = stand.run(making("a"), called("squashes", squashes), making("b"), atomic=True)
    assert finished.succeeded
    assert tables_of(database_uri) == {"a"}
    assert stand.history().applied == {"makes_a", "squashes", "makes_b"}


def test_one_durable_commit(postgres_server: PostgresServer, postgres_database: str) -> None:
    stand = Stand(postgres_server.app_uri(postgres_database))
    assert stand.run(making("first")).succeeded
    postgres_server.execute(f"ALTER DATABASE {postgres_database} SET log_statement = 'all'")

    def sent(*bodies: Body) -> tuple[int, int]:
        seen = len(postgres_server.log())
        assert stand.run(*bodies, atomic=True).succeeded
        log = postgres_server.log()[seen:]
        (pid,) = {
            line.partition("[")[2].partition("]")[0] for line in log.splitlines() if "statement: CREATE TABLE" in line
        }
        ours = [line for line in log.splitlines() if f"[{pid}] LOG:  statement: " in line]
        return len(ours), sum(line.endswith("statement: COMMIT") for line in ours)

    few, commits = sent(*(making(f"few_{number}") for number in range(3)))
    many, more_commits = sent(*(making(f"many_{number}") for number in range(13)))
    assert commits == more_commits == 1
    assert (many - few) / 10 == 3, "its own, one before and one after"


# -- who cannot take part ------------------------------------------------------------------------------------------------------


ENDING: dict[str, Body] = {
    "raw commit": lambda db: db.executesql("COMMIT"),
    "raw rollback": lambda db: db.executesql("ROLLBACK"),
    "swallowed": lambda db: _swallow(lambda: db.executesql("COMMIT")),
    "close": lambda db: db.close(),
    "driver's close": lambda db: driver_of(db).close(),
    "swallowed close": lambda db: _swallow(driver_of(db).close),
}


ENDING_ON_POSTGRES: dict[str, Body] = {
    "in several": lambda db: db.executesql("INSERT INTO a VALUES (1); COMMIT; SELECT 1"),
    "and chain": lambda db: db.executesql("COMMIT AND CHAIN"),
    "two phases": lambda db: db.executesql("PREPARE TRANSACTION 'x'"),
    "autocommit": lambda db: setattr(driver_of(db), "autocommit", True),
    "isolation": lambda db: driver_of(db).set_isolation_level(0),
    "isolation of transactions": lambda db: driver_of(db).set_isolation_level(3),
    "session": lambda db: driver_of(db).set_session(autocommit=True),
    "encoding": lambda db: driver_of(db).set_client_encoding("LATIN1"),
    "reset": lambda db: driver_of(db).reset(),
    "function": lambda db: db.executesql("DO $$ BEGIN COMMIT; END $$"),
    "concurrently": lambda db: db.executesql("CREATE INDEX CONCURRENTLY i ON a (id)"),
    "vacuum of everything": lambda db: db.executesql("VACUUM"),
    "swallowed error": lambda db: _swallow(lambda: db.executesql("SELECT * FROM nonesuch")),
}


ENDING_ON_SQLITE: dict[str, Body] = {
    "foreign keys": lambda db: db.executesql("PRAGMA foreign_keys = OFF"),
    "attach": lambda db: db.executesql("ATTACH ':memory:' AS other"),
    "vacuum": lambda db: db.executesql("VACUUM"),
    "script": lambda db: driver_of(db).executescript("INSERT INTO a VALUES (1); COMMIT;"),
    "by hand": lambda db: sqlite3.Cursor(driver_of(db)).execute("COMMIT"),
}


SAID_OTHERWISE = {
    "autocommit": {"told": "set_session cannot be used inside a transaction"},
    "function": {"told": "invalid transaction termination"},
    "concurrently": {"told": "cannot run inside a transaction block"},
    "vacuum of everything": {"told": "cannot run inside a transaction block"},
    "swallowed error": {
        "told": "it swallowed an SQL error: the transaction is aborted, so nothing of the run was kept"
    },
    "by hand": {"told": "not authorized"},
}


def _swallow(call: Callable[[], object]) -> None:
    with contextlib.suppress(Exception):
        call()


def undoes_all(uri: str, body: Body, *, told: str = "and --atomic promises one transaction") -> None:
    def ends(db: Any) -> None:
        db.executesql("INSERT INTO a VALUES (7)")
        body(db)

    stand = Stand(uri)
    finished = stand.run(making("a"), called("ends", ends), making("c"), atomic=True)
    assert outcomes_of(finished) == [Outcome.ROLLED_BACK, Outcome.RAISED, Outcome.NOT_REACHED], finished.results[
        1
    ].error
    assert told in finished.results[1].error
    nothing_was_kept(uri, stand)
    assert stand.run(making("a"), called("ends", lambda _: None), making("c"), atomic=True).succeeded


@pytest.mark.parametrize("way", ENDING)
def test_a_body_that_ends_its_transaction_undoes_all(way: str, database_uri: str) -> None:
    undoes_all(database_uri, ENDING[way])


@pytest.mark.postgres
@pytest.mark.parametrize("way", ENDING_ON_POSTGRES)
def test_a_body_that_ends_its_transaction_undoes_all_on_postgres(way: str, postgres_uri: str) -> None:
    undoes_all(postgres_uri, ENDING_ON_POSTGRES[way], **SAID_OTHERWISE.get(way, {}))


@pytest.mark.parametrize("way", ENDING_ON_SQLITE)
def test_a_body_that_ends_its_transaction_undoes_all_on_sqlite(way: str, sqlite_uri: str) -> None:
    undoes_all(sqlite_uri, ENDING_ON_SQLITE[way], **SAID_OTHERWISE.get(way, {}))


HIDDEN: dict[str, Callable[[Any], None]] = {
    "commit": lambda cursor: cursor.execute("COMMIT"),
    "commit and begin": lambda cursor: (cursor.execute("COMMIT"), cursor.execute("BEGIN")),  # type: ignore[func-returns-value]
    "commit, and all as before": lambda cursor: cursor.execute("COMMIT; BEGIN; SAVEPOINT migrate_graph"),
    "commit and chain": lambda cursor: cursor.execute("COMMIT AND CHAIN"),
}


@pytest.mark.postgres
@pytest.mark.parametrize("may_go_back", [False, True], ids=["plain", "with a savepoint"])
@pytest.mark.parametrize("way", HIDDEN)
def test_what_a_hidden_commit_has_kept_is_told(way: str, may_go_back: bool, postgres_uri: str) -> None:
    """A cursor made by hand goes past everything; what was durable by then is told, and nothing of it is run again."""

    def hides(db: Any) -> None:
        db.executesql("CREATE TABLE b (id integer)")
        HIDDEN[way](psycopg2.extensions.cursor(driver_of(db)))

    def hides_and_may_go_back(db: Any) -> None:
        hides(db)
        if db is None:
            db.rollback()

    stand = Stand(postgres_uri)
    hiding = called("hides", hides_and_may_go_back if may_go_back else hides)
    finished = stand.run(making("a"), hiding, making("c"), atomic=True)
    assert outcomes_of(finished) == [Outcome.APPLIED, Outcome.RAISED, Outcome.NOT_REACHED]
    assert "a cursor that it made by hand has ended its transaction" in finished.results[1].error
    assert finished.results[1].commits
    assert finished.changed
    assert tables_of(postgres_uri) == {"a", "b"}
    history = stand.history()
    assert history.applied == {"makes_a"}
    assert history.last_attempts()["hides"].commits >= 1


@pytest.mark.postgres
def test_a_hidden_rollback_is_noticed(postgres_uri: str) -> None:
    stand = Stand(postgres_uri)
    hides = called("hides", lambda db: psycopg2.extensions.cursor(driver_of(db)).execute("ROLLBACK"))
    finished = stand.run(making("a"), hides, making("c"), atomic=True)
    assert outcomes_of(finished) == [Outcome.ROLLED_BACK, Outcome.RAISED, Outcome.NOT_REACHED]
    assert tables_of(postgres_uri) == set()
    assert stand.history().applied == frozenset()


# -- ways back -----------------------------------------------------------------------------------------------------------------


def _goes_back(db: Any, how: Callable[[Any], object]) -> None:
    db.executesql("INSERT INTO a VALUES (7)")
    how(db)
    assert db.executesql("SELECT id FROM a") == [(1,)], "only its own work is undone"


def _after_an_error(db: Any) -> None:
    with contextlib.suppress(Exception):
        db.executesql("SELECT * FROM nonesuch")
    getattr(db, "roll" + "back")()


UNSEEN_WAYS_BACK: dict[str, Callable[[Any], object]] = {
    "by a name that no text shows": lambda db: getattr(db, "roll" + "back")(),
    "on the driver": lambda db: getattr(driver_of(db), "roll" + "back")(),
    "after an error": _after_an_error,
    "after a commit": lambda db: (db.executesql("DELETE FROM a WHERE id = 7"), db.commit(), db.executesql("DELETE FROM a"), _after_an_error(db)),
}  # fmt: skip


@pytest.mark.postgres
@pytest.mark.parametrize("way", UNSEEN_WAYS_BACK)
def test_who_goes_back_unforeseen_is_run_again_with_a_way_back(way: str, postgres_uri: str) -> None:
    """No savepoint is set for a body that does not mention a rollback; a commit of its own sets one."""
    runs: list[str] = []

    def goes(db: Any) -> None:
        runs.append("goes")
        _goes_back(db, UNSEEN_WAYS_BACK[way])

    stand = Stand(postgres_uri)
    fills = called("fills", lambda db: db.executesql("INSERT INTO a VALUES (1)"))
    finished = stand.run(making("a"), fills, called("goes", goes), making("b"), atomic=True)
    assert finished.succeeded, [result.error for result in finished.results]
    assert ask(postgres_uri, "SELECT id FROM a") == [(1,)]
    assert tables_of(postgres_uri) == {"a", "b"}
    again = [each.message for each in stand.told(Warned) if "begins again, carefully" in each.message]
    assert (len(runs), len(again)) == ((1, 0) if way == "after a commit" else (2, 1))


@pytest.mark.postgres
def test_who_swallows_that_he_cannot_go_back_is_run_again_too(postgres_uri: str) -> None:
    runs: list[int] = []

    def swallows(db: Any) -> None:
        runs.append(1)
        db.executesql("INSERT INTO a VALUES (1)")
        _swallow(getattr(db, "roll" + "back"))

    assert Stand(postgres_uri).run(making("a"), called("swallows", swallows), atomic=True).succeeded
    assert ask(postgres_uri, "SELECT id FROM a") == []
    assert len(runs) == 2


@pytest.mark.postgres
def test_nothing_is_run_again_that_has_stayed(postgres_uri: str) -> None:
    """A hidden commit comes before the way back that is not there."""
    runs: list[int] = []

    def hides(db: Any) -> None:
        runs.append(1)
        db.executesql("CREATE TABLE b (id integer)")
        psycopg2.extensions.cursor(driver_of(db)).execute("COMMIT; BEGIN; SAVEPOINT migrate_graph")
        getattr(db, "roll" + "back")()

    stand = Stand(postgres_uri)
    finished = stand.run(making("a"), called("hides", hides), making("c"), atomic=True)
    assert outcomes_of(finished) == [Outcome.APPLIED, Outcome.RAISED, Outcome.NOT_REACHED]
    assert runs == [1]
    assert tables_of(postgres_uri) == {"a", "b"}


def _helper(db: Any) -> None:
    _second_helper(db)


def _second_helper(db: Any) -> None:
    db.rollback()


@pytest.mark.postgres
def test_a_savepoint_is_set_where_the_text_mentions_a_rollback(
    postgres_server: PostgresServer, postgres_database: str
) -> None:
    """Each ends in as much work as everything before it has done, so that most migrations go without."""
    postgres_server.execute(f"ALTER DATABASE {postgres_database} SET log_statement = 'all'")
    seen = len(postgres_server.log())
    stand = Stand(postgres_server.app_uri(postgres_database))

    def itself(db: Any) -> bool:
        db.executesql("CREATE TABLE c (id integer)")
        db.rollback()
        return True

    def by_helpers(db: Any) -> bool:
        _helper(db)
        return True

    finished = stand.run(making("a"), itself, making("b"), by_helpers, making("d"), atomic=True)
    assert finished.succeeded
    assert not stand.told(Warned)
    log = postgres_server.log()[seen:]
    assert log.count("; SAVEPOINT migrate_graph;") == 2
    assert log.count("RELEASE SAVEPOINT migrate_graph") == 2
    assert tables_of(postgres_server.app_uri(postgres_database)) == {"a", "b", "d"}


# -- each body finds a new session ---------------------------------------------------------------------------------------------


LEFT_ON_POSTGRES: dict[str, tuple[Body, str, Any]] = {
    "setting": (lambda db: db.executesql("SET search_path TO pg_catalog"), "SHOW search_path", None),
    "local setting": (lambda db: db.executesql("SET LOCAL work_mem TO '1MB'"), "SHOW work_mem", None),
    "timeout": (lambda db: db.executesql("SET lock_timeout TO 0"), "SHOW lock_timeout", None),
    "encoding of the server": (lambda db: db.executesql("SET client_encoding TO 'LATIN1'"), "SHOW client_encoding", None),
    "read-only": (lambda db: db.executesql("SET TRANSACTION READ ONLY"), "SHOW transaction_read_only", None),
    "temporary table": (
        lambda db: db.executesql("CREATE TEMP TABLE a AS SELECT 5 AS id"), "SELECT count(*) FROM pg_class WHERE relname = 'a'", None,
    ),
    "prepared": (lambda db: db.executesql("PREPARE p AS SELECT 1"), "SELECT count(*) FROM pg_prepared_statements", None),
    "cursor": (lambda db: db.executesql("DECLARE k CURSOR WITH HOLD FOR SELECT 1"), "SELECT count(*) FROM pg_cursors", None),
    "advisory lock": (
        lambda db: db.executesql("SELECT pg_advisory_lock(4711)"), "SELECT count(*) FROM pg_locks WHERE objid = 4711", None,
    ),
    "listen": (lambda db: db.executesql("LISTEN something"), "SELECT count(*) FROM pg_listening_channels()", None),
    "sequence": (
        lambda db: (db.executesql("CREATE SEQUENCE q"), db.executesql("SELECT nextval('q')")),
        "SELECT count(*) FROM pg_class WHERE relname = 'none'", None,
    ),
}  # fmt: skip


@pytest.mark.postgres
@pytest.mark.parametrize("what", LEFT_ON_POSTGRES)
def test_what_a_body_leaves_in_its_session_is_gone(what: str, postgres_uri: str) -> None:
    leaves, question, _ = LEFT_ON_POSTGRES[what]
    found = []
    asks = [called(f"asks_{number}", lambda db: found.append(db.executesql(question))) for number in (1, 2)]
    finished = Stand(postgres_uri).run(making("a"), asks[0], called("leaves", leaves), asks[1], atomic=True)
    assert finished.succeeded, [result.error for result in finished.results]
    assert found[0] == found[1]


@pytest.mark.postgres
def test_a_role_that_a_body_takes_is_given_back(
    postgres_server: PostgresServer, postgres_database: str, roles: tuple[str, ...]
) -> None:
    postgres_server.execute("GRANT reader TO app")
    found = []
    asks = called("asks", lambda db: found.append(db.executesql("SELECT current_user, session_user")))
    stand = Stand(postgres_server.app_uri(postgres_database))
    assert stand.run(
        making("a"), called("leaves", lambda db: db.executesql("SET ROLE reader")), asks, atomic=True
    ).succeeded
    assert found == [[("app", "app")]]


@pytest.mark.postgres
def test_what_a_body_tells_the_driver_is_forgotten(postgres_uri: str) -> None:
    import psycopg2.extras

    def leaves(db: Any) -> None:
        driver_of(db).cursor_factory = psycopg2.extras.RealDictCursor
        driver_of(db).mine = 1
        psycopg2.extensions.register_type(psycopg2.extensions.new_type((23,), "X", lambda *_: "odd"), driver_of(db))

    def asks(db: Any) -> None:
        assert db.executesql("SELECT 1") == [(1,)]
        assert not hasattr(driver_of(db), "mine")

    finished = Stand(postgres_uri).run(called("leaves", leaves), called("asks", asks), atomic=True)
    assert finished.succeeded, finished.results[1].error


def test_what_a_body_leaves_in_its_connection_is_gone(sqlite_uri: str) -> None:
    def leaves(db: Any) -> None:
        connection = driver_of(db)
        connection.row_factory = sqlite3.Row
        connection.create_function("mine", 0, lambda: 1)
        connection.create_collation("mine", lambda one, other: (one > other) - (one < other))
        db.executesql("CREATE TEMP TABLE a (id integer)")
        db.executesql("INSERT INTO a VALUES (1)")
        db.executesql("PRAGMA recursive_triggers = ON")
        db.executesql("PRAGMA defer_foreign_keys = ON")

    def asks(db: Any) -> None:
        assert db.executesql("SELECT id FROM a") == [], "the table of the project, not the temporary one"
        assert db.executesql("PRAGMA recursive_triggers") == [(0,)]
        assert db.executesql("PRAGMA defer_foreign_keys") == [(0,)]
        for statement in ("SELECT mine()", "SELECT id FROM a ORDER BY id COLLATE mine"):
            with pytest.raises(sqlite3.OperationalError):
                db.executesql(statement)
        assert db.executesql("SELECT 'a' REGEXP 'a'") == [(1,)]

    finished = Stand(sqlite_uri).run(making("a"), called("leaves", leaves), called("asks", asks), atomic=True)
    assert finished.succeeded, finished.results[2].error


def test_a_db_that_is_kept_is_of_no_use_later(database_uri: str) -> None:
    kept = []

    def uses(_: Any) -> None:
        with pytest.raises(Exception, match="belonged to something that has ended"):
            kept[0].executesql("SELECT 1")

    assert (
        Stand(database_uri).run(called("keeps", kept.append), called("uses", uses), making("c"), atomic=True).succeeded
    )


@pytest.mark.postgres
def test_a_connection_that_is_kept_ends_nothing_between_two_migrations(postgres_uri: str) -> None:
    kept: list[Any] = []
    stand = Stand(postgres_uri)

    class Listening(list[Any]):
        def append(self, event: Any) -> None:
            super().append(event)
            if kept and not kept[0].closed and isinstance(event, StepFinished):
                kept[0].commit()
                kept[0].rollback()

    stand.events = Listening()
    fails = called("fails", lambda _: 1 / 0)
    finished = stand.run(
        making("a"), called("keeps", lambda db: kept.append(driver_of(db))), making("c"), fails, atomic=True
    )
    assert [result.outcome for result in finished.results[:3]] == [Outcome.ROLLED_BACK] * 3
    nothing_was_kept(postgres_uri, stand)


def test_threads_and_children_are_kept_out(database_uri: str) -> None:
    def threads(db: Any) -> None:
        connection = driver_of(db)
        thread = threading.Thread(
            target=lambda: _swallow(lambda: connection.cursor().execute("CREATE TABLE b (id integer)"))
        )
        thread.start()
        thread.join()

    stand = Stand(database_uri)
    finished = stand.run(making("a"), called("threads", threads), atomic=True)
    assert outcomes_of(finished) == [Outcome.ROLLED_BACK, Outcome.RAISED]
    assert "db was used in the thread" in finished.results[1].error
    nothing_was_kept(database_uri, stand)


def test_a_forked_child_does_nothing(database_uri: str) -> None:
    def forks(db: Any) -> None:
        if (child := os.fork()) == 0:
            _swallow(lambda: db.executesql("INSERT INTO a VALUES (1)"))
            return
        assert os.waitpid(child, 0)[1] == 0

    assert Stand(database_uri).run(making("a"), called("forks", forks), making("c"), atomic=True).succeeded
    assert ask(database_uri, "SELECT count(*) FROM a") == [(0,)]


# -- deferred constraints ------------------------------------------------------------------------------------------------------


def _family(db: Any) -> None:
    db.executesql("CREATE TABLE parent (id integer PRIMARY KEY)")
    db.executesql(
        "CREATE TABLE child (id integer PRIMARY KEY, parent integer REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)"
    )


def test_a_deferred_constraint_is_checked_with_its_migration(database_uri: str) -> None:
    breaks = called("breaks", lambda db: db.executesql("INSERT INTO child VALUES (1, 99)"))
    stand = Stand(database_uri)
    finished = stand.run(called("family", _family), breaks, making("c"), atomic=True)
    assert outcomes_of(finished) == [Outcome.ROLLED_BACK, Outcome.RAISED, Outcome.NOT_REACHED]
    assert "child" in finished.results[1].error
    nothing_was_kept(database_uri, stand)


def test_what_was_broken_before_is_nobodys_fault(sqlite_uri: str) -> None:
    stand = Stand(sqlite_uri)
    assert stand.run(called("family", _family)).succeeded
    with closing(sqlite3.connect(sqlite_uri.partition("://")[2])) as connection:
        connection.execute("INSERT INTO child VALUES (7, 77)")
        connection.commit()
    breaks = called("breaks", lambda db: db.executesql("INSERT INTO child VALUES (1, 99)"))
    finished = stand.run(called("family", _family), making("fine"), breaks, atomic=True)
    assert outcomes_of(finished) == [Outcome.ROLLED_BACK, Outcome.RAISED]
    assert "1 row behind that refers to one which is not there" in finished.results[1].error


def test_constraints_are_deferred_in_each_migration_anew(database_uri: str) -> None:
    def child_first(db: Any) -> None:
        db.executesql("INSERT INTO child VALUES (1, 1)")
        db.executesql("INSERT INTO parent VALUES (1)")

    def both(db: Any) -> None:
        db.executesql(
            "CREATE TABLE late (id integer PRIMARY KEY, own integer REFERENCES late (id) DEFERRABLE INITIALLY DEFERRED)"
        )
        db.executesql("INSERT INTO late VALUES (1, 2)")
        db.executesql("INSERT INTO late VALUES (2, 1)")

    alters = called("alters", lambda db: db.executesql("ALTER TABLE child ADD COLUMN name varchar(10)"))
    finished = Stand(database_uri).run(
        called("family", _family), called("child_first", child_first), alters, called("both", both), atomic=True
    )
    assert finished.succeeded, [result.error for result in finished.results]


@pytest.mark.postgres
def test_constraints_that_can_be_deferred_are_immediate_unless_asked(postgres_uri: str) -> None:
    def refused(db: Any) -> None:
        db.executesql("SAVEPOINT mine")
        with pytest.raises(psycopg2.errors.ForeignKeyViolation):
            db.executesql("INSERT INTO strict VALUES (99)")
        db.executesql("ROLLBACK TO SAVEPOINT mine")

    makes = called(
        "makes",
        lambda db: db.executesql("CREATE TABLE strict (id integer REFERENCES a (id) DEFERRABLE INITIALLY IMMEDIATE)"),
    )
    asks_for_it = called("asks_for_it", lambda db: db.executesql("SET CONSTRAINTS ALL DEFERRED"))
    finished = Stand(postgres_uri).run(
        making("a"), makes, called("refused", refused), asks_for_it, called("again", refused), atomic=True
    )
    assert finished.succeeded, [result.error for result in finished.results]
