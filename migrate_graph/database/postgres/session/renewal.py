"""Decides whether the session of a migration that succeeded can be cleaned and used for the next one.

The server forgets what `DISCARD ALL` covers. The driver keeps state of its own, and the project's code may keep a reference to the
connection, so both are checked. In every doubtful case the next migration gets a new session, which is only slower.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import psycopg2.extensions as pg
from msgspec import Struct

from migrate_graph.database.sole_holder import references

if TYPE_CHECKING:
    from collections.abc import Mapping

# What no DISCARD undoes: loaded libraries and their state, the seed of random(), connections of dblink, the existence of custom
# settings; and ALTER ROLE, DATABASE and SYSTEM, which change what new sessions begin with. Only the body's own statements are seen here,
# not what a function does that they call.
_STAYS = re.compile(
    r"\b(?:LOAD|setseed|dblink\w*|plpython\w*|plperl\w*|pltcl\w*|set_config|CREATE\s+EXTENSION|ALTER\s+(?:ROLE|USER|DATABASE|SYSTEM)|"
    r"SET\s+(?:SESSION\s+|LOCAL\s+)?\"?\w+\"?\s*\.)",
    re.IGNORECASE,
)

# Each text that `_STAYS` matches contains one of these. Searching for them takes a tenth of the time, so it is done first.
_IN_ALL = ("load", "set", "dblink", "plp", "pltcl", "extension", "alter")


def may_stay(text: str) -> bool:
    """Return whether a statement may leave something in its session that no DISCARD undoes."""
    folded = text.casefold()
    return any(map(folded.__contains__, _IN_ALL)) and _STAYS.search(text) is not None


class _Probe:
    """An object with the only reference to another one, to measure what `references` returns then."""

    def __init__(self) -> None:
        self._connection = object()


ALONE = references(_Probe())
"""What `references` returns for a connection to which only its holder has a reference."""


# Parameters that the server reports to the driver. The second decides how the server reads string literals with backslashes, also
# those in the message that cleans the session.
_REPORTED = ("client_encoding", "standard_conforming_strings")


class DriverMemory(Struct, frozen=True):
    """The driver's state of a connection, to compare it before and after a migration.

    Attributes:
        kind: class of the connection.
        names: names of its attributes.
        facts: settings of the connection that a body can change.
    """

    kind: type
    names: frozenset[str]
    facts: tuple[object, ...]

    @classmethod
    def of(cls, connection: Any) -> DriverMemory:
        """Return the present state of a connection."""
        types: list[Mapping[object, object]] = [connection.string_types, connection.binary_types]
        return cls(
            type(connection),
            frozenset(vars(connection)),
            (
                connection.encoding, *map(connection.info.parameter_status, _REPORTED), connection.cursor_factory,
                connection.autocommit, connection.isolation_level, connection.readonly, connection.deferrable,
                type(connection.notices), type(connection.notifies), *(tuple(each.items()) for each in types),
            ),
        )  # fmt: skip


def is_at_rest(connection: Any) -> bool:
    """Return whether a connection is open and has, for the driver and for the server, no open transaction."""
    return (
        not connection.closed
        and connection.status == pg.STATUS_READY
        and connection.info.transaction_status == pg.TRANSACTION_STATUS_IDLE
    )
