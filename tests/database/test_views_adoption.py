"""A project takes control of the views it has, and sees what has become of them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from bystanders import SCHEMA, bystanding
from catalog_probe import difference, probe
from msgspec.structs import replace
from servers import PostgresServer
from view_stand import PostgresStand, SqliteStand, dressed, kept

from migrate_graph.authoring import collecting
from migrate_graph.database.books.view_ledger import LedgerRow, ViewState
from migrate_graph.database.postgres.views.catalog import PostgresCatalog
from migrate_graph.database.relation import Relation
from migrate_graph.database.sqlite.catalog import SqliteCatalog
from migrate_graph.database.views.adoption import Adoptable, ManagerName, describe_unmanaged, write_managers
from migrate_graph.database.views.presence import ViewPresence, view_presences
from migrate_graph.errors import UsageError

HOSTILE = '"; DROP TABLE orders; -- \\ %s {} \r\n""" <script>😀\u202e'


@pytest.fixture
def stand(postgres_admin_uri: str) -> Iterator[PostgresStand]:
    """A database that somebody else uses, who has views of his own there: some of them come and go while we look."""
    stand = PostgresStand(postgres_admin_uri)
    with bystanding(postgres_admin_uri):
        yield stand
    stand.connection.close()


def unmanaged(stand: PostgresStand, managed: Collection[str] = (), *, names: Collection[str] = ()) -> Adoptable:
    """Find what can be adopted, without what is somebody else's."""
    try:
        found = describe_unmanaged(PostgresCatalog(lambda: stand.connection), managed, names=names)
    finally:
        stand.connection.commit()  # as adopting does: what it has read was locked until now
    return replace(found, views=tuple(each for each in found.views if not each.relation.identity.startswith(SCHEMA)))


class _Adapter:
    dbengine = "postgres"


class Db:
    """What adopted managers use of a `DAL`."""

    _adapter = _Adapter

    def __init__(self, stand: PostgresStand) -> None:
        self.executesql = stand


def managers_in(text: str, stand: PostgresStand) -> list[Any]:
    with collecting() as collector:
        exec(compile(text, "views.py", "exec"), {"__name__": "adopted_views"})
    return [kind(Db(stand)) for kind in collector.managers]


@pytest.mark.postgres
def test_adopted_managers_make_the_same_views(stand: PostgresStand, roles: tuple[str, ...]) -> None:
    dressed(stand)
    quoted = '"' + HOSTILE.replace('"', '""') + '"'
    stand(
        f"CREATE VIEW {quoted} AS SELECT id AS {quoted}, 'a\\b%' AS x FROM base", f"COMMENT ON VIEW {quoted} IS 'it''s'"
    )
    stand("CREATE TEMP VIEW passing AS SELECT 1 AS one")
    stand.connection.commit()
    before = probe(stand.connection.cursor())
    found = unmanaged(stand).views
    assert [view.relation.name for view in found] == ["base", "lefty", "righty", HOSTILE, "top"]
    assert found[-1].uses == ("public.lefty", "public.righty")
    text, names = write_managers(found, {})
    assert "\u202e" not in text
    assert "\r" not in text
    assert 'comment = "it\'s"' in text
    assert '"top_id": "UNIQUE USING btree (id)' in text
    managers = managers_in(text, stand)
    assert tuple(type(manager).__name__ for manager in managers) == names
    assert [tuple(each.__name__ for each in type(manager).uses) for manager in managers] == [
        (), ("Base",), ("Base",), ("Base",), ("Lefty", "Righty")
    ]  # fmt: skip
    # Rebuilt by their own managers, the views are as before, roles and all.
    kept(stand, managers[::-1], managers)
    assert difference(before, probe(stand.connection.cursor())) == []
    # Made anew, as in an empty database, they lack only what belongs to roles.
    for manager in managers[::-1]:
        manager.down()
    for manager in managers:
        manager.up()
    left = [
        line
        for line in difference(before, probe(stand.connection.cursor()))
        if not line[2:].startswith(("pg_class", "pg_attr", "pg_type"))
    ]
    assert {line.replace("'keeper'", "'postgres'")[2:] for line in left if line[0] == "-"} == {
        line[2:] for line in left if line[0] == "+"
    }


