"""Proves, after objects were dropped, that nobody had changed them since they were read."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from migrate_graph.database.postgres.views.objects import Address
from migrate_graph.quoting import as_array

SEEN: Final = "migrate_graph_seen"
"""Prefix of the names of the cursors that are opened before objects are read."""

CHANGED: Final = "migrate_graph finds it changed meanwhile"
"""Text in the error that the cursor's query raises when another session has changed a dropped object after it was read."""

# GRANT, COMMENT and ALTER write new versions of catalog rows, or add rows, and take no lock that we could take before them. But a cursor that
# was opened before the objects are read still sees, after the drop, the rows of that time. Their `xmax` tells who has replaced or deleted each:
# this transaction, by its drop, or another one that has committed before. A row that was added since is not visible to the cursor: it is
# found by the number of rows that this transaction has deleted. The cursor's query runs when it is fetched from; the dropped objects are
# given to it in settings then. It is planned with the session's own search_path, so every operator and function has its schema.
_EQ, _NE, _MINUS, _PLUS = (f"OPERATOR(pg_catalog.{each})" for each in ("=", "<>", "-", "+"))
_OBJECTS = "ANY (CAST(pg_catalog.current_setting('migrate_graph.objects') AS pg_catalog.oid[]))"

# LATERAL looks up one object at a time: when it is planned, the OIDs are not known, and the planner would read all rows of these catalogs.
_DEPEND = f"""(SELECT d.xmax FROM ROWS FROM (
        pg_catalog.unnest(CAST(pg_catalog.current_setting('migrate_graph.classes') AS pg_catalog.oid[])),
        pg_catalog.unnest(CAST(pg_catalog.current_setting('migrate_graph.objects') AS pg_catalog.oid[]))) AS o (classid, objid)
    CROSS JOIN LATERAL (SELECT x.xmax FROM pg_catalog.pg_depend x WHERE x.classid {_EQ} o.classid AND x.objid {_EQ} o.objid OFFSET 0) d)"""

# An xid with its epoch, which is computed from the newest transaction number: the two differ by less than 2^31.
_EPOCH = f"""now.newest {_PLUS} ((CAST(CAST(r.xmax AS pg_catalog.text) AS pg_catalog.int8) {_MINUS} now.newest {_PLUS} 2147483648)
    OPERATOR(pg_catalog.&) 4294967295) {_MINUS} 2147483648"""
_REPLACED = f"r.xmax {_NE} '0'::pg_catalog.xid"
_OURS = f"pg_catalog.txid_status({_EPOCH}) {_EQ} 'in progress'"

# CREATE OR REPLACE VIEW also writes a new version of the view's row in pg_class, so pg_rewrite need not be compared.
_BARE = {"pg_class": "oid", "pg_attribute": "attrelid", "pg_type": "oid"}
_ALL = {
    **_BARE,
    "pg_proc": "oid",
    "pg_trigger": "oid",
    "pg_index": "indexrelid",
    "pg_statistic_ext": "oid",
    "pg_operator": "oid",
    "pg_description": "objoid",
    "pg_seclabel": "objoid",
}

# Whatever is added to an object adds a row to one of these catalogs.
_ADDED_TO = ("pg_depend", "pg_description", "pg_seclabel")


def _counted(what: str, table: str) -> str:
    return f"pg_catalog.pg_stat_get_xact_tuples_{what}('pg_catalog.{table}'::pg_catalog.regclass)"


def _count(table: str) -> str:
    """Return an SQL expression: the number of rows that this transaction has deleted, minus those that it has inserted."""
    return f"{_counted('deleted', table)} {_MINUS} {_counted('inserted', table)}"


_COUNTS = f"pg_catalog.concat_ws(',', {', '.join(map(_count, _ADDED_TO))})"


def _more(place: int, table: str, of_these: str, rows: str = "") -> str:
    """Return an SQL condition: this transaction has deleted more rows of a catalog than the cursor can see.

    Args:
        place: position of the catalog in `_ADDED_TO`, from 1.
        table: name of the catalog.
        of_these: SQL condition for the rows `r` of the dropped objects.
        rows: SQL to read instead of the whole catalog; empty for the catalog.
    """
    before = f"CAST(pg_catalog.split_part(pg_catalog.current_setting('migrate_graph.counts'), ',', {place}) AS pg_catalog.int8)"
    return f"""{_count(table)} {_MINUS} {before} OPERATOR(pg_catalog.>) (SELECT pg_catalog.count(*)
        FROM {rows or f"pg_catalog.{table}"} r WHERE {of_these} AND {_REPLACED} AND {_OURS})"""


def _query(keys: dict[str, str]) -> str:
    rows = " UNION ALL ".join(
        f"SELECT r.xmax FROM pg_catalog.{table} r WHERE r.{key} {_EQ} {_OBJECTS}" for table, key in keys.items()
    )
    # Only after plain statements is it not known yet whether more than these objects were dropped.
    is_plain = f"pg_catalog.current_setting('migrate_graph.plain') {_EQ} 'on'"
    more = [
        f"{is_plain} AND {_more(1, 'pg_depend', 'true', _DEPEND)}",
        *(
            f"CASE WHEN {is_plain} THEN {_more(place, table, f'r.objoid {_EQ} {_OBJECTS}')} ELSE {_more(place, table, 'true')} END"
            for place, table in enumerate(_ADDED_TO[1:], 2)
        ),
    ]
    return f"""SELECT CASE WHEN EXISTS (SELECT FROM ({rows}) r WHERE {_REPLACED} AND ({_OURS}) IS NOT TRUE) OR {" OR ".join(more)}
        THEN pg_catalog.concat('{CHANGED}')::pg_catalog.int4 END
    FROM (SELECT pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot()) AS newest OFFSET 0) now"""


_BRIEF, _FULL = _query(_BARE), _query(_ALL)


def opened(name: str, *, brief: bool) -> list[str]:
    """Return the statements to send before objects are read.

    Args:
        name: name for the cursor.
        brief: only bare views will be dropped; see `PlainViews.bare`.
    """
    settings = {"objects": "'{}'", "classes": "'{}'", "plain": "''", "counts": _COUNTS}
    return [_set(settings), f"DECLARE {name} NO SCROLL CURSOR FOR {_BRIEF if brief else _FULL}"]


def compared(name: str, gone: Collection[Address], *, plain: bool) -> list[str]:
    """Return the statements to send after objects were dropped: they fail if one of the objects was changed after it was read.

    Args:
        name: name of the cursor.
        gone: the dropped objects.
        plain: plain statements dropped them, so nothing else was dropped, unless somebody has added something since.
    """
    if not gone:
        return closed(name)
    chosen = sorted({(classid, objid) for classid, objid, _ in gone})
    settings = {
        "objects": as_array(objid for _, objid in chosen),
        "classes": as_array(classid for classid, _ in chosen),
        "plain": "'on'" if plain else "''",
    }
    return [_set(settings), f"FETCH {name}", *closed(name)]


def closed(name: str) -> list[str]:
    """Return the statements that close the cursor."""
    return [f"CLOSE {name}"]


def _set(settings: dict[str, str]) -> str:
    parts = (f"pg_catalog.set_config('migrate_graph.{name}', {value}, true)" for name, value in settings.items())
    return f"SELECT {', '.join(parts)}"
