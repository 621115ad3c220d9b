"""Rehearses projects in this process, and takes down what a database is like, by other means than the code under test."""

from __future__ import annotations

import subprocess
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
from servers import PostgresServer

from migrate_graph.config import load_config
from migrate_graph.core.events import Event, Outcome
from migrate_graph.core.footprint import Footprint
from migrate_graph.workflow.apply import ApplyOptions, apply_project
from migrate_graph.workflow.assessment import assess
from migrate_graph.workflow.place import Place
from migrate_graph.workflow.project import Project, open_project, read_history
from migrate_graph.workflow.rehearse import Rehearsal, RehearseOptions, rehearse

HARD = Path(__file__).parent / "projects" / "hard"

LEDGER = "CREATE TABLE ewh_implemented_features (id serial, name varchar(512) UNIQUE, installed char(1), last_update_dttm timestamp)"
"""Makes a database one that is not refused for what lives in it already."""

ONE = """
from migrate_graph import migration


@migration
def one_1(db):
    db.executesql("ALTER TABLE stock ALTER COLUMN qty TYPE bigint")
    return True
"""


@dataclass
class RehearsalStand:
    """One database and one project."""

    uri: str
    root: Path
    settings: dict[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def open(self) -> Project:
        """Load the project."""
        return open_project(load_config(self.root, {"MIGRATE_URI": self.uri, **self.settings}), root=self.root)

    def rehearse(self, on: str = "clone", **options: Any) -> Rehearsal:
        """Rehearse what is pending."""
        project = self.open()
        found = assess(project, read_history(project.config))
        return rehearse(project, found, RehearseOptions(on=Place(on), **options), self.events.append)

    def apply(self, **options: Any) -> int:
        """Apply what is pending."""
        return int(apply_project(self.open(), ApplyOptions(**options), self.events.append))


def outcomes(done: Rehearsal) -> dict[str, Outcome]:
    """Return how each migration ended."""
    return {result.name: result.outcome for result in done.results}


def footprint(done: Rehearsal, name: str) -> Footprint:
    """Return what a migration did."""
    step = done.plan.step_of(name)
    assert step is not None
    assert step.footprint is not None, done
    return step.footprint


def said(done: Rehearsal, name: str) -> list[str]:
    """Return what a migration sent."""
    return [statement.sql for statement in footprint(done, name).statements]


def facts(found: frozenset[Any]) -> set[str]:
    """Return facts in words."""
    return {f"{fact.kind} {fact.identity}" for fact in found}


def run(uri: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements, each by itself; give the rows of the last."""
    with closing(psycopg2.connect(uri)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


def dump(server: PostgresServer, uri: str) -> str:
    """Return what `pg_dump --schema-only` writes."""
    done = subprocess.run(
        [server.binaries / "pg_dump", "--schema-only", "--no-sync", uri.replace("postgres://", "postgresql://")],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return "\n".join(
        line for line in done.stdout.splitlines() if not line.startswith(("--", "\\restrict", "\\unrestrict"))
    )


def state(server: PostgresServer, uri: str) -> dict[str, Any]:
    """Return what must be the same before and after: schema, rows, sequences, databases, roles, sessions."""
    tables = run(
        uri,
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname !~ '^pg_|^information_schema$'",
    )
    return {
        "schema": dump(server, uri),
        "rows": {name: run(uri, f"SELECT count(*), coalesce(sum(hashtext(t::text)), 0) FROM {name} t") for (name,) in sorted(tables)},
        "sequences": dict(run(uri, "SELECT format('%I.%I', schemaname, sequencename), last_value FROM pg_sequences")),
        "databases": sorted(run(uri, "SELECT datname FROM pg_database WHERE datname ~ '^migrate_graph'")),
        "roles": sorted(run(uri, "SELECT rolname FROM pg_roles")),
        "sessions": sessions(uri),
    }  # fmt: skip


def sessions(uri: str) -> list[tuple[Any, ...]]:
    """Return the tool's sessions on the server, once those have ended whose clients are gone."""
    until = time.monotonic() + 5
    while True:
        found = run(
            uri, "SELECT datname, application_name FROM pg_stat_activity WHERE application_name ~ '^migrate_graph'"
        )
        if not found or time.monotonic() > until:
            return found
