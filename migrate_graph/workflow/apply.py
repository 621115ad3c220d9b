"""Apply: restore or create, repair, plan and run inside the lock, and do what comes after a run."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from migrate_graph import __version__
from migrate_graph.config import SourceKind
from migrate_graph.core.events import (
    Observer,
    Outcome,
    Result,
    RunFinished,
    RunStarted,
    StepFinished,
    Warned,
)
from migrate_graph.core.history import History, ways_out
from migrate_graph.core.late import nx
from migrate_graph.core.rules import RULES, Doing, Severity
from migrate_graph.core.timeline import Timeline
from migrate_graph.errors import (
    DatabaseError,
    DecisionNeeded,
    ExitCode,
    MigrateGraphError,
    PendingTaskFailed,
    RestoreError,
    StalePlan,
    UsageError,
)
from migrate_graph.executor import Checkpoint, checkpoints
from migrate_graph.loader import user_imports
from migrate_graph.messages import counted, typed
from migrate_graph.workflow.assessment import Assessment, Judging, Selection, assess
from migrate_graph.workflow.coalescing import coalesces
from migrate_graph.workflow.locked import locked
from migrate_graph.workflow.one_transaction import require_possible
from migrate_graph.workflow.project import Project, Reading, database_settings, weaving_options, with_views_there
from migrate_graph.workflow.side_by_side import Jobs, jobs_of

if TYPE_CHECKING:
    from migrate_graph.completion_flag import CompletionFlag
    from migrate_graph.config import Config
    from migrate_graph.core.coalescing import Segment
    from migrate_graph.core.plan import Plan
    from migrate_graph.database import Backend, Lock
    from migrate_graph.database.views.repair import Unrepaired
    from migrate_graph.executor.team import Team
    from migrate_graph.signals import Interruption
    from migrate_graph.workflow.sealing import SealedPlan

_FLUSH = "flush"
"""What the journal calls a cache flush that is still to be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyOptions:
    """How `apply` behaves.

    Attributes:
        selection: which part is meant; closed under requirements.
        keep_going: after an exception, go on with what does not depend on it.
        fail_fast: stop at the first falsy return too.
        lock_wait: seconds to wait for another runner; None for the configured ones, 0 to try once.
        fake: record the planned migrations as installed without running them.
        atomic: run all of them in one transaction; None for what is configured.
        coalesce: consecutive steps that need the same views share a transaction; None for what is configured.
        woven: managers whose views were in the way of statements in a rehearsal, by the migration's name.
        jobs: how many may run at once; None for what is configured.
        doing: what the graph is judged for.
        sealed: run exactly this plan; None: what is pending.
        strict: of a sealed plan, a statement that its rehearsal did not see fails the migration; else it is told.
    """

    selection: Selection = field(default_factory=Selection)
    keep_going: bool = False
    fail_fast: bool = False
    lock_wait: float | None = None
    fake: bool = False
    atomic: bool | None = None
    coalesce: bool | None = None
    woven: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    jobs: int | None = None
    doing: Doing = Doing.RUN
    sealed: SealedPlan | None = None
    strict: bool = False


