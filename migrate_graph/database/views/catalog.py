"""The interface of a database's catalog: everything that the view keeper reads from it, and restores by it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Protocol, TypeAlias

from msgspec import Struct, field
from msgspec.structs import replace

from migrate_graph.database.relation import Relation
from migrate_graph.database.views.manager_text import ManagerText
from migrate_graph.errors import ViewError

Key: TypeAlias = "tuple[int, int, int] | str"
"""Identifies an object: in PostgreSQL its address in the catalogs, which a later object of the same name does not have; in SQLite the name."""


class Manager(Protocol):
    """An instance of a `ViewMigrationManager`, as far as it is used here; the name of its class is the manager's name.

    Attributes:
        deferred: the materialized view is created without rows; set before each `up()`.
    """

    deferred: bool

    def up(self) -> None:
        """Create the view."""

    def down(self) -> None:
        """Drop the view."""


class Concern(Struct, frozen=True):
    """The objects that a block will drop, as far as they are known before it begins.

    Attributes:
        views: names of views, as SQL writes them.
        functions: bare names of functions.
        parts: names of policies, rules and triggers.
        tables: bare names of the tables that the policies, rules and triggers belong to.
        keys: objects that an earlier pass has dropped unexpectedly.
    """

    views: frozenset[str] = frozenset()
    functions: frozenset[str] = frozenset()
    parts: frozenset[str] = frozenset()
    tables: frozenset[str] = frozenset()
    keys: frozenset[Key] = frozenset()

    def and_also(self, keys: Iterable[Key]) -> Concern:
        """Return the same objects, and those with these keys."""
        more = frozenset(keys)
        return replace(self, keys=self.keys | more) if more else self


class Reached(Struct, frozen=True):
    """An object that a `DROP … CASCADE` of the block's objects would drop.

    Attributes:
        thing: the object; of a view only the name is read.
        whole: the relation that it is a part of, and is dropped with.
        reasons: the objects that it depends on.
        extension: the extension that it belongs to; it can only be dropped with that.
    """

    thing: Relation
    whole: Key | None = None
    reasons: frozenset[Key] = frozenset()
    extension: Key | None = None


def top_of(key: Key, reached: Mapping[Key, Reached], gone: Collection[Key]) -> Key:
    """Return the outermost object that an object is a part of and that is gone as well; the object itself if there is none."""
    seen = {key}
    while key in reached and (whole := reached[key].whole) is not None and whole in gone and whole not in seen:
        seen.add(whole)
        key = whole
    return key


class Observation(Struct, frozen=True):
    """What was read about the objects of a block at one moment.

    Attributes:
        relations: the complete views, functions, policies and so on, by key.
        reached: all objects that depend on them, and they themselves, by key; empty where the database does not record dependencies.
        moment: what this session has created and dropped so far; `ViewCatalog.changes` compares with it.
        meant: keys of the views that names, as SQL writes them, meant in this session.
        schemas: schemas whose objects a name without a schema may mean.
        token: more that the catalog wants to compare with later.
        place: the search_path (PostgreSQL).
        is_brief: less was read: enough only for managers that send plain DROP VIEW and CREATE VIEW statements.
    """

    relations: Mapping[Key, Relation] = field(default_factory=dict)
    reached: Mapping[Key, Reached] = field(default_factory=dict)
    moment: Any = None
    meant: Mapping[str, Key] = field(default_factory=dict)
    schemas: frozenset[str] = frozenset()
    token: Any = None
    place: str = ""
    is_brief: bool = False


class Changes(Struct, frozen=True):
    """What this session has changed since a moment, without the changes of other sessions.

    Attributes:
        gone: objects that it has dropped.
        made: views that it has created, in this order.
        known: those of the created views that were read already, by key.
        is_plain: all this was read from the text of plain statements; the database was not asked what else was dropped.
    """

    gone: frozenset[Key] = frozenset()
    made: tuple[Key, ...] = ()
    known: Mapping[Key, Relation] = field(default_factory=dict)
    is_plain: bool = False


class Restorable(Struct, frozen=True):
    """A relation that was created again, and whose properties are to be restored.

    Attributes:
        key: key of the new relation.
        made: the new relation, as it was created.
        stored: the relation before it was dropped.
        text: the text of its manager; what it sets itself is not restored.
        fills: it is a materialized view that was created empty, and is to be filled as its owner.
    """

    key: Key
    made: Relation
    stored: Relation
    text: ManagerText
    fills: bool = False


class Contents(Struct, frozen=True):
    """Whether a materialized view has rows.

    Attributes:
        populated: it has its rows.
        role: the role that has to fill it; empty where the role of the session may.
    """

    populated: bool
    role: str = ""


class InPlace(Protocol):
    """Questions about views that are replaced without being dropped, for a database that can do that."""

    def forbids(self, error: BaseException) -> bool:
        """Return whether an error says that a view cannot be replaced without a drop, or that its text is wrong."""

    def is_watched(self) -> bool:
        """Return whether code of others (event triggers) may run whenever a view is replaced."""

    def readers(self, keys: Collection[Key]) -> dict[Key, str]:
        """Return the views that directly read one of these, by key, with their full names."""

    def is_circular(self, keys: Collection[Key]) -> bool:
        """Return whether one of these views reads itself through others."""

    def is_made_by(self, key: Key, query: str) -> bool:
        """Return whether the query would create exactly the present view; sessions that read the view are not blocked."""

    def was(self, key: Key, before: Relation) -> None:
        """Note the state of a view before it was replaced; `restore` needs it to find what others have changed."""


class ViewCatalog(Protocol):
    """Reads and restores the views of one kind of database, on one connection."""

    def in_place(self) -> InPlace | None:
        """Return the questions about replacing views; None where the database cannot replace a view without a drop."""

    def atomic(self, *, ours: bool = False) -> AbstractContextManager[None]:
        """Open a savepoint (a transaction, in autocommit); on an exception everything since is undone.

        Args:
            ours: only this catalog, and managers within `commits_held`, send statements in the block; then statements may be delayed
                and sent together.

        Raises:
            CommittedInside: on leaving, when the savepoint is gone because of a COMMIT.
        """

    def commits_held(self) -> AbstractContextManager[list[str] | None]:
        """Make `commit()` of the connection do nothing inside the block; every statement that is sent is added to the list.

        None instead of a list where statements cannot be recorded.
        """

    def place(self) -> str:
        """Return the search_path (PostgreSQL); empty where a database has none."""

    def standing_at(self, place: str) -> AbstractContextManager[None]:
        """Set the search_path `place` inside the block; empty keeps the present one."""

    def observe(self, concern: Concern, *, brief: bool = False) -> Observation:
        """Read the objects of a block completely, and name the objects that depend on them; nothing else is read or locked.

        Args:
            concern: the objects of the block.
            brief: the managers are expected to send only plain statements, so that less needs to be read.
        """

    def moment(self, before: Observation, *, brief: bool = False) -> Any:
        """Return what this session has created and dropped so far, as far as it is needed; includes columns that are in `before.reached`."""

    def changes(self, since: Any, before: Observation, said: Sequence[str] | None = None) -> Changes:
        """Return what this session has created and dropped since a moment; includes columns that are in `before.reached`.

        Args:
            since: the moment, as `moment` or `observe` returned it.
            before: what was read before.
            said: all statements that were sent since, where they are known.

        Raises:
            Unseen: too little was read at that moment to find the changes.
        """

    def confirm(self, before: Observation, gone: Collection[Key], *, is_plain: bool) -> None:
        """Check that the dropped objects were not changed between reading and dropping; the check may be sent later, before the block ends.

        Args:
            before: what was read; it can be confirmed only once.
            gone: the objects that were dropped since.
            is_plain: nothing else was dropped.

        Raises:
            ChangedMeanwhile: another session has changed an object in between, and committed; it may be raised later.
        """

    def look_up(self, names: Collection[str]) -> dict[str, tuple[Key, str]]:
        """Return those of these views that exist, by name as SQL writes it, each with its key and its stamp (see `Relation.stamp`).

        No lock is taken or waited for, and no privilege is needed.
        """

    def definitions(self, keys: Collection[Key]) -> dict[Key, Relation | None]:
        """Read the definitions of some views; None for one that cannot be read without waiting for a lock."""

    def every_view(self) -> dict[Key, Relation]:
        """Read all views of the database completely."""

    def describe(self, keys: Collection[Key]) -> dict[Key, Relation]:
        """Read some views completely."""

    def find(self, relations: Collection[Relation]) -> dict[str, tuple[Key, Relation]]:
        """Return those of these relations that exist, by identity, each as it is now; of a view only the name is read."""

    def reads_of(self, keys: Collection[Key]) -> dict[Key, frozenset[Key]]:
        """Return what some objects, with their parts, depend on directly; an object whose dependencies are unknown is left out."""

    def broken(self, before: Observation) -> list[str]:
        """Return, in words, the objects that worked at that moment, still exist, and do not work any more."""

    def restore(self, things: Iterable[Restorable]) -> list[str]:
        """Restore the properties of created relations, except those that their manager's text sets itself; return warnings.

        Raises:
            ViewError: a property cannot be restored.
        """

    def distrust(self, table: str) -> str:
        """Return why other roles may have written the rows of the view ledger; empty when they cannot have."""

    def recreate(self, stored: Relation) -> list[str]:
        """Create a relation from its stored definition, and restore its properties; return warnings, as `restore` does.

        Raises:
            ViewError: the definition must not be run, or is not known.
        """

    def contents(self, identities: Collection[str]) -> dict[str, Contents]:
        """Return those of these materialized views that exist, in order of creation, each with whether it has rows."""

    def fill(self, identity: str, *, role: str = "") -> None:
        """Refresh a materialized view, with the session's own search_path.

        Args:
            identity: its identity, as in the result of `contents`.
            role: the role that refreshes it; empty: the role of the session.
        """

    def refusal(self, error: BaseException) -> str | None:
        """Return the database's message when it refused to drop an object because others depend on it; None for another error."""

    def is_race(self, error: BaseException) -> bool:
        """Return whether an error says that another session was changing what a statement drops."""

    def unreadable(self, relations: Iterable[Relation]) -> dict[str, str]:
        """Return those of some views that cannot be read, by identity, each with the reason; empty where such a view cannot be created."""

    def is_undefined(self, error: BaseException) -> bool:
        """Return whether an error says that a statement names something that does not exist."""

    def is_aborted(self) -> bool:
        """Return whether the transaction is aborted."""

    def commit(self) -> None:
        """Commit, also inside `commits_held`."""


