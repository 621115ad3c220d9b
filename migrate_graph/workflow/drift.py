"""Drift: store the schema of the database after a run, and find what somebody changed by hand since."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from migrate_graph.core.drift import Drift, drift_between
from migrate_graph.core.events import Observer, Warned
from migrate_graph.core.rules.rule import listed
from migrate_graph.database import open_backend
from migrate_graph.errors import DatabaseError, DatabaseUnreachable, UsageError
from migrate_graph.messages import first_line
from migrate_graph.workflow.project import reading_settings
from migrate_graph.workflow.scaffolding import Written, new

if TYPE_CHECKING:
    from datetime import date

    from migrate_graph.core.adopting import Adoption
    from migrate_graph.core.history import History
    from migrate_graph.database import Backend
    from migrate_graph.workflow.project import Project, Reading

_STORES = "the next migrate apply stores it"


def remember(backend: Backend, observer: Observer, *, run: str, quietly: bool = False) -> None:
    """Store the schema of the database; a run never fails because of this.

    Args:
        backend: the database; the lock is held.
        observer: called with a warning when it could not be stored.
        run: id of the run.
        quietly: do not warn: the run has changed nothing.
    """
    try:
        backend.store_inventory(run=run)
    except Exception as error:  # noqa: BLE001 - the migrations are done, and must not count as failed because of this
        if not quietly:
            observer(
                Warned(
                    f"the schema of the database was not stored, so changes by hand will not be seen: {first_line(error)}",
                    "migrate apply tries again",
                )
            )


def tell_before_run(backend: Backend, history: History, observer: Observer, *, ignore: Sequence[str] = ()) -> None:
    """Report what somebody changed by hand since the last run; this run stores it as part of the schema. A run never fails because of this.

    Args:
        backend: the database; the lock is held.
        history: what the database remembers.
        observer: called with a warning.
        ignore: patterns of what does not count as a change by hand.
    """
    if not history.facts_at or not history.facts_are_current:
        return
    try:
        before = backend.stored_inventory()
        changes = drift_between(before, backend.read_inventory(), ignore=ignore).changes if before else ()
    except Exception:  # noqa: BLE001 - the migrations must run all the same
        return
    if changes:
        told = listed(str(each.fact) for each in changes)
        observer(
            Warned(
                f"changed by hand since the last run: {told}. This run stores the schema with it",
                "if other databases need it too, write a migration for it",
            )
        )


def look(backend: Backend, history: History, *, ignore: Sequence[str] = ()) -> Drift:
    """Return what somebody changed by hand since the last run, or why that is not known; nothing is written.

    Args:
        backend: the database.
        history: what the database remembers.
        ignore: patterns of what does not count as a change by hand.

    Raises:
        DatabaseUnreachable: the connection was lost.
    """
    unknown = _why_unknown(backend, history)
    if unknown:
        return Drift(unknown=unknown)
    try:
        before = backend.stored_inventory()
        after = backend.read_inventory()
    except DatabaseUnreachable:
        raise
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
    """The migration that was written for a drift.

    Attributes:
        written: the file and the place in it; None when nothing could be written.
        adoption: the statements, and the changes that could not be written.
    """

    written: Written | None
    adoption: Adoption


def adopt(project: Project, reading: Reading, name: str, *, today: date, observer: Observer) -> Adopted:
    """Write a migration that makes the changes that somebody made by hand; it requires all applied migrations.

    Args:
        project: the project that gets the migration.
        reading: the reading, with the drift.
        name: name of the migration.
        today: the date for the number of the migration.
        observer: called while the database is waited for.

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
    with open_backend(reading_settings(project.config), observer=observer) as backend:
        adoption = backend.adoption_of(drift.changes, managers=managers)
    statements = tuple(statement for statement in adoption.statements if _is_text(statement))
    if not statements:
        return Adopted(None, adoption)
    graph, applied = project.graph, reading.history.applied & set(project.graph.migrations)
    last = [each for each in graph.order(project.ordering) if each in applied and not graph.descendants(each) & applied]
    body = "".join(_call(statement) for statement in statements)
    return Adopted(new(project, name, requires=last, today=today, body=body), adoption)


def _is_text(statement: str) -> bool:
    """Return whether a statement can be written into a Python file; one with bytes that are not text cannot."""
    try:
        statement.encode()
    except UnicodeEncodeError:
        return False
    return True


def _call(statement: str) -> str:
    """Return the lines of a body that send a statement; the statement is quoted so that it stays one text."""
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
