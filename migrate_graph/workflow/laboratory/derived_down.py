"""A derived `down`: it runs the statements that drop what a migration has added."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from migrate_graph.core.model import TransactionMode
from migrate_graph.core.traces import relation_and_part
from migrate_graph.database.table_files import TableFiles
from migrate_graph.quoting import unquoted

if TYPE_CHECKING:
    from migrate_graph.core.drift import Drifted
    from migrate_graph.core.model import Migration

_SAVEPOINT = "migrate_graph_way_back"


class DerivedDown:
    """Undoes a migration by known statements, and removes what pyDAL's table files say of the dropped tables and columns.

    Args:
        migration: the migration that it undoes; errors and rehearsals name its place.
        statements: the statements, in the order in which they run.
        gone: what is dropped: by the plain name of a table, its dropped columns; no columns: the whole table.

    Attributes:
        statements: see above.
    """

    def __init__(self, migration: Migration, statements: Iterable[str], gone: Mapping[str, Iterable[str]]) -> None:
        self.statements = tuple(statements)
        self._migration = migration
        self._gone = gone
        self._files = TableFiles()
        self._send = _sender_at(migration)

    def __call__(self, db: Any) -> bool:
        """Undo the migration."""
        for statement in self.statements:
            self._send(db, statement)
        # Before the commit: if this process dies in between, a file is missing for a table that exists, and pyDAL reports that. It
        # would not report a file for a table that does not exist.
        self._files.forget(db, self._gone)
        return True

    def as_undoing(self) -> Migration:
        """Return the migration with this as its `down`, in one transaction, whatever transaction mode its body needs."""
        return replace(self._migration, down=self, transaction=TransactionMode.OWN)

    def put_back(self) -> None:
        """Restore pyDAL's table files, since nothing was undone."""
        self._files.put_back()


class FindingDown:
    """Drops things in whatever order the database permits, and notes the statements that succeeded, in their order.

    Args:
        statements: statements that drop one thing each; one that fails is tried again after others have succeeded.
        ties: statements that drop what ties tables to each other (foreign keys); they are tried only when no other statement succeeds.
        gone: see `DerivedDown`.

    Attributes:
        done: the statements that succeeded, in order.
        left: the statements that failed, each with the error of the database.
    """

    def __init__(self, statements: Iterable[str], ties: Iterable[str], gone: Mapping[str, Iterable[str]]) -> None:
        self._ties = tuple(ties)
        self._gone = gone
        self.done: list[str] = []
        self.left: dict[str, str] = dict.fromkeys(statements, "")

    def __call__(self, db: Any) -> bool:
        """Undo what can be undone."""
        self._drop(db)
        if self.left and self._ties:
            self.left |= dict.fromkeys(self._ties, "")
            self._drop(db)
        TableFiles().forget(db, self._gone)
        return True

    def _drop(self, db: Any) -> None:
        """Try the statements again and again, until none succeeds any more."""
        grows = True
        while grows:
            grows = False
            for statement in [*self.left]:
                why = _tried(db, statement)
                if why is None:
                    self.done.append(statement)
                    del self.left[statement]
                    grows = True
                else:
                    self.left[statement] = why


def _tried(db: Any, statement: str) -> str | None:
    """Send a statement in a savepoint; return the error of the database, or None when it succeeded."""
    db.executesql(f"SAVEPOINT {_SAVEPOINT}")
    try:
        db.executesql(statement)
    except db._adapter.driver.Error as error:  # noqa: SLF001 - the driver's own root of errors
        db.executesql(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
        return str(error)
    db.executesql(f"RELEASE SAVEPOINT {_SAVEPOINT}")
    return None


def gone_with(changes: Iterable[Drifted], managed: frozenset[str]) -> dict[str, tuple[str, ...]]:
    """Return what is dropped when the added things are dropped: by the plain name of a table, its columns; none for the whole table."""
    gone: dict[str, tuple[str, ...]] = {}
    for change in changes:
        if change.before is not None or change.relation in managed:
            continue
        if change.fact.kind == "table":
            gone[plain(change.fact.identity)] = ()
        elif change.fact.kind == "column":
            name = plain(change.relation)
            gone[name] = (*gone.get(name, ()), plain(change.fact.identity))
    return gone


def plain(identity: str) -> str:
    """Return the last part of a qualified name, without quotes."""
    owner, last = relation_and_part(identity)
    return unquoted(last or owner)


def _sender_at(migration: Migration) -> Callable[[Any, str], Any]:
    """Return a function that sends a statement and whose code is at the line of a migration's declaration: errors name that line."""
    send = lambda db, statement: db.executesql(statement)  # noqa: E731 - one line, so that the place is that of the declaration
    declared = getattr(inspect.unwrap(migration.function), "__code__", None)
    path, line = (
        (declared.co_filename, declared.co_firstlineno)
        if declared is not None
        else (migration.source.path, migration.source.line)
    )
    code = send.__code__.replace(co_filename=path, co_firstlineno=line)
    return FunctionType(code, send.__globals__, send.__name__, None, send.__closure__)
