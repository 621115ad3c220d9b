"""Views that get a new text while what reads them stays up: the server replaces them as they stand, or they go down and come up."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg2
import pytest
from bodies import ask, forget_managers, named, view
from catalog_probe import difference, probed
from stand import Stand

from migrate_graph import SqlView, ViewMigrationManager
from migrate_graph.core.events import RunFinished, ViewCreated, ViewDropped, ViewFellBack, ViewReplaced, Warned

__all__ = ["forget_managers"]

pytestmark = pytest.mark.postgres

OIDS = (
    "SELECT relname, oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('v', 'm') ORDER BY 1"
)


class Shop:
    """A database with a table, in which views are made by one migration and renewed by the next.

    Args:
        uri: of the database.
        views: that are made.
        admin: for statements of others; `uri` without it.
    """

    def __init__(self, uri: str, *views: Any, admin: str = "", **settings: Any) -> None:
        self.uri = admin or uri
        self.stand = Stand(uri, **settings)
        table = "CREATE TABLE t (id int, a int, b int)"

        def base(db: Any) -> None:
            db.executesql(table)
            db.executesql("INSERT INTO t VALUES (1, 2, 3)")
            for each in views:
                with each(db):
                    pass

        self.bodies = [named("base", base)]
        done = self.stand.run(*self.bodies, views={"base": [*views]})
        assert done.succeeded, self.why(done)

    @staticmethod
    def why(finished: RunFinished) -> str:
        return "".join(f"{each.error} {each.hint} {each.traceback}" for each in finished.results)

    def run(self, body: Any, *views: Any, **more: Any) -> RunFinished:
        self.stand.events.clear()
        self.bodies.append(body)
        return self.stand.run(*self.bodies, views={body.__name__: [*views]}, **more)

    def renew(self, manager: Any, *others: Any, name: str = "renewal", **more: Any) -> None:
        """Renew a view in a migration that succeeds."""
        finished = self.run(named(name, manager.renew), manager, *others, **more)
        assert finished.succeeded, self.why(finished)

    def told(self) -> list[str]:
        """Return what has become of the views, in a word each."""
        words = {ViewDropped: "-", ViewCreated: "+", ViewReplaced: "="}
        return [words[type(each)] + each.view for each in self.stand.events if type(each) in words]

    def ask(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements in one session of somebody else; return the rows of the last one."""
        return [ask(self.uri, each) for each in statements][-1]

    def oids(self) -> dict[str, int]:
        return dict(self.ask(OIDS))

    def probed(self) -> dict[str, list[tuple[Any, ...]]]:
        return probed(self.uri)


def versions(
    old: str = "SELECT id, a FROM t", new: str = "SELECT id, a, b FROM t WHERE id > 0", **more: Any
) -> tuple[Any, Any]:
    """Return a manager as it was and as it is after an edit."""
    return view("V", old, **more), view("V", new, **more)


@pytest.fixture
def uri(postgres_uri: str, bystander: None) -> str:
    return postgres_uri


# -- what is replaced ---------------------------------------------------------------------------------------------------


def test_a_column_at_the_end_leaves_readers_up_and_in_use(uri: str) -> None:
    old, new = versions()
    w = view("W", "SELECT id FROM v", old)
    m = view("M", "SELECT count(*) AS n FROM w", w, materialized=True)
    shop = Shop(uri, old, w, m)
    before = shop.oids()
    w2 = view("W", "SELECT id FROM v", new)
    m2 = view("M", "SELECT count(*) AS n FROM w", w2, materialized=True)
    with closing(psycopg2.connect(uri)) as reader, reader.cursor() as cursor:
        # Whoever reads w at this moment reads v as well; these two hold what reads v, and nothing else.
        cursor.execute("SELECT n FROM m")
        cursor.execute("COMMENT ON VIEW w IS 'in use'")
        shop.renew(new, w2, m2)
    assert shop.told() == ["=V"]
    assert shop.oids() == before
    assert shop.ask("SELECT b FROM v") == [(3,)]
    shop.renew(new, w2, m2, name="again")
    assert shop.told() == ["=V"]
    assert not shop.stand.told(Warned)


