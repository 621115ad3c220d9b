"""Every way past our cursors on SQLite: what became durable is told, and is never done twice."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import pytest
from stand import Stand
from user_project import Project

from migrate_graph.core.events import Outcome
from migrate_graph.core.model import Migration
from migrate_graph.database import Settings, open_backend
from migrate_graph.database.books.ledger import AttemptKey
from migrate_graph.database.driver_errors import TroubleKind

INSERT = "INSERT INTO t (id) VALUES (1)"


def driver(db: Any) -> Any:
    return db._adapter.connection


def refused(call: Callable[[], object], *errors: type[Exception]) -> None:
    """Go on after a refusal, as a body may that catches everything."""
    with suppress(sqlite3.Error, *errors):
        call()


def hand_made(db: Any, sql: str = INSERT) -> None:
    sqlite3.Cursor(driver(db)).execute(sql)


# Each is a body that has, or has not, inserted a row when it ends badly.
WAYS: dict[str, Callable[[Any], object]] = {
    "a cursor made by hand, first": lambda db: refused(lambda: hand_made(db)),
    "a cursor made by hand, later": lambda db: (db.executesql(INSERT), hand_made(db)),
    "a statement that was seen before": lambda db: (db.executesql(INSERT), db.rollback(), refused(lambda: hand_made(db))),
    "the base's execute": lambda db: refused(lambda: sqlite3.Connection.execute(driver(db), INSERT)),
    "the base's cursor": lambda db: refused(lambda: sqlite3.Connection.cursor(driver(db)).execute(INSERT)),
    "the base's execute on our cursor": lambda db: refused(lambda: sqlite3.Cursor.execute(driver(db).cursor(), INSERT)),
    "the base's executemany": lambda db: refused(
        lambda: sqlite3.Cursor(driver(db)).executemany("INSERT INTO t (id) VALUES (?)", [(1,), (2,)])
    ),
    "the base's script": lambda db: refused(lambda: sqlite3.Connection.executescript(driver(db), f"{INSERT};")),
    "the base's commit": lambda db: (db.executesql(INSERT), refused(lambda: sqlite3.Connection.commit(driver(db)))),
    "the base's rollback": lambda db: (db.executesql(INSERT), refused(lambda: sqlite3.Connection.rollback(driver(db)))),
    "the base's commit, then an insert": lambda db: (
        db.executesql(INSERT), refused(lambda: sqlite3.Connection.commit(driver(db))), refused(lambda: hand_made(db)),
    ),
    "a commit by hand": lambda db: (db.executesql(INSERT), refused(lambda: hand_made(db, "COMMIT")), refused(lambda: hand_made(db))),
    "a rollback by hand": lambda db: (db.executesql(INSERT), refused(lambda: hand_made(db, "ROLLBACK")), refused(lambda: hand_made(db))),
    "a begin by hand": lambda db: (refused(lambda: hand_made(db, "BEGIN")), refused(lambda: hand_made(db))),
    "a savepoint by hand": lambda db: (refused(lambda: hand_made(db, "SAVEPOINT x")), refused(lambda: hand_made(db))),
    "execute of the connection": lambda db: driver(db).execute(INSERT),
    "a raw rollback": lambda db: (db.executesql(INSERT), db.executesql("ROLLBACK"), db.executesql(INSERT)),
    "a raw rollback with a comment": lambda db: (db.executesql(INSERT), db.executesql("/* ; */ -- x\n ROLLBACK"), db.executesql(INSERT)),
    "a raw commit": lambda db: (db.executesql(INSERT), db.executesql("COMMIT"), db.executesql(INSERT)),
    "an end": lambda db: (db.executesql(INSERT), db.executesql("end transaction"), db.executesql(INSERT)),
    "begin by hand through db": lambda db: (db.executesql("BEGIN"), db.executesql(INSERT)),
    "begin, rollback, begin": lambda db: (
        db.executesql("BEGIN DEFERRED"), db.executesql(INSERT), db.executesql("ROLLBACK"), db.executesql("BEGIN"), db.executesql(INSERT),
    ),
    "a savepoint": lambda db: (db.executesql("SAVEPOINT a"), db.executesql(INSERT), db.executesql("RELEASE a"), db.executesql(INSERT)),
    "rolled back to a savepoint": lambda db: (
        db.executesql("SAVEPOINT a"), db.executesql(INSERT), db.executesql("ROLLBACK TO a"), db.executesql(INSERT),
    ),
    "no isolation level": lambda db: (db.executesql(INSERT), setattr(driver(db), "isolation_level", None), db.executesql(INSERT)),
    "no isolation level, by hand": lambda db: (setattr(driver(db), "isolation_level", None), refused(lambda: hand_made(db))),
    "another isolation level": lambda db: (setattr(driver(db), "isolation_level", "DEFERRED"), refused(lambda: hand_made(db))),
    "another isolation level, through db": lambda db: (setattr(driver(db), "isolation_level", ""), db.executesql(INSERT)),
    "autocommit on": lambda db: (setattr(driver(db), "autocommit", True), db.executesql(INSERT), refused(lambda: hand_made(db))),
    "autocommit off": lambda db: (setattr(driver(db), "autocommit", False), db.executesql(INSERT), refused(lambda: hand_made(db))),
    "an authorizer of its own": lambda db: (driver(db).set_authorizer(lambda *_: 0), refused(lambda: hand_made(db))),
    "no authorizer": lambda db: (driver(db).set_authorizer(None), refused(lambda: hand_made(db))),
    "a script": lambda db: driver(db).executescript(f"{INSERT}; {INSERT};"),
    "a script after work": lambda db: (db.executesql(INSERT), driver(db).executescript(f"{INSERT};")),
    "a script with a rollback": lambda db: (db.executesql(INSERT), driver(db).executescript(f"BEGIN; {INSERT}; ROLLBACK; {INSERT};")),
    "a script with a commit": lambda db: driver(db).executescript(f"BEGIN; {INSERT}; COMMIT; {INSERT};"),
    "a script that leaves a transaction open": lambda db: (driver(db).executescript(f"BEGIN; {INSERT};"), db.executesql(INSERT)),
    "a setting of the file by hand": lambda db: refused(lambda: hand_made(db, "PRAGMA user_version = 7")),
    "two statements in one": lambda db: refused(lambda: db.executesql(f"{INSERT}; COMMIT"), sqlite3.Warning),
    "with": lambda db: driver(db).__enter__() and driver(db).execute(INSERT) and driver(db).__exit__(None, None, None),
    "many": lambda db: driver(db).executemany("INSERT INTO t (id) VALUES (?)", [(1,), (2,)]),
    "a replace that rolls back": lambda db: (
        db.executesql("INSERT INTO u VALUES (1)"), refused(lambda: db.executesql("INSERT OR ROLLBACK INTO u VALUES (1)")), db.executesql(INSERT),
    ),
}  # fmt: skip


def durable(uri: str) -> tuple[int, int]:
    with closing(sqlite3.connect(uri.partition("://")[2])) as database:
        rows = (
            database.execute("SELECT count(*) FROM t").fetchone()[0]
            + database.execute("SELECT count(*) FROM u").fetchone()[0]
        )
        return rows, database.execute("PRAGMA user_version").fetchone()[0]


@pytest.fixture
def stand(sqlite_uri: str) -> Stand:
    with closing(sqlite3.connect(sqlite_uri.partition("://")[2])) as database:
        database.executescript("CREATE TABLE t (id int); CREATE TABLE u (id int PRIMARY KEY)")
    return Stand(sqlite_uri)


@pytest.mark.parametrize("mode", ["own", "single", "none"])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_durable_after_an_exception_is_told(way: str, mode: str, stand: Stand) -> None:
    def body_1(db: Any) -> bool:
        WAYS[way](db)
        raise LookupError("the end")

    finished = stand.run(body_1, modes={"body_1": mode})
    assert finished.results[0].outcome is Outcome.RAISED
    rows, version = durable(stand.settings.uri)
    commits = stand.history().attempts[-1].commits
    if rows or version:
        assert commits >= 1
        assert finished.results[0].commits == commits
    if mode == "single":
        assert (rows, version, commits) == (0, 0, 0)


@pytest.mark.parametrize("mode", ["own", "single", "none"])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_durable_when_a_process_dies_is_not_done_again(way: str, mode: str, stand: Stand) -> None:
    """The next run finds it interrupted, or nothing has become durable."""
    stand.run()

    def body_1(db: Any) -> bool:
        with suppress(Exception):
            WAYS[way](db)
        os._exit(9)

    if not (child := os.fork()):
        stand.run(body_1, modes={"body_1": mode})
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    before = durable(stand.settings.uri)
    if mode == "single":
        assert before == (0, 0)
    if any(before):
        assert stand.history().attempts[-1].commits >= 1
        finished = stand.run(body_1)
        assert [result.outcome for result in finished.results] == [Outcome.BLOCKED]  # it waits for a human
        assert durable(stand.settings.uri) == before


def test_a_refusal_says_what_to_do(stand: Stand) -> None:
    def body_1(db: Any) -> bool:
        hand_made(db)
        return True

    (result,) = stand.run(body_1).results
    assert result.outcome is Outcome.RAISED
    assert "not authorized" in result.error
    assert "db.executesql()" in result.hint


def test_reading_by_hand_and_inside_a_transaction_is_fine(stand: Stand) -> None:
    def body_1(db: Any) -> bool:
        assert sqlite3.Cursor(driver(db)).execute("SELECT count(*) FROM t").fetchone() == (0,)
        assert sqlite3.Cursor(driver(db)).execute("PRAGMA table_info(t)").fetchall()
        db.executesql(INSERT)
        hand_made(db)
        hand_made(db, "SAVEPOINT a")
        hand_made(db)
        hand_made(db, "ROLLBACK TO a")
        return True

    assert stand.run(body_1).succeeded
    assert durable(stand.settings.uri)[0] == 2


@pytest.mark.parametrize("statement", ["COMMIT", "end", "ROLLBACK", "/**/ rollback transaction"])
def test_one_transaction_refuses_a_raw_end(stand: Stand, statement: str) -> None:
    def body_1(db: Any) -> bool:
        db.executesql(INSERT)
        db.executesql(statement)
        return True

    (result,) = stand.run(body_1, modes={"body_1": "single"}).results
    assert "transaction='single'" in result.error
    assert durable(stand.settings.uri)[0] == 0


def test_a_script_is_part_of_the_one_transaction(stand: Stand) -> None:
    def body_1(db: Any) -> bool:
        driver(db).executescript(f"{INSERT}; CREATE TABLE made (x); {INSERT}")
        return False

    stand.run(body_1, modes={"body_1": "single"})
    assert durable(stand.settings.uri)[0] == 0

    def body_2(db: Any) -> bool:
        driver(db).executescript(f"{INSERT}; CREATE TABLE made (x); {INSERT}")
        return True

    assert stand.run(body_2, modes={"body_2": "single"}).succeeded
    assert durable(stand.settings.uri)[0] == 2


@pytest.mark.parametrize("value", ["OFF", "0", "no"])
def test_a_pragma_that_would_be_ignored_is_refused(stand: Stand, value: str) -> None:
    """With foreign keys still on, dropping a table deletes what refers to it."""

    def body_1(db: Any) -> bool:
        db.executesql(INSERT)
        db.executesql(f"PRAGMA foreign_keys = {value}")
        return True

    (result,) = stand.run(body_1).results
    assert "no effect inside a transaction" in result.error

    def body_2(db: Any) -> bool:
        db.executesql(f"PRAGMA foreign_keys = {value}")
        db.executesql(INSERT)
        db.executesql(f"PRAGMA foreign_keys = {value}")  # changes nothing, so nothing is ignored
        return db.executesql("PRAGMA foreign_keys") == [(0,)]

    assert stand.run(body_2).succeeded


SPELLINGS = (
    "PRAGMA foreign_keys(OFF)", 'pragma "foreign_keys" = off', "PRAGMA[foreign_keys]=0", "PRAGMA `foreign_keys` = `no`",
    "PRAGMA 'foreign_keys' = 'false'", 'PRAGMA "main" . foreign_keys = [off]', "PRAGMA temp.foreign_keys = 0x0",
    "PRAGMA foreign_keys = -1", "PRAGMA foreign_keys = 0.0", "PRAGMA foreign_keys = 256", "; PRAGMA foreign_keys = 0",
    "/* a */ PRAGMA /* b */ foreign_keys /* c */ = /* d */ off", "-- a\nPRAGMA -- b\nforeign_keys = 0;",
    "\ufeffPRAGMA foreign_keys = 0", "PRAGMA \ufeff foreign_keys = 0",
)  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_pragma_is_what_it_is_for_sqlite_however_it_is_written(stand: Stand, spelling: str) -> None:
    """SQLite ignores it inside a transaction: dropping the table would delete what refers to it, and nobody would be told."""

    def body_1(db: Any) -> bool:
        db.executesql(spelling)
        db.executesql("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        db.executesql("CREATE TABLE child (parent REFERENCES parent ON DELETE CASCADE)")
        db.executesql("INSERT INTO parent VALUES (1)")
        db.executesql("INSERT INTO child VALUES (1)")
        db.executesql("DROP TABLE parent")
        return db.executesql("SELECT count(*) FROM child") == [(1,)]

    def body_2(db: Any) -> bool:
        db.executesql(INSERT)
        db.executesql(spelling)
        return True

    fine, refused_one = stand.run(body_1, body_2).results
    assert fine.error == ""
    assert "no effect inside a transaction" in refused_one.error


@pytest.mark.parametrize("spelling", ["\ufeffCOMMIT", "COMMIT", "/* a */ END /* b */"])
def test_an_end_of_the_transaction_is_one_however_it_is_written(stand: Stand, spelling: str) -> None:
    def body_1(db: Any) -> bool:
        db.executesql(INSERT)
        db.executesql(spelling)
        return True

    def body_2(db: Any) -> bool:
        db.executesql(INSERT)
        db.executesql("SAVEPOINT mine")
        db.executesql(INSERT)
        db.executesql("ROLLBACK /* only */ TO mine")
        return True

    def body_3(db: Any) -> bool:
        db.executesql(INSERT)
        db.executesql("ROLLBACK -- ROLLBACK TO mine")
        return True

    run = stand.run(body_1, body_2, body_3, modes={"body_2": "single", "body_3": "single"}, keep_going=True)
    assert [each.error for each in run.results[:2]] == ["", ""]
    assert "transaction='single' is one transaction" in run.results[2].error


# -- other connections and threads --------------------------------------------------------------------------------------------


def second(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri.partition("://")[2], timeout=0.3)


def test_a_second_connection_writes_while_the_migration_has_only_read(stand: Stand) -> None:
    def body_1(db: Any) -> bool:
        assert db.executesql("SELECT 'Ada'") == [("Ada",)]
        assert db.executesql("VALUES (1)") == [(1,)]
        assert db.executesql("PRAGMA table_info(t)")
        with closing(second(stand.settings.uri)) as other:
            other.execute(INSERT)
            other.commit()
        db.executesql(INSERT)
        db.commit()
        with closing(second(stand.settings.uri)) as other:
            other.execute(INSERT)
            other.commit()
        return True

    assert stand.run(body_1).succeeded
    assert durable(stand.settings.uri)[0] == 3


def test_a_second_connection_while_the_migration_holds_the_file_is_told_at_once(stand: Stand) -> None:
    tries: list[int] = []

    def body_1(db: Any) -> bool:
        tries.append(1)
        db.executesql(INSERT)
        with closing(second(stand.settings.uri)) as other:
            other.execute(INSERT)
        return True

    (result,) = stand.run(body_1).results
    assert len(tries) == 1
    assert "held by this migration itself" in result.error
    assert "db.commit()" in result.hint
    assert durable(stand.settings.uri)[0] == 0


def test_behind_another_program_the_migration_is_tried_again(stand: Stand) -> None:
    """The other way round: then it is not held by ourselves, and may be free a moment later."""
    settings = Settings(stand.settings.uri, lock_timeout=0.1)
    with (
        open_backend(settings, writing=True) as backend,
        backend.lock(5, lambda _: None),
        closing(second(settings.uri)) as other,
    ):
        backend.prepare()
        work = backend.work(Migration("a", lambda _: True), AttemptKey.now("a", run="r"))
        work.start()
        other.execute(INSERT)
        with pytest.raises(sqlite3.OperationalError) as behind:
            work.db.executesql(INSERT)
        assert backend.explain(behind.value).kind is TroubleKind.RETRY
        other.commit()
        work.db.executesql(INSERT)
        with pytest.raises(sqlite3.OperationalError) as before:
            other.execute(INSERT)
        assert backend.explain(before.value).kind is TroubleKind.OTHER
        work.close()


def test_the_models_of_an_application_that_hold_a_connection_of_their_own(sqlite_uri: str, project: Project) -> None:
    project.env["MIGRATE_URI"] = sqlite_uri
    project.write("models.py", f"""
        from pydal import DAL, Field

        db = DAL({sqlite_uri!r}, folder=".", migrate=False)
        db.define_table("person", Field("name"))

        def add(name):
            db.person.insert(name=name)
            db.commit()
    """)  # fmt: skip
    project.write("migrations.py", """
        import models
        from edwh_migrate import migration

        @migration
        def person_20260101_001(db):
            db.executesql("CREATE TABLE person (id INTEGER PRIMARY KEY AUTOINCREMENT, name VARCHAR(512))")
            db.commit()
            return True

        @migration(requires=person_20260101_001)
        def first_20260101_002(db):
            names = db.executesql("SELECT 'Ada'")
            models.add(names[0][0])
            return True
    """)  # fmt: skip
    done = project.migrate("apply")
    assert done.returncode == 0, done.stderr
    with open_backend(Settings(sqlite_uri)) as backend:
        assert backend.read_history().applied == {"person_20260101_001", "first_20260101_002"}


def test_no_isolation_level_commits_what_is_open_as_python_does(stand: Stand) -> None:
    def body_1(db: Any) -> bool:
        db.executesql(INSERT)
        driver(db).isolation_level = None
        return False

    (result,) = stand.run(body_1).results
    assert durable(stand.settings.uri)[0] == 1
    assert result.commits == 1


@pytest.mark.parametrize(
    ("statement", "hint"),
    [
        ("VACUUM", 'transaction="none"'),
        ("DETACH DATABASE other", 'transaction="none"'),
        ("ALTER TABLE fresh RENAME TO t", "plain is in the way, and no manager owns it"),
    ],
)
def test_what_a_transaction_or_a_view_refuses_has_a_way_out(
    project: Project, sqlite_uri: str, statement: str, hint: str
) -> None:
    project.write(
        "migrations.py",
        f"""
        from migrate_graph import migration

        @migration
        def first_20260101_001(db):
            db.executesql("CREATE TABLE t (id integer)")
            db.executesql("CREATE VIEW plain AS SELECT id FROM t")
            return True

        @migration(requires=first_20260101_001)
        def second_20260101_002(db):
            if {statement.startswith("DETACH")}:
                db._adapter.connection.execute("ATTACH DATABASE ':memory:' AS other")
            db.executesql("CREATE TABLE fresh (id integer)")
            if {statement.startswith("DETACH")}:
                db.executesql("CREATE TABLE other.thing (id integer)")
            if {statement.startswith("ALTER")}:
                db.executesql("DROP TABLE t")
            db.executesql({statement!r})
            return True
        """,
    )
    done = project.migrate("apply", env={"MIGRATE_URI": sqlite_uri})
    assert done.returncode == 1
    assert hint in done.stderr, done.stderr
