"""Writes view managers for existing views of a PostgreSQL database."""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from msgspec import Struct, field

from migrate_graph.database.books.view_ledger import LedgerRow
from migrate_graph.database.relation import INVALID_INDEX, NOT_POPULATED, Item, Relation, is_text
from migrate_graph.database.views.manager_text import names_created, speaks_of
from migrate_graph.errors import UsageError
from migrate_graph.messages import did_you_mean, similar
from migrate_graph.quoting import quote_identifier

if TYPE_CHECKING:
    from migrate_graph.database.postgres.views.catalog import PostgresCatalog

# Properties of one installation, not of the view itself: they are not written into the manager. A rebuild keeps them as they are.
_OF_THE_INSTALLATION = {
    "access method",
    "tablespace",
    "index tablespace",
    NOT_POPULATED,
    "planner statistics",
    "statistics owner",
    "security label",
    "column security label",
}


class AdoptableView(Struct, frozen=True):
    """A view that no manager owns yet.

    Attributes:
        relation: the view with all its properties.
        uses: identities of the views that it reads directly, or writes to by a rule, managed or not, in order of creation.
        fills_as: the role that fills a materialized view; empty where that is the role of this session.
    """

    relation: Relation
    uses: tuple[str, ...]
    fills_as: str = ""


class Adoptable(Struct, frozen=True):
    """The views that can be adopted, and those that cannot.

    Attributes:
        views: views that can be adopted, dependencies first.
        left_out: why a view cannot be adopted, by its identity.
    """

    views: tuple[AdoptableView, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)


class Adopted(Struct, frozen=True):
    """A file that declares managers.

    Attributes:
        text: text of the file.
        classes: names of the classes in it.
        left_out: sentences about the views that are not in it.
    """

    text: str
    classes: tuple[str, ...]
    left_out: tuple[str, ...] = ()


class ManagerName(Struct, frozen=True):
    """Where a declared manager can be imported from.

    Attributes:
        module: the module, as an import statement needs it (`billing.views`).
        name: name of the class.
        kind: the class itself, whose text tells which views it makes; None when that does not matter.
    """

    module: str
    name: str
    kind: type | None = None


def owners(
    catalog: PostgresCatalog, rows: Mapping[str, LedgerRow], managers: Mapping[str, ManagerName]
) -> dict[str, ManagerName]:
    """Find which views have a manager: the view ledger knows the managers that ran here, and the text of the others names their views.

    Args:
        catalog: catalog of the database.
        rows: rows of the view ledger, by manager.
        managers: the declared managers by name; of two versions of a view the later one in this mapping counts.

    Returns:
        The managers by identity of their views.
    """
    new = {name: manager.kind for name, manager in managers.items() if name not in rows and manager.kind}
    written = {name: names_created(kind) for name, kind in new.items()}
    found = catalog.find([Relation(each, each, "VIEW") for names in written.values() for each in names])
    there = {name: key for name, (key, _) in found.items()}
    views = catalog.every_view() if new else {}
    owned: dict[str, ManagerName] = {}
    # Managers that name their views come last, and overrule those that only mention a name.
    for name, kind in sorted(new.items(), key=lambda item: bool(written[item[0]])):
        if written[name]:
            own = [views[there[each]] for each in written[name] if each in there and there[each] in views]
        else:  # its SQL is built at run time, so every view whose name it mentions counts
            own = [each for each in views.values() if speaks_of(kind, each.name)]
        owned |= dict.fromkeys((each.identity for each in own), managers[name])
    known = [row for row in rows.values() if row.manager in managers]
    return owned | {each.identity: managers[row.manager] for row in known for each in row.relations}


def describe_unmanaged(catalog: PostgresCatalog, managed: Collection[str], *, names: Collection[str] = ()) -> Adoptable:
    """Find the views that no manager owns, dependencies first.

    Views of extensions and temporary views do not count.

    Args:
        catalog: catalog of the database.
        managed: identities of relations that managers own.
        names: only these, by bare name or identity; all when empty.

    Raises:
        UsageError: a name is not that of an unmanaged view.
    """
    views = catalog.every_view()
    reads: dict[str, list[str]] = {each.identity: [] for each in views.values()}
    for reader, read in catalog.reads():
        if reader in views and read in views:
            reads[views[reader].identity].append(views[read].identity)
    free = {
        each.identity: each
        for each in views.values()
        if each.identity not in managed and not each.identity.startswith("pg_temp")
    }
    left_out = {**_in_circles({identity: reads[identity] for identity in free}), **_not_text(free.values())}
    wanted = [identity for identity in _wanted(free, names) if identity not in left_out]
    place = {identity: position for position, identity in enumerate(reads)}
    # Views come after the views that they read, else in the order of creation.
    sorter = TopologicalSorter({each: [read for read in reads[each] if read not in left_out] for each in wanted})
    role = catalog.role()
    return Adoptable(
        tuple(
            AdoptableView(
                free[identity],
                tuple(sorted(set(reads[identity]), key=place.__getitem__)),
                fills_as=_fills_as(free[identity], role),
            )
            for identity in sorter.static_order()
            if identity in set(wanted)
        ),
        left_out,
    )


