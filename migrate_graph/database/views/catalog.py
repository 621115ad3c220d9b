"""What the view keeper asks of a database's catalog."""

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
"""What tells an object from one that later takes its name: its address in PostgreSQL's catalogs; SQLite has only the name."""


class Manager(Protocol):
    """What is needed of an instance of a `ViewMigrationManager`; the name of its class is the manager's name.

    Attributes:
        deferred: its materialized view is created without its rows; set before each `up()`.
    """

    deferred: bool

    def up(self) -> None:
        """Create the view."""

    def down(self) -> None:
        """Drop the view."""


class Concern(Struct, frozen=True):
    """What a block concerns, as far as it is known before it begins.

    Attributes:
        views: names of views, as SQL writes them.
        functions: bare names of functions.
        parts: names of policies, rules and triggers.
        tables: bare names of the tables that those belong to.
        keys: what went without being expected.
    """

    views: frozenset[str] = frozenset()
    functions: frozenset[str] = frozenset()
    parts: frozenset[str] = frozenset()
    tables: frozenset[str] = frozenset()
    keys: frozenset[Key] = frozenset()

    def and_also(self, keys: Iterable[Key]) -> Concern:
        """Return the same, and something more."""
        more = frozenset(keys)
        return replace(self, keys=self.keys | more) if more else self


class Reached(Struct, frozen=True):
    """Something that would go with a `DROP … CASCADE` of what a block concerns.

    Attributes:
        thing: what it is; a view by name only.
        whole: the relation that it is a part of, and goes with.
        reasons: what it depends on.
        extension: what it was made with, and can only go with.
    """

    thing: Relation
    whole: Key | None = None
    reasons: frozenset[Key] = frozenset()
    extension: Key | None = None


def top_of(key: Key, reached: Mapping[Key, Reached], gone: Collection[Key]) -> Key:
    """Return the outermost thing that something is a part of, as far as that is gone as well."""
    seen = {key}
    while key in reached and (whole := reached[key].whole) is not None and whole in gone and whole not in seen:
        seen.add(whole)
        key = whole
    return key


