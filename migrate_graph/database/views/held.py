"""Views of a run that is one transaction: one that a later migration takes down again stays down, as long as no statement can notice it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct, field
from msgspec.structs import replace

from migrate_graph.database.books.view_ledger import LedgerRow, ViewLedger, ViewState
from migrate_graph.database.views.block import Block, is_unmanaged
from migrate_graph.database.views.catalog import ViewCatalog
from migrate_graph.database.views.claims import name_of
from migrate_graph.database.views.keeper import ViewKeeper
from migrate_graph.database.views.replacing import Renewal, Replaced
from migrate_graph.errors import ViewError
from migrate_graph.quoting import words_of

if TYPE_CHECKING:
    from migrate_graph.database import AtomicIntent

# Statements that read no view that they do not name. Other statements may, for example a SELECT that calls a function of the project.
_PLAIN = re.compile(
    r"\s*(?:CREATE\s+(?:UNLOGGED\s+)?TABLE|ALTER\s+TABLE|DROP\s+TABLE|CREATE\s+(?:UNIQUE\s+)?INDEX|DROP\s+INDEX|"
    r"CREATE\s+SEQUENCE|COMMENT\s+ON|INSERT\s+INTO|UPDATE|DELETE\s+FROM)\b(?!.*;\s*\S)(?!.*\bCASCADE\b)",
    re.IGNORECASE | re.DOTALL,
)
_ALTERS = re.compile(r"\s*ALTER\s+TABLE\b(?!.*;\s*\S)(?!.*\bCASCADE\b)", re.IGNORECASE | re.DOTALL)
_READ = re.compile(
    r'\b(?:FROM|JOIN)\b[\s(]*(?:ONLY\s+)?((?:"(?:[^"]|"")+"|[\w$.])+(?:\s*,\s*(?:"(?:[^"]|"")+"|[\w$.])+)*)',
    re.IGNORECASE,
)


def _named_by(row: LedgerRow) -> set[str]:
    """Return the names of a manager's views and of what they read: a statement with such a name may notice that the views are down."""
    found = set[str]()
    for relation in row.relations:
        found.add(relation.name.lower())
        for read in _READ.findall(relation.definition):
            found |= words_of(read)
    return found


class _Left(Struct, frozen=True):
    """A block that was left with its views down. It keeps classes instead of managers, which would refer to the `DAL` of the migration.

    Attributes:
        ups: classes of the managers whose views come up, dependencies first.
        used: classes of the living managers that those use, dependencies first.
        block: the block without its managers.
    """

    ups: tuple[type, ...]
    used: tuple[type, ...]
    block: Block


_Entry: TypeAlias = "tuple[type, _Left]"
"""The class of a manager, and the block in which its views went down."""


class HeldViews(Struct):
    """The views that are held: left down between the migrations of a run.

    Attributes:
        needed_until: position of the last migration that takes each view down, by the name of the view's manager; 1 is the first.
        places: positions of the migrations, by name.
        place: position of the running migration.
        was_used: a view was held in this run.
    """

    needed_until: Mapping[str, int] = field(default_factory=dict)
    places: Mapping[str, int] = field(default_factory=dict)
    place: int = 0
    was_used: bool = False
    _entries: dict[str, _Entry] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)
    _views: set[str] = field(default_factory=set)  # names of all views that were ever held
    _saved: tuple[dict[str, _Entry], set[str]] = field(default_factory=lambda: ({}, set()))

    @classmethod
    def of(cls, intent: AtomicIntent) -> HeldViews:
        """Return the held views of a run that begins: none."""
        return cls({} if intent.careful else intent.needed_until, intent.places)

    def __bool__(self) -> bool:
        return bool(self._entries)

    @property
    def managers(self) -> AbstractSet[str]:
        """Names of the managers whose views are held."""
        return self._entries.keys()

    @property
    def retired(self) -> AbstractSet[str]:
        """Names of those managers whose views do not come up any more: a successor has replaced them, or their window has closed."""
        return {name for name, (kind, left) in self._entries.items() if kind not in left.ups}

    def is_needed_later(self, names: Iterable[str]) -> bool:
        """Return whether a later migration takes the views of any of these managers down."""
        return any(self.needed_until.get(name, 0) > self.place for name in names)

    def hold(self, block: Block, rows: Mapping[str, LedgerRow]) -> None:
        """Add the views of a block that is left down."""
        kinds = {name_of(each): type(each) for each in (*block.down, *block.up)}
        left = _Left(
            tuple(map(type, block.up)), tuple(map(type, block.used())), replace(block, down=[], up=[], used=tuple)
        )
        for name, kind in kinds.items():
            self._entries.pop(name, None)  # moved to the end: views come up in the order in which they were held
            self._entries[name] = kind, left
            self._names |= _named_by(rows[name])
            self._views |= {relation.name.lower() for relation in rows[name].relations}
        self.was_used = True

    def take(self, names: Collection[str]) -> dict[str, _Entry]:
        """Remove and return the entries of those of these managers whose views are held: a block takes them over."""
        return {name: self._entries.pop(name) for name in [*self._entries] if name in names}

    def put_back(self, entries: Mapping[str, _Entry]) -> None:
        """Restore the entries of a block that did not begin."""
        self._entries = {**entries, **self._entries}

    def may_notice(self, text: str, *, weaves: bool = False) -> bool:
        """Return whether a statement could notice that held views are down.

        Args:
            text: the statement.
            weaves: views step aside for an ALTER TABLE anyway, so that it notices only a view that it names.
        """
        if weaves and _ALTERS.match(text):
            return not self._views.isdisjoint(words_of(text))
        return not _PLAIN.match(text) or not self._names.isdisjoint(words_of(text))

    def require_none(self) -> None:
        """Raise when views are still held: the migration that would have brought them up did not run. Called before the run is committed.

        Raises:
            ViewError: views are down. A careful run holds none.
        """
        if self._entries:
            raise ViewError(
                f"views are still down: {', '.join(sorted(self._entries))}",
                hint="the migration that was to bring them up did not run",
            )

    def save(self) -> None:
        """Note what is held now, before the body: the migration may be rolled back to this point."""
        self._saved = (dict(self._entries), set(self._names))

    def go_back(self) -> None:
        """Hold again what was held at `save`; called after the rollback."""
        self._entries, self._names = dict(self._saved[0]), set(self._saved[1])


