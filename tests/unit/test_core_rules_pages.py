"""Every rule has a page that says what it finds, why it matters and how to fix it."""

from __future__ import annotations

from typing import Any

import pytest

from migrate_graph.core.rules import RULES, Context, Needs, Severity, rule


@pytest.mark.parametrize("each", RULES.values(), ids=RULES)
def test_every_rule_has_a_page(each: Any) -> None:
    lines = each.page.splitlines()
    headings = [line for line in lines if line.startswith("#")]
    assert [line for line in headings if line.startswith("##")] == [
        "## What it finds",
        "## Why it matters",
        "## How to fix it",
    ]
    assert each.summary == lines[0]
    assert each.summary.endswith(".")
    assert lines[1] == ""
    assert each.page.count("```") == 4, "a bad example and a good one"
    assert "bad" in each.page
    assert "good" in each.page
    assert each.name == each.find.__name__.replace("_", "-")
    assert (Needs.HISTORY in each.needs) == each.code.startswith("MG4")
    assert (Needs.BASE in each.needs) == each.code.startswith("MG5")


def test_a_code_is_given_once() -> None:
    def another_cycle(context: Context) -> Any: ...

    with pytest.raises(AssertionError, match="MG101 is taken by dependency-cycle"):
        rule("MG101", Severity.INFO)(another_cycle)
