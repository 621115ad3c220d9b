"""Drift: keep what the database is made of after a run, and look what somebody changed by hand since."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from migrate_graph.core.drift import Drift, drift_between
from migrate_graph.core.events import Observer, Warned
from migrate_graph.core.rules.rule import listed
from migrate_graph.database import open_backend
from migrate_graph.errors import DatabaseError, UsageError
from migrate_graph.messages import first_line
from migrate_graph.workflow.project import database_settings
from migrate_graph.workflow.scaffolding import Written, new

if TYPE_CHECKING:
    from datetime import date

    from migrate_graph.core.adopting import Adoption
    from migrate_graph.core.history import History
    from migrate_graph.database import Backend
    from migrate_graph.workflow.project import Project, Reading

_STORES = "the next migrate apply stores it"


def remember(backend: Backend, observer: Observer, *, run: str, quietly: bool = False) -> None:
    """Store what the database is made of now; a run never fails because of this.

    Args:
        backend: holds the lock.
        observer: told why it could not be done.
        run: that did the work.
        quietly: nothing is told: nothing was done to the database.
    """
    try:
        backend.store_inventory(run=run)
    except Exception as error:  # noqa: BLE001 - the migrations are done, and whatever this meets must not undo that
        if not quietly:
            observer(
                Warned(
                    f"the schema of the database was not stored, so changes by hand will not be seen: {first_line(error)}",
                    "migrate apply tries again",
                )
            )


def tell_before_run(backend: Backend, history: History, observer: Observer, *, ignore: Sequence[str] = ()) -> None:
    """Report what somebody changed by hand since the last run: after this run it belongs to what is known. A run never fails by this.

    Args:
        backend: holds the lock.
        history: what it remembers.
        observer: is told.
        ignore: patterns of what may change by itself.
    """
    if not history.facts_at or not history.facts_are_current:
        return
    try:
        before = backend.stored_inventory()
        changes = drift_between(before, backend.read_inventory(), ignore=ignore).changes if before else ()
    except Exception:  # noqa: BLE001 - the migrations are what the run is for
        return
    if changes:
        told = listed(f"{each.fact.kind} {each.fact.identity}" for each in changes)
        observer(
            Warned(
                f"changed by hand since the last run: {told}. This run stores the schema with it",
                "if other databases need it too, write a migration for it",
            )
        )


def look(backend: Backend, history: History, *, ignore: Sequence[str] = ()) -> Drift:
    """Return what somebody changed by hand since the last run, or why that cannot be told; nothing is written.

    Args:
        backend: the database.
        history: what it remembers.
        ignore: patterns of what may change by itself.
    """
    unknown = _why_unknown(backend, history)
    if unknown:
        return Drift(unknown=unknown)
    try:
        before = backend.stored_inventory()
        after = backend.read_inventory()
    except DatabaseError as error:
        return Drift(unknown=error.message)
    except ValueError:
        before = None
    if before is None:
        return Drift(unknown=f"what is stored of the database cannot be read: {_STORES}")
    if backend.read_history() != history or backend.lock_holder() is not None:
        return Drift(unknown="a run has gone by meanwhile: look again")
    return drift_between(before, after, ignore=ignore)


def _why_unknown(backend: Backend, history: History) -> str:
    if backend.lock_holder() is not None:
        return "a run is at work on the database"
    if not history.facts_at:
        return f"the schema of the database was never stored: {_STORES}"
    if not history.facts_are_current:
        return f"the last run, or whoever decided something since, has not stored the schema of the database: {_STORES}"
    return ""


class Adopted(Struct, frozen=True):
    """What was written of a drift.

    Attributes:
        written: where; None where nothing could be.
        adoption: the statements, and what could not be written.
    """

    written: Written | None
    adoption: Adoption


def adopt(project: Project, reading: Reading, name: str, *, today: date, observer: Observer) -> Adopted:
    """Write a migration that does what somebody did by hand, behind all that is applied.

    Args:
        project: where to.
        reading: with the drift.
        name: of the migration.
        today: gives its number the date.
        observer: told while the database is waited for.

    Raises:
        UsageError: nothing is known of a drift, nothing drifted, or the name is taken.
    """
    drift = reading.drift or Drift(unknown=reading.note)
    if drift.unknown:
        raise UsageError(
            f"no migration was written, since nothing is known of what was changed by hand: {drift.unknown}",
            hint="migrate new NAME writes an empty one",
        )
    if not drift.changes:
        raise UsageError("no migration was written: nothing was changed by hand", hint="migrate status --drift")
    managers = {name: view.manager for name, view in project.graph.views.items()}
    with open_backend(database_settings(project.config), observer=observer) as backend:
        adoption = backend.adoption_of(drift.changes, managers=managers)
    statements = tuple(statement for statement in adoption.statements if _is_text(statement))
    if not statements:
        return Adopted(None, adoption)
    graph, applied = project.graph, reading.history.applied & set(project.graph.migrations)
    last = [each for each in graph.order(project.ordering) if each in applied and not graph.descendants(each) & applied]
    body = "".join(_call(statement) for statement in statements)
    return Adopted(new(project, name, requires=last, today=today, body=body), adoption)


def _is_text(statement: str) -> bool:
    """Return whether a file of Python can hold a statement: bytes that are no text it cannot."""
    try:
        statement.encode()
    except UnicodeEncodeError:
        return False
    return True


def _call(statement: str) -> str:
    """Return the line of a body that sends a statement; whatever it says stays a text."""
    is_plain = statement.isprintable() or all(line.isprintable() for line in statement.split("\n"))
    if (
        is_plain
        and not any(each in statement for each in ("\\", '"""'))
        and not statement.endswith('"')
        and "\n" in statement
    ):
        return f'    db.executesql(\n        """\n{statement}\n        """\n    )\n'
    return f"    db.executesql({_quoted(statement)})\n"


def _quoted(statement: str) -> str:
    shown = repr(statement)
    if shown.startswith("'") and '"' not in shown and "\\" not in shown:
        return f'"{shown[1:-1]}"'
    return shown
