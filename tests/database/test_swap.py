"""Materialized views that are built beside the old ones, which can be read until the new ones take their places."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from typing import Any

import psycopg2
import pytest
from bodies import ask, forget_managers, named, sql
from catalog_probe import difference, probed
from swap_stand import BASE, NEW, OLD, SWAPPED, House, columns, house, leftovers, swapped
from test_deferred import kept, matview, opening
from waiting import wait_until

from migrate_graph import SqlView
from migrate_graph.core.events import RunFinished, ViewBuilt, ViewFellBack, Warned
from migrate_graph.core.model import Way
from migrate_graph.database.postgres.views.beside import PostgresBuilder

__all__ = ["forget_managers", "house"]

pytestmark = pytest.mark.postgres


INLINE = "down R, down M, up M, up R"


def test_an_edit_is_built_beside_the_old_view_and_everything_is_kept(house: House) -> None:
    before = kept(house.uri)
    finished = house.edit()
    assert finished.succeeded, finished.results
    assert house.told() == SWAPPED
    assert not house.stand.told(Warned)
    after = kept(house.uri)
    assert columns(house.uri) == ["id", "c", "share"]
    kind, owner, names, items, grants = after["public.m"]
    assert (kind, owner, names, items, grants) == (
        *before["public.m"][:2],
        ("id", "c", "share"),
        *before["public.m"][3:],
    )
    assert after["public.r"] == before["public.r"]
    assert not leftovers(house.uri)
    history = house.stand.history()
    assert not history.views_down
    assert not history.views_unfilled
    assert ask(house.uri, "SELECT n FROM r") == [(10,)]


def test_what_is_renewed_without_a_change_is_in_every_catalog_as_before(house: House) -> None:
    """Indexes are called as before, and the planner knows of the rows."""
    before = probed(house.uri)
    finished = house.edit(query=OLD)
    assert finished.succeeded, finished.results
    assert house.told() == SWAPPED
    assert not difference(before, probed(house.uri))


def test_what_takes_long_is_done_before_the_new_one_is_in_its_place(
    postgres_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Indexes that were made by hand, and what the planner knows: nobody waits for these."""
    house = House(postgres_uri, dress=("CREATE UNIQUE INDEX by_hand ON m (id) INCLUDE (c)", "ANALYZE m"))
    seen: list[list[Any]] = []
    take_name = PostgresBuilder.take_name

    def look(self: PostgresBuilder, identity: str, name: str, indexes: Mapping[str, str]) -> None:
        bare = identity.rpartition(".")[2]
        seen.extend(self._catalog.read(f"SELECT count(*) AS n FROM pg_stats WHERE tablename = '{bare}'"))
        seen.append(sorted(indexes))
        take_name(self, identity, name, indexes)

    monkeypatch.setattr(PostgresBuilder, "take_name", look)
    finished = house.edit()
    assert finished.succeeded, finished.results
    assert seen == [[3], ["by_hand", "m_id"]]
    assert ask(postgres_uri, "SELECT count(*) FROM pg_stats WHERE tablename = 'm'") == [(3,)]
    assert sorted(ask(postgres_uri, "SELECT indexdef FROM pg_indexes WHERE tablename = 'm'")) == [
        ("CREATE UNIQUE INDEX by_hand ON public.m USING btree (id) INCLUDE (c)",),
        ("CREATE UNIQUE INDEX m_id ON public.m USING btree (id)",),
    ]


