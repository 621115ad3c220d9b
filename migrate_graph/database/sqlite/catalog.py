"""What SQLite can tell about views: it neither refuses a drop that breaks another view nor notices it, so we ask each."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from typing import Any, cast

from migrate_graph.database.names import quote_identifier
from migrate_graph.database.relation import Item, Relation
from migrate_graph.database.savepoints import NotKept, Savepoint
from migrate_graph.database.views.catalog import CommittedInside, Dependent, Key, Observation

_SAVEPOINT = "migrate_graph_views"

# In order of creation: SQLite remembers the columns of a view it has resolved, so each next one costs little.
_SCHEMA = (
    "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY rowid"
)


@dataclass(frozen=True, slots=True)
class _Part:
    """A view, or the triggers of one table or view, with what shows whether it works.

    Attributes:
        description: what to call it.
        sql: its text.
        probe: a statement that fails when it is broken, and changes nothing.
        relation: the view or table.
    """

    description: str
    sql: str
    probe: str
    relation: str


class SqliteCatalog:
    """See `views.ViewCatalog`; `connection` gives the migration's connection, whose `isolation_level` is None."""

    def __init__(self, connection: Callable[[], Any]) -> None:
        self._connection = connection
        self._probes = count()

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement."""
        return list(self._connection().cursor().execute(statement, parameters).fetchall())

    # -- transactions -----------------------------------------------------------------------------------------------

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """See `views.ViewCatalog`; outside of a transaction a savepoint is one."""
        try:
            with Savepoint(_SAVEPOINT, self.run).block():
                yield
        except NotKept as error:
            cause = error.__cause__
            if "no such savepoint" not in str(cause):
                raise cause or error from None
            raise CommittedInside from cause

    @contextmanager
    def commits_held(self) -> Iterator[None]:
        """See `views.ViewCatalog`."""
        connection = self._connection()
        connection.commit = lambda: None
        try:
            yield
        finally:
            del connection.commit

    def commit(self) -> None:
        """See `views.ViewCatalog`."""
        sqlite3.Connection.commit(self._connection())

    def is_aborted(self) -> bool:
        """See `views.ViewCatalog`; a failed statement of SQLite undoes itself and nothing else."""
        return False

    def place(self) -> str:
        """See `views.ViewCatalog`; SQLite has no schemas to choose from."""
        return ""

    def standing_at(self, place: str) -> AbstractContextManager[None]:  # noqa: ARG002 - of ViewCatalog
        """See `views.ViewCatalog`."""
        return nullcontext()

    # -- reading ----------------------------------------------------------------------------------------------------

    def observe(self) -> Observation:
        """See `views.ViewCatalog`; the token holds the parts that work."""
        working = tuple(part for part in self._parts() if not self._error(part))
        return Observation(self._relations(), (), token=working)

    def present(self) -> set[Key]:
        """See `views.ViewCatalog`."""
        return {name for (name,) in self.run("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")}

    def describe(self, keys: Iterable[Key]) -> dict[Key, Relation]:
        """See `views.ViewCatalog`."""
        wanted = set(keys)
        return {key: relation for key, relation in self._relations().items() if key in wanted}

    def find(self, identities: Iterable[str]) -> dict[str, Key]:
        """See `views.ViewCatalog`."""
        there = {cast("str", name).lower(): name for name in self.present()}
        bare = {identity: _unquoted(identity).lower() for identity in identities}
        return {identity: there[name] for identity, name in bare.items() if name in there}

    def lost(self, before: Observation) -> list[Dependent]:
        """See `views.ViewCatalog`."""
        present = self.present()
        gone = [cast("str", name) for name in before.relations if name not in present]
        return [
            Dependent(self._cause(part, gone), None, f"{part.description} ({error})", "")
            for part in before.token or ()
            if part.relation in present and (error := self._error(part))
        ]

    broken = lost

    def refusal(self, error: BaseException) -> str | None:  # noqa: ARG002 - of ViewCatalog
        """See `views.ViewCatalog`; SQLite drops whatever it is told to."""
        return None

    def _relations(self) -> dict[Key, Relation]:
        schema = self.run(_SCHEMA)
        triggers: dict[str, list[Item]] = {}
        for kind, name, table, sql in schema:
            if kind == "trigger":
                triggers.setdefault(table, []).append(Item("trigger", name, sql))
        return {
            name: Relation(
                quote_identifier(name),
                name,
                kind.upper(),
                definition=sql if kind == "view" else "",
                fingerprint=f":{sha256(sql.encode()).hexdigest()[:16]}" if kind == "view" else "",
                items=tuple(triggers.get(name, ())) if kind == "view" else (),
            )
            for kind, name, _, sql in schema
            if kind in {"table", "view"}
        }

    def _parts(self) -> Iterator[_Part]:
        tables: dict[str, list[str]] = {}
        for kind, name, table, sql in self.run(_SCHEMA):
            if kind == "view":
                yield _Part(f"view {quote_identifier(name)}", sql, f"PRAGMA table_info({quote_identifier(name)})", name)
            elif kind == "trigger":
                tables.setdefault(table, []).append(sql)
        for table, triggers in tables.items():
            yield from self._triggers_of(table, "\n".join(triggers))

    def _triggers_of(self, table: str, sql: str) -> Iterator[_Part]:
        column = quote_identifier(next((row[1] for row in self._columns(table)), ""))
        name = quote_identifier(table)
        for event, probe in (
            ("DELETE", f"EXPLAIN DELETE FROM {name}"),
            ("INSERT", f"EXPLAIN INSERT INTO {name} DEFAULT VALUES"),
            ("UPDATE", f"EXPLAIN UPDATE {name} SET {column} = {column}"),
        ):
            yield _Part(f"{event} trigger on {name}", sql, probe, table)

    def _columns(self, table: str) -> list[tuple[Any, ...]]:
        try:
            return self.run(f"PRAGMA table_info({quote_identifier(table)})")
        except sqlite3.Error:  # a broken view has none
            return []

    def _error(self, part: _Part) -> str:
        """Return why a part does not work; empty when it does."""
        try:
            # Never the same text twice: sqlite3 keeps prepared statements, and an EXPLAIN is not prepared again.
            self.run(f"{part.probe} -- {next(self._probes)}")
        except sqlite3.Error as error:
            return str(error)
        return ""

    def _cause(self, part: _Part, gone: list[str]) -> str:
        mentioned = (name for name in gone if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", part.sql, re.IGNORECASE))
        return next(mentioned, gone[0] if gone else "")

    # -- restoring --------------------------------------------------------------------------------------------------

    def restore(self, stored: Relation, made: Relation) -> list[str]:
        """See `views.ViewCatalog`: SQLite has triggers only."""
        there = {item.name for item in made.items}
        for item in stored.items:
            if item.name not in there:
                self.run(item.sql)
        return []

    def recreate(self, stored: Relation) -> None:
        """See `views.ViewCatalog`."""
        self.run(stored.definition)
        for item in stored.items:
            self.run(item.sql)


def _unquoted(identity: str) -> str:
    """Return the name that an identity, quoted or not, with or without `main.`, stands for."""
    name = re.sub(r'^(?:main|"main")\s*\.\s*', "", identity, flags=re.IGNORECASE)
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
