"""Forget views: delete what the database remembers of a manager that nobody wants back."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from migrate_graph.core.events import Observer
from migrate_graph.errors import UsageError
from migrate_graph.workflow.locked import locked
from migrate_graph.workflow.project import Project


def forget(project: Project, managers: Sequence[str], *, reason: str, observer: Observer) -> dict[str, tuple[str, ...]]:
    """Delete the rows of some managers from the view ledger, under the lock; the journal keeps who and why.

    No view is created or dropped by it.

    Args:
        project: with the database.
        managers: names of their classes, declared or not.
        reason: for the journal.
        observer: told while somebody is waited for.

    Returns:
        What was stored of each: the definitions of its views.

    Raises:
        UsageError: the view ledger knows nothing of one of them; nothing is forgotten then.
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
        return backend.forget_views(managers, reason=reason, run=str(uuid.uuid4()))
