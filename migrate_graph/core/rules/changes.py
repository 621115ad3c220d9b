"""MG5xx: what a change does to migrations that may be applied somewhere already."""

from __future__ import annotations

from collections.abc import Iterator

from migrate_graph.core.graph import NodeKind
from migrate_graph.core.rules.rule import Context, Hit, Needs, Severity, listed, quoted, rule


@rule("MG501", Severity.ERROR, Needs.BASE)
def edited_migration(context: Context) -> Iterator[Hit]:
    """A migration that existed before the change and was edited.

    ## What it finds

    A migration of the base revision whose code is different now, or that uses something that was edited: a constant, a function
    or a class of the project, or a file that it reads by a path which the text shows. Where a part of the file's name is known
    only at run time (an attribute, a parameter), the rule looks for it among the names and texts in the code. What else is known
    only at run time, and what comes from installed packages, is not seen. Comments, docstrings and formatting do not count.
    Needs a base (`--base REF`).

    ```python
    @migration
    def create_customer(db):
        db.executesql("CREATE TABLE customer (id INTEGER, email TEXT)")   # bad: `email` was added later
        return True
    ```

    ## Why it matters

    Databases that applied it will never run it again: they stay without the edit, and only new databases get it.

    ## How to fix it

    Undo the edit, and write a migration that makes the change.

    ```python
    @migration(requires=[create_customer])
    def add_customer_email(db):                                           # good: runs everywhere, once
        db.executesql("ALTER TABLE customer ADD COLUMN email TEXT")
        return True
    ```
    """
    for migration in context.comparison.edited:
        message = f"{quoted(migration.name)} was edited after it was published"
        hint = f"take the edit back and write a new migration that requires {quoted(migration.name)}: migrate new NAME"
        yield Hit(migration, message, hint)


@rule("MG502", Severity.ERROR, Needs.BASE)
def removed_migration(context: Context) -> Iterator[Hit]:
    """A migration that existed before the change and is gone.

    ## What it finds

    A migration of the base revision that nothing declares any more. Needs a base (`--base REF`).

    ```diff
    -@migration                                       # bad: somewhere it is applied
    -def create_customer(db): ...
    ```

    ## Why it matters

    Its record stays in every database that applied it, as an orphan; new databases lack its work.

    ## How to fix it

    Restore it. To undo its work, write a new migration.

    ```python
    @migration(requires=[create_customer])
    def drop_customer(db): ...                        # good
    ```
    """
    for node in context.comparison.removed:
        if node.kind is NodeKind.MIGRATION:
            hint = "bring it back; a new migration can undo what it did"
            yield Hit(node, f"{quoted(node.name)} was removed", hint)


@rule("MG503", Severity.ERROR, Needs.BASE)
def renamed_migration(context: Context) -> Iterator[Hit]:
    """A migration that existed before the change and has another name now.

    ## What it finds

    A migration of the base revision that is gone, while a new one has exactly its body. Needs a base (`--base REF`).

    ```diff
    -def create_custmer(db):                          # bad: the typo is in every database's ledger
    +def create_customer(db):
    ```

    ## Why it matters

    The ledger knows migrations by name: under its new name it runs again, on databases that have its work already.

    ## How to fix it

    Keep the old name. If you need the new one, record it in every database before the next run.

    ```console
    $ migrate mark create_customer --installed        # good, in each database that applied the old one
    ```
    """
    for old, new in context.comparison.renamed:
        hint = f"keep the name {quoted(old.name)}, or in every database: migrate mark {new.name} --installed"
        yield Hit(new, f"{quoted(old.name)} was renamed to {quoted(new.name)}", hint)


