"""Where a rehearsal can happen, what it needs there, and what it leaves alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from rehearsal_stand import LEDGER, ONE, RehearsalStand, facts, footprint, outcomes, run, said, state
from servers import APP_PASSWORD, PostgresServer

from migrate_graph.core.events import Outcome, Warned
from migrate_graph.core.footprint import Rewrite, Size
from migrate_graph.database.postgres import places
from migrate_graph.database.postgres.rehearsal import clone
from migrate_graph.errors import ConfigError, DatabaseRefused, ExitCode

pytestmark = pytest.mark.postgres

# -- sizes, rows, settings ----------------------------------------------------------------------------------------------------


CLOSES = """
from migrate_graph import migration


@migration
def closes_1(db):
    db.executesql("CREATE TABLE IF NOT EXISTS made (id integer)")
    {first}
    db._adapter.connection.close()
    return True
"""


@pytest.mark.usefixtures("with_programs", "may_create_databases")
@pytest.mark.parametrize(
    ("first", "outcome"), [("db.commit()", "applied"), ("db.rollback()", "applied"), ("", "raised")]
)
@pytest.mark.parametrize("place", ["here", "scratch"])
def test_a_body_that_closes_its_connection_loses_only_what_it_had_not_committed(
    place: str, first: str, outcome: str, rehearsing: Callable[[str], RehearsalStand]
) -> None:
    stand = rehearsing(CLOSES.format(first=first or "pass"))
    run(stand.uri, LEDGER)
    done = stand.rehearse(place)
    assert [each.outcome.value for each in done.results] == [outcome], done.results


@pytest.mark.usefixtures("with_programs", "may_create_databases")
@pytest.mark.parametrize("place", ["clone", "here", "scratch"])
def test_sizes_are_those_of_the_real_tables(place: str, rehearsing: Callable[[str], RehearsalStand]) -> None:
    made = "" if place != "scratch" else '    db.executesql("CREATE TABLE IF NOT EXISTS stock (id int, qty int)")\n'
    stand = rehearsing(ONE.replace("def one_1(db):\n", f"def one_1(db):\n{made}"))
    run(
        stand.uri,
        "CREATE TABLE stock (id int, qty int)",
        "INSERT INTO stock SELECT n, n FROM generate_series(1, 5000) n",
        "ANALYZE stock",
    )
    ((pages,),) = run(stand.uri, "SELECT relpages FROM pg_class WHERE relname = 'stock'")
    run(stand.uri, LEDGER)
    done = stand.rehearse(place)
    size = Size(pages * 8192, 5000)
    assert footprint(done, "one_1").sizes == {"public.stock": size}
    if place != "scratch":  # there it is made by the migration itself
        assert footprint(done, "one_1").rewrites == (Rewrite("public.stock", size.bytes, size.rows),)
        (statement,) = footprint(done, "one_1").statements
        assert statement.locks == {"public.stock": "ACCESS EXCLUSIVE"}
        assert statement.scans == ("public.stock",)


@pytest.mark.usefixtures("with_programs", "may_create_databases")
def test_rows_come_along_where_that_is_asked_for(
    rehearsing: Callable[[str], RehearsalStand], postgres_server: PostgresServer
) -> None:
    stand = rehearsing("""
from migrate_graph import migration


@migration
def one_1(db):
    rows = db.executesql("SELECT id, double FROM parent ORDER BY id")
    assert len(rows) == 3, rows
    assert all(double == 2 * id for id, double in rows)
    assert db.executesql("SELECT count(*) FROM child c WHERE NOT EXISTS (SELECT FROM parent p WHERE p.id = c.parent)") == [(0,)]
    db.executesql("INSERT INTO parent DEFAULT VALUES")
    return True
