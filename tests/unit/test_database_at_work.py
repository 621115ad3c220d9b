"""Who stands in the way, in words, by what the server tells of him."""

from __future__ import annotations

import pytest

from migrate_graph.database.postgres.session.at_work import blocked_by


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ((7, "app", "psql", "idle", "12:00:01"), "pid 7 (role app, psql, idle, since 12:00:01)"),
        ((7, "app", "", None, None), "pid 7 (role app)"),
        ((7, None, None, None, None), "pid 7"),
        (
            (0, "app", "it's", "", "12:00:01"),
            'the prepared transaction "it\'s" (role app, since 12:00:01), which COMMIT PREPARED or ROLLBACK PREPARED ends',
        ),
    ],
    ids=["all of it", "a session of another role", "nothing", "a prepared transaction"],
)
def test_who_stands_in_the_way_is_told_as_far_as_the_server_tells(row: tuple[object, ...], told: str) -> None:
    assert blocked_by(row, ()) == f"waiting for a lock held by {told}"
