"""A shop with views in the way of its table, and what is looked at afterwards."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg2
import pytest
from bodies import Body, ask, named, sql, view
from stand import Stand

from migrate_graph.core.events import Result, RunFinished, ViewCreated, ViewDropped, Warned
from migrate_graph.database.postgres.views.catalog import PostgresCatalog
from migrate_graph.database.relation import Relation
from migrate_graph.executor.attempt import WeavingOptions

KEEP = WeavingOptions(keeps_unmanaged=True)


def views_of(uri: str) -> dict[str, Relation]:
    """Return everything about every view."""
    with closing(psycopg2.connect(uri)) as connection:
        found = PostgresCatalog(lambda: connection).every_view().values()
        return {each.identity: each for each in found if not each.identity.startswith("bystander.")}


def attributes(relation: Relation) -> tuple[Any, ...]:
    """Return what must be as before."""
    return relation.kind, relation.owner, relation.columns, set(relation.items), set(relation.grants)


class Shop:
    """A database with a table and views: V2 reads V, M is materialized, and nobody manages w."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.stand = Stand(uri)
        self.v = view("V", "SELECT id, a, c FROM t")
        self.v2 = view("V2", "SELECT a, count(*) AS n FROM v GROUP BY a", self.v)
        self.m = view("M", "SELECT id, c FROM t", materialized=True)
        self.made = [
            sql(
                "base",
                "CREATE TABLE t (id serial PRIMARY KEY, a int, b text, c varchar(10), s text)",
                "INSERT INTO t (a, b, c) SELECT i, 'b', 'c' FROM generate_series(1, 10) i",
            ),
            named("first", self._first),
        ]
        self.others: list[Any] = []
        made = self.run()
        assert made.succeeded, made.results
        self.stand.events.clear()

    def _first(self, db: Any) -> None:
        with self.v(db), self.m(db):
            pass
        for each in (
            "CREATE UNIQUE INDEX m_id ON m (id)",
            "GRANT SELECT ON v TO PUBLIC",
            "COMMENT ON VIEW v2 IS 'kept'",
            "ALTER VIEW v2 SET (security_barrier = true)",
            "CREATE VIEW w AS SELECT b FROM t",
            "GRANT SELECT (b) ON w TO PUBLIC",
        ):
            db.executesql(each)

    def run(self, *bodies: Body, opens: dict[str, list[Any]] | None = None, **more: Any) -> RunFinished:
        """Run bodies after those that have made the shop."""
        opened = {"first": [self.v, self.m], "": [self.v2, *self.others], **(opens or {})}
        return self.stand.run(*self.made, *bodies, views=opened, **more)

    def works(self, *bodies: Body, down: str = "", up: str | None = None, warned: int = 0, **more: Any) -> None:
        """Run bodies; everything is afterwards as before."""
        before = views_of(self.uri)
        self.stand.events.clear()
        finished = self.run(*bodies, **more)
        assert finished.succeeded, "".join(f"{each.error} {each.hint} {each.traceback}" for each in finished.results)
        assert [each.view for each in self.stand.told(ViewDropped)] == down.split(), [
            f"{type(each).__name__[4:]} {each.view}" for each in self.stand.events if hasattr(each, "view")
        ]
        ups = [each.view for each in self.stand.told(ViewCreated)]
        assert ups == (down.split()[::-1] if up is None else up.split())
        assert len(self.stand.told(Warned)) == warned, self.stand.told(Warned)
        after = views_of(self.uri)
        assert {name: attributes(each) for name, each in after.items()} == {
            name: attributes(each) for name, each in before.items()
        }
        self.is_whole()

    def is_whole(self) -> None:
        """Check that the view ledger says of every view what is so."""
        assert not self.stand.history().views_down
        rows = {name for (name,) in ask(self.uri, "SELECT manager FROM ewh_implemented_features_views")}
        assert not {name for name in rows if "." in name}, "a view that nobody manages has no row"

    def fails(self, *bodies: Body, **more: Any) -> Result:
        """Run bodies of which the last one fails; everything is as before."""
        before = views_of(self.uri)
        finished = self.run(*bodies, **more)
        assert not finished.succeeded
        assert views_of(self.uri) == before
        self.is_whole()
        return finished.results[-1]


@pytest.fixture
def shop(postgres_uri: str, bystander: None) -> Shop:
    """The shop, while somebody else is at work in the database."""
    return Shop(postgres_uri)


WIDEN_A = "ALTER TABLE t ALTER COLUMN a TYPE bigint"


def ask_and_commit(uri: str, *statements: str) -> None:
    """Run statements in a session of its own, and keep what they do."""
    with closing(psycopg2.connect(uri)) as connection, connection, connection.cursor() as cursor:
        for each in statements:
            cursor.execute(each)
