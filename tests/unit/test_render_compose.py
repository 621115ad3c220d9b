"""What a picture shows and says, before any format: states, words, folding, limits."""

import re
from typing import Any

import pytest
from drawing import drawn, graph_of, history_of

from migrate_graph.columns import columns
from migrate_graph.core.graph import EdgeKind, MigrationGraph, Node, NodeKind
from migrate_graph.core.history import Attempt, AttemptState, History, Record
from migrate_graph.core.plan import build_plan
from migrate_graph.core.rules import check
from migrate_graph.core.states import State
from migrate_graph.errors import UsageError
from migrate_graph.render import Grouping, PictureOptions, render
from migrate_graph.render.compose.graph import check_link_template
from migrate_graph.render.compose.node_choice import EVERYTHING_UP_TO, HOP_UP_TO, NEWEST
from migrate_graph.render.labels import told_in
from migrate_graph.render.picture import Picture, PictureNode
from migrate_graph.render.style import EdgeState


def picture_of(question: str, graph: MigrationGraph, history: History | None = None, **options: Any) -> Picture:
    plan = None if history is None else build_plan(graph, history)
    return drawn(question, graph, plan, history, check(graph, history), options=PictureOptions(**options))


def node_of(picture: Picture, name: str) -> PictureNode:
    return next(node for node in picture.nodes if node.name == name)


def names(picture: Picture) -> list[str]:
    return [node.name for node in picture.nodes]


def states(picture: Picture) -> dict[str, State]:
    return {node.name: node.state for node in picture.nodes}


CHAIN = " < ".join(f"m{number:03d}" for number in range(200))
LONG = graph_of(CHAIN)
SHOP = graph_of(
    "a < b < c",
    "b < d",
    migrations={"b": {"touches": ["Orders_V1"]}, "d": {"touches": ["Orders_V2"]}},
    views={
        "Orders_V1": {"since": "b"},
        "Orders_V2": {"since": "d", "replaces": "Orders_V1"},
        "Totals": {"uses": "Orders_V2"},
        "Old": {"until": "b"},
    },
)


def test_states_of_a_plan() -> None:
    found = states(picture_of("graph", SHOP, history_of("a b", failed="c")))
    assert found["a"] is found["b"] is State.APPLIED
    assert found["c"] is State.FAILED
    assert found["d"] is State.PENDING
    assert found["Orders_V1"] is State.REMOVED
    assert found["Orders_V2"] is State.ADDED
    assert found["Old"] is State.RETIRED


def test_a_view_hangs_from_the_version_that_it_will_use() -> None:
    views = {
        "V1": {"since": "a"},
        "V2": {"since": "b", "replaces": "V1"},
        "V3": {"since": "c", "replaces": "V2"},
        "Reader": {"uses": "V1", "since": "a"},
    }
    migrations = {name: {"touches": ["V1"]} for name in "abc"}
    graph = graph_of("a < b < c", views=views, migrations=migrations)

    def used(question: str, applied: str, *, planned: bool) -> list[str]:
        history = history_of(applied)
        plan = build_plan(graph, history) if planned else None
        picture = drawn(question, graph, plan, history, options=PictureOptions(everything=True))
        return [edge.before for edge in picture.edges if edge.kind == "uses"]

    assert used("plan", "a", planned=True) == ["v.V3"]
    assert used("plan", "a b", planned=True) == ["v.V3"]
    assert used("graph", "a b", planned=False) == ["v.V2"]
    assert used("graph", "a", planned=False) == ["v.V1"]


def test_the_words_under_a_name() -> None:
    picture = picture_of("graph", SHOP, history_of("a b", failed="c"))
    assert node_of(picture, "c").notes[0] == "FAILED, again as #1"
    assert node_of(picture, "d").notes[0] == "#2 pending"
    assert node_of(picture, "a").notes == ()
    assert node_of(picture, "Orders_V1").notes[0].startswith("view · hand over")
    assert node_of(picture, "Orders_V1").notes[1] == "↓#2"
    assert node_of(picture, "Orders_V2").notes[1] == "↑#2"
    assert node_of(picture, "Orders_V2").notes[0].startswith("view · new")
    assert node_of(picture, "Old").notes[0].startswith("view · retired")


