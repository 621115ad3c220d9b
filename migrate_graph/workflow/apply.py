"""Apply: under the lock, restore a backup or create the ledger, repair views, plan, and run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from migrate_graph.core.events import Observer, Warned
from migrate_graph.core.history import History
from migrate_graph.core.rules import RULES, Doing, Severity
from migrate_graph.errors import ExitCode, StalePlan, UsageError
from migrate_graph.workflow.assessment import Assessment, Judging, Selection, assess
from migrate_graph.workflow.coalescing import coalesces
from migrate_graph.workflow.locked import locked
from migrate_graph.workflow.locked_run import LockedRun
from migrate_graph.workflow.one_transaction import require_possible
from migrate_graph.workflow.project import Project, Reading, with_views_there
from migrate_graph.workflow.repair import read_and_repair, record_existing_views
from migrate_graph.workflow.restore import configured_backup, restore
from migrate_graph.workflow.side_by_side import Jobs, jobs_of

if TYPE_CHECKING:
    from migrate_graph.completion_flag import CompletionFlag
    from migrate_graph.config import Config
    from migrate_graph.core.plan import Plan
    from migrate_graph.database import Backend
    from migrate_graph.workflow.sealing import SealedPlan


class ApplyOptions(Struct, frozen=True, kw_only=True):
    """How `apply` behaves.

    Attributes:
        selection: which migrations run; migrations that these require run, too.
        keep_going: after an exception, go on with the migrations that do not depend on the failed one.
        fail_fast: stop also when a migration returns something falsy.
        lock_wait: seconds to wait while another run holds the lock; None: the configured ones; 0: try once.
        fake: record the planned migrations as installed without running them.
        atomic: run all of them in one transaction; None: as configured.
        coalesce: consecutive steps that need the same views share a transaction; None: as configured.
        woven: managers whose views blocked statements in a rehearsal, by the migration's name.
        jobs: how many migrations may run at once; None: as configured.
        doing: for which command the graph is judged.
        sealed: run exactly this plan; None: run what is pending.
        strict: a statement that the rehearsal of the sealed plan did not see fails the migration; otherwise it is only reported.
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
    """Run what is pending, under the lock; return the exit code.

    Raises:
        InvalidGraph: the rules found errors; nothing ran.
        UsageError: one transaction is asked for, but the plan cannot be one; nothing ran.
        LockTimeout: another run held the lock for too long; nothing ran.
        DecisionNeeded: a migration was interrupted, or views could not be repaired.
        PendingTaskFailed: the migrations succeeded; the cache flush, a refresh of views or the flag did not.
        StalePlan: something has changed since the given plan was sealed; nothing ran, and nothing was written.
    """
    config = project.config
    options = _settled(options, config, observer)
    assess(project, judging=_judging(options)).refuse_what_no_history_excuses(doing="apply")
    flag = flag_of(config)
    if config.redis_host:
        from migrate_graph.workflow.cache import require_address

        require_address(config)
    if flag and flag.is_set():
        return _already_complete(flag, observer)
    with locked(config, observer, wait=options.lock_wait) as (backend, lock, interruption):
        if flag and flag.is_set(backend.fingerprint(), observer):
            return _already_complete(flag, observer)
        history = backend.read_history() if backend.has_ledger() else None
        found = _judged_before_writing(project, options, backend, history)
        if options.sealed is not None and not _may_run_sealed(options.sealed, found, backend, observer):
            return ExitCode.OK
        restored = restore(backend, config, observer, interruption) is not None if history is None else False
        backend.prepare()
        if restored and config.redis_host:
            from migrate_graph.workflow.cache import remember_flush

            remember_flush(config, backend)
        reading = read_and_repair(project, backend, observer, interruption, restored=restored, history=history)
        reading = record_existing_views(project, backend, observer, reading)
        if found is None or reading.history is not history:
            reading = replace(reading, history=with_views_there(reading.history, project.graph, backend))
            found = _judged(project, options, reading)
        _tell_warnings(found, observer)
        reading, plan = found.reading, found.planned
        if options.sealed is not None:
            _require_same_steps(options.sealed, plan, reading)
        _require_one_transaction(plan, options)
        backend.preflight([step.migration.name for step in plan.steps], installed=True)
        run = LockedRun(project, backend, plan, reading, observer)
        run.remember_flush()
        finished = run.fake() if options.fake else run.execute(options, lock, interruption)
        return run.conclude(finished, flag, interruption)


def _settled(options: ApplyOptions, config: Config, observer: Observer) -> ApplyOptions:
    """Return the options with the configured values where none were given; warn about a setting that has no effect.

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
    """Judge the plan before anything is written.

    Args:
        project: what is declared.
        options: how it is to run.
        backend: the database.
        history: what it remembers; None: it has no ledger.

    Returns:
        The assessment; None when a backup must be restored first, which brings the history.
    """
    if history is None and configured_backup(project.config) is not None:
        return None
    there = History() if history is None else with_views_there(history, project.graph, backend)
    found = _judged(project, options, Reading(history=there, database=backend.label))
    _require_one_transaction(found.planned, options)
    return found


def _with_atomic(options: ApplyOptions, config: Config) -> ApplyOptions:
    """Return the options with the configured value of `atomic` when none was given.

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
    """Raise when a sealed plan does not say what each of its migrations sends.

    Raises:
        UsageError: its message names these migrations.
    """
    unknown = [step.name for step in sealed.snapshot.steps if step.shapes is None]
    if unknown:
        raise UsageError(
            f"--strict: {sealed.file} does not say what {', '.join(unknown[:5])}{' …' if len(unknown) > 5 else ''} sends",
            hint="migrate plan --rehearse -o plan.json makes a plan that does, of what can be rehearsed",
        )


def _may_run_sealed(sealed: SealedPlan, found: Assessment | None, backend: Backend, observer: Observer) -> bool:
    """Return whether a step of a sealed plan is left to run.

    Raises:
        StalePlan: something has changed since it was made; nothing was written.
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
    """Raise when other steps would run now: the repair of views, after the plan was judged, may have changed that."""
    left = [name for name in sealed.snapshot.names if name not in reading.history.applied]
    if [step.migration.name for step in plan.steps] != left:
        raise StalePlan(f"{sealed.file} is stale: other steps would run now", hint="make a new plan; nothing was run")


def _tell_warnings(found: Assessment, observer: Observer) -> None:
    """Report findings that are errors for `check`, but only warnings for this command."""
    for finding in found.grave_findings:
        if finding.severity is Severity.WARNING and RULES[finding.code].severity is Severity.ERROR:
            observer(Warned(f"{finding.code} {finding.message} ({finding.source})", finding.hint))


def flag_of(config: Config) -> CompletionFlag | None:
    """Return the flag of the configured schema version, after checking it; None when no version is configured."""
    if config.schema_version is None:
        return None
    from migrate_graph.completion_flag import CompletionFlag

    flag = CompletionFlag(Path(config.flag_location), config.schema_version, create=config.create_flag_location)
    flag.validate()
    return flag


def _already_complete(flag: CompletionFlag, observer: Observer) -> int:
    observer(Warned(f"{flag.path} is there, so this version is complete: nothing was run"))
    return ExitCode.OK
