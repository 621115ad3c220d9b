"""A view, or another object of a view manager, as it is in the database: its definition, and all else that dropping it would lose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from migrate_graph.quoting import quote_identifier

VIEW_KINDS = ("VIEW", "MATERIALIZED VIEW")

NOT_POPULATED = "not populated"
"""Aspect of the item of a materialized view that was created WITH NO DATA, and has no rows."""

INVALID_INDEX = "invalid index"
"""Aspect of the item of an index that no query uses, for example the rest of a CREATE INDEX CONCURRENTLY that failed; it is not kept."""

NO_TEXT = "\udc80"
"""Stands for a definition that is not valid UTF-8: Python keeps such a byte as this kind of character."""


def is_text(told: str) -> bool:
    """Return whether a string from the database is valid UTF-8; an SQL_ASCII database can hold bytes that are not."""
    return not any("\udc80" <= char <= "\udcff" for char in told)


class Item(Struct, frozen=True):
    """A property of a relation that is not part of its definition: a comment, an index, an option.

    Attributes:
        aspect: kind of the property (`index`, `column comment`).
        name: name of the property; empty where a relation can have only one of this kind.
        sql: the statement that sets the property; only its end when `head` is its beginning.
        columns: columns of the relation that the property needs.
        head: the words before the relation's kind, in a statement that names the kind (`COMMENT ON`).
    """

    aspect: str
    name: str
    sql: str
    columns: tuple[str, ...] = ()
    head: str = ""

    def statement(self, kind: str) -> str:
        """Return the statement for a relation of this kind: VIEW, MATERIALIZED VIEW."""
        return f"{self.head} {kind} {self.sql}" if self.head else self.sql

    def behind_names(self, identity: str) -> tuple[str, str] | None:
        """Split the definition of an index at its names: return `UNIQUE ` or nothing, and the rest behind the relation's name.

        None: the definition is written in another form.
        """
        for unique in ("", "UNIQUE "):
            for name in (self.name, quote_identifier(self.name)):
                start = f"CREATE {unique}INDEX {name} ON {identity} "
                if self.sql.startswith(start):
                    return unique, self.sql.removeprefix(start)
        return None


class Grant(Struct, frozen=True, order=True):
    """One privilege of one role.

    Attributes:
        column: the column that the privilege is limited to; empty: the whole relation.
        grantee: the role that has the privilege; empty: PUBLIC.
        privilege: SELECT, UPDATE …
        grantor: the role that granted it.
        grantable: whether it was granted WITH GRANT OPTION.
    """

    column: str
    grantee: str
    privilege: str
    grantor: str
    grantable: bool = False


class Relation(Struct, frozen=True):
    """A view, or another object that a view's manager makes, as it is in the database.

    Attributes:
        identity: its name with its schema, quoted, as a statement needs it (`public.net(public.staff)`, `known ON public.note`).
        name: its bare name.
        kind: VIEW, MATERIALIZED VIEW, TABLE, FUNCTION, POLICY, RULE …
        definition: the statement that creates it; empty where the database does not store one (a table, a domain).
        fingerprint: `version:hash` of a view's definition, comparable within one version; empty for everything else.
        owner: name of the role that owns it; empty where the database has none.
        columns: names of its columns.
        items: properties that are not part of the definition.
        grants: every privilege, including those of the owner.
        certain: its manager is known to drop it on purpose; if False, it must exist again after `up()`.
        stamp: a value that changes whenever the view is replaced; empty where the database has none.
        address: how the database finds the object again by name, where its definition is not known (a domain, an operator, a column).
    """

    identity: str
    name: str
    kind: str
    definition: str = ""
    fingerprint: str = ""
    owner: str = ""
    columns: tuple[str, ...] = ()
    items: tuple[Item, ...] = ()
    grants: tuple[Grant, ...] = ()
    certain: bool = True
    stamp: str = ""
    address: str = ""

    @property
    def is_view(self) -> bool:
        """Whether the relation is a view, materialized or not."""
        return self.kind in VIEW_KINDS

    @property
    def is_empty(self) -> bool:
        """Whether the relation is a materialized view WITH NO DATA, which cannot be queried."""
        return any(item.aspect == NOT_POPULATED for item in self.items)

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return f"{self.kind.lower()} {self.identity}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "items": [*map(asdict, self.items)], "grants": [*map(asdict, self.grants)]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Relation:
        """Read back what `to_json` gave."""
        items = tuple(_item(item) for item in value["items"])
        grants = tuple(Grant(**grant) for grant in value["grants"])
        return cls(**{**value, "columns": tuple(value["columns"]), "items": items, "grants": grants})


def _item(value: Mapping[str, Any]) -> Item:
    item = Item(**{**value, "columns": tuple(value["columns"])})
    # Version 0.1.0 wrote `<kind>` into the statement in place of the kind, always before any text that users wrote.
    head, mark, rest = item.sql.partition(" <kind> ")
    return replace(item, head=head, sql=rest) if mark and "head" not in value and "'" not in head else item
