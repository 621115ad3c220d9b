"""Opens work of the program's own on a database, and brings up views that failed migrations have left down."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import TYPE_CHECKING

from migrate_graph.core.events import Observer
from migrate_graph.core.late import nx
from migrate_graph.core.timeline import Timeline
from migrate_graph.errors import DatabaseError, MigrateGraphError

if TYPE_CHECKING:
    from migrate_graph.core.graph import MigrationGraph
    from migrate_graph.database import Backend, Work
    from migrate_graph.database.views.repair import Unrepaired
    from migrate_graph.signals import Interruption

STAYS_STORED = "run migrate apply again; their definitions are kept in the database"


@contextmanager
def working(backend: Backend, name: str, *, failed: str, hint: str) -> Iterator[Work]:
    """Open work of this program's own, and close it after the block; an error of the driver in it becomes one that says what to do.

    Args:
        backend: the database; the lock is held.
        name: of the work, for those who look who is connected.
        failed: what did not succeed then.
        hint: what to do then.

    Raises:
        DatabaseError: the connection was lost, the disk is full, …
    """
    work = None
    try:
        work = backend.own_work(name)
        yield work
    except MigrateGraphError:
        raise
    except Exception as error:
        raise DatabaseError(f"{failed}: {backend.explain(error).message}", hint=hint) from error
    finally:
        if work is not None:
            work.close()


def bring_back_views(
    backend: Backend,
    graph: MigrationGraph,
    observer: Observer,
    interruption: Interruption,
    applied: AbstractSet[str],
    *,
    restored: bool = False,
) -> tuple[Unrepaired, ...]:
    """Bring up the views that are down and should exist now; return those for which this failed. The imports of the user are possible.

    Args:
        backend: the database; the lock is held.
        graph: declares the views.
        observer: called for each view that is brought up.
        interruption: knows whether a signal has arrived.
        applied: names of the migrations that are installed.
        restored: a backup was restored just now: the definitions of all views are stored again.

    Raises:
        DatabaseError: the database could not be reached any more.
        Stopped: a signal arrived; the views are down as before.
    """
    living = Timeline(graph).living(applied)
    with working(backend, "repair of views", failed="views could not be brought back", hint=STAYS_STORED) as work:
        with interruption.stopping(work.cancel):
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
    return missing
