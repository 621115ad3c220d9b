"""The words a migrations file speaks: `@migration`, `ViewMigrationManager`, and who listens to them."""

from __future__ import annotations

import abc
import functools
import inspect
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeAlias, TypeVar, overload
from weakref import WeakKeyDictionary

from migrate_graph.authoring.running import ViewOpener, current
from migrate_graph.core.model import BodyKind, Migration, Registry, TransactionMode, View
from migrate_graph.errors import UsageError
from migrate_graph.user_files import SourceLocation

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from migrate_graph.core.graph import MigrationGraph, ViewBlock

T_co = TypeVar("T_co", covariant=True)
Body: TypeAlias = Callable[[Any], Any]
Requirement: TypeAlias = "str | Migration | Body"


# --- who listens -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Collector:
    """What was declared while it was open, unjudged: duplicates and unknown requirements are kept.

    Attributes:
        migrations: in order of declaration.
        managers: concrete view managers, in order of declaration.
    """

    migrations: list[Migration] = field(default_factory=list)
    managers: list[type[ViewMigrationManager]] = field(default_factory=list)


_collector: ContextVar[Collector | None] = ContextVar("migrate_graph_collector", default=None)


@contextmanager
def collecting() -> Iterator[Collector]:
    """Let declarations land in a collector of their own instead of the default store."""
    collector = Collector()
    token = _collector.set(collector)
    try:
        yield collector
    finally:
        _collector.reset(token)


# --- migrations --------------------------------------------------------------------------------------------------


@overload
def migration(func: Body, requires: Requirement | Iterable[Requirement] | None = None) -> Migration: ...


@overload
def migration(
    func: None = None,
    requires: Requirement | Iterable[Requirement] | None = None,
    *,
    transaction: str = "own",
    tags: str | Iterable[str] = (),
    views: type | str | Iterable[type | str] | None = None,
    ignore: str | Iterable[str] = (),
) -> Callable[[Body], Migration]: ...


def migration(
    func: Body | None = None,
    requires: Requirement | Iterable[Requirement] | None = None,
    *,
    transaction: str = "own",
    tags: str | Iterable[str] = (),
    views: type | str | Iterable[type | str] | None = None,
    ignore: str | Iterable[str] = (),
) -> Migration | Callable[[Body], Migration]:
    """Declare a function as a migration; used as `@migration`, `@migration()` or `@migration(requires=…)`.

    Args:
        func: the body, called with a pyDAL `DAL`; truthy means success.
        requires: what must be installed before: a migration, its function or its name, or several of them.
        transaction: `"own"`: the body's `db.commit()` is honoured; `"single"`: body and record are one transaction;
            `"none"`: autocommit, for `CREATE INDEX CONCURRENTLY`, `VACUUM`, `ALTER TYPE … ADD VALUE`.
        tags: words to select it by (`tag:slow`).
        views: the view managers it opens, where its source text does not show them; None to find them there.
        ignore: codes of `migrate check` rules that do not apply to it.

    Returns:
        The declared migration, or a decorator that declares one.

    Raises:
        ValueError: the transaction mode is unknown; with no collector open also: the name is taken, or a requirement
            is unknown.
        TypeError: something that is no migration is required, or what is declared has no name.
    """
    names = _names(requires, what="requires")
    modes = [mode.value for mode in TransactionMode]
    if transaction not in modes:
        raise ValueError(f"transaction={transaction!r} is unknown: use one of {', '.join(modes)}")

    def declare(body: Body) -> Migration:
        body = body.function if isinstance(body, Migration) else body
        return migrations.add(
            Migration(
                name=_name_of(body, what="a migration"),
                function=body,
                requires=names,
                position=len(migrations),
                source=_source_of(body),
                transaction=TransactionMode(transaction),
                tags=frozenset(_words(tags)),
                declared_views=None if views is None else _names(views, what="views"),
                ignore=frozenset(_words(ignore)),
                kind=_kind_of(body),
            )
        )

    return declare if func is None else declare(func)


def _name_of(value: object, *, what: str) -> str:
    """Return the name of a migration, a view manager, a function, or the name itself."""
    if isinstance(value, str):
        return value
    while isinstance(value, functools.partial):
        value = value.func
    name = getattr(value, "__name__", None)
    if callable(value) and isinstance(name, str):
        return name
    raise TypeError(f"{what}: {value!r} is neither a name nor something that has one")


