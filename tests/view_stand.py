"""A connection with a view ledger and view managers made on the spot, to drive a `ViewKeeper` without an executor."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg2

from migrate_graph.core.events import Event
from migrate_graph.database.books.view_ledger import ViewLedger
from migrate_graph.database.names import POSTGRES, SQLITE, TableNames
from migrate_graph.database.postgres.session.connection import WorkConnection
from migrate_graph.database.postgres.views.catalog import PostgresCatalog
from migrate_graph.database.sqlite.catalog import SqliteCatalog
from migrate_graph.database.views.keeper import ViewKeeper

TABLE = "ewh_implemented_features"


class Stand:
    """What tests of both databases have in common.

    `manager("V", up="CREATE …", down="DROP …")` makes an instance; `calls` lists what ran.
    """

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.calls: list[str] = []
        self.events: list[Event] = []

    def __call__(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements, and give the rows of the last."""
        cursor = self.connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []

    def manager(self, name: str, *, up: str, down: str = "") -> Any:
        calls, run = self.calls, self

        def go_up(self: Any) -> None:
            calls.append(f"up {name}")
            run(self.statement_up)

        def go_down(self: Any) -> None:
            calls.append(f"down {name}")
            run(self.statement_down)

        kind = "MATERIALIZED VIEW" if "MATERIALIZED" in up else "VIEW"
        down = down or f"DROP {kind} IF EXISTS {name.lower()}"
        return type(name, (), {"up": go_up, "down": go_down, "statement_up": up, "statement_down": down})()

    @property
    def keeper(self) -> ViewKeeper:
        raise NotImplementedError

    def down_now(self) -> list[str]:
        """Return the managers that the ledger says are down."""
        return sorted({row[0] for row in self(f"SELECT manager FROM {TABLE}_views WHERE state = 'down'")})


class PostgresStand(Stand):
    def __init__(self, uri: str, *, create: bool = True, factory: type[Any] = WorkConnection) -> None:
        super().__init__(psycopg2.connect(uri, connection_factory=factory, options="-c lock_timeout=5000"))
        names = TableNames.of(TABLE, POSTGRES)
        self.uri = uri
        self.catalog: Any = PostgresCatalog(lambda: self.connection)
        run = self.catalog.run
        if create:
            ViewLedger(names, run).create()
            self.connection.commit()
        self._keeper = ViewKeeper(self.catalog, ViewLedger(names, run, locate=self.catalog.locate))

    def reconnect(self) -> None:
        """Go on as the next process does: what was not committed is gone."""
        self.connection.close()
        self.__dict__.update(PostgresStand(self.uri, create=False).__dict__, calls=self.calls, events=self.events)

    @property
    def keeper(self) -> ViewKeeper:
        return self._keeper


class _SqliteConnection(sqlite3.Connection):
    """Has a `__dict__`, as the connection of an attempt does."""


class SqliteStand(Stand):
    def __init__(self, path: Path, *, before: str = "") -> None:
        super().__init__(sqlite3.connect(path, isolation_level=None, factory=_SqliteConnection))
        self(before or "SELECT 1")
        names = TableNames.of(TABLE, SQLITE)
        ViewLedger(
            names, lambda statement, parameters: self.connection.execute(statement, parameters).fetchall()
        ).create()
        catalog = SqliteCatalog(lambda: self.connection)
        self._keeper = ViewKeeper(catalog, ViewLedger(names, catalog.run))

    @property
    def keeper(self) -> ViewKeeper:
        return self._keeper


