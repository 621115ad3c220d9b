"""Finds the views because of which SQLite refuses a statement, by its schema and its authorizer."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from migrate_graph.core.reachability import closure
from migrate_graph.database.sqlite.authorizer import overheard
from migrate_graph.database.sqlite.facts import spelled
from migrate_graph.database.sqlite.schema import Part, Schema, words_of
from migrate_graph.database.views.catalog import Manager, Observation
from migrate_graph.database.views.kept import manager_for_unmanaged
from migrate_graph.database.views.weaving import ONLY_SCHEMA, Column, Obstacle
from migrate_graph.quoting import quote_identifier

if TYPE_CHECKING:
    from migrate_graph.database.relation import Relation
    from migrate_graph.database.sqlite.catalog import SqliteCatalog
    from migrate_graph.database.sqlite.work import WorkConnection

_ERROR_IN: Final = {"view": "error in view ", "trigger": "error in trigger "}
_AFTER: Final = re.compile(r"\s+after\b")


class _Seen(Struct, frozen=True):
    """A view as it was when it was read.

    Attributes:
        name: its name, as it was created.
        sql: its CREATE statement.
        reads: what it reads directly: table or view in lower case, and column; an empty column where only rows are counted.
        error: why it could not be read; empty when it could.
        types: types of its columns, by name.
    """

    name: str
    sql: str
    reads: frozenset[tuple[str, str]]
    error: str
    types: Mapping[str, str]


class SqliteObstacles:
    """See `views.weaving.Obstacles`. What a view reads can be found only while the view works, so each is looked at before it may break.

    Args:
        catalog: the catalog, on the connection of the attempt.
        connection: returns the present connection of the attempt.
    """

    def __init__(self, catalog: SqliteCatalog, connection: Callable[[], WorkConnection]) -> None:
        self._catalog = catalog
        self._connection = connection
        self._schema = Schema()
        self._seen: dict[str, _Seen] = {}
        self._first: dict[str, dict[str, str]] = {}
        self._numbers: dict[str, int] = {}

    # -- looking --------------------------------------------------------------------------------------------------------------

    def look(self, statement: str) -> None:
        """Look at the views that a statement may break: those that read, directly or through others, something that it names."""
        self._update()
        for name in sorted(self._schema.readers_of(words_of(statement))):
            self._look_at(name)

    def _update(self) -> None:
        self._schema = self._catalog.schema()

    def _is_view(self, name: str) -> bool:
        relation = self._schema.named(name)
        return relation is not None and relation.is_view

    def _look_at(self, name: str) -> _Seen | None:
        """Return a view as it was last seen working; None where it was never seen."""
        relation = self._schema.named(name)
        if relation is None or not relation.is_view:
            return self._seen.get(name)
        known = self._seen.get(name)
        if known is None or known.sql != relation.definition:
            now = self._ask(name, relation.name, relation.definition)
            self._first.setdefault(name, self._texts(relation))
            if known is None or not now.error:
                known = self._seen[name] = now
        return known

    @staticmethod
    def _texts(relation: Relation) -> dict[str, str]:
        """Return the CREATE statements of a view (under the empty name) and of its triggers, by name."""
        return {"": relation.definition} | {each.name: each.sql for each in relation.items}

    def _ask(self, name: str, written: str, sql: str) -> _Seen:
        """Return what a view reads, from the authorizer's questions while a SELECT from it is prepared."""
        connection, error = self._connection(), ""
        with overheard(connection, connection.judge) as asked:
            try:
                cursor = sqlite3.Connection.cursor(connection, sqlite3.Cursor)
                cursor.execute(f"EXPLAIN SELECT * FROM {quote_identifier(written)}").close()
            except sqlite3.Error as failed:
                error = str(failed)
        read = (each for each in asked if each.action == sqlite3.SQLITE_READ and each.first)
        reads = frozenset((each.first.lower(), each.second) for each in read if each.inner.lower() == name)
        return _Seen(written, sql, reads, error, {} if error else self._types(written))

    # -- what is in the way ---------------------------------------------------------------------------------------------------

    def blocking(self, message: str) -> set[int]:
        """Return the views that an error names, and those for which the same statement would be refused next."""
        self._update()
        name, rest = self._named(message)
        seen = self._look_at(name) if name else None
        if seen is None:
            return set()
        if not _AFTER.match(rest):  # the view is broken already, as are others that read a missing relation
            found = {each for each in self._seen if self._is_view(each) and self._misses_a_relation(self._seen[each])}
        else:
            found = self._with_column(name, seen, rest)
        return {self._number(each) for each in sorted({name, *found})}

    def _named(self, message: str) -> tuple[str, str]:
        """Return the view that an error is about, in lower case, and the rest of the message; empty texts where it names no view."""
        for kind, beginning in _ERROR_IN.items():
            if not message.startswith(beginning):
                continue
            rest = message.removeprefix(beginning)
            rows = [row for row in self._schema.of_kind(kind) if _begins(rest, row[1])]
            if rows:
                row = max(rows, key=lambda row: len(row[1]))
                return row[2].lower() if self._is_view(row[2]) else "", rest[len(row[1]) :]
        return "", ""

    def _misses_a_relation(self, seen: _Seen) -> bool:
        return any(self._schema.named(table) is None for table, _ in seen.reads)

    def _with_column(self, name: str, seen: _Seen, rest: str) -> set[str]:
        """Return the views that read the column which an error names, and the view that the column belongs to, if it is one."""
        words = words_of(rest)
        said = {(table, column) for table, column in seen.reads if column.lower() in words}
        if len(said) != 1:  # the message does not name one column for certain: take only the view that it names
            return {name}
        ((table, column),) = said
        found = {view for view, known in self._seen.items() if self._is_view(view) and (table, column) in known.reads}
        if self._is_view(table) and self._look_at(table) is not None:
            found.add(table)  # without it, this view's column would get another name
        return found

    def _number(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers))

    def _names(self, keys: Iterable[int]) -> set[str]:
        names = list(self._numbers)
        return {names[key] for key in keys}

    # -- see `views.weaving.Obstacles` ------------------------------------------------------------------------------------------

    def with_readers(self, keys: Collection[int]) -> dict[int, Obstacle]:
        """See `views.weaving.Obstacles`."""
        self._update()
        wanted = self._names(keys)
        seen = {
            name: known
            for name in sorted(self._schema.readers_of(wanted))
            if (known := self._look_at(name)) is not None
        }
        there = {name: known for name, known in seen.items() if self._is_view(name)}
        found = closure(wanted, lambda name: [each for each, known in there.items() if name in _tables(known)])
        return {self._number(name): self._obstacle(there[name], found) for name in sorted(found & there.keys())}

    def _obstacle(self, seen: _Seen, found: Collection[str]) -> Obstacle:
        relation = self._schema.named(seen.name)
        assert relation is not None  # noqa: S101 - it is there
        return Obstacle(
            relation.identity,
            frozenset(self._number(table) for table in _tables(seen) if table in found),
            types=seen.types,
            # Columns of a view that goes down as well are not checked: they are missing only meanwhile.
            columns=tuple(
                Column(self._number(table), column, f"{spelled(table)}.{spelled(column)}" if column else spelled(table))
                for table, column in sorted(seen.reads)
                if table not in found
            ),
            called=spelled(seen.name),
        )

    def find(self, names: Collection[str]) -> dict[str, int]:
        """See `views.weaving.Obstacles`."""
        return {name: self._number(str(key).lower()) for name, (key, _) in self._catalog.look_up(names).items()}

    def types(self, identities: Collection[str]) -> dict[str, dict[str, str]]:
        """See `views.weaving.Obstacles`."""
        found = self._catalog.look_up(identities)
        return {identity: self._types(str(key)) for identity, (key, _) in found.items()}

    def _types(self, name: str) -> dict[str, str]:
        try:
            rows = self._catalog.run(f"PRAGMA table_info({quote_identifier(name)})")
        except sqlite3.Error:  # the view is broken
            return {}
        return {row[1]: row[2] for row in rows}

    def missing(self, columns: Collection[Column]) -> set[Column]:
        """See `views.weaving.Obstacles`."""
        self._update()
        names = list(self._numbers)
        there = {
            table: {name.lower() for name in self._columns(names[table])} for table in {each.table for each in columns}
        }
        return {each for each in columns if _is_missing(each, there[each.table])}

    def _columns(self, table: str) -> list[str]:
        """Return the columns of a table or view, including generated ones."""
        try:
            rows = self._catalog.run(f"PRAGMA table_xinfo({quote_identifier(table)})")
        except sqlite3.Error:
            return []
        return [row[1] for row in rows]

    def writes_managers(self, names: Sequence[str]) -> str:  # noqa: ARG002 - of the protocol
        """See `views.weaving.Obstacles`; views of SQLite cannot be adopted, so the manager must be written by hand."""
        return "migrate new NAME --view"

    def expecting(self, before: Observation, obstacles: Collection[Obstacle]) -> Observation:
        """See `views.weaving.Obstacles`."""
        identities = {each.identity for each in obstacles}
        wanted = [each for each in self._seen.values() if quote_identifier(each.name) in identities and not each.error]
        names = {each.name for each in wanted}
        parts = [Part(f"view {quote_identifier(each.name)}", each.sql, each.name) for each in wanted]
        for each in before.token or ():
            if each.relation not in names:
                parts.append(each)
            elif each.event:  # the triggers of a view that went down must be checked anew
                parts.append(replace(each, error=None))
        return replace(before, token=tuple(parts))

    def broken(self) -> dict[int, str]:
        """See `views.weaving.Obstacles`; views that were broken before the body do not count.

        When a table is renamed, SQLite renames it in the triggers of views, too. The triggers of a broken view get their former text.
        """
        self._update()
        found = {}
        for name, seen in self._seen.items():
            relation = self._schema.named(name)
            if seen.error or relation is None or not relation.is_view:
                continue
            now = self._ask(name, relation.name, relation.definition)
            if now.error:
                found[self._number(name)] = f"{seen.name} ({now.error})"
                self._put_triggers_back(name, relation)
        return found

    def _put_triggers_back(self, name: str, relation: Relation) -> None:
        first = self._first[name]
        for each in relation.items:
            if first.get(each.name, each.sql) != each.sql:
                self._catalog.run(f"DROP TRIGGER {quote_identifier(each.name)}")
                self._catalog.run(first[each.name])

    def keeper_of(self, key: int) -> Manager:
        """See `views.weaving.Obstacles`. When the body renames a table, SQLite changes the view's text; the text from before the body may be right."""
        (name,) = self._names([key])
        seen, identity = self._seen[name], quote_identifier(self._seen[name].name)

        def up() -> None:
            self._catalog.run(seen.sql)
            first = self._first[name][""]
            if first != seen.sql and self._ask(name, seen.name, seen.sql).error:
                down()
                self._catalog.run(first)

        def down() -> None:
            self._catalog.run(f"DROP VIEW {identity}")

        return manager_for_unmanaged(f"{ONLY_SCHEMA}.{spelled(seen.name)}", f"VIEW {identity}", up=up, down=down)


def _begins(rest: str, name: str) -> bool:
    """Return whether the rest of a message begins with this name, and not only with a part of a longer one."""
    return rest.startswith((f"{name}:", f"{name} "))


def _tables(seen: _Seen) -> set[str]:
    return {table for table, _ in seen.reads}


def _is_missing(column: Column, there: Collection[str]) -> bool:
    """Return whether a column is gone; `rowid` and its other names are not among the listed columns, and never gone."""
    if not there:
        return True
    return bool(column.name) and column.name.lower() not in {*there, "rowid", "oid", "_rowid_"}