def _names(values: object, *, what: str) -> tuple[str, ...]:
    """Return the names of one or several declared things, each once (`requires=['a', 'a']` needs `a` only once)."""
    if values is None or values == "":
        return ()
    if isinstance(values, str) or callable(values) or not isinstance(values, Iterable):
        values = (values,)
    return tuple(dict.fromkeys(_name_of(value, what=what) for value in values))


def _words(values: str | Iterable[str]) -> Iterable[str]:
    return (values,) if isinstance(values, str) else values


def _kind_of(body: Body) -> BodyKind:
    """Return whether calling the body does its work: judged on what is called, not on what a decorator wrapped."""
    if inspect.iscoroutinefunction(body) or inspect.isasyncgenfunction(body):
        return BodyKind.COROUTINE
    return BodyKind.GENERATOR if inspect.isgeneratorfunction(body) else BodyKind.FUNCTION


def _source_of(body: Body) -> SourceLocation:
    """Return where the body's code starts; without code (a partial, a C function): where it is declared."""
    inner: Any = body
    while isinstance(inner, functools.partial):
        inner = inner.func
    code = getattr(inspect.unwrap(inner), "__code__", None)
    if code is not None:
        return SourceLocation(code.co_filename, code.co_firstlineno)
    return _declaring(lambda frame: frame.f_globals.get("__name__") != __name__)


def _declaring(wanted: Callable[[FrameType], bool]) -> SourceLocation:
    """Return the line that the innermost wanted frame of the stack is executing."""
    frame = inspect.currentframe()
    while frame is not None and not wanted(frame):
        frame = frame.f_back
    return SourceLocation("<unknown>", 1) if frame is None else SourceLocation(frame.f_code.co_filename, frame.f_lineno)


