"""A revert that is killed: what was not committed is as it was, what was asks a human, and views are where they belong."""

from __future__ import annotations

import signal

import pytest
from fault_field import Field

from migrate_graph.executor import Checkpoint

SHOP = """
import time
from child import here
from migrate_graph import ViewMigrationManager, migration


@migration
def base_1(db):
    with V(db):
        db.executesql("CREATE TABLE base (id integer PRIMARY KEY, name varchar(20))")
    return True


class V(ViewMigrationManager):
    uses = ()
    since = base_1
    until = "total_2"

    def up(self):
        self.db.executesql("CREATE VIEW v AS SELECT name FROM base")

    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS v")


class V2(ViewMigrationManager):
    uses = ()
    since = "total_2"
    replaces = "V"

    def up(self):
        self.db.executesql("CREATE VIEW v AS SELECT name, total FROM base")

    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS v")


def undo(db):
    db.executesql("ALTER TABLE base DROP COLUMN total")
    END
    return True


@migration(requires=base_1, down=undo)
def total_2(db):
    with V(db):
        db.executesql("ALTER TABLE base ADD COLUMN total integer")
    return True
"""
GOOD = SHOP.replace("END", "pass")


def _columns(field: Field) -> int:
    if field.is_postgres:
        return int(field.query("SELECT count(*) FROM pg_attribute WHERE attrelid = 'v'::regclass AND attnum > 0")[0][0])
    return int(field.query("SELECT count(*) FROM pragma_table_info('v')")[0][0])


def _passes(field: Field) -> int:
    """Return at which arrival at a boundary the real revert is: a file is undone in a copy first; the server lets the role make none."""
    return 1 if field.is_postgres else 2


BOUNDARIES = (
    Checkpoint.RUN_STARTED,
    Checkpoint.ATTEMPT_STARTED,
    Checkpoint.VIEWS_DOWN,
    Checkpoint.VIEWS_UP,
    Checkpoint.SUCCESS_WRITTEN,
)


def test_killed_before_its_commit_it_has_never_been(anywhere: Field) -> None:
    anywhere.write(GOOD)
    assert anywhere.apply().code == 0
    before = anywhere.probe()
    for boundary in BOUNDARIES:
        ended = anywhere.migrate("revert", "total_2", "--yes", fatal=(boundary.value, _passes(anywhere)))
        assert ended.code == -signal.SIGKILL, (boundary, ended.output)
        anywhere.wait_until_quiet()
        after = anywhere.probe()
        assert (after.ledger, after.journal, after.views, after.views_down) == (
            before.ledger, before.journal, before.views, before.views_down,
        ), boundary  # fmt: skip
        assert _columns(anywhere) == 2
    ended = anywhere.migrate("revert", "total_2", "--yes", fatal=(Checkpoint.COMMITTED.value, _passes(anywhere)))
    assert ended.code == -signal.SIGKILL
    anywhere.wait_until_quiet()
    after = anywhere.probe()
    assert after.ledger == {"base_1": "T", "total_2": "F"}
    assert after.last("total_2") == ("reverted", 0)
    assert (after.views, after.views_down, _columns(anywhere)) == ({"v"}, set(), 1)
    assert anywhere.apply().code == 0
    assert _columns(anywhere) == 2


TWO = (
    GOOD
    + """

def undo_more(db):
    db.executesql("DROP TABLE more")
    return True


@migration(requires=total_2, down=undo_more)
def more_3(db):
    db.executesql("CREATE TABLE more (id integer)")
    return True
"""
)


@pytest.mark.parametrize("boundary", [Checkpoint.COMMITTED, Checkpoint.ATTEMPT_STARTED])
def test_killed_between_two_the_first_is_undone_and_the_second_is_as_it_was(
    boundary: Checkpoint, anywhere: Field
) -> None:
    anywhere.write(TWO)
    assert anywhere.apply().code == 0
    words = ("revert", "total_2", "--with-dependents", "--yes")
    arrival = 2 * (_passes(anywhere) - 1) + (1 if boundary is Checkpoint.COMMITTED else 2)
    ended = anywhere.migrate(*words, fatal=(boundary.value, arrival))
    assert ended.code == -signal.SIGKILL, ended.output
    between = anywhere.probe()
    assert between.ledger == {"base_1": "T", "total_2": "T", "more_3": "F"}
    assert (between.last("more_3"), between.last("total_2")) == (("reverted", 0), ("applied", 0))
    assert (between.tables, between.views, between.views_down) == ({"base"}, {"v"}, set())
    assert _columns(anywhere) == 2
    ended = anywhere.migrate(*words)
    assert ended.code == 0, ended.output
    assert "more_3" not in ended.output, "it is undone already"
    after = anywhere.probe()
    assert after.ledger == {"base_1": "T", "total_2": "F", "more_3": "F"}
    assert (after.views, after.views_down, _columns(anywhere)) == ({"v"}, set(), 1)
    assert anywhere.apply().code == 0
    assert anywhere.probe().tables == {"base", "more"}


