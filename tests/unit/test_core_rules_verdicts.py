"""What single rules say of graphs that are hard to judge, and what settings make of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from drawing import graph_of, history_of, migration_of, registry_of
from msgspec.structs import replace
from rules_stand import BILLING, OPENS, judged, told

from migrate_graph.core.comparison import compare
from migrate_graph.core.graph import Node, NodeKind, build_graph
from migrate_graph.core.model import FactsOnDemand, Registry, UnreachedFile
from migrate_graph.core.rules import RULES, Hit, Related, RuleSettings, Severity, check
from migrate_graph.errors import UsageError
from migrate_graph.user_files import SourceLocation

# Cycles --------------------------------------------------------------------------------------------------------------


def test_d27_a_cycle_is_told_edge_by_edge_and_names_nothing_behind_it() -> None:
    graph = graph_of("a < b < a", "b < innocent < also_innocent")
    (finding,) = [each for each in check(graph) if each.severity is Severity.ERROR]
    assert finding.source == SourceLocation("migrations.py", 1)
    assert finding.related == (
        Related(Node(NodeKind.MIGRATION, "a"), "requires 'b'", SourceLocation("migrations.py", 1)),
        Related(Node(NodeKind.MIGRATION, "b"), "requires 'a'", SourceLocation("migrations.py", 11)),
    )
    assert "innocent" not in f"{finding}"


def test_a_migration_that_requires_itself() -> None:
    assert told("MG101", graph_of("a < a")) == [("a", "'a' requires itself", "take 'a' out of its own `requires`")]


def test_a_long_ring_is_shortened_in_the_message_only() -> None:
    names = [f"m{index}" for index in range(50)]
    (finding,) = judged("MG101", graph_of(" < ".join([*names, "m0"])))
    assert finding.message == (
        "'m0' requires 'm49' requires 'm48' requires 'm47' requires 'm46' requires 'm45' requires … (44 more) … requires 'm0'"
    )
    assert len(finding.related) == 50


def test_a_name_of_the_other_kind_is_told_as_that() -> None:
    views = {"V": {"since": "W"}, "W": {"until": "V", "uses": "a"}, "X": {"replaces": "a"}}
    graph = graph_of("(V) < a", migrations={"b": {"declared_views": ("a",)}}, views=views)
    view = "is a view manager: name a migration, such as the one that first opens it"
    assert {each.hint for each in judged("MG102", graph)} == {f"'V' {view}"}
    assert {each.hint for each in judged("MG203", graph)} == {f"'W' {view}"}
    assert {each.hint for each in judged("MG204", graph)} == {f"'V' {view}"}
    found = judged("MG201", graph)
    assert {each.subject.name for each in found} == {"W", "X", "b"}
    assert {each.hint for each in found} == {"'a' is a migration: name a view manager"}


def test_several_names_in_one_text_are_to_be_named_one_by_one() -> None:
    (finding,) = judged("MG102", graph_of("a", "b", "(a, b) < c"))
    assert finding.hint == "name them one by one: ['a', 'b']"


def test_one_name_at_one_line_has_other_hints_than_at_two() -> None:
    """`@migration` twice on one function, and two functions that one decorator has made."""
    one, other = migration_of("a", function=lambda db: True), migration_of("a", function=lambda db: True)
    hints = [
        judged("MG103", build_graph(Registry(migrations=both)))[0].hint
        for both in ((one, one), (one, other), (one, replace(other, source=SourceLocation("b.py", 3))))
    ]
    assert hints == [
        "it is one function: write `@migration` once",
        "give each a name of its own: set `__name__` before `migration(…)`; a decorator keeps it with `functools.wraps`",
        "rename the one at b.py:3, or remove it",
    ]


# Names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("modules", "path", "hint"),
    [
        (["migrations.py"], "billing.py", "add `import billing`"),
        (["app/migrations.py", "app/sub/x.py"], "app/sub/billing.py", "add `import sub.billing`"),
        (["elsewhere/migrations.py"], "app/billing.py", "add `import app.billing`"),
        (["migrations.py"], "2026-billing.py", "import it, under a name that Python can import"),
    ],
)
def test_the_import_to_add_is_spelt_out(modules: list[str], path: str, hint: str) -> None:
    fields = {f"m{index}": {"module": module} for index, module in enumerate(modules)}
    graph = graph_of(migrations=fields, unreached=(UnreachedFile(path, (("x", 1),)),))
    assert [each.hint for each in judged("MG104", graph)] == [hint]


def test_a_requirement_in_a_forgotten_file_says_which() -> None:
    graph = graph_of("(refund) < a", migrations={"a": {"module": "app/migrations.py"}}, unreached=(BILLING,))
    assert [each.hint for each in judged("MG102", graph)] == [
        "defined in app/billing.py:30, which nothing imports: add `import billing`"
    ]
    assert judged("MG104", graph)[0].source == SourceLocation("app/billing.py", 14)


def test_many_unknown_names_do_not_cost_a_search_each() -> None:
    # With several hundred names to compare each search takes milliseconds; only the first ones are made.
    graph = graph_of(*(f"(unknown_requirement_{index}) < migration_requirement_{index}" for index in range(600)))
    findings = judged("MG102", graph)
    assert len(findings) == 600
    assert any("did you mean" in each.hint for each in findings)
    assert sum("did you mean" in each.hint for each in findings) <= 40


def test_many_names_are_listed_briefly() -> None:
    file = UnreachedFile("b.py", tuple((f"m{index}", index) for index in range(1, 9)))
    assert judged("MG104", graph_of("a", unreached=(file,)))[0].message == (
        "'b.py' declares 'm1', 'm2', 'm3', 'm4', 'm5' and 3 more, and nothing imports it"
    )
    one = UnreachedFile("c.py", (("m", 4),))
    assert judged("MG104", graph_of("a", unreached=(one,)))[0].message == "'c.py' declares 'm', and nothing imports it"


def test_one_lonely_migration_is_not_isolated() -> None:
    assert told("MG106", graph_of("a")) == []


# Windows -------------------------------------------------------------------------------------------------------------


def test_a_window_that_only_the_tie_break_empties_is_empty_and_one_it_fills_is_unordered() -> None:
    fields = {"V": {"since": "s", "until": "u"}}
    empty = graph_of(declared=["u", "s"], views=fields)
    filled = graph_of(declared=["s", "u"], views=fields)
    assert [each.subject.name for each in judged("MG205", empty)] == ["V"]
    assert judged("MG209", empty) == []
    assert judged("MG205", filled) == []
    assert told("MG209", filled) == [
        ("V", "only the tie-break orders 's', the `since` of view 'V', against 'u'", "let 'u' require 's'")
    ]


def test_nothing_is_said_of_windows_behind_a_cycle_or_without_a_bound() -> None:
    graph = graph_of(
        "p < q < p",
        "q < behind",
        "ok",
        migrations={"behind": {"touches": ["V", "W"]}, "ok": {"touches": ["V", "Gone"]}},
        views={
            "V": {"since": "behind", "until": "p"},
            "W": {"since": "nowhere"},
            "R": {"uses": "V W", "until": "ok"},
            "R_V2": {"since": "q"},
        },
    )
    codes = {each.code for each in check(graph) if each.code.startswith("MG2")}
    assert codes == {"MG203", "MG210"}


def test_a_view_is_not_accused_of_the_time_before_it_is_created() -> None:
    # The ancestor's own documentation writes views so: the reader has no window of its own.
    graph = graph_of(
        "s < m", migrations={"m": {"touches": ["Lines"]}}, views={"Lines": {"since": "s"}, "T": {"uses": "Lines"}}
    )
    assert judged("MG206", graph) == []


def test_a_view_brought_up_before_what_it_uses_lives() -> None:
    graph = graph_of(
        "m < s", migrations={"m": {"touches": ["T"]}}, views={"Lines": {"since": "s"}, "T": {"uses": "Lines"}}
    )
    assert [each.message for each in judged("MG206", graph)] == [
        "view 'T' uses 'Lines', which does not live when 'm' brings it up"
    ]


def test_a_view_that_opens_before_what_it_uses_does() -> None:
    graph = graph_of("a < b", views={"Lines": {"since": "b"}, "T": {"uses": "Lines", "since": "a"}})
    assert [each.message for each in judged("MG206", graph)] == [
        "view 'T' uses 'Lines', which does not live when 'a' opens its window"
    ]


def test_a_view_that_opens_when_what_it_uses_lives_or_when_it_is_replaced_already() -> None:
    fields = {"Lines": {"since": "a"}, "T": {"uses": "Lines", "since": "b"}}
    assert judged("MG206", graph_of("a < b", views=fields)) == []
    replaced = {"Lines": {"since": "b"}, "T": {"uses": "Lines", "since": "a"}, "T_V2": {"replaces": "T"}}
    assert judged("MG206", graph_of("a < b", views=replaced)) == []


def test_a_successor_takes_the_place_of_what_a_view_uses() -> None:
    fields = {"L1": {"until": "b"}, "L2": {"since": "b", "replaces": "L1"}, "T": {"uses": "L1"}}
    assert judged("MG206", graph_of("a < b < c", views=fields)) == []
    # A gap between the two is not bridged, and the end of the last is the end of all.
    gap = {**fields, "L2": {"since": "c", "replaces": "L1"}}
    assert [each.message for each in judged("MG206", graph_of("a < b < c", views=gap))] == [
        "view 'T' uses 'L1', which does not live after 'b'"
    ]
    end = {**fields, "L2": {"since": "b", "until": "c", "replaces": "L1"}}
    assert [each.message for each in judged("MG206", graph_of("a < b < c", views=end))] == [
        "view 'T' uses 'L1', which does not live after 'c'"
    ]


def test_a_ring_of_successors_does_not_hang() -> None:
    fields = {"A": {"until": "a", "replaces": "B"}, "B": {"until": "a", "replaces": "A"}, "T": {"uses": "A"}}
    assert {each.code for each in check(graph_of("a", views=fields)) if each.severity is Severity.ERROR} == {
        "MG202",
        "MG206",
    }


def test_two_successors_of_one_view_overlap() -> None:
    fields = {"T": {}, "New": {"replaces": "T", "since": "a"}, "Newer": {"replaces": "T", "since": "b"}}
    assert told("MG207", graph_of("a < b", views=fields)) == [
        ("Newer", "views 'New' and 'Newer' both live after 'b'", "let 'Newer' replace 'New' instead of 'T'")
    ]


def test_versions_without_windows_overlap_from_the_start() -> None:
    fields = {"T_V1": {}, "T_V2": {}, "IPv4": {}, "IPv6": {}}
    assert [each.message for each in judged("MG207", graph_of("a", views=fields))] == [
        "views 'T_V1' and 'T_V2' both live from the start"
    ]


def test_versions_that_follow_each_other_do_not_overlap() -> None:
    fields = {"T_V1": {"until": "a"}, "T_V2": {"since": "a", "until": "b"}, "T_V3": {"since": "c"}}
    assert judged("MG207", graph_of("a < b < c", views=fields)) == []


def test_versions_that_meet_in_one_migration_overlap_when_it_brings_both_up() -> None:
    fields = {"T_V1": {"until": "a"}, "T_V2": {"since": "a"}}
    both = graph_of(migrations={"a": {"touches": ["T_V1", "T_V2"]}}, views=fields)
    one = graph_of(migrations={"a": {"touches": ["T_V2"]}}, views=fields)
    assert [each.message for each in judged("MG207", both)] == ["views 'T_V1' and 'T_V2' both live in 'a'"]
    assert judged("MG207", one) == []


def test_two_successors_of_one_name_are_told_once() -> None:
    fields = {"T": {}, "T_V2": {"replaces": "T"}, "T_V3": {"replaces": "T"}}
    assert len(judged("MG207", graph_of("a", views=fields))) == 1


def test_two_queries_for_one_relation_overlap_whatever_the_managers_are_called() -> None:
    fields = {
        "Totals": {"relations": ('"v"',), "query": "SELECT 1"},
        "Sums": {"relations": ("V",), "since": "a", "query": "SELECT 2"},
        "Others": {"relations": ('"V"',), "query": "SELECT 3"},
        "X": {"relations": ("billing.v",), "query": "SELECT 4"},
    }
    (finding,) = judged("MG207", graph_of("a", views=fields))
    assert finding.message == "views 'Totals' and 'Sums' both live after 'a', and both create v"
    fields["Sums"] |= {"replaces": "Totals"}
    assert judged("MG207", graph_of("a", views=fields)) == []


def test_names_that_are_known_without_their_schemas_are_no_overlap() -> None:
    """The text of a manager's `up()` is searched for names, and `shop.totals` is known as `totals`."""
    fields = {"Shop": {"relations": ('"totals"',)}, "Billing": {"relations": ('"totals"',)}}
    assert judged("MG207", graph_of("a", views=fields)) == []


