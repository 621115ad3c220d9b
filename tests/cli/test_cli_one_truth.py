"""One command, one assessment: what is told, drawn and reported agrees, because it is one value."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import migrate_graph
from migrate_graph.core.plan import build_plan
from migrate_graph.core.rules import check

HEADER = "from migrate_graph import ViewMigrationManager, migration\n\n"


def count_calls(monkeypatch: pytest.MonkeyPatch, *functions: Callable[..., Any]) -> Counter[str]:
    """Count every call of these, from whatever module of ours: each name that means one of them is replaced."""
    for found in pkgutil.walk_packages(migrate_graph.__path__, "migrate_graph."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    calls: Counter[str] = Counter()
    for function in functions:

        def counted(*args: Any, _function: Callable[..., Any] = function, **values: Any) -> Any:
            calls[_function.__name__] += 1
            return _function(*args, **values)

        for name, module in list(sys.modules.items()):
            if name.startswith("migrate_graph"):
                for word, value in list(vars(module).items()):
                    if value is function:
                        monkeypatch.setattr(module, word, counted)
    return calls


@pytest.mark.parametrize(
    ("words", "checks", "plans"),
    [
        (["plan"], 1, 1),
        (["plan", "--json"], 1, 1),
        (["plan", "--graph", "plan.svg"], 1, 1),
        (["plan", "--select", "+widen_total_20260302_001", "--exclude", "state:failed", "--graph", "plan.json"], 1, 1),
        (["plan", "--to", "create_invoice_20260301_002", "--format", "markdown"], 1, 1),
        (["plan", "--atomic", "--all", "--graph", "plan.json"], 1, 1),
        (["plan", "--coalesce", "--link-template", "https://h.example/{file}#L{line}", "--graph", "plan.html"], 1, 1),
        (["plan", "--offline", "--graph", "plan.mmd"], 1, 1),
        (["plan", "-o", "sealed.json"], 1, 1),
        # What is wrong with the graph is judged before anything runs, and what was seen after it.
        (["plan", "--rehearse", "--graph", "plan.json"], 2, 1),
        (["plan", "--sql"], 2, 1),
        (["check"], 1, 0),
        (["check", "--graph", "wrong.svg"], 1, 0),
        (["check", "--format", "markdown"], 1, 0),
        (["check", "--select", "+Totals", "--graph", "wrong.json", "--format", "markdown"], 1, 0),
        (["check", "--history", "--graph", "wrong.json", "--format", "markdown"], 1, 1),
        (["graph"], 1, 0),
        (["graph", "--history", "-o", "graph.json"], 1, 1),
        (["graph", "--history", "--select", "state:pending", "-o", "graph.json"], 1, 1),
        (["status"], 0, 1),
        (["status", "--json"], 0, 1),
        (["show", "Totals"], 0, 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_one_command_judges_and_plans_once(
    shop, monkeypatch: pytest.MonkeyPatch, words: list[str], checks: int, plans: int
) -> None:
    assert shop("apply", "--to", "create_customer_20260301_001").code == 0
    calls = count_calls(monkeypatch, check, build_plan)
    assert shop(*words).code == 0
    assert (calls["check"], calls["build_plan"]) == (checks, plans)


def picture_of(shell: Any, *words: str) -> dict[str, dict[str, Any]]:
    """Draw as JSON; give the nodes by kind and name."""
    ran = shell(*words)
    document = json.loads((shell.path / words[-1]).read_text())
    assert f"drawn: {words[-1]}" in ran.err
    return {f"{node['kind']} {node['name']}": node for node in document["nodes"]}


def test_the_plan_tells_the_findings_that_its_picture_shows(shop) -> None:
    shop("apply")
    shop.write("migrations.py", f"{HEADER}\n\n@migration\ndef other_20260401_001(db):\n    return True\n")
    ran = shop("plan", "--graph", "plan.json")
    picture = json.loads((shop.path / "plan.json").read_text())
    accused = [node["name"] for node in picture["nodes"] if any("MG401" in note for note in node["notes"])]
    assert len(accused) == 3
    assert "findings: 3 errors (migrate check --history)" in ran.out
    assert ran.code == 0, "an orphan record stops no deployment"
    document = shop("plan", "--json").json
    assert sorted(each["subject"] for each in document["findings"] if each["code"] == "MG401") == sorted(accused)


@pytest.mark.parametrize("ignored", ["MG102", "MG101", "MG1"])
def test_a_picture_shows_no_finding_that_was_ignored(broken, ignored: str) -> None:
    ran = broken("check", "--ignore", ignored, "--format", "markdown")
    assert ignored not in ran.out
    assert ("MG102" in ran.out) == (ignored == "MG101")
    assert "blocked" not in ran.out, "nothing was asked of a database"


def test_selected_findings_are_the_drawn_ones(broken) -> None:
    nodes = picture_of(broken, "check", "--select", "create_customer", "--graph", "x.json")
    assert any("MG102" in note for note in nodes["migration create_customer"]["notes"])
    assert not any("MG101" in note for node in nodes.values() for note in node["notes"])


def test_an_unknown_requirement_is_drawn_with_what_requires_it(shell) -> None:
    lines = ["@migration\ndef m000(db): return True\n"]
    lines += [f"@migration(requires='m{n - 1:03}')\ndef m{n:03}(db): return True\n" for n in range(1, 200)]
    shell.write(
        "migrations.py", HEADER + "\n".join(lines) + "\n@migration(requires='nope')\ndef lost(db): return True\n"
    )
    nodes = picture_of(shell, "graph", "-o", "graph.json")
    drawn = {name for name, node in nodes.items() if node["drawn"]}
    assert {"migration nope", "migration lost"} <= drawn


VERSIONS = (
    HEADER
    + '''
class Base(ViewMigrationManager):
    uses = ()
    def up(self): self.db.executesql("CREATE VIEW v AS SELECT 1 AS one")
    def down(self): self.db.executesql("DROP VIEW IF EXISTS v")

class V1(Base):
    """First."""
    since = "m1"

class V2(Base):
    """Second."""
    replaces = V1
    since = "m2"
    until = "m3"

class V3(Base):
    """Third."""
    replaces = V2
    since = "m3"

@migration
def m1(db):
    with V1(db): pass
    return True

@migration(requires=m1)
def m2(db):
    with V1(db): pass
    return True

@migration(requires=m2)
def m3(db):
    with V2(db): pass
    return True
'''
)


def test_a_view_that_waits_for_its_window_is_not_replaced_yet(shop) -> None:
    shop.write("migrations.py", VERSIONS)
    for applied, replaced in ((None, {}), ("m1", {}), ("m2", {"V1": "V2"})):
        if applied:
            assert shop("apply", "--to", applied).code == 0
        views = shop("status", "--json").json["views"]
        assert {view["name"]: view["replaced_by"] for view in views if view["replaced_by"]} == replaced


def test_a_replaced_view_is_replaced_everywhere(shop) -> None:
    shop.write("migrations.py", VERSIONS)
    assert shop("apply").code == 0
    told = {view["name"]: (view["lives"], view["replaced_by"]) for view in shop("status", "--json").json["views"]}
    assert told["V1"] == (False, "V3")
    nodes = picture_of(shop, "graph", "--history", "-o", "graph.json")
    assert {name: nodes[f"view {name}"]["state"] for name in ("V1", "V2", "V3")} == {
        "V1": "retired", "V2": "retired", "V3": "applied",
    }  # fmt: skip
    assert nodes["view V1"]["details"]["replaced by"] == "V3"


STOPS = (
    HEADER
    + """