def _in_circles(reads: Mapping[str, Sequence[str]]) -> dict[str, str]:
    import networkx as nx

    graph: nx.DiGraph[str] = nx.DiGraph(
        [(reader, read) for reader, several in reads.items() for read in several if read in reads]
    )
    circles = [sorted(each) for each in nx.strongly_connected_components(graph) if len(each) > 1]
    return {
        identity: f"it reads or writes itself through {', '.join(other for other in circle if other != identity)}: "
        "write one manager for them together"
        for circle in circles
        for identity in circle
    }


def _not_text(relations: Iterable[Relation]) -> dict[str, str]:
    """Find the relations that cannot be written into a Python file: an SQL_ASCII database can hold bytes that are not valid UTF-8."""
    return {
        each.identity: "its definition holds bytes that are no text in UTF-8: write its manager by hand"
        for each in relations
        if not is_text(each.identity + each.definition)
    }


def _fills_as(relation: Relation, role: str) -> str:
    """Return the role that must fill a materialized view: functions that it calls must run as its owner, not as the deploying role."""
    is_filled = relation.kind == "MATERIALIZED VIEW" and not relation.is_empty
    return relation.owner if is_filled and relation.owner != role else ""


def _wanted(free: Mapping[str, Relation], names: Collection[str]) -> list[str]:
    if not names:
        return list(free)
    wanted = [each.identity for each in free.values() if each.name in names or each.identity in names]
    known = {name for each in free.values() for name in (each.name, each.identity)}
    unknown = sorted(set(names) - known)
    if unknown:
        raise UsageError(
            f"no unmanaged view is called {', '.join(unknown)}",
            hint=did_you_mean(
                similar(unknown[0], sorted(known), most=1), "migrate views adopt without a name adopts all of them"
            ),
        )
    return wanted


def write_managers(
    views: Iterable[AdoptableView], managed: Mapping[str, ManagerName], *, taken: Collection[str] = ()
) -> tuple[str, tuple[str, ...]]:
    """Write a Python file that declares a manager for each of these views.

    Args:
        views: the views, dependencies first.
        managed: the managers of relations that have one, by identity.
        taken: names that the new classes must not have.

    Returns:
        The text of the file, and the names of the classes in it.
    """
    names: dict[str, str] = {}
    imports: set[ManagerName] = set()
    classes = []
    used_names = {*taken, *(manager.name for manager in managed.values()), "SqlView"}
    for view in views:
        identity = view.relation.identity
        names[identity] = _class_name(view.relation, used_names)
        used_names.add(names[identity])
        imports |= {managed[each] for each in view.uses if each in managed}
        readable = {**{each: manager.name for each, manager in managed.items()}, **names}
        uses = [readable[each] for each in view.uses if each in readable]
        classes.append(_class(names[identity], view, uses))
    lines = [
        f"from {manager.module} import {manager.name}" for manager in sorted(imports, key=lambda m: (m.module, m.name))
    ]
    typing = "from typing import ClassVar\n\n" if any(": ClassVar = {" in each for each in classes) else ""
    head = f'"""Views adopted from a database."""\n\n{typing}from migrate_graph import SqlView\n'
    return head + "".join(f"\n{line}" for line in lines) + "\n" * bool(lines) + "".join(classes), tuple(names.values())


def _class_name(relation: Relation, taken: Collection[str]) -> str:
    words = re.findall(r"[A-Za-z0-9]+", relation.name)
    name = "".join(word[:1].upper() + word[1:] for word in words)
    if not name or not name.isidentifier() or keyword.iskeyword(name):
        name = f"View{name}"
    number, unique = 2, name
    while unique in taken:
        unique, number = f"{name}{number}", number + 1
    return unique


