"""Findings for people: each with its line of source and what to do."""

from __future__ import annotations

from collections import Counter

from migrate_graph.columns import Paint, behind, columns, plain, window
from migrate_graph.core.rules import Finding, Related, Severity
from migrate_graph.messages import counted
from migrate_graph.redaction import one_line
from migrate_graph.reports.pointing import pointed_at
from migrate_graph.reports.report import Report
from migrate_graph.user_files import SourceLocation

_INDENT = 3
"""The column where the lines about a finding begin."""

_GUTTER = 8
"""How many columns the number before a line of source takes."""

_TEXT_STYLES = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "info", Severity.OFF: "muted"}


_FEW = 5
"""If one rule has more remarks than this, only their number is shown."""


def to_text(report: Report, paint: Paint = plain, width: int | None = None, *, folds: bool = True) -> str:
    """Render for people: each finding with its line of source, then the count.

    Args:
        report: the findings.
        paint: returns a text in a style.
        width: columns of the terminal; None for lines of any length.
        folds: show many remarks of one rule as one line; false where the user has asked for them.
    """
    numbers = Counter(finding.code for finding in report.findings if finding.severity is Severity.INFO)
    many = {code for code, number in numbers.items() if folds and number > _FEW}
    shown = (each for each in report.findings if each.severity is not Severity.INFO or each.code not in many)
    blocks = [text_of(finding, report, paint, width) for finding in shown]
    rules = {finding.code: finding.rule for finding in report.findings}
    blocks += [_folded(code, rules[code], numbers[code], paint, width) for code in sorted(many)]
    return "\n".join([*blocks, verdict(report, paint)]) + "\n"


def _folded(code: str, rule: str, number: int, paint: Paint, width: int | None) -> str:
    heading = paint(f"info {code}", _TEXT_STYLES[Severity.INFO])
    hint = f'migrate check --select {code} shows them; ignore = ["{code}"] under [tool.migrate] silences them'
    lines = [f"{heading} {rule}: {paint(f'{number} remarks', 'bold')}", *_behind("hint:", "info", hint, paint, width)]
    return "\n".join(lines) + "\n"


def text_of(finding: Finding, report: Report, paint: Paint = plain, width: int | None = None) -> str:
    """Return one finding: what, where in the source, and what to do."""
    heading = f"{finding.severity} {finding.code}"
    style = _TEXT_STYLES[finding.severity]
    head = f"{paint(heading, style)} {finding.rule}: "
    message = behind(head, one_line(finding.message), width, indent=_INDENT, paint=lambda line: paint(line, "bold"))
    lines = [line.rstrip() for line in message]
    if finding.source is not None:
        lines += _excerpt(finding, finding.source, report, paint, width)
    for related in finding.related:
        lines += _behind("at", "muted", _related_text(related), paint, width)
    for line in finding.hint.splitlines():
        lines += _behind("hint:", "info", one_line(line), paint, width)
    return "\n".join(lines) + "\n"


def _behind(word: str, style: str, text: str, paint: Paint, width: int | None) -> list[str]:
    """Return the indented lines of a word and a text behind it, broken between words."""
    return behind(f"{' ' * _INDENT}{paint(word, style)} ", text, width)


def _related_text(related: Related) -> str:
    where = f"{one_line(str(related.source))}  " if related.source else ""
    return f"{where}'{one_line(related.subject.name)}' {one_line(related.message)}"


def _excerpt(finding: Finding, source: SourceLocation, report: Report, paint: Paint, width: int | None) -> list[str]:
    def text_at(line: int) -> str:
        return one_line(report.line_of(SourceLocation(source.path, line)).rstrip())

    place, span = pointed_at(finding, source, text_at)
    lines = [f"  {paint('-->', 'muted')} {one_line(str(place))}"]
    text, span = window(text_at(place.line), span, None if width is None else width - _GUTTER)
    if text.strip():
        lines.append(f"{paint(f'{place.line:>5} |', 'muted')} {text}")
    if span is not None:
        under = " " * columns(text[: span[0]])
        caret = "^" * max(columns(text[span[0] : span[1]]), 1)
        lines.append(f"{paint('      |', 'muted')} {paint(under + caret, _TEXT_STYLES[finding.severity])}")
    return lines


def verdict(report: Report, paint: Paint) -> str:
    """Return the last line: how many errors, warnings and remarks there are, in how many migrations and views."""
    migrations = sum(subject.kind == "migration" for subject in report.subjects)
    judged = f"{counted(migrations, 'migration')} and {counted(len(report.subjects) - migrations, 'view')}"
    counts = [
        paint(counted(report.count(severity), noun), style)
        for severity, noun, style in (
            (Severity.ERROR, "error", "error"),
            (Severity.WARNING, "warning", "warning"),
            (Severity.INFO, "remark", "info"),
        )
        if report.count(severity)
    ]
    return f"{', '.join(counts)} in {judged}" if counts else f"{paint('nothing wrong', 'good')} in {judged}"
