"""What the reading commands say to people: values in, lines out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from textwrap import wrap
from typing import TYPE_CHECKING

from migrate_graph.core.history import Attempt, AttemptState, Status
from migrate_graph.core.model import Migration, View
from migrate_graph.core.plan import Plan, ReasonKind, Step
from migrate_graph.messages import counted
from migrate_graph.redaction import one_line

if TYPE_CHECKING:
    from migrate_graph.cli.console import Paint
    from migrate_graph.core.rules import Finding, Rule
    from migrate_graph.workflow.looking import MigrationState, Shown, StatusReport, ViewState, Why
    from migrate_graph.workflow.plan import Planned
    from migrate_graph.workflow.project import Project, Reading

_MARKS = {
    Status.APPLIED: ("✓", "good"),
    Status.PENDING: ("▶", "info"),
    Status.FAILED: ("✗", "error"),
    Status.INTERRUPTED: ("!", "error"),
    Status.RUNNING: ("»", "info"),
    Status.BLOCKED: ("⊘", "warning"),
    Status.ORPHAN: ("?", "warning"),
}


def listed(names: Iterable[str], *, nothing: str = "nothing") -> str:
    """Return names as one line of text."""
    return ", ".join(one_line(name) for name in names) or nothing


def lasting(seconds: float) -> str:
    """Return a duration: `0.2 s`, `3 m 12 s`, `2 h 05 m`."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(timedelta(seconds=seconds).total_seconds()), 60)
    return f"{minutes} m {rest:02} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} m"


def moment(when: datetime | None) -> str:
    """Return a time to the minute, with `Z` when it is known to be UTC; the ledger of 2.1.0 does not tell its zone."""
    if when is None:
        return ""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M}Z" if when.tzinfo else f"{when:%Y-%m-%d %H:%M}"


def hanging(text: str, *, column: int, width: int | None) -> list[str]:
    """Break a text at spaces so that it fits between a column and the terminal's width; words are never cut."""
    if width is None or column + len(text) <= width:
        return [text]
    return wrap(text, max(width - column, 20), break_long_words=False, break_on_hyphens=False) or [""]


