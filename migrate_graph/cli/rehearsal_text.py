"""The text of a rehearsal: below the steps of a plan, as a SQL script, and as Markdown for a pull request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from migrate_graph.cli.text import MOST, listed
from migrate_graph.core.events import Outcome, Result
from migrate_graph.core.footprint import Fact, Footprint, Held, Statement
from migrate_graph.core.rules import Finding, Severity
from migrate_graph.core.traces import owner_of
from migrate_graph.markdown import code
from migrate_graph.messages import counted, lasting
from migrate_graph.redaction import one_line, printable
from migrate_graph.workflow.rehearsed import is_file

if TYPE_CHECKING:
    from migrate_graph.cli.console import TextStyle
    from migrate_graph.core.plan import Step
    from migrate_graph.workflow.assessment import Assessment
    from migrate_graph.workflow.rehearse import Rehearsal

_INDENT = 7
_MARGIN = " " * _INDENT
"""The spaces before each line below a step."""
_MOST_LINES = 12
"""The number of lines of one statement that are shown on a terminal."""
_MOST_FACTS = 12
_MOST_ALIKE = 3
"""The number of statements from the same line of code that are shown on a terminal."""
_MOST_TOLD = 60_000
"""Characters of Markdown: GitHub and others refuse a comment of more than 65,536."""

_WEAK = frozenset({"ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE"})
"""Locks that ordinary queries take; they are not shown."""

_PLACES = {
    "clone": "an empty copy of the schema",
    "scratch": "a database made for it",
    "here": "the database itself, in one transaction that was rolled back",
}
_TONES = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "info"}


def ending(rehearsal: Rehearsal, name: str) -> Result | None:
    """Return how a step ended in a rehearsal; None when it is not known."""
    return next((result for result in rehearsal.results if result.name == name), None)


# -- below the steps of a plan ---------------------------------------------------------------------------------------------------


def step_lines(step: Step, result: Result | None, style: TextStyle) -> Iterator[str]:
    """Yield the lines below a step of the plan: its statements, its changes, and how it ended."""
    seen = step.footprint
    if seen is not None:
        for alike in _alike(seen.statements):
            for statement in alike[:_MOST_ALIKE]:
                yield from _statement_lines(statement, style)
            if len(alike) > _MOST_ALIKE:
                rest = alike[_MOST_ALIKE:]
                text = f"… and {len(rest):,} more from {one_line(str(rest[0].source))}: --format sql has them"
                yield from style.lines(text, head=_MARGIN, indent=_INDENT + 2, tone="muted")
        yield from _seen_lines(seen, style)
    yield from _result_lines(result, style)


def _alike(statements: Sequence[Statement]) -> Iterator[list[Statement]]:
    """Yield statements in groups: consecutive ones from the same line of code (a loop) are one group.

    A statement with an error, a rewrite or a lock is always a group of its own.
    """
    for key, group in groupby(statements, lambda each: (each.source, bool(each.error or each.rewrites or each.locks))):
        found = list(group)
        # A line that says "and 1 more" would take as much room as the statement.
        if key[0] is None or key[1] or len(found) == _MOST_ALIKE + 1:
            yield from ([each] for each in found)
        else:
            yield found


def _statement_lines(statement: Statement, style: TextStyle) -> Iterator[str]:
    lines = sql_lines(statement)
    shown = lines if len(lines) <= _MOST_LINES else lines[: _MOST_LINES - 2]
    for line in shown:
        space = len(line) - len(line.lstrip())
        yield from style.lines(line, head=_MARGIN, indent=_INDENT + space + 2)
    if len(lines) > len(shown):
        rest = counted(len(lines) - len(shown), "more line")
        text = f"… {rest}: --format sql has them"
        yield from style.lines(text, head=_MARGIN, indent=_INDENT + 2, tone="muted")
    tone = "error" if statement.error else "warning" if statement.rewrites else "muted"
    yield from style.lines(remark_of(statement), head=f"{_MARGIN}  {style.paint('-- ', tone)}", tone=tone)


def sql_lines(statement: Statement) -> list[str]:
    """Return the lines of a statement with a semicolon; the common indent of the lines is removed."""
    first, *rest = printable(statement.sql.strip()).expandtabs(4).splitlines() or [""]
    spaces = min((len(line) - len(line.lstrip()) for line in rest if line.strip()), default=0)
    lines = [first, *(line[spaces:] if line[:spaces].isspace() else line for line in rest)]
    lines = [line.rstrip() for line in lines]
    # After `--` in the last line, a semicolon would be a part of the comment.
    return [*lines, ";"] if "--" in lines[-1] else [*lines[:-1], f"{lines[-1]};"]


def remark_of(statement: Statement) -> str:
    """Return what a statement did, on one line: `migrations.py:8 · 12 ms · REWRITES invoice (38 MB, 600,000 rows)`."""
    parts = [one_line(str(statement.source)) if statement.source else ""]
    if statement.held.ran:
        parts.append(_time(statement.seconds))
    if statement.held is not Held.RUN:
        parts.append(str(statement.held))
    if statement.rows:
        parts.append(counted(statement.rows, "row"))
    parts += [f"REWRITES {one_line(str(each))}" for each in statement.rewrites]
    strong = {name: lock for name, lock in statement.locks.items() if lock not in _WEAK}
    for lock in sorted(set(strong.values())):
        names = ", ".join(one_line(name) for name in sorted(strong) if strong[name] == lock)
        parts.append(f"locks {names} ({lock})")
    if statement.scans:
        parts.append(f"reads all of {', '.join(map(one_line, statement.scans))}")
    if statement.uses:
        parts.append(f"uses {', '.join(map(one_line, statement.uses))}")
    if statement.error:
        parts.append(f"ERROR {one_line(statement.error)}")
    return " · ".join(filter(None, parts))


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else lasting(seconds)


def _seen_lines(seen: Footprint, style: TextStyle) -> Iterator[str]:
    for sign, tone, text in _changes(seen):
        yield from style.lines(text, head=f"{_MARGIN}{style.paint(sign, tone)} ")
    for word, tone, text in _told(seen):
        yield from _beside(word, tone, text, style)


def _beside(word: str, tone: str, text: str, style: TextStyle) -> list[str]:
    return style.lines(text, head=f"{_MARGIN}{style.paint(word, tone)}{' ' * (9 - len(word))}")


def _changes(seen: Footprint) -> Iterator[tuple[str, str, str]]:
    """Yield each change of the schema: a sign, the style of the sign, and the text; columns of a new or dropped table are only counted."""
    for sign, tone, facts in (
        ("+", "good", seen.added),
        ("~", "warning", seen.changed),
        ("-", "error", seen.removed - seen.renamed),
        (">", "warning", seen.renamed),
    ):
        lines = list(_listed(facts))
        for line in lines[:_MOST_FACTS]:
            yield sign, tone, line
        if len(lines) > _MOST_FACTS:
            yield sign, tone, f"and {len(lines) - _MOST_FACTS} more"


def _listed(facts: Iterable[Fact]) -> Iterator[str]:
    whole = {fact.identity for fact in facts if fact.kind != "column"}
    columns = Counter(owner_of(fact.identity) for fact in facts if fact.kind == "column")
    for fact in sorted(facts):
        if fact.kind == "column" and owner_of(fact.identity) in whole:
            continue
        of = columns.get(fact.identity, 0)
        yield f"{fact.kind} {one_line(fact.identity)}" + (f" ({counted(of, 'column')})" if of else "")


def _told(seen: Footprint) -> Iterator[tuple[str, str, str]]:
    for name, wrote in seen.wrote.items():
        yield "rows", "muted", f"{one_line(name)}: {wrote}"
    if seen.own_commits:
        yield "commits", "muted", f"{seen.own_commits} of its own"
    for act in seen.outside:
        place = f" ({one_line(str(act.source))})" if act.source else ""
        yield "outside", "warning", f"{one_line(act.what)}{place}{': refused' if act.refused else ''}"
    for why in seen.not_rehearsed:
        yield "unseen", "warning", one_line(why)


def _result_lines(result: Result | None, style: TextStyle) -> Iterator[str]:
    if result is None:
        return
    for word, views, became in (
        ("aside", result.stepped_aside, "in the way, so they go down and come up by themselves"),
        ("same", result.replaced, "replaced; what reads them stays up"),
        ("after", result.unfilled, "refreshed after the commit; until then without rows"),
    ):
        if views:
            yield from _beside(word, "muted", f"{listed(views, most=MOST)}: {became}", style)
    for why in result.unrefreshed:
        yield from _beside("no rows", "error", one_line(why), style)
    if result.outcome.succeeded:
        return
    word, tone = _outcome(result)
    place = f"{one_line(str(result.source))}: " if result.source and result.outcome.failed else ""
    told = f"{place}{one_line(result.error)}"
    ended = style.lines(told, head=f"{_MARGIN}{style.paint(word, tone)}  ", indent=_INDENT + 2)
    yield from map(str.rstrip, ended)
    for line in printable(result.traceback).splitlines():
        indent = _INDENT + 2 + len(line) - len(line.lstrip())
        yield from style.lines(line.strip(), head=" " * indent, indent=indent + 2, tone="muted")
    if result.hint:
        yield from style.lines(one_line(result.hint), head=f"{_MARGIN}  {style.paint('hint:', 'info')} ")


def _outcome(result: Result) -> tuple[str, str]:
    words = {Outcome.BLOCKED: ("blocked", "warning"), Outcome.NOT_REACHED: ("not rehearsed", "warning")}
    return words.get(result.outcome, ("FAILED", "error"))


def verdict(found: Assessment, rehearsal: Rehearsal, style: TextStyle) -> Iterator[str]:
    """Yield the lines about the whole rehearsal: its findings, its remarks, and a last line that says how it ended."""
    # A failure (MG612) is shown at its step already.
    findings = [each for each in _findings_about(found, rehearsal) if each.code != "MG612"]
    if findings:
        yield ""
    for finding in findings:
        place = f"{one_line(str(finding.source))}: " if finding.source else ""
        head = style.paint(f"{finding.severity} {finding.code}", _TONES[finding.severity])
        yield from style.lines(f"{place}{one_line(finding.message)}", head=f"{head} ", indent=4)
        yield from style.lines(one_line(finding.hint), head=f"    {style.paint('hint:', 'info')} ")
    for remark in rehearsal.remarks:
        yield from style.lines(f"note: {one_line(remark)}", indent=6)
    if rehearsal.cut:
        yield from style.lines(f"it ended early: {one_line(rehearsal.cut)}", indent=4, tone="error")
    yield from style.lines(headline(found, rehearsal), indent=4)


def headline(found: Assessment, rehearsal: Rehearsal) -> str:
    """Return one line that says where the plan was rehearsed and how many migrations succeeded; it ends with `nothing was kept`."""
    outcomes = Counter(result.outcome for result in rehearsal.results if result.name in rehearsal.plan.places)
    failed = sum(count for outcome, count in outcomes.items() if outcome.failed)
    told = [
        f"{outcomes[Outcome.APPLIED] + outcomes[Outcome.REVERTED]} of {counted(len(rehearsal.plan.steps), 'migration')} succeeded"
    ]
    told += [f"{failed} failed"] if failed else []
    others = outcomes[Outcome.BLOCKED] + outcomes[Outcome.NOT_REACHED]
    told += [f"{others} not run"] if others else []
    told += [f"{counted(len(rehearsal.unrefreshed), 'view')} could not be refreshed"] if rehearsal.unrefreshed else []
    place = "a copy of the file" if is_file(found) and rehearsal.on == "clone" else _PLACES[rehearsal.on]
    return f"rehearsed in {place}: {', '.join(told)}; nothing was kept"


# -- as a script ------------------------------------------------------------------------------------------------------------------


def script(found: Assessment, rehearsal: Rehearsal) -> Iterator[str]:
    """Yield a rehearsal as a SQL script: the statements of each migration, and their effects as comments."""
    heading = " · ".join(filter(None, (found.project.name, found.reading.database)))
    for line in (heading, headline(found, rehearsal)):
        yield f"-- {one_line(line)}"
    yield "-- To read, not to run: what a migration sends may depend on what it finds."
    for remark in rehearsal.remarks:
        yield f"-- note: {one_line(remark)}"
    for number, step in enumerate(rehearsal.plan.steps, start=1):
        yield ""
        yield f"-- {number}  {one_line(step.migration.name)}  {one_line(str(step.migration.source))}"
        yield from _script_of(step, ending(rehearsal, step.migration.name))
    if rehearsal.cut:
        yield ""
        yield f"-- it ended early: {one_line(rehearsal.cut)}"


def _script_of(step: Step, result: Result | None) -> Iterator[str]:
    if step.footprint is not None:
        for statement in step.footprint.statements:
            yield from sql_lines(statement)
            yield f"  -- {remark_of(statement)}"
        for sign, _, text in _changes(step.footprint):
            yield f"-- {sign} {text}"
        for word, _, text in _told(step.footprint):
            yield f"-- {word}: {text}"
    for why in result.unrefreshed if result is not None else ():
        yield f"-- no rows: {one_line(why)}"
    if result is not None and not result.outcome.succeeded:
        word, _ = _outcome(result)
        place = f" {one_line(str(result.source))}" if result.source else ""
        yield f"-- {word}{place}: {one_line(result.error)}"


# -- for a pull request -----------------------------------------------------------------------------------------------------------


def markdown_lines(found: Assessment, rehearsal: Rehearsal) -> list[str]:
    """Return a rehearsal as Markdown: first the findings, then each step in a folded section."""
    lines = ["", "### Rehearsal", "", f"{headline(found, rehearsal)}.", ""]
    findings = _findings_about(found, rehearsal)
    if findings:
        lines += ["| | code | where | what |", "|---|---|---|---|"]
        lines += [
            f"| {each.severity} | {each.code} | {code(one_line(str(each.source or '')))} | {code(one_line(each.message))} |"
            for each in findings
        ]
        lines.append("")
    lines += [f"- {code(one_line(remark))}" for remark in rehearsal.remarks]
    if rehearsal.cut:
        lines += ["", f"**It ended early:** {code(one_line(rehearsal.cut))}"]
    room = _MOST_TOLD - sum(len(line) + 1 for line in lines)
    for number, step in enumerate(rehearsal.plan.steps, start=1):
        part = _markdown_of(number, step, ending(rehearsal, step.migration.name))
        room -= sum(len(line) + 1 for line in part)
        if room < 0:
            return [
                *lines,
                "",
                f"… and {len(rehearsal.plan.steps) - number + 1} more; `migrate plan --sql` has them all",
            ]
        lines += part
    return lines


def _markdown_of(number: int, step: Step, result: Result | None) -> list[str]:
    failed = result is not None and not result.outcome.succeeded
    is_open = failed or (result is not None and bool(result.unrefreshed))
    rewrites = len(step.footprint.rewrites) if step.footprint else 0
    statements = len(step.footprint.statements) if step.footprint else 0
    told = [counted(statements, "statement"), counted(rewrites, "rewrite") if rewrites else ""]
    word = f" · {_outcome(result)[0]}" if failed and result else ""
    text = list(_script_of(step, result))
    longest = max((len(run) for line in text for run in _fences(line)), default=0)
    fence = "`" * max(3, longest + 1)
    head = f"{number}. {code(one_line(step.migration.name))} · {', '.join(filter(None, told))}{word}"
    opened = "<details open>" if is_open else "<details>"
    return ["", f"{opened}<summary>{_escaped(head)}</summary>", "", f"{fence}sql", *text, fence, "", "</details>"]


def _fences(line: str) -> list[str]:
    """Return the runs of backquotes in a line; the fence of a code block must be longer than all of them."""
    runs, run = [], ""
    for sign in f"{line} ":
        if sign == "`":
            run += sign
        elif run:
            runs.append(run)
            run = ""
    return runs


def _escaped(text: str) -> str:
    """Return text for a `<summary>` element: escaped for HTML, and without the backquotes of Markdown."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return plain.replace("`", "")


def _findings_about(found: Assessment, rehearsal: Rehearsal) -> list[Finding]:
    """Return the findings of a rehearsal (MG6xx) in the order of the run, those of one migration sorted by severity, errors first."""
    worst, places = list(Severity), rehearsal.plan.places
    findings = [finding for finding in found.findings if finding.code.startswith("MG6")]
    return sorted(findings, key=lambda each: (places.get(each.subject.name, 0), worst.index(each.severity), each.code))
