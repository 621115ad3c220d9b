"""Views that are in the way of a statement go down by themselves, and are afterwards what they were."""

from __future__ import annotations

from typing import Any

import psycopg2
import pytest
from bodies import ask, forget_managers, named, sql, view
from msgspec.structs import replace
from stand import Stand
from view_stand import DRESS, SHOP
from weaving_stand import KEEP, WIDEN_A, Shop, ask_and_commit, attributes, shop, views_of

from migrate_graph import ViewMigrationManager
from migrate_graph.core.events import ViewCreated, ViewDropped
from migrate_graph.database.postgres.session.connection import WorkConnection
from migrate_graph.database.postgres.views.blockers import views_blocking
from migrate_graph.executor.attempt import WeavingOptions

__all__ = ["forget_managers", "shop"]

pytestmark = pytest.mark.postgres


WIDEN_B = "ALTER TABLE t ALTER COLUMN b TYPE varchar(30)"


WIDEN_C = "ALTER TABLE t ALTER COLUMN c TYPE varchar(20)"


def test_what_is_in_the_way_steps_aside(shop: Shop) -> None:
    shop.works(sql("widen_a", WIDEN_A), down="V2 V", warned=2)
    assert ask(shop.uri, "SELECT pg_typeof(a)::text FROM v LIMIT 1") == [("bigint",)]
    shop.works(sql("widen_a", WIDEN_A), sql("widen_c", WIDEN_C), down="M V2 V", warned=2)
    assert ask(shop.uri, "SELECT count(*) FROM m") == [(10,)]


def test_a_view_that_nobody_manages_is_refused(shop: Shop) -> None:
    result = shop.fails(sql("widen_b", WIDEN_B))
    assert "cannot alter type of a column used by a view" in result.error
    assert "migrate views adopt public.w" in result.hint


def test_a_view_that_nobody_manages_is_kept_where_that_is_wanted(shop: Shop) -> None:
    shop.works(sql("widen_b", WIDEN_B), down="public.w", warned=1, weaving=KEEP)


def test_pydals_way_of_changing_a_type(shop: Shop) -> None:
    shop.works(
        sql(
            "pydal_style",
            'ALTER TABLE t ADD "c__tmp" text',
            'UPDATE t SET "c__tmp" = c',
            "ALTER TABLE t DROP COLUMN c",
            "ALTER TABLE t ADD c varchar(10)",
            'UPDATE t SET c = "c__tmp"',
            'ALTER TABLE t DROP COLUMN "c__tmp"',
        ),
        down="M V2 V",
    )
    assert ask(shop.uri, "SELECT DISTINCT c FROM m") == [("c",)]


def test_pydal_itself_changes_a_type(shop: Shop, tmp_path: Any) -> None:
    def body(db: Any) -> None:
        from pydal import Field

        db._migrate_enabled = True
        db._adapter.folder = str(tmp_path)
        for kind in ("string", "text"):
            c = Field("c", kind, length=10)
            db.define_table("t", Field("a", "integer"), c, migrate=True, fake_migrate=kind == "string", redefine=True)

    shop.stand.settings = replace(shop.stand.settings, folder=tmp_path)
    shop.works(named("by_pydal", body), down="M V2 V", warned=2)
    assert ask(shop.uri, "SELECT pg_typeof(c)::text FROM m LIMIT 1") == [("text",)]


@pytest.mark.parametrize(
    "statement",
    [
        "DO $$ BEGIN EXECUTE 'ALTER TABLE t ALTER COLUMN a TYPE bigint'; END $$",
        "SELECT 1; " + WIDEN_A,
        WIDEN_A + "; UPDATE t SET a = a + 1",
        "-- widen\n /* a /* nested */ comment */ " + WIDEN_A,
        "  ;;  " + WIDEN_A.lower(),
        "ALTER TABLE t ALTER a TYPE bigint USING a + 1",
    ],
)
def test_however_it_is_said(shop: Shop, statement: str) -> None:
    shop.works(sql("widen_a", statement), down="V2 V", warned=2)


