"""The text of a run: one sentence for each event, and the summary at the end; the same in every output mode."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias, assert_never

from migrate_graph.cli.text import MOST, between, listed
from migrate_graph.core import events
from migrate_graph.core.events import Event, Outcome, Result
from migrate_graph.core.model import Way
from migrate_graph.messages import counted, lasting, sized, typed
from migrate_graph.redaction import one_line

if TYPE_CHECKING:
    from migrate_graph.cli.console import TextStyle

_NAMED = 8
"""If more migrations than this were committed, the summary gives only their number and the last one."""

NOT_RUN = frozenset({Outcome.BLOCKED, Outcome.NOT_REACHED})
"""The outcomes of migrations that did not run; the summary needs a line or two for all of them."""

_WORDS = {
    Outcome.APPLIED: ("ok", "good"),
    Outcome.REVERTED: ("reverted", "good"),
    Outcome.REFUSED: ("FAILED", "error"),
    Outcome.RAISED: ("FAILED", "error"),
    Outcome.BLOCKED: ("blocked", "warning"),
    Outcome.INTERRUPTED: ("INTERRUPTED", "error"),
    Outcome.NOT_REACHED: ("not reached", "muted"),
    Outcome.DONE: ("done", "good"),
    Outcome.ROLLED_BACK: ("rolled back", "muted"),
}


def _restore_progress(event: events.RestoreProgress) -> str:
    done = "checked" if event.checking else "restored"
    doing = f", at {one_line(event.doing)}" if event.doing else ""
    if not event.size:
        return f"{done} {sized(event.read)} of SQL{doing}"
    percentage = 100 * event.read // event.size
    return f"{done} {sized(event.read)} of {sized(event.size)} ({percentage}%){doing}"


def sentence(event: Event) -> str:  # noqa: C901, PLR0911 - one line for each event; in a table mypy could not find a missing one
    """Return one line about an event, without secrets or control characters."""
    if isinstance(event, _OfStep):
        return _of_step(event)
    if isinstance(event, _OfView):
        return _of_view(event)
    match event:
        case events.Connecting():
            return f"the database does not answer yet ({lasting(event.waited)}): {one_line(event.reason)}"
        case events.LockWaiting():
            limit = f"{lasting(event.waited)} of {lasting(event.limit)}"
            holder = f", held by {one_line(str(event.holder))}" if event.holder else ""
            return f"waiting for another run to finish ({limit}){holder}"
        case events.LockAcquired():
            return f"the lock is ours after {lasting(event.waited)}"
        case events.RestoreStarted():
            return f"restoring {one_line(event.path)} ({sized(event.size)})"
        case events.RestoreProgress():
            return _restore_progress(event)
        case events.RestoreFinished():
            return f"restored in {lasting(event.seconds)}"
        case events.RunStarted():
            blocked = f", {len(event.plan.blocked)} blocked" if event.plan.blocked else ""
            whole = ", all of them or none" if event.atomic and event.plan.steps else ""
            at_once = f", up to {event.jobs} at once" if event.jobs > 1 else ""
            return f"{counted(len(event.plan.steps), 'migration')} to {'revert' if event.reverts else 'run'}{whole}{at_once}{blocked}"
        case events.Warned():
            return f"note: {one_line(event.message)}{f' ({one_line(event.hint)})' if event.hint else ''}"
        case events.RunFinished():
            return headline(event)
    assert_never(event)


_OfStep: TypeAlias = (
    events.StepStarted
    | events.StepFinished
    | events.StepWaiting
    | events.StepRetrying
    | events.StepProgress
    | events.Printed
)


def _of_step(event: _OfStep) -> str:
    match event:
        case events.StepStarted():
            return f"[{event.index}/{event.total}] start {one_line(event.name)} ({one_line(str(event.source))})"
        case events.StepFinished():
            return f"[{event.index}/{event.total}] {outcome_of(event.result)}"
        case events.StepWaiting():
            return f"{one_line(event.name)} since {lasting(event.seconds)}: {one_line(event.reason)}"
        case events.StepRetrying():
            attempt = f"attempt {event.attempt} of {event.limit} in {lasting(event.delay)}"
            return f"{one_line(event.name)} is tried again, {attempt}: {one_line(event.reason)}"
        case events.StepProgress():
            return f"{one_line(event.name)}: {how_far(event)}"
        case events.Printed():
            return f"{one_line(event.name)} | {one_line(event.text)}"
    assert_never(event)


_OfView: TypeAlias = (
    events.ViewDropped
    | events.ViewCreated
    | events.ViewBuilt
    | events.ViewReplaced
    | events.ViewFellBack
    | events.ViewRefreshing
    | events.ViewRefreshed
)


def _of_view(event: _OfView) -> str:  # noqa: PLR0911 - one line for each event
    view = one_line(event.view)
    match event:
        case events.ViewDropped():
            return f"{one_line(event.migration)}: view down: {view}"
        case events.ViewCreated():
            rows = ", its rows come after the commit" if event.unfilled else ""
            return f"{one_line(event.migration or 'repair')}: view up: {view}{rows}"
        case events.ViewBuilt():
            built = f"view built beside the old one: {view} in {lasting(event.seconds)}"
            return f"{one_line(event.migration)}: {built}"
        case events.ViewReplaced():
            return f"{one_line(event.migration)}: view replaced, what reads it stays up: {view}"
        case events.ViewFellBack():
            stays = "is not replaced as it stands" if event.way is Way.IN_PLACE else "is not built beside the old one"
            return f"{one_line(event.migration)}: {view} {stays}: {one_line(event.reason)}"
        case events.ViewRefreshing():
            return f"refreshing {one_line(event.relation)} ({view})"
        case events.ViewRefreshed():
            return f"refreshed {one_line(event.relation)} ({view}) in {lasting(event.seconds)}"
    assert_never(event)


def outcome_of(result: Result) -> str:
    """Return how a migration ended, on one line."""
    word, _ = _WORDS[result.outcome]
    took = f" {lasting(result.seconds)}" if result.seconds else ""
    error = f": {one_line(result.error)}" if result.error else ""
    return f"{word} {one_line(result.name)}{took}{error}"


def style_of(outcome: Outcome) -> str:
    """Return the style of an outcome."""
    return _WORDS[outcome][1]


def how_far(event: events.StepProgress) -> str:
    """Return the progress that a migration has reported, as text."""
    unit = f" {one_line(event.unit)}" if event.unit else ""
    if not event.total:
        return f"{event.done:,}{unit}"
    return f"{event.done:,} of {event.total:,}{unit} ({event.done / event.total:.0%})"


def headline(finished: events.RunFinished) -> str:
    """Return the first line of the summary."""
    applied = len(finished.of(Outcome.APPLIED, Outcome.REVERTED))
    if not finished.results and not finished.signal:
        return "nothing to do: all that was asked for is applied"
    counts = [f"{applied} {'reverted' if finished.reverts else 'applied'}"]
    failed = sum(result.outcome.failed for result in finished.results)
    counts += [f"{failed} failed"] if failed else []
    counts += [
        f"{len(found)} {outcome}"
        for outcome in (Outcome.ROLLED_BACK, Outcome.BLOCKED, Outcome.NOT_REACHED)
        if (found := finished.of(outcome))
    ]
    whole = " in one transaction" if finished.atomic and finished.succeeded else ""
    stopped = f", stopped by signal {finished.signal}" if finished.signal else ""
    return f"{', '.join(counts)}{whole}{stopped} in {lasting(finished.seconds)}"


def summary(finished: events.RunFinished, style: TextStyle) -> Iterator[str]:
    """Yield the summary of a run.

    Failures come near the end, where a reader looks first; then what was committed, and the command to type next.
    """
    yield style.paint(headline(finished), "good" if finished.succeeded else "error")
    for result in finished.results:
        for warning in result.warnings:
            yield from _told("warning", "warning", f"{one_line(result.name)}: {one_line(warning)}", style)
    for result in finished.results:
        yield from _of_views(result, style)
    yield from _not_run(finished, style)
    for result in finished.results:
        if result.outcome.failed:
            yield from _failure(result, style)
    if finished.results or finished.signal:
        yield from style.lines(f"committed: {_committed(finished)}", indent=4)
    if following := _next_command(finished):
        yield from style.lines(following, head=f"{style.paint('next:', 'info')} ")


def _of_views(result: Result, style: TextStyle) -> Iterator[str]:
    """Yield what the run did with views during a migration: stepped aside, replaced, created without rows."""
    kept = result.outcome in {Outcome.APPLIED, Outcome.REVERTED}
    for views, became in (
        (result.stepped_aside if kept else (), "stepped aside, and came back"),
        (result.replaced if kept else (), "replaced; what reads them stayed up"),
        (result.unfilled if kept else (), "came up without rows, to be refreshed"),
    ):
        if views:
            text = f"{one_line(result.name)}: {listed(views, most=MOST)} {became}"
            yield from _told("views", "muted", text, style)


def _told(word: str, tone: str, text: str, style: TextStyle) -> list[str]:
    """Return the lines of a text after a coloured word."""
    return style.lines(text, head=f"  {style.paint(word, tone)}  ")


def _not_run(finished: events.RunFinished, style: TextStyle) -> Iterator[str]:
    """Yield the migrations without effect: those that are blocked, those that were rolled back, and those that the run did not reach."""
    blocked = finished.of(Outcome.BLOCKED)
    if len(blocked) > _NAMED:
        names = [result.name for result in blocked]
        yield from _told(
            "blocked", "warning", f"{len(names):,} ({between(names)}): {one_line(blocked[0].error)}", style
        )
    else:
        for result in blocked:
            yield from _told("blocked", "warning", f"{one_line(result.name)}: {one_line(result.error)}", style)
    for outcome in (Outcome.ROLLED_BACK, Outcome.NOT_REACHED):
        names = [result.name for result in finished.of(outcome)]
        if names:
            yield f"  {len(names):,} {outcome} ({between(names)})"


def _failure(result: Result, style: TextStyle) -> Iterator[str]:
    """Yield why a migration failed: the user's frames first, then the error and its place."""
    frames = result.traceback.rstrip().splitlines()
    if frames and frames[-1].strip() == result.error.strip():
        frames.pop()  # the error is written below, after the name
    for frame in frames:
        line = f"    {one_line(frame)}"
        indent = len(line) - len(line.lstrip())
        yield from style.lines(line.lstrip(), head=" " * indent, indent=indent + 2, tone="muted")
    place = f" ({one_line(str(result.source))})" if result.source else ""
    yield from _told("failed", "error", f"{one_line(result.name)}{place}: {one_line(result.error)}", style)
    for line in result.hint.splitlines():
        yield from style.lines(one_line(line), head=f"  {style.paint('hint:', 'info')} ")


