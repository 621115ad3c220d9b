"""A rehearsal on SQLite: what is told of each migration, and that the file itself is as it was."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from migrate_graph.core.events import Event, Outcome, Result, ignore_events
from migrate_graph.core.footprint import Fact, Footprint, Size, Wrote
from migrate_graph.core.graph import build_graph
from migrate_graph.core.history import History
from migrate_graph.core.model import Migration, Registry, TransactionMode
from migrate_graph.core.plan import build_plan
from migrate_graph.database import Settings
from migrate_graph.database.outside_acts import ActsOutside, OutsideWatch
from migrate_graph.database.sqlite.recorder import without_values
from migrate_graph.database.sqlite.rehearsal import SqliteRehearsal, copy_database
from migrate_graph.database.watching import Keeping, Watching
from migrate_graph.executor import Executor, RunOptions
from migrate_graph.signals import Interruption
from migrate_graph.user_files import SourceLocation

SHOP = """
CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER, kind TEXT);
CREATE TABLE history (account INTEGER, balance INTEGER);
CREATE TRIGGER remember AFTER UPDATE ON account BEGIN INSERT INTO history VALUES (new.id, new.balance); END;
CREATE VIEW rich AS SELECT id, balance FROM account WHERE kind = 'a';
INSERT INTO account (balance, kind) VALUES (1, 'a'), (2, 'a'), (3, 'b');
"""


@dataclass
class Stand:
    """A database, and what rehearses on it."""

    path: Path
    directory: Path
    values: bool = True
    allow: bool = False
    results: dict[str, Result] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()

    def rehearse(self, *bodies: Callable[[Any], Any], mode: TransactionMode = TransactionMode.OWN) -> list[Footprint]:
        migrations = [
            Migration(body.__name__, body, source=SourceLocation("m.py", 1), transaction=mode, position=at)
            for at, body in enumerate(bodies)
        ]
        graph = build_graph(Registry(migrations=tuple(migrations)))
        root = Path(__file__).parent
        outside = OutsideWatch(root, folders=(self.directory,), allow=self.allow)
        watching = Watching(root=root, keeping=Keeping.EVERYTHING, values=self.values, outside=outside)
        settings = Settings(f"sqlite://{self.path}", folder=self.path.parent, secrets=self.secrets)
        interruption = Interruption()
        copy = copy_database(settings, self.directory, observer=ignore_events, interruption=interruption)
        backend = SqliteRehearsal(copy, watching)
        backend.connect(observer=ignore_events, interruption=interruption)
        try:
            backend.prepare()
            backend.begin()
            with backend.lock(0, ignore_events) as lock:
                executor = Executor(
                    backend, lock, self._hear, options=RunOptions(keep_going=True, tries=1), root=str(root)
                )
                finished = executor.run(build_plan(graph, History()), graph, History())
            self.results = {each.name: each for each in finished.results}
        finally:
            backend.close()
        return [backend.footprints[body.__name__] for body in bodies]

    def _hear(self, _event: Event) -> None:
        pass


def digest(directory: Path) -> dict[str, str]:
    return {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in directory.iterdir() if each.is_file()}


@pytest.fixture
def stand(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stand]:
    """Make a database, of another schema where a test asks for it; in the end it must be as it was, byte for byte."""
    home, scratch = tmp_path / "home", tmp_path / "scratch"
    home.mkdir()
    scratch.mkdir()
    with closing(sqlite3.connect(home / "shop.db")) as db:
        db.executescript(getattr(request, "param", SHOP))
    before = digest(home)
    yield Stand(home / "shop.db", scratch)
    assert digest(home) == before


def told(footprint: Footprint) -> list[tuple[str, tuple[str, ...], int | None]]:
    return [(each.sql, each.uses, each.rows) for each in footprint.statements]


def test_statements_are_told_with_values_line_columns_and_rows(stand: Stand) -> None:
    def pay(db: Any) -> bool:
        db.executesql("UPDATE account SET balance = balance + ? WHERE kind = ?", (5, "a"))
        return bool(db.executesql("SELECT count(*) FROM rich"))

    (seen,) = stand.rehearse(pay)
    assert told(seen) == [
        (
            "UPDATE account SET balance = balance + 5 WHERE kind = 'a'",
            ("account.balance", "account.id", "account.kind", "history.*"),
            2,
        ),
        ("SELECT count(*) FROM rich", ("account.balance", "account.id", "account.kind"), None),
    ]
    assert [each.source.line for each in seen.statements if each.source] == [
        pay.__code__.co_firstlineno + 1,
        pay.__code__.co_firstlineno + 2,
    ]
    assert {each.source.path for each in seen.statements if each.source} == {Path(__file__).name}
    assert seen.wrote == {"account": Wrote(updated=2), "history": Wrote(inserted=2)}, "also by triggers"
    assert seen.sizes["account"].rows == 3
    assert stand.results["pay"].outcome is Outcome.APPLIED


def test_a_column_that_is_dropped_is_not_renamed_to_one_that_comes(stand: Stand) -> None:
    def swap(db: Any) -> bool:
        db.executesql("DROP VIEW rich")
        db.executesql("DROP TRIGGER remember")
        db.executesql("ALTER TABLE account ADD COLUMN note TEXT")
        db.executesql("ALTER TABLE account DROP COLUMN balance")
        return True

    def last(db: Any) -> bool:
        db.executesql("ALTER TABLE history DROP COLUMN balance")
        db.executesql("ALTER TABLE history ADD COLUMN other TEXT")
        return True

    def rename(db: Any) -> bool:
        db.executesql("ALTER TABLE account ADD COLUMN more INTEGER")
        db.executesql("ALTER TABLE account RENAME COLUMN note TO words")
        return True

    swapped, lost, renamed = stand.rehearse(swap, last, rename)
    assert Fact("column", "account.balance") in swapped.removed
    assert swapped.renamed == lost.renamed == frozenset()
    assert renamed.renamed == {Fact("column", "account.note")}


def test_a_column_that_is_dropped_is_not_renamed_to_one_with_the_same_definition(stand: Stand) -> None:
    def grow(db: Any) -> bool:
        db.executesql("ALTER TABLE history ADD COLUMN a TEXT")
        db.executesql("CREATE TABLE bystander (a TEXT)")
        return True

    def swap(db: Any) -> bool:
        db.executesql("ALTER TABLE bystander RENAME a TO b")
        db.executesql("ALTER TABLE history DROP COLUMN a")
        db.executesql("ALTER TABLE history ADD COLUMN b TEXT")
        return True

    def rename(db: Any) -> bool:
        db.executesql('ALTER /* here */ TABLE main."history"RENAME "b"TO[c d]')
        db.executesql("ALTER TABLE history RENAME COLUMN `c d` TO E")
        return True

    def move(db: Any) -> bool:
        db.executesql("ALTER TABLE history RENAME TO past")
        db.executesql("ALTER TABLE past DROP COLUMN e")
        return True

    _, swapped, renamed, moved = stand.rehearse(grow, swap, rename, move)
    assert Fact("column", "history.a") in swapped.removed
    assert swapped.renamed == {Fact("column", "bystander.a")}
    assert renamed.renamed == {Fact("column", "history.b")}
    assert Fact("table", "history") in moved.renamed
    assert Fact("column", "history.E") in moved.removed - moved.renamed


VIRTUAL = """
CREATE VIRTUAL TABLE place USING rtree(id, x0, x1);
CREATE VIRTUAL TABLE words USING fts5(word);
CREATE VIRTUAL TABLE letters USING fts5(letter);
INSERT INTO words VALUES ('one');
"""


@pytest.mark.parametrize("stand", [VIRTUAL], indirect=True)
def test_what_a_virtual_table_asks_of_its_own_is_not_taken_for_the_statement(stand: Stand) -> None:
    def use(db: Any) -> bool:
        db.executesql("  REPLACE INTO words (rowid, word) VALUES (1, ?)  ;  ", ("two",))
        db.executesql("SELECT letter FROM letters WHERE letter = 'c' -- why?")
        db.executesql("DROP TABLE place")
        return True

    (seen,) = stand.rehearse(use)
    assert [each.sql for each in seen.statements] == [
        "REPLACE INTO words (rowid, word) VALUES (1, 'two')",
        "SELECT letter FROM letters WHERE letter = 'c' -- why?",
        "DROP TABLE place",
    ]


def test_what_changed_in_the_schema_is_told(stand: Stand) -> None:
    def grow(db: Any) -> bool:
        db.executesql("ALTER TABLE account ADD COLUMN note TEXT DEFAULT 'x'")
        db.executesql("CREATE INDEX by_kind ON account (kind)")
        db.executesql('CREATE TABLE "odd name" (a INTEGER UNIQUE, b INTEGER REFERENCES account (id))')
        return True

    def shrink(db: Any) -> bool:
        db.executesql("ALTER TABLE account DROP COLUMN note")
        db.executesql("DROP INDEX by_kind")
        db.executesql("DROP TRIGGER remember")
        db.executesql("DROP TABLE history")
        return True

    def rename(db: Any) -> bool:
        db.executesql("DROP VIEW rich")
        db.executesql("ALTER TABLE account RENAME COLUMN kind TO sort")
        db.executesql('ALTER TABLE "odd name" RENAME TO even')
        return True

    grown, shrunk, renamed = stand.rehearse(grow, shrink, rename)
    assert grown.added == {
        Fact("column", "account.note"),
        Fact("index", "by_kind"),
        Fact("table", '"odd name"'),
        Fact("column", '"odd name".a'),
        Fact("column", '"odd name".b'),
        Fact("constraint", '"odd name" foreign key (b)'),
        Fact("constraint", '"odd name" unique (a)'),
    }
    assert not grown.changed | grown.removed
    assert {each for each in shrunk.removed if each.kind != "column"} == {
        Fact("index", "by_kind"),
        Fact("trigger", "account.remember"),
        Fact("table", "history"),
    }
    assert Fact("column", "account.note") in shrunk.removed
    assert shrunk.renamed == frozenset()
    assert [each.relation for each in shrunk.rewrites] == ["account"], "dropping a column writes the table anew"
    assert shrunk.rewrites[0].rows == 3
    assert Fact("column", "account.kind") in renamed.renamed
    assert Fact("table", '"odd name"') in renamed.renamed
    assert Fact("column", "account.sort") in renamed.added
    assert Fact("view", "rich") in renamed.removed - renamed.renamed


def test_a_check_is_a_change_of_its_table(stand: Stand) -> None:
    def rebuild(db: Any) -> bool:
        db.executesql("DROP TRIGGER remember")
        db.executesql("CREATE TABLE new (account INTEGER, balance INTEGER, CHECK (balance >= 0))")
        db.executesql("INSERT INTO new SELECT * FROM history")
        db.executesql("DROP TABLE history")
        db.executesql("ALTER TABLE new RENAME TO history")
        return True

    (seen,) = stand.rehearse(rebuild)
    assert (seen.added, seen.changed) == (frozenset(), {Fact("table", "history")})
    assert seen.removed == {Fact("trigger", "account.remember")}


def test_what_fails_is_rolled_back_and_told_with_its_class(stand: Stand) -> None:
    def fails(db: Any) -> bool:
        db.executesql("CREATE TABLE kept (a)")
        db.commit()
        db.executesql("INSERT INTO kept VALUES (1), (2)")
        db.executesql("INSERT INTO account (id) VALUES (1)")
        return True

    def wrong(db: Any) -> bool:
        db.executesql("SELECT absent FROM account")
        return True

    def goes_on(db: Any) -> bool:
        db.executesql("INSERT INTO kept VALUES (3)")
        return True

    failed, mistaken, after = stand.rehearse(fails, wrong, goes_on)
    assert [(each.transaction, each.error_code) for each in failed.statements] == [
        (0, ""),
        (1, ""),
        (1, "SQLITE_CONSTRAINT_PRIMARYKEY"),
    ]
    assert "UNIQUE constraint failed" in failed.statements[-1].error
    assert (failed.own_commits, failed.wrote) == (1, {}), "what was rolled back was not written"
    assert Fact("table", "kept") in failed.added
    assert [(each.sql, each.error) for each in mistaken.statements] == [
        ("SELECT absent FROM account", "no such column: absent")
    ]
    assert after.wrote == {"kept": Wrote(inserted=1)}
    assert {name: each.outcome for name, each in stand.results.items()} == {
        "fails": Outcome.RAISED,
        "wrong": Outcome.RAISED,
        "goes_on": Outcome.APPLIED,
    }


def test_a_view_in_the_way_is_named(stand: Stand) -> None:
    def narrow(db: Any) -> bool:
        db.executesql("DROP TRIGGER remember")
        db.executesql("ALTER TABLE account DROP COLUMN balance")
        return True

    (seen,) = stand.rehearse(narrow)
    assert seen.statements[-1].blockers == ("rich",)


def test_scripts_many_values_raw_ends_and_cursors_made_by_hand_are_heard(stand: Stand) -> None:
    def many(db: Any) -> bool:
        connection = db._adapter.connection
        connection.executescript("CREATE TABLE s (a); INSERT INTO s VALUES ('x;y'); -- end\n")
        connection.executemany("INSERT INTO s VALUES (?)", [(1,), (2,), (3,)])
        db.executesql("COMMIT")
        db.executesql("DELETE FROM s WHERE a = 1")
        sqlite3.Cursor(connection).execute("UPDATE s SET a = 7 WHERE a = 2")
        return True

    (seen,) = stand.rehearse(many)
    assert [(each.sql, each.transaction) for each in seen.statements] == [
        ("CREATE TABLE s (a)", 1),
        ("INSERT INTO s VALUES ('x;y')", 1),
        ("INSERT INTO s VALUES (1)", 1),
        ("COMMIT", 1),
        ("DELETE FROM s WHERE a = 1", 2),
        ("UPDATE s SET a = 7 WHERE a = 2", 2),
    ], "a script begins with a commit"
    assert seen.own_commits == 2
    assert seen.wrote["s"] == Wrote(inserted=4, deleted=1)


@pytest.mark.parametrize("mode", TransactionMode)
def test_every_kind_of_transaction_is_rehearsed(stand: Stand, mode: TransactionMode) -> None:
    def twice(db: Any) -> bool:
        db.executesql("INSERT INTO history VALUES (1, 1)")
        db.commit()
        db.executesql("INSERT INTO history VALUES (2, 2)")
        return True

    (seen,) = stand.rehearse(twice, mode=mode)
    assert stand.results["twice"].outcome is Outcome.APPLIED
    assert [each.sql for each in seen.statements] == [
        "INSERT INTO history VALUES (1, 1)",
        "INSERT INTO history VALUES (2, 2)",
    ]
    assert seen.own_commits == (1 if mode is TransactionMode.OWN else 0)
    if mode is not TransactionMode.NONE:
        assert seen.wrote == {"history": Wrote(inserted=2)}


def test_without_values_there_is_a_question_mark_for_each(stand: Stand) -> None:
    def pay(db: Any) -> bool:
        db.executesql("INSERT INTO account (balance, kind) VALUES (?, ?)", (7, "it's hunter2"))
        return True

    stand.values = False
    (seen,) = stand.rehearse(pay)
    assert [each.sql for each in seen.statements] == ["INSERT INTO account (balance, kind) VALUES (?, ?)"]


@pytest.mark.parametrize(
    ("sql", "shape"),
    [
        ("SELECT 'a', 1.5e3, x'00', col1, \"c 1\", [2 d], `3`", 'SELECT ?, ?, ?, col1, "c 1", [2 d], `3`'),
        ("SELECT 1 -- it's 5\n, 'it''s' /* 7 ' */", "SELECT ? -- it's 5\n, ? /* 7 ' */"),
    ],
)
def test_literals_are_told_from_names_and_comments(sql: str, shape: str) -> None:
    assert without_values(sql) == shape


def test_secrets_are_masked(stand: Stand) -> None:
    def keep(db: Any) -> bool:
        db.executesql("INSERT INTO account (kind) VALUES (?)", ("hunter2",))
        db.executesql("INSERT INTO nothing VALUES ('hunter2')")
        return True

    stand.secrets = ("hunter2",)
    (seen,) = stand.rehearse(keep)
    assert "hunter2" not in repr(seen)
    assert len(seen.statements) == 2


def test_acts_outside_are_refused_also_those_that_sqlite_does_itself(stand: Stand) -> None:
    home = stand.path.parent

    def wild(db: Any) -> bool:
        for statement in (f"ATTACH '{home}/other.db' AS other", f"VACUUM INTO '{home}/copy.db'"):
            with pytest.raises(ActsOutside, match=r"it opens the database .*: refused in a rehearsal"):
                db.executesql(statement)
        (home / "written").write_text("x")
        return True

    (seen,) = stand.rehearse(wild)
    assert [(each.what, each.refused) for each in seen.outside] == [
        (f"opens the database {home}/other.db", True),
        (f"opens the database {home}/copy.db", True),
        (f"writes the file {home}/written", True),
    ]
    lines = [each.source.line - wild.__code__.co_firstlineno for each in seen.outside if each.source]
    assert lines == [3, 3, 4]
    assert stand.results["wild"].error.startswith("ActsOutside: it writes the file")


def test_a_refused_attach_is_told_as_what_it_is(stand: Stand) -> None:
    """And the next error of SQLite is its own again."""

    def attach(db: Any) -> bool:
        with suppress(ActsOutside):
            db.executesql(f"ATTACH '{stand.path.parent}/other.db' AS other")
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            db.executesql("SELECT * FROM nonesuch")
        db.executesql(f"ATTACH '{stand.path.parent}/other.db' AS other")
        return True

    stand.rehearse(attach)
    result = stand.results["attach"]
    assert "it opens the database" in result.error
    assert "not authorized" not in result.error
    assert "made by hand" not in f"{result.error} {result.hint}"


def test_a_database_in_memory_may_be_attached_and_acts_may_be_allowed(stand: Stand, tmp_path: Path) -> None:
    def wild(db: Any) -> bool:
        db.executesql("ATTACH ':memory:' AS aside")
        (tmp_path / "written").write_text("x")
        return True

    stand.allow = True
    (seen,) = stand.rehearse(wild)
    assert [(each.what, each.refused) for each in seen.outside] == [(f"writes the file {tmp_path}/written", False)]
    assert (tmp_path / "written").exists()


def test_define_table_works_with_files_of_its_own(stand: Stand) -> None:
    def define(db: Any) -> bool:
        from pydal import Field

        db._migrate_enabled = True
        db.define_table("thing", Field("name"), migrate=True)
        db.thing.insert(name="x")
        return True

    (seen,) = stand.rehearse(define)
    assert stand.results["define"].error == "", told(seen)
    assert seen.outside == ()
    assert seen.own_commits >= 1, "pyDAL commits there"
    assert Fact("table", "thing") in {Fact(each.kind, each.identity.strip('"')) for each in seen.added}


def test_a_database_that_does_not_exist_is_not_made(stand: Stand) -> None:
    def create(db: Any) -> bool:
        db.executesql("CREATE TABLE t (a)")
        return True

    there = stand.path.with_name("nothing.db")
    (seen,) = Stand(there, stand.directory).rehearse(create)
    assert Fact("table", "t") in seen.added
    assert not there.exists()


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_copy_holds_what_others_have_committed_and_lets_them_go_on(stand: Stand, journal: str) -> None:
    other = stand.path.with_name("busy.db")
    with closing(sqlite3.connect(other, isolation_level=None)) as writer:
        writer.execute(f"PRAGMA journal_mode = {journal}")
        writer.execute("CREATE TABLE t (a)")
        writer.execute("INSERT INTO t VALUES (1), (2)")
        if journal == "wal":
            writer.execute("BEGIN IMMEDIATE")
            writer.execute("INSERT INTO t VALUES (3)")  # not committed: nobody sees it

        def count(db: Any) -> bool:
            return bool(db.executesql("SELECT count(*) FROM t") == [(2,)])

        busy = Stand(other, stand.directory)
        (seen,) = busy.rehearse(count)
        assert busy.results["count"].outcome is Outcome.APPLIED
        assert seen.sizes["t"] == Size(seen.sizes["t"].bytes, 2)
        if journal == "wal":
            writer.execute("COMMIT")
        assert writer.execute("SELECT count(*) FROM t").fetchone() == (3 if journal == "wal" else 2,)
    for file in other.parent.glob("busy.db*"):
        file.unlink()


def test_nobody_else_is_watched(stand: Stand) -> None:
    """A bystander of the application has a connection and files of its own."""
    go, done = threading.Event(), threading.Event()
    aside = stand.path.parent.parent / "aside.db"

    def bystander() -> None:
        go.wait(10)
        with closing(sqlite3.connect(aside)) as db:
            db.execute("CREATE TABLE b (a)")
        done.set()

    thread = threading.Thread(target=bystander)
    thread.start()

    def body(db: Any) -> bool:
        go.set()
        return done.wait(10) and bool(db.executesql("SELECT 1"))

    (seen,) = stand.rehearse(body)
    thread.join()
    assert [each.sql for each in seen.statements] == ["SELECT 1"]
    assert seen.outside == ()
    assert aside.exists()


def test_pydal_knows_the_tables_that_it_has_made_before(tmp_path: Path) -> None:
    from pydal import DAL, Field

    home, scratch = tmp_path / "home", tmp_path / "scratch"
    home.mkdir()
    scratch.mkdir()
    for uri in (f"sqlite://{home}/shop.db", "sqlite://shop.db"):
        db = DAL(uri, folder=str(home))
        db.define_table("thing", Field("name"), migrate=True)
        db.commit()
        db.close()
        (home / "shop.db").rename(home / "kept.db")
    (home / "kept.db").rename(home / "shop.db")
    before = digest(home)

    def define(db: Any) -> bool:
        db._migrate_enabled = True
        db.define_table("thing", Field("name"), Field("price"), migrate=True)
        return True

    stand = Stand(home / "shop.db", scratch)
    (seen,) = stand.rehearse(define)
    assert stand.results["define"].error == ""
    assert seen.added == {Fact("column", "thing.price")}
    assert digest(home) == before


FAMILY = """
CREATE TABLE parent (id INTEGER PRIMARY KEY, code TEXT UNIQUE, boss INTEGER REFERENCES parent ON DELETE CASCADE);
CREATE TABLE child (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE grandchild (id INTEGER PRIMARY KEY, child INTEGER REFERENCES child ON DELETE CASCADE);
CREATE TABLE bystander (id INTEGER PRIMARY KEY, parent INTEGER);
CREATE TABLE log (text TEXT);
CREATE TABLE count (n INTEGER);
INSERT INTO parent VALUES (1, 'a', NULL), (2, 'b', 1), (3, 'c', NULL);
INSERT INTO child VALUES (1, 1), (2, 1), (3, 2), (4, 3);
INSERT INTO grandchild VALUES (1, 1), (2, 4);
INSERT INTO bystander VALUES (1, 1), (2, 2);
"""

TRIGGERS = """
CREATE TRIGGER one AFTER INSERT ON bystander BEGIN
    INSERT INTO log VALUES ('a'), ('b'); INSERT INTO count VALUES (1); DELETE FROM child WHERE id = 4; END;
"""

COUNTED: dict[str, tuple[str, list[str], dict[str, Wrote]]] = {
    "a cascade": (
        "", ["DELETE FROM parent WHERE id = 3"],
        {"parent": Wrote(deleted=1), "child": Wrote(deleted=1), "grandchild": Wrote(deleted=1)},
    ),
    "a cascade in the table itself": (
        "", ["DELETE FROM parent WHERE id = 1"],
        {"parent": Wrote(deleted=2), "child": Wrote(deleted=3), "grandchild": Wrote(deleted=1)},
    ),
    "REPLACE": (
        "", ["REPLACE INTO parent VALUES (9, 'a', NULL)", "INSERT OR REPLACE INTO bystander VALUES (1, 5)"],
        {
            "parent": Wrote(inserted=1, deleted=2), "child": Wrote(deleted=3), "grandchild": Wrote(deleted=1),
            "bystander": Wrote(inserted=1, deleted=1),
        },
    ),
    "several triggers": (
        TRIGGERS, ["INSERT INTO bystander VALUES (3, 1)"],
        {
            "bystander": Wrote(inserted=1), "log": Wrote(inserted=2), "count": Wrote(inserted=1), "child": Wrote(deleted=1),
            "grandchild": Wrote(deleted=1),
        },
    ),
    "several triggers, and what was written by itself": (
        TRIGGERS, ["INSERT INTO bystander VALUES (3, 1)", "DELETE FROM log", "INSERT INTO count VALUES (7)"],
        {
            "bystander": Wrote(inserted=1), "log": Wrote(inserted=2, deleted=2), "count": Wrote(inserted=2), "child": Wrote(deleted=1),
            "grandchild": Wrote(deleted=1),
        },
    ),
    "a table dropped whose rows others refer to": (
        "", ["DROP TABLE child"], {"grandchild": Wrote(deleted=2)},
    ),
    "what is undone to a savepoint": (
        "", ["SAVEPOINT a", "DELETE FROM parent WHERE id = 1", "INSERT INTO log VALUES ('x')", "ROLLBACK TO a", "INSERT INTO log VALUES ('y')"],
        {"log": Wrote(inserted=1)},
    ),
    "a table that is built anew": (
        "", ["CREATE TABLE other (id INTEGER, parent INTEGER)", "INSERT INTO other SELECT * FROM bystander", "DROP TABLE bystander",
             "ALTER TABLE other RENAME TO bystander"],
        {"other": Wrote(inserted=2)},
    ),
    "a table that is renamed, and built anew": (
        "", ["ALTER TABLE bystander RENAME TO old", "CREATE TABLE bystander (id INTEGER)", "INSERT INTO bystander SELECT id FROM old",
             "DROP TABLE old"],
        {"bystander": Wrote(inserted=2)},
    ),
    "tables that change places": (
        "", ["ALTER TABLE log RENAME TO a", "ALTER TABLE bystander RENAME TO log", "ALTER TABLE a RENAME TO bystander", "DELETE FROM log WHERE id = 1"],
        {"log": Wrote(deleted=1)},
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("case", "stand"),
    [(case, f"{FAMILY}{schema}") for case, (schema, *_) in COUNTED.items()],
    indirect=["stand"],
    ids=COUNTED.keys(),
)
def test_rows_are_counted_whatever_writes_them(case: str, stand: Stand) -> None:
    """Where SQLite says too little of a statement, the rows themselves are counted; the next migration begins where that ends."""
    _, statements, expected = COUNTED[case]

    def write(db: Any) -> bool:
        for each in statements:
            db.executesql(each)
        return True

    def again(db: Any) -> bool:
        db.executesql(
            "INSERT INTO log (text) VALUES ('z')" if case != "tables that change places" else "DELETE FROM bystander"
        )
        return True

    seen, after = stand.rehearse(write, again)
    assert seen.wrote == expected
    assert after.wrote == ({"log": Wrote(inserted=1)} if case != "tables that change places" else {})


def test_a_commit_in_a_single_transaction_is_counted_once_and_a_rollback_not(stand: Stand) -> None:
    def write(db: Any) -> bool:
        db.executesql("DELETE FROM account WHERE id = 1")
        db.commit()
        db.executesql("DELETE FROM account")
        db.rollback()
        return True

    (seen,) = stand.rehearse(write, mode=TransactionMode.SINGLE)
    assert seen.wrote == {"account": Wrote(deleted=1)}