def test_everything_that_belongs_to_the_view_is_as_it_was(uri: str, postgres_admin_uri: str) -> None:
    old, new = versions(old="SELECT id, a, b FROM t", new="SELECT id, a, b FROM t WHERE a > 1")
    w = view("W", "SELECT id FROM v", old)
    shop = Shop(uri, old, w, admin=postgres_admin_uri)
    shop.ask(
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "ALTER VIEW v SET (security_barrier = true, check_option = cascaded)",
        "COMMENT ON VIEW v IS 'kept'", "COMMENT ON COLUMN v.a IS 'kept too'",
        "GRANT SELECT ON v TO PUBLIC", "GRANT UPDATE (a) ON v TO PUBLIC", "REVOKE DELETE ON v FROM app",
        "ALTER VIEW v ALTER COLUMN b SET DEFAULT 7",
        "CREATE RULE quiet AS ON DELETE TO v DO INSTEAD NOTHING", "COMMENT ON RULE quiet ON v IS 'never'",
        "GRANT USAGE ON TYPE v TO PUBLIC", "ALTER VIEW w OWNER TO pg_monitor",
    )  # fmt: skip
    before, oids = shop.probed(), shop.oids()
    shop.renew(new, view("W", "SELECT id FROM v", new))
    assert shop.told() == ["=V"]
    assert shop.oids() == oids
    assert [line for line in difference(before, shop.probed()) if "_RETURN" not in line] == []


def test_a_view_with_a_trigger_in_another_schema_and_of_another_owner(postgres_admin_uri: str) -> None:
    old = view("V", "SELECT id, a FROM public.t", name='far."V v"')
    new = view("V", "SELECT id, a, b FROM public.t", name='far."V v"')
    shop = Shop(postgres_admin_uri)
    shop.ask(
        "CREATE SCHEMA far AUTHORIZATION pg_monitor",
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    )
    shop.renew(old)
    assert shop.told() == ["+V"]
    shop.ask(
        'CREATE TRIGGER t INSTEAD OF INSERT ON far."V v" FOR EACH ROW EXECUTE FUNCTION public.nothing()',
        'ALTER VIEW far."V v" OWNER TO pg_monitor', "GRANT SELECT ON t TO pg_monitor",
    )  # fmt: skip
    shop.renew(new, name="second")
    assert shop.told() == ["=V"]
    kept = "SELECT pg_get_userbyid(relowner), relhastriggers, relnatts FROM pg_class WHERE relname = 'V v'"
    assert shop.ask(kept) == [("pg_monitor", True, 3)]


def test_what_the_declaration_says_wins_over_what_was_set_by_hand(uri: str) -> None:
    old, _ = versions(options={"security_barrier": False}, comment="old")
    new = view(
        "V", "SELECT id, a, b FROM t", options={"security_barrier": True}, comment="new", grants={"public": "SELECT"}
    )
    shop = Shop(uri, old)
    shop.ask("COMMENT ON VIEW v IS 'by hand'", "ALTER VIEW v SET (check_option = local)")
    shop.renew(new)
    assert shop.told() == ["=V"]
    found = shop.ask("SELECT obj_description(oid), reloptions FROM pg_class WHERE relname = 'v'")
    assert [(comment, sorted(options)) for comment, options in found] == [
        ("new", ["check_option=local", "security_barrier=true"])
    ]
    assert shop.ask("SELECT has_table_privilege('public', 'v', 'SELECT')") == [(True,)]


def test_what_an_event_trigger_says_of_it_does_not_count(uri: str, postgres_admin_uri: str) -> None:
    old, new = versions()
    shop = Shop(uri, old, admin=postgres_admin_uri)
    shop.ask("COMMENT ON VIEW v IS 'kept'", "GRANT UPDATE ON v TO PUBLIC")
    shop.ask(
        """CREATE FUNCTION noisy() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
            IF current_setting('application_name') NOT LIKE 'migrate_graph%' THEN RETURN; END IF;  -- a bystander's
            EXECUTE 'COMMENT ON VIEW v IS ''noise'''; EXECUTE 'GRANT DELETE ON v TO PUBLIC'; EXECUTE 'REVOKE UPDATE ON v FROM PUBLIC';
            EXECUTE 'ALTER VIEW v SET (security_barrier = true)';
        END $$""",
        "CREATE EVENT TRIGGER noisy ON ddl_command_end WHEN TAG IN ('CREATE VIEW') EXECUTE FUNCTION noisy()",
    )
    shop.renew(new)
    assert shop.told() == ["=V"]
    found = shop.ask(
        "SELECT obj_description(oid), coalesce(reloptions, '{}'), has_table_privilege('public', oid, 'DELETE'),"
        " has_table_privilege('public', oid, 'UPDATE') FROM pg_class WHERE relname = 'v'"
    )
    assert found == [("kept", [], False, True)]