def test_a_procedure_that_is_called(shop: Shop) -> None:
    ask_and_commit(shop.uri, f"CREATE PROCEDURE widen() LANGUAGE plpgsql AS $$ BEGIN EXECUTE '{WIDEN_A}'; END $$")
    shop.works(sql("widen_a", "CALL widen()"), down="V2 V", warned=2)


def test_a_function_that_is_replaced(shop: Shop) -> None:
    """The first words are known, also where nothing of ours is in the way: the error stays what it was."""
    ask_and_commit(shop.uri, "CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    result = shop.fails(
        sql("replaces", "CREATE OR REPLACE FUNCTION one() RETURNS text LANGUAGE sql AS 'SELECT 1::text'")
    )
    assert "cannot change return type" in result.error


def test_an_error_that_only_says_the_words_is_the_bodys(shop: Shop) -> None:
    """A refusal is known by its class, not by what stands in its detail."""
    said = "DO $$ BEGIN RAISE EXCEPTION 'no' USING DETAIL = 'view v depends on column a of table t'; END $$"
    assert "no" in shop.fails(sql("says", said)).error
    assert not shop.stand.told(ViewDropped)


def test_parameters_and_many_of_them(shop: Shop) -> None:
    def body(db: Any) -> None:
        cursor = db._adapter.connection.cursor()
        cursor.execute("ALTER TABLE t ALTER a TYPE bigint USING a + %s", (1,))
        cursor.executemany("ALTER TABLE t ALTER c TYPE varchar(20) USING c || %s", iter([("x",), ("y",)]))

    shop.works(named("widen", body), down="V2 V M", up="M V V2", warned=4)
    assert ask(shop.uri, "SELECT a, c FROM v WHERE id = 1") == [(2, "cxy")]


def test_own_commits_while_views_are_down(shop: Shop) -> None:
    seen: list[Any] = []

    def body(db: Any) -> None:
        db.executesql(WIDEN_A)
        db.commit()
        seen.extend(shop.stand.history().views_down)
        db.executesql("ALTER TABLE t ADD COLUMN late int")
        db.commit()

    shop.works(named("commits", body), down="V2 V", warned=2)
    assert {each.manager for each in seen} == {"V", "V2"}


def test_a_rollback_brings_everything_back_by_itself(shop: Shop) -> None:
    def body(db: Any) -> None:
        db.executesql(WIDEN_A)
        db.rollback()
        assert db.executesql("SELECT count(*) FROM v") == [(10,)]

    shop.works(named("goes_back", body), down="V2 V", up="")


def test_what_went_down_before_a_rollback_goes_down_again(shop: Shop) -> None:
    def body(db: Any) -> None:
        db.executesql(WIDEN_A)
        db.rollback()
        db.executesql(WIDEN_C)

    shop.works(named("goes_back", body), down="V2 V M V2 V", up="V V2 M", warned=2)


def test_a_rollback_after_a_commit_leaves_nothing_down(shop: Shop) -> None:
    def body(db: Any) -> None:
        db.executesql(WIDEN_A)
        db.commit()
        assert db.executesql("SELECT count(*) FROM v") == [(10,)]  # up again …
        db.rollback()  # … and down again

    shop.works(named("commits", body), down="V2 V", up="V V2 V V2", warned=4)


def test_savepoints_of_the_body(shop: Shop) -> None:
    def body(db: Any) -> None:
        db.executesql("SAVEPOINT mine")
        db.executesql(WIDEN_A)
        db.executesql("ROLLBACK TO SAVEPOINT mine")
        assert db.executesql("SELECT count(*) FROM v") == [(10,)]
        db.executesql("SAVEPOINT other")
        db.executesql(WIDEN_C)
        db.executesql("RELEASE SAVEPOINT other")
        db.executesql("RELEASE SAVEPOINT mine")

    shop.works(named("in_parts", body), down="V2 V M V2 V", up="V V2 M", warned=2)


def test_a_savepoint_from_before_views_came_up_again(shop: Shop) -> None:
    """What came up goes down again with the savepoint; a statement that names it finds it nevertheless."""

    def body(db: Any) -> None:
        db.executesql(WIDEN_A)
        db.executesql("SAVEPOINT mine")
        assert db.executesql("SELECT count(*) FROM v") == [(10,)]
        db.executesql("ROLLBACK TO SAVEPOINT mine")
        assert db.executesql("SELECT count(*) FROM v2") == [(10,)]

    shop.works(named("goes_back", body), down="V2 V", up="V V2 V V2", warned=4)


