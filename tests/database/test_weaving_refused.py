"""What cannot step aside is refused or left alone: views of nobody, what is no view, and what a manager sends."""

from __future__ import annotations

from typing import Any

import psycopg2
import pytest
from bodies import forget_managers, named, sql, view
from weaving_stand import KEEP, WIDEN_A, Shop, ask_and_commit, shop

from migrate_graph import ViewMigrationManager

__all__ = ["forget_managers", "shop"]

pytestmark = pytest.mark.postgres


# -- what cannot step aside --------------------------------------------------------------------------------------------------


def test_what_nobody_owns_and_reads_a_view_of_ours(shop: Shop) -> None:
    ask_and_commit(shop.uri, "CREATE VIEW x AS SELECT a FROM v", "GRANT SELECT ON x TO PUBLIC")
    result = shop.fails(sql("widen_a", WIDEN_A))
    assert "cannot alter type of a column used by a view" in result.error
    assert "migrate views adopt public.x" in result.hint
    shop.works(sql("widen_a", WIDEN_A), down="V2 public.x V", warned=3, weaving=KEEP)


def test_a_reader_that_is_not_declared_as_one(shop: Shop) -> None:
    """`uses` was forgotten: the catalog knows."""
    odd = view("Odd", "SELECT a FROM v2")
    shop.others = [odd]

    def makes(db: Any) -> None:
        with odd(db):
            pass

    shop.made.append(named("makes", makes))
    assert shop.run(opens={"makes": [odd]}).succeeded
    shop.works(sql("widen_a", WIDEN_A), down="Odd V2 V", warned=3, opens={"makes": [odd]})


@pytest.mark.parametrize(
    ("makes", "word"),
    [
        ("CREATE FUNCTION of_v(v) RETURNS int LANGUAGE sql AS 'SELECT 1'", "of_v"),
        ("CREATE TABLE x (i int); CREATE RULE r AS ON INSERT TO x DO ALSO SELECT a FROM v", "rule r"),
        ("CREATE TABLE x (i int); ALTER TABLE x ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON x USING (i IN (SELECT a FROM v))", "policy p"),
        ("CREATE TABLE x (i v)", "x"),
    ],
)  # fmt: skip
def test_what_depends_on_a_view_and_is_none(shop: Shop, makes: str, word: str) -> None:
    ask_and_commit(shop.uri, makes)
    result = shop.fails(sql("widen_a", WIDEN_A), weaving=KEEP)
    assert "cannot alter type of a column used by a view" in result.error
    assert word in result.hint


@pytest.mark.parametrize(
    ("makes", "says"),
    [
        ("CREATE TRIGGER z BEFORE UPDATE OF s ON t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()", "used in a trigger"),
        ("ALTER TABLE t ADD COLUMN g text GENERATED ALWAYS AS (s || 'x') STORED", "used by a generated column"),
        ("ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (s = 'x')", "used in a policy"),
        ("CREATE RULE r AS ON UPDATE TO t WHERE new.s = 'x' DO ALSO NOTHING", "used by a view or rule"),
    ],
)  # fmt: skip
def test_what_is_in_the_way_and_is_no_view(shop: Shop, makes: str, says: str) -> None:
    """The error is the server's own."""
    ask_and_commit(shop.uri, makes)
    result = shop.fails(sql("shorten", "ALTER TABLE t ALTER COLUMN s TYPE varchar(5)"), weaving=KEEP)
    assert says in result.error
    assert not result.hint
    assert "bodies.py" in str(result.source)


def test_a_temporary_view_of_the_body(shop: Shop) -> None:
    result = shop.fails(sql("widen_a", "CREATE TEMP VIEW x AS SELECT a FROM t", WIDEN_A), weaving=KEEP)
    assert "used by a view" in result.error
    assert "is a temporary view: drop it first" in result.hint


def test_a_view_of_an_extension(shop: Shop, postgres_admin_uri: str) -> None:
    ask_and_commit(
        postgres_admin_uri,
        "CREATE VIEW x AS SELECT a FROM t",
        "ALTER EXTENSION plpgsql ADD VIEW x",
    )
    result = shop.fails(sql("widen_a", WIDEN_A), weaving=KEEP)
    assert "belongs to the extension plpgsql" in result.hint


def test_views_that_read_one_another_through_their_managers(shop: Shop) -> None:
    """Two views of one manager, with one of another in between."""

    class Ends(ViewMigrationManager):
        uses = ()

        def up(self) -> None:
            self.db.executesql("CREATE VIEW low AS SELECT a FROM t")
            self.db.executesql("CREATE OR REPLACE VIEW high AS SELECT 1 AS a")

        def down(self) -> None:
            self.db.executesql("DROP VIEW IF EXISTS high; DROP VIEW IF EXISTS low")

    middle = view("Middle", "SELECT a FROM low")
    shop.others = [Ends, middle]

    def makes(db: Any) -> None:
        with Ends(db):
            pass
        with middle(db):
            pass
        db.executesql("CREATE OR REPLACE VIEW high AS SELECT a FROM middle")

    shop.made.append(named("makes", makes))
    assert shop.run(opens={"makes": [Ends, middle]}).succeeded
    result = shop.fails(sql("widen_a", WIDEN_A), opens={"makes": [Ends, middle]})
    assert "read one another: one manager must make them together" in result.hint


@pytest.mark.parametrize("mode", ["none", "autocommit"])
def test_outside_of_a_transaction_nothing_steps_aside(shop: Shop, mode: str) -> None:
    def body(db: Any) -> None:
        if mode == "autocommit":
            db._adapter.connection.commit()
            db._adapter.connection.autocommit = True
        db.executesql("ALTER TABLE t DROP COLUMN a")

    result = shop.fails(named("drops", body), modes={"drops": "none"} if mode == "none" else {})
    assert "other objects depend on it" in result.error
    assert "open their manager around it" in result.hint


def test_another_thread_gets_the_error(shop: Shop) -> None:
    """A cursor that a thread of the body uses."""
    import threading

    def body(db: Any) -> None:
        cursor = db._adapter.connection.cursor()
        caught: list[BaseException] = []

        def alters() -> None:
            try:
                cursor.execute(WIDEN_A)
            except psycopg2.Error as error:
                caught.append(error)

        thread = threading.Thread(target=alters)
        thread.start()
        thread.join()
        raise caught[0]

    assert "used by a view" in shop.fails(named("threaded", body)).error


def test_statements_of_a_manager_are_never_woven(shop: Shop) -> None:
    """What its `down()` changes is its own affair: the refusal of a block stays what it was."""

    class Odd(ViewMigrationManager):
        uses = ()

        def up(self) -> None:
            self.db.executesql("CREATE VIEW odd AS SELECT id FROM t")

        def down(self) -> None:
            self.db.executesql("DROP VIEW IF EXISTS odd")
            self.db.executesql("ALTER TABLE t DROP COLUMN IF EXISTS b")

    shop.others = [Odd]

    def body(db: Any) -> None:
        with Odd(db):
            pass

    result = shop.fails(named("opens", body), opens={"opens": [Odd]}, weaving=KEEP)
    assert "no manager of this block owns what depends on it" in result.error
