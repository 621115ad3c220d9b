"""Builds a materialized view beside the one that it takes the place of, so that the other can be read meanwhile."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol

from msgspec import Struct, field

from migrate_graph.database.relation import Relation
from migrate_graph.database.views.catalog import Key, Manager, ViewCatalog
from migrate_graph.database.views.claims import name_of
from migrate_graph.database.views.manager_text import bare, parted
from migrate_graph.errors import ViewError
from migrate_graph.quoting import quote_identifier

PREFIX = "migrate_graph_swap_"
"""How the name of a view begins that is not yet in its place; 51 bytes are the whole name, and up to 63 those of its indexes."""


class NotBeside(Exception):  # noqa: N818 - names what happened
    """A view cannot be built beside another: it comes up when that is gone.

    Args:
        why: says why, where there is something that it takes the place of.
    """

    def __init__(self, why: str = "") -> None:
        super().__init__(why)
        self.why = why


class Plan(Protocol):
    """What a manager says of its view."""

    @property
    def name(self) -> str:
        """The name that it has in the end, as SQL writes it."""

    @property
    def indexes(self) -> Collection[str]:
        """Names of its indexes."""

    @property
    def says(self) -> Sequence[str]:
        """What `up()` sends."""

    def create(self, name: str, indexes: Mapping[str, str]) -> None:
        """Create it under another name, with its rows."""


class Builder(Protocol):
    """What one kind of database does for it."""

    def same_names(self, names: Collection[str]) -> dict[str, str]:
        """Return names as the server cuts them, by the names themselves."""

    def furnish(self, old: Relation, new: Relation, declared: Collection[str], name_for: Callable[[str], str]) -> None:
        """Add to a new view what takes long of what an old one has: its indexes and its statistics, as its owner.

        Args:
            old: the view that goes.
            new: the one that takes its place.
            declared: names of the indexes that the new one has.
            name_for: gives an index the name that it is created with.

        Raises:
            ViewError: something cannot be restored.
        """

    def take_name(self, identity: str, name: str, indexes: Mapping[str, str]) -> None:
        """Rename a view and its indexes as they are to be called.

        Args:
            identity: of the view meanwhile.
            name: as SQL writes it.
            indexes: names of its indexes meanwhile, by those that they are to have.
        """

    def drop(self, name: str) -> None:
        """Drop a view that has not come to its place, where it is there."""

    def clear(self, names: Collection[str]) -> None:
        """Drop them durably, after somebody's COMMIT and an error."""


class Built(Struct):
    """A view that waits for its place.

    Attributes:
        manager: its name.
        plan: what the manager says of it.
        meanwhile: its name until then, as SQL writes it.
        builder: that has built it.
        key: of the view.
        identity: its full name until then.
        indexes: names of its indexes until then, by those that they are to have.
    """

    manager: str
    plan: Plan
    meanwhile: str
    builder: Builder
    key: Key = ""
    identity: str = ""
    indexes: dict[str, str] = field(default_factory=dict)

    def put_in_place(self) -> None:
        """Rename it: the other view is gone."""
        self.builder.take_name(self.identity, self.plan.name, self.indexes)

    def name_for(self, index: str) -> str:
        """Return the name of an index until then."""
        return self.indexes.setdefault(index, f"{parted(self.meanwhile)[1]}_{len(self.indexes)}")

    def in_its_names(self, text: str) -> str:
        """Return what is said of it with the names that it and its indexes are to have."""
        names = {meanwhile: index for index, meanwhile in self.indexes.items()}
        names[parted(self.meanwhile)[1]] = bare(parted(self.plan.name)[1])
        for meanwhile in sorted(names, key=len, reverse=True):  # each begins as the view is called
            text = text.replace(meanwhile, names[meanwhile])
        return text


class Beside:
    """Builds views beside those that they take the place of, in an open transaction.

    Args:
        catalog: on the connection that does it.
        builder: on the same.
    """

    def __init__(self, catalog: ViewCatalog, builder: Builder) -> None:
        self._catalog = catalog
        self._builder = builder

    def build(self, manager: Manager, call: Callable[[Callable[[], None]], object]) -> Built:
        """Build the view of a manager.

        Args:
            manager: of a view that is declared by its query.
            call: runs what the manager sends.

        Raises:
            NotBeside: there is no view whose place it could take.
            ViewError: something of the old one cannot be restored.
            Exception: its query or an index of it fails; told with the names that they are to have.
        """
        plan, old = self.look(manager)
        built = Built(name_of(manager), plan, meanwhile_of(plan.name, old.identity), self._builder)
        self._builder.drop(built.meanwhile)  # a COMMIT of somebody else's may have left one
        try:
            self._fill(built, old, call)
        except ViewError as error:
            raise ViewError(built.in_its_names(error.message), hint=error.hint) from error.__cause__
        except Exception as error:
            error.args = tuple(built.in_its_names(each) if isinstance(each, str) else each for each in error.args)
            raise
        return built

    def look(self, manager: Manager) -> tuple[Plan, Relation]:
        """Return what a manager says of its view, and the one that is there.

        Raises:
            NotBeside: there is no view whose place it could take.
        """
        plan: Plan = manager.beside()  # type: ignore[attr-defined] # of a SqlView
        old = self._described(self._as_cut(plan.name))
        if old is None:
            raise NotBeside
        if old[1].kind != "MATERIALIZED VIEW":
            raise NotBeside("it is no materialized view so far")
        if old[1].is_empty:
            raise NotBeside("it has no rows so far")
        return plan, old[1]

    def _fill(self, built: Built, old: Relation, call: Callable[[Callable[[], None]], object]) -> None:
        plan, cut = built.plan, self._builder.same_names(built.plan.indexes)
        call(partial(plan.create, built.meanwhile, {each: built.name_for(cut[each]) for each in plan.indexes}))
        new = self._described(built.meanwhile)
        if new is None or parted(new[1].identity)[0] != parted(old.identity)[0]:
            raise NotBeside("its name means another schema here")
        built.key, built.identity = new[0], new[1].identity
        self._builder.furnish(old, new[1], [*built.indexes], built.name_for)

    def clear(self, some: Iterable[Built]) -> None:
        """Drop what somebody's COMMIT has made durable before it was in its place."""
        self._builder.clear([built.meanwhile for built in some])

    def _as_cut(self, name: str) -> str:
        """Return a name as the server cuts it."""
        schema, relation = map(bare, parted(name))
        cut = self._builder.same_names([schema, relation])
        return ".".join(quote_identifier(cut[each]) for each in (schema, relation) if each)

    def _described(self, name: str) -> tuple[Key, Relation] | None:
        found = self._catalog.look_up([name])
        if name not in found:
            return None
        key = found[name][0]
        return key, self._catalog.describe([key])[key]


def meanwhile_of(name: str, identity: str) -> str:
    """Return the name of a view until it is in its place: always the same, and nobody else's.

    Args:
        name: that it is to have, as SQL writes it.
        identity: the same with its schema.
    """
    schema = parted(name)[0]
    meanwhile = PREFIX + hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return f"{schema}.{meanwhile}" if schema else meanwhile
