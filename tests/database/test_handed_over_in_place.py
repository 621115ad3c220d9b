"""Views that are handed over at a migration's end while what reads them stays up, or that say why not."""

from __future__ import annotations

from typing import Any

import pytest
from bodies import ask, forget_managers, sql, view
from stand import Stand

from migrate_graph import SqlView
from migrate_graph.core.events import RunFinished, ViewCreated, ViewDropped, ViewFellBack, ViewReplaced

__all__ = ["forget_managers"]

pytestmark = pytest.mark.postgres

BASE = sql("base", "CREATE TABLE t (id int, a int, b int)", "INSERT INTO t VALUES (1, 2, 3)")
WORDS: dict[type, str] = {ViewDropped: "-", ViewCreated: "+", ViewReplaced: "=", ViewFellBack: "!"}


class Windows:
    """A database, and views whose managers no body opens."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.stand = Stand(uri)

    def run(self, *bodies: Any, views: list[Any], **more: Any) -> RunFinished:
        self.stand.events.clear()
        return self.stand.run(BASE, *bodies, views={"": views}, windows=True, **more)

    def works(self, *bodies: Any, views: list[Any], **more: Any) -> str:
        """Run bodies that succeed; return what became of the views, in a word each."""
        finished = self.run(*bodies, views=views, **more)
        assert finished.succeeded, "".join(f"{each.error} {each.hint} {each.traceback}" for each in finished.results)
        assert not self.stand.history().views_down
        return " ".join(WORDS[type(each)] + each.view for each in self.stand.events if type(each) in WORDS)

    def oids(self) -> dict[str, int]:
        return dict(
            ask(
                self.uri,
                "SELECT relname, oid FROM pg_class WHERE relkind IN ('v', 'm') AND relnamespace = 'public'::regnamespace",
            )
        )

    @property
    def remembered(self) -> set[str]:
        return set(self.stand.history().view_texts)


@pytest.fixture
def world(postgres_uri: str, bystander: None) -> Windows:
    return Windows(postgres_uri)


def old_view() -> Any:
    return view("V", "SELECT id, a FROM t", since="base")


def successor(old: Any, query: str = "SELECT id, a, b FROM t", **more: Any) -> Any:
    return view("V2", query, since="second", replaces=old, name="v", **more)


def test_readers_stay_up_that_nobody_else_knows_of(world: Windows) -> None:
    """A view that has no manager, and a function of the view's row type, would stop a view that goes down."""
    v = old_view()
    w = view("W", "SELECT a FROM v", v, since="base")
    m = view("M", "SELECT count(*) AS n FROM w", w, since="base", materialized=True)
    world.works(views=[v, w, m])
    ask(world.uri, "CREATE VIEW stranger AS SELECT id FROM v")
    ask(world.uri, "CREATE FUNCTION taking(v) RETURNS int LANGUAGE sql AS 'SELECT 1'")
    before = world.oids()
    assert world.works(sql("second"), views=[v, successor(v), w, m]) == "=V2"
    assert world.oids() == before
    assert ask(world.uri, "SELECT b FROM v") == [(3,)]
    assert world.remembered == {"V2", "W", "M"}
    assert world.works(sql("second"), sql("third"), views=[v, successor(v), w, m]) == ""


def test_what_begins_and_ends_with_the_same_migration_is_done_around_it(world: Windows) -> None:
    v = old_view()
    w = view("W", "SELECT a FROM v", v, since="base")
    closed = view("C", "SELECT a FROM v", v, since="base", until="second")
    world.works(views=[v, w, closed])
    before = world.oids()
    helper = view("H", "SELECT id, a, b FROM t", since="second")
    v2 = successor(v, "SELECT id, a, b FROM h", uses=(helper,))
    n = view("N", "SELECT b FROM v", v2, since="second")
    assert world.works(sql("second"), views=[v, w, closed, n, v2, helper]) == "+H =V2 -C +N"
    assert world.oids().items() >= {each: before[each] for each in ("v", "w")}.items()
    assert world.remembered == {"V2", "W", "H", "N"}
    assert ask(world.uri, "SELECT b FROM n") == [(3,)]


