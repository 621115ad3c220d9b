"""Reads and restores views of SQLite, which does not notice when a drop breaks another view, so that each view is checked by a query."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import count
from typing import Any, cast

from migrate_graph.database.relation import Relation
from migrate_graph.database.savepoints import NotKept, Savepoint
from migrate_graph.database.sqlite.noted import Noting
from migrate_graph.database.sqlite.reading import views_read
from migrate_graph.database.sqlite.schema import SCHEMA, Part, Schema
from migrate_graph.database.views.catalog import (
    Changes,
    CommittedInside,
    Concern,
    Contents,
    Key,
    Observation,
    Restorable,
)
from migrate_graph.errors import ViewError
from migrate_graph.quoting import quote_identifier, unquoted

_SAVEPOINT = "migrate_graph_views"


_OF_APPLICATIONS = ("no such function", "no such module", "no such collation sequence", "wrong number of arguments")
"""Errors about what an application adds to its connections."""


class SqliteCatalog:
    """See `views.ViewCatalog`; `connection` returns the migration's connection, whose `isolation_level` is None."""

    def __init__(self, connection: Callable[[], Any]) -> None:
        self._connection = connection
        self._probes = count()
        self._schema = Schema()
        self._depth = 0
        self._is_read = False  # True: `_schema` was read, and only this catalog has sent statements since

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement."""
        return list(self._connection().cursor().execute(statement, parameters).fetchall())

    # -- transactions -----------------------------------------------------------------------------------------------

    @contextmanager
    def atomic(self, *, ours: bool = False) -> Iterator[None]:  # noqa: ARG002 - of ViewCatalog
        """See `views.ViewCatalog`; in SQLite a savepoint outside of a transaction begins one."""
        self._is_read = False
        self._depth += 1
        try:
            with Savepoint(_SAVEPOINT, self.run).block():
                yield
        except NotKept as error:
            cause = error.__cause__
            if "no such savepoint" not in str(cause):
                raise cause or error from None
            raise CommittedInside from cause
        finally:
            self._depth -= 1
            self._is_read = False

    @contextmanager
    def commits_held(self) -> Iterator[None]:
        """See `views.ViewCatalog`."""
        connection = self._connection()
        connection.commit = lambda: None
        try:
            yield
        finally:
            del connection.commit
            self._is_read = False

    def commit(self) -> None:
        """See `views.ViewCatalog`."""
        if self._connection().in_transaction:
            self.run("COMMIT")

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

    def schema(self) -> Schema:
        """Return the present schema."""
        connection = self._connection()
        if isinstance(connection, Noting):
            return connection.noted.read(self.run)
        if not self._is_read:
            self._schema.update(self.run(SCHEMA))
            self._is_read = self._depth > 0
        return self._schema

    def observe(self, concern: Concern, *, brief: bool = False) -> Observation:  # noqa: ARG002 - of ViewCatalog
        """See `views.ViewCatalog`; the token holds the parts (views and triggers) that work."""
        schema = self.schema()
        parts = schema.concerned(_unquoted(name).lower() for name in concern.views)
        working = tuple(part for part in parts if not self._error(part))
        meant: dict[str, Key] = {**self._named(concern.views)}
        now = schema.now()
        relations = cast("Mapping[Key, Relation]", now.relations)
        return Observation(relations, moment=now, meant=meant, token=working)

    def _named(self, names: Collection[str]) -> dict[str, str]:
        """Return those of some names, as SQL writes them, that a table or view has, each with its name as it was created."""
        schema = self.schema() if names else Schema()
        found = {name: schema.named(_unquoted(name)) for name in names}
        return {name: relation.name for name, relation in found.items() if relation}

    def moment(self, before: Observation, *, brief: bool = False) -> Any:  # noqa: ARG002 - of ViewCatalog
        """See `views.ViewCatalog`; no other connection can write meanwhile."""
        return self.schema().now()

    def confirm(self, before: Observation, gone: Collection[Key], *, is_plain: bool) -> None:
        """See `views.ViewCatalog`; no other connection can write meanwhile."""

    def changes(self, since: Any, before: Observation, said: Sequence[str] | None = None) -> Changes:  # noqa: ARG002 - of ViewCatalog
        """See `views.ViewCatalog`."""
        schema = self.schema()
        return Changes(frozenset(schema.gone_since(since)), schema.made_since(since))

    def look_up(self, names: Collection[str]) -> dict[str, tuple[Key, str]]:
        """See `views.ViewCatalog`."""
        return {name: (there, "") for name, there in self._named(names).items()}

    def definitions(self, keys: Collection[Key]) -> dict[Key, Relation | None]:
        """See `views.ViewCatalog`."""
        return dict(self.describe(keys))

    def every_view(self) -> dict[Key, Relation]:
        """See `views.ViewCatalog`."""
        return {key: relation for key, relation in self.schema().relations.items() if relation.is_view}

    def describe(self, keys: Collection[Key]) -> dict[Key, Relation]:
        """See `views.ViewCatalog`."""
        if not keys:
            return {}
        schema = self.schema()
        return {key: schema.relations[key] for key in keys if key in schema.relations}

    def find(self, relations: Collection[Relation]) -> dict[str, tuple[Key, Relation]]:
        """See `views.ViewCatalog`."""
        there = self._named([each.identity for each in relations])
        return {each.identity: (there[each.identity], each) for each in relations if each.identity in there}

    def reads_of(self, keys: Collection[Key]) -> dict[Key, frozenset[Key]]:
        """See `views.ViewCatalog`."""
        return {**views_read(self.schema().in_order(), [str(key) for key in keys])}  # type: ignore[dict-item] # a name is a key

    def in_place(self) -> None:
        """See `views.ViewCatalog`; SQLite has no CREATE OR REPLACE VIEW."""

    def broken(self, before: Observation) -> list[str]:
        """See `views.ViewCatalog`."""
        present = self.schema().relations if before.token else {}
        return [
            f"{part.description} ({error})"
            for part in before.token or ()
            if part.relation in present and (error := self._error(part))
        ]

    def contents(self, identities: Collection[str]) -> dict[str, Contents]:  # noqa: ARG002 - of ViewCatalog
        """See `views.ViewCatalog`; there are no materialized views."""
        return {}

    def fill(self, identity: str, *, role: str = "") -> None:
        """See `views.ViewCatalog`; there is nothing to fill."""

    def unreadable(self, relations: Iterable[Relation]) -> dict[str, str]:
        """See `views.ViewCatalog`; SQLite creates a view also when a table or column that it reads does not exist.

        A view may read functions and modules that only the application loads, so their absence does not count.
        """
        found = {
            each.identity: self._failure(f"PRAGMA table_info({each.identity})") for each in relations if each.is_view
        }
        return {identity: why for identity, why in found.items() if why and not why.startswith(_OF_APPLICATIONS)}

    def is_undefined(self, error: BaseException) -> bool:  # noqa: ARG002 - of ViewCatalog
        """See `views.ViewCatalog`; SQLite creates a view also when a table that it reads does not exist."""
        return False

    def is_race(self, error: BaseException) -> bool:  # noqa: ARG002 - of ViewCatalog
        """See `views.ViewCatalog`; no other connection can write meanwhile."""
        return False

    def refusal(self, error: BaseException) -> str | None:  # noqa: ARG002 - of ViewCatalog
        """See `views.ViewCatalog`; SQLite drops a view also when others read it."""
        return None

    def _probe(self, part: Part) -> str:
        """Return a statement that fails when a part is broken, and changes nothing."""
        name = quote_identifier(part.relation)
        if not part.event:
            return f"PRAGMA table_info({name})"
        if part.event == "DELETE":
            return f"EXPLAIN DELETE FROM {name}"
        if part.event == "INSERT":
            return f"EXPLAIN INSERT INTO {name} DEFAULT VALUES"
        column = quote_identifier(next((row[1] for row in self._columns(part.relation)), ""))
        return f"EXPLAIN UPDATE {name} SET {column} = {column}"

    def _columns(self, table: str) -> list[tuple[Any, ...]]:
        try:
            return self.run(f"PRAGMA table_info({quote_identifier(table)})")
        except sqlite3.Error:  # a broken view has no columns
            return []

    def _error(self, part: Part) -> str:
        """Return why a part does not work; empty when it works. It is checked again only after something that it names has changed."""
        if part.error is None:
            part.error = self._asked(part)
        return part.error

    def _asked(self, part: Part) -> str:
        return self._failure(self._probe(part))

    def _failure(self, statement: str) -> str:
        """Return why a statement fails; empty when it works."""
        try:
            # Each text is new: the driver caches prepared statements, and SQLite would not check a cached EXPLAIN again.
            self.run(f"{statement} -- {next(self._probes)}")
        except sqlite3.Error as error:
            return str(error)
        return ""

    # -- restoring --------------------------------------------------------------------------------------------------

    def restore(self, things: Iterable[Restorable]) -> list[str]:
        """See `views.ViewCatalog`; in SQLite only the triggers of a view must be restored."""
        for each in things:
            there = {item.name for item in each.made.items}
            for item in each.stored.items:
                if item.name not in there:
                    self._create("TRIGGER", item.sql, each.stored)
        return []

    def distrust(self, table: str) -> str:  # noqa: ARG002 - of ViewCatalog
        """See `views.ViewCatalog`; there are no roles: a program that can write the file can do everything anyway."""
        return ""

    def recreate(self, stored: Relation) -> list[str]:
        """See `views.ViewCatalog`."""
        self._create("VIEW", stored.definition, stored)
        if stored.identity not in self.find([stored]):
            raise ViewError(f"the stored definition of {stored.label} creates something else")
        for item in stored.items:
            self._create("TRIGGER", item.sql, stored)
        return []

    def _create(self, kind: str, sql: str, stored: Relation) -> None:
        if not re.match(rf"\s*CREATE\s+{kind}\s", sql, re.IGNORECASE):  # the driver refuses a second statement
            raise ViewError(
                f"what the view ledger holds of {stored.label} is not run: it does not create a {kind.lower()}",
                hint="look at its row in the view ledger, and create the view by hand",
            )
        self.run(sql)
        self._is_read = False


def _unquoted(identity: str) -> str:
    """Return the bare name of an identity, which may be quoted and may begin with `main.`."""
    return unquoted(re.sub(r'^(?:main|"main")\s*\.\s*', "", identity, flags=re.IGNORECASE))