def test_a_replaced_version_does_not_overlap_with_a_stranger() -> None:
    # T_V1 is replaced by the time that T_V9 opens, so only the two that live are told.
    fields = {"T_V1": {}, "T_V2": {"replaces": "T_V1", "since": "a"}, "T_V9": {"since": "b"}}
    assert [each.message for each in judged("MG207", graph_of("a < b", views=fields))] == [
        "views 'T_V2' and 'T_V9' both live after 'b'"
    ]


def test_opening_a_closed_view_is_an_error_unless_a_relative_lives() -> None:
    closed = {"V": {"until": "u"}}
    assert [each.message for each in judged("MG208", graph_of("u < m", migrations={"m": OPENS}, views=closed))] == [
        "'m' opens view 'V', but runs after its `until`, 'u'"
    ]
    followed = {**closed, "W": {"replaces": "V", "since": "u"}}
    assert judged("MG208", graph_of("u < m", migrations={"m": OPENS}, views=followed)) == []
    awaited = {"Old": {}, "V": {"since": "s", "replaces": "Old"}}
    assert judged("MG208", graph_of("m < s", migrations={"m": OPENS}, views=awaited)) == []


def test_without_views_no_text_is_read_for_what_it_opens() -> None:
    def read(name: str) -> dict[str, object]:
        return {name: pytest.fail(f"read {name}")}

    declared = registry_of("a < b")
    unread = [replace(each, facts=FactsOnDemand(read)) for each in declared.migrations]
    assert judged("MG208", build_graph(replace(declared, migrations=tuple(unread)))) == []


