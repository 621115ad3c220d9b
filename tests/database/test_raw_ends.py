"""However a body ends its transaction, on PostgreSQL, what is durable is in the journal, and no crash makes it run twice."""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
import psycopg2.extras
import pytest
from stand import Stand

from migrate_graph.core.events import Outcome
from migrate_graph.database.driver_errors import AttemptFailed
from migrate_graph.database.postgres.session.connection import WorkConnection

pytestmark = pytest.mark.postgres

INSERT = "INSERT INTO t VALUES (1)"


def driver(db: Any) -> Any:
    return db._adapter.connection


def by_hand(db: Any, *queries: str) -> None:
    """Use a cursor that our connection does not see."""
    cursor = psycopg2.extensions.cursor(driver(db))
    for each in queries:
        cursor.execute(each)


def caught(db: Any) -> None:
    with suppress(psycopg2.Error):
        db.executesql("SELECT * FROM nonesuch")


def run(db: Any, *queries: str) -> None:
    for each in queries:
        db.executesql(each)


def twice(db: Any) -> None:
    """Do what the server refuses when it is to be committed, and not before."""
    run(
        db,
        INSERT,
        "CREATE TABLE once (id integer UNIQUE DEFERRABLE INITIALLY DEFERRED)",
        "INSERT INTO once VALUES (1), (1)",
    )


class InTheWay(psycopg2.errors.LockNotAvailable):
    """As the server's own."""

    pgcode = "55P03"


