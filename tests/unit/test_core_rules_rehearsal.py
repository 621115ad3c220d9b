"""MG601 to MG611: what a rehearsal saw, judged by the size of the tables where the migrations will really run."""

from __future__ import annotations

import pytest

from migrate_graph.core.footprint import Budget, Size


@pytest.mark.parametrize(
    ("size", "small"),
    [(Size(100_000_000, 0), True), (Size(100_000_001, 0), False), (Size(0, 100_000), True), (Size(0, 100_001), False)],
)
def test_a_small_table_is_within_bytes_and_rows(size: Size, *, small: bool) -> None:
    assert Budget().is_small(size) is small