def _committed(finished: events.RunFinished) -> str:
    names = [result.name for result in finished.of(Outcome.APPLIED, Outcome.REVERTED)]
    unfinished = [result for result in finished.results if not result.outcome.succeeded]
    partly = [f"{one_line(result.name)} in part" for result in unfinished if result.commits]
    partly += [f"{one_line(result.name)} in part, by an earlier attempt" for result in unfinished if result.kept_before]
    many = len(names) > _NAMED
    whole = (
        [f"{len(names)} migrations, the last is {one_line(names[-1])}"] if many else [one_line(name) for name in names]
    )
    partly += [f"of {one_line(result.name)} it is not known" for result in finished.results if result.commits is None]
    text = ", ".join([*whole, *partly])
    return text or "nothing, the database is as it was"


def _next_command(finished: events.RunFinished) -> str:
    interrupted = finished.of(Outcome.INTERRUPTED)
    undecided = next((each for each in finished.results if each.needs_decision), None)
    if undecided is not None:
        ways = "--applied | --reverted" if finished.reverts else "--applied | --retry"
        return one_line(typed("migrate resolve", undecided.name, ways))
    again = "migrate apply --atomic" if finished.atomic else "migrate apply"
    if finished.reverts:  # the migration that the user named is reverted last, after its dependents
        again = one_line(typed("migrate revert", finished.results[-1].name))
        again += " --with-dependents" if len(finished.results) > 1 else ""
    if finished.signal or (interrupted and interrupted[0].commits is not None):
        return f"{again} ({'begins again' if finished.atomic else 'goes on where this run stopped'})"
    failed = finished.of(Outcome.REFUSED, Outcome.RAISED)
    if failed and failed[0].passes:
        return f"{again}, {one_line(failed[0].passes)}"
    if failed:
        place = f" at {one_line(str(failed[0].source))}" if failed[0].source else ""
        return f"correct {one_line(failed[0].name)}{place}, then {again}"
    if finished.of(Outcome.BLOCKED):
        return "migrate status"
    return ""