def test_nothing_is_said_of_states_when_no_database_was_asked() -> None:
    picture = picture_of("graph", SHOP)
    assert set(states(picture).values()) == {State.DECLARED}
    assert "applied" not in picture.subtitle
    assert "pending" not in picture.subtitle


def test_interrupted_and_what_it_blocks() -> None:
    found = states(picture_of("plan", graph_of("a < b < c"), history_of("a", interrupted="b")))
    assert found == {"a": State.APPLIED, "b": State.INTERRUPTED, "c": State.BLOCKED}


def test_a_view_behind_a_blocked_migration_is_blocked() -> None:
    graph = graph_of("a < b", views={"V": {"since": "b"}}, migrations={"b": {"touches": ["V"]}})
    picture = picture_of("plan", graph, history_of(interrupted="a"))
    assert states(picture)["V"] is State.BLOCKED


def test_a_ring_is_drawn_and_named() -> None:
    picture = picture_of("check", graph_of("x < a < b < a", "b < innocent"))
    assert states(picture)["a"] is states(picture)["b"] is State.CYCLE
    assert states(picture)["x"] is State.DECLARED
    assert node_of(picture, "a").notes == ("CYCLE · MG101",)
    ring = {(edge.before, edge.after) for edge in picture.edges if edge.state is EdgeState.CYCLE}
    assert ring == {("m.a", "m.b"), ("m.b", "m.a")}


def test_a_migration_that_requires_itself_is_drawn() -> None:
    picture = picture_of("check", graph_of("a < a"))
    assert [(edge.before, edge.after, edge.state) for edge in picture.edges] == [("m.a", "m.a", EdgeState.CYCLE)]


def test_unknown_names_are_ghosts_with_their_code() -> None:
    graph = graph_of("(gone) < a", views={"V": {"uses": "Missing", "since": "never", "until": "nowhere"}})
    picture = picture_of("check", graph)
    ghosts = {node.name: node.notes for node in picture.nodes if node.state is State.ORPHAN}
    assert ghosts == {
        "gone": ("unknown · MG102",),
        "Missing": ("unknown · MG201",),
        "never": ("unknown · MG203",),
        "nowhere": ("unknown · MG204",),
    }


def test_records_of_nothing_are_drawn_one_by_one_or_gathered() -> None:
    few = picture_of("plan", graph_of("a"), history_of("a x y z"))
    assert {"x", "y", "z"} <= set(names(few))
    many = picture_of("plan", graph_of("a"), history_of(f"a {' '.join(f'x{n}' for n in range(9))}"))
    box = many.nodes[-1]
    assert box.kind == "orphans"
    assert box.label == ("9 not in code:",)
    assert box.notes == ("x0", "x1", "x2", "+ 6 more", "MG401")
    assert (many.total, many.shown) == (10, 9)


def test_history_is_folded_into_a_line() -> None:
    picture = picture_of("plan", LONG, history_of([f"m{number:03d}" for number in range(195)]))
    assert names(picture) == [f"m{number:03d}" for number in range(194, 200)]
    assert node_of(picture, "m194").notes == ("… 194 earlier",)
    assert "6 of 200 shown" in picture.subtitle
    assert picture.whole is not None
    assert len(picture.whole.nodes) == 200


def test_what_is_applied_before_its_requirement_is_shown() -> None:
    picture = picture_of("plan", graph_of(CHAIN, "late < odd"), history_of(["odd"]))
    assert states(picture)["odd"] is State.APPLIED


def test_a_long_plan_is_cut_and_says_so() -> None:
    graph = graph_of(" < ".join(f"m{number:04d}" for number in range(820)))
    picture = picture_of("plan", graph, history_of())
    assert len(picture.nodes) == 100
    assert "first 100 of 820 to run" in picture.subtitle
    assert len(picture_of("plan", graph, history_of(), limit=0).nodes) == 820