def apply_project(project: Project, options: ApplyOptions, observer: Observer) -> int:
    """Run what is pending, under the lock; return what the process ends with.

    Raises:
        InvalidGraph: the rules found errors; nothing ran.
        UsageError: the plan cannot be one transaction, as it was asked to be; nothing ran.
        LockTimeout: another runner was at work for too long; nothing ran.
        DecisionNeeded: a migration was interrupted, or views could not be repaired.
        PendingTaskFailed: the migrations are fine, the cache flush, a refresh or the flag is not.
        StalePlan: something has moved since the plan that was given was sealed; nothing ran, and nothing was written.
    """
    config = project.config
    options = _settled(options, config, observer)
    assess(project, judging=_judging(options)).refuse_what_no_history_excuses(doing="apply")
    flag = flag_of(config)
    if config.redis_host:
        from migrate_graph.redis_cache import check_address

        check_address(config.redis_host)
    if flag and flag.is_set():
        return _already_complete(flag, observer)
    with locked(config, observer, wait=options.lock_wait) as (backend, lock, interruption):
        if flag and flag.is_set(backend.fingerprint(), observer):
            return _already_complete(flag, observer)
        history = backend.read_history() if backend.has_ledger() else None
        found = _judged_before_writing(project, options, backend, history)
        if options.sealed is not None and not _may_run_sealed(options.sealed, found, backend, observer):
            return ExitCode.OK
        restored = _restore(backend, config, observer, interruption) is not None if history is None else False
        backend.prepare()
        reading = read_and_repair(project, backend, observer, interruption, restored=restored, history=history)
        reading = _record_existing_views(project, backend, observer, reading)
        if found is None or reading.history is not history:
            reading = replace(reading, history=with_views_there(reading.history, project.graph, backend))
            found = _judged(project, options, reading)
        _tell_warnings(found, observer)
        reading, plan = found.reading, found.planned
        if options.sealed is not None:
            _require_same_steps(options.sealed, plan, reading)
        _require_one_transaction(plan, options)
        backend.preflight([step.migration.name for step in plan.steps])
        run = LockedRun(project, backend, plan, reading, observer)
        run.remember_flush(changed=restored)
        finished = run.fake() if options.fake else run.execute(options, lock, interruption)
        return run.conclude(finished, flag, interruption)


def _settled(options: ApplyOptions, config: Config, observer: Observer) -> ApplyOptions:
    """Return the options with what is configured where nothing was said; what cannot be as configured is told.

    Raises:
        UsageError: an option would do nothing in one transaction.
    """
    if options.fake:
        together, jobs = False, Jobs()
    else:
        together = coalesces(config, coalesce=options.coalesce, atomic=options.atomic, jobs=options.jobs)
        jobs = jobs_of(config, jobs=options.jobs, atomic=options.atomic)
    if jobs.note:
        observer(Warned(jobs.note))
    return replace(_with_atomic(options, config), jobs=jobs.number, coalesce=together)


def _judging(options: ApplyOptions) -> Judging:
    return Judging(doing=options.doing, errors_only=True)


def _judged(project: Project, options: ApplyOptions, reading: Reading) -> Assessment:
    found = assess(project, reading, selection=options.selection, judging=_judging(options))
    found.refuse_errors(doing="apply")
    return found


def _judged_before_writing(
    project: Project, options: ApplyOptions, backend: Backend, history: History | None
) -> Assessment | None:
    """Judge what would run before anything is written; None where a backup will tell the history first.

    Args:
        project: what is declared.
        options: how it is to run.
        backend: the database.
        history: what it remembers; None where it has no ledger.
    """
    if history is None and _configured_backup(project.config) is not None:
        return None
    there = History() if history is None else with_views_there(history, project.graph, backend)
    found = _judged(project, options, Reading(history=there, database=backend.label))
    _require_one_transaction(found.planned, options)
    return found


def _with_atomic(options: ApplyOptions, config: Config) -> ApplyOptions:
    """Return the options with what is configured where nothing was said.

    Raises:
        UsageError: an option would do nothing in one transaction.
    """
    atomic = config.atomic if options.atomic is None else options.atomic
    for option, is_given in (("--keep-going", options.keep_going), ("--fail-fast", options.fail_fast)):
        if atomic and is_given:
            raise UsageError(
                f"{option} does nothing in one transaction, and `atomic` is set ({config.sources['atomic']})",
                hint=f"leave out {option}, or add --no-atomic",
            )
    return replace(options, atomic=atomic and not options.fake)


def _require_one_transaction(plan: Plan, options: ApplyOptions) -> None:
    if options.atomic:
        require_possible(plan)


def require_rehearsed(sealed: SealedPlan) -> None:
    """Raise when it is not known what every migration of a plan sends.

    Raises:
        UsageError: with which.
    """
    unknown = [step.name for step in sealed.snapshot.steps if step.shapes is None]
    if unknown:
        raise UsageError(
            f"--strict: {sealed.file} does not say what {', '.join(unknown[:5])}{' …' if len(unknown) > 5 else ''} sends",
            hint="migrate plan --rehearse -o plan.json makes a plan that does, of what can be rehearsed",
        )


