"""Killed between the last commit and the storing of facts, and at every boundary of a revert: nobody claims a drift that is none."""

from __future__ import annotations

import signal

import pytest
from fault_field import Field

from migrate_graph.executor import Checkpoint

SHOP = """
from migrate_graph import migration


@migration
def base_1(db):
    db.executesql("CREATE TABLE base (id integer PRIMARY KEY)")
    return True


def undo(db):
    db.executesql("ALTER TABLE base DROP COLUMN total")
    END


@migration(requires=base_1, down=undo)
def total_2(db):
    db.executesql("ALTER TABLE base ADD COLUMN total integer")
    return True
"""
GOOD, BAD = SHOP.replace("END", "return True"), SHOP.replace("END", "return False")
AFTER_THE_COMMIT = (Checkpoint.COMMITTED, Checkpoint.RUN_FINISHED)


def _claims_none(field: Field, *, knows: bool) -> None:
    """Hold what is told against what is so: nothing was changed by hand."""
    told = field.migrate("status", "--drift")
    assert told.code == 0, told.output
    said = " ".join(told.output.split())
    assert ("has not stored the schema of the database" in said) is not knows, told.output
    assert ("drift: none" in said) is knows, told.output
    checked = field.migrate("check", "--history")
    assert (checked.code, "MG408" in checked.output) == (0, False), checked.output


def _sees_a_change_by_hand(field: Field) -> None:
    field.query("CREATE INDEX by_hand ON base (id)")
    assert "by_hand" in field.migrate("status", "--drift").output
    field.query("DROP INDEX by_hand")


@pytest.mark.parametrize("boundary", AFTER_THE_COMMIT, ids=lambda each: each.name.lower())
def test_a_run_that_could_not_store_it_leaves_it_unknown(anywhere: Field, boundary: Checkpoint) -> None:
    anywhere.write(GOOD)
    assert anywhere.apply("--to", "base_1").code == 0
    _claims_none(anywhere, knows=True)
    assert anywhere.apply(fatal=(boundary.value, 1)).code == -signal.SIGKILL
    anywhere.wait_until_quiet()
    assert anywhere.probe().last("total_2") == ("applied", 0)
    _claims_none(anywhere, knows=False)
    ended = anywhere.apply()
    assert ended.code == 0
    assert "ended before it could store" in " ".join(ended.output.split())
    _claims_none(anywhere, knows=True)
    _sees_a_change_by_hand(anywhere)


def _passes(field: Field) -> int:
    """Return at which arrival at a boundary the real revert is: a file is undone in a copy first; the server lets the role make none."""
    return 1 if field.is_postgres else 2


@pytest.mark.parametrize("boundary", AFTER_THE_COMMIT, ids=lambda each: each.name.lower())
def test_so_does_a_revert(anywhere: Field, boundary: Checkpoint) -> None:
    anywhere.write(GOOD)
    assert anywhere.apply().code == 0
    ended = anywhere.migrate("revert", "total_2", "--yes", fatal=(boundary.value, _passes(anywhere)))
    assert ended.code == -signal.SIGKILL, ended.output
    anywhere.wait_until_quiet()
    assert anywhere.probe().last("total_2") == ("reverted", 0)
    _claims_none(anywhere, knows=False)
    assert anywhere.apply().code == 0
    _claims_none(anywhere, knows=True)
    _sees_a_change_by_hand(anywhere)


def test_a_revert_of_which_nothing_stayed_leaves_it_known(anywhere: Field) -> None:
    anywhere.write(GOOD)
    assert anywhere.apply().code == 0
    before = anywhere.probe()
    for boundary in (Checkpoint.SESSION_OPENED, Checkpoint.BODY_RETURNED, Checkpoint.SUCCESS_WRITTEN):
        ended = anywhere.migrate("revert", "total_2", "--yes", fatal=(boundary.value, _passes(anywhere)))
        assert ended.code == -signal.SIGKILL, (boundary, ended.output)
        anywhere.wait_until_quiet()
        assert (anywhere.probe().ledger, anywhere.probe().journal) == (before.ledger, before.journal), boundary
        _claims_none(anywhere, knows=True)
    anywhere.write(BAD)
    for boundary in (Checkpoint.ROLLED_BACK, Checkpoint.FAILURE_RECORDED, Checkpoint.RUN_FINISHED):
        ended = anywhere.migrate("revert", "total_2", "--yes", fatal=(boundary.value, _passes(anywhere)))
        assert ended.code == -signal.SIGKILL, (boundary, ended.output)
        anywhere.wait_until_quiet()
        assert anywhere.probe().ledger == before.ledger, boundary
        _claims_none(anywhere, knows=True)
    assert anywhere.probe().last("total_2") == ("revert failed", 0)
    anywhere.write(GOOD)
    assert anywhere.migrate("revert", "total_2", "--yes").code == 0
    assert anywhere.apply().code == 0


AUTO = GOOD.replace("down=undo", 'down="auto"')


def test_killed_anywhere_in_a_derived_way_back(anywhere: Field) -> None:
    if anywhere.is_postgres:
        pytest.skip("the server lets the role make no database to find out the way back")
    anywhere.write(AUTO)
    for boundary in (Checkpoint.ATTEMPT_STARTED, Checkpoint.SUCCESS_WRITTEN):
        assert anywhere.apply().code == 0
        before = anywhere.probe()
        codes = []
        for arrival in range(
            1, 20
        ):  # on new databases and on a copy, where nobody can kill himself, and at last in the database itself
            ended = anywhere.migrate("revert", "total_2", fatal=(boundary.value, arrival))
            codes.append(ended.code)
            if ended.code == 0:
                break
            after = anywhere.probe()
            assert (after.ledger, after.journal) == (before.ledger, before.journal), (boundary, arrival)
        _claims_none(anywhere, knows=True)
        assert (codes[-1], -signal.SIGKILL in codes, len(codes) > 4) == (0, True, True), codes
        assert anywhere.probe().last("total_2") == ("reverted", 0)
