"""Revert: undo applied migrations by their `down`, under the same guarantees as a run, and say beforehand what data is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from migrate_graph.code_walk import texts_reached
from migrate_graph.core.events import Connecting, Event, LockWaiting, Observer, Outcome, Warned, ignore_events
from migrate_graph.core.footprint import Fact, Footprint, Statement
from migrate_graph.core.graph import Node, NodeKind
from migrate_graph.core.plan import Plan
from migrate_graph.core.traces import owner_of, relation_and_part
from migrate_graph.core.undoing import undone_with
from migrate_graph.database import open_backend
from migrate_graph.database.cascades import cascades_of, dropping_deletes
from migrate_graph.database.deletions import Deleted, Deletions
from migrate_graph.errors import DecisionNeeded, ExitCode, MigrateGraphError, StillRequired, UsageError
from migrate_graph.executor.own_work import working
from migrate_graph.messages import counted, typed
from migrate_graph.workflow.apply import flag_of
from migrate_graph.workflow.assessment import Assessment, Judging, assess
from migrate_graph.workflow.cache import require_address
from migrate_graph.workflow.former_names import FormerNames
from migrate_graph.workflow.laboratory.back_and_forth import Trip, undo_step
from migrate_graph.workflow.locked import following, locked
from migrate_graph.workflow.locked_run import LockedRun
from migrate_graph.workflow.project import Project, Reading, database_settings, read_history, unknown_name
from migrate_graph.workflow.rehearse import Rehearsal, RehearseOptions, rehearse
from migrate_graph.workflow.repair import decision_needed, read_and_repair
from migrate_graph.workflow.ways_back import deviations, putting_back, tried_on_new_database, with_ways_back

if TYPE_CHECKING:
    from migrate_graph.core.drift import Inventory
    from migrate_graph.database import Backend
    from migrate_graph.signals import Interruption


class RevertOptions(Struct, frozen=True, kw_only=True):
    """How a revert behaves.

    Attributes:
        with_dependents: migrations that require this one are undone before it.
        yes: data may be lost, and a migration may be undone whose code was edited since it was applied.
        lock_wait: seconds to wait while another run holds the lock; None: the configured ones; 0: try once.
    """

    with_dependents: bool = False
    yes: bool = False
    lock_wait: float | None = None


Unit: TypeAlias = Literal["row", "value", "object"]
"""What is counted of lost data."""


class Loss(Struct, frozen=True):
    """Data that is lost when migrations are undone.

    Attributes:
        what: `table public.invoice`, `column public.invoice.total`, `rows of public.invoice`.
        query: SQL that counts the rows or values.
        unit: what is counted.
        rows: the count; None: not counted yet.
        table: the table of a retyped column: if the database does not have it yet, nothing is lost; empty for other losses.
        at_most: SQL that counts all that may be lost, for when `query` fails (the new type does not exist yet, for example).
    """

    what: str
    query: str
    unit: Unit = "row"
    rows: int | None = None
    table: str = ""
    at_most: str = ""

    def __str__(self) -> str:
        return self.what if self.rows is None else f"{self.what} ({counted(self.rows, self.unit)})"


class Foreseen(Struct, frozen=True):
    """What is known of a revert before anything runs.

    Attributes:
        losses: data that the copy shows to be lost, not counted yet.
        sent: the statements that were sent.
        texts: texts in the code of the `down` functions: statements that are sent only where there are rows.
        written: tables with rows that were inserted or updated: their triggers may delete others.
        unknown: why the losses are not known; empty when they are.
        deviations: differences between the database before a migration and after its `down`, in words.
        unsure: why the deviations are not known; empty when they are.
        rehearsal: the rehearsal of the revert on a copy; None: there was none.
    """

    losses: tuple[Loss, ...] = ()
    sent: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    written: frozenset[str] = frozenset()
    unknown: str = ""
    deviations: tuple[str, ...] = ()
    unsure: str = ""
    rehearsal: Rehearsal | None = None


# -- which migrations, in which order ---------------------------------------------------------------------------------


def plan_revert(project: Project, reading: Reading, name: str, *, with_dependents: bool = False) -> Assessment:
    """Return the assessment with the plan of a revert: its steps in the order in which they are undone.

    Raises:
        InvalidGraph: the rules found errors.
        UsageError: the migration is not applied, or one that must be undone has no `down`.
        StillRequired: applied migrations require it.
        DecisionNeeded: the migration, or one that depends on it, was interrupted.
    """
    if name not in project.graph.migrations:
        raise unknown_name(project, name)
    found = assess(project, reading, judging=Judging(errors_only=True))
    found.refuse_errors(doing="revert")
    names = _meant(found, name, with_dependents=with_dependents)
    graph, steps, applied = project.graph, [], set(reading.history.applied)
    for each in names:
        applied.discard(each)
        after = tuple(one for one in names if each in graph.migrations[one].requires)
        steps.append(undo_step(graph, found.planned.order, applied, graph.migrations[each], after))
    plan = replace(found.planned, steps=tuple(steps), blocked=(), unselected=(), added=())
    return found.with_rehearsed(plan)


def _meant(found: Assessment, name: str, *, with_dependents: bool) -> tuple[str, ...]:
    """Return the names of the migrations that are undone, in order."""
    graph, plan, history = found.graph, found.planned, found.reading.history
    concerned = {name} | graph.descendants(name)
    if undecided := [each for each in plan.interrupted if each in concerned]:
        raise decision_needed(undecided, found.reading)
    if name not in history.applied:
        state = plan.standing[Node(NodeKind.MIGRATION, name)].state
        raise UsageError(
            f"'{name}' is {state}: there is nothing to revert", hint="migrate status shows what is applied"
        )
    names = undone_with(graph, name, history.applied, found.project.ordering)
    if len(names) > 1 and not with_dependents:
        hint = "\n".join(
            [
                *(typed("migrate revert", each) for each in names),
                f"or all of them: {typed('migrate revert', name, '--with-dependents')}",
            ]
        )
        raise StillRequired(
            f"'{name}' is required by what is applied; this would have to go first: {', '.join(names[:-1])}", hint=hint
        )
    without = [graph.migrations[each] for each in names if graph.migrations[each].down is None]
    if without:
        told = ", ".join(f"{each.name} ({each.source})" for each in without)
        raise UsageError(
            f"nothing says how this is undone: {told}",
            hint='declare @migration(…, down=function), or down="auto" where it only adds something',
        )
    return names


# -- what data goes ----------------------------------------------------------------------------------------------------


class Tried(Struct, frozen=True):
    """A revert of which every migration has a `down`: a written or a derived one.

    Attributes:
        found: the plan of the revert, with the derived statements.
        trips: by name, the results of trying migrations on a new database, as far as that was asked for.
        unsure: why these results are not known; empty when they are.
    """

    found: Assessment
    trips: Mapping[str, Trip]
    unsure: str = ""


def with_derived(found: Assessment, observer: Observer = ignore_events, *, compares: bool = False) -> Tried:
    """Return a revert in which each `down="auto"` is replaced by derived statements.

    Args:
        found: the result of `plan_revert`.
        observer: called while something is waited for.
        compares: also try on a new database whether the written `down` functions restore what was there before.

    Raises:
        DatabaseError: no database can be made to derive the statements.
        UsageError: a migration with `down="auto"` did more than to add something.
    """
    is_asked = any(isinstance(step.migration.down, str) for step in found.planned.steps)
    try:
        trips = tried_on_new_database(found, _waits(observer), derived_only=not compares)
    except MigrateGraphError as error:
        if is_asked or error.exit_code >= ExitCode.SIGNAL:
            raise
        return Tried(found, {}, f"it could not be tried on a new database: {error.message}")
    failed = next((trip for trip in trips.values() if trip.failed is not None and not trip.again), None)
    why = f"{failed.migration.name} fails on a new database: {failed.failed.error}" if failed and failed.failed else ""
    # Only of written `down` functions: for one that is to be derived, objections have refused the revert already.
    unseen = next((trip for trip in trips.values() if trip.objections), None)
    if unseen is not None and not why:
        why = f"{unseen.migration.name} {unseen.objections[0].what}"
    return Tried(found.with_rehearsed(with_ways_back(found.planned, trips)), trips, why)


def _waits(observer: Observer) -> Observer:
    """Return an observer that passes on only waits and warnings."""

    def tell(event: Event) -> None:
        if isinstance(event, Connecting | LockWaiting | Warned):
            observer(event)

    return tell


def foresee(tried: Tried, observer: Observer = ignore_events) -> Foreseen:
    """Undo the migrations on a copy, and find out what data would be lost; the rows of the database itself are not read.

    Args:
        tried: the result of `with_derived`.
        observer: called while something is waited for.
    """
    seen = _on_copy(tried.found, _waits(observer))
    footprints = seen.rehearsal.footprints if seen.rehearsal is not None and not seen.unknown else {}

    def there() -> frozenset[Fact]:
        with open_backend(database_settings(tried.found.project.config), observer=_waits(observer)) as backend:
            return frozenset(backend.read_inventory().facts)

    return replace(seen, deviations=deviations(tried.trips, footprints, there), unsure=tried.unsure)


def _on_copy(found: Assessment, tell: Observer) -> Foreseen:
    """Undo the migrations on a copy, and find out what data would be lost."""
    try:
        rehearsal = rehearse(found.project, found, RehearseOptions(reverts=True), tell)
    except MigrateGraphError as error:
        if error.exit_code >= ExitCode.SIGNAL:
            raise
        return Foreseen(unknown=f"it could not be tried on a copy: {error.message}")
    failed = next((each for each in rehearsal.results if each.outcome is not Outcome.REVERTED), None)
    if failed is not None or rehearsal.cut:
        why = f"{failed.name}: {failed.error or failed.outcome}" if failed is not None else rehearsal.cut
        return Foreseen(unknown=f"on a copy it fails: {why}", rehearsal=rehearsal)
    seen = [*rehearsal.footprints.values()]
    former, lost, written = FormerNames(), dict[Loss, None](), set[str]()
    for each in seen:
        lost |= dict.fromkeys(_losses(each, former))
        tables = (former.of(name) for name in {owner_of(name) for name in each.writes} | each.inserts)
        written |= {table for table in tables if table is not None}
        former.note(each)
    downs = [step.migration.down for step in found.planned.steps if callable(step.migration.down)]
    sent = tuple(statement.sql for each in seen for statement in each.statements)
    return Foreseen(
        losses=_without_parts(tuple(lost)),
        sent=sent,
        texts=tuple(texts_reached(*downs)),
        written=frozenset(written),
        rehearsal=rehearsal,
    )


def _without_parts(losses: Sequence[Loss]) -> tuple[Loss, ...]:
    """Return losses without the columns and rows of tables that are dropped: those are told already."""
    gone = {loss.what.removeprefix("table ") for loss in losses if loss.what.startswith("table ")}
    return tuple(
        loss for loss in losses if loss.what.startswith("table ") or not any(_is_of(loss, table) for table in gone)
    )


def _is_of(loss: Loss, table: str) -> bool:
    return loss.what == f"rows of {table}" or loss.what.startswith(f"column {table}.") or loss.table == table


def _losses(seen: Footprint, former: FormerNames) -> Iterator[Loss]:
    """Yield the data that is lost by what a step has removed, under the names from before the first step."""
    removed = seen.removed - seen.renamed
    # Only tables hold data: the columns of a view that is dropped or changed are no loss.
    relations = {
        fact.identity for fact in seen.removed | seen.changed | seen.added if fact.kind not in {"column", "table"}
    }
    tables = {fact.identity for fact in removed if fact.kind == "table"}
    for fact in sorted(removed):
        name = former.of(fact.identity, column=fact.kind == "column")
        if name is None:
            continue  # an earlier step has made it
        if fact.kind == "table":
            yield Loss(f"table {name}", f"SELECT count(*) FROM {name}")
        elif fact.kind == "column" and owner_of(fact.identity) not in relations | tables:
            table, column = relation_and_part(name)
            yield Loss(f"column {name}", f"SELECT count({column}) FROM {table}", "value")
    for called, (was, becomes) in sorted(seen.retyped.items()):
        name = former.of(called, column=True)
        if name is not None and owner_of(called) not in relations | tables:
            yield _cut(called, name, was, becomes, seen)
    deleted = {each.removesuffix(".*") for each in seen.writes if each.endswith(".*")}
    deleted |= {table for table, wrote in seen.wrote.items() if wrote.deleted}
    for table in sorted(deleted - tables):
        name = former.of(table)
        if name is not None and Fact("table", table) not in seen.added:
            yield Loss(f"rows of {name}", f"SELECT count(*) FROM {name}")


_USING: Final = re.compile(r"\busing\b(?P<how>.*)", re.IGNORECASE | re.DOTALL)


def _cut(called: str, column: str, was: str, becomes: str, seen: Footprint) -> Loss:
    """Return the values of a column that do not survive its new type: those that are not as they were when cast back.

    Args:
        called: what the column is called in this step.
        column: what it is called before the first step.
        was: its type before this step.
        becomes: its type after it.
        seen: the footprint of the step.
    """
    table, name = relation_and_part(column)
    all_values = f"SELECT count({name}) FROM {table}"
    back = f"CAST(CAST(CAST({name} AS {becomes}) AS {was}) AS text)"
    query = f"SELECT count(*) FROM {table} WHERE {name} IS NOT NULL AND {back} IS DISTINCT FROM CAST({name} AS text)"
    part = relation_and_part(called)[1]
    itself = re.escape(part.strip('"'))
    cast = re.compile(rf'[\s(]*(?:cast\s*\(\s*)?"?{itself}"?\s*(?:::|\bas\b)', re.IGNORECASE)
    if any((found := _USING.search(each.sql)) and not cast.match(found["how"]) for each in _about(part, seen)):
        query = all_values  # by an expression of its own: what of a value is left, nobody knows
    return Loss(f"values of {column}, which become {becomes}", query, "value", table=table, at_most=all_values)


def _about(name: str, seen: Footprint) -> Iterator[Statement]:
    """Yield the statements of a step that define something anew and name a column."""
    for each in seen.statements:
        if "alter" in each.sql.casefold() and name.strip('"').casefold() in each.sql.casefold():
            yield each


def _with_cascades(losses: Sequence[Loss], inventory: Inventory) -> Iterator[Loss]:
    """Yield the lost data, and the data that foreign keys delete with it: a copy has no rows, so it does not show these."""
    yield from losses
    begun = ("rows of ", "table ") if dropping_deletes(inventory) else ("rows of ",)
    waiting = [loss.what.removeprefix(begin) for loss in losses for begin in begun if loss.what.startswith(begin)]
    told = {loss.what for loss in losses}
    cascades = [*cascades_of(inventory)]
    while waiting:
        above = waiting.pop().casefold()
        for each in cascades:
            if each.above.casefold() != above or f"table {each.below}" in told:
                continue
            found = [
                Loss(f"values of {each.below}.{name}", f"SELECT count({name}) FROM {each.below}", "value")
                for name in each.columns
            ]
            new = [
                loss
                for loss in found or [Loss(f"rows of {each.below}", f"SELECT count(*) FROM {each.below}")]
                if loss.what not in told
            ]
            told |= {loss.what for loss in new}
            waiting += [each.below for loss in new if loss.unit == "row"]
            yield from new


def _with_deletions(losses: Sequence[Loss], foreseen: Foreseen, inventory: Inventory) -> tuple[Loss, ...]:
    """Return the lost data, and what only happens where there are rows: what foreign keys, triggers, and code that reads rows delete."""
    known, found = Deletions(inventory), (*losses,)
    fired = [*known.triggers(foreseen.written, "update"), *known.triggers(foreseen.written, "insert")]
    while True:
        found = tuple(_with_cascades(found, inventory))
        emptied = [loss.what.removeprefix("rows of ") for loss in found if loss.what.startswith("rows of ")]
        fired_by_it = [*fired, *known.triggers(emptied, "delete")]
        deleted = known.in_texts(
            known.with_routines([*foreseen.sent, *fired_by_it]), known.with_routines(foreseen.texts)
        )
        new = tuple(loss for loss in _deleted(deleted) if not any(_covers(each, loss) for each in found))
        if not new:
            return _without_parts(found)
        found += new


def _deleted(deleted: Deleted) -> Iterator[Loss]:
    for table in sorted(deleted.tables):
        yield Loss(f"table {table}", f"SELECT count(*) FROM {table}")
    for table, column in sorted(deleted.columns):
        yield Loss(f"column {table}.{column}", f"SELECT count({column}) FROM {table}", "value", at_most="SELECT 0")
    for table in sorted(deleted.rows - deleted.tables):
        yield Loss(f"rows of {table}", f"SELECT count(*) FROM {table}")
    if deleted.has_large_objects:
        yield Loss(
            "large objects", "SELECT count(*) FROM pg_catalog.pg_largeobject_metadata", "object", at_most="SELECT 0"
        )


def _covers(told: Loss, loss: Loss) -> bool:
    """Return whether a loss needs no mention beside another one."""
    return told.what.casefold() == loss.what.casefold() or (
        told.what.startswith("table ") and _is_of(loss, told.what.removeprefix("table "))
    )


def count(foreseen: Foreseen, backend: Backend, interruption: Interruption) -> tuple[Loss, ...]:
    """Count in the database itself what would be lost; leave out what is empty."""
    if foreseen.unknown:
        return ()
    inventory = backend.read_inventory()
    there = [loss for loss in foreseen.losses if not loss.table or Fact("table", loss.table) in inventory.facts]
    losses = _with_deletions(there, foreseen, inventory)
    if not losses:
        return ()
    failed = "nothing was undone: what data goes could not be counted"
    with working(backend, "counting what goes", failed=failed, hint="run it again when that is mended") as work:
        with interruption.stopping(work.cancel):
            counts = [_count(loss, work.db, interruption) for loss in losses]
        work.db.rollback()
    return tuple(replace(loss, rows=rows) for loss, rows in zip(losses, counts, strict=True) if rows)


def _count(loss: Loss, db: Any, interruption: Interruption) -> int:
    try:
        return int(db.executesql(loss.query)[0][0])
    except Exception:
        interruption.check()
        if not loss.at_most:
            raise
    db.rollback()
    return int(db.executesql(loss.at_most)[0][0])


def counted_losses(project: Project, foreseen: Foreseen, observer: Observer) -> tuple[Loss, ...]:
    """Connect and count what would be lost, for a command that changes nothing."""
    if foreseen.unknown:
        return ()
    with locked(project.config, observer) as (backend, _, interruption):
        return count(foreseen, backend, interruption)


# -- the revert ---------------------------------------------------------------------------------------------------------


def revert_project(project: Project, name: str, options: RevertOptions, observer: Observer) -> int:
    """Undo a migration under the lock; return the exit code.

    Raises:
        InvalidGraph: the rules found errors; nothing ran.
        UsageError: there is nothing to undo, or a migration has no `down`.
        StillRequired: applied migrations require it.
        DecisionNeeded: data would be lost, or the code was edited since it was applied, and `yes` was not given.
        LockTimeout: another run held the lock for too long; nothing ran.
    """
    config = project.config
    flag = flag_of(config)
    require_address(config)
    found = plan_revert(project, read_history(config), name, with_dependents=options.with_dependents)
    _refuse_edited(found, name, options, observer)
    tried = with_derived(found, observer, compares=not options.yes)
    found, foreseen = tried.found, foresee(tried, observer)
    with locked(config, observer, wait=options.lock_wait) as (backend, lock, interruption):
        backend.prepare()
        reading = read_and_repair(project, backend, observer, interruption, reverts=True)
        again = plan_revert(project, reading, name, with_dependents=options.with_dependents)
        if again.planned.places != found.planned.places:
            raise DecisionNeeded(
                f"what is to be undone with '{name}' has changed meanwhile",
                hint=typed("migrate revert", name, "--plan"),
            )
        again = again.with_rehearsed(_with_ways_of(again.planned, found.planned))
        _refuse_losses(foreseen, count(foreseen, backend, interruption), name, options, observer)
        backend.preflight(list(again.planned.places), installed=False)
        if flag:
            flag.path.unlink(missing_ok=True)  # this schema version is not complete any more
        run = LockedRun(project, backend, again.planned, reading, putting_back(again.planned, observer))
        run.remember_flush()
        finished = run.revert(lock, interruption)
        done = following(
            f"'{name}' is reverted", "migrate status shows what is reverted; migrate apply would apply it again"
        )
        with done if finished.succeeded else nullcontext():
            return run.conclude(finished, None, interruption)


def _with_ways_of(plan: Plan, earlier: Plan) -> Plan:
    """Return a plan with the migrations, and so the derived `down` functions, of an earlier plan of the same steps."""
    known = {step.migration.name: step.migration for step in earlier.steps}
    return replace(plan, steps=tuple(replace(step, migration=known[step.migration.name]) for step in plan.steps))


def _refuse_edited(found: Assessment, name: str, options: RevertOptions, observer: Observer) -> None:
    """Raise for a migration whose code was edited since it was applied: its `down` may not fit. With `yes`, only warn."""
    standing = found.planned.standing
    edited = [
        f"{step.migration.name} ({step.migration.source})"
        for step in found.planned.steps
        if standing[Node(NodeKind.MIGRATION, step.migration.name)].changed
    ]
    if not edited:
        return
    told = f"edited since it was applied, so that its down may not fit: {', '.join(edited)}"
    if not options.yes:
        raise DecisionNeeded(told, hint=f"look at it, then {typed('migrate revert', name, _again(options))}")
    observer(Warned(told))


def _refuse_losses(
    foreseen: Foreseen, losses: tuple[Loss, ...], name: str, options: RevertOptions, observer: Observer
) -> None:
    """Raise when data would or may be lost, or when the revert does not restore what was there before. With `yes`, only warn."""
    told = []
    if losses or foreseen.unknown:
        told.append(
            f"this data goes: {', '.join(map(str, losses))}"
            if losses
            else f"what data goes is not known: {foreseen.unknown}"
        )
    told += foreseen.deviations
    if foreseen.unsure:
        observer(Warned(f"whether the way back restores what was there before is not known: {foreseen.unsure}"))
    if told and not options.yes:
        why = "; ".join(told)
        hint = typed("migrate revert", name, _again(options))
        if foreseen.unknown:  # where it fails on a copy, it fails here, too
            looks = "--with-dependents --rehearse" if options.with_dependents else "--rehearse"
            hint = f"{typed('migrate revert', name, looks)} tells more\nto try it all the same: {hint}"
        raise DecisionNeeded(f"nothing was undone, since {why}", hint=hint)
    for each in told:
        observer(Warned(each))


def _again(options: RevertOptions) -> str:
    return "--with-dependents --yes" if options.with_dependents else "--yes"