def _shapes(sealed: SealedPlan | None) -> dict[str, tuple[str, ...]]:
    """Return what the migrations of a sealed plan were seen to send, by name."""
    steps = sealed.snapshot.steps if sealed is not None else ()
    return {step.name: step.shapes for step in steps if step.shapes is not None}


def _may_run_sealed(sealed: SealedPlan, found: Assessment | None, backend: Backend, observer: Observer) -> bool:
    """Return whether something of a sealed plan is left to run.

    Raises:
        StalePlan: something has moved since it was made; nothing was written.
    """
    from migrate_graph.workflow.sealing import judge, refuse_stale, resumes

    if found is None:
        raise StalePlan(
            f"{sealed.file} is stale: the database has no ledger, so a backup would be restored first",
            hint="migrate restore brings it back; then make a new plan",
        )
    judged = judge(sealed, found, backend)
    if judged.is_over:
        observer(Warned(f"{sealed.file}: already applied, nothing was run"))
        return False
    refuse_stale(sealed, judged)
    for told in filter(None, (resumes(sealed, judged), judged.unseen)):
        observer(Warned(told))
    return True


def _require_same_steps(sealed: SealedPlan, plan: Plan, reading: Reading) -> None:
    """Raise when the repair of views, which comes between, has changed what would run."""
    left = [name for name in sealed.snapshot.names if name not in reading.history.applied]
    if [step.migration.name for step in plan.steps] != left:
        raise StalePlan(f"{sealed.file} is stale: other steps would run now", hint="make a new plan; nothing was run")


def _tell_warnings(found: Assessment, observer: Observer) -> None:
    """Warn of what is wrong and stops nothing here, although `check` calls it an error."""
    for finding in found.grave_findings:
        if finding.severity is Severity.WARNING and RULES[finding.code].severity is Severity.ERROR:
            observer(Warned(f"{finding.code} {finding.message} ({finding.source})", finding.hint))


def flag_of(config: Config) -> CompletionFlag | None:
    """Return the flag of the configured schema version, valid and writable; None where none is configured."""
    if config.schema_version is None:
        return None
    from migrate_graph.completion_flag import CompletionFlag

    flag = CompletionFlag(Path(config.flag_location), config.schema_version, create=config.create_flag_location)
    flag.validate()
    return flag


def _already_complete(flag: CompletionFlag, observer: Observer) -> int:
    observer(Warned(f"{flag.path} is there, so this version is complete: nothing was run"))
    return ExitCode.OK


