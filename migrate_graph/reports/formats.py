"""Findings as other tools read them: one list, one function per format, one dict of formats."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import TypeAlias
from urllib.parse import quote
from xml.etree import ElementTree as ET

from migrate_graph.core.rules import RULES, Finding, Related, Severity
from migrate_graph.messages import counted
from migrate_graph.redaction import one_line, printable
from migrate_graph.user_files import SourceLocation

SCHEMA_VERSION = 1

GITHUB_SHOWN = 9
"""GitHub keeps 10 annotations per level and step and drops the rest in silence: nine, and one that says how many more."""

MARKDOWN_LIMIT = 65_536
"""Characters that a GitHub comment may have."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A migration or a view that was judged.

    Attributes:
        kind: `migration` or `view`.
        name: of it.
        module: the file that declares it.
        source: where.
    """

    kind: str
    name: str
    module: str
    source: SourceLocation


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a format renders: the findings, and what they are about.

    Attributes:
        findings: worst first, as `check` gives them.
        subjects: everything that was judged.
        project: name to show.
        path: of the migrations file, for findings that have no place of their own.
        prefix: from the top of the repository to the directory that paths are relative to; hosts want paths from the top.
        version: of this tool.
        exit_code: what the process will end with.
        line_of: gives the text of a place, or an empty string.
        picture: Mermaid text of the graph for the Markdown summary; empty for none.
    """

    findings: tuple[Finding, ...]
    subjects: tuple[Subject, ...] = ()
    project: str = ""
    path: str = "migrations.py"
    prefix: str = ""
    version: str = ""
    exit_code: int = 0
    line_of: Callable[[SourceLocation], str] = field(default=lambda _: "")
    picture: str = ""

    def count(self, severity: Severity) -> int:
        """Return how many findings are of this severity."""
        return sum(finding.severity is severity for finding in self.findings)

    def place(self, source: SourceLocation | None) -> SourceLocation:
        """Return a place as a host wants it: from the top of the repository, with forward slashes."""
        found = source or SourceLocation(self.path, 1)
        path = found.path.replace("\\", "/").removeprefix("./")
        return SourceLocation(path if path.startswith("/") else f"{self.prefix}{path}", max(found.line, 1))


Paint: TypeAlias = Callable[[str, str], str]
FindingFormat: TypeAlias = Callable[[Report], str]


def fingerprint(finding: Finding) -> str:
    """Identify a finding by its code and names, so that it stays the same when lines move."""
    names = [finding.code, finding.subject, finding.message, *(related.subject for related in finding.related)]
    return hashlib.sha256("\0".join(names).encode("utf-8", "surrogatepass")).hexdigest()


# -- text ------------------------------------------------------------------------------------------------------------

_LINES_AROUND = 40
"""So far from a declaration its decorators and attributes are looked for."""

_TEXT_STYLES = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "info", Severity.OFF: "muted"}


def _plain(text: str, style: str) -> str:
    del style
    return text


def to_text(report: Report, paint: Paint = _plain) -> str:
    """Render for people: each finding with its line of source, then the count."""
    blocks = [_text_of(finding, report, paint) for finding in report.findings]
    return "\n".join([*blocks, _verdict(report, paint)]) + "\n"


def _text_of(finding: Finding, report: Report, paint: Paint) -> str:
    heading = paint(f"{finding.severity} {finding.code}", _TEXT_STYLES[finding.severity])
    lines = [f"{heading} {finding.rule}: {paint(one_line(finding.message), 'bold')}"]
    if finding.source is not None:
        lines += _excerpt(finding, finding.source, report, paint)
    lines += [f"   {paint('at', 'muted')} {_related_text(related)}" for related in finding.related]
    lines += [f"   {paint('hint:', 'info')} {one_line(line)}" for line in finding.hint.splitlines()]
    return "\n".join(lines) + "\n"


def _related_text(related: Related) -> str:
    where = f"{one_line(str(related.source))}  " if related.source else ""
    return f"{where}'{one_line(related.subject)}' {one_line(related.message)}"


def _excerpt(finding: Finding, source: SourceLocation, report: Report, paint: Paint) -> list[str]:
    def text_at(line: int) -> str:
        return one_line(report.line_of(SourceLocation(source.path, line)).rstrip())

    place, span = _pointed_at(finding, source, text_at)
    lines = [f"  {paint('-->', 'muted')} {one_line(str(place))}"]
    text = text_at(place.line)
    if text.strip():
        lines.append(f"{paint(f'{place.line:>5} |', 'muted')} {text}")
    if span is not None:
        caret = " " * span[0] + "^" * (span[1] - span[0])
        lines.append(f"{paint('      |', 'muted')} {paint(caret, _TEXT_STYLES[finding.severity])}")
    return lines


