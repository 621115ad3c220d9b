"""Takes down the views because of which the database refuses a statement, and brings them up before the migration ends."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from graphlib import CycleError, TopologicalSorter
from typing import Final, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from migrate_graph.core.events import Observer, Warned
from migrate_graph.core.reachability import closure
from migrate_graph.database.books.view_ledger import LedgerRow, ViewLedger, ViewState
from migrate_graph.database.relation import Relation
from migrate_graph.database.views.block import Block, is_unmanaged
from migrate_graph.database.views.catalog import Manager, Observation
from migrate_graph.database.views.claims import name_of
from migrate_graph.database.views.keeper import ViewKeeper
from migrate_graph.database.views.manager_text import names_created
from migrate_graph.errors import ViewError
from migrate_graph.messages import first_line
from migrate_graph.quoting import bare, parted, words_of

ONLY_SCHEMA: Final = "main"
"""The schema in full names of a database where names are written without a schema (SQLite)."""

MOST_REFUSALS: Final = 100
"""How often one statement may be refused and sent again."""

_DROPS_VIEWS = re.compile(r"\bDROP\s+(?:MATERIALIZED\s+)?VIEW\b", re.IGNORECASE)


class Column(Struct, frozen=True):
    """A column of a table that a view reads.

    Attributes:
        table: key of the table.
        name: bare name of the column.
        label: the column in a message: `t.a`.
    """

    table: int
    name: str
    label: str


class Obstacle(Struct, frozen=True):
    """A view because of which the database refuses a statement, or a view that reads such a view.

    Attributes:
        identity: its name with its schema, quoted.
        reads: keys of the views that it reads.
        foreign: why it may not be taken down, in words; empty when it may.
        types: types of its columns, by their names.
        columns: the columns of other relations that it reads.
        called: its name in messages; with a schema, also the name of its row in the view ledger when it has no manager. Empty: `identity`.
    """

    identity: str
    reads: frozenset[int] = frozenset()
    foreign: str = ""
    types: Mapping[str, str] = field(default_factory=dict)
    columns: tuple[Column, ...] = ()
    called: str = ""

    @property
    def full_name(self) -> str:
        """The name with a schema under which a view without a manager has its row in the view ledger."""
        return f"{ONLY_SCHEMA}.{self.called}" if self.called else self.identity


class Obstacles(Protocol):
    """Questions to the database about the views that are in the way of a statement."""

    def with_readers(self, keys: Collection[int]) -> dict[int, Obstacle]:
        """Return these views and all views that read them, directly or through others, by key."""

    def find(self, names: Collection[str]) -> dict[str, int]:
        """Return the keys of those of these views that exist, by name as SQL writes it."""

    def types(self, identities: Collection[str]) -> dict[str, dict[str, str]]:
        """Return the types of the columns of some views, by the views' names."""

    def missing(self, columns: Collection[Column]) -> set[Column]:
        """Return those of these columns that no longer exist."""

    def blocking(self, said: str) -> set[int]:
        """Return the views that an error message names as obstacles, and those for which the statement would be refused next."""

    def writes_managers(self, names: Sequence[str]) -> str:
        """Return the command that writes managers for some views."""

    def expecting(self, before: Observation, obstacles: Collection[Obstacle]) -> Observation:
        """Return `before` with these views added to what worked then: those must work again when they are up."""

    def broken(self) -> dict[int, str]:
        """Return the views that cannot be read any more because of the body, by key, each with the reason."""

    def keeper_of(self, key: int) -> Manager:
        """Return a manager for a view that has none: it creates the view from the definition in the database; its name is the view's."""


