"""MG2xx: the windows in which views live: unknown names, and windows that are empty, overlap, or stay open when a view that is read ends."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain

from migrate_graph.core.graph import MigrationGraph, NodeKind
from migrate_graph.core.model import UsesFrom, View
from migrate_graph.core.reachability import ancestor_masks
from migrate_graph.core.rules.rule import Context, Hit, Related, Severity, Unless, listed, quoted, rule
from migrate_graph.core.timeline import Timeline
from migrate_graph.core.uses import parts_of

_VERSION = re.compile(r"_[vV]\d+$")


@rule("MG203", Severity.ERROR, compatible={NodeKind.VIEW: Severity.WARNING}, unless=Unless.OPENED)
def unknown_since(context: Context) -> Iterator[Hit]:
    """A window that never opens.

    ## What it finds

    A view manager whose `since` is not the name of a migration.

    ```python
    class InvoiceTotals(ViewMigrationManager):
        since = "create_invioce"                     # bad: nothing has this name
    ```

    ## Why it matters

    The view would never exist, and no message would say so.

    ## How to fix it

    Correct the name, or import the file that declares the migration.

    ```python
    class InvoiceTotals(ViewMigrationManager):
        since = "create_invoice"                     # good
    ```
    """
    return _unknown_bounds(context, "since", "it never would")


def _unknown_bounds(context: Context, word: str, therefore: str) -> Iterator[Hit]:
    """Yield the views whose `since` or `until` names something that no file declares."""
    for view in context.graph.views.values():
        bound = getattr(view, word)
        if bound is not None and bound not in context.graph.migrations:
            message = f"view {quoted(view.name)} lives {word} {quoted(bound)}, which nothing declares: {therefore}"
            otherwise = f"declare {quoted(bound)}, or remove `{word}`"
            yield Hit(view, message, context.where_is(bound, context.graph.migrations, otherwise))


@rule("MG204", Severity.WARNING)
def unknown_until(context: Context) -> Iterator[Hit]:
    """A window that never closes.

    ## What it finds

    A view manager whose `until` is not the name of a migration.

    ```python
    class InvoiceTotals(ViewMigrationManager):
        until = "drop_totals"                        # bad: the migration is called drop_invoice_totals
    ```

    ## Why it matters

    The view is brought up again for ever, even after the tables that it reads are gone. This is correct as long as the
    migration is not written yet, so it is only a warning.

    ## How to fix it

    Correct the name, or import the file that declares the migration.

    ```python
    class InvoiceTotals(ViewMigrationManager):
        until = "drop_invoice_totals"                # good
    ```
    """
    return _unknown_bounds(context, "until", "it never ends")


@rule(
    "MG205",
    Severity.ERROR,
    applied=Severity.WARNING,
    compatible={NodeKind.VIEW: Severity.WARNING},
    unless=Unless.OPENED,
)
def empty_window(context: Context) -> Iterator[Hit]:
    """A window that closes before it opens.

    ## What it finds

    A view manager whose `until` does not run after its `since`: it is the same migration, it is required by `since`,
    or nothing puts the two in order and the tie-break lets `until` run first. (Where the tie-break happens to let
    `since` run first, that is MG209.)

    ```python
    class InvoiceTotals(ViewMigrationManager):
        since = "widen_total"
        until = "create_invoice"                     # bad: widen_total requires create_invoice
    ```

    ## Why it matters

    The view never exists between two migrations, and no message would say so.

    ## How to fix it

    Exchange the two, or name the migration that really ends the view.

    ```python
    class InvoiceTotals(ViewMigrationManager):
        since = "create_invoice"
        until = "widen_total"                        # good
    ```
    """
    places = context.timeline.places
    for view in context.timeline.sound_views.values():
        if view.since is None or view.until is None or places[view.until] > places[view.since]:
            continue
        if view.since != view.until and not context.misplaced.isdisjoint({view.since, view.until}):
            continue  # the rule about the wrong `requires` reports this
        how = "is also" if view.since == view.until else f"runs before {quoted(view.since)},"
        message = f"view {quoted(view.name)} lives until {quoted(view.until)}, which {how} its `since`"
        yield Hit(view, message, f"name a migration for `until` that requires {quoted(view.since)}")


@rule("MG206", Severity.ERROR, applied=Severity.WARNING, compatible={NodeKind.VIEW: Severity.WARNING})
def outlived_dependency(context: Context) -> Iterator[Hit]:
    """A view that lives while a view it uses does not.

    ## What it finds

    A view manager whose window is open while the window of a manager in its `uses` is closed, and no successor of the
    used view (by `replaces`, directly or not) lives then either. Three moments are checked: when a migration brings the
    view up, when its own `since` opens it, and when the `until` of the used view closes the used view. A view without
    `since` is not reported for the time before anything creates it.

    ```python
    class Lines(ViewMigrationManager):
        until = "drop_lines"

    class Totals(ViewMigrationManager):
        uses = (Lines,)                              # bad: goes on after Lines has gone
    ```

    ## Why it matters

    The database refuses to create such a view, or to drop the one it reads.

    ## How to fix it

    Give the view a window inside the window of the view that it uses, or let a successor take the place of the used
    view.

    ```python
    class Totals(ViewMigrationManager):
        uses = (Lines,)
        until = "drop_lines"                         # good: both end together
    ```
    """
    graph = context.graph
    timeline = context.timeline
    told: set[tuple[str, str]] = set()
    for reader, used, when in chain(
        _brought_up_early(timeline, graph), _opened_early(timeline), _left_over(timeline, graph)
    ):
        # A guessed `uses` may be a word that is no view, or an old version.
        if reader.uses_from is UsesFrom.DECLARED and (reader.name, used) not in told:
            told.add((reader.name, used))
            message = f"view {quoted(reader.name)} uses {quoted(used)}, which does not live {when}"
            related = (Related.at(graph.views[used], f"is used by {quoted(reader.name)}"),)
            hint = f"give {quoted(reader.name)} a window inside that of {quoted(used)}, or {quoted(used)} a successor"
            yield Hit(reader, message, hint, related=related)


def _brought_up_early(timeline: Timeline, graph: MigrationGraph) -> Iterator[tuple[View, str, str]]:
    """Find views that come up in a migration in which something they use does not live."""
    for name, views in timeline.brought_up.items():
        moment = timeline.during(name)
        for view in views:
            for used in graph.views[view].uses:
                if used in timeline.sound_views and not moment.in_window(moment.active_version(used)):
                    yield graph.views[view], used, f"when {quoted(name)} brings it up"


def _opened_early(timeline: Timeline) -> Iterator[tuple[View, str, str]]:
    """Find views whose `since` comes where something they use does not live."""
    for view in timeline.sound_views.values():
        if view.since is not None and view.uses:
            moment = timeline.during(view.since)
            for used in view.uses:
                if (
                    moment.active(view.name)
                    and used in timeline.sound_views
                    and not moment.in_window(moment.active_version(used))
                ):
                    yield view, used, f"when {quoted(view.since)} opens its window"


def _left_over(timeline: Timeline, graph: MigrationGraph) -> Iterator[tuple[View, str, str]]:
    """Find views that live on when something they use has closed and nothing has replaced it."""
    for view in timeline.sound_views.values():
        if view.until is None:
            continue
        moment = timeline.after(view.until)
        # A view that uses a predecessor reads its successor later: only when the last of them ends, nothing is left to read.
        for used in _and_predecessors(view, graph):
            if moment.in_window(moment.active_version(used)):
                break
            for reader in graph.uses.successors(used):
                if reader in timeline.sound_views and used in timeline.sound_views and moment.active(reader):
                    yield graph.views[reader], used, f"after {quoted(view.until)}"


def _and_predecessors(view: View, graph: MigrationGraph) -> list[str]:
    """Return a view, the one it replaces, the one that replaced, and so on; a ring is followed once."""
    family = {view.name: None}
    while (before := view.replaces) is not None and before in graph.views and before not in family:
        family[before] = None
        view = graph.views[before]
    return list(family)


@rule("MG207", Severity.ERROR, applied=Severity.WARNING, compatible={NodeKind.VIEW: Severity.WARNING})
def overlapping_versions(context: Context) -> Iterator[Hit]:
    """Two managers of one view that live at the same time.

    ## What it finds

    Two managers that both live after some migration, and that replace the same predecessor, have names that differ only
    in a version at the end (`Totals_V1`, `Totals_V2`), or have queries that make the same relation (`SqlView`). A
    manager that replaces the other, directly or not, cannot overlap with it: it takes over.

    ```python
    class Totals_V1(ViewMigrationManager): ...

    class Totals_V2(ViewMigrationManager):           # bad: nothing ends Totals_V1
        since = "widen_total"
    ```

    ## Why it matters

    Both create the same relation: the second creation fails, or silently changes what the first one made.

    ## How to fix it

    Declare that the newer one replaces the older one.

    ```python
    class Totals_V2(ViewMigrationManager):
        since = "widen_total"
        replaces = Totals_V1                         # good
    ```
    """
    graph = context.graph
    timeline = context.timeline
    if not graph.views:
        return
    bits, predecessors = ancestor_masks(graph.replaces, graph.views)
    last = len(timeline.places)
    told = set()
    for versions in _version_groups(timeline.sound_views.values()):
        windows = sorted(
            (
                timeline.places.get(view.since or "", -1),
                view.position,
                timeline.places.get(view.until or "", last),
                view,
            )
            for view in versions
        )
        for index, (_, _, closes, older) in enumerate(windows):
            for opens, _, _, newer in windows[index + 1 :]:
                if opens > closes:
                    break
                pair = (older.name, newer.name)
                chained = bits[older.name] & predecessors[newer.name] or bits[newer.name] & predecessors[older.name]
                if pair not in told and not chained and (when := _live_together(timeline, older, newer)):
                    told.add(pair)
                    yield _overlap(older, newer, when)


def _version_groups(views: Iterable[View]) -> Iterator[list[View]]:
    """Return the groups of managers that seem to make one relation."""
    groups: dict[tuple[str, str], list[View]] = {}
    for view in views:
        if view.replaces is not None:
            groups.setdefault(("successors of", view.replaces), []).append(view)
        groups.setdefault(("versions of", _VERSION.sub("", view.name)), []).append(view)
        for relation in _made_by(view):
            groups.setdefault(("makers of", ".".join(relation)), []).append(view)
    return (group for group in groups.values() if len(group) > 1)


def _made_by(view: View) -> set[tuple[str, ...]]:
    """Return the names of what the query of a view makes; those in the text of other managers are known without their schemas."""
    return {tuple(parts_of(relation)) for relation in view.relations if view.query}


def _live_together(timeline: Timeline, older: View, newer: View) -> str:
    """Return when both live, once the newer one's window has opened; empty when they do not."""
    if newer.since is None:
        moment, when = timeline.moment(applied=frozenset()), "from the start"
    elif newer.since == older.until:
        # Both windows are open in that one migration; it matters when it brings both up.
        both = {older.name, newer.name} <= set(timeline.brought_up.get(newer.since, ()))
        return f"in {quoted(newer.since)}" if both else ""
    else:
        moment, when = timeline.after(newer.since), f"after {quoted(newer.since)}"
    return when if moment.active(older.name) and moment.active(newer.name) else ""