@rule("MG504", Severity.ERROR, Needs.BASE)
def reparented_migration(context: Context) -> Iterator[Hit]:
    """A migration that existed before the change and requires more now.

    ## What it finds

    A requirement, added to a migration of the base revision, that the base did not imply. Needs a base (`--base REF`).

    ```python
    @migration(requires=["create_customer", "create_country"])   # bad: create_country was added later
    def create_invoice(db): ...
    ```

    ## Why it matters

    Databases that applied it never had to have the new requirement: their history contradicts the graph (MG402), and a
    database built from nothing is built in another order than those in production.

    ## How to fix it

    Leave its requirements as they were; let a new migration require both.

    ```python
    @migration(requires=["create_invoice", "create_country"])
    def link_invoice_to_country(db): ...                         # good
    ```
    """
    for each in context.comparison.reparented:
        name = quoted(each.migration.name)
        hint = (
            f"leave the requirements of {name} as they were, and let a new migration require {listed(each.added)} too"
        )
        yield Hit(each.migration, f"{name} requires {listed(each.added)} now, which it did not before", hint)


@rule("MG505", Severity.ERROR, Needs.BASE)
def changed_window(context: Context) -> Iterator[Hit]:
    """A view that existed before the change and lives at other times now.

    ## What it finds

    Another `since`, `until` or `replaces` on a view of the base revision. Closing an open window with a migration that
    the same change adds is how a view is retired; this is not reported. Needs a base (`--base REF`).

    ```python
    class InvoiceTotals(ViewMigrationManager):
        since = "add_discount"                        # bad: it was "create_invoice"
    ```

    ## Why it matters

    Databases that are past that point keep, or lack, a view, unlike new databases. No migration runs there to correct it.

    ## How to fix it

    Leave the window as it was. A view that changes gets a new manager that `replaces` the old one.

    ```python
    class InvoiceTotals_V2(ViewMigrationManager):
        since = "add_discount"                        # good
        replaces = InvoiceTotals
    ```
    """
    for each in context.comparison.rewindowed:
        values = [
            f"{word} {_shown(getattr(each.before, word))} → {_shown(getattr(each.view, word))}" for word in each.changed
        ]
        hint = "leave the window as it was; write a new manager that `replaces` this one"
        yield Hit(each.view, f"the window of {quoted(each.view.name)} was changed: {', '.join(values)}", hint)


def _shown(name: str | None) -> str:
    return quoted(name) if name is not None else "nothing"


@rule("MG506", Severity.WARNING, Needs.BASE)
def edited_view(context: Context) -> Iterator[Hit]:
    """A view whose text was edited, and that no new migration rebuilds.

    ## What it finds

    A view manager of the base revision whose `up` or `down` does something else now, or uses something of the project that
    was edited, while no migration that the change adds brings it up. Needs a base (`--base REF`).

    ```diff
     class Totals(ViewMigrationManager):
         def up(self):
    -        self.db.executesql("CREATE VIEW totals AS SELECT sum(total) AS total FROM invoice")
    +        self.db.executesql("CREATE VIEW totals AS SELECT sum(net) AS total FROM invoice")   # bad: nobody runs it
    ```

    ## Why it matters

    A view is made when a migration opens it. Databases that have it keep the old view until some unrelated migration
    opens it. A new database may not be able to make the view where its window opens: what the new text reads may be made
    later.

    ## How to fix it

    Open it in a migration, or declare a successor that takes over from there.

    ```python
    @migration(requires=[create_invoice])
    def net_totals(db):
        with Totals(db):                                                  # good: every database gets it, here
            pass
        return True
    ```
    """
    added = {node.name for node in context.comparison.added if node.kind is NodeKind.MIGRATION}
    rebuilt = {view for name, views in context.timeline.brought_up.items() if name in added for view in views}
    for view in context.comparison.rewritten:
        if view.name not in rebuilt:
            message = f"the text of view {quoted(view.name)} was edited, and no new migration brings it up"
            hint = f"bring it in with a new migration: `{view.name}.renew(db)`, or declare a successor with `replaces = {view.name}`"
            yield Hit(view, message, hint)
