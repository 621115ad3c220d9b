"""Builds a new materialized view beside the old one that it replaces, so that the old one can be read meanwhile."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol

from msgspec import Struct, field

from migrate_graph.database.relation import Relation
from migrate_graph.database.views.catalog import Key, Manager, NotThatWay, ViewCatalog
from migrate_graph.database.views.claims import name_of
from migrate_graph.errors import ViewError
from migrate_graph.quoting import bare, parted, quote_identifier

PREFIX = "migrate_graph_swap_"
"""The temporary name of a new view begins with this. The whole name has 51 bytes; the names of its indexes have up to 63."""


class Plan(Protocol):
    """How a manager builds its view."""

    @property
    def name(self) -> str:
        """The final name of the view, as SQL writes it."""

    @property
    def indexes(self) -> Collection[str]:
        """Final names of its indexes."""

    @property
    def says(self) -> Sequence[str]:
        """The statements that `up()` sends."""

    def create(self, name: str, indexes: Mapping[str, str]) -> None:
        """Create the view with its rows under a temporary name; `indexes` are temporary names by final names."""


class Builder(Protocol):
    """The statements of one kind of database for building beside."""

    def same_names(self, names: Collection[str]) -> dict[str, str]:
        """Return, by name, each name as the server shortens it."""

    def furnish(self, old: Relation, new: Relation, declared: Collection[str], name_for: Callable[[str], str]) -> None:
        """Create the indexes and the statistics of the old view on the new one, as its owner: these take long.

        Args:
            old: the view that is replaced.
            new: the view that replaces it.
            declared: names of the indexes that the new view has already.
            name_for: returns the temporary name of an index.

        Raises:
            ViewError: an index or statistics cannot be restored.
        """

    def take_name(self, identity: str, name: str, indexes: Mapping[str, str]) -> None:
        """Rename a view and its indexes to their final names.

        Args:
            identity: temporary identity of the view.
            name: final name of the view, as SQL writes it.
            indexes: temporary names of its indexes, by their final names.
        """

    def drop(self, name: str) -> None:
        """Drop a view that still has its temporary name, if it exists."""

    def clear(self, names: Collection[str]) -> None:
        """Drop views that still have their temporary names, and commit; called when a manager's COMMIT was followed by an error."""


class Built(Struct):
    """A view that was built beside the old one and still has its temporary name.

    Attributes:
        manager: name of its manager.
        plan: how the manager builds it.
        temporary_name: its temporary name, as SQL writes it.
        builder: the builder that has built it.
        key: key of the view.
        identity: its temporary name with its schema.
        indexes: temporary names of its indexes, by their final names.
    """

    manager: str
    plan: Plan
    temporary_name: str
    builder: Builder
    key: Key = ""
    identity: str = ""
    indexes: dict[str, str] = field(default_factory=dict)

    def put_in_place(self) -> None:
        """Rename it to its final name; the old view must be gone."""
        self.builder.take_name(self.identity, self.plan.name, self.indexes)

    def name_for(self, index: str) -> str:
        """Return the temporary name of an index."""
        return self.indexes.setdefault(index, f"{parted(self.temporary_name)[1]}_{len(self.indexes)}")

    def with_final_names(self, text: str) -> str:
        """Return a message with the final names of the view and its indexes in place of the temporary ones."""
        names = {temporary: index for index, temporary in self.indexes.items()}
        names[parted(self.temporary_name)[1]] = bare(parted(self.plan.name)[1])
        for temporary in sorted(names, key=len, reverse=True):  # the names of indexes begin with the view's
            text = text.replace(temporary, names[temporary])
        return text


class Beside:
    """Builds views beside the old ones that they replace, in an open transaction.

    Args:
        catalog: the catalog, on the connection that builds.
        builder: the builder, on the same connection.
    """

    def __init__(self, catalog: ViewCatalog, builder: Builder) -> None:
        self._catalog = catalog
        self._builder = builder

    def build(self, manager: Manager, call: Callable[[Callable[[], None]], object]) -> Built:
        """Build the view of a manager.

        Args:
            manager: a `SqlView`, which declares its view by a query.
            call: runs a function of the manager that sends statements.

        Raises:
            NotThatWay: the view cannot be built beside an old one.
            ViewError: a property of the old view cannot be restored.
            Exception: its query or one of its indexes fails; the message has the final names.
        """
        plan, old = self.look(manager)
        built = Built(name_of(manager), plan, temporary_name_of(plan.name, old.identity), self._builder)
        self._builder.drop(built.temporary_name)  # an earlier run may have left one behind a COMMIT
        try:
            self._fill(built, old, call)
        except ViewError as error:
            raise ViewError(built.with_final_names(error.message), hint=error.hint) from error.__cause__
        except Exception as error:
            error.args = tuple(built.with_final_names(each) if isinstance(each, str) else each for each in error.args)
            raise
        return built

    def look(self, manager: Manager) -> tuple[Plan, Relation]:
        """Return how a manager builds its view, and the old view.

        Raises:
            NotThatWay: there is no old view, or it is no filled materialized view.
        """
        plan: Plan = manager.beside()  # type: ignore[attr-defined] # of a SqlView
        old = self._described(self._as_cut(plan.name))
        if old is None:
            raise NotThatWay
        if old[1].kind != "MATERIALIZED VIEW":
            raise NotThatWay("it is no materialized view so far")
        if old[1].is_empty:
            raise NotThatWay("it has no rows so far")
        return plan, old[1]

    def _fill(self, built: Built, old: Relation, call: Callable[[Callable[[], None]], object]) -> None:
        plan, cut = built.plan, self._builder.same_names(built.plan.indexes)
        call(partial(plan.create, built.temporary_name, {each: built.name_for(cut[each]) for each in plan.indexes}))
        new = self._described(built.temporary_name)
        if new is None or parted(new[1].identity)[0] != parted(old.identity)[0]:
            raise NotThatWay("its name means another schema here")
        built.key, built.identity = new[0], new[1].identity
        self._builder.furnish(old, new[1], [*built.indexes], built.name_for)

    def clear(self, some: Iterable[Built]) -> None:
        """Drop views that still have their temporary names, and were committed by a COMMIT of a manager."""
        self._builder.clear([built.temporary_name for built in some])

    def _as_cut(self, name: str) -> str:
        """Return a name as the server shortens it."""
        schema, relation = map(bare, parted(name))
        cut = self._builder.same_names([schema, relation])
        return ".".join(quote_identifier(cut[each]) for each in (schema, relation) if each)

    def _described(self, name: str) -> tuple[Key, Relation] | None:
        found = self._catalog.look_up([name])
        if name not in found:
            return None
        key = found[name][0]
        return key, self._catalog.describe([key])[key]


def temporary_name_of(name: str, identity: str) -> str:
    """Return the temporary name of a view: always the same one, and no other view has it.

    Args:
        name: the final name, as SQL writes it.
        identity: the final name with its schema.
    """
    schema = parted(name)[0]
    temporary = PREFIX + hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return f"{schema}.{temporary}" if schema else temporary
