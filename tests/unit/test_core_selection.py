import pytest
from drawing import graph_of, history_of

from migrate_graph.core.graph import Node, NodeKind
from migrate_graph.core.selection import select
from migrate_graph.core.states import states_of
from migrate_graph.errors import UsageError

GRAPH = graph_of(
    "a < b < c < d",
    "(gone) < lost",
    "billing_one",
    "billing_two",
    "shared",
    migrations={
        "b": {"tags": frozenset({"billing", "slow"})},
        "c": {"tags": frozenset({"billing"}), "touches": ["Totals"]},
        "shared": {"module": "app/shared.py"},
        "billing_one": {"module": "app/deep/billing.py"},
    },
    views={
        "Totals": {"since": "b", "until": "d"},
        "Report": {"uses": "Totals"},
        "Report_V2": {"replaces": "Report", "since": "c"},
        "shared": {"module": "app/views.py"},
    },
)
STATES = states_of(GRAPH, history_of("a b orphaned", failed="billing_one", interrupted="billing_two"))


def names(*expressions: str, exclude: str | list[str] = ()) -> str:
    return " ".join(sorted(node.name for node in select(expressions, GRAPH, STATES, exclude=exclude)))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a", "a"),
        ("a d", "a d"),
        ("billing_*", "billing_one billing_two"),
        ("?", "a b c d"),
        ("[ab]", "a b"),
        ("+c", "a b c"),
        ("1+c", "b c"),
        ("0+c", "c"),
        ("c+", "Report_V2 c d"),
        ("a+1", "a b"),
        ("1+b+1", "Totals a b c"),
        ("99+c", "a b c"),
        # A view needs what opens its window, what it uses and what it replaces; not what touches or closes it.
        ("+Totals", "Totals a b"),
        ("+Report_V2", "Report Report_V2 Totals a b c"),
        ("Totals+", "Report Report_V2 Totals"),
        ("b+1", "Totals b c"),
        ("+lost", "lost"),
        ("tag:billing", "b c"),
        ("+tag:billing", "a b c"),
        ("tag:billing,tag:slow", "b"),
        ("state:applied", "a b"),
        ("state:pending", "c d shared"),
        ("state:failed", "billing_one"),
        ("state:interrupted", "billing_two"),
        ("state:blocked", "lost"),
        ("state:orphan", "orphaned"),
        ("module:app/shared.py", "shared"),
        ("module:app", "billing_one shared shared"),
        ("module:app/", "billing_one shared shared"),
        ("module:app/*.py", "billing_one shared shared"),
        ("kind:view", "Report Report_V2 Totals shared"),
        ("shared", "shared shared"),
        ("kind:migration,shared", "shared"),
        ("+c,tag:billing", "b c"),
        ("state:failed,a", ""),
    ],
)
def test_what_selectors_mean(expression: str, expected: str) -> None:
    assert names(expression) == expected


def test_no_selector_means_everything() -> None:
    assert names() == names("*") == names("")
    assert select("a", GRAPH, STATES) == {Node(NodeKind.MIGRATION, "a")}


def test_several_add_up_and_exclusions_go() -> None:
    assert names("a", "d") == "a d"
    assert names("+d", exclude="tag:billing") == "a d"
    assert names(exclude=["*", "state:failed"]) == ""


@pytest.mark.parametrize(
    ("expression", "message", "hint"),
    [
        ("billing_on", "no migration or view is called 'billing_on'", "did you mean 'billing_one' or"),
        ("+Totls", "no migration or view is called 'Totls'", "did you mean 'Totals'?"),
        ("z*", "no migration or view matches 'z*'", "`migrate status` lists the names"),
        ("tag:biling", "no migration has the tag 'biling'", "did you mean 'tag:billing'?"),
        ("state:pendng", "no state is called 'pendng'", "did you mean 'state:pending'?"),
        ("kind:views", "no kind is called 'views'", "did you mean 'kind:view'?"),
        ("module:app/share.py", "no migration or view is in 'app/share.py'", "did you mean 'module:app/shared.py'"),
        ("tags:billing", "no selector 'tags:'", "did you mean 'tag:'"),
        ("a,d", "nothing is all of 'a,d' at once", "`migrate status` lists the names"),
        ("a,,d", "a selector is empty", "`migrate status` lists the names"),
        (",", "a selector is empty", "`migrate status` lists the names"),
        ("+", "no migration or view is called '+'", "`migrate status` lists the names"),
        (f"{'9' * 5000}+a", f"no migration or view is called '{'9' * 5000}+a'", "`migrate status` lists the names"),
    ],
)
def test_words_that_mean_nothing_are_faults(expression: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        names(expression)
    assert caught.value.message == message
    assert caught.value.hint.startswith(hint)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        names("nothing", "tag:none,state:never", exclude="nobody")
    assert caught.value.message == (
        "no migration or view is called 'nothing'; no migration has the tag 'none'; no state is called 'never'; "
        "no migration or view is called 'nobody'"
    )


def test_excluding_everything_is_a_fault() -> None:
    with pytest.raises(UsageError, match="everything that is selected is excluded"):
        names("a", exclude="+b")


@pytest.mark.parametrize("name", ["with space", "a,b", "+a", "tag:x", "sta*r", "", "x:y", "2+a+3"])
def test_any_name_can_be_selected_as_it_is(name: str) -> None:
    graph = graph_of(migrations={name: {}, "other": {}})
    states = states_of(graph, history_of())
    if name:
        assert [node.name for node in select([name], graph, states)] == [name]
    assert len(select([], graph, states)) == 2
