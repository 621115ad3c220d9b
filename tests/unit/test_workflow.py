"""Use cases by themselves: why, selections, numbering, writing files, reading no database."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from drawing import graph_of

from migrate_graph.config import Config
from migrate_graph.core.drift import Drift, Drifted
from migrate_graph.core.events import LockHolder, ignore_events
from migrate_graph.core.footprint import Fact
from migrate_graph.core.graph import Ordering
from migrate_graph.core.history import Attempt, AttemptState, History
from migrate_graph.core.states import State
from migrate_graph.database import Settings
from migrate_graph.errors import DatabaseUnreachable, InvalidGraph, UsageError
from migrate_graph.workflow import drift, views_adopt
from migrate_graph.workflow.assessment import Selection, assess
from migrate_graph.workflow.baseline import survey
from migrate_graph.workflow.plan import picture_format, write_file
from migrate_graph.workflow.project import Project, Reading, read_history
from migrate_graph.workflow.scaffolding import numbered
from migrate_graph.workflow.status import read_status
from migrate_graph.workflow.why import why


def project_of(*paths: str, ordering: Ordering = Ordering.LEGACY, **values: Any) -> Project:
    graph = graph_of(*paths, **values)
    return Project(Config(), graph.registry, graph, Path("migrations.py"), Path.cwd(), "shop", ordering)


@pytest.mark.parametrize("kinds", [("a < c", "b"), ("a", "b < c")])
def test_every_neighbour_in_the_order_has_a_reason(kinds: tuple[str, ...]) -> None:
    project = project_of(*kinds)
    for name in project.graph.order():
        answer = why(project, name)
        assert bool(answer.path) != bool(answer.tie_break)


def test_why_follows_the_shortest_path() -> None:
    answer = why(project_of("a < b < c < d", "a < d"), "a", before="d")
    assert [(before.name, after.name) for before, _, after in answer.path] == [("a", "d")]
    assert (answer.earlier, answer.later) == ("a", "d")
    assert why(project_of("a < b"), "b", before="a").earlier == "a", "whichever way it is asked"


def test_why_tells_that_requirements_pull_up() -> None:
    project = project_of("a < c", declared=["a", "b", "c"])
    assert project.graph.order() == ("a", "c", "b") or project.graph.order() == ("a", "b", "c")
    first, second = (name for name in project.graph.order() if name != "a")
    answer = why(project, second)
    assert answer.earlier == first
    assert "'c' has requirements and 'b' has none" in answer.tie_break[-1]


def test_why_tells_the_order_of_declaration() -> None:
    answer = why(project_of("a", "b"), "b")
    assert answer.tie_break[0].startswith("both could run, nothing orders 'a' and 'b': it is declared earlier (")
    assert answer.tie_break[0].endswith("(migrations.py:1 before migrations.py:11: 1 < 2 in order of declaration)")
    assert why(project_of("a", "b"), "a").tie_break[0].startswith("it is the first")


def test_why_tells_the_trailing_number_in_intertwined_mode() -> None:
    project = project_of("b_20260302_001", "a_20260301_002", ordering=Ordering.INTERTWINED)
    answer = why(project, "b_20260302_001")
    assert answer.earlier == "a_20260301_002"
    assert "the smaller trailing number goes first (20260301_002 < 20260302_001)" in answer.tie_break[0]


def test_why_follows_what_held_the_later_one_back() -> None:
    project = project_of("x", "a < b", declared=["x", "a", "b"])
    assert project.graph.order() == ("x", "a", "b")
    answer = why(project, "x", before="b")
    assert answer.tie_break[0] == "'b' waits for 'a', which stands after 'x'"
    assert "nothing orders 'x' and 'a'" in answer.tie_break[1]


def test_every_pair_of_an_order_can_be_explained() -> None:
    project = project_of("a < b < d", "a < c < d", "e", "f < g", "e < g", views={"V": {"since": "b"}})
    order = project.graph.order()
    for place, earlier in enumerate(order):
        for later in order[place + 1 :]:
            answer = why(project, earlier, before=later)
            assert (answer.earlier, answer.later) == (earlier, later)
            assert answer.path or answer.tie_break
            needed = earlier in project.graph.ancestors(later)
            assert bool(answer.path) == needed, "a path exactly when the graph orders them"


def test_why_on_a_ring_says_something() -> None:
    project = project_of("a < b < a", "c")
    assert project.graph.order() == ("c", "a", "b")
    assert "no place" in why(project, "a").tie_break[0]
    assert why(project, "b").path, "a requirement is one on a ring too"
    assert why(project, "c").position == 1


def test_a_selection_is_the_intersection_of_to_and_select() -> None:
    project = project_of("a < b < c", "x")
    planned = assess(project, Reading(), selection=Selection(to="c", select=("b", "x"))).planned
    assert [step.migration.name for step in planned.steps] == ["a", "b"]
    with pytest.raises(UsageError, match="nothing is called 'cc'"):
        assess(project, Reading(), selection=Selection(to="cc"))


def test_plan_refuses_errors_with_all_findings() -> None:
    with pytest.raises(InvalidGraph, match="plan refused: the graph has 2 errors") as caught:
        assess(project_of("a < b < a", "(nope) < c"), Reading()).refuse_errors(doing="plan")
    assert {finding.code for finding in caught.value.findings} >= {"MG101", "MG102"}


@pytest.mark.parametrize(
    ("name", "taken", "expected"),
    [
        ("add", [], "add_20260402_001"),
        ("add", ["x_20260402_001", "y_20260402_007", "z_20260401_009"], "add_20260402_008"),
        ("add_20260101_003", ["x_20260402_001"], "add_20260101_003"),
        ("add_7", [], "add_7"),
        ("add", ["x_20260402"], "add_20260402_001"),
    ],
)
def test_the_next_free_number_of_the_day(name: str, taken: list[str], expected: str) -> None:
    assert numbered(name, taken, date(2026, 4, 2)) == expected


def test_a_database_is_asked_only_when_there_is_one() -> None:
    config = Config()
    assert "no database is configured" in read_history(config).note
    config = Config.load({"migrate_uri": "postgres://nobody@127.0.0.1:1/x"})
    assert "offline" in read_history(config, offline=True).note


def test_a_picture_that_cannot_be_written_is_refused_before_it_is_drawn(tmp_path: Path) -> None:
    assert picture_format(tmp_path / "a.svg", None) == "svg"
    assert picture_format(tmp_path / "a", "dot") == "dot"
    (tmp_path / "file").touch()
    for path, message in (
        (tmp_path, "is a directory"),
        (tmp_path / "none" / "a.svg", "there is no directory"),
        (tmp_path / "file" / "a.svg", "there is no directory"),
        (tmp_path / "a.xyz", "no picture format"),
    ):
        with pytest.raises(UsageError, match=message):
            picture_format(path, "svg" if path == tmp_path else None)


def test_a_file_is_written_whole_and_as_readable_as_any(tmp_path: Path) -> None:
    file = tmp_path / "plan.svg"
    (tmp_path / "other").write_text("x")
    write_file(file, b"one")
    assert file.read_bytes() == b"one"
    assert file.stat().st_mode == (tmp_path / "other").stat().st_mode
    write_file(file, b"two")
    assert file.read_bytes() == b"two"
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(UsageError, match="cannot write"):
        write_file(tmp_path / "none" / "x", b"")


def test_an_unfinished_attempt_is_running_while_somebody_holds_the_lock() -> None:
    project = project_of("old", "busy < next")
    history = History(
        attempts=(
            Attempt(1, "old", "run 1", AttemptState.RUNNING, commits=1),
            Attempt(2, "busy", "run 2", AttemptState.RUNNING, commits=2),
        )
    )
    held = read_status(project, Reading(history, "the database", lock_holder=LockHolder(4242)))
    assert {each.name: each.known.state for each in held.migrations} == {
        "old": State.INTERRUPTED,  # of an earlier run: nobody is at work on it
        "busy": State.RUNNING,
        "next": State.BLOCKED,
    }
    free = read_status(project, Reading(history, "the database"))
    assert {each.known.state for each in free.migrations} == {State.INTERRUPTED, State.BLOCKED}


def test_every_command_that_only_reads_waits_ten_seconds_for_a_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = []

    def opened(settings: Settings, **_: Any) -> Any:
        waits.append(settings.connect_wait)
        raise DatabaseUnreachable("it does not answer")

    for room in ("database", "workflow.baseline", "workflow.drift", "workflow.sealing"):
        monkeypatch.setattr(f"migrate_graph.{room}.open_backend", opened)
    project = project_of("a")
    project.config.migrate_uri = "postgres://app@db.example/shop"
    changed = Reading(drift=Drift((Drifted(Fact("table", "t"), None, ""),)))
    for reads in (
        lambda: read_history(project.config),
        lambda: survey(project, None, ignore_events),
        lambda: views_adopt.adopt(project, (), tmp_path / "adopted.py", observer=ignore_events),
        lambda: drift.adopt(project, changed, "undo", today=date(2026, 1, 1), observer=ignore_events),
    ):
        with pytest.raises(DatabaseUnreachable):
            reads()
    assert waits == [10.0] * 4