def _class(name: str, view: AdoptableView, uses: list[str]) -> str:
    relation = view.relation
    data = [f"uses = {_tuple(uses)}", f"name = {_text(relation.identity)}"]
    if relation.kind == "MATERIALIZED VIEW":
        data.append("materialized = True")
    more: list[str] = []
    if view.fills_as:
        data += ["with_data = False", "fill_as_owner = True"]
        more.append(f"ALTER {relation.kind} {relation.identity} OWNER TO {_spelled(view.fills_as)}")
    said: dict[str, dict[str, str]] = {}
    for item in relation.items:
        # Text that is not valid UTF-8 cannot be written into the file; a rebuild restores it from the database.
        if item.aspect in {*_OF_THE_INSTALLATION, INVALID_INDEX} or not is_text(item.sql):
            continue
        value = _as_data(item, relation)
        if value is None:
            more.append(item.statement(relation.kind))
        else:
            said.setdefault(item.aspect, {})[item.name] = value
    data += [
        f"{_WORDS[aspect]}: ClassVar = {_mapping(values)}" for aspect, values in said.items() if aspect != "comment"
    ]
    data += [f"comment = {_text(value)}" for value in said.get("comment", {}).values()]
    up = "    def up(self) -> None:\n        super().up()\n" + "".join(map(_statement, more))
    return (
        f"\n\nclass {name}(SqlView):\n"
        f'    """The {relation.kind.lower()} {_escaped(relation.identity)}."""\n\n'
        + "".join(f"    {line}\n" for line in data)
        + f"    query = {_lines(_query(relation))}\n"
        + (f"\n{up}" if more else "")
    )


_WORDS = {"option": "options", "index": "indexes"}


def _as_data(item: Item, relation: Relation) -> str | None:
    """Return the value of an item for an attribute of the class; None where only a statement in `up()` can set it."""
    sql, identity = item.sql, relation.identity
    if item.aspect == "comment":
        return _unquoted(sql.removeprefix(f"{identity} IS "))
    if item.aspect == "option" and not item.name.startswith("toast."):
        return _unquoted(sql.removeprefix(f"{identity} SET ({item.name} = ").removesuffix(")"))
    if item.aspect == "index" and (rest := item.behind_names(identity)):
        return "".join(rest)
    return None


_LITERAL = re.compile(r"\s*(?P<escaped>E?)'(?P<text>(?:[^']|'')*)'")


def _unquoted(literal: str) -> str | None:
    """Return the text of a literal that the server has quoted with `format('%L')`; None where it is no such literal."""
    found = _LITERAL.fullmatch(literal)
    if found is None:
        return None
    text = found["text"].replace("''", "'")
    return text.replace("\\\\", "\\") if found["escaped"] else text


def _mapping(values: Mapping[str, str]) -> str:
    pairs = [f"{_text(name)}: {_text(value)}" for name, value in values.items()]
    line = "{" + ", ".join(pairs) + "}"
    return line if len(line) < 70 else "{\n" + "".join(f"        {pair},\n" for pair in pairs) + "    }"


def _lines(text: str) -> str:
    """Write a text of several lines, or a long one, between triple quotes; else as a short string."""
    line = _text(text.strip())
    return line if "\n" not in text and len(line) <= 76 else f'"""\n{_escaped(text)}\n    """'


def _query(relation: Relation) -> str:
    """Return the query behind AS, with the line breaks of the server."""
    return relation.definition.removeprefix(f"CREATE {relation.kind} {relation.identity} AS ").rstrip()


def _spelled(role: str) -> str:
    return role if re.fullmatch(r"[a-z_][a-z0-9_]*", role) else quote_identifier(role)


def _tuple(names: list[str]) -> str:
    line = f"({', '.join(names)}{',' if len(names) == 1 else ''})"
    return line if len(line) < 76 else "(\n" + "".join(f"        {name},\n" for name in names) + "    )"


def _statement(sql: str) -> str:
    if "\n" in sql:
        return f'        self.db.executesql(\n            """\n{_escaped(sql)}\n            """\n        )\n'
    text = _text(sql)
    line = f"        self.db.executesql({text})\n"
    return line if len(line) <= 89 else f"        self.db.executesql(\n            {text}\n        )\n"


def _text(text: str) -> str:
    """Write a text as a Python string of one line."""
    return '"' + _shown(text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")) + '"'


def _escaped(text: str) -> str:
    """Escape a text for a place between triple quotes; other text must stand between it and the closing quotes."""
    return _shown(text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"'))


def _shown(text: str) -> str:
    """Return a text with control and bidi characters escaped, so that they are visible in the file."""
    return "".join(
        each if each == "\n" or each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )
