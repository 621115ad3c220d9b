"""Checks whether SQL from the view ledger may be run: it must be one statement, of an expected kind, about the relation it is stored with."""

from __future__ import annotations

import re

from migrate_graph.database.relation import Item, Relation
from migrate_graph.errors import ViewError

# One token of SQL, as the server reads it with standard_conforming_strings, which is on when these statements run: only strings that
# begin with E have backslash escapes. Text that could be read in two ways matches no token.
_PIECES = re.compile(
    r"""(?P<escaped>\b[eE]'(?:[^'\\]|''|\\.)*')|(?P<plain>(?:\b[bBxXnN])?'(?:[^']|'')*')|(?P<name>"(?:[^"]|"")*")"""
    r"""|(?P<word>[^\W\d][\w$]*(?!['\w$]))|(?P<number>\$?\d+(?!['\w$]))|(?P<body>\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$)"""
    r"""|(?P<nothing>--|/\*|[$\r\0'"])|(?P<other>[^\w'"$\r\0])""",
    re.DOTALL,
)

_BEGINNINGS = {
    "FUNCTION": r"CREATE OR REPLACE FUNCTION ",
    "PROCEDURE": r"CREATE OR REPLACE PROCEDURE ",
    "POLICY": r"CREATE POLICY ",
    "RULE": r"CREATE RULE ",
    "TRIGGER": r"CREATE (?:CONSTRAINT )?TRIGGER ",
}
# `$it` is the relation that the item is stored with. Indexes and statistics have names of their own.
_KINDS = (
    r"(?:VIEW|MATERIALIZED VIEW|FUNCTION|PROCEDURE|AGGREGATE|POLICY|RULE|TRIGGER|TYPE|TABLE|SEQUENCE|INDEX|OPERATOR"
    r"|OPERATOR CLASS|OPERATOR FAMILY|CAST|CONSTRAINT|COLUMN|STATISTICS|SCHEMA|EXTENSION)"
)
_OF_ITEMS = (
    r"(?:ALTER (?:VIEW|MATERIALIZED VIEW|FUNCTION|PROCEDURE|AGGREGATE) $it |ALTER (?:INDEX|STATISTICS) "
    rf"|COMMENT ON {_KINDS} $it(?:\[\])? IS |COMMENT ON COLUMN $it\."
    r"|ALTER TRIGGER (?:.+ ON )?$it DEPENDS ON EXTENSION "
    r"|ALTER TABLE $table (?:DISABLE|ENABLE ALWAYS|ENABLE REPLICA) (?:RULE|TRIGGER) $name$"
    r"|REVOKE ALL ON TYPE $it FROM PUBLIC$|GRANT USAGE ON TYPE $it TO "
    r"|COMMENT ON (?:RULE|TRIGGER) .+ ON $it IS |COMMENT ON (?:INDEX|STATISTICS) |SECURITY LABEL FOR .+ ON [A-Z ]+ $it"
    r"|REFRESH MATERIALIZED VIEW $it |ANALYZE $it$|CREATE (?:UNIQUE )?INDEX .+ ON $it\s|CREATE STATISTICS .+ FROM $it$"
    r"|CREATE RULE .+ TO $it\s|CREATE (?:CONSTRAINT )?TRIGGER .+ ON $it\s)"
)


def is_one_statement(text: str, *, of_function: bool = False) -> bool:
    """Return whether a text is certainly one statement; False in case of doubt.

    The server itself has written what is stored: without comments, and with every quote doubled.

    Args:
        text: the statement.
        of_function: it creates a function, whose body may be dollar-quoted, or stand between BEGIN ATOMIC and END.
    """
    pieces = _pieces(text.rstrip().removesuffix(";"), bodies=of_function)
    if pieces is None:
        return False
    depth = cases = 0
    before, is_body, ended = "", False, False
    for piece in pieces:
        depth += {"(": 1, ")": -1}.get(piece, 0)
        if depth < 0 or ended:
            return False
        if piece == ";" and not depth:
            if not is_body or cases:
                return False  # an open CASE could be a column name, and then the next END would end the body
        elif of_function and piece == "ATOMIC" and before == "BEGIN" and not depth and not is_body:
            is_body, piece = True, ";"  # noqa: PLW2901 - a statement, or END, follows
        elif is_body and piece == "END" and not depth and before == ";":
            ended = True
        elif is_body:
            cases += {"CASE": 1, "END": -1}.get(piece, 0)
        before = piece
    return depth == 0 and is_body is ended


def _pieces(text: str, *, bodies: bool) -> list[str] | None:
    """Return the tokens of a text, words in capitals; None where one could be read in two ways."""
    pieces, place, was_text = list[str](), 0, False
    while place < len(text):
        piece = _PIECES.match(text, place)
        if piece is None or piece["nothing"] or (piece["body"] and not bodies):
            return None
        place = piece.end()
        if piece[0].isspace():
            continue
        is_text = bool(piece["escaped"] or piece["plain"])
        if is_text and was_text:
            return None  # a string on the next line continues the one before, and would take over its escapes
        was_text = is_text
        pieces.append(piece[0].upper() if piece["word"] else piece[0])
    return pieces


def check_stored(stored: Relation) -> None:
    """Raise unless the stored definition is one statement that creates this relation.

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
        one = is_one_statement(stored.definition, of_function=stored.kind in {"FUNCTION", "PROCEDURE"})
    if not (begins and one):
        raise _refused(stored.label, "its definition is not one statement that creates it")


def check_item(item: Item, statement: str, relation: Relation) -> None:
    """Raise unless the statement of an item is one statement of the kinds that restore an item.

    Raises:
        ViewError: it is not.
    """
    name, _, table = map(re.escape, relation.identity.rpartition(" ON "))
    beginning = _OF_ITEMS.replace("$it", re.escape(relation.identity))
    beginning = beginning.replace("$table", table).replace("$name", name)
    if not re.match(beginning, statement, re.DOTALL) or not is_one_statement(statement):
        raise _refused(relation.label, f"what is stored as its {item.aspect} is not one statement that restores it")


def _refused(label: str, why: str) -> ViewError:
    return ViewError(
        f"what the view ledger holds of {label} is not run: {why}",
        hint="somebody has written into the view ledger: look at its row, and create the view by hand",
    )
