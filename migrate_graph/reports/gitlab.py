"""Findings as a GitLab Code Quality report."""

from __future__ import annotations

import hashlib
import json

from migrate_graph.core.rules import Severity
from migrate_graph.reports.pointing import place_of
from migrate_graph.reports.report import Report, fingerprint, legible

_GITLAB_SEVERITIES = {
    Severity.ERROR: "critical",
    Severity.WARNING: "minor",
    Severity.INFO: "info",
    Severity.OFF: "info",
}


def to_gitlab(report: Report) -> str:
    """Render as a GitLab Code Quality report; GitLab drops what shares a fingerprint, so each is made unique."""
    seen: dict[str, int] = {}
    entries = []
    for finding in report.findings:
        (place, _), mark = place_of(finding, report), fingerprint(finding)
        seen[mark] = seen.get(mark, 0) + 1
        entries.append(
            {
                "description": legible(f"{finding.code} {finding.message}"),
                "check_name": finding.rule,
                "fingerprint": mark if seen[mark] == 1 else hashlib.sha256(f"{mark}{seen[mark]}".encode()).hexdigest(),
                "severity": _GITLAB_SEVERITIES[finding.severity],
                "location": {"path": place.path, "lines": {"begin": place.line}},
            }
        )
    return json.dumps(entries, indent=2, ensure_ascii=True) + "\n"
