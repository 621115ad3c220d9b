"""Views in a run that is one transaction: what several migrations need goes down once and comes up once, and nobody can notice."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import psycopg2
import pytest
from stand import Stand

from migrate_graph import ViewMigrationManager
from migrate_graph.core.events import Outcome, RunFinished, ViewCreated, ViewDropped, Warned
from migrate_graph.executor.attempt import WeavingOptions

Body = Callable[[Any], Any]

CALLS: list[str] = []


def _manager(name: str, reads: str, *uses: Any, **window: Any) -> Any:
    """Return a manager of the view of this name, which tells when it goes down and comes up."""

    def up(self: Any) -> None:
        CALLS.append(f"up {name}")
        self.db.executesql(f"CREATE VIEW {name.lower()} AS SELECT {window.get('columns', 'id')} FROM {reads}")

    def down(self: Any) -> None:
        CALLS.append(f"down {name}")
        self.db.executesql(f"DROP VIEW IF EXISTS {name.lower()}")

    body = {"uses": uses, "up": up, "down": down, "since": window.get("since"), "until": window.get("until")}
    return type(
        name, (ViewMigrationManager,), body | ({"replaces": window["replaces"]} if "replaces" in window else {})
    )


@pytest.fixture(autouse=True)
def managers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what was called, and the classes of other tests."""
    CALLS.clear()
    yield
    import gc

    gc.collect()


def _named(name: str, body: Body) -> Body:
    def run(db: Any) -> bool:
        body(db)
        return True

    run.__name__ = name
    return run


def _base(db: Any) -> bool:
    db.executesql("CREATE TABLE base (id integer PRIMARY KEY)")
    db.executesql("INSERT INTO base VALUES (1)")
    return True


def _opens(
    name: str, manager: Any, statement: str, after: Body = lambda _: None, before: Body = lambda _: None
) -> Body:
    def body(db: Any) -> None:
        before(db)
        with manager(db):
            db.executesql(statement)
        after(db)

    return _named(name, body)


def _sql(name: str, *statements: str) -> Body:
    return _named(name, lambda db: [db.executesql(each) for each in statements])


def _column(name: str) -> str:
    return f"ALTER TABLE base ADD COLUMN {name} varchar(10)"