class LockedRun:
    """One run inside the lock, from the plan to what comes after."""

    def __init__(self, project: Project, backend: Backend, plan: Plan, reading: Reading, observer: Observer) -> None:
        self._project = project
        self._config = project.config
        self._backend = backend
        self._plan = plan
        self._reading = reading
        self._observer = observer
        self._run = str(uuid.uuid4())
        self._flush_is_pending = _FLUSH in reading.history.pending_tasks
        self._is_side_by_side = False
        self._segments: tuple[Segment, ...] = ()

    def remember_flush(self, *, changed: bool) -> None:
        """Write down, before anything is durable, that the cache must be flushed: a run that dies cannot do it later."""
        if self._config.redis_host and not self._flush_is_pending and (changed or self._plan.steps):
            self._backend.add_task(_FLUSH, run=self._run)
        self._flush_is_pending = self._flush_is_pending or changed

    def execute(self, options: ApplyOptions, lock: Lock, interruption: Interruption) -> RunFinished:
        """Walk the plan."""
        team = self._team(options.jobs or 1)
        if team is None and not self._plan.steps and not self._plan.blocked:
            return self._walk_nothing(interruption, atomic=bool(options.atomic))
        with nullcontext() if team is None else closing(team.server):
            return self._walk(team, options, lock, interruption)

    def _walk(self, team: Team | None, options: ApplyOptions, lock: Lock, interruption: Interruption) -> RunFinished:
        from migrate_graph.core.coalescing import segments_of
        from migrate_graph.executor import Executor, RunOptions
        from migrate_graph.executor.approved import Approved

        self._tell_of_drift()
        self._is_side_by_side = team is not None
        self._segments = segments_of(self._plan, options.woven) if options.coalesce else ()
        executor = Executor(
            self._backend,
            lock,
            self._observer,
            interruption=interruption,
            options=RunOptions(
                keep_going=options.keep_going,
                fail_fast=options.fail_fast,
                atomic=bool(options.atomic),
                weaving=weaving_options(self._config),
                segments=self._segments,
                approved=Approved(_shapes(options.sealed), options.strict),
                stop_on_partial=self._config.on_partial == "stop",
            ),
            root=str(self._project.root),
            team=team,
        )
        with user_imports(
            self._project.imports, self._project.registry
        ):  # bodies may import what lies beside their file
            return executor.run(self._plan, self._project.graph, self._reading.history)

    def _walk_nothing(self, interruption: Interruption, *, atomic: bool) -> RunFinished:
        """Report a run with nothing to do like any other; what walks is not imported for it, which would be a third of its time."""
        started = time.monotonic()
        self._observer(RunStarted(self._run, self._plan, atomic=atomic))
        checkpoints.reached(Checkpoint.RUN_STARTED)
        checkpoints.reached(Checkpoint.RUN_FINISHED)
        finished = RunFinished(self._run, (), time.monotonic() - started, interruption.signal, atomic=atomic)
        self._observer(finished)
        return finished

    def _team(self, jobs: int) -> Team | None:
        """Return who runs steps side by side; None where they run one after another, which is told where it was not asked for."""
        if jobs == 1:
            return None
        from migrate_graph.workflow.side_by_side import order_for, why_no_team

        if why := why_no_team(self._project):
            self._observer(Warned(f"migrations run one after another, not {jobs}: {why}"))
            return None
        order = order_for(self._project, self._plan, self._observer)
        if order.is_a_row or (seats := self._seats(jobs)) < 2:
            return None
        from migrate_graph.executor.fork_server import ForkServer
        from migrate_graph.executor.team import Team

        settings = database_settings(self._config)
        server = ForkServer(settings)  # now: it imports while this process goes on
        return Team(seats, order, settings, server, path=self._project.path, root=self._project.root)

    def _seats(self, jobs: int) -> int:
        """Return for how many there is room, and report where that is fewer: a worker would wait for a connection that nobody gives back."""
        room = self._backend.room_for(jobs)
        if room.why:
            how = f"up to {room.number} at once" if room.number > 1 else "one after another"
            self._observer(Warned(f"migrations run {how}, not {jobs}: {room.why}", room.hint))
        return room.number

    def revert(self, lock: Lock, interruption: Interruption) -> RunFinished:
        """Undo every step of the plan."""
        from migrate_graph.executor import Executor, RunOptions

        self._tell_of_drift()
        executor = Executor(
            self._backend, lock, self._observer,
            interruption=interruption, options=RunOptions(reverts=True), root=str(self._project.root),
        )  # fmt: skip
        with user_imports(self._project.imports, self._project.registry):
            return executor.run(self._plan, self._project.graph, self._reading.history)

    def _tell_of_drift(self) -> None:
        if self._plan.steps:
            from migrate_graph.workflow.drift import tell_before_run

            tell_before_run(self._backend, self._reading.history, self._observer, ignore=self._config.drift_ignore)

    def fake(self) -> RunFinished:
        """Record every step as installed without running it."""
        names = [step.migration.name for step in self._plan.steps]
        self._observer(RunStarted(self._run, self._plan))
        started = time.monotonic()
        codes = {step.migration.name: step.migration.facts.fingerprint for step in self._plan.steps}
        self._backend.mark(names, installed=True, reason="apply --fake", run=self._run, fingerprints=codes)
        results = tuple(Result(name, Outcome.APPLIED, hint="recorded, not run") for name in names)
        for index, result in enumerate(results, 1):
            self._observer(StepFinished(index, len(names), result))
        finished = RunFinished(self._run, results, time.monotonic() - started)
        self._observer(finished)
        return finished

    def conclude(self, finished: RunFinished, flag: CompletionFlag | None, interruption: Interruption) -> int:
        """Bring back views that a failure left down, flush the cache, set the flag; return the exit code."""
        if finished.signal:
            return ExitCode.SIGNAL + finished.signal
        if finished.succeeded:
            self._remember_facts(changed=finished.changed)
        trouble = self._flush(interruption, changed=finished.changed)
        if not finished.succeeded:
            read_and_repair(
                self._project, self._backend, self._observer, interruption, fills=self._may_be_mended(finished)
            )
            if finished.changed:
                self._remember_facts(changed=True)
            if trouble:
                self._observer(Warned(trouble.message, trouble.hint))
            self._ask_about_interrupted()
            return ExitCode.FAILED
        if trouble:
            raise trouble
        self._require_filled(finished, interruption)
        if flag and not self._plan.unselected:
            flag.set(fingerprint=self._backend.fingerprint(), names=self._plan.order, version=__version__)
        return ExitCode.OK

    def _require_filled(self, finished: RunFinished, interruption: Interruption) -> None:
        """Raise when a materialized view waits for its rows still: why has been told."""
        may_be = bool(self._reading.history.views_unfilled) or any(each.unfilled for each in finished.results)
        left = self._backend.unfilled_views() if may_be else ()
        if left and self._may_be_mended(finished):
            _refresh(self._backend, self._observer, interruption)
            left = self._backend.unfilled_views()
        if left:
            names = ", ".join(f"{each.relation} ({each.manager})" for each in left)
            done = "reverted" if finished.reverts else "applied"
            raise PendingTaskFailed(
                f"the migrations are {done}; without their rows still: {names}",
                hint="mend what the note above names, then run migrate apply again: it refreshes them first",
            )

    def _may_be_mended(self, finished: RunFinished) -> bool:
        """Return whether a migration has come after the last attempt to fill what waits for its rows: that may have mended it."""
        if not finished.changed or (finished.atomic and finished.succeeded):
            return False
        durable = [each for each in finished.results if each.outcome.succeeded or each.commits != 0]
        tried = [each.name for each in durable if each.unfilled]
        if self._is_side_by_side:  # who came last is not known, and each has tried its own
            return len(durable) > 1 or not tried
        together = next((each.names for each in self._segments if tried and tried[-1] in each.names), tried)
        return not tried or durable[-1].name != together[-1]

    def _remember_facts(self, *, changed: bool) -> None:
        """Keep what the database is made of, so that what somebody changes by hand later is seen; nothing to do: only if it is not kept."""
        before = self._reading.history
        if before.facts_at and before.has_lost_facts:
            self._observer(
                Warned(
                    "the run before ended before it could store the schema of the database: whether it was changed by hand is unknown"
                )
            )
        if changed or not before.facts_are_current:
            from migrate_graph.workflow.drift import remember

            remember(self._backend, self._observer, run=self._run, quietly=not changed)

    def _flush(self, interruption: Interruption, *, changed: bool) -> PendingTaskFailed | None:
        """Flush the cache if anything durable was done, now or by a run that could not; return the failure."""
        if not self._config.redis_host:
            return None
        if changed or self._flush_is_pending:
            from migrate_graph.redis_cache import flush

            try:
                self._observer(
                    Warned(flush(self._config.redis_host, observer=self._observer, interruption=interruption))
                )
            except PendingTaskFailed as error:
                return error
        else:
            self._observer(Warned("nothing changed, so the cache was left alone"))
        self._backend.finish_task(_FLUSH)
        return None

    def _ask_about_interrupted(self) -> None:
        undecided = [one.migration.name for one in self._plan.blocked if one.by == (one.migration.name,)]
        if undecided:
            raise _decision_needed(undecided, self._reading)


