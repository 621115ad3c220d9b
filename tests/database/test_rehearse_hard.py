"""A rehearsal of migrations that confuse or escape whatever watches them: each is told truly, and nothing of it stays."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from rehearsal_stand import HARD, RehearsalStand, facts, footprint, outcomes, run, said, state
from servers import PostgresServer

from migrate_graph.core.events import Event, Outcome, StepStarted
from migrate_graph.core.footprint import Footprint, Held, Wrote
from migrate_graph.database.postgres.rehearsal.recording import RecordedConnection
from migrate_graph.database.postgres.watched import WatchedBackend
from migrate_graph.workflow.rehearse import Rehearsal

pytestmark = pytest.mark.postgres

FAIL = {
    "swallows_an_error_13": Outcome.RAISED,
    "fails_after_a_commit_14": Outcome.RAISED,
    "violates_what_is_deferred_17": Outcome.RAISED,
}


@pytest.fixture(params=["clone", "scratch", "here"])
def place(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    monkeypatch.setenv("PATH", str(postgres_server.binaries), prepend=os.pathsep)
    if request.param != "here":
        request.getfixturevalue("may_create_databases")
    return str(request.param)


@pytest.fixture
def hard(postgres_uri: str) -> RehearsalStand:
    return RehearsalStand(postgres_uri, HARD)


def test_everything_is_told_and_nothing_stays(
    hard: RehearsalStand, place: str, postgres_server: PostgresServer
) -> None:
    run(hard.uri, "CREATE TABLE bystander (id serial, a text)", "INSERT INTO bystander (a) VALUES ('x')")
    hard.settings["MIGRATE_TABLE"] = "books"
    before = state(postgres_server, hard.uri)

    done = hard.rehearse(place)

    assert state(postgres_server, hard.uri) == before
    failed = {name: outcome for name, outcome in outcomes(done).items() if outcome is not Outcome.APPLIED}
    if place == "here":  # there the transaction that adds the value is not committed
        assert failed.pop("uses_the_new_value_08") is Outcome.NOT_REACHED
    assert failed == FAIL
    assert done.exit_code == 1
    assert not done.cut
    _look_at_steps(done, place)


def _look_at_steps(done: Rehearsal, place: str) -> None:
    assert said(done, "commits_between_statements_04") == [
        "CREATE TABLE first_half (a int)", "COMMIT", "CREATE TABLE second_half (a int)"
    ]  # fmt: skip
    assert [each.source.line for each in footprint(done, "makes_tables_01").statements if each.source] == [12, 13, 15]
    assert footprint(done, "commits_in_a_loop_02").own_commits == 3
    assert footprint(done, "commits_in_a_loop_02").wrote == {
        "public.stock": Wrote(0, 300, 0),
        "public.move": Wrote(1, 0, 0),
    }
    loop = [each for each in footprint(done, "commits_in_a_loop_02").statements if each.sql.startswith("UPDATE")]
    assert [(each.rows, each.uses, each.transaction) for each in loop] == [
        (100, ("public.stock.id", "public.stock.qty"), number) for number in range(3)
    ]
    assert "column public.move.note" in facts(footprint(done, "commits_by_a_statement_03").added)
    assert facts(footprint(done, "reads_what_went_before_10").changed) == {"column public.stock.qty"}
    assert [each.relation for each in footprint(done, "reads_what_went_before_10").rewrites] == ["public.stock"]
    assert "table public.gadget" in facts(footprint(done, "lets_pydal_make_a_table_09").added)
    assert "table public.kept" in facts(footprint(done, "fails_after_a_commit_14").added)
    assert "table public.lost" not in facts(footprint(done, "fails_after_a_commit_14").added)
    assert not footprint(done, "rolls_back_15").added
    assert said(done, "has_cursors_of_its_own_16") == ["SELECT id FROM stock", "COPY stock (qty) FROM STDIN"]
    assert footprint(done, "has_cursors_of_its_own_16").wrote == {"public.stock": Wrote(2, 0, 0)}
    concurrently, vacuum = footprint(done, "refuses_a_transaction_05").statements
    if place == "scratch":
        assert (concurrently.held, vacuum.held) == (Held.RUN, Held.RUN)
    else:
        assert (concurrently.held, vacuum.held) == (Held.CHANGED, Held.SKIPPED)
        assert concurrently.locks == ({"public.stock": "SHARE UPDATE EXCLUSIVE"} if place == "clone" else {})
        assert "SHARE" not in footprint(done, "refuses_a_transaction_05").locks.values()
        assert footprint(done, "refuses_a_transaction_05").not_rehearsed
    assert "index public.stock_qty" in facts(footprint(done, "refuses_a_transaction_05").added)


@pytest.mark.usefixtures("may_create_databases")
def test_every_place_hears_what_an_apply_sends_and_twice_the_same(
    hard: RehearsalStand, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(postgres_server.binaries), prepend=os.pathsep)
    done = [hard.rehearse(place) for place in ("scratch", "clone", "clone", "here")]
    heard = [{step.migration.name: said(each, step.migration.name) for step in each.plan.steps} for each in done]
    assert heard[0] == heard[1] == heard[2] == heard[3]
    assert sum(map(len, heard[0].values())) > 30
    _, first, second, _ = ([_without_times(footprint(each, name)) for name in heard[0]] for each in done)
    assert first == second


def _without_times(found: Footprint) -> Footprint:
    return replace(found, statements=tuple(replace(each, seconds=0.0) for each in found.statements))


@pytest.mark.usefixtures("may_create_databases")
def test_the_cost_of_a_migration_does_not_grow_with_those_before(
    postgres_uri: str, tmp_path: Path, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted are statements of ours and facts that are read; a migration here makes a table, fills it and widens the one before."""
    monkeypatch.setenv("PATH", str(postgres_server.binaries), prepend=os.pathsep)
    (tmp_path / "migrations.py").write_text("from migrate_graph import migration\n\n" + "\n".join(
        f"@migration\ndef m_{n}(db):\n    db.executesql('CREATE TABLE t{n} (id serial PRIMARY KEY, a text)')\n"
        f"    db.executesql('INSERT INTO t{n} (a) VALUES (1)')\n"
        + (f"    db.executesql('ALTER TABLE t{n - 1} ADD COLUMN b int')\n" if n else "") + "    return True\n"
        for n in range(40)
    ))  # fmt: skip
    asked, facts_read = Counter[str](), list[int]()
    ask, facts_of = RecordedConnection.ask, WatchedBackend._facts_of
    names = list[str]()

    def count(self: RecordedConnection, statement: str) -> Any:
        asked[names[-1] if names else ""] += 1
        return ask(self, statement)

    def read(self: WatchedBackend, *arguments: Any) -> Any:
        rows = facts_of(self, *arguments)
        facts_read.append(len(rows))
        return rows

    monkeypatch.setattr(RecordedConnection, "ask", count)
    monkeypatch.setattr(WatchedBackend, "_facts_of", read)
    stand = RehearsalStand(postgres_uri, tmp_path)
    stand.events = _Names(names)
    done = stand.rehearse("clone")
    assert done.exit_code == 0, done.results
    assert asked["m_5"] == asked["m_39"] <= 16
    assert len(facts_read) == 1 + 40 + 1  # at the beginning, of each migration, at the end
    assert facts_read[6] == facts_read[40]


