"""Which migration is running in this context, and how it reports its progress."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from migrate_graph.authoring.views import ViewMigrationManager


CURRENT_MIGRATION = "CURRENT_MIGRATION"
"""The environment variable in which programs written for edwh-migrate find the name of the running migration."""


class ViewOpener(Protocol):
    """What `with V(db)` and `V.renew(db)` call in a run."""

    def enter(self, manager: ViewMigrationManager) -> None:
        """Take down the manager's view and what depends on it."""

    def renew(self, manager: ViewMigrationManager) -> None:
        """Replace the text of the manager's view by the declared one, without taking anything down where that is possible."""

    def leave(self, manager: ViewMigrationManager, error: BaseException | None) -> None:
        """Bring up what was taken down, unless the block failed."""


class Running(Struct, frozen=True):
    """The migration that is running in this context.

    Attributes:
        name: name of the migration.
        read_applied: returns which names are installed, without this migration; the database is read at the first call.
        views: opens view managers.
        report: called with `(done, total, unit)` by `progress`.
    """

    name: str
    read_applied: Callable[[], AbstractSet[str]]
    views: ViewOpener
    report: Callable[[int, int | None, str], None]


_running: ContextVar[Running | None] = ContextVar("migrate_graph_running", default=None)


@contextmanager
def running(run: Running) -> Iterator[None]:
    """Set the running migration for this context, and in the environment, where bodies written for edwh-migrate look for it."""
    token, before = _running.set(run), os.environ.get(CURRENT_MIGRATION)  # noqa: TID251 - as above
    os.environ[CURRENT_MIGRATION] = run.name  # noqa: TID251 - as above
    try:
        yield
    finally:
        _running.reset(token)
        os.environ.pop(CURRENT_MIGRATION, None)  # noqa: TID251 - as above
        if before is not None:
            os.environ[CURRENT_MIGRATION] = before  # noqa: TID251 - as above


def current() -> Running | None:
    """Return the migration that is running in this context; None outside a run."""
    return _running.get()


def progress(done: int, total: int | None = None, unit: str = "") -> None:
    """Report how far the batched work of the running migration is; outside a run nothing happens.

    Args:
        done: units done so far.
        total: units in all; None when unknown.
        unit: what is counted (`"rows"`).
    """
    if run := current():
        run.report(done, total, unit)
