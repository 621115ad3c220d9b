"""A real standby: it is read as any server, and says clearly that it records nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_field import Field
from servers import PostgresServer, PostgresStandby, ServerUnavailable

pytestmark = pytest.mark.postgres

ONE = """
from child import executed
from migrate_graph import ViewMigrationManager, migration

class V(ViewMigrationManager):
    uses = ()
    since = "one_1"
    def up(self): self.db.executesql("CREATE VIEW v AS SELECT id FROM one")
    def down(self): self.db.executesql("DROP VIEW IF EXISTS v")

@migration
def one_1(db):
    executed("one_1")
    db.executesql("CREATE TABLE one (id integer)")
    with V(db):
        db.executesql("ALTER TABLE one ADD more integer")
    return True
"""
TWO = (
    ONE
    + """
@migration
def two_2(db):
    executed("two_2")
    return True
"""
)


@pytest.fixture
def standby(own_postgres: PostgresServer) -> Iterator[PostgresStandby]:
    try:
        server = PostgresStandby(own_postgres)
        server.start()
    except ServerUnavailable as reason:
        pytest.skip(f"no standby can be had: {reason}")
    yield server
    server.close()


def test_a_standby_is_read_and_nothing_else(
    own_postgres: PostgresServer, standby: PostgresStandby, tmp_path: Path
) -> None:
    with own_postgres.database() as name:
        field = Field(tmp_path / "project", own_postgres.app_uri(name))
        there = {"MIGRATE_URI": standby.app_uri(name)}
        field.write(ONE)
        standby.catch_up()
        ended = field.apply(env=there)  # not even a ledger
        assert ended.code == 6, ended.output
        assert "read-only" in ended.output
        assert field.migrate("status", env=there).code == 0

        assert field.apply().code == 0
        standby.catch_up()
        for words in (
            "status",
            "status --views",
            "plan --check",
            "log",
            "show V",
            "check --history",
            "graph --history -o g.svg",
            "apply",
        ):
            ended = field.migrate(*words.split(), env=there)
            assert ended.code == 0, (words, ended.output)

        field.write(TWO)
        assert field.migrate("plan", "--check", env=there).code == 4
        for words in ("apply", "mark two_2 --installed", "apply --fake"):
            ended = field.migrate(*words.split(), env=there)
            assert ended.code == 6, (words, ended.output)
            assert "the server is read-only (a standby" in ended.output
        assert field.executions("two_2") == 0
        assert field.apply().code == 0  # the primary is not disturbed
