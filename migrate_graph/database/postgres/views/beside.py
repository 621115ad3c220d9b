"""Prepares a materialized view that is built beside the old one (owner, indexes, statistics), and gives it the old one's name in the end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

import psycopg2

from migrate_graph.database.postgres.views.catalog import PostgresCatalog
from migrate_graph.database.postgres.views.snapshot import texts
from migrate_graph.database.relation import Relation
from migrate_graph.errors import ViewError
from migrate_graph.messages import first_line
from migrate_graph.quoting import parted, quote_identifier


class PostgresBuilder:
    """See `views.beside.Builder`."""

    def __init__(self, catalog: PostgresCatalog) -> None:
        self._catalog = catalog

    def same_names(self, names: Collection[str]) -> dict[str, str]:
        """See `Builder`."""
        if not names:
            return {}
        query = (
            f"SELECT given.name AS name, given.name::name::text AS cut FROM unnest({texts({*names})}) AS given (name)"
        )
        return dict(self._catalog.read(query))

    def furnish(self, old: Relation, new: Relation, declared: Collection[str], name_for: Callable[[str], str]) -> None:
        """See `Builder`."""
        place = self._catalog.place()
        with self._catalog.safely():
            for statement in _owner_change(old, new):
                self._send(new, statement)
            # Functions in indexes are looked up along the session's own search_path, but the server's come first; see `Restoration`.
            self._catalog.send(f"SET LOCAL search_path = {', '.join(filter(None, ['pg_catalog', place, 'pg_temp']))}")
            for statement in (*_indexes_again(old, new, declared, name_for), *_statistics_again(old, new)):
                self._send(new, statement)

    def _send(self, new: Relation, statement: str) -> None:
        try:
            self._catalog.send(statement)
        except psycopg2.Error as error:
            raise ViewError(
                f"cannot build {new.identity} as the view is whose place it takes: {first_line(error)} ({statement})",
                hint='mend what the message names, or leave `rebuild = "swap"` away',
            ) from error

    def take_name(self, identity: str, name: str, indexes: Mapping[str, str]) -> None:
        """See `Builder`."""
        for statement in _names(identity, name, indexes):
            self._catalog.send(statement)

    def drop(self, name: str) -> None:
        """See `Builder`."""
        if self._catalog.look_up([name]):
            self._catalog.send(f"DROP MATERIALIZED VIEW {name}")

    def clear(self, names: Collection[str]) -> None:
        """See `Builder`."""
        self._catalog.roll_back()
        for name in names:
            self.drop(name)
        self._catalog.commit()


def _owner_change(old: Relation, new: Relation) -> Iterator[str]:
    """Yield the statement that gives the new view the owner of the old one: functions in its indexes run as the owner."""
    if old.owner != new.owner:
        yield f"ALTER MATERIALIZED VIEW {new.identity} OWNER TO {quote_identifier(old.owner)}"


def _indexes_again(
    old: Relation, new: Relation, declared: Collection[str], name_for: Callable[[str], str]
) -> Iterator[str]:
    """Yield statements that create the indexes of the old view that the new one does not have yet.

    Args:
        old: the view that is replaced.
        new: the view that takes its place.
        declared: names of the indexes that the new view has.
        name_for: takes the name of an index, and returns the name under which it is created.
    """
    for item in old.items:
        is_other = item.aspect == "index" and item.name not in declared and set(item.columns) <= set(new.columns)
        if is_other and (rest := item.behind_names(old.identity)):
            unique, columns = rest
            yield f"CREATE {unique}INDEX {quote_identifier(name_for(item.name))} ON {new.identity} {columns}"


def _statistics_again(old: Relation, new: Relation) -> Iterator[str]:
    """Yield the ANALYZE for the new view, if the old one was analyzed.

    A view with statistics objects is left out: they are restored later, and ANALYZE must run after that.
    """
    aspects = {item.aspect for item in old.items}
    if "planner statistics" in aspects and "statistics" not in aspects:
        yield f"ANALYZE {new.identity}"


def _names(identity: str, name: str, indexes: Mapping[str, str]) -> Iterator[str]:
    """Yield the statements that give a view and its indexes their final names.

    Args:
        identity: the present name of the view, quoted, with its schema.
        name: the final name of the view, as SQL writes it.
        indexes: the present names of its indexes, by their final names.
    """
    schema = parted(identity)[0]
    yield f"ALTER MATERIALIZED VIEW {identity} RENAME TO {parted(name)[1]}"
    for index, meanwhile in indexes.items():
        yield f"ALTER INDEX {schema}.{quote_identifier(meanwhile)} RENAME TO {quote_identifier(index)}"
