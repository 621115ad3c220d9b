"""Changes a PostgreSQL database by hand, adopts that, and runs what was written on another one."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg2

from migrate_graph.core.adopting import Adoption
from migrate_graph.core.footprint import Fact
from migrate_graph.database import Settings, open_backend
from migrate_graph.workflow.drift import look


def run(uri: str, *statements: str) -> None:
    """Run statements in one transaction."""
    with closing(psycopg2.connect(uri)) as connection, connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def adopted(uri: str, base: str, by_hand: str) -> tuple[Adoption, dict[Fact, str], dict[Fact, str]]:
    """Change a database by hand; return what is written of it, what it is made of, and what another one is made of where that has run."""

    def facts(backend: Any) -> dict[Fact, str]:
        found = backend.read_inventory().facts.items()
        return {
            fact: each.definition for fact, each in found if not fact.identity.endswith("public")
        }  # the schema itself

    run(uri, base)
    with open_backend(Settings(uri), writing=True) as backend:
        backend.prepare()
        backend.store_inventory(run="r")
        run(uri, by_hand)
        drift = look(backend, backend.read_history())
        assert drift.changes, drift.unknown
        adoption = backend.adoption_of(drift.changes, managers={})
        here = facts(backend)
    run(uri, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    run(uri, base)
    run(uri, *adoption.statements)
    with open_backend(Settings(uri)) as backend:
        return adoption, here, facts(backend)