def _overlap(older: View, newer: View, when: str) -> Hit:
    message = f"views {quoted(older.name)} and {quoted(newer.name)} both live {when}"
    if shared := _made_by(older) & _made_by(newer):
        message += f", and both create {'.'.join(min(shared))}"
    if older.replaces is not None and older.replaces == newer.replaces:
        hint = f"let {quoted(newer.name)} replace {quoted(older.name)} instead of {quoted(older.replaces)}"
    else:
        hint = f"add `replaces = {older.name}` to {quoted(newer.name)}, or end {quoted(older.name)} with `until`"
    return Hit(newer, message, hint, related=(Related.at(older, "lives at the same time"),))


@rule("MG208", Severity.ERROR, applied=Severity.INFO, compatible={NodeKind.MIGRATION: Severity.WARNING})
def touched_outside_window(context: Context) -> Iterator[Hit]:
    """A migration that opens a view where that view cannot live.

    ## What it finds

    A migration with `with V(db)` that must run before V's `since`, or after V's `until`, in every order that the
    requirements allow, and where no predecessor or successor of V lives in its place.

    ```python
    class Totals(ViewMigrationManager):
        since = "create_totals"

    @migration
    def widen_total(db):
        with Totals(db): ...                         # bad: create_totals requires widen_total
    ```

    ## Why it matters

    Opening a view outside of its window does nothing, without a message: the table below it is changed with the view in
    place, or the author believes that a view was created which was not.

    ## How to fix it

    Remove the block, or correct the window: the migration that first creates a view is its `since`. To drop what is left
    of a view after its `until`, call `V(db).down()`: alone, it does not open the view.

    ```python
    class Totals(ViewMigrationManager):
        since = "widen_total"                        # good: created by the migration that opens it
    ```
    """
    graph = context.graph
    timeline = context.timeline
    # Which views a migration opens is read from its text, which takes longer than everything else here.
    migrations = graph.migrations if timeline.sound_views else {}
    for name, migration in migrations.items():
        for touched in dict.fromkeys(migration.touches):
            if name in graph.unsortable or touched not in timeline.sound_views:
                continue
            view = timeline.sound_views[touched]
            if view.since is not None and graph.precedes(before=name, after=view.since):
                why = f"runs before its `since`, {quoted(view.since)}"
            elif view.until is not None and graph.precedes(before=view.until, after=name):
                why = f"runs after its `until`, {quoted(view.until)}"
            else:
                continue
            if not timeline.during(name).affected([touched]):
                message = f"{quoted(name)} opens view {quoted(touched)}, but {why}"
                hint = f"remove the block from {quoted(name)}, or correct the window"
                yield Hit(migration, message, hint, related=(Related.at(view, "does not live there"),))


