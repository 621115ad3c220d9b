"""A session is ended while a copy is made: the connection is what is told, and nothing is left of the copy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from rehearsal_stand import RehearsalStand, run
from servers import PostgresServer
from verify_stand import VerifyStand

from migrate_graph.database import Settings
from migrate_graph.database.postgres import places, sizes
from migrate_graph.database.postgres.backend import PostgresBackend
from migrate_graph.database.postgres.facts import contents
from migrate_graph.database.postgres.rehearsal import clone
from migrate_graph.database.postgres.rehearsal.recorder import Recorder
from migrate_graph.database.postgres.session.cursor import send
from migrate_graph.database.postgres.watched import WatchedBackend
from migrate_graph.errors import DatabaseError, DatabaseRefused, DatabaseUnreachable
from migrate_graph.executor import checkpoints
from migrate_graph.executor.checkpoints import Checkpoint
from migrate_graph.workflow.laboratory.closing import close

pytestmark = [pytest.mark.postgres, pytest.mark.usefixtures("may_create_databases")]

ONE = """
from migrate_graph import migration


@migration
def one_1(db):
    db.executesql("CREATE TABLE mine (a int)")
    return True
"""

LEDGER = "CREATE TABLE ewh_implemented_features (id serial, name varchar(512) UNIQUE, installed char(1), last_update_dttm timestamp)"


@pytest.fixture
def stand(
    postgres_uri: str, postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> RehearsalStand:
    monkeypatch.setenv("PATH", str(postgres_server.binaries), prepend=os.pathsep)
    (tmp_path / "migrations.py").write_text(ONE)
    run(postgres_uri, LEDGER, "CREATE MATERIALIZED VIEW m AS SELECT 1 AS a")
    run(postgres_uri, f"ALTER DATABASE {postgres_uri.rpartition('/')[2]} SET timezone = 'Asia/Tokyo'")
    return RehearsalStand(postgres_uri, tmp_path)


def end_before(statement: str, server: PostgresServer, patch: pytest.MonkeyPatch) -> list[str]:
    """End the session that is about to send a statement; return what was ended."""
    ended: list[str] = []

    def sent(connection: Any, text: Any, *parameters: Any) -> Any:
        told = text.decode() if isinstance(text, bytes) else text
        if not ended and statement in told:
            ended.append(told)
            server.execute(f"SELECT pg_terminate_backend({connection.info.backend_pid}, 10000)")
        return send(connection, text, *parameters)

    patch.setattr(places, "send", sent)
    patch.setattr(clone, "send", sent)
    return ended


def left_over(uri: str) -> list[Any]:
    return run(uri, "SELECT datname FROM pg_database WHERE datname ~ '^migrate_graph'")


@pytest.mark.parametrize(
    "statement",
    ["SELECT rolcreatedb", "SELECT d.datname", "CREATE DATABASE", "datcollate", "REFRESH", "SET TimeZone", "pg_export_snapshot", "relpages"],
)  # fmt: skip
def test_a_lost_connection_is_told_as_one_while_a_copy_is_made(
    statement: str, stand: RehearsalStand, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = end_before(statement, postgres_server, monkeypatch)
    with pytest.raises(DatabaseUnreachable, match=r"connection .* was lost") as caught:
        stand.rehearse("clone")
    assert ended
    assert "run it again" in caught.value.hint
    assert left_over(stand.uri) == []


@pytest.mark.parametrize("statement", ["SELECT rolcreatedb", "SELECT d.datname", "CREATE DATABASE"])
def test_a_lost_connection_is_told_as_one_where_a_graph_is_proved(
    statement: str, stand: RehearsalStand, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = end_before(statement, postgres_server, monkeypatch)
    with pytest.raises(DatabaseUnreachable, match=r"connection .* was lost"):
        VerifyStand(stand.root, stand.uri).watch()
    assert ended
    assert left_over(stand.uri) == []


def test_a_lost_connection_is_told_as_one_where_facts_are_read(
    stand: RehearsalStand, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = WatchedBackend._facts_of

    def cut(self: WatchedBackend, keeper: Any, *arguments: Any) -> Any:
        postgres_server.execute(f"SELECT pg_terminate_backend({keeper.info.backend_pid}, 10000)")
        return read(self, keeper, *arguments)

    monkeypatch.setattr(WatchedBackend, "_facts_of", cut)
    with pytest.raises(DatabaseUnreachable, match=r"connection .* was lost"):
        VerifyStand(stand.root, stand.uri).watch()
    assert left_over(stand.uri) == []


def test_a_sequence_behind_its_rows_is_named_with_what_mends_it(stand: RehearsalStand) -> None:
    """Logical replication copies rows, and no sequence; it was said that another session changes the tables."""
    assert stand.apply() == 0
    run(stand.uri, "DELETE FROM ewh_implemented_features")
    run(stand.uri, "ALTER SEQUENCE ewh_implemented_features_journal_id_seq RESTART", "DROP TABLE mine")
    with pytest.raises(DatabaseRefused, match="duplicate key") as caught:
        stand.apply()
    mend = caught.value.hint.partition(": ")[2].partition(";")[0]
    assert mend.startswith("SELECT setval")
    run(stand.uri, mend)
    assert stand.apply() == 0


def test_a_dump_that_fails_with_the_server_is_no_lack_of_rights(
    stand: RehearsalStand, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    psql = f"{postgres_server.binaries / 'psql'} {postgres_server.admin_uri()}"
    asked = (
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'migrate_graph:copy'"
    )
    (programs / "pg_dump").write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo \'pg_dump (PostgreSQL) 99.1\' && exit\n{psql} -c "{asked}"\necho FATAL >&2\nexit 1\n'
    )
    (programs / "pg_dump").chmod(0o755)
    monkeypatch.setattr(clone.os, "get_exec_path", lambda: [str(programs)])
    with pytest.raises(DatabaseUnreachable, match="was lost"):
        stand.rehearse("clone")
    assert left_over(stand.uri) == []


@pytest.mark.parametrize("place", ["clone", "here"])
def test_a_rehearsal_without_a_place_for_the_ledger_says_so(
    place: str, stand: RehearsalStand, postgres_server: PostgresServer
) -> None:
    """It was told as a fault of the tool: only a run looked whether there is a schema to create in."""
    run(stand.uri, "DROP TABLE ewh_implemented_features", "DROP MATERIALIZED VIEW m")
    postgres_server.execute(f"ALTER DATABASE {stand.uri.rpartition('/')[2]} SET search_path = nowhere")
    with pytest.raises(DatabaseRefused, match="search_path of the role names no schema"):
        stand.rehearse(place)


def test_a_rehearsal_that_may_not_make_the_ledger_says_so(
    stand: RehearsalStand, postgres_server: PostgresServer
) -> None:
    database = stand.uri.rpartition("/")[2]
    run(stand.uri, "DROP TABLE ewh_implemented_features", "DROP MATERIALIZED VIEW m")
    postgres_server.execute("CREATE SCHEMA locked", "GRANT USAGE ON SCHEMA locked TO app", database=database)
    postgres_server.execute(f"ALTER DATABASE {database} SET search_path = locked")
    with pytest.raises(DatabaseRefused, match="the role app may create no table in schema locked") as caught:
        stand.rehearse("here")
    assert 'GRANT USAGE, CREATE ON SCHEMA "locked" TO "app"' in caught.value.hint


TWO = (
    ONE
    + """

