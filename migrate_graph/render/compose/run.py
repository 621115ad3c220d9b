"""Compose the picture of a run that is over: what it did in which order, how long that took, and how long each view was down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct, field

from migrate_graph.core.graph import EdgeKind, Node, NodeKind
from migrate_graph.core.history import Attempt, AttemptState
from migrate_graph.core.states import State
from migrate_graph.messages import counted, lasting
from migrate_graph.redaction import one_line
from migrate_graph.render import PictureOptions
from migrate_graph.render.compose.boxes import arrows, box, is_implied, links
from migrate_graph.render.compose.graph import check_link_template
from migrate_graph.render.picture import Picture, PictureInput, PictureNode, Question
from migrate_graph.render.style import EdgeState

if TYPE_CHECKING:
    from migrate_graph.core.timeline import ViewChanges

_WORTH_TELLING = 1.0
"""A pause between two migrations is shown from so many seconds on: starting the next one takes a moment."""
_STATES = {
    AttemptState.APPLIED: State.APPLIED,
    AttemptState.FAILED: State.FAILED,
    AttemptState.RUNNING: State.INTERRUPTED,
    AttemptState.REVERTED: State.REVERTED,
    AttemptState.REVERTING: State.INTERRUPTED,
    AttemptState.REVERT_FAILED: State.FAILED,
}


class _Ran(Struct):
    """A migration in a run: its last attempt, the number of its attempts, and the seconds for which it waited between them."""

    last: Attempt
    tries: int = 1
    waited: float = 0.0


class _Away(Struct):
    """What a run did to a view, and for how many seconds it may have been away."""

    state: State
    seconds: float = 0.0
    places: list[int] = field(default_factory=list)


def picture_of_run(
    given: PictureInput, attempts: Sequence[Attempt], *, changes: Mapping[str, ViewChanges], options: PictureOptions
) -> Picture:
    """Compose the picture of a run.

    Args:
        given: the graph as it is now.
        attempts: of that run, oldest first.
        changes: what each of its migrations did to views, by the graph.
        options: title and links.

    Raises:
        UsageError: the link template is no URL that may be drawn.
    """
    check_link_template(options.link_template)
    ran = _ran(attempts)
    views = _views(ran, changes)
    shown = {Node(NodeKind.MIGRATION, name) for name in ran} | {Node(NodeKind.VIEW, name) for name in views}
    edges = [
        edge
        for edge in given.graph.edges()
        if edge.before in shown and edge.after in shown and not is_implied(edge, given.graph)
    ]
    nodes = [_migration(name, each, place, given, options) for place, (name, each) in enumerate(ran.items(), 1)]
    nodes += [_view(name, each, given, options) for name, each in views.items()]
    told = (edge for edge in edges if edge.kind is not EdgeKind.TOUCHES)
    return Picture(
        question=Question.RUN,
        title=one_line(options.title),
        subtitle=_subtitle(attempts, ran),
        nodes=tuple(nodes),
        edges=tuple(arrows(told, lambda *_: EdgeState.LIVE)),
        links=tuple(links(edges, given.graph)),
        total=len(nodes),
        shown=len(nodes),
    )


def _ran(attempts: Sequence[Attempt]) -> dict[str, _Ran]:
    """Return the migrations of a run in the order in which each was tried last."""
    ran: dict[str, _Ran] = {}
    ended = None
    for attempt in attempts:
        pause = (attempt.started - ended).total_seconds() if attempt.started and ended else 0.0
        earlier = ran.pop(attempt.name, None)
        tries, waited = (earlier.tries + 1, earlier.waited) if earlier else (1, 0.0)
        ran[attempt.name] = _Ran(attempt, tries, waited + (pause if pause >= _WORTH_TELLING else 0.0))
        ended = attempt.finished or ended
    return ran


def _views(ran: Mapping[str, _Ran], changes: Mapping[str, ViewChanges]) -> dict[str, _Away]:
    """Return what a run did to each view. For other sessions, a view that is rebuilt is away at most as long as its migration takes."""
    found: dict[str, _Away] = {}
    for place, (name, each) in enumerate(ran.items(), 1):
        if each.last.state is not AttemptState.APPLIED or name not in changes:
            continue
        done = changes[name]
        for names, state in ((done.rebuilt, State.REBUILT), (done.new, State.ADDED), (done.retired, State.REMOVED)):
            for view in names:
                away = found.setdefault(view, _Away(state))
                away.state = State.ADDED if (away.state, state) == (State.ADDED, State.REBUILT) else state
                away.places.append(place)
                away.seconds += (each.last.duration or 0.0) if state is State.REBUILT else 0.0
    return found


def _migration(name: str, ran: _Ran, place: int, given: PictureInput, options: PictureOptions) -> PictureNode:
    node = Node(NodeKind.MIGRATION, name)
    took = lasting(ran.last.duration) if ran.last.duration is not None else "not finished"
    notes = [took, f"{ran.tries} tries" if ran.tries > 1 else "", f"waited {lasting(ran.waited)}" if ran.waited else ""]
    return box(
        node,
        given.declared(node),
        state=_STATES[ran.last.state],
        notes=tuple(filter(None, notes)),
        sentence=ran.last.error,
        place=place,
        link_template=options.link_template,
    )


def _view(name: str, away: _Away, given: PictureInput, options: PictureOptions) -> PictureNode:
    node = Node(NodeKind.VIEW, name)
    word = {State.REBUILT: "rebuild", State.ADDED: "new", State.REMOVED: "retire"}[away.state]
    steps = ",".join(f"#{place}" for place in dict.fromkeys(away.places))
    notes = [f"view · {word} {steps}", f"away {lasting(away.seconds)} at most" if away.seconds else ""]
    return box(
        node,
        given.declared(node),
        state=away.state,
        notes=tuple(filter(None, notes)),
        link_template=options.link_template,
    )


def _subtitle(attempts: Sequence[Attempt], ran: Mapping[str, _Ran]) -> str:
    counts = Counter(_STATES[each.last.state] for each in ran.values())
    parts = [", ".join(f"{number} {state}" for state, number in sorted(counts.items()))]
    first, last = attempts[0].started, max((each.finished for each in attempts if each.finished), default=None)
    if first and last:
        parts.append(f"{first:%Y-%m-%d %H:%M:%S}Z, {lasting((last - first).total_seconds())} in all")
    retries = sum(each.tries - 1 for each in ran.values())
    parts += [counted(retries, "retry")] if retries == 1 else [f"{retries} retries"] if retries else []
    return " · ".join((f"run {one_line(attempts[0].run)[:8]}", *parts))
