"""Which migrations and views a few words mean: `+name`, `name+1`, `tag:x`, `state:pending`, …."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import islice

from msgspec import Struct, field

from migrate_graph.core.graph import EdgeKind, MigrationGraph, Node, NodeKind
from migrate_graph.core.late import nx
from migrate_graph.core.states import WORDINGS, State, States
from migrate_graph.errors import UsageError
from migrate_graph.messages import did_you_mean, similar

_TERM = re.compile(r"(?:(?P<up>\d{0,9})\+)?(?P<what>.+?)(?:\+(?P<down>\d{0,9}))?", re.DOTALL)
_GLOB = re.compile(r"[*?\[]")

# What must be there first. A migration does not need the views that it touches or closes.
_NEEDED = frozenset({EdgeKind.REQUIRES, EdgeKind.SINCE, EdgeKind.USES, EdgeKind.REPLACES})


_KINDS = frozenset({NodeKind.MIGRATION, NodeKind.VIEW})
_ASKED_FOR = tuple(state for state in State if WORDINGS[state].is_asked_for)
"""The states that `state:` can select."""


def select(
    expressions: str | Iterable[str], graph: MigrationGraph, states: States, *, exclude: str | Iterable[str] = ()
) -> frozenset[Node]:
    """Return the migrations and views that selectors mean.

    A selector is a name, a name with `*`, `?` or `[…]`, or one of `tag:WORD`, `state:STATUS`, `module:PATH` (a file, a
    directory, or a pattern) and `kind:migration|view`. `+` before it adds what it needs, `+` after it what needs it;
    `2+` and `+1` go so many steps. A migration needs what it `requires`; a view needs the views it `uses` and
    `replaces`, and the migration that opens its window (`since`). Selectors separated by spaces add up; separated by
    commas, all must hold. A name that a migration and a view share means both.

    Args:
        expressions: one string, or several that add up; none for everything.
        graph: what is declared.
        states: of its nodes, as far as anybody asks for them.
        exclude: what to leave out, in the same words.

    Raises:
        UsageError: words that mean nothing here; all of them are named. Only a `state:` may be empty.
    """
    reader = _Reader(graph, states)
    included = reader.union(expressions, otherwise=frozenset(graph.nodes()))
    left = included - reader.union(exclude, otherwise=frozenset())
    if included and not left and not reader.asked_states:
        reader.faults.append("everything that is selected is excluded")
    if reader.faults:
        raise UsageError("; ".join(dict.fromkeys(reader.faults)), hint=did_you_mean(reader.near, _HINT))
    return left


_HINT = "`migrate status` lists the names; patterns are quoted: `--select 'billing_*'`"


class _Reader(Struct, dict=True):
    """Reads selectors and keeps every fault instead of raising the first."""

    graph: MigrationGraph
    states: States
    faults: list[str] = field(default_factory=list)
    near: list[str] = field(default_factory=list)
    asked_states: bool = False

    def union(self, expressions: str | Iterable[str], *, otherwise: frozenset[Node]) -> frozenset[Node]:
        """Read selectors that add up."""
        given = [expressions] if isinstance(expressions, str) else list(expressions)
        words = [word for expression in given for word in self._words(expression)]
        if not words:
            return otherwise
        return frozenset[Node]().union(*(self._intersection(word) for word in words))

    def _words(self, expression: str) -> list[str]:
        """Split at spaces, unless the whole is a name: names come from code and may hold anything."""
        return [expression] if any(self._named(expression)) else expression.split()

    def _intersection(self, word: str) -> frozenset[Node]:
        if any(self._named(word)):
            return frozenset(self._named(word))
        faults_before = len(self.faults)
        parts = [self._term(part) for part in word.split(",")]
        found = parts[0].intersection(*parts[1:])
        if not found and len(self.faults) == faults_before and "state:" not in word:
            self.faults.append(f"nothing is all of '{word}' at once")
        return found

    def _term(self, term: str) -> frozenset[Node]:
        match = _TERM.fullmatch(term)
        if match is None:
            self.faults.append("a selector is empty")
            return frozenset()
        found = frozenset(self._means(match["what"]))
        before = _reach(found, self.needs.reverse(copy=False), match["up"]) if match["up"] is not None else set()
        after = _reach(found, self.needs, match["down"]) if match["down"] is not None else set()
        return found | before | after

    def _means(self, what: str) -> Iterator[Node]:
        """Yield what one selector without its `+` means."""
        method, colon, value = what.partition(":")
        readers: dict[str, Callable[[str], Iterable[Node]]] = {
            "tag": self._tagged,
            "state": self._in_state,
            "module": self._in_module,
            "kind": self._of_kind,
        }
        if colon and method in readers:
            yield from readers[method](value)
        elif colon and not any(self._named(what)):
            self._fault(f"no selector '{method}:'", method, readers, ":")
        elif found := list(self._named(what)) or (list(self._matching(what)) if _GLOB.search(what) else []):
            yield from found
        elif _GLOB.search(what):
            self.faults.append(f"no migration or view matches '{what}'")
        else:
            self._fault(f"no migration or view is called '{what}'", what, (*self.graph.migrations, *self.graph.views))

    def _named(self, name: str) -> Iterator[Node]:
        if name in self.graph.migrations:
            yield Node(NodeKind.MIGRATION, name)
        if name in self.graph.views:
            yield Node(NodeKind.VIEW, name)

    def _matching(self, pattern: str) -> Iterator[Node]:
        return (node for node in self.graph.nodes() if fnmatchcase(node.name, pattern))

    def _tagged(self, tag: str) -> Iterable[Node]:
        migrations = self.graph.migrations.values()
        found = [Node(NodeKind.MIGRATION, each.name) for each in migrations if tag in each.tags]
        if not found:
            self._fault(
                f"no migration has the tag '{tag}'", tag, {each for one in migrations for each in one.tags}, "tag:"
            )
        return found

    def _in_state(self, state: str) -> Iterable[Node]:
        self.asked_states = True
        if state not in _ASKED_FOR:
            self._fault(f"no state is called '{state}'", state, _ASKED_FOR, "state:")
        return [
            node
            for node, known in self.states.items()
            if known.state == state
            and node.kind is NodeKind.MIGRATION
            and (known.recorded or node.name in self.graph.migrations)
        ]

    def _in_module(self, path: str) -> Iterable[Node]:
        modules = {Node(NodeKind.MIGRATION, each.name): each.module for each in self.graph.migrations.values()}
        modules |= {Node(NodeKind.VIEW, each.name): each.module for each in self.graph.views.values()}
        directory = f"{path.rstrip('/')}/"
        found = [
            node
            for node, module in modules.items()
            if module == path or module.startswith(directory) or fnmatchcase(module, path)
        ]
        if not found:
            self._fault(f"no migration or view is in '{path}'", path, set(modules.values()), "module:")
        return found

    def _of_kind(self, kind: str) -> Iterable[Node]:
        if kind not in _KINDS:
            self._fault(f"no kind is called '{kind}'", kind, _KINDS, "kind:")
        return [node for node in self.graph.nodes() if node.kind == kind]

    def _fault(self, message: str, word: str, among: Iterable[str], prefix: str = "") -> None:
        self.faults.append(message)
        close = similar(word, sorted(among))
        # A method is shown as `tag:`, a value as `tag:value`.
        self.near += [f"'{each}:'" if prefix == ":" else f"'{prefix}{each}'" for each in close]

    @cached_property
    def needs(self) -> nx.DiGraph[Node]:
        """What must be there first, as arrows between declared nodes."""
        arrows: nx.DiGraph[Node] = nx.DiGraph()
        arrows.add_nodes_from(self.graph.nodes())
        declared = frozenset(arrows)
        arrows.add_edges_from(
            (edge.before, edge.after)
            for edge in self.graph.edges()
            if edge.kind in _NEEDED and {edge.before, edge.after} <= declared
        )
        return arrows


def _reach(start: frozenset[Node], arrows: nx.DiGraph[Node], hops: str) -> set[Node]:
    """Return the nodes that so many hops lead to, and `start`; an empty text means any number of hops."""
    layers = nx.bfs_layers(arrows, [node for node in start if node in arrows])
    return {node for layer in islice(layers, int(hops) + 1 if hops else None) for node in layer}
