"""The ledger changes during a run, by a body or by somebody else: what it says counts, and no record is taken back."""

from __future__ import annotations

import pytest
from fault_field import Field
from side_by_side import IN_THIS_ORDER, ONE_TRANSACTION

TEXT = """
from child import executed
from migrate_graph import migration

@migration
def first_1(db):
    executed("first_1")
    BODY
    return True

@migration
def other_2(db):
    executed("other_2")
    db.executesql("CREATE TABLE other (id integer)")
    return True

@migration(requires=other_2)
def last_3(db):
    executed("last_3")
    return True
"""

WAYS = {
    "insert": "db.executesql(\"INSERT INTO ewh_implemented_features (name, installed) VALUES ('other_2', 'T')\")",
    "pydal": "db.ewh_implemented_features.insert(name='other_2', installed=True)",
    "mark_migration": "from migrate_graph import mark_migration; mark_migration(db, name='other_2', installed=True)",
}


@pytest.mark.parametrize("way", WAYS)
def test_what_a_body_records_is_not_run(way: str, anywhere: Field) -> None:
    """How people squash: the new one does the work of the old ones, and records them."""
    anywhere.write(TEXT.replace("BODY", WAYS[way]))
    ended = anywhere.apply()
    assert ended.code == 0, ended.output
    assert "recorded as installed by an earlier migration of this run" in ended.output
    assert [anywhere.executions(name) for name in ("first_1", "other_2", "last_3")] == [1, 0, 1]
    state = anywhere.probe()
    assert state.ledger == {"first_1": "T", "other_2": "T", "last_3": "T"}
    assert state.tables == set()


def test_what_a_failed_body_has_recorded_is_run(anywhere: Field) -> None:
    """Its records are rolled back with it."""
    anywhere.write(TEXT.replace("BODY", f"{WAYS['insert']}; return False"))
    assert anywhere.apply().code == 1
    assert anywhere.executions("other_2") == 1


TAKEN = {
    "emptied": "DELETE FROM ewh_implemented_features",
    "called not installed": "UPDATE ewh_implemented_features SET installed = 'F'",
    "called otherwise": "UPDATE ewh_implemented_features SET name = name || '_old'",
}

THREE = """
from migrate_graph import migration

@migration
def first_1(db):
    db.executesql("CREATE TABLE first (id integer)")
    return True

@migration(requires=first_1)
def other_2(db):
    OTHER
    return True

@migration(requires=other_2)
def last_3(db):
    LAST
    return True
"""


@pytest.mark.parametrize("way", TAKEN)
@pytest.mark.parametrize("words", [(), ("--jobs", "2"), ("--coalesce",), ("--atomic",)], ids=" ".join)
def test_a_run_whose_last_body_takes_records_is_no_success(way: str, words: tuple[str, ...], anywhere: Field) -> None:
    """Nothing comes after it that would look whether what it requires is installed."""
    if "--jobs" in words and not anywhere.is_postgres:
        pytest.skip("on SQLite --jobs is exit 2")
    taking = f'db.executesql("{TAKEN[way]}")'
    anywhere.write(THREE.replace("OTHER", "pass").replace("LAST", taking))
    ended = anywhere.apply(*words)
    assert ended.code == 1, ended.output
    assert "the ledger has lost 2 records during this run: first_1, other_2" in ended.output
    assert "migrate mark first_1 other_2 --installed" in ended.output
    assert anywhere.migrate("mark", "first_1", "other_2", "--installed").code == 0
    assert anywhere.apply().code == 0


def test_a_run_beside_which_a_body_takes_a_record_is_no_success(on_postgres: Field) -> None:
    """What ran at the same time had looked before."""
    beside = "\n\n@migration(requires=first_1)\ndef beside_4(db):\n    return True\n"
    taking = f'db.executesql("{TAKEN["emptied"]}")'
    on_postgres.write(THREE.replace("OTHER", taking).replace("LAST", "pass") + beside)
    ended = on_postgres.apply("--jobs", "4")
    assert ended.code == 1, ended.output
    assert "first_1" in on_postgres.migrate("plan").output


