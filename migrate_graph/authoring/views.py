"""The base class of view managers, and what they do outside a run."""

from __future__ import annotations

import abc
import functools
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar
from weakref import WeakKeyDictionary

from migrate_graph.authoring.deferring import can_leave_rows_out
from migrate_graph.authoring.running import ViewOpener, current
from migrate_graph.authoring.store import is_collecting, migrations
from migrate_graph.authoring.values import declaring_line, names_of, words_of
from migrate_graph.core.model import Rebuild, Registry, View
from migrate_graph.errors import DeclarationError, UsageError
from migrate_graph.user_files import SourceLocation

if TYPE_CHECKING:
    from types import TracebackType

    from migrate_graph.core.graph import MigrationGraph
    from migrate_graph.core.timeline import ViewBlock

T_co = TypeVar("T_co", covariant=True)


class classproperty(Generic[T_co]):  # noqa: N801 - edwh-migrate's name, used as a decorator
    """A property of a class, read without an instance.

    Args:
        fget: called with the class; returns the value.
    """

    def __init__(self, fget: Callable[[Any], T_co]) -> None:
        self.fget = fget
        self.__doc__ = fget.__doc__

    def __get__(self, obj: object, owner: type | None = None) -> T_co:
        return self.fget(type(obj) if owner is None else owner)


_declared_at: WeakKeyDictionary[type[ViewMigrationManager], SourceLocation] = WeakKeyDictionary()
"""Every concrete manager of this process, with the place of its class statement, in order of declaration."""


