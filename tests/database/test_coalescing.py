"""Steps that need the same views share a transaction: the views go down once and come up once."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from bodies import Body, forget_managers, view
from stand import Stand

from migrate_graph.core.coalescing import segments_of
from migrate_graph.core.events import Outcome, RunFinished, ViewCreated, ViewDropped
from migrate_graph.executor.attempt import WeavingOptions

__all__ = ["forget_managers"]

SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'migrate_graph%'"


def named(name: str, *statements: str, after: Callable[[Any], Any] = lambda _: True) -> Body:
    """Return a migration of some statements."""

    def run(db: Any) -> Any:
        for each in statements:
            db.executesql(each)
        return after(db)

    run.__name__ = name
    return run


def opening(name: str, manager: Any, *statements: str) -> Body:
    """Return a migration that sends statements while a view is down."""

    def run(db: Any) -> bool:
        with manager(db):
            for each in statements:
                db.executesql(each)
        return True

    run.__name__ = name
    return run


class Shop:
    """A table with a view that another one reads."""

    def __init__(self, stand: Stand, *, is_postgres: bool) -> None:
        self.stand = stand
        self.is_postgres = is_postgres
        more = {"materialized": True} if is_postgres else {}
        self.v = view("V", "SELECT id, a FROM t", **more)
        self.v2 = view("V2", "SELECT count(*) AS n FROM v", self.v)
        self.other = view("Other", "SELECT b FROM u")
        self.made = [
            named("base", "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT)", "CREATE TABLE u (b INT)", "INSERT INTO t VALUES (1, 1)"),
            opening("first", self.v),
            opening("second", self.other),
        ]  # fmt: skip
        self.opens = {"first": [self.v], "second": [self.other], "": [self.v2]}
        assert self.run().succeeded
        stand.events.clear()

    def run(
        self, *bodies: Body, opens: dict[str, list[Any]] | None = None, woven: Any = None, **more: Any
    ) -> RunFinished:
        """Run bodies after those that have made the shop, in segments."""
        self.stand.events.clear()
        return self.stand.run(
            *self.made, *bodies, views={**self.opens, **(opens or {})},
            segments_of=lambda plan: segments_of(plan, woven or {}), **more,
        )  # fmt: skip

    def told(self) -> tuple[list[str], list[str]]:
        """Return which views went down, and which came up."""
        return [each.view for each in self.stand.told(ViewDropped)], [
            each.view for each in self.stand.told(ViewCreated)
        ]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    """The shop, in both databases."""
    if request.param == "sqlite":
        return Shop(Stand(f"sqlite://{tmp_path}/shop.db", folder=tmp_path), is_postgres=False)
    return Shop(Stand(request.getfixturevalue("postgres_uri")), is_postgres=True)


def adding(shop: Shop, *names: str) -> dict[str, Any]:
    """Return migrations that each add a column while V is down."""
    return {
        "bodies": [opening(name, shop.v, f"ALTER TABLE t ADD COLUMN {name}_c INT") for name in names],
        "opens": {name: [shop.v] for name in names},
    }


def installed(shop: Shop) -> set[str]:
    """Return what is recorded as applied."""
    return set(shop.stand.history().applied) - {"base", "first", "second"}


def test_views_that_consecutive_steps_open_go_down_once(shop: Shop) -> None:
    steps = adding(shop, "one", "two", "three")
    finished = shop.run(*steps["bodies"], opens=steps["opens"])
    assert finished.succeeded, finished.results
    assert shop.told() == (["V2", "V"], ["V", "V2"])
    assert {each.outcome for each in finished.results} == {Outcome.APPLIED}
    assert installed(shop) == {"one", "two", "three"}
    assert not shop.stand.history().views_down


def test_a_step_that_fails_takes_its_segment_back(shop: Shop) -> None:
    steps = adding(shop, "one", "two")
    fails = opening("fails", shop.v, "INSERT INTO nothing VALUES (1)")
    before = named("before", "CREATE TABLE before_it (i INT)")
    finished = shop.run(before, *steps["bodies"], fails, opens={**steps["opens"], "fails": [shop.v]})
    outcomes = {each.name: each.outcome for each in finished.results}
    assert outcomes == {
        "before": Outcome.APPLIED, "one": Outcome.ROLLED_BACK, "two": Outcome.ROLLED_BACK, "fails": Outcome.RAISED,
    }  # fmt: skip
    assert installed(shop) == {"before"}
    attempt = shop.stand.history().last_attempts()["fails"]
    assert "nothing of its transaction was kept (--coalesce); 2 migrations before it" in attempt.error
    assert not shop.stand.history().views_down


def test_an_overdue_view_comes_up_in_a_segment(shop: Shop) -> None:
    """What the run knows of windows, its segments know."""
    shop.opens[""].append(view("Late", "SELECT b FROM u", since="base"))
    steps = adding(shop, "one", "two")
    finished = shop.run(*steps["bodies"], opens=steps["opens"], windows=True)
    assert finished.succeeded, finished.results
    assert shop.told()[1].count("Late") == 1


@pytest.mark.postgres
def test_a_segment_needs_two_connections(postgres_uri: str) -> None:
    """The session of the step before is not kept beside the one that steps share."""
    shop = Shop(Stand(postgres_uri), is_postgres=True)
    steps = adding(shop, "one", "two")
    counted: list[Any] = []

    def counts(db: Any) -> bool:
        deadline = time.monotonic() + 60  # one that was closed is gone a moment later
        while (found := db.executesql(SESSIONS)[0][0]) > 2 and time.monotonic() < deadline:
            db.executesql("SELECT pg_stat_clear_snapshot()")
        counted.append(found)
        with shop.v(db):
            return True

    before = named("before", "CREATE TABLE before_it (i INT)")
    finished = shop.run(before, *steps["bodies"], counts, opens={**steps["opens"], "counts": [shop.v]})
    assert finished.succeeded, finished.results
    assert counted == [2]


def test_what_comes_between_ends_a_segment(shop: Shop) -> None:
    """A step that needs none of the views, and one that ends its transaction."""
    steps = adding(shop, "one", "two", "three", "four")
    one, two, three, four = steps["bodies"]
    plain = named("plain", "CREATE TABLE plain (i INT)")
    fails = opening("fails", shop.v, "INSERT INTO nothing VALUES (1)")
    finished = shop.run(
        one, two, plain, three, four, fails, opens={**steps["opens"], "fails": [shop.v]}, modes={"three": "none"}
    )
    assert not finished.succeeded
    assert installed(shop) == {"one", "two", "plain", "three"}


def test_a_segment_of_which_a_part_waits_is_no_segment(shop: Shop) -> None:
    steps = adding(shop, "one", "two")
    refuses = named("refuses", "SELECT 1", after=lambda _: False)
    finished = shop.run(refuses, *steps["bodies"], opens=steps["opens"], requires={"two": ["refuses"]})
    outcomes = {each.name: each.outcome for each in finished.results}
    assert outcomes == {"refuses": Outcome.REFUSED, "one": Outcome.APPLIED, "two": Outcome.BLOCKED}


def test_a_body_that_ends_its_transaction_unforeseen(shop: Shop) -> None:
    word = "COM" + "MIT"
    steps = adding(shop, "one")
    ends = opening("ends", shop.v, "SELECT 1", word)
    finished = shop.run(*steps["bodies"], ends, opens={**steps["opens"], "ends": [shop.v]})
    assert not finished.succeeded
    said = finished.results[-1]
    assert "--coalesce promises one transaction from one to ends" in said.error
    assert "run without --coalesce" in said.hint
    assert installed(shop) == set()


def test_a_statement_that_reads_a_view_finds_it(shop: Shop) -> None:
    steps = adding(shop, "one", "two")

    def reads(db: Any) -> bool:
        assert db.executesql("SELECT count(*) FROM v") == [(1,)]
        with shop.v(db):
            pass
        return True

    reads.__name__ = "reads"
    finished = shop.run(steps["bodies"][0], reads, opens={**steps["opens"], "reads": [shop.v]})
    assert finished.succeeded, finished.results
    assert shop.told() == (["V2", "V"] * 2, ["V", "V2"] * 2)


@pytest.mark.postgres
def test_a_materialized_view_is_made_once_for_five_widening_steps(postgres_uri: str) -> None:
    """Nobody opens it: it is in the way of each, which a rehearsal has seen."""
    shop = Shop(Stand(postgres_uri), is_postgres=True)
    kinds = ["bigint", "numeric", "text", "varchar(50)", "varchar(60)"]
    steps = [named(f"widen_{at}", f"ALTER TABLE t ALTER COLUMN a TYPE {kind}") for at, kind in enumerate(kinds)]
    names = [each.__name__ for each in steps]
    finished = shop.run(*steps, woven=dict.fromkeys(names, ("V2", "V")))
    assert finished.succeeded, finished.results
    assert shop.told() == (["V2", "V"], ["V", "V2"])
    assert installed(shop) == set(names)
    with closing(psycopg2.connect(postgres_uri)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'v'::regclass AND attname = 'a'"
        )
        assert cursor.fetchall() == [("character varying(60)",)]
        cursor.execute("SELECT n FROM v2")
        assert cursor.fetchall() == [(1,)]
    assert not shop.stand.history().views_down


@pytest.mark.postgres
def test_without_segments_it_is_made_for_each(postgres_uri: str) -> None:
    shop = Shop(Stand(postgres_uri), is_postgres=True)
    steps = [named(f"widen_{kind}", f"ALTER TABLE t ALTER COLUMN a TYPE {kind}") for kind in ("bigint", "numeric")]
    assert shop.run(*steps).succeeded
    assert shop.told() == (["V2", "V"] * 2, ["V", "V2"] * 2)


@pytest.mark.postgres
def test_a_column_that_goes_while_its_view_is_held_is_told_where_it_goes(postgres_uri: str) -> None:
    """The transaction begins again carefully, and fails at the step whose fault it is."""
    shop = Shop(Stand(postgres_uri), is_postgres=True)
    steps = [
        named("widens", "ALTER TABLE t ALTER COLUMN a TYPE bigint"),
        named("drops", "ALTER TABLE t DROP COLUMN a"),
        named("adds", "ALTER TABLE t ALTER COLUMN id TYPE bigint"),
    ]
    finished = shop.run(*steps, woven={each.__name__: ("V2", "V") for each in steps})
    outcomes = {each.name: each.outcome for each in finished.results}
    assert outcomes == {"widens": Outcome.ROLLED_BACK, "drops": Outcome.RAISED, "adds": Outcome.NOT_REACHED}
    assert "V reads t.a, which drops drops" in finished.results[1].error
    assert installed(shop) == set()
    assert not shop.stand.history().views_down


@pytest.mark.postgres
def test_where_nothing_weaves_the_server_refuses_as_ever(postgres_uri: str) -> None:
    shop = Shop(Stand(postgres_uri), is_postgres=True)
    steps = [
        opening("opens", shop.v, "SELECT 1"),
        named("widens", "ALTER TABLE t ALTER COLUMN a TYPE bigint"),
        opening("again", shop.v),
    ]
    finished = shop.run(
        *steps,
        opens={"opens": [shop.v], "again": [shop.v]},
        woven={"widens": ("V",)},
        weaving=WeavingOptions(wanted=False),
    )
    assert "used by a view" in finished.results[1].error