def test_edited_readers_get_their_texts_as_well(uri: str) -> None:
    old, new = versions()
    w, x = view("W", "SELECT id FROM v", old), view("X", "SELECT 1 AS one FROM v", old)
    shop = Shop(uri, old, w, x)
    before = shop.oids()
    w2, x2 = view("W", "SELECT id, b FROM v", new), view("X", "SELECT 1 AS one FROM v", new)
    shop.renew(new, w2, x2)
    assert shop.told() == ["=V", "=W"]
    assert shop.oids() == before
    assert shop.ask("SELECT b FROM w") == [(3,)]


def test_a_reader_of_all_columns_gets_the_new_one(uri: str) -> None:
    old, new = versions()
    w = view("W", "SELECT * FROM v", old)
    x, y = view("X", "SELECT id FROM w", w), view("Y", "SELECT w.* FROM w", w)
    shop = Shop(uri, old, w, x, y)
    before = shop.oids()
    w2 = view("W", "SELECT * FROM v", new)
    shop.renew(new, w2, view("X", "SELECT id FROM w", w2), view("Y", "SELECT w.* FROM w", w2))
    assert shop.told() == ["=V", "=W", "=Y"]
    assert shop.oids() == before
    assert shop.ask("SELECT b FROM y") == [(3,)]
    assert shop.ask("SELECT count(*) FROM pg_class WHERE relname LIKE 'migrate_graph%'") == [(0,)]


def test_a_view_changed_by_hand_has_its_text_again(uri: str) -> None:
    old, _ = versions()
    shop = Shop(uri, old, view("W", "SELECT id FROM v", old))
    shop.ask("CREATE OR REPLACE VIEW v AS SELECT id, 9 AS a FROM t")
    same = view("V", "SELECT id, a FROM t")
    w = view("W", "SELECT id FROM v", same)
    shop.renew(same, w)
    assert shop.told() == ["=V"]
    assert shop.ask("SELECT a FROM v") == [(2,)]
    shop.ask("CREATE OR REPLACE VIEW v AS SELECT id, 9 AS a, 8 AS more FROM t")
    shop.renew(same, w, name="second")
    assert shop.told() == ["-W", "-V", "+V", "+W"]
    assert shop.ask("SELECT relnatts FROM pg_class WHERE relname = 'v'") == [(2,)]


def test_a_recursive_query(uri: str) -> None:
    old, new = versions(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION SELECT i + 1 FROM n WHERE i < 3) SELECT i FROM n",
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION SELECT i + 1 FROM n WHERE i < 5) SELECT i, i * 2 AS twice FROM n -- the end",
    )
    shop = Shop(uri, old)
    shop.renew(new)
    assert shop.told() == ["=V"]
    assert shop.ask("SELECT max(twice) FROM v") == [(10,)]


# -- what goes down and comes up ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id FROM t",
        "SELECT id, a AS another FROM t",
        "SELECT id, a::text AS a FROM t",
        "SELECT b, id, a FROM t",
    ],
    ids=["dropped", "renamed", "another type", "in front"],
)
def test_what_the_server_refuses_goes_down_and_comes_up(uri: str, query: str) -> None:
    old, new = versions(new=query)
    w = view("W", "SELECT count(*) AS n FROM v", old)
    shop = Shop(uri, old, w)
    shop.ask("COMMENT ON VIEW v IS 'kept'", "GRANT SELECT ON w TO PUBLIC")
    shop.renew(new, view("W", "SELECT count(*) AS n FROM v", new))
    assert shop.told() == ["-W", "-V", "+V", "+W"]
    assert shop.ask(
        "SELECT n, obj_description('v'::regclass), has_table_privilege('public', 'w', 'SELECT') FROM w"
    ) == [(1, "kept", True)]


