"""What a rehearsal hears: every way of sending a statement, its line, rows, locks, columns and errors; and what is not the migration's."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rehearsal_stand import RehearsalStand, facts, footprint, outcomes, run
from servers import PostgresServer

from migrate_graph.core.events import Outcome
from migrate_graph.core.footprint import Footprint, Held, Wrote
from migrate_graph.database.postgres.rehearsal.recording import RecordedConnection
from migrate_graph.database.postgres.session.statements import (
    acts_outside,
    first_word,
    split,
    without_concurrently,
    without_values,
)

HEAD = """
import io
import psycopg2
import psycopg2.extensions as pg
import psycopg2.extras
from psycopg2 import sql
from migrate_graph import migration


@migration
def one_1(db):
    connection = db._adapter.connection
    cursor = connection.cursor()
"""


@pytest.fixture(params=["clone", "here", "scratch"])
def place(
    request: pytest.FixtureRequest,
    postgres_server: PostgresServer,
    may_create_databases: None,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    monkeypatch.setenv("PATH", str(postgres_server.binaries), prepend=os.pathsep)
    return str(request.param)


GROUND = (
    "CREATE TABLE ewh_implemented_features (id serial, name varchar(512) UNIQUE, installed char(1), last_update_dttm timestamp)",
    "CREATE TABLE stock (id int PRIMARY KEY, qty int, note text)",
    "CREATE TABLE log (id int, at int)",
    "CREATE TABLE move (id int, stock int REFERENCES stock)",
    "CREATE VIEW v AS SELECT id, qty FROM stock",
    "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES (NEW.id, 1); RETURN NEW; END'",
    "CREATE TRIGGER tr AFTER INSERT ON stock FOR EACH ROW EXECUTE FUNCTION note()",
    "CREATE FUNCTION add_one(x int) RETURNS int LANGUAGE sql AS 'SELECT x + 1'",
)

Seen = Callable[..., Footprint]


@pytest.fixture
def seen(postgres_uri: str, tmp_path: Path, place: str) -> Seen:
    """Rehearses a body, and gives what was seen of it; on scratch the ground is made by a migration that is applied."""

    def rehearse(body: str, *, outcome: Outcome = Outcome.APPLIED, mode: str = "own", **options: Any) -> Footprint:
        head = HEAD.replace("@migration\n", f"@migration(transaction='{mode}')\n")
        lines = "".join(f"    {line}\n" for line in body.strip("\n").splitlines())
        ground = ""
        if place == "scratch":
            made = "".join(f"    db.executesql({statement!r})\n" for statement in GROUND[1:])
            ground = f"\n\n@migration\ndef ground_0(db):\n{made}    return True\n"
            run(
                postgres_uri,
                GROUND[0],
                "INSERT INTO ewh_implemented_features (name, installed) VALUES ('ground_0', 'T')",
            )
            head = head.replace("\n\n@migration", f"{ground}\n\n@migration", 1)
        else:
            run(postgres_uri, *GROUND)
        (tmp_path / "migrations.py").write_text(f"{head}{lines}    return True\n")
        done = RehearsalStand(postgres_uri, tmp_path).rehearse(place, **options)
        assert outcomes(done)["one_1"] is outcome, (done.results, done.cut)
        return footprint(done, "one_1")

    return rehearse


def texts(found: Footprint) -> list[str]:
    return [statement.sql for statement in found.statements]


@pytest.mark.postgres
def test_every_way_of_sending_is_heard(seen: Seen) -> None:
    found = seen("""
cursor.execute("INSERT INTO stock (id, note) VALUES (%s, %s)", (1, "it's; a '%s'"))
cursor.execute(b"UPDATE stock SET qty = 1")
cursor.execute(sql.SQL("SELECT {} FROM stock").format(sql.Identifier("qty")))
cursor.executemany("INSERT INTO stock (id) VALUES (%s)", [(2,), (3,)])
psycopg2.extras.execute_values(cursor, "INSERT INTO log (id) VALUES %s", [(1,), (2,)])
psycopg2.extras.execute_batch(cursor, "DELETE FROM log WHERE id = %s", [(1,), (2,)])
cursor.callproc("add_one", [4])
assert cursor.fetchone() == (5,)
cursor.copy_expert("COPY log FROM STDIN WITH CSV", io.StringIO("7,7\\n"))
cursor.copy_from(io.StringIO("8\\t8\\n"), "log")
cursor.copy_to(io.StringIO(), "log")
connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor).execute("SELECT 1 AS one")
with connection.cursor("named", withhold=False) as named:
    named.execute("SELECT id FROM stock ORDER BY id")
    assert named.fetchall() == [(1,), (2,), (3,)]
