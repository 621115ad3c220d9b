"""SIGKILL at a random moment, again and again until a run comes through: nothing is lost and nothing is done twice."""

from __future__ import annotations

import os
import random

import pytest
from fault_field import Field

# All of them with `make faults`; a few in the ordinary suite.
SEEDS = int(os.environ.get("MIGRATE_GRAPH_FAULT_SEEDS", "4"))  # noqa: TID251 - tests are an edge too

_HEAD = """
from child import executed
from migrate_graph import ViewMigrationManager, migration


class V(ViewMigrationManager):
    uses = ()
    since = "m_0"

    def up(self):
        self.db.executesql("CREATE VIEW v AS SELECT id FROM t_0")

    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS v")

"""


def _text(chance: random.Random) -> str:
    """Make a project of six migrations of random kinds, each noting every insert that it makes."""
    text = _HEAD
    for number in range(6):
        commit = "    db.commit()\n" if chance.random() < 0.4 else ""
        views = chance.random() < 0.5
        make = f"db.executesql('CREATE TABLE t_{number} (id integer)')"
        text += f"\n@migration(requires={[f'm_{number - 1}'] if number else []})\ndef m_{number}(db):\n    executed('m_{number}')\n"
        if number and views:
            text += f"    with V(db):\n        {make}\n    {commit}"
        else:
            text += f"    {make}\n{commit}"
        if number == 0:
            text += "    with V(db):\n        pass\n"
        text += f"    db.executesql('INSERT INTO t_{number} VALUES (1)')\n    return True\n"
    return text


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_kill_at_a_random_moment(seed: int, anywhere: Field) -> None:
    field = anywhere
    chance = random.Random(f"{seed} {field.is_postgres}")
    field.write(_text(chance))
    decided: list[str] = []
    for life in range(60):
        ended = field.apply(killed_after=chance.uniform(0.02, 0.4 + 0.1 * life))
        state = field.probe()
        if state.ledger.get("m_0") == "T":
            assert ("v" in state.views) != ("V" in state.views_down), f"I4: {state}"
        if ended.code == 0:
            break
        assert ended.code in {-9, 5}, ended.output
        if ended.code == 5:
            name = next(name for name, status, _ in reversed(state.journal) if status == "running")
            _decide(field, name, decided)
    else:
        pytest.fail("it never came through")
    state = field.probe()
    assert state.ledger == {f"m_{number}": "T" for number in range(6)}
    assert state.views == {"v"}
    assert not state.views_down
    for number in range(6):
        once = field.query(f"SELECT count(*) FROM t_{number}")[0][0]
        assert once == 1, f"the insert of m_{number} is there {once} times"


def _decide(field: Field, name: str, decided: list[str]) -> None:
    """Do what a human would: look at the database, bring what is missing, say that it is applied."""
    assert name not in decided, "asked twice about one migration"
    decided.append(name)
    number = name.rpartition("_")[2]
    assert f"t_{number}" in field.read().tables, "it was said to be in the database"
    if field.query(f"SELECT count(*) FROM t_{number}") == [(0,)]:
        field.query(f"INSERT INTO t_{number} VALUES (1)")
    if number == "0" and "v" not in field.read().views:
        field.query("CREATE VIEW v AS SELECT id FROM t_0")
    assert field.migrate("resolve", name, "--applied").code == 0
