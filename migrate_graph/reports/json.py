"""Findings as this project's own JSON."""

from __future__ import annotations

import json

from migrate_graph.core.rules import Severity
from migrate_graph.reports.document import document, finding_document
from migrate_graph.reports.report import Report


def to_json(report: Report) -> str:
    """Render as a JSON document of the kind `findings`."""
    migrations = sum(subject.kind == "migration" for subject in report.subjects)
    body = {
        "project": report.project,
        "summary": {
            "errors": report.count(Severity.ERROR),
            "warnings": report.count(Severity.WARNING),
            "infos": report.count(Severity.INFO),
            "migrations": migrations,
            "views": len(report.subjects) - migrations,
        },
        "findings": [finding_document(finding) for finding in report.findings],
    }
    return json.dumps(document("findings", body, exit_code=report.exit_code), indent=2, ensure_ascii=True) + "\n"
