"""While a migration has views down that it has committed, or has left down, one that opens other views succeeds: what is missing is not its fault."""

from __future__ import annotations

import pytest
from fault_field import Field
from jobs_stand import HEAD
from waiting import wait_until

PROJECT = """
from migrate_graph import SqlView

class X(SqlView):
    uses = ()
    query = "SELECT id FROM one"
    name = "x"

class Y(SqlView):
    uses = ()
    query = "SELECT id FROM two"
    name = "y"

@migration
def base_1(db):
    db.executesql("CREATE TABLE one (id integer)")
    db.executesql("CREATE TABLE two (id integer)")
    with X(db), Y(db):
        return True

@migration(requires=base_1, independent=True)
def first_2(db):
    with X(db):
        db.executesql("ALTER TABLE one ADD COLUMN more integer")
        db.commit()
        {then}
    return True

@migration(requires=base_1, independent=True)
def second_3(db):
    {before}
    with Y(db):
        db.executesql("ALTER TABLE two ADD COLUMN more integer")
    return True
"""


def _waits_for(name: str) -> str:
    return f"while not os.path.exists('{name}'): time.sleep(0.02)"


def test_one_runs_to_its_end_while_another_has_its_views_down(on_postgres: Field) -> None:
    then = f"open('down', 'w').close()\n        {_waits_for('go')}"
    on_postgres.write(HEAD + PROJECT.format(then=then, before=_waits_for("down")))
    process = on_postgres.open("apply", "--jobs", "2")
    try:
        wait_until(lambda: on_postgres.read().ledger.get("second_3") is not None)
        state = on_postgres.read()
        assert (state.ledger["second_3"], state.views_down) == ("T", {"X"})
    finally:
        on_postgres.go()
        ended = process.end()
    assert ended.code == 0, ended.output
    assert on_postgres.probe().views == {"x", "y"}


def test_one_runs_after_another_that_left_its_views_down(anywhere: Field) -> None:
    anywhere.write(HEAD + PROJECT.format(then="if db: raise ValueError('of the first')", before="pass"))
    ended = anywhere.apply("--keep-going")
    assert ended.code == 1, ended.output
    assert "1 failed" in ended.output
    state = anywhere.probe()
    assert state.ledger == {"base_1": "T", "first_2": "F", "second_3": "T"}
    assert (state.views, state.views_down) == ({"x", "y"}, set()), "the run has repaired what the first left down"


READS = "db.executesql('SELECT id FROM x')"

WAYS_TO_FAIL = {"raises": "if db: raise ValueError('of the first')", "refuses": "if db: return False"}


@pytest.mark.parametrize("how", WAYS_TO_FAIL)
def test_the_next_one_reads_what_a_failed_one_had_taken_down(how: str, anywhere: Field) -> None:
    anywhere.write(HEAD + PROJECT.format(then=WAYS_TO_FAIL[how], before=READS))
    ended = anywhere.apply(*(["--keep-going"] if how == "raises" else []))
    assert ended.code == 1, ended.output
    assert anywhere.read().ledger == {"base_1": "T", "first_2": "F", "second_3": "T"}, ended.output


def test_beside_others_the_next_one_reads_what_a_failed_one_had_taken_down(on_postgres: Field) -> None:
    waits_for_first = _waits_for("down")
    project = PROJECT.format(
        then=f"{_waits_for('beside')}\n        open('down', 'w').close()\n        raise ValueError('of the first')",
        before=f"open('beside', 'w').close()\n    {waits_for_first}",
    )
    after = f"\n@migration(requires=base_1, independent=True)\ndef third_4(db):\n    {READS}\n    return True\n"
    on_postgres.write(HEAD + project + after)
    ended = on_postgres.apply("--jobs", "2", "--keep-going")
    assert ended.code == 1, ended.output
    state = on_postgres.read()
    assert state.ledger == {"base_1": "T", "first_2": "F", "second_3": "T", "third_4": "T"}, ended.output
    assert (state.views, state.views_down) == ({"x", "y"}, set())


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_none_begins_while_a_view_cannot_come_back(jobs: str, on_postgres: Field) -> None:
    fails = "db.executesql('ALTER TABLE one RENAME COLUMN id TO old'); db.commit(); raise ValueError('of the first')"
    project = PROJECT.format(then=fails, before="pass")
    on_postgres.write(HEAD + project + "\n@migration(requires=base_1)\ndef third_4(db):\n    return True\n")
    ended = on_postgres.apply("--keep-going", "--jobs", jobs)
    assert ended.code == 5, ended.output
    assert "third_4" not in on_postgres.read().ledger, ended.output
    assert "no further migration begins" in ended.output
    assert "X" in on_postgres.read().views_down
