"""`apply --coalesce` is killed at every boundary: each transaction that migrations share is there whole, or not at all."""

from __future__ import annotations

import pytest
from fault_field import Field
from side_by_side import ONE_TRANSACTION

from migrate_graph.executor import Checkpoint

pytestmark = ONE_TRANSACTION

PROJECT = """
from migrate_graph import SqlView, migration


class V(SqlView):
    uses = ()
    since = "base_1"
    query = "SELECT id FROM base"


@migration
def base_1(db):
    db.executesql("CREATE TABLE base (id integer)")
    with V(db):
        return True


def adds(db, name):
    with V(db):
        db.executesql(f"ALTER TABLE base ADD COLUMN {name} integer")
    db.commit()
    return True


@migration(requires=base_1)
def adds_2(db):
    return adds(db, "two")


@migration(requires=adds_2)
def apart_3(db):
    db.executesql("CREATE TABLE apart (id integer)")
    return True


@migration(requires=apart_3)
def adds_4(db):
    return adds(db, "four")


@migration(requires=adds_4)
def adds_5(db):
    return adds(db, "five")
"""
WHOLE = [
    set(),
    {"base_1", "adds_2"},
    {"base_1", "adds_2", "apart_3"},
    {"base_1", "adds_2", "apart_3", "adds_4", "adds_5"},
]
COLUMNS = {"base_1": "id", "adds_2": "two", "adds_4": "four", "adds_5": "five"}

# Where, for which time, and how many transactions are durable then: at the first and at the last of the migrations that share one.
PLACES = [
    *((Checkpoint.BODY_RETURNED, count, done) for count, done in ((1, 0), (2, 0), (4, 2), (5, 2))),
    *((Checkpoint.SUCCESS_WRITTEN, count, count - 1) for count in (1, 2, 3)),
    *((Checkpoint.COMMITTED, count, count) for count in (1, 2, 3)),
    (Checkpoint.VIEWS_DOWN, 1, 0),
    (Checkpoint.VIEWS_UP, 1, 0),
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place[0].name} {place[1]}")
def test_a_kill_leaves_whole_transactions(place: tuple[Checkpoint, int, int], anywhere: Field) -> None:
    anywhere.write(PROJECT)
    ended = anywhere.apply("--coalesce", fatal=place[:2])
    assert ended.code == -9, ended.output
    state = anywhere.probe()
    applied = {name for name, state in state.ledger.items() if state == "T"}
    assert applied == WHOLE[place[2]]
    assert not {name for name, attempt, _ in state.journal if attempt == "running"}
    _is_so(anywhere, applied)
    assert anywhere.migrate("plan", "--check").code == (0 if applied == WHOLE[-1] else 4), "no question"
    assert anywhere.apply("--coalesce").code == 0
    _is_so(anywhere, WHOLE[-1])


def _is_so(field: Field, applied: set[str]) -> None:
    """Check that the tables are those of the applied migrations, and that the view can be read."""
    assert ("apart" in field.probe().tables) == ("apart_3" in applied)
    if applied:
        assert field.query("SELECT count(*) FROM v") == [(0,)]
        columns = [COLUMNS[name] for name in COLUMNS if name in applied]
        assert field.query(f"SELECT {', '.join(columns)} FROM base") == []
        for name in COLUMNS.keys() - applied:
            with pytest.raises(Exception, match=COLUMNS[name]):
                field.query(f"SELECT b.{COLUMNS[name]} FROM base b")
