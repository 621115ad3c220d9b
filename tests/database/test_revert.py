"""What `migrate revert` promises: undone with its record, views as before, in order, and no data goes that nobody was told of."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg2
import pytest
from revert_stand import Shop

from migrate_graph.core.events import RunFinished
from migrate_graph.core.graph import Node, NodeKind
from migrate_graph.core.history import AttemptState
from migrate_graph.core.states import State, standing_of
from migrate_graph.errors import DecisionNeeded, LockLost, StillRequired, UsageError
from migrate_graph.workflow.mark import resolve
from migrate_graph.workflow.project import read_history
from migrate_graph.workflow.revert import plan_revert

SHOP = """
from migrate_graph import ViewMigrationManager, migration


def undo_base(db):
    db.executesql("DROP TABLE base")
    return True


@migration(down=undo_base)
def base_1(db):
    db.executesql("CREATE TABLE base (id integer PRIMARY KEY, name varchar(20))")
    return True


class V(ViewMigrationManager):
    uses = ()
    since = base_1
    until = "total_3"

    def up(self):
        self.db.executesql("CREATE VIEW v AS SELECT name FROM base")

    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS v")


class V2(ViewMigrationManager):
    uses = ()
    since = "total_3"
    replaces = "V"

    def up(self):
        self.db.executesql("CREATE VIEW v AS SELECT name, total FROM base")

    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS v")


class W(ViewMigrationManager):
    uses = (V,)
    since = base_1

    def up(self):
        self.db.executesql("CREATE VIEW w AS SELECT name FROM v")

    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS w")


@migration(requires=base_1, down=lambda db: True)
def views_2(db):
    with V(db):
        return True


def undo_total(db):
    db.executesql("ALTER TABLE base DROP COLUMN total")
    return True


@migration(requires=views_2, down=undo_total)
def total_3(db):
    with V(db):
        db.executesql("ALTER TABLE base ADD COLUMN total integer")
    return True


@migration(requires=total_3, down=lambda db: True)
def last_4(db):
    return True