KEEP_A_ROW: dict[str, Callable[[Any], object]] = {
    "ROLLBACK after a caught error": lambda db: (caught(db), run(db, "ROLLBACK", INSERT)),
    "ABORT": lambda db: run(db, "ABORT", INSERT),
    "COMMIT": lambda db: run(db, INSERT, "COMMIT"),
    "END": lambda db: run(db, INSERT, "END"),
    "COMMIT AND CHAIN": lambda db: run(db, INSERT, "COMMIT AND CHAIN", "SELECT 1"),
    "ROLLBACK AND CHAIN": lambda db: (run(db, "ROLLBACK AND CHAIN", INSERT), db.commit()),
    "ROLLBACK, BEGIN, db.commit()": lambda db: (run(db, "ROLLBACK", "BEGIN", INSERT), db.commit()),
    "a script with ROLLBACK": lambda db: run(db, f"ROLLBACK; {INSERT}"),
    "a script with comments and ROLLBACK": lambda db: run(db, f"-- x; y\n/* ; */ ROLLBACK /* ; */ ; {INSERT}"),
    "a script with parameters": lambda db: db.executesql("ROLLBACK; INSERT INTO t VALUES (%s)", placeholders=(1,)),
    "a script with BEGIN and COMMIT": lambda db: run(db, f"BEGIN; {INSERT}; COMMIT;"),
    "a script with COMMIT in the middle": lambda db: run(db, f"SELECT 1; COMMIT; {INSERT}"),
    "a script given as bytes": lambda db: driver(db).cursor().execute(f"ROLLBACK; {INSERT}".encode()),
    "a script of psycopg2.sql": lambda db: driver(db).cursor().execute(psycopg2.sql.SQL(f"ROLLBACK; {INSERT}")),
    "executemany": lambda db: driver(db).cursor().executemany("ROLLBACK; INSERT INTO t VALUES (%s)", [(1,)]),
    "SET TRANSACTION after a commit": lambda db: (
        db.executesql("SELECT 1"), db.commit(), run(db, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", INSERT), db.commit(),
    ),
    "SET TRANSACTION at once": lambda db: (run(db, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", INSERT), db.commit()),
    "SET TRANSACTION READ ONLY, then another": lambda db: (
        run(db, "SET TRANSACTION READ ONLY", "SELECT 1"), db.commit(), db.executesql(INSERT), db.commit(),
    ),
    "autocommit": lambda db: (db.commit(), setattr(driver(db), "autocommit", True), db.executesql(INSERT)),
    "autocommit and BEGIN": lambda db: (setattr(driver(db), "autocommit", True), run(db, "BEGIN", INSERT, "COMMIT")),
    "a cursor made by hand": lambda db: (by_hand(db, INSERT), db.commit()),
    "a cursor made by hand that commits": lambda db: by_hand(db, INSERT, "COMMIT"),
    "a cursor made by hand that rolls back": lambda db: (run(db, "SELECT 1"), by_hand(db, "ROLLBACK", INSERT)),
    "the same, with a transaction of its own": lambda db: (
        run(db, "SELECT 1"), by_hand(db, "ROLLBACK", INSERT, "BEGIN", "SELECT 1"),
    ),
    "the same, with db.commit()": lambda db: (
        run(db, "SELECT 1"), by_hand(db, "ROLLBACK", "BEGIN", INSERT), db.commit(),
    ),
    "a cursor made by hand after ROLLBACK": lambda db: (run(db, "SELECT 1", "ROLLBACK"), by_hand(db, INSERT)),
    "the same, ROLLBACK being all there was": lambda db: (run(db, "ROLLBACK"), by_hand(db, INSERT)),
    "a cursor made by hand, first of all": lambda db: by_hand(db, "ROLLBACK", INSERT, "BEGIN", "SELECT 1"),
    "the same, and then ours": lambda db: (by_hand(db, "ROLLBACK", INSERT, "BEGIN"), run(db, "SELECT 1")),
    "the same, and then ROLLBACK": lambda db: (
        run(db, "SELECT 1"), by_hand(db, "ROLLBACK", INSERT, "BEGIN", "SELECT 1"), run(db, "ROLLBACK"),
    ),
    "the same, and then COMMIT": lambda db: (run(db, "SELECT 1"), by_hand(db, "ROLLBACK", "BEGIN", INSERT), run(db, "COMMIT")),
    "by hand after SET TRANSACTION": lambda db: (
        run(db, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"), by_hand(db, "ROLLBACK", INSERT, "BEGIN"),
    ),
    "by hand with AND CHAIN": lambda db: (run(db, "SELECT 1"), by_hand(db, "ROLLBACK AND CHAIN", INSERT, "COMMIT AND CHAIN")),
    "by hand in autocommit": lambda db: (setattr(driver(db), "autocommit", True), by_hand(db, INSERT)),
    "by hand in autocommit by set_session": lambda db: (driver(db).set_session(autocommit=True), by_hand(db, INSERT)),
    "by hand in autocommit by set_isolation_level": lambda db: (
        driver(db).set_isolation_level(psycopg2.extensions.ISOLATION_LEVEL_AUTOCOMMIT), by_hand(db, INSERT),
    ),
    "a cursor factory": lambda db: driver(db).cursor(cursor_factory=psycopg2.extras.DictCursor).execute(f"ROLLBACK; {INSERT}"),
    "a named cursor first": lambda db: (_named(db), db.executesql(INSERT), db.commit()),
    "copy": lambda db: (run(db, "ROLLBACK"), driver(db).cursor().copy_expert("COPY t FROM STDIN", io.StringIO("1\n"))),
    "copy_from": lambda db: (run(db, "ROLLBACK"), driver(db).cursor().copy_from(io.StringIO("1\n"), "t")),
    "execute_values": lambda db: (run(db, "ROLLBACK"), psycopg2.extras.execute_values(driver(db).cursor(), "INSERT INTO t VALUES %s", [(1,)])),
    "after reset()": lambda db: (db.executesql("SELECT 1"), driver(db).reset(), db.executesql(INSERT), db.commit()),
    "close, and again": lambda db: (db.executesql(INSERT), db.close(), db.executesql("SELECT 1")),
    "with connection": lambda db: (_context(db),),
}  # fmt: skip


def _context(db: Any) -> None:
    with driver(db), driver(db).cursor() as cursor:
        cursor.execute(INSERT)


def _error(call: Callable[[], object]) -> None:
    with suppress(psycopg2.Error):
        call()


def _named(db: Any) -> None:
    with driver(db).cursor(name="many") as cursor:
        cursor.execute("SELECT generate_series(1, 10)")
        cursor.fetchmany(3)


def rows(uri: str) -> int:
    with closing(psycopg2.connect(uri)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM t")
        return int(cursor.fetchone()[0])


@pytest.fixture
def stand(postgres_uri: str) -> Stand:
    with closing(psycopg2.connect(postgres_uri)) as connection:
        connection.autocommit = True
        connection.cursor().execute("CREATE TABLE t (id integer)")
    return Stand(postgres_uri)


@pytest.mark.parametrize("way", KEEP_A_ROW)
def test_what_stays_is_in_the_journal(way: str, stand: Stand, postgres_uri: str) -> None:
    """The body keeps a row in its way, and then raises."""

    def body_1(db: Any) -> bool:
        KEEP_A_ROW[way](db)
        raise KeyError("boom")

    (result,) = stand.run(body_1).results
    assert rows(postgres_uri) == 1
    assert result.outcome is Outcome.RAISED
    assert result.commits >= 1, result.error
    assert "stayed in the database" in result.error
    (attempt,) = stand.history().attempts
    assert (attempt.state.value, attempt.commits) == ("failed", result.commits)


@pytest.mark.parametrize("way", KEEP_A_ROW)
def test_and_it_is_tried_once_only_when_somebody_is_in_the_way(way: str, stand: Stand, postgres_uri: str) -> None:
    """After something stayed, a lock in the way is no reason to begin again."""
    tries = []

    def body_1(db: Any) -> bool:
        tries.append(1)
        KEEP_A_ROW[way](db)
        return db.executesql("DO $$ BEGIN RAISE EXCEPTION 'in the way' USING ERRCODE = 'lock_not_available'; END $$")

    stand.run(body_1)
    assert len(tries) == 1
    assert rows(postgres_uri) == 1


def test_it_is_tried_once_even_when_the_journal_cannot_be_told(
    stand: Stand, postgres_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The marker for what ended unseen cannot be written: that alone is no reason to say that nothing stayed."""
    tries = []

    def refused(_connection: WorkConnection) -> None:
        raise psycopg2.errors.InsufficientPrivilege("permission denied")

    def body_1(db: Any) -> bool:
        tries.append(1)
        run(db, "SELECT 1")
        by_hand(db, "ROLLBACK", INSERT, "BEGIN")
        monkeypatch.setattr(WorkConnection, "_mark", refused)
        with suppress(psycopg2.Error):
            run(db, "ROLLBACK")
        raise InTheWay("in the way")

    (result,) = stand.run(body_1).results
    assert (len(tries), rows(postgres_uri), result.commits) == (1, 1, 1)
    assert [(each.state.value, each.commits) for each in stand.history().attempts] == [("failed", 1)]


LOSE_WITHOUT_A_WORD: dict[str, Callable[[Any], object]] = {
    "set_isolation_level": lambda db: driver(db).set_isolation_level(psycopg2.extensions.ISOLATION_LEVEL_SERIALIZABLE),
    "set_client_encoding": lambda db: driver(db).set_client_encoding("LATIN1"),
    "reset": lambda db: driver(db).reset(),
}
"""Calls at which the driver rolls back."""


def _refused_one(call: Callable[[], object]) -> None:
    with pytest.raises(AttemptFailed, match="rolls back what it has not committed"):
        call()


WRITES: dict[str, Callable[[Any], object]] = {
    "a row": lambda db: run(db, INSERT),
    "a row, after a commit": lambda db: (run(db, INSERT), db.commit(), run(db, INSERT)),
    "a row behind a read": lambda db: run(db, f"SELECT 1; {INSERT}"),
    "a row, and a caught error": lambda db: (run(db, INSERT), caught(db)),
    "rows of a query": lambda db: run(db, "WITH new AS (INSERT INTO t VALUES (1) RETURNING id) SELECT * FROM new"),
    "rows, one by one": lambda db: driver(db).cursor().executemany("INSERT INTO t VALUES (%s)", [(1,), (2,)]),
    "a copy": lambda db: driver(db).cursor().copy_expert("COPY t FROM STDIN", io.StringIO("1\n")),
    "a table of a query": lambda db: run(db, "SELECT 1 AS id INTO other"),
    "a large object": lambda db: driver(db).lobject(0, "w").write("x"),
    "a table": lambda db: run(db, "/* one */ CREATE TABLE other (id integer)"),
    "a message": lambda db: run(db, "NOTIFY somebody"),
    "a function that writes": lambda db: run(db, "SELECT f()"),
    "a function that writes, after a commit": lambda db: (run(db, INSERT), db.commit(), run(db, "SELECT f()")),
    "a function that makes a table": lambda db: run(db, "SELECT g()"),
    "a function that writes in a savepoint": lambda db: run(db, "SAVEPOINT a", "SELECT f()", "RELEASE a"),
    "a function, called by name": lambda db: driver(db).cursor().callproc("f"),
    "a function in a query that is fetched": lambda db: (
        (cursor := driver(db).cursor(name="c")).execute("SELECT f()"), cursor.fetchall(),
    ),
    "a function that writes, and a caught error": lambda db: (run(db, "SELECT f()"), caught(db)),
    "a cursor made by hand": lambda db: by_hand(db, INSERT),
    "a cursor made by hand, behind a read": lambda db: (run(db, "SELECT 1"), by_hand(db, INSERT)),
    "a cursor made by hand, and an error": lambda db: (by_hand(db, INSERT), suppressed(lambda: by_hand(db, "nonesuch"))),
    "a transaction that was begun by hand": lambda db: (run(db, "SELECT 1"), by_hand(db, "ROLLBACK", "BEGIN", INSERT)),
    "a statement that was prepared by hand": lambda db: (run(db, "PREPARE p AS SELECT f()"), by_hand(db, "EXECUTE p")),
}  # fmt: skip
"""The functions are those of the fixture."""

BEGUN_BY_HAND = {"a cursor made by hand", "a cursor made by hand, and an error", "a transaction that was begun by hand"}
"""Nobody has seen what came before: the journal counts a commit that may have been."""

WRITES_NOTHING: dict[str, Callable[[Any], object]] = {
    "nothing": lambda _: None,
    "reads": lambda db: run(db, "SELECT 'INSERT INTO t'", "WITH a AS (SELECT 1) SELECT * FROM a; SELECT * FROM t FOR UPDATE OF t; SHOW work_mem"),
    "settings": lambda db: run(db, "SET work_mem TO '8MB'"),
    "a row that is committed": lambda db: (run(db, INSERT), db.commit()),
    "a row that is committed, and a read": lambda db: (run(db, INSERT), db.commit(), run(db, "SELECT 1")),
    "a row that is rolled back": lambda db: (run(db, INSERT), db.rollback(), run(db, "SELECT 1")),
    "a row that is rolled back by a statement": lambda db: run(db, INSERT, "ROLLBACK"),
    "an error": caught,
    "a function that reads": lambda db: run(db, "SELECT count(*), pg_backend_pid() FROM t"),
    "a number of a sequence, which nothing takes back": lambda db: run(db, "SELECT nextval('numbers')"),
    "a function whose row is committed": lambda db: (run(db, "SELECT f()"), db.commit(), run(db, "SELECT 1")),
    "a function that writes, and a rollback": lambda db: (run(db, "SELECT f()"), db.rollback(), run(db, "SELECT 1")),
    "a cursor made by hand that reads": lambda db: by_hand(db, "SELECT 1"),
    "a cursor made by hand that reads, behind a read": lambda db: (run(db, "SELECT 1"), by_hand(db, "SELECT 1")),
}  # fmt: skip


def suppressed(call: Callable[[], object]) -> None:
    with suppress(psycopg2.Error):
        call()


@pytest.fixture
def functions(stand: Stand, postgres_uri: str) -> None:
    """Functions that write where no statement says so, and a sequence."""
    assert stand
    with closing(psycopg2.connect(postgres_uri)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            f"""
            CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS
                $$ BEGIN {INSERT}; EXCEPTION WHEN division_by_zero THEN NULL; END $$;
            CREATE FUNCTION g() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CREATE TABLE made (id integer); END $$;
            CREATE SEQUENCE numbers
            """
        )


@pytest.mark.parametrize("call", LOSE_WITHOUT_A_WORD)
@pytest.mark.parametrize("what", WRITES)
@pytest.mark.usefixtures("functions")
def test_a_call_that_would_lose_work_without_a_word_is_refused(
    what: str, call: str, stand: Stand, postgres_uri: str
) -> None:
    def body_1(db: Any) -> bool:
        WRITES[what](db)
        LOSE_WITHOUT_A_WORD[call](db)
        return True

    (result,) = stand.run(body_1).results
    assert result.outcome is Outcome.RAISED
    assert f"it calls {call}(), which rolls back what it has not committed" in result.error
    assert rows(postgres_uri) == int("after a commit" in what)
    assert result.commits == int("after a commit" in what or what in BEGUN_BY_HAND)


@pytest.mark.parametrize("call", LOSE_WITHOUT_A_WORD)
@pytest.mark.parametrize("what", WRITES_NOTHING)
@pytest.mark.usefixtures("functions")
def test_it_is_let_through_where_there_is_nothing_to_lose(
    what: str, call: str, stand: Stand, postgres_uri: str
) -> None:
    def body_1(db: Any) -> bool:
        WRITES_NOTHING[what](db)
        LOSE_WITHOUT_A_WORD[call](db)
        db.executesql(INSERT)
        return True

    (result,) = stand.run(body_1).results
    assert (result.outcome, result.error) == (Outcome.APPLIED, "")
    assert rows(postgres_uri) == 1 + int("committed" in what)


@pytest.mark.parametrize("call", LOSE_WITHOUT_A_WORD)
def test_what_a_refused_call_would_have_lost_is_still_there(call: str, stand: Stand, postgres_uri: str) -> None:
    def body_1(db: Any) -> bool:
        db.executesql(INSERT)
        _refused_one(lambda: LOSE_WITHOUT_A_WORD[call](db))
        return True

    assert [each.outcome for each in stand.run(body_1).results] == [Outcome.APPLIED]
    assert rows(postgres_uri) == 1


@pytest.mark.parametrize("call", LOSE_WITHOUT_A_WORD)
def test_in_a_single_transaction_no_such_call_ends_it(call: str, stand: Stand, postgres_uri: str) -> None:
    def body_1(db: Any) -> bool:
        db.executesql(INSERT)
        db.commit()
        LOSE_WITHOUT_A_WORD[call](db)
        return True

    (result,) = stand.run(body_1, modes={"body_1": "single"}).results
    assert f"it calls {call}()" in result.error
    assert (rows(postgres_uri), result.commits) == (0, 0)


NOTHING_STAYS: dict[str, Callable[[Any], object]] = {
    "ROLLBACK": lambda db: run(db, INSERT, "ROLLBACK"),
    "db.rollback()": lambda db: (db.executesql(INSERT), db.rollback()),
    "ROLLBACK TO SAVEPOINT": lambda db: run(db, "SAVEPOINT a", INSERT, "ROLLBACK TO SAVEPOINT a"),
    "ROLLBACK AND CHAIN": lambda db: run(db, INSERT, "ROLLBACK AND CHAIN"),
    "a body of a function": lambda db: run(
        db, "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN ROLLBACK; END $$", INSERT
    ),
    "two phases": lambda db: _refused(lambda: driver(db).tpc_begin(driver(db).xid(0, "a", "b"))),
    "PREPARE TRANSACTION": lambda db: (
        db.executesql(INSERT),
        _refused(lambda: db.executesql("PREPARE TRANSACTION 'x'")),
    ),
    "a script in a named cursor": lambda db: _error(
        lambda: driver(db).cursor(name="c").execute(f"SELECT 1; ROLLBACK; {INSERT}")
    ),
    "a script in copy_expert": lambda db: _error(
        lambda: driver(db).cursor().copy_expert(f"ROLLBACK; {INSERT}; COPY t FROM STDIN", io.StringIO("1\n"))
    ),


    "set_isolation_level": lambda db: (db.executesql(INSERT), _refused_one(lambda: LOSE_WITHOUT_A_WORD["set_isolation_level"](db))),
    "set_client_encoding": lambda db: (db.executesql(INSERT), _refused_one(lambda: LOSE_WITHOUT_A_WORD["set_client_encoding"](db))),
    "SET TRANSACTION": lambda db: run(db, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SELECT 1"),
    "SET TRANSACTION alone": lambda db: run(db, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
    "ROLLBACK alone": lambda db: run(db, "ROLLBACK"),
    "an SQL error": lambda db: (db.executesql(INSERT), caught(db)),
    "an SQL error, and COMMIT": lambda db: (db.executesql(INSERT), caught(db), run(db, "COMMIT")),
    "a commit that fails": lambda db: (twice(db), _error(db.commit)),
    "a COMMIT that fails": lambda db: (twice(db), _error(lambda: run(db, "COMMIT"))),
    "a commit that fails, and a rollback": lambda db: (twice(db), _error(db.commit), db.rollback(), run(db, "SELECT 1")),
}  # fmt: skip


def _refused(call: Callable[[], object]) -> None:
    with pytest.raises(Exception, match="two phases"):
        call()


@pytest.mark.parametrize("way", NOTHING_STAYS)
def test_nothing_is_said_to_stay_where_nothing_does(way: str, stand: Stand, postgres_uri: str) -> None:
    def body_1(db: Any) -> bool:
        NOTHING_STAYS[way](db)
        raise KeyError("boom")

    (result,) = stand.run(body_1).results
    assert (rows(postgres_uri), result.commits) == (0, 0)
    assert [(each.state.value, each.commits) for each in stand.history().attempts] == [("failed", 0)]


@pytest.mark.parametrize("way", NOTHING_STAYS)
def test_and_it_is_tried_again_when_somebody_is_in_the_way(way: str, stand: Stand) -> None:
    tries = []

    def body_1(db: Any) -> bool:
        tries.append(1)
        NOTHING_STAYS[way](db)
        raise InTheWay("in the way")

    stand.run(body_1, tries=2)
    assert len(tries) == 2


@pytest.mark.parametrize(
    "query",
    [
        "COMMIT",
        "ROLLBACK",
        "END",
        "ABORT",
        "COMMIT AND CHAIN",
        f"{INSERT}; COMMIT",
        "ROLLBACK; BEGIN",
        "PREPARE TRANSACTION 'x'",
    ],
)
def test_a_single_transaction_is_not_ended_by_a_statement(query: str, stand: Stand, postgres_uri: str) -> None:
    def body_1(db: Any) -> bool:
        db.executesql(INSERT)
        db.executesql(query)
        return True

    (result,) = stand.run(body_1, modes={"body_1": "single"}).results
    assert result.outcome is Outcome.RAISED
    assert result.hint
    assert (rows(postgres_uri), result.commits) == (0, 0)


@pytest.mark.parametrize(
    "way", ["autocommit", "a cursor made by hand that commits", "a cursor made by hand that rolls back"]
)
def test_a_single_transaction_that_was_ended_is_no_success(way: str, stand: Stand, postgres_uri: str) -> None:
    def body_1(db: Any) -> bool:
        db.executesql("SELECT 1")
        KEEP_A_ROW[way](db)
        return True

    (result,) = stand.run(body_1, modes={"body_1": "single"}).results
    assert result.outcome is Outcome.RAISED
    assert rows(postgres_uri) == bool(result.commits)
    assert stand.history().applied == set()


def test_a_commit_that_commits_nothing_is_no_success(stand: Stand, postgres_uri: str) -> None:
    def silent_1(db: Any) -> bool:
        db.executesql(INSERT)
        caught(db)
        with pytest.raises(psycopg2.Error):
            db.commit()
        return True

    def raw_2(db: Any) -> bool:
        db.executesql(INSERT)
        caught(db)
        db.executesql("COMMIT")
        return True

    results = stand.run(silent_1, raw_2, keep_going=True).results
    assert [each.outcome for each in results] == [Outcome.RAISED, Outcome.RAISED]
    assert all("rolled back" in each.error for each in results)
    assert rows(postgres_uri) == 0


def test_a_transaction_left_open_in_autocommit_is_committed_with_its_record(stand: Stand, postgres_uri: str) -> None:
    def body_1(db: Any) -> bool:
        run(db, "BEGIN", INSERT)
        return True

    assert stand.run(body_1, modes={"body_1": "none"}).succeeded
    assert rows(postgres_uri) == 1
    assert stand.history().applied == {"body_1"}


KILLED = """
import os, signal, sys
sys.path[:0] = {path!r}
from stand import Stand
from test_raw_ends import KEEP_A_ROW

def body_1(db):
    KEEP_A_ROW[{way!r}](db)
    os.kill(os.getpid(), signal.SIGKILL)

Stand({uri!r}).run(body_1)
"""

# A cursor made by hand is noticed at the next statement of ours; whoever is killed before that has hidden it from everybody.
SEEN_AT_ONCE = sorted(
    set(KEEP_A_ROW) - {name for name in KEEP_A_ROW if "by hand" in name or name.startswith("the same")}
)


@pytest.mark.parametrize("way", SEEN_AT_ONCE)
def test_a_kill_afterwards_asks_a_human(way: str, stand: Stand, postgres_uri: str, tmp_path: Path) -> None:
    here = Path(__file__).parent
    text = textwrap.dedent(KILLED.format(path=[str(here), str(here.parent)], way=way, uri=postgres_uri))
    done = subprocess.run([sys.executable, "-c", text], check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert rows(postgres_uri) == 1
    history = stand.history()
    (attempt,) = history.attempts
    assert (attempt.state.value, attempt.pid != os.getpid()) == ("running", True)
    assert attempt.commits >= 1


BY_OURS = (
    "SELECT 1",
    "INSERT",
    "COMMIT",
    "ROLLBACK",
    "BEGIN",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "nonsense",
)
BY_HAND = ("INSERT", "COMMIT", "ROLLBACK", "BEGIN", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "nonsense", "SAVEPOINT x")
IN_THE_WAY = "DO $$ BEGIN RAISE EXCEPTION 'in the way' USING ERRCODE = 'lock_not_available'; END $$"


def _some_order(chance: random.Random, table: str) -> list[Callable[[Any], object]]:
    """Return steps of a body: statements of ours, of a cursor made by hand, and ends of the driver's; errors are swallowed."""

    def words(text: str) -> str:
        return f"INSERT INTO {table} VALUES (1)" if text == "INSERT" else text

    steps: list[Callable[[Any], object]] = []
    for _ in range(chance.randint(1, 6)):
        text = chance.choice(BY_HAND)
        ours = chance.choice(BY_OURS)
        steps.append(
            chance.choice([
                lambda db, text=text: by_hand(db, words(text)),
                lambda db, text=text: by_hand(db, words(text)),
                lambda db, ours=ours: run(db, words(ours)),
                lambda db: db.commit(),
                lambda db: db.rollback(),
            ])
        )  # fmt: skip
    last = [lambda db: run(db, IN_THE_WAY), lambda db: by_hand(db, IN_THE_WAY), lambda _db: None]
    return [*steps, chance.choice(last)]


@pytest.mark.parametrize("seed", range(int(os.environ.get("MIGRATE_GRAPH_FAULT_SEEDS", "8"))))  # noqa: TID251 - a test is an edge
def test_no_order_of_statements_by_hand_is_run_twice_after_something_stayed(
    seed: int, stand: Stand, postgres_uri: str
) -> None:
    chance = random.Random(seed)
    for number in range(25):
        table, runs = f"t{number}", []
        with closing(psycopg2.connect(postgres_uri)) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE {table} (id integer)")
            connection.commit()
        steps = _some_order(chance, table)

        def body(db: Any, steps: Any = steps, runs: list[int] = runs) -> None:
            runs.append(1)
            for step in steps:
                with suppress(psycopg2.Error):
                    step(db)
            raise InTheWay("in the way")

        body.__name__ = f"body_{number}"
        (result,) = stand.run(body, tries=2, first_delay=0.001).results
        with closing(psycopg2.connect(postgres_uri)) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {table}")
            stayed = cursor.fetchone()[0]
        assert result.outcome is Outcome.RAISED
        if stayed:
            assert (len(runs), result.commits > 0) == (1, True), (seed, number, stayed, result)


REFUSED_AT_THE_COMMIT = {
    "the migration's": twice,
    "db.commit()": lambda db: (twice(db), db.commit()),
    "COMMIT": lambda db: (twice(db), run(db, "COMMIT")),
    "END in a script": lambda db: (twice(db), run(db, f"{INSERT}; END; {INSERT}")),
}


@pytest.mark.parametrize("way", REFUSED_AT_THE_COMMIT)
def test_a_commit_that_the_server_refuses_keeps_nothing(way: str, stand: Stand, postgres_uri: str) -> None:
    """Deferred constraints are checked at the commit: where it fails, nothing of its transaction stays, and nobody says so."""

    def body_1(db: Any) -> bool:
        REFUSED_AT_THE_COMMIT[way](db)
        return True

    (result,) = stand.run(body_1).results
    assert "once_id_key" in result.error
    assert (rows(postgres_uri), result.commits) == (0, 0), result.error
    assert [(each.state.value, each.commits) for each in stand.history().attempts] == [("failed", 0)]


@pytest.mark.parametrize("way", REFUSED_AT_THE_COMMIT)
def test_a_serialization_failure_at_the_commit_is_tried_again(way: str, stand: Stand, postgres_uri: str) -> None:
    """The server may find out at the commit; a sequence goes on, so that the second time is another."""
    with closing(psycopg2.connect(postgres_uri)) as connection:
        connection.autocommit = True
        connection.cursor().execute(
            "CREATE SEQUENCE times; CREATE FUNCTION once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF nextval('times') = 1 THEN RAISE EXCEPTION 'not now' USING ERRCODE = 'serialization_failure'; END IF; "
            "RETURN NULL; END $$; CREATE TABLE late (id integer); CREATE CONSTRAINT TRIGGER later AFTER INSERT ON late "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION once()"
        )
    end = {"the migration's": "SELECT 1", "db.commit()": "", "COMMIT": "COMMIT", "END in a script": "SELECT 1; END"}[
        way
    ]

    def body_1(db: Any) -> bool:
        run(db, INSERT, "INSERT INTO late VALUES (1)")
        if end:
            run(db, end)
        else:
            db.commit()
        return True

    (result,) = stand.run(body_1).results
    assert result.outcome is Outcome.APPLIED, result.error
    assert rows(postgres_uri) == 1


SWALLOWED = {
    "db.commit()": lambda db: _error(db.commit),
    "COMMIT": lambda db: _error(lambda: run(db, "COMMIT")),
}


@pytest.mark.parametrize("goes_back", [False, True])
@pytest.mark.parametrize("way", SWALLOWED)
def test_who_catches_the_error_of_a_commit_must_go_back(
    way: str, goes_back: bool, stand: Stand, postgres_uri: str
) -> None:
    """What was lost with it is not recorded as applied, unless the body shows that it knows: by a rollback."""

    def body_1(db: Any) -> bool:
        twice(db)
        SWALLOWED[way](db)
        if goes_back:
            db.rollback()
        run(db, INSERT)
        return True

    (result,) = stand.run(body_1).results
    assert result.outcome is (Outcome.APPLIED if goes_back else Outcome.RAISED), result.error
    kept = 1 if goes_back or way == "COMMIT" else 0  # what follows a COMMIT is committed at once
    assert rows(postgres_uri) == kept
    assert goes_back or result.commits == kept
    assert goes_back or "caught the error of a commit" in result.error
