from typing import Any

import pytest
from drawing import graph_of

from migrate_graph.core.graph import MigrationGraph
from migrate_graph.core.timeline import Timeline, ViewBlock


def block(graph: MigrationGraph, *views: str, applied: str = "", running: str = "now") -> ViewBlock:
    return Timeline(graph).block(*views, applied=set(applied.split()), running=running)


def views(**fields: dict[str, Any]) -> MigrationGraph:
    return graph_of(views=fields)


def test_d16_a_diamond_goes_down_once_and_up_once() -> None:
    graph = views(A={}, B={"uses": "A"}, C={"uses": "A"}, D={"uses": "B C"})
    assert block(graph, "A") == ViewBlock(down=("D", "C", "B", "A"), up=("A", "B", "C", "D"))
    assert block(graph, "B") == ViewBlock(down=("D", "B"), up=("B", "D"))


def test_d16_a_ladder_of_sixteen_layers_is_one_pass() -> None:
    fields: dict[str, dict[str, Any]] = {"L0": {}, "R0": {}}
    for layer in range(1, 17):
        for side in "LR":
            fields[f"{side}{layer}"] = {"uses": f"L{layer - 1} R{layer - 1}"}
    up = block(views(**fields), "L0", "R0").up
    assert up == tuple(fields)
    assert len(up) == 34


def test_d16_a_chain_of_two_thousand_views() -> None:
    fields = {f"V{index}": {"uses": f"V{index - 1}" if index else ""} for index in range(2_000)}
    result = block(views(**fields), "V0")
    assert result.up == tuple(fields)
    assert result.down == tuple(reversed(fields))


def test_a_chain_of_two_thousand_successors() -> None:
    fields = {f"V{index}": {"replaces": f"V{index - 1}" if index else None} for index in range(2_000)}
    assert block(views(**fields), "V0") == ViewBlock(down=("V1999",), up=("V1999",))


def test_several_views_share_their_readers() -> None:
    graph = views(A={}, B={}, Both={"uses": "A B"})
    assert block(graph, "B", "A").up == ("A", "B", "Both")


def test_unknown_views_are_passed_over() -> None:
    assert block(views(A={"uses": "Gone"}), "Nowhere", "A").up == ("A",)
    assert block(views(A={}), "Nowhere") == ViewBlock()


def test_the_migration_named_by_since_creates() -> None:
    graph = views(A={"since": "now"})
    assert block(graph, "A").up == ("A",)
    assert block(graph, "A", running="earlier") == ViewBlock()
    assert block(graph, "A", applied="now", running="later").up == ("A",)


def test_the_migration_named_by_until_still_has_the_view() -> None:
    graph = views(A={"until": "now"})
    assert block(graph, "A").up == ("A",)
    assert block(graph, "A", applied="now", running="later") == ViewBlock()


def test_readers_of_a_closed_view_are_left_alone() -> None:
    graph = views(A={"until": "gone"}, B={"uses": "A"})
    assert block(graph, "A", applied="gone") == ViewBlock()


def test_at_a_hand_over_the_predecessor_drops_and_the_successor_creates() -> None:
    graph = views(Old={}, New={"replaces": "Old", "since": "now"}, Reader={"uses": "Old"})
    assert block(graph, "Old") == ViewBlock(down=("Reader", "Old"), up=("New", "Reader"))
    assert block(graph, "New") == ViewBlock(down=("Reader", "Old"), up=("New", "Reader"))
    assert block(graph, "Old", running="earlier") == ViewBlock(down=("Reader", "Old"), up=("Old", "Reader"))
    assert block(graph, "Old", applied="now", running="later") == ViewBlock(
        down=("Reader", "New"), up=("New", "Reader")
    )


def test_a_reader_of_the_successor_goes_down_before_the_predecessor() -> None:
    # The reader says it uses the new version; what stands in the database at the hand-over reads the old one.
    graph = views(Reader={"uses": "New"}, Old={}, New={"replaces": "Old", "since": "now"})
    assert block(graph, "Old") == ViewBlock(down=("Reader", "Old"), up=("New", "Reader"))


