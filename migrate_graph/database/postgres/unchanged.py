"""Proves, after something was dropped, that the rows which went are those that were read: nobody has changed it in between."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from migrate_graph.database.postgres.objects import Address

SEEN: Final = "migrate_graph_seen"
"""Begins the name of a cursor that was opened before something was read."""

CHANGED: Final = "migrate_graph finds it changed meanwhile"
"""Stands in the error by which the server undoes a drop of what somebody else has changed after it was read."""

# Whoever grants a privilege, comments or alters writes a catalog's row anew, or adds one, and needs no lock that we could take first. But a
# cursor that was opened before the look sees, also after the drop, the rows that there were then, and in each who has replaced it: this
# transaction, which has dropped it, or somebody else, who has committed before. A row that was added since is seen by nobody any more: it is
# found by how many rows this transaction has deleted. The cursor computes nothing before it is fetched from: which objects
# went is told then, in settings. It is planned under the session's own search_path: every operator and function says where it is from.
_EQ, _NE, _MINUS, _PLUS = (f"OPERATOR(pg_catalog.{each})" for each in ("=", "<>", "-", "+"))
_OBJECTS = "ANY (CAST(pg_catalog.current_setting('migrate_graph.objects') AS pg_catalog.oid[]))"

# One object at a time: without knowing the numbers yet, the planner would read all that the catalog says of objects of these classes.
_DEPEND = f"""(SELECT d.xmax FROM ROWS FROM (
        pg_catalog.unnest(CAST(pg_catalog.current_setting('migrate_graph.classes') AS pg_catalog.oid[])),
        pg_catalog.unnest(CAST(pg_catalog.current_setting('migrate_graph.objects') AS pg_catalog.oid[]))) AS o (classid, objid)
    CROSS JOIN LATERAL (SELECT x.xmax FROM pg_catalog.pg_depend x WHERE x.classid {_EQ} o.classid AND x.objid {_EQ} o.objid OFFSET 0) d)"""

# An xid with the epoch that it is of: within two thousand million of the newest one.
_EPOCH = f"""now.newest {_PLUS} ((CAST(CAST(r.xmax AS pg_catalog.text) AS pg_catalog.int8) {_MINUS} now.newest {_PLUS} 2147483648)
    OPERATOR(pg_catalog.&) 4294967295) {_MINUS} 2147483648"""
_REPLACED = f"r.xmax {_NE} '0'::pg_catalog.xid"
_OURS = f"pg_catalog.txid_status({_EPOCH}) {_EQ} 'in progress'"

# Whoever replaces a view's query writes its row in pg_class anew as well.
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

# Whatever is added to an object stands in one of these, with a row of its own.
_ADDED_TO = ("pg_depend", "pg_description", "pg_seclabel")


def _counted(what: str, table: str) -> str:
    return f"pg_catalog.pg_stat_get_xact_tuples_{what}('pg_catalog.{table}'::pg_catalog.regclass)"


def _count(table: str) -> str:
    """Return the SQL of how many rows this transaction has deleted, besides those that it has added itself."""
    return f"{_counted('deleted', table)} {_MINUS} {_counted('inserted', table)}"


_COUNTS = f"pg_catalog.concat_ws(',', {', '.join(map(_count, _ADDED_TO))})"


def _more(place: int, table: str, of_these: str, rows: str = "") -> str:
    """Return the SQL of whether more rows were deleted than there were."""
    before = f"CAST(pg_catalog.split_part(pg_catalog.current_setting('migrate_graph.counts'), ',', {place}) AS pg_catalog.int8)"
    return f"""{_count(table)} {_MINUS} {before} OPERATOR(pg_catalog.>) (SELECT pg_catalog.count(*)
        FROM {rows or f"pg_catalog.{table}"} r WHERE {of_these} AND {_REPLACED} AND {_OURS})"""


def _query(keys: dict[str, str]) -> str:
    rows = " UNION ALL ".join(
        f"SELECT r.xmax FROM pg_catalog.{table} r WHERE r.{key} {_EQ} {_OBJECTS}" for table, key in keys.items()
    )
    # What more than these objects goes is known already, unless plain statements are taken at their word.
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
    """Return the statements to send before something is read.

    Args:
        name: of the cursor.
        brief: nothing will be dropped but bare views.
    """
    settings = {"objects": "'{}'", "classes": "'{}'", "plain": "''", "counts": _COUNTS}
    return [_set(settings), f"DECLARE {name} NO SCROLL CURSOR FOR {_BRIEF if brief else _FULL}"]


def compared(name: str, gone: Collection[Address], *, plain: bool) -> list[str]:
    """Return the statements to send after something was dropped: they fail where it was not as it was read.

    Args:
        name: of the cursor.
        gone: what was dropped.
        plain: nothing else was, unless somebody has added it since.
    """
    if not gone:
        return closed(name)
    chosen = sorted({(classid, objid) for classid, objid, _ in gone})
    settings = {
        "objects": _array(objid for _, objid in chosen),
        "classes": _array(classid for classid, _ in chosen),
        "plain": "'on'" if plain else "''",
    }
    return [_set(settings), f"FETCH {name}", *closed(name)]


def closed(name: str) -> list[str]:
    """Return the statement that forgets it."""
    return [f"CLOSE {name}"]


def _set(settings: dict[str, str]) -> str:
    parts = (f"pg_catalog.set_config('migrate_graph.{name}', {value}, true)" for name, value in settings.items())
    return f"SELECT {', '.join(parts)}"


def _array(numbers: Iterable[int]) -> str:
    return f"'{{{','.join(str(int(number)) for number in numbers)}}}'"
