"""What an event trigger of somebody else adds to a new thing is told from what `up()` says, for every kind of thing that can be said."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2
import pytest
from catalog_probe import difference, probe
from servers import PostgresServer
from view_stand import SHOP, PostgresStand, kept

from migrate_graph.database.postgres.views.restoration import Restoration
from migrate_graph.database.postgres.views.snapshot import Made
from migrate_graph.database.relation import Item, Relation
from migrate_graph.database.views.catalog import Restorable
from migrate_graph.database.views.manager_text import ManagerText

pytestmark = pytest.mark.postgres

VIEW = "CREATE VIEW v AS SELECT id, note FROM orders"
HELD = "CREATE MATERIALIZED VIEW v AS SELECT id, note FROM orders"
INDEXED = f"{HELD}; CREATE UNIQUE INDEX i ON v (id)"
COUNTED = f"{HELD}; CREATE STATISTICS st (dependencies) ON id, note FROM v"
RULED = f"{VIEW}; CREATE RULE r AS ON DELETE TO v DO INSTEAD NOTHING"
RUNG = f"{VIEW}; CREATE TRIGGER t INSTEAD OF DELETE ON v FOR EACH ROW EXECUTE FUNCTION shout()"
CALLED = f"{VIEW}; CREATE FUNCTION f(v) RETURNS int LANGUAGE sql AS 'SELECT 1'"
BOTH = "DROP FUNCTION f(v); DROP VIEW v"


class Added(NamedTuple):
    """One kind.

    Attributes:
        up: what the manager creates.
        theirs: what the event trigger says then.
        ours: what somebody may have said before, or `up()` may say.
        since: the first version of the server that knows it.
        down: of the manager; empty for that of one view.
    """

    up: str
    theirs: str
    ours: str
    since: int = 12
    down: str = ""


ADDED = {
    "a privilege": Added(VIEW, "GRANT SELECT ON v TO auditor WITH GRANT OPTION", "GRANT SELECT ON v TO auditor"),
    "more than what up() gives": Added(VIEW, "GRANT ALL ON v TO auditor WITH GRANT OPTION", "GRANT SELECT ON v TO auditor"),
    "an option that up() gives": Added(VIEW, "GRANT SELECT ON v TO auditor", "GRANT SELECT ON v TO auditor WITH GRANT OPTION"),
    "a privilege of a column": Added(VIEW, "GRANT UPDATE (note) ON v TO PUBLIC", "GRANT UPDATE (note), SELECT (id) ON v TO PUBLIC"),
    "a privilege taken away": Added(VIEW, "REVOKE ALL ON v FROM postgres", "REVOKE DELETE ON v FROM postgres"),
    "a privilege of its type": Added(VIEW, "GRANT USAGE ON TYPE v TO auditor WITH GRANT OPTION", "GRANT USAGE ON TYPE v TO clerk"),
    "its type closed": Added(VIEW, "REVOKE USAGE ON TYPE v FROM PUBLIC", "GRANT USAGE ON TYPE v TO clerk"),
    "a comment": Added(VIEW, "COMMENT ON VIEW v IS 'theirs'", "COMMENT ON VIEW v IS 'ours'"),
    "a comment of the array of its rows": Added(VIEW, "COMMENT ON TYPE v[] IS 'theirs'", "COMMENT ON TYPE v[] IS 'ours'"),
    "a comment of a rule": Added(RULED, "COMMENT ON RULE r ON v IS 'theirs'", "COMMENT ON RULE r ON v IS 'ours'"),
    "a comment of a trigger": Added(RUNG, "COMMENT ON TRIGGER t ON v IS 'theirs'", "COMMENT ON TRIGGER t ON v IS 'ours'"),
    "a comment of an index": Added(INDEXED, "COMMENT ON INDEX i IS 'theirs'", "COMMENT ON INDEX i IS 'ours'"),
    "a comment of statistics": Added(COUNTED, "COMMENT ON STATISTICS st IS 'theirs'", "COMMENT ON STATISTICS st IS 'ours'"),
    "a comment of a function": Added(CALLED, "COMMENT ON FUNCTION f(v) IS 'theirs'", "COMMENT ON FUNCTION f(v) IS 'ours'", down=BOTH),
    "a setting of a function": Added(
        CALLED, "ALTER FUNCTION f(v) SET search_path = pg_temp", "ALTER FUNCTION f(v) SET search_path = 'Odd', public", down=BOTH),
    "a function closed": Added(
        CALLED, "REVOKE EXECUTE ON FUNCTION f(v) FROM PUBLIC", "GRANT EXECUTE ON FUNCTION f(v) TO clerk", down=BOTH),
    "a rule of a table switched off": Added(
        f"{VIEW}; CREATE RULE r AS ON INSERT TO vault DO ALSO SELECT count(*) FROM v", "ALTER TABLE vault DISABLE RULE r",
        "ALTER TABLE vault ENABLE ALWAYS RULE r", down="DROP RULE r ON vault; DROP VIEW v"),
    "an option": Added(VIEW, "ALTER VIEW v SET (security_barrier = true)", "ALTER VIEW v SET (security_barrier = false)"),
    "a default": Added(VIEW, "ALTER VIEW v ALTER id SET DEFAULT 1", "ALTER VIEW v ALTER id SET DEFAULT 2"),
    "storage": Added(
        HELD, "ALTER MATERIALIZED VIEW v ALTER note SET STORAGE PLAIN", "ALTER MATERIALIZED VIEW v ALTER note SET STORAGE EXTERNAL"),
    "compression": Added(
        HELD, "ALTER MATERIALIZED VIEW v ALTER note SET COMPRESSION pglz", "ALTER MATERIALIZED VIEW v ALTER note SET COMPRESSION pglz", 14),
    "statistics of a column": Added(
        HELD, "ALTER MATERIALIZED VIEW v ALTER id SET STATISTICS 1", "ALTER MATERIALIZED VIEW v ALTER id SET STATISTICS 2"),
    "statistics of an index": Added(
        f"{HELD}; CREATE INDEX i ON v ((id + 1))", "ALTER INDEX i ALTER 1 SET STATISTICS 1", "ALTER INDEX i ALTER 1 SET STATISTICS 2"),
    "a target of statistics": Added(COUNTED, "ALTER STATISTICS st SET STATISTICS 1", "ALTER STATISTICS st SET STATISTICS 2", 13),
    "an owner of statistics": Added(COUNTED, "ALTER STATISTICS st OWNER TO auditor", "ALTER STATISTICS st OWNER TO keeper"),
    "an owner": Added(VIEW, "ALTER VIEW v OWNER TO auditor", "ALTER VIEW v OWNER TO keeper"),
    "a cluster mark": Added(
        f"{INDEXED}; CREATE INDEX j ON v (note)", "ALTER MATERIALIZED VIEW v CLUSTER ON i", "ALTER MATERIALIZED VIEW v CLUSTER ON j"),
    "replica identity": Added(
        HELD, "ALTER MATERIALIZED VIEW v REPLICA IDENTITY FULL", "ALTER MATERIALIZED VIEW v REPLICA IDENTITY NOTHING"),
    "an extension": Added(
        HELD, "ALTER MATERIALIZED VIEW v DEPENDS ON EXTENSION plpgsql", "ALTER MATERIALIZED VIEW v DEPENDS ON EXTENSION plpgsql", 13),
    "an extension of an index": Added(
        INDEXED, "ALTER INDEX i DEPENDS ON EXTENSION plpgsql", "ALTER INDEX i DEPENDS ON EXTENSION plpgsql", 13),
    "an extension of a trigger": Added(
        RUNG, "ALTER TRIGGER t ON v DEPENDS ON EXTENSION plpgsql", "ALTER TRIGGER t ON v DEPENDS ON EXTENSION plpgsql", 13),
    "a tablespace": Added(HELD, "ALTER MATERIALIZED VIEW v SET TABLESPACE theirs", "ALTER MATERIALIZED VIEW v SET TABLESPACE ours"),
    "a tablespace of an index": Added(INDEXED, "ALTER INDEX i SET TABLESPACE theirs", "ALTER INDEX i SET TABLESPACE ours"),
    "an access method": Added(
        HELD, "ALTER MATERIALIZED VIEW v SET ACCESS METHOD theirs", "ALTER MATERIALIZED VIEW v SET ACCESS METHOD ours", 15),
}  # fmt: skip
TELLS = """
CREATE FUNCTION add_to_new() RETURNS event_trigger LANGUAGE plpgsql AS $it$
DECLARE made text := to_regclass('v')::oid || coalesce(to_regclass('i')::oid::text, '') || coalesce(to_regprocedure('f(v)')::oid::text, '')
    || (SELECT count(*) FROM pg_rewrite WHERE rulename = 'r') || (SELECT count(*) FROM pg_trigger WHERE tgname = 't')
    || (SELECT count(*) FROM pg_statistic_ext) || coalesce(to_regclass('j')::oid::text, '');
