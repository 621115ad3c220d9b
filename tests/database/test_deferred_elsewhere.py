"""Deferred materialized views of another owner, and in a schema that is not in the search_path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from bodies import ask, forget_managers, sql
from catalog_probe import difference, probed
from stand import Stand
from test_deferred import matview, opening

from migrate_graph.core.events import ViewRefreshed, Warned

__all__ = ["forget_managers"]

pytestmark = pytest.mark.postgres

BASE = sql(
    "base",
    "CREATE TABLE t (id serial PRIMARY KEY, c varchar(10))",
    "INSERT INTO t (c) SELECT 'c' FROM generate_series(1, 10)",
    "CREATE SCHEMA far",
)
WIDEN = sql("widen", "ALTER TABLE t ALTER COLUMN c TYPE varchar(20)")


def widens(stand: Stand, managers: list[Any]) -> None:
    """Widen the column; everything is as before, but for the column's type."""
    before = probed(stand.settings.uri)
    stand.events.clear()
    finished = stand.run(BASE, opening("first", opens=managers[0]), WIDEN, views={"first": managers})
    assert finished.succeeded, finished.results
    assert not stand.told(Warned)
    lines = [each for each in difference(before, probed(stand.settings.uri)) if "varying" not in each]
    assert not lines
    history = stand.history()
    assert not history.views_unfilled
    assert not history.views_down


@pytest.mark.parametrize("name", ["far.m", 'far."Sales per ""day"""'])
def test_a_schema_that_is_not_in_the_search_path(postgres_uri: str, bystander: None, name: str) -> None:
    """Also where a view of the same name is in the path."""
    stand = Stand(postgres_uri)
    m = matview("M", "SELECT id, c::text AS c FROM t", name=name, rebuild="deferred", indexes={"m_id": "UNIQUE (id)"})
    made = stand.run(BASE, opening("first", opens=m), views={"first": [m]})
    assert made.succeeded, made.results
    bare = name.partition(".")[2]
    ask(postgres_uri, f"CREATE MATERIALIZED VIEW public.{bare} AS SELECT 1 AS one WITH NO DATA")
    widens(stand, [m])
    assert [each.relation for each in stand.told(ViewRefreshed)] == [name]
    assert ask(postgres_uri, f"SELECT count(*) FROM {name}") == [(10,)]
    assert ask(postgres_uri, "SELECT count(*) FROM pg_class WHERE relkind = 'm' AND NOT relispopulated") == [(1,)]


@pytest.fixture
def role(postgres_uri: str, postgres_admin_uri: str) -> Iterator[str]:
    name = "owns_" + postgres_uri.rpartition("/")[2][-20:]
    ask(postgres_admin_uri, f"CREATE ROLE {name}")
    yield name
    ask(postgres_admin_uri, f"REASSIGN OWNED BY {name} TO app", f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def test_another_owner(postgres_uri: str, postgres_admin_uri: str, role: str) -> None:
    """What its query calls runs as him, and he owns it afterwards."""
    stand = Stand(postgres_uri)
    m = matview("M", "SELECT id, c::text AS c, current_user::text AS who FROM t", rebuild="deferred")
    made = stand.run(BASE, opening("first", opens=m), views={"first": [m]})
    assert made.succeeded, made.results
    ask(
        postgres_admin_uri, f"GRANT {role} TO app", f"GRANT ALL ON SCHEMA public TO {role}", f"GRANT SELECT ON t TO {role}",
        f"ALTER MATERIALIZED VIEW m OWNER TO {role}", "GRANT SELECT ON m TO app",
    )  # fmt: skip
    ask(postgres_admin_uri, "REFRESH MATERIALIZED VIEW m")
    assert {who for (who,) in ask(postgres_uri, "SELECT who FROM m")} == {role}
    widens(stand, [m])
    assert [each.relation for each in stand.told(ViewRefreshed)] == ["public.m"]
    assert {who for (who,) in ask(postgres_uri, "SELECT who FROM m")} == {role}
