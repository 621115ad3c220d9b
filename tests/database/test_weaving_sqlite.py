"""Views of SQLite step aside for what it refuses because of them, and come up anew where a table was rebuilt under them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from bodies import Body, forget_managers, named, sql, view
from stand import Stand

from migrate_graph.core.events import Result, RunFinished, ViewCreated, ViewDropped, Warned
from migrate_graph.database.sqlite.obstacles import SqliteObstacles
from migrate_graph.database.sqlite.work import WorkConnection
from migrate_graph.database.views.weaving import Weaver
from migrate_graph.executor.attempt import WeavingOptions

__all__ = ["forget_managers"]

KEEP = WeavingOptions(keeps_unmanaged=True)
OFF = WeavingOptions(wanted=False)
TABLE = "(id INTEGER PRIMARY KEY, a INT, b TEXT, c VARCHAR(10), s TEXT)"
REBUILD = (
    f"CREATE TABLE n {TABLE.replace('a INT', 'a BIGINT')}",
    "INSERT INTO n SELECT * FROM t",
    "DROP TABLE t",
    "ALTER TABLE n RENAME TO t",
)
OTHER_REBUILD = (
    "ALTER TABLE t RENAME TO old",
    f"CREATE TABLE t {TABLE.replace('a INT', 'a BIGINT')}",
    "INSERT INTO t SELECT * FROM old",
    "DROP TABLE old",
)


class Shop:
    """A file with a table and views: V2 reads V, which has a trigger; nobody manages w."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "shop.db"
        self.stand = Stand(f"sqlite://{self.path}", folder=folder)
        self.v = view("V", "SELECT id, a, c FROM t")
        self.v2 = view("V2", "SELECT a, count(*) AS n FROM v GROUP BY a", self.v)
        self.others: list[Any] = []
        self.made = [
            sql("base", f"CREATE TABLE t {TABLE}", "INSERT INTO t (a, b, c) VALUES (1, 'b', 'c'), (2, 'b', 'c')"),
            named("first", self._first),
        ]
        made = self.run()
        assert made.succeeded, made.results
        self.stand.events.clear()

    def _first(self, db: Any) -> None:
        with self.v(db):
            pass
        db.executesql("CREATE TRIGGER v_in INSTEAD OF INSERT ON v BEGIN INSERT INTO t (a) VALUES (new.a); END")
        db.executesql("CREATE VIEW w AS SELECT b FROM t")

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a query on a connection of its own."""
        with closing(sqlite3.connect(self.path)) as connection, connection:
            return connection.execute(statement).fetchall()

    def schema(self) -> dict[str, str]:
        """Return the texts of all views and triggers."""
        found = self.ask("SELECT name, sql FROM sqlite_master WHERE type IN ('view', 'trigger')")
        return {name: " ".join(text.split()) for name, text in found}

    def run(self, *bodies: Body, opens: dict[str, list[Any]] | None = None, **more: Any) -> RunFinished:
        """Run bodies after those that have made the shop."""
        opened = {"first": [self.v], "": [self.v2, *self.others], **(opens or {})}
        return self.stand.run(*self.made, *bodies, views=opened, **more)

    def works(self, *bodies: Body, down: str = "", up: str | None = None, warned: int = 0, **more: Any) -> None:
        """Run bodies; every view is afterwards as before, and can be read."""
        before = self.schema()
        self.stand.events.clear()
        finished = self.run(*bodies, **more)
        assert finished.succeeded, "".join(f"{each.error} {each.hint} {each.traceback}" for each in finished.results)
        assert [each.view for each in self.stand.told(ViewDropped)] == down.split()
        ups = [each.view for each in self.stand.told(ViewCreated)]
        assert ups == (down.split()[::-1] if up is None else up.split())
        assert len(self.stand.told(Warned)) == warned, self.stand.told(Warned)
        assert self.schema() == before
        for name, text in before.items():
            if "CREATE VIEW" in text:
                self.ask(f'SELECT * FROM "{name}"')
        self.is_whole()

    def is_whole(self) -> None:
        """Check that the view ledger says of every view what is so."""
        assert not self.stand.history().views_down
        assert not [name for (name,) in self.ask("SELECT manager FROM ewh_implemented_features_views") if "." in name]

    def fails(self, *bodies: Body, **more: Any) -> Result:
        """Run bodies of which the last one fails; everything is as before."""
        before = self.schema()
        finished = self.run(*bodies, **more)
        assert not finished.succeeded
        assert self.schema() == before
        self.is_whole()
        return finished.results[-1]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """The shop."""
    return Shop(tmp_path)


@pytest.mark.parametrize("how", [REBUILD, OTHER_REBUILD])
def test_a_table_is_rebuilt_under_its_views(shop: Shop, how: tuple[str, ...]) -> None:
    """SQLite refuses the first way at its rename; it refuses nothing of the other one, and leaves views that read a table which is gone."""
    shop.works(sql("rebuilds", *how), down="V2 main.w V", weaving=KEEP, warned=2)
    assert shop.ask("SELECT typeof(a), count(*) FROM v") == [("integer", 2)]
    shop.ask("INSERT INTO v (a) VALUES (3)")
    assert shop.ask("SELECT sum(n) FROM v2") == [(3,)]


def test_what_weaving_spares(shop: Shop) -> None:
    assert "error in view" in shop.fails(sql("rebuilds", *REBUILD), weaving=OFF).error
    assert "error in view" in shop.fails(sql("rebuilds", *REBUILD), unwoven=["rebuilds"]).error
    assert shop.run(sql("rebuilds", *OTHER_REBUILD), weaving=OFF).succeeded
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        shop.ask("SELECT * FROM v")


def test_a_table_is_rebuilt_with_the_old_rename(shop: Shop) -> None:
    """`legacy_alter_table`: no view is in the way, and none is broken afterwards."""
    shop.works(sql("rebuilds", "PRAGMA legacy_alter_table = ON", *REBUILD))


@pytest.mark.parametrize("how", [REBUILD, OTHER_REBUILD])
def test_a_view_that_nobody_manages_is_refused(shop: Shop, how: tuple[str, ...]) -> None:
    result = shop.fails(sql("rebuilds", *how))
    assert result.hint.startswith("w is in the way")
    assert '`migrate new NAME --view` writes one, or set `unmanaged = "keep"`' in result.hint


def test_a_column_that_views_read_goes_and_comes(shop: Shop) -> None:
    """As one changes the type of a column; w reads another one, and is left alone."""
    shop.works(
        sql(
            "by_hand", "ALTER TABLE t ADD COLUMN c2 TEXT", "UPDATE t SET c2 = c", "ALTER TABLE t DROP COLUMN c",
            "ALTER TABLE t ADD COLUMN c TEXT", "UPDATE t SET c = c2", "ALTER TABLE t DROP COLUMN c2",
        ),
        down="V2 V", warned=1,
    )  # fmt: skip
    assert shop.ask("SELECT c FROM v ORDER BY id") == [("c",), ("c",)]


def test_pydal_itself_changes_a_type(shop: Shop) -> None:
    def body(db: Any) -> None:
        from pydal import Field

        db._migrate_enabled = True
        db._adapter.folder = str(shop.path.parent)
        for kind in ("string", "text"):
            c = Field("c", kind, length=10)
            db.define_table("t", Field("a", "integer"), c, migrate=True, fake_migrate=kind == "string", redefine=True)

    finished = shop.run(named("by_pydal", body))
    assert finished.succeeded, finished.results
    assert shop.ask("SELECT count(*) FROM v2") == [(2,)]
    shop.is_whole()


def test_a_column_that_a_view_reads_is_dropped(shop: Shop) -> None:
    result = shop.fails(sql("drop_a", "ALTER TABLE t DROP COLUMN a"))
    assert "V reads t.a, which drop_a drops (" in result.error
    assert "bodies.py:" in result.error
    assert 'close the window of V (`until = "drop_a"`) or name a successor (`replaces = V`)' in result.hint


def test_a_column_is_renamed_under_a_view_of_a_view(shop: Shop) -> None:
    result = shop.fails(sql("renames", "ALTER TABLE t RENAME COLUMN a TO aa"))
    assert "V reads t.a, which renames drops (" in result.error


def test_a_column_gives_its_name_to_another_under_a_view_of_a_view(shop: Shop) -> None:
    """SQLite writes the new name into V, whose column would be called otherwise then: V is as it was, and reads the other column."""
    shop.ask("DROP TRIGGER v_in")  # it would be in the way as well, and take V down
    shop.works(sql("swaps", "ALTER TABLE t RENAME COLUMN a TO old", "ALTER TABLE t ADD COLUMN a INT"), down="V2 V")
    assert shop.ask("SELECT a FROM v") == [(None,), (None,)]


def test_a_table_that_a_view_reads_is_dropped(shop: Shop) -> None:
    result = shop.fails(sql("drop_t", "DROP TABLE t"), weaving=KEEP)
    assert "V reads t.a, t.c, t.id, which drop_t drops" in result.error
    assert "main.w reads t.b, which drop_t drops" in result.error
    assert "drop main.w before that" in result.hint


def test_a_window_that_closes_with_the_column(shop: Shop) -> None:
    shop.v.until = shop.v2.until = "drop_a"
    finished = shop.run(sql("drop_a", "ALTER TABLE t DROP COLUMN a"))
    assert finished.succeeded, finished.results
    assert set(shop.schema()) == {"w"}
    shop.is_whole()


@pytest.mark.parametrize("statement", ["ALTER TABLE t DROP COLUMN a", "ALTER TABLE t RENAME COLUMN a TO aa"])
def test_a_successor_takes_over_where_the_column_goes(shop: Shop, statement: str) -> None:
    heir = view("Heir", "SELECT id, c FROM t", name="v", replaces=shop.v, since="changes")
    heir2 = view(
        "Heir2", "SELECT c, count(*) AS n FROM v GROUP BY c", heir, name="v2", replaces=shop.v2, since="changes"
    )
    shop.others = [heir, heir2]
    finished = shop.run(sql("changes", "DROP TRIGGER v_in", statement), opens={"changes": [heir]})
    assert finished.succeeded, [(each.error, each.hint) for each in finished.results]
    assert shop.ask("SELECT * FROM v2") == [("c", 2)]
    shop.is_whole()


def test_what_has_long_been_broken_is_left_so(shop: Shop) -> None:
    shop.ask("CREATE TABLE gone (i)")
    shop.ask("CREATE VIEW x AS SELECT i FROM gone")
    shop.ask("DROP TABLE gone")
    assert "x is in the way" in shop.fails(sql("renames", "ALTER TABLE t RENAME COLUMN s TO ss")).hint
    before = shop.schema()
    assert shop.run(sql("renames", "ALTER TABLE t RENAME COLUMN s TO ss"), weaving=KEEP).succeeded
    assert shop.schema() == before
    assert shop.run(
        sql("renames", "ALTER TABLE t RENAME COLUMN s TO ss"), sql("drops", "DROP TABLE IF EXISTS gone")
    ).succeeded
    assert shop.schema() == before
    shop.is_whole()


def test_a_statement_that_names_a_view_finds_it(shop: Shop) -> None:
    shop.works(
        sql("uses_it", *REBUILD, "INSERT INTO t (a) SELECT a + 100 FROM v", "ALTER TABLE t ADD COLUMN z INT"),
        down="V2 main.w V", weaving=KEEP, warned=2,
    )  # fmt: skip
    assert shop.ask("SELECT count(*) FROM v") == [(4,)]


def test_half_way_a_view_stays_down(shop: Shop) -> None:
    shop.works(
        sql(
            "by_hand", "ALTER TABLE t ADD COLUMN c2 TEXT", "UPDATE t SET c2 = c", "ALTER TABLE t DROP COLUMN c",
            "UPDATE t SET s = 'v and w'", "ALTER TABLE t ADD COLUMN c VARCHAR(10)", "UPDATE t SET c = c2",
        ),
        down="V2 V",
    )  # fmt: skip


def test_a_view_that_misses_its_table_is_told_why(shop: Shop) -> None:
    def body(db: Any) -> None:
        for each in REBUILD:
            db.executesql(each)
        db.executesql("DROP TABLE t")
        db.executesql("SELECT * FROM v")

    result = shop.fails(named("misses", body), weaving=KEEP)
    assert "V2, main.w, V went down" in result.hint


def test_own_commits_while_views_are_down(shop: Shop) -> None:
    seen: list[Any] = []

    def body(db: Any) -> None:
        for each in REBUILD:
            db.executesql(each)
        db.commit()
        seen.extend(shop.stand.history().views_down)
        db.executesql("ALTER TABLE t ADD COLUMN late INT")
        db.commit()

    shop.works(named("commits", body), down="V2 main.w V", weaving=KEEP, warned=2)
    assert {each.manager for each in seen} == {"V", "V2", "main.w"}


def test_a_rollback_brings_everything_back_by_itself(shop: Shop) -> None:
    def body(db: Any) -> None:
        for each in REBUILD:
            db.executesql(each)
        db.rollback()
        assert db.executesql("SELECT count(*) FROM v") == [(2,)]

    shop.works(named("goes_back", body), down="V2 main.w V", up="", weaving=KEEP)


def test_a_single_transaction(shop: Shop) -> None:
    def body(db: Any) -> None:
        for each in REBUILD:
            db.executesql(each)
        db.commit()
        db.executesql("ALTER TABLE t DROP COLUMN s")
        db.rollback()

    shop.works(named("single", body), down="V2 main.w V", weaving=KEEP, warned=2, modes={"single": "single"})


@pytest.mark.parametrize("script", [True, False])
def test_outside_of_a_transaction_nothing_steps_aside(shop: Shop, script: bool) -> None:
    def body(db: Any) -> None:
        if script:
            db._adapter.connection.executescript("ALTER TABLE t DROP COLUMN a")
        else:
            db.executesql("ALTER TABLE t DROP COLUMN a")

    result = shop.fails(named("drops", body), modes={} if script else {"drops": "none"})
    assert "error in view v after drop column" in result.error
    assert "open their manager around it" in result.hint


def test_a_script_that_breaks_views(shop: Shop) -> None:
    """Nothing is refused; what it has broken comes up anew when the migration ends."""
    shop.works(
        named("scripts", lambda db: db._adapter.connection.executescript(";".join(OTHER_REBUILD))),
        down="V2 main.w V", weaving=KEEP, warned=2,
    )  # fmt: skip


def test_blocks_and_what_steps_aside(shop: Shop) -> None:
    def body(db: Any) -> None:
        with shop.v(db):
            for each in REBUILD:  # only w is in the way
                db.executesql(each)

    shop.works(named("blocks", body), down="V2 V main.w", up="V V2 main.w", weaving=KEEP, opens={"blocks": [shop.v]})


def test_a_trigger_that_reads_a_view_stays(shop: Shop) -> None:
    shop.ask("CREATE TABLE log (n)")
    shop.ask("CREATE TRIGGER logs AFTER INSERT ON log BEGIN UPDATE log SET n = (SELECT count(*) FROM v); END")
    shop.works(sql("rebuilds", *OTHER_REBUILD), down="V2 main.w V", weaving=KEEP, warned=2)
    shop.ask("INSERT INTO log VALUES (0)")
    assert shop.ask("SELECT n FROM log") == [(2,)]
    assert "error in" in shop.fails(sql("again", *REBUILD), weaving=KEEP).error


def test_an_error_that_only_says_the_words_is_the_bodys(shop: Shop) -> None:
    def body(db: Any) -> None:
        db._adapter.connection.create_function("says", 0, lambda: 1 / 0)
        db.executesql("DROP TABLE IF EXISTS nix")
        raise sqlite3.OperationalError("error in view v: no")

    assert "error in view v: no" in shop.fails(named("says", body)).error
    assert not shop.stand.told(ViewDropped)


def test_a_run_that_is_one_transaction(shop: Shop) -> None:
    def opens(db: Any) -> None:
        with shop.v(db):
            db.executesql("ALTER TABLE t ADD COLUMN one INT")

    shop.works(
        named("opens", opens), sql("by_hand", "ALTER TABLE t DROP COLUMN c", "ALTER TABLE t ADD COLUMN c VARCHAR(10)"),
        down="V2 V V2 V", atomic=True, opens={"opens": [shop.v]},
    )  # fmt: skip


def test_what_must_hold_afterwards_finds_the_views(shop: Shop) -> None:
    seen: list[Any] = []

    def asks(db: Any) -> bool:
        seen.append(db.executesql("SELECT count(*) FROM v2"))
        return True

    shop.works(sql("rebuilds", *OTHER_REBUILD), down="V2 main.w V", warned=2, weaving=KEEP, after={"rebuilds": asks})
    assert seen == [[(2,)]]


def test_a_name_begins_another_one(shop: Shop) -> None:
    """`v` is the beginning of `v 2`, and `"v 2"` of a message."""
    shop.ask('CREATE VIEW "v 2" AS SELECT s FROM t')
    finished = shop.run(sql("by_hand", "ALTER TABLE t DROP COLUMN s", "ALTER TABLE t ADD COLUMN s TEXT"), weaving=KEEP)
    assert finished.succeeded, finished.results
    assert [each.view for each in shop.stand.told(ViewDropped)] == ['main."v 2"']


def test_statements_that_break_nothing_cost_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    looked: list[str] = []
    send = WorkConnection._send
    monkeypatch.setattr(SqliteObstacles, "look", lambda _, text: looked.append(text))

    def body(db: Any) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(WorkConnection, "_send", lambda self, call: (sent.append("x"), send(self, call)))
            db.executesql("INSERT INTO t (a) VALUES (1)")
            sent.clear()
            for _ in range(100):
                db.executesql("INSERT INTO t (a) VALUES (1)")
            assert len(sent) == 100
            db.executesql("CREATE TABLE other (i)")
            assert len(sent) == 101
            assert not looked

    assert shop.run(named("many", body)).succeeded


def test_many_views_over_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many statements for each view, however many there are; none for those that are not concerned."""
    counts = []
    for number in (20, 120):
        folder = tmp_path / str(number)
        folder.mkdir()
        counts.append(statements_for(number, folder, monkeypatch))
    few, many = counts
    assert many - few <= 100 * 14, counts