def aligned(rows: Sequence[Sequence[str]], *, indent: str = "  ") -> list[str]:
    """Align the rows; no name is ever cut, whatever the terminal is like."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))] if rows else []
    return [
        (indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]


# -- plan ------------------------------------------------------------------------------------------------------------


_INDENT = 7
"""Where the lines under a step begin."""


def plan_text(project: Project, planned: Planned, paint: Paint, width: int | None = None) -> Iterator[str]:
    """Yield what would run, in which order and why."""
    plan, reading = planned.plan, planned.reading
    yield paint(_plan_heading(project, plan, reading), "bold")
    if reading.note:
        yield paint(f"({reading.note})", "muted")
    yield ""
    numbers = {step.migration.name: number for number, step in enumerate(plan.steps, start=1)}
    rows = [(str(numbers[step.migration.name]), step.migration.name, str(step.migration.source)) for step in plan.steps]
    widths = [max((len(one_line(row[at])) for row in rows), default=0) for at in range(3)]
    for step, row in zip(plan.steps, rows, strict=True):
        number, name, source = (one_line(cell) for cell in row)
        head = f"{number:>{max(widths[0], 3)}}  {paint(name, 'bold')}{' ' * (widths[1] - len(name))}"
        head += f"  {paint(source.ljust(widths[2]), 'muted')}"
        column = max(widths[0], 3) + widths[1] + widths[2] + 6
        yield from _beside(head, _reason(step, numbers), column=column, width=width)
        yield from _view_lines(step, paint, width)
    if plan.steps:
        yield ""
    yield from _plan_remarks(plan, paint)
    yield _plan_verdict(plan, planned.findings)


def _plan_heading(project: Project, plan: Plan, reading: Reading) -> str:
    counts = [counted(len(plan.order), "migration")]
    counts.append(f"{len(plan.applied)} applied")
    counts.append(f"{len(plan.steps)} to run")
    return " · ".join(part for part in (one_line(project.name), one_line(reading.database), ", ".join(counts)) if part)


def _reason(step: Step, numbers: dict[str, int]) -> str:
    parts = []
    if step.reason.kind is ReasonKind.AFTER and step.reason.after:
        parts.append("after " + ", ".join(str(numbers.get(name, one_line(name))) for name in step.reason.after))
    if step.reason.status is Status.FAILED:
        parts.append("tried again")
    if step.reason.late:
        parts.append("late")
    return "; ".join(parts)


def _beside(head: str, text: str, *, column: int, width: int | None) -> Iterator[str]:
    """Put a text beside a head that ends at a column, or below it where there is too little room."""
    first, *more = hanging(text, column=column, width=width)
    if width is not None and column + len(first) > width:
        yield head.rstrip()
        yield from (" " * _INDENT + line for line in hanging(text, column=_INDENT, width=width))
    else:
        yield f"{head}  {first}".rstrip()
        yield from (" " * column + line for line in more)


def _view_lines(step: Step, paint: Paint, width: int | None) -> Iterator[str]:
    rebuilt = step.views_up if set(step.views_up) - set(step.creates) else ()
    for word, style, names in (
        ("down", "warning", step.views_down),
        ("up", "good", rebuilt),
        ("new", "good", step.creates),
        ("gone", "muted", step.retires),
    ):
        if names:
            column = _INDENT + 6
            first, *more = hanging(listed(names), column=column, width=width)
            yield f"{' ' * _INDENT}{paint(word, style)}{' ' * (6 - len(word))}{first}"
            yield from (" " * column + line for line in more)


def _plan_remarks(plan: Plan, paint: Paint) -> Iterator[str]:
    if plan.added:
        yield f"added, because what was asked for requires it: {listed(plan.added)}"
    if plan.unselected:
        yield f"pending, but not asked for: {listed(plan.unselected)}"
    for name in plan.interrupted:
        yield paint(f"interrupted: {one_line(name)}: migrate resolve {one_line(name)} --applied | --retry", "error")
    if plan.orphans:
        yield paint(f"recorded, but not in the code: {listed(plan.orphans)}", "warning")


def _plan_verdict(plan: Plan, findings: Sequence[Finding]) -> str:
    if not plan.steps and not plan.blocked:
        head = "nothing to do"
    else:
        waiting = [f"{one_line(each.migration.name)} (waits for {listed(each.by)})" for each in plan.blocked]
        head = f"blocked: {', '.join(waiting) or 'nothing'}"
    return f"{head}   ·   findings: {_counts_of(findings)}"


def _counts_of(findings: Sequence[Finding]) -> str:
    if not findings:
        return "none"
    by_severity = groupby(sorted(finding.severity for finding in findings))
    nouns = {"info": "remark"}
    counts = ", ".join(counted(len(list(group)), nouns.get(severity, severity)) for severity, group in by_severity)
    return f"{counts} (migrate check)"


# -- status ----------------------------------------------------------------------------------------------------------


def status_text(project: Project, report: StatusReport, paint: Paint, *, only_views: bool = False) -> Iterator[str]:
    """Yield what is known of every migration and view."""
    yield paint(_status_heading(project, report), "bold")
    if report.reading.note:
        yield paint(f"({report.reading.note})", "muted")
    if report.lock_holder is not None:
        yield paint(f"at work on it now: {one_line(str(report.lock_holder))}", "warning")
    if not only_views:
        yield from _states_text(report.migrations, paint)
    yield from _views_text(report.views, paint)
    yield from _next_of(report, paint)


def _states_text(migrations: Sequence[MigrationState], paint: Paint) -> Iterator[str]:
    yield ""
    rows = [(one_line(state.name), str(state.status), moment(state.when), _lasted(state)) for state in migrations]
    for state, line in zip(migrations, aligned(rows, indent=""), strict=True):
        mark, style = _MARKS[state.status]
        yield f"  {paint(mark, style)} {line}{_remark(state, paint)}"
        if state.detail:
            yield paint(f"      {one_line(state.detail)}", "muted")


def _status_heading(project: Project, report: StatusReport) -> str:
    counts = [f"{report.count(status)} {status}" for status in Status if report.count(status)]
    total = sum(state.status is not Status.ORPHAN for state in report.migrations)
    migrations = f"{counted(total, 'migration')}{': ' if counts else ''}{', '.join(counts)}"
    return " · ".join(part for part in (one_line(project.name), one_line(report.reading.database), migrations) if part)


def _lasted(state: MigrationState) -> str:
    return lasting(state.duration) if state.duration is not None else ""


def _remark(state: MigrationState, paint: Paint) -> str:
    parts = []
    if state.commits:
        parts.append(f"{counted(state.commits, 'own commit')} kept")
    if state.late:
        parts.append("late: stands before something applied")
    if state.changed:
        parts.append("changed since it was applied")
    if state.status is Status.ORPHAN:
        parts.append("recorded, but not in the code")
    return f"  {paint('; '.join(parts), 'muted')}" if parts else ""


def _views_text(views: Sequence[ViewState], paint: Paint) -> Iterator[str]:
    if not views:
        return
    yield ""
    yield paint("views", "bold")
    rows = [(one_line(state.name), _view_sentence(state)) for state in views]
    for state, line in zip(views, aligned(rows, indent=""), strict=True):
        mark, style = (
            ("!", "error") if state.down or state.missing else ("✓", "good") if state.lives else ("-", "muted")
        )
        yield f"  {paint(mark, style)} {line}"
        if state.missing and not state.down:
            yield paint(f"      not in the database: {listed(state.missing)}", "error")
        if state.changed:
            yield paint(f"      changed by hand since it was made: {listed(state.changed)}", "warning")


def _view_word(state: ViewState) -> str:
    if state.down:
        return "DOWN"
    if state.lives:
        return "lives"
    if state.retired:
        return "retired"
    return f"replaced by {one_line(state.replaced_by)}" if state.replaced_by else "not yet"


def _view_sentence(state: ViewState) -> str:
    """Return the state with the end of the window that explains it."""
    view, word = state.view, _view_word(state)
    since = f"since {view.since}" if view.since else ""
    until = f"until {view.until}" if view.until else ""
    told = {"lives": (since, until), "DOWN": (since, until), "retired": (until,), "not yet": (since,)}.get(word, ())
    ends = ", ".join(one_line(end) for end in told if end)
    return f"{word} ({ends})" if ends else word


def window_of(view: View) -> str:
    """Return the window of a view in words."""
    parts = [f"since {view.since}" if view.since else "", f"until {view.until}" if view.until else ""]
    parts.append(f"replaces {view.replaces}" if view.replaces else "")
    return ", ".join(part for part in parts if part) or "always"


def _next_of(report: StatusReport, paint: Paint) -> Iterator[str]:
    interrupted = [state.name for state in report.migrations if state.status is Status.INTERRUPTED]
    lines = [f"migrate resolve {one_line(name)} --applied | --retry" for name in interrupted]
    if not lines and any(state.status in {Status.PENDING, Status.FAILED} for state in report.migrations):
        lines = ["migrate plan"]
    if lines:
        yield ""
        yield f"{paint('next:', 'info')} {lines[0]}"
        yield from (f"      {line}" for line in lines[1:])


# -- show, log, why --------------------------------------------------------------------------------------------------


def shown_text(shown: Shown, paint: Paint) -> Iterator[str]:
    """Say everything known of one migration or view."""
    declared = shown.declared
    yield f"{paint(one_line(declared.name), 'bold')}  {shown.node.kind}  {paint(one_line(str(declared.source)), 'muted')}"
    for line in declared.description.splitlines():
        yield f"  {one_line(line.strip())}".rstrip()
    yield ""
    rows = _migration_rows(shown, declared) if isinstance(declared, Migration) else _view_rows(shown, declared)
    width = max(len(key) for key, _ in rows)
    for key, value in rows:
        yield f"  {paint(key.ljust(width), 'muted')}  {value}"
    if shown.attempts:
        yield ""
        yield from log_text(shown.attempts, paint)


def _migration_rows(shown: Shown, declared: Migration) -> list[tuple[str, str]]:
    state = shown.state
    assert state is not None  # noqa: S101 - a migration always has one
    when = moment(state.when)
    rows = [("state", f"{state.status}{f', {when}' if when else ''}")]
    rows += [("detail", one_line(state.detail))] if state.detail else []
    rows += [("requires", listed(shown.requires)), ("required by", listed(shown.dependents))]
    rows += [("views", listed(shown.touches))] if shown.touches else []
    rows += [("transaction", str(declared.transaction))]
    rows += [("tags", listed(sorted(declared.tags)))] if declared.tags else []
    return rows


def _view_rows(shown: Shown, declared: View) -> list[tuple[str, str]]:
    state = shown.view_state
    assert state is not None  # noqa: S101 - a view always has one
    return [
        ("state", _view_word(state)),
        ("window", one_line(window_of(declared))),
        ("uses", listed(shown.requires)),
        ("used by", listed(shown.dependents)),
        ("touched by", listed(shown.touches)),
    ]


def log_text(attempts: Sequence[Attempt], paint: Paint) -> Iterator[str]:
    """Yield what was tried, when, where and how it ended."""
    rows = [
        (
            moment(attempt.started),
            one_line(attempt.name),
            _attempt_word(attempt),
            lasting(attempt.duration) if attempt.duration is not None else "",
            one_line(f"{attempt.host}:{attempt.pid}" if attempt.host else ""),
        )
        for attempt in attempts
    ]
    styles = {AttemptState.APPLIED: "good", AttemptState.FAILED: "error", AttemptState.RUNNING: "warning"}
    for attempt, line in zip(attempts, aligned(rows), strict=True):
        yield paint(line, styles.get(attempt.state, "info"))
        if attempt.error:
            yield f"      {one_line(attempt.error)}"


def _attempt_word(attempt: Attempt) -> str:
    word = "not finished" if attempt.state is AttemptState.RUNNING else str(attempt.state)
    return f"{word}, {counted(attempt.commits, 'own commit')} kept" if attempt.commits and word != "applied" else word


def why_text(answer: Why, paint: Paint, place: Callable[[str], str], width: int | None = None) -> Iterator[str]:
    """Yield why something stands where it stands.

    Args:
        answer: what was found out.
        paint: the colours.
        place: gives file and line of a name.
        width: of the terminal.
    """
    position = f"number {answer.position} in the order" if answer.position else "a view"
    yield f"{paint(one_line(answer.name), 'bold')}  {position}  {paint(one_line(place(answer.name)), 'muted')}"
    yield ""
    rows = [
        ("waits for", f"{listed(answer.waits_for)}{_in_all(answer.ancestors, len(answer.waits_for))}"),
        ("waited for by", f"{listed(answer.waited_for_by)}{_in_all(answer.descendants, len(answer.waited_for_by))}"),
    ]
    if answer.touches:
        rows.append(("opens" if answer.position else "opened by", listed(answer.touches)))
    for key, value in rows:
        yield f"  {paint(key.ljust(13), 'muted')}  {value}"
    if answer.path or answer.tie_break:
        yield ""
        yield _why_heading(answer)
    for before, kind, after in answer.path:
        yield f"  '{one_line(after.name)}' {_EDGE_WORDS[kind]} '{one_line(before.name)}'  {paint(one_line(place(after.name)), 'muted')}"
    for sentence in answer.tie_break:
        yield from (f"  {line}" for line in hanging(one_line(sentence), column=2, width=width))


_EDGE_WORDS = {
    "requires": "requires",
    "since": "lives since",
    "until": "ends",
    "uses": "uses",
    "replaces": "replaces",
    "touches": "is rebuilt by",
}


def _why_heading(answer: Why) -> str:
    if not answer.earlier:
        return "it runs first:"
    if answer.position is None and not answer.path:
        return f"'{one_line(answer.earlier)}' and '{one_line(answer.later)}':"
    return f"'{one_line(answer.earlier)}' comes before '{one_line(answer.later)}':"


def _in_all(total: int, shown: int) -> str:
    return f"  ({total} in all)" if total > shown else ""


# -- explain ---------------------------------------------------------------------------------------------------------


def rule_text(rule: Rule, paint: Paint) -> Iterator[str]:
    """Yield the page of a rule."""
    yield f"{paint(f'{rule.code} {rule.name}', 'bold')}  ({rule.severity})"
    yield ""
    for line in rule.page.rstrip().splitlines():
        yield paint(line.lstrip("# "), "heading") if line.startswith("#") else line
