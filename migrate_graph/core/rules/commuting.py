"""MG7xx: the graph against what the migrations were seen to need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from migrate_graph.core.graph import Node, NodeKind, Ordering
from migrate_graph.core.model import Migration
from migrate_graph.core.rules.rule import Context, Hit, Needs, Related, Severity, quoted, rule
from migrate_graph.core.traces import Trial, TrialKind, owner_of
from migrate_graph.messages import some
from migrate_graph.user_files import SourceLocation

if TYPE_CHECKING:
    from migrate_graph.core.commuting import Reason, Tie

_MOST = 3
"""How many things one message names."""


@rule("MG701", Severity.ERROR, Needs.FOOTPRINTS)
def undeclared_dependency(context: Context) -> Iterator[Hit]:
    """A migration that needs what another one makes, and does not require it.

    ## What it finds

    A migration that was seen (`migrate verify`) to lock, use or change something that another migration made, or whose tables,
    views or constraints depend on it, while no `requires` leads from the one to the other. If several migrations made a part
    of it, the last one is named. `migrate check` finds it without a database, from the footprint file.

    ```python
    @migration                                          # bad: nothing says that it needs the table
    def import_old_shop_20260209_001(db):
        db.executesql("INSERT INTO stock SELECT * FROM old_stock")
        return True
    ```

    ## Why it matters

    Where the migrations were added one after the other, all is well. A new database may run them in another order, and fails.

    ## How to fix it

    Add the requirement that the hint names.

    ```python
    @migration(requires="create_stock_20260112_001")    # good
    def import_old_shop_20260209_001(db): ...
    ```
    """
    undeclared = context.commuting.undeclared
    missing: dict[str, list[str]] = {}
    for tie in undeclared:
        missing.setdefault(tie.after, []).append(tie.before)
    for tie in undeclared:
        migration, maker = context.graph.migrations[tie.after], context.graph.migrations[tie.before]
        yield Hit(
            migration,
            f"{quoted(tie.after)} needs what {quoted(tie.before)} makes, and does not require it: {_things(tie.needs)}"
            f"{_confirmed(context, tie)}",
            f"add: {_requires([*migration.requires, *missing[tie.after]])}",
            related=(Related.at(maker, f"makes {_things(tie.needs)}"),),
        )


def _confirmed(context: Context, tie: Tie) -> str:
    """Return in words how a trial without the missing order ended; empty where there was none, or it went well."""
    found = next((trial for trial in context.footprints.trials if _is_of(trial, tie)), None)
    return f"; {found.kind} it {_outcome(found)}" if found else ""


def _is_of(trial: Trial, tie: Tie) -> bool:
    return trial.name == tie.after and (trial.kind is TrialKind.ALONE or trial.other == tie.before)


def _outcome(trial: Trial) -> str:
    return f"fails: {trial.error}" if trial.error else f"does something else: {_things(trial.differences)}"


def _unexplained(context: Context) -> Iterator[Trial]:
    """Yield the trials that did not end as they should, and that MG701 and MG702 do not report."""
    ties = [*context.commuting.undeclared, *context.commuting.unordered]
    trials = (trial for trial in context.footprints.trials if not trial.kind.goes_back)
    return (trial for trial in trials if not any(_is_of(trial, tie) for tie in ties))


def _requires(names: Iterable[str]) -> str:
    """Return the argument as it is written."""
    listed = ", ".join(f'"{name}"' for name in dict.fromkeys(names))
    return f"requires=[{listed}]"


def _things(things: Iterable[str]) -> str:
    """Return things in words; a relation is left out where its columns are named."""
    found = list(dict.fromkeys(things))
    owners = {owner for each in found if (owner := owner_of(each)) != each}
    told = [each for each in found if each not in owners]
    return some(told, _MOST)


@rule("MG702", Severity.ERROR, Needs.FOOTPRINTS)
def unordered_conflict(context: Context) -> Iterator[Hit]:
    """Two migrations in no order, although the order matters.

    ## What it finds

    Two migrations that no `requires` puts into an order, and that were seen (`migrate verify`) to do things whose order matters:
    both change one thing; one uses what the other changes or removes; one puts rows into a table that the other looks up; both
    work on the same columns of the same rows, and one of them writes. Two that only put rows into one table, or add columns to
    it, are not found. It is an error where `requires` says everything (`migration_ordering_mode = "declared"`), otherwise a
    warning; `migrate verify` ends with exit 3 in both cases.

    ```python
    @migration(requires="create_account_20261101_001")  # bad: which of the two runs first?
    def default_plan_20261101_002(db):
        db.executesql("UPDATE account SET plan = 'free' WHERE plan IS NULL")
        return True

    @migration(requires="create_account_20261101_001")
    def drop_plan_20261102_001(db):
        db.executesql("ALTER TABLE account DROP COLUMN plan")
        return True
    ```

    ## Why it matters

    Each of two branches may be right alone. Merged, one order fails, or ends with other data than the other; only the numbers in the names,
    or the order of imports, decide which order it is.

    ## How to fix it

    Put them into an order. When both orders are right, say so, and why: that silences this pair, and nothing else.

    ```python
    @migration(requires="default_plan_20261101_002")    # good
    def drop_plan_20261102_001(db): ...

    @migration(commutes_with="count_orders_20261103_001", why="both only add to the counters")
    def count_returns_20261103_002(db): ...
    ```
    """
    for tie in context.commuting.unordered:
        later, earlier = context.graph.migrations[tie.after], context.graph.migrations[tie.before]
        yield Hit(
            later,
            f"nothing orders {quoted(tie.before)} and {quoted(tie.after)}, and it matters: {_reasons(tie)}"
            f"{_confirmed(context, tie)}",
            f"on {quoted(tie.after)}, {_requires([*later.requires, tie.before])}; or, when both orders are right, "
            f'commutes_with="{tie.before}"',
            related=(Related.at(earlier, "the other one"),),
            severity=None if context.ordering is Ordering.DECLARED else Severity.WARNING,
        )


def _reasons(tie: Tie) -> str:
    first: dict[str, Reason] = {}
    for each in tie.conflicts:
        first.setdefault(each.what, each)  # of one thing, one reason is enough
    told = [f"{each.told} by the first and {each.after} by the second" for each in first.values()]
    return some(told, _MOST)


@rule("MG703", Severity.WARNING, Needs.FOOTPRINTS)
def stale_footprint(context: Context) -> Iterator[Hit]:
    """A footprint of another text than the migration has now.

    ## What it finds

    A migration whose entry in the footprint file was written when its text, the text of what it calls, or a view that it makes
    was different. Comments and formatting do not count. A migration without an entry, and an entry without a migration, are
    reported as information.

    ```sh
    migrate check      # bad: MG703, because somebody has edited the SQL since `migrate verify --write`
    ```

    ## Why it matters

    An old footprint tells nothing about the new text. `migrate check` leaves it out, and may miss what MG701 and MG702 would find.

    ## How to fix it

    Watch the migrations again, and commit the file.

    ```sh
    migrate verify --write
    git add migrations.footprint.json                   # good
    ```
    """
    traces, fresh = context.footprints, "write it anew: migrate verify --write"
    if traces.faults:
        return
    for name, migration in context.graph.migrations.items():
        if name not in traces.entries:
            message = f"{quoted(name)} has no footprint in {traces.file}"
            yield Hit(migration, message, "add it: migrate verify --write", severity=Severity.INFO)
        elif name not in context.current:
            why = _why_stale(context, migration)
            yield Hit(migration, f"the footprint of {quoted(name)} in {traces.file} is of another text{why}", fresh)
    for name in traces.entries.keys() - context.graph.migrations.keys():
        node = Node(NodeKind.FILE, traces.file)
        message = f"{traces.file} has a footprint of {quoted(name)}, which nothing declares"
        yield Hit(node, message, fresh, SourceLocation(traces.file, 1), severity=Severity.INFO)


def _why_stale(context: Context, migration: Migration) -> str:
    views = [
        name
        for name in context.footprints.entries[migration.name].views
        if not context.is_same_view(migration.name, name)
    ]
    return f" of the view {', '.join(map(quoted, views))}" if views else ""


@rule("MG704", Severity.ERROR, Needs.FOOTPRINTS)
def damaged_footprints(context: Context) -> Iterator[Hit]:
    """A footprint file that cannot be read.

    ## What it finds

    A footprint file that is not as `migrate verify --write` has written it: it has the marks of a merge in it, is cut off, was edited
    by hand, or was written by a later version. Nothing of it is used.

    ```text
    <<<<<<< HEAD                                        # bad: git could not merge it
    ,"add_total_20260402_001": {"fingerprint": …}
    =======
    ```

    ## Why it matters

    `migrate check` cannot compare the graph with what the migrations need.

    ## How to fix it

    Write it anew. Where two branches added a line at one place, keep both lines; or let git do that.

    ```text
    migrations.footprint.json merge=union               # good: a line in .gitattributes
    ```
    """
    file = context.footprints.file
    for line, fault in context.footprints.faults:
        yield Hit(
            Node(NodeKind.FILE, file), f"{file} cannot be used: {fault}", "write it anew: migrate verify --write",
            SourceLocation(file, line),
        )  # fmt: skip


@rule("MG705", Severity.ERROR, Needs.FOOTPRINTS)
def fails_on_new_database(context: Context) -> Iterator[Hit]:
    """A migration that fails on a new database, in an order that the graph permits.

    ## What it finds

    What `migrate verify` tries: a migration that fails in the order of the project, on what it requires alone (`--closure`), or in
    another order that the graph permits (`--permute`). If the place of one migration makes the difference, that one is named.

    ```python
    class Totals(SqlView):                              # bad: the column is added by a later migration
        since = "create_invoice_20260301_001"
        query = "SELECT total FROM invoice"
    ```

    ## Why it matters

    Databases that grew with the project have it all; a new one, for a test, a customer or a colleague, cannot be made.

    ## How to fix it

    Require what it needs, or let the window of a view begin where all that it reads is there.

    Where tables are older than the migrations, as after `migrate baseline`, no migration makes them: name a dump of them in
    `database_to_restore`. New databases begin with it.

    ```python
    class Totals(SqlView):                              # good
        since = "add_total_20260402_001"
        query = "SELECT total FROM invoice"
    ```
    """
    for trial in _unexplained(context):
        if trial.error:
            yield _hit(context, trial, f"{quoted(trial.name)} fails {trial.kind}: {trial.error}")


def _hit(context: Context, trial: Trial, message: str) -> Hit:
    migration, other = context.graph.migrations[trial.name], context.graph.migrations.get(trial.other)
    if other is None:
        return Hit(migration, message, _OF_ORDER[bool(trial.order)], trial.source)
    hint = f"add: {_requires([*migration.requires, trial.other])}"
    return Hit(migration, message, hint, trial.source, (Related.at(other, "all is well when it runs before"),))


_OF_ORDER = {
    False: "read the error and the line: something that it needs is not there on a new database "
    "(tables older than the migrations come from a dump: database_to_restore)",
    True: "find out what it needs, and require it; migrate verify --json tells the order",
}


@rule("MG706", Severity.ERROR, Needs.FOOTPRINTS)
def order_changes_result(context: Context) -> Iterator[Hit]:
    """Migrations whose result differs when they run in another order.

    ## What it finds

    With `migrate verify --permute`: two orders that the graph permits, after which the database is not made of the same things, or holds
    other rows; with `--closure`: a migration that does something else on what it requires alone. If the places of two
    migrations make the difference, those two are named.

    ```python
    @migration                                          # bad: whichever runs last decides the type
    def widen_note_20260401_001(db):
        db.executesql("ALTER TABLE customer ALTER COLUMN note TYPE text")
        return True
    ```

    ## Why it matters

    A new database differs from those that grew with the project.

    ## How to fix it

    Put the two into an order.

    ```python
    @migration(requires="narrow_note_20260320_001")     # good
    def widen_note_20260401_001(db): ...
    ```
    """
    for trial in _unexplained(context):
        if not trial.error:
            where = f"before {quoted(trial.other)}" if trial.other else str(trial.kind)
            yield _hit(context, trial, f"{quoted(trial.name)} {where} {_outcome(trial)}")