""")
    run(
        stand.uri,
        "CREATE TABLE parent (id serial PRIMARY KEY, double int GENERATED ALWAYS AS (id * 2) STORED)",
        "CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent)",
        "INSERT INTO parent SELECT FROM generate_series(1, 10)",
        "INSERT INTO child SELECT n, 11 - n FROM generate_series(1, 10) n",
    )
    run(stand.uri, LEDGER)
    before = state(postgres_server, stand.uri)
    assert stand.rehearse("clone").exit_code == 1
    done = stand.rehearse("clone", data=3)
    assert done.exit_code == 0, done.results
    assert state(postgres_server, stand.uri) == before


@pytest.mark.usefixtures("with_programs", "may_create_databases")
@pytest.mark.parametrize("place", ["clone", "here"])
def test_the_configured_schemas_and_the_settings_of_the_database_hold(
    place: str, rehearsing: Callable[[str], RehearsalStand]
) -> None:
    stand = rehearsing("""
from migrate_graph import migration


@migration
def one_1(db):
    db.executesql("ALTER TABLE stock ADD COLUMN more int")
    db.executesql("INSERT INTO beside VALUES (1)")
    assert db.executesql("SHOW search_path") == [('"first", "second one"',)]
    assert db.executesql("SHOW timezone") == [("Asia/Tokyo",)]
    assert db.executesql("SHOW lock_timeout") == [("3s",)]
    return True
""")
    stand.settings |= {"SCHEMA": '"first", "second one"', "MIGRATE_LOCK_TIMEOUT": "3"}
    database = stand.uri.rpartition("/")[2]
    run(
        stand.uri, 'CREATE SCHEMA first', 'CREATE SCHEMA "second one"', "CREATE TABLE first.stock (a int)", 'CREATE TABLE "second one".beside (a int)',
        f"ALTER DATABASE {database} SET timezone = 'Asia/Tokyo'",
        "CREATE TABLE first.ewh_implemented_features (id serial, name varchar(512) UNIQUE, installed char(1), last_update_dttm timestamp)",
    )  # fmt: skip
    done = stand.rehearse(place)
    assert done.exit_code == 0, (done.results, done.cut)
    assert facts(footprint(done, "one_1").added) == {"column first.stock.more"}
    assert list(footprint(done, "one_1").wrote) == ['"second one".beside']


SETTINGS_OF_SESSIONS = """
from migrate_graph import migration


@migration
def one_1(db):
    db.executesql("ALTER TABLE stock ADD COLUMN more int")
    assert db.executesql("SHOW search_path") == [('"second one", first',)]
    assert db.executesql("SHOW timezone") == [("Asia/Tokyo",)]
    assert db.executesql("SHOW datestyle") == [("ISO, DMY",)]
    assert db.executesql("SELECT current_user") == [("owners",)]
    return True
