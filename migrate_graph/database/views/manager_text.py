"""Reads from the source of a view manager which objects it creates and drops, and which of their properties it sets."""

from __future__ import annotations

import dis
import re
from collections.abc import Iterable, Iterator
from functools import cache, cached_property
from itertools import chain
from types import CodeType

from msgspec import Struct
from msgspec.structs import replace

from migrate_graph.code_walk import classes_of_users, reached, reached_in, strings_in, texts_of
from migrate_graph.quoting import bare, parted

_NAME = r'(?:(?!IF\b)[^\W\d][\w$]*|"(?:[^"\0]|"")+")'
NAME = rf"{_NAME}(?:\s*\.\s*{_NAME})?"
"""How SQL writes a name, with its schema or without; a regular expression."""

# A name with a variable part (`v_{year}`, `v%s`) is not known.
_END = r"(?![\w$.{%]|\s*\.)"
_KIND = (
    r"(?:(?:TEMP(?:ORARY)?|UNLOGGED|RECURSIVE|CONSTRAINT|UNIQUE|MATERIALIZED)\s+)*"
    r"(?P<kind>VIEW|FUNCTION|PROCEDURE|ROUTINE|AGGREGATE|POLICY|RULE|TRIGGER|DOMAIN|TYPE|TABLE|SEQUENCE|INDEX)\b"
)
_VERB = re.compile(rf"\b(?P<verb>CREATE|DROP)\s+(?:OR\s+REPLACE\s+)?{_KIND}", re.IGNORECASE)
# All other objects that are created or dropped: an operator, a cast, a column or constraint of a table.
_ANY_VERB = re.compile(r"\b(?:CREATE|DROP)\s+(?!OR\s+REPLACE\b)\w", re.IGNORECASE)
_ONE = re.compile(rf"\s+(?:CONCURRENTLY\s+)?(?:IF\s+(?:NOT\s+)?EXISTS\s+)?(?P<name>{NAME}){_END}", re.IGNORECASE)
_MORE = re.compile(rf"\s*(?:\([^()]*\)\s*)?,\s*(?P<name>{NAME}){_END}")
# SQL that does more than a CREATE VIEW or DROP VIEW.
_NOT_PLAIN = re.compile(
    r"\bCREATE\s+(?!VIEW\b)\w|\bDROP\s+(?!(?:MATERIALIZED\s+)?VIEW\b)\w|\b(?:CASCADE|REFRESH|ALTER|DO)\b", re.IGNORECASE
)
# What stands between a policy, rule or trigger and its table (`AS ON INSERT TO`, `INSTEAD OF INSERT OR UPDATE ON`).
_OF_TABLE = re.compile(rf"\s+(?:[A-Z_,\s]*?\s)?(?:ON|TO)\s+(?P<name>{NAME}){_END}", re.IGNORECASE)
# Bytecode instructions with which a function builds strings.
_BUILDING = {"BUILD_STRING", "FORMAT_VALUE", "FORMAT_SIMPLE", "FORMAT_WITH_SPEC", "BINARY_OP"}
# Kinds that `Named` has under another word.
_CALLED = {"PROCEDURE": "FUNCTION", "ROUTINE": "FUNCTION", "AGGREGATE": "FUNCTION", "DOMAIN": "TYPE"}
_EVENTS = {"select", "insert", "update", "delete"}
_GRANT = re.compile(r"\b(?:GRANT|REVOKE)\b[^;]*", re.IGNORECASE)
_WHO_RUNS = re.compile(r"\b(?:CURRENT_USER|CURRENT_ROLE|SESSION_USER)\b", re.IGNORECASE)
_OPTION = re.compile(r"\bGRANT\s+OPTION\b", re.IGNORECASE)
_PRIVILEGES = {
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "TRUNCATE",
    "REFERENCES",
    "TRIGGER",
    "MAINTAIN",
    "EXECUTE",
    "USAGE",
}
_QUOTE = '"'


class Named(Struct, frozen=True):
    """An object that a CREATE or DROP statement names.

    Attributes:
        verb: CREATE or DROP.
        kind: VIEW (also for a materialized one), FUNCTION (for every routine), POLICY …
        name: the bare name, folded to lower case if it is not quoted.
        schema: the schema, folded likewise; of a policy, rule or trigger that of its table; empty when it is not written.
        table: bare name of the table that a policy, rule or trigger belongs to.
        written: the name as the SQL writes it.
    """

    verb: str
    kind: str
    name: str
    schema: str = ""
    table: str = ""
    written: str = ""