def test_a_long_queue_of_blocked_ones_is_cut_too() -> None:
    graph = graph_of(" < ".join(f"m{number:04d}" for number in range(820)))
    picture = picture_of("plan", graph, history_of(interrupted="m0000"))
    assert len(picture.nodes) <= 101
    assert picture.nodes[0].state is State.INTERRUPTED


def test_a_large_graph_without_history_shows_its_newest() -> None:
    picture = picture_of("graph", LONG)
    assert names(picture) == [f"m{number:03d}" for number in range(200 - NEWEST, 200)]
    assert picture.nodes[0].notes == (f"… {200 - NEWEST} earlier",)
    assert len(picture_of("graph", LONG, everything=True).nodes) == 200


def test_a_large_project_of_nothing_but_views_is_not_an_empty_picture() -> None:
    graph = graph_of(views={f"V{number}": {} for number in range(EVERYTHING_UP_TO + 1)})
    assert len(picture_of("graph", graph).nodes) == NEWEST


def test_a_plan_with_nothing_to_do_shows_the_graph() -> None:
    assert len(picture_of("plan", graph_of("a < b"), history_of("a b")).nodes) == 2


def test_an_empty_project_is_an_empty_picture() -> None:
    picture = picture_of("plan", graph_of(), history_of())
    assert picture.nodes == ()
    assert picture.subtitle == "0 migrations"


def test_focus_looks_both_ways() -> None:
    picture = picture_of("graph", LONG, focus=("m100",), hops=2)
    assert names(picture) == ["m098", "m099", "m100", "m101", "m102"]


def test_focus_on_an_unknown_name_helps() -> None:
    with pytest.raises(UsageError, match="no migration or view is called 'm10'") as caught:
        picture_of("graph", LONG, focus=("m10",))
    assert "did you mean m1" in caught.value.hint


def test_selection_is_shown_exactly() -> None:
    picture = picture_of("graph", SHOP, selected={Node(NodeKind.MIGRATION, "a"), Node(NodeKind.VIEW, "Totals")})
    assert names(picture) == ["a", "Totals"]


def test_implied_requirements_are_not_drawn_and_strangers_stay_apart() -> None:
    picture = picture_of("graph", graph_of("a < b < c", "a < c"))
    assert [(edge.before, edge.after) for edge in picture.edges] == [("m.a", "m.b"), ("m.b", "m.c")]
    assert [(link.before, link.after) for link in picture.links if link.implied] == [("m.a", "m.c")]


def test_of_several_reasons_the_strongest_is_drawn() -> None:
    picture = picture_of("graph", SHOP)
    edge = next(edge for edge in picture.edges if edge.before == "m.d" and edge.after == "v.Orders_V2")
    assert edge.kind is EdgeKind.SINCE
    assert edge.kinds == (EdgeKind.SINCE, EdgeKind.TOUCHES)


def test_a_migration_and_a_view_of_one_name_are_two_nodes() -> None:
    picture = picture_of("graph", graph_of("same", views={"same": {}}))
    assert [node.key for node in picture.nodes] == ["m.same", "v.same"]


def test_modules_are_framed_where_that_helps() -> None:
    modules = {f"m{number}": {"module": f"{'ab'[number % 2]}.py"} for number in range(14)}
    path = " < ".join(modules)
    picture = picture_of("graph", graph_of(path, migrations=modules))
    assert {cluster.label for cluster in picture.clusters} == {"a.py", "b.py"}
    assert sum(len(cluster.keys) for cluster in picture.clusters) == 14
    assert picture_of("graph", graph_of(path, migrations=modules), grouping=Grouping.NONE).clusters == ()
    assert picture_of("plan", graph_of(path, migrations=modules), history_of()).clusters == ()


