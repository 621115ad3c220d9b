"""What a server and a role must allow before anything runs: a known version, writing, rights, room for names, two connections."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from migrate_graph.core.events import Observer, Warned
from migrate_graph.database.books.ledger import Ledger
from migrate_graph.database.postgres.own_tables import distrusted
from migrate_graph.database.postgres.session.trouble import HINTS
from migrate_graph.database.room import Room
from migrate_graph.errors import DatabaseRefused
from migrate_graph.quoting import quote_identifier

if TYPE_CHECKING:
    from migrate_graph.database.books.obstacles import Fault, Obstacles

_READ_ONLY = "the server is read-only (a standby, or default_transaction_read_only)"

# The oldest and the newest version that the tests run on. Features of newer versions (transaction_timeout, …) are used where they exist.
_OLDEST, _NEWEST = 120000, 180000

_LIMIT = 3
"""Connections of a run: two, and one while a connection is replaced."""

_NO_TRIGGERS = Warned(
    "session_replication_role is 'replica' in the sessions of this role: what migrations write fires no trigger, and no foreign key checks it",
    "if that is not meant: ALTER ROLE … RESET session_replication_role, or the same for the database, or mend PGOPTIONS",
)

Execute = Callable[..., list[tuple[Any, ...]]]


def require_supported(version: int, label: str, observer: Observer, *, fires: bool) -> None:
    """Refuse a server that is too old; warn of one that is newer than those that the tests run on, and of sessions that fire no triggers.

    Args:
        version: of the server.
        label: of the database.
        observer: called with the warnings.
        fires: what is written there fires triggers.

    Raises:
        DatabaseRefused: the server is too old.
    """
    if version >= _NEWEST + 10000:
        observer(
            Warned(
                f"{label} is PostgreSQL {version // 10000}, which is newer than this version of migrate_graph was tried with "
                f"({_OLDEST // 10000} to {_NEWEST // 10000})",
                "look whether there is a newer migrate_graph, and try it on a copy first",
            )
        )
    if version < _OLDEST:
        raise DatabaseRefused(
            f"{label} is PostgreSQL {version // 10000}, and {_OLDEST // 10000} to {_NEWEST // 10000} are supported",
            hint="upgrade the server first",
        )
    if not fires:
        observer(_NO_TRIGGERS)


def require_writable(execute: Execute, refusal: str, way_out: str = HINTS["25006"]) -> None:
    """Refuse a server that only reads.

    Args:
        execute: runs a statement and returns its rows.
        refusal: what cannot be done there.
        way_out: the hint.

    Raises:
        DatabaseRefused: it is a standby, or read-only by default.
    """
    ((read_only,),) = execute(
        "SELECT pg_catalog.pg_is_in_recovery() OR pg_catalog.current_setting('transaction_read_only') = 'on'"
    )
    if read_only:
        raise DatabaseRefused(f"{refusal}: {_READ_ONLY}", hint=way_out)


_UNMET = (
    "SELECT pg_catalog.pg_is_in_recovery() OR pg_catalog.current_setting('transaction_read_only') = 'on', "
    "(SELECT pg_catalog.bool_or(pg_catalog.has_table_privilege(t, 'INSERT')) "
    "FROM pg_catalog.unnest(CAST(%s AS pg_catalog.text[])) t), "
    "(SELECT pg_catalog.bool_and(pg_catalog.has_table_privilege(t, 'SELECT') AND pg_catalog.has_table_privilege(t, 'INSERT') "
    "AND pg_catalog.has_table_privilege(t, 'UPDATE')) FROM pg_catalog.unnest(CAST(%s AS pg_catalog.text[])) t) "
    "AND (SELECT pg_catalog.bool_and(pg_catalog.has_table_privilege(t, 'DELETE')) "
    "FROM pg_catalog.unnest(CAST(%s AS pg_catalog.text[])) t) "
    "AND (SELECT coalesce(pg_catalog.bool_and(pg_catalog.has_sequence_privilege(s, 'USAGE')), true) FROM "
    "(SELECT pg_catalog.pg_get_serial_sequence(t, 'id') s FROM pg_catalog.unnest(CAST(%s AS pg_catalog.text[])) t) q "
    "WHERE s IS NOT NULL), "
    "(SELECT CASE WHEN a.atttypmod > 4 THEN a.atttypmod - 4 END FROM pg_catalog.pg_attribute a "
    "WHERE a.attrelid = pg_catalog.to_regclass(%s) AND a.attname = 'name' AND NOT a.attisdropped), "
    "(SELECT 1 IN (r.rolconnlimit, d.datconnlimit) AND NOT r.rolsuper FROM pg_catalog.pg_roles r, pg_catalog.pg_database d "
    "WHERE r.rolname = session_user AND d.datname = pg_catalog.current_database()), "
    # A BEFORE INSERT trigger may fill in a column without a default; but the NOT NULL of a domain is checked before it runs.
    "(SELECT pg_catalog.array_agg(CAST(a.attname AS pg_catalog.text) ORDER BY a.attnum) FROM pg_catalog.pg_attribute a "
    "JOIN pg_catalog.pg_type t ON t.oid = a.atttypid WHERE a.attrelid = pg_catalog.to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped "
    "AND a.attname NOT IN ('name', 'installed', 'last_update_dttm') AND NOT a.atthasdef AND a.attidentity = '' AND t.typdefault IS NULL "
    "AND (t.typnotnull OR a.attnotnull AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger g "
    "WHERE g.tgrelid = a.attrelid AND g.tgtype & 7 = 7))), "
    # Tables with triggers, rules and policies were refused before.
    "(SELECT pg_catalog.bool_or("
    "EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.contype NOT IN ('p', 'u', 'n')) "
    "OR EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL "
    "OR i.indisunique AND i.indnatts > 1 OR i.indisunique AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a "
    "WHERE a.attrelid = c.oid AND a.attnum = i.indkey[0] AND a.attname IN ('id', 'name', 'attempt')))) "
    "OR EXISTS (SELECT FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid WHERE a.attrelid = c.oid "
    "AND a.attnum > 0 AND NOT a.attisdropped AND (t.typtype = 'd' OR a.attgenerated <> ''))) "
    "FROM pg_catalog.pg_class c WHERE c.oid = ANY (SELECT pg_catalog.to_regclass(q) FROM pg_catalog.unnest(CAST(%s AS pg_catalog.text[])) q))"
)


class Unmet(NamedTuple):
    """What keeps migrations from being recorded.

    Attributes:
        by_role: faults of the connected role, or of a server that only reads: another role, or the primary, may not have them.
        may_write: the role may insert something into ledger or journal, and the server does not only read.
        obstacles: the faults of the ledger.
        is_guarded: constraints of ledger or journal may refuse a record.
    """

    by_role: list[Fault]
    may_write: bool
    obstacles: Obstacles
    is_guarded: bool


def unmet(execute: Execute, ledger: Ledger, label: str, present: Collection[str]) -> Unmet:
    """Read what keeps migrations from being recorded.

    Args:
        execute: runs a statement and returns its rows.
        ledger: the ledger; it exists.
        label: name of the database in output.
        present: which of the tool's tables exist.
    """
    from migrate_graph.database.books.obstacles import Fault, Obstacles, twice, unfilled

    tables = ledger.names
    ledgers, journal, views = ([tables.quoted(name)] if name in present else [] for name in tables.all)
    read_only, inserts, permitted, width, lonely, wanting, is_guarded = execute(
        _UNMET,
        (
            ledgers + journal,
            ledgers + journal + views,
            journal + views,
            ledgers + journal,
            *ledgers,
            *ledgers,
            ledgers + journal,
        ),
    )[0]
    faults = []
    if read_only:
        faults.append(Fault(_READ_ONLY, HINTS["25006"]))
    if permitted is False:
        told = (
            f"this role lacks SELECT, INSERT or UPDATE on {tables.ledger} and its companions, DELETE on the latter, "
            "or USAGE on their sequences"
        )
        faults.append(Fault(told, _grants(execute, ledgers, journal + views, ledgers + journal)))
    if lonely:
        told = "this role, or this database, allows one connection, and a run needs two (CONNECTION LIMIT)"
        faults.append(Fault(told, _wider_limits(execute)))
    fixed = [name for (name,) in execute(_FIXED, tuple(ledgers))] if wanting else []
    of_ledger = (*unfilled(tables, wanting or (), fixed=fixed), *twice(tables, ledger.duplicates()))
    obstacles = Obstacles(label=label, names=tables, faults=of_ledger, width=width)
    return Unmet(faults, inserts and not read_only, obstacles, bool(is_guarded))


_FIXED = (
    "SELECT CAST(a.attname AS pg_catalog.text) FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid "
    "WHERE a.attrelid = pg_catalog.to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped AND (t.typnotnull "
    "OR EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary AND a.attnum = ANY (i.indkey)))"
)

_LACKING = (
    "SELECT t, pg_catalog.string_agg(p, ', ' ORDER BY p) FROM (SELECT pg_catalog.unnest(CAST(%s AS pg_catalog.text[])) t, "
    "pg_catalog.unnest(CAST(%s AS pg_catalog.text[])) p) q WHERE NOT pg_catalog.has_table_privilege(t, p) GROUP BY t ORDER BY t"
)

_LACKING_SEQUENCES = (
    "SELECT s FROM (SELECT pg_catalog.pg_get_serial_sequence(t, 'id') s FROM pg_catalog.unnest(CAST(%s AS pg_catalog.text[])) t) q "
    "WHERE s IS NOT NULL AND NOT pg_catalog.has_sequence_privilege(s, 'USAGE')"
)


def _grants(execute: Execute, ledgers: list[str], others: list[str], numbered: list[str]) -> str:
    """Return the statements that grant the connected role what it lacks.

    Args:
        execute: runs a statement and returns its rows.
        ledgers: the ledger.
        others: the tables beside it.
        numbered: the tables whose `id` may come from a sequence.
    """
    every = ("SELECT", "INSERT", "UPDATE")
    wanted = [(table, right) for table in ledgers + others for right in every]
    wanted += [(table, "DELETE") for table in others]
    ((role,),) = execute("SELECT CAST(current_user AS pg_catalog.text)")
    lacking = execute(_LACKING, ([table for table, _ in wanted], [right for _, right in wanted]))
    to = quote_identifier(role)
    tables = [f"GRANT {rights} ON TABLE {table} TO {to};" for table, rights in lacking]
    sequences = [f"GRANT USAGE ON SEQUENCE {name} TO {to};" for (name,) in execute(_LACKING_SEQUENCES, (numbered,))]
    return "\n".join([*tables, *sequences])


def _wider_limits(execute: Execute) -> str:
    """Return the statements that let the connected role have the connections of a run."""
    ((role, of_role, database, of_database),) = execute(
        "SELECT CAST(r.rolname AS pg_catalog.text), r.rolconnlimit, CAST(d.datname AS pg_catalog.text), d.datconnlimit "
        "FROM pg_catalog.pg_roles r, pg_catalog.pg_database d "
        "WHERE r.rolname = session_user AND d.datname = pg_catalog.current_database()"
    )
    limits = (("ROLE", role, of_role), ("DATABASE", database, of_database))
    return "\n".join(
        f"ALTER {kind} {quote_identifier(name)} CONNECTION LIMIT {_LIMIT};"
        for kind, name, limit in limits
        if limit == 1
    )


def obstacles_of(execute: Execute, ledger: Ledger, label: str, present: Collection[str]) -> Obstacles:
    """Return what is in the way of every run, for a command that only reads.

    A connection that may not write is not the one that will run `apply`, so only what every role would meet is looked for then.

    Args:
        execute: runs a statement and returns its rows.
        ledger: the ledger; it may not exist.
        label: name of the database in output.
        present: which of the tool's tables exist.
    """
    from migrate_graph.database.books.obstacles import Obstacles

    if ledger.names.ledger not in present:
        return Obstacles()
    found = unmet(execute, ledger, label, present)
    refused = distrusted(execute, ledger.names, whoever_connects=not found.may_write)
    faults = (*found.by_role, *found.obstacles.faults) if found.may_write else found.obstacles.faults
    return replace(found.obstacles, refused=refused, faults=faults)


def room_for(execute: Execute, jobs: int) -> Room:
    """Return how many of `jobs` processes the server has connections for.

    Args:
        execute: runs a statement and returns its rows.
        jobs: how many are wanted.
    """
    ((allowed,),) = execute(
        "SELECT LEAST(nullif(r.rolconnlimit, -1), nullif(d.datconnlimit, -1)) FROM pg_catalog.pg_roles r, pg_catalog.pg_database d "
        "WHERE r.rolname = session_user AND d.datname = pg_catalog.current_database() AND NOT r.rolsuper"
    ) or [(None,)]
    number = jobs if allowed is None else (int(allowed) - 1) // 2  # the run has one, and each process two
    if number >= jobs:
        return Room(jobs)
    return Room(
        number,
        "this role, or this database, allows no more connections (CONNECTION LIMIT)",
        f"{jobs} at once need {1 + 2 * jobs} connections: one for the run, and two for each",
    )


def has_unique_names(execute: Execute, ledger: str) -> bool:
    """Return whether the ledger has a unique index on `name`; a ledger that was created by hand may have none.

    Args:
        execute: runs a statement and returns its rows.
        ledger: quoted name of the ledger.
    """
    ((is_unique,),) = execute(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid "
        "AND a.attnum = i.indkey[0] WHERE i.indrelid = pg_catalog.to_regclass(%s) AND i.indisunique AND i.indimmediate "
        "AND i.indisvalid AND i.indnkeyatts = 1 AND i.indpred IS NULL AND a.attname = 'name')",
        (ledger,),
    )
    return bool(is_unique)
