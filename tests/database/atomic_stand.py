"""Bodies of migrations for a run that is one transaction, and what it has left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bodies import ask
from stand import Stand

from migrate_graph.core.events import Outcome, RunFinished

Body = Callable[[Any], Any]


def tables_of(uri: str) -> set[str]:
    kinds = (
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'v') AND oid >= 16384"
        if uri.startswith("postgres")
        else "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'"
    )
    return {name for (name,) in ask(uri, kinds) if not name.startswith("ewh_")}


def called(name: str, body: Body) -> Body:
    """Return a body that succeeds, under a name, as if its text stood in the file of the function that it calls."""

    def run(db: Any) -> bool:
        body(db)
        return True

    run.__name__ = name
    # A rollback is looked for in functions of one file only. Without this line no test body would have a savepoint.
    run.__module__ = body.__module__
    return run


def making(table: str) -> Body:
    return called(f"makes_{table}", lambda db: db.executesql(f"CREATE TABLE {table} (id integer PRIMARY KEY)"))


def outcomes_of(finished: RunFinished) -> list[Outcome]:
    return [result.outcome for result in finished.results]


def nothing_was_kept(uri: str, stand: Stand) -> None:
    assert tables_of(uri) == set()
    history = stand.history()
    assert history.applied == frozenset()
    assert {attempt.state for attempt in history.attempts} <= {"failed"}