def test_an_error_that_is_caught_by_a_savepoint(shop: Shop) -> None:
    """What cannot be woven leaves the transaction aborted, and the savepoints of the body in their places."""

    def body(db: Any) -> None:
        db.executesql("SAVEPOINT mine")
        with pytest.raises(psycopg2.errors.FeatureNotSupported, match="cannot alter type of a column used by a view"):
            db.executesql(WIDEN_B)
        assert db._adapter.connection.info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_INERROR
        db.executesql("ROLLBACK TO SAVEPOINT mine")
        db.executesql("ALTER TABLE t ADD COLUMN other int")

    shop.works(named("catches", body))


def test_an_error_that_is_swallowed_is_no_success(shop: Shop) -> None:
    def body(db: Any) -> None:
        with pytest.raises(psycopg2.errors.FeatureNotSupported):
            db.executesql(WIDEN_B)

    assert "swallowed an SQL error" in shop.fails(named("swallows", body)).error


def test_a_body_that_wants_the_error(shop: Shop) -> None:
    """`weave=False`."""

    def body(db: Any) -> None:
        db.executesql("SAVEPOINT mine")
        with pytest.raises(psycopg2.errors.FeatureNotSupported):
            db.executesql(WIDEN_A)
        db.executesql("ROLLBACK TO SAVEPOINT mine")
        with shop.v(db):
            db.executesql(WIDEN_A)

    shop.works(named("by_hand", body), down="V2 V", opens={"by_hand": [shop.v]}, unwoven=["by_hand"])
    result = shop.fails(sql("widen_c", WIDEN_C), weaving=WeavingOptions(wanted=False))
    assert "used by a view" in result.error
    assert 'steps aside and comes back with `weave = "blocked"`' in result.hint


def test_blocks_before_after_inside_and_around(shop: Shop) -> None:
    def body(db: Any) -> None:
        with shop.v(db):
            db.executesql(WIDEN_C)  # M steps aside, V is down already
            with shop.m(db):
                db.executesql("ALTER TABLE t ADD COLUMN one int")
            assert db.executesql("SELECT count(*) FROM m") == [(10,)]
        db.executesql(WIDEN_A)  # V and V2 step aside
        with shop.v(db):
            db.executesql("ALTER TABLE t ADD COLUMN two int")
        assert db.executesql("SELECT count(*) FROM v2") == [(10,)]

    shop.works(
        named("blocks", body),
        down="V2 V M M V2 V V2 V", up="M M V V2 V V2 V V2", warned=3, opens={"blocks": [shop.v, shop.m]},
    )  # fmt: skip


def test_a_block_of_what_has_stepped_aside_before_keeps_it_down(shop: Shop) -> None:
    """V is down since its manager is open: no statement inside brings it up, whatever else has stepped aside meanwhile."""

    def body(db: Any) -> None:
        db.executesql(WIDEN_A)
        with shop.v(db):
            assert db.executesql("SELECT to_regclass('public.v')") == [(None,)]
            db.executesql(WIDEN_C)
            assert db.executesql("SELECT to_regclass('public.v')") == [(None,)]

    shop.works(named("opens_it", body), down="V2 V V2 V M", up="V V2 M V V2", warned=3, opens={"opens_it": [shop.v]})


def test_a_block_that_reads_what_stepped_aside_in_it(shop: Shop) -> None:
    """W reads V and X: X steps aside inside of the block of V, and must be up before W is."""
    x = view("X", "SELECT id, s FROM t")
    both = view("Joined", "SELECT v.id, x.s FROM v JOIN x USING (id)", shop.v, x)
    shop.others = [x, both]

    def makes(db: Any) -> None:
        with x(db), both(db):
            pass

    assert shop.run(named("makes", makes), opens={"makes": [x, both]}).succeeded
    shop.made.append(named("makes", makes))

    def body(db: Any) -> None:
        with shop.v(db):
            db.executesql("ALTER TABLE t ALTER s TYPE varchar(9)")

    shop.works(named("inside", body), down="Joined V2 V X", up="X V V2 Joined", warned=1, opens={"inside": [shop.v]})


