"""MG2xx: what views use, and whether a migration makes them as they are declared."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import FunctionType

from migrate_graph.core.graph import EdgeKind, NodeKind
from migrate_graph.core.model import BodyKind, Rebuild, View, kind_of, unfit_arguments
from migrate_graph.core.rules.migrations import ring_hit
from migrate_graph.core.rules.rule import Context, Hit, Severity, Unless, quoted, rule
from migrate_graph.core.uses import parts_of


@rule("MG201", Severity.ERROR, compatible={NodeKind.VIEW: Severity.WARNING})
def unknown_view(context: Context) -> Iterator[Hit]:
    """A view manager that no file declares.

    ## What it finds

    A name in `uses` or `replaces` of a view manager, or in `@migration(views=[…])`, that is not the name of a declared
    view manager.

    ```python
    class InvoiceTotals(ViewMigrationManager):
        uses = (InvoiceLines,)                       # bad: InvoiceLines is abstract, or its file is not imported
    ```

    ## Why it matters

    A view without a manager is not taken down before the tables below it change, and not brought up again.

    ## How to fix it

    Import the file that declares the manager, or correct the name.

    ```python
    from invoice_views import InvoiceLines           # good: a complete manager, declared once

    class InvoiceTotals(ViewMigrationManager):
        uses = (InvoiceLines,)
    ```
    """
    graph = context.graph
    for view in graph.views.values():
        named = [("uses", used) for used in view.uses]
        named += [("replaces", view.replaces)] if view.replaces is not None else []
        for verb, name in named:
            if name not in graph.views:
                message = f"view {quoted(view.name)} {verb} {quoted(name)}, which nothing declares"
                yield Hit(view, message, context.where_is(name, graph.views, f"declare {quoted(name)}, or remove it"))
    for migration in graph.migrations.values():
        for name in migration.declared_views or ():
            if name not in graph.views:
                message = f"{quoted(migration.name)} says it opens view {quoted(name)}, which nothing declares"
                yield Hit(
                    migration, message, context.where_is(name, graph.views, f"remove {quoted(name)} from `views`")
                )


@rule("MG202", Severity.ERROR, compatible={NodeKind.VIEW: Severity.WARNING}, unless=Unless.AFFECTED)
def view_cycle(context: Context) -> Iterator[Hit]:
    """Views that use, or replace, each other in a cycle.

    ## What it finds

    Each smallest cycle of `uses`, and each of `replaces`, edge by edge.

    ```python
    class Totals(ViewMigrationManager):
        uses = (Lines,)

    Lines.uses = (Totals,)                           # bad: each reads the other
    ```

    ## Why it matters

    No member of such a cycle can be created first. (A view that reads itself is a recursive query, which needs no
    `uses`.)

    ## How to fix it

    Remove the reference that the view's SQL does not need; for `replaces`, let each manager name its predecessor only.

    ```python
    class Totals(ViewMigrationManager):
        uses = (Lines,)                              # good: Lines uses nothing
    ```
    """
    for kind in (EdgeKind.USES, EdgeKind.REPLACES):
        for ring in context.graph.cycles(kind):
            yield ring_hit(ring, context.graph.views, verb=kind.value)


_MANY = 3
"""So many other views of one file are reported in one finding."""


@rule("MG210", Severity.WARNING)
def view_never_built(context: Context) -> Iterator[Hit]:
    """A view that nothing creates.

    ## What it finds

    A view manager that no migration brings up: while its window is open, no migration opens it, anything that it uses, or
    a version that it replaces. With `weave = "windows"` views come up by themselves, and the rule finds nothing.

    ```python
    class Totals(ViewMigrationManager):              # bad: no migration opens it
        since = "create_invoice"
    ```

    ## Why it matters

    A view is created at the end of the block in which a migration opened it, or something below it. Without such a
    block it never exists, whatever its window says.

    ## How to fix it

    Open it where it should be created.

    ```python
    @migration
    def create_invoice(db):
        with Totals(db):                             # good: created when the block ends
            db.executesql("CREATE TABLE invoice (…)")
    ```

    Or set `weave = "windows"`: then the view is created when `create_invoice` ends, and no migration opens it.

    A view without `since` may be older than the migrations, as those that `migrate views adopt` has found: the database has
    it, and keeps it. Then only an empty database lacks it. Such views of one file are reported together.
    """
    timeline = context.timeline
    if context.graph.registry.windows:
        return
    built = {view for views in timeline.brought_up.values() for view in views}
    old: dict[str, list[View]] = {}
    for name, view in timeline.sound_views.items():
        if name in built:
            continue
        old.setdefault("" if view.since else view.module, []).append(view)
    for module, views in old.items():
        first, *others = views
        if module and len(others) >= _MANY:
            message = f"no migration brings up view {quoted(first.name)}, nor {len(others)} others of its file"
            hint = f"a database that has them keeps them; for an empty one, open each where it should be created: `with {first.name}(db):`"
            yield Hit(first, message, hint)
            continue
        for view in views:
            message = f"no migration brings up view {quoted(view.name)}"
            opened = f"with `with {view.name}(db):`"
            old_one = f"a database that has it keeps it; for an empty one, open it where it should be created, {opened}"
            hint = old_one if view.since is None else f"open it in {quoted(view.since)} {opened}, or remove it"
            yield Hit(view, message, hint)


@rule("MG213", Severity.WARNING)
def rebuild_without_effect(context: Context) -> Iterator[Hit]:
    """A view that does not come up as `rebuild` says.

    ## What it finds

    A manager with `rebuild = "deferred"` that is not a materialized view with rows, as far as its class tells, or whose own
    `up()` creates a view while neither `up()` nor the functions that it calls by name read `self.deferred`. Also a manager with
    `rebuild = "swap"` that is not a materialized `SqlView` with rows, or that has an `up()` or `down()` of its own: only a view
    that is known from its query can be built under another name.

    ```python
    class Sales(ViewMigrationManager):
        uses = ()
        rebuild = "deferred"                         # bad: up() creates it with its rows, whatever is said here

        def up(self):
            self.db.executesql("CREATE MATERIALIZED VIEW sales AS SELECT …")
    ```

    ## Why it matters

    The view comes up with its rows inside of the migration's transaction, which keeps its locks as long as that takes. With
    `"swap"`, nobody can read the old view meanwhile.

    ## How to fix it

    Declare the view by its query, or let `up()` leave the rows out when `self.deferred` is true.

    ```python
    class Sales(SqlView):
        uses = ()
        rebuild = "deferred"                         # good
        materialized = True
        query = "SELECT …"

    class Sales(ViewMigrationManager):
        uses = ()
        rebuild = "deferred"

        def up(self):
            no_data = " WITH NO DATA" if self.deferred else ""       # good
            self.db.executesql(f"CREATE MATERIALIZED VIEW sales AS SELECT …{no_data}")
    ```
    """
    for view in context.graph.views.values():
        if view.rebuild is Rebuild.DEFERRED and not view.can_defer:
            message = f"view {quoted(view.name)} is declared as deferred, and its up() creates it with its rows, or without a need for any"
            hint = "declare a SqlView with `materialized = True`, let up() ask `self.deferred`, or remove `rebuild`"
            yield Hit(view, message, hint)
        elif view.rebuild is Rebuild.SWAP and not view.can_swap:
            message = f"view {quoted(view.name)} cannot be built beside the old one, as `rebuild` says: it is no materialized SqlView with rows"
            hint = (
                "declare a SqlView with `materialized = True`, without up() and down() of its own, or remove `rebuild`"
            )
            yield Hit(view, message, hint)


@rule("MG214", Severity.ERROR, compatible={NodeKind.VIEW: Severity.WARNING}, unless=Unless.AFFECTED)
def unusable_manager(context: Context) -> Iterator[Hit]:
    """A view manager that cannot do its work.

    ## What it finds

    An `up()` or `down()` that is a coroutine function (`async def`) or a generator (`yield`), that is no function, or that
    needs arguments; an `__init__()` that does not take `db`.

    ```python
    class Totals(ViewMigrationManager):
        uses = ()

        async def up(self):                          # bad
            self.db.executesql("CREATE VIEW totals AS SELECT …")
    ```

    ## Why it matters

    A call of a coroutine or generator function runs no line of it: the view is neither taken down nor brought up, and
    nothing says so. The other faults end in a TypeError when the view's turn comes; the migrations before it are
    applied by then.

    ## How to fix it

    Write ordinary methods without arguments, and use `self.db`.

    ```python
    class Totals(ViewMigrationManager):
        uses = ()

        def up(self):                                # good
            self.db.executesql("CREATE VIEW totals AS SELECT …")
    ```
    """
    for view in context.graph.views.values():
        for name in ("up", "down", "__init__"):
            if why := _why_useless(view.manager, name):
                taken = "`db`" if name == "__init__" else "nothing"
                message = f"{name}() of view {quoted(view.name)} {why}"
                yield Hit(view, message, f"make it an ordinary method that takes {taken} besides `self`")


@rule("MG217", Severity.ERROR, compatible={NodeKind.VIEW: Severity.WARNING})
def view_named_like_the_ledger(context: Context) -> Iterator[Hit]:
    """A view with the name of a table of this tool.

    ## What it finds

    A view that has the name of the ledger (the setting `migrate_table`), or of one of the tables beside it, which end in
    `_journal` and `_views`. A name without a schema is one in the schema of the setting `schema`, or else in `public`.

    ```python
    class Journal(SqlView):
        name = "ewh_implemented_features_journal"    # bad
        query = "SELECT …"
    ```

    ## Why it matters

    The table is created before any migration runs, so the view's turn ends in an error; the migrations before it are applied by
    then. An `up()` or `down()` that drops what has its name drops the record of what was applied.

    ## How to fix it

    Give the view another name.

    ```python
    class Journal(SqlView):
        name = "applied_migrations"                  # good
        query = "SELECT …"
    ```
    """
    is_plain = context.ledger.replace(".", "").isidentifier()
    usual = [context.schema or "public"]  # where a role of PostgreSQL has its tables, unless told otherwise
    *schema, table = parts_of(context.ledger) if is_plain else [context.ledger]
    own = {table, f"{table}_journal", f"{table}_views"}
    for view in context.graph.views.values():
        for relation in view.relations:
            *where, name = parts_of(relation)
            if name in own and (where or usual) == (schema or usual):
                message = (
                    f"view {quoted(view.name)} is called {quoted(name)} in the database, as a table of this tool is"
                )
                yield Hit(view, message, 'give it another name: `name = "…"`')


def _why_useless(manager: type, name: str) -> str:
    """Return why a method of a manager cannot do its work; empty when it can, or that is not known."""
    method = inspect.getattr_static(manager, name, None)
    if method is None:
        return ""
    function = method.__func__ if isinstance(method, (staticmethod, classmethod)) else method
    if not callable(function):
        return "is no function"
    if (kind := kind_of(function)) is BodyKind.CLASS:
        return "is a class: calling it only makes an object of it"
    if kind is not BodyKind.FUNCTION:
        return f"is a {kind} function: calling it runs none of it"
    arguments = unfit_arguments(method, given=1 + (name == "__init__")) if type(method) is FunctionType else ""
    return f"cannot be called: its arguments are {arguments}" if arguments else ""
