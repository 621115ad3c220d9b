"""Whatever windows views have: a run does to them what the plan says, and ends with the views that it says."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from bodies import forget_managers
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from stand import Stand

from migrate_graph import SqlView
from migrate_graph.authoring import collecting, migration
from migrate_graph.core.events import RunStarted, ViewCreated, ViewDropped
from migrate_graph.core.graph import build_graph
from migrate_graph.core.model import Registry
from migrate_graph.core.rules import check
from migrate_graph.core.rules.rule import Severity

__all__ = ["forget_managers"]

NAMES = [f"m{number}" for number in range(5)]


@st.composite
def worlds(draw: Any) -> list[dict[str, Any]]:
    """Draw views: each reads some that stand before it, or replaces one."""
    views: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 6))):
        since = draw(st.sampled_from([None, *NAMES]))
        later = NAMES if since is None else NAMES[NAMES.index(since) + 1 :]
        before = [each["name"] for each in views]
        free = [name for name in before if name not in {each["replaces"] for each in views}]
        views.append(
            {
                "name": f"V{number}",
                "since": since,
                "until": draw(st.sampled_from([None, None, *later])),
                "uses": draw(st.lists(st.sampled_from(before), max_size=2, unique=True)) if before else [],
                "replaces": draw(st.sampled_from([None, None, *free])) if free and since else None,
                "opened_by": draw(st.sampled_from([None, None, None, *NAMES])),
                "late": draw(st.booleans()),
            }
        )
    return views


def kinds_of(world: list[dict[str, Any]], *, late: bool) -> dict[str, Any]:
    """Return the managers; without those that are written later, and what needs them."""
    kinds: dict[str, Any] = {}
    relations: dict[str, str] = {}
    for each in world:
        needs = [*each["uses"], *filter(None, [each["replaces"]])]
        if (each["late"] and not late) or any(name not in kinds for name in needs):
            continue
        relations[each["name"]] = relations.get(each["replaces"], each["name"].lower())
        tables = ["t", *(relations[name] for name in each["uses"] if relations[name] != relations[each["name"]])]
        body = {
            "name": relations[each["name"]],
            "query": f"SELECT t.id FROM {', '.join(dict.fromkeys(tables))}",
            "uses": tuple(kinds[name] for name in each["uses"]),
            "since": each["since"],
            "until": each["until"],
            "replaces": kinds.get(each["replaces"]),
        }
        kinds[each["name"]] = type(each["name"], (SqlView,), {"__module__": __name__} | body)
    return kinds


def bodies_of(world: list[dict[str, Any]], kinds: dict[str, Any], count: int) -> tuple[list[Any], dict[str, list[Any]]]:
    opened: dict[str, list[Any]] = {"": list(kinds.values())}
    for each in world:
        if each["opened_by"] and each["name"] in kinds:
            opened.setdefault(each["opened_by"], []).append(kinds[each["name"]])

    def body(name: str) -> Any:
        def run(db: Any) -> bool:
            if name == NAMES[0]:
                db.executesql("CREATE TABLE t (id int)")
            for kind in opened.get(name, ()):
                with kind(db):
                    pass
            return True

        run.__name__ = name
        return run

    return [body(name) for name in NAMES[:count]], opened


def is_sound(bodies: list[Any], opened: dict[str, list[Any]], kinds: dict[str, Any]) -> bool:
    """Return whether nothing is wrong with a project."""
    with collecting() as declared:
        for each in bodies:
            migration(views=opened.get(each.__name__, ()))(each)
    views = tuple(each.as_view(position=place) for place, each in enumerate(kinds.values()))
    graph = build_graph(Registry(tuple(declared.migrations), views, windows=True))
    return not any(each.severity is Severity.ERROR for each in check(graph))


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(world=worlds(), first=st.integers(0, 4), atomic=st.booleans())
def test_a_run_does_what_its_plan_says(world: list[dict[str, Any]], first: int, *, atomic: bool) -> None:
    everything = kinds_of(world, late=True)
    assume(is_sound(*bodies_of(world, everything, len(NAMES)), everything))
    some = kinds_of(world, late=False)
    assume(is_sound(*bodies_of(world, some, len(NAMES)), some))
    directory = Path(tempfile.mkdtemp())
    try:
        stand = Stand(f"sqlite://{directory / 'shop.db'}")
        for kinds, count in ((some, first), (everything, len(NAMES))):
            stand.events.clear()
            known = set(stand.history().view_texts) if count == len(NAMES) else set()
            bodies, opened = bodies_of(world, kinds, count)
            finished = stand.run(*bodies, views=opened, windows=True, atomic=atomic)
            assert finished.succeeded, [f"{each.error}\n{each.traceback}" for each in finished.results]
            [started] = stand.told(RunStarted)
            for step in started.plan.steps:
                name, views = step.migration.name, step.views
                up = {each.view for each in stand.told(ViewCreated) if each.migration == name}
                down = {each.view for each in stand.told(ViewDropped) if each.migration == name}
                if not atomic:
                    assert up == set(views.up), name
                    assert down - set(views.new) == set(views.down), name
                known = (known | set(views.up)) - set(views.retired)
            assert set(stand.history().view_texts) == known
            with closing(sqlite3.connect(directory / "shop.db")) as file:
                there = {name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'view'")}
            assert there == {kinds[name].name for name in known}
    finally:
        shutil.rmtree(directory)
