"""Views that come up, go down and are handed over when the migration ends that their windows name."""

from __future__ import annotations

from contextlib import closing, suppress
from typing import Any

import psycopg2
import pytest
from bodies import Body, ask, forget_managers, named, sql, view
from msgspec.structs import replace
from stand import Stand

from migrate_graph import ViewMigrationManager
from migrate_graph.core.events import Outcome, RunFinished, StepRetrying, ViewCreated, ViewDropped, ViewReplaced
from migrate_graph.database.postgres.session.connection import WorkConnection

__all__ = ["forget_managers"]


def views_in(uri: str) -> str:
    """Return the names of the views that are there."""
    if uri.startswith("sqlite"):
        found = ask(uri, "SELECT name FROM sqlite_master WHERE type = 'view'")
    else:
        found = ask(
            uri, "SELECT relname FROM pg_class WHERE relkind IN ('v', 'm') AND relnamespace = 'public'::regnamespace"
        )
    return " ".join(sorted(name for (name,) in found))


class Windows:
    """A database, and views whose managers no body opens."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.stand = Stand(uri)
        self.base = sql("base", "CREATE TABLE t (id int, a int, b int)", "INSERT INTO t VALUES (1, 2, 3)")

    def run(
        self, *bodies: Body, views: list[Any], opens: dict[str, list[Any]] | None = None, **more: Any
    ) -> RunFinished:
        self.stand.events.clear()
        return self.stand.run(*bodies, views={**(opens or {}), "": views}, **({"windows": True} | more))

    def works(self, *bodies: Body, views: list[Any], up: str = "", down: str = "", same: str = "", **more: Any) -> None:
        """Run bodies; these views, and no others, come up, go down, and are replaced as they stand."""
        finished = self.run(*bodies, views=views, **more)
        assert finished.succeeded, "".join(f"{each.error} {each.hint} {each.traceback}" for each in finished.results)
        assert " ".join(each.view for each in self.stand.told(ViewCreated)) == up
        assert " ".join(each.view for each in self.stand.told(ViewDropped)) == down
        assert " ".join(each.view for each in self.stand.told(ViewReplaced)) == same
        assert not self.stand.history().views_down

    @property
    def there(self) -> str:
        return views_in(self.uri)

    @property
    def remembered(self) -> set[str]:
        return set(self.stand.history().view_texts)


@pytest.fixture
def world(database_uri: str) -> Windows:
    return Windows(database_uri)


@pytest.fixture
def postgres(postgres_uri: str, bystander: None) -> Windows:
    """The same, while somebody else is at work in the database."""
    return Windows(postgres_uri)


def test_a_view_comes_up_with_its_since_and_goes_with_its_until(world: Windows) -> None:
    v = view("V", "SELECT id, a FROM t", since="base", until="last")
    w = view("W", "SELECT a FROM v", v, since="base", until="last")
    world.works(world.base, views=[w, v], up="V W")
    assert world.there == "v w"
    world.works(world.base, sql("last", "DELETE FROM t"), views=[w, v], down="W V")
    assert world.there == ""
    assert not world.remembered


def test_all_of_it_in_one_run(world: Windows) -> None:
    v = view("V", "SELECT id, a FROM t", since="base", until="last")
    v2 = view("V2", "SELECT id, b AS a FROM t", since="middle", until="last", replaces=v, name="v")
    w = view("W", "SELECT a FROM v", v, since="base", until="last")
    world.works(
        world.base, sql("middle"), sql("last", "DELETE FROM t"), views=[v, v2, w],
        **({"up": "V W V2 W", "down": "W V W V2"} if world.uri.startswith("sqlite") else {"up": "V W", "same": "V2", "down": "W V2"}),
    )  # fmt: skip
    assert world.there == ""


def test_a_successor_gets_what_belonged_to_the_view(postgres: Windows) -> None:
    v = view("V", "SELECT id, a FROM t", since="base")
    v2 = view("V2", "SELECT id, a, b FROM t", since="second", replaces=v, name="v")
    w = view("W", "SELECT a FROM v", v, since="base")
    postgres.works(postgres.base, views=[v, w], up="V W")
    for each in ("GRANT SELECT ON v TO PUBLIC", "COMMENT ON VIEW v IS 'kept'", "GRANT SELECT ON w TO PUBLIC"):
        ask(postgres.uri, each)
    postgres.works(postgres.base, sql("second"), views=[v, v2, w], same="V2")
    assert ask(postgres.uri, "SELECT obj_description('v'::regclass), b FROM v") == [("kept", 3)]
    granted = "SELECT table_name FROM information_schema.role_table_grants WHERE grantee = 'PUBLIC' AND table_schema = 'public'"
    assert sorted(ask(postgres.uri, granted)) == [("v",), ("w",)]
    assert postgres.remembered == {"V2", "W"}


def test_what_the_body_opened_is_not_made_twice(world: Windows) -> None:
    v = view("V", "SELECT id, a FROM t", since="base")
    w = view("W", "SELECT a FROM v", v, since="base")

    def base(db: Any) -> None:
        db.executesql("CREATE TABLE t (id int, a int, b int)")
        with v(db):
            pass

    world.works(named("base", base), views=[w], opens={"base": [v]}, up="V W")


def test_what_the_body_made_by_hand_is_its_managers_from_then_on(world: Windows) -> None:
    v = view("V", "SELECT id, a FROM t", since="base")
    world.works(
        sql("base", "CREATE TABLE t (id int, a int, b int)", "CREATE VIEW v AS SELECT id FROM t"),
        views=[v],
        up="V",
        down="V",
    )
    assert ask(world.uri, "SELECT a FROM v") == []
    assert world.remembered == {"V"}


def test_what_the_body_dropped_by_hand_is_not_dropped_again(world: Windows) -> None:
    class Old(ViewMigrationManager):
        uses = ()
        since = "base"
        until = "last"

        def up(self) -> None:
            self.db.executesql("CREATE VIEW v AS SELECT id FROM t")

        def down(self) -> None:
            if views_now(self.db):
                self.db.executesql("DROP VIEW v")
            elif calls:
                raise AssertionError("it is not there")

    calls: list[str] = []
    world.works(world.base, views=[Old], up="Old")
    calls.append("it was made")
    world.works(world.base, sql("last", "DROP VIEW v"), views=[Old])
    assert not world.remembered


def views_now(db: Any) -> bool:
    """Return whether there is a view v, as a session of the migration sees it."""
    if db._uri.startswith("sqlite"):
        return bool(db.executesql("SELECT 1 FROM sqlite_master WHERE type = 'view' AND name = 'v'"))
    return bool(db.executesql("SELECT to_regclass('v')")[0][0])


def test_a_class_that_is_added_later_comes_up_with_the_next_step(world: Windows) -> None:
    world.works(world.base, views=[])
    v = view("V", "SELECT id, a FROM t", since="base")
    w = view("W", "SELECT a FROM v", v, since="third")
    world.works(world.base, views=[v, w])
    world.works(world.base, sql("second"), sql("third"), views=[v, w], up="V W")


def test_a_view_that_somebody_has_dropped_is_left_alone(world: Windows) -> None:
    v = view("V", "SELECT id, a FROM t", since="base")
    world.works(world.base, views=[v], up="V")
    ask(world.uri, "DROP VIEW v")
    world.works(world.base, sql("second"), views=[v])


def test_a_view_without_since_comes_up_when_nothing_is_left(world: Windows) -> None:
    v = view("V", "SELECT id, c FROM t")
    world.works(world.base, sql("second", "ALTER TABLE t ADD COLUMN c int"), views=[v], up="V")
    world.works(world.base, sql("second"), sql("third"), views=[v])


def test_when_a_step_fails_it_comes_up_in_a_later_run(world: Windows) -> None:
    world.works(world.base, views=[])
    v = view("V", "SELECT id, a FROM t", since="base")
    w = view("W", "SELECT a FROM v", v)

    def bad(db: Any) -> bool:
        return False

    finished = world.run(world.base, bad, views=[v, w])
    assert not finished.succeeded
    assert world.there == ""
    world.works(world.base, sql("bad"), views=[v, w], up="V W")


def test_a_view_that_cannot_come_up_fails_the_migration(world: Windows) -> None:
    v = view("V", "SELECT id, nothing FROM t", since="base")
    finished = world.run(world.base, views=[v])
    [result] = finished.results
    assert result.outcome is Outcome.RAISED
    assert "nothing" in result.error
    assert "windows of V" in result.hint
    assert not world.stand.history().applied
    assert world.there == ""


def test_what_nobody_manages_is_not_dropped_along(postgres: Windows) -> None:
    v = view("V", "SELECT id, a FROM t", since="base", until="last")
    postgres.works(postgres.base, views=[v], up="V")
    ask(postgres.uri, "CREATE VIEW w AS SELECT a FROM v")
    [result] = postgres.run(postgres.base, sql("last"), views=[v]).results
    assert "w" in result.error
    assert result.outcome is Outcome.RAISED
    assert postgres.there == "v w"


def test_a_swallowed_error_is_told_as_ever(postgres: Windows) -> None:
    v = view("V", "SELECT id, a FROM t", since="base")

    def base(db: Any) -> None:
        with suppress(psycopg2.Error):
            db.executesql("SELECT nothing")

    [result] = postgres.run(named("base", base), views=[v]).results
    assert "swallowed" in result.error


@pytest.mark.parametrize("mode", ["own", "single", "none"])
def test_every_kind_of_transaction(world: Windows, mode: str) -> None:
    v = view("V", "SELECT id, a FROM t", since="base", until="last")

    def commits(db: Any) -> None:
        db.executesql("DELETE FROM t")
        db.commit()

    base = named("base", lambda db: (db.executesql("CREATE TABLE t (id int, a int, b int)"), db.commit()))
    world.works(base, views=[v], modes={"base": mode}, up="V")
    world.works(base, named("last", commits), views=[v], modes={"last": mode}, down="V")


def test_one_transaction_for_all(world: Windows) -> None:
    v = view("V", "SELECT id, a FROM t", since="base", until="last")
    v2 = view("V2", "SELECT id, b AS a FROM t", since="middle", until="last", replaces=v, name="v")
    w = view("W", "SELECT a FROM v", v, since="base", until="last")
    finished = world.run(world.base, sql("middle"), sql("more"), views=[v, v2, w], atomic=True)
    assert finished.succeeded, finished.results
    assert world.there == "v w"
    assert world.remembered == {"V2", "W"}
    finished = world.run(world.base, sql("middle"), sql("more"), sql("last"), sql("end"), views=[v, v2, w], atomic=True)
    assert finished.succeeded, finished.results
    assert world.there == ""


def test_one_transaction_brings_back_what_was_replaced_while_other_views_are_down(world: Windows) -> None:
    """The view, its successor and the end of that one are all in the run, and another view is needed by a later migration."""
    other = view("Other", "SELECT id FROM t", since="base", until="end")
    v = view("V", "SELECT id, b FROM t", since="base")
    v2 = view("V2", "SELECT id, a AS b FROM t", since="second", until="third", replaces=v, name="v")
    views, bodies = [other, v, v2], [sql("second"), sql("third"), sql("end")]
    assert world.run(world.base, *bodies, views=views, atomic=True).succeeded
    assert world.there == "v"
    assert world.remembered == {"V"}
    assert ask(world.uri, "SELECT b FROM v") == [(3,)]


def test_what_must_hold_sees_the_views(world: Windows) -> None:
    v = view("V", "SELECT id, a FROM t", since="base")
    world.works(
        world.base, views=[v], up="V", after={"base": lambda db: db.executesql("SELECT count(*) FROM v")[0][0] == 1}
    )


def test_what_stepped_aside_and_what_ends(postgres: Windows) -> None:
    v = view("V", "SELECT id, a FROM t", since="base", until="narrow")
    w = view("W", "SELECT id FROM t", since="base")
    postgres.works(postgres.base, views=[v, w], up="V W")
    postgres.works(postgres.base, sql("narrow", "ALTER TABLE t DROP COLUMN a"), views=[v, w], down="V")
    assert postgres.there == "w"


def test_a_view_is_back_when_its_successor_steps_aside_and_ends(world: Windows) -> None:
    """Whether the successor is in the way or not, the view that it had replaced is there afterwards, and so is its reader."""
    v = view("V", "SELECT id, b FROM t", since="base")
    v2 = view("V2", "SELECT id, a AS b FROM t", since="second", until="narrow", replaces=v, name="v")
    w = view("W", "SELECT id FROM v", v, since="base")
    views, is_sqlite = [v, v2, w], world.uri.startswith("sqlite")
    world.works(
        world.base, sql("second"), views=views,
        **({"up": "V W V2 W", "down": "W V"} if is_sqlite else {"up": "V W", "same": "V2"}),
    )  # fmt: skip
    if not is_sqlite:
        for each in ("GRANT SELECT ON v TO PUBLIC", "COMMENT ON VIEW v IS 'kept'"):
            ask(world.uri, each)
    narrow = sql("narrow", "ALTER TABLE t DROP COLUMN a")
    world.works(world.base, sql("second"), narrow, views=views, up="V W", down="W V2")
    (finished,) = world.stand.told(RunFinished)
    assert finished.results[0].stepped_aside == ("W", "V2")
    assert ask(world.uri, "SELECT b FROM v") == [(3,)]
    assert world.remembered == {"V", "W"}
    if not is_sqlite:
        granted = (
            "SELECT count(*) FROM information_schema.role_table_grants WHERE grantee = 'PUBLIC' AND table_name = 'v'"
        )
        assert ask(world.uri, f"SELECT obj_description('v'::regclass), ({granted})") == [("kept", 1)]


def test_a_view_that_goes_for_good_is_not_said_to_have_come_back(postgres: Windows) -> None:
    v = view("V", "SELECT id, a FROM t", since="base", until="narrow")
    w = view("W", "SELECT id, a::text AS a FROM t", since="base")
    postgres.works(postgres.base, views=[v, w], up="V W")
    postgres.works(
        postgres.base, sql("narrow", "ALTER TABLE t ALTER COLUMN a TYPE bigint"), views=[v, w], up="W", down="V W"
    )
    (finished,) = postgres.stand.told(RunFinished)
    assert finished.results[0].stepped_aside == ("W",)


def test_what_cannot_be_read_any_more_ends_or_is_replaced(world: Windows) -> None:
    """The body drops a column; one view ends with it, the other one has a successor that does without."""
    v = view("V", "SELECT id, a FROM t", since="base", until="narrow")
    w = view("W", "SELECT id, a FROM t", since="base")
    w2 = view("W2", "SELECT id FROM t", since="narrow", replaces=w, name="w")
    world.works(world.base, views=[v, w, w2], up="V W")
    finished = world.run(world.base, sql("narrow", "ALTER TABLE t DROP COLUMN a"), views=[v, w, w2])
    assert finished.succeeded, [f"{each.error} {each.hint}" for each in finished.results]
    assert world.there == "w"
    assert world.remembered == {"W2"}


def test_a_successor_comes_up_where_the_old_view_was_dropped_by_hand(world: Windows) -> None:
    v = view("V", "SELECT id, a FROM t", since="base")
    v2 = view("V2", "SELECT id, b FROM t", since="second", replaces=v, name="v")
    world.works(world.base, views=[v, v2], up="V")
    world.works(world.base, sql("second", "DROP VIEW v"), views=[v, v2], up="V2")
    assert world.remembered == {"V2"}


def test_views_that_stay_down_in_the_body_are_not_forgotten_by_their_window(world: Windows) -> None:
    v = view("V", "SELECT id, a FROM t", since="base", until="last")
    world.works(world.base, views=[v], up="V")

    def last(db: Any) -> None:
        with suppress(ValueError), v(db):
            raise ValueError("swallowed")

    [result] = world.run(world.base, named("last", last), views=[], opens={"last": [v]}).results
    assert "views are still down" in result.error
    assert world.there == "v"


def test_somebody_in_the_way_of_a_window_is_waited_for(postgres_uri: str) -> None:
    """The whole migration is tried again, as for any statement of its body."""
    world = Windows(postgres_uri)
    v = view("V", "SELECT id, a FROM t", since="base", until="last")
    world.works(world.base, views=[v], up="V")
    world.stand.settings = replace(world.stand.settings, lock_timeout=0.2)
    with closing(psycopg2.connect(postgres_uri)) as reader:
        reader.cursor().execute("SELECT * FROM v")
        heard = []

        def listen(event: Any) -> None:
            heard.append(event)
            if isinstance(event, StepRetrying):
                reader.rollback()

        world.stand.listener = listen
        finished = world.run(world.base, sql("last"), views=[v])
    assert finished.succeeded, finished.results
    assert [each for each in heard if isinstance(each, StepRetrying)]
    assert world.there == ""


def messages(world: Windows, monkeypatch: pytest.MonkeyPatch, *bodies: Body, views: list[Any], **more: Any) -> int:
    """Return how many messages a run takes."""
    asked: list[int] = []
    send = WorkConnection.send

    def counting(self: Any, *arguments: Any) -> None:
        asked.append(1)
        send(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(WorkConnection, "send", counting)
        finished = world.run(*bodies, views=views, **more)
    assert finished.succeeded, finished.results
    return len(asked)


def test_a_migration_that_no_window_names_costs_nothing_more(
    postgres_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = Windows(postgres_uri)
    v = view("V", "SELECT id, a FROM t", since="base")
    world.works(world.base, views=[v], up="V")
    names = ("one", "two", "three")
    count = [
        messages(world, monkeypatch, world.base, *map(sql, names[:at]), views=[v], windows=at != 1) for at in (1, 2, 3)
    ]
    assert count[0] == count[1] == count[2], count


def test_many_views_in_one_window(postgres_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many messages for each view, however many there are; as many as for opening them."""
    counts = {}
    for number in (20, 120):
        stand = Windows(postgres_uri)
        names = [f"v{number}_{at}" for at in range(number)]
        table = f"t{number}"
        views = [view(name.upper(), f"SELECT id FROM {table}", since=f"base{number}", name=name) for name in names]
        body = sql(f"base{number}", f"CREATE TABLE {table} (id int)")
        counts[number] = messages(stand, monkeypatch, body, views=views)
    assert counts[120] - counts[20] <= 100 * 3, counts
