"""MG707 and MG708: ways back that do not lead back to what was there before."""

from __future__ import annotations

from collections.abc import Iterator

from migrate_graph.core.rules.rule import Context, Hit, Needs, Related, Severity, node_of, quoted, rule
from migrate_graph.core.traces import TrialKind
from migrate_graph.messages import some

_MOST = 6
"""How many things one message names."""


@rule("MG707", Severity.ERROR, Needs.FOOTPRINTS)
def no_way_back(context: Context) -> Iterator[Hit]:
    """A way back that fails, or that cannot be derived.

    ## What it finds

    With `migrate verify --reverts`: a `down` that fails where its migration has just been applied to a new database; a migration
    that fails when it is applied again after its `down`; and `down="auto"` on a migration that does more than add something.

    ```python
    @migration(requires=create_orders_20260401_001, down="auto")    # bad: rows of an older table are written
    def add_total_20260402_001(db):
        db.executesql("ALTER TABLE orders ADD COLUMN total INTEGER")
        db.executesql("UPDATE orders SET total = 0")
        return True
    ```

    ## Why it matters

    `migrate revert` refuses it, or fails, at the moment when somebody needs it.

    ## How to fix it

    Write a function that undoes it, or correct the one that is there.

    ```python
    def drop_total(db):
        db.executesql("ALTER TABLE orders DROP COLUMN total")
        return True


    @migration(requires=create_orders_20260401_001, down=drop_total)    # good
    def add_total_20260402_001(db): ...
    ```
    """
    from migrate_graph.core.way_back import ADVICE  # most commands ask no footprints, and begin sooner

    for trial in context.footprints.trials:
        if not trial.kind.goes_back:
            continue
        migration = context.graph.migrations[trial.name]
        if trial.reasons:
            why = "; ".join(what for what, _ in trial.reasons)
            places = [(what, place) for what, place in trial.reasons if place is not None]
            related = tuple(Related(node_of(migration), what, place) for what, place in places)
            place = places[0][1] if places else None
            yield Hit(migration, f"no way back can be derived for {quoted(trial.name)}: {why}", ADVICE, place, related)
        elif trial.error:
            hint = "correct its down" if trial.kind is TrialKind.BACK else "let its down undo all that it does"
            yield Hit(migration, f"{quoted(trial.name)} fails {trial.kind}: {trial.error}", hint, trial.source)


@rule("MG708", Severity.ERROR, Needs.FOOTPRINTS)
def reverts_to_something_else(context: Context) -> Iterator[Hit]:
    """A way back that does not restore what was there before.

    ## What it finds

    With `migrate verify --reverts`: each migration that has a way back is applied to a new database, undone, and applied again.
    What the database is made of must be the same after the undo as before the migration, and after the second time it is applied
    as after the first. Rows are not compared.

    ```python
    def drop_total(db):                                     # bad: the index of another table stays
        db.executesql("ALTER TABLE orders DROP COLUMN total")
        return True
    ```

    ## Why it matters

    What stays behind is in the way when the migration is applied again, and nobody knows why it is there. What is removed in
    addition is missing afterwards.

    ## How to fix it

    Let the `down` undo all that the migration does, and nothing else; or declare `down="auto"`, where it only adds something.

    ```python
    def drop_total(db):                                     # good
        db.executesql("DROP INDEX customer_name")
        db.executesql("ALTER TABLE orders DROP COLUMN total")
        return True
    ```
    """
    for trial in context.footprints.trials:
        if not (trial.kind.goes_back and trial.differences):
            continue
        then = "its way back" if trial.kind is TrialKind.BACK else "its way back and a second time there"
        yield Hit(
            context.graph.migrations[trial.name],
            f"after {then}, {quoted(trial.name)} leaves something else: {some(trial.differences, _MOST)}",
            "let its down undo all that it does, and nothing else",
            trial.source,
        )
