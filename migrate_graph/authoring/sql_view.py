"""`SqlView`: a view that is declared by its query, its options, indexes and grants."""

from __future__ import annotations

import abc
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec import Struct
from msgspec.structs import replace

from migrate_graph.authoring.store import migrations
from migrate_graph.authoring.values import truth_of
from migrate_graph.authoring.views import ViewMigrationManager, place_of_class
from migrate_graph.core.model import UsesFrom, View
from migrate_graph.errors import DeclarationError
from migrate_graph.quoting import quote_identifier

_PART = r'(?:[^\W\d][\w$]*|"(?:[^"\0]|"")+")'
_NAME = re.compile(rf"{_PART}(?:\.{_PART})?")
_OPTION = re.compile(r"[A-Za-z_][\w.]*")
_UNIQUE = re.compile(r"UNIQUE\b\s*", re.IGNORECASE)
_METHOD = re.compile(r"USING\b", re.IGNORECASE)
_EVERYBODY = "public"
IS_MATERIALIZED = (
    "SELECT 1 FROM pg_catalog.pg_class WHERE oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({name})"
    " AND relkind OPERATOR(pg_catalog.=) 'm'"
)
"""A query that returns a row when the relation of this name is a materialized view."""


class Beside(Struct, frozen=True):
    """Builds the new version of a materialized view under a temporary name, while the old version can still be read.

    Attributes:
        name: the final name of the view, as SQL writes it.
        indexes: names of the declared indexes.
        says: the statements that `up()` sends.
        statements: returns these statements for another name of the view, and other names of the indexes.
        send: sends a statement.
    """

    name: str
    indexes: tuple[str, ...]
    says: tuple[str, ...]
    statements: Callable[[str, Callable[[str], str]], Iterable[str]]
    send: Callable[[str], object]

    def create(self, name: str, indexes: Mapping[str, str]) -> None:
        """Create the view under a temporary name, with its rows.

        The rows come by REFRESH, which makes them visible also to transactions with an older snapshot; these would find a view that was
        created with its rows empty.

        Args:
            name: the temporary name of the view, as SQL writes it.
            indexes: the temporary names of its indexes, by their declared names.
        """
        create, *others = self.statements(name, indexes.__getitem__)
        for statement in (f"{create}\n WITH NO DATA", f"REFRESH MATERIALIZED VIEW {name}", *others):
            self.send(statement)


class SqlView(ViewMigrationManager):
    """A view manager that is declared by its query: `up()` and `down()` are made from it, for PostgreSQL and for SQLite.

    A subclass without `query` is not a view; it can hold what several views have in common.

    `uses` may be left out. What the view reads is then taken from the footprint file, where `migrate verify --write` has stored what the
    database says; without that file, from the names in its query.

    Attributes:
        query: the SELECT statement; `sql_file("views/totals.sql")` reads it from a file.
        name: name of the view, as SQL writes it: `billing.totals`, `"Totals"`; by default the name of the class: `InvoiceTotals` is
            `invoice_totals`.
        materialized: whether it is a materialized view; SQLite has none, and gets an ordinary one.
        with_data: whether a materialized view is filled when it is created.
        options: storage parameters and view options, by name: `{"security_barrier": True}`; PostgreSQL only.
        indexes: indexes of a materialized view, by name: what CREATE INDEX has after the name of the table, with UNIQUE before it for a
            unique index: `{"totals_customer": "UNIQUE (customer)"}`; PostgreSQL only.
        comment: the comment on the view; PostgreSQL only.
        grants: privileges by role, `public` for everybody: `{"reader": "SELECT"}`, `{"app": ("SELECT", "INSERT")}`; PostgreSQL only.
    """

    if TYPE_CHECKING:
        query: Any
    else:

        @property
        @abc.abstractmethod
        def query(self) -> str:
            """The SELECT statement."""

    name: Any = ""
    materialized: Any = False
    with_data: Any = True
    options: ClassVar[Mapping[str, Any]] = {}
    indexes: ClassVar[Mapping[str, str]] = {}
    comment: Any = ""
    grants: ClassVar[Mapping[str, str | Iterable[str]]] = {}

    _statements: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    _settings: ClassVar[tuple[str, ...]] = (
        *ViewMigrationManager._settings,  # noqa: SLF001 - of its base
        *("query", "name", "materialized", "with_data", "options", "indexes", "comment", "grants"),
    )
    _finds_uses: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        statements = migrations.kept(lambda: _statements_of(cls), None, source=place_of_class(cls))
        if statements is not None:
            cls._statements = statements
            super().__init_subclass__(**kwargs)

    @classmethod
    def as_view(cls, *, position: int = 0) -> View:
        """Return the value that the graph is built from; see `ViewMigrationManager.as_view`."""
        known = UsesFrom.DECLARED if cls.declares("uses") else UsesFrom.GUESSED
        view = super().as_view(position=position)
        return replace(
            view, uses_from=known, relations=(_name_of(cls),), query=cls.query, is_materialized=cls.can_defer()
        )

    def up(self) -> None:
        """Create the view with its declared indexes, comment and grants."""
        dialect = _dialect(self.db)
        for statement in self._statements[f"{dialect}, deferred" if self.deferred else dialect]:
            self.db.executesql(statement)

    @classmethod
    def can_defer(cls) -> bool:
        """Return whether it is a materialized view that is created with its rows."""
        return bool(cls.materialized and cls.with_data)

    @classmethod
    def can_swap(cls) -> bool:
        """Return whether it is a materialized view with rows, and no subclass overrides `up()` or `down()`."""
        return cls._is_plain() and not cls.fill_as_owner and cls.can_defer()

    @classmethod
    def can_replace(cls) -> bool:
        """Return whether it is an ordinary view, and no subclass overrides `up()` or `down()`."""
        return cls._is_plain() and not cls.materialized

    @classmethod
    def _is_plain(cls) -> bool:
        return cls.up is SqlView.up and cls.down is SqlView.down

    def beside(self) -> Beside:
        """Return what builds the new version of the view beside the old one; PostgreSQL only."""
        return Beside(
            _name_of(type(self)),
            tuple(self.indexes),
            self._statements["postgres"],
            partial(_postgres, type(self)),
            self.db.executesql,
        )

    def down(self) -> None:
        """Drop the view if it exists; this fails when something depends on it."""
        ordinary, materialized, is_materialized = self._statements["drop"]
        found = self.db.executesql(is_materialized) if _dialect(self.db) == "postgres" else ()
        self.db.executesql(materialized if found else ordinary)