class Waits:
    """Holds a lock of its own that a query asks for, so that it waits until it is let go."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.connection = psycopg2.connect(uri)
        self("SELECT pg_advisory_lock(77)")

    def __call__(self, statement: str) -> None:
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute(statement)

    def let_go(self) -> None:
        self("SELECT pg_advisory_unlock(77)")

    def wait_until_somebody_waits(self) -> None:
        waiting = (
            "SELECT count(*) >= 1 FROM pg_locks JOIN pg_database d ON d.oid = database "
            "WHERE datname = current_database() AND locktype = 'advisory' AND objid = 77 AND NOT granted"
        )
        wait_until(lambda: ask(self.uri, waiting) == [(True,)])


WAITING = "SELECT id, c::text AS c, 1 AS share FROM t WHERE (SELECT pg_advisory_xact_lock_shared(77)::text) = ''"


def test_nobody_waits_while_it_is_built(house: House) -> None:
    """In the middle of its query, and when it is done with its indexes, a second session reads the old view and what reads that."""
    other = Waits(house.uri)
    patient = "SET lock_timeout = '5s'"  # what is built meanwhile waits as long as this test likes
    seen: list[Any] = []

    def look(event: Any) -> None:
        if isinstance(event, ViewBuilt):
            seen.append(ask(house.uri, patient, "SELECT count(*) FROM m") + ask(house.uri, patient, "SELECT n FROM r"))
            seen.append(columns(house.uri))

    house.stand.listener = look
    done: list[RunFinished] = []
    run = threading.Thread(target=lambda: done.append(house.edit(query=WAITING)), daemon=True)
    run.start()
    try:
        other.wait_until_somebody_waits()
        assert ask(house.uri, patient, "SELECT count(*) FROM m") == [(10,)]
        assert ask(house.uri, patient, "SELECT n FROM r") == [(10,)]
        ask(house.uri, patient, "REFRESH MATERIALIZED VIEW m")  # not even who wants it for himself waits
    finally:
        other.let_go()
        run.join(60)
    assert done[0].succeeded, done[0].results
    assert seen == [[(10,), (10,)], ["id", "c"]]
    assert columns(house.uri) == ["id", "c", "share"]
    other.connection.close()


def test_a_reader_sees_no_error_and_is_never_without_rows(house: House) -> None:
    """Two hundred queries and more of m, and of what reads it, while it is exchanged five times."""
    errors: list[Any] = []
    asked = [0]
    over = threading.Event()

    def read() -> None:
        with closing(psycopg2.connect(house.uri)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            while not over.is_set():
                for each in ("SELECT count(*) FROM m", "SELECT n FROM r", "SELECT count(*) FROM m WHERE id = 3"):
                    try:
                        cursor.execute(each)
                        if cursor.fetchone() not in {(10,), (1,)}:
                            errors.append(each)
                    except psycopg2.Error as error:
                        errors.append(error)
                    asked[0] += 1

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        for at in range(5):
            finished = house.edit(query=f"{NEW} WHERE {at} = {at}", name=f"edit_{at}")
            assert finished.succeeded, finished.results
        wait_until(lambda: asked[0] >= 200 or bool(errors))
    finally:
        over.set()
        reader.join(60)
    assert not reader.is_alive()
    assert not errors


def test_a_transaction_that_began_before_finds_the_rows(house: House) -> None:
    """Its snapshot is older than the new view."""
    with closing(psycopg2.connect(house.uri)) as connection, connection.cursor() as cursor:
        connection.set_session(isolation_level="REPEATABLE READ")
        cursor.execute("SELECT 1")
        assert house.edit().succeeded
        cursor.execute("SELECT (SELECT count(*) FROM m), (SELECT n FROM r)")
        assert cursor.fetchone() == (10, 10)


@pytest.mark.parametrize("opens", ["in a block", "by its window"])
def test_a_successor_takes_over_in_the_same_way(house: House, opens: str) -> None:
    before = kept(house.uri)["public.m"]
    newer = swapped(
        kind="Newer", name="m", replaces=house.old, since="last", indexes={"m_id": "UNIQUE (id)", "m_c": "(c)"}
    )
    r = matview("R", "SELECT count(*) AS n FROM m", house.old, materialized=False)
    body = opening("last", opens=newer) if opens == "in a block" else sql("last")
    finished = house.stand.run(
        BASE, named("first", lambda _: None), body, windows=opens != "in a block",
        views={"": [house.old, r, newer], "last": [newer] if opens == "in a block" else []},
    )  # fmt: skip
    assert finished.succeeded, finished.results
    assert house.told() == "built Newer, down R, down M, up Newer, up R"
    after = kept(house.uri)["public.m"]
    assert {item.name for item in after[3] - before[3]} == {"m_c"}
    assert not before[3] - after[3]
    assert house.stand.history().view_texts.keys() == {"Newer", "R"}
    assert not leftovers(house.uri)


@pytest.mark.parametrize("mode", ["single", "none"])
def test_in_every_kind_of_transaction(house: House, mode: str) -> None:
    """Without one of the migration's own it is one of ours."""
    before = kept(house.uri)["public.r"]
    finished = house.edit(modes={"edit": mode})
    assert finished.succeeded, finished.results
    assert house.told() == SWAPPED
    assert kept(house.uri)["public.r"] == before
    assert not leftovers(house.uri)