@migration
def a(db):
    db.executesql("CREATE TABLE a (id INTEGER)")
    db.commit()
    raise ValueError("boom")
    return True

@migration(requires=a)
def b(db):
    return True
"""
)


def states_everywhere(shell: Any) -> dict[str, set[str]]:
    """Return what each place says of each migration: status, the picture, and the selectors."""
    told = {each["name"]: {each["status"]} for each in shell("status", "--json").json["migrations"]}
    nodes = picture_of(shell, "graph", "--history", "-o", "all.json")
    for name, found in told.items():
        found.add(nodes[f"migration {name}"]["state"])
        for state in ("applied", "pending", "failed", "interrupted", "blocked", "orphan", "cycle", "running"):
            chosen = picture_of(shell, "graph", "--history", "--select", f"state:{state}", "-o", "some.json")
            if chosen.get(f"migration {name}", {}).get("drawn"):
                found.add(state)
    return told


def test_what_failed_with_a_commit_is_interrupted_everywhere_where_that_stops(shop) -> None:
    shop.write("migrations.py", STOPS)
    shop.write("pyproject.toml", '[tool.migrate]\non_partial = "stop"\n')
    applied = shop("apply")
    assert applied.code in {1, 5}
    assert "next: migrate resolve a --applied | --retry" in applied.err
    assert states_everywhere(shop) == {"a": {"interrupted"}, "b": {"blocked"}}
    ran = shop("plan")
    assert ran.code == 5, "a human must decide, as `apply` would say"
    assert "interrupted: a: migrate resolve a --applied | --retry" in ran.out
    assert "blocked: b (waits for a)" in ran.out
    assert "a (waits for a)" not in ran.out
    assert "findings: none" not in ran.out
    assert shop("plan", "--json").json["exit_code"] == 5
    assert [each["code"] for each in shop("check", "--history", "--json").json["findings"]] == ["MG405"]
    (shop.path / "pyproject.toml").unlink()
    assert states_everywhere(shop) == {"a": {"failed"}, "b": {"pending"}}


def test_each_event_says_whether_a_decision_is_needed(shop) -> None:
    """The end of a migration says what the end of the run says."""
    shop.write("pyproject.toml", '[tool.migrate]\non_partial = "stop"\n')
    goes_on = STOPS.replace("@migration\ndef a", "@migration(resumable=True)\ndef a")
    for text, needed in ((STOPS, True), (goes_on, False)):
        shop.write("migrations.py", text)
        lines = shop("apply", "--json", MIGRATE_URI=f"sqlite://{needed}.sqlite").lines
        ended = [line["result"] for line in lines if line["type"] == "migration_end"]
        (finished,) = (line["results"] for line in lines if line["type"] == "run_end")
        assert ended == finished
        assert [each["needs_decision"] for each in ended if each["name"] == "a"] == [needed]


def test_commits_of_an_earlier_attempt_are_told_until_somebody_decides(shop) -> None:
    shop.write("migrations.py", STOPS)
    shop("apply")
    shop.write(
        "migrations.py", STOPS.replace("    db.commit()\n", "").replace('"CREATE TABLE a (id INTEGER)"', '"SELECT 1"')
    )
    assert "committed: a in part, by an earlier attempt" in shop("apply").err
    assert "1 own commit kept" in shop("status").out
    assert shop("status", "--json").json["migrations"][0]["commits"] == 1
    shop("resolve", "a", "--retry")
    assert "own commit" not in shop("status").out


def test_what_a_hand_wrote_is_no_error(shop) -> None:
    shop("apply", "--fake", "--to", "create_invoice_20260301_002")
    shop("mark", "create_invoice_20260301_002", "--pending", "--reason", "not yet")
    nodes = picture_of(shop, "graph", "--history", "-o", "graph.json")
    faked, marked = (nodes[f"migration {name}"]["details"] for name in (
        "create_customer_20260301_001", "create_invoice_20260301_002",
    ))  # fmt: skip
    assert "error" not in faked
    assert "error" not in marked
    assert faked["by hand"] == "apply --fake"
    assert marked["by hand"].endswith(": not yet")
    assert "error" not in shop("plan", "--format", "markdown").out


@pytest.mark.parametrize("accepted", [False, True])
def test_changed_means_one_thing(shop, accepted: bool) -> None:
    shop("apply")
    source = (shop.path / "migrations.py").read_text()
    (shop.path / "migrations.py").write_text(source.replace("(id INTEGER PRIMARY KEY)", "(id INTEGER)"))
    if accepted:
        shop("mark", "create_customer_20260301_001", "--installed")
    changed = {each["name"] for each in shop("status", "--json").json["migrations"] if each["changed"]}
    found = {
        each["subject"] for each in shop("check", "--history", "--json").json["findings"] if each["code"] == "MG403"
    }
    assert changed == found == (set() if accepted else {"create_customer_20260301_001"})
    if accepted:  # an edit after the mark is an edit again
        (shop.path / "migrations.py").write_text(source)
        assert shop("check", "--history", "--json").json["findings"]
        assert "changed since it was applied" in shop("status").out


NAMESAKES = (
    HEADER
    + '''
class total(ViewMigrationManager):
    """A view of the same name as the migration; nothing opens it."""
    uses = ()
    def up(self): ...
    def down(self): ...

@migration
def total(db):
    return True
'''
)


def test_a_migration_is_not_blamed_for_a_view_of_its_name(shell) -> None:
    shell.write("migrations.py", NAMESAKES)
    nodes = picture_of(shell, "check", "--graph", "x.json")
    assert any("MG210" in note for note in nodes["view total"]["notes"])
    assert not any("MG" in note for note in nodes["migration total"]["notes"])
    assert not any(word.startswith("MG") for word in nodes["migration total"]["details"])
    (finding,) = shell("check", "--json").json["findings"]
    assert (finding["subject"], finding["subject_kind"]) == ("total", "view")
    cases = shell("check", "--format", "junit").out.split("<testcase")
    (accused,) = [case for case in cases if "MG210" in case]
    assert 'name="view total"' in accused
    assert shell("check", "--select", "kind:migration", "--json").json["findings"] == []


def test_the_picture_of_a_change_has_links(shop) -> None:
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=shop.path, check=True)
    (shop.path / "migrations.py").write_text(
        (shop.path / "migrations.py").read_text() + "\n\n@migration\ndef more_20260401_001(db):\n    return True\n"
    )
    shop.write("pyproject.toml", '[tool.migrate]\nlink_template = "https://code.example/{file}#L{line}"\n')
    assert shop("check", "--base", "HEAD", "--graph", "change.dot").code == 0
    assert "https://code.example/migrations.py#L" in (shop.path / "change.dot").read_text()


TWO_MODULES = {
    "migrations.py": "import billing\nimport orders\n",
    "billing.py": HEADER
    + "@migration\ndef bill(db): return True\n\n@migration(requires='bill')\ndef bill_more(db): return True\n",
    "orders.py": HEADER
    + "@migration(requires='bill')\ndef order(db): return True\n\n@migration\ndef alone(db): return True\n",
}


@pytest.fixture
def modules(shell: Any) -> Any:
    for name, text in TWO_MODULES.items():
        shell.write(name, text)
    return shell


def members(shell: Any, *words: str) -> dict[str, str]:
    ran = shell("graph", "--group", "module", *words, "--format", "json")
    assert ran.code == 0, ran.err
    return {node["name"]: node["details"]["members"] for node in ran.json["nodes"]}


def test_an_overview_of_modules_is_of_what_was_asked_for(modules) -> None:
    assert members(modules) == {"billing.py": "bill, bill_more", "orders.py": "order, alone"}
    assert members(modules, "--select", "order alone") == {"orders.py": "order, alone"}
    assert members(modules, "--exclude", "module:orders.py") == {"billing.py": "bill, bill_more"}
    assert members(modules, "--focus", "order", "--hops", "1") == {"billing.py": "bill", "orders.py": "order"}
    assert modules("graph", "--group", "module", "--focus", "nosuch").code == 2


def test_focus_and_selection_both_count(modules) -> None:
    ran = modules("graph", "--select", "kind:migration", "--exclude", "order", "--focus", "bill", "--format", "json")
    assert [node["name"] for node in ran.json["nodes"] if node["drawn"]] == ["bill", "bill_more"]
    far = modules("graph", "--select", "alone", "--focus", "bill")
    assert (far.code, "nothing that is selected is within 2 of bill" in far.err) == (2, True)


@pytest.mark.parametrize(
    "words",
    [
        ["--all", "--select", "bill"],
        ["--all", "--focus", "bill"],
        ["--hops", "3"],
        ["--ascii", "-o", "graph.svg"],
        ["--ascii", "--format", "mermaid"],
    ],
    ids=" ".join,
)
def test_an_option_that_would_do_nothing_is_refused(modules, words: list[str]) -> None:
    ran = modules("graph", *words)
    assert ran.code == 2
    assert "hint:" in ran.err
    assert not (modules.path / "graph.svg").exists()


def test_a_refused_plan_is_drawn_and_reported_all_the_same(broken) -> None:
    old = broken.write("plan.svg", "<svg/>")
    ran = broken("plan", "--graph", "plan.svg")
    assert ran.code == 3
    assert "MG102" in old.read_text(), "an old picture never stays behind as if it were the new one"
    report = broken("plan", "--format", "markdown")
    assert report.code == 3
    assert "flowchart" in report.out
    assert "requires 'crate" in report.out
    assert "plan refused" in report.err
    assert "pending" not in report.out
    assert broken("plan", "--format", "markdown", "-o", "plan.md").code == 3
    assert "MG102" in (broken.path / "plan.md").read_text()
    assert broken("plan", "--json").json["kind"] == "error"


def test_a_plan_ends_with_how_much_runs_and_what_becomes_of_views(shop) -> None:
    lines = shop("plan").out.splitlines()
    assert lines[-2:] == ["3 to run · 1 view new", "blocked: nothing   ·   findings: none"]
    shop("apply", "--to", "create_invoice_20260301_002")
    assert shop("plan").out.splitlines()[-2] == "1 to run · 1 view rebuilt"
    picture = json.loads(shop("plan", "--format", "json").out)
    assert picture["kind"] == "plan"
    nodes = picture_of(shop, "plan", "--graph", "plan.json")
    assert nodes["view Totals"]["notes"] == ["view · rebuild", "↓#1 ↑#1"]
    assert nodes["view Totals"]["state"] == "rebuilt"
    assert nodes["migration widen_total_20260302_001"]["notes"] == ["#1 pending", "views ~1"]
