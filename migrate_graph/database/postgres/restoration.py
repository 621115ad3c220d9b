"""Makes a recreated PostgreSQL view what it was before, where its creation did not itself say otherwise."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

import psycopg2

from migrate_graph.database.names import quote_identifier
from migrate_graph.database.postgres.snapshot import Query, fresh_grants, read_grants
from migrate_graph.database.relation import Grant, Item, Relation
from migrate_graph.errors import ViewError
from migrate_graph.messages import first_line

# What a view and a materialized view have both; the rest of one means nothing to the other.
_OF_EVERY_KIND = {"comment", "column comment", "security label", "column security label"}


class Restoration:
    """Restores one relation.

    Args:
        query: runs a statement, with an empty search_path.
        oid: of the recreated relation.
        stored: what it was.
        made: what its creation made of it.
        creator: the role that created it: the owner, unless the creation itself says otherwise.
    """

    def __init__(self, query: Query, *, oid: int, stored: Relation, made: Relation, creator: str) -> None:
        self._query = query
        self._oid = oid
        self._stored = stored
        self._made = made
        self._creator = creator
        self._warnings: list[str] = []

    def run(self) -> list[str]:
        """Restore everything; give warnings about what has lost its column.

        Raises:
            ViewError: something cannot be restored.
        """
        given = self._given()
        self._restore_owner()
        self._restore_grants(given)
        self._restore_items()
        return self._warnings

    def _run(self, what: str, statement: str) -> None:
        try:
            self._query(statement)
        except psycopg2.Error as error:
            reason = first_line(error)
            raise ViewError(
                f"cannot restore the {what} of {self._made.identity}: {reason}",
                hint="run as a role that may, or say it in the manager's up(): what up() sets is left alone",
            ) from error

    def _restore_owner(self) -> None:
        if self._made.owner == self._creator != self._stored.owner:
            kind, identity = self._made.kind, self._made.identity
            self._run(
                f"owner ({self._stored.owner})",
                f"ALTER {kind} {identity} OWNER TO {quote_identifier(self._stored.owner)}",
            )

    # -- items ------------------------------------------------------------------------------------------------------

    def _restore_items(self) -> None:
        there = {(item.aspect, item.name) for item in self._made.items}
        for item in self._stored.items:
            if (item.aspect, item.name) not in there and self._applies(item):
                what = f"{item.aspect} {item.name}".strip()
                self._run(what, item.sql.replace("<kind>", self._made.kind, 1))

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

    def _given(self) -> set[tuple[str, str]]:
        """Find the (column, grantee)s whose privileges the creation itself decided, before the owner changes."""
        fresh = fresh_grants(self._query, self._oid)
        if self._made.owner != self._creator:  # changing the owner carries the old one's privileges over
            fresh = frozenset(_carried(fresh, self._creator, self._made.owner))
        made = frozenset(self._made.grants)
        return {(grant.column, grant.grantee) for grant in made ^ fresh}

    def _restore_grants(self, given: set[tuple[str, str]]) -> None:
        owner, grants = read_grants(self._query, self._oid)
        given = {(column, owner if grantee == self._made.owner else grantee) for column, grantee in given}
        stored = set(_carried(self._stored.grants, self._stored.owner, owner))
        current = {grant for grant in grants if (grant.column, grant.grantee) not in given}
        wanted = {grant for grant in stored if (grant.column, grant.grantee) not in given and self._has_column(grant)}
        for grant in sorted(current - wanted):
            kept = Grant(grant.column, grant.grantee, grant.privilege, grant.grantor, not grant.grantable) in wanted
            if grant.grantable or not kept:
                option = "GRANT OPTION FOR " if kept else ""
                self._as_grantor(grant, owner, f"REVOKE {option}{self._on(grant)} FROM {_role(grant.grantee)} CASCADE")
        for grant in _grantors_first(wanted - current, owner):
            option = " WITH GRANT OPTION" if grant.grantable else ""
            self._as_grantor(grant, owner, f"GRANT {self._on(grant)} TO {_role(grant.grantee)}{option}")

    def _has_column(self, grant: Grant) -> bool:
        has = not grant.column or grant.column in self._made.columns
        if not has:
            item = Item("privilege", f"{grant.privilege} ({grant.column}) for {grant.grantee or 'PUBLIC'}", "")
            self._warn(item, f"there is no column {grant.column} any more")
        return has

    def _on(self, grant: Grant) -> str:
        column = f" ({quote_identifier(grant.column)})" if grant.column else ""
        return f"{grant.privilege}{column} ON TABLE {self._made.identity}"

    def _as_grantor(self, grant: Grant, owner: str, statement: str) -> None:
        """Run GRANT or REVOKE as who gave the privilege: PostgreSQL remembers that, and it decides who may take it back."""
        what = f"privilege {grant.privilege} for {grant.grantee or 'PUBLIC'}"
        if grant.grantor == owner:
            self._run(what, statement)
            return
        [(role,)] = self._query("SELECT pg_catalog.current_setting('role')")
        self._run(f"{what}, given by {grant.grantor}", f"SET LOCAL ROLE {quote_identifier(grant.grantor)}")
        self._run(what, statement)
        self._query("SET LOCAL ROLE " + ("NONE" if role == "none" else quote_identifier(role)))


def differs(stored: Relation, made: Relation) -> bool:
    """Return whether anything has to be restored."""
    items = {(item.aspect, item.name) for item in stored.items} - {(item.aspect, item.name) for item in made.items}
    return bool(items) or stored.owner != made.owner or stored.grants != made.grants


def _carried(grants: Iterable[Grant], before: str, after: str) -> Iterator[Grant]:
    """Yield privileges as they are after a change of owner."""
    swap: Callable[[str], str] = lambda role: after if role == before else role  # noqa: E731 - used twice, here only
    for grant in grants:
        yield Grant(grant.column, swap(grant.grantee), grant.privilege, swap(grant.grantor), grant.grantable)


def _grantors_first(grants: Collection[Grant], owner: str) -> list[Grant]:
    """Sort so that nobody gives what he has not been given yet."""
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
