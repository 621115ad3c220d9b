"""Compares the managed views, as the view ledger or the text of their manager has them, with the views in the database."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from msgspec import Struct

from migrate_graph.database.books.view_ledger import LedgerRow, ViewState
from migrate_graph.database.relation import Relation
from migrate_graph.database.views.catalog import Key, ViewCatalog
from migrate_graph.database.views.manager_text import names_created

_CAST = re.compile(r"::(?:\"[^\"]+\"|[a-z_ ]+|\w+\.)+(?:\(\d+(?:,\d+)?\))?(?:\[\])?")


_TOKEN = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\w+|\s+|.", re.DOTALL)

_DEEPEST = 100
"""Most levels of nested parentheses; a definition with more is compared as it is."""


class ViewPresence(Struct, frozen=True):
    """The present state of the relations that a manager made last.

    Attributes:
        relations: identities of its views; for a manager that never ran in this database, the names in its text.
        missing: those that do not exist.
        changed: those whose definition has changed since they were made.
        unknown: those that another session has locked, so that their definition cannot be read without waiting.
        down: they were taken down and not brought back.
        is_recorded: the view ledger has a row of the manager: it has made these relations in this database.
    """

    relations: tuple[str, ...]
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    down: bool = False
    is_recorded: bool = False

    @property
    def there(self) -> tuple[str, ...]:
        """Identities of those of its views that exist."""
        return tuple(each for each in self.relations if each not in self.missing)


def view_presences(
    catalog: ViewCatalog, rows: Mapping[str, LedgerRow], managers: Mapping[str, type]
) -> dict[str, ViewPresence]:
    """Look for the views of these managers; write nothing, and wait for no lock.

    Args:
        catalog: catalog of the database.
        rows: rows of the view ledger, by manager.
        managers: managers by name; one that never ran here is included when the SQL in its `up()` names the views it creates.
    """
    known = {name: row for name, row in rows.items() if name in managers}
    written = {name: names_created(kind) for name, kind in managers.items() if name not in rows}
    views = [relation for row in known.values() for relation in row.relations if relation.is_view]
    there = catalog.look_up(
        [relation.identity for relation in views] + [each for names in written.values() for each in names]
    )
    replaced = {
        relation.identity: there[relation.identity][0]
        for relation in views
        if relation.identity in there and (not relation.stamp or relation.stamp != there[relation.identity][1])
    }
    now = catalog.definitions(replaced.values())
    return {name: _presence(row, there, replaced, now) for name, row in known.items()} | {
        name: ViewPresence(names, missing=tuple(each for each in names if each not in there))
        for name, names in written.items()
        if names
    }


def _presence(
    row: LedgerRow, there: Collection[str], replaced: Mapping[str, Key], now: Mapping[Key, Relation | None]
) -> ViewPresence:
    views = [relation for relation in row.relations if relation.is_view]
    suspects = [(relation, now.get(replaced[relation.identity])) for relation in views if relation.identity in replaced]
    return ViewPresence(
        relations=tuple(each.identity for each in views),
        missing=tuple(each.identity for each in views if each.identity not in there),
        changed=tuple(made.identity for made, found in suspects if found is not None and differs(made, found)),
        unknown=tuple(made.identity for made, found in suspects if found is None),
        down=row.state is ViewState.DOWN,
        is_recorded=True,
    )


def differs(made: Relation, now: Relation) -> bool:
    """Return whether two definitions differ; False for those of two server versions, which cannot be compared."""
    comparable = made.fingerprint.partition(":")[0] == now.fingerprint.partition(":")[0]
    if not comparable or made.fingerprint == now.fingerprint:
        return False
    return settled(made.definition) != settled(now.definition)


def settled(definition: str) -> str:
    """Return a definition in one form, so that it compares equal after a dump and restore.

    When the server reads a definition that it has written itself, it writes some parts differently the next time. It moves the
    casts of a list: `((ARRAY['a'::varchar])::text[])` becomes `(ARRAY[('a'::varchar)::text])`; so casts in lists are removed. It joins
    chains of ANDs or ORs that `BETWEEN` had nested: `((a AND b) AND c)` becomes `(a AND b AND c)`; so nested chains are joined.
    """
    return _flattened(_without_casts(definition))


def _without_casts(definition: str) -> str:
    text, place = [], 0
    for match in re.finditer(r"\b(?:ANY|ALL) \(", definition):
        if match.end() < place:
            continue
        end = _closing(definition, match.end())
        text += [definition[place : match.end()], re.sub(r"[()]", "", _CAST.sub("", definition[match.end() : end]))]
        place = end
    return "".join([*text, definition[place:]])


def _flattened(text: str) -> str:
    """Return a text without the parentheses around a chain of ANDs (or ORs) that is part of a longer chain of the same kind."""
    levels: list[list[Any]] = [[]]
    for piece in _TOKEN.findall(text):
        if piece == "(":
            levels.append([])
        elif piece == ")" and len(levels) > 1:
            inner = levels.pop()
            levels[-1].append(inner)
        else:
            levels[-1].append(piece)
        if len(levels) > _DEEPEST:
            return text
    return _written(levels[0]) if len(levels) == 1 else text


def _written(level: list[Any]) -> str:
    return f" {_joined_by(level)} ".join(_links(level, _joined_by(level)))


def _joined_by(level: list[Any]) -> str:
    found = {piece for piece in level if piece in ("AND", "OR")}
    return found.pop() if len(found) == 1 else ""


def _links(level: list[Any], word: str) -> list[str]:
    """Return the operands of a chain of ANDs or ORs (`word`); where the level is no chain, its whole text."""
    parts: list[list[Any]] = [[]]
    for piece in level:
        if word and piece == word:
            parts.append([])
        else:
            parts[-1].append(piece)
    links = []
    for part in parts:
        solid = [piece for piece in part if not (isinstance(piece, str) and piece.isspace())]
        if word and len(solid) == 1 and isinstance(solid[0], list) and _joined_by(solid[0]) == word:
            links += _links(solid[0], word)
        else:
            text = "".join(f"({_written(piece)})" if isinstance(piece, list) else piece for piece in part)
            links.append(text.strip() if word else text)
    return links


def _closing(text: str, place: int) -> int:
    """Return the position of the parenthesis that closes the one before `place`; quoted texts are skipped."""
    depth = 1
    for match in re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|[()]").finditer(text, place):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if not depth:
            return match.start()
    return len(text)
