"""The text of `migrate verify` after its findings: how much was observed, and the requirements that would be added."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from migrate_graph.columns import hanging
from migrate_graph.messages import counted
from migrate_graph.redaction import one_line
from migrate_graph.workflow.adding_requires import requires_line

if TYPE_CHECKING:
    from migrate_graph.cli.console import TextStyle
    from migrate_graph.workflow.adding_requires import Added, Unable
    from migrate_graph.workflow.proof import Proof

_MOST = 8
"""The number of requirements without a visible reason that are listed by name."""


def proof_lines(proof: Proof, style: TextStyle) -> Iterator[str]:
    """Yield lines with what failed, how much was observed, and the declared requirements for which no reason was observed."""
    watched = proof.watched
    for result in watched.failed:
        if result.traceback:
            yield style.paint(f"{one_line(result.name)} failed:", "error")
            yield from (
                f"    {style.paint(one_line(line.rstrip()), 'muted')}" for line in result.traceback.splitlines()
            )
    ties = proof.commuting.ties.values()
    needs, conflicts = sum(bool(tie.needs) for tie in ties), sum(bool(tie.conflicts) for tie in ties)
    seen = len(proof.traces.entries) - len(watched.start & proof.traces.entries.keys())
    yield (
        f"{counted(seen, 'migration')} watched: {counted(needs, 'need')} and {counted(conflicts, 'conflict')} between them"
    )
    if watched.start:
        yield f"{counted(len(watched.start), 'migration')} not watched: the backup has them applied"
    for remark in (*watched.remarks, *([f"it ended early: {watched.cut}"] if watched.cut else [])):
        yield from style.lines(f"note: {one_line(remark)}", indent=6)
    yield from _tried_lines(proof)
    yield from _unreasoned_lines(proof, style)


def _tried_lines(proof: Proof) -> Iterator[str]:
    closure, orders = proof.closure, proof.orders
    if closure is not None:
        behind = f", {len(closure.behind)} not tried behind them" if closure.behind else ""
        yield (
            f"on what it requires alone: {counted(closure.tried, 'migration')} tried, "
            f"{len(closure.found)} had another result than in the full run{behind}"
        )
    if proof.trips is not None:
        back = sum(trip.is_round for trip in proof.trips)
        without = len(proof.watched.order) - len(proof.trips)
        yield (
            f"{back} of {counted(len(proof.trips), 'way')} back restore what was there before, and can be applied again; "
            f"{counted(without, 'migration')} without one"
        )
    if orders is not None:
        of = "of the inferred graph " if proof.additions else ""
        fewer = ": there are no more" if len(orders.tried) < orders.asked else ""
        if orders.own.failed is not None:
            fewer = f": none was tried, since {orders.own.failed.name} failed in the order that they are compared with"
        yield (
            f"{orders.alike} of {counted(len(orders.tried), 'other order')} {of}end alike (seed {orders.seed}){fewer}"
        )


def _unreasoned_lines(proof: Proof, style: TextStyle) -> Iterator[str]:
    pairs = proof.commuting.unreasoned
    if not pairs or not proof.is_complete:
        return
    yield style.paint(
        f"{counted(len(pairs), 'requirement')} for which the database showed no reason: it may lie in the data, or in how people work",
        "muted",
    )
    for before, after in pairs[:_MOST]:
        yield style.paint(f"    {one_line(after)} requires {one_line(before)}", "muted")
    if len(pairs) > _MOST:
        yield style.paint(f"    and {len(pairs) - _MOST} more: --json has them", "muted")


def addition_lines(proof: Proof, style: TextStyle) -> Iterator[str]:
    """Yield the requirements that the inferred graph adds, each with the place of its declaration."""
    additions = proof.additions or {}
    if not additions:
        yield "nothing to add: what is declared orders all that was seen"
        return
    total = sum(map(len, additions.values()))
    yield f"{counted(total, 'requirement')} to add, to {counted(len(additions), 'migration')}:"
    for name in proof.found.graph.migrations:
        if name in additions:
            migration = proof.found.graph.migrations[name]
            line = requires_line(dict.fromkeys([*migration.requires, *additions[name]]))
            yield f"  {one_line(str(migration.source))}  {style.paint(one_line(name), 'bold')}"
            yield from (f"      {part}" for part in hanging(one_line(line), style.width, column=6, indent=10))


def added_lines(added: Added, style: TextStyle) -> Iterator[str]:
    """Yield which files were edited, and which requirements must be added by hand."""
    if added.names:
        yield f"{counted(len(added.names), 'migration')} edited in {', '.join(map(one_line, added.files))}"
    yield from _by_hand_lines(added.unable, style)


def _by_hand_lines(unable: Iterable[Unable], style: TextStyle) -> Iterator[str]:
    for each in unable:
        place, name = one_line(str(each.migration.source)), style.paint(one_line(each.migration.name), "bold")
        yield f"by hand: {place}  {name}: {one_line(each.why)}"
        yield f"      {one_line(each.line)}"