BEGIN
    EXECUTE $$ {theirs} $$;
EXCEPTION WHEN undefined_table OR undefined_object OR undefined_function THEN NULL;
END $it$;
CREATE EVENT TRIGGER add_to_new ON ddl_command_end WHEN TAG IN ('CREATE VIEW', 'CREATE MATERIALIZED VIEW', 'CREATE INDEX',
    'CREATE STATISTICS', 'CREATE RULE', 'CREATE TRIGGER', 'CREATE FUNCTION') EXECUTE FUNCTION add_to_new();
"""


@pytest.fixture(scope="module")
def tablespaces(postgres_server: PostgresServer) -> Iterator[None]:
    for name in ("theirs", "ours"):
        folder = Path(tempfile.mkdtemp(dir=postgres_server.directory))
        shutil.chown(folder, postgres_server.data.stat().st_uid)
        postgres_server.execute(f"CREATE TABLESPACE {name} LOCATION '{folder}'")
    yield
    postgres_server.execute("DROP TABLESPACE theirs", "DROP TABLESPACE ours")


@pytest.fixture
def stand(postgres_server: PostgresServer, roles: tuple[str, ...], tablespaces: None) -> Iterator[PostgresStand]:
    with postgres_server.database() as name:  # dropped before its tablespaces are
        stand = PostgresStand(postgres_server.admin_uri(name))
        yield stand
        stand.connection.close()


@pytest.mark.parametrize("kind", ADDED)
def test_the_state_before_wins_unless_up_says_otherwise(stand: PostgresStand, kind: str) -> None:
    goes_through(stand, ADDED[kind])


def goes_through(stand: PostgresStand, added: Added) -> None:
    def seen() -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = probe(stand.connection.cursor())
        return found

    def begin() -> None:
        stand(SHOP, "GRANT CREATE ON SCHEMA public TO keeper, auditor", added.up)
        for name in ("theirs", "ours"):
            stand(f"CREATE ACCESS METHOD {name} TYPE TABLE HANDLER heap_tableam_handler")

    begin()
    plain = seen()
    stand(added.theirs)
    assert difference(plain, seen()), "what the event trigger says must be seen"
    stand("ROLLBACK")
    begin()
    stand(TELLS.replace("{theirs}", added.theirs))
    stand.connection.commit()
    down = added.down or f"DROP {'MATERIALIZED ' if 'MATERIALIZED' in added.up else ''}VIEW v"
    manager: Any = stand.manager("V", up=added.up, down=down)
    before = seen()
    for _ in range(2):
        kept(stand, [manager], [manager])
        assert difference(before, seen()) == []
    stand(added.ours)
    stand.connection.commit()
    before = seen()
    for _ in range(2):
        kept(stand, [manager], [manager])
        assert difference(before, seen()) == []
    says: Any = stand.manager("V", up=f"{added.up}; {added.ours}", down=down)
    kept(stand, [says], [says])
    assert difference(before, seen()) == []
    stand("DROP EVENT TRIGGER add_to_new")
    stand.connection.commit()


@pytest.mark.parametrize(
    ("item", "statement"),
    [
        (Item("security label", "p"," 'x'"), 'SECURITY LABEL FOR "p" ON VIEW public.v IS NULL'),
        (Item("column security label", "No te p", "'x'"), 'SECURITY LABEL FOR "p" ON COLUMN public.v."No te" IS NULL'),
    ],
)  # fmt: skip
def test_a_security_label_is_taken_back(postgres_admin_uri: str, item: Item, statement: str) -> None:
    """No provider of labels is at hand, so the statement is looked at, and the server asked whether it is one."""
    sent: list[str] = []
    made = Relation("public.v", "v", "VIEW", owner="postgres", columns=("No te",), items=(item,))
    stored = Relation("public.v", "v", "VIEW", owner="postgres", columns=("No te",))
    thing = Restorable("key", made, stored, ManagerText(heard=True))
    Restoration(sent.append, lambda query: [], thing, Made("postgres", frozenset(), "none"), place="public").run()
    assert sent == [statement]
    connection = psycopg2.connect(postgres_admin_uri)
    with (
        connection.cursor() as cursor,
        pytest.raises(psycopg2.Error, match='security label provider "p" is not loaded'),
    ):
        cursor.execute('CREATE VIEW v AS SELECT 1 AS "No te"; ' + statement)
    connection.close()