class Company(Protocol):
    """What a run knows about the managers of its views.

    Attributes:
        migration: name of the running migration.
        observer: gets an event for each view that goes down or comes up.
        keeps_unmanaged: a view without a manager may go down, too.
        deferred: names of the managers whose materialized views are created without rows.
        guards_only: no view may step aside, since other migrations run at the same time; a statement that drops a managed view is refused.
        undoes: the migration is being reverted.
    """

    migration: str
    observer: Observer
    keeps_unmanaged: bool
    deferred: Container[str]
    guards_only: bool
    undoes: bool

    def texts(self) -> Mapping[str, str]:
        """Return fingerprints of the managers' texts, by name."""

    def declared(self) -> Mapping[str, type]:
        """Return every declared manager, by name."""

    def is_living(self, name: str) -> bool:
        """Return whether a manager is living: its view may exist while the migration runs."""

    def readers(self, names: Collection[str]) -> Sequence[str]:
        """Return these managers, and all that use them."""

    def uses(self, name: str) -> Sequence[str]:
        """Return the managers that one manager uses."""

    def instance(self, name: str) -> Manager:
        """Return an instance of a manager on the `db` of the migration."""

    def after(self, names: Collection[str]) -> Sequence[str]:
        """Return the managers that come up for these: they themselves or their successors, as after the migration; dependencies first."""

    def used_by(self, names: Collection[str]) -> Sequence[Manager]:
        """Return the living managers that these use, dependencies first."""

    def place_of(self, name: str) -> str:
        """Return where a manager is declared."""

    def why_closed(self, name: str) -> str:
        """Return why a manager is not living at this migration, and what to do about it."""

    def went_down(self, names: Collection[str]) -> None:
        """Note that views are down: `names` are their managers, or the views themselves where they have none."""

    def came_up(self) -> None:
        """Note that views are up again."""


class NotWoven(Exception):  # noqa: N818 - names what happened
    """A view in the way cannot be taken down, so the statement fails as it would without this tool.

    Attributes:
        hint: what can be done about it.
        views: the views in the way that have no manager.
    """

    def __init__(self, hint: str, views: tuple[str, ...] = ()) -> None:
        super().__init__(hint)
        self.hint = hint
        self.views = views


class _Aside(Struct, frozen=True):
    """Views that stepped aside (were taken down) for one statement.

    Attributes:
        block: the block that the keeper took down.
        obstacles: the views as they were.
        kept: names of the views that have no manager.
    """

    block: Block
    obstacles: tuple[Obstacle, ...]
    kept: tuple[str, ...]