class MigrationStore:
    """Declarations made in the process with no collector open, as edwh-migrate keeps them.

    While a collector is open it shows and fills that collector instead: a migrations file that looks at `migrations`
    sees what the file has declared so far.
    """

    def __init__(self) -> None:
        self._declared = Collector()
        self._deferred = False

    @property
    def migrations(self) -> list[Migration]:
        """The declared migrations, in order of rank."""
        return (_collector.get() or self._declared).migrations

    @property
    def managers(self) -> list[type[ViewMigrationManager]]:
        """The declared view managers, in order of declaration; `reset()` leaves them, they are classes and stay."""
        return (_collector.get() or self._declared).managers

    def has(self, name: str) -> bool:
        """Return whether a migration of this name is declared."""
        return any(declared.name == name for declared in self.migrations)

    def list(self) -> OrderedDict[str, Migration]:
        """Return the declared migrations by name, in order of rank."""
        return OrderedDict(iter(self))

    def reset(self) -> None:
        """Forget the declared migrations."""
        self.migrations.clear()

    @contextmanager
    def defer_dependency_validation(self) -> Iterator[None]:
        """Accept unknown requirements until `resolve_order`; used while several files are imported."""
        before, self._deferred = self._deferred, True
        try:
            yield
        finally:
            self._deferred = before

    def register_ordered(self, fn: Body, requires: Iterable[Requirement] = ()) -> Migration:
        """Declare a function as a migration; `@migration` is the word to use.

        Args:
            fn: the body.
            requires: what must be installed before.

        Raises:
            ValueError: the name is taken, or a requirement is unknown.
        """
        return migration(fn, requires)

    def add(self, declared: Migration) -> Migration:
        """Take a declaration: into the open collector unjudged, else right after the last of its requirements.

        Raises:
            ValueError: with no collector open: the name is taken, or a requirement is unknown.
        """
        if _collector.get() is not None:
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
        """Put the declared migrations into the order in which they run.

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


# --- views -------------------------------------------------------------------------------------------------------


class classproperty(Generic[T_co]):  # noqa: N801 - edwh-migrate's name, used as a decorator
    """A property of a class, read without an instance.

    Args:
        fget: takes the class, gives the value.
    """

    def __init__(self, fget: Callable[[Any], T_co]) -> None:
        self.fget = fget
        self.__doc__ = fget.__doc__

    def __get__(self, obj: object, owner: type | None = None) -> T_co:
        return self.fget(type(obj) if owner is None else owner)


_declared_at: WeakKeyDictionary[type[ViewMigrationManager], SourceLocation] = WeakKeyDictionary()
"""Every concrete manager of this process and where its class statement stands, in order of declaration."""


class ViewMigrationManager(abc.ABC):
    """Takes a database view down before a migration changes what it reads, and brings it up after.

    A concrete subclass (with `up` and `down`) is one version of one view. `with V(db):` inside a migration runs
    `down()` on V and on every living view that uses it, dependents first, and `up()` when the block is left,
    dependencies first.

    Attributes:
        uses: the managers whose views this one reads.
        since: the migration that creates the view; until then it does not live. A migration or its name.
        until: the migration after which the view no longer lives. A migration or its name.
        replaces: the manager that this one takes over from.
        db: the database, a pyDAL `DAL`.
    """

    @classproperty
    def uses(cls) -> Any:  # noqa: N805 - a classproperty is given the class
        """Managers whose views this one reads; not declared here."""
        return ()

    since: ClassVar[Any] = ""
    until: ClassVar[Any] = ""
    replaces: ClassVar[Any] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if inspect.isabstract(cls):
            return
        source = _declaring(lambda frame: frame.f_globals.get("__name__") == cls.__module__)
        _declared_at[cls] = source
        if not cls.declares("uses"):
            # As edwh-migrate: allowed, and worth a word. The line shown is the line of the class.
            warnings.warn_explicit(
                f"{cls.__name__} does not say which views it uses; write uses = () if it uses none",
                UserWarning,
                source.path,
                source.line,
            )
        same = [known for known in migrations.managers if _identity(known) == _identity(cls)]
        if _collector.get() is None and same:  # its module was executed again: the new class takes its place
            migrations.managers.remove(same[0])
        migrations.managers.append(cls)

    def __init__(self, db: Any, cache: dict[Any, Any] | None = None) -> None:  # noqa: ARG002 - edwh-migrate passes one
        self.db = db
        self._openers: list[ViewOpener] = []

    @abc.abstractmethod
    def up(self) -> None:
        """Create the view."""

    @abc.abstractmethod
    def down(self) -> None:
        """Drop the view."""

    @classmethod
    def declares(cls, name: str) -> bool:
        """Return whether the class or a base of it says what `uses`, `since`, `until` or `replaces` is."""
        return any(name in vars(base) for base in cls.__mro__ if base is not ViewMigrationManager)

    @classmethod
    def evaluated(cls, name: str) -> Any:
        """Return what `uses`, `since`, `until` or `replaces` says, be it an attribute, a classproperty or a property.

        A property is evaluated on an instance made without `__init__`: there is no database when the graph is built.
        """
        value = getattr(cls, name)
        if isinstance(value, property | functools.cached_property):
            value = getattr(cls.__new__(cls), name)
        return value

    @classmethod
    def as_view(cls, *, position: int = 0) -> View:
        """Return the value that the graph is built from.

        Args:
            position: how many views were declared before it.

        Raises:
            TypeError: something that is no view manager is used or replaced, or no migration is named.
        """
        since, until = (_names(cls.evaluated(word), what=f"{cls.__name__}.{word}") for word in ("since", "until"))
        replaces = _names(cls.evaluated("replaces"), what=f"{cls.__name__}.replaces")
        return View(
            name=cls.__name__,
            manager=cls,
            uses=_names(cls.evaluated("uses"), what=f"{cls.__name__}.uses"),
            since=_only(since, what=f"{cls.__name__}.since"),
            until=_only(until, what=f"{cls.__name__}.until"),
            replaces=_only(replaces, what=f"{cls.__name__}.replaces"),
            position=position,
            source=_declared_at[cls],
            description=inspect.cleandoc(vars(cls).get("__doc__") or ""),
        )

    def should_run(self) -> bool:
        """Return whether the view lives now and nothing has replaced it."""
        graph, _ = _graph_around(type(self))
        return self.__class__.__name__ in _block_of(self, graph).up

    def check_since(self) -> bool:
        """Return whether the window has opened: `since` is applied, or is the running migration."""
        since = type(self).as_view().since
        return since is None or since in _applied(self.db) or since == _running_name()

    def check_until(self) -> bool:
        """Return whether the window is still open: `until` is not applied."""
        until = type(self).as_view().until
        return until is None or until not in _applied(self.db)

    def __enter__(self) -> Self:
        run = current()
        opener: ViewOpener = run.views if run else _ByItself()
        opener.enter(self)
        self._openers.append(opener)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._openers.pop().leave(self, error)


def declared_at(manager: type[ViewMigrationManager]) -> SourceLocation:
    """Return the line of a concrete manager's class statement."""
    return _declared_at[manager]


