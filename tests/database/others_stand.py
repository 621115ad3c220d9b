"""A database of views that others use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from view_stand import PostgresStand


@pytest.fixture
def stand(postgres_admin_uri: str) -> Iterator[PostgresStand]:
    stand = PostgresStand(postgres_admin_uri)
    yield stand
    stand.connection.close()