class Hand(ViewMigrationManager):
    """Has an `up()` of its own."""

    uses = ()

    def up(self) -> None:
        self.db.executesql("CREATE VIEW hand AS SELECT id FROM t")

    def down(self) -> None:
        self.db.executesql("DROP VIEW IF EXISTS hand")


def test_a_manager_with_an_up_of_its_own_goes_down(uri: str) -> None:
    shop = Shop(uri, Hand)
    shop.renew(Hand)
    assert shop.told() == ["-Hand", "+Hand"]


def test_more_than_a_declaration_goes_down(uri: str) -> None:
    class More(SqlView):
        query = "SELECT id FROM t"

        def up(self) -> None:
            super().up()
            self.db.executesql("COMMENT ON COLUMN more.id IS 'said'")

    shop = Shop(uri, More)
    shop.renew(More)
    assert shop.told() == ["-More", "+More"]


def test_materialized_or_not(uri: str) -> None:
    m = view("V", "SELECT id FROM t", materialized=True)
    shop = Shop(uri, m)
    shop.renew(m)
    assert shop.told() == ["-V", "+V"]
    plain = view("V", "SELECT id FROM t")
    shop.renew(plain, name="second")
    assert shop.told() == ["-V", "+V"]
    shop.renew(view("V", "SELECT id FROM t", materialized=True), name="third")
    assert shop.told() == ["-V", "+V"]
    assert shop.ask("SELECT relkind FROM pg_class WHERE relname = 'v'") == [("m",)]


def test_a_reader_of_all_columns_that_cannot_be_replaced(uri: str) -> None:
    old, new = versions()
    m = view("M", "SELECT * FROM v", old, materialized=True)
    shop = Shop(uri, old, m)
    shop.renew(new, view("M", "SELECT * FROM v", new, materialized=True))
    assert shop.told() == ["-M", "-V", "+V", "+M"]
    assert shop.ask("SELECT b FROM m") == [(3,)]


def test_a_reader_with_an_up_of_its_own_stays_up_as_long_as_no_column_is_added(uri: str) -> None:
    def reader(used: Any) -> Any:
        def up(self: Any) -> None:
            self.db.executesql("CREATE VIEW own AS SELECT * FROM v")

        def down(self: Any) -> None:
            self.db.executesql("DROP VIEW IF EXISTS own")

        return type("Own", (ViewMigrationManager,), {"uses": (used,), "up": up, "down": down, "__module__": __name__})

    old, new = versions(new="SELECT id, a FROM t WHERE a > 0")
    shop = Shop(uri, old, reader(old))
    shop.renew(new, reader(new))
    assert shop.told() == ["=V"]
    _, more = versions()
    shop.renew(more, reader(more), name="second")
    assert shop.told() == ["-Own", "-V", "+V", "+Own"]
    assert shop.ask("SELECT b FROM own") == [(3,)]


def test_what_is_missing_is_created(uri: str) -> None:
    _, new = versions()
    shop = Shop(uri)
    shop.renew(new)
    assert shop.told() == ["+V"]
    w = view("W", "SELECT id FROM v", new)
    shop.renew(new, w, name="second")
    assert shop.told() == ["-V", "+V", "+W"]
    shop.ask("DROP VIEW w")
    shop.renew(new, w, name="third")
    assert shop.oids().keys() == {"v", "w"}


def test_a_circle_is_no_view(uri: str) -> None:
    old, new = versions("SELECT id, a FROM t", "SELECT id, n AS a FROM w")
    w = view("W", "SELECT id, a AS n FROM v", old)
    shop = Shop(uri, old, w)
    finished = shop.run(named("renewal", new.renew), new, view("W", "SELECT id, a AS n FROM v", new))
    assert not finished.succeeded
    assert shop.told() == ["-W", "-V"]
    shop.bodies.pop()
    itself = view("V", "SELECT id, a FROM v")
    finished = shop.run(named("itself", itself.renew), itself)
    assert not finished.succeeded
    assert shop.ask("SELECT n FROM w") == [(2,)]