def test_the_overview_counts() -> None:
    graph = graph_of("a < b < c", "a < c", migrations={"c": {"module": "late.py"}})
    picture = picture_of("graph", graph, history_of("a"), grouping=Grouping.MODULE)
    assert names(picture) == ["migrations.py", "late.py"]
    assert node_of(picture, "migrations.py").notes == ("2 migrations", "1 pending", "1 applied")
    assert [(edge.before, edge.after, edge.count) for edge in picture.edges] == [("f.migrations.py", "f.late.py", 2)]


def test_links_are_made_from_the_template() -> None:
    picture = picture_of("graph", graph_of("a"), link_template="https://code.example/{file}#L{line}")
    assert picture.nodes[0].link == "https://code.example/migrations.py#L1"


@pytest.mark.parametrize(
    "template", ["javascript:alert(1)", " JavaScript:x", "data:text/html,x", "java\tscript:x", "vbscript:x"]
)
def test_templates_that_run_code_are_refused(template: str) -> None:
    with pytest.raises(UsageError, match="link template"):
        check_link_template(template)


@pytest.mark.parametrize(
    "template", ["", "https://x/{file}#L{line}", "vscode://file/{file}:{line}", "../{file}#L{line}", "{file}:{line}"]
)
def test_templates_that_lead_somewhere_are_accepted(template: str) -> None:
    check_link_template(template)


def test_the_tooltip_says_name_state_place_and_docstring() -> None:
    tooltip = node_of(picture_of("plan", graph_of("a"), history_of()), "a").tooltip
    assert tooltip.splitlines() == ["a", "migration, #1 pending", "migrations.py:1"]


def test_details_hold_the_error_and_what_blocks() -> None:
    picture = picture_of("plan", graph_of("a < b"), history_of(interrupted="a"))
    assert ("blocked by", "a") in node_of(picture, "b").details
    assert any(word == "MG405" for word, _ in node_of(picture, "a").details)


# The direction of time ---------------------------------------------------------------------------------------------------------


def test_a_long_plan_runs_down_the_screen_instead_of_out_of_it() -> None:
    braid = [f"{lane}{step} < {lane}{step + 1}" for lane in "abc" for step in range(11)]
    assert not picture_of("plan", graph_of(*braid), history_of()).left_to_right
    short = [f"{lane}{step} < {lane}{step + 1}" for lane in "abc" for step in range(4)]
    assert picture_of("plan", graph_of(*short), history_of()).left_to_right


def test_a_wide_graph_runs_to_the_right_as_nobody_scrolls_sideways() -> None:
    fan = [f"root < leaf_{number:03d}" for number in range(50)]
    assert picture_of("graph", graph_of(*fan)).left_to_right
    assert not picture_of("graph", graph_of("root < left < end", "root < right < end")).left_to_right


def test_frames_side_by_side_make_a_picture_wide() -> None:
    files = [[f"file{number}_{step}" for step in range(4)] for number in range(6)]
    modules = {name: {"module": f"{name.partition('_')[0]}.py"} for names in files for name in names}
    paths = [f"{names[0]} < {each}" for names in files for each in names[1:]]
    framed = picture_of("graph", graph_of(*paths, migrations=modules))
    assert len(framed.clusters) == 6
    assert framed.left_to_right


def test_a_chain_and_a_ring_keep_the_way_of_their_question() -> None:
    for size in (20, 60):
        assert picture_of(
            "plan", graph_of(" < ".join(f"m{step}" for step in range(size))), history_of(), limit=0
        ).left_to_right
    assert picture_of("check", graph_of("a < b < c < a")).left_to_right


# What is wrong ----------------------------------------------------------------------------------------------------------------


def test_without_a_history_nothing_is_pending_or_has_a_place() -> None:
    picture = picture_of("check", graph_of("(nope) < a < b < c < d", "x < y"))
    assert {node.name: str(node.state) for node in picture.nodes} == {
        "a": "declared",
        "b": "declared",
        "nope": "orphan",
    }
    assert not any("pending" in note or "#" in note for node in picture.nodes for note in node.notes)
    assert node_of(picture, "a").accused == "error"
    assert node_of(picture, "a").sentence == "requires 'nope', which nothing declares"
    assert not node_of(picture, "b").accused
    assert "3 of 7 shown: what is wrong and one step around it" in picture.subtitle


