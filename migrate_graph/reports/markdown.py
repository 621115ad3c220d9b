"""Findings as a summary for a pull request or a job page."""

from __future__ import annotations

import re
from html import escape

from migrate_graph.core.rules import Finding, Severity
from migrate_graph.reports.pointing import place_of
from migrate_graph.reports.report import Report, legible
from migrate_graph.reports.text import plain, verdict

MARKDOWN_LIMIT = 65_536
"""Characters that a GitHub comment may have."""


_MARKDOWN_MARKS = {
    Severity.ERROR: "✗ error",
    Severity.WARNING: "! warning",
    Severity.INFO: "i remark",
    Severity.OFF: "off",
}


def to_markdown(report: Report) -> str:
    """Render as a summary for a pull request or a job page, never longer than a comment may be."""
    head = [f"### migrate check: {verdict(report, plain)}", ""]
    rows = [_row(finding, report) for finding in report.findings]
    table = ["| | finding | where | what |", "|---|---|---|---|"]
    text = "\n".join(head + (table if rows else [])) + "\n"
    reserve = 200  # room for the line that says how many more
    for shown, row in enumerate(rows):
        if len(text) + len(row) + 1 > MARKDOWN_LIMIT - reserve:
            return f"{text}\n{len(rows) - shown} more: `migrate check` shows them all.\n"
        text += row + "\n"
    picture = f"\n<details><summary>the graph</summary>\n\n```mermaid\n{report.picture.rstrip()}\n```\n\n</details>\n"
    return text + picture if report.picture and len(text) + len(picture) <= MARKDOWN_LIMIT else text


def _row(finding: Finding, report: Report) -> str:
    place, _ = place_of(finding, report)
    hint = f"<br>{_code(finding.hint)}" if finding.hint else ""
    what = f"{_code(finding.message)}{hint}"
    rule = f"{finding.code} {finding.rule}"
    return f"| {_MARKDOWN_MARKS[finding.severity]} | {rule} | {_code(f'{place.path}:{place.line}')} | {what} |"


_MARKDOWN_ACTIVE = re.compile(r"[`|*_~@\\\[\]!:]")


def _code(text: str) -> str:
    """Return foreign text as inline code that no Markdown, HTML, mention or table can break out of."""
    flat = escape(" ".join(legible(text).split()), quote=False)
    return f"<code>{_MARKDOWN_ACTIVE.sub(lambda found: f'&#{ord(found[0])};', flat)}</code>"