def _ask(uri: str, statement: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(uri) if uri.startswith("postgres") else sqlite3.connect(uri.partition("://")[2])
    with closing(connection):
        cursor = connection.cursor()
        cursor.execute(statement)
        return cursor.fetchall()


def _is_whole(uri: str, stand: Stand, *views: str) -> None:
    for view in views:
        assert _ask(uri, f"SELECT * FROM {view.lower().removesuffix('2')}")
    history = stand.history()
    assert not history.views_down
    assert set(history.view_texts) == set(views)


class Shop:
    """A database with a table and two views, W on V, that runs follow on."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.stand = Stand(uri)
        self.v = _manager("V", "base")
        self.w = _manager("W", "v", self.v)
        made = self.stand.run(_base, _opens("first", self.v, "SELECT 1"), views={"first": [self.v], "": [self.w]})
        assert made.succeeded, made.results
        CALLS.clear()
        self.stand.events.clear()

    def run(self, *bodies: Body, opens: tuple[str, ...] = (), atomic: bool = True, **more: Any) -> RunFinished:
        """Run bodies, of which some open V."""
        first = _named("first", lambda _: None)
        return self.stand.run(
            _base, first, *bodies, views={"": [self.v, self.w], **{name: [self.v] for name in opens}, **more.pop("views", {})}, atomic=atomic, **more
        )  # fmt: skip

    def check(self, finished: RunFinished, *calls: str) -> None:
        assert finished.succeeded, [result.error for result in finished.results]
        assert list(calls) == CALLS
        _is_whole(self.uri, self.stand, "V", "W")
        assert not self.stand.told(Warned)


ONCE = ("down W", "down V", "up V", "up W")


@pytest.fixture
def shop(database_uri: str) -> Shop:
    """The shop, once on each database."""
    return Shop(database_uri)


def test_what_two_migrations_need_goes_down_once_and_comes_up_once(shop: Shop) -> None:
    finished = shop.run(
        _opens("one", shop.v, _column("a")), _opens("two", shop.v, _column("b")), _opens("three", shop.v, _column("c")),
        opens=("one", "two", "three"),
    )  # fmt: skip
    shop.check(finished, *ONCE)
    assert [event.view for event in shop.stand.told(ViewDropped)] == ["W", "V"]
    assert [(event.migration, event.view) for event in shop.stand.told(ViewCreated)] == [("three", "V"), ("three", "W")]


def test_each_run_of_its_own_takes_them_down_each_time(shop: Shop) -> None:
    finished = shop.run(
        _opens("one", shop.v, _column("a")), _opens("two", shop.v, _column("b")), opens=("one", "two"), atomic=False
    )
    shop.check(finished, *ONCE, *ONCE)


def test_a_migration_in_between_that_has_nothing_to_do_with_it(shop: Shop) -> None:
    finished = shop.run(
        _opens("one", shop.v, _column("a")),
        _sql(
            "between", "CREATE TABLE other (id integer)", "INSERT INTO other VALUES (1)", "CREATE INDEX i ON other (id)"
        ),
        _opens("two", shop.v, _column("b")),
        opens=("one", "two"),
    )
    shop.check(finished, *ONCE)


NOTICES: dict[str, Body] = {
    "reads it": lambda db: db.executesql("SELECT * FROM v"),
    "reads what reads it": lambda db: db.executesql('SELECT * FROM "w"'),
    "through pydal": lambda db: db(db.define_table("v", migrate=False).id > 0).count(),
    "a function may": lambda db: db.executesql("SELECT 1"),
    "copies it": lambda db: db.executesql("CREATE TABLE copied AS SELECT * FROM w"),
    "fills from it": lambda db: db.executesql("INSERT INTO base (id) SELECT max(id) + 1 FROM v"),
    "in a savepoint": lambda db: (db.executesql("SAVEPOINT mine"), db.executesql("ROLLBACK TO SAVEPOINT mine")),
    "by a driver's cursor": lambda db: db._adapter.connection.cursor().execute("SELECT * FROM v"),
}


@pytest.mark.parametrize("way", NOTICES)
@pytest.mark.parametrize("where", ["between", "after", "before"])
def test_whoever_could_notice_finds_it_up(way: str, where: str, shop: Shop) -> None:
    notice = NOTICES[way]
    nothing: Body = lambda _: None  # noqa: E731 - a body like the others
    finished = shop.run(
        _opens("one", shop.v, _column("a"), after=notice if where == "after" else nothing),
        _named("between", notice if where == "between" else nothing),
        _opens("two", shop.v, _column("b"), before=notice if where == "before" else nothing),
        opens=("one", "two"),
    )
    shop.check(finished, *ONCE, *ONCE)


PROTECTED = {
    "DROP TABLE base": "other objects depend on it",
    "ALTER TABLE base ALTER COLUMN id TYPE bigint": "cannot alter type of a column used by a view",
}


@pytest.mark.postgres
@pytest.mark.parametrize("statement", PROTECTED)
def test_a_table_that_a_held_view_reads_is_protected_by_it(statement: str, postgres_uri: str) -> None:
    """What the server refuses while a view is up it refuses here as well, although the view could come up afterwards."""
    shop = Shop(postgres_uri)
    finished = shop.run(
        _opens("one", shop.v, _column("a")),
        _sql("between", statement),
        _opens("two", shop.v, "SELECT 1"),
        opens=("one", "two"),
        weaving=WeavingOptions(wanted=False),
    )
    assert [each.outcome for each in finished.results] == [Outcome.ROLLED_BACK, Outcome.RAISED, Outcome.NOT_REACHED]
    assert PROTECTED[statement] in finished.results[1].error
    _is_whole(postgres_uri, shop.stand, "V", "W")


@pytest.mark.postgres
def test_what_reads_a_view_unseen_is_found_out_by_a_second_try(postgres_uri: str) -> None:
    shop = Shop(postgres_uri)
    trigger = (
        "CREATE FUNCTION counts() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM count(*) FROM v; RETURN NEW; END $$",
        "CREATE TABLE watched (id integer)",
        "CREATE TRIGGER t BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION counts()",
    )
    finished = shop.run(
        _sql("makes", *trigger),
        _opens("one", shop.v, _column("a")),
        _sql("between", "INSERT INTO watched VALUES (1)"),
        _opens("two", shop.v, _column("b")),
        opens=("one", "two"),
    )
    assert finished.succeeded, [result.error for result in finished.results]
    (told,) = shop.stand.told(Warned)
    assert "the run begins again, carefully" in told.message
    assert ["down W", "down V", *ONCE, *ONCE] == CALLS
    assert [attempt.state for attempt in shop.stand.history().attempts] == ["applied"] * 6
    _is_whole(postgres_uri, shop.stand, "V", "W")


def test_a_failure_while_views_are_held_is_told_where_it_belongs(shop: Shop) -> None:
    runs: list[int] = []
    bad = _named("bad", lambda _: runs.append(1 / 0))  # type: ignore[arg-type] # it never comes to that
    finished = shop.run(
        _opens("one", shop.v, _column("a")), bad, _opens("two", shop.v, _column("b")), opens=("one", "two")
    )
    assert [result.outcome for result in finished.results] == [Outcome.ROLLED_BACK, Outcome.RAISED, Outcome.NOT_REACHED]
    _is_whole(shop.uri, shop.stand, "V", "W")
    assert [attempt.name for attempt in shop.stand.history().attempts if attempt.state == "failed"] == ["bad"]


def test_going_back_holds_again_what_was_held(shop: Shop) -> None:
    def goes_back(db: Any) -> None:
        db.executesql("CREATE TABLE lost (id integer)")
        assert db.executesql("SELECT * FROM v"), "it comes up for this"
        db.rollback()  # and is down again
        assert db.executesql("SELECT * FROM v"), "and up"

    def opens_and_goes_back(db: Any) -> None:
        with shop.v(db):
            db.executesql(_column("never"))
        db.rollback()
        assert db.executesql("SELECT * FROM w")

    finished = shop.run(
        _opens("one", shop.v, _column("a")), _named("goes_back", goes_back), _named("opens", opens_and_goes_back),
        _opens("two", shop.v, _column("b")), opens=("one", "opens", "two"),
    )  # fmt: skip
    assert finished.succeeded, [result.error for result in finished.results]
    assert not shop.stand.told(Warned), "it does not take a second try"
    _is_whole(shop.uri, shop.stand, "V", "W")


def test_a_view_that_one_opens_and_another_reads_inside_its_block(shop: Shop) -> None:
    other = _manager("Other", "base")

    def reads_inside(db: Any) -> None:
        with other(db):
            assert db.executesql("SELECT * FROM v")

    finished = shop.run(
        _opens("one", shop.v, _column("a")), _named("reads_inside", reads_inside), _opens("two", shop.v, _column("b")),
        opens=("one", "two"), views={"reads_inside": [other]},
    )  # fmt: skip
    assert finished.succeeded, [result.error for result in finished.results]
    _is_whole(shop.uri, shop.stand, "V", "W", "Other")


def test_a_view_that_only_a_later_one_adds_to_the_block(shop: Shop) -> None:
    x = _manager("X", "w", shop.w)
    finished = shop.run(
        _opens("one", shop.v, _column("a")), _opens("two", x, "CREATE TABLE other (id integer)"), _opens("three", shop.v, _column("c")),
        opens=("one", "three"), views={"two": [x]},
    )  # fmt: skip
    assert finished.succeeded, [result.error for result in finished.results]
    assert CALLS.count("up V") == CALLS.count("up W") == CALLS.count("up X") == 1
    _is_whole(shop.uri, shop.stand, "V", "W", "X")


def test_a_hand_over_of_what_is_held(database_uri: str) -> None:
    shop = Shop(database_uri)
    shop_v2 = _manager("V2", "base", since="two", replaces=shop.v, columns="id, a")
    shop_v2.down = shop.v.down
    shop_v2.up = lambda self: self.db.executesql("CREATE VIEW v AS SELECT id, a FROM base")
    finished = shop.run(
        _opens("one", shop.v, _column("a")), _opens("two", shop.v, _column("b")), _opens("three", shop_v2, _column("c")),
        opens=("one", "two"), views={"three": [shop_v2]},
    )  # fmt: skip
    assert finished.succeeded, [result.error for result in finished.results]
    assert _ask(database_uri, "SELECT id, a FROM v") == [(1, None)]
    _is_whole(database_uri, shop.stand, "V2", "W")


@pytest.mark.postgres
def test_what_a_view_was_comes_back_with_it(postgres_uri: str) -> None:
    shop = Shop(postgres_uri)
    with closing(psycopg2.connect(postgres_uri)) as connection:
        connection.cursor().execute(
            "COMMENT ON VIEW v IS 'mine'; GRANT SELECT ON w TO PUBLIC; ALTER VIEW v SET (security_barrier = true)"
        )
        connection.commit()
    question = "SELECT relname, reloptions, relacl::text, obj_description(oid) FROM pg_class WHERE relname IN ('v', 'w') ORDER BY 1"
    before = _ask(postgres_uri, question)
    finished = shop.run(
        _opens("one", shop.v, _column("a")), _sql("moves", "CREATE TABLE other (id integer)"), _opens("two", shop.v, _column("b")),
        opens=("one", "two"),
    )  # fmt: skip
    shop.check(finished, *ONCE)
    assert _ask(postgres_uri, question) == before


def test_a_last_migration_that_does_not_open_it_after_all(shop: Shop) -> None:
    finished = shop.run(_opens("one", shop.v, _column("a")), _named("two", lambda _: None), opens=("one", "two"))
    shop.check(finished, *ONCE)


def test_a_view_that_does_not_come_up_undoes_all(shop: Shop) -> None:
    finished = shop.run(
        _opens("one", shop.v, _column("a")),
        _opens("two", shop.v, "ALTER TABLE base RENAME COLUMN id TO number"),
        opens=("one", "two"),
    )
    assert [result.outcome for result in finished.results] == [Outcome.ROLLED_BACK, Outcome.RAISED]
    _is_whole(shop.uri, shop.stand, "V", "W")
    assert not any("begins again" in event.message for event in shop.stand.told(Warned)) or CALLS.count("up V") >= 2


def test_an_exception_swallowed_in_a_block_undoes_all(shop: Shop) -> None:
    def swallows(db: Any) -> None:
        try:
            with shop.v(db):
                raise ValueError
        except ValueError:
            pass

    finished = shop.run(_opens("one", shop.v, _column("a")), _named("two", swallows), opens=("one", "two"))
    assert [result.outcome for result in finished.results] == [Outcome.ROLLED_BACK, Outcome.RAISED]
    assert "views are still down" in finished.results[1].error
    _is_whole(shop.uri, shop.stand, "V", "W")


def _swallows_that_it_does_not_come_up(db: Any) -> None:
    with suppress(Exception):
        db.executesql("SELECT * FROM v")


def test_a_view_that_does_not_come_up_for_whoever_swallows_that_undoes_all(shop: Shop) -> None:
    finished = shop.run(
        _opens("one", shop.v, "ALTER TABLE base RENAME COLUMN id TO number"),
        _named("two", _swallows_that_it_does_not_come_up),
        _named("three", lambda _: None),
        opens=("one", "three"),
    )
    assert [result.outcome for result in finished.results] == [Outcome.RAISED, Outcome.NOT_REACHED, Outcome.NOT_REACHED]
    _is_whole(shop.uri, shop.stand, "V", "W")


def test_views_come_up_although_a_body_records_the_migration_that_was_to_bring_them_up(shop: Shop) -> None:
    record = "INSERT INTO ewh_implemented_features (name, installed) VALUES ('three', 'T')"
    finished = shop.run(
        _opens("one", shop.v, _column("a")),
        _sql("two", record),
        _opens("three", shop.v, _column("b")),
        opens=("one", "three"),
    )
    assert finished.succeeded, [result.error for result in finished.results]
    assert any("begins again, carefully" in event.message for event in shop.stand.told(Warned))
    _is_whole(shop.uri, shop.stand, "V", "W")
