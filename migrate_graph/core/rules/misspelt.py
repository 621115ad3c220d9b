"""MG2xx: what is misspelt or missing in the class of a view manager."""

from __future__ import annotations

import abc
import re
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType
from typing import Generic, Protocol

from migrate_graph.code_walk import classes_of_users, functions_of, reached, strings_in, texts_of
from migrate_graph.core.graph import Node, NodeKind
from migrate_graph.core.model import Unfinished, View
from migrate_graph.core.rules.rule import Context, Hit, Severity, quoted, rule, without
from migrate_graph.messages import did_you_mean, similar

_AS_NEAR = 0.8
_USES = "did you mean `uses`?"
_MEANT = {
    **dict.fromkeys(("depends", "depends_on", "dependencies", "deps", "used", "using", "reads"), _USES),
    "requires": "did you mean `uses`, for views, or `since`, for a migration?",
    "used_by": "say it the other way round: `uses` in each view that reads this one",
    "replaced_by": "say it the other way round: `replaces` in the newer manager",
    "materialized": "derive from SqlView: another manager creates what its own up() says",
    "with_data": "derive from SqlView: another manager creates what its own up() says",
}
_MEANT_BY_QUERY = {
    "schema": 'write it before the name: `name = "billing.totals"`',
    "view_name": "did you mean `name`?",
    "indices": "did you mean `indexes`?",
}
_OTHER_WORDS = frozenset({"user", "users", "util", "utils"})
"""Names that are like a setting, but mean something else."""


@rule("MG215", Severity.WARNING)
def misspelt_setting(context: Context) -> Iterator[Hit]:
    """A setting of a view that is spelt wrong.

    ## What it finds

    An attribute in the class of a view manager that looks like one of its settings but is not one, and that no method of the
    class mentions: `materialised`, `untill`, `depends_on`, `schema`. Attributes that you add for your own use are not reported
    if their names are unlike every setting, or if a method of the class mentions them.

    ```python
    class Totals(SqlView):
        untill = "drop_invoice"                      # bad
        materialised = True                          # bad
        query = "SELECT …"
    ```

    ## Why it matters

    Python takes any name, so the view is created as if the line were not there: with another window, without its rows kept, or
    before the views that it reads.

    ## How to fix it

    Correct the name. If it is an attribute of your own that nothing in the class mentions, give it another name, or
    write `ignore = "MG215"` in the class.

    ```python
    class Totals(SqlView):
        until = "drop_invoice"                       # good
        materialized = True                          # good
        query = "SELECT …"
    ```
    """
    told: set[tuple[type, str]] = set()
    for view in context.graph.views.values():
        found = {name: (kind, hint) for name, kind in _others(view) if (hint := _hint_for(name, view.settings))}
        mentioned = _mentioned(view) if found else frozenset()
        for name, (kind, hint) in found.items():
            if name not in mentioned and (kind, name) not in told:
                told.add((kind, name))
                inherited = "" if kind is view.manager else f" (in {kind.__name__})"
                message = f"view {quoted(view.name)} sets {quoted(name)}{inherited}, and no setting is called that"
                yield Hit(view, message, hint)


def _others(view: View) -> Iterator[tuple[str, type]]:
    """Yield each attribute that is neither a method nor an attribute that we know, with the class that says it."""
    if not view.settings:
        return
    kinds = classes_of_users(view.manager)
    known = {name for kind in view.manager.__mro__ if kind not in kinds for name in vars(kind)}
    for kind in reversed(kinds):
        for name, value in vars(kind).items():
            is_method = isinstance(value, FunctionType | classmethod | staticmethod)
            if not is_method and not name.startswith("_") and name not in known:
                yield name, kind


def _hint_for(name: str, settings: tuple[str, ...]) -> str:
    """Return what may have been meant by a name; empty where nothing is like it."""
    plain = name.lower()
    meant: Mapping[str, str] = {**_MEANT, **_MEANT_BY_QUERY} if "query" in settings else _MEANT
    if plain in meant:
        return meant[plain]
    if plain in _OTHER_WORDS:
        return ""
    near = [each for each in settings if plain == each or sorted(plain) == sorted(each)]
    near = near or similar(plain, settings, most=1, cutoff=_AS_NEAR)
    return did_you_mean([f"`{each}`" for each in near], "")


def _mentioned(view: View) -> frozenset[str]:
    """Return the names and strings in the methods of a view's classes and in the code that these lead to: attributes among them are used."""
    values = [value for kind in classes_of_users(view.manager) for value in vars(kind).values()]
    found: set[str] = set()
    for each in reached(*(function for value in values for function in functions_of(value))):
        found.update((*each.co_names, *texts_of(each)) if isinstance(each, CodeType) else strings_in(each))
    return frozenset(found)


_AS_NEAR_TO_MAKE = 0.75
_MEANT_TO_MAKE = {
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
    near = [each for each in lacks if sorted(plain) == sorted(each)] or similar(
        plain, lacks, most=1, cutoff=_AS_NEAR_TO_MAKE
    )
    meant = _MEANT_TO_MAKE.get(plain, "")
    return near[0] if near else meant if meant in lacks else ""


def _is_base(kind: type) -> bool:
    """Return whether a class seems to be made for others to derive from."""
    asks_others = any(getattr(value, "__isabstractmethod__", False) for value in vars(kind).values())
    is_general = bool({abc.ABC, Generic, Protocol} & {*kind.__bases__})
    return bool(kind.__subclasses__()) or asks_others or is_general or bool(_NAMED_AS_BASE.search(kind.__name__))
