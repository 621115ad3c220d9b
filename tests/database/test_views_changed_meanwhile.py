"""What others change of a view after it was read, and commit before it goes, comes back with it: it is read again, as it is when it goes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from typing import Any

import psycopg2
import pytest
from bodies import ask
from catalog_probe import difference, probe
from view_stand import SHOP, PostgresStand, kept
from waiting import wait_until

from migrate_graph.core.events import Warned
from migrate_graph.errors import ViewError

pytestmark = pytest.mark.postgres

VIEW = "CREATE VIEW v AS SELECT id, note FROM orders"
HELD = "CREATE MATERIALIZED VIEW v AS SELECT id, note FROM orders"
FUNCTION = "CREATE FUNCTION of_v(v) RETURNS int LANGUAGE sql AS 'SELECT 1'"
POLICY = "CREATE POLICY known ON vault USING (id IN (SELECT id FROM v))"
OPERATOR = (
    "CREATE FUNCTION same(v, v) RETURNS bool LANGUAGE sql AS 'SELECT true'; "
    "CREATE OPERATOR === (leftarg = v, rightarg = v, function = same)"
)
TRIGGER = "CREATE TRIGGER tr BEFORE INSERT ON vault FOR EACH ROW WHEN (of_v(NULL::v) = 1) EXECUTE FUNCTION shout()"
RULE = "CREATE RULE heard AS ON DELETE TO vault DO ALSO SELECT * FROM v"

OF_VIEWS = [
    "GRANT SELECT ON v TO reader",
    "GRANT SELECT ON v TO reader WITH GRANT OPTION",
    "GRANT UPDATE (note) ON v TO clerk",
    "REVOKE INSERT ON v FROM auditor",
    "GRANT INSERT ON v TO PUBLIC",
    "COMMENT ON VIEW v IS 'mine'",
    "COMMENT ON COLUMN v.note IS 'mine'",
    "COMMENT ON TYPE v IS 'mine'",
    "COMMENT ON RULE \"_RETURN\" ON v IS 'mine'",
    "GRANT USAGE ON TYPE v TO reader",
    "REVOKE USAGE ON TYPE v FROM PUBLIC",
    "ALTER VIEW v OWNER TO keeper",
    "ALTER VIEW v SET (security_barrier = true)",
    "ALTER VIEW v SET (check_option = local)",
    "ALTER VIEW v ALTER COLUMN note SET DEFAULT 'none'",
    "CREATE RULE nothing AS ON DELETE TO v DO INSTEAD NOTHING",
    "CREATE TRIGGER t INSTEAD OF INSERT ON v FOR EACH ROW EXECUTE FUNCTION shout()",
]
OF_DRESSED_VIEWS = [
    "COMMENT ON VIEW v IS NULL",
    "COMMENT ON VIEW v IS 'another'",
    "COMMENT ON TRIGGER old ON v IS 'mine'",
    "COMMENT ON RULE old ON v IS 'mine'",
    "DROP TRIGGER old ON v",
    "CREATE OR REPLACE RULE old AS ON DELETE TO v DO INSTEAD SELECT 1",
    "ALTER VIEW v RESET (security_barrier)",
    "ALTER VIEW v ALTER COLUMN note DROP DEFAULT",
]
DRESS = [
    "COMMENT ON VIEW v IS 'old'",
    "ALTER VIEW v SET (security_barrier = true)",
    "ALTER VIEW v ALTER COLUMN note SET DEFAULT 'old'",
    "CREATE RULE old AS ON DELETE TO v DO INSTEAD NOTHING",
    "CREATE TRIGGER old INSTEAD OF INSERT ON v FOR EACH ROW EXECUTE FUNCTION shout()",
]
# To read what is on a view, the server locks it against these: they cannot come in between.
KEPT_OUT = ("ALTER VIEW", "DROP TRIGGER", "CREATE RULE", "CREATE OR REPLACE RULE", "ALTER TABLE vault DISABLE RULE")
OF_MATERIALIZED_VIEWS = [
    "GRANT SELECT ON v TO reader",
    "GRANT SELECT (id) ON v TO clerk",
    "COMMENT ON MATERIALIZED VIEW v IS 'mine'",
    "ALTER MATERIALIZED VIEW v OWNER TO keeper",
    "ALTER MATERIALIZED VIEW v SET (fillfactor = 70)",
    "ALTER MATERIALIZED VIEW v SET (toast.autovacuum_enabled = false)",
    "ALTER MATERIALIZED VIEW v ALTER COLUMN note SET STATISTICS 77",
    "ALTER MATERIALIZED VIEW v CLUSTER ON old",
    "CREATE INDEX more ON v (note)",
    "COMMENT ON INDEX old IS 'mine'",
    "ALTER INDEX old SET (fillfactor = 60)",
    "CREATE STATISTICS more (dependencies) ON id, note FROM v",
    "COMMENT ON STATISTICS olds IS 'mine'",
    "ALTER STATISTICS olds SET STATISTICS 33",
    "ALTER STATISTICS olds OWNER TO keeper",
    "REFRESH MATERIALIZED VIEW v WITH NO DATA",
]
OF_OTHERS = [
    "GRANT EXECUTE ON FUNCTION of_v(v) TO reader",
    "REVOKE EXECUTE ON FUNCTION of_v(v) FROM PUBLIC",
    "COMMENT ON FUNCTION of_v(v) IS 'mine'",
    "ALTER FUNCTION of_v(v) OWNER TO keeper",
    "COMMENT ON POLICY known ON vault IS 'mine'",
    "COMMENT ON RULE heard ON vault IS 'mine'",
    "ALTER TABLE vault DISABLE RULE heard",
    "ALTER OPERATOR === (v, v) OWNER TO keeper",
    "COMMENT ON OPERATOR === (v, v) IS 'mine'",
    "ALTER TABLE vault DISABLE TRIGGER tr",
    "COMMENT ON TRIGGER tr ON vault IS 'mine'",
]


@pytest.fixture
def stand(postgres_admin_uri: str, roles: tuple[str, ...]) -> Iterator[PostgresStand]:
    stand = PostgresStand(postgres_admin_uri)
    stand(SHOP, "GRANT CREATE ON SCHEMA public TO keeper")
    stand.connection.commit()
    yield stand
    stand.connection.close()


class Other:
    """Somebody else, who does something after a view was read and before its manager drops it.

    Attributes:
        waiting: what he will do, each time once.
        seen: everything as it was when he had done the last of it.
        was_kept_out: the view was locked, so that he could not.
    """

    def __init__(self, uri: str) -> None:
        self.connection = psycopg2.connect(uri, options="-c lock_timeout=20")
        self.connection.autocommit = True
        self.waiting: list[str] = []
        self.seen: Any = None
        self.was_kept_out = False

    def comes_before(self, manager: Any) -> Any:
        plain: Callable[[Any], None] = type(manager).down

        def down(this: Any) -> None:
            if self.waiting:
                self.work(self.waiting.pop())
            plain(this)

        type(manager).down = down
        return manager

    def work(self, statement: str) -> None:
        cursor = self.connection.cursor()
        try:
            cursor.execute(statement)
        except psycopg2.errors.LockNotAvailable:
            self.was_kept_out = True
        self.seen = probe(cursor)


@pytest.fixture
def other(postgres_admin_uri: str) -> Iterator[Other]:
    other = Other(postgres_admin_uri)
    yield other
    other.connection.close()


def lost(
    stand: PostgresStand, other: Other, managers: list[Any], made: list[str], statements: Collection[str]
) -> list[str]:
    """Return what is lost of what each statement does, when another session commits it between the look and the drop."""
    other.comes_before(managers[-1])  # the first one to go down
    found: list[str] = []
    for statement in statements:
        stand("DROP VIEW IF EXISTS v CASCADE" if made[0] == VIEW else "DROP MATERIALIZED VIEW IF EXISTS v CASCADE")
        stand(*made)
        kept(stand, managers[::-1], managers)  # now the view ledger knows it
        stand.connection.commit()
        stand.events.clear()
        other.waiting, other.was_kept_out = [statement], False
        kept(stand, managers[::-1], managers)
        assert not other.waiting
        assert not stand("SELECT name FROM pg_cursors")  # no snapshot is held longer than it is needed
        assert not [event for event in stand.events if isinstance(event, Warned)]
        found += [f"{statement}: {line}" for line in difference(other.seen, probe(stand.connection.cursor()))]
        stand.connection.commit()
        is_locked = len(made) > 2 and statement.startswith(KEPT_OUT)
        assert other.was_kept_out == is_locked or stand.connection.server_version < 160000, statement
    return found


BARE = [VIEW, "GRANT INSERT ON v TO auditor"]


def test_what_others_do_to_a_bare_view_comes_back(stand: PostgresStand, other: Other) -> None:
    v = stand.manager("V", up=VIEW)
    assert lost(stand, other, [v], BARE, OF_VIEWS) == []


@pytest.mark.parametrize("down", ["DROP VIEW v", "SELECT 1; DROP VIEW IF EXISTS v CASCADE"])
def test_what_others_do_to_a_dressed_view_comes_back(stand: PostgresStand, other: Other, down: str) -> None:
    v = stand.manager("V", up=VIEW, down=down)
    assert lost(stand, other, [v], [*BARE, *DRESS], [*OF_VIEWS, *OF_DRESSED_VIEWS]) == []


def test_what_others_do_to_a_materialized_view_comes_back(stand: PostgresStand, other: Other) -> None:
    v = stand.manager("V", up=HELD)
    made = [HELD, "CREATE INDEX old ON v (id)", "CREATE STATISTICS olds (dependencies) ON id, note FROM v"]
    assert lost(stand, other, [v], made, OF_MATERIALIZED_VIEWS) == []


def test_what_others_do_to_a_function_a_policy_or_a_rule_over_it_comes_back(stand: PostgresStand, other: Other) -> None:
    managers = [
        stand.manager("V", up=VIEW),
        stand.manager("OfV", up=FUNCTION, down="DROP FUNCTION of_v(v)"),
        stand.manager("Alike", up=OPERATOR, down="DROP OPERATOR === (v, v); DROP FUNCTION same(v, v)"),
        stand.manager("Tr", up=TRIGGER, down="DROP TRIGGER tr ON vault"),
        stand.manager("Known", up=POLICY, down="DROP POLICY known ON vault"),
        stand.manager("Heard", up=RULE, down="DROP RULE heard ON vault"),
    ]
    assert lost(stand, other, managers, [VIEW, FUNCTION, OPERATOR, TRIGGER, POLICY, RULE], OF_OTHERS) == []


def test_a_definition_that_others_have_replaced_is_stored(stand: PostgresStand, other: Other) -> None:
    """What no manager makes any more comes back from its stored definition."""
    stand(*BARE)
    v = other.comes_before(stand.manager("V", up=VIEW))
    kept(stand, [v], [v])
    stand.connection.commit()
    other.waiting = ["CREATE OR REPLACE VIEW v AS SELECT id, upper(note) AS note FROM orders"]
    stand.keeper.take_down([v], [], migration="m")
    stand.connection.commit()
    stand.reconnect()
    assert stand.keeper.repair([], declared=set()) == ()
    assert stand("SELECT note FROM v WHERE id = 1") == [("n1" if other.was_kept_out else "N1",)]
    assert not other.was_kept_out or stand.connection.server_version < 160000
    stand.connection.commit()


LABEL = "INSERT INTO pg_seclabel VALUES ('v'::regclass, 1259, 0, 'nobody', 'mine')"
MODS = "SET allow_system_table_mods = on"


def test_a_security_label_that_others_have_taken_does_not_come_back(stand: PostgresStand, other: Other) -> None:
    stand(*BARE, MODS, LABEL, "RESET allow_system_table_mods")
    stand.connection.commit()
    other.connection.cursor().execute(MODS)
    v = other.comes_before(stand.manager("V", up=VIEW))
    other.waiting = ["DELETE FROM pg_seclabel"]
    kept(stand, [v], [v])  # nobody provides labels here, so that none could be restored
    stand.connection.commit()


@pytest.mark.parametrize("dress", [[], DRESS])
def test_a_security_label_that_others_have_given_is_not_lost(
    stand: PostgresStand, other: Other, dress: list[str]
) -> None:
    """Nobody provides labels here: so it is refused to lose one that is written by hand."""
    stand(*BARE, *dress)
    stand.connection.commit()
    other.connection.cursor().execute(MODS)
    v = other.comes_before(stand.manager("V", up=VIEW))
    other.waiting = [LABEL]
    with pytest.raises(ViewError, match="cannot restore the security label nobody"):
        kept(stand, [v], [v])
    assert stand.calls.count("down V") == 2
    stand.connection.rollback()
    other.connection.cursor().execute("DELETE FROM pg_seclabel")


def test_who_changes_it_each_time_is_named(stand: PostgresStand, other: Other) -> None:
    stand(*BARE)
    stand.connection.commit()
    before = probe(stand.connection.cursor())
    v = other.comes_before(stand.manager("V", up=VIEW))
    other.waiting = [f"COMMENT ON COLUMN v.{column} IS '{text}'" for text in range(9) for column in ("id", "note")]
    with pytest.raises(
        ViewError, match="somebody else changes what V takes down, or its privileges or comments"
    ) as refused:
        kept(stand, [v], [v])
    assert refused.value.hint == "run it again when they are done"
    other.waiting.clear()
    assert len(stand.calls) == 4
    added = difference(before, probe(stand.connection.cursor()))
    assert len(added) == 2  # nothing went, and all that others have said is there
    kept(stand, [v], [v])
    assert difference(before, probe(stand.connection.cursor())) == added
    stand.connection.commit()


def test_what_is_granted_while_the_drop_waits_comes_back(stand: PostgresStand, other: Other) -> None:
    """A GRANT that has written its row and commits later: the server refuses to drop a row that was replaced, and it is read again."""
    stand(*BARE)
    stand.connection.commit()
    v = stand.manager("V", up=VIEW)
    other.connection.autocommit = False
    other.connection.cursor().execute("GRANT SELECT ON v TO reader")
    # Until 17 it waits for a transaction, then for a lock of the view.
    waits = (
        "SELECT count(*) >= 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE datname = current_database() "
        "AND NOT granted AND locktype IN ('transactionid', 'relation')"
    )

    def commit() -> None:
        try:
            wait_until(lambda: ask(stand.uri, waits) == [(True,)])
        finally:
            other.connection.commit()

    committing = threading.Thread(target=commit, daemon=True)
    committing.start()
    kept(stand, [v], [v])
    committing.join(60)
    assert not committing.is_alive()
    assert stand.calls.count("down V") == 2
    assert stand("SELECT has_table_privilege('reader', 'v', 'SELECT')") == [(True,)]
    stand.connection.commit()


def test_what_up_drops_itself_comes_back_as_others_have_changed_it(stand: PostgresStand, other: Other) -> None:
    stand(*BARE)
    stand.connection.commit()
    v = stand.manager("V", up=f"SELECT 1; DROP VIEW IF EXISTS v; {VIEW}", down="SELECT 1")
    plain = type(v).up

    def up(this: Any) -> None:
        if stand.calls.count("up V") == 1 and other.waiting:  # the second time: it has been read now
            other.work(other.waiting.pop())
        plain(this)

    type(v).up = up
    for statement in ("GRANT SELECT ON v TO reader", "COMMENT ON VIEW v IS 'mine'"):
        stand.calls.clear()
        other.waiting = [statement]
        kept(stand, [v], [v])
        assert not other.waiting
        assert difference(other.seen, probe(stand.connection.cursor())) == []
        stand.connection.commit()


def test_what_down_itself_adds_and_drops_is_nobody_elses(stand: PostgresStand) -> None:
    stand(*BARE, "COMMENT ON TABLE orders IS 'all'")
    stand.connection.commit()
    odd = (
        "SELECT 1; COMMENT ON TABLE orders IS NULL; COMMENT ON TABLE vault IS 'mine'; COMMENT ON TABLE vault IS NULL; "
        "DROP VIEW v"
    )
    v = stand.manager("V", up=f"COMMENT ON TABLE orders IS 'all'; {VIEW}", down=odd)
    before = probe(stand.connection.cursor())
    kept(stand, [v], [v])
    assert difference(before, probe(stand.connection.cursor())) == []


def test_a_down_that_closes_every_cursor_is_refused_in_words(stand: PostgresStand) -> None:
    stand(*BARE)
    stand.connection.commit()
    v = stand.manager("V", up=VIEW, down="CLOSE ALL; DROP VIEW v")
    with pytest.raises(ViewError, match="closes cursors that are not its own") as refused:
        kept(stand, [v], [v])
    assert "CLOSE ALL" in (refused.value.hint or "")
    assert stand("SELECT count(*) FROM v") == [(50,)]