# -- where the old view must be gone ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statements", "woven"),
    [
        (("ALTER TABLE t ALTER COLUMN c TYPE varchar(20)",), True),
        (("SELECT 1",), True),
        (("DO $$ BEGIN END $$", "ALTER TABLE t DROP COLUMN c CASCADE"), False),
    ],
)
def test_a_body_that_says_anything_in_the_block_has_it_gone_before(
    house: House, statements: tuple[str, ...], woven: bool
) -> None:
    ask(house.uri, "DROP INDEX by_hand", "DROP STATISTICS by_two")
    finished = house.edit(*statements, query="SELECT id, weight::text AS c FROM t", unwoven=() if woven else ("edit",))
    assert finished.succeeded, finished.results
    assert house.told() == INLINE
    assert not house.stand.history().views_down
    assert columns(house.uri) == ["id", "c"]
    [why] = house.stand.told(ViewFellBack)
    assert (why.view, why.way, why.reason) == ("M", Way.BESIDE, "the migration goes on while its block is open")


def test_a_body_that_copies_in_the_block_has_it_gone_before(house: House) -> None:
    manager = swapped()

    def edit(db: Any) -> bool:
        with manager(db), db._adapter.connection.cursor() as cursor:
            cursor.copy_expert("COPY t (c) FROM STDIN", io.StringIO("eleven\n"))
        return True

    r = matview("R", "SELECT count(*) AS n FROM m", manager, materialized=False)
    finished = house.stand.run(BASE, named("first", lambda _: None), edit, views={"edit": [manager], "": [r]})
    assert finished.succeeded, finished.results
    assert house.told() == INLINE
    assert ask(house.uri, "SELECT n FROM r") == [(11,)]


def nested(name: str, *managers: Any, inner: Callable[[Any], object] = bool) -> Any:
    def body(db: Any) -> None:
        with ExitStack() as stack:
            for each in managers:
                stack.enter_context(each(db))
            inner(db)

    return named(name, body)


def test_blocks_in_blocks(house: House) -> None:
    """One of views that are in the outer block changes nothing; one of another view has the outer one's gone before."""
    manager = swapped()
    r = matview("R", "SELECT count(*) AS n FROM m", manager, materialized=False)
    other = matview("Other", "SELECT 1 AS one", materialized=False)
    first = named("first", lambda _: None)
    views = {"last": [manager, r], "more": [manager, other, r], "most": [manager, r]}
    assert house.stand.run(BASE, first, nested("last", manager, r), views=views).succeeded
    assert house.told() == SWAPPED
    house.stand.events.clear()
    bodies = [BASE, first, nested("last"), nested("more", manager, other)]
    assert house.stand.run(*bodies, views=views).succeeded
    assert house.told() == "down R, down M, up Other, up M, up R"
    house.stand.events.clear()
    gone: list[Any] = []
    looks = nested("most", manager, r, inner=lambda db: gone.extend(db.executesql("SELECT to_regclass('m')")))
    assert house.stand.run(*bodies[:3], nested("more"), looks, views=views).succeeded
    assert gone == [(None,)]
    assert house.told() == INLINE


def test_a_commit_or_a_rollback_in_the_block_changes_nothing(house: House) -> None:
    manager = swapped()
    r = matview("R", "SELECT count(*) AS n FROM m", manager, materialized=False)
    views = {"last": [manager, r], "more": [manager, r]}
    bodies = [BASE, named("first", lambda _: None), nested("last", manager, inner=lambda db: db.commit())]
    assert house.stand.run(*bodies, views=views).succeeded
    assert house.stand.run(*bodies, nested("more", manager, inner=lambda db: db.rollback()), views=views).succeeded
    assert house.told() == f"{SWAPPED}, {SWAPPED}"


