"""Checks whether only the deploying role can have written the rows of one of the tool's tables."""

from __future__ import annotations

from migrate_graph.database.postgres.views.snapshot import Read, literal

# Trusted are superusers, the role of this session, and the owner of the table if that role is a member of the owner's.
_FACTS = """
SELECT c.relkind = 'r' AS ordinary, pg_catalog.pg_get_userbyid(c.relowner)::text AS owner,
    (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.oid = c.relowner) OR pg_catalog.pg_has_role(session_user, c.relowner, 'MEMBER') AS ours,
    c.relhastriggers AND EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal)
        OR EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid) OR c.relrowsecurity AS rigged,
    ARRAY (SELECT DISTINCT coalesce(r.rolname::text, 'PUBLIC')
        FROM (SELECT item.* FROM pg_catalog.aclexplode(c.relacl) item UNION ALL
            SELECT item.* FROM pg_catalog.pg_attribute a, pg_catalog.aclexplode(a.attacl) item WHERE a.attrelid = c.oid) item
        LEFT JOIN pg_catalog.pg_roles r ON r.oid = item.grantee
        WHERE item.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'MAINTAIN') AND item.grantee <> c.relowner
            AND NOT coalesce(r.rolsuper, false) AND r.rolname IS DISTINCT FROM session_user
        ORDER BY 1) AS writers
FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass({table})
"""


def distrust(read: Read, table: str) -> str:
    """Return why a table's rows cannot be trusted; empty when only the deploying role can have written them.

    Args:
        read: runs a query with an empty search_path.
        table: quoted name of the table, with its schema.
    """
    for ordinary, owner, ours, rigged, writers in read(_FACTS.format(table=literal(table))):
        if not ordinary:
            return f"{table} is no ordinary table"
        if not ours:
            return f"{table} belongs to {owner}"
        if rigged:
            return f"{table} has triggers, rules or row level security"
        if writers:
            return f"others may write to {table}: REVOKE ALL ON {table} FROM {', '.join(writers)}"
    return ""