def test_each_hand_over_is_for_itself(world: Windows) -> None:
    """One that the server refuses takes down its own readers only, and says why."""
    v, u = old_view(), view("U", "SELECT id, a FROM t", name="u", since="base")
    w, x = view("W", "SELECT a FROM v", v, since="base"), view("X", "SELECT a FROM u", u, since="base")
    world.works(views=[v, u, w, x])
    before = world.oids()
    u2 = view("U2", "SELECT a FROM t", since="second", replaces=u, name="u")
    told = world.works(sql("second"), views=[v, u, w, x, u2, successor(v)])
    assert told == "!U2 =V2 -X -U +U2 +X"
    assert {name for name, oid in world.oids().items() if before.get(name) == oid} == {"v", "w"}
    [why] = world.stand.told(ViewFellBack)
    assert why.reason == "cannot drop columns from view"
    assert world.remembered == {"V2", "U2", "W", "X"}


def test_two_that_read_one_another_go_together(world: Windows) -> None:
    v = old_view()
    w = view("W", "SELECT * FROM v", v, since="base")
    r = view("R", "SELECT id FROM w", w, since="base")
    world.works(views=[v, w, r])
    before = world.oids()
    v2 = successor(v)
    w2 = view("W2", "SELECT * FROM v", v2, name="w", since="second", replaces=w)
    assert world.works(sql("second"), views=[v, w, r, v2, w2]) == "=V2 =W2"
    assert world.oids() == before
    assert ask(world.uri, "SELECT b FROM w") == [(3,)]


def test_what_fails_afterwards_takes_all_of_it_back(world: Windows) -> None:
    v = old_view()
    world.works(views=[v])
    bad = view("Bad", "SELECT nothing FROM v", successor(v), since="second")
    finished = world.run(sql("second"), views=[v, bad, bad.uses[0]])
    assert not finished.succeeded
    assert "nothing" in finished.results[-1].error
    assert ask(world.uri, "SELECT count(*) FROM pg_attribute WHERE attrelid = 'v'::regclass AND attnum > 0") == [(2,)]
    assert world.remembered == {"V"}
    assert world.works(sql("second"), views=[v, successor(v)]) == "=V2"


def test_a_view_whose_class_was_renamed_since_is_its_successors(world: Windows) -> None:
    """Nothing is known of a manager of the old name; the view that it has made is not made by two."""
    world.works(views=[view("Before", "SELECT id, a FROM t", name="v", since="base")])
    v = old_view()
    world.works(sql("second"), views=[v, successor(v)])
    assert world.remembered == {"V2"}
    assert ask(world.uri, "SELECT b FROM v") == [(3,)]


def test_nobody_who_reads_what_reads_it_is_waited_for_in_vain(world: Windows) -> None:
    """The rights of others, and what they said of the view, are as before; so is its owner."""
    v = old_view()
    world.works(views=[v])
    for each in (
        "GRANT SELECT (a) ON v TO PUBLIC",
        "COMMENT ON VIEW v IS 'kept'",
        "ALTER VIEW v SET (security_barrier)",
    ):
        ask(world.uri, each)
    kept = (
        "SELECT relowner, reloptions, obj_description(c.oid), attacl::text"
        " FROM pg_class c JOIN pg_attribute ON attrelid = c.oid AND attname = 'a' WHERE relname = 'v'"
    )
    before = ask(world.uri, kept)
    assert world.works(sql("second"), views=[v, successor(v)]) == "=V2"
    assert ask(world.uri, kept) == before


def test_what_nobody_can_replace_goes_down_without_a_word(world: Windows) -> None:
    class Own(SqlView):
        uses = ()
        since = "base"
        name = "v"
        query = "SELECT id, a FROM t"

        def up(self) -> None:
            super().up()

    w = view("W", "SELECT a FROM v", Own, since="base")
    assert world.works(views=[Own, w]) == "+Own +W"
    assert world.works(sql("second"), views=[Own, w, successor(Own)]) == "-W -Own +V2 +W"
