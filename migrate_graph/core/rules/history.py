"""MG4xx: what a database remembers, against what is declared."""

from __future__ import annotations

from collections.abc import Iterator

from migrate_graph.core.graph import Node, NodeKind
from migrate_graph.core.rules.rule import Context, Hit, Needs, Severity, node_of, quoted, rule
from migrate_graph.core.states import State, edited_views
from migrate_graph.messages import counted


@rule("MG401", Severity.ERROR, Needs.HISTORY)
def orphan_record(context: Context) -> Iterator[Hit]:
    """A migration that was applied and is declared nowhere.

    ## What it finds

    A name that the ledger has as installed and that no file declares. Needs a database (`--history`).

    ```text
    ledger: create_invioce                           # bad: renamed to create_invoice after it was applied
    ```

    ## Why it matters

    A renamed migration is a new migration: it would run again under its new name. A deleted migration, or one that is
    not merged yet, means that code and database are not of the same version.

    ## How to fix it

    Restore the declaration, import its file, or write the rename into the ledger.

    ```console
    $ migrate mark create_invoice --installed        # good: it is the same migration, under its new name
    $ migrate mark create_invioce --pending
    ```
    """
    applied = context.history.applied
    pending = [name for name in context.graph.migrations if name not in applied]
    for name in context.graph.orphans(context.history):
        if name in applied:
            otherwise = f"declare it again, or forget it: `migrate mark {name} --pending`"
            hint = context.where_is(name, pending, otherwise)
            message = f"{quoted(name)} is recorded as installed, and nothing declares it"
            yield Hit(Node(NodeKind.MIGRATION, name), message, hint)


@rule("MG402", Severity.ERROR, Needs.HISTORY)
def applied_before_requirement(context: Context) -> Iterator[Hit]:
    """A migration that was applied while something it requires was not.

    ## What it finds

    An installed migration with a declared requirement that is not installed. Needs a database (`--history`).

    ```python
    @migration(requires=["create_customer"])         # bad: the requirement was added after this one was applied
    def create_invoice(db): ...
    ```

    ## Why it matters

    This database was built in an order that the graph forbids. A new database will be built in another order.

    ## How to fix it

    Do not add requirements to migrations that are applied somewhere. If the work of the missing one is in the database
    already, record it.

    ```console
    $ migrate mark create_customer --installed       # good, when its work is there
    ```
    """
    applied = context.history.applied
    for migration in context.graph.migrations.values():
        for needed in migration.requires:
            if migration.name in applied and needed in context.graph.migrations and needed not in applied:
                message = f"{quoted(migration.name)} is applied, but {quoted(needed)}, which it requires, is not"
                hint = f"`migrate mark {needed} --installed` if its work is there; otherwise remove the requirement"
                yield Hit(migration, message, hint)


@rule("MG403", Severity.WARNING, Needs.HISTORY)
def changed_after_apply(context: Context) -> Iterator[Hit]:
    """A migration that was edited after it was applied.

    ## What it finds

    A migration whose code is not the code that was applied, or that uses something that was edited: a constant, a function or a
    class of the project, or a file that it reads by a path which the text shows (`Path(__file__).parent / "a.sql"`,
    `importlib.resources.files(…)`). Where a part of the file's name is known only at run time (an attribute, a parameter), the
    rule looks for it among the names and texts in the code. What else is known only at run time, what comes from installed
    packages, and what is found in the database is not seen. Comments and formatting do not count; migrations applied by
    edwh-migrate, which kept no fingerprint, are not judged. Needs a database (`--history`).

    ```python
    @migration
    def create_invoice(db):
        db.executesql("CREATE TABLE invoice (id int, total int)")   # bad: total was added later
        return True
    ```

    ## Why it matters

    The edit never reaches this database: this database and a new one will differ.

    ## How to fix it

    Undo the edit, and write a migration for the difference.

    ```python
    @migration(requires=create_invoice)
    def add_invoice_total(db):                       # good
        db.executesql("ALTER TABLE invoice ADD COLUMN total int")
        return True
    ```
    """
    for migration in context.graph.migrations.values():
        known = context.standing[node_of(migration)]
        if known.changed:
            where = _in_what_it_uses(known.fingerprint, migration.facts.fingerprint)
            message = f"{quoted(migration.name)} was edited after it was applied{where}"
            yield Hit(migration, message, "undo the edit, and write a new migration for the difference")


