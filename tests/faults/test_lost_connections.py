"""The server ends a session at every boundary of a run: whichever it is, nothing runs twice, and nothing is forgotten."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from bodies import ask
from servers import PostgresServer

from migrate_graph.authoring import SqlView, ViewMigrationManager, collecting
from migrate_graph.core.events import Outcome
from migrate_graph.core.history import AttemptState
from migrate_graph.errors import MigrateGraphError
from migrate_graph.executor import checkpoints
from migrate_graph.executor.checkpoints import Checkpoint

sys.path.insert(0, str(Path(__file__).parents[1] / "database"))
from stand import Stand

pytestmark = pytest.mark.postgres

VICTIMS = {
    "the keeper": "application_name = 'migrate_graph:keeper'",
    "the work": "application_name IN ('migrate_graph:first_1', 'migrate_graph:second_2')",
    "both": "application_name LIKE 'migrate_graph:%'",
}

with collecting():

    class V(ViewMigrationManager):  # it is declared for this module alone
        uses = ()

        def up(self) -> None:
            self.db.executesql("CREATE VIEW v AS SELECT id FROM t")

        def down(self) -> None:
            self.db.executesql("DROP VIEW IF EXISTS v")

    class M(SqlView):
        uses = (V,)
        materialized = True
        rebuild = "deferred"
        query = "SELECT count(*) AS n FROM v"


@pytest.mark.parametrize("commits", [False, True], ids=["plain", "with an own commit"])
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize(  # what is built beside another view: see tests/database/test_swap.py
    "checkpoint",
    [each for each in Checkpoint if each is not Checkpoint.VIEW_BUILT],
    ids=lambda checkpoint: checkpoint.name,
)
def test_a_session_that_ends_at_a_boundary(
    checkpoint: Checkpoint,
    victim: str,
    commits: bool,
    postgres_uri: str,
    postgres_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    postgres_server.execute(
        "CREATE TABLE t (id integer, by_whom text)",
        "ALTER TABLE t OWNER TO app",
        database=postgres_uri.rpartition("/")[2],
    )
    name = postgres_uri.rpartition("/")[2]
    hits: list[Checkpoint] = []

    def reached(this: Checkpoint) -> None:
        if this is checkpoint and not hits:
            hits.append(this)
            postgres_server.execute(
                f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}' AND {VICTIMS[victim]}"
            )

    def first_1(db: Any) -> bool:
        db.executesql("INSERT INTO t VALUES (1, 'first, before')")
        if commits:
            db.commit()
        db.executesql("INSERT INTO t VALUES (1, 'first, after')")
        return True

    def second_2(db: Any) -> bool:
        with V(db):
            db.executesql("INSERT INTO t VALUES (2, 'second')")
        return checkpoint not in {Checkpoint.FAILURE_RECORDED, Checkpoint.ROLLED_BACK} or bool(hits)

    monkeypatch.setattr(checkpoints, "reached", reached)
    stand = Stand(postgres_uri)
    told = run_until_it_is_over(stand, first_1, second_2)
    history = stand.history()
    rows = [by for (by,) in ask(postgres_uri, "SELECT by_whom FROM t")]
    # Nothing is there twice; what is there is recorded, or asked about.
    assert len(rows) == len(set(rows)), (rows, history, told)
    for of_name, wanted in (("first_1", {"first, before", "first, after"}), ("second_2", {"second"})):
        there = {each for each in rows if each.startswith(of_name.partition("_")[0])}
        if of_name in history.applied:
            assert there == wanted
        elif there:
            assert any(each.name == of_name and each.commits for each in history.attempts), (rows, history)
    if not any(each.state is AttemptState.RUNNING for each in history.attempts):
        assert history.applied == {"first_1", "second_2"}, (history, told)
        assert ask(postgres_uri, "SELECT count(*) FROM v") == [(3,)]
        assert ask(postgres_uri, "SELECT n FROM m") == [(3,)]
    assert hits, "it was never there"


def run_until_it_is_over(stand: Stand, *bodies: Any) -> str:
    """Run as whoever is told to run it again; give what was said last."""
    told = ""
    for _ in range(3):
        try:
            finished = stand.run(*bodies, first_delay=0.01)
        except MigrateGraphError as error:
            told = error.message
            continue
        if stand.history().views_unfilled:
            continue
        if finished.succeeded or any(
            each.outcome is Outcome.BLOCKED or each.needs_decision for each in finished.results
        ):
            break
    return told
