"""Findings as SARIF 2.1.0, for code scanning."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from migrate_graph import __version__
from migrate_graph.core.rules import RULES, Finding, Severity
from migrate_graph.reports.pointing import place_of
from migrate_graph.reports.report import Report, fingerprint, legible
from migrate_graph.user_files import SourceLocation

_SARIF_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note", Severity.OFF: "none"}


def to_sarif(report: Report) -> str:
    """Render as SARIF 2.1.0, with the page of every rule that found something."""
    codes = sorted({finding.code for finding in report.findings})
    run: dict[str, object] = {
        "tool": {
            "driver": {
                "name": "migrate_graph",
                "version": __version__,
                "rules": [_sarif_rule(code, report.findings) for code in codes],
            }
        },
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": "The top of the repository."}}},
        "results": [_sarif_result(finding, codes, report) for finding in report.findings],
    }
    return _document(run)


def to_failed_sarif(why: str, exit_code: int) -> str:
    """Return SARIF that says why nothing was judged: code scanning then keeps what it knew, and shows the failure."""
    told = {"level": "error", "message": {"text": legible(why)}}
    invocation = {"executionSuccessful": False, "exitCode": exit_code, "toolExecutionNotifications": [told]}
    driver = {"name": "migrate_graph", "version": __version__, "rules": []}
    return _document({"tool": {"driver": driver}, "invocations": [invocation], "results": []})


def _document(run: Mapping[str, object]) -> str:
    schema = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
    return json.dumps({"$schema": schema, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=True) + "\n"


def _sarif_rule(code: str, findings: Iterable[Finding]) -> dict[str, object]:
    example = next(finding for finding in findings if finding.code == code)
    rule = RULES.get(code)
    page = rule.page if rule else example.rule
    summary = page.strip().splitlines()[0] if page.strip() else example.rule
    severity = rule.severity if rule else example.severity
    return {
        "id": code,
        "name": "".join(part.capitalize() for part in example.rule.split("-")),
        "shortDescription": {"text": summary},
        "fullDescription": {"text": summary},
        "help": {"text": page, "markdown": page},
        "defaultConfiguration": {"level": _SARIF_LEVELS[severity]},
    }


def _sarif_result(finding: Finding, codes: list[str], report: Report) -> dict[str, object]:
    hint = f". {finding.hint}" if finding.hint else ""
    result: dict[str, object] = {
        "ruleId": finding.code,
        "ruleIndex": codes.index(finding.code),
        "level": _SARIF_LEVELS[finding.severity],
        "message": {"text": legible(finding.message + hint)},
        "locations": [_sarif_location(*place_of(finding, report), finding.subject.name)],
        "partialFingerprints": {"migrateGraph/v1": fingerprint(finding)},
    }
    if finding.related:
        result["relatedLocations"] = [
            {
                "id": number,
                **_sarif_location(report.place(related.source), None, related.subject.name),
                "message": {"text": legible(f"'{related.subject.name}' {related.message}")},
            }
            for number, related in enumerate(finding.related, start=1)
        ]
    return result


def _sarif_location(place: SourceLocation, span: tuple[int, int] | None, name: str) -> dict[str, object]:
    if place.path.startswith("/"):
        artifact = {"uri": f"file://{quote(place.path, errors='surrogateescape')}"}
    else:
        artifact = {"uri": quote(place.path, errors="surrogateescape"), "uriBaseId": "%SRCROOT%"}
    columns = {"startColumn": span[0], "endColumn": span[1]} if span else {}
    return {
        "physicalLocation": {"artifactLocation": artifact, "region": {"startLine": place.line, **columns}},
        "logicalLocations": [{"name": name}],
    }