def test_opening_a_view_where_only_the_tie_break_closes_it_is_not_an_error() -> None:
    graph = graph_of("m", "s", migrations={"m": OPENS}, views={"V": {"since": "s"}})
    assert judged("MG208", graph) == []
    assert told("MG209", graph) == [
        ("V", "only the tie-break orders 's', the `since` of view 'V', against 'm'", "let 's' require 'm'")
    ]


def test_an_unordered_end_is_told_with_every_migration_that_opens_the_view() -> None:
    fields = dict.fromkeys(("m1", "m2"), OPENS)
    (finding,) = judged("MG209", graph_of("m1", "m2", "u", migrations=fields, views={"V": {"until": "u"}}))
    assert finding.message == "only the tie-break orders 'u', the `until` of view 'V', against 'm1' and 'm2'"
    assert [each.subject.name for each in finding.related] == ["m1", "m2"]


# History -------------------------------------------------------------------------------------------------------------


def test_a_graph_does_not_differ_from_itself() -> None:
    graph = graph_of("a < b", views={"V": {}})
    assert not compare(before=graph, after=graph)
    assert compare(before=graph_of("a"), after=graph)
    assert check(graph_of("a"), base=None, settings=RuleSettings(select=("MG5",))) == ()


def test_without_a_history_nothing_is_said_of_it() -> None:
    graph = graph_of("a < b")
    assert check(graph, None, settings=RuleSettings(select=("MG4",))) == ()
    assert len(check(graph, history_of("b"), settings=RuleSettings(select=("MG402",)))) == 1