def test_all_that_miss_a_table_go_at_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite names one view at a time."""
    shop.ask("CREATE VIEW x AS SELECT s FROM t")
    taken: list[Any] = []
    take = Weaver.take_down
    monkeypatch.setattr(Weaver, "take_down", lambda self, find: (taken.append(find), take(self, find)))
    shop.works(sql("rebuilds", *REBUILD), down="V2 main.w main.x V", weaving=KEEP, warned=2)
    assert len(taken) == 1


def statements_for(number: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many statements a migration takes for which so many views step aside."""
    stand = Stand(f"sqlite://{folder}/many.db", folder=folder)
    managers = [view(f"V{at}", f"SELECT a, {at} AS n FROM t") for at in range(number)]

    def makes(db: Any) -> None:
        db.executesql("CREATE TABLE t (a INT, s TEXT)")
        for at in range(50):
            db.executesql(f"CREATE VIEW other{at} AS SELECT {at} AS a")
        for each in managers:
            each(db).up()

    body = named("makes", makes)
    assert stand.run(body, views={"": managers}).succeeded
    sent: list[int] = []
    send = WorkConnection._send
    with monkeypatch.context() as patched:
        patched.setattr(WorkConnection, "_send", lambda self, call: (sent.append(1), send(self, call)))
        finished = stand.run(
            body,
            sql("alters", "ALTER TABLE t DROP COLUMN a", "ALTER TABLE t ADD COLUMN a BIGINT"),
            views={"": managers},
        )
    assert finished.succeeded, finished.results
    assert len(stand.told(ViewDropped)) == len(stand.told(ViewCreated)) == number
    return len(sent)