class ViewMigrationManager(abc.ABC):
    """Takes a database view down before a migration changes what it reads, and brings it up afterwards.

    A concrete subclass (with `up` and `down`) is one version of one view. `with V(db):` inside a migration runs
    `down()` on V and on every living view that uses it, dependents first; at the end of the block it runs `up()`,
    dependencies first. A view lives from its `since` to its `until`.

    Attributes:
        uses: the managers whose views this one reads.
        since: the migration from which on the view lives. A migration or its name.
        until: the migration after which the view no longer lives. A migration or its name.
        replaces: the manager whose view this one replaces.
        rebuild: how a materialized view comes up again, on PostgreSQL. `"inline"`: with its rows, in the migration's transaction.
            `"deferred"`: without its rows; it is refreshed after the commit. `"swap"`, only for a `SqlView`: a new version is built
            beside the old one, which can be read meanwhile.
        deferred: read inside `up()`: create the materialized view WITH NO DATA; it is filled later.
        fill_as_owner: `up()` creates its materialized view WITH NO DATA and sets its owner; it is filled later as that role.
        ignore: codes of `migrate check` rules that do not apply to it.
        db: the database, a pyDAL `DAL`.
    """

    # Each may be an attribute, a property or a classproperty of a subclass: `Any` lets type checkers accept all three.
    if TYPE_CHECKING:
        uses: Any
    else:

        @classproperty
        def uses(cls) -> Any:  # noqa: N805 - a classproperty is given the class
            """Managers whose views this one reads; not declared here."""
            return ()

    since: Any = ""
    until: Any = ""
    replaces: Any = None
    rebuild: Any = Rebuild.INLINE.value
    deferred: bool = False
    fill_as_owner: bool = False
    ignore: Any = ()

    _settings: ClassVar[tuple[str, ...]] = ("uses", "since", "until", "replaces", "rebuild", "fill_as_owner", "ignore")
    _finds_uses: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        source = place_of_class(cls)
        if inspect.isabstract(cls):
            if is_collecting():  # elsewhere nobody asks for them
                migrations.unfinished.append((cls, source))
            return
        if migrations.kept(cls._way_up, None, source=source) is None:
            return
        _declared_at[cls] = source
        if not cls.declares("uses") and not cls._finds_uses:
            # Allowed, with a warning, as in edwh-migrate. The warning shows the line of the class.
            warnings.warn_explicit(
                f"{cls.__name__} does not say which views it uses; write uses = () if it uses none",
                UserWarning,
                source.path,
                source.line,
            )
        if not is_collecting():  # when its module is executed again, the new class replaces the old one
            same = [known for known in migrations.managers if _identity(known) == _identity(cls)]
            if same:
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
    def renew(cls, db: Any) -> None:
        """Replace the text of this view by the declared one.

        This does what `with V(db): pass` does, but the views that read this one stay up where the database allows that: PostgreSQL
        replaces the view of a `SqlView` without dropping it when columns are only added at its end. Otherwise the view and all views
        that read it go down and come up.

        Args:
            db: the database that the migration is given.

        Raises:
            ViewError: a view did not come up, or a view without a manager would be lost.
        """
        _opener().renew(cls(db))

    @classmethod
    def declares(cls, name: str) -> bool:
        """Return whether the class or a base of it declares `uses`, `since`, `until` or `replaces`."""
        return any(name in vars(base) for base in cls.__mro__ if base is not ViewMigrationManager)

    @classmethod
    def evaluated(cls, name: str) -> Any:
        """Return the value of `uses`, `since`, `until` or `replaces`: an attribute, a classproperty or a property.

        A property is evaluated on an instance made without `__init__`, since there is no database when the graph is built.
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
            DeclarationError: `uses` or `replaces` names something that is not a view manager, or `since` or `until` something that is not a migration.
        """
        kept = partial(migrations.kept, otherwise=(), source=_declared_at[cls])
        since, until, replaces = (
            next(iter(kept(partial(cls._names, word, most=1))), None) for word in ("since", "until", "replaces")
        )
        rebuild = Rebuild(cls.evaluated("rebuild"))
        return View(
            name=cls.__name__,
            manager=cls,
            uses=kept(partial(cls._names, "uses")),
            since=since,
            until=until,
            replaces=replaces,
            position=position,
            source=_declared_at[cls],
            description=inspect.cleandoc(vars(cls).get("__doc__") or ""),
            rebuild=rebuild,
            can_defer=rebuild is not Rebuild.DEFERRED or cls.can_defer(),
            can_swap=cls.can_swap(),
            can_replace=cls.can_replace(),
            ignore=frozenset(kept(lambda: words_of(cls.evaluated("ignore"), what=f"{cls.__name__}.ignore"))),
            settings=cls._settings,
        )

    @classmethod
    def _way_up(cls) -> Rebuild:
        words = [each.value for each in Rebuild]
        if cls.evaluated("rebuild") not in words:
            raise DeclarationError(
                f"{cls.__name__}.rebuild = {cls.rebuild!r} is unknown: use one of {', '.join(words)}",
                hint=f'write `rebuild = "{words[0]}"`, or leave it out',
            )
        return Rebuild(cls.evaluated("rebuild"))

    @classmethod
    def _names(cls, word: str, most: int | None = None) -> tuple[str, ...]:
        """Return what `uses`, `since`, `until` or `replaces` names.

        Raises:
            DeclarationError: it names more than `most`, or what has no name.
        """
        value, what = cls.evaluated(word), f"{cls.__name__}.{word}"
        if isinstance(value, Iterator):
            raise DeclarationError(f"{what} can be read only once: {value!r}", hint=f"write a tuple: `{word} = (…,)`")
        names = names_of(value, what=what)
        if most is not None and len(names) > most:
            told = f"{what} names {len(names)} things ({', '.join(names)}); it can name one"
            raise DeclarationError(told, hint=f'name one: `{word} = "{names[-1]}"`')
        return names

    @classmethod
    def can_defer(cls) -> bool:
        """Return whether `up()` can create its view without the rows, as its code shows it; True when the code does not show it."""
        return cls.fill_as_owner or can_leave_rows_out(cls, base=ViewMigrationManager)

    @classmethod
    def can_swap(cls) -> bool:
        """Return whether its view can be built beside the old one; False here: it is not known what `up()` creates."""
        return False

    @classmethod
    def can_replace(cls) -> bool:
        """Return whether its view can be replaced without dropping it; False here: it is not known what `up()` creates."""
        return False

    def should_run(self) -> bool:
        """Return whether the view lives now and is not replaced by another one."""
        graph, _ = _graph_around(type(self))
        return self.__class__.__name__ in _block_of(self, graph).up

    def check_since(self) -> bool:
        """Return whether the view's window has opened: `since` is applied, or is the running migration."""
        since = type(self).as_view().since
        return since is None or since in _applied(self.db) or since == _running_name()

    def check_until(self) -> bool:
        """Return whether the view's window has not closed yet: `until` is not applied."""
        until = type(self).as_view().until
        return until is None or until not in _applied(self.db)

    def __enter__(self) -> Self:
        opener = _opener()
        opener.enter(self)
        self._openers.append(opener)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._openers.pop().leave(self, error)