@ONE_TRANSACTION
def test_one_transaction_in_which_a_body_takes_a_record_keeps_nothing(anywhere: Field) -> None:
    """The last step is blocked then: it is a step that has ended, and none that has done its work."""
    after = "\n\n@migration(requires=(first_1, last_3))\ndef after_4(db):\n    return True\n"
    taking = f'db.executesql("{TAKEN["emptied"]}")'
    anywhere.write(THREE.replace("OTHER", "pass").replace("LAST", taking) + after)
    ended = anywhere.apply("--atomic")
    assert ended.code == 1, ended.output
    assert "waits for first_1" in ended.output
    assert "committed: nothing" in ended.output
    state = anywhere.probe()
    assert (state.tables, state.ledger) == (set(), {})


@pytest.mark.parametrize("way", TAKEN)
def test_a_revert_whose_body_takes_records_is_no_success(way: str, anywhere: Field) -> None:
    down = f'def down_3(db):\n    db.executesql("{TAKEN[way]}")\n    return True\n\n@migration(requires=other_2, down=down_3)'
    anywhere.write(THREE.replace("OTHER", "pass").replace("LAST", "pass").replace("@migration(requires=other_2)", down))
    assert anywhere.apply().code == 0
    ended = anywhere.migrate("revert", "last_3", "--yes")
    assert ended.code == 1, ended.output
    assert "the ledger has lost 2 records during this run: first_1, other_2" in ended.output
    assert "migrate mark first_1 other_2 --installed" in ended.output
    assert "migrate apply" not in ended.output


def test_a_record_of_what_is_declared_nowhere_may_go(anywhere: Field) -> None:
    """A body may clear the ledger of what is not there any more."""
    anywhere.write(THREE.replace("OTHER", "pass").replace("LAST", "pass"))
    assert anywhere.apply().code == 0
    body = "db.executesql(\"DELETE FROM ewh_implemented_features WHERE name = 'last_3'\")"
    anywhere.write(THREE.replace("last_3", "newer_4").replace("OTHER", "pass").replace("LAST", body))
    ended = anywhere.apply()
    assert ended.code == 0, ended.output


@IN_THIS_ORDER
def test_what_a_body_takes_back_is_missing_for_what_requires_it(anywhere: Field) -> None:
    body = "db.executesql(\"UPDATE ewh_implemented_features SET installed = 'F' WHERE name = 'other_2'\")"
    anywhere.write(TEXT.replace("BODY", body))
    assert anywhere.migrate("mark", "other_2", "--installed").code == 0
    ended = anywhere.apply()
    assert ended.code == 1, ended.output
    assert "waits for other_2" in ended.output
    assert anywhere.executions("last_3") == 0


def test_a_record_that_is_installed_is_never_taken_back_by_a_failure(anywhere: Field) -> None:
    """Another runner without our lock has applied it meanwhile."""
    body = "db.executesql(\"INSERT INTO ewh_implemented_features (name, installed) VALUES ('first_1', 'T')\"); db.commit(); raise ValueError"
    anywhere.write(TEXT.replace("BODY", body))
    assert anywhere.apply().code == 1
    assert anywhere.probe().ledger["first_1"] == "T"


VIEW = """
from child import executed
from migrate_graph import ViewMigrationManager, migration

@migration
def first_1(db):
    BODY
    return True

@migration
def old_2(db):
    executed("old_2")
    return True

class Made(ViewMigrationManager):
    uses, since = (), old_2
    def up(self):
        self.db.executesql("CREATE VIEW made AS SELECT 1 AS one")
    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS made")

@migration
def opens_3(db):
    with Made(db):
        pass
    return True
"""


@pytest.mark.parametrize("way", WAYS)
def test_a_view_whose_beginning_a_body_records_comes_up(way: str, anywhere: Field) -> None:
    """What a block takes along is judged by the ledger as it is then, although `opens_3` does not require `old_2`."""
    anywhere.write(VIEW.replace("BODY", WAYS[way].replace("other_2", "old_2")))
    ended = anywhere.apply()
    assert ended.code == 0, ended.output
    assert anywhere.executions("old_2") == 0
    assert anywhere.query("SELECT one FROM made") == [(1,)]