def _in_what_it_uses(then: str, now: str) -> str:
    return " (in what it uses)" if then.partition("+")[0] == now.partition("+")[0] else ""


@rule("MG404", Severity.INFO, Needs.HISTORY)
def late_migration(context: Context) -> Iterator[Hit]:
    """A migration that will run after migrations that it stands before.

    ## What it finds

    A migration that is not applied, and stands in the order before one that is applied. Needs a database (`--history`).

    ```text
    1  create_invoice_20260401_001      applied
    2  add_email_20260402_001           pending      # bad: merged after 3 was applied
    3  widen_total_20260403_001         applied
    ```

    ## Why it matters

    It is applied later here than in a new database. That is harmless if the migrations do not depend on each other.
    Check that the requirements list every dependency.

    ## How to fix it

    If one depends on the other, add the requirement; otherwise nothing needs to be done.

    ```python
    @migration(requires="widen_total_20260403_001")  # good, when it does
    def add_email_20260402_001(db): ...
    ```
    """
    last = next((name for name in reversed(context.order) if name in context.history.applied), "")
    for name in context.order:
        migration = context.graph.migrations[name]
        if context.standing[node_of(migration)].late:
            message = f"{quoted(name)} is pending, and stands before {quoted(last)}, which is applied"
            hint = "if it builds on what is applied, let it require that; otherwise `migrate apply` runs it now"
            yield Hit(migration, message, hint)


@rule("MG405", Severity.ERROR, Needs.HISTORY)
def interrupted_migration(context: Context) -> Iterator[Hit]:
    """A migration whose process died after commits of its own.

    ## What it finds

    A migration that was running when its process ended, after some of its work was committed. Needs a database
    (`--history`).

    ```text
    backfill_totals: interrupted after 3 commits     # bad: it is not known how far it came
    ```

    ## Why it matters

    Running it again could do its work twice. Recording it as applied could leave work undone. Only you can find out.

    ## How to fix it

    Look at the database, then decide.

    ```console
    $ migrate resolve backfill_totals --retry        # good: it can be run again from its beginning
    $ migrate resolve backfill_totals --applied      # good: everything is there
    ```
    """
    for node, known in context.standing.items():
        if known.state is State.INTERRUPTED:
            message = f"{quoted(node.name)} was interrupted after {counted(known.commits, 'own commit')}"
            hint = f"look, then `migrate resolve {node.name} --applied` or `migrate resolve {node.name} --retry`"
            yield Hit(context.graph.migrations.get(node.name, node), message, hint)


@rule("MG406", Severity.WARNING, Needs.HISTORY)
def view_edited_after_creation(context: Context) -> Iterator[Hit]:
    """A view whose text was edited after it was created, and that no pending migration rebuilds.

    ## What it finds

    A view that lives and that no pending migration brings up, although its manager's `up` or `down` does something else now
    than when the view last came up here, or uses something of the project that was edited. Comments and formatting do not
    count; a view made by edwh-migrate, which kept no fingerprint, is not judged. Needs a database (`--history`).

    ```python
    class Totals(ViewMigrationManager):
        def up(self):
            self.db.executesql("CREATE VIEW totals AS SELECT sum(net) AS total FROM invoice")   # bad: it was sum(total)
    ```

    ## Why it matters

    A view is created when a migration opens it. This database keeps the old view until some unrelated migration opens it. A
    new database gets the new view at once. So the two databases differ for an unknown time.

    ## How to fix it

    Open it in a migration, or declare a successor that takes over from there.

    ```python
    @migration(requires=[create_invoice])
    def net_totals(db):
        with Totals(db):                             # good: every database gets it, here
            pass
        return True
    ```
    """
    applied = context.history.applied
    brought_up = context.timeline.brought_up.items()
    coming = {view for name, views in brought_up if name not in applied for view in views}
    for name in sorted(edited_views(context.graph, context.history) - coming):
        message = (
            f"the text of view {quoted(name)} was edited after it was created, and no pending migration brings it up"
        )
        hint = f"bring it in with a new migration: `{name}.renew(db)`, or declare a successor with `replaces = {name}`"
        yield Hit(context.graph.views[name], message, hint)