@rule("MG209", Severity.WARNING)
def unordered_window(context: Context) -> Iterator[Hit]:
    """A window that only the tie-break puts in order.

    ## What it finds

    A `since` or `until` that no requirement orders against a migration that opens the view, or a `since` that no
    requirement orders against `until`. There is one finding for each bound, with the migrations as related places.

    ```python
    class Totals(ViewMigrationManager):
        since = "create_totals"

    @migration                                       # bad: nothing says that create_totals comes first
    def widen_total(db):
        with Totals(db): ...
    ```

    ## Why it matters

    Whether the view is rebuilt depends on the order of imports, or on the numbers in names: moving a file changes what
    happens to the database.

    ## How to fix it

    Let the migration require the bound.

    ```python
    @migration(requires="create_totals")             # good
    def widen_total(db):
        with Totals(db): ...
    ```
    """
    graph = context.graph
    places = context.timeline.places
    for view in context.timeline.sound_views.values():
        nowhere = graph.unsortable | context.misplaced  # other rules report these
        touching = [name for name in graph.touched_by(view.name) if name not in nowhere]
        # Where `until` runs before `since`, that is MG205.
        ends = [view.until] if view.until and view.since and places[view.until] > places[view.since] else []
        for kind, bound, others in (("since", view.since, ends), ("until", view.until, [])):
            if bound is None or bound in nowhere:
                continue
            loose = [name for name in (*others, *touching) if name not in nowhere and _unordered(graph, bound, name)]
            if loose:
                first, second = sorted((bound, loose[0]), key=places.__getitem__)
                told = f"is not ordered against {quoted(bound)}"
                related = tuple(Related.at(graph.migrations[name], told) for name in loose)
                whose = f"the `{kind}` of view {quoted(view.name)}"
                message = f"only the tie-break orders {quoted(bound)}, {whose}, against {listed(loose)}"
                yield Hit(view, message, f"let {quoted(second)} require {quoted(first)}", related=related)


