"""What `with V(db)` does inside a run, and which views can step aside there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from migrate_graph.authoring import ViewMigrationManager, declared_at
from migrate_graph.authoring.views import all_managers, relatives_of
from migrate_graph.core.events import Event, Observer, ViewBuilt, ViewDropped, ViewFellBack, Warned
from migrate_graph.core.graph import build_graph
from migrate_graph.core.hand_overs import hand_overs, heirs_in
from migrate_graph.core.model import UsesFrom, Way
from migrate_graph.core.timeline import Moment, Timeline
from migrate_graph.core.uses import as_written, with_more_uses, with_uses
from migrate_graph.core.ways import beside_in, deferred_in
from migrate_graph.database.views.block import Block, StillRead, is_unmanaged
from migrate_graph.database.views.replacing import Renewal
from migrate_graph.errors import UsageError
from migrate_graph.executor import checkpoints
from migrate_graph.executor.checkpoints import Checkpoint
from migrate_graph.messages import typed

if TYPE_CHECKING:
    from migrate_graph.core.graph import MigrationGraph
    from migrate_graph.core.timeline import Moment, ViewBlock
    from migrate_graph.database import Work
    from migrate_graph.database.views.weaving import Weaver


_LONG = 300
"""Characters of names in a hint."""

_NOT_WOVEN = (
    'a view that is in the way steps aside and comes back with `weave = "blocked"` in [tool.migrate] and without '
    '@migration(weave=False), and with `unmanaged = "keep"` also one that no manager owns'
)


def _may_be_a_view(error: BaseException) -> bool:
    """Return whether the server refused a statement since something, which may be a view, depends on what the statement changes."""
    code = getattr(error, "pgcode", None)
    detail = getattr(getattr(error, "diag", None), "message_detail", None)
    return code == "2BP01" or (code == "0A000" and bool(detail))


@lru_cache(maxsize=1)
def _timeline(graph: MigrationGraph) -> Timeline:
    """Return the views over time; it is kept for the whole run, so that its lookups are made once."""
    return Timeline(graph)


@lru_cache(maxsize=1)
def _managers_of(graph: MigrationGraph) -> frozenset[type | None]:
    """Return the manager classes of the views of a graph."""
    return frozenset(view.manager for view in graph.views.values())


@lru_cache(maxsize=1)
def _fingerprints(graph: MigrationGraph) -> Mapping[str, str]:
    return {name: view.fingerprint for name, view in graph.views.items()}


class _Everything(Container[str]):
    """A container that contains every name."""

    def __contains__(self, name: object) -> bool:
        return True


class RunViews:
    """Opens view managers on the connection of one attempt, and tells the weaver about them (it is a `weaving.Company`).

    Args:
        graph: what is declared.
        name: name of the migration.
        observer: called when a view goes down or comes up.
        foreseen: names of the managers that the migration may open (in a worker of `--jobs`); None: any.
        overdue: views that never came up here, although their windows are open; see `Timeline.overdue`.
        unrecorded: views that exist, or did when the run began, and that the view ledger does not know.
        keeps_unmanaged: see `weaving.Company`.
        defers: all materialized views come up without their rows.

    Attributes:
        undoes: see `weaving.Company`.
        were_opened: a view went down or was replaced in the attempt, so that what came up must be checked at its end.
        stepped_aside: names of the managers whose views stepped aside to come back, in the order in which they went down. A view
            whose window closes with the migration is not among them: it does not come back.
        replaced: names of the managers whose views got their new text while they stayed up.
        migration: see `weaving.Company`.
        observer: as above.
        deferred: see `weaving.Company`.
        guards_only: see `weaving.Company`.
    """

    undoes = False

    def __init__(
        self,
        graph: MigrationGraph,
        name: str,
        observer: Observer,
        *,
        foreseen: AbstractSet[str] | None = None,
        keeps_unmanaged: bool = False,
        overdue: AbstractSet[str] = frozenset(),
        unrecorded: AbstractSet[str] = frozenset(),
        defers: bool = False,
    ) -> None:
        self.guards_only = foreseen is not None
        self.deferred: Container[str] = _Everything() if defers else deferred_in(graph)
        self.were_opened = False
        self.stepped_aside: dict[str, None] = {}
        self.replaced: dict[str, None] = {}
        self.migration = name
        self.observer = observer
        self.keeps_unmanaged = keeps_unmanaged
        self._graph = graph
        self._applied: AbstractSet[str] | None = None
        self._now: Moment | None = None
        self._managers = _managers_of(graph)
        self._foreseen = foreseen
        self._overdue = overdue
        self._unrecorded = unrecorded
        self._work: Work | None = None
        self._weaving: Weaver | None = None
        self._weaves = True
        self._turning: ViewBlock | None = None
        self._fell_back: set[ViewFellBack] = set()

    def begin(self, work: Work, *, weave: bool) -> None:
        """Begin the body of a migration.

        Args:
            work: the connection of the attempt.
            weave: views step aside for its statements; where others run beside it, such statements are refused instead.
        """
        self._work = work
        self._weaves = weave
        weaving = work.weave(self) if weave else None
        self._weaving = weaving if not self.guards_only else None

    @property
    def work(self) -> Work:
        """The connection of the attempt; it exists from the beginning of the body on."""
        assert self._work is not None  # noqa: S101 - asked when the body runs
        return self._work

    def come_back(self) -> None:
        """Bring up the views that have stepped aside. Nothing is done when the connection takes no statements; `end` raises then.

        Raises:
            ViewError: a view did not come up.
        """
        if self._weaving is not None and self._weaving.can_bring_up():
            self._weaving.bring_up()

    def turn(self, db: Any) -> None:
        """Create, drop and hand over the views whose windows open or close with the migration; called after its body.

        Raises:
            ViewError: a view did not come up, or a view without a manager would be lost.
            AttemptFailed: the work of the body is lost.
        """
        self.work.check()
        if self.were_opened:
            self.work.views.check_complete()
        self._learning(partial(self._begin_turn, db))
        if self._turning is None:
            return
        self.work.views.bring_up()
        checkpoints.reached(Checkpoint.VIEWS_UP)
        self._turning = None

    def _begin_turn(self, db: Any, *, beside: bool = True) -> None:
        self._turning, then, built = self._turn()
        if beside and self.work.views.replaces and self._hand_over(self._turning, then, built, db):
            self._turning, then, _ = self._turn()
        if self._turning.up or self._turning.down:
            again = partial(self._begin_turn, db, beside=False) if beside else None
            self._take_down(self._turning, then, self._instances(self._turning, db), db, again)
        else:
            self._turning = None

    def _hand_over(self, turn: ViewBlock, then: Moment, built: Container[str], db: Any) -> bool:
        """Replace views by their successors without dropping them, where possible.

        Returns:
            Whether anything was done; then the rest of the turn must be computed again.
        """
        done = False
        for each in hand_overs(_timeline(self._graph), turn, built):
            if each.first.up:
                self._take_down(each.first, then, self._instances(each.first, db), db, None)
                self.work.views.bring_up()
                done = True
            done |= self._replaces(each.block, {}, db, leaving=each.leaving)
        return done

    def _instances(self, block: ViewBlock, db: Any) -> dict[str, ViewMigrationManager]:
        return {name: self._graph.views[name].manager(db) for name in (*block.down, *block.up)}

    def has_turn(self) -> bool:
        """Return whether views may come up or go down by themselves when the body has ended."""
        graph = self._graph
        if not graph.registry.windows or self.migration not in graph.migrations:
            return False
        return bool(self._overdue) or self.migration in graph.bounds

    def _turn(self) -> tuple[ViewBlock, Moment, AbstractSet[str]]:
        """Return the views that go down and come up by their windows, the views as they are afterwards, and the views that exist now."""
        with self.work.views.working():
            return self._turn_now()

    def _turn_now(self) -> tuple[ViewBlock, Moment, AbstractSet[str]]:
        timeline, applied, name, views = _timeline(self._graph), self.read_applied(), self.migration, self.work.views
        then = timeline.moment(applied=applied | {name})
        built = views.remembered()
        if foreign := self._unrecorded - built:
            built |= views.unrecorded({each: self._graph.views[each].manager for each in foreign})
        late = [view for view in timeline.overdue(name, applied=applied, built=built) if view in self._overdue]
        block = timeline.turn(name, applied=applied, built=built, late=late)
        gone = views.dropped_by_hand(built.intersection(block.down)) if block.down else ()
        if gone:
            views.forget([each for each in gone if not then.active(each)])
            built -= gone
            block = timeline.turn(name, applied=applied, built=built, late=late)
        return block, then, built

    @property
    def must_come_back(self) -> bool:
        """Whether a view has stepped aside, or may have been broken by a statement."""
        return self._weaving is not None and (self._weaving.may_be_down or self._weaving.must_look)

    @property
    def unfilled(self) -> tuple[str, ...]:
        """Names of the managers whose materialized views came up without their rows, also of views that an earlier migration left down."""
        return tuple(self._work.views.unfilled) if self._work is not None else ()

    def body_is_over(self) -> None:
        """Note that the body has ended: no view steps aside any more."""
        if self._weaving is not None:
            self._weaving.is_over = True

    def end(self) -> None:
        """Check every view that came up.

        Raises:
            ViewError: a view did not come up, or the migration rolled back inside a block.
            AttemptFailed: the work of the body is lost.
        """
        self.work.check()
        if self._weaving is not None and self._weaving.may_be_down:  # the body had closed its connection
            self._weaving.bring_up()
            self.work.check()
        if self.were_opened:
            self.work.views.check_complete()
            for view, why in self.work.views.unreadable().items():
                self.observer(
                    Warned(
                        f"{view} came up in {self.migration}, but cannot be read: {why}", "create what it reads first"
                    )
                )

    def hint_for(self, error: BaseException) -> str:
        """Return what to do about an error of a statement; empty when views have nothing to do with it."""
        if self._turning is not None:
            names = ", ".join(dict.fromkeys((*self._turning.up, *self._turning.down)))
            return (
                f"sent when {self.migration} had ended, for the windows of {names[:_LONG]}: "
                "what a view reads must be there when its window opens (`since`), and what reads it must be declared (`uses`)"
            )
        if self._foreseen is not None and _may_be_a_view(error):
            return (
                "while others run beside it (--jobs) no view steps aside: open its manager, or apply it without --jobs"
            )
        if self._weaving is not None:
            return self._weaving.hint_for(error)
        return _NOT_WOVEN if not self._weaves and _may_be_a_view(error) else ""

    def read_applied(self) -> AbstractSet[str]:
        """Return which names are installed, without this migration; read in its transaction at the first call, and kept."""
        if self._applied is None:
            with self.work.views.working():
                self._applied = self.work.read_applied() - {self.migration}
        return self._applied

    def enter(self, manager: ViewMigrationManager) -> None:
        """Take down the manager's view and what depends on it, in one pass."""
        name = self._admitted(type(manager))
        self._open([name], {name: manager}, manager.db)

    def renew(self, manager: ViewMigrationManager) -> None:
        """Replace the text of the manager's view by the declared one; views that read it stay up where the database allows that."""
        name = self._admitted(type(manager))
        block, _ = self._block([name])
        if name not in block.up or not self._replaces(block, {name: manager}, manager.db):
            self.enter(manager)
            self.leave(manager, None)

    def _replaces(
        self, block: ViewBlock, given: Mapping[str, ViewMigrationManager], db: Any, *, leaving: Collection[str] = ()
    ) -> bool:
        """Replace the new and edited views of a block without dropping them; return whether that was possible. If not, nothing was done.

        Args:
            block: the views that would go down and come up.
            given: manager instances by name; their views are replaced whether their text was edited or not.
            db: the database.
            leaving: names of the managers whose views are dropped afterwards.
        """
        heirs = heirs_in(_timeline(self._graph), block)
        if heirs is None:
            return False
        instances = {**self._instances(block, db), **given}
        self._clear_the_way(instances)
        self.were_opened = True
        views = Block(
            [instances[name] for name in heirs.values()],
            [instances[name] for name in block.up],
            self.migration,
            self.observer,
            self.texts(),
        )
        done = self.work.views.replace(Renewal(views, opened=given.keys(), heirs=heirs, leaving=leaving))
        if not done.names:
            self._fall_back([*given, *heirs], Way.IN_PLACE, done.why_not)
            return False
        self.replaced |= dict.fromkeys(done.names)
        checkpoints.reached(Checkpoint.VIEWS_UP)
        return True

    def _fall_back(self, names: Iterable[str], way: Way, why: str) -> None:
        """Report, once for each event, that views have to go down although it was tried to keep them up."""
        event = ViewFellBack(self.migration, ", ".join(names), way, why)
        if why and event not in self._fell_back:
            self._fell_back.add(event)
            self.observer(event)

    def _block(self, names: Sequence[str]) -> tuple[ViewBlock, Moment]:
        """Return the views that go down and come up when these managers are opened, and the views as they are then."""
        moment = self._moment()
        return moment.block(names), moment

    def _open(self, names: Sequence[str], given: Mapping[str, ViewMigrationManager], db: Any) -> None:
        self._learning(lambda: self._open_as_known(names, given, db))

    def _open_as_known(
        self, names: Sequence[str], given: Mapping[str, ViewMigrationManager], db: Any, *, beside: bool = True
    ) -> None:
        again = partial(self._open_as_known, names, given, db, beside=False)
        block, moment = self._block(names)
        instances = {**self._instances(block, db), **given}
        self._clear_the_way(instances)
        self._take_down(block, moment, instances, db, again if beside else None)

    def _learning(self, take_down: Callable[[], None]) -> None:
        """Call `take_down`; call it again as long as the database reports undeclared readers, which then belong to the block, too."""
        while True:
            try:
                take_down()
            except StillRead as error:
                if not self._learns(error):
                    raise
            else:
                return

    def _learns(self, error: StillRead) -> bool:
        """Add the uses that the database knows to the graph; return whether any was new, so that the block must be computed again.

        Raises:
            StillRead: the same error, with what to do, when the missing uses belong to a view whose `uses` are declared, or the reader
                is a view whose window is closed.
        """
        views, seen = self._graph.views, self.work.views.uses_seen()
        better = build_graph(replace(self._graph.registry, views=with_more_uses(self._graph.registry.views, seen)))
        if any(set(better.views[name].uses) != set(view.uses) for name, view in views.items()):
            self._knows(better)
            return True
        missing = {
            name: seen[name] & views.keys() - {*view.uses}
            for name, view in views.items()
            if view.uses_from is UsesFrom.DECLARED and name in seen
        }
        lines = [
            f"{name} ({views[name].source}) reads {', '.join(sorted(more))}, so write {as_written({*views[name].uses, *more}, views)}"
            for name, more in missing.items()
            if more
        ]
        lines += [
            f"{name} ({views[name].source}) reads it, and {self.why_closed(name)}"
            for name in sorted(seen.keys() & views.keys())
            if seen[name] & error.managers and not self.is_living(name)
        ]
        if lines:
            raise StillRead(error.message, hint="; ".join(lines)) from error
        return False

    def _knows(self, better: MigrationGraph) -> None:
        """Use a graph from here on that knows more about the views."""
        self._graph, self._now = better, None
        if not isinstance(self.deferred, _Everything):
            self.deferred = deferred_in(better)

    def _take_down(
        self,
        block: ViewBlock,
        moment: Moment,
        instances: Mapping[str, ViewMigrationManager],
        db: Any,
        again: Callable[[], None] | None,
    ) -> None:
        """Take the views of a block down.

        Args:
            block: the block.
            moment: the views as they are then.
            instances: manager instances of its views, by name.
            db: the database.
            again: called to do the same without building views beside the old ones, when that has failed; None: do not try it.
        """
        self.were_opened = True
        beside = beside_in(self._graph, block, self.deferred) if again is not None else ()
        self.work.views.take_down(
            [instances[name] for name in block.down],
            [instances[name] for name in block.up],
            migration=self.migration,
            observer=self._observe_exchange if beside else self.observer,
            texts=self.texts(),
            used=lambda: [self._graph.views[name].manager(db) for name in moment.used_by(block.up)],
            deferred=self.deferred,
            beside=beside,
            instead=partial(self._learning, again) if again is not None else None,
        )
        if not beside:
            checkpoints.reached(Checkpoint.VIEWS_DOWN)

    def _observe_exchange(self, event: Event) -> None:
        self.observer(event)
        if isinstance(event, ViewBuilt):
            checkpoints.reached(Checkpoint.VIEW_BUILT)
        elif isinstance(event, ViewDropped):
            checkpoints.reached(Checkpoint.VIEWS_DOWN)

    def _admitted(self, kind: type[ViewMigrationManager]) -> str:
        """Return the name of a manager after checking that it may be opened."""
        self._require_foreseen(kind.__name__)
        self._add_undeclared(kind)
        return kind.__name__

    def _require_foreseen(self, name: str) -> None:
        """Refuse a view that was not known when it was decided what may run beside this migration.

        Raises:
            UsageError: the view was not known; the hint says how to declare it.
        """
        if self._foreseen is not None and name not in self._foreseen:
            raise UsageError(
                f"{self.migration} opens the view {name}, which its text does not show, while others run beside it (--jobs)",
                hint=f"declare it, @migration(views=[{name}]), or apply it without --jobs",
            )

    def _add_undeclared(self, kind: type[ViewMigrationManager]) -> None:
        """Add managers that were not declared when the files were loaded: a late import, or a class that the body has made.

        Raises:
            UsageError: another manager has the same name, and it is not clear which one is meant.
        """
        declared = self._graph.views
        managers = self._managers
        if managers.issuperset(all_managers()):  # the common case; no class is asked for its `uses`
            return
        strangers = [each for each in relatives_of(kind) if each not in managers]
        for each in strangers[:]:
            known = declared.get(each.__name__)
            if known is not None and declared_at(known.manager) == declared_at(each):  # its file was executed again
                strangers.remove(each)
            elif known is not None:
                raise UsageError(
                    f"two view managers are called {each.__name__}: {declared_at(known.manager)} and {declared_at(each)}",
                    hint="rename one of them",
                )
        if strangers:
            names = ", ".join(f"{each.__name__} ({declared_at(each)})" for each in strangers)
            self.observer(
                Warned(
                    f"not declared while the files were loaded, so nothing could be checked about: {names}",
                    "import them at the top of the migrations file",
                )
            )
            views = tuple(each.as_view(position=len(declared) + at) for at, each in enumerate(strangers))
            registry = self._graph.registry
            self._knows(build_graph(replace(registry, views=with_uses((*registry.views, *views)))))
            self._managers = managers.union(strangers)

    def leave(self, manager: ViewMigrationManager, error: BaseException | None) -> None:
        """Bring up the views that this block took down; nothing comes up when the block failed."""
        if error is not None:
            self.work.views.abandon()
            return
        self._bring_up([type(manager).__name__])

    def _bring_up(self, opened: Sequence[str]) -> None:
        """Bring up the views that these blocks took down; before them, the views that they use and that have stepped aside."""
        if self._weaving is not None:
            block, moment = self._block(opened)
            self._clear_the_way(moment.used_by(block.up))
        self.work.views.bring_up()
        checkpoints.reached(Checkpoint.VIEWS_UP)

    def _clear_the_way(self, names: Iterable[str]) -> None:
        """Bring up the views that have stepped aside, when views of these managers may be among them."""
        if self._weaving is not None and self._weaving.concerns(names):
            self._weaving.try_to_bring_up()

    # -- see `weaving.Company` ----------------------------------------------------------------------------------------------

    def _moment(self) -> Moment:
        self._now = self._now or _timeline(self._graph).moment(applied=self.read_applied(), running=self.migration)
        return self._now

    def texts(self) -> Mapping[str, str]:
        """See `weaving.Company`."""
        return _fingerprints(self._graph)

    def declared(self) -> Mapping[str, type]:
        """See `weaving.Company`."""
        return {name: view.manager for name, view in self._graph.views.items()}

    def is_living(self, name: str) -> bool:
        """See `weaving.Company`."""
        return name in self._moment().affected([name])

    def readers(self, names: Collection[str]) -> Sequence[str]:
        """See `weaving.Company`."""
        return self._moment().block(names).down

    def uses(self, name: str) -> Sequence[str]:
        """See `weaving.Company`."""
        return self._graph.views[name].uses

    def instance(self, name: str) -> ViewMigrationManager:
        """See `weaving.Company`."""
        manager: ViewMigrationManager = self._graph.views[name].manager(self.work.db)
        return manager

    def after(self, names: Collection[str]) -> Sequence[str]:
        """See `weaving.Company`."""
        return _timeline(self._graph).moment(applied=self.read_applied() | {self.migration}).living_versions(names)

    def used_by(self, names: Collection[str]) -> Sequence[ViewMigrationManager]:
        """See `weaving.Company`."""
        return [self.instance(name) for name in self._moment().used_by(names)]

    def place_of(self, name: str) -> str:
        """See `weaving.Company`."""
        return str(self._graph.views[name].source)

    def why_closed(self, name: str) -> str:
        """See `weaving.Company`."""
        since = self._graph.views[name].since
        if since is not None and since not in self.read_applied() | {self.migration}:
            return f"{since}, its `since`, is not installed: if it was applied, {typed('migrate mark', since, '--installed')}"
        return "its window is closed: drop it before this statement (`DROP VIEW`), it comes up no more"

    def went_down(self, names: Collection[str]) -> None:
        """See `weaving.Company`."""
        self.stepped_aside |= dict.fromkeys(name for name in names if is_unmanaged(name) or self.after([name]))
        self.were_opened = True
        checkpoints.reached(Checkpoint.VIEWS_DOWN)

    def came_up(self) -> None:
        """See `weaving.Company`."""
        checkpoints.reached(Checkpoint.VIEWS_UP)