def _decision_needed(names: list[str], reading: Reading) -> DecisionNeeded:
    """Return which migrations died half-way, what of them is in the database, and the two commands that decide."""
    attempts = reading.history.last_attempts()
    told = []
    for name in names:
        attempt = attempts[name]
        when = f"{attempt.started:%Y-%m-%d %H:%M:%S} UTC" if attempt.started else "an unknown time"
        commits = f"{counted(attempt.commits, 'commit')} of its own"
        how = "failed" if attempt.finished else "was interrupted"
        what = f"{'the revert of ' if attempt.reverts else ''}'{name}' {how}"
        told.append(
            f"{what}: started {when} on {attempt.host} (pid {attempt.pid}); {commits} in the database, the rest is not"
        )
    commands = "\n".join(f"migrate resolve {name} {way}" for name in names for way in ways_out(attempts[name]))
    return DecisionNeeded("; ".join(told), hint=f"look at the database, then decide:\n{commands}")


def read_and_repair(
    project: Project,
    backend: Backend,
    observer: Observer,
    interruption: Interruption,
    *,
    restored: bool = False,
    fills: bool = True,
    history: History | None = None,
) -> Reading:
    """Read the state inside the lock, fill and bring back the views that an earlier run left without rows, or down.

    After a restore the server has read every definition anew, and writes some of them otherwise: they are remembered as they are now.

    Args:
        project: whose views.
        backend: the database; the lock is held.
        observer: told what is brought back.
        interruption: what is known of signals.
        restored: a backup was restored just now.
        fills: what waits for its rows is filled; False where that was just tried in vain.
        history: what was read since the lock is held, where nothing has been done since; the same one is returned where nothing is repaired.

    Raises:
        DecisionNeeded: a view cannot be brought back, neither by its manager nor from what was stored.
        DatabaseError: the database went away meanwhile.
        Stopped: a signal arrived; what was down is down, and stored.
    """
    history = backend.read_history() if history is None else history
    if history.views_unfilled and fills:
        _refresh(backend, observer, interruption)
        history = backend.read_history()
    if not history.views_down and not restored:
        return Reading(history=history, database=backend.label)
    missing = _bring_back_views(project, backend, observer, interruption, history.applied, restored=restored)
    if missing and (undecided := sorted(history.half_undone())):  # which views there should be depends on that
        raise _decision_needed(undecided, Reading(history=history))
    if missing:
        raise DecisionNeeded(
            "views are missing and could not be brought back: "
            + "; ".join(
                f"{one.manager} ({', '.join(one.relations) or 'never created'}): {one.error}" for one in missing
            ),
            hint="mend what the message names, then run migrate apply again; their definitions are kept in the database\n"
            f"or, for a view that is not wanted any more: {typed('migrate views forget', missing[0].manager)}",
        )
    return Reading(history=backend.read_history(), database=backend.label)


