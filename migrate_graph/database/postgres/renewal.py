"""Tells whether the session of a migration that succeeded can be made as good as new.

The server forgets what `DISCARD ALL` covers. The driver has a memory of its own, and the project's code may hold on to the
connection, so both are looked at. Whatever is odd means a new session: that is slower, and nothing else.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import psycopg2.extensions as pg
from msgspec import Struct

from migrate_graph.database.sole_holder import references

if TYPE_CHECKING:
    from collections.abc import Mapping

# What no DISCARD undoes: libraries and what they hold, the seed of random(), connections of dblink, that a setting of one's own was
# ever set, what new sessions begin with. Only what a body says itself is seen here, not what functions do that it calls.
_STAYS = re.compile(
    r"\b(?:LOAD|setseed|dblink\w*|plpython\w*|plperl\w*|pltcl\w*|set_config|CREATE\s+EXTENSION|ALTER\s+(?:ROLE|USER|DATABASE|SYSTEM)|"
    r"SET\s+(?:SESSION\s+|LOCAL\s+)?\"?\w+\"?\s*\.)",
    re.IGNORECASE,
)

# Each of these has one of those: to look for them takes a tenth of the time.
_IN_ALL = ("load", "set", "dblink", "plp", "pltcl", "extension", "alter")


def may_stay(text: str) -> bool:
    """Return whether a statement may leave something in its session that no DISCARD undoes."""
    folded = text.casefold()
    return any(map(folded.__contains__, _IN_ALL)) and _STAYS.search(text) is not None


class _Probe:
    """A holder of something that nobody else holds."""

    def __init__(self) -> None:
        self._connection = object()


ALONE = references(_Probe())
"""References to a connection that nobody but its holder reaches."""


# What the server tells the driver. Our own words to a session are read by the second: with another value they may say something else.
_REPORTED = ("client_encoding", "standard_conforming_strings")


class DriverMemory(Struct, frozen=True):
    """What the driver remembers of a session, as it was before anybody used it.

    Attributes:
        kind: class of the connection.
        names: attributes that it has.
        facts: settings of the connection that a body can change.
    """

    kind: type
    names: frozenset[str]
    facts: tuple[object, ...]

    @classmethod
    def of(cls, connection: Any) -> DriverMemory:
        """Look at a connection."""
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
    """Return whether a connection is open, and driver and server agree that no transaction is."""
    return (
        not connection.closed
        and connection.status == pg.STATUS_READY
        and connection.info.transaction_status == pg.TRANSACTION_STATUS_IDLE
    )