def test_a_statement_that_names_a_view_finds_it(shop: Shop) -> None:
    def body(db: Any) -> None:
        db.executesql(WIDEN_A)
        db.executesql("INSERT INTO t (a) SELECT a + 100 FROM v")
        db.executesql("COMMENT ON VIEW v2 IS 'kept'")
        db.executesql("ALTER TABLE t ALTER COLUMN a TYPE int")

    shop.works(named("uses_it", body), down="V2 V V2 V", warned=4)
    assert ask(shop.uri, "SELECT count(*) FROM v") == [(20,)]


def test_a_view_that_the_body_drops_is_dropped(shop: Shop) -> None:
    def body(db: Any) -> None:
        db.executesql(WIDEN_A)
        db.executesql("DROP VIEW v2")

    finished = shop.run(named("drops", body))
    assert finished.succeeded, finished.results
    assert "public.v2" not in views_of(shop.uri)
    assert "public.v" in views_of(shop.uri)


def test_a_function_that_misses_a_view_is_told_why(shop: Shop) -> None:
    ask_and_commit(
        shop.uri, "CREATE FUNCTION f() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM v); END'"
    )
    result = shop.fails(sql("misses", WIDEN_A, "SELECT f()"))
    assert "V2, V went down" in result.hint
    result = shop.fails(sql("misses", WIDEN_A, "SELECT * FROM never_made"))
    assert "never_made" in result.error
    assert "went down" not in result.hint


def test_a_column_that_a_view_reads_is_dropped(shop: Shop) -> None:
    result = shop.fails(sql("drop_a", "ALTER TABLE t DROP COLUMN a"))
    assert "V reads t.a, which drop_a drops (" in result.error
    assert "bodies.py:" in result.error
    assert 'close the window of V (`until = "drop_a"`) or name a successor (`replaces = V`)' in result.hint


def test_a_table_that_a_view_reads_is_dropped(shop: Shop) -> None:
    result = shop.fails(sql("drop_t", "DROP TABLE t"), weaving=KEEP)
    assert "V reads t.a, t.c, t.id, which drop_t drops" in result.error
    assert "public.w reads t.b, which drop_t drops" in result.error


def test_a_window_that_closes_with_the_column(shop: Shop) -> None:
    shop.v.until = shop.v2.until = "drop_a"
    finished = shop.run(sql("drop_a", "ALTER TABLE t DROP COLUMN a"))
    assert finished.succeeded, finished.results
    assert set(views_of(shop.uri)) == {"public.m", "public.w"}
    shop.is_whole()
    assert set(shop.stand.history().view_texts) == {"M"}


@pytest.mark.parametrize("opens", [True, False])
def test_a_successor_takes_over_where_the_column_goes(shop: Shop, opens: bool) -> None:
    """V is handed over to one that does not read the column, whether the body opens that or not."""
    heir = view("Heir", "SELECT id, c FROM t", name="v", replaces=shop.v, since="drop_a")
    heir2 = view(
        "Heir2", "SELECT c, count(*) AS n FROM v GROUP BY c", heir, name="v2", replaces=shop.v2, since="drop_a"
    )
    shop.others = [heir, heir2]
    before = attributes(views_of(shop.uri)["public.v"])

    def body(db: Any) -> None:
        db.executesql("ALTER TABLE t DROP COLUMN a")
        if opens:
            with heir(db):
                pass

    finished = shop.run(named("drop_a", body), opens={"drop_a": [heir]})
    assert finished.succeeded, [(each.error, each.hint) for each in finished.results]
    after = attributes(views_of(shop.uri)["public.v"])
    assert after[4] == before[4], "its privileges are kept"
    assert ask(shop.uri, "SELECT count(*) FROM v") == [(10,)]
    assert ask(shop.uri, "SELECT * FROM v2") == [("c", 10)]
    shop.is_whole()
    assert set(shop.stand.history().view_texts) == {"M", "Heir", "Heir2"}