def test_where_a_new_one_would_stand_before_it_it_goes_down_and_comes_up(uri: str) -> None:
    """The name means a view in a schema that comes later in the search_path: as of every view, `up()` says where the new one is."""
    old, new = versions()
    shop = Shop(uri, old)
    before = shop.oids()

    def elsewhere(db: Any) -> None:
        db.executesql("CREATE SCHEMA first")
        db.executesql("SET LOCAL search_path = first, public")
        new.renew(db)

    finished = shop.run(named("elsewhere", elsewhere), new)
    assert finished.succeeded, shop.why(finished)
    assert shop.told() == ["-V", "+V"]
    ((where, oid, columns),) = shop.ask(
        "SELECT relnamespace::regnamespace::text, oid, relnatts FROM pg_class WHERE relname = 'v'"
    )
    assert (where, columns) == ("first", 3)
    assert oid != before["v"]


# -- in the midst of other things -----------------------------------------------------------------------------------------


def test_with_what_else_a_body_does(uri: str) -> None:
    old, new = versions()
    w = view("W", "SELECT id FROM v", old)
    shop = Shop(uri, old, w)
    w2 = view("W", "SELECT id FROM v", new)

    def mixed(db: Any) -> None:
        new.renew(db)
        with w2(db):
            new.renew(db)
        with new(db):
            new.renew(db)
            db.executesql("ALTER TABLE t ALTER COLUMN a TYPE bigint")
        new.renew(db)
        db.executesql("ALTER TABLE t ALTER COLUMN b TYPE bigint")  # what is in the way steps aside
        new.renew(db)
        db.commit()
        new.renew(db)

    finished = shop.run(named("mixed", mixed), new, w2)
    assert finished.succeeded, shop.why(finished)
    assert " ".join(shop.told()) == "=V -W -V +V +W -W -V +V +W =V -W -V +V +W =V =V"
    assert {each.reason for each in shop.stand.told(ViewFellBack)} == {"it is open in a block around this one"}
    assert shop.ask("SELECT b FROM v JOIN w USING (id)") == [(3,)]


def test_what_is_rolled_back_was_never_replaced(uri: str) -> None:
    old, new = versions()
    shop = Shop(uri, old)
    text = shop.stand.history().view_texts["V"]

    def back(db: Any) -> None:
        new.renew(db)
        db.rollback()

    assert shop.run(named("back", back), new).succeeded
    assert shop.stand.history().view_texts["V"] == text
    shop.bodies.pop()

    def fails(db: Any) -> None:
        new.renew(db)
        raise ValueError("no")

    assert not shop.run(named("fails", fails), new).succeeded
    assert shop.stand.history().view_texts["V"] == text
    assert shop.ask("SELECT relnatts FROM pg_class WHERE relname = 'v'") == [(2,)]


@pytest.mark.parametrize("mode", ["own", "single", "none"])
def test_in_every_kind_of_transaction(uri: str, mode: str) -> None:
    old, new = versions()
    shop = Shop(uri, old)
    shop.renew(new, modes={"renewal": mode})
    assert shop.told() == ["=V"]
    assert shop.ask("SELECT b FROM v") == [(3,)]


def test_a_lock_that_others_hold_is_waited_for_and_is_no_reason_to_go_down(uri: str) -> None:
    old, new = versions()
    w = view("W", "SELECT id FROM v", old)
    shop = Shop(uri, old, w, lock_timeout=0.2)
    tries = []
    with closing(psycopg2.connect(uri)) as reader, reader.cursor() as cursor:
        cursor.execute("SELECT * FROM v")

        def renewal(db: Any) -> None:
            tries.append(1)
            if len(tries) == 2:
                reader.commit()
            new.renew(db)

        finished = shop.run(named("renewal", renewal), new, view("W", "SELECT id FROM v", new))
    assert finished.succeeded, shop.why(finished)
    assert len(tries) == 2
    assert shop.told() == ["=V"]


def test_on_sqlite_it_goes_down(sqlite_uri: str) -> None:
    old, new = versions()
    w = view("W", "SELECT id FROM v", old)
    shop = Shop(sqlite_uri, old, w)
    shop.renew(new, view("W", "SELECT id FROM v", new))
    assert shop.told() == ["-W", "-V", "+V", "+W"]
    assert shop.ask("SELECT b FROM v") == [(3,)]