class ManagerText(Struct, frozen=True, dict=True):
    """What the source of a manager's `up()` and `down()` says.

    Attributes:
        named: the objects that it creates and drops.
        put_together: some of its SQL is built at run time, so that it may create and drop objects that its source does not name.
        words: every string that is just one name, folded: it may be used as a name in SQL that is built at run time.
        texts: all strings of the source.
        heard: `texts` includes the statements that `up()` has sent, so that it has sent no others.
    """

    named: frozenset[Named] = frozenset()
    put_together: bool = False
    words: frozenset[str] = frozenset()
    texts: tuple[str, ...] = ()
    heard: bool = False

    @cached_property
    def is_plain(self) -> bool:
        """Whether its SQL seems to do nothing but create and drop views."""
        return any(each.kind == "VIEW" for each in self.named) and not any(map(_NOT_PLAIN.search, self.texts))

    def and_said(self, statements: Iterable[str]) -> ManagerText:
        """Return the same text with the statements that `up()` has sent."""
        return replace(self, texts=(*self.texts, *statements), heard=True)

    @property
    def is_complete(self) -> bool:
        """Whether all SQL of the manager is known, so that a statement which is not found here is never sent."""
        return self.heard or (bool(self.texts) and not self.put_together)

    def names(self, *, kind: str, name: str, schema: str, table: str = "", visible: bool = True) -> bool:
        """Return whether it creates or drops an object of this kind and name; a name without a schema means a `visible` object only."""
        return any(
            each.kind == kind
            and each.name == name
            and (each.schema == schema or (visible and not each.schema))
            and (not table or each.table in {"", table})
            for each in self.named
        )

    def says(self, word: str) -> bool:
        """Return whether a keyword stands in its SQL."""
        pattern = re.compile(rf"\b{word}\b", re.IGNORECASE)
        return any(pattern.search(text) for text in self.texts)

    def mentions(self, name: str) -> bool:
        """Return whether a name stands in its SQL, in quotes or without."""
        written = name.replace('"', '""')
        pattern = re.compile(rf"(?<![\w$]){re.escape(written)}(?![\w$])", re.IGNORECASE)
        return any(pattern.search(text) for text in self.texts)

    def grants_to(self, role: str, privilege: str, *, option: bool = False) -> bool:
        """Return whether it grants or revokes a privilege of a role itself.

        Args:
            role: the role; empty for PUBLIC.
            privilege: SELECT, EXECUTE …
            option: the statement must be about the GRANT OPTION.
        """
        wanted = (role or "public").lower()
        name = re.compile(
            rf"(?<![\w$])(?:{re.escape(wanted)}|{re.escape(wanted.replace(_QUOTE, _QUOTE * 2))})(?![\w$])"
        )
        for text in self.texts:
            for match in _GRANT.finditer(text):
                is_named = name.search(match[0].lower()) or _WHO_RUNS.search(match[0]) or wanted in self.words
                if is_named and _tells_of(match[0], privilege) and (not option or _OPTION.search(match[0])):
                    return True
        return False


def _tells_of(statement: str, privilege: str) -> bool:
    """Return whether a GRANT or REVOKE may be about a privilege; one without the name of a privilege (built at run time) may be about any."""
    words = {
        word.upper() for word in re.findall(r"\w+", re.split(r"\bON\b", statement, maxsplit=1, flags=re.IGNORECASE)[0])
    }
    return not words.isdisjoint({privilege, "ALL"}) or words.isdisjoint(_PRIVILEGES)


def text_of(kind: type) -> ManagerText:
    """Read the source of a manager's class."""
    return _text(tuple(dict.fromkeys((text.replace("%%", "%"), goes_on) for text, goes_on in _texts(kind))))


@cache
def _text(found_texts: tuple[tuple[str, bool], ...]) -> ManagerText:
    named: set[Named] = set()
    verbs = complete = 0
    texts = tuple(text for text, _ in found_texts)
    for text, goes_on in found_texts:
        for verb in _VERB.finditer(text):
            verbs += 1
            found = [each for each in _named(verb, text) if not (goes_on and text.endswith(each.written))]
            complete += bool(found)
            named.update(found)
        known = {verb.start() for verb in _VERB.finditer(text)}
        verbs += sum(each.start() not in known for each in _ANY_VERB.finditer(text))
    words = frozenset(bare(text.rpartition(".")[2]) for text in texts if re.fullmatch(rf"\s*{NAME}\s*", text))
    return ManagerText(frozenset(named), complete < verbs or not verbs, words, texts)


def _named(verb: re.Match[str], text: str) -> Iterator[Named]:
    kind = verb["kind"].upper()
    kind = _CALLED.get(kind, kind)
    match = _ONE.match(text, verb.end())
    while match:
        written = match["name"]
        schema, name = parted(written)
        table = ""
        if kind in {"POLICY", "RULE", "TRIGGER"}:
            schema, table = _table_after(text, match.end())
        yield Named(verb["verb"].upper(), kind, bare(name), bare(schema), table, written)
        match = _MORE.match(text, match.end()) if verb["verb"].upper() == "DROP" else None


def _table_after(text: str, place: int) -> tuple[str, str]:
    match = _OF_TABLE.match(text, place)
    while match and match["name"].lower() in _EVENTS:  # the event of a rule: `ON INSERT TO person`
        match = _OF_TABLE.match(text, match.end())
    schema, table = parted(match["name"]) if match else ("", "")
    return schema, bare(table)


def names_created(kind: type) -> tuple[str, ...]:
    """Return the views that a manager's class creates, as its SQL writes their names; empty when the names are built at run time."""
    named = text_of(kind).named
    return tuple(sorted({each.written for each in named if each.verb == "CREATE" and each.kind == "VIEW"}))


def speaks_of(kind: type, name: str) -> bool:
    """Return whether a name stands in `up()` of a manager's class, or in a string or function that `up()` refers to."""
    pattern = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)
    return any(pattern.search(text) for text, _ in _texts(kind, "up"))


def _texts(kind: type, *methods: str) -> Iterator[tuple[str, bool]]:
    """Yield every string that a manager's class uses, and whether it may be the beginning of a longer one that is built at run time."""
    for base in classes_of_users(kind):
        # Not `__doc__` or `__module__`: they are not SQL.
        values = [value for name, value in vars(base).items() if not name.startswith("__")]
        yield from ((text, False) for value in values for text in strings_in(value))
    methods = methods or ("up", "down")
    of_class = reached_in(classes_of_users(kind), *methods)
    for value in chain(reached(*(getattr(kind, method, None) for method in methods)), of_class):
        if isinstance(value, CodeType):
            yield from _texts_of_code(value)
        else:
            yield from ((text, False) for text in strings_in(value))


@cache
def _texts_of_code(code: CodeType) -> tuple[tuple[str, bool], ...]:
    goes_on = any(step.opname in _BUILDING for step in dis.get_instructions(code))
    return tuple((text, goes_on) for text in texts_of(code))
