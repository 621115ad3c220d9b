"""A rehearsal of migrations that confuse or escape whatever watches them: each is told truly, and nothing of it stays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from rehearsal_stand import HARD, RehearsalStand, facts, footprint, outcomes, run, said, state
from servers import PostgresServer

from migrate_graph.core.events import Outcome
from migrate_graph.core.footprint import Held, Wrote
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
    postgres_server.execute(f"ALTER ROLE app {'NOCREATEDB' if request.param == 'here' else 'CREATEDB'}")
    yield str(request.param)
    postgres_server.execute("ALTER ROLE app NOCREATEDB")


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
