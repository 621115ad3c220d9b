"""Findings as a summary for a pull request or a job page."""

from __future__ import annotations

from collections import Counter

from migrate_graph.columns import plain
from migrate_graph.core.rules import Finding, Severity
from migrate_graph.markdown import code
from migrate_graph.messages import counted
from migrate_graph.reports.pointing import place_of
from migrate_graph.reports.report import Report, legible
from migrate_graph.reports.text import verdict

MARKDOWN_LIMIT = 65_536
"""Characters that a GitHub comment may have."""


_MARKDOWN_MARKS = {
    Severity.ERROR: "✗ error",
    Severity.WARNING: "! warning",
    Severity.INFO: "i remark",
    Severity.OFF: "off",
}


def to_markdown(report: Report) -> str:
    """Render as a summary for a pull request or a job page, never longer than a comment may be; remarks are only counted."""
    head = [f"### migrate check: {verdict(report, plain)}", ""]
    remarks = Counter(finding.code for finding in report.findings if finding.severity is Severity.INFO)
    rows = [_row(finding, report) for finding in report.findings if finding.severity is not Severity.INFO]
    table = ["| | finding | where | what |", "|---|---|---|---|"]
    text = "\n".join(head + (table if rows else [])) + "\n"
    reserve = 200 + 20 * len(remarks)  # room for the lines that say how many more
    for shown, row in enumerate(rows):
        if len(text) + len(row) + 1 > MARKDOWN_LIMIT - reserve:
            text += f"\n{len(rows) - shown} more: `migrate check` shows them all.\n"
            break
        text += row + "\n"
    if remarks:
        text += f"\n{_remarks(remarks)}\n"
    picture = f"\n<details><summary>the graph</summary>\n\n```mermaid\n{report.picture.rstrip()}\n```\n\n</details>\n"
    return text + picture if report.picture and len(text) + len(picture) <= MARKDOWN_LIMIT else text


def _remarks(remarks: Counter[str]) -> str:
    """Return a line that says how many remarks there are, by rule."""
    of = ", ".join(f"{number} of {rule}" for rule, number in sorted(remarks.items()))
    return f"{counted(remarks.total(), 'remark')}: {of}; `migrate check` lists them."


def _row(finding: Finding, report: Report) -> str:
    place, _ = place_of(finding, report)
    hint = f"<br>{code(legible(finding.hint))}" if finding.hint else ""
    what = f"{code(legible(finding.message))}{hint}"
    rule = f"{finding.code} {finding.rule}"
    return f"| {_MARKDOWN_MARKS[finding.severity]} | {rule} | {code(legible(f'{place.path}:{place.line}'))} | {what} |"