"""
"""Sees what a session of the application begins with."""


@pytest.fixture
def with_settings(
    rehearsing: Callable[[str], RehearsalStand], postgres_server: PostgresServer
) -> Iterator[RehearsalStand]:
    """A project whose database sets much for the sessions of its role, and something else for all others."""
    stand = rehearsing(SETTINGS_OF_SESSIONS)
    database = stand.uri.rpartition("/")[2]
    settings = {
        "search_path": '"second one", first',
        "timezone": "'Asia/Tokyo'",
        "datestyle": "'ISO, DMY'",
        "role": "owners",
    }
    postgres_server.execute(
        "CREATE ROLE owners CREATEDB", "GRANT owners TO app", f"ALTER DATABASE {database} OWNER TO owners"
    )
    postgres_server.execute(
        *(f"ALTER ROLE app IN DATABASE {database} SET {name} = {value}" for name, value in settings.items())
    )
    postgres_server.execute(
        f"ALTER DATABASE {database} SET search_path = ''", "ALTER ROLE app SET timezone = 'Asia/Kolkata'"
    )
    run(
        stand.uri,
        "CREATE SCHEMA first",
        'CREATE SCHEMA "second one"',
        'CREATE TABLE "second one".stock (a int)',
        LEDGER,
    )
    run(stand.uri, "CREATE TABLE first.stock (more int)")
    yield stand
    postgres_server.execute("ALTER ROLE app RESET timezone")
    postgres_server.drop_database(database)
    postgres_server.execute("DROP ROLE owners")


@pytest.mark.usefixtures("with_programs", "may_create_databases")
def test_sessions_of_a_copy_begin_with_what_the_database_sets_for_the_role(with_settings: RehearsalStand) -> None:
    """ALTER ROLE … IN DATABASE … SET search_path: without it, a migration finds no table, or that of another schema."""
    done = with_settings.rehearse("clone")
    assert done.exit_code == 0, (done.results, done.cut)
    assert not done.remarks
    assert facts(footprint(done, "one_1").added) == {'column "second one".stock.more'}


@pytest.mark.usefixtures("with_programs")
def test_a_server_of_copies_is_told_what_the_role_has_everywhere(
    rehearsing: Callable[[str], RehearsalStand], own_postgres: PostgresServer, postgres_server: PostgresServer
) -> None:
    own_postgres.execute("ALTER ROLE app CREATEDB", "ALTER ROLE app SET search_path = nowhere")
    stand = rehearsing(ONE)
    stand.settings["MIGRATE_REHEARSE_ON"] = own_postgres.app_uri("postgres")
    postgres_server.execute("ALTER ROLE app SET search_path = first, public")
    try:
        run(stand.uri, "CREATE SCHEMA first", "CREATE TABLE first.stock (id int, qty int)", LEDGER)
        done = stand.rehearse("clone")
    finally:
        postgres_server.execute("ALTER ROLE app RESET search_path")
    assert done.exit_code == 0, (done.results, done.cut)
    assert facts(footprint(done, "one_1").changed) == {"column first.stock.qty"}


# -- what all databases of a server share ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("with_programs")
def test_roles_are_shared_and_none_stays(
    postgres_admin_uri: str, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    (tmp_path / "migrations.py").write_text("""
from migrate_graph import migration


@migration
def first_1(db):
    db.executesql("CREATE TABLE t (a int)")
    return True


@migration(requires=first_1)
def roles_2(db):
    db.executesql("CREATE ROLE rehearsed")
    db.commit()
    db.executesql("GRANT SELECT ON t TO rehearsed")
    db.executesql("COMMENT ON ROLE rehearsed IS 'x'")
    return True


@migration(requires=roles_2)
def third_3(db):
    db.commit()
    db.executesql("ALTER TABLE t OWNER TO rehearsed")
    return True
