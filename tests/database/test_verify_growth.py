"""What watching a migration reads does not grow with the number of those before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from verify_stand import VerifyStand

from migrate_graph.database.postgres.watched import WatchedBackend


@pytest.fixture
def stand(may_create_databases: None, postgres_uri: str, tmp_path: Path) -> VerifyStand:
    return VerifyStand(tmp_path, postgres_uri)


@pytest.mark.postgres
def test_as_many_questions_and_rows_for_the_last_as_for_the_first(
    stand: VerifyStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = WatchedBackend._read_facts
    answers: list[int] = []

    def counted(self: WatchedBackend, query: str, relations: frozenset[int]) -> Any:
        rows = read(self, query, relations)
        answers.append(len(rows))
        return rows

    monkeypatch.setattr(WatchedBackend, "_read_facts", counted)

    def cost(tables: int) -> tuple[int, int]:
        answers.clear()
        stand.footprints(*(f"CREATE TABLE t{n} (id int PRIMARY KEY, a text)" for n in range(tables)))
        return len(answers), sum(answers)

    few, more, most = cost(4), cost(8), cost(12)
    assert most[0] - more[0] == more[0] - few[0]
    # The last look at everything, once a run, is as large as what was made: no more than that is added.
    assert abs((most[1] - more[1]) - (more[1] - few[1])) <= 8
