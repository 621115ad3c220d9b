"""Databases for one use (tests): where they are made, how to connect to one, and which views it holds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migrate_graph.database import BACKENDS, Settings, backend_class
from migrate_graph.database.application import ledger_rname
from migrate_graph.database.dal import define_ledger, make_own_dal
from migrate_graph.database.names import TableNames, schema_names
from migrate_graph.database.scratch_database import PREFIX, Scratch
from migrate_graph.errors import ConfigError
from migrate_graph.redaction import redact_uri

if TYPE_CHECKING:
    from migrate_graph.database.relation import Relation


_CONNECT_WAIT = 10.0
"""Seconds. Short, so that tests fail instead of hanging when there is no server."""


def open_scratch(uri: str, *, directory: Path, schema: str | None, table: str) -> Scratch:
    """Return a place that makes scratch databases: as files, or on a server.

    Args:
        uri: a database on the server; it is connected to and not changed. Empty: SQLite files are made.
        directory: where files are made.
        schema: the project's search_path; its schemas are made in each new database.
        table: name of the project's ledger table; its schema is made, too.

    Raises:
        ConfigError: the URI is of another kind.
        DatabaseUnreachable: the server does not answer.
        DatabaseRefused: the role may not create databases, and the database that it was given is in use.
    """
    settings = Settings(uri, schema=None, connect_wait=_CONNECT_WAIT)
    scheme = uri.partition(":")[0].lower() if uri else "sqlite"
    kind = BACKENDS[scheme]() if scheme in BACKENDS else None
    wanted = [*schema_names(schema or ""), TableNames.of(table, kind.dialect).schema] if kind else []
    scratch = kind.scratch(settings, directory=directory, schemas=[name for name in wanted if name]) if kind else None
    if scratch is None:
        raise ConfigError(
            f"{redact_uri(uri)} is no PostgreSQL server to test on",
            hint="use postgres://user:password@host:port/database, or nothing at all: then SQLite files are made",
        )
    return scratch


def connect(settings: Settings) -> Any:
    """Open a `DAL` (or `TypeDAL`) with its own connection to a database; close it with `dal.discard`."""
    source = backend_class(settings.uri).dal_source(settings, "migrate_graph:tests")
    db = make_own_dal(source, typedal=settings.typedal, folder=settings.folder)
    define_ledger(db, rname=ledger_rname(settings, settings.table))
    db.commit()
    return db


def views_of(db: Any) -> dict[str, Relation]:
    """Read everything about every view of a database, by its name with its schema; views in other scratch schemas are left out."""
    adapter = db._adapter  # noqa: SLF001 - pyDAL has no public way to its connection
    catalog = BACKENDS[adapter.dbengine]().catalog_on(adapter.connection)
    place = catalog.place()
    return {
        each.identity: each
        for each in catalog.every_view().values()
        if not each.identity.startswith(PREFIX) or each.identity.partition(".")[0] in place
    }


def same_definition(one: Relation, other: Relation) -> bool:
    """Return whether two relations have the same definition.

    SQLite keeps the text of the CREATE statement, and rewrites names in it when a table changes. There, quotes, blanks and case do not count.
    """
    return one.kind == other.kind and (
        one.definition == other.definition or bool(not one.owner and _plain(one.definition) == _plain(other.definition))
    )


def _plain(definition: str) -> str:
    return re.sub(r"[\s\"`\[\];]+", "", definition).lower()
