"""Migrations and view managers for tests, made by a word or two; managers are forgotten after each test that asks for it."""

from __future__ import annotations

import gc
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from migrate_graph import SqlView

Body = Callable[[Any], Any]


@pytest.fixture(autouse=True)
def forget_managers() -> Iterator[None]:
    """Forget the managers that a test has made; it counts where a file imports this."""
    yield
    gc.collect()


def view(kind: str, query: str, *uses: Any, **more: Any) -> Any:
    """Return a manager of a view."""
    body = {"query": query, "uses": uses, "since": None, "until": None} | more
    return type(kind, (SqlView,), {"__module__": __name__} | body)


def sql(name: str, *statements: str) -> Body:
    """Return a migration of some statements."""
    return named(name, lambda db: [db.executesql(each) for each in statements])


def named(name: str, body: Body) -> Body:
    """Return a migration with this name."""

    def run(db: Any) -> bool:
        body(db)
        return True

    run.__name__ = name
    return run


def ask(uri: str, *statements: str) -> list[tuple[Any, ...]]:
    """Return what the last of some statements gives in a session of its own, which commits."""
    if uri.startswith("sqlite"):
        with closing(sqlite3.connect(uri.partition("://")[2])) as file, file:
            return [file.execute(each).fetchall() for each in statements][-1]
    with closing(psycopg2.connect(uri)) as connection, connection, connection.cursor() as cursor:
        for each in statements:
            cursor.execute(each)
        return cursor.fetchall() if cursor.description else []
