"""What libpq takes from the environment is named where no connection can be had."""

from __future__ import annotations

import pytest

from migrate_graph.database import Settings
from migrate_graph.database.postgres.session.opening import Sessions
from migrate_graph.errors import DatabaseUnreachable


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PGHOSTADDR", "127.0.0.1x"),
        ("PGSERVICE", "nosuch"),
        ("PGSSLMODE", "bogus"),
        ("PGSSLMODE", "require"),
        ("PGCHANNELBINDING", "require"),
        ("PGREQUIREAUTH", "none"),
        ("PGOPTIONS", "-c role=nosuch"),
        ("PGOPTIONS", "-c work_mem=much"),
        ("PGTARGETSESSIONATTRS", "standby"),
        ("PGTZ", "Nowhere/Land"),
        ("PGDATESTYLE", "odd"),
        ("PGGEQO", "perhaps"),
    ],
)
def test_a_variable_that_keeps_us_out_is_named(
    name: str, value: str, postgres_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(DatabaseUnreachable) as refused:
        Sessions(Settings(postgres_uri, connect_wait=0)).open("test")
    assert refused.value.hint.endswith(f"; the environment sets {name}: this counts, too")


def test_what_migrate_uri_says_itself_is_not_taken_from_the_environment(
    postgres_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGSSLMODE", "PGDATA"):
        monkeypatch.setenv(name, "unused")
    monkeypatch.setenv("PGTZ", "Nowhere/Land")
    with pytest.raises(DatabaseUnreachable) as refused:
        Sessions(Settings(f"{postgres_uri}?sslmode=disable", connect_wait=0)).open("test")
    assert "the environment sets PGTZ: " in refused.value.hint


@pytest.mark.parametrize(
    ("name", "value"), [("PGSERVICE", "nosuch"), ("PGTZ", "Nowhere/Land"), ("PGOPTIONS", "-c work_mem=much")]
)
def test_what_no_patience_mends_is_told_at_once(
    name: str, value: str, postgres_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(DatabaseUnreachable, match="cannot connect to "):
        Sessions(Settings(postgres_uri, connect_wait=60)).open("test")