assert db.executesql("SELECT id AS x FROM v", as_dict=True)[0]["x"] == 1
""")
    assert texts(found) == [
        "INSERT INTO stock (id, note) VALUES (1, 'it''s; a ''%s''')",
        "UPDATE stock SET qty = 1",
        'SELECT "qty" FROM stock',
        "INSERT INTO stock (id) VALUES (2)",
        "INSERT INTO stock (id) VALUES (3)",
        "INSERT INTO log (id) VALUES (1),(2)",
        "DELETE FROM log WHERE id = 1",
        "DELETE FROM log WHERE id = 2",
        "SELECT * FROM add_one(4)",
        "COPY log FROM STDIN WITH CSV",
        "COPY log FROM STDIN",
        "COPY log TO STDOUT",
        "SELECT 1 AS one",
        "SELECT id FROM stock ORDER BY id",
        "SELECT id AS x FROM v",
    ]
    lines = [statement.source.line for statement in found.statements if statement.source]
    assert len(lines) == len(found.statements)
    assert lines == sorted(lines)
    assert {statement.source.path for statement in found.statements if statement.source} == {"migrations.py"}
    assert found.wrote == {"public.stock": Wrote(3, 1, 0), "public.log": Wrote(7, 0, 4)}  # three by the trigger


@pytest.mark.postgres
def test_columns_and_locks_are_those_that_the_server_names(seen: Seen, place: str) -> None:
    found = seen("""
db.executesql("SELECT qty FROM v WHERE id = 1")
db.executesql("UPDATE stock SET note = 'x' WHERE id IN (SELECT stock FROM move)")
db.executesql("DO $$ BEGIN DELETE FROM log; END $$")
db.executesql("CREATE INDEX ON stock (qty)")
db.executesql("ALTER TABLE stock ALTER COLUMN qty SET NOT NULL")
db.executesql("COMMENT ON TABLE log IS 'said'")
""")
    select, update, block, index, alter, comment = found.statements
    assert select.uses == ("public.v.id", "public.v.qty")
    assert update.uses == ("public.move.stock", "public.stock.id", "public.stock.note")
    assert block.uses == ()
    assert select.locks == {"public.v": "ACCESS SHARE", "public.stock": "ACCESS SHARE"}
    assert update.locks == {"public.stock": "ROW EXCLUSIVE", "public.move": "ACCESS SHARE"}
    assert block.locks == {"public.log": "ROW EXCLUSIVE"}
    assert index.locks == {"public.stock": "SHARE"}
    assert index.scans == ("public.stock",)
    assert (alter.locks, alter.scans, alter.rewrites) == ({"public.stock": "ACCESS EXCLUSIVE"}, ("public.stock",), ())
    assert comment.locks == {"public.log": "SHARE UPDATE EXCLUSIVE"}
    assert facts(found.added) == {"index public.stock_qty_idx", "comment table public.log"}
    assert facts(found.changed) == {"column public.stock.qty"}
    assert found.locks["public.stock"] == "ACCESS EXCLUSIVE"


@pytest.mark.postgres
def test_a_rewrite_is_told_and_a_truncation_is_none(seen: Seen) -> None:
    found = seen("""
db.executesql("ALTER TABLE stock ALTER COLUMN note TYPE varchar(300)")
db.executesql("ALTER TABLE move ADD COLUMN more int DEFAULT 5")
db.executesql("TRUNCATE log")
db.executesql("ALTER TABLE log ALTER COLUMN id TYPE bigint")
db.executesql("CREATE TABLE new (a int)")
db.executesql("ALTER TABLE new ALTER COLUMN a TYPE bigint")
""")
    assert [[each.relation for each in statement.rewrites] for statement in found.statements] == [
        ["public.stock"], [], [], ["public.log"], [], []
    ]  # fmt: skip


@pytest.mark.postgres
def test_an_error_is_told_with_its_code_and_swallowing_a_savepoint_is_fine(seen: Seen) -> None:
    found = seen("""
db.executesql("SAVEPOINT a")
try:
    db.executesql("DROP TABLE stock")
except psycopg2.Error as error:
    assert error.pgcode == "2BP01"
db.executesql("ROLLBACK TO a")
db.executesql("INSERT INTO log VALUES (1, 1)")
""")
    (failed,) = (statement for statement in found.statements if statement.error)
    assert failed.error_code == "2BP01"
    assert "depend" in failed.error
    assert not found.removed
    assert found.wrote == {"public.log": Wrote(1, 0, 0)}


@pytest.mark.postgres
def test_a_thousand_statements_of_one_shape_are_looked_at_once(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: Counter[str] = Counter()
    original = RecordedConnection.ask

    def ask(self: RecordedConnection, statement: str) -> list[tuple[Any, ...]]:
        asked["all"] += 1
        return original(self, statement)

    monkeypatch.setattr(RecordedConnection, "ask", ask)
    found = seen("""
for number in range(1000):
    db.executesql("INSERT INTO stock (id, note) VALUES (%s, %s)", (number, str(number)))
""")
    assert len(found.statements) == 1000
    assert found.wrote["public.stock"] == Wrote(1000, 0, 0)
    assert asked["all"] < 60


@pytest.mark.postgres
def test_rows_that_were_rolled_back_are_not_counted(seen: Seen) -> None:
    found = seen("""
