"""Derives the way back of a migration that has none written: drop what it has added, or tell why that does not undo it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain
from typing import Final, TypeAlias

from msgspec import Struct

from migrate_graph.core.adopting import rank_of
from migrate_graph.core.drift import Drifted, Inventory
from migrate_graph.core.footprint import Footprint, Statement
from migrate_graph.core.traces import owner_of
from migrate_graph.quoting import bare, parted, unsigned
from migrate_graph.sql_space import SPACE
from migrate_graph.user_files import SourceLocation

DropOf: TypeAlias = Callable[[Drifted], str]
"""Returns the statement that drops what was added; empty where it has none of its own."""

ADVICE: Final = 'write a function that undoes it, and declare it: down=function instead of down="auto"'
"""What to do where no way back can be derived."""


class Objection(Struct, frozen=True):
    """Why a way back cannot be derived.

    Attributes:
        what: what the migration does that is not undone by dropping what it has added, in words.
        source: the line that does it.
    """

    what: str
    source: SourceLocation | None = None

    def __str__(self) -> str:
        return f"{self.what} ({self.source})" if self.source else self.what


def objections(
    changes: Sequence[Drifted],
    seen: Footprint,
    *,
    drop_of: DropOf,
    managed: Collection[str] = (),
    at: SourceLocation | None = None,
) -> tuple[Objection, ...]:
    """Return why dropping what a migration has added does not undo it; empty where it was purely additive.

    Args:
        changes: what differs in the database after it.
        seen: what else was seen of it.
        drop_of: see `DropOf`.
        managed: relations that view managers make; these drop them.
        at: its declaration.
    """
    theirs = set(managed)
    changes = [change for change in changes if change.relation not in theirs]
    own = {change.relation for change in changes if change.before is None and change.relation == change.fact.identity}
    found = chain(
        _of_schema(changes, seen, drop_of, at),
        _of_rows(seen, own | theirs, at),
        _of_conditions(seen, own, theirs),
        (Objection(f"could not be watched to its end: {why}", at) for why in seen.not_rehearsed),
    )
    return tuple(dict.fromkeys(found))


def drops(changes: Sequence[Drifted], *, drop_of: DropOf, managed: AbstractSet[str] = frozenset()) -> tuple[str, ...]:
    """Return the statements that drop what was added: first what depends on others, as far as its kind tells.

    Args:
        changes: what differs in the database after a migration.
        drop_of: see `DropOf`.
        managed: relations that view managers make.
    """
    added = [change for change in changes if change.before is None and change.relation not in managed]
    added.sort(key=lambda change: -rank_of(change.fact))
    return tuple(filter(None, map(drop_of, added)))


def ties(changes: Sequence[Drifted], after: Inventory, *, drop_of: DropOf) -> tuple[str, ...]:
    """Return the statements that drop the foreign keys of tables that were added, for tables that refer to each other in a circle.

    Args:
        changes: what differs in the database after a migration.
        after: what the database is made of after it.
        drop_of: see `DropOf`.
    """
    found = []
    for change in changes:
        for fact in change.parts if change.before is None else ():
            described = after.facts[fact]
            if fact.kind == "constraint" and described.definition.startswith("FOREIGN KEY"):
                found.append(drop_of(Drifted(fact, None, described.definition, change.relation)))
    return tuple(filter(None, found))


# -- what became of the schema -----------------------------------------------------------------------------------------


_SAID: Final = frozenset({"comment", "grants", "label"})
"""Kinds of facts that describe something else, and are dropped with it."""


def _of_schema(
    changes: Sequence[Drifted], seen: Footprint, drop_of: DropOf, at: SourceLocation | None
) -> Iterator[Objection]:
    facts = [fact for change in changes if change.before is None for fact in (change.fact, *change.parts)]
    added = {fact.identity for fact in facts if fact.kind not in _SAID}
    named = {unsigned(name) for name in added} | {
        f"{change.fact.identity.removeprefix(f'{change.relation}.')} on {change.relation}"
        for change in changes
        if change.before is None and change.fact.kind in {"constraint", "trigger", "rule", "policy"}
    }
    grown = {change.relation for change in changes if change.before is None and change.fact.kind == "column"}
    for change in changes:
        fact, where = change.fact, _line_of(change.relation or change.fact.identity, seen) or at
        if change.before is not None:
            verb = "removes" if change.after is None else "changes"
            yield Objection(f"{verb} the {fact}, which was there before", where)
        elif fact.kind in _SAID:
            if not _is_about(fact.identity, named):
                yield Objection(f"says something of what was there before ({fact})", where)
        elif (
            not drop_of(change)
            and change.relation not in grown
            and owner_of(fact.identity) not in added - {fact.identity}
        ):
            yield Objection(f"adds the {fact}, and nothing here drops that", where)


def _is_about(said: str, named: Collection[str]) -> bool:
    """Return whether a description such as `table column public.t.a` is about one of these things, or a part of one."""
    words = unsigned(said).split(" ")
    wholes = {" ".join(words[at:]) for at in range(len(words))}
    return any(whole == name or whole.startswith(f"{name}.") for whole in wholes for name in named)


def _line_of(relation: str, seen: Footprint, words: re.Pattern[str] | None = None) -> SourceLocation | None:
    """Return the line of the first statement that took a strong lock on a relation (given `words`: that wrote to it).

    Else that of the first statement that begins with such words and names the relation; else of the first that names it.
    """
    last = re.compile(rf'(?<![\w"]){re.escape(parted(unsigned(relation))[1])}(?![\w"])', re.IGNORECASE)
    begins = words or _DEFINES
    for does in (
        _writes(relation) if words else _locks(relation),
        lambda each: bool(begins.match(each.sql) and last.search(each.sql)),
        lambda each: bool(last.search(each.sql)),
    ):
        for statement in seen.statements:
            if statement.source is not None and does(statement):
                return statement.source
    return None


_LEAD: Final = rf"(?:{SPACE}|\()*+"
"""What may stand before the first word of a statement."""

_DEFINES: Final = re.compile(
    rf"{_LEAD}(alter|drop|create|comment|grant|revoke|security|do)\b", re.IGNORECASE | re.DOTALL
)
_CHANGES: Final = re.compile(
    rf"{_LEAD}(insert|update|delete|replace|truncate|merge|copy|with|do)\b", re.IGNORECASE | re.DOTALL
)


def _writes(relation: str) -> Callable[[Statement], bool]:
    return lambda each: relation in each.inserts or any(owner_of(use) == relation for use in each.writes)


def _locks(relation: str) -> Callable[[Statement], bool]:
    weak = {"", "ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE"}
    return lambda each: each.locks.get(relation, "") not in weak


# -- rows, and what decides what is done -------------------------------------------------------------------------------


def _of_rows(seen: Footprint, own: AbstractSet[str], at: SourceLocation | None) -> Iterator[Objection]:
    """Yield an objection for each table that was there before and whose rows were written."""
    wrote = {name for name, each in seen.wrote.items() if each.rows}
    written = {owner_of(use) for use in seen.writes} | (wrote - seen.inserts)
    for table in sorted((seen.inserts | written) - own):
        verb = "changes rows of" if table in written else "puts rows into"
        yield Objection(f"{verb} {table}, which was there before", _line_of(table, seen, _CHANGES) or at)


_ASKS: Final = re.compile(rf"{_LEAD}(select|with|values|table|fetch|declare|copy|pragma)\b", re.IGNORECASE | re.DOTALL)
_BLOCK: Final = re.compile(rf"{_LEAD}(do|call)\b", re.IGNORECASE | re.DOTALL)
_CATALOG: Final = re.compile(
    r"\b(information_schema|pg_catalog|pg_class|pg_tables|pg_views|pg_attribute|pg_indexes|pg_proc|pg_type|pg_namespace|pg_constraint|"
    r"to_reg\w+|sqlite_master|sqlite_schema|pragma\w*)\b",
    re.IGNORECASE,
)
_IF_THERE: Final = re.compile(
    _LEAD + r"(?:create\s+(?P<replaces>or\s+replace\b)|create\s+(?:\w+\s+){0,4}if\s+not\s+exists\b"
    r"|alter\s+table\s+(?P<maybe>if\s+exists\b)|alter\s+table\b.*\badd\s+(?:column\s+)?if\s+not\s+exists\b)",
    re.IGNORECASE | re.DOTALL,
)


def _of_conditions(seen: Footprint, own: AbstractSet[str], theirs: AbstractSet[str]) -> Iterator[Objection]:
    """Yield an objection for each statement that may do something else on another database: what it adds there is unknown."""
    for each in seen.statements:
        if each.source is None or each.error:
            continue
        read = sorted({owner_of(use) for use in each.uses} - own)
        if _BLOCK.match(each.sql):
            yield Objection("runs a block of statements, which may do something else on another database", each.source)
        elif (says := _IF_THERE.match(each.sql)) and not _is_of_manager(each, theirs):
            yield Objection(_why_conditional(says), each.source)
        elif _ASKS.match(each.sql) and read:
            yield Objection(f"reads rows of {', '.join(read)}, so that what it does may depend on them", each.source)
        elif _ASKS.match(each.sql) and _CATALOG.search(each.sql):
            yield Objection("asks what is there already, so that what it does may depend on it", each.source)


def _why_conditional(says: re.Match[str]) -> str:
    """Return why a statement may do nothing, or less, on another database."""
    if says["maybe"]:
        return "says IF EXISTS: on another database it may have done nothing"
    words = "OR REPLACE" if says["replaces"] else "IF NOT EXISTS"
    return f"says {words}: what was there already on another database was not added by it"


_VIEW: Final = re.compile(
    _LEAD + r"create\b.*?\bview\s+(?:if\s+not\s+exists\s+)?(?P<name>(?:\"(?:[^\"]|\"\")+\"|[^\s(\"])+)",
    re.IGNORECASE | re.DOTALL,
)


def _is_of_manager(statement: Statement, theirs: AbstractSet[str]) -> bool:
    """Return whether a statement makes a view that has a manager: the manager drops it, whoever made it first."""
    match = _VIEW.match(statement.sql)
    schema, view = map(bare, parted(match["name"])) if match else ("", "")
    known = {tuple(map(bare, parted(name))) for name in theirs}
    return any(view == name and schema in {"", place} for place, name in known)