class _Names(list[Event]):
    """Hears which migration is at work."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.names = names

    def append(self, event: Event) -> None:
        if isinstance(event, StepStarted):
            self.names.append(event.name)


def test_what_is_sent_past_us_is_told_as_such(postgres_uri: str, tmp_path: Path, place: str) -> None:
    (tmp_path / "migrations.py").write_text(
        "import psycopg2.extensions as pg\nfrom migrate_graph import migration\n\n\n@migration\ndef one_1(db):\n"
        "    pg.cursor(db._adapter.connection).execute('CREATE TABLE unseen (a int)')\n    return True\n"
    )
    done = RehearsalStand(postgres_uri, tmp_path).rehearse(place)
    assert facts(footprint(done, "one_1").added) >= {"table public.unseen"}
    assert said(done, "one_1") == []
    assert any("cursor made by hand" in why for why in footprint(done, "one_1").not_rehearsed)


def test_a_rehearsal_that_goes_well_ends_with_0_and_can_be_applied_as_it_was_told(
    postgres_uri: str, tmp_path: Path, place: str
) -> None:
    (tmp_path / "migrations.py").write_text(
        "from migrate_graph import migration\n\n\n@migration\ndef one_1(db):\n"
        "    db.executesql('CREATE TABLE t (a int)')\n    db.executesql('INSERT INTO t VALUES (%s)', (7,))\n    return True\n"
    )
    stand = RehearsalStand(postgres_uri, tmp_path)
    first, second = stand.rehearse(place), stand.rehearse(place)
    assert (first.exit_code, first.cut) == (0, "")
    assert said(first, "one_1") == ["CREATE TABLE t (a int)", "INSERT INTO t VALUES (7)"] == said(second, "one_1")
    assert facts(footprint(first, "one_1").added) == {"table public.t", "column public.t.a"}
    assert said(stand.rehearse(place, values=False), "one_1")[1] == "INSERT INTO t VALUES (?)"
    assert stand.apply() == 0
    assert run(postgres_uri, "SELECT a FROM t") == [(7,)]
    assert stand.rehearse(place).results == ()