"""


def _one(down: str, *, more: str = "", body: str = "", head: str = "") -> str:
    return (
        f"from migrate_graph import migration\n{head}\n\ndef undo(db):\n{down}\n\n\n@migration(down=undo{more})\ndef one_1(db):\n"
        f'    db.executesql("CREATE TABLE one (id integer)")\n{body}    return True\n'
    )


DROPS = '    db.executesql("DROP TABLE one")\n    return True\n'


def test_it_is_undone_in_order_with_its_record_and_views_are_as_before(shop: Shop) -> None:
    assert shop.apply(SHOP) == 0
    assert shop.columns("v") == ["name", "total"]
    with pytest.raises(StillRequired, match="this would have to go first: last_4") as refused:
        shop.revert("total_3")
    assert refused.value.exit_code == 3
    assert "migrate revert total_3 --with-dependents" in refused.value.hint
    assert shop.revert("total_3", with_dependents=True) == 0
    finished = next(event for event in reversed(shop.events) if isinstance(event, RunFinished))
    assert [(each.name, str(each.outcome)) for each in finished.results] == [
        ("last_4", "reverted"),
        ("total_3", "reverted"),
    ]
    assert shop.columns("v") == ["name"]
    assert shop.columns("w") == ["name"]
    assert shop.columns("base") == ["id", "name"]
    history = shop.history
    assert not history.views_down
    assert history.applied == {"base_1", "views_2"}
    assert [each.state for each in history.attempts][-2:] == [AttemptState.REVERTED] * 2
    ledger = dict(shop.run("SELECT name, installed FROM ewh_implemented_features"))
    assert ledger == {"base_1": "T", "views_2": "T", "total_3": "F", "last_4": "F"}, "as edwh-migrate 2.1.0 reads it"
    assert shop.state("total_3") is State.REVERTED
    assert shop.apply() == 0
    assert shop.columns("v") == ["name", "total"]
    assert shop.state("total_3") is State.APPLIED
    assert shop.revert("base_1", with_dependents=True) == 0
    assert shop.history.applied == frozenset()
    assert not set(shop.history.view_texts), "no view is remembered: all of them went for good"
    with pytest.raises((psycopg2.Error, sqlite3.Error)):
        shop.columns("v")


def test_data_goes_only_where_somebody_said_yes_and_what_goes_is_counted(shop: Shop) -> None:
    shop.apply(SHOP)
    shop.run("INSERT INTO base (id, name, total) VALUES (1, 'a', 7), (2, 'b', NULL)")
    with pytest.raises(DecisionNeeded, match=r"column (public\.)?base\.total \(1 value\)") as refused:
        shop.revert("total_3", with_dependents=True)
    assert "v.total" not in refused.value.message
    assert refused.value.exit_code == 5
    assert shop.columns("v") == ["name", "total"]
    assert shop.history.applied == {"base_1", "views_2", "total_3", "last_4"}
    with pytest.raises(DecisionNeeded, match=r"table (public\.)?base \(2 rows\)") as refused:
        shop.revert("base_1", with_dependents=True)
    assert "total" not in refused.value.message, "it goes with its table"
    assert shop.revert("total_3", with_dependents=True, yes=True) == 0
    assert "base.total (1 value)" in shop.told
    assert shop.run("SELECT count(*) FROM v") == [(2,)]


def test_rows_that_a_down_deletes_are_counted_too(shop: Shop) -> None:
    shop.apply(
        SHOP.replace(
            "@migration(requires=total_3, down=lambda db: True)",
            "def clear(db):\n    db.executesql('DELETE FROM base')\n    return True\n\n\n@migration(requires=total_3, down=clear)",
        )
    )
    assert shop.revert("last_4") == 0
    assert shop.apply() == 0
    shop.run("INSERT INTO base (id, name) VALUES (1, 'a'), (2, 'b')")
    with pytest.raises(DecisionNeeded, match=r"rows of (public\.)?base \(2 rows\)"):
        shop.revert("last_4")
    assert shop.run("SELECT count(*) FROM base") == [(2,)]


BELOW = """
CREATE TABLE child (id integer PRIMARY KEY, up integer REFERENCES base ON DELETE CASCADE)
CREATE TABLE "grand child" (id integer REFERENCES child ON DELETE CASCADE)
CREATE TABLE named (id integer, "up, there" integer REFERENCES base ON DELETE SET NULL)
CREATE TABLE bystander (id integer REFERENCES base ON DELETE NO ACTION)
INSERT INTO base (id, name) VALUES (1, 'a'), (2, 'b')
INSERT INTO child VALUES (1, 1), (2, 1), (3, 2)
INSERT INTO "grand child" VALUES (1)
INSERT INTO named VALUES (1, 1), (2, NULL)
"""


def test_what_goes_with_rows_that_are_deleted_is_counted_too(shop: Shop) -> None:
    clears = SHOP.replace(
        "@migration(requires=total_3, down=lambda db: True)",
        "def clear(db):\n    db.executesql('DELETE FROM base WHERE id = 1')\n    return True\n\n\n@migration(requires=total_3, down=clear)",
    )
    shop.apply(clears)
    for statement in BELOW.strip().split("\n"):
        shop.run(statement)
    with pytest.raises(DecisionNeeded) as refused:
        shop.revert("last_4")
    told = refused.value.message.partition("this data goes: ")[2].replace("public.", "")
    assert sorted(each.rstrip(")") for each in told.split("), ")) == [
        'rows of "grand child" (1 row',
        "rows of base (2 rows",
        "rows of child (3 rows",
        'values of named."up, there" (1 value',
    ]


def test_on_sqlite_the_rows_that_refer_to_a_dropped_table_go_with_it(shop: Shop) -> None:
    shop.apply(_one(DROPS).replace("id integer", "id integer primary key"))
    shop.run("CREATE TABLE below (up integer REFERENCES One ON DELETE CASCADE)")
    shop.run("INSERT INTO one VALUES (1)")
    shop.run("INSERT INTO below VALUES (1)")
    with pytest.raises(DecisionNeeded) as refused:
        shop.revert("one_1")
    assert ("rows of below (1 row)" in refused.value.message) is not shop.uri.startswith("postgres")


def test_what_is_required_meanwhile_stays(shop: Shop) -> None:
    records = "db.executesql(\"INSERT INTO ewh_implemented_features (name, installed) VALUES ('more_5', 'T')\")"
    text = SHOP.replace(
        "@migration(requires=total_3, down=lambda db: True)",
        f"@migration(requires=total_3, down=lambda db: {records} or True)",
    )
    shop.apply(text)
    more = f"{text}\n\n@migration(requires=total_3)\ndef more_5(db):\n    return True\n"
    assert shop.revert("total_3", more, with_dependents=True, yes=True) == 1
    finished = next(event for event in reversed(shop.events) if isinstance(event, RunFinished))
    assert [(str(each.outcome), each.error) for each in finished.results] == [
        ("reverted", ""),
        ("blocked", "is required by more_5"),
    ]
    assert shop.columns("v") == ["name", "total"]


def test_what_cannot_be_tried_on_a_copy_needs_a_yes(shop: Shop) -> None:
    shop.apply(_one('    db.executesql("DROP TABLE nonesuch")\n    return True\n'))
    with pytest.raises(DecisionNeeded, match=r"on a copy it fails: one_1: .*nonesuch") as refused:
        shop.revert("one_1")
    assert refused.value.hint == (
        "migrate revert one_1 --rehearse tells more\nto try it all the same: migrate revert one_1 --yes"
    )
    assert shop.revert("one_1", yes=True) == 1
    assert shop.state("one_1") is State.APPLIED


@pytest.mark.parametrize("end", ["return False", "return None", "raise ValueError('no')"])
def test_a_down_that_fails_leaves_everything_as_it_was(shop: Shop, end: str) -> None:
    fails = SHOP.replace('DROP COLUMN total")\n    return True', f'DROP COLUMN total")\n    {end}')
    shop.apply(fails)
    assert shop.revert("last_4") == 0
    assert shop.revert("total_3", yes=True) == 1
    assert shop.columns("v") == ["name", "total"]
    assert shop.columns("w") == ["name"]
    history = shop.history
    assert history.attempts[-1].state is AttemptState.REVERT_FAILED
    assert not history.views_down
    assert shop.state("total_3") is State.APPLIED
    assert shop.run("SELECT installed FROM ewh_implemented_features WHERE name = 'total_3'") == [("T",)]
    assert shop.revert("total_3", SHOP, yes=True) == 0


def test_code_that_was_edited_since_needs_a_yes(shop: Shop) -> None:
    shop.apply(_one(DROPS))
    edited = _one(DROPS, body='    db.executesql("CREATE TABLE two (id integer)")\n')
    with pytest.raises(DecisionNeeded, match=r"edited since it was applied.*one_1 \(migrations.py:"):
        shop.revert("one_1", edited)
    assert shop.state("one_1") is State.APPLIED
    assert shop.revert("one_1", edited, yes=True) == 0
    assert "edited since it was applied" in shop.told


def test_what_cannot_be_reverted_says_why(shop: Shop) -> None:
    shop.apply(SHOP.replace("@migration(requires=views_2, down=undo_total)", "@migration(requires=views_2)"))
    with pytest.raises(UsageError, match=r"nothing says how this is undone: total_3 \(migrations.py:"):
        shop.revert("total_3", with_dependents=True)
    with pytest.raises(UsageError, match="nothing is called"):
        shop.revert("total_33")
    assert shop.revert("last_4") == 0
    with pytest.raises(UsageError, match="'last_4' is reverted: there is nothing to revert"):
        shop.revert("last_4")


COMMITS = '    db.executesql("DROP TABLE one")\n    db.commit()\n    raise ValueError("no")\n'


def test_a_down_that_failed_after_a_commit_of_its_own_asks(shop: Shop) -> None:
    shop.apply(_one(COMMITS))
    assert shop.revert("one_1", yes=True) == 1
    assert shop.state("one_1") is State.INTERRUPTED
    with pytest.raises(
        DecisionNeeded, match=r"the revert of 'one_1' failed: .*1 commit of its own in the database"
    ) as asks:
        shop.apply()
    assert "migrate resolve one_1 --reverted" in asks.value.hint
    with pytest.raises(DecisionNeeded, match="the revert of 'one_1' failed") as asks:
        shop.revert("one_1", yes=True)
    assert asks.value.hint.splitlines()[1:] == ["migrate resolve one_1 --applied", "migrate resolve one_1 --reverted"]
    with pytest.raises(UsageError, match="--retry does not decide about that"):
        resolve(shop.project(), "one_1", way="--retry", reason="", observer=shop.events.append)
    resolve(shop.project(), "one_1", way="--reverted", reason="me", observer=shop.events.append)
    assert shop.state("one_1") is State.PENDING
    assert shop.apply() == 0
    assert shop.state("one_1") is State.APPLIED


def test_one_that_is_applied_still_keeps_the_code_that_it_was_applied_with(shop: Shop) -> None:
    shop.apply(_one(COMMITS))
    before = shop.history.attempts[-1].fingerprint
    shop.revert("one_1", yes=True)
    edited = shop.project(_one(DROPS, body="    str()\n"))
    resolve(edited, "one_1", way="--applied", reason="me", observer=shop.events.append)
    known = standing_of(edited.graph, shop.history)[Node(NodeKind.MIGRATION, "one_1")]
    assert known.state is State.APPLIED
    assert (known.fingerprint, known.changed) == (before, True)


def test_outside_of_a_transaction_it_runs_as_the_migration_did(shop: Shop) -> None:
    shop.apply(_one(DROPS, more=', transaction="none"'))
    assert shop.revert("one_1") == 0
    assert shop.state("one_1") is State.REVERTED
    shop.apply(_one('    db.executesql("DROP TABLE one")\n    return False\n', more=', transaction="none"'))
    assert shop.revert("one_1", yes=True) == 1
    assert shop.state("one_1") is State.INTERRUPTED, "what it had done stayed"


def test_this_version_is_complete_no_more(shop: Shop, tmp_path: Path) -> None:
    flags = {"schema_version": "7", "flag_location": str(tmp_path)}
    shop.apply(_one(DROPS), **flags)
    assert (tmp_path / "migrate-7.complete").exists()
    assert shop.revert("one_1", settings=flags) == 0
    assert not (tmp_path / "migrate-7.complete").exists()
    assert shop.apply(**flags) == 0
    assert shop.state("one_1") is State.APPLIED


@pytest.mark.postgres
@pytest.mark.parametrize("database_uri", ["postgres"], indirect=True)
def test_a_view_of_somebody_else_stops_it_and_nothing_is_lost(shop: Shop) -> None:
    """SQLite drops a table that a view reads."""
    shop.apply(_one(DROPS))
    shop.run("CREATE VIEW stranger AS SELECT id FROM one")
    with pytest.raises(DecisionNeeded, match="on a copy it fails"):
        shop.revert("one_1")
    assert shop.revert("one_1", yes=True) == 1
    assert shop.run("SELECT count(*) FROM stranger") == [(0,)]
    assert shop.state("one_1") is State.APPLIED


def test_a_plan_tells_what_becomes_of_views_and_changes_nothing(shop: Shop) -> None:
    shop.apply(SHOP)
    project = shop.project()
    found = plan_revert(project, read_history(project.config), "total_3", with_dependents=True)
    last, total = found.planned.steps
    assert (last.migration.name, total.migration.name) == ("last_4", "total_3")
    assert (total.views.rebuilt, total.views.retired, total.views.new) == (("W",), ("V2",), ("V",))
    assert shop.history.applied == {"base_1", "views_2", "total_3", "last_4"}


@pytest.mark.parametrize("database_uri", ["sqlite"], indirect=True)
def test_a_lock_that_is_lost_sends_nobody_to_apply_it_again(shop: Shop) -> None:
    lock = f"{shop.uri.partition('://')[2]}.migrate.lock"
    text = f"""