SHOP = """
CREATE TABLE orders (id int, customer varchar(20), total numeric, note text, secret text);
INSERT INTO orders SELECT g, 'c' || g, g * 2, 'n' || g, 's' FROM generate_series(1, 50) g;
CREATE TABLE vault (id int);
CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
"""
BASE = "CREATE VIEW base AS SELECT id, customer, total, note FROM orders"
LEFT = "CREATE VIEW lefty AS SELECT id, customer FROM base"
RIGHT = "CREATE VIEW righty AS SELECT id, total FROM base"
TOP = "CREATE MATERIALIZED VIEW top AS SELECT l.id, l.customer, r.total FROM lefty l JOIN righty r USING (id)"
DRESS = """
ALTER VIEW base SET (security_invoker = true, security_barrier = true);
ALTER VIEW lefty SET (check_option = cascaded);
COMMENT ON VIEW base IS 'the base: it''s 100%% \\ "quoted"';
COMMENT ON COLUMN base.customer IS 'who';
ALTER VIEW base ALTER COLUMN note SET DEFAULT 'none';
GRANT SELECT ON base, orders TO keeper;
GRANT SELECT ON base TO reader WITH GRANT OPTION;
GRANT SELECT (id), UPDATE (note) ON base TO clerk;
GRANT INSERT ON base TO PUBLIC;
SET ROLE reader; GRANT SELECT ON base TO auditor; RESET ROLE;
REVOKE DELETE ON base FROM postgres;
CREATE TRIGGER base_insert INSTEAD OF INSERT ON base FOR EACH ROW EXECUTE FUNCTION shout();
COMMENT ON TRIGGER base_insert ON base IS 'rings';
CREATE RULE base_delete AS ON DELETE TO base DO INSTEAD NOTHING;
COMMENT ON RULE base_delete ON base IS 'never';
ALTER VIEW lefty OWNER TO keeper;
GRANT SELECT ON righty TO clerk, keeper;
CREATE UNIQUE INDEX top_id ON top (id) WITH (fillfactor = 70);
CREATE INDEX top_low ON top (lower(customer)) WHERE total > 3;
COMMENT ON INDEX top_id IS 'unique';
COMMENT ON MATERIALIZED VIEW top IS 'all of it';
ALTER MATERIALIZED VIEW top CLUSTER ON top_id;
ALTER INDEX top_low ALTER COLUMN 1 SET STATISTICS 77;
ALTER MATERIALIZED VIEW top ALTER COLUMN customer SET STATISTICS 500, ALTER COLUMN customer SET (n_distinct = 40);
ALTER MATERIALIZED VIEW top ALTER COLUMN customer SET STORAGE EXTERNAL;
ALTER MATERIALIZED VIEW top ALTER COLUMN customer SET COMPRESSION pglz;
ALTER MATERIALIZED VIEW top SET (autovacuum_enabled = false, toast.autovacuum_enabled = false);
CREATE STATISTICS top_stats (dependencies) ON id, total FROM top;
COMMENT ON STATISTICS top_stats IS 'together';
ALTER STATISTICS top_stats SET STATISTICS 200;
ALTER STATISTICS top_stats OWNER TO keeper;
GRANT SELECT ON top TO reader;
ALTER MATERIALIZED VIEW top OWNER TO keeper;
"""


def dressed(stand: PostgresStand, *, instead: Mapping[str, str] | None = None) -> list[Any]:
    """Make the stack of views, dressed with everything that DROP and CREATE lose; give its managers, dependencies first."""
    dress = DRESS.replace("%%", "%")
    for text, other in (instead or {}).items():  # what an old server does not know
        dress = dress.replace(text, other)
    stand(SHOP, "GRANT CREATE ON SCHEMA public TO keeper", BASE, LEFT, RIGHT, TOP, dress)
    stand.connection.commit()
    return [
        stand.manager(name, up=up) for name, up in (("Base", BASE), ("Lefty", LEFT), ("Righty", RIGHT), ("Top", TOP))
    ]


def kept(stand: PostgresStand, down: list[Any], up: list[Any], *body: str, migration: str = "m") -> None:
    """Run statements inside a block."""
    stand.keeper.take_down(down, up, migration=migration, observer=stand.events.append)
    stand(*body or ("SELECT 1",))
    stand.keeper.bring_up()
    stand.keeper.check_complete()
