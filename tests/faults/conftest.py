"""Fixtures of the fault tests: projects on fresh databases."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_field import Field, Templates


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this directory is a fault test."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.faults)


@pytest.fixture(params=[pytest.param("postgres", marks=pytest.mark.postgres), "sqlite"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Field:
    """A project on a fresh database, once of each kind."""
    return Field(tmp_path / "project", request.getfixturevalue(f"{request.param}_uri"))


@pytest.fixture
def on_postgres(postgres_uri: str, tmp_path: Path) -> Field:
    """A project on a fresh PostgreSQL database."""
    return Field(tmp_path / "project", postgres_uri)


@pytest.fixture
def on_sqlite(sqlite_uri: str, tmp_path: Path) -> Field:
    """A project on a fresh SQLite file."""
    return Field(tmp_path / "project", sqlite_uri)


@pytest.fixture(scope="session")
def templates(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """See `Templates`."""
    return Templates(tmp_path_factory.mktemp("templates"), lambda: request.getfixturevalue("postgres_server"))
