"""MG2xx: what stands in the class of a view manager under a name that means nothing there."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType

from migrate_graph.code_walk import classes_of_users, reached, strings_in, texts_of
from migrate_graph.core.model import View
from migrate_graph.core.rules.rule import Context, Hit, Severity, quoted, rule
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
    for each in reached(*(function for value in values for function in _functions_of(value))):
        found.update((*each.co_names, *texts_of(each)) if isinstance(each, CodeType) else strings_in(each))
    return frozenset(found)


def _functions_of(value: object) -> Iterator[FunctionType]:
    """Yield the function of a method or of any kind of property, also the one that a decorator has put aside."""
    if isinstance(value, property):
        value = value.fget
    elif isinstance(value, staticmethod | classmethod):
        value = value.__func__
    elif not isinstance(value, FunctionType):  # `classproperty` and `cached_property` keep it there
        value = inspect.getattr_static(value, "fget", None) or inspect.getattr_static(value, "func", None)
    while isinstance(value, FunctionType):
        yield value
        value = inspect.getattr_static(value, "__wrapped__", None)
