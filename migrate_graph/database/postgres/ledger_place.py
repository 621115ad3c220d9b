"""Finds the schema in which the tool's tables are, or would be created; says why there is none, and what to type then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from migrate_graph.database.names import TableNames, schema_names, search_path
from migrate_graph.errors import DatabaseRefused
from migrate_graph.quoting import quote_identifier

Execute = Callable[..., list[tuple[Any, ...]]]

_SYSTEM = "pg_"
"""How the names of the server's own schemas begin; no other schema may be named so."""

# `current_schema()` is the first schema of the path that exists. The server lets nobody create tables in `pg_catalog`, and tables in
# `pg_temp` would be gone at the end of the session.
_FOUND = (
    "SELECT (SELECT n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace "
    "WHERE c.oid OPERATOR(pg_catalog.=) CAST(pg_catalog.to_regclass(%s) AS pg_catalog.oid)), (SELECT s.name FROM pg_catalog.current_schema() "
    f"AS s(name) WHERE NOT pg_catalog.starts_with(CAST(s.name AS pg_catalog.text), '{_SYSTEM}'))"
)

_MAY_CREATE = (
    "SELECT pg_catalog.has_schema_privilege(n.oid, 'CREATE'), CAST(current_user AS pg_catalog.text) FROM pg_catalog.pg_namespace n "
    "WHERE n.nspname OPERATOR(pg_catalog.=) %s"
)


def place_of(ask: Execute, names: TableNames, path: str) -> TableNames:
    """Return the names of the tool's tables with the schema where the ledger is, or would be created; an empty one if there is none.

    Args:
        ask: runs a statement in an open transaction, and returns its rows.
        names: as the settings name them.
        path: the search_path along which a name without a schema is looked up; set for the transaction.
    """
    if names.schema:
        return names
    ask("SELECT pg_catalog.set_config('search_path', %s, true)", (path,))
    ((found, current),) = ask(_FOUND, (names.quoted(names.ledger),))
    return replace(names, schema=found or current or "")


def without_schema(execute: Execute, schema: str | None, path: str, role: str, label: str) -> DatabaseRefused:
    """Return the refusal of a database in which there is no schema for the tool's tables.

    Args:
        execute: runs a statement and returns its rows.
        schema: the setting `schema`; None or empty where the search_path of the role decides.
        path: the search_path along which the ledger was looked up.
        role: the role that connects.
        label: name of the database in output.
    """
    system = [name for name in schema_names(path) if name.startswith(_SYSTEM)]
    others = [role if name == "$user" else name for name in schema_names(path) if name not in system]
    hidden = execute("SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname = ANY (%s) ORDER BY 1", (others,))
    if hidden and not system:  # the server passes over a schema in a path that the role may not use
        return _forbidden(role, str(hidden[0][0]), label)
    whose = "the setting `schema`" if schema else "the search_path of the role"
    if system:  # it exists, so none before it does
        moved = ", ".join(filter(None, [search_path(",".join(map(quote_identifier, others)) or "public"), *system]))
        return DatabaseRefused(
            f"{whose} is {schema or path!r}: tables would be created in {system[0]}, which belongs to the server, so there is no place for "
            f"the ledger in {label}",
            hint=f"set `schema` to {(others or ['public'])[0]!r}{_or_path(role, moved, schema)}",
        )
    if schema:
        return DatabaseRefused(
            f"schema {schema!r} does not exist in {label}",
            hint=f"CREATE SCHEMA {quote_identifier(schema_names(schema)[0])}; or set `schema`",
        )
    create = f"CREATE SCHEMA {quote_identifier(others[0])}; or " if others else ""
    return DatabaseRefused(
        f"the search_path of the role names no schema that exists in {label}, so there is no place for the ledger: {path or 'it is empty'}",
        hint=f"{create}set `schema`{_or_path(role, 'public', schema)}",
    )


def _or_path(role: str, path: str, schema: str | None) -> str:
    return "" if schema else f"; or ALTER ROLE {quote_identifier(role)} SET search_path = {path}"


def require_place(execute: Execute, names: TableNames, label: str) -> None:
    """Refuse a schema in which the role may create no tables, or which does not exist.

    Args:
        execute: runs a statement and returns its rows.
        names: names of the tool's tables, with their schema.
        label: name of the database in output.

    Raises:
        DatabaseRefused: the tables cannot be created there; the hint names the right that is missing.
    """
    schema = quote_identifier(names.schema)
    found: Sequence[tuple[Any, ...]] = execute(_MAY_CREATE, (names.schema,))
    if not found:
        raise DatabaseRefused(
            f"schema {names.schema!r}, which `migrate_table` names, does not exist in {label}",
            hint=f"CREATE SCHEMA {schema}; or set `migrate_table`",
        )
    ((may, role),) = found
    if not may:
        raise _forbidden(role, names.schema, label)


def _forbidden(role: str, schema: str, label: str) -> DatabaseRefused:
    return DatabaseRefused(
        f"the role {role} may create no table in schema {schema} of {label}, so it cannot create the ledger there",
        hint=f"GRANT USAGE, CREATE ON SCHEMA {quote_identifier(schema)} TO {quote_identifier(role)}; or set `schema` to one in which it may "
        "create tables",
    )
