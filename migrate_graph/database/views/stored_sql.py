"""Judges whether a stored statement may be run: it must be one statement, of the kind that was stored, about the thing it stands with."""

from __future__ import annotations

import re

from migrate_graph.database.relation import Item, Relation
from migrate_graph.errors import ViewError

# One piece of SQL as the server reads it with standard_conforming_strings, which is on when this is run: only texts that begin with E
# know backslashes. Whatever could be read in two ways is no piece at all.
_PIECES = re.compile(
    r"""(?P<escaped>\b[eE]'(?:[^'\\]|''|\\.)*')|(?P<plain>(?:\b[bBxXnN])?'(?:[^']|'')*')|(?P<name>"(?:[^"]|"")*")"""
    r"""|(?P<word>[^\W\d][\w$]*(?!['\w$]))|(?P<number>\d+(?!['\w$]))|(?P<nothing>--|/\*|[$\r\0'"])|(?P<other>[^\w'"$\r\0])""",
    re.DOTALL,
)

_BEGINNINGS = {
    "FUNCTION": r"CREATE OR REPLACE FUNCTION ",
    "PROCEDURE": r"CREATE OR REPLACE PROCEDURE ",
    "POLICY": r"CREATE POLICY ",
    "RULE": r"CREATE RULE ",
    "TRIGGER": r"CREATE (?:CONSTRAINT )?TRIGGER ",
}
# `$it`: what it stands with. Indexes and statistics have names of their own.
_KINDS = (
    r"(?:VIEW|MATERIALIZED VIEW|FUNCTION|PROCEDURE|AGGREGATE|POLICY|RULE|TRIGGER|TYPE|TABLE|SEQUENCE|INDEX|OPERATOR"
    r"|OPERATOR CLASS|OPERATOR FAMILY|CAST|CONSTRAINT|COLUMN|STATISTICS)"
)
_OF_ITEMS = (
    r"(?:ALTER (?:VIEW|MATERIALIZED VIEW|FUNCTION|PROCEDURE|AGGREGATE) $it |ALTER (?:INDEX|STATISTICS) "
    rf"|COMMENT ON {_KINDS} $it IS |COMMENT ON COLUMN $it\."
    r"|ALTER TRIGGER (?:.+ ON )?$it DEPENDS ON EXTENSION "
    r"|ALTER TABLE $table (?:DISABLE|ENABLE ALWAYS|ENABLE REPLICA) (?:RULE|TRIGGER) $name$"
    r"|REVOKE ALL ON TYPE $it FROM PUBLIC$|GRANT USAGE ON TYPE $it TO "
    r"|COMMENT ON (?:RULE|TRIGGER) .+ ON $it IS |COMMENT ON (?:INDEX|STATISTICS) |SECURITY LABEL FOR .+ ON [A-Z ]+ $it"
    r"|REFRESH MATERIALIZED VIEW $it |ANALYZE $it$|CREATE (?:UNIQUE )?INDEX .+ ON $it\s|CREATE STATISTICS .+ FROM $it$"
    r"|CREATE RULE .+ TO $it\s|CREATE (?:CONSTRAINT )?TRIGGER .+ ON $it\s)"
)


def is_one_statement(text: str) -> bool:
    """Return whether a text is one statement however it is read; what cannot be told is not.

    The server itself writes what is stored: without comments, and with every quote doubled.
    """
    text = text.rstrip().removesuffix(";")
    depth = place = 0
    while place < len(text):
        piece = _PIECES.match(text, place)
        if piece is None or piece["nothing"]:
            return False
        place = piece.end()
        depth += {"(": 1, ")": -1}.get(piece[0], 0)
        if depth < 0 or (piece[0] == ";" and not depth):
            return False  # in parentheses several statements may stand: a rule's
    return depth == 0


def check_stored(stored: Relation) -> None:
    """Raise unless the stored definition is one statement that creates just this.

    Raises:
        ViewError: it is not.
    """
    if not stored.definition:
        raise ViewError(f"{stored.label} has no stored definition", hint="create it again by hand")
    if stored.is_view:
        begins = stored.definition.startswith(f"CREATE {stored.kind} {stored.identity} AS ")
        one = is_one_statement(stored.definition)
    else:
        begins = bool(re.match(_BEGINNINGS.get(stored.kind, r"(?!)"), stored.definition))
        # The body of a function stands between dollars of the server's choice.
        one = is_one_statement(_without_body(stored.definition))
    if not (begins and one):
        raise _refused(stored.label, "its definition is not one statement that creates it")


def check_item(item: Item, statement: str, relation: Relation) -> None:
    """Raise unless the statement of an item is one statement of the kinds that restore something.

    Raises:
        ViewError: it is not.
    """
    name, _, table = map(re.escape, relation.identity.rpartition(" ON "))
    beginning = _OF_ITEMS.replace("$it", re.escape(relation.identity))
    beginning = beginning.replace("$table", table).replace("$name", name)
    if not re.match(beginning, statement, re.DOTALL) or not is_one_statement(statement):
        raise _refused(relation.label, f"what is stored as its {item.aspect} is not one statement that restores it")


def _without_body(definition: str) -> str:
    match = re.search(r"^AS (\$\w*\$)", definition, re.MULTILINE)
    if not match:
        return definition
    end = definition.rfind(match[1])
    body = definition[match.end() : end]
    return definition[: match.start()] + definition[end + len(match[1]) :] if match[1] not in body else ";;"


def _refused(label: str, why: str) -> ViewError:
    return ViewError(
        f"what the view ledger holds of {label} is not run: {why}",
        hint="somebody has written into the view ledger: look at its row, and create the view by hand",
    )
