"""Where declarations go: into the collector while a file is loaded, or into the default store of the process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from migrate_graph.authoring.values import Body, Requirement, calling_line, migration_of
from migrate_graph.core.model import Migration, Registry
from migrate_graph.errors import DeclarationError
from migrate_graph.user_files import SourceLocation

if TYPE_CHECKING:
    from migrate_graph.authoring.views import ViewMigrationManager


T = TypeVar("T")
U = TypeVar("U")


class Collector(Struct):
    """What was declared while the collector was open. Nothing is checked: duplicates and unknown requirements are kept.

    Attributes:
        migrations: in order of declaration.
        managers: concrete view managers, in order of declaration.
        unused: where `@migration(…)` was called and no function was given to what it returned.
        faults: what cannot be meant, where it is told at the end of a file; None where it is raised at once.
        unfinished: subclasses of a view manager that are no views, because they lack `up`, `down` or `query`; with their places.
    """

    migrations: list[Migration] = field(default_factory=list)
    managers: list[type[ViewMigrationManager]] = field(default_factory=list)
    unused: list[SourceLocation] = field(default_factory=list)
    faults: list[DeclarationError] | None = None
    unfinished: list[tuple[type[ViewMigrationManager], SourceLocation]] = field(default_factory=list)


_collector: ContextVar[Collector | None] = ContextVar("migrate_graph_collector", default=None)


# The open collectors, innermost last, each with the threads that ran before it was opened. A thread does not inherit a context
# variable: a thread that a file starts while it is loaded (a pool that imports modules) is recognized as none of these.
_loading: list[tuple[Collector, frozenset[threading.Thread]]] = []


def _open_collector() -> Collector | None:
    """Return the collector of this context, or the one that was open when this thread was started."""
    found = _collector.get()
    if found is None and _loading:
        collector, before = _loading[-1]
        return None if threading.current_thread() in before else collector
    return found


def is_collecting() -> bool:
    """Return whether declarations go into a collector now."""
    return _open_collector() is not None


@contextmanager
def collecting() -> Iterator[Collector]:
    """Collect the declarations of the block in a new collector instead of the default store."""
    collector = Collector()
    token = _collector.set(collector)
    entry = (collector, frozenset(threading.enumerate()))
    _loading.append(entry)
    try:
        yield collector
    finally:
        _loading.remove(entry)
        _collector.reset(token)


class MigrationStore:
    """Declarations made in the process with no collector open, as edwh-migrate keeps them.

    While a collector is open, the store reads and fills that collector instead: a migrations file that looks at `migrations`
    sees what it has declared so far.
    """

    def __init__(self) -> None:
        self._declared = Collector()
        self._deferred = False
        self.resets = 0
        """How often `reset` was called: code that remembers what it has loaded into the store must forget it then."""

    @property
    def migrations(self) -> list[Migration]:
        """The declared migrations, in order of rank."""
        return (_open_collector() or self._declared).migrations

    @property
    def managers(self) -> list[type[ViewMigrationManager]]:
        """The declared view managers, in order of declaration; `reset()` does not remove them."""
        return (_open_collector() or self._declared).managers

    @property
    def unused(self) -> list[SourceLocation]:
        """The places of decorators that no function was given to."""
        return (_open_collector() or self._declared).unused

    @property
    def unfinished(self) -> list[tuple[type[ViewMigrationManager], SourceLocation]]:
        """The subclasses of a view manager that are no views."""
        return (_open_collector() or self._declared).unfinished

    def kept(self, check: Callable[[], T], otherwise: U, *, source: SourceLocation | None = None) -> T | U:
        """Return what a check returns; while a file is loaded, keep the fault that it raises, so that all faults are told at once.

        Args:
            check: returns the checked value.
            otherwise: returned where there is a fault.
            source: the place of the declaration; None for the line that is being executed.

        Raises:
            DeclarationError: of the check, when no file is being loaded.
        """
        try:
            return check()
        except DeclarationError as fault:
            fault.source = fault.source or source or calling_line()
            faults = (_open_collector() or self._declared).faults
            if faults is None:
                raise
            faults.append(fault)
            return otherwise

    def has(self, name: str) -> bool:
        """Return whether a migration of this name is declared."""
        return any(declared.name == name for declared in self.migrations)

    def list(self) -> OrderedDict[str, Migration]:
        """Return the declared migrations by name, in order of rank."""
        return OrderedDict(iter(self))

    def reset(self) -> None:
        """Forget the declared migrations, also those that were loaded from a file."""
        self.migrations.clear()
        if not is_collecting():
            self.resets += 1

    @contextmanager
    def defer_dependency_validation(self) -> Iterator[None]:
        """Accept unknown requirements until `resolve_order`; used while several files are imported."""
        before, self._deferred = self._deferred, True
        try:
            yield
        finally:
            self._deferred = before

    def register_ordered(self, fn: Body, requires: Iterable[Requirement] = ()) -> Migration:
        """Declare a function as a migration, as edwh-migrate does; new code uses `@migration`.

        Args:
            fn: the body.
            requires: what must be installed before.

        Raises:
            ValueError: the name is taken, or a requirement is unknown.
        """
        return self.add(migration_of(fn, requires, position=len(self)))

    def add(self, declared: Migration) -> Migration:
        """Add a declaration at the end of the open collector; with no collector open, directly after the last of its requirements.

        Raises:
            ValueError: no collector is open, and the name is taken or a requirement is unknown.
        """
        if is_collecting():
            self.migrations.append(declared)
            return declared
        if self.has(declared.name):
            raise ValueError(f"Duplicate migration name {declared.name}")
        rank = len(self)
        if declared.requires and not self._deferred:
            rank = 1 + max(self._rank_of(name, of=declared.name) for name in declared.requires)
        self.migrations.insert(rank, declared)
        return declared

    def _rank_of(self, name: str, *, of: str) -> int:
        for rank, declared in enumerate(self.migrations):
            if declared.name == name:
                return rank
        raise _unknown(name, of=of)

    def resolve_order(self, ordering: str = "legacy") -> None:
        """Sort the declared migrations into the order in which they run.

        Args:
            ordering: `"legacy"` or `"intertwined"`.

        Raises:
            ValueError: a requirement is unknown, or requirements form a circle.
        """
        from migrate_graph.core.graph import Ordering, build_graph

        by_name = dict(self)
        for declared in by_name.values():
            for name in declared.requires:
                if name not in by_name:
                    raise _unknown(name, of=declared.name)
        ranked = tuple(replace(declared, position=rank) for rank, declared in enumerate(self.migrations))
        graph = build_graph(Registry(migrations=ranked))
        if rings := list(graph.cycles()):
            drawn = "; ".join(" → ".join(map(str, ring)) for ring in rings)
            raise ValueError(f"circular dependency detected among migrations: {drawn}")
        self.migrations[:] = [by_name[name] for name in graph.order(Ordering(ordering))]

    def __iter__(self) -> Iterator[tuple[str, Migration]]:
        return ((declared.name, declared) for declared in self.migrations)

    def __len__(self) -> int:
        return len(self.migrations)

    def __bool__(self) -> bool:
        return bool(self.migrations)

    def __repr__(self) -> str:
        return f"<MigrationStore of {len(self)}>"


def _unknown(name: str, *, of: str) -> ValueError:
    return ValueError(f"{of} depends on {name} which is unknown.")


migrations = MigrationStore()
"""The default store: what is declared in this process while no file is being loaded."""