# -- everything that a DROP loses -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("managed", [True, False])
def test_everything_that_belongs_to_a_view_is_kept(postgres_admin_uri: str, roles: object, managed: bool) -> None:
    """Owners, privileges, options, comments, defaults, triggers, rules, indexes, statistics, … of four views on one table."""
    stand = Stand(postgres_admin_uri)
    managers = {
        "Base": view("Base", "SELECT id, customer, total, note FROM orders"),
    }
    managers["Lefty"] = view("Lefty", "SELECT id, customer FROM base", managers["Base"])
    managers["Righty"] = view("Righty", "SELECT id, total FROM base", managers["Base"])
    managers["Top"] = view(
        "Top", "SELECT l.id, l.customer, r.total FROM lefty l JOIN righty r USING (id)",
        managers["Lefty"], managers["Righty"], materialized=True,
    )  # fmt: skip
    created = (
        f"CREATE {'MATERIALIZED ' if name == 'Top' else ''}VIEW {name.lower()} AS {kind.query}"
        for name, kind in managers.items()
    )
    body = sql(
        "makes", SHOP.replace("%%", "%"), "GRANT CREATE ON SCHEMA public TO keeper", *created, DRESS.replace("%%", "%")
    )
    declared = {"": list(managers.values())} if managed else {}
    assert stand.run(body, views=declared).succeeded
    before = views_of(postgres_admin_uri)
    assert len(before) == 4
    widens = sql("widens", "ALTER TABLE orders ALTER COLUMN customer TYPE varchar(40), ALTER COLUMN id TYPE bigint")
    finished = stand.run(body, widens, views=declared, weaving=KEEP)
    assert finished.succeeded, finished.results
    after = views_of(postgres_admin_uri)
    assert {name: attributes(each) for name, each in after.items()} == {
        name: attributes(each) for name, each in before.items()
    }
    names = set(managers) if managed else {each.identity for each in before.values()}
    assert {each.view for each in stand.told(ViewDropped)} == names
    assert ask(postgres_admin_uri, "SELECT count(*) FROM top") == [(50,)]
    assert not stand.history().views_down


def test_views_without_a_row_are_known_by_their_text(shop: Shop) -> None:
    """Of a database that edwh-migrate has made, no row tells whose a view is."""
    ask_and_commit(shop.uri, "DELETE FROM ewh_implemented_features_views")
    shop.works(sql("widen_c", WIDEN_C), down="M V2 V", warned=2)


# -- other kinds of runs --------------------------------------------------------------------------------------------------------


def test_a_single_transaction(shop: Shop) -> None:
    def body(db: Any) -> None:
        db.executesql(WIDEN_A)
        db.commit()
        db.executesql(WIDEN_C)
        db.rollback()
        db.executesql("ALTER TABLE t ADD COLUMN other int")

    shop.works(named("single", body), down="V2 V M", up="V V2", warned=2, modes={"single": "single"})


def test_a_run_that_is_one_transaction(shop: Shop) -> None:
    """What later migrations open stays down between them, and so does what stepped aside together with it."""

    def opens(db: Any) -> None:
        with shop.v(db):
            db.executesql("ALTER TABLE t ADD COLUMN one int")

    def again(db: Any) -> None:
        with shop.v(db):
            db.executesql("ALTER TABLE t ADD COLUMN two int")

    shop.works(
        sql("widen_c", WIDEN_C), named("opens", opens), sql("widen_more", "ALTER TABLE t ALTER COLUMN c TYPE varchar(30)"),
        named("again", again), sql("widen_a", WIDEN_A),
        down="M V2 V V2 V", up="M V V2 V V2", warned=2,
        atomic=True, opens={"opens": [shop.v], "again": [shop.v]},
    )  # fmt: skip


def test_an_own_error_undoes_a_run_that_is_one_transaction(shop: Shop) -> None:
    result = shop.fails(sql("widen_a", WIDEN_A), sql("drop_c", "ALTER TABLE t DROP COLUMN c"), atomic=True)
    assert "which drop_c drops" in result.error


# -- what it costs ------------------------------------------------------------------------------------------------------------