import os
from migrate_graph import migration

@migration(down=lambda db: True)
def one_1(db):
    return True

def loses(db):
    os.unlink({lock!r})
    return True

@migration(requires=one_1, down=loses)
def two_2(db):
    return True
"""
    assert shop.apply(text) == 0
    with pytest.raises(LockLost) as raised:
        shop.revert("one_1", with_dependents=True, yes=True)
    assert raised.value.hint == "migrate status shows what is reverted; run the same migrate revert again for the rest"
    assert (shop.state("one_1"), shop.state("two_2")) == (State.APPLIED, State.REVERTED)


CUTS = {
    # of the column before, what the down makes of it, its values, how many of them are not as they were
    "text that is cut": ("text", "varchar(3) USING c::varchar(3)", "'abcd', 'abc', NULL", 1),
    "digits": ("numeric(10,4)", "numeric(10,1)", "1.2345, 1.2, NULL", 1),
    "a fraction": ("double precision", "integer", "1.5, 2, NULL", 1),
    "a time of day": ("timestamp", "date", "'2026-01-01 10:00', '2026-01-01', NULL", 1),
    "an offset": ("timestamptz", "date", "'2026-01-01 10:00:01+00', NULL", 1),
    "less precise": ("timestamptz(6)", "timestamptz(0)", "'2026-01-01 10:00:00.5', '2026-01-01 10:00', NULL", 1),
    "by CAST": ("text", "integer USING CAST(c AS integer)", "'01', '1', NULL", 1),
    "by an expression": ("text", "integer USING length(c)", "'1', '22', NULL", 2),
    "what cannot be cast": ("text", "integer USING c::integer", "'x', '1', NULL", 2),
    "a type that is made for it": ("text", "mood USING c::mood", "'sad', NULL", 1),
    "wider": ("integer", "bigint", "1, NULL", 0),
    "no longer": ("varchar(10)", "text", "'abc', NULL", 0),
    "cast that fits": ("text", "integer USING c::integer", "'1', NULL", 0),
    "a default alone": ("integer", "integer, ALTER c SET DEFAULT 3", "1, NULL", 0),
}


@pytest.mark.postgres
@pytest.mark.parametrize("cut", CUTS)
def test_values_that_another_type_cuts_are_counted_too(cut: str, shop: Shop) -> None:
    if not shop.uri.startswith("postgres"):
        pytest.skip("the types of SQLite's columns cut nothing")
    before, down, values, gone = CUTS[cut]
    made = "    db.executesql(\"CREATE TYPE mood AS ENUM ('sad')\")\n" if "mood" in down else ""
    text = _one(f'{made}    db.executesql("ALTER TABLE one ALTER COLUMN c TYPE {down}")\n    return True\n')
    shop.apply(text.replace("id integer", f"id integer, c {before}"))
    shop.run(f"INSERT INTO one (c) SELECT unnest(ARRAY[{values}]::{before.partition('(')[0]}[])")
    shop.run("CREATE TYPE bystander AS (c text)")
    with pytest.raises(DecisionNeeded) as refused:  # since the table stays
        shop.revert("one_1")
    if not gone:
        assert "goes" not in refused.value.message
        return
    assert f"({gone} value{'s' * (gone > 1)})" in refused.value.message
    assert "values of public.one.c, which become " in refused.value.message
    assert shop.run("SELECT count(*) FROM one WHERE c IS NOT NULL") == [(values.count(",") - values.count("10,"),)]
    assert shop.history.applied == {"one_1"}
