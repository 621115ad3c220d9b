"""SIGKILL between the commit of a migration and the refresh of what came up in it without its rows: nothing is forgotten."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from signal import SIGTERM

import pytest
from fault_field import Field, Templates, two_views
from side_by_side import ONE_TRANSACTION

from migrate_graph.executor import Checkpoint

pytestmark = pytest.mark.postgres

PROJECT = two_views("deferred", w_is_materialized=True)
LAST = """

@migration(requires=base_1)
def wider_2(db):
    executed("wider_2")
    with V(db):
        db.executesql("ALTER TABLE base ALTER COLUMN name TYPE varchar(30)")
    COMMITS
    return True


@migration(requires=wider_2)
def last_3(db):
    return bool(db.executesql("SELECT count(*) FROM w"))
"""
BODIES = {"one transaction": "pass", "a commit of its own": "db.commit(); here('own 1')"}


def _unfilled(field: Field) -> set[str]:
    rows = field.query("SELECT relname FROM pg_class WHERE relkind = 'm' AND NOT relispopulated")
    return {name for (name,) in rows}


@pytest.mark.parametrize(
    ("body", "atomic"),
    [
        ("one transaction", ()),
        pytest.param("one transaction", ("--atomic",), marks=ONE_TRANSACTION),
        ("a commit of its own", ()),
    ],
    ids=["each", "atomic", "own commit"],
)
def test_a_kill_at_every_boundary_leaves_nothing_unfilled_for_long(
    body: str, atomic: tuple[str, ...], templates: Templates, tmp_path: Path
) -> None:
    text = PROJECT + LAST.replace("COMMITS", BODIES[body])
    if atomic:  # the rows come after the one commit
        text = text.replace('bool(db.executesql("SELECT count(*) FROM w"))', "True")
    whole = templates.copy("postgres", PROJECT, tmp_path / "whole")
    whole.write(text)
    arrivals = whole.arrivals(*atomic)
    passed = [place for place, _ in arrivals]
    assert passed.count(Checkpoint.VIEW_FILLED) == passed.count(Checkpoint.VIEW_REFRESHED) == 2
    assert not _unfilled(whole)
    templates.drop(whole)
    first = next(at for at, (place, _) in enumerate(arrivals) if place == Checkpoint.VIEWS_UP)
    end = max(at for at, (place, _) in enumerate(arrivals) if place == Checkpoint.VIEW_REFRESHED)
    for index, fatal in enumerate(arrivals[first : end + 1]):
        field = templates.copy("postgres", PROJECT, tmp_path / f"kill-{index}")
        field.write(text)
        assert field.apply(*atomic, fatal=fatal).code == -9, fatal
        _judge(field, [place for place, _ in arrivals[: first + index + 1]], is_interrupted=body != "one transaction")
        templates.drop(field)


def _judge(field: Field, passed: list[str], *, is_interrupted: bool) -> None:
    field.wait_until_quiet()
    is_applied = Checkpoint.COMMITTED in passed
    is_durable = is_applied or "own 1" in passed
    done = passed.count(Checkpoint.VIEW_REFRESHED)
    expected = {"v", "w"} - set(["v", "w"][:done]) if is_durable else set()
    assert _unfilled(field) == expected, passed
    told = field.migrate("status", "--json").output
    assert all((f'"relation": "public.{name}"' in told) == (name in expected) for name in ("v", "w")), told
    ended = field.apply()
    if is_durable and not is_applied and is_interrupted:
        assert ended.code == 5, ended.output
        assert field.migrate("resolve", "wider_2", "--applied").code == 0
        assert not _unfilled(field), "what is to be filled does not wait for the decision"
        ended = field.apply()
    assert ended.code == 0, ended.output
    assert not _unfilled(field)
    assert field.query("SELECT n FROM w") == [(1,)]
    assert field.executions("wider_2") == (1 if is_durable else 2)
    assert '"views_unfilled": []' in field.migrate("status", "--json").output


def test_a_signal_and_a_lost_connection_in_the_refresh_are_gone_on_from(templates: Templates, tmp_path: Path) -> None:
    """It waits for somebody's lock, says so, and ends at once; the next run begins with it."""
    field = templates.copy("postgres", PROJECT, tmp_path / "project")
    slow = "SELECT name FROM base WHERE (SELECT CAST(pg_advisory_xact_lock_shared(4242) AS text)) = ''"
    field.write((PROJECT + LAST.replace("COMMITS", "pass")).replace("SELECT name FROM base", slow))
    for how in ("signal", "lost"):
        with closing(field.connect()) as other, closing(other.cursor()) as cursor:
            cursor.execute("SELECT pg_advisory_lock(4242)")
            process = field.open("apply", env={"MIGRATE_LOCK_TIMEOUT": "0"})
            process.wait_for("refreshing public.v")
            assert "refresh of views" in process.wait_for("waiting")
            if how == "signal":
                ended = process.stop(SIGTERM)
                assert ended.code == 128 + SIGTERM
                assert _unfilled(field) == {"v", "w"}
                continue
            field.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            process.wait_for("is tried again")
            cursor.execute("SELECT pg_advisory_unlock(4242)")
            assert process.end().code == 0
    assert not _unfilled(field)
