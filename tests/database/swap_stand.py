"""A database with a materialized view that is renewed, and what must be as before."""

from __future__ import annotations

from typing import Any

import pytest
from bodies import ask, named, sql
from stand import Stand
from test_deferred import matview, opening

from migrate_graph.core.events import RunFinished, ViewBuilt, ViewCreated, ViewDropped

BASE = sql(
    "base",
    "CREATE TABLE t (id serial PRIMARY KEY, c varchar(10), weight int DEFAULT 1)",
    "INSERT INTO t (c) SELECT 'c' FROM generate_series(1, 10)",
)


OLD = "SELECT id, c::text AS c FROM t"


NEW = "SELECT id, c::text AS c, 100 / weight AS share FROM t"


DRESS = (
    "GRANT SELECT (id), INSERT ON m TO PUBLIC", "COMMENT ON MATERIALIZED VIEW m IS 'kept'", "CREATE INDEX by_hand ON m (lower(c)) WHERE id > 2",
    "COMMENT ON INDEX m_id IS 'kept, too'", "COMMENT ON INDEX by_hand IS 'and this'", "ALTER MATERIALIZED VIEW m SET (fillfactor = 70)",
    "ALTER MATERIALIZED VIEW m ALTER c SET STATISTICS 7", "ALTER MATERIALIZED VIEW m CLUSTER ON m_id",
    "ALTER MATERIALIZED VIEW m ALTER c SET STORAGE EXTERNAL", "COMMENT ON COLUMN m.c IS 'of a column'", "CREATE STATISTICS by_two ON id, c FROM m",
)  # fmt: skip


def swapped(query: str = NEW, kind: str = "M", *uses: Any, **more: Any) -> Any:
    """Return a manager of m that is built beside the old one."""
    return matview(kind, query, *uses, **{"rebuild": "swap", "indexes": {"m_id": "UNIQUE (id)"}} | more)


class House:
    """A database with a table t, a materialized view m of it, and R, a view that reads m; everything that can be said of m is."""

    def __init__(self, uri: str, *, dress: tuple[str, ...] = DRESS, **more: Any) -> None:
        self.uri = uri
        self.stand = Stand(uri)
        self.old = swapped(OLD, **more)
        self.r = matview("R", "SELECT count(*) AS n FROM m", self.old, materialized=False)
        made = self.stand.run(BASE, opening("first", opens=self.old), views={"first": [self.old, self.r]})
        assert made.succeeded, made.results
        ask(uri, *dress)
        self.stand.events.clear()

    def edit(
        self, *statements: str, query: str = NEW, opens: Any = None, name: str = "edit", **more: Any
    ) -> RunFinished:
        """Bring in M with another query, in a block in which these statements are sent."""
        manager = opens or swapped(query)
        r = matview("R", "SELECT count(*) AS n FROM m", manager, materialized=False)
        body = opening(name, *statements, opens=manager)
        return self.stand.run(
            BASE, named("first", lambda _: None), body, views={name: [manager], "first": [], "": [r]}, **more
        )

    def told(self) -> str:
        """Return in short what was told of views."""
        words = {ViewBuilt: "built", ViewDropped: "down", ViewCreated: "up"}
        return ", ".join(
            f"{words[type(each)]} {each.view}"
            for each in self.stand.events
            if isinstance(each, ViewBuilt | ViewDropped | ViewCreated)
        )


SWAPPED = "built M, down R, down M, up M, up R"


def columns(uri: str) -> list[str]:
    return [
        name
        for (name,) in ask(
            uri, "SELECT attname FROM pg_attribute WHERE attrelid = 'm'::regclass AND attnum > 0 ORDER BY attnum"
        )
    ]


def leftovers(uri: str) -> list[Any]:
    return ask(uri, "SELECT relname FROM pg_class WHERE relname LIKE 'migrate\\_graph\\_swap%'") + ask(
        uri, "SELECT typname FROM pg_type WHERE typname LIKE '%migrate\\_graph\\_swap%'"
    )


@pytest.fixture
def house(postgres_uri: str, bystander: None) -> House:
    return House(postgres_uri)
