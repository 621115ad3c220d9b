"""A view, or what else belongs to its manager, as the database knows it: its definition, and everything that dropping it would lose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from migrate_graph.quoting import quote_identifier

VIEW_KINDS = ("VIEW", "MATERIALIZED VIEW")

NOT_POPULATED = "not populated"
"""What an item of a materialized view says that has no rows, and is not to have any."""

NO_TEXT = "\udc80"
"""Stands for a definition that cannot be told in UTF-8, as bytes do that are no text."""


def is_text(told: str) -> bool:
    """Return whether something is text in UTF-8, and holds no bytes of an SQL_ASCII database that are none."""
    return not any("\udc80" <= char <= "\udcff" for char in told)


class Item(Struct, frozen=True):
    """One thing said about a relation that its definition does not say: a comment, an index, an option.

    Attributes:
        aspect: what kind of thing (`index`, `column comment`).
        name: which one; empty where there can be only one.
        sql: the statement that makes it so, or the end of it, when `head` is its beginning.
        columns: names of the relation's columns without which it makes no sense.
        head: the words before the relation's kind, where the statement names that (`COMMENT ON`).
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
        """Return the UNIQUE of the definition of an index, and what stands behind the names in it; None where it is written otherwise."""
        for unique in ("", "UNIQUE "):
            for name in (self.name, quote_identifier(self.name)):
                start = f"CREATE {unique}INDEX {name} ON {identity} "
                if self.sql.startswith(start):
                    return unique, self.sql.removeprefix(start)
        return None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "aspect": self.aspect,
            "name": self.name,
            "sql": self.sql,
            "columns": self.columns,
            "head": self.head,
        }


class Grant(Struct, frozen=True, order=True):
    """One privilege of one role.

    Attributes:
        column: the column it is limited to; empty for the relation.
        grantee: who has it; empty for PUBLIC.
        privilege: SELECT, UPDATE …
        grantor: who gave it.
        grantable: with grant option.
    """

    column: str
    grantee: str
    privilege: str
    grantor: str
    grantable: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "column": self.column,
            "grantee": self.grantee,
            "privilege": self.privilege,
            "grantor": self.grantor,
            "grantable": self.grantable,
        }


class Relation(Struct, frozen=True):
    """A view, or another object that a view's manager makes, as it is in the database.

    Attributes:
        identity: its name with its schema, quoted, as a statement needs it (`public.net(public.staff)`, `known ON public.note`).
        name: its bare name.
        kind: VIEW, MATERIALIZED VIEW, TABLE, FUNCTION, POLICY, RULE …
        definition: the statement that creates it; empty where nobody knows one (a table, a domain).
        fingerprint: `version:hash` of a view's definition, comparable within one version; empty for everything else.
        owner: name of the role that owns it; empty where the database has none.
        columns: names of its columns.
        items: what the definition does not say.
        grants: every privilege, the owner's own included.
        certain: its manager is known to drop it on purpose; else it must be there again after `up()`.
        stamp: changes whenever somebody replaces the view; empty where the database has none.
        address: how the database finds it by name again, where its definition is not known (a domain, an operator, a column).
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
        """Whether it is a view, materialized or not."""
        return self.kind in VIEW_KINDS

    @property
    def is_empty(self) -> bool:
        """Whether it is a materialized view without its rows, so that nobody can read it."""
        return any(item.aspect == NOT_POPULATED for item in self.items)

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return f"{self.kind.lower()} {self.identity}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            **asdict(self),
            "items": [each.to_json() for each in self.items],
            "grants": [each.to_json() for each in self.grants],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Relation:
        """Read back what `to_json` gave."""
        items = tuple(_item(item) for item in value["items"])
        grants = tuple(Grant(**grant) for grant in value["grants"])
        return cls(**{**value, "columns": tuple(value["columns"]), "items": items, "grants": grants})


def _item(value: Mapping[str, Any]) -> Item:
    item = Item(**{**value, "columns": tuple(value["columns"])})
    # As 0.1.0 stored it: a mark stood for the kind, always before whatever others have written.
    head, mark, rest = item.sql.partition(" <kind> ")
    return replace(item, head=head, sql=rest) if mark and "head" not in value and "'" not in head else item