@migration(requires=one_1)
def two_2(db):
    db.executesql("CREATE TABLE other (a int)")
    return True
"""
)

MOMENTS = [Checkpoint.SESSION_OPENED, Checkpoint.BODY_RETURNED, Checkpoint.SUCCESS_WRITTEN, None]
"""Where the sessions end: at a checkpoint, or where it is read what a migration has left."""


def end_at(
    moment: Checkpoint | None, uri: str, server: PostgresServer, patch: pytest.MonkeyPatch, *, of: str = ""
) -> None:
    """End the sessions in which the first migration is tried, or those of one name."""
    ends = (
        f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name ~ '^migrate_graph:{of}' "
        f"AND (datname ~ '^migrate_graph' OR datname = '{uri.rpartition('/')[2]}')"
    )
    survey = Recorder.survey
    ended: list[Any] = []
    admin = psycopg2.connect(server.admin_uri())  # before anything runs: bodies may open no connection
    admin.autocommit = True

    def end() -> None:
        if not ended:
            ended.append(admin.cursor().execute(ends))
            admin.close()

    def survey_cut(self: Recorder) -> None:
        if moment is None:
            end()
        survey(self)

    patch.setattr(Recorder, "survey", survey_cut)
    patch.setattr(checkpoints, "reached", lambda passed: end() if passed is moment else None)


moments = pytest.mark.parametrize("moment", MOMENTS, ids=lambda each: each.name if each else "survey")


@moments
@pytest.mark.parametrize("place", ["clone", "here", "scratch"])
def test_a_connection_that_is_lost_in_a_rehearsal_is_no_fault_of_a_migration(
    place: str,
    moment: Checkpoint | None,
    stand: RehearsalStand,
    postgres_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was told as a failure of the migration, as a fault of the tool, or the rehearsal had simply not seen what the migration does."""
    (stand.root / "migrations.py").write_text(TWO)
    end_at(moment, stand.uri, postgres_server, monkeypatch)
    with pytest.raises(DatabaseError, match="was lost") as caught:
        stand.rehearse(place)
    assert "run it again when" in caught.value.hint
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(postgres_server.binaries), prepend=os.pathsep)
    assert stand.rehearse(place).exit_code == 0
    assert left_over(stand.uri) == []


@moments
def test_a_connection_that_is_lost_while_a_graph_is_proved_proves_nothing(
    moment: Checkpoint | None, stand: RehearsalStand, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Footprints without what a migration left were stored as if they were whole: a need that is not known lets two run side by side."""
    verify = VerifyStand(stand.root, stand.uri)
    of = "keeper" if moment is None else "one_1"  # the other session lives, and nothing else can be the reason
    end_at(moment, stand.uri, postgres_server, monkeypatch, of=of)
    with pytest.raises(DatabaseError, match="was lost") as caught:
        verify.watch()
    assert "run it again when" in caught.value.hint
    monkeypatch.undo()
    with verify.laboratory() as place:
        watched = place.watch()
        end_at(moment or MOMENTS[0], stand.uri, postgres_server, monkeypatch, of="one_1")
        with pytest.raises(DatabaseError, match="was lost"):
            close(place, watched)
    assert left_over(stand.uri) == []


@pytest.mark.parametrize("of_what", ["sizes", "contents"])
def test_a_connection_that_is_lost_at_a_look_is_no_fault_of_the_tool(
    of_what: str, stand: RehearsalStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = "SELECT pg_terminate_backend(pg_backend_pid())"
    monkeypatch.setattr(sizes, "SIZES", ends)
    monkeypatch.setattr(contents, "_own_tables", lambda cursor, _names: cursor.execute(ends))
    settings = Settings(stand.uri)
    with pytest.raises(DatabaseUnreachable, match=r"connection .* was lost"):
        PostgresBackend.sizes_of(settings) if of_what == "sizes" else PostgresBackend.contents(settings, unstable={})