def _bring_back_views(
    project: Project,
    backend: Backend,
    observer: Observer,
    interruption: Interruption,
    applied: frozenset[str],
    *,
    restored: bool,
) -> tuple[Unrepaired, ...]:
    """Bring back the views that are down and live now; return those that could not be."""
    graph = project.graph
    living = Timeline(graph).living(applied)
    work = backend.own_work("repair of views")
    try:
        with interruption.stopping(work.cancel), user_imports(project.imports, project.registry):
            order = [name for name in nx.topological_sort(graph.uses) if name in living]
            managers = [graph.views[name].manager(work.db) for name in order]
            if restored:
                work.views.renew()
            missing = work.views.repair(
                managers,
                declared=graph.views.keys(),
                observer=observer,
                texts={name: view.fingerprint for name, view in graph.views.items()},
            )
        work.db.commit()
    except MigrateGraphError:
        raise
    except Exception as error:
        message = f"views could not be brought back: {backend.explain(error).message}"
        raise DatabaseError(
            message, hint="run migrate apply again; their definitions are kept in the database"
        ) from error
    finally:
        work.close()
    return missing


def _refresh(backend: Backend, observer: Observer, interruption: Interruption) -> None:
    """Fill the materialized views that an earlier run, or the one that ends, has left without their rows; what is left is told.

    That stops nothing: a migration may be what mends it. The run ends with it.
    """
    from migrate_graph.executor import RunOptions
    from migrate_graph.executor.refreshing import Refreshing
    from migrate_graph.executor.watch import Watch

    patience = RunOptions()
    watch = Watch(observer, every=patience.watch_every)
    with watch.running():
        Refreshing(backend, observer, interruption, patience, watch).run()


