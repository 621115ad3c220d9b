"""Fixtures of the tests on databases."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bystanders import bystanding
from rehearsal_stand import RehearsalStand
from revert_stand import Shop
from servers import PostgresServer

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


@pytest.fixture
def bystander(postgres_admin_uri: str) -> Iterator[None]:
    """Run another session that creates, drops, refreshes and locks things of its own, in a schema of its own, while a test runs."""
    with bystanding(postgres_admin_uri):
        yield


@pytest.fixture
def shop(tmp_path: Path, database_uri: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Shop:
    copies = ""
    if database_uri.startswith("postgres"):
        server: PostgresServer = request.getfixturevalue("postgres_server")
        copies = server.admin_uri("postgres")
        monkeypatch.setenv("PATH", str(server.binaries), prepend=os.pathsep)  # where a pg_dump of its version is
    return Shop(tmp_path / "project", database_uri, copies)


@pytest.fixture(scope="session")
def edwh_migrate_2_1_0(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Python of an environment in which edwh-migrate 2.1.0 is installed."""
    directory = tmp_path_factory.mktemp("real")
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    python = str(directory / "bin" / "python")
    installed = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "10", "edwh-migrate[full]==2.1.0", "setuptools"],
        check=False, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    if installed.returncode:
        pytest.skip(f"the package index is not reachable: {installed.stderr.strip().splitlines()[-1]}")
    return python


@pytest.fixture
def with_programs(postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(postgres_server.binaries), prepend=os.pathsep)


@pytest.fixture
def rehearsing(postgres_uri: str, tmp_path: Path) -> Callable[[str], RehearsalStand]:
    """Writes the migrations of a project on a fresh database."""

    def write(text: str) -> RehearsalStand:
        (tmp_path / "migrations.py").write_text(text)
        return RehearsalStand(postgres_uri, tmp_path)

    return write
