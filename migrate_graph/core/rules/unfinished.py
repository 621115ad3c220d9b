"""MG2xx: classes that look like view managers, and are no views because something is missing in them."""

from __future__ import annotations

import abc
import re
from collections.abc import Iterator
from typing import Generic, Protocol

from migrate_graph.core.graph import Node, NodeKind
from migrate_graph.core.model import Unfinished
from migrate_graph.core.rules.rule import Context, Hit, Severity, rule, without
from migrate_graph.messages import similar

_AS_NEAR = 0.75
_MEANT = {
    **dict.fromkeys(("create", "forward", "forwards", "upgrade", "build"), "up"),
    **dict.fromkeys(("drop", "backward", "backwards", "downgrade", "remove"), "down"),
    **dict.fromkeys(("sql", "select", "statement", "definition", "body"), "query"),
}
"""Names that other tools give to what is missing."""
_OF_ONE_VIEW = frozenset({"up", "down", "query", "uses", "since", "until", "replaces", "name", "indexes", "comment"})
"""What only the class of one view says; other settings may be the same for many, and stand in a base class."""
_NAMED_AS_BASE = re.compile(r"^_|Base|Mixin|Abstract")
_SELECT = re.compile(r"\s*(?:SELECT|WITH|VALUES|TABLE)\b", re.IGNORECASE)


@rule("MG216", Severity.WARNING)
def unfinished_manager(context: Context) -> Iterator[Hit]:
    """A view manager that is no view, because something is missing in it.

    ## What it finds

    A subclass of `ViewMigrationManager` without `up()` or `down()`, or of `SqlView` without `query`, that says something about one
    view: one of the two methods, a SELECT statement, `uses`, `since`, `until`, `replaces`, `name`, `indexes` or `comment`.

    ```python
    class Totals(SqlView):
        qurey = "SELECT …"                           # bad

    class Lines(ViewMigrationManager):               # bad: no down()
        uses = ()

        def up(self):
            self.db.executesql("CREATE VIEW lines AS SELECT …")
    ```

    A base class is not reported: one that another class derives from, that has methods marked as abstract, that derives from `ABC`,
    or whose name begins with `_` or contains `Base`, `Mixin` or `Abstract`.

    ## Why it matters

    Such a class is taken for a base class of others. So the view is never created, and no message says so; a migration that
    opens it fails.

    ## How to fix it

    Write what is missing, or correct its name. If it is a base class, let its name say so.

    ```python
    class Totals(SqlView):
        query = "SELECT …"                           # good

    class LinesBase(ViewMigrationManager):           # good: others are to derive from it
        uses = ()

        def up(self):
            self.db.executesql("CREATE VIEW lines AS SELECT …")
    ```
    """
    for each in context.graph.registry.unfinished:
        said = _said_of_one_view(each)
        if said and not _is_base(each.manager):
            names = [f"`{lacking}` where {name!r} stands" for name, lacking in said.items() if lacking]
            otherwise = f"write it; if others are to derive from this class, call it '{each.manager.__name__}Base'"
            hint = f"did you mean {' and '.join(names)}?" if names else otherwise
            message = f"class '{each.manager.__name__}' is no view: it has {without(each.lacks)}"
            yield Hit(Node(NodeKind.FILE, each.source.path), message, hint, each.source)


def _said_of_one_view(unfinished: Unfinished) -> dict[str, str]:
    """Return the attributes of the class that tell something of one view, each with what is missing and was meant by it, if anything."""
    found: dict[str, str] = {}
    for name, value in vars(unfinished.manager).items():
        if name.startswith("__"):
            continue
        meant = _meant_by(name, unfinished.lacks)
        if "query" in unfinished.lacks and isinstance(value, str) and _SELECT.match(value):
            meant = "query"
        if meant or name in _OF_ONE_VIEW:
            found[name] = meant
    return found


def _meant_by(name: str, lacks: tuple[str, ...]) -> str:
    """Return which of the missing names was meant by a name; empty where it is like none of them."""
    plain = name.lower()
    near = [each for each in lacks if sorted(plain) == sorted(each)] or similar(plain, lacks, most=1, cutoff=_AS_NEAR)
    meant = _MEANT.get(plain, "")
    return near[0] if near else meant if meant in lacks else ""


def _is_base(kind: type) -> bool:
    """Return whether a class seems to be made for others to derive from."""
    asks_others = any(getattr(value, "__isabstractmethod__", False) for value in vars(kind).values())
    is_general = bool({abc.ABC, Generic, Protocol} & {*kind.__bases__})
    return bool(kind.__subclasses__()) or asks_others or is_general or bool(_NAMED_AS_BASE.search(kind.__name__))
