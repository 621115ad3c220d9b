"""What the view keeper asks of a database's catalog."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from migrate_graph.database.relation import Relation

Key: TypeAlias = "int | str"
"""What tells a relation from one that later takes its name: the OID in PostgreSQL; SQLite has only the name."""


class Manager(Protocol):
    """What is needed of an instance of a `ViewMigrationManager`; the name of its class is the manager's name."""

    def up(self) -> None:
        """Create the view."""

    def down(self) -> None:
        """Drop the view."""


@dataclass(frozen=True, slots=True)
class Dependent:
    """Something that reads a view.

    Attributes:
        on: the view.
        relation: the relation it is, or is part of; None for what stands by itself (a function).
        description: what to call it (`policy p on table t`).
        name: its bare name.
        token: what the catalog needs to look it up again.
        is_relation: it is `relation` itself, not a part of it.
    """

    on: Key
    relation: Key | None
    description: str
    name: str
    token: Any = None
    is_relation: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """The relations of a database at one moment.

    Attributes:
        relations: by key; views with everything there is to know of them.
        dependents: what reads views.
        token: what else the catalog wants to compare with later.
    """

    relations: Mapping[Key, Relation]
    dependents: tuple[Dependent, ...]
    token: Any = None


class ViewCatalog(Protocol):
    """What one kind of database can tell about its relations."""

    def atomic(self) -> AbstractContextManager[None]:
        """Open a savepoint (a transaction, in autocommit); on an exception everything since is undone.

        Raises:
            CommittedInside: on leaving, when the savepoint is gone because somebody committed.
        """

    def commits_held(self) -> AbstractContextManager[None]:
        """Let `commit()` of the connection do nothing."""

    def place(self) -> str:
        """Return what decides where names without a schema belong."""

    def standing_at(self, place: str) -> AbstractContextManager[None]:
        """Let names without a schema belong where they did then; empty for where they do now."""

    def observe(self) -> Observation:
        """Read everything about every view."""

    def present(self) -> set[Key]:
        """Return the keys of all relations there are now."""

    def describe(self, keys: Iterable[Key]) -> dict[Key, Relation]:
        """Read everything about some relations."""

    def find(self, identities: Iterable[str]) -> dict[str, Key]:
        """Return the keys of those of these relations that exist."""

    def lost(self, before: Observation) -> list[Dependent]:
        """Return the dependents that are gone now, or (where the database allows that) broken."""

    def broken(self, before: Observation) -> list[Dependent]:
        """Return what worked at that moment, is still there and works no more; for a database that allows it."""

    def restore(self, stored: Relation, made: Relation) -> list[str]:
        """Make a recreated relation what it was, where its creation did not itself say otherwise; give warnings.

        Raises:
            ViewError: something cannot be restored.
        """

    def recreate(self, stored: Relation) -> None:
        """Create a relation from its stored definition, and restore everything."""

    def refusal(self, error: BaseException) -> str | None:
        """Return what the database says when it refused to drop something others depend on; None for another error."""

    def is_aborted(self) -> bool:
        """Whether the transaction is aborted."""

    def commit(self) -> None:
        """Make what was written durable, whatever holds commits back."""


class CommittedInside(Exception):  # noqa: N818 - names what happened
    """A savepoint is gone: the work since is durable."""
