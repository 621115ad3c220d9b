"""How messages are worded."""

from __future__ import annotations

from migrate_graph.messages import counted, did_you_mean, first_line, similar


def test_numbers_agree_with_their_nouns() -> None:
    assert [counted(number, "view") for number in (0, 1, 2, 2000)] == ["0 views", "1 view", "2 views", "2,000 views"]


def test_a_name_is_never_proposed_for_itself() -> None:
    assert similar("add_total", ["add_total", "add_totals", "drop"]) == ["add_totals"]
    assert similar("add_total", ["zebra"]) == []


def test_each_proposal_stands_once_and_nothing_is_proposed_for_nothing() -> None:
    assert did_you_mean(["a", "b", "a"], "ask") == "did you mean a or b?"
    assert did_you_mean([], "ask") == "ask"


def test_an_exception_that_says_nothing_is_told_by_its_type() -> None:
    assert first_line(ValueError("\n one\ntwo")) == "one"
    assert first_line(KeyError()) == "KeyError"
