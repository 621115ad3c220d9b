"""Finds which views of an SQLite database read which: creates its schema in memory, and records what the authorizer is asked there."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing, suppress

from migrate_graph.core.uses import words_of
from migrate_graph.database.sqlite.authorizer import overheard
from migrate_graph.database.sqlite.schema import Row
from migrate_graph.quoting import quote_identifier

_IN_BRACKETS = re.compile(r"[\[`]([^\]`]+)[\]`]")


def views_read(rows: Iterable[Row], names: Collection[str]) -> dict[str, frozenset[str]]:
    """Return the views that some views and their triggers read directly; a view that cannot be read in memory is left out.

    SQLite reports also the views that are read through others. A view counts as read directly if the text names it, too.

    Args:
        rows: rows of the schema, in order of creation.
        names: names of the views.
    """
    rows = list(rows)
    views = {name: sql for kind, name, _, sql in rows if kind == "view"}
    triggers = {name: (table, sql) for kind, name, table, sql in rows if kind == "trigger" and table in names}
    found = {}
    with closing(sqlite3.connect(":memory:")) as connection:
        for kind, _, _, sql in rows:
            if sql and kind != "index":
                with suppress(sqlite3.Error):  # the module of a virtual table may be missing
                    connection.execute(sql)
        for name in views.keys() & set(names):
            opened = _opened(connection, name, {each for each, (table, _) in triggers.items() if table == name})
            if opened is not None:
                texts = [views[name], *(sql for table, sql in triggers.values() if table == name)]
                found[name] = _named(views, opened - {name}, texts)
    return found


def _named(views: Mapping[str, str], opened: Collection[str], texts: Iterable[str]) -> frozenset[str]:
    words = {
        word.lower()
        for text in texts
        for word in (*words_of(text), *(match[1] for match in _IN_BRACKETS.finditer(text)))
    }
    return frozenset(name for name in views if name.lower() in words and name in opened)


def _opened(connection: sqlite3.Connection, name: str, triggers: Collection[str]) -> set[str] | None:
    """Return the names of all tables and views that reading a view, or its triggers, reach; None where the view cannot be read."""
    view = quote_identifier(name)
    try:
        with overheard(connection) as asked:
            connection.execute(f"EXPLAIN SELECT * FROM {view}")
            if triggers:
                (column, *_) = (row[1] for row in connection.execute(f"PRAGMA table_info({view})"))
                sets = f"{quote_identifier(column)} = NULL"
                for write in (f"INSERT INTO {view} DEFAULT VALUES", f"DELETE FROM {view}", f"UPDATE {view} SET {sets}"):
                    with suppress(sqlite3.Error):  # the view may have no trigger for this
                        connection.execute(f"EXPLAIN {write}")
    except sqlite3.Error:
        return None
    return {name for each in asked for name in (each.first, each.inner) if name}
