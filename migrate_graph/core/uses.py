"""Which views a view reads where its declaration does not say so: those that its query names, as far as a text can tell."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias

from msgspec.structs import replace

from migrate_graph.core.late import nx
from migrate_graph.core.model import UsesFrom, View, same_fingerprint
from migrate_graph.core.reachability import knots
from migrate_graph.quoting import bare

if TYPE_CHECKING:
    from migrate_graph.core.traces import Entry

_TOKEN = re.compile(
    r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|(?P<tag>\$(?:[^\W\d]\w*)?\$).*?(?P=tag)"
    r'|(?P<word>"(?:[^"]|"")+"|[^\W\d][\w$]*)|(?P<dot>\.)',
    re.DOTALL,
)
# After these words, `a.b` is a schema and a relation; elsewhere the word before a dot is the name of a table.
_BEFORE_RELATIONS = frozenset({"from", "join", "only"})
_BEFORE_NEW_NAMES = frozenset({"as"})


def with_uses(views: Iterable[View]) -> tuple[View, ...]:
    """Return the views, each with its `uses`: where they were left out, the views that its query names.

    Such `uses` are a guess until a database confirms them, and never count as declared. A name that several versions of a view have
    means the oldest version, as in a declaration. On a ring only declared `uses` are kept.
    """
    views = tuple(views)
    if all(each.uses_from is UsesFrom.DECLARED for each in views):
        return views
    by_name = _by_name(views)
    read = {
        each.name: tuple(_named_in(each, by_name)) if each.uses_from is UsesFrom.GUESSED else each.uses
        for each in views
    }
    return _without_rings(views, read)


def with_uses_seen(views: Iterable[View], entries: Iterable[Entry]) -> tuple[View, ...]:
    """Return the views; those that leave `uses` out get what they were seen to use with the text that they have now.

    Whether they use a view that was never watched is still guessed.

    Args:
        views: each with `uses`, guessed where it was left out.
        entries: what is known of migrations that were watched.
    """
    views, entries = tuple(views), tuple(entries)
    watched = {name for entry in entries for name in entry.views}
    declared = {view.name for view in views}
    learnt = []
    for view in views:
        seen = uses_seen(view, entries) if view.uses_from is UsesFrom.GUESSED else None
        if seen is None or not seen <= declared:  # a class was renamed meanwhile
            learnt.append(view)
        else:
            uses = seen.union(used for used in view.uses if used not in watched)
            in_order = tuple(each.name for each in views if each.name in uses)
            learnt.append(replace(view, uses=in_order, uses_from=UsesFrom.LEARNT))
    return with_uses(learnt)


def with_more_uses(views: Iterable[View], seen: Mapping[str, Collection[str]]) -> tuple[View, ...]:
    """Return the views; those that leave `uses` out also get what a database has just reported that they use."""
    views = tuple(views)
    known = {view.name for view in views}
    learnt = [
        replace(view, uses_from=UsesFrom.LEARNT)
        if view.uses_from is UsesFrom.GUESSED and not known.intersection(seen.get(view.name, ())) <= {*view.uses}
        else view
        for view in views
    ]
    read = {
        view.name: (*view.uses, *sorted(known.intersection(seen.get(view.name, ())) - {*view.uses})) for view in views
    }
    return _without_rings(learnt, read)


KnownUses: TypeAlias = tuple[UsesFrom, tuple[str, ...]]
"""How it is known which views a view reads, and which."""


def known_uses(views: Iterable[View]) -> dict[str, KnownUses]:
    """Return what is known of views that leave `uses` out, by name."""
    return {each.name: (each.uses_from, each.uses) for each in views if each.uses_from is not UsesFrom.DECLARED}


def with_known_uses(views: Iterable[View], known: Mapping[str, KnownUses]) -> tuple[View, ...]:
    """Return the views; those that leave `uses` out get what is known of them elsewhere; see `known_uses`."""
    found = []
    for view in views:
        if view.uses_from is not UsesFrom.DECLARED and view.name in known:
            uses_from, uses = known[view.name]
            found.append(replace(view, uses=uses, uses_from=uses_from))
        else:
            found.append(view)
    return tuple(found)


def as_written(names: Collection[str], views: Iterable[str]) -> str:
    """Return the line that declares what a view uses, in the order in which the views are declared."""
    known = [name for name in views if name in names]
    ordered = [*known, *sorted(set(names) - set(known))]
    return f"uses = ({', '.join(ordered)}{',' if len(ordered) == 1 else ''})"


def uses_seen(view: View, entries: Iterable[Entry]) -> set[str] | None:
    """Return what a view was seen to use with the text that it has now; None where it was not watched with that text."""
    found = [
        entry.uses[view.name]
        for entry in entries
        if view.name in entry.uses and same_fingerprint(entry.views.get(view.name, ""), view.fingerprint)
    ]
    return set().union(*found) if found else None


def _by_name(views: Iterable[View]) -> dict[str, dict[View, str]]:
    """Return, for the last part of each relation's name, the views that may be meant by it, each with its schema."""
    found: dict[str, dict[View, str]] = {}
    for view in views:
        for relation in view.relations:
            *schema, name = parts_of(relation)
            found.setdefault(name, {})[view] = schema[0] if schema else ""
    return found


def parts_of(name: str) -> list[str]:
    """Return the parts of a relation's name as a database compares them: `"Totals"` stays, `Billing.Totals` is in lower case."""
    return [bare(match["word"]) for match in _TOKEN.finditer(name) if match["word"]]


def _named_in(view: View, by_name: Mapping[str, Mapping[View, str]]) -> Iterator[str]:
    found: dict[str, View] = {}
    for schema, name in _names_in(view.query):
        for other, its_schema in by_name.get(name, {}).items():
            is_itself = other is view or set(other.relations) & set(view.relations)
            if not is_itself and (not schema or not its_schema or schema == its_schema):
                found[other.name] = other
    return (name for name, each in sorted(found.items(), key=lambda one: one[1].position) if each.replaces not in found)


def words_of(query: str) -> set[str]:
    """Return the words of a query outside of its comments and string literals, as a database compares them."""
    return {bare(match["word"]) for match in _TOKEN.finditer(query) if match["word"]}


def _names_in(query: str) -> Iterator[tuple[str, str]]:
    """Yield the words that may name a relation, each with its schema where one is written."""
    tokens = [match for match in _TOKEN.finditer(query) if match["word"] or match["dot"]]
    words = [bare(match["word"]) if match["word"] else "" for match in tokens]  # empty stands for a dot
    for at, word in enumerate(words):
        before = words[at - 1] if at else None
        if not word or before in _BEFORE_NEW_NAMES:
            continue
        if before != "":
            yield "", word
        elif at >= len(("from", "schema", ".")) and words[at - 3] in _BEFORE_RELATIONS:
            yield words[at - 2], word


def _without_rings(views: Iterable[View], read: Mapping[str, Iterable[str]]) -> tuple[View, ...]:
    """Return the views; those that leave `uses` out use what they read, except for what is on a ring."""
    digraph: nx.DiGraph[str] = nx.DiGraph()
    for view in views:
        names = view.uses if view.uses_from is UsesFrom.DECLARED else read[view.name]
        digraph.add_edges_from((used, view.name) for used in names)
    ringed = {edge for knot in knots(digraph) for edge in digraph.subgraph(knot).edges}
    return tuple(
        view
        if view.uses_from is UsesFrom.DECLARED
        else replace(view, uses=tuple(used for used in read[view.name] if (used, view.name) not in ringed))
        for view in views
    )