def test_the_first_one_and_one_without_rows_come_up_as_always(postgres_uri: str) -> None:
    house = House(postgres_uri, dress=())
    assert ask(postgres_uri, "SELECT count(*) FROM m") == [(10,)]
    ask(postgres_uri, "REFRESH MATERIALIZED VIEW m WITH NO DATA")
    assert house.edit().succeeded
    assert house.told() == INLINE
    assert [each.reason for each in house.stand.told(ViewFellBack)] == ["it has no rows so far"]
    assert ask(postgres_uri, "SELECT relispopulated FROM pg_class WHERE relname = 'm'") == [(False,)]
    ask(
        postgres_uri,
        "DROP VIEW r",
        "DROP MATERIALIZED VIEW m",
        "CREATE VIEW m AS SELECT 1 AS id",
        "CREATE VIEW r AS SELECT 1::bigint AS n",
    )
    house.stand.events.clear()
    manager = swapped()
    bodies = [BASE, named("first", lambda _: None), named("edit", lambda _: None), opening("more", opens=manager)]
    finished = house.stand.run(*bodies, views={"more": [manager]})
    assert finished.succeeded, finished.results
    assert house.told() == "down M, up M"
    assert ask(postgres_uri, "SELECT relkind FROM pg_class WHERE relname = 'm'") == [("m",)]


@pytest.mark.parametrize("more", [{"atomic": True}, {"views": "deferred"}])
def test_in_one_transaction_with_others_and_deferred_it_comes_up_as_it_would(
    house: House, more: dict[str, Any]
) -> None:
    manager = swapped()
    r = matview("R", "SELECT count(*) AS n FROM m", manager, materialized=False)
    opens = ["deferred", manager] if "views" in more else [manager]
    finished = house.stand.run(
        BASE,
        named("first", lambda _: None),
        opening("edit", opens=manager),
        views={"edit": opens, "": [r]},
        atomic="atomic" in more,
    )
    assert finished.succeeded, finished.results
    assert house.told() == INLINE
    assert ask(house.uri, "SELECT n FROM r") == [(10,)]


def test_what_it_reads_is_in_the_block(house: House) -> None:
    """The view that it reads goes, so that it cannot be there before."""
    base = matview("Low", "SELECT id, c FROM t", materialized=False)
    m = swapped("SELECT id, c FROM low", "M", base)
    r = matview("R", "SELECT count(*) AS n FROM m", m, materialized=False)
    views = {"edit": [base, m, r], "more": [base, m, r], "most": [base, m, r]}
    bodies = [BASE, named("first", lambda _: None), nested("edit", base, m)]
    assert house.stand.run(*bodies, views=views).succeeded
    house.stand.events.clear()
    assert house.stand.run(*bodies, nested("more", base), views=views).succeeded
    assert house.told() == "down R, down M, down Low, up Low, up M, up R"
    house.stand.events.clear()
    finished = house.stand.run(*bodies, nested("more"), nested("most", m), views=views)
    assert finished.succeeded, finished.results
    assert house.told() == SWAPPED


@pytest.mark.parametrize(
    "reader",
    ["CREATE VIEW nobody AS SELECT id FROM m", "CREATE FUNCTION nobody(m) RETURNS int LANGUAGE sql AS 'SELECT 1'"],
)
def test_what_nobody_has_declared_is_found_out_before_anything_is_built(house: House, reader: str) -> None:
    ask(house.uri, reader)
    finished = house.edit()
    assert not finished.succeeded
    assert "no manager of this block owns" in finished.results[-1].error
    assert "nobody" in finished.results[-1].error
    assert not house.stand.told(ViewBuilt)
    assert columns(house.uri) == ["id", "c"]
    assert not leftovers(house.uri)
    assert not house.stand.history().views_down


def test_a_reader_whose_text_does_not_show_it_goes_with_the_others(house: House) -> None:
    """The database tells of it before anything is built, so that it is built once, and beside the old one."""
    manager = swapped()
    r = matview("R", "SELECT count(*) AS n FROM m", manager, materialized=False)
    body = {"query": 'SELECT id FROM U&"\\006d"', "since": None, "until": None}
    hidden = type("Hidden", (SqlView,), {"__module__": __name__} | body)
    bodies = [BASE, named("first", lambda _: None), opening("more", opens=hidden)]
    assert house.stand.run(*bodies, views={"more": [hidden], "": [r, manager]}).succeeded
    house.stand.events.clear()
    bodies.append(opening("edit", opens=manager))
    finished = house.stand.run(*bodies, views={"more": [hidden], "edit": [manager], "": [r]})
    assert finished.succeeded, finished.results
    assert house.told().startswith("built M, down ")
    assert sorted(house.told().split(", ")) == sorted(
        ["built M", "down Hidden", "down R", "down M", "up M", "up R", "up Hidden"]
    )


