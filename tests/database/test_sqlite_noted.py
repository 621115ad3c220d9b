"""What blocks know of SQLite's schema is what it is, though they read no more of it than has changed."""

from __future__ import annotations

import random
import sqlite3
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from stand import Stand
from test_costs import _opening

from migrate_graph.database.sqlite.catalog import SqliteCatalog
from migrate_graph.database.sqlite.schema import SCHEMA, Schema
from migrate_graph.database.sqlite.work import WorkConnection


class Open:
    """A connection of an attempt, and another session."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mine = sqlite3.connect(path, isolation_level=None, factory=WorkConnection, cached_statements=0)
        self.catalog = SqliteCatalog(lambda: self.mine)
        self.other = sqlite3.connect(path, isolation_level=None, timeout=0)
        self.read: list[int] = []
        run = self.catalog.run

        def counts(statement: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
            rows = run(statement, parameters)
            if "sqlite_master" in statement:
                self.read.append(len(rows))
            return rows

        self.catalog.run = counts  # type: ignore[method-assign]

    def __call__(self, *statements: str) -> None:
        for statement in statements:
            self.mine.cursor().execute(statement)

    def known(self) -> dict[str, Any]:
        return dict(self.catalog.schema().relations)

    def check(self) -> None:
        """Compare with what reading everything tells."""
        whole = Schema()
        whole.update([*sqlite3.Connection.cursor(self.mine, sqlite3.Cursor).execute(SCHEMA)])
        assert self.known() == whole.relations
        texts = lambda schema: [(part.description, part.sql) for part in schema.concerned(())]  # noqa: E731 - used twice, here only
        assert texts(self.mine.noted.schema) == texts(whole)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    opened = Open(tmp_path / "shop.db")
    opened(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, note text UNIQUE)",
        "CREATE TABLE audit (id int)",
        "CREATE VIEW base AS SELECT id, note FROM orders",
        "CREATE VIEW last AS SELECT id FROM base",
    )
    opened.check()
    opened.read.clear()
    yield opened
    opened.mine.close()
    opened.other.close()


def _interrupt(opened: Open) -> None:
    """Interrupt a statement that writes: SQLite rolls the whole transaction back."""
    opened(
        "BEGIN",
        "INSERT INTO orders WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 900) SELECT i, i FROM n",
    )
    opened("CREATE VIEW lost AS SELECT 1 AS one")
    opened.check()
    opened.mine.set_progress_handler(lambda: 1, 100)
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        opened("UPDATE orders SET note = note || 'x'")
    opened.mine.set_progress_handler(None, 0)


def _rolled_back(*statements: str) -> Callable[[Open], None]:
    def act(opened: Open) -> None:
        opened("INSERT INTO orders VALUES (1, 'a')", "BEGIN", "CREATE VIEW lost AS SELECT 1 AS one")
        opened.check()
        for statement in statements:
            with pytest.raises(sqlite3.IntegrityError):
                opened(statement)
        assert not opened.mine.in_transaction
        opened("BEGIN", "CREATE VIEW found AS SELECT 2 AS two")

    return act


def _by_hand(opened: Open) -> None:
    cursor = sqlite3.Cursor(opened.mine)
    cursor.execute("BEGIN")
    cursor.execute("CREATE VIEW by_hand AS SELECT id FROM last")
    cursor.execute("DROP VIEW base")


def _by_another(opened: Open) -> None:
    for statement in ("DROP VIEW last", "CREATE VIEW theirs AS SELECT id FROM base"):
        opened.other.execute(statement)


def _by_both(opened: Open) -> None:
    opened("CREATE VIEW more AS SELECT 1 AS one")
    _by_another(opened)


def _in_between(opened: Open) -> None:
    opened("BEGIN", "CREATE VIEW more AS SELECT 1 AS one")
    opened.check()
    opened("COMMIT")
    _by_another(opened)


def _after_a_refused_commit(opened: Open) -> None:
    opened(
        "PRAGMA foreign_keys = 1",
        "CREATE TABLE line (id int REFERENCES orders (id) DEFERRABLE INITIALLY DEFERRED)",
        "INSERT INTO orders VALUES (1, 'a')",
        "BEGIN",
        "INSERT INTO line VALUES (7)",
        "CREATE VIEW lost AS SELECT 1 AS one",
    )
    opened.check()
    for statement in ("COMMIT", "INSERT OR ROLLBACK INTO orders VALUES (1, 'b')"):
        with pytest.raises(sqlite3.IntegrityError):
            opened(statement)
    opened("BEGIN", "CREATE VIEW found AS SELECT 2 AS two")


def _unguarded(opened: Open) -> None:
    opened("PRAGMA writable_schema = 1", "BEGIN")
    opened("UPDATE sqlite_master SET sql = 'CREATE VIEW last AS SELECT 7 AS id' WHERE name = 'last'")


def _restored(opened: Open) -> None:
    source = sqlite3.connect(":memory:")
    source.executescript("CREATE VIEW other AS SELECT 1 AS one; CREATE TABLE copied (id int)")
    source.backup(opened.mine)
    source.close()


def _deserialized(opened: Open) -> None:
    source = sqlite3.connect(":memory:")
    source.executescript("CREATE VIEW other AS SELECT 1 AS one; CREATE TABLE copied (id int)")
    opened("CREATE VIEW more AS SELECT 1 AS one")
    opened.mine.deserialize(source.serialize())
    source.close()


def _texts(*statements: str) -> Callable[[Open], None]:
    return lambda opened: opened(*statements)


ACTS: dict[str, Callable[[Open], None]] = {
    "a new view": _texts("CREATE VIEW more AS SELECT id FROM last"),
    "the last one replaced by another": _texts("DROP VIEW last", "CREATE VIEW another AS SELECT id FROM base"),
    "the last two replaced": _texts("DROP VIEW last", "DROP VIEW base", "CREATE VIEW base AS SELECT note FROM orders"),
    "one that came and went": _texts("CREATE VIEW more AS SELECT 1", "DROP VIEW more", "CREATE TABLE more (id int)"),
    "in capitals": _texts('DROP VIEW "BASE"', "CREATE VIEW Base AS SELECT id FROM ORDERS"),
    "a table with its triggers and indexes": _texts(
        "CREATE TRIGGER watch AFTER INSERT ON orders BEGIN DELETE FROM audit; END", "CREATE INDEX by_note ON orders (note)", "DROP TABLE orders",
    ),
    "a trigger of a view": _texts("CREATE TRIGGER ring INSTEAD OF INSERT ON base BEGIN DELETE FROM audit; END"),
    "a trigger gone": _texts("CREATE TRIGGER ring AFTER INSERT ON audit BEGIN DELETE FROM audit; END", "DROP TRIGGER ring"),
    "a renamed table": _texts("ALTER TABLE orders RENAME TO purchases"),
    "a renamed column": _texts("ALTER TABLE orders RENAME COLUMN note TO remark"),
    "a renamed column before a new view": _texts(
        "BEGIN", "ALTER TABLE orders RENAME COLUMN note TO remark", "CREATE VIEW more AS SELECT 1 AS one",
    ),
    "another column": _texts("ALTER TABLE audit ADD COLUMN more text"),
    "a virtual table": _texts("CREATE VIRTUAL TABLE words USING fts5(word)", "DROP TABLE words"),
    "something temporary": _texts("CREATE TEMP VIEW base AS SELECT 1 AS one", "DROP VIEW base"),
    "numbered anew": _texts("DROP TABLE audit", "VACUUM", "CREATE VIEW more AS SELECT 1 AS one"),
    "back to a savepoint": _texts("BEGIN", "SAVEPOINT a", "DROP VIEW last", "ROLLBACK TO a", "CREATE VIEW more AS SELECT 1"),
    "rolled back": _texts("BEGIN", "DROP VIEW base", "ROLLBACK", "CREATE VIEW more AS SELECT 1 AS one"),
    "OR ROLLBACK": _rolled_back("INSERT OR ROLLBACK INTO orders VALUES (1, 'b')"),
    "interrupted": _interrupt,
    "past the connection's cursors": _by_hand,
    "another session": _by_another,
    "both sessions": _by_both,
    "another session after a commit": _in_between,
    "a rollback after a refused commit": _after_a_refused_commit,
    "the schema written to": _unguarded,
    "a backup put in its place": _restored,
    "another database in its place": _deserialized,
    "a script": lambda opened: opened.mine.executescript("DROP VIEW last; CREATE VIEW more AS SELECT 1 AS one;"),
}  # fmt: skip


# SQLite refuses to put another database in the place of one with a write-ahead log.
_WITHOUT_WAL = ("a backup put in its place", "another database in its place")


@pytest.mark.parametrize(
    ("act", "journal"),
    [(act, journal) for act in ACTS for journal in ("delete", "wal") if journal == "delete" or act not in _WITHOUT_WAL],
)
def test_whatever_changes_the_schema_is_noticed(opened: Open, act: str, journal: str) -> None:
    opened(f"PRAGMA journal_mode = {journal}")
    opened.check()
    ACTS[act](opened)
    opened.check()
    with suppress(sqlite3.OperationalError):  # none is open
        opened("ROLLBACK")
    opened.check()


def test_a_trigger_that_rolls_back_is_noticed(opened: Open) -> None:
    opened("CREATE TRIGGER no BEFORE INSERT ON audit BEGIN SELECT RAISE(ROLLBACK, 'no'); END")
    _rolled_back("INSERT INTO audit VALUES (1)")(opened)
    opened.check()


def test_any_order_of_changes_is_followed(opened: Open) -> None:
    """Two thousand changes by two sessions, and after each what is known is right."""
    chance, done = random.Random(13), {True: 0, False: 0}
    for _ in range(2_000):
        name = f"v{chance.randrange(12)}"
        kind = chance.choice(("VIEW", "VIEW", "TABLE"))
        statement = chance.choice(
            (
                f"CREATE VIEW {name} AS SELECT id FROM v{chance.randrange(12)}", f"CREATE TABLE {name} (id int)", f"DROP {kind} {name}",
                f"DROP {kind} {name}", f"CREATE TRIGGER t{name} AFTER INSERT ON {name} BEGIN DELETE FROM audit; END",
                "BEGIN IMMEDIATE", "COMMIT", "ROLLBACK", "SAVEPOINT a", "ROLLBACK TO a", "RELEASE a", f"CREATE INDEX i{name} ON {name} (id)",
            )
        )  # fmt: skip
        is_theirs = chance.random() < 0.2 and statement.startswith(("CREATE", "DROP"))
        with suppress(sqlite3.Error):
            (opened.other if is_theirs else opened.mine).execute(statement)
            done[is_theirs] += 1
        if chance.random() < 0.7:
            opened.check()
    assert sum(opened.read) < 2_000 * 20
    assert done[True] > 20


def test_no_more_is_read_than_what_has_changed(opened: Open) -> None:
    opened("BEGIN")
    for number in range(300):
        opened(f"CREATE VIEW crowd_{number} AS SELECT {number} AS one")
    opened.check()
    opened.read.clear()
    opened.known()
    assert opened.read == []
    opened("DROP VIEW last", "CREATE VIEW last AS SELECT note FROM base")
    opened.known()
    assert opened.read == [1]
    opened("COMMIT", "BEGIN", "DROP VIEW base")
    opened.known()
    assert opened.read == [1, 0]


@pytest.mark.parametrize("of_one", [True, False], ids=["one migration", "a migration each"])
def test_blocks_read_the_same_whatever_else_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_one: bool
) -> None:
    """Rows that twelve blocks read of the schema, beside those that are read once."""
    counts = []
    rows: list[int] = []
    run = SqliteCatalog.run

    def counting(catalog: SqliteCatalog, statement: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        found = run(catalog, statement, parameters)
        if "sqlite_master" in statement:
            rows.append(len(found))
        return found

    monkeypatch.setattr(SqliteCatalog, "run", counting)
    for crowd in (0, 500):
        path = tmp_path / f"{crowd}.db"
        with sqlite3.connect(path) as connection:
            for number in range(crowd):
                connection.execute(f"CREATE VIEW crowd_{number} AS SELECT {number} AS one")
        connection.close()
        stand = Stand(f"sqlite://{path}")
        bodies, views = _opening(0, 6)
        if of_one:
            bodies, views = _together(bodies, views)
        rows.clear()
        assert stand.run(*bodies, views=views).succeeded
        counts.append((sum(each for each in rows if each > crowd), sum(each for each in rows if each <= crowd)))
    assert counts[1][0] - counts[0][0] < 3 * 500, "the whole schema is read when a session begins, not for each block"
    assert counts[1][1] < 12 * 8


def _together(
    bodies: list[Callable[[Any], bool]], views: dict[str, list[Any]]
) -> tuple[list[Callable[[Any], bool]], dict[str, list[Any]]]:
    def opens_all(db: Any) -> bool:
        return all(body(db) for body in bodies)

    return [opens_all], {"opens_all": [view for some in views.values() for view in some]}


def test_a_connection_that_tells_nothing_is_read_anew_each_time(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "shop.db", isolation_level=None)
    catalog = SqliteCatalog(lambda: connection)
    assert dict(catalog.schema().relations) == {}
    connection.execute("CREATE VIEW v AS SELECT 1 AS one")
    assert list(catalog.schema().relations) == ["v"]
    connection.close()


def test_a_connection_whose_schema_was_noted_is_handed_on(sqlite_uri: str) -> None:
    """Only who is the only one to hold it hands it on: what is noted of it may not refer to it, nor to what does."""
    seen: list[tuple[bool, bool]] = []
    first: list[weakref.ref[Any]] = []

    def watched(opens: Callable[[Any], bool]) -> Callable[[Any], bool]:
        def body(db: Any) -> bool:
            connection = db._adapter.connection
            first.append(weakref.ref(connection))
            done = opens(db)
            seen.append((first[0]() is connection, bool(connection.noted.schema.relations)))
            return done

        body.__name__ = opens.__name__
        return body

    bodies, views = _opening(0, 2)
    assert Stand(sqlite_uri).run(*map(watched, bodies), views=views).succeeded
    assert seen == [(True, True)] * 4