""")
    stand = RehearsalStand(postgres_admin_uri, tmp_path)
    before = state(postgres_server, stand.uri)
    done = stand.rehearse("clone")
    assert state(postgres_server, stand.uri) == before
    assert done.exit_code == 0, done.results
    assert "role rehearsed" in facts(footprint(done, "roles_2").added)
    assert "grants public.t" in facts(footprint(done, "roles_2").added)
    assert "table public.t" in facts(footprint(done, "third_3").changed)
    assert any("roles_2 writes what all databases of the server share" in remark for remark in done.remarks)


# -- nothing of the real tables is locked -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("with_programs", "may_create_databases")
def test_a_copy_asks_for_no_lock_on_tables_that_anybody_could_feel(
    rehearsing: Callable[[str], RehearsalStand], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = rehearsing(ONE)
    run(stand.uri, "CREATE TABLE stock (id int, qty int)", "CREATE VIEW v AS SELECT qty FROM stock WHERE id = 0")
    run(stand.uri, "DROP VIEW v")
    run(stand.uri, LEDGER)
    ours: list[tuple[Any, ...]] = []
    close = clone._Original.close

    def look_and_close(self: Any) -> None:
        # Its transaction is open still, so whatever it has locked it holds.
        ours.extend(self.ask(
            "SELECT relation::regclass::text, mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation' AND relation >= 16384"
        ))  # fmt: skip
        close(self)

    monkeypatch.setattr(clone._Original, "close", look_and_close)
    with closing(psycopg2.connect(stand.uri)) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLE stock IN EXCLUSIVE MODE")  # lets nobody in who asks for more than ACCESS SHARE
        done = stand.rehearse("clone")
    assert done.exit_code == 0, done.results
    assert {name.rpartition(".")[2].partition("_id")[0] for name, _ in ours} <= {
        "ewh_implemented_features",
        "ewh_implemented_features_name_key",
    }
    assert {mode for _, mode in ours} == {"AccessShareLock"}


@pytest.mark.usefixtures("with_programs", "may_create_databases")
def test_a_table_that_somebody_holds_is_not_waited_for_for_ever(rehearsing: Callable[[str], RehearsalStand]) -> None:
    stand = rehearsing(ONE)
    stand.settings["MIGRATE_LOCK_TIMEOUT"] = "0.2"
    run(stand.uri, "CREATE TABLE stock (id int, qty int)")
    run(stand.uri, LEDGER)
    with closing(psycopg2.connect(stand.uri)) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLE stock")
        with pytest.raises(DatabaseRefused, match="could not be copied") as caught:
            stand.rehearse("clone")
    assert "another session holds a lock on it" in (caught.value.hint or "")
    assert run(stand.uri, "SELECT datname FROM pg_database WHERE datname ~ '^migrate_graph'") == []


@pytest.mark.usefixtures("may_create_databases")
@pytest.mark.parametrize(
    ("complaint", "hint"),
    [
        ("connection to server at x failed: FATAL:  sorry, too many clients already", "raise the limit"),
        ('connection to server at x failed: FATAL:  too many connections for role "app"', "raise the limit"),
        ("connection to server at x failed: FATAL:  no pg_hba.conf entry", "pg_dump connects anew"),
        ("query failed: ERROR:  permission denied for table stock", "SELECT on tables"),
        ("query failed: FEHLER:  keine Berechtigung", "see the server's log"),
        ("query failed: ERROR:  cache lookup failed for type 1", "see the server's log"),
    ],
)
def test_the_hint_follows_the_reason_for_which_pg_dump_failed(
    rehearsing: Callable[[str], RehearsalStand],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    complaint: str,
    hint: str,
) -> None:
    """It was always to grant SELECT."""
    program = tmp_path / "pg_dump"
    program.write_text(f"#!/bin/sh\ncat >&2 <<'END'\npg_dump: error: {complaint}\nEND\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(clone, "_pg_dump", lambda server: str(program))
    with pytest.raises(DatabaseRefused, match="could not be copied") as caught:
        rehearsing(ONE).rehearse("clone")
    assert hint in (caught.value.hint or "")


def test_here_refuses_where_nothing_limits_a_wait(rehearsing: Callable[[str], RehearsalStand]) -> None:
    stand = rehearsing(ONE)
    stand.settings["MIGRATE_LOCK_TIMEOUT"] = "0"
    with pytest.raises(ConfigError, match="lock_timeout"):
        stand.rehearse("here")


def test_here_says_what_it_locks_and_waits_no_longer_than_allowed(rehearsing: Callable[[str], RehearsalStand]) -> None:
    stand = rehearsing(ONE)
    stand.settings["MIGRATE_LOCK_TIMEOUT"] = "0.2"
    run(stand.uri, "CREATE TABLE stock (id serial, qty int)", LEDGER)
    done = stand.rehearse("here")
    assert any("ACCESS EXCLUSIVE on public.stock" in remark for remark in done.remarks)
    assert any(
        "locked" in event.message or "lock" in event.message for event in stand.events if isinstance(event, Warned)
    )
    with closing(psycopg2.connect(stand.uri)) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLE stock IN ACCESS SHARE MODE")
        assert outcomes(stand.rehearse("here")) == {"one_1": Outcome.RAISED}


def test_sequences_that_advance_are_told(rehearsing: Callable[[str], RehearsalStand]) -> None:
    stand = rehearsing("""
from migrate_graph import migration


@migration
def one_1(db):
    db.executesql("SELECT setval('stock_id_seq', 500)")
    return True
