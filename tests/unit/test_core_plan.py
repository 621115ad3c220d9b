from drawing import graph_of, history_of

from migrate_graph.core.history import History
from migrate_graph.core.plan import Plan, ReasonKind, build_plan, plan_in_order
from migrate_graph.core.states import State, standing_of


def steps(plan: Plan) -> list[str]:
    return [step.migration.name for step in plan.steps]


def blocked(plan: Plan) -> dict[str, tuple[str, ...]]:
    return {each.migration.name: each.by for each in plan.blocked}


def test_everything_runs_from_nothing() -> None:
    plan = build_plan(graph_of("a < b < d", "a < c < d"), History())
    assert steps(plan) == ["a", "b", "c", "d"]
    assert plan.order == ("a", "b", "c", "d")
    assert plan.blocked == plan.applied == plan.orphans == plan.unselected == plan.added == plan.interrupted == ()


def test_applied_ones_do_not_run_and_failed_ones_run_again() -> None:
    plan = build_plan(graph_of("a < b"), history_of("a", failed="b"))
    assert plan.applied == ("a",)
    assert [(step.migration.name, step.reason.status) for step in plan.steps] == [("b", State.FAILED)]


def test_the_reason_names_the_requirements_that_others_do_not_imply() -> None:
    plan = build_plan(graph_of("a < b < c", "a < c"), History())
    reasons = {step.migration.name: (step.reason.kind, step.reason.after) for step in plan.steps}
    assert reasons == {
        "a": (ReasonKind.ROOT, ()),
        "b": (ReasonKind.AFTER, ("a",)),
        "c": (ReasonKind.AFTER, ("b",)),
    }


def test_what_stands_before_something_applied_is_late() -> None:
    plan = build_plan(graph_of("a", "b", "c"), history_of("b"))
    assert [(step.migration.name, step.reason.late) for step in plan.steps] == [("a", True), ("c", False)]


def test_an_interrupted_migration_blocks_itself_and_what_is_behind_it() -> None:
    plan = build_plan(graph_of("a < b < c", "x"), history_of(interrupted="a"))
    assert steps(plan) == ["x"]
    assert blocked(plan) == {"a": ("a",), "b": ("a",), "c": ("b",)}
    assert plan.interrupted == ("a",)


def test_own_commits_of_a_failed_migration_need_a_decision_only_when_asked() -> None:
    graph, history = graph_of("a < b"), history_of(failed="a", commits=2)
    assert steps(build_plan(graph, history)) == ["a", "b"]
    stopped = build_plan(graph, history, standing=standing_of(graph, history, stop_on_partial=True))
    assert blocked(stopped) == {"a": ("a",), "b": ("a",)}
    assert stopped.interrupted == ("a",)
    clean = history_of(failed="a", commits=0)
    assert steps(build_plan(graph, clean, standing=standing_of(graph, clean, stop_on_partial=True))) == ["a", "b"]


def test_an_unknown_requirement_blocks_unless_the_ledger_has_it() -> None:
    graph = graph_of("(gone) < a")
    assert blocked(build_plan(graph, History())) == {"a": ("gone",)}
    plan = build_plan(graph, history_of("gone"))
    assert steps(plan) == ["a"]
    assert plan.orphans == ("gone",)


def test_d11_an_unmet_requirement_does_not_stop_independent_migrations() -> None:
    plan = build_plan(graph_of("(gone) < a < b", "x < y"), History())
    assert steps(plan) == ["x", "y"]


def test_on_and_behind_a_cycle_nothing_runs() -> None:
    graph = graph_of("p < q < p", "q < r", "x")
    assert blocked(build_plan(graph, History())) == {"p": ("q",), "q": ("p",), "r": ("q",)}
    # A ledger that breaks the ring changes nothing: the order there means nothing.
    assert blocked(build_plan(graph, history_of("p"))) == {"q": ("p",), "r": ("q",)}
    assert blocked(build_plan(graph, history_of("p q"))) == {"r": ("q",)}


def test_a_selection_is_closed_under_requirements() -> None:
    plan = build_plan(graph_of("a < b < c", "x"), history_of("a"), selection={"c", "nowhere"})
    assert steps(plan) == ["b", "c"]
    assert plan.added == ("b",)
    assert plan.unselected == ("x",)


def test_a_selection_of_something_blocked_says_so() -> None:
    plan = build_plan(graph_of("(gone) < a < b"), History(), selection={"b"})
    assert blocked(plan) == {"a": ("gone",), "b": ("a",)}
    assert plan.added == ("a",)


def test_an_empty_selection_runs_nothing() -> None:
    plan = build_plan(graph_of("a"), History(), selection=frozenset())
    assert steps(plan) == []
    assert plan.unselected == ("a",)


def test_views_are_followed_step_by_step() -> None:
    graph = graph_of(
        "create < widen < hand_over < end",
        migrations={name: {"touches": ["Totals"]} for name in ("create", "widen", "hand_over")},
        views={
            "Totals": {"since": "create"},
            "Report": {"uses": "Totals", "until": "end"},
            "Totals_V2": {"since": "hand_over", "replaces": "Totals"},
        },
    )
    plan = build_plan(graph, History())
    told = {
        step.migration.name: (step.views.down, step.views.up, step.views.new, step.views.retired) for step in plan.steps
    }
    assert told == {
        "create": ((), ("Totals", "Report"), ("Totals", "Report"), ()),
        "widen": (("Report", "Totals"), ("Totals", "Report"), (), ()),
        "hand_over": (("Report", "Totals"), ("Totals_V2", "Report"), ("Totals_V2",), ("Totals",)),
        "end": ((), (), (), ("Report",)),
    }
    rest = build_plan(graph, history_of("create widen"))
    assert rest.steps == plan.steps[2:]


def test_a_view_that_never_was_does_not_retire() -> None:
    plan = build_plan(graph_of("a", views={"V": {"until": "a"}}), History())
    assert plan.steps[0].views.retired == ()


def test_a_window_opened_by_a_recorded_name_that_nothing_declares_is_open() -> None:
    graph = graph_of("a", migrations={"a": {"touches": ["V"]}}, views={"V": {"since": "gone"}})
    assert build_plan(graph, History()).steps[0].views.up == ()
    assert build_plan(graph, history_of("gone")).steps[0].views.up == ("V",)


def test_a_plan_finds_its_steps() -> None:
    plan = build_plan(graph_of("a < b"), history_of("a"))
    assert plan.step_of("b") is plan.steps[0]
    assert plan.step_of("a") is None


def test_twenty_thousand_migrations_are_planned() -> None:
    names = [f"m{index}" for index in range(20_000)]
    graph = graph_of(*(f"m{index // 2} < m{index}" for index in range(1, 20_000)), declared=names)
    plan = build_plan(graph, history_of(names[:10_000]))
    assert steps(plan) == [name for name in graph.order() if int(name[1:]) >= 10_000]


def test_a_plan_in_an_order_runs_just_that_in_that_order_and_only_what_can_run() -> None:
    graph = graph_of("a < b < d", "a < c < d", "(gone) < e")
    plan = plan_in_order(graph, history_of("a"), ("c", "b", "e"))
    assert (steps(plan), plan.order, plan.applied) == (["c", "b"], ("c", "b", "e"), ("a",))
    assert [step.reason.after for step in plan.steps] == [("a",), ("a",)]
    assert steps(plan_in_order(graph, History(), ("a", "c", "b", "d"))) == ["a", "c", "b", "d"]
