"""Read the history inside the lock, and repair what an earlier run has left: views that are down, and views without their rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from migrate_graph.core.events import Observer, Warned
from migrate_graph.core.history import History, ways_out
from migrate_graph.core.timeline import Timeline
from migrate_graph.errors import DecisionNeeded
from migrate_graph.loader import user_imports
from migrate_graph.messages import counted, typed
from migrate_graph.workflow.project import Project, Reading

if TYPE_CHECKING:
    from migrate_graph.database import Backend
    from migrate_graph.database.views.repair import Unrepaired
    from migrate_graph.signals import Interruption


def decision_needed(names: list[str], reading: Reading) -> DecisionNeeded:
    """Return the error about interrupted migrations: what of each is in the database, and the commands that decide about it."""
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
    reverts: bool = False,
    history: History | None = None,
) -> Reading:
    """Read the history inside the lock; fill the views that an earlier run left without rows, and bring up those that it left down.

    After a restore, the definitions of all views are stored again: the server may write some of them differently now.

    Args:
        project: the project that declares the views.
        backend: the database; the lock is held.
        observer: called for each view that is brought up.
        interruption: knows whether a signal has arrived.
        restored: a backup was restored just now.
        fills: fill the views without rows; False: this has just been tried without success.
        reverts: the run is a revert: no hint says to run `migrate apply`, which would apply again what is undone.
        history: the history, when it was read since the lock is held and nothing was done since; returned as it is when nothing is repaired.

    Raises:
        DecisionNeeded: a view cannot be brought up, neither by its manager nor from its stored definition.
        DatabaseError: the database could not be reached any more.
        Stopped: a signal arrived; the views are down as before, and their definitions stay stored.
    """
    history = backend.read_history() if history is None else history
    if history.views_unfilled and fills:
        refresh(backend, observer, interruption, reverts=reverts)
        history = backend.read_history()
    if not history.views_down and not restored:
        return Reading(history=history, database=backend.label)
    missing = _bring_back_views(project, backend, observer, interruption, history.applied, restored=restored)
    if missing and (undecided := sorted(history.half_undone())):  # which views should exist depends on the decision
        raise decision_needed(undecided, Reading(history=history))
    if missing:
        raise _missing(missing, f"{'revert' if reverts else 'run migrate apply'} again")
    return Reading(history=backend.read_history(), database=backend.label)


def _missing(missing: tuple[Unrepaired, ...], then: str) -> DecisionNeeded:
    told = "; ".join(f"{one.manager} ({', '.join(one.relations) or 'never created'}): {one.error}" for one in missing)
    return DecisionNeeded(
        f"views are missing and could not be brought back: {told}",
        hint=f"mend what the message names, then {then}; their definitions are kept in the database\n"
        f"or, for a view that is not wanted any more: {typed('migrate views forget', missing[0].manager)}",
    )


def repair_as_if(
    project: Project,
    backend: Backend,
    observer: Observer,
    interruption: Interruption,
    applied: frozenset[str],
    *,
    then: str,
) -> None:
    """Bring up the views that are down, as they should be when these migrations are applied, which is about to be recorded.

    Args:
        project: the project that declares the views.
        backend: the database; the lock is held.
        observer: called for each view that is brought up.
        interruption: knows whether a signal has arrived.
        applied: names of migrations.
        then: what to do when the cause of a failure is mended.

    Raises:
        DecisionNeeded: a view cannot be brought up.
        DatabaseError: the database could not be reached any more.
        Stopped: a signal arrived.
    """
    if missing := _bring_back_views(project, backend, observer, interruption, applied, restored=False):
        raise _missing(missing, then)


def _bring_back_views(
    project: Project,
    backend: Backend,
    observer: Observer,
    interruption: Interruption,
    applied: frozenset[str],
    *,
    restored: bool,
) -> tuple[Unrepaired, ...]:
    """Bring up the views that are down and should exist now; return those for which this failed."""
    from migrate_graph.executor.own_work import bring_back_views

    with user_imports(project.imports, project.registry):
        return bring_back_views(backend, project.graph, observer, interruption, applied, restored=restored)


def refresh(backend: Backend, observer: Observer, interruption: Interruption, *, reverts: bool = False) -> None:
    """Fill the materialized views that an earlier run, or the run that ends now, has left without their rows.

    A view that cannot be filled is reported, and does not stop the run: one of its migrations may remove the cause.
    """
    from migrate_graph.executor import RunOptions
    from migrate_graph.executor.refreshing import Refreshing
    from migrate_graph.executor.watch import Watch

    patience = RunOptions()
    watch = Watch(observer, every=patience.watch_every)
    with watch.running():
        Refreshing(backend, observer, interruption, patience, watch, reverts=reverts).run()


def record_existing_views(project: Project, backend: Backend, observer: Observer, reading: Reading) -> Reading:
    """Record the views that exist exactly as their managers write them, but are not in the view ledger: adopted views."""
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