def _record_existing_views(project: Project, backend: Backend, observer: Observer, reading: Reading) -> Reading:
    """Record the views that are in the database just as their managers write them: those that were adopted."""
    views, history = project.graph.views, reading.history
    new = [name for name in Timeline(project.graph).living(history.applied) if name not in history.view_texts]
    if not new:
        return reading
    texts = {name: views[name].fingerprint for name in new}
    known = backend.record_existing_views({name: views[name].manager for name in new}, texts)
    if not known:
        return reading
    exist = (
        "exists as its manager writes it, and is" if len(known) == 1 else "exist as their managers write them, and are"
    )
    observer(Warned(f"{counted(len(known), 'view')} {exist} known from now on"))
    return replace(
        reading, history=replace(history, view_texts={**history.view_texts, **{name: texts[name] for name in known}})
    )


def restore_database(
    config: Config, backup: Path | None, *, lock_wait: float | None, observer: Observer, psql: str | None = None
) -> Path:
    """Restore a backup into a database that is proved empty; return the file that was restored.

    Args:
        config: the settings.
        backup: the file; None for the configured one.
        lock_wait: seconds to wait for another runner; None for the configured ones.
        observer: told how far it is.
        psql: path of the program, for PostgreSQL; None looks for it on PATH.

    Raises:
        RestoreError: there is no backup, it is refused, or the database is not empty.
    """
    with locked(config, observer, wait=lock_wait) as (backend, _, interruption):
        if backend.has_ledger():
            raise RestoreError(
                f"{backend.label} already has the table {config.migrate_table}",
                hint="a backup goes into an empty database only",
            )
        restored = _restore(backend, config, observer, interruption, backup=backup, psql=psql)
        if restored is None:
            raise RestoreError(
                "there is no backup to restore", hint="name the file, or set database_to_restore in [tool.migrate]"
            )
        backend.prepare()
        _renew_views(backend)
        return restored


def _renew_views(backend: Backend) -> None:
    """Remember the views as the server writes them since the restore: it has read every definition anew."""
    work = backend.own_work("renewal of views")
    try:
        work.views.renew()
        work.db.commit()
    finally:
        work.close()


def _restore(
    backend: Backend,
    config: Config,
    observer: Observer,
    interruption: Interruption,
    *,
    backup: Path | None = None,
    psql: str | None = None,
) -> Path | None:
    """Restore the backup, if there is one, into a database that the catalog proves empty; return the file.

    Raises:
        RestoreError: the database is not empty, or the backup is refused.
        Stopped: a signal arrived; the database is as it was.
    """
    from migrate_graph.database.backup.dump import verify

    relations = backend.user_relations()
    if relations:
        from migrate_graph.workflow.no_ledger import refusal

        message, hint = refusal(backend.label, relations, config.migrate_table)
        raise RestoreError(message, hint=hint)
    found = backup or _configured_backup(config)
    if found is None:
        return None
    with interruption.stopping(lambda: None):  # the wait for psql ends by the signal itself, and psql is ended then
        dump = verify(
            found,
            kind=backend.kind,
            cat_command=config.migrate_cat_command,
            size_limit=config.restore_size_limit,
            trusted=config.restore_trusted,
            observer=observer,
        )
        backend.restore(dump, observer=observer, psql=psql)
    return found


def _configured_backup(config: Config) -> Path | None:
    from migrate_graph.database.backup.dump import find_dump

    if not config.database_to_restore:
        return None
    is_default = config.sources["database_to_restore"].kind is SourceKind.DEFAULT
    return find_dump(Path(config.database_to_restore).absolute(), is_default=is_default)