class Heard:
    """Counts what is sent through the driver."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.texts: list[str] = []
        heard = self.texts

        class Cursor(psycopg2.extensions.cursor):
            def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002
                heard.append(query if isinstance(query, str) else query.decode())
                super().execute(query, vars)

        def unmarked(self: Any) -> Any:
            return psycopg2.extensions.connection.cursor(self, cursor_factory=Cursor)

        monkeypatch.setattr(WorkConnection, "_unmarked", unmarked)


@pytest.mark.parametrize(
    "first", ["INSERT INTO t (a) VALUES (1)", "UPDATE t SET a = 1", "CREATE TABLE IF NOT EXISTS u (i int)"]
)
def test_statements_that_nothing_blocks_cost_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    heard = Heard(monkeypatch)

    def body(db: Any) -> None:
        heard.texts.clear()
        for _ in range(1_000):
            db.executesql(first)
        assert not heard.texts
        db.executesql("ALTER TABLE t ADD COLUMN other int")
        assert heard.texts == ["SAVEPOINT migrate_graph_weave", "RELEASE SAVEPOINT migrate_graph_weave"]

    assert shop.run(named("many", body)).succeeded


@pytest.mark.parametrize("statement", [WIDEN_A, "ALTER TABLE t DROP COLUMN s"])
def test_many_views_over_one_table(postgres_uri: str, statement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many messages for each view, however many there are; and none for those that are not concerned."""
    for schema in ("few", "many"):
        ask_and_commit(postgres_uri, f"CREATE SCHEMA {schema}")
    few, many = (
        messages_for(number, Stand(postgres_uri, schema=schema), statement, monkeypatch)
        for number, schema in ((20, "few"), (120, "many"))
    )
    assert many - few <= 100 * 3, (few, many)