def _pointed_at(
    finding: Finding, source: SourceLocation, text_at: Callable[[int], str]
) -> tuple[SourceLocation, tuple[int, int] | None]:
    """Find the name that the finding is about: first one that the declaration mentions, else the declared name itself."""
    mentioned = [name for name in re.findall(r"'([^']+)'", finding.message) if name != finding.subject]
    around = [*_decorator_lines(source.line, text_at), source.line, *_class_lines(source.line, text_at)]
    searched = [(name, line) for name in dict.fromkeys(mentioned) for line in around]
    for name, line in (*searched, (finding.subject, source.line)):
        # A whole word: the migration `b` is not the end of the parameter `db`.
        if found := re.search(rf"(?<!\w){re.escape(one_line(name))}(?!\w)", text_at(line)):
            return SourceLocation(source.path, line), found.span()
    return source, None


def _decorator_lines(declared: int, text_at: Callable[[int], str]) -> list[int]:
    """Return the lines of the decorators above a declaration, from the first."""
    lines: list[int] = []
    for line in range(declared - 1, max(declared - _LINES_AROUND, 0), -1):
        text = text_at(line)
        if not text.strip() or text.startswith(("def ", "class ", "async ")):
            break
        lines.insert(0, line)
    first = next((at for at, line in enumerate(lines) if text_at(line).startswith("@")), len(lines))
    return lines[first:]


def _class_lines(declared: int, text_at: Callable[[int], str]) -> list[int]:
    """Return the lines of a class's attributes, up to its first method."""
    lines: list[int] = []
    if text_at(declared).startswith("class "):
        for line in range(declared + 1, declared + _LINES_AROUND):
            if re.match(r"\S|\s+(?:async )?def ", text_at(line)):
                break
            lines.append(line)
    return lines


def _verdict(report: Report, paint: Paint) -> str:
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


# -- json ------------------------------------------------------------------------------------------------------------


def to_json(report: Report) -> str:
    """Render as this project's own JSON; `schema_version` changes only when a key changes its meaning or goes."""
    return json.dumps(document_of(report), indent=2, ensure_ascii=True) + "\n"


def document_of(report: Report) -> dict[str, object]:
    """Return the findings as a JSON document."""
    migrations = sum(subject.kind == "migration" for subject in report.subjects)
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "findings",
        "tool": {"name": "migrate_graph", "version": report.version},
        "project": report.project,
        "exit_code": report.exit_code,
        "summary": {
            "errors": report.count(Severity.ERROR),
            "warnings": report.count(Severity.WARNING),
            "infos": report.count(Severity.INFO),
            "migrations": migrations,
            "views": len(report.subjects) - migrations,
        },
        "findings": [finding_document(finding) for finding in report.findings],
    }


def finding_document(finding: Finding) -> dict[str, object]:
    """Return one finding as JSON."""
    return {
        "code": finding.code,
        "rule": finding.rule,
        "severity": str(finding.severity),
        "subject": finding.subject,
        "message": finding.message,
        "hint": finding.hint,
        **_place_document(finding.source),
        "related": [
            {"subject": related.subject, "message": related.message, **_place_document(related.source)}
            for related in finding.related
        ],
        "fingerprint": fingerprint(finding),
    }


def _place_document(source: SourceLocation | None) -> dict[str, object]:
    return {"path": source.path if source else None, "line": source.line if source else None}


# -- github ----------------------------------------------------------------------------------------------------------

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
    place = report.place(finding.source)
    properties = {"file": place.path, "line": str(place.line), "title": f"{finding.code} {finding.rule}"}
    hint = f"\n{finding.hint}" if finding.hint else ""
    listed = ",".join(f"{key}={_escape_property(value)}" for key, value in properties.items())
    return f"::{level} {listed}::{_escape_data(_legible(finding.message + hint))}"


def _escape_data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape_data(_legible(text)).replace(":", "%3A").replace(",", "%2C")


def _legible(text: str) -> str:
    return "\n".join(one_line(line) for line in text.splitlines())


# -- sarif -----------------------------------------------------------------------------------------------------------

_SARIF_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note", Severity.OFF: "none"}


