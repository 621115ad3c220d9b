"""Forget views: delete the stored definitions of a manager whose views are not wanted any more."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from migrate_graph.core.events import Observer, Warned
from migrate_graph.errors import UsageError
from migrate_graph.messages import typed
from migrate_graph.workflow.locked import locked, recording
from migrate_graph.workflow.project import Project


def forget(project: Project, managers: Sequence[str], *, reason: str, observer: Observer) -> dict[str, tuple[str, ...]]:
    """Delete the rows of some managers from the view ledger, under the lock; the journal stores who did it and why.

    No view is created or dropped.

    Args:
        project: the project, with its database.
        managers: names of the manager classes, declared or not.
        reason: the reason, for the journal.
        observer: called while the database or the lock is waited for.

    Returns:
        By the name of the manager, the stored definitions of its views.

    Raises:
        UsageError: the view ledger has no row of one of them, or one is declared and its views are not down; nothing is deleted then.
    """
    with locked(project.config, observer) as (backend, _, _):
        if not backend.has_ledger():
            raise UsageError(f"{backend.label} has no ledger, and so no views that are remembered")
        backend.prepare()
        known = backend.remembered_views()
        for name in managers:
            if name not in known:
                raise UsageError(
                    f"the view ledger knows nothing of {name}",
                    hint=f"it knows {', '.join(known)}" if known else "it is empty",
                )
        down = {view.manager for view in backend.read_history().views_down}
        up = [name for name in managers if name not in down]
        _refuse_declared([name for name in up if name in project.graph.views])
        with recording(backend):
            stored = backend.forget_views(managers, reason=reason, run=str(uuid.uuid4()))
    for name in up:
        observer(Warned(f"{name} was not down: what it has made stays in the database, and belongs to no manager now"))
    return stored


def _refuse_declared(names: Sequence[str]) -> None:
    """Raise for declared managers whose views exist: to forget them would only lose their stored definitions."""
    if names:
        are = "it is" if len(names) == 1 else "they are"
        raise UsageError(
            f"nothing of {', '.join(names)} is down, and {are} declared: only what cannot be brought back is forgotten",
            hint=f"{typed('migrate show', names[0])} says how it is; one that is not wanted any more ends with a migration: until = … in its class",
        )
