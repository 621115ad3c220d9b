"""What depends on the server's version, on one that is made to tell another."""

from __future__ import annotations

import re
from typing import Any

import psycopg2.extensions
import pytest
from servers import PostgresServer
from stand import Stand

from migrate_graph.cli import main
from migrate_graph.database import Settings, open_backend
from migrate_graph.database.postgres.facts.query import Scope, facts_query
from migrate_graph.database.postgres.session.connection import OurConnection
from migrate_graph.database.postgres.session.opening import Sessions
from migrate_graph.errors import DatabaseRefused, DatabaseUnreachable

pytestmark = pytest.mark.postgres

Pretend = Any


class PretendedInfo:
    """What libpq knows of a connection, but for the version."""

    def __init__(self, info: Any, version: int) -> None:
        self._info = info
        self.server_version = version

    def __getattr__(self, name: str) -> Any:
        return getattr(self._info, name)


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """Return what makes every server tell a version."""
    real = psycopg2.extensions.connection.info

    def tell(version: int) -> None:
        told = property(lambda connection: PretendedInfo(real.__get__(connection), version))
        monkeypatch.setattr(OurConnection, "info", told, raising=False)

    return tell


@pytest.mark.parametrize(("version", "told"), [(110022, "11"), (90624, "9")])
def test_a_server_that_is_too_old_is_refused_by_name(
    version: int, told: str, pretend: Pretend, postgres_uri: str
) -> None:
    pretend(version)
    with (
        pytest.raises(DatabaseRefused, match=f"is PostgreSQL {told}, and 12 to 18 are supported") as refused,
        open_backend(Settings(postgres_uri), writing=True),
    ):
        pass
    assert refused.value.hint == "upgrade the server first"


def test_it_is_exit_code_6_and_nothing_is_written(
    pretend: Pretend, postgres_uri: str, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "migrations.py").write_text(
        "from migrate_graph import migration\n\n@migration\ndef one_1(db):\n    return True\n"
    )
    environ = {"MIGRATE_URI": postgres_uri, "HOME": str(tmp_path)}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        pretend(110000)
        for words in (["apply"], ["status"], ["plan"]):
            assert main(words, environ=environ) == 6, words
        assert "PostgreSQL 11" in capsys.readouterr().err
    pretend(160000)
    with open_backend(Settings(postgres_uri)) as backend:
        assert backend.user_relations() == []


@pytest.mark.parametrize("version", [120000, 180000, 190000])
def test_the_oldest_and_what_is_newer_than_known_are_used(
    version: int, pretend: Pretend, postgres_uri: str, postgres_server: PostgresServer
) -> None:
    pretend(version)
    if version >= 170000 > postgres_server.version:  # this server does not know what newer ones do
        with pytest.raises(DatabaseUnreachable, match="transaction_timeout"), open_backend(Settings(postgres_uri)):
            pass
        return

    def one_1(db: Any) -> bool:
        db.executesql("CREATE TABLE t (id integer)")
        return True

    assert Stand(postgres_uri).run(one_1).succeeded


_CAME_WITH = {
    130000: ("stxstattarget", "regcollation"),
    140000: ("attcompression", "stxexprs", "rngmultitypid"),
    150000: ("prqual", "prattrs", "colliculocale", "datlocprovider", "indnullsnotdistinct"),
    160000: ("collicurules", "datcollversion"),
    170000: ("colllocale",),
    180000: ("conenforced", "conperiod"),
}


@pytest.mark.parametrize("version", [120000, 130000, 140000, 150000])
def test_a_server_is_asked_for_no_column_that_came_later(version: int) -> None:
    query = facts_query(version, (), Scope())
    later = [name for since, names in _CAME_WITH.items() if since > version for name in names]
    assert [name for name in later if re.search(rf"(\.|AS ){name}\b", query)] == []
    assert ("'pg_subscription', s.oid" in query) is (version >= 140000)  # before, ordinary roles may not read that


@pytest.mark.parametrize(("version", "warned"), [(120000, 0), (189999, 0), (190001, 1)])
def test_a_server_that_is_newer_than_known_is_told_once(
    version: int, warned: int, pretend: Pretend, postgres_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Sessions.settings

    def settings(self: Any, connection: Any, *, ours: bool) -> Any:  # this server does not know what newer ones do
        sent = known(self, connection, ours=ours)
        return [each for each in sent if each[0] != "transaction_timeout"]

    monkeypatch.setattr(Sessions, "settings", settings)
    pretend(version)
    events: list[Any] = []
    with open_backend(Settings(postgres_uri), observer=events.append) as backend:
        assert backend.user_relations() == []
    told = [each for each in events if "newer than this version" in getattr(each, "message", "")]
    assert len(told) == warned


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize(
    ("version", "timeouts"),
    [
        (130000, {"idle_in_transaction_session_timeout"}),
        (140000, {"idle_in_transaction_session_timeout", "idle_session_timeout"}),
        (160000, {"idle_in_transaction_session_timeout", "idle_session_timeout"}),
        (170000, {"idle_in_transaction_session_timeout", "idle_session_timeout", "transaction_timeout"}),
    ],
)
def test_every_timeout_that_a_server_knows_is_sent(version: int, timeouts: set[str], ours: bool) -> None:
    class Connection:
        info = PretendedInfo(None, version)

    sent = dict(Sessions(Settings("postgres://u:p@h/d", lock_timeout=0)).settings(Connection(), ours=ours))
    assert {name for name in sent if name.endswith("timeout")} == timeouts | {"lock_timeout", "statement_timeout"}
    assert all(sent[name] == "0" for name in timeouts | {"statement_timeout"})
    assert (sent["lock_timeout"] == "0") is not ours  # every wait of ours has a limit


REPLICA = """
from migrate_graph import migration


@migration(independent=True)
def one_1(db):
    db.executesql("CREATE TABLE one (id integer PRIMARY KEY)")
    db.executesql("CREATE TABLE two (one integer REFERENCES one)")
    db.executesql("INSERT INTO two VALUES (7)")
    return True


@migration(independent=True)
def beside_1(db):
    db.executesql("CREATE TABLE beside (id integer PRIMARY KEY)")
    return True
"""


@pytest.mark.parametrize(
    "words",
    [["plan"], ["status"], ["apply"], ["apply", "--jobs", "2"], ["plan", "--rehearse", "--on", "here"]],
    ids=lambda words: words[-1],
)
@pytest.mark.parametrize("of", ["ROLE app IN DATABASE", "DATABASE"])
def test_sessions_that_fire_no_trigger_are_told_of(
    words: list[str],
    of: str,
    postgres_uri: str,
    postgres_server: PostgresServer,
    tmp_path: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows that no foreign key has checked were written, and nothing said so."""
    (tmp_path / "migrations.py").write_text(REPLICA)
    environ = {"MIGRATE_URI": postgres_uri, "HOME": str(tmp_path)}
    monkeypatch.chdir(tmp_path)
    setting = f"ALTER {of} {postgres_uri.rpartition('/')[2]} {{}} session_replication_role"
    postgres_server.execute(setting.format("SET") + " = replica")
    assert main(words, environ=environ) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert told.count("session_replication_role is 'replica'") == 1, told
    postgres_server.execute(setting.format("RESET"))
    main(["status"], environ=environ)
    assert "session_replication_role" not in capsys.readouterr().err