LOGS = "CREATE TRIGGER logs AFTER INSERT ON log BEGIN UPDATE log SET n = (SELECT count(*) FROM v); END"


def test_a_trigger_of_a_table_that_reads_a_view_stops_what_would_break_it(shop: Shop) -> None:
    """SQLite checks it together with the views; nothing of the migration stays, and the trigger works."""
    shop.ask("CREATE TABLE log (n INT)")
    shop.ask(LOGS)
    before = shop.schema()
    assert "error in trigger logs" in shop.fails(sql("changes", *REBUILD), weaving=KEEP).error
    assert shop.schema() == before
    assert not shop.stand.history().views_down
    shop.ask("INSERT INTO log VALUES (0)")
    assert shop.ask("SELECT n FROM log") == [(2,)]


def test_such_a_trigger_is_dropped_around_the_statement(shop: Shop) -> None:
    shop.ask("CREATE TABLE log (n INT)")
    shop.ask(LOGS)
    before = shop.schema()
    finished = shop.run(sql("changes", "DROP TRIGGER logs", *REBUILD, LOGS), weaving=KEEP)
    assert finished.succeeded, finished.results
    assert shop.schema() == before
    shop.ask("INSERT INTO log VALUES (0)")
    assert shop.ask("SELECT n FROM log") == [(2,)]
