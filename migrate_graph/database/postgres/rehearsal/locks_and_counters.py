"""Reads the locks and counters of the open transaction: which relations it has locked, and how many of their rows it has read and written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from msgspec import Struct

Ask: TypeAlias = Callable[[str], Sequence[tuple[Any, ...]]]
"""Runs one statement of this package in the open transaction, unrecorded, and returns its rows."""

_RELATIONS = "'r', 'p', 'v', 'm', 'f', 'S', 'c'"

# Every name has its schema, because the search_path may be the body's. Each relation is looked up by its OID: the planner expects a thousand
# locks, and without OFFSET 0 it would read all of pg_class. A SIReadLock of a serializable transaction is left out: it blocks nobody, and
# may stay after the end of its transaction.
_QUERY = (
    "SELECT CAST(l.relation AS pg_catalog.int8), l.modes, c.kind, c.name, c.file, "
    "pg_catalog.pg_stat_get_xact_numscans(l.relation), pg_catalog.pg_stat_get_xact_tuples_returned(l.relation) "
    "OPERATOR(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_fetched(l.relation), pg_catalog.pg_stat_get_xact_tuples_inserted(l.relation), "
    "pg_catalog.pg_stat_get_xact_tuples_updated(l.relation), pg_catalog.pg_stat_get_xact_tuples_deleted(l.relation) "
    "FROM (SELECT k.relation, pg_catalog.array_agg(k.mode) AS modes FROM pg_catalog.pg_locks k "
    "WHERE k.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() AND k.locktype OPERATOR(pg_catalog.=) 'relation' AND k.granted "
    "AND k.mode OPERATOR(pg_catalog.<>) 'SIReadLock' AND k.relation OPERATOR(pg_catalog.>=) 16384 "
    "AND k.database OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database d "
    "WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) GROUP BY k.relation) l "
    "LEFT JOIN LATERAL (SELECT CAST(r.relkind AS pg_catalog.text) AS kind, CAST(r.relfilenode AS pg_catalog.int8) AS file, "
    "CAST(r.relpersistence AS pg_catalog.text) AS persistence, pg_catalog.format('%I.%I', (SELECT n.nspname FROM pg_catalog.pg_namespace n "
    "WHERE n.oid OPERATOR(pg_catalog.=) r.relnamespace), r.relname) AS name FROM pg_catalog.pg_class r "
    "WHERE r.oid OPERATOR(pg_catalog.=) l.relation OFFSET 0) c ON true "
    "WHERE c.kind IS NULL OR c.persistence OPERATOR(pg_catalog.<>) 't' AND c.kind OPERATOR(pg_catalog.=) "
    f"ANY (CAST(ARRAY[{_RELATIONS}] AS pg_catalog.text[]))"
)

FILES: Final = (
    "SELECT CAST(c.oid AS pg_catalog.int8), CAST(c.relfilenode AS pg_catalog.int8) FROM pg_catalog.pg_class c "
    "WHERE c.oid OPERATOR(pg_catalog.>=) 16384 AND c.relkind OPERATOR(pg_catalog.=) "
    f'ANY (CAST(ARRAY[{_RELATIONS}] AS pg_catalog."char"[]))'
)
"""SQL: the file of each relation. Another file later means that the relation was rewritten."""

_STRENGTH: Final = {
    "AccessShareLock": 1, "RowShareLock": 2, "RowExclusiveLock": 3, "ShareUpdateExclusiveLock": 4, "ShareLock": 5,
    "ShareRowExclusiveLock": 6, "ExclusiveLock": 7, "AccessExclusiveLock": 8,
}  # fmt: skip

_WORDS: Final = {
    mode: "".join(
        f" {letter}" if letter.isupper() and at else letter for at, letter in enumerate(mode.removesuffix("Lock"))
    ).upper()
    for mode in _STRENGTH
}

_STRONGEST_OF_DATA = _STRENGTH["RowExclusiveLock"]


def strongest(modes: Iterable[str]) -> str:
    """Return the strongest of some locks, as the server names them; empty when there is none."""
    return max(modes, key=_STRENGTH.__getitem__, default="")


def in_words(mode: str) -> str:
    """Return a lock as SQL spells it: `ACCESS EXCLUSIVE`."""
    return _WORDS[mode]


class Seen(Struct, frozen=True):
    """What the open transaction has done with one relation.

    Attributes:
        name: name with schema; None where it was dropped.
        kind: as in `pg_class.relkind`.
        modes: the locks that the transaction holds on it.
        file: number of the relation's file (`relfilenode`).
        scans: number of sequential scans (of an index: of its scans).
        read: number of rows read, by any kind of scan.
        written: numbers of rows inserted, updated and deleted.
    """

    name: str | None
    kind: str
    modes: frozenset[str]
    file: int
    scans: int
    read: int
    written: tuple[int, int, int]

    @property
    def may_have_changed(self) -> bool:
        """Whether it has a stronger lock than statements need that only read or write rows."""
        return _STRENGTH.get(strongest(self.modes), 0) > _STRONGEST_OF_DATA

    def has_moved_since(self, was: Seen) -> bool:
        """Return whether rows of it were read or written since an earlier look.

        Args:
            was: the result of the earlier look.
        """
        return (self.scans, self.read, self.written) != (was.scans, was.read, was.written)


UNTOUCHED: Final = Seen(None, "", frozenset(), 0, 0, 0, (0, 0, 0))

Counters: TypeAlias = Mapping[int, Seen]


def read_counters(ask: Ask) -> Counters:
    """Return what the open transaction has done with each relation that it has locked, by OID."""
    return {
        number: Seen(name, kind or "", frozenset(modes), file or 0, scans, read, (inserted, updated, deleted))
        for number, modes, kind, name, file, scans, read, inserted, updated, deleted in ask(_QUERY)
    }
