"""Where a rehearsal cannot happen, and what is said there: rights, programs, servers that only read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rehearsal_stand import LEDGER, ONE, RehearsalStand, outcomes, run, said, state
from servers import PostgresServer, PostgresStandby, ServerUnavailable

from migrate_graph.core.events import Outcome, StepFinished, Warned
from migrate_graph.database.postgres.rehearsal import clone
from migrate_graph.errors import DatabaseRefused, ExitCode

pytestmark = pytest.mark.postgres


@pytest.mark.usefixtures("with_programs")
def test_a_role_that_may_create_no_database_is_told_three_ways_out(rehearsing: Callable[[str], RehearsalStand]) -> None:
    with pytest.raises(DatabaseRefused, match="may create no database") as caught:
        rehearsing(ONE).rehearse("clone")
    assert caught.value.exit_code == ExitCode.DATABASE
    assert all(way in caught.value.hint for way in ("CREATEDB", "rehearse_on", "--on here"))


@pytest.mark.usefixtures("may_create_databases")
@pytest.mark.parametrize("version", [None, "11.2", "no version"])
def test_without_a_pg_dump_that_can_read_the_server_the_ways_out_are_told(
    version: str | None, rehearsing: Callable[[str], RehearsalStand], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    if version:
        (programs / "pg_dump").write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {version}'\n")
        (programs / "pg_dump").chmod(0o755)
    monkeypatch.setattr(clone.os, "get_exec_path", lambda: [str(programs)])
    monkeypatch.setattr(clone, "_VERSIONS", tmp_path / "none")
    stand = rehearsing(ONE)
    with pytest.raises(DatabaseRefused, match=r"too old|not found") as caught:
        stand.rehearse("clone")
    assert caught.value.exit_code == ExitCode.DATABASE
    assert all(way in caught.value.hint for way in ("postgresql-client", "--on scratch", "--on here"))
    assert run(stand.uri, "SELECT datname FROM pg_database WHERE datname ~ '^migrate_graph'") == []


@pytest.mark.usefixtures("with_programs")
def test_copies_can_be_made_on_another_server(
    rehearsing: Callable[[str], RehearsalStand], own_postgres: PostgresServer, postgres_server: PostgresServer
) -> None:
    own_postgres.execute("ALTER ROLE app CREATEDB")
    stand = rehearsing(ONE)
    run(stand.uri, "CREATE TABLE stock (id int, qty int)", LEDGER)
    stand.settings["MIGRATE_REHEARSE_ON"] = own_postgres.app_uri("postgres")
    before = state(postgres_server, stand.uri)
    assert stand.rehearse("clone").exit_code == 0
    assert state(postgres_server, stand.uri) == before
    assert run(own_postgres.admin_uri(), "SELECT datname FROM pg_database WHERE datname ~ '^migrate_graph'") == []
    assert own_postgres.app_uri("postgres") not in repr(stand.open().config)


@pytest.mark.usefixtures("with_programs", "may_create_databases")
def test_a_role_that_may_read_nothing_gets_a_clear_answer(
    rehearsing: Callable[[str], RehearsalStand], postgres_server: PostgresServer
) -> None:
    stand = rehearsing(
        'from migrate_graph import migration\n\n\n@migration\ndef one_1(db):\n    db.executesql("CREATE TABLE mine (a int)")\n    return True\n'
    )
    database = stand.uri.rpartition("/")[2]
    postgres_server.execute(f"ALTER DATABASE {database} OWNER TO postgres")
    postgres_server.execute(
        "REVOKE ALL ON SCHEMA public FROM PUBLIC", "GRANT USAGE, CREATE ON SCHEMA public TO app", "CREATE TABLE secret (a int)",
        LEDGER,
        "ALTER TABLE ewh_implemented_features OWNER TO app", database=database,
    )  # fmt: skip
    with pytest.raises(DatabaseRefused, match="permission denied for table secret") as caught:
        stand.rehearse("clone")
    assert "GRANT" in caught.value.hint.upper()
    done = stand.rehearse("here")  # which needs nothing but what the migrations need
    assert done.exit_code == 0, (done.results, done.cut)
    assert said(done, "one_1") == ["CREATE TABLE mine (a int)"]


@pytest.mark.usefixtures("with_programs", "may_create_databases")
def test_what_the_role_cannot_copy_exactly_is_told_or_refused(
    rehearsing: Callable[[str], RehearsalStand], postgres_server: PostgresServer
) -> None:
    stand = rehearsing(ONE)
    database = stand.uri.rpartition("/")[2]
    run(stand.uri, "CREATE TABLE stock (id int, qty int)", LEDGER)
    postgres_server.execute("CREATE TABLE theirs (a int)", "GRANT SELECT ON theirs TO app", database=database)
    done = stand.rehearse("clone")
    assert done.exit_code == 0, done.results
    assert any(remark.startswith("the copy is not exact: ALTER TABLE") for remark in done.remarks)
    postgres_server.execute("CREATE EXTENSION vector", database=database)
    with pytest.raises(DatabaseRefused, match="CREATE EXTENSION"):
        stand.rehearse("clone")


@pytest.mark.parametrize("place", ["clone", "here"])
@pytest.mark.usefixtures("with_programs")
def test_a_standby_is_refused(place: str, own_postgres: PostgresServer, tmp_path: Path) -> None:
    try:
        standby = PostgresStandby(own_postgres)
        standby.start()
    except ServerUnavailable as reason:
        pytest.skip(f"no standby can be had: {reason}")
    with closing(standby), own_postgres.database() as name:
        own_postgres.execute("ALTER ROLE app CREATEDB")
        standby.catch_up()
        (tmp_path / "migrations.py").write_text(ONE)
        with pytest.raises(DatabaseRefused, match="standby") as caught:
            RehearsalStand(standby.app_uri(name), tmp_path).rehearse(place)
        assert caught.value.exit_code == ExitCode.DATABASE


@pytest.mark.parametrize("place", ["clone", "scratch"])
@pytest.mark.parametrize("who", ["DATABASE {database}", "ROLE app"])
@pytest.mark.usefixtures("with_programs", "may_create_databases")
def test_a_role_that_only_reads_is_told_how_it_may_write(
    who: str, place: str, rehearsing: Callable[[str], RehearsalStand], postgres_server: PostgresServer
) -> None:
    stand = rehearsing(ONE)
    setting = f"ALTER {who.format(database=stand.uri.rpartition('/')[2])} {{}} default_transaction_read_only"
    postgres_server.execute(setting.format("SET") + " = on")
    try:
        with pytest.raises(DatabaseRefused, match="read-only") as caught:
            stand.rehearse(place)
    finally:
        postgres_server.execute(setting.format("RESET"))
    assert caught.value.exit_code == ExitCode.DATABASE
    assert all(way in caught.value.hint for way in ("rehearse_on", "PGOPTIONS"))
    assert not stand.events, "nothing was made, so nothing stays"


class _TakenAway(list[Any]):
    """Gives each copy to a superuser when a migration has ended in it."""

    def __init__(self, server: PostgresServer) -> None:
        super().__init__()
        self._uri = server.admin_uri()

    def copies(self) -> list[str]:
        return [
            name for (name,) in run(self._uri, "SELECT datname FROM pg_database WHERE datname ~ '^migrate_graph_re'")
        ]

    def append(self, event: Any) -> None:
        super().append(event)
        for name in self.copies() if isinstance(event, StepFinished) else ():
            run(self._uri, f"ALTER DATABASE {name} OWNER TO postgres")


@pytest.mark.usefixtures("with_programs", "may_create_databases")
def test_a_copy_that_may_not_be_dropped_is_named_and_hides_no_result(
    rehearsing: Callable[[str], RehearsalStand], postgres_server: PostgresServer
) -> None:
    stand = rehearsing(ONE)
    run(stand.uri, "CREATE TABLE stock (id int, qty int)", LEDGER)
    stand.events = told = _TakenAway(postgres_server)
    try:
        done = stand.rehearse("clone")
        (left,) = told.copies()
    finally:
        for name in told.copies():
            postgres_server.drop_database(name)
    assert outcomes(done) == {"one_1": Outcome.APPLIED}
    (warning,) = [event for event in told if isinstance(event, Warned)]
    assert warning.message == f"the database {left} stays: must be owner of database {left}"
    assert "the next rehearsal" in warning.hint