class _TakenBack(Exception):  # noqa: N818 - names what happened
    """Leaves the block of `taken_back`, so that its work is undone."""


@contextmanager
def taken_back(catalog: ViewCatalog) -> Iterator[None]:
    """Undo what the block does and release its locks, also when it ends without an exception."""
    with suppress(_TakenBack), catalog.atomic(ours=True):
        yield
        raise _TakenBack


class CommittedInside(Exception):  # noqa: N818 - names what happened
    """A savepoint is gone because of a COMMIT: the work before the COMMIT is committed."""


class NotThatWay(Exception):  # noqa: N818 - names what happened
    """A view can neither be replaced nor built beside the old one: the old one is dropped, and the view created.

    Args:
        why: the reason; empty where the declarations say it already, or there is no old view.
    """

    def __init__(self, why: str = "") -> None:
        super().__init__(why)
        self.why = why


class NoText(ViewError):  # noqa: N818 - names what is wrong
    """The database holds text that is not valid UTF-8."""


class Unprepared(ViewError):  # noqa: N818 - names what happened
    """The session has lost a prepared query; all work since the savepoint is undone, and the next try prepares the query again."""


class Unseen(ViewError):  # noqa: N818 - names what happened
    """Too little was read before to find what was changed; all work since the savepoint is undone, and the next try reads more."""


class ChangedMeanwhile(Unseen):
    """Another session has changed an object between reading and dropping it; all work since the savepoint is undone, and tried again."""