def test_with_a_history_too_what_would_run_is_not_what_is_wrong() -> None:
    picture = picture_of("check", graph_of("(nope) < a", "b < c"), history_of("b x"))
    assert {node.name: str(node.state) for node in picture.nodes} == {"a": "declared", "nope": "orphan", "x": "orphan"}
    assert [node.place for node in picture.nodes] == [0, 0, 0]


def test_a_ring_in_a_large_graph_is_all_that_is_drawn() -> None:
    lines = [f"m{number:04d} < m{number + 1:04d}" for number in range(1384)]
    picture = picture_of("check", graph_of(*lines, "m0503 < m0500"))
    assert {node.name for node in picture.nodes} == {f"m{number:04d}" for number in range(499, 505)}
    ring = [node for node in picture.nodes if node.state is State.CYCLE]
    assert [node.sentence for node in ring] == [f"requires 'm{number:04d}'" for number in (503, 500, 501, 502)]


def test_an_accused_hub_does_not_bring_all_its_neighbours() -> None:
    picture = picture_of("check", graph_of(*(f"(nope) < hub < leaf{number}" for number in range(100))))
    assert len(picture.nodes) == 2 + HOP_UP_TO


def test_too_many_accused_are_counted() -> None:
    picture = picture_of("check", graph_of(*(f"(nope{number}) < m{number}" for number in range(400))), limit=50)
    assert len([node for node in picture.nodes if node.accused]) == 50
    assert "first 50 of 400 accused" in picture.subtitle


@pytest.mark.parametrize("name", ["dot", "svg", "mermaid", "markdown", "text", "json", "html", "graphml"])
def test_a_failed_box_tells_its_error_in_every_format(name: str) -> None:
    attempt = Attempt(1, "a", "run", AttemptState.FAILED, error='relation "customer" does not exist')
    history = History(records={"a": Record("a", installed=False)}, attempts=(attempt,))
    graph = graph_of("a < b")
    text = render(drawn("plan", graph, build_plan(graph, history), history), name).decode()
    words = re.sub(r"&quot;|#quot;|&#34;|\\\\?\"", '"', re.sub(r"<br/>|\\\\l|</text>|<[^>]*>|\\l", " ", text))
    assert 'relation "customer" does not' in " ".join(words.split())


def test_siblings_stand_in_the_order_of_the_run() -> None:
    """Left to right from the top, and top to bottom from the left; so do parts that do not hang together."""
    for question in ("plan", "graph"):
        graph = graph_of("root < a", "root < b", "root < c", "second < third")
        plan = build_plan(graph, history_of()) if question == "plan" else None
        picture = drawn(question, graph, plan, history_of() if plan else None)
        places = middles(render(picture, "svg").decode())
        axis = 1 if picture.left_to_right else 0
        order = sorted(("m.a", "m.b", "m.c"), key=lambda key: places[key][axis])
        assert order == ["m.a", "m.b", "m.c"], question
        assert places["m.third"][axis] > places["m.c"][axis], question


def middles(svg: str) -> dict[str, tuple[float, float]]:
    found = {}
    for key, points in re.findall(r'<g id="(m\.\w+)".*?<polygon[^>]*points="([^"]*)"', svg, re.DOTALL):
        corners = [tuple(map(float, point.split(","))) for point in points.split()]
        found[key] = tuple(sum(each) / len(corners) for each in zip(*corners, strict=True))
    return found


def test_a_sentence_in_a_box_is_short_and_cuts_no_name() -> None:
    name = "a_migration_with_a_name_that_is_longer_than_any_line_of_a_box_20260316_001"
    assert any(name in line for line in told_in(f"requires '{name}', which nothing declares"))
    lines = told_in(" ".join(["word"] * 100))
    assert (len(lines), lines[-1][-2:]) == (4, " …")
    assert all(columns(line) <= 34 for line in told_in("日本語 " * 12)), "wide letters take two columns"
    assert told_in("") == ()