""")
    run(stand.uri, "CREATE TABLE stock (id serial, qty int)", LEDGER)
    remarks = stand.rehearse("here").remarks
    assert any("sequences" in remark and "public.stock_id_seq" in remark for remark in remarks)


# -- views, and what pyDAL remembers ----------------------------------------------------------------------------------------------

VIEWS = """
from migrate_graph import ViewMigrationManager, migration


@migration
def tables_1(db):
    db.executesql("CREATE TABLE stock (id int, qty int)")
    return True


class Low(ViewMigrationManager):
    since = "tables_1"
    uses = ()

    def up(self):
        self.db.executesql("CREATE VIEW low AS SELECT id, qty FROM stock WHERE qty < 5")

    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS low")


@migration(requires=tables_1)
def opens_2(db):
    with Low(db):
        pass
    return True


@migration(requires=opens_2)
def widens_3(db):
    with Low(db):
        db.executesql("ALTER TABLE stock ALTER COLUMN qty TYPE bigint")
    return True
"""


@pytest.mark.usefixtures("with_programs", "may_create_databases")
@pytest.mark.parametrize("place", ["clone", "here", "scratch"])
@pytest.mark.parametrize("applied", [False, True])
def test_views_go_down_and_come_up(
    place: str, applied: bool, rehearsing: Callable[[str], RehearsalStand], postgres_server: PostgresServer
) -> None:
    stand = rehearsing(VIEWS)
    if applied:
        from migrate_graph.workflow.assessment import Selection

        assert stand.apply(selection=Selection(to="opens_2")) == 0
    before = state(postgres_server, stand.uri)
    done = stand.rehearse(place)
    assert state(postgres_server, stand.uri) == before
    assert set(outcomes(done).values()) == {Outcome.APPLIED}, done.results
    assert said(done, "widens_3") == [
        "DROP VIEW IF EXISTS low",
        "ALTER TABLE stock ALTER COLUMN qty TYPE bigint",
        "CREATE VIEW low AS SELECT id, qty FROM stock WHERE qty < 5",
    ]
    assert {each.source.line for each in footprint(done, "widens_3").statements if each.source} == {16, 19, 32}
    assert facts(footprint(done, "widens_3").changed) == {"column public.stock.qty", "column public.low.qty"}
    assert footprint(done, "widens_3").locks.keys() == {"public.stock", "public.low"}


@pytest.mark.usefixtures("with_programs", "may_create_databases")
@pytest.mark.parametrize("place", ["clone", "here", "scratch"])
def test_what_pydal_remembers_of_tables_stays_as_it_is(place: str, postgres_uri: str, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (tmp_path / "migrations.py").write_text("""
from pydal import Field

from migrate_graph import migration


@migration
def one_1(db):
    db._migrate_enabled = db._migrate = True
    db.define_table("gadget", Field("name"), migrate=True)
    return True


@migration(requires=one_1)
def two_2(db):
    db._migrate_enabled = db._migrate = True
    db.define_table("gadget", Field("name"), Field("size", "integer"), migrate=True)
    return True
""")
    from migrate_graph.workflow.assessment import Selection

    stand = RehearsalStand(postgres_uri, tmp_path, {"DB_FOLDER": str(folder)})
    assert stand.apply(selection=Selection(to="one_1")) == 0
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    done = stand.rehearse(place)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert done.exit_code == 0, done.results
    assert facts(footprint(done, "two_2").added) == {"column public.gadget.size"}


@pytest.mark.usefixtures("with_programs", "may_create_databases")
def test_two_copies_at_once_are_no_trouble_and_a_living_one_is_left_alone(
    rehearsing: Callable[[str], RehearsalStand], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = rehearsing(ONE)
    run(stand.uri, "CREATE TABLE stock (id int, qty int)", LEDGER)
    create = places.Place.create
    inner: list[int] = []

    def create_and_rehearse(self: Any, locale: Any) -> None:
        create(self, locale)
        monkeypatch.setattr(places.Place, "create", create)
        thread = threading.Thread(target=lambda: inner.append(int(stand.rehearse("clone").exit_code)))
        thread.start()
        thread.join()

    monkeypatch.setattr(places.Place, "create", create_and_rehearse)
    assert stand.rehearse("clone").exit_code == 0
    assert inner == [0]
    assert APP_PASSWORD not in repr(stand.events)


# -- failures, and replaying what is applied ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("with_programs", "may_create_databases")
@pytest.mark.parametrize("place", ["clone", "here", "scratch"])
def test_what_requires_a_failure_is_blocked_and_the_rest_goes_on(
    place: str, rehearsing: Callable[[str], RehearsalStand]
) -> None:
    stand = rehearsing("""