class HeldKeeper(ViewKeeper):
    """Keeps the views of one migration in a run that is one transaction.

    Args:
        catalog: the catalog, on the run's connection.
        ledger: the view ledger, on the same connection.
        held: the views that earlier migrations have left down.
        db: returns the `DAL` of the migration, with which managers bring views up.

    Attributes:
        weaves: views step aside for statements of the migration.
    """

    def __init__(self, catalog: ViewCatalog, ledger: ViewLedger, held: HeldViews, db: Callable[[], Any]) -> None:
        super().__init__(catalog, ledger)
        self._held = held
        self._db = db
        self.weaves = False

    def before_statement(self, text: str = "") -> None:
        """Bring up the held views before a statement of the body that could notice that they are down."""
        if self._held and not self._at_work and self._held.may_notice(text, weaves=self.weaves):
            self.release()

    def _begin(self, block: Block) -> None:
        entries, wanted = self._held.take(block.names), block.down
        block.down = there = [each for each in wanted if name_of(each) not in entries]
        try:
            super()._begin(block)
        except BaseException:
            self._held.put_back(entries)
            raise
        block.down = wanted  # the block takes over the held views, with what the view ledger stores of them
        if entries and not there:
            _, first = next(iter(entries.values()))
            block.before, block.place = first.block.before, first.block.place

    def replace(self, renewal: Renewal) -> Replaced:
        """See `ViewKeeper.replace`; held views need no replacement: they come up with their new text."""
        return super().replace(renewal) if self._held.managers.isdisjoint(renewal.block.names) else Replaced()

    def remembered(self) -> frozenset[str]:
        """See `ViewKeeper.remembered`; the rows of retired views are kept until the held views come up."""
        return super().remembered() - self._held.retired

    def bring_up(self) -> None:
        with self.working():
            if len(self._blocks) == 1:
                if self._hold(self._blocks[0]):
                    self._blocks.pop()
                    return
                self._release()
            super().bring_up()

    def _hold(self, block: Block) -> bool:
        """Leave the views of a block down if a later migration takes them, or other held views, down again; return whether they were left."""
        if not block.names or not self._held.is_needed_later([*block.names, *self._held.managers]):
            return False
        rows = self._ledger.read(block.names)
        is_down = all(name in rows and rows[name].state is ViewState.DOWN for name in block.names)
        if is_down:
            self._held.hold(block, rows)
        return is_down

    def stays_down(self, block: Block, rows: Mapping[str, LedgerRow]) -> bool:
        stays = not any(map(is_unmanaged, block.names)) and self._held.is_needed_later(block.names)
        if stays:
            self._held.hold(block, rows)
        return stays

    def release(self) -> None:
        """Bring up all held views."""
        with self.working():
            self._release()

    def _release(self) -> None:
        entries = self._held.take([*self._held.managers])
        try:
            rows = self._ledger.read(entries)
            down = {name: each for name, each in entries.items() if name in rows and rows[name].state is ViewState.DOWN}
            for left in {id(left): left for _, left in down.values()}.values():
                some = {name: kind for name, (kind, its) in down.items() if its is left}
                self._run_up(self._again(left, some), {name: rows[name] for name in some})
        except BaseException:  # the body may go on: then they come up when a migration ends, or that one fails
            self._held.put_back(entries)
            raise

    def _again(self, left: _Left, kinds: Mapping[str, type]) -> Block:
        """Return a block with the held managers of an earlier block, on the `DAL` of the running migration."""
        db = self._db()
        ups = [kind(db) for kind in left.ups if kind in kinds.values()]
        retired = [kind(db) for kind in kinds.values() if kind not in left.ups]
        return replace(left.block, down=retired, up=ups, used=lambda: [kind(db) for kind in left.used])

    def end_migration(self) -> None:
        """Bring up all held views when a migration ends and no later migration takes any of them down."""
        if self._held and not self._held.is_needed_later(self._held.managers):
            self.release()

    def _missing(self) -> list[str]:
        with self.working():
            return [name for name in super()._missing() if name not in self._held.managers]