def to_sarif(report: Report) -> str:
    """Render as SARIF 2.1.0, with the page of every rule that found something."""
    codes = sorted({finding.code for finding in report.findings})
    run = {
        "tool": {
            "driver": {
                "name": "migrate_graph",
                "version": report.version or "0",
                "rules": [_sarif_rule(code, report.findings) for code in codes],
            }
        },
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": "The top of the repository."}}},
        "results": [_sarif_result(finding, codes, report) for finding in report.findings],
    }
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
        "message": {"text": _legible(finding.message + hint)},
        "locations": [_sarif_location(finding.source, finding.subject, report)],
        "partialFingerprints": {"migrateGraph/v1": fingerprint(finding)},
    }
    if finding.related:
        result["relatedLocations"] = [
            {
                "id": number,
                **_sarif_location(related.source, related.subject, report),
                "message": {"text": _legible(f"'{related.subject}' {related.message}")},
            }
            for number, related in enumerate(finding.related, start=1)
        ]
    return result


def _sarif_location(source: SourceLocation | None, name: str, report: Report) -> dict[str, object]:
    place = report.place(source)
    if place.path.startswith("/"):
        artifact = {"uri": f"file://{quote(place.path, errors='replace')}"}
    else:
        artifact = {"uri": quote(place.path, errors="replace"), "uriBaseId": "%SRCROOT%"}
    return {
        "physicalLocation": {"artifactLocation": artifact, "region": {"startLine": place.line}},
        "logicalLocations": [{"name": name}],
    }


# -- junit -----------------------------------------------------------------------------------------------------------

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
        namesakes = by_name.get(finding.subject, [])
        chosen = next((case for case in namesakes if case[0].source == finding.source), None)
        chosen = chosen or (namesakes[0] if namesakes else None)
        if chosen is None:  # a file, a ledger row: judged, but not declared
            place = finding.source or SourceLocation(report.path, 1)
            chosen = (Subject("other", finding.subject, place.path, place), [])
            cases.append(chosen)
            by_name[finding.subject] = [chosen]
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
        failure.text = _xml("\n".join(_text_of(finding, report, _plain) for finding in errors))
    others = [finding for finding in findings if finding.severity is not Severity.ERROR]
    if others:
        ET.SubElement(case, "system-out").text = _xml(
            "\n".join(_text_of(finding, report, _plain) for finding in others)
        )


def _xml(text: str) -> str:
    return _XML_ILLEGAL.sub("\ufffd", printable(text))


# -- gitlab ----------------------------------------------------------------------------------------------------------

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
        place, mark = report.place(finding.source), fingerprint(finding)
        seen[mark] = seen.get(mark, 0) + 1
        entries.append(
            {
                "description": _legible(f"{finding.code} {finding.message}"),
                "check_name": finding.rule,
                "fingerprint": mark if seen[mark] == 1 else hashlib.sha256(f"{mark}{seen[mark]}".encode()).hexdigest(),
                "severity": _GITLAB_SEVERITIES[finding.severity],
                "location": {"path": place.path, "lines": {"begin": place.line}},
            }
        )
    return json.dumps(entries, indent=2, ensure_ascii=True) + "\n"


# -- markdown --------------------------------------------------------------------------------------------------------

_MARKDOWN_MARKS = {
    Severity.ERROR: "✗ error",
    Severity.WARNING: "! warning",
    Severity.INFO: "i remark",
    Severity.OFF: "off",
}


def to_markdown(report: Report) -> str:
    """Render as a summary for a pull request or a job page, never longer than a comment may be."""
    head = [f"### migrate check: {_verdict(report, _plain)}", ""]
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
    place = report.place(finding.source)
    hint = f"<br>{_code(finding.hint)}" if finding.hint else ""
    what = f"{_code(finding.message)}{hint}"
    rule = f"{finding.code} {finding.rule}"
    return f"| {_MARKDOWN_MARKS[finding.severity]} | {rule} | {_code(f'{place.path}:{place.line}')} | {what} |"


_MARKDOWN_ACTIVE = re.compile(r"[`|*_~@\\\[\]!:]")


def _code(text: str) -> str:
    """Return foreign text as inline code that no Markdown, HTML, mention or table can break out of."""
    flat = escape(" ".join(_legible(text).split()), quote=False)
    return f"<code>{_MARKDOWN_ACTIVE.sub(lambda found: f'&#{ord(found[0])};', flat)}</code>"


FINDING_FORMATS: Mapping[str, FindingFormat] = {
    "text": to_text,
    "json": to_json,
    "github": to_github,
    "sarif": to_sarif,
    "junit": to_junit,
    "gitlab": to_gitlab,
    "markdown": to_markdown,
}