def _identity(manager: type) -> tuple[str, str]:
    return manager.__module__, manager.__qualname__


def _only(names: tuple[str, ...], *, what: str) -> str | None:
    if len(names) > 1:
        raise TypeError(f"{what} names {len(names)} things ({', '.join(names)}); it can name one")
    return names[0] if names else None


# --- view managers outside a run ---------------------------------------------------------------------------------


class _ByItself:
    """Opens one manager outside a run: its relatives are found among the classes, the applied names in the ledger."""

    def __init__(self) -> None:
        self._instances: dict[str, ViewMigrationManager] = {}
        self._block: ViewBlock

    def enter(self, manager: ViewMigrationManager) -> None:
        graph, classes = _graph_around(type(manager))
        self._block = _block_of(manager, graph)
        self._instances = {name: kind(manager.db) for name, kind in classes.items() if kind is not type(manager)}
        self._instances[type(manager).__name__] = manager
        for name in self._block.down:
            self._instances[name].down()

    def leave(self, manager: ViewMigrationManager, error: BaseException | None) -> None:  # noqa: ARG002 - of ViewOpener
        if error is None:
            for name in self._block.up:
                self._instances[name].up()


def _graph_around(manager: type[ViewMigrationManager]) -> tuple[MigrationGraph, dict[str, type[ViewMigrationManager]]]:
    """Build the graph of a manager and everything connected with it through `uses` and `replaces`."""
    from migrate_graph.core.graph import build_graph

    links: dict[type[ViewMigrationManager], set[type[ViewMigrationManager]]] = {kind: set() for kind in _declared_at}
    for kind in list(links):
        for related in _related(kind):
            links[kind].add(related)
            links[related].add(kind)
    reached, waiting = {manager}, [manager]
    while waiting:
        fresh = links[waiting.pop()] - reached
        reached |= fresh
        waiting += fresh
    # Of classes of one name the latest counts, and the one that was asked for in any case.
    classes = {kind.__name__: kind for kind in links if kind in reached} | {manager.__name__: manager}
    views = tuple(kind.as_view(position=position) for position, kind in enumerate(classes.values()))
    return build_graph(Registry(views=views)), classes


def _related(manager: type[ViewMigrationManager]) -> Iterator[type[ViewMigrationManager]]:
    """Yield the classes a manager uses and replaces; a stranger whose property raises has no relatives here."""
    for word in ("uses", "replaces"):
        try:
            value = manager.evaluated(word)
        except Exception:  # noqa: BLE001, S112 - any class of the process, and its error is not about the one asked for
            continue
        values = value if isinstance(value, Iterable) and not isinstance(value, type | str) else (value,)
        yield from (kind for kind in values if isinstance(kind, type) and kind in _declared_at)


def _block_of(manager: ViewMigrationManager, graph: MigrationGraph) -> ViewBlock:
    windowed = any(view.since or view.until for view in graph.views.values())
    applied = _applied(manager.db) if windowed else frozenset()
    return graph.view_block(type(manager).__name__, applied=applied, running=_running_name())


def _running_name() -> str:
    run = current()
    return run.name if run else ""


def _applied(db: Any) -> AbstractSet[str]:
    """Return the applied names: as the run knows them, or outside a run as the ledger has them."""
    if run := current():
        return run.applied
    ledger = getattr(db, "ewh_implemented_features", None)
    if ledger is None:
        raise UsageError(
            "the table of installed migrations is not defined on this connection",
            hint="open it with migrate_graph.setup_db(), or with define_ewh_implemented_features(db)",
        )
    return frozenset(row.name for row in db(ledger.installed == True).select(ledger.name))  # noqa: E712 - pyDAL's query
