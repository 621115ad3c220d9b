"""What depends on what: the graph of migrations and views, built from any registry without judging it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import networkx as nx

from migrate_graph.core.model import Migration, Registry, View, sequence_of


class Ordering(StrEnum):
    """How ties between migrations that could both run next are broken (edwh-migrate's two modes)."""

    LEGACY = "legacy"
    """By order of definition; a migration with requirements is pulled up to right after them."""
    INTERTWINED = "intertwined"
    """By the trailing number of the name, then by order of definition."""


class NodeKind(StrEnum):
    """Migrations and views have separate names: one of each kind may be called the same."""

    MIGRATION = "migration"
    VIEW = "view"


class Node(NamedTuple):
    """One node of the graph."""

    kind: NodeKind
    name: str


class EdgeKind(StrEnum):
    """Why something comes before something else. `before → after` in each case."""

    REQUIRES = "requires"
    """requirement → migration"""
    SINCE = "since"
    """migration → the view whose window it opens"""
    UNTIL = "until"
    """view → the migration that closes its window"""
    USES = "uses"
    """view read → view that reads it"""
    REPLACES = "replaces"
    """predecessor → successor"""
    TOUCHES = "touches"
    """migration → view that it drops and recreates"""


@dataclass(frozen=True, slots=True, order=True)
class Edge:
    """An edge from what comes first to what comes after.

    Attributes:
        before: comes first.
        after: comes after.
        kind: why.
    """

    before: Node
    after: Node
    kind: EdgeKind


@dataclass(frozen=True, slots=True)
class ViewBlock:
    """What happens to views when one manager is opened inside a migration.

    Attributes:
        down: taken down on entering, in order: dependents first.
        up: brought up on leaving, in order: dependencies first. A view that retires by hand-over is in `down` only;
            its successor, created for the first time, in `up` only.
    """

    down: tuple[str, ...] = ()
    up: tuple[str, ...] = ()


class MigrationGraph:
    """Migrations and views, resolved against each other.

    Total: built from any registry, also one with unknown names, duplicates and cycles; judging is for `rules`.
    Of several declarations of one name the first counts here; all stay in `registry`.

    Attributes:
        registry: what it was built from.
        migrations: by name, in order of declaration.
        views: by name, in order of declaration.
        requires: digraph of migration names (requirement → migration); unknown requirements are nodes too.
        uses: digraph of view names (view read → reader); unknown views are nodes too.
    """

    registry: Registry
    migrations: Mapping[str, Migration]
    views: Mapping[str, View]
    requires: nx.DiGraph[str]
    uses: nx.DiGraph[str]


def build_graph(registry: Registry) -> MigrationGraph:
    """Build the graph of a registry; never raises, whatever was declared."""
    raise NotImplementedError