@pytest.mark.parametrize("way", ["--reverted", "--applied"])
def test_killed_after_a_commit_of_its_own_it_asks(anywhere: Field, way: str) -> None:
    anywhere.write(SHOP.replace("END", 'db.commit(); here("kept")'))
    assert anywhere.apply().code == 0
    ended = anywhere.migrate("revert", "total_2", "--yes", fatal=("kept", _passes(anywhere)))
    assert ended.code == -signal.SIGKILL
    anywhere.wait_until_quiet()
    assert anywhere.probe().last("total_2") == ("reverting", 1)
    ended = anywhere.apply()
    assert ended.code == 5, ended.output
    assert "the revert of 'total_2' was interrupted" in " ".join(ended.output.split())
    assert "migrate resolve total_2 --reverted" in ended.output
    assert "interrupted" in anywhere.migrate("status").output
    assert anywhere.migrate("resolve", "total_2", "--retry").code == 2
    if way == "--applied":
        anywhere.query("ALTER TABLE base ADD COLUMN total integer")
    assert anywhere.migrate("resolve", "total_2", way).code == 0
    anywhere.write(GOOD)
    assert anywhere.apply().code == 0
    after = anywhere.probe()
    assert after.ledger == {"base_1": "T", "total_2": "T"}
    assert (after.views, after.views_down, _columns(anywhere)) == ({"v"}, set(), 2)


@pytest.mark.parametrize("way", ["--reverted", "--applied"])
def test_its_decision_brings_the_views_back_and_applies_nothing(anywhere: Field, way: str) -> None:
    """`migrate apply` would apply again what is reverted."""
    anywhere.write(SHOP.replace("END", 'db.commit(); here("kept")'))
    assert anywhere.apply().code == 0
    anywhere.migrate("revert", "total_2", "--yes", fatal=("kept", _passes(anywhere)))
    told = " ".join(anywhere.migrate("status").output.split())
    assert "DOWN, with their definitions stored: V, V2; the next `migrate apply` brings them back" in told
    if way == "--applied" and anywhere.is_postgres:  # its column is gone; SQLite looks at a query only when it is read
        ended = anywhere.migrate("resolve", "total_2", way)
        assert ended.code == 5
        told = " ".join(ended.output.split())
        assert "views are missing and could not be brought back: V2" in told
        assert "then migrate resolve total_2 --applied again" in told
        assert "interrupted" in anywhere.migrate("status").output, "nothing is decided"
    if way == "--applied":
        anywhere.query("ALTER TABLE base ADD COLUMN total integer")
    ended = anywhere.migrate("resolve", "total_2", way)
    assert ended.code == 0, ended.output
    after = anywhere.probe()
    assert after.ledger == {"base_1": "T", "total_2": "T" if way == "--applied" else "F"}
    assert (after.views, after.views_down, _columns(anywhere)) == ({"v"}, set(), 2 if way == "--applied" else 1)
    assert "DOWN" not in anywhere.migrate("status").output


def test_a_signal_stops_it_and_everything_is_as_it_was(anywhere: Field) -> None:
    anywhere.write(SHOP.replace("END", 'print("here"); time.sleep(60)'))
    assert anywhere.apply().code == 0
    if not anywhere.is_postgres:  # the rehearsal would sleep, too
        anywhere.write(
            SHOP.replace("END", 'print("here") if "rehearsal" in str(db._uri) else (print("here"), time.sleep(60))')
        )
    process = anywhere.open("revert", "total_2", "--yes")
    process.wait_for("total_2 | here")
    ended = process.stop(signal.SIGTERM)
    assert ended.code == 143, ended.output
    after = anywhere.probe()
    assert after.last("total_2") == ("revert failed", 0)
    assert after.ledger == {"base_1": "T", "total_2": "T"}
    assert (after.views, after.views_down, _columns(anywhere)) == ({"v"}, set(), 2)
