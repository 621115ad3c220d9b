"""What the files declare: migrations, views, and the registry that holds them unresolved."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable  # `help()` of a migration reads the annotations
from dataclasses import dataclass
from enum import StrEnum
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import Struct, field

from migrate_graph.user_files import SourceLocation

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

# edwh-migrate's rule: strictly `_20260330_001`; `_123_45` and `_20260330` count as well. Always at the end of the name.
_SEQUENCE = re.compile(r"(?P<first>\d+)(?:_(?P<second>\d+))?$")


AUTO: Final = "auto"
"""The `down` of a migration whose way back is derived: it drops what the migration was seen to add."""


class TransactionMode(StrEnum):
    """How a migration's work is divided into transactions.

    OWN: the body's `db.commit()` is honoured (what edwh-migrate does).
    SINGLE: commits of the body become savepoints; body and record are one transaction.
    NONE: autocommit, for `CREATE INDEX CONCURRENTLY`, `VACUUM`, `ALTER TYPE … ADD VALUE`.
    """

    OWN = "own"
    SINGLE = "single"
    NONE = "none"


class Rebuild(StrEnum):
    """How a materialized view comes up again.

    INLINE: with its rows, in the transaction in which it went down.
    DEFERRED: without its rows; a refresh fills it after the commit.
    SWAP: the new one is built beside the old one, and takes its place when it is complete.
    """

    INLINE = "inline"
    DEFERRED = "deferred"
    SWAP = "swap"


class Way(StrEnum):
    """How a view that exists before a step exists again after it.

    REBUILT: it goes down and comes up.
    DEFERRED: the same, but its rows come after the commit.
    BESIDE: its new version is built beside it, and takes its place.
    IN_PLACE: it gets its new text while it stays up.
    """

    REBUILT = "rebuilt"
    DEFERRED = "deferred"
    BESIDE = "beside"
    IN_PLACE = "in place"


class BodyKind(StrEnum):
    """What a body is: only a FUNCTION does its work when it is called."""

    FUNCTION = "function"
    CLASS = "class"
    COROUTINE = "coroutine"
    GENERATOR = "generator"


def kind_of(body: Callable[..., Any]) -> BodyKind:
    """Return the kind of a body: that of the function that is called, not of one that a decorator has wrapped."""
    if isinstance(body, type):
        return BodyKind.CLASS
    if inspect.iscoroutinefunction(body) or inspect.isasyncgenfunction(body):
        return BodyKind.COROUTINE
    return BodyKind.GENERATOR if inspect.isgeneratorfunction(body) else BodyKind.FUNCTION


def is_left_undone(value: object) -> bool:
    """Return whether what a function returned is work that nobody will do: a coroutine or a generator. A coroutine is closed."""
    if inspect.iscoroutine(value):
        value.close()
    return inspect.isawaitable(value) or inspect.isgenerator(value) or inspect.isasyncgen(value)


def unfit_arguments(function: Callable[..., Any], *, given: int = 1) -> str:
    """Return the parameters of a function, as text, where a call does not fit them; empty where it fits, or that is unknown.

    The wrapper that a decorator has made is judged by its own parameters, not by those of the function that it wraps.

    Args:
        function: the function to check.
        given: how many values it is called with, by position.
    """
    code = function.__code__ if type(function) is FunctionType else None
    if code is not None and code.co_argcount == given and not code.co_kwonlyargcount:
        return ""  # nearly all functions; `inspect.signature` is slow
    try:
        found = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # a function written in C may have no signature
        return ""
    try:
        found.bind(*[None] * given)
    except TypeError:
        plain = [each.replace(annotation=each.empty, default=each.empty) for each in found.parameters.values()]
        return str(inspect.Signature(plain))
    return ""


@dataclass(frozen=True, slots=True)
class BodyFacts:
    """What the source text of a migration tells without running it (read by `loader.bodies`).

    Attributes:
        fingerprint: hash of the normalised syntax tree, where comments and formatting do not count; after a `+`, hash of what
            it uses of the project. Empty when the source cannot be read. Compare two with `same_fingerprint`.
        code: the same, without the contents of files that the body reads: another migration may write them before it runs.
        returns_value: whether some `return` in the body has a value; also True when the source cannot be read, so that no
            migration is reported without evidence.
        commits_before_return: where `db.commit()` stands directly before `return True`; None where it does not.
        creates_by_definition: where `db.define_table(…, migrate=True)` stands; None where it does not.
        ends_transaction: where, and in words how, the body ends its transaction itself or must run outside of one; None
            where it does neither.
        adds_enum_value: where an `ALTER TYPE … ADD VALUE` stands; None where none does.
        opened_views: names of the view managers opened in the body or in the helper functions it calls, in order of
            first appearance.
    """

    fingerprint: str = ""
    code: str = ""
    returns_value: bool = True
    commits_before_return: SourceLocation | None = None
    creates_by_definition: SourceLocation | None = None
    ends_transaction: tuple[SourceLocation, str] | None = None
    adds_enum_value: SourceLocation | None = None
    opened_views: tuple[str, ...] = ()


class FactsOnDemand(BodyFacts):
    """Facts that are read from the source text when one is first used: most commands need them of few migrations.

    Args:
        read: called with the name of a fact; returns it, and the others that were found with it, by name.
    """

    __slots__ = ("_read",)
    _read: Callable[[str], Mapping[str, object]]

    def __init__(self, read: Callable[[str], Mapping[str, object]]) -> None:
        object.__setattr__(self, "_read", read)

    def __getattr__(self, name: str) -> object:  # Python calls this only for a fact that has not been read yet
        if name not in BodyFacts.__dataclass_fields__:
            raise AttributeError(name)
        for each, value in self._read(name).items():
            object.__setattr__(self, each, value)
        return object.__getattribute__(self, name)

    def __eq__(self, other: object) -> bool:
        names = BodyFacts.__dataclass_fields__
        return isinstance(other, BodyFacts) and all(getattr(self, name) == getattr(other, name) for name in names)

    __hash__ = None  # type: ignore[assignment] # as their values change when they are read


class Condition(Struct, frozen=True, eq=False):
    """What must hold when a migration has done its work.

    Attributes:
        text: the SQL on one line, or the name of the function.
        ask: called with `db`; returns the rows of the SQL, or what the function returns.
        is_sql: whether it is SQL: then it holds if there is exactly one row and its first value is true.
        source: where it is written.
    """

    text: str
    ask: Callable[[Any], Any]
    is_sql: bool = False
    source: SourceLocation = SourceLocation("<unknown>", 1)


class Migration(Struct, frozen=True, eq=False):
    """One declared step of the database's history; what `@migration` returns.

    It is callable with `db`, and has `__name__`, `body` and `requires`, as in edwh-migrate.

    Attributes:
        name: the function's name; the key of the ledger.
        function: the body, called with a pyDAL `DAL`.
        requires: names that must be installed before, without repetition, as declared.
        position: how many migrations were declared before it.
        source: where it is declared.
        module: the file that declares it, as shown to people (`billing.py`).
        transaction: see `TransactionMode`.
        tags: free words for selection.
        declared_views: `@migration(views=[…])`: names of the views it takes down and up; None when not declared.
        ignore: codes of rules that do not apply to it.
        kind: whether the body is a function, a coroutine or a generator.
        facts: what its source text tells.
        resumable: it may be run again from its beginning wherever it was cut off.
        independent: it does not depend on migrations that stand before it in its file, except on those that it requires.
        after: what must hold when it has done its work; None where nothing is declared.
        commutes_with: names of others with which it may change places, whatever both were seen to do.
        why: the reason for `commutes_with`, for people.
        down: the function that undoes it, called with `db`; `"auto"` where it is to be derived; None where there is none.
        weave: views that block one of its statements step aside: they go down and come up without being named.
        defers: materialized views come up in it without their rows, and are filled after its commit.
    """

    name: str
    function: Callable[[Any], Any]
    requires: tuple[str, ...] = ()
    position: int = 0
    source: SourceLocation = SourceLocation("<unknown>", 1)
    module: str = ""
    transaction: TransactionMode = TransactionMode.OWN
    tags: frozenset[str] = frozenset()
    declared_views: tuple[str, ...] | None = None
    ignore: frozenset[str] = frozenset()
    kind: BodyKind = BodyKind.FUNCTION
    facts: BodyFacts = field(default_factory=BodyFacts)
    resumable: bool = False
    independent: bool = False
    after: Condition | None = None
    commutes_with: tuple[str, ...] = ()
    why: str = ""
    down: Callable[[Any], Any] | Literal["auto"] | None = None
    weave: bool = True
    defers: bool = False

    def __call__(self, db: Any) -> Any:
        """Run the body, as one migration calling another does; nothing is recorded."""
        return self.function(db)

    @property
    def __name__(self) -> str:
        return self.name

    @property
    def body(self) -> Callable[[Any], Any]:
        """The function itself."""
        return self.function

    @property
    def description(self) -> str:
        """The docstring, stripped; empty when there is none."""
        return (self.function.__doc__ or "").strip()

    @property
    def sequence(self) -> tuple[int, int] | None:
        """The trailing number: `(20260330, 1)` for `…_20260330_001`, `(7, 0)` for `…_7`, None without one."""
        return sequence_of(self.name)

    @property
    def touches(self) -> tuple[str, ...]:
        """Names of the views it opens: declared, or else found in its source text."""
        return self.facts.opened_views if self.declared_views is None else self.declared_views


def same_fingerprint(one: str, other: str) -> bool:
    """Return whether two bodies do the same, as far as is known.

    The second part of a fingerprint is about what the body uses. An older version of this tool wrote fingerprints
    without it: then only the first parts are compared. An empty fingerprint tells nothing, and is the same as any other.

    Args:
        one: the fingerprint of a body, as it is now or as a database remembers it.
        other: the fingerprint to compare it with.
    """
    own, _, used = one.partition("+")
    other_own, _, other_used = other.partition("+")
    if not own or not other_own:
        return True
    return own == other_own and (used == other_used or not used or not other_used)


def sequence_of(name: str) -> tuple[int, int] | None:
    """Return the trailing number of a name: `(first, second)`, the second 0 when absent, None without any."""
    match = _SEQUENCE.search(name)
    return (int(match["first"]), int(match["second"] or 0)) if match else None


class UsesFrom(StrEnum):
    """How it is known which views a view reads."""

    DECLARED = "declared"
    LEARNT = "seen"
    """A database reported it when the view was watched with the text that it has now."""
    GUESSED = "guessed"
    """Its query names them; no database has confirmed it."""


class View(Struct, frozen=True, eq=False):
    """One declared view manager.

    Attributes:
        name: the name of the manager's class.
        manager: the class itself.
        uses: names of the managers whose views it reads.
        since: the migration that opens its window; None where it is open from the beginning.
        until: the migration that closes its window; None where it stays open.
        replaces: name of the manager it takes over from.
        position: how many views were declared before it.
        source: where it is declared.
        module: the file that declares it, as shown to people.
        ignore: codes of rules that do not apply to it.
        description: the docstring.
        fingerprint: of what `up` and `down` do, as in `BodyFacts`.
        rebuild: how its materialized view comes up again.
        can_defer: its `up()` can create it without the rows, as far as its code tells; read only where `rebuild` is DEFERRED.
        can_swap: it can be built beside the old one.
        can_replace: it can get a new text while it stays up, where the database can do that.
        is_materialized: it is declared to be a materialized view with rows.
        uses_from: how `uses` is known.
        relations: names of the relations that it creates, as SQL writes them; empty where its text does not tell.
        query: its SELECT statement; empty where it is not declared by one.
        settings: the names of what can be set in its class.
    """

    name: str
    manager: type
    uses: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None
    replaces: str | None = None
    position: int = 0
    source: SourceLocation = SourceLocation("<unknown>", 1)
    module: str = ""
    ignore: frozenset[str] = frozenset()
    description: str = ""
    fingerprint: str = ""
    rebuild: Rebuild = Rebuild.INLINE
    can_defer: bool = True
    can_swap: bool = True
    can_replace: bool = False
    is_materialized: bool = False
    uses_from: UsesFrom = UsesFrom.DECLARED
    relations: tuple[str, ...] = ()
    query: str = ""
    settings: tuple[str, ...] = ()

    def in_window(self, applied: Container[str], *, running: str | None) -> bool:
        """Return whether its window is open while `running` runs after `applied`, whether or not a successor has taken over.

        As in edwh-migrate 2.1.0, it is open in the migration named by `since` and in the one named by `until`.
        """
        opened = self.since is None or self.since in applied or self.since == running
        return opened and (self.until is None or self.until not in applied)


class Unfinished(Struct, frozen=True):
    """A subclass of a view manager that is no view: it lacks what makes a view.

    Attributes:
        manager: the class.
        source: where it is declared.
    """

    manager: type
    source: SourceLocation

    @property
    def lacks(self) -> tuple[str, ...]:
        """What it neither has nor inherits: `up`, `down`, `query`, or what a base of the user's own asks for."""
        return tuple(sorted(getattr(self.manager, "__abstractmethods__", ())))