def _unordered(graph: MigrationGraph, one: str, other: str) -> bool:
    return one != other and not graph.precedes(before=one, after=other) and not graph.precedes(before=other, after=one)


@rule("MG211", Severity.WARNING)
def view_without_time(context: Context) -> Iterator[Hit]:
    """A view that has no time in which it could exist.

    ## What it finds

    With `weave = "windows"`, a view manager that does not come up even when all migrations run from the first one on: its
    window has no beginning and closes before the last migration, or another version of the view lives in its place from the
    beginning to the end.

    ```python
    class OldTotals(SqlView):                        # bad: when does it begin?
        until = "drop_totals"
        query = "SELECT …"
    ```

    ## Why it matters

    An empty database never has this view. A database that was made earlier may have it, and loses it at `until`.

    ## How to fix it

    Say where the window opens, or remove the manager.

    ```python
    class OldTotals(SqlView):
        since = "create_invoice"                     # good
        until = "drop_totals"
        query = "SELECT …"
    ```
    """
    if not context.graph.registry.windows:
        return
    timeline = context.timeline
    built = {view for views in timeline.brought_up.values() for view in views}
    for name, view in timeline.sound_views.items():
        if name in built or _is_empty(view, timeline):
            continue
        hint = f"correct `since`, `until` or `replaces` of {quoted(name)}, or remove it"
        if view.since is None and view.until is not None:
            why = f"ends with {quoted(view.until)} and begins nowhere: an empty database never has it"
            hint = f"give {quoted(name)} a `since`, or remove it"
        elif timeline.relatives(name):
            why = "never comes up: another version lives in its place as long as its window is open"
        else:
            continue  # not every migration can run, which another rule reports, or there is no migration yet
        yield Hit(view, f"view {quoted(name)} {why}", hint)


def _is_empty(view: View, timeline: Timeline) -> bool:
    """Return whether a window closes before it opens, which MG205 reports."""
    places = timeline.places
    return view.since is not None and view.until is not None and places[view.until] <= places[view.since]