@pytest.mark.postgres
def test_the_written_file_passes_linters_and_type_checkers(
    stand: PostgresStand, roles: tuple[str, ...], tmp_path: Path
) -> None:
    dressed(stand)
    found = unmanaged(stand, ("public.base",)).views
    text, _ = write_managers(found, {"public.base": ManagerName("billing", "BaseView")})
    (tmp_path / "views.py").write_text(text)
    (tmp_path / "billing.py").write_text(
        "from migrate_graph import ViewMigrationManager\n\n\nclass BaseView(ViewMigrationManager): ...\n"
    )
    assert "from billing import BaseView\n" in text
    assert "    uses = (BaseView,)\n" in text
    for command in (
        ["ruff", "check", "--isolated", "views.py"],
        ["ruff", "format", "--isolated", "--check", "views.py"],
        ["mypy", "views.py"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr + text


@pytest.mark.postgres
def test_only_what_is_asked_for_and_not_managed_is_adopted(stand: PostgresStand, roles: tuple[str, ...]) -> None:
    dressed(stand)
    assert [view.relation.name for view in unmanaged(stand, ("public.base",), names=("top", "public.lefty")).views] == [
        "lefty",
        "top",
    ]
    with pytest.raises(UsageError, match="no unmanaged view is called rihty") as caught:
        unmanaged(stand, names=("rihty",))
    assert "righty" in caught.value.hint


def test_class_names_are_valid_and_each_its_own() -> None:
    from migrate_graph.database.views.adoption import AdoptableView

    names = ["v_orders", "v__orders", "none", "2024", "ünïcode", "😀", "class"]
    views = [
        AdoptableView(Relation(f'public."{name}"', name, "VIEW", definition="CREATE VIEW x AS SELECT 1"), ())
        for name in names
    ]
    text, classes = write_managers(views, {}, taken=("Class",))
    assert classes == ("VOrders", "VOrders2", "ViewNone", "View2024", "NCode", "View", "Class2")
    compile(text, "views.py", "exec")


@pytest.mark.postgres
def test_a_view_changed_or_dropped_by_hand_is_noticed(stand: PostgresStand, postgres_server: PostgresServer) -> None:
    stand("CREATE TABLE t (id int, a text)")
    managers = [stand.manager(name, up=f"CREATE VIEW {name.lower()} AS SELECT id FROM t") for name in ("A", "B", "C")]
    kept(stand, managers[::-1], managers)
    stand("CREATE OR REPLACE VIEW b AS SELECT id FROM t WHERE id > 0", "DROP VIEW c")
    stand.connection.commit()
    rows = stand.keeper._ledger.read()
    catalog = PostgresCatalog(lambda: stand.connection)
    stand.connection.commit()
    stand("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
    stand.connection.commit()
    assert view_presences(catalog, rows, dict.fromkeys("ABC", object)) == {
        "A": ViewPresence(("public.a",), is_recorded=True),
        "B": ViewPresence(("public.b",), changed=("public.b",), is_recorded=True),
        "C": ViewPresence(("public.c",), missing=("public.c",), is_recorded=True),
    }
    elder = LedgerRow("B", ViewState.DOWN, "m", (Relation("public.b", "b", "VIEW", fingerprint="9:0123"),))
    assert view_presences(catalog, {"B": elder}, {"B": object}) == {
        "B": ViewPresence(("public.b",), down=True, is_recorded=True)
    }


def test_the_same_on_sqlite(tmp_path: Path) -> None:
    stand = SqliteStand(tmp_path / "shop.db")
    stand("CREATE TABLE t (id int)")
    a = stand.manager("A", up="CREATE VIEW a AS SELECT id FROM t")
    stand.keeper.take_down([a], [a], migration="m")
    stand.keeper.bring_up()
    catalog = SqliteCatalog(lambda: stand.connection)
    assert view_presences(catalog, stand.keeper._ledger.read(), {"A": object}) == {
        "A": ViewPresence(('"a"',), is_recorded=True)
    }
    stand("DROP VIEW a", "CREATE VIEW a AS SELECT 1 AS id")
    assert view_presences(catalog, stand.keeper._ledger.read(), {"A": object}) == {
        "A": ViewPresence(('"a"',), changed=('"a"',), is_recorded=True)
    }
    stand.connection.close()


class New:
    db: Any

    def up(self) -> None:
        self.db.executesql('CREATE VIEW main."Mixed" AS SELECT 1 AS one')
        self.db.executesql("CREATE VIEW plain AS SELECT 1 AS one")


def test_a_manager_that_never_ran_here_is_looked_for_by_its_text(tmp_path: Path) -> None:
    stand = SqliteStand(tmp_path / "shop.db")
    stand('CREATE VIEW "mixed" AS SELECT 1 AS one')
    catalog = SqliteCatalog(lambda: stand.connection)
    names = ('main."Mixed"', "plain")
    assert view_presences(catalog, {}, {"New": New}) == {"New": ViewPresence(names, missing=("plain",))}
    stand("CREATE VIEW PLAIN AS SELECT 1 AS one")
    assert view_presences(catalog, {}, {"New": New, "Silent": object}) == {"New": ViewPresence(names)}
    stand.connection.close()


@pytest.mark.postgres
def test_a_rule_that_writes_to_another_view_counts(stand: PostgresStand) -> None:
    stand(
        "CREATE TABLE person (id int, name text, active boolean DEFAULT true)",
        "CREATE VIEW person_api AS SELECT id, name FROM person",
        "CREATE VIEW person_all AS SELECT id, name, active FROM person",
        "CREATE RULE ins AS ON INSERT TO person_api DO INSTEAD INSERT INTO person_all VALUES (new.id, new.name, true)",
    )
    found = unmanaged(stand).views
    assert [(view.relation.name, view.uses) for view in found] == [
        ("person_all", ()),
        ("person_api", ("public.person_all",)),
    ]
    managers = managers_in(write_managers(found, {})[0], stand)
    before = probe(stand.connection.cursor())
    kept(stand, managers[::-1], managers)
    assert difference(before, probe(stand.connection.cursor())) == []


def wait_until_it_waits(stand: PostgresStand, other: Any) -> None:
    """Wait until the session of a stand waits for a lock."""
    deadline = time.monotonic() + 60
    with other.cursor() as cursor:
        while True:
            cursor.execute(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = %s", (stand.connection.info.backend_pid,)
            )
            if cursor.fetchall() != [(0,)]:
                return
            assert time.monotonic() < deadline


@pytest.mark.postgres
@pytest.mark.parametrize("count", [1, 5])
def test_what_others_drop_while_it_is_looked_at_is_left_out(stand: PostgresStand, count: int) -> None:
    stand("CREATE SCHEMA fleeting", *(f"CREATE VIEW fleeting.v{each} AS SELECT 1 AS one" for each in range(count)))
    stand("CREATE VIEW stays AS SELECT 1 AS one")
    stand.connection.commit()
    with psycopg2.connect(stand.uri) as other, other.cursor() as cursor, ThreadPoolExecutor(1) as pool:
        cursor.execute("DROP SCHEMA fleeting CASCADE")
        found = pool.submit(unmanaged, stand)
        wait_until_it_waits(stand, other)
        other.commit()
        assert [view.relation.name for view in found.result(30).views] == ["stays"]
    other.close()


@pytest.mark.postgres
def test_what_others_drop_while_status_looks_is_not_known(stand: PostgresStand) -> None:
    stand("CREATE TABLE t (id int)", "CREATE VIEW v AS SELECT id FROM t")
    v = stand.manager("V", up="CREATE VIEW v AS SELECT id FROM t")
    kept(stand, [v], [v])
    stand("CREATE OR REPLACE VIEW v AS SELECT id FROM t WHERE id > 0")
    rows = stand.keeper._ledger.read()
    stand.connection.commit()
    catalog = stand.catalog
    with psycopg2.connect(stand.uri) as other, other.cursor() as cursor:
        asked = catalog.read

        def read(query: str) -> Any:
            if "pg_get_viewdef" in query:  # nobody has locked it when that is asked; then somebody drops it
                cursor.execute("DROP VIEW v")
                other.commit()
            return asked(query)

        catalog.read = read
        assert view_presences(catalog, rows, {"V": object}) == {
            "V": ViewPresence(("public.v",), unknown=("public.v",), is_recorded=True)
        }
    other.close()


@pytest.mark.postgres
def test_views_in_a_circle_keep_no_other_from_being_adopted(stand: PostgresStand) -> None:
    stand(
        "CREATE VIEW a AS SELECT 1 AS id",
        "CREATE VIEW b AS SELECT id FROM a",
        "CREATE OR REPLACE VIEW a AS SELECT id FROM b",
        "CREATE VIEW good AS SELECT 2 AS id",
        "CREATE VIEW reader AS SELECT id FROM a",
    )
    found = unmanaged(stand)
    assert [view.relation.name for view in found.views] == ["good", "reader"]
    assert set(found.left_out) == {"public.a", "public.b"}
    assert "public.b" in found.left_out["public.a"]
    compile(write_managers(found.views, {})[0], "views.py", "exec")


@pytest.mark.postgres
def test_an_adopted_materialized_view_is_filled_as_its_owner(stand: PostgresStand, roles: tuple[str, ...]) -> None:
    stand("GRANT CREATE ON SCHEMA public TO clerk", "SET ROLE clerk")
    stand("CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT current_user::text'")
    stand(
        "CREATE MATERIALIZED VIEW mv AS SELECT public.f() AS who",
        "CREATE UNIQUE INDEX mv_who ON mv (who)",
        "RESET ROLE",
    )
    stand.connection.commit()
    before = probe(stand.connection.cursor())
    found = unmanaged(stand).views
    managers = managers_in(write_managers(found, {})[0], stand)
    kept(stand, managers, managers)
    assert stand("SELECT who FROM mv") == [("clerk",)]
    assert difference(before, probe(stand.connection.cursor())) == []