def test_one_commit_is_one_commit() -> None:
    (finding,) = judged("MG405", graph_of("a"), history_of(interrupted="a"))
    assert finding.message == "'a' was interrupted after 1 own commit"


# Settings ------------------------------------------------------------------------------------------------------------


def test_findings_come_worst_first_then_by_code_and_place() -> None:
    graph = graph_of("(x) < b", "(x) < a", "c < d < e", "c < e", views={"V": {"until": "gone"}})
    assert [(each.code, each.subject.name) for each in check(graph)] == [
        ("MG102", "b"),
        ("MG102", "a"),
        ("MG204", "V"),
        ("MG105", "e"),
    ]


@pytest.mark.parametrize(
    ("settings", "severity"),
    [
        (RuleSettings(), Severity.WARNING),
        (RuleSettings(strict=True), Severity.ERROR),
        (RuleSettings(error=("MG204",)), Severity.ERROR),
        (RuleSettings(error=("MG2",)), Severity.ERROR),
        (RuleSettings(select=("MG204",)), Severity.WARNING),
        (RuleSettings(select=("MG1",)), Severity.OFF),
        (RuleSettings(ignore=("MG204",), error=("MG204",)), Severity.OFF),
    ],
)
def test_a_warning_under_settings(settings: RuleSettings, severity: Severity) -> None:
    assert settings.severity_of(RULES["MG204"]) is severity


