"""MG1xx: names, requirements and numbers of migrations, and files that are not imported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

from migrate_graph.core.graph import Node, NodeKind, Ordering
from migrate_graph.core.model import Migration, View
from migrate_graph.core.reachability import ancestor_masks
from migrate_graph.core.rules.rule import Context, Hit, Related, Severity, listed, quoted, rule
from migrate_graph.user_files import SourceLocation

_RING_SHOWN = 6
_LAMBDA = "<lambda>"


@rule("MG101", Severity.ERROR)
def dependency_cycle(context: Context) -> Iterator[Hit]:
    """Migrations that require each other in a cycle.

    ## What it finds

    Each smallest cycle of `requires`, edge by edge. Migrations that only depend on a member of the cycle are not named:
    they are valid as soon as the cycle is cut.

    ```python
    @migration(requires=["add_invoice_total"])       # bad: each waits for the other
    def create_invoice(db): ...

    @migration(requires=["create_invoice"])
    def add_invoice_total(db): ...
    ```

    ## Why it matters

    No member of a cycle can run first, so neither its members nor the migrations that require them can ever run.

    ## How to fix it

    Remove one of the requirements, usually the one that points to a migration declared later.

    ```python
    @migration                                       # good
    def create_invoice(db): ...

    @migration(requires=["create_invoice"])
    def add_invoice_total(db): ...
    ```
    """
    for ring in context.graph.cycles():
        yield ring_hit(ring, context.graph.migrations, verb="requires")


def ring_hit(ring: tuple[str, ...], declared: Mapping[str, Migration] | Mapping[str, View], *, verb: str) -> Hit:
    """Return who points at whom in a ring, and which edge to cut.

    Args:
        ring: names along `before → after`, from the first-declared.
        declared: where the names are declared; every member of a ring is.
        verb: what a name does to the one before it: `requires`, `uses`, `replaces`.
    """
    # Read as people wrote it: from the one that requires to the one required.
    walk = [ring[0], *ring[:0:-1], ring[0]]
    rank = {name: declared[name].position for name in ring}
    forward = next((edge for edge in pairwise(walk) if rank[edge[1]] > rank[edge[0]]), (walk[0], walk[1]))
    culprit = declared[forward[0]]
    steps = [quoted(name) for name in walk]
    if len(ring) > _RING_SHOWN:
        steps[_RING_SHOWN:-1] = [f"… ({len(ring) - _RING_SHOWN} more) …"]
    if len(ring) == 1:
        message = f"{quoted(ring[0])} {verb} itself"
        hint = f"take {quoted(ring[0])} out of its own `{verb}`"
    else:
        message = f" {verb} ".join(steps)
        hint = f"cut it where {quoted(culprit.name)} ({culprit.source}) {verb} {quoted(forward[1])}, declared later"
    related = tuple(Related.at(declared[name], f"{verb} {quoted(needed)}") for name, needed in pairwise(walk))
    return Hit(declared[ring[0]], message, hint, related=related)


@rule("MG102", Severity.ERROR)
def unknown_requirement(context: Context) -> Iterator[Hit]:
    """A requirement that no file declares.

    ## What it finds

    A name in `requires` that is not the name of a migration: an orphan. Often a typo, a renamed migration, or a file
    that nothing imports (then the hint names the file).

    ```python
    @migration(requires=["create_invioce"])          # bad: nothing has this name
    def add_invoice_total(db): ...
    ```

    ## Why it matters

    A migration that requires a name which never runs can never run itself.

    ## How to fix it

    Correct the name, import the file that declares it, or require the function itself, which cannot be misspelt.

    ```python
    @migration(requires=create_invoice)              # good
    def add_invoice_total(db): ...
    ```
    """
    graph = context.graph
    for migration in graph.migrations.values():
        for needed in migration.requires:
            if needed not in graph.migrations:
                others = [name for name in graph.migrations if name != migration.name]
                hint = context.where_is(needed, others, f"declare {quoted(needed)}, or remove it from `requires`")
                message = f"{quoted(migration.name)} requires {quoted(needed)}, which nothing declares"
                yield Hit(migration, message, hint)


@rule("MG103", Severity.ERROR, compatible={NodeKind.VIEW: Severity.WARNING})
def duplicate_name(context: Context) -> Iterator[Hit]:
    """Two migrations, or two views, of one name.

    ## What it finds

    A name that is declared more than once, with every place.

    ```python
    # invoices.py                                    # bad
    @migration
    def add_index(db): ...

    # customers.py
    @migration
    def add_index(db): ...
    ```

    ## Why it matters

    The ledger knows a migration only by its name: after one of the two has run, the other counts as applied and never
    runs.

    ## How to fix it

    Rename the one that has not been applied anywhere yet; a date and a number at the end keep names apart.

    ```python
    @migration
    def add_index_on_customers_20260401_001(db): ...  # good
    ```
    """
    yield from _repeated(context.graph.registry.migrations, "migration")
    yield from _repeated(context.graph.registry.views, "view")


def _repeated(declared: Iterable[Migration] | Iterable[View], noun: str) -> Iterator[Hit]:
    places: dict[str, list[Migration | View]] = {}
    for each in declared:
        places.setdefault(each.name, []).append(each)
    for name, found in places.items():
        if len(found) > 1:
            where = " and ".join(str(each.source) for each in found)
            related = tuple(Related.at(each, f"declares {noun} {quoted(name)}") for each in found)
            message = f"{noun} {quoted(name)} is declared {len(found)} times: {where}"
            yield Hit(found[-1], message, _hint_for_repeated(found), related=related)


def _hint_for_repeated(found: list[Migration | View]) -> str:
    """Return what to do about several declarations of one name: of one function, at one line, or at several."""
    if len({each.source for each in found}) == 1:
        if len({id(each.function) for each in found if isinstance(each, Migration)}) == 1:
            return "it is one function: write `@migration` once"
        return "give each a name of its own: set `__name__` before `migration(…)`; a decorator keeps it with `functools.wraps`"
    return f"rename the one at {found[-1].source}, or remove it"


@rule("MG104", Severity.ERROR, running=Severity.WARNING)
def forgotten_import(context: Context) -> Iterator[Hit]:
    """A file with migrations that is not imported.

    ## What it finds

    A Python file below the directory of the migrations file that declares migrations or views and is not reached by any
    import. It is found by its text; it is not run.

    ```text
    migrations.py        import invoices              # bad: customers.py is forgotten
    invoices.py
    customers.py         @migration def create_customer(db): ...
    ```

    ## Why it matters

    Its migrations do not exist for `plan` and `apply`: they never run, and no message says so.

    In `plan` and `apply` this is a warning: a stray file must not stop a deployment. In `check` it is a warning as well if a
    file other than the configured one is named (`migrate check billing/steps.py`): files side by side that are each run by
    their own command do not import each other.

    The rule does not look at directories with settings or a git repository of their own, at tests or at examples.

    ## How to fix it

    Import the file from the migrations file; order does not matter for requirements.

    ```python
    import customers                                 # good
    import invoices
    ```
    """
    for file in context.graph.registry.unreached:
        names = [name for name, _ in file.names]
        message = f"{quoted(file.path)} declares {listed(names)}, and nothing imports it"
        first = min((line for _, line in file.names), default=1)
        yield Hit(
            Node(NodeKind.FILE, file.path), message, context.how_to_import(file), SourceLocation(file.path, first)
        )


@rule("MG105", Severity.INFO)
def redundant_requirement(context: Context) -> Iterator[Hit]:
    """A requirement that another requirement implies.

    ## What it finds

    A name in `requires` that something else in the same list requires already, directly or not.

    ```python
    @migration(requires=[create_customer])
    def create_invoice(db): ...

    @migration(requires=[create_customer, create_invoice])   # bad: the first says nothing new
    def add_invoice_total(db): ...
    ```

    ## Why it matters

    It does no harm. But such edges make it harder to see the important ones, in the file and in the picture.

    ## How to fix it

    Keep only the nearest requirement. If you want the full list for readers, ignore the rule.

    ```python
    @migration(requires=[create_invoice])            # good
    def add_invoice_total(db): ...
    ```
    """
    for (needed, name), via in context.graph.redundant_requires.items():
        message = f"{quoted(name)} requires {quoted(needed)}, which its requirement {quoted(via)} implies"
        yield Hit(context.graph.migrations[name], message, f"remove {quoted(needed)} from `requires` of {quoted(name)}")


@rule("MG106", Severity.OFF)
def isolated_migration(context: Context) -> Iterator[Hit]:
    """A migration without any edge.

    ## What it finds

    A migration that requires nothing, is required by nothing, touches no view, and opens or closes no window. A graph
    of one migration is not reported. The rule is off unless it is named in `select`, `warn` or `error`.

    ```python
    @migration                                       # bad, where the rule is on
    def add_index_on_invoice(db): ...
    ```

    ## Why it matters

    Only its place in the file decides when it runs. Projects with many authors may want every migration to list what it
    needs.

    ## How to fix it

    List what it needs.

    ```python
    @migration(requires=create_invoice)              # good
    def add_index_on_invoice(db): ...
    ```
    """
    graph = context.graph
    for name, migration in graph.migrations.items():
        connected = migration.touches or name in graph.bounds or graph.requires.degree(name)
        if not connected and len(graph.migrations) > 1:
            message = f"{quoted(name)} is connected to nothing"
            yield Hit(migration, message, f"say what {quoted(name)} builds on: `@migration(requires=…)`")


@rule("MG107", Severity.WARNING, applied=Severity.OFF)
def missing_sequence(context: Context) -> Iterator[Hit]:
    """A name without a number where numbers decide.

    ## What it finds

    With `migration_ordering_mode = "intertwined"`: a migration whose name does not end in a number.

    ```python
    @migration
    def add_invoice_total(db): ...                   # bad: counts as number 0
    ```

    ## Why it matters

    In this mode the number at the end decides between migrations that could both run next. A name without a number
    counts as 0: the migration runs before numbered ones that are much older.

    ## How to fix it

    End the name in `_<date>_<number>`, as long as the migration has not been applied anywhere: a new name is a new
    migration.

    ```python
    @migration
    def add_invoice_total_20260401_001(db): ...      # good
    ```
    """
    if context.ordering is Ordering.INTERTWINED:
        for migration in context.graph.migrations.values():
            if migration.sequence is None:
                message = f"{quoted(migration.name)} has no trailing number, and the ordering is intertwined"
                yield Hit(migration, message, "if it was never applied, end its name in `_YYYYMMDD_NNN`")


@rule("MG108", Severity.INFO, applied=Severity.OFF)
def duplicate_sequence(context: Context) -> Iterator[Hit]:
    """Two migrations that share date and number.

    ## What it finds

    Migrations whose names end in the same number and that no requirement puts in order.

    ```python
    @migration
    def add_invoice_total_20260401_001(db): ...      # bad

    @migration
    def add_customer_email_20260401_001(db): ...
    ```

    ## Why it matters

    Only the order of imports decides which one runs first. Usually two branches were merged.

    ## How to fix it

    Give the later one the next number while it has not been applied anywhere, or let one require the other.

    ```python
    @migration
    def add_customer_email_20260401_002(db): ...     # good
    ```
    """
    graph = context.graph
    sharing: dict[tuple[int, int], list[str]] = {}
    for name in context.order:
        if (sequence := graph.migrations[name].sequence) is not None:
            sharing.setdefault(sequence, []).append(name)
    groups = {sequence: names for sequence, names in sharing.items() if len(names) > 1}
    if not groups:
        return
    bits, masks = ancestor_masks(graph.requires, (name for names in groups.values() for name in names))
    for (first, second), names in groups.items():
        # A group is in order when each one precedes the next in the line.
        loose = [(one, other) for one, other in pairwise(names) if not bits[one] & masks[other]]
        if loose:
            number = f"{first}_{second:03}" if second else str(first)
            last = graph.migrations[loose[-1][1]]
            related = tuple(Related.at(graph.migrations[name], f"ends in {number}") for name in names)
            message = f"{listed(names)} share the number {number}: only the order of imports puts them in order"
            hint = f"give {quoted(last.name)} the next number, or let it require {quoted(loose[-1][0])}"
            yield Hit(last, message, hint, related=related)


@rule("MG109", Severity.ERROR)
def no_migrations(context: Context) -> Iterator[Hit]:
    """A migrations file that declares nothing, where there should be something.

    ## What it finds

    No migration is declared, although the database has records of some, or files beside the migrations file declare some
    and nothing imports them. A new project, where neither is the case, is fine.

    ```python
    import logging                                   # bad: `import customers` was lost in a merge
    ```

    ## Why it matters

    There is nothing to run, so a deployment would end with success while every migration is missing.

    ## How to fix it

    Bring the imports back, or name the right file (`migrations_file`).

    ```python
    import customers                                 # good
    import logging
    ```
    """
    if context.graph.migrations:
        return
    file = Node(NodeKind.FILE, "the migrations file")
    if context.history.records:
        message = f"no migration is declared, and the database remembers {len(context.history.records)}"
        yield Hit(file, message, "bring the lost imports back, or set migrations_file to the right file")
    elif context.graph.registry.unreached:
        names = listed([each.path for each in context.graph.registry.unreached])
        hint = context.how_to_import(context.graph.registry.unreached[0])
        yield Hit(file, f"no migration is declared, and nothing imports {names}", hint)


@rule("MG110", Severity.ERROR, running=Severity.WARNING)
def lost_decorator(context: Context) -> Iterator[Hit]:
    """A function with the name of a migration that is not one.

    ## What it finds

    In a file that declares migrations: a function without any decorator whose name ends in a date and a number, and which
    nothing in the file uses. It is found by its text.

    ```python
    def add_invoice_total_20260401_001(db):          # bad: the line above it was lost in a merge
        db.executesql("ALTER TABLE invoice ADD COLUMN total int")
        return True
    ```

    ## Why it matters

    It never runs, and no message says so.

    ## How to fix it

    Write the decorator again; give a helper function another name.

    ```python
    @migration(requires=create_invoice)              # good
    def add_invoice_total_20260401_001(db):
        db.executesql("ALTER TABLE invoice ADD COLUMN total int")
        return True
    ```
    """
    for file in context.graph.registry.undecorated:
        for name, line in file.names:
            message = f"{quoted(name)} is called like a migration, and is not declared as one"
            hint = "write @migration above it, or give it another name"
            yield Hit(Node(NodeKind.FILE, file.path), message, hint, SourceLocation(file.path, line))


@rule("MG111", Severity.ERROR, running=Severity.WARNING)
def unknown_commutation(context: Context) -> Iterator[Hit]:
    """A name in `commutes_with` that no file declares.

    ## What it finds

    A name in `commutes_with` that is not the name of a migration, or is that of the migration itself.

    ```python
    @migration(commutes_with="count_retruns_20261103_002")       # bad: nothing has this name
    def count_orders_20261103_001(db): ...
    ```

    ## Why it matters

    It was written to silence MG702 about one pair of migrations, and has no effect.

    ## How to fix it

    Correct the name, or name the function itself. When the other migration is gone, remove the name.

    ```python
    @migration(commutes_with=count_returns_20261103_002)         # good
    def count_orders_20261103_001(db): ...
    ```
    """
    graph = context.graph
    for migration in graph.migrations.values():
        for other in migration.commutes_with:
            if other == migration.name:
                message = f"{quoted(other)} says that it commutes with itself"
                yield Hit(migration, message, "name the other migration")
            elif other not in graph.migrations:
                others = [name for name in graph.migrations if name != migration.name]
                hint = context.where_is(other, others, f"remove {quoted(other)} from `commutes_with`")
                message = f"{quoted(migration.name)} says that it commutes with {quoted(other)}, which nothing declares"
                yield Hit(migration, message, hint)


@rule("MG112", Severity.WARNING)
def unused_decorator(context: Context) -> Iterator[Hit]:
    """A `migration(…)` that declares nothing.

    ## What it finds

    A call of `migration(…)` whose result is not called with a function: the `@` before it was forgotten, or a decorator
    below it returns None.

    ```python
    migration(requires=create_invoice)               # bad: no @
    def add_invoice_total(db): ...

    @migration
    @timed                                           # bad, if `timed` forgets to return a function
    def add_customer_email(db): ...
    ```

    ## Why it matters

    The function is no migration: it never runs, and no message says so.

    ## How to fix it

    Write the `@`, and let the decorators between `@migration` and the function return a function.

    ```python
    @migration(requires=create_invoice)              # good
    def add_invoice_total(db): ...
    ```
    """
    for place in context.graph.registry.unused_decorators:
        message = f"a call of migration() at {place} declares nothing: it is given no function"
        hint = "write `@` before it, above the function; a decorator between the two must return a function"
        yield Hit(Node(NodeKind.FILE, place.path), message, hint, place)


@rule("MG113", Severity.WARNING)
def decorator_above(context: Context) -> Iterator[Hit]:
    """A decorator above `@migration` that has no effect.

    ## What it finds

    A decorator that stands above `@migration` and returns something else than the migration: a wrapper around it.

    ```python
    @timed                                           # bad: `timed` wraps the migration, and what it returns is not declared
    @migration
    def add_invoice_total(db): ...
    ```

    ## Why it matters

    `@migration` declares the function that stands below it. The wrapper is only what the name means in the file: `apply` runs
    the function without it, and no message says so.

    ## How to fix it

    Write `@migration` at the top.

    ```python
    @migration                                       # good
    @timed
    def add_invoice_total(db): ...
    ```
    """
    for each in context.graph.registry.decorated_above:
        above = listed([f"@{decorator}" for decorator in each.decorators])
        message = f"{quoted(each.migration)} runs without {above}, which stands above @migration"
        yield Hit(context.graph.migrations[each.migration], message, "write `@migration` above it", each.source)


@rule("MG114", Severity.ERROR, applied=Severity.WARNING, compatible={NodeKind.MIGRATION: Severity.WARNING})
def nameless_migration(context: Context) -> Iterator[Hit]:
    """A migration without a name of its own.

    ## What it finds

    A lambda that is declared as a migration.

    ```python
    add_invoice_total = migration(lambda db: …)      # bad: it is recorded as `<lambda>`
    ```

    ## Why it matters

    The ledger knows a migration only by its name, and every lambda has the same: when one has run, all others count as applied,
    also those that are written later.

    ## How to fix it

    Write a function.

    ```python
    @migration                                       # good
    def add_invoice_total_20260401_001(db): ...
    ```
    """
    for migration in context.graph.migrations.values():
        if migration.name == _LAMBDA:
            message = (
                "a lambda is declared as a migration, and is recorded under the name '<lambda>' that all of them have"
            )
            yield Hit(
                migration, message, "write a function: `@migration`, and `def add_total_20260401_001(db):` below it"
            )
