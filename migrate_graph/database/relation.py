"""A view as the database knows it: its definition, and everything that dropping it would lose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Item:
    """One thing said about a relation that its definition does not say: a comment, an index, an option.

    Attributes:
        aspect: what kind of thing (`index`, `column comment`).
        name: which one; empty where there can be only one.
        sql: the statement that makes it so; `<kind>` in it stands for VIEW or MATERIALIZED VIEW.
        columns: names of the relation's columns without which it makes no sense.
    """

    aspect: str
    name: str
    sql: str
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Grant:
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


@dataclass(frozen=True, slots=True)
class Relation:
    """A view, materialized view or table as it is in the database.

    Attributes:
        identity: its name with its schema, quoted, as a statement needs it.
        name: its bare name.
        kind: VIEW, MATERIALIZED VIEW or TABLE.
        definition: the statement that creates it; empty for a table.
        fingerprint: `version:hash` of the definition, comparable within one version; empty for a table.
        owner: name of the role that owns it; empty where the database has none.
        columns: names of its columns.
        items: what the definition does not say.
        grants: every privilege, the owner's own included.
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

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Relation:
        """Read back what `to_json` gave."""
        items = tuple(Item(**{**item, "columns": tuple(item["columns"])}) for item in value["items"])
        grants = tuple(Grant(**grant) for grant in value["grants"])
        return cls(**{**value, "columns": tuple(value["columns"]), "items": items, "grants": grants})