@pytest.mark.parametrize("windows", [True, False])
def test_a_successor_takes_the_view_over_as_it_stands(uri: str, windows: bool) -> None:
    old = view("V", "SELECT id, a FROM t", since="base")
    w = view("W", "SELECT id FROM v", old, since="base")
    shop = Shop(uri, old, w)
    shop.ask("COMMENT ON VIEW v IS 'kept'", "GRANT SELECT ON v TO PUBLIC")
    before = shop.oids()
    new = view("V2", "SELECT id, a, b, c FROM t", name="v", since="second", replaces=old)

    def second(db: Any) -> None:
        db.executesql("ALTER TABLE t ADD COLUMN c int DEFAULT 4")
        new.renew(db)

    finished = shop.run(named("second", second), new, old, w, windows=windows)
    assert finished.succeeded, shop.why(finished)
    assert shop.told() == ["=V2"]
    assert shop.oids() == before
    assert set(shop.stand.history().view_texts) == {"V2", "W"}
    assert shop.ask(
        "SELECT c, obj_description('v'::regclass), has_table_privilege('public', 'v', 'SELECT') FROM v"
    ) == [(4, "kept", True)]


def test_what_a_class_of_another_name_has_made_goes_down_and_is_its_alone(uri: str) -> None:
    """Only its own row could be written: the view would be known of both."""
    old, new = versions()
    old = view("Before", "SELECT id, a FROM t", name="v")
    shop = Shop(uri, old)
    shop.renew(new)
    assert shop.told() == ["-V", "+V"]
    assert shop.ask("SELECT manager FROM ewh_implemented_features_views") == [("V",)]
    assert shop.ask("SELECT b FROM v") == [(3,)]


def test_with_two_successors_it_goes_down(uri: str) -> None:
    old = view("Old", "SELECT id, a FROM t", name="v", since="base")
    ends = view("Ends", "SELECT id FROM v", old, name="ends", since="base", until="second")
    shop = Shop(uri, old, ends)
    new = view("New", "SELECT id, a, b FROM t", name="v", since="second", replaces=old)
    beside = view("Beside", "SELECT id, b FROM t", name="beside", since="second", replaces=old)
    finished = shop.run(named("second", new.renew), new, beside, old, ends)
    assert finished.succeeded, shop.why(finished)
    assert shop.told() == ["-Ends", "-Old", "+New", "+Beside", "+Ends"]
    assert sorted(shop.oids()) == ["beside", "ends", "v"]


def test_a_successor_of_what_is_more_than_a_declaration_does_not(uri: str) -> None:
    class Old(ViewMigrationManager):
        uses = ()
        since = "base"

        def up(self) -> None:
            self.db.executesql("CREATE FUNCTION beside() RETURNS int LANGUAGE sql AS 'SELECT 1'")
            self.db.executesql("CREATE VIEW v AS SELECT id, a FROM t")

        def down(self) -> None:
            self.db.executesql("DROP VIEW IF EXISTS v")
            self.db.executesql("DROP FUNCTION IF EXISTS beside()")

    new = view("V2", "SELECT id, a, b FROM t", name="v", since="second", replaces=Old)
    shop = Shop(uri, Old)
    finished = shop.run(named("second", new.renew), new, Old)
    assert finished.succeeded, shop.why(finished)
    assert shop.told() == ["-Old", "+V2"]
    assert shop.ask("SELECT count(*) FROM pg_proc WHERE proname = 'beside'") == [(0,)]


def test_a_session_that_ends_leaves_nothing_half(uri: str, postgres_admin_uri: str) -> None:
    old, new = versions()
    w = view("W", "SELECT id FROM v", old)
    shop = Shop(uri, old, w, admin=postgres_admin_uri)
    before, seen = shop.oids(), []

    def renewal(db: Any) -> None:
        seen.append(db.executesql("SELECT relnatts FROM pg_class WHERE oid = 'v'::regclass")[0][0])
        new.renew(db)
        if len(seen) == 1:
            shop.ask(f"SELECT pg_terminate_backend({db.executesql('SELECT pg_backend_pid()')[0][0]}, 5000)")
            db.executesql("SELECT 1")

    w2 = view("W", "SELECT id FROM v", new)
    assert not shop.run(named("renewal", renewal), new, w2).succeeded
    assert not shop.stand.history().views_down
    shop.bodies.pop()
    finished = shop.run(named("renewal", renewal), new, w2)
    assert finished.succeeded, shop.why(finished)
    assert seen == [2, 2], "nothing of the first was kept"
    assert shop.told() == ["=V"]
    assert shop.oids() == before
