"""MG709 and MG710: the `uses` of views against what a database knows of them."""

from __future__ import annotations

from collections.abc import Iterator

from migrate_graph.core.late import nx
from migrate_graph.core.model import UsesFrom, View
from migrate_graph.core.rules.rule import Context, Hit, Needs, Related, Severity, listed, quoted, rule
from migrate_graph.core.uses import as_written


@rule("MG709", Severity.ERROR, Needs.REHEARSAL, Needs.FOOTPRINTS)
def missing_uses(context: Context) -> Iterator[Hit]:
    """A view that reads another one, which its `uses` does not name.

    ## What it finds

    A manager whose view depends, as the database says, on the view of another manager, which its `uses` does not name. `migrate verify`
    and `migrate plan --rehearse` ask the database; `migrate check` finds it in the footprint file, as long as the view has the text that was seen.
    Views that leave `uses` out are not concerned.

    ```python
    class Best(SqlView):
        uses = ()                                    # bad: the query reads invoice_totals
        query = "SELECT customer FROM invoice_totals WHERE total > 1000"
    ```

    ## Why it matters

    `with InvoiceTotals(db):` takes down what `uses` names. The database refuses to drop a view that another one reads, and the
    migration fails; in a new database the views may come up in the wrong order.

    ## How to fix it

    Name the view in `uses`, or leave `uses` of a `SqlView` out: then `uses` is derived from the query.

    ```python
    class Best(SqlView):
        uses = (InvoiceTotals,)                      # good
        query = "SELECT customer FROM invoice_totals WHERE total > 1000"
    ```
    """
    for view, seen in _declaring(context):
        missing = [name for name in seen if _family(context, name).isdisjoint(view.uses)]
        if missing:
            told = f"is read by {quoted(view.name)}"
            yield Hit(
                view,
                f"view {quoted(view.name)} reads {listed(missing)}, which its `uses` does not name",
                f"write: {as_written({*view.uses, *missing}, context.graph.views)}{_moved(view, missing, context)}",
                related=tuple(Related.at(context.graph.views[name], told) for name in missing),
            )


@rule("MG710", Severity.WARNING, Needs.REHEARSAL, Needs.FOOTPRINTS)
def superfluous_uses(context: Context) -> Iterator[Hit]:
    """A view that reads nothing of another one, which its `uses` names.

    ## What it finds

    A `SqlView` whose `uses` names another one that the database does not see it read. Both were seen by `migrate verify` or
    `migrate plan --rehearse`; `migrate check` finds it in the footprint file. Managers with an `up()` of their own are not reported: they may make
    more than views.

    ```python
    class Orders(SqlView):
        uses = (InvoiceTotals,)                      # bad: the query does not read it
        query = "SELECT id FROM orders"
    ```

    ## Why it matters

    The view goes down and comes up whenever the other one does: readers wait, and a materialized view is filled again.

    ## How to fix it

    Leave the name out, unless a function that the view calls reads the other view: the database does not know about that. Then
    keep the name, and write `ignore = ["MG710"]` in the settings.

    ```python
    class Orders(SqlView):
        uses = ()                                    # good
        query = "SELECT id FROM orders"
    ```
    """
    for view, seen in _declaring(context):
        if not view.query:
            continue
        read = set().union(*(_family(context, name) for name in seen))
        left = [name for name in dict.fromkeys(view.uses) if name not in read and _was_seen(context, name)]
        if left:
            yield Hit(
                view,
                f"the database sees no use of {listed(left)} in view {quoted(view.name)}",
                f"unless a function that it calls reads {'it' if len(left) == 1 else 'them'}, write: "
                f"{as_written(set(view.uses) - set(left), context.graph.views)}",
            )


def _declaring(context: Context) -> Iterator[tuple[View, list[str]]]:
    """Yield the views that were seen and say what they use, with what they were seen to use, in order of declaration."""
    for name, view in context.graph.views.items():
        if view.uses_from is UsesFrom.DECLARED and name in context.uses_seen:
            seen = context.uses_seen[name]
            yield view, [other for other in context.graph.views if other in seen]


def _moved(view: View, missing: list[str], context: Context) -> str:
    """Return what else must be done before the class of a view can name these: they must be defined above it."""
    places = {name: context.graph.views[name].source for name in missing}
    below = [name for name, it in places.items() if it.path == view.source.path and it.line > view.source.line]
    return f"; and move {view.name} below {listed(below)}" if below else ""


def _was_seen(context: Context, name: str) -> bool:
    """Return whether a version of a view was seen to come up, and all of its versions are declared by a query."""
    family = _family(context, name) & context.graph.views.keys()
    return not family.isdisjoint(context.uses_seen) and all(context.graph.views[each].query for each in family)


def _family(context: Context, name: str) -> set[str]:
    """Return a view and its other versions: a name in `uses` means the version that lives."""
    versions = context.graph.replaces
    return {name} | nx.ancestors(versions, name) | nx.descendants(versions, name) if name in versions else {name}
