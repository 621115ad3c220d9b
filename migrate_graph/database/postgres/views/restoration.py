"""Restores owner, privileges and other properties of a recreated view, function or policy, unless `up()` itself has set others."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TypeAlias

import psycopg2
from msgspec.structs import replace

from migrate_graph.database.postgres.views.asking import OUR_STYLES, OWN_STYLES
from migrate_graph.database.postgres.views.snapshot import Made, Read, literal
from migrate_graph.database.relation import INVALID_INDEX, Grant, Item, Relation
from migrate_graph.database.views.catalog import Restorable
from migrate_graph.database.views.stored_sql import check_item, check_stored
from migrate_graph.errors import ViewError
from migrate_graph.messages import first_line
from migrate_graph.quoting import bare, parted, quote_identifier

# Properties that views and materialized views both have; the others cannot be carried over from one kind to the other.
_OF_EVERY_KIND = {"comment", "column comment", "security label", "column security label"}

# These may call functions of users, which rely on the session's search_path; the others only name objects.
_CALLING = {"index", "planner statistics", "statistics"}

# What others, for example event triggers, may add to a new object: the word that `up()` would have to contain if it had set this itself
# (empty: the name of the item), and the statement that removes it. `{part}` is the first word of an item's name that has two (a column and
# its option), `{schema}` the schema of the view, `{default}` the value that a new object has.
_ADDED = {
    "comment": ("COMMENT", "COMMENT ON {kind} {it} IS NULL"),
    "column comment": ("COMMENT", "COMMENT ON COLUMN {it}.{name} IS NULL"),
    "type privilege": ("TYPE", "REVOKE ALL ON TYPE {it} FROM {name} CASCADE"),
    "type comment": ("COMMENT", "COMMENT ON TYPE {it} IS NULL"),
    "array type comment": ("COMMENT", "COMMENT ON TYPE {it}[] IS NULL"),
    "rule comment": ("COMMENT", "COMMENT ON RULE {name} ON {it} IS NULL"),
    "trigger comment": ("COMMENT", "COMMENT ON TRIGGER {name} ON {it} IS NULL"),
    "index comment": ("COMMENT", "COMMENT ON INDEX {schema}.{name} IS NULL"),
    "statistics comment": ("COMMENT", "COMMENT ON STATISTICS {written} IS NULL"),
    "option": ("", "ALTER {kind} {it} RESET ({name})"),
    "setting": ("", "ALTER {kind} {it} RESET {name}"),
    "state": ("(?:DISABLE|ENABLE)", "ALTER TABLE {table} ENABLE {kind} {part}"),
    "column default": ("DEFAULT", "ALTER {kind} {it} ALTER COLUMN {name} DROP DEFAULT"),
    "column statistics target": (r"SET\s+STATISTICS", "ALTER {kind} {it} ALTER COLUMN {name} SET STATISTICS -1"),
    "index statistics target": (
        r"SET\s+STATISTICS",
        "ALTER INDEX {schema}.{part} ALTER COLUMN {written} SET STATISTICS -1",
    ),
    "statistics target": (r"SET\s+STATISTICS", "ALTER STATISTICS {written} SET STATISTICS -1"),
    "statistics owner": ("OWNER", "ALTER STATISTICS {written} OWNER TO {creator}"),
    "column option": ("", "ALTER {kind} {it} ALTER COLUMN {part} RESET ({name})"),
    "column storage": ("STORAGE", "ALTER {kind} {it} ALTER COLUMN {name} SET STORAGE {default}"),
    "column compression": ("COMPRESSION", "ALTER {kind} {it} ALTER COLUMN {name} SET COMPRESSION default"),
    "access method": ("(?:USING|METHOD)", "ALTER {kind} {it} SET ACCESS METHOD {default}"),
    "tablespace": ("TABLESPACE", "ALTER {kind} {it} SET TABLESPACE {default}"),
    "index tablespace": ("TABLESPACE", "ALTER INDEX {schema}.{name} SET TABLESPACE {default}"),
    "rule": ("", "DROP RULE {name} ON {it}"),
    "trigger": ("", "DROP TRIGGER {name} ON {it}"),
    "index": ("", "DROP INDEX {schema}.{name}"),
    "statistics": ("", "DROP STATISTICS {written}"),
    "cluster": ("CLUSTER", "ALTER {kind} {it} SET WITHOUT CLUSTER"),
    "replica identity": ("REPLICA", "ALTER {kind} {it} REPLICA IDENTITY DEFAULT"),
    "security label": ("LABEL", "SECURITY LABEL FOR {name} ON {kind} {it} IS NULL"),
    "column security label": ("LABEL", "SECURITY LABEL FOR {name} ON COLUMN {it}.{part} IS NULL"),
    "extension": ("DEPENDS", "ALTER {kind} {it} NO DEPENDS ON EXTENSION {name}"),
    "index extension": ("DEPENDS", "ALTER INDEX {schema}.{part} NO DEPENDS ON EXTENSION {name}"),
    "trigger extension": ("DEPENDS", "ALTER TRIGGER {part} ON {it} NO DEPENDS ON EXTENSION {name}"),
}
# Queries for the value that a new object has, where SQL has no word for it on every version.
_OF_DATABASE = """SELECT t.spcname::text AS name FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace
    WHERE d.datname = pg_catalog.current_database()"""
_DEFAULTS = {
    "column storage": """SELECT CASE t.typstorage WHEN 'p' THEN 'plain' WHEN 'e' THEN 'external' WHEN 'm' THEN 'main' ELSE 'extended' END AS name
        FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = {it}::pg_catalog.regclass AND a.attname = {name} AND NOT a.attisdropped""",
    "access method": "SELECT pg_catalog.current_setting('default_table_access_method') AS name",
    "tablespace": _OF_DATABASE,
    "index tablespace": _OF_DATABASE,
}
_TO_EVERYBODY = "GRANT USAGE ON TYPE {it} TO PUBLIC"
# When one of these is dropped, its comments and settings are dropped with it.
_THINGS = ("rule", "trigger", "index", "statistics")
_GOING_FIRST = {*_THINGS, "type privilege"}
_OF_TWO_WORDS = {
    "column option",
    "column security label",
    "index statistics target",
    "index extension",
    "trigger extension",
}
_NAMELESS = re.compile(r"\bINDEX\s+(?:CONCURRENTLY\s+)?ON\b|\bSTATISTICS\s+(?:\([^)]*\)\s*)?ON\b", re.IGNORECASE)

_Right: TypeAlias = "tuple[str, str]"
"""Column and role."""

# The word for each kind of object in `GRANT … ON`; TABLE for all others.
_GRANTED = {
    "FUNCTION": "FUNCTION",
    "PROCEDURE": "PROCEDURE",
    "AGGREGATE": "FUNCTION",
    "SEQUENCE": "SEQUENCE",
    "SCHEMA": "SCHEMA",
}


class Restoration:
    """Restores one object.

    Args:
        send: runs a statement, with a search_path in which every name needs its schema.
        read: runs a query in the same way.
        thing: the recreated object, as it is and as it was before.
        made: the role that created it, and the privileges that it got by default.
        place: the session's own search_path.
    """

    def __init__(self, send: Callable[[str], object], read: Read, thing: Restorable, made: Made, *, place: str) -> None:
        self._send = send
        self._read = read
        self._stored = thing.stored
        self._made = thing.made
        self._text = thing.text
        self._creator = made.creator
        self._fresh = made.fresh
        self._role = made.role
        self._place = place
        self._fills = thing.fills
        self._owner = thing.made.owner
        self._warnings: list[str] = []

    def run(self) -> list[str]:
        """Restore everything; return warnings about properties that cannot apply any more, for example of a missing column.

        Raises:
            ViewError: a property cannot be restored.
        """
        decided, given = self._given()
        self._restore_owner()
        self._restore_grants(decided, given)
        if self._fills:
            self._fill()
        self._remove_added()
        self._restore_items()
        return self._warnings

    def _run(self, what: str, statement: str) -> None:
        try:
            self._send(statement)
        except psycopg2.Error as error:
            reason = first_line(error)
            raise ViewError(
                f"cannot restore the {what} of {self._made.identity}: {reason}",
                hint="run as a role that may, or say it in the manager's up(): what up() sets is left alone",
            ) from error

    # -- owner ------------------------------------------------------------------------------------------------------

    def _restore_owner(self) -> None:
        """Restore the owner, unless `up()` has chosen another one."""
        chosen = self._made.owner != self._creator and (self._text.says("OWNER") or self._text.says("ROLE"))
        if self._stored.owner and self._made.owner != self._stored.owner and not chosen:
            self._run(
                f"owner ({self._stored.owner})",
                f"ALTER {self._made.kind} {self._made.identity} OWNER TO {quote_identifier(self._stored.owner)}",
            )
            self._owner = self._stored.owner

    def _fill(self) -> None:
        if self._stored.is_empty:
            return
        # As when a dump is restored: the functions that the query calls run as the owner, not as the role of this session.
        self._run("content", OWN_STYLES)
        self._as_role(self._owner, "content", f"REFRESH MATERIALIZED VIEW {self._made.identity}")
        self._run("content", OUR_STYLES)

    def _as_role(self, role: str, what: str, statement: str) -> None:
        if role == self._creator:
            self._run(what, statement)
            return
        self._run(what, f"SET LOCAL ROLE {quote_identifier(role)}")
        self._run(what, statement)
        self._run(what, f"SET LOCAL ROLE {'NONE' if self._role == 'none' else quote_identifier(self._role)}")

    # -- items ------------------------------------------------------------------------------------------------------

    def _restore_items(self) -> None:
        there = {(item.aspect, item.name): item for item in self._made.items}
        for item in self._stored.items:
            if item.aspect == INVALID_INDEX:
                self._leave_out(item, is_new=("index", item.name) in there)
                continue
            new = there.get((item.aspect, item.name))
            if new == item or (new is not None and not self._was_added(new)) or not self._applies(item):
                continue
            statement = item.statement(self._made.kind)
            check_item(item, statement, self._made)
            what = f"{item.aspect} {item.name}".strip()
            if item.aspect not in _CALLING:
                self._run(what, statement)
                continue
            # `pg_catalog` comes first and `pg_temp` last, so that nobody's own `lower()` is called instead of the server's.
            self._run(
                what, f"SET LOCAL search_path = {', '.join(filter(None, ['pg_catalog', self._place, 'pg_temp']))}"
            )
            self._run(what, statement)
            self._run(what, "SET LOCAL search_path = pg_catalog, pg_temp")

    def _leave_out(self, item: Item, *, is_new: bool) -> None:
        """Warn that an INVALID index is not created again, unless `up()` has created one of its name.

        No query used it. It may be a copy of another one, or its rows may not be unique, so that creating it would fail.
        """
        if not is_new:
            self._warn(item, f"it was INVALID, so no query used it; if it is wanted: {item.sql}")

    def _was_added(self, item: Item) -> bool:
        """Return whether something else, for example an event trigger, has set this on creation: the text of `up()` does not."""
        if item.aspect not in _ADDED:
            return False
        if item.aspect == "type privilege":
            return self._text.is_complete and not self._text.grants_to(item.name, "USAGE")
        knows = self._text.is_complete or (bool(self._text.texts) and item.aspect.endswith("comment"))
        if item.aspect in {"index", "statistics"} and any(map(_NAMELESS.search, self._text.texts)):
            return False  # `up()` creates one without a name, so it may be this one
        word = _ADDED[item.aspect][0]
        return knows and not (self._text.says(word) if word else self._text.mentions(_bare_name(item)))

    def _remove_added(self) -> None:
        """Remove what an event trigger or a default has added on creation, if it was not there before."""
        before = {(item.aspect, item.name): item for item in self._stored.items}
        if not self._text.is_complete or self._made.kind != self._stored.kind:
            return
        gone: list[Item] = []
        for item in self._made.items:
            was = before.get((item.aspect, item.name))
            is_another = was is None or (item.aspect in _GOING_FIRST and was != item)
            if is_another and self._was_added(item) and not any(_is_of(item, thing) for thing in gone):
                self._run(f"{item.aspect} {item.name}".strip(), self._taken_back(item))
                gone.append(item)
        left = tuple(item for item in self._made.items if not any(_is_of(item, thing) for thing in gone))
        self._made = replace(self._made, items=left)

    def _taken_back(self, item: Item) -> str:
        part, name = item.name.rsplit(" ", 1) if item.aspect in _OF_TWO_WORDS else ("", item.name)
        # `toast.` stands before some, an extension's name before others.
        is_dotted = item.aspect in {"option", "setting"}
        thing, _, table = self._made.identity.rpartition(" ON ")
        is_of_nobody = item.aspect == "type privilege" and not item.name
        statement = _TO_EVERYBODY if is_of_nobody else _ADDED[item.aspect][1]
        return statement.format(
            kind=self._made.kind,
            it=self._made.identity,
            table=table,
            schema=parted(self._made.identity)[0],
            part=quote_identifier(part) if part else thing,
            name=".".join(map(quote_identifier, name.split(".", 1) if is_dotted else [name])),
            written=name,
            creator=quote_identifier(self._creator),
            default=self._default(item),
        )

    def _default(self, item: Item) -> str:
        """Return the value that a new object has for an item; empty where SQL has a word for the default."""
        query = _DEFAULTS.get(item.aspect, "").format(it=literal(self._made.identity), name=literal(item.name))
        return quote_identifier(self._read(query)[0][0]) if query else ""

    def _applies(self, item: Item) -> bool:
        if self._made.kind != self._stored.kind and item.aspect not in _OF_EVERY_KIND:
            self._warn(item, f"it is a {self._made.kind.lower()} now")
            return False
        missing = [column for column in item.columns if column not in self._made.columns]
        if missing:
            self._warn(item, f"there is no column {', '.join(missing)} any more")
        return not missing

    def _warn(self, item: Item, reason: str) -> None:
        self._warnings.append(
            f"{item.aspect} {item.name}".strip() + f" of {self._made.identity} is not restored: {reason}"
        )

    # -- privileges -------------------------------------------------------------------------------------------------

    def _given(self) -> tuple[set[_Right], set[Grant]]:
        """Return the columns and roles whose privileges `up()` itself has decided, and the privileges that it gave them.

        Privileges are also added or removed by default privileges, which are known, and by event triggers: those are recognized by roles
        and privileges that the text of `up()` does not mention. To be called before the owner is restored.
        """
        fresh = self._fresh
        if self._made.owner != self._creator:  # changing the owner carries the old one's privileges over
            fresh = frozenset(carried(fresh, self._creator, self._made.owner))
        made = frozenset(self._made.grants)
        said = {grant for grant in made ^ fresh if self._text.grants_to(grant.grantee, grant.privilege)}
        decided = {_right(grant) for grant in said}
        given = {grant for grant in (made & fresh) | (made & said) | (fresh - made - said) if _right(grant) in decided}
        for grant in given & said:
            if grant.grantable and not self._text.grants_to(grant.grantee, grant.privilege, option=True):
                given = given - {grant} | {replace(grant, grantable=False)}
        return decided, given

    def _restore_grants(self, decided: set[_Right], given: set[Grant]) -> None:
        owner = self._owner
        decided = {(column, owner if role == self._made.owner else role) for column, role in decided}
        current = set(carried(self._made.grants, self._made.owner, owner))
        stored = set(carried(self._stored.grants, self._stored.owner, owner))
        wanted = {grant for grant in stored if _right(grant) not in decided and self._has_column(grant)}
        wanted |= set(carried(given, self._made.owner, owner))
        for grant in sorted(current - wanted):
            kept = Grant(grant.column, grant.grantee, grant.privilege, grant.grantor, not grant.grantable) in wanted
            if grant.grantable or not kept:
                option = "GRANT OPTION FOR " if kept else ""
                self._as_grantor(grant, owner, f"REVOKE {option}{self._on(grant)} FROM {_role(grant.grantee)} CASCADE")
        for grant in _grantors_first(wanted - current, owner):
            option = " WITH GRANT OPTION" if grant.grantable else ""
            self._as_grantor(grant, owner, f"GRANT {self._on(grant)} TO {_role(grant.grantee)}{option}")

    def _has_column(self, grant: Grant) -> bool:
        has = not grant.column or not self._made.is_view or grant.column in self._made.columns
        if not has:
            item = Item("privilege", f"{grant.privilege} ({grant.column}) for {grant.grantee or 'PUBLIC'}", "")
            self._warn(item, f"there is no column {grant.column} any more")
        return has

    def _on(self, grant: Grant) -> str:
        if not grant.privilege.replace(" ", "").isalpha():
            raise ViewError(f"the stored privilege {grant.privilege!r} of {self._made.identity} is none")
        column = f" ({quote_identifier(grant.column)})" if grant.column else ""
        kind, it = _GRANTED.get(self._made.kind, "TABLE"), self._made.identity
        if self._made.address and grant.column:  # a column by itself
            it = ".".join(map(quote_identifier, json.loads(self._made.address)[1][:-1]))
        return f"{grant.privilege}{column} ON {kind} {it}"

    def _as_grantor(self, grant: Grant, owner: str, statement: str) -> None:
        """Run GRANT or REVOKE as the role that gave the privilege: PostgreSQL records it, and only through it can it be revoked."""
        what = f"privilege {grant.privilege} for {grant.grantee or 'PUBLIC'}"
        if grant.grantor == owner:
            self._run(what, statement)
        else:
            self._as_role(grant.grantor, f"{what}, given by {grant.grantor}", statement)


def _right(grant: Grant) -> _Right:
    return grant.column, grant.grantee


def _bare_name(item: Item) -> str:
    """Return the name that `up()` would have to contain for an item."""
    if item.aspect == "statistics":
        return bare(parted(item.name)[1])
    return item.name.rpartition(".")[2].rpartition(" ")[2] if "option" in item.aspect else item.name


def _is_of(item: Item, thing: Item) -> bool:
    """Return whether an item is the same as another one, or a property of it: both are dropped together."""
    if item == thing:
        return True
    if thing.aspect == "index" and item.aspect in {"cluster", "replica identity"}:
        return item.sql.endswith(quote_identifier(thing.name))
    said_of = thing.aspect in _THINGS and item.aspect.startswith(f"{thing.aspect} ")
    return said_of and (item.name == thing.name or item.name.startswith(f"{thing.name} "))


def create(send: Callable[[str], object], stored: Relation) -> None:
    """Create an object from its stored definition; a materialized view without its rows.

    Raises:
        ViewError: the definition is not known, or is not one statement that creates exactly this object.
    """
    check_stored(stored)
    suffix = " WITH NO DATA" if stored.kind == "MATERIALIZED VIEW" else ""
    send(stored.definition + suffix)


def differs(thing: Restorable) -> bool:
    """Return whether any property has to be restored."""
    stored, made = thing.stored, thing.made
    return (
        thing.fills
        or set(stored.items) != set(made.items)
        or stored.owner != made.owner
        or stored.grants != made.grants
    )


def carried(grants: Iterable[Grant], before: str, after: str) -> Iterator[Grant]:
    """Yield privileges as they are after a change of owner: the new one then has what either of the two had."""
    swap: Callable[[str], str] = lambda role: after if role == before else role  # noqa: E731 - used twice, here only
    moved = {
        Grant(grant.column, swap(grant.grantee), grant.privilege, swap(grant.grantor), grant.grantable)
        for grant in grants
    }
    for grant in sorted(moved):
        if (
            grant.grantable
            or Grant(grant.column, grant.grantee, grant.privilege, grant.grantor, grantable=True) not in moved
        ):
            yield grant


def _grantors_first(grants: Collection[Grant], owner: str) -> list[Grant]:
    """Sort privileges so that each role gets its own before it grants them to others."""
    ordered: list[Grant] = []
    waiting, able = sorted(grants), {owner}
    while waiting:
        ready = [grant for grant in waiting if grant.grantor in able] or waiting
        ordered += ready
        able |= {grant.grantee for grant in ready}
        waiting = [grant for grant in waiting if grant not in ready]
    return ordered


def _role(grantee: str) -> str:
    return quote_identifier(grantee) if grantee else "PUBLIC"