def test_what_comes_while_it_is_built_takes_the_word_back(house: House) -> None:
    """Somebody makes a view of the old one at that moment: it was built in vain, and that is told."""

    def look(event: Any) -> None:
        if isinstance(event, ViewBuilt):
            ask(house.uri, "CREATE VIEW nobody AS SELECT id FROM m")

    house.stand.listener = look
    finished = house.edit()
    assert not finished.succeeded
    assert "view nobody depends on materialized view m" in finished.results[-1].error
    built = [each for each in house.stand.events if isinstance(each, ViewBuilt | ViewFellBack)]
    assert [(type(each), each.view) for each in built] == [(ViewBuilt, "M"), (ViewFellBack, "M")]
    assert "nobody" in built[-1].reason
    assert columns(house.uri) == ["id", "c"]
    assert not leftovers(house.uri)
    assert not house.stand.history().views_down


def test_a_query_that_reads_the_view_itself_ends_as_always(house: House) -> None:
    finished = house.edit(query="SELECT id, c FROM m")
    assert not finished.succeeded
    assert 'relation "m" does not exist' in finished.results[-1].error
    assert columns(house.uri) == ["id", "c"]
    assert not leftovers(house.uri)


def test_a_body_that_stands_in_another_schema_gets_its_view_there_as_always(house: House) -> None:
    """It is another view there, which does not take the place of the old one."""
    manager = swapped()

    def edit(db: Any) -> bool:
        db.executesql("CREATE SCHEMA nearer")
        db.executesql("SET LOCAL search_path = nearer, public")
        with manager(db):
            pass
        return True

    r = matview("R", "SELECT count(*) AS n FROM m", manager, materialized=False)
    finished = house.stand.run(BASE, named("first", lambda _: None), edit, views={"edit": [manager], "": [r]})
    assert finished.succeeded, finished.results
    assert house.told() == INLINE
    found = ask(house.uri, "SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname IN ('m', 'r')")
    assert found == [("nearer",), ("nearer",)]
    assert not leftovers(house.uri)


def test_what_cannot_be_built_beside_another_comes_up_as_always(house: House) -> None:
    """A manager whose `up()` is its own; `check` says so (MG213)."""
    plain = swapped()

    class M(plain):  # type: ignore[misc, valid-type]
        uses = ()

        def up(self) -> None:
            super().up()
            self.db.executesql("COMMENT ON MATERIALIZED VIEW m IS 'of its own'")

    assert house.edit(opens=M).succeeded
    assert house.told() == INLINE
    assert ask(house.uri, "SELECT obj_description('m'::regclass)") == [("of its own",)]


@pytest.mark.parametrize("how", ["each by itself", "all at once"])
def test_what_another_session_does_to_the_old_view_meanwhile_comes_with_it(house: House, how: str) -> None:
    """It was read before that, and what was built is like it as it was then."""
    statements = [
        "GRANT SELECT ON m TO PUBLIC",
        "GRANT SELECT ON r TO PUBLIC",
        "COMMENT ON MATERIALIZED VIEW m IS 'meanwhile'",
        "CREATE INDEX meanwhile ON m (c, id)",
        "COMMENT ON INDEX m_id IS 'of the meantime'",
        "DROP INDEX by_hand",
        "ALTER MATERIALIZED VIEW m SET (fillfactor = 60)",
        "ALTER MATERIALIZED VIEW m ALTER c SET STATISTICS 8",
    ]
    for at, each in enumerate([[one] for one in statements] if how == "each by itself" else [statements]):
        meanwhile = list(each)
        seen: list[Any] = []

        def look(event: Any, meanwhile: list[str] = meanwhile, seen: list[Any] = seen) -> None:
            if isinstance(event, ViewBuilt) and meanwhile:
                ask(house.uri, "SET lock_timeout = '5s'", *meanwhile)
                meanwhile.clear()
                seen.append(probed(house.uri))

        house.stand.listener = look
        house.stand.events.clear()
        finished = house.edit(query=OLD, name=f"edit_{at}")
        assert finished.succeeded, (each, finished.results)
        assert len(seen) == 1
        assert not difference(seen[0], probed(house.uri)), each
        assert house.told() == SWAPPED
        assert not leftovers(house.uri)