@rule("MG409", Severity.WARNING, Needs.HISTORY)
def unfilled_view(context: Context) -> Iterator[Hit]:
    """A materialized view that came up without its rows and was not refreshed.

    ## What it finds

    A materialized view that a migration brought up deferred (`rebuild = "deferred"`, `@migration(views="deferred")`) and whose
    refresh failed, or was cut short. Needs a database (`--history`).

    ```text
    sales_by_day: could not be refreshed: division by zero       # bad: nobody can read it
    ```

    ## Why it matters

    Until it is refreshed, whoever reads it gets the error "has not been populated".

    ## How to fix it

    Correct what the run reported, if it reported something, and run `migrate apply` again: it refreshes such views
    first.

    ```console
    $ migrate apply                                              # good: refreshed, also when nothing is pending
    ```
    """
    for stored in context.history.views_unfilled:
        message = f"materialized view {quoted(stored.relation)} came up in {quoted(stored.migration)} without its rows, and has none yet"
        node = Node(NodeKind.VIEW, stored.manager)
        yield Hit(context.graph.views.get(stored.manager, node), message, "run `migrate apply`: it refreshes it first")


_SHOWN_OF_A_DEFINITION = 300
_SHOWN_OF_ONE_KIND = 20


@rule("MG408", Severity.WARNING, Needs.HISTORY)
def drifted_schema(context: Context) -> Iterator[Hit]:
    """Something in the database that was changed by hand after the last run.

    ## What it finds

    A table, a column, an index, a constraint, a view, a function, a trigger, a privilege, … that came, went or changed since the
    last run of `migrate apply`, with its definition before and now. After each run the schema of the database is stored. These
    do not count: what extensions own, what is temporary, the tool's own tables, statistics, the number of rows, and what
    `drift_ignore` names. If no schema was stored, or another version of the tool or of the server stored it, the rule is silent
    and `migrate status --drift` says why. Needs a database (`--history`).

    ```sql
    CREATE INDEX invoice_due ON invoice (due);       -- bad: typed into psql on Saturday night
    ```

    ## Why it matters

    Only this database has it: a new one, a test and the next rehearsal do not. A migration that makes the same thing later fails
    here, and only here.

    ## How to fix it

    Write the migration for it, and record that its work is done here; or undo the change.

    ```console
    $ migrate drift --adopt index_due_dates           # good: other databases get it, too
    $ migrate mark index_due_dates_20260401_001 --installed
    ```

    If a program makes tables while it runs (partitions), name them in the settings: `drift_ignore = ["public.log_2026_*"]`.
    """
    alike: dict[tuple[str, str], list[str]] = {}
    for change in context.drifted:
        alike.setdefault((change.fact.kind, str(change.what)), []).append(change.fact.identity)
    hint = "`migrate drift --adopt NAME` writes a migration for it; undo it, or name it in `drift_ignore`"
    for (kind, what), names in alike.items():
        if len(names) > _SHOWN_OF_ONE_KIND:
            message = f"{kind} {quoted(names[0])} and {len(names) - 1:,} more of that kind were {what} by hand"
            yield Hit(Node(NodeKind.OBJECT, names[0]), message, f"`migrate drift` shows each of them; {hint}")
    for change in context.drifted:
        name = change.fact.identity
        if len(alike[change.fact.kind, str(change.what)]) > _SHOWN_OF_ONE_KIND:
            continue
        definitions = [("was", change.before), ("is", change.after)]
        told = [f"{word}: {_shortened(text)}" for word, text in definitions if text]
        message = "; ".join([f"{change.fact.kind} {quoted(name)} was {change.what} by hand", *told])
        yield Hit(Node(NodeKind.OBJECT, name), message, hint)


def _shortened(definition: str) -> str:
    text = " ".join(definition.split())
    return text if len(text) <= _SHOWN_OF_A_DEFINITION else f"{text[:_SHOWN_OF_A_DEFINITION]}…"
