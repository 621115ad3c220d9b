"""Judges whether a stored statement may be run: it must be one statement, of the kind that was stored, about the thing it stands with."""

from __future__ import annotations

import re

from migrate_graph.database.relation import Item, Relation
from migrate_graph.errors import ViewError

# What stands between quotes in one piece; a quote in it is doubled. The server reads backslashes in a text as they are, or as escapes.
_PLAIN = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
_ESCAPED = re.compile(r"'(?:[^'\\]|''|\\.)*'|\"(?:[^\"]|\"\")*\"", re.DOTALL)
_DOLLAR = re.compile(r"(?<![\w$])\$(?:[^\W\d]\w*)?\$")

_BEGINNINGS = {
    "FUNCTION": r"CREATE OR REPLACE FUNCTION ",
    "PROCEDURE": r"CREATE OR REPLACE PROCEDURE ",
    "POLICY": r"CREATE POLICY ",
    "RULE": r"CREATE RULE ",
    "TRIGGER": r"CREATE (?:CONSTRAINT )?TRIGGER ",
}
_OF_ITEMS = (
    r"(?:ALTER|COMMENT ON|SECURITY LABEL FOR|REFRESH MATERIALIZED VIEW|ANALYZE|CREATE (?:UNIQUE )?INDEX|CREATE STATISTICS"
    r"|CREATE RULE|CREATE (?:CONSTRAINT )?TRIGGER)\s"
)


def is_one_statement(text: str) -> bool:
    """Return whether a text is one statement however it is read; what cannot be told is not.

    The server itself writes what is stored: without comments, with every quote doubled, and with backslashes in pairs.
    """
    outside = {pattern.sub(lambda match: '""' if match[0][0] == '"' else "''", text) for pattern in (_PLAIN, _ESCAPED)}
    if len(outside) != 1:
        return False
    rest = outside.pop().rstrip().removesuffix(";")
    if "--" in rest or "/*" in rest or "\r" in rest or "\0" in text or _DOLLAR.search(rest):
        return False
    if re.search(r"['\"]", rest.replace("''", "").replace('""', "")):
        return False  # something is open at its end
    depth = 0
    for each in re.findall(r"[();]", rest):
        depth += {"(": 1, ")": -1, ";": 0}[each]
        if depth < 0 or (each == ";" and not depth):
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
    if not re.match(_OF_ITEMS, statement) or not is_one_statement(statement):
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