class Weaver(ABC):
    """Takes views down for the statements of one migration's body ("they step aside"), and brings them up again.

    Which views are down is always read from the view ledger, since the body may commit, roll back, or open managers meanwhile.

    Args:
        keeper: takes views down and brings them up without losing anything.
        ledger: the view ledger, on the same connection.
        obstacles: asks the database about views.
        company: knows the managers.

    Attributes:
        is_over: the body has ended.
        must_look: the body may have dropped or broken views, so they must be checked at its end.
        without_manager: views without a manager that the body has broken, so that the migration cannot end.
    """

    must_look = False

    def __init__(self, keeper: ViewKeeper, ledger: ViewLedger, obstacles: Obstacles, company: Company) -> None:
        self._keeper = keeper
        self._ledger = ledger
        self._obstacles = obstacles
        self._company = company
        self._aside: list[_Aside] = []
        self._refused: tuple[BaseException, NotWoven] | None = None
        self.is_over = False
        self.without_manager: tuple[str, ...] = ()

    @property
    def is_at_work(self) -> bool:
        """Whether statements are not sent by the body now."""
        return self.is_over or self._keeper.is_at_work

    @abstractmethod
    def can_bring_up(self) -> bool:
        """Return whether the connection takes statements: it is open, and its transaction not aborted."""

    @abstractmethod
    def _misses_a_relation(self, error: BaseException) -> bool:
        """Return whether an error says that a table or view which the statement names does not exist."""

    @property
    def may_be_down(self) -> bool:
        """Whether views stepped aside in this attempt; the view ledger tells which of them are still down."""
        return bool(self._aside)

    # -- what cannot go down ----------------------------------------------------------------------------------------

    def note_refused(self, error: BaseException, why: NotWoven) -> None:
        """Remember why no view has stepped aside for the statement that failed with an error."""
        self._refused = error, why

    def why_refused(self, error: BaseException) -> NotWoven | None:
        """Return why no view has stepped aside for the statement that failed with an error; None where it is not known."""
        return self._refused[1] if self._refused is not None and self._refused[0] is error else None

    def hint_for(self, error: BaseException) -> str:
        """Return what can be done about an error of a statement; empty when weaving has nothing to do with it."""
        if why := self.why_refused(error):
            return why.hint
        return self.what_is_down(error) if self._misses_a_relation(error) else ""

    def unmanaged_by(self, error: BaseException) -> tuple[str, ...]:
        """Return the views without a manager that were in the way of the statement that failed with an error."""
        why = self.why_refused(error)
        return why.views if why is not None else ()

    # -- down -------------------------------------------------------------------------------------------------------

    def managed(self) -> dict[int, str]:
        """Return the existing views that have a living manager: their names by their keys."""
        with self._keeper.working():
            rows = self._ledger.read()
            names = {
                each.identity
                for name, row in rows.items()
                if self._lives(name, row)
                for each in row.relations
                if each.is_view
            }
            names |= {each for name in self._unknown(rows) for each in names_created(self._company.declared()[name])}
            return {key: name for name, key in sorted(self._obstacles.find(names).items())} if names else {}

    def take_down(self, find: Callable[[], Collection[int]]) -> None:
        """Take down some views and all views that read them, dependents first.

        Args:
            find: asks the database for the keys of the views.

        Raises:
            NotWoven: one of them cannot be taken down, or there are none; all views are as before.
        """
        with self._keeper.working():
            keys = find()
            if not keys:
                raise NotWoven("")
            down = self._take_down(keys)
        self._company.went_down(down)

    def _step_aside(self, said: str) -> NotWoven | None:
        """Take down the views that an error message names as obstacles; return why that cannot be done, None if it was done."""
        try:
            self.take_down(lambda: self._obstacles.blocking(said))
        except NotWoven as refused:
            return refused
        return None

    def _take_down(self, keys: Collection[int]) -> Collection[str]:
        obstacles, rows = self._gather(keys)
        owners = {each.identity: row.manager for row in rows.values() for each in row.relations if each.is_view}
        down = self._order(obstacles, owners, self._members(obstacles, owners))
        kept = tuple(name for name in down if is_unmanaged(name))
        if self._keeper.is_open(down):
            raise NotWoven("")
        block = Block(
            list(down.values()), self._ups(down), self._company.migration, self._company.observer, self._company.texts(),
            lambda: self._company.used_by([name for name in down if not is_unmanaged(name)]),
            self._deferred(obstacles, owners),
        )  # fmt: skip
        try:
            self._keeper.step_aside(block)
        except ViewError as error:
            raise NotWoven(f"{error.message}; {error.hint}" if error.hint else error.message) from error
        self._aside.append(_Aside(block, tuple(obstacles.values()), kept))
        return down

    def gone(self, views: Mapping[int, str], text: str) -> dict[int, str]:
        """Return those of these views that a statement has dropped, without those that a DROP VIEW in it names.

        Args:
            views: names of the views before the statement, by their keys.
            text: the statement.
        """
        with self._keeper.working():
            there = self._obstacles.find(views.values())
            named = words_of(text) if _DROPS_VIEWS.search(text) else ()
            gone = {key: name for key, name in views.items() if name not in there and _plain(name) not in named}
            renamed = self._obstacles.with_readers(gone) if gone else {}
        return {key: name for key, name in gone.items() if key not in renamed}

    def _deferred(self, obstacles: Mapping[int, Obstacle], owners: Mapping[str, str]) -> Container[str]:
        """Return the managers whose materialized views are created without rows: the deferred ones, and those that read their views."""
        deferred = self._company.deferred
        name_at = {key: owners.get(each.identity, each.identity) for key, each in obstacles.items()}
        if not any(name in deferred for name in name_at.values()):
            return deferred
        readers: dict[str, set[str]] = {}
        for key, each in obstacles.items():
            for on in each.reads & name_at.keys():
                readers.setdefault(name_at[on], set()).add(name_at[key])
        more = (name for name in (*name_at.values(), *self._company.declared()) if name in deferred)
        return closure(more, lambda name: readers.get(name, ()))

    def _gather(self, keys: Collection[int]) -> tuple[dict[int, Obstacle], dict[str, LedgerRow]]:
        """Return the views with their readers and with all other views of their managers; and the rows of these managers."""
        found: dict[int, Obstacle] = {}
        rows: dict[str, LedgerRow] = {}
        wanted = set(keys)
        while not wanted <= found.keys():
            found = self._obstacles.with_readers(wanted | found.keys())
            identities = {each.identity for each in found.values()}
            rows = self._rows_of(identities)
            others = [
                each.identity
                for row in rows.values()
                for each in row.relations
                if each.is_view and each.identity not in identities
            ]
            wanted = set(self._obstacles.find(others).values()) if others else set()
        return found, rows

    def _rows_of(self, identities: AbstractSet[str]) -> dict[str, LedgerRow]:
        """Return the rows of the living managers of some views; a manager that never ran here is found by the names in its text."""
        rows = {
            name: row
            for name, row in self._ledger.read_naming(identities).items()
            if self._lives(name, row) and any(each.identity in identities for each in row.relations)
        }
        owned = {each.identity for row in rows.values() for each in row.relations}
        if identities - owned:
            rows |= self._unrecorded(identities - owned)
        return rows

    def _lives(self, name: str, row: LedgerRow) -> bool:
        return row.state is ViewState.UP and name in self._company.declared() and self._company.is_living(name)

    def _unknown(self, recorded: Collection[str]) -> list[str]:
        """Return the living managers that are not in `recorded`: they never ran in this database."""
        return [name for name in self._company.declared() if name not in recorded and self._company.is_living(name)]

    def _unrecorded(self, identities: AbstractSet[str]) -> dict[str, LedgerRow]:
        declared = self._company.declared()
        written = {name: names_created(declared[name]) for name in self._unknown(self._ledger.read_texts())}
        there = self._obstacles.find([each for names in written.values() for each in names])
        known = self._obstacles.find(identities)
        by_key = {key: identity for identity, key in known.items()}
        rows = {}
        for name, names in written.items():
            own = [by_key[there[each]] for each in names if each in there and there[each] in by_key]
            if own:
                relations = tuple(Relation(each, bare(parted(each)[1]), "VIEW") for each in own)
                rows[name] = LedgerRow(name, ViewState.UP, "", relations)
        return rows

    def _members(self, obstacles: Mapping[int, Obstacle], owners: Mapping[str, str]) -> dict[str, Manager]:
        """Return the managers that take all obstacles down, by name.

        Raises:
            NotWoven: a view may not be taken down.
        """
        foreign = [f"{each.identity} {each.foreign}" for each in obstacles.values() if each.foreign]
        if foreign:
            raise NotWoven(f"in the way: {'; '.join(sorted(foreign))}")
        unmanaged = {key: each for key, each in obstacles.items() if each.identity not in owners}
        if unmanaged and not self._company.keeps_unmanaged:
            closed = self._out_of_window({each.identity for each in unmanaged.values()})
            names = tuple(
                sorted(each.called or each.identity for each in unmanaged.values() if each.identity not in closed)
            )
            told = [
                f"{identity} of {name} ({self._company.place_of(name)}) is in the way, and {self._company.why_closed(name)}"
                for identity, name in sorted(closed.items())
            ]
            if names:
                told.append(
                    f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} in the way, and no manager owns "
                    f"{'it' if len(names) == 1 else 'them'}: `{self._obstacles.writes_managers(names)}` writes one, or set "
                    '`unmanaged = "keep"` so that it is kept as it is in the database'
                )
            raise NotWoven("\n".join(told), names)
        managed = {owners[each.identity] for each in obstacles.values() if each.identity in owners}
        others = set(self._company.readers(sorted(managed))) - managed
        there = self._ledger.read(others) if others else {}
        managed |= {name for name, row in there.items() if row.state is ViewState.UP and row.relations}
        members = {name: self._company.instance(name) for name in sorted(managed)}
        return members | {each.full_name: self._obstacles.keeper_of(key) for key, each in sorted(unmanaged.items())}

    def _out_of_window(self, identities: AbstractSet[str]) -> dict[str, str]:
        """Return those of these views whose manager is declared but not living at this migration, each with the manager's name."""
        return {
            each.identity: name
            for name, row in self._ledger.read_naming(identities).items()
            if row.state is ViewState.UP and name in self._company.declared() and not self._company.is_living(name)
            for each in row.relations
            if each.identity in identities
        }

    def _order(
        self, obstacles: Mapping[int, Obstacle], owners: Mapping[str, str], members: Mapping[str, Manager]
    ) -> dict[str, Manager]:
        """Sort managers, dependents first: by the dependencies in the database and by the declared ones."""
        sorter: TopologicalSorter[str] = TopologicalSorter()
        name_at = {key: owners.get(each.identity, each.full_name) for key, each in obstacles.items()}
        for name in members:
            sorter.add(name)
        for key in sorted(obstacles):
            for read in sorted(obstacles[key].reads & name_at.keys()):
                if name_at[read] != name_at[key]:
                    sorter.add(name_at[read], name_at[key])
        for name in members:
            if not is_unmanaged(name):
                for used in self._company.uses(name):
                    if used in members:
                        sorter.add(used, name)
        try:
            return {name: members[name] for name in sorter.static_order()}
        except CycleError as error:
            circle = ", ".join(dict.fromkeys(error.args[1]))
            raise NotWoven(f"{circle} read one another: one manager must make them together") from None

    def _ups(self, down: dict[str, Manager]) -> list[Manager]:
        """Return the managers that come up, dependencies first: those that are living after the migration, and the successors of the others."""
        names = [name for name in reversed(down) if not is_unmanaged(name)]
        after = list(self._company.after(names))
        if set(after) == set(names):
            return [down[name] for name in reversed(down)]
        # `after` has sorted the successors by what they use. Views without a manager keep their positions between them.
        ups: list[Manager] = []
        for name in reversed(down):
            if is_unmanaged(name):
                ups.append(down[name])
            elif after:
                ups.append(self._company.instance(after.pop(0)))
        return ups + [self._company.instance(name) for name in after]

    # -- up ---------------------------------------------------------------------------------------------------------

    def is_named_in(self, text: str) -> bool:
        """Return whether a statement names a view that may be down."""
        if not self.may_be_down:
            return False
        return not words_of(text).isdisjoint(_plain(each.identity) for aside in self._aside for each in aside.obstacles)

    def concerns(self, managers: Iterable[str]) -> bool:
        """Return whether views of some of these managers may be down."""
        return not set(managers).isdisjoint(name for aside in self._aside for name in aside.block.names)

    def try_to_bring_up(self) -> None:
        """Bring up the views that are down, as far as that is possible: the body may not have finished changing what a view reads."""
        if self.may_be_down:
            with self._keeper.working():
                self._bring_up(finally_=False)

    def bring_up(self) -> None:
        """Bring up all views that are still down, dependencies first; called when the migration ends.

        Raises:
            ViewError: a view reads something that no longer exists, or does not come up.
        """
        self._take_broken()
        if self._aside:
            with self._keeper.working():
                self._bring_up(finally_=True)

    def _take_broken(self) -> None:
        """Take down views that cannot be read any more because of the body, so that they are created anew."""
        with self._keeper.working():
            broken = self._obstacles.broken()
        if not broken:
            return
        try:
            self.take_down(broken.keys)
        except NotWoven as refused:
            self.without_manager = refused.views
            raise ViewError(
                f"after {self._company.migration} it cannot be read any longer: {'; '.join(sorted(set(broken.values())))}",
                hint=refused.hint,
            ) from refused

    def _bring_up(self, *, finally_: bool) -> None:
        brought = False
        for aside in reversed(self._aside):
            rows = self._ledger.read(aside.block.names)
            down = {
                name: row
                for name, row in rows.items()
                if row.state is ViewState.DOWN and not self._keeper.is_open([name])  # else a block has it down
            }
            if not down:  # the views came up already, or the body has rolled their drop back
                continue
            try:
                if finally_ and self._keeper.stays_down(_still_down(aside.block, down), down):
                    continue
                aside.block.before = self._obstacles.expecting(aside.block.before, aside.obstacles)
                self._keeper.come_back(_still_down(aside.block, down), down)
            except Exception as error:
                gone = self._gone(aside, down)
                if finally_:
                    raise self._not_up(down, gone, error) from error
                if gone or self._keeper.misses_something(error):
                    return
                raise
            self._ledger.forget([name for name in aside.kept if name in down and name not in self._keeper.unfilled])
            self._compare_types(aside, down)
            brought = True
        if finally_:
            self._aside.clear()
        if brought:
            self._company.came_up()

    def _gone(self, aside: _Aside, down: Mapping[str, LedgerRow]) -> dict[str, list[str]]:
        """Return the missing columns that a view reads, by the view's identity."""
        gone = self._obstacles.missing({column for each in aside.obstacles for column in each.columns})
        identities = {each.identity for row in down.values() for each in row.relations}
        return {
            each.identity: sorted({column.label for column in each.columns if column in gone})
            for each in aside.obstacles
            if each.identity in identities and any(column in gone for column in each.columns)
        }

    def _not_up(self, down: Mapping[str, LedgerRow], gone: Mapping[str, list[str]], error: Exception) -> Exception:
        """Return the error for views that do not come up."""
        migration, undoes = self._company.migration, self._company.undoes
        what = f"the way back of {migration}" if undoes else migration
        owners = {each.identity: name for name, row in down.items() for each in row.relations}
        if not gone:
            names = ", ".join(down)
            return ViewError(
                f"{names} went down, being in the way of {what}, and does not come up again: {first_line(error)}",
                hint="look at what up() reads; or open the manager around the statement, `with V(db):`, and see where it fails",
            )
        said, hints = [], []
        for identity, columns in gone.items():
            name = owners[identity]
            place = "" if is_unmanaged(name) else self._company.place_of(name)
            said.append(f"{name} reads {', '.join(columns)}, which {what} drops{f' ({place})' if place else ''}")
            hints.append(
                f"drop {name} before that, or give it a manager (`{self._obstacles.writes_managers([name])}`)"
                if is_unmanaged(name)
                else f'let {name} begin with it (`since = "{migration}"`), so that both go'
                if undoes
                else f'close the window of {name} (`until = "{migration}"`) or name a successor (`replaces = {name}`)'
            )
        return ViewError("; ".join(said), hint="; ".join(hints))

    def _compare_types(self, aside: _Aside, down: Mapping[str, LedgerRow]) -> None:
        """Warn of columns that came up with another type, since that changes what readers of the view get."""
        identities = {each.identity for row in down.values() for each in row.relations if each.is_view}
        now = self._obstacles.types(identities)
        for each in aside.obstacles:
            after = now.get(each.identity, {})
            for column, before in each.types.items():
                if after.get(column, before) != before:
                    self._company.observer(
                        Warned(
                            f"{each.identity}.{column} was {before} and is {after[column]} now: it came up on what "
                            f"{self._company.migration} has changed",
                            hint="whoever reads the view is given the new type",
                        )
                    )

    def what_is_down(self, error: BaseException) -> str:
        """Return which views are down, in words, for the hint of a statement that names one of them; empty where it names none."""
        if not self.is_named_in(str(error)):
            return ""
        names = ", ".join(dict.fromkeys(name for aside in self._aside for name in aside.block.names))
        return (
            f"{names} went down, being in the way of a statement before, until the migration ends: a statement that names a view "
            "brings it up; `with V(db):` around the first statement, or @migration(weave=False), does without"
        )


def _plain(identity: str) -> str:
    """Return the name of a view without its schema, in lower case as in the result of `words_of`."""
    return bare(parted(identity)[1]).lower()


def _still_down(block: Block, down: Collection[str]) -> Block:
    """Return a block with only those managers whose views are still down."""
    if all(name in down for name in block.names):
        return block
    return replace(
        block,
        down=[each for each in block.down if name_of(each) in down],
        up=[each for each in block.up if name_of(each) in down],
    )