db.executesql("INSERT INTO log VALUES (1, 1)")
db.commit()
db.executesql("INSERT INTO log VALUES (2, 2)")
db.rollback()
db.executesql("INSERT INTO log VALUES (3, 3), (4, 4)")
""")
    assert found.wrote == {"public.log": Wrote(3, 0, 0)}
    assert found.own_commits == 1
    assert [statement.transaction for statement in found.statements] == [0, 1, 2]


@pytest.mark.postgres
def test_values_are_left_out_where_that_is_asked_for(seen: Seen) -> None:
    found = seen("""
db.executesql("INSERT INTO stock (id, note) VALUES (%s, %s)", (12345, "secret"))
db.executesql("ALTER TABLE log ADD COLUMN c varchar(10) DEFAULT 'secret'")
""", values=False)  # fmt: skip
    assert texts(found)[0] == "INSERT INTO stock (id, note) VALUES (?, ?)"
    assert "secret" not in repr(found)


@pytest.mark.postgres
def test_what_a_session_cannot_be_told_is_said(seen: Seen, place: str) -> None:
    found = seen("""
connection.set_session(isolation_level="SERIALIZABLE")
db.executesql("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
db.executesql("INSERT INTO log VALUES (1, 1)")
""")
    if place == "scratch":
        assert found.not_rehearsed == ()
    else:
        assert any("set_session" in why for why in found.not_rehearsed)
        assert found.statements[0].held is Held.HELD_BACK


@pytest.mark.postgres
def test_what_a_serializable_transaction_has_read_is_no_lock(seen: Seen) -> None:
    """The server shows it among the locks, also after the transaction has ended."""
    found = seen("""
connection.set_session(isolation_level="SERIALIZABLE")
db.executesql("SELECT count(*) FROM log")
db.commit()
db.executesql("INSERT INTO log VALUES (1, 1)")
""")
    assert [each.locks for each in found.statements if "log" in each.sql] == [
        {"public.log": "ACCESS SHARE"},
        {"public.log": "ROW EXCLUSIVE"},
    ]


@pytest.mark.postgres
def test_one_transaction_is_one(seen: Seen) -> None:
    found = seen(
        'db.executesql("INSERT INTO log VALUES (1, 1)")\ndb.commit()\nraise ValueError("no")',
        outcome=Outcome.RAISED,
        mode="single",
    )
    assert found.own_commits == 0
    seen_again = [statement.transaction for statement in found.statements]
    assert seen_again == [0]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("SELECT ';'; -- a;b\nSELECT 2", ["SELECT ';'", "-- a;b\nSELECT 2"]),
        ("DO $x$ BEGIN a; b; END $x$; SELECT E'\\';'", ["DO $x$ BEGIN a; b; END $x$", "SELECT E'\\';'"]),
        (
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END; COMMIT",
            ["CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END", "COMMIT"],
        ),
        ("/* ; /* ; */ ; */ SELECT 1;;", ["/* ; /* ; */ ; */ SELECT 1"]),
        (' ; -- nothing\n', []),
    ],
)  # fmt: skip
def test_a_text_is_cut_where_the_server_cuts_it(text: str, parts: list[str]) -> None:
    assert [part.text for part in split(text)] == parts


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("SELECT 'a''b', 12.5, 1e5, a1, \"2\", $1", 'SELECT ?, ?, ?, a1, "2", $?'),
        ("INSERT INTO t VALUES (E'\\'', $$x$$)", "INSERT INTO t VALUES (?, $$x$$)"),
        ("UPDATE t SET a=-1", "UPDATE t SET a=-?"),
    ],
)
def test_values_become_marks(text: str, shape: str) -> None:
    assert without_values(text) == shape


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("CREATE INDEX CONCURRENTLY i ON t (a)", "CREATE INDEX  i ON t (a)"),
        ("DROP INDEX concurrently i", "DROP INDEX  i"),
        ("REINDEX (VERBOSE, CONCURRENTLY) TABLE t", "REINDEX (VERBOSE, CONCURRENTLY off) TABLE t"),
        ("ALTER TABLE t DETACH PARTITION p CONCURRENTLY", "ALTER TABLE t DETACH PARTITION p "),
        ("REFRESH MATERIALIZED VIEW CONCURRENTLY m", "REFRESH MATERIALIZED VIEW CONCURRENTLY m"),
        ("SELECT 'CREATE INDEX CONCURRENTLY'", "SELECT 'CREATE INDEX CONCURRENTLY'"),
    ],
)
def test_concurrently_is_left_out(text: str, plain: str) -> None:
    assert without_concurrently(text) == plain


def test_words_of_statements() -> None:
    assert first_word("/* x */ (select 1)") == "SELECT"
    assert first_word("'x'") == ""
    assert acts_outside("COPY t TO PROGRAM 'cat'")
    assert acts_outside("COPY (SELECT 'TO') TO '/tmp/x'")
    assert acts_outside("copy t from program 'cat'")
    assert not acts_outside("COPY t FROM '/tmp/x'")
    assert not acts_outside("COPY t TO STDOUT")
    assert not acts_outside("SELECT 1")
