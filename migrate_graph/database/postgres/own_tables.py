"""Checks whether the tool's tables can be trusted: what kind of relations they are, who owns them, and who else may write to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from migrate_graph.database.books.ledger import Execute
from migrate_graph.database.names import TableNames
from migrate_graph.errors import DatabaseRefused
from migrate_graph.quoting import quote_identifier

_KINDS = {
    "v": "view", "m": "materialized view", "f": "foreign table", "S": "sequence", "c": "type", "i": "index", "I": "index",
}  # fmt: skip

_KIND = (
    "SELECT c.relname, CAST(c.relkind AS pg_catalog.text), c.relrowsecurity FROM pg_catalog.pg_class c "
    "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = ANY (CAST(%s AS pg_catalog.text[]))"
)

# `pg_has_role` is true for a superuser with every role, so memberships are followed here: also a superuser must not trust a table that
# belongs to any role.
_TRUST = """
WITH RECURSIVE mine (role) AS (
    SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = session_user
    UNION SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN mine ON m.member = mine.role
), trusted (role) AS (
    SELECT role FROM mine
    UNION SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolsuper
    UNION SELECT d.datdba FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()
), ours AS (
    SELECT c.oid, c.relname, c.relowner, c.relacl FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = ANY (CAST(%s AS pg_catalog.text[])) AND c.relkind IN ('r', 'p')
), granted AS (
    SELECT o.relname, o.relowner, a.grantee, a.privilege_type
    FROM ours o, pg_catalog.aclexplode(coalesce(o.relacl, pg_catalog.acldefault('r', o.relowner))) a
    UNION ALL
    SELECT o.relname, o.relowner, a.grantee, a.privilege_type || ' (' || pg_catalog.quote_ident(t.attname) || ')'
    FROM ours o JOIN pg_catalog.pg_attribute t ON t.attrelid = o.oid, pg_catalog.aclexplode(t.attacl) a
)
SELECT 'owner', o.relname, CAST(pg_catalog.pg_get_userbyid(o.relowner) AS pg_catalog.text), ''
FROM ours o WHERE o.relowner NOT IN (SELECT role FROM trusted)
UNION ALL
SELECT 'trigger', o.relname, CAST(t.tgname AS pg_catalog.text), ''
FROM ours o JOIN pg_catalog.pg_trigger t ON t.tgrelid = o.oid WHERE NOT t.tgisinternal
UNION ALL
SELECT 'rule', o.relname, CAST(r.rulename AS pg_catalog.text), ''
FROM ours o JOIN pg_catalog.pg_rewrite r ON r.ev_class = o.oid
UNION ALL
SELECT 'grant', g.relname, CASE g.grantee WHEN 0 THEN '' ELSE CAST(pg_catalog.pg_get_userbyid(g.grantee) AS pg_catalog.text) END,
    pg_catalog.string_agg(g.privilege_type, ', ' ORDER BY g.privilege_type)
FROM granted g
WHERE g.grantee <> g.relowner AND g.grantee NOT IN (SELECT role FROM trusted)
    AND g.privilege_type ~ '^(INSERT|UPDATE|DELETE|TRUNCATE|TRIGGER)'
GROUP BY g.relname, g.grantee
ORDER BY 1, 2, 3
"""
_OF_THE_TABLE = frozenset({"trigger", "rule"})
"""What is refused whatever role is connected."""


def require_ordinary(execute: Execute, names: TableNames) -> set[str]:
    """Return which of the tool's tables exist. All are ordinary tables: to read one runs no code of others.

    Raises:
        DatabaseRefused: one is a view, or has row security, whose policies may call functions.
    """
    rows = execute(_KIND, (names.schema, list(names.all)))
    faults = []
    for name, kind, secured in rows:
        table = names.quoted(name)
        if kind not in {"r", "p"}:
            what = _KINDS.get(kind, "something else")
            faults.append(
                (f"{table} is a {what}, not a table", f"DROP {what.upper()} {table}; or choose another migrate_table")
            )
        elif secured:
            faults.append((f"{table} has row security", f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY;"))
    if refused := _refusal(faults):
        raise refused
    return {name for name, _, _ in rows}


def require_trusted(execute: Execute, names: TableNames) -> None:
    """Refuse tables that other roles can write to: definitions in the view ledger are executed.

    Trusted are the connected role, the roles that it is a member of, superusers and the owner of the database.

    Raises:
        DatabaseRefused: others can write to a table; the hint has the statements that prevent it.
    """
    if refused := distrusted(execute, names):
        raise refused


def distrusted(execute: Execute, names: TableNames, *, whoever_connects: bool = False) -> DatabaseRefused | None:
    """Return the refusal of tables that other roles can write to; None: they are trusted.

    Args:
        execute: runs a statement and returns its rows.
        names: names of the tables.
        whoever_connects: look only for what every role refuses, not for what depends on the connected one.
    """
    rows = execute(_TRUST, (names.schema, list(names.all)))
    return _refusal([_fault(names, *row) for row in rows if not whoever_connects or row[0] in _OF_THE_TABLE])


def keep_to_ourselves(execute: Execute, names: TableNames, tables: Iterable[str]) -> None:
    """Revoke the privileges on tables just created that others got by default privileges."""
    for kind, table, role, privileges in execute(_TRUST, (names.schema, list(tables))):
        if kind == "grant":
            statement = f"REVOKE {privileges} ON TABLE {names.quoted(table)} FROM {_grantee(role)}"
            execute(names.dialect.sql(statement), ())


def _fault(names: TableNames, kind: str, name: str, who: str, privileges: str) -> tuple[str, str]:
    """Return what is wrong with a table, and the statement that mends it."""
    table = names.quoted(name)
    if kind == "owner":
        return (
            f"{table} belongs to the role {who}, which you are no member of",
            f"ALTER TABLE {table} OWNER TO CURRENT_USER; (by a superuser, after a look at what stands in it)",
        )
    if kind == "grant":
        return (
            f"{table} may be written by {f'the role {who}' if who else 'everybody'}",
            f"REVOKE {privileges} ON TABLE {table} FROM {_grantee(who)};",
        )
    return (f"{table} has the {kind} {who}", f"DROP {kind.upper()} {quote_identifier(who)} ON {table};")


def _grantee(role: str) -> str:
    return quote_identifier(role) if role else "PUBLIC"


def _refusal(faults: Sequence[tuple[str, str]]) -> DatabaseRefused | None:
    if not faults:
        return None
    from migrate_graph.database.books.obstacles import Fault, mends

    return DatabaseRefused(
        "the tool's own tables cannot be trusted: " + "; ".join(message for message, _ in faults),
        hint=mends([Fault(*fault) for fault in faults]),
    )
