"""Finds out what a transaction has created and dropped, and remembers it until other statements use the connection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias
from weakref import ref

from msgspec import Struct

from migrate_graph.database.postgres.session.connection import WorkConnection
from migrate_graph.database.postgres.views.objects import Address, placed
from migrate_graph.quoting import as_array

Look: TypeAlias = "dict[Address, int | None]"
"""The objects that the transaction has locked exclusively: -1 for a dropped one, the number of the creating command for a new view, None
for the others."""

# A transaction holds an exclusive lock on what it has dropped until it ends. So its own locks tell what it has dropped, and not what others
# have. `creator`: the transaction that created a view; if that is still in progress, it is this one (or a subtransaction of it).
# What is known already is not looked up again: the cost depends on what has changed since.
_LOOK = """
WITH mine AS MATERIALIZED (
    SELECT held.classid, held.objid
    FROM (SELECT CASE l.locktype WHEN 'relation' THEN 'pg_catalog.pg_class'::regclass::oid ELSE l.classid END AS classid,
            CASE l.locktype WHEN 'relation' THEN l.relation ELSE l.objid END AS objid
        FROM pg_catalog.pg_locks l
        WHERE l.pid = pg_catalog.pg_backend_pid() AND l.mode = 'AccessExclusiveLock' AND l.granted AND l.locktype IN ('relation', 'object')
            AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())) held
    WHERE (held.classid, held.objid) NOT IN (
        SELECT gone.classid, gone.objid FROM unnest($gone_classes::oid[], $gone_objects::oid[]) AS gone (classid, objid))
)
, now (xmax) AS MATERIALIZED (SELECT pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot()))
SELECT mine.classid::int8 AS classid, mine.objid::int8 AS objid, 0 AS objsubid, CASE
    WHEN NOT CASE mine.classid WHEN 'pg_catalog.pg_class'::regclass
        THEN EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = mine.objid)
        ELSE EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = mine.classid AND d.objid = mine.objid) END THEN -1
    WHEN mine.classid = 'pg_catalog.pg_class'::regclass AND mine.objid NOT IN (SELECT unnest($made::oid[])) THEN (
        SELECT CASE WHEN born.creator > 2 AND pg_catalog.txid_status(born.creator) = 'in progress' THEN born.command END
        FROM (SELECT d.cmin::text::int8 AS command,
                now.xmax + ((d.xmin::text::int8 - now.xmax + 4293918720) & 4294967295) - 4293918720 AS creator
            FROM now, pg_catalog.pg_class c JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_type'::regclass
                AND d.objid = c.reltype AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = c.oid AND d.deptype = 'i'
            WHERE c.oid = mine.objid AND c.relkind IN ('v', 'm')) born)
    END AS fate
FROM mine
UNION ALL
SELECT o.classid::int8, o.objid::int8, o.objsubid, -1
FROM unnest($classes::oid[], $objects::oid[], $columns::int4[]) AS o (classid, objid, objsubid)
WHERE EXISTS (SELECT FROM mine WHERE mine.classid = o.classid AND mine.objid = o.objid)
    AND EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = o.objid)
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = o.objid AND a.attnum = o.objsubid AND NOT a.attisdropped)
"""

# Run with the session's own search_path, so every operator has its schema.
_GONE = """
SELECT o.classid::pg_catalog.int8 AS classid, o.objid::pg_catalog.int8 AS objid, o.objsubid AS objsubid
FROM ROWS FROM (pg_catalog.unnest($classes::pg_catalog.oid[]), pg_catalog.unnest($objects::pg_catalog.oid[]),
    pg_catalog.unnest($columns::pg_catalog.int4[])) AS o (classid, objid, objsubid)
WHERE NOT CASE WHEN o.classid OPERATOR(pg_catalog.=) 1259::pg_catalog.oid
    THEN EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) o.objid)
        AND (o.objsubid OPERATOR(pg_catalog.=) 0 OR EXISTS (SELECT FROM pg_catalog.pg_attribute a
            WHERE a.attrelid OPERATOR(pg_catalog.=) o.objid AND a.attnum OPERATOR(pg_catalog.=) o.objsubid AND NOT a.attisdropped))
    ELSE EXISTS (SELECT FROM pg_catalog.pg_depend d
        WHERE d.classid OPERATOR(pg_catalog.=) o.classid AND d.objid OPERATOR(pg_catalog.=) o.objid) END
"""

# Beginnings of statements of this package that neither create nor drop objects.
_HARMLESS = (
    "SELECT ",
    "SAVEPOINT ",
    "RELEASE ",
    "INSERT INTO ",
    "DELETE FROM ",
    "PREPARE ",
    "EXECUTE ",
    "DECLARE ",
    "FETCH ",
    "CLOSE ",
)


def looked_at(known: Mapping[Address, int | None], columns: Iterable[Address] = ()) -> str:
    """Return the query for what this transaction has created and dropped; `look_in` reads its rows.

    Args:
        known: the result at an earlier moment of the transaction, since which nothing was rolled back.
        columns: columns of tables that may have been dropped.
    """
    gone = [key for key, fate in known.items() if fate == -1 and not key[2]]
    made = [key[1] for key, fate in known.items() if fate is not None and fate >= 0]
    numbers = {"$gone_classes": [key[0] for key in gone], "$gone_objects": [key[1] for key in gone], "$made": made}
    statement = placed(_LOOK, columns)
    for name, each in numbers.items():
        statement = statement.replace(name, as_array(each))
    return statement


def gone_among(objects: Iterable[Address]) -> str:
    """Return the query for those of some objects that do not exist any more."""
    return placed(_GONE, objects)


def look_in(rows: Iterable[list[Any]], known: Mapping[Address, int | None]) -> Look:
    """Return the rows of `looked_at` as a `Look`, together with what was known before."""
    look: Look = {key: fate for key, fate in known.items() if fate == -1}
    for classid, objid, column, fate in rows:
        key = (classid, objid, column)
        look[key] = known.get(key) if fate is None else fate
    return look


class Looks(Struct):
    """The last result, as long as it is right. It is only kept for a `WorkConnection`, which counts its requests.

    Attributes:
        found: the last result; None when it may be wrong.
        is_new: nothing was created or dropped since.
    """

    found: Look | None = None
    is_new: bool = False
    _connection: ref[Any] | None = None  # weak, like `Prepared._connection`
    _asked: int = 0

    def remember(self, connection: Any, found: Look) -> None:
        """Keep a result that was read just now."""
        self.found, self.is_new = found, True
        self._connection, self._asked = (
            ref(connection),
            connection.asked if isinstance(connection, WorkConnection) else -1,
        )

    def recall(self, connection: Any) -> None:
        """Forget the result if anything else has used the connection since."""
        counts = isinstance(connection, WorkConnection) and connection.asked == self._asked
        if self._connection is None or self._connection() is not connection or not counts:
            self.found, self.is_new = None, False

    @contextmanager
    def own(self, connection: Any, statements: Sequence[str]) -> Iterator[None]:
        """Note a message of this package that is sent in the block: harmless statements keep the result, a rollback discards it."""
        self.recall(connection)
        yield
        if self.found is None:
            return
        if any(each.startswith(("ROLLBACK", "COMMIT", "BEGIN")) for each in statements):
            self.found = None
        elif connection.asked == self._asked + 1:  # neither a marker nor another statement was sent in between
            self._asked = connection.asked
            self.is_new = self.is_new and all(each.startswith(_HARMLESS) for each in statements)