class Observation(Struct, frozen=True):
    """What concerns a block, at one moment.

    Attributes:
        relations: by key, everything that there is to know of views, functions, policies …
        reached: by key, all that depends on them, themselves included; empty where the database does not tell.
        moment: what this session has made and unmade before.
        meant: what the names of views, as SQL writes them, meant in this session.
        schemas: those whose objects a name without a schema may mean.
        token: what else the catalog wants to compare with later.
        place: what decides where names without a schema belong.
        is_brief: it tells enough about what is there, and only plain statements can be told by it later.
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
    """What this session has done since a moment; nothing of what others do.

    Attributes:
        gone: what it has unmade.
        made: the views that it has created, in this order.
        known: everything about those of them that were read on this occasion.
        is_plain: all this is what plain statements say; what else went along was not looked for.
    """

    gone: frozenset[Key] = frozenset()
    made: tuple[Key, ...] = ()
    known: Mapping[Key, Relation] = field(default_factory=dict)
    is_plain: bool = False


class Restorable(Struct, frozen=True):
    """Something that came up again.

    Attributes:
        key: of the new one.
        made: what its creation made of it.
        stored: what it was.
        text: what its manager says of it.
        fills: it is a materialized view that was created empty, and is to be filled as its owner.
    """

    key: Key
    made: Relation
    stored: Relation
    text: ManagerText
    fills: bool = False


class Contents(Struct, frozen=True):
    """What is in a materialized view.

    Attributes:
        populated: it has its rows.
        role: who has to fill it, where the session's role may not; empty where it may.
    """

    populated: bool
    role: str = ""


class InPlace(Protocol):
    """What a database that can replace a view as it stands tells of it."""

    def forbids(self, error: BaseException) -> bool:
        """Return whether an error says that a view cannot be replaced as it stands, or that its text is wrong anyway."""

    def is_watched(self) -> bool:
        """Return whether others may do something whenever a view is replaced."""

    def readers(self, keys: Collection[Key]) -> dict[Key, str]:
        """Return the names, with their schemas, of the views that read one of these directly."""

    def is_circular(self, keys: Collection[Key]) -> bool:
        """Return whether one of these views reads itself through others."""

    def is_made_by(self, key: Key, query: str) -> bool:
        """Return whether a view is just what a query would make now; the view itself is not locked against readers."""

    def was(self, key: Key, before: Relation) -> None:
        """Note what a view was before it was replaced, for `restore`: whatever else it is then, somebody has made it."""


class ViewCatalog(Protocol):
    """What one kind of database can tell about its relations."""

    def in_place(self) -> InPlace | None:
        """Return what tells of views that are replaced as they stand; None where the database cannot replace any."""

    def atomic(self, *, ours: bool = False) -> AbstractContextManager[None]:
        """Open a savepoint (a transaction, in autocommit); on an exception everything since is undone.

        Args:
            ours: nothing is sent in it but by this catalog and within `commits_held`, so that statements may wait for one another.

        Raises:
            CommittedInside: on leaving, when the savepoint is gone because somebody committed.
        """

    def commits_held(self) -> AbstractContextManager[list[str] | None]:
        """Make `commit()` of the connection do nothing, and give a list that every statement which is sent meanwhile is added to.

        None where nobody can hear them.
        """

    def place(self) -> str:
        """Return what decides where names without a schema belong."""

    def standing_at(self, place: str) -> AbstractContextManager[None]:
        """Set the search_path that held then; empty keeps the present one."""

    def observe(self, concern: Concern, *, brief: bool = False) -> Observation:
        """Read everything about what a block concerns, and name what depends on it; nothing else is read or locked.

        Args:
            concern: what is known before.
            brief: the managers' statements are expected to be plain, so that no more needs to be known than what those do.
        """

    def moment(self, before: Observation, *, brief: bool = False) -> Any:
        """Return what this session has made and unmade so far, as far as that is needed; columns that `before` reached count."""

    def changes(self, since: Any, before: Observation, said: Sequence[str] | None = None) -> Changes:
        """Return what this session has made and unmade since a moment; columns that `before` reached count.

        Args:
            since: the moment.
            before: what was there.
            said: all that was sent since then, where that is known.

        Raises:
            Unseen: the moment was seen briefly, and that does not tell.
        """

    def confirm(self, before: Observation, gone: Collection[Key], *, is_plain: bool) -> None:
        """See to it that what this session has dropped was as it was read: else the block fails, at the latest when it is kept.

        Args:
            before: what was read; it is confirmed once.
            gone: what was dropped since.
            is_plain: nothing else was.

        Raises:
            ChangedMeanwhile: somebody else has changed it in between, and committed; it may be raised later.
        """

    def look_up(self, names: Collection[str]) -> dict[str, tuple[Key, str]]:
        """Return those of these views, as SQL writes their names, that exist, with what changes whenever somebody replaces one.

        Nothing is locked or waited for, and no privilege is needed.
        """

    def definitions(self, keys: Collection[Key]) -> dict[Key, Relation | None]:
        """Read how some views are defined; None for one that cannot be looked at without waiting for somebody."""

    def every_view(self) -> dict[Key, Relation]:
        """Read everything about all views of the database."""

    def describe(self, keys: Collection[Key]) -> dict[Key, Relation]:
        """Read everything about some views."""

    def find(self, relations: Collection[Relation]) -> dict[str, tuple[Key, Relation]]:
        """Return those of these relations that exist, by identity, each as it is now; a view by name only."""

    def reads_of(self, keys: Collection[Key]) -> dict[Key, frozenset[Key]]:
        """Return what some things depend on directly, with the parts that belong to them; one of which nobody can tell is left out."""

    def broken(self, before: Observation) -> list[str]:
        """Return what worked at that moment, is still there and works no more, in words."""

    def restore(self, things: Iterable[Restorable]) -> list[str]:
        """Make what was recreated what it was, where its creation did not itself say otherwise; return warnings.

        Raises:
            ViewError: something cannot be restored.
        """

    def distrust(self, table: str) -> str:
        """Return why the rows of the view ledger may have been written by others; empty when they cannot."""

    def recreate(self, stored: Relation) -> None:
        """Create a relation from its stored definition, and restore everything.

        Raises:
            ViewError: the definition must not be run, or is not known.
        """

    def contents(self, identities: Collection[str]) -> dict[str, Contents]:
        """Return which of these materialized views are there, in order of their creation, and whether each has its rows."""

    def fill(self, identity: str, *, role: str = "") -> None:
        """Fill a materialized view, with the session's own search_path.

        Args:
            identity: as `contents` gives it.
            role: who does it; empty for the session's.
        """

    def refusal(self, error: BaseException) -> str | None:
        """Return what the database says when it refused to drop something others depend on; None for another error."""

    def is_race(self, error: BaseException) -> bool:
        """Whether the database says that somebody else has changed, at that moment, what a statement drops."""

    def is_undefined(self, error: BaseException) -> bool:
        """Whether the database says that something which a statement names is not there."""

    def is_aborted(self) -> bool:
        """Whether the transaction is aborted."""

    def commit(self) -> None:
        """Make what was written durable, whatever holds commits back."""


class _TakenBack(Exception):  # noqa: N818 - names what happened
    """Everything was looked at, and is undone."""


@contextmanager
def taken_back(catalog: ViewCatalog) -> Iterator[None]:
    """Undo what the block does and give its locks back, also when it ends well."""
    with suppress(_TakenBack), catalog.atomic(ours=True):
        yield
        raise _TakenBack


class CommittedInside(Exception):  # noqa: N818 - names what happened
    """A savepoint is gone: the work since is durable."""


class NoText(ViewError):  # noqa: N818 - names what is wrong
    """The database holds something that cannot be told in UTF-8."""


class Unprepared(ViewError):  # noqa: N818 - names what happened
    """A query could not be asked, since the session has lost it: all since the savepoint is undone, and the next time it can be asked."""


class Unseen(ViewError):  # noqa: N818 - names what happened
    """What was done cannot be told by what was seen before: all since the savepoint is undone, and the next time more is looked at."""


class ChangedMeanwhile(Unseen):
    """Somebody else has changed what was dropped after it was read: all since the savepoint is undone, and it is read again."""
