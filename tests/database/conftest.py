"""Fixtures of the tests on databases."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from migrate_graph import Config, authoring, migrations
from migrate_graph.compat import declared, runs, settings


@pytest.fixture
def new_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Yield each test a default store, process settings, a directory and an environment of its own."""
    monkeypatch.setattr(migrations, "_declared", authoring.Collector())
    fresh = declared.Imported()
    monkeypatch.setattr(declared, "imported", fresh)
    monkeypatch.setattr(runs, "imported", fresh)
    monkeypatch.setattr(settings, "_process", settings.ProcessConfig())
    before = dict(os.environ)  # noqa: TID251 - a program's environment is what is tested here
    for name in [*before]:
        if name.upper() in {variable for each in Config.settings() for variable in each.variables}:
            del os.environ[name]  # noqa: TID251
    monkeypatch.chdir(tmp_path)
    yield
    os.environ.clear()  # noqa: TID251
    os.environ.update(before)  # noqa: TID251


@pytest.fixture
def config(sqlite_uri: str) -> Config:
    """Settings of a fresh SQLite file."""
    return Config.load({"migrate_uri": sqlite_uri})


_BUSY = """
BEGIN;
CREATE TABLE bystander.work (id int);
CREATE VIEW bystander.seen AS SELECT id FROM bystander.work;
CREATE MATERIALIZED VIEW bystander.held AS SELECT id FROM bystander.seen;
CREATE TEMP TABLE work_{round} AS SELECT id FROM bystander.held;
COMMIT;
BEGIN; LOCK TABLE bystander.work IN ACCESS EXCLUSIVE MODE; REFRESH MATERIALIZED VIEW bystander.held; ROLLBACK;
REFRESH MATERIALIZED VIEW bystander.held;
BEGIN; DROP VIEW bystander.seen CASCADE; ROLLBACK;
DROP TABLE bystander.work CASCADE; DROP TABLE work_{round};
"""


@pytest.fixture
def bystander(postgres_admin_uri: str) -> Iterator[None]:
    """Run another session that creates, drops, refreshes and locks things of its own, in a schema of its own, while a test runs."""
    connection = psycopg2.connect(postgres_admin_uri, options="-c lock_timeout=10000")
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("CREATE SCHEMA bystander")
    stop, busy, failed = threading.Event(), threading.Event(), list[str]()

    def work() -> None:
        number = 0
        try:
            while not stop.is_set():
                for statement in _BUSY.format(round=number).split(";"):
                    if statement.strip():
                        cursor.execute(statement)
                number += 1
                busy.set()
        except psycopg2.errors.InsufficientPrivilege:
            pass  # an event trigger of the test has given its things to others
        except psycopg2.Error as error:
            failed.append(str(error))
        finally:
            busy.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert busy.wait(30)
    yield
    stop.set()
    thread.join(30)
    connection.close()
    assert failed == []