class DecoratedAbove(Struct, frozen=True):
    """Decorators that stand above `@migration`: what runs is the function below it, without them.

    Attributes:
        migration: name of the migration.
        decorators: as they are written, the topmost first.
        source: the line of the topmost.
    """

    migration: str
    decorators: tuple[str, ...]
    source: SourceLocation


class UnreachedFile(Struct, frozen=True):
    """What the text of a Python file declares, or seems to: found without running it.

    Attributes:
        path: as shown to people.
        names: what it declares, with the line of each.
    """

    path: str
    names: tuple[tuple[str, int], ...]


class Registry(Struct, frozen=True):
    """What was declared, unresolved and unjudged: duplicates and unknown names are kept.

    Attributes:
        migrations: in order of declaration.
        views: in order of declaration.
        unreached: files beside the loaded ones that seem to declare something, and are not imported.
        undecorated: functions in the loaded files that are named like migrations, but have no `@migration`.
        unused_decorators: where `@migration(…)` was called and no function was given to what it returned.
        unfinished: subclasses of view managers that are no views, because something is missing in them.
        decorated_above: decorators above `@migration` that return something else than the migration.
        root: the directory that paths are relative to, as an absolute path; empty for declarations made in the process.
        windows: a view comes up, goes down or is handed over at the end of the migration that its window names.
    """

    migrations: tuple[Migration, ...] = ()
    views: tuple[View, ...] = ()
    unreached: tuple[UnreachedFile, ...] = ()
    undecorated: tuple[UnreachedFile, ...] = ()
    unused_decorators: tuple[SourceLocation, ...] = ()
    unfinished: tuple[Unfinished, ...] = ()
    decorated_above: tuple[DecoratedAbove, ...] = ()
    root: str = ""
    windows: bool = False
