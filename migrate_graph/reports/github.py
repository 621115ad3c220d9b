"""Findings as workflow commands of GitHub Actions."""

from __future__ import annotations

from migrate_graph.core.rules import Finding, Severity
from migrate_graph.reports.pointing import place_of
from migrate_graph.reports.report import Report, legible

GITHUB_SHOWN = 9
"""GitHub keeps 10 annotations per level and step and drops the rest in silence: nine, and one that says how many more."""


_GITHUB_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def to_github(report: Report) -> str:
    """Render as workflow commands of GitHub Actions: the worst nine of each level, and how many more there are."""
    lines: list[str] = []
    for severity, level in _GITHUB_LEVELS.items():
        of_level = [finding for finding in report.findings if finding.severity is severity]
        lines += [_annotation(level, finding, report) for finding in of_level[:GITHUB_SHOWN]]
        more = len(of_level) - GITHUB_SHOWN
        if more > 0:
            lines.append(f"::{level} title=migrate check::{more} more, see the summary of this job")
    return "".join(f"{line}\n" for line in lines)


def _annotation(level: str, finding: Finding, report: Report) -> str:
    place, span = place_of(finding, report)
    word = {"col": str(span[0]), "endColumn": str(span[1] - 1)} if span else {}  # its last column is inside the word
    properties = {"file": place.path, "line": str(place.line), **word, "title": f"{finding.code} {finding.rule}"}
    hint = f"\n{finding.hint}" if finding.hint else ""
    listed = ",".join(f"{key}={_escape_property(value)}" for key, value in properties.items())
    return f"::{level} {listed}::{_escape_data(legible(finding.message + hint))}"


def _escape_data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape_data(legible(text)).replace(":", "%3A").replace(",", "%2C")
