from typing import Any

import pytest
from drawing import migration_of, view_of

from migrate_graph.core.events import Outcome, Result, RunFinished, Warned, ignore_events
from migrate_graph.core.history import History
from migrate_graph.core.model import BodyFacts, FactsOnDemand, Migration, is_left_undone, sequence_of
from migrate_graph.user_files import SourceLocation


@pytest.mark.parametrize(
    ("name", "sequence"),
    [
        ("add_total_20260330_001", (20260330, 1)),
        ("add_total_20260330", (20260330, 0)),
        ("step_7", (7, 0)),
        ("step7", (7, 0)),
        ("step_123_45", (123, 45)),
        ("step_7_", None),
        ("7_step", None),
        ("step", None),
    ],
)
def test_the_trailing_number(name: str, sequence: tuple[int, int] | None) -> None:
    assert sequence_of(name) == sequence
    assert migration_of(name).sequence == sequence


def test_a_migration_is_the_function_it_wraps() -> None:
    def body(db: str) -> str:
        """Do it."""
        return f"did it on {db}"

    migration = Migration("create", body)
    assert migration("db") == "did it on db"
    assert migration.__name__ == "create"
    assert migration.body is body
    assert migration.description == "Do it."
    assert migration_of("a").description == ""


def test_declared_views_win_over_found_ones() -> None:
    assert migration_of("a", touches=["V"]).touches == ("V",)
    assert migration_of("a", touches=["V"], declared_views=()).touches == ()


def test_a_window() -> None:
    view = view_of("V", since="s", until="u")
    assert not view.in_window(set(), running=None)
    assert view.in_window({"s"}, running=None)
    assert not view.in_window({"s", "u"}, running=None)
    assert view.in_window(set(), running="s")
    assert view.in_window({"s"}, running="u")
    assert view_of("V").in_window(set(), running=None)


def test_a_place_reads_as_editors_read_it() -> None:
    assert str(SourceLocation("app/m.py", 7)) == "app/m.py:7"


def test_the_empty_history_is_a_history() -> None:
    assert History().applied == frozenset()


def test_how_a_run_ended() -> None:
    done, refused = Result("a", Outcome.APPLIED), Result("b", Outcome.REFUSED)
    assert RunFinished("run", (done,), 1.0).succeeded
    assert not RunFinished("run", (done,), 1.0, signal=15).succeeded
    finished = RunFinished("run", (done, refused), 1.0)
    assert not finished.succeeded
    assert finished.of(Outcome.REFUSED, Outcome.RAISED) == (refused,)
    assert [outcome for outcome in Outcome if outcome.failed] == [Outcome.REFUSED, Outcome.RAISED, Outcome.INTERRUPTED]
    assert ignore_events(Warned("said to nobody")) is None


def test_facts_are_read_when_asked_for_and_once() -> None:
    known = BodyFacts(fingerprint="abc", returns_value=False)
    asked: list[str] = []

    def read(name: str) -> dict[str, object]:
        asked.append(name)
        together = ("returns_value", "adds_enum_value") if name == "returns_value" else (name,)
        return {each: getattr(known, each) for each in together}

    facts = FactsOnDemand(read)
    assert (facts.fingerprint, facts.fingerprint, asked) == ("abc", "abc", ["fingerprint"])
    assert (facts.returns_value, facts.adds_enum_value, asked) == (False, None, ["fingerprint", "returns_value"])
    assert facts == known
    assert facts != BodyFacts(fingerprint="other")
    assert facts != "abc"
    assert len(asked) == len(set(asked))
    with pytest.raises(AttributeError, match="nothing_like_it"):
        facts.nothing_like_it  # noqa: B018 - asking is the test
    with pytest.raises(TypeError):
        hash(facts)


def test_work_that_nobody_does() -> None:
    async def later() -> None: ...

    async def ones() -> Any:
        yield 1

    assert is_left_undone(later())
    assert is_left_undone(ones())
    assert is_left_undone(each for each in "ab")
    assert not any(map(is_left_undone, (None, True, "text", [1], later)))