class Replacement(Struct, frozen=True):
    """How the text of a view is replaced without dropping it.

    Attributes:
        name: name of the view, as SQL writes it.
        query: its SELECT statement.
        statements: the statements that replace it and set its declared comment and grants again.
        materialized: it is a materialized view, which cannot be replaced.
        db: the database.
    """

    name: str
    query: str
    statements: tuple[str, ...]
    materialized: bool
    db: Any

    def run(self) -> None:
        """Send the statements."""
        for statement in self.statements:
            self.db.executesql(statement)


def replacement_of(manager: object) -> Replacement | None:
    """Return how the view of a manager can be replaced without dropping it.

    None when that is not known: the manager is not a `SqlView`, overrides `up()` or `down()`, or the database is not PostgreSQL.
    """
    if not isinstance(manager, SqlView) or _dialect(manager.db) != "postgres":
        return None
    kind = type(manager)
    if not kind._is_plain():  # noqa: SLF001 - of this module
        return None
    create, *others = manager._statements["postgres"]  # noqa: SLF001 - of this module
    statements = ("CREATE OR REPLACE" + create.removeprefix("CREATE"), *others)
    return Replacement(_name_of(kind), kind.query, statements, bool(kind.materialized), manager.db)


def sql_file(path: str | Path) -> str:
    """Return the SQL in a file, for the `query` of a view.

    Args:
        path: path of the file, relative to the file that calls this; it is UTF-8.

    Raises:
        FileNotFoundError: there is no such file.
        UnicodeDecodeError: it is not UTF-8.
    """
    caller = sys._getframe(1).f_globals.get("__file__") or ""  # noqa: SLF001 - the caller's file is needed
    return (Path(caller).parent / path).read_text(encoding="utf-8-sig")


def _dialect(db: Any) -> str:
    return str(db._adapter.dbengine)  # noqa: SLF001 - pyDAL has no public name for it


def _statements_of(view: type[SqlView]) -> dict[str, tuple[str, ...]]:
    """Return the statements of a view; none where it has no query, as a base class.

    Raises:
        DeclarationError: an attribute is not as documented.
    """
    if isinstance(view.query, str):
        return _written(view)
    if getattr(view.query, "__isabstractmethod__", False):
        return {}
    raise DeclarationError(
        f"{view.__name__}.query is no text: {view.query!r}",
        hint='write it as text, `query = "SELECT …"`, or as a classproperty',
    )


def _written(view: type[SqlView]) -> dict[str, tuple[str, ...]]:
    """Return the statements that create a view, by kind of database, and those that drop it.

    Raises:
        DeclarationError: an attribute has another type than documented, the query is empty or holds a merge conflict, or a name is not valid.
    """
    for word in ("materialized", "with_data"):
        truth_of(getattr(view, word), what=f"{view.__name__}.{word}")
    name = _name_of(view)
    create, *others = _postgres(view, name)
    empty = f"{create}\n WITH NO DATA" if view.materialized else create
    sqlite = (f"CREATE VIEW {name} AS\n{_query(view)}",)
    return {
        "postgres": (create if view.with_data else empty, *others),
        "postgres, deferred": (empty, *others),
        "sqlite": sqlite,
        "sqlite, deferred": sqlite,
        "drop": (
            f"DROP VIEW IF EXISTS {name}",
            f"DROP MATERIALIZED VIEW IF EXISTS {name}",
            IS_MATERIALIZED.format(name=_literal(name)),
        ),
    }


