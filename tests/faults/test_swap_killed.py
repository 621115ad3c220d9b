"""SIGKILL while a materialized view is built beside the old one, and while the two change places: one of them is always there."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_field import Field, Templates, two_views

from migrate_graph.executor import Checkpoint

pytestmark = pytest.mark.postgres

PROJECT = two_views("swap", w_is_materialized=False)
EDITED = PROJECT.replace('"SELECT name FROM base"', '"SELECT name, id FROM base"')
LAST = """

@migration(requires=base_1)
def edit_2(db):
    executed("edit_2")
    with V(db):
        pass
    COMMITS
    return True
"""
BODIES = {"one transaction": "pass", "a commit of its own": "db.commit(); here('own 1')", "none": "pass"}


def _columns(field: Field) -> int:
    return len(field.query("SELECT 1 FROM pg_attribute WHERE attrelid = 'v'::regclass AND attnum > 0"))


@pytest.mark.parametrize("body", BODIES)
def test_a_kill_at_every_boundary_leaves_the_old_view_or_the_new_one(
    body: str, templates: Templates, tmp_path: Path
) -> None:
    text = EDITED + LAST.replace("COMMITS", BODIES[body])
    if body == "none":
        text = text.replace("@migration(requires=base_1)", '@migration(requires=base_1, transaction="none")')
    whole = templates.copy("postgres", PROJECT, tmp_path / "whole")
    whole.write(text)
    arrivals = whole.arrivals()
    passed = [place for place, _ in arrivals]
    assert (passed.count(Checkpoint.VIEW_BUILT), passed.count(Checkpoint.VIEWS_DOWN)) == (1, 2)
    assert _columns(whole) == 2
    templates.drop(whole)
    first = next(at for at, (place, _) in enumerate(arrivals) if place == Checkpoint.VIEW_BUILT)
    end = next(at for at, (place, _) in enumerate(arrivals) if place == Checkpoint.COMMITTED)
    for index, fatal in enumerate(arrivals[first : end + 1]):
        field = templates.copy("postgres", PROJECT, tmp_path / f"kill-{index}")
        field.write(text)
        assert field.apply(fatal=fatal).code == -9, fatal
        _judge(field, [place for place, _ in arrivals[: first + index + 1]], body)
        templates.drop(field)


def _judge(field: Field, passed: list[str], body: str) -> None:
    field.wait_until_quiet()
    alone = body == "none" and Checkpoint.VIEWS_UP in passed
    is_durable = Checkpoint.COMMITTED in passed or "own 1" in passed or alone
    state = field.probe()
    assert state.views == {"v", "w"}, passed
    assert not state.views_down, passed
    assert _columns(field) == (2 if is_durable else 1), passed
    assert field.query("SELECT n FROM w") == [(1,)]
    ended = field.apply()
    if body != "one transaction" and Checkpoint.COMMITTED not in passed and (body == "none" or "own 1" in passed):
        assert ended.code == 5, ended.output
        assert field.migrate("resolve", "edit_2", "--retry").code == 0
        ended = field.apply()
    assert ended.code == 0, ended.output
    assert _columns(field) == 2
    assert field.query("SELECT indexname FROM pg_indexes WHERE tablename = 'v'") == [("v_name",)]
    assert not field.query("SELECT relname FROM pg_class WHERE relname LIKE 'migrate\\_graph\\_swap%%'")