@pytest.mark.parametrize(
    ("settings", "severity"),
    [
        (RuleSettings(), Severity.OFF),
        (RuleSettings(strict=True), Severity.OFF),
        (RuleSettings(select=("MG1",)), Severity.OFF),
        (RuleSettings(select=("MG106",)), Severity.WARNING),
        (RuleSettings(warn=("MG106",)), Severity.WARNING),
        (RuleSettings(error=("MG106",)), Severity.ERROR),
    ],
)
def test_a_rule_that_is_off_is_on_when_it_is_named(settings: RuleSettings, severity: Severity) -> None:
    assert settings.severity_of(RULES["MG106"]) is severity


def test_an_error_can_become_a_warning() -> None:
    assert RuleSettings(warn=("MG101",)).severity_of(RULES["MG101"]) is Severity.WARNING


def test_a_declaration_ignores_a_rule_for_itself() -> None:
    ignoring = {"ignore": frozenset({"MG102"})}
    graph = graph_of(
        "(x) < a", "(x) < b", migrations={"a": ignoring}, views={"V": {"until": "x", "ignore": frozenset({"MG2"})}}
    )
    assert [(each.code, each.subject.name) for each in check(graph)] == [("MG102", "b")]


def test_unknown_rules_are_refused_all_at_once() -> None:
    graph = graph_of(
        migrations={"a": {"ignore": frozenset({"MG999"})}}, views={"V": {"ignore": frozenset({"nonsense"})}}
    )
    with pytest.raises(UsageError) as caught:
        check(graph, settings=RuleSettings(select=("MG104O",), ignore=("",), error=("MG10",), warn=("M",)))
    assert caught.value.message == (
        "no such rule: 'MG104O', '', 'M', 'MG999' in `ignore` of 'a' (migrations.py:1), 'nonsense' in `ignore` of 'V' (views.py:1)"
    )
    assert caught.value.hint == "did you mean MG104?"


def test_a_code_like_no_other_gets_the_list() -> None:
    with pytest.raises(UsageError) as caught:
        check(graph_of(), settings=RuleSettings(select=("nonsense",)))
    assert caught.value.hint == f"the rules are {', '.join(RULES)}"


@pytest.mark.parametrize("name", ["it's", '"', "<script>alert(1)</script>", "a\nb", "💣", "\u202eabc", "\x1b[31m"])
def test_hostile_names_are_only_names(name: str) -> None:
    registry = registry_of("(x) < a", views={"V": {"since": "a", "until": "x"}})
    (migration,) = registry.migrations
    graph = build_graph(replace(registry, migrations=(replace(migration, name=name),)))
    assert {each.code for each in check(graph, history_of([name, "other"]))} >= {"MG102", "MG203", "MG401"}


def test_a_rule_is_one_function_of_one_argument() -> None:
    signature: Callable[[Any], list[str]] = lambda find: list(inspect.signature(find).parameters)  # noqa: E731
    assert {tuple(signature(each.find)) for each in RULES.values()} == {("context",)}
    assert Hit("a", "m", "h").related == ()


def test_a_file_without_migrations_is_wrong_where_the_database_remembers_some() -> None:
    (finding,) = judged("MG109", graph_of(), history_of("a b", failed="c"))
    assert finding.message == "no migration is declared, and the database remembers 3"


@pytest.mark.parametrize(
    ("written", "declared"),
    [
        ("pru\u0308fen", "pr\u00fcfen"),
        ("\ufb01x", "fix"),
        ("f\u0456rst_20260101_001", "first_20260101_001"),
        ("first_20260101_001\u200b", "first_20260101_001"),
        ("\u00a0a\u00a0", "a"),
    ],
)
def test_a_name_that_only_looks_like_another_is_told_letter_by_letter(written: str, declared: str) -> None:
    [(_, _, hint)] = told("MG203", graph_of(declared, views={"V": {"since": written}}))
    assert hint == f"did you mean '{declared}'? here stands {written!a}"