def messages_for(number: int, stand: Stand, statement: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many messages a migration takes for which so many views step aside."""
    goes = "DROP" in statement
    managers = [
        view(f"V{at}", f"SELECT a, {at} AS n{', s' if goes else ''} FROM t", until="alters" if goes else None)
        for at in range(number)
    ]
    asked: list[int] = []
    send = WorkConnection.send

    def makes(db: Any) -> None:
        db.executesql("CREATE TABLE t (a int, s text)")
        for at in range(50):
            db.executesql(f"CREATE VIEW other{at} AS SELECT {at} AS a")
        for each in managers:
            each(db).up()

    def record() -> None:
        stand.backend.record_existing_views({each.__name__: each for each in managers}, {})

    def counting(self: Any, *arguments: Any) -> None:
        asked.append(1)
        send(self, *arguments)

    body = named("makes", makes)
    assert stand.run(body, views={"": managers}).succeeded
    with monkeypatch.context() as patched:
        patched.setattr(WorkConnection, "send", counting)
        finished = stand.run(body, sql("alters", statement), views={"": managers}, before=record)
    assert finished.succeeded, finished.results
    assert len(stand.told(ViewDropped)) == number
    assert len(stand.told(ViewCreated)) == (0 if goes else number)
    return len(asked)


def test_what_must_hold_afterwards_finds_the_views(shop: Shop) -> None:
    """`after=` is asked when everything is up again."""
    seen: list[Any] = []

    def asks(db: Any) -> bool:
        seen.append(db.executesql("SELECT count(*) FROM v2"))
        return True

    shop.works(sql("widen_a", WIDEN_A), down="V2 V", warned=2, after={"widen_a": asks})
    assert seen == [[(10,)]]


def test_a_text_that_sets_savepoints_gets_its_error(shop: Shop) -> None:
    for text in ("SAVEPOINT mine; " + WIDEN_A, WIDEN_A + "; RELEASE SAVEPOINT mine"):
        result = shop.fails(
            named("in_parts", lambda db, text=text: [db.executesql("SAVEPOINT mine"), db.executesql(text)])
        )
        assert "used by a view" in result.error


def test_what_is_rolled_back_in_a_block_stays_the_blocks(shop: Shop) -> None:
    def body(db: Any) -> None:
        with shop.v(db):
            db.rollback()
            with pytest.raises(psycopg2.errors.FeatureNotSupported):
                db.executesql(WIDEN_A)
            db.rollback()

    result = shop.fails(named("rolls_back", body), opens={"rolls_back": [shop.v]})
    assert "rolled back inside `with V2(db)`" in result.error


def test_two_views_of_one_manager_go_together(shop: Shop) -> None:
    class Two(ViewMigrationManager):
        uses = ()

        def up(self) -> None:
            self.db.executesql("CREATE VIEW one AS SELECT s FROM t")
            self.db.executesql("CREATE VIEW two AS SELECT 1 AS n")

        def down(self) -> None:
            self.db.executesql("DROP VIEW IF EXISTS two")
            self.db.executesql("DROP VIEW IF EXISTS one")

    def makes(db: Any) -> None:
        with Two(db):
            pass
        db.executesql("CREATE VIEW three AS SELECT n FROM two")

    shop.others = [Two]
    shop.made.append(named("makes", makes))
    assert shop.run(opens={"makes": [Two]}).succeeded
    shorter = sql("shorter", "ALTER TABLE t ALTER COLUMN s TYPE varchar(9)")
    assert "migrate views adopt public.three" in shop.fails(shorter, opens={"makes": [Two]}).hint
    shop.works(shorter, down="public.three Two", warned=1, weaving=KEEP, opens={"makes": [Two]})


def test_half_way_a_view_stays_down(shop: Shop) -> None:
    """A statement names a view while the column that it reads is gone for a moment."""
    shop.works(
        sql(
            "pydal_style",
            'ALTER TABLE t ADD "c__tmp" text',
            'UPDATE t SET "c__tmp" = c',
            "ALTER TABLE t DROP COLUMN c",
            "UPDATE t SET s = 'v and m'",
            "ALTER TABLE t ADD c varchar(10)",
            'UPDATE t SET c = "c__tmp"',
            'ALTER TABLE t DROP COLUMN "c__tmp"',
        ),
        down="M V2 V",
    )


def test_a_view_that_is_dropped_meanwhile_is_in_nobodys_way() -> None:
    """The server describes what is not there any more as nothing at all."""
    assert views_blocking("view v depends on table t", lambda _: [(1, None), (2, "view v")]) == {2: "view v"}
    assert views_blocking("", lambda _: [(2, "view v")]) == {}


@pytest.mark.parametrize(
    ("detail", "found"),
    [
        ("view v depends on column a of table t", {1}),
        ("view vé depends on column a of table t", {2}),
        ("ビューvはテーブルtの列aに依存しています", {3}),
        ("ビューvéはテーブルtの列aに依存しています\nビューvはテーブルtの列aに依存しています", {3, 4}),
        ("view v2 depends on view v", {1}),
        ("view v.x depends on something", set()),
    ],
)
def test_a_name_ends_where_no_longer_one_goes_on(detail: str, found: set[int]) -> None:
    """Also in languages that put no space behind a name."""
    described = [(1, "view v"), (2, "view vé"), (3, "ビューv"), (4, "ビューvé")]
    assert set(views_blocking(detail, lambda _: described)) == found


def test_a_column_called_like_a_word_of_the_message(shop: Shop) -> None:
    """The server names one view, and the column: a view that reads another column is left alone."""
    ask_and_commit(
        shop.uri,
        "CREATE TABLE u (a int, depends int)",
        "CREATE VIEW x AS SELECT a, depends FROM u",
        "CREATE VIEW y AS SELECT depends FROM u",
        "CREATE VIEW z AS SELECT a FROM u",
    )
    shop.works(
        sql("widens", "ALTER TABLE u ALTER COLUMN a TYPE bigint"), down="public.x public.z", warned=2, weaving=KEEP
    )


@pytest.mark.parametrize("statement", [WIDEN_A, "ALTER TABLE t DROP COLUMN a, ADD COLUMN a bigint"])
def test_no_statement_of_ours_says_cascade(shop: Shop, statement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    send = WorkConnection.send

    def heard(self: Any, kind: Any, call: Any, query: Any = None) -> None:
        sent.append(str(query))
        send(self, kind, call, query)

    monkeypatch.setattr(WorkConnection, "send", heard)
    shop.works(sql("widens", statement), down="V2 V", warned=2)
    assert any("DROP VIEW" in each for each in sent)
    assert not any("CASCADE" in each.upper() for each in sent if "pg_catalog" not in each)
