"""Baseline: begin the ledger of a database that already has tables, and record migrations whose work is there as applied."""

from __future__ import annotations

import uuid
from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct

from migrate_graph.core.events import Observer
from migrate_graph.database import open_backend
from migrate_graph.errors import UsageError
from migrate_graph.loader.created import relations_created
from migrate_graph.workflow.locked import locked, recording
from migrate_graph.workflow.no_ledger import ledgers_among, without_schema
from migrate_graph.workflow.project import Project, reading_settings, require_database, unknown_name

if TYPE_CHECKING:
    from migrate_graph.database import Backend


class Evidence(StrEnum):
    """What the database shows of a migration without a record."""

    THERE = "there"
    """Everything that it creates exists."""
    MISSING = "missing"
    """Something that it creates does not exist."""
    UNKNOWN = "unknown"
    """Its text does not name anything that it creates."""


class Entry(Struct, frozen=True):
    """One migration, before it is recorded.

    Attributes:
        name: name of the migration.
        evidence: what the database shows of it.
        exists: relations that it creates and that exist.
        missing: relations that it creates and that do not exist.
        recorded: it will be recorded as applied.
        asked: it was asked for, or is proposed. A migration that is recorded without this is required by one that was asked for.
    """

    name: str
    evidence: Evidence
    exists: tuple[str, ...]
    missing: tuple[str, ...]
    recorded: bool
    asked: bool


class Baseline(Struct, frozen=True):
    """What a baseline would record.

    Attributes:
        entries: every declared migration, in the order of the run.
        database: label of the database, without secrets.
        relations: the relations in the database.
        proposed: the user has not said what to record; this is a proposal from the names of tables.
    """

    entries: tuple[Entry, ...]
    database: str
    relations: tuple[str, ...]
    proposed: bool

    @property
    def recorded(self) -> tuple[str, ...]:
        """Names that will be recorded as applied, in order."""
        return tuple(entry.name for entry in self.entries if entry.recorded)

    @property
    def elsewhere(self) -> tuple[tuple[str, str], ...]:
        """Ledgers of other tools in the database, each with the name of the tool."""
        return ledgers_among(self.relations)


def survey(project: Project, asked: frozenset[str] | None, observer: Observer) -> Baseline:
    """Return what a baseline would record; nothing is written.

    Args:
        project: what is declared.
        asked: names of the migrations whose work is in the database; empty: only begin the ledger; None: make a proposal.
        observer: called while the database is waited for.

    Raises:
        UsageError: the database has a ledger, or nothing has one of the names.
    """
    require_database(project.config)
    with open_backend(reading_settings(project.config), observer=observer) as backend:
        return _baseline(project, backend, asked)


def record(project: Project, asked: frozenset[str], reason: str, observer: Observer) -> Baseline:
    """Begin the ledger, and record migrations as applied.

    Args:
        project: what is declared.
        asked: names of the migrations whose work is in the database.
        reason: who records them, and why; for the journal.
        observer: called while the database or the lock is waited for.

    Raises:
        UsageError: the database has a ledger by now.
    """
    with locked(project.config, observer) as (backend, _, _):
        baseline = _baseline(project, backend, asked)
        with recording(backend):  # one transaction: with an empty ledger, the next run would run these migrations again
            backend.prepare()
            backend.preflight(baseline.recorded)
            if baseline.recorded:
                backend.mark(baseline.recorded, installed=True, reason=reason, run=str(uuid.uuid4()))
        return baseline


def _baseline(project: Project, backend: Backend, asked: frozenset[str] | None) -> Baseline:
    if backend.has_ledger():
        raise UsageError(
            f"{backend.label} has its ledger already: {project.config.migrate_table}",
            hint="migrate mark NAME --installed records one more; migrate status shows what is recorded",
        )
    relations = tuple(backend.user_relations())
    known = {without_schema(relation).casefold() for relation in relations}
    graph = project.graph
    order = graph.order(project.ordering)
    seen = {name: _evidence(project, name, known) for name in order}
    for name in sorted(asked or ()):
        if name not in graph.migrations:
            raise unknown_name(project, name)
    proposed = asked is None
    if asked is None:
        asked = frozenset(name for name, (evidence, _, _) in seen.items() if evidence is Evidence.THERE)
    recorded = asked.union(*(graph.ancestors(name) for name in asked))
    entries = (Entry(name, *seen[name], recorded=name in recorded, asked=name in asked) for name in order)
    return Baseline(tuple(entries), backend.label, relations, proposed)


def _evidence(project: Project, name: str, known: set[str]) -> tuple[Evidence, tuple[str, ...], tuple[str, ...]]:
    """Compare the relations that a migration creates with the known ones, ignoring case, as SQLite does."""
    created = relations_created(project.graph.migrations[name].function)
    exists = tuple(sorted(each for each in created if each.casefold() in known))
    missing = tuple(sorted(created.difference(exists)))
    evidence = Evidence.MISSING if missing else Evidence.THERE if exists else Evidence.UNKNOWN
    return evidence, exists, missing
