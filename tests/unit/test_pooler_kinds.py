"""A pooler that gives a server to each transaction is told from one that gives it to each client, also while others use it."""

from __future__ import annotations

from typing import Any

import psycopg2
import pytest

from migrate_graph.database import Settings
from migrate_graph.database.postgres.session import opening as sessions
from migrate_graph.database.postgres.session.opening import Sessions


class Client:
    """A connection to a pooler; it knows which server process each question reaches."""

    def __init__(self, *pids: int | Exception) -> None:
        self.pids = list(pids)
        self.autocommit = True

    def ask(self) -> int:
        pid = self.pids.pop(0) if len(self.pids) > 1 else self.pids[0]
        if isinstance(pid, Exception):
            raise pid
        return pid

    def close(self) -> None:
        pass


def judge(monkeypatch: pytest.MonkeyPatch, first: Client, *others: Client) -> bool:
    waiting = list(others)
    monkeypatch.setattr(sessions, "_server_pid", Client.ask)
    monkeypatch.setattr(Sessions, "_dial", lambda *_: waiting.pop(0) if len(waiting) > 1 else waiting[0])
    monkeypatch.setattr(sessions, "_POOLER_LOOK", 0.3)
    judged: Any = Sessions(Settings("postgres://app@db.example/shop"))._is_transaction_pooler(first)
    return bool(judged)


def test_a_server_that_changes_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert judge(monkeypatch, Client(1, 1, 2), Client(9))


def test_a_second_client_that_gets_the_first_ones_server(monkeypatch: pytest.MonkeyPatch) -> None:
    assert judge(monkeypatch, Client(1), Client(1))


def test_others_who_hold_the_first_ones_server_for_a_moment_hide_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert judge(monkeypatch, Client(1), Client(2), Client(3), Client(2), Client(1))


def test_each_client_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not judge(monkeypatch, Client(1), Client(2))


def test_a_second_client_that_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not judge(monkeypatch, Client(1), Client(psycopg2.OperationalError("no more connections allowed")))
