"""What SQLite can tell about views: it neither refuses a drop that breaks another view nor notices it, so we ask each."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from typing import Any, cast

from migrate_graph.database.relation import Item, Relation
from migrate_graph.database.savepoints import NotKept, Savepoint
from migrate_graph.database.views.catalog import Changes, CommittedInside, Concern, Key, Observation, Restorable
from migrate_graph.errors import ViewError
from migrate_graph.quoting import quote_identifier

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
        relation: the view or table.
        event: of triggers, what they are of: DELETE, INSERT or UPDATE; empty for a view.
    """

    description: str
    sql: str
    relation: str
    event: str = ""

    @property
    def words(self) -> set[str]:
        """The words of its text, and every name in quotes."""
        quoted = re.findall(r"""["'`\[]((?:[^"'`\]]|"")+)["'`\]]""", self.sql)
        return {word.lower() for word in [*re.findall(r"\w+", self.sql), *quoted]}


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
    def atomic(self, *, ours: bool = False) -> Iterator[None]:  # noqa: ARG002 - of ViewCatalog
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

    def observe(self, concern: Concern, *, brief: bool = False) -> Observation:  # noqa: ARG002 - of ViewCatalog
        """See `views.ViewCatalog`; the token holds the parts that work."""
        parts = self._concerned(list(self._parts()), {_unquoted(name).lower() for name in concern.views})
        working = tuple(part for part in parts if not self._error(part))
        there = {cast("str", name).lower(): name for name in self.present()}
        meant = {name: there[_unquoted(name).lower()] for name in concern.views if _unquoted(name).lower() in there}
        return Observation(self._relations(), moment=self.moment(), meant=meant, token=working)

    def _concerned(self, parts: list[_Part], names: set[str]) -> list[_Part]:
        """Leave out what has nothing to do with some views: it reads neither them nor anything that they read, however deep."""
        if not names:
            return parts
        texts: dict[str, list[set[str]]] = {}
        for part in parts:
            texts.setdefault(part.relation.lower(), []).append(part.words)
        everything = {cast("str", name).lower() for name in self.present()}
        below = _closure(names, lambda name: set().union(*texts.get(name, [])) & everything)
        readers: dict[str, set[str]] = {}
        for name, each in texts.items():
            for word in set().union(*each) & everything:
                readers.setdefault(word, set()).add(name)
        above = _closure(below, lambda name: readers.get(name, set()))
        return [part for part in parts if part.relation.lower() in above or part.words & above]

    def moment(self, *, brief: bool = False) -> Any:  # noqa: ARG002 - of ViewCatalog
        """See `views.ViewCatalog`; nobody else can write meanwhile."""
        return self.present()

    def changes(self, since: Any, before: Observation, said: Sequence[str] | None = None) -> Changes:  # noqa: ARG002 - of ViewCatalog
        """See `views.ViewCatalog`."""
        now = self.run("SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY rowid")
        made = tuple(name for name, kind in now if kind == "view" and name not in since)
        return Changes(frozenset(since - {name for name, _ in now}), made)

    def present(self) -> set[Key]:
        """Return the names of all relations there are now."""
        return {name for (name,) in self.run("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")}

    def look_up(self, names: Collection[str]) -> dict[str, tuple[Key, str]]:
        """See `views.ViewCatalog`."""
        there = {cast("str", name).lower(): name for name in self.present()} if names else {}
        bare = {name: _unquoted(name).lower() for name in names}
        return {name: (there[each], "") for name, each in bare.items() if each in there}

    def definitions(self, keys: Collection[Key]) -> dict[Key, Relation | None]:
        """See `views.ViewCatalog`."""
        return dict(self.describe(keys))

    def every_view(self) -> dict[Key, Relation]:
        """See `views.ViewCatalog`."""
        return {key: relation for key, relation in self._relations().items() if relation.is_view}

    def describe(self, keys: Collection[Key]) -> dict[Key, Relation]:
        """See `views.ViewCatalog`."""
        wanted = set(keys)
        return {key: relation for key, relation in self._relations().items() if key in wanted} if wanted else {}

    def find(self, relations: Collection[Relation]) -> dict[str, tuple[Key, Relation]]:
        """See `views.ViewCatalog`."""
        there = {cast("str", name).lower(): name for name in self.present()} if relations else {}
        bare = {each.identity: (_unquoted(each.identity).lower(), each) for each in relations}
        return {identity: (there[name], each) for identity, (name, each) in bare.items() if name in there}

    def broken(self, before: Observation) -> list[tuple[str, str]]:
        """See `views.ViewCatalog`."""
        present = self.present()
        gone = [cast("str", name) for name in before.relations if name not in present]
        return [
            (f"{part.description} ({error})", self._cause(part, gone))
            for part in before.token or ()
            if part.relation in present and (error := self._error(part))
        ]

    def is_undefined(self, error: BaseException) -> bool:  # noqa: ARG002 - of ViewCatalog
        """See `views.ViewCatalog`; SQLite creates a view whatever it reads."""
        return False

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
                yield _Part(f"view {quote_identifier(name)}", sql, name)
            elif kind == "trigger":
                tables.setdefault(table, []).append(sql)
        for table, triggers in tables.items():
            for event in ("DELETE", "INSERT", "UPDATE"):
                yield _Part(f"{event} trigger on {quote_identifier(table)}", "\n".join(triggers), table, event)

    def _probe(self, part: _Part) -> str:
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
        except sqlite3.Error:  # a broken view has none
            return []

    def _error(self, part: _Part) -> str:
        """Return why a part does not work; empty when it does."""
        try:
            # Never the same text twice: sqlite3 keeps prepared statements, and an EXPLAIN is not prepared again.
            self.run(f"{self._probe(part)} -- {next(self._probes)}")
        except sqlite3.Error as error:
            return str(error)
        return ""

    def _cause(self, part: _Part, gone: list[str]) -> str:
        mentioned = (name for name in gone if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", part.sql, re.IGNORECASE))
        return next(mentioned, gone[0] if gone else "")

    # -- restoring --------------------------------------------------------------------------------------------------

    def restore(self, things: Iterable[Restorable]) -> list[str]:
        """See `views.ViewCatalog`: SQLite has triggers only."""
        for each in things:
            there = {item.name for item in each.made.items}
            for item in each.stored.items:
                if item.name not in there:
                    self._create("TRIGGER", item.sql, each.stored)
        return []

    def distrust(self, table: str) -> str:  # noqa: ARG002 - of ViewCatalog
        """See `views.ViewCatalog`; whoever writes to the file may do everything."""
        return ""

    def recreate(self, stored: Relation) -> None:
        """See `views.ViewCatalog`."""
        self._create("VIEW", stored.definition, stored)
        if stored.identity not in self.find([stored]):
            raise ViewError(f"the stored definition of {stored.label} creates something else")
        for item in stored.items:
            self._create("TRIGGER", item.sql, stored)

    def _create(self, kind: str, sql: str, stored: Relation) -> None:
        if not re.match(rf"\s*CREATE\s+{kind}\s", sql, re.IGNORECASE):  # the driver refuses a second statement
            raise ViewError(
                f"what the view ledger holds of {stored.label} is not run: it does not create a {kind.lower()}",
                hint="look at its row in the view ledger, and create the view by hand",
            )
        self.run(sql)


def _closure(names: Iterable[str], following: Callable[[str], set[str]]) -> set[str]:
    found, waiting = set(names), list(names)
    while waiting:
        new = following(waiting.pop()) - found
        found |= new
        waiting += new
    return found


def _unquoted(identity: str) -> str:
    """Return the name that an identity, quoted or not, with or without `main.`, stands for."""
    name = re.sub(r'^(?:main|"main")\s*\.\s*', "", identity, flags=re.IGNORECASE)
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