def test_a_closed_successor_counts_through_its_own_successor() -> None:
    graph = views(A={}, B={"replaces": "A", "until": "gone"}, C={"replaces": "B", "since": "gone"})
    assert Timeline(graph).living(set()) == {"B"}
    assert Timeline(graph).living({"gone"}) == {"C"}
    assert block(graph, "A", applied="gone").up == ("C",)


def test_the_predecessor_lives_again_when_its_successor_closes() -> None:
    graph = views(A={}, B={"replaces": "A", "until": "gone"})
    assert Timeline(graph).living({"gone"}) == {"A"}


def test_nothing_retires_between_two_migrations() -> None:
    moment = Timeline(views(A={}, B={"replaces": "A"})).moment(applied=set())
    assert not moment.retiring("A")


@pytest.mark.parametrize(
    "fields",
    [
        {"A": {"uses": "A"}},
        {"A": {"uses": "B"}, "B": {"uses": "A"}},
        {"A": {"replaces": "A"}},
        {"A": {"replaces": "C"}, "B": {"replaces": "A"}, "C": {"replaces": "B"}},
    ],
    ids=["uses itself", "use each other", "replaces itself", "replace each other"],
)
def test_rings_do_no_harm(fields: dict[str, dict[str, Any]]) -> None:
    result = block(views(**fields), "A")
    assert sorted(result.up) == sorted(set(result.up))
    assert set(result.up) <= set(fields)


@pytest.mark.parametrize("first", ["V0", "V2"])
def test_on_a_ring_of_replaces_no_answer_depends_on_what_was_asked_before(first: str) -> None:
    graph = views(V0={"replaces": "V2"}, V2={"replaces": "V0"}, V3={"replaces": "V2"})
    moment = Timeline(graph).moment(applied=())
    assert moment.active_version(first) == {"V0": "V0", "V2": "V3"}[first]
    assert [moment.active_version(name) for name in ("V0", "V2", "V3")] == ["V0", "V3", "V3"]


def test_beyond_a_ring_the_order_still_holds() -> None:
    graph = views(Base={}, A={"uses": "B Base"}, B={"uses": "A"}, Top={"uses": "B"})
    assert block(graph, "Base").up == ("Base", "A", "B", "Top")


def test_what_views_read_is_found_however_deep_as_the_versions_that_live() -> None:
    graph = views(
        A={},
        B1={"uses": "A"},
        B2={"replaces": "B1", "uses": "A", "since": "b"},
        C={"uses": "B1"},
        D={"uses": "C Gone"},
        Late={"since": "z"},
    )
    timeline = Timeline(graph)
    assert timeline.moment(applied=()).used_by(["D"]) == ("A", "B1", "C")
    assert timeline.moment(applied={"b"}).used_by(["D"]) == ("A", "B2", "C")
    assert timeline.moment(applied=()).used_by(["A", "Late"]) == ()


def test_what_views_are_once_a_migration_is_applied() -> None:
    """Successors take over, what retires is left out, and dependencies come first."""
    graph = views(A={"until": "b"}, B1={}, B2={"replaces": "B1", "since": "b"}, C={"uses": "B1 B2"})
    timeline = Timeline(graph)
    assert timeline.moment(applied=()).living_versions(["C", "B1", "A"]) == ("A", "B1", "C")
    assert timeline.moment(applied={"b"}).living_versions(["C", "B1", "A"]) == ("B2", "C")


def test_what_a_successor_had_replaced_lives_once_its_window_is_closed() -> None:
    graph = views(
        V0={"until": "d"},
        V1={"replaces": "V0", "since": "a", "until": "c"},
        V2={"replaces": "V1", "since": "b", "until": "b"},
    )
    timeline = Timeline(graph)
    assert timeline.moment(applied={"a"}).living_versions(["V2", "V0"]) == ("V1",)
    assert timeline.moment(applied={"a", "b", "c"}).living_versions(["V2"]) == ("V0",)
    assert timeline.moment(applied={"a", "b", "c", "d"}).living_versions(["V2", "V1", "V0"]) == ()
