"""Write records of migrations without running them (mark), and decide about interrupted migrations (resolve)."""

from __future__ import annotations

import uuid

from migrate_graph.core.events import Observer
from migrate_graph.core.graph import Node, NodeKind
from migrate_graph.core.history import AttemptState, ways_out
from migrate_graph.core.states import NodeState, State, standing_of
from migrate_graph.errors import DecisionNeeded, UsageError
from migrate_graph.messages import typed
from migrate_graph.workflow.locked import locked, recording
from migrate_graph.workflow.project import Project, unknown_name
from migrate_graph.workflow.repair import repair_as_if

_UNDECIDED = frozenset({AttemptState.RUNNING, AttemptState.FAILED, AttemptState.REVERTING, AttemptState.REVERT_FAILED})


def mark(
    project: Project, names: tuple[str, ...], *, installed: bool, reason: str, observer: Observer
) -> tuple[str, ...]:
    """Write the records of migrations without running them; the journal stores who did it and why.

    An orphan may be marked pending, so that its record no longer counts as applied.

    Raises:
        UsageError: a name is neither declared nor recorded.
    """
    with locked(project.config, observer) as (backend, _, _):
        known = set(project.graph.migrations) | (set() if installed else set(backend.read_history().records))
        for name in names:
            if name not in known:
                raise unknown_name(project, name)
        codes = {name: each.facts.fingerprint for name, each in project.graph.migrations.items()}
        with recording(backend):  # one transaction: a new ledger without the record would say that nothing is installed
            backend.prepare()
            backend.preflight(names)
            backend.mark(names, installed=installed, reason=reason, run=str(uuid.uuid4()), fingerprints=codes)
    return names


def resolve(project: Project, name: str, *, way: str, reason: str, observer: Observer) -> None:
    """Decide about an interrupted migration: it counts as applied, or it runs again. Of a revert: it is still applied, or it is reverted.

    The views that a revert has left down come up before that is recorded: `migrate apply` would apply again what is reverted.

    Args:
        project: the project that declares the migration.
        name: name of the migration.
        way: the decision; one of `ways_out`.
        reason: who decided, and why.
        observer: called while the database or the lock is waited for.

    Raises:
        UsageError: the migration does not wait for a decision, or not for this one.
        DecisionNeeded: somebody else has decided about it, or run it, in the meantime; or a view cannot come up, and nothing is decided.
    """
    with locked(project.config, observer) as (backend, _, interruption):
        history = backend.read_history()
        attempt = history.last_attempts().get(name)
        if attempt is None and name not in project.graph.migrations:
            raise unknown_name(project, name)
        if (
            attempt is None
            or attempt.state not in _UNDECIDED
            or (name in history.applied and name not in history.half_undone())
        ):
            known = standing_of(project.graph, history).get(Node(NodeKind.MIGRATION, name), NodeState(State.ORPHAN))
            hint = "migrate mark writes a record whatever the state is"
            raise UsageError(f"'{name}' is {known.state}: there is nothing to decide", hint=hint)
        if way not in ways_out(attempt):
            what = "a revert of it" if attempt.reverts else "it"
            ways = " or ".join(typed("migrate resolve", name, each) for each in ways_out(attempt))
            raise UsageError(f"{what} was cut off, and {way} does not decide about that: '{name}'", hint=ways)
        backend.prepare()
        applied, declared = way == "--applied", project.graph.migrations.get(name)
        code = declared.facts.fingerprint if declared else ""
        if attempt.reverts:  # what is installed was made by the code that it was applied with
            code = next(
                (each.fingerprint for each in reversed(history.attempts) if each.name == name and not each.reverts), ""
            )
            there = history.applied | {name} if applied else history.applied - {name}
            again = f"{typed('migrate resolve', name, way)} again"
            if history.views_down:
                repair_as_if(project, backend, observer, interruption, there, then=again)
        with recording(backend):
            done = backend.resolve(
                name, attempt=attempt.id, applied=applied, reason=reason, run=str(uuid.uuid4()), fingerprint=code
            )
        if not done:
            raise DecisionNeeded(
                f"'{name}' changed while it was resolved", hint=f"{typed('migrate log', name)}, then decide again"
            )
