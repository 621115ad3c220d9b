"""Reads from the text of statements which views they create and drop, where the statements are plain enough to be sure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Struct

from migrate_graph.authoring.sql_view import IS_MATERIALIZED
from migrate_graph.database.views.manager_text import NAME
from migrate_graph.database.views.stored_sql import is_one_statement

_DROP = re.compile(
    rf"\s*DROP\s+VIEW\s+(?:IF\s+EXISTS\s+)?(?P<names>{NAME}(?:\s*,\s*{NAME})*)\s*(?:RESTRICT\s*)?;?\s*\Z", re.IGNORECASE
)
_CREATE = re.compile(rf"\s*CREATE\s+VIEW\s+(?P<name>{NAME})(?=[\s(])", re.IGNORECASE)
_OTHER = re.compile(r"\s*(?:GRANT|REVOKE|COMMENT\s+ON)\s", re.IGNORECASE)
_LOOK = re.compile(re.escape(IS_MATERIALIZED).replace(r"\{name\}", r"E?'(?:[^'\\]|''|\\\\)*'"))


class PlainChanges(Struct, frozen=True):
    """The views that plain statements drop and create.

    Attributes:
        dropped: names of the dropped views, as they are written.
        created: names of the created views, in this order.
    """

    dropped: tuple[str, ...] = ()
    created: tuple[str, ...] = ()


def plain_changes(statements: Iterable[str]) -> PlainChanges | None:
    """Return which views statements create and drop; None where one of the statements is not plain.

    Plain are DROP VIEW without CASCADE, CREATE VIEW, and some that create and drop nothing (GRANT, REVOKE, COMMENT ON).
    """
    dropped: list[str] = []
    created: list[str] = []
    for statement in statements:
        if drop := _DROP.match(statement):
            dropped += re.findall(NAME, drop["names"])
        elif ";" in statement.rstrip("; \n") and not is_one_statement(statement):
            return None
        elif create := _CREATE.match(statement):
            created.append(create["name"])
        elif not _OTHER.match(statement) and not _LOOK.fullmatch(statement):
            return None
    return PlainChanges(tuple(dropped), tuple(created))
