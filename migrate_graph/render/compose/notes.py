"""The few words under the name in a box, and more details to be shown on demand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from migrate_graph.core.footprint import KEEPS_OTHERS_OUT
from migrate_graph.core.graph import Node, NodeKind
from migrate_graph.core.model import Migration, TransactionMode, View
from migrate_graph.core.states import NodeState, State
from migrate_graph.messages import counted, sized
from migrate_graph.redaction import one_line
from migrate_graph.render.labels import COLUMNS
from migrate_graph.render.picture import PictureInput, shortened

if TYPE_CHECKING:
    from migrate_graph.core.plan import Step

_PLACES_TOLD = 3
_STATEMENTS_TOLD = 12
_SHOUTED = {State.CYCLE: "CYCLE", State.FAILED: "FAILED"}
_QUIET = frozenset({State.DECLARED, State.APPLIED})


def notes_of(node: Node, known: NodeState, codes: Sequence[str]) -> tuple[str, ...]:
    """Return the words under the name in a box, and behind them the codes of findings about it."""
    words = _words_of_view(known) if node.kind is NodeKind.VIEW and known.state is not State.ORPHAN else _words(known)
    if not codes:
        return words
    together = " · ".join((*words, *codes))
    return (together,) if len(together) <= COLUMNS else (*words, " ".join(codes))


def _words(known: NodeState) -> tuple[str, ...]:
    place = f"#{known.place}" if known.place else ""
    if known.state is State.ORPHAN:
        return ("not in code",) if known.recorded else ("unknown",)
    if known.state is State.FAILED:
        return (f"FAILED, again as {place}",) if place else ("FAILED",)
    if not known.asked:
        return ("not asked for",)
    if known.state in _QUIET:
        return ()
    word = _SHOUTED.get(known.state, str(known.state))
    return (f"{place} {word}",) if place else (word,)


def _words_of_view(known: NodeState) -> tuple[str, ...]:
    if known.change and known.state is known.change.state:
        return (f"view · {known.change}", *_steps_of_view(known))
    word = _state_of_view(known)
    return (f"view · {word}",) if word else ("view",)


def _steps_of_view(known: NodeState) -> Iterator[str]:
    """Yield which steps take it down and bring it up: `↓#2 ↑#2`; of many, the first and the last."""
    parts = (_places("↓", known.taken_down), _places("↑", known.brought_up))
    line = " ".join(part for part in parts if part)
    if line:
        yield line


def _places(arrow: str, places: Sequence[int]) -> str:
    if len(places) > _PLACES_TOLD:
        return f"{arrow}#{places[0]}…#{places[-1]}"
    return f"{arrow}{','.join(f'#{place}' for place in places)}" if places else ""


def notes_of_step(step: Step) -> tuple[str, ...]:
    """Return what a step does to views, in a few signs: `views +1 ~2 -1`."""
    counts = (("+", step.views.new), ("~", step.views.rebuilt), ("-", step.views.retired))
    signs = " ".join(f"{sign}{len(names)}" for sign, names in counts if names)
    return (f"views {signs}",) if signs else ()


def notes_of_footprint(step: Step) -> tuple[str, ...]:
    """Return what a step did in a rehearsal, in a few words: what is written anew, how many tables are locked, rows written."""
    seen = step.footprint
    if seen is None:
        return ()
    bytes_ = [rewrite.size for rewrite in seen.rewrites if rewrite.size]
    locked = {name for name, lock in seen.locks.items() if lock in KEEPS_OTHERS_OUT and name in seen.sizes}
    rows = sum(wrote.rows for wrote in seen.wrote.values())
    lines = [
        f"rewrites {sized(sum(bytes_))}" if bytes_ else "rewrites" if seen.rewrites else "",
        f"locks {counted(len(locked), 'table')}" if locked else "",
        f"writes {counted(rows, 'row')}" if rows else "",
        "fails in rehearsal" if seen.failure else "",
    ]
    return tuple(line for line in lines if line)


def details_of_footprint(step: Step) -> Iterator[tuple[str, str]]:
    """Yield the details of what a step did in a rehearsal: pairs of a word and a text."""
    seen = step.footprint
    if seen is None:
        return
    yield "in rehearsal", f"fails: {seen.failure}" if seen.failure else counted(len(seen.statements), "statement")
    for rewrite in seen.rewrites:
        yield "rewrites", str(rewrite)
    for lock in sorted(set(seen.locks.values()) & KEEPS_OTHERS_OUT):
        yield f"locks ({lock})", ", ".join(sorted(name for name in seen.locks if seen.locks[name] == lock))
    for name, wrote in seen.wrote.items():
        yield "rows", f"{name}: {wrote}"
    for word, facts in (("adds", seen.added), ("changes", seen.changed), ("removes", seen.removed)):
        yield word, shortened([*map(str, sorted(facts))])
    for act in seen.outside:
        yield "outside", f"{act.what}{' (refused)' if act.refused else ''}"
    for statement in seen.statements[:_STATEMENTS_TOLD]:
        yield "SQL", " ".join(statement.sql.split())
    if len(seen.statements) > _STATEMENTS_TOLD:
        yield "SQL", f"and {len(seen.statements) - _STATEMENTS_TOLD:,} more"


def _state_of_view(known: NodeState) -> str:
    if known.state is State.DECLARED:
        return "not yet" if known.waits_for else ""
    return "" if known.state is State.APPLIED else _SHOUTED.get(known.state, str(known.state))


class Details:
    """Looks up the details of all nodes of one picture."""

    def __init__(self, given: PictureInput) -> None:
        self._given = given
        self._findings: dict[Node, list[tuple[str, str]]] = {}
        for finding in given.findings:
            text = f"{finding.message} ({finding.hint})" if finding.hint else finding.message
            self._findings.setdefault(finding.subject, []).append((finding.code, text))

    def of(self, node: Node) -> tuple[tuple[str, str], ...]:
        """Return pairs of a word and a text, made printable."""
        declared = self._given.declared(node)
        known = self._given.states.get(node, NodeState(State.DECLARED))
        pairs: Iterator[tuple[str, str]] = iter(())
        if isinstance(declared, View):
            pairs = _of_view(declared, known)
        elif node.kind is NodeKind.MIGRATION:
            pairs = self._of_migration(declared, known)
        return tuple((word, one_line(text)) for word, text in (*pairs, *self._findings.get(node, ())) if text)

    def _of_migration(self, declared: Migration | View | None, known: NodeState) -> Iterator[tuple[str, str]]:
        if isinstance(declared, Migration):
            yield from _declaration(declared)
            yield "opens", ", ".join(dict.fromkeys(declared.touches))
        step = self._given.plan.step_of(declared.name) if self._given.plan and declared else None
        if step:
            yield "creates", ", ".join(step.views.new)
            yield "rebuilds", ", ".join(step.views.rebuilt)
            yield "retires", ", ".join(step.views.retired)
            yield from details_of_footprint(step)
        attempt = known.attempt
        if attempt:
            started = f"{attempt.started:%Y-%m-%d %H:%M:%S} UTC" if attempt.started else ""
            yield "last attempt", f"{attempt.state} {started}".strip()
        yield "error", known.error
        yield "by hand", known.remark
        yield "own commits kept", str(known.commits or "")
        yield "blocked by", ", ".join(known.waits_for)


def _declaration(migration: Migration) -> Iterator[tuple[str, str]]:
    yield "description", " ".join(migration.description.split())
    yield "tags", ", ".join(sorted(migration.tags))
    if migration.transaction is not TransactionMode.OWN:
        yield "transaction", str(migration.transaction)


def _of_view(view: View, known: NodeState) -> Iterator[tuple[str, str]]:
    yield "description", " ".join(view.description.split())
    yield "since", view.since or ""
    yield "until", view.until or ""
    yield "replaces", view.replaces or ""
    yield "hands over to", known.heir or ""
    yield "replaced by", known.replaced_by or ""
