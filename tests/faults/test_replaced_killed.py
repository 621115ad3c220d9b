"""SIGKILL while a view gets another text as it stands: it has the old one or the new one, and what reads it is always there."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_field import OPENS_V_AND_W, Field, Templates

from migrate_graph.executor import Checkpoint

pytestmark = pytest.mark.postgres

PROJECT = (
    OPENS_V_AND_W
    + """

class V(SqlView):
    uses = ()
    since = base_1
    query = "SELECT name FROM base"


class W(SqlView):
    uses = (V,)
    since = base_1
    query = "SELECT count(*) AS n FROM v"
"""
)
RENEWED = PROJECT.replace('"SELECT name FROM base"', '"SELECT name, id FROM base"')
HANDED_OVER = (
    PROJECT
    + """

class Newer(SqlView):
    name = "v"
    uses = ()
    since = "edit_2"
    replaces = V
    query = "SELECT name, id FROM base"
"""
)
LAST = """

@migration(requires=base_1)
def edit_2(db):
    executed("edit_2")
    COMMITS
    return True
"""
WAYS = {
    "renewed": (RENEWED, "V.renew(db)"),
    "renewed, and a commit of its own": (RENEWED, "V.renew(db)\n    db.commit()\n    here('own 1')"),
    "renewed without a transaction": (RENEWED, "V.renew(db)"),
    "handed over by its window": (HANDED_OVER, "pass"),
    "handed over after a commit of the body": (
        HANDED_OVER,
        "db.executesql('UPDATE base SET id = 1')\n    db.commit()\n    here('own 1')",
    ),
    "handed over without a transaction": (HANDED_OVER, "pass"),
}
SETTINGS = '[tool.migrate]\nweave = "windows"\n'
MADE_BY = {"V": 1, "Newer": 2}


@pytest.mark.parametrize("way", WAYS)
def test_a_kill_at_every_boundary_leaves_the_old_text_or_the_new_one(
    way: str, templates: Templates, tmp_path: Path
) -> None:
    project, statement = WAYS[way]
    text = project + LAST.replace("COMMITS", statement)
    if "without" in way:
        text = text.replace("@migration(requires=base_1)", '@migration(requires=base_1, transaction="none")')
    whole = templates.copy("postgres", PROJECT, tmp_path / "whole")
    oids = _oids(whole)
    _write(whole, text)
    arrivals = whole.arrivals()
    passed = [place for place, _ in arrivals]
    assert passed.count(Checkpoint.VIEWS_UP) == 1
    assert Checkpoint.VIEWS_DOWN not in passed
    assert _oids(whole) == oids
    templates.drop(whole)
    first = next(at for at, (place, _) in enumerate(arrivals) if place in {Checkpoint.VIEWS_UP, "own 1"})
    end = next(at for at, (place, _) in enumerate(arrivals) if place == Checkpoint.COMMITTED)
    for index, fatal in enumerate(arrivals[first : end + 1]):
        field = templates.copy("postgres", PROJECT, tmp_path / f"kill-{index}")
        oids = _oids(field)
        _write(field, text)
        assert field.apply(fatal=fatal).code == -9, fatal
        _judge(field, [place for place, _ in arrivals[: first + index + 1]], way, oids)
        templates.drop(field)


def _write(field: Field, text: str) -> None:
    field.write(text)
    field.write(SETTINGS, "pyproject.toml")


def _judge(field: Field, passed: list[str], way: str, oids: object) -> None:
    field.wait_until_quiet()
    by_itself = way == "renewed without a transaction" and Checkpoint.VIEWS_UP in passed
    by_the_body = way.startswith("renewed") and "own 1" in passed
    is_durable = Checkpoint.COMMITTED in passed or by_itself or by_the_body
    state = field.probe()
    assert state.views == {"v", "w"}, passed
    assert not state.views_down, passed
    assert _shape(field, way) == ((2, {_heir(way), "W"}) if is_durable else (1, {"V", "W"})), passed
    assert field.query("SELECT n FROM w") == [(1,)]
    ended = field.apply()
    if Checkpoint.COMMITTED not in passed and (by_itself or "own 1" in passed or "without" in way):
        assert ended.code == 5, ended.output
        assert field.migrate("resolve", "edit_2", "--retry").code == 0
        ended = field.apply()
    assert ended.code == 0, ended.output
    assert _shape(field, way) == (2, {_heir(way), "W"})
    assert _oids(field) == oids, "nothing was ever gone"


def _heir(way: str) -> str:
    return "V" if way.startswith("renewed") else "Newer"


def _shape(field: Field, way: str) -> tuple[int, set[str]]:
    """Return how many columns the view has, and who is known to have made what is there."""
    columns = field.query("SELECT 1 FROM pg_attribute WHERE attrelid = 'v'::regclass AND attnum > 0")
    return len(columns), {name for (name,) in field.query("SELECT manager FROM ewh_implemented_features_views")}


def _oids(field: Field) -> list[object]:
    return field.query("SELECT relname, oid FROM pg_class WHERE relname IN ('v', 'w') ORDER BY 1")
