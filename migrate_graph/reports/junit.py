"""Findings as JUnit XML: a test case for each migration and view."""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree import ElementTree as ET

from migrate_graph.columns import plain
from migrate_graph.core.rules import Finding, Severity
from migrate_graph.redaction import printable
from migrate_graph.reports.report import Report, Subject
from migrate_graph.reports.text import text_of
from migrate_graph.user_files import SourceLocation

# What XML 1.0 may not contain, not even as a character reference.
_XML_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_junit(report: Report) -> str:
    """Render as JUnit XML: one test case per migration and view; only errors fail one."""
    cases = _cases(report)
    suites: dict[str, list[tuple[Subject, list[Finding]]]] = {}
    for subject, findings in cases:
        suites.setdefault(subject.module, []).append((subject, findings))
    root = ET.Element("testsuites", name="migrate check", tests=str(len(cases)), failures=_failures(cases))
    for module, members in suites.items():
        suite = ET.SubElement(
            root, "testsuite", name=_xml(module), tests=str(len(members)), failures=_failures(members)
        )
        for subject, findings in members:
            _add_case(suite, subject, findings, report)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _cases(report: Report) -> list[tuple[Subject, list[Finding]]]:
    cases: list[tuple[Subject, list[Finding]]] = [(subject, []) for subject in report.subjects]
    by_name: dict[str, list[tuple[Subject, list[Finding]]]] = {}
    for case in cases:
        by_name.setdefault(case[0].name, []).append(case)
    for finding in report.findings:
        namesakes = [case for case in by_name.get(finding.subject.name, []) if case[0].kind == finding.subject.kind]
        chosen = next((case for case in namesakes if case[0].source == finding.source), None)
        chosen = chosen or (namesakes[0] if namesakes else None)
        if chosen is None:  # a file, a ledger row: judged, but not declared
            place = finding.source or SourceLocation(report.path, 1)
            chosen = (Subject(finding.subject.kind, finding.subject.name, place.path, place), [])
            cases.append(chosen)
            by_name.setdefault(finding.subject.name, []).append(chosen)
        chosen[1].append(finding)
    return cases


def _failures(cases: Iterable[tuple[Subject, list[Finding]]]) -> str:
    return str(sum(any(finding.severity is Severity.ERROR for finding in findings) for _, findings in cases))


def _add_case(suite: ET.Element, subject: Subject, findings: list[Finding], report: Report) -> None:
    place = report.place(subject.source)
    names = {"classname": _xml(subject.module), "name": _xml(f"{subject.kind} {subject.name}")}
    case = ET.SubElement(suite, "testcase", {**names, "file": _xml(place.path), "line": str(place.line), "time": "0"})
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    if errors:
        heading = f"{errors[0].code} {errors[0].message}"
        failure = ET.SubElement(case, "failure", message=_xml(heading), type=errors[0].rule)
        failure.text = _xml("\n".join(text_of(finding, report, plain) for finding in errors))
    others = [finding for finding in findings if finding.severity is not Severity.ERROR]
    if others:
        ET.SubElement(case, "system-out").text = _xml("\n".join(text_of(finding, report, plain) for finding in others))


def _xml(text: str) -> str:
    return _XML_ILLEGAL.sub("\ufffd", printable(text))