from migrate_graph import migration


@migration
def bad_1(db):
    db.executesql("SELECT nothing FROM nowhere")
    return True


@migration(requires=bad_1)
def waits_2(db):
    return True


@migration
def good_3(db):
    db.executesql("CREATE TABLE t (a int)")
    return True


@migration(requires=good_3)
def says_no_4(db):
    db.executesql("CREATE TABLE u (a int)")
    return False
""")
    done = stand.rehearse(place)
    assert outcomes(done) == {
        "bad_1": Outcome.RAISED, "waits_2": Outcome.BLOCKED, "good_3": Outcome.APPLIED, "says_no_4": Outcome.REFUSED,
    }  # fmt: skip
    (bad,) = (result for result in done.results if result.name == "bad_1")
    assert (bad.source.path, bad.source.line) == ("migrations.py", 7) if bad.source else False
    assert footprint(done, "bad_1").statements[0].error_code == "42P01"
    assert not footprint(done, "says_no_4").added
    assert done.exit_code == ExitCode.FAILED


REPLAYED = """
from migrate_graph import migration


@migration
def first_1(db):
    db.executesql("CREATE TABLE one (a int)"){more}
    return True


@migration(requires=first_1)
def second_2(db):
    db.executesql("ALTER TABLE one ADD COLUMN b int")
    return True
"""


@pytest.mark.usefixtures("may_create_databases")
def test_scratch_replays_what_is_applied_without_its_acts_outside(
    rehearsing: Callable[[str], RehearsalStand], tmp_path: Path
) -> None:
    stand = rehearsing(REPLAYED.format(more=""))
    from migrate_graph.workflow.assessment import Selection

    assert stand.apply(selection=Selection(to="first_1")) == 0
    assert facts(footprint(stand.rehearse("scratch"), "second_2").added) == {"column public.one.b"}
    written = tmp_path / "written"
    stand.root.joinpath("migrations.py").write_text(REPLAYED.format(more=f"\n    open({str(written)!r}, 'w').close()"))
    done = stand.rehearse("scratch")
    assert "could not be replayed" in done.cut
    assert "first_1" in done.cut
    assert (done.exit_code, written.exists()) == (ExitCode.FAILED, False)


@pytest.mark.usefixtures("may_create_databases")
def test_scratch_begins_with_the_configured_backup(rehearsing: Callable[[str], RehearsalStand], tmp_path: Path) -> None:
    stand = rehearsing(REPLAYED.format(more="\n    raise RuntimeError('it is in the backup')"))
    backup = tmp_path / "backup.sql"
    backup.write_text(
        f"{LEDGER};\nINSERT INTO ewh_implemented_features (name, installed) VALUES ('first_1', 'T');\n"
        "CREATE TABLE one (a int);\nINSERT INTO one VALUES (1);\n"
    )
    stand.settings["DATABASE_TO_RESTORE"] = str(backup)
    run(stand.uri, LEDGER, "INSERT INTO ewh_implemented_features (name, installed) VALUES ('first_1', 'T')")
    done = stand.rehearse("scratch")
    assert (done.exit_code, done.cut) == (0, ""), done.results
    assert facts(footprint(done, "second_2").added) == {"column public.one.b"}
