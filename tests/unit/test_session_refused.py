"""What is said when a server lets us in and then ends what opens a session."""

from __future__ import annotations

from typing import Any

import psycopg2
import pytest

from migrate_graph.database import Settings
from migrate_graph.database.postgres.session.opening import Sessions
from migrate_graph.errors import DatabaseUnreachable


@pytest.mark.parametrize(
    ("code", "told"), [("57014", "PGOPTIONS"), ("25P04", "PGOPTIONS"), ("28000", "check migrate_uri")]
)
def test_a_timeout_of_the_role_is_called_what_it_is(code: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any, **_options: Any) -> Any:
        error: Any = psycopg2.Error("canceling statement due to a timeout")
        error.__setstate__({"pgcode": code})
        raise error

    sessions = Sessions(Settings("postgres://app@db.example/shop"))
    monkeypatch.setattr(sessions, "_dial", refuse)
    with pytest.raises(DatabaseUnreachable) as refused:
        sessions.open("keeper")
    assert told in refused.value.hint


def test_what_a_pooler_takes_not_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any, **_options: Any) -> Any:
        raise psycopg2.OperationalError("FATAL:  unsupported startup parameter: options")

    sessions = Sessions(Settings("postgres://app@db.example/shop", connect_wait=0))
    monkeypatch.setattr(sessions, "_dial", refuse)
    with pytest.raises(DatabaseUnreachable, match="cannot connect") as refused:
        sessions.open("keeper")
    assert "ignore_startup_parameters" in refused.value.hint