def place_of_class(kind: type) -> SourceLocation:
    """Return the line of a class statement while it is executed."""
    return declaring_line(lambda frame: frame.f_globals.get("__name__") == kind.__module__)


def declared_at(manager: type[ViewMigrationManager]) -> SourceLocation:
    """Return the line of a concrete manager's class statement."""
    return _declared_at[manager]


def _identity(manager: type) -> tuple[str, str]:
    return manager.__module__, manager.__qualname__


# --- view managers outside a run ---------------------------------------------------------------------------------


def _opener() -> ViewOpener:
    run = current()
    return run.views if run else _ByItself()


class _ByItself:
    """Opens one manager outside a run: its relatives are found among the declared classes, the applied names in the ledger."""

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

    def renew(self, manager: ViewMigrationManager) -> None:
        self.enter(manager)
        self.leave(manager, None)

    def leave(self, manager: ViewMigrationManager, error: BaseException | None) -> None:  # noqa: ARG002 - of ViewOpener
        if error is None:
            for name in self._block.up:
                self._instances[name].up()


def _graph_around(manager: type[ViewMigrationManager]) -> tuple[MigrationGraph, dict[str, type[ViewMigrationManager]]]:
    """Build the graph of a manager and its relatives."""
    from migrate_graph.core.graph import build_graph
    from migrate_graph.core.uses import with_uses

    # Of several classes with one name the latest counts; for the name of `manager`, this class.
    classes = {kind.__name__: kind for kind in relatives_of(manager)} | {manager.__name__: manager}
    views = tuple(kind.as_view(position=position) for position, kind in enumerate(classes.values()))
    return build_graph(Registry(views=with_uses(views))), classes


def relatives_of(manager: type[ViewMigrationManager]) -> list[type[ViewMigrationManager]]:
    """Return the concrete managers of this process that are connected with a manager through `uses` and `replaces`, and itself.

    They come in order of declaration; it makes no difference whether a file was being loaded when they were declared.
    """
    from migrate_graph.core.reachability import closure

    links: dict[type[ViewMigrationManager], set[type[ViewMigrationManager]]] = {kind: set() for kind in _declared_at}
    for kind in list(links):
        for related in _related(kind):
            links[kind].add(related)
            links[related].add(kind)
    reached = closure([manager], links.__getitem__)
    return [kind for kind in links if kind in reached]


def all_managers() -> list[type[ViewMigrationManager]]:
    """Return every concrete manager of this process, in order of declaration."""
    return [*_declared_at]


def _related(manager: type[ViewMigrationManager]) -> Iterator[type[ViewMigrationManager]]:
    """Yield the classes that a manager uses and replaces; a property that raises counts as empty."""
    for word in ("uses", "replaces"):
        try:
            value = manager.evaluated(word)
        except Exception:  # noqa: BLE001, S112 - it may be any class of the process, and its error says nothing about the manager
            continue
        values = value if isinstance(value, Iterable) and not isinstance(value, type | str) else (value,)
        yield from (kind for kind in values if isinstance(kind, type) and kind in _declared_at)


def _block_of(manager: ViewMigrationManager, graph: MigrationGraph) -> ViewBlock:
    from migrate_graph.core.timeline import Timeline

    windowed = any(view.since or view.until for view in graph.views.values())
    applied = _applied(manager.db) if windowed else frozenset()
    return Timeline(graph).block(type(manager).__name__, applied=applied, running=_running_name())


def _running_name() -> str:
    run = current()
    return run.name if run else ""


def _applied(db: Any) -> AbstractSet[str]:
    """Return the applied names: those that the run knows, or outside a run those in the ledger."""
    if run := current():
        return run.read_applied()
    ledger = getattr(db, "ewh_implemented_features", None)
    if ledger is None:
        raise UsageError(
            "the table of installed migrations is not defined on this connection",
            hint="open it with migrate_graph.setup_db(), or with define_ewh_implemented_features(db)",
        )
    # Not asked for as `installed == True`: a ledger made by hand may hold another spelling, which pyDAL reads all the same.
    return frozenset(row.name for row in db(ledger).select(ledger.name, ledger.installed) if row.installed)