def test_several_names_in_one_text_are_told_for_views_too() -> None:
    graph = graph_of(views={"A": {}, "B": {}, "C": {"uses": ("A, B",)}, "D": {"uses": ("E, F",)}})
    assert [hint for _, _, hint in told("MG201", graph)] == [
        "name them one by one: ['A', 'B']",
        "declare 'E, F', or remove it",
    ]


@pytest.mark.parametrize(
    ("ledger", "relations", "found"),
    [
        ("Ledger", ("ledger",), True),
        ("ledger", ('"ledger"',), True),
        ("ledger", ("Ledger_Journal",), True),
        ("ledger", ("other", "ledger_views"), True),
        ("audit.ledger", ("audit.ledger_views",), True),
        ("audit.ledger", ("ledger_views",), False),
        ("ledger", ("billing.ledger",), False),
        ("ledger", ("ledgers", "ledger_drift"), False),
        ("my ledger", ('"my ledger_views"',), True),
        ("ledger", (), False),
        ("ledger", ("Shop.ledger",), False),
        ("ledger", ("public.ledger",), True),
        ("public.ledger", ("ledger_views",), True),
    ],
)
def test_a_view_may_not_be_called_like_a_table_of_this_tool(
    ledger: str, relations: tuple[str, ...], found: bool
) -> None:
    graph = graph_of("a", views={"V": {"relations": relations}})
    settings = RuleSettings(select=("MG217",), ledger=ledger)
    assert bool(check(graph, settings=settings)) is found


@pytest.mark.parametrize(
    ("ledger", "relation", "found"),
    [
        ("ledger", "Shop.ledger", True),
        ("ledger", '"shop".ledger_views', True),
        ("ledger", '"Shop".ledger', False),
        ("ledger", "billing.ledger", False),
        ("shop.ledger", "ledger_journal", True),
        ("billing.ledger", "ledger_journal", False),
    ],
)
def test_a_name_without_a_schema_is_one_in_the_configured_schema(ledger: str, relation: str, found: bool) -> None:
    graph = graph_of("a", views={"V": {"relations": (relation,)}})
    settings = RuleSettings(select=("MG217",), ledger=ledger, schema="shop")
    assert bool(check(graph, settings=settings)) is found


def test_a_wrong_requirement_has_no_false_consequences() -> None:
    """What hangs on a misspelt name has no place in the order: nothing else is said of it before the name is right."""
    views = {
        "V": {"since": "create", "until": "drop"},
        "W": {"since": "drop", "until": "create"},
        "Same": {"since": "drop", "until": "drop"},
    }
    touches = {name: {"touches": ["V"]} for name in ("create", "widen", "drop")}
    right = graph_of("create < widen < drop", views={"V": views["V"]}, migrations=touches)
    assert [each.code for each in check(right)] == []
    wrong = graph_of("create", "(craete) < widen < drop", views=views, migrations=touches)
    found = {(each.code, each.subject.name) for each in check(wrong)}
    assert ("MG102", "widen") in found
    assert ("MG205", "Same") in found, "that has nothing to do with the order"
    assert not found & {("MG209", "V"), ("MG209", "W"), ("MG205", "W"), ("MG205", "V")}
    loose = graph_of("create", "widen < drop", views={"V": views["V"]}, migrations=touches)
    assert {each.code for each in check(loose)} == {"MG209"}, "without a wrong name the order really is missing"


def test_many_views_of_a_database_taken_over_are_one_finding() -> None:
    """As `migrate views adopt` writes them: nobody is told 1,863 times to remove what the database has."""
    graph = graph_of("a", views={f"V{number:03}": {} for number in range(400)})
    graph = build_graph(
        Registry(
            tuple(graph.migrations.values()), tuple(replace(view, module="views.py") for view in graph.views.values())
        )
    )
    [finding] = [each for each in check(graph) if each.code == "MG210"]
    assert "nor 399 others of its file" in finding.message
    assert "keeps them" in finding.hint