def _query(view: type[SqlView]) -> str:
    query: str = view.query.strip().rstrip(";").rstrip()
    if not query:
        raise DeclarationError(f"{view.__name__}.query is empty", hint="write its SELECT statement")
    if "<<<<<<<" in query:
        from migrate_graph.merge_conflicts import unresolved_in

        if conflict := unresolved_in(view.query):
            raise DeclarationError(f"{view.__name__}.query: {conflict.message}", hint=conflict.hint)
    return query


def _postgres(view: type[SqlView], name: str, called: Callable[[str], str] = str) -> tuple[str, ...]:
    """Return the statement that creates a view with its rows, then those for its indexes, comment and grants.

    Args:
        view: the declared view.
        name: the name that it is created under, as SQL writes it.
        called: returns the name that an index is created with.
    """
    kind = "MATERIALIZED VIEW" if view.materialized else "VIEW"
    options = ", ".join(f"{word} = {value}" for word, value in _options(view))
    with_options = f" WITH ({options})" if options else ""
    comment = [f"COMMENT ON {kind} {name} IS {_literal(view.comment)}"] if _text(view, "comment") else []
    create = f"CREATE {kind} {name}{with_options} AS\n{_query(view)}"
    return create, *_indexes(view, name, called), *comment, *_grants(view, name)


def relation_name(class_name: str) -> str:
    """Return the name of the view that a class of this name declares: `invoice_totals` for `InvoiceTotals`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", class_name).lower()


def _name_of(view: type[SqlView]) -> str:
    name = _text(view, "name") or relation_name(view.__name__)
    if not _NAME.fullmatch(name):
        raise DeclarationError(
            f'{view.__name__}.name = {name!r} is no name as SQL writes it: billing.totals, or "Totals per day" in double quotes'
        )
    return name


def _options(view: type[SqlView]) -> Iterator[tuple[str, str]]:
    for name, value in _mapping(view, "options").items():
        if not _OPTION.fullmatch(name):
            raise DeclarationError(f"{view.__name__}.options: {name!r} is no name of an option")
        yield name, str(value).lower() if isinstance(value, bool) else _literal(str(value))


def _indexes(view: type[SqlView], name: str, called: Callable[[str], str]) -> Iterator[str]:
    indexes = _mapping(view, "indexes")
    if indexes and not view.materialized:
        raise DeclarationError(f"{view.__name__}.indexes: only a materialized view can have any")
    for index, definition in indexes.items():
        if not isinstance(definition, str):
            raise DeclarationError(f"{view.__name__}.indexes[{index!r}] is no text: {definition!r}")
        unique = _UNIQUE.match(definition)
        rest = definition[unique.end() :] if unique else definition
        if not rest.startswith("(") and not _METHOD.match(rest):
            raise DeclarationError(
                f"{view.__name__}.indexes[{index!r}] is {definition!r}; write the columns in brackets: '(customer)', "
                "'UNIQUE (customer)', 'USING gin (words)'"
            )
        yield f"CREATE {'UNIQUE ' if unique else ''}INDEX {quote_identifier(called(index))} ON {name} {rest}"


def _grants(view: type[SqlView], name: str) -> Iterator[str]:
    for role, privileges in _mapping(view, "grants").items():
        words = [privileges] if isinstance(privileges, str) else privileges
        if not isinstance(words, Iterable) or not all(isinstance(word, str) for word in words):
            raise DeclarationError(
                f"{view.__name__}.grants[{role!r}]: {privileges!r} is neither a privilege nor several"
            )
        to = "PUBLIC" if role.lower() == _EVERYBODY else quote_identifier(role)
        yield f"GRANT {', '.join(words)} ON {name} TO {to}"


def _text(view: type[SqlView], word: str) -> str:
    value = getattr(view, word)
    if not isinstance(value, str):
        raise DeclarationError(f"{view.__name__}.{word} is no text: {value!r}")
    return value


def _mapping(view: type[SqlView], word: str) -> Mapping[str, Any]:
    value = getattr(view, word)
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise DeclarationError(f"{view.__name__}.{word} is no mapping of names: {value!r}")
    return value


def _literal(text: str) -> str:
    """Return a text as an SQL literal that is right for both values of `standard_conforming_strings`, and readable."""
    quoted = text.replace("'", "''")
    return "E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in quoted else f"'{quoted}'"
