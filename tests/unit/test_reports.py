"""The formats of findings, against the schemas of those who read them."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from markdown_it import MarkdownIt

from migrate_graph import reports
from migrate_graph.core.graph import Node, NodeKind
from migrate_graph.core.rules import Finding, Related, Severity
from migrate_graph.errors import UsageError
from migrate_graph.markdown import code
from migrate_graph.reports import REPORTS, write_report
from migrate_graph.reports.markdown import MARKDOWN_LIMIT
from migrate_graph.reports.report import Report, Subject, fingerprint
from migrate_graph.user_files import SourceLocation

SCHEMAS = Path(__file__).parents[1] / "schemas"
HOSTILE = "a\x1b[31m\nb\u202e|c`<script>alert(1)</script>]]>&\x00%0A::error::@here #1 \ufffe,:"


def place(line: int, path: str = "app/billing.py") -> SourceLocation:
    return SourceLocation(path, line)


A, B = Node(NodeKind.MIGRATION, "a"), Node(NodeKind.MIGRATION, "b")
RING = Finding(
    "MG101", "dependency-cycle", Severity.ERROR, A, "'a' requires 'b' requires 'a'", "cut it", place(4),
    (Related(A, "requires 'b'", place(4)), Related(B, "requires 'a'", place(9, "app/other.py"))),
)  # fmt: skip
WARNING = Finding(
    "MG204",
    "unknown-until",
    Severity.WARNING,
    Node(NodeKind.VIEW, "V"),
    "'V' lives until 'x', which nothing declares",
    "",
    place(20),
)
REMARK = Finding(
    "MG105", "redundant-requirement", Severity.INFO, B, "'b' requires 'a' twice over", "remove it", place(9)
)
NOWHERE = Finding(
    "MG401",
    "orphan-record",
    Severity.ERROR,
    Node(NodeKind.MIGRATION, "gone"),
    "'gone' is recorded, and nothing declares it",
    "bring it back",
)
HOSTILE_ONE = Finding(
    "MG103",
    "duplicate-name",
    Severity.ERROR,
    Node(NodeKind.MIGRATION, HOSTILE),
    f"'{HOSTILE}' twice",
    HOSTILE,
    place(1, "d ir/ü[1],:%.py"),
)

SUBJECTS = (
    Subject("migration", "a", "billing.py", place(4)),
    Subject("migration", "b", "other.py", place(9, "app/other.py")),
    Subject("view", "V", "billing.py", place(20)),
    Subject("view", "a", "billing.py", place(30)),
)


def report(*findings: Finding, **values: Any) -> Report:
    return Report(findings=findings, subjects=SUBJECTS, project="shop", **values)


MIXED = report(RING, NOWHERE, HOSTILE_ONE, WARNING, REMARK)


def write_report_as(name: str, given: Report) -> str:
    return write_report(given, name)


def test_a_format_is_a_file_and_a_line() -> None:
    files = {path.stem for path in Path(reports.__path__[0]).glob("*.py")} - {
        "__init__",
        "report",
        "document",
        "pointing",
    }
    assert set(REPORTS) == files
    with pytest.raises(UsageError, match="no format is called 'sarrif'"):
        write_report(report(), "sarrif")


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("given", [report(), MIXED], ids=["nothing", "mixed"])
def test_every_format_renders_everything_twice_the_same(name: str, given: Report) -> None:
    text = write_report_as(name, given)
    assert text == write_report_as(name, given)
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", text), "nothing that a terminal would obey"
    assert not text or text.endswith("\n")


def test_text_underlines_the_name_that_is_wrong() -> None:
    finding = Finding(
        "MG102",
        "unknown-requirement",
        Severity.ERROR,
        B,
        "'b' requires 'nope', which nothing declares",
        "declare it",
        place(3),
    )
    text = write_report_as(
        "text", report(finding, line_of=lambda at: '@migration(requires=["nope"])\n' * (at.line == 3))
    )
    assert text.splitlines()[:5] == [
        "error MG102 unknown-requirement: 'b' requires 'nope', which nothing declares",
        "  --> app/billing.py:3",
        '    3 | @migration(requires=["nope"])',
        "      |                       ^^^^",
        "   hint: declare it",
    ]
    assert text.endswith("\n1 error in 2 migrations and 2 views\n")
    assert write_report_as("text", report()) == "nothing wrong in 2 migrations and 2 views\n"


def test_text_lists_a_ring_edge_by_edge() -> None:
    text = write_report_as("text", report(RING))
    assert "   at app/billing.py:4  'a' requires 'b'\n   at app/other.py:9  'b' requires 'a'\n" in text


def test_json_follows_its_schema() -> None:
    schema = json.loads((files("migrate_graph.reports.schemas") / "findings-1.json").read_text())
    for given in (report(), MIXED):
        document = json.loads(write_report_as("json", given))
        jsonschema.validate(document, schema)
    assert document["summary"] == {"errors": 3, "warnings": 1, "infos": 1, "migrations": 2, "views": 2}
    assert document["findings"][0]["related"][1]["path"] == "app/other.py"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "schema_version": 2}, schema)


def test_sarif_follows_the_official_schema() -> None:
    # The schema that OASIS published, as the npm package @microsoft/jest-sarif ships it.
    schema = json.loads((SCHEMAS / "sarif-2.1.0.json").read_text())
    for given in (report(), MIXED):
        document = json.loads(write_report_as("sarif", given))
        jsonschema.Draft4Validator(schema).validate(document)
    run = document["runs"][0]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["MG101", "MG103", "MG105", "MG204", "MG401"]
    ring = run["results"][0]
    assert ring["locations"][0]["physicalLocation"]["region"] == {"startLine": 4}
    assert [each["physicalLocation"]["region"]["startLine"] for each in ring["relatedLocations"]] == [4, 9]
    assert "## Why it matters" in run["tool"]["driver"]["rules"][0]["help"]["markdown"]
    for result in run["results"]:
        assert re.fullmatch(r"[\w./%~-]+", result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft4Validator(schema).validate({**document, "version": "2.0.0"})


def test_paths_for_hosts_start_at_the_top_of_the_repository() -> None:
    given = report(RING, NOWHERE, prefix="services/shop/", path="migrations.py")
    assert "file=services/shop/app/billing.py,line=4" in write_report_as("github", given)
    assert "file=services/shop/migrations.py,line=1" in write_report_as("github", given)
    assert json.loads(write_report_as("gitlab", given))[0]["location"]["path"] == "services/shop/app/billing.py"
    assert "services/shop/app/billing.py" in write_report_as("sarif", given)


def test_annotations_point_at_the_word_that_is_wrong() -> None:
    finding = Finding("MG102", "unknown-requirement", Severity.ERROR, A, "'a' requires 'nöpe', which…", "", place(5))
    lines = {3: "@migration(", 4: '    requires=["nöpe"],)', 5: "def a(db):"}
    pointing = report(finding, line_of=lambda at: lines.get(at.line, ""))
    assert "line=4,col=16,endColumn=19," in write_report_as("github", pointing)
    (result,) = json.loads(write_report_as("sarif", pointing))["runs"][0]["results"]
    region = result["locations"][0]["physicalLocation"]["region"]
    assert region == {"startLine": 4, "startColumn": 16, "endColumn": 20}
    assert lines[4][region["startColumn"] - 1 : region["endColumn"] - 1] == "nöpe"
    assert "`app/billing.py:4`" in write_report_as("markdown", pointing)
    (entry,) = json.loads(write_report_as("gitlab", pointing))
    assert entry["location"]["lines"] == {"begin": 4}


def test_github_escapes_and_shows_the_worst_nine_of_a_level() -> None:
    lines = write_report_as("github", report(HOSTILE_ONE)).splitlines()
    assert len(lines) == 1, "one command a line, whatever a name contains"
    assert lines[0].startswith("::error file=d ir/ü[1]%2C%3A%25.py,line=1,title=MG103 duplicate-name::")
    assert "%0A" in lines[0]
    many = [
        Finding("MG204", "unknown-until", Severity.WARNING, Node(NodeKind.VIEW, f"v{n}"), "x", "", place(n))
        for n in range(12)
    ]
    lines = write_report_as("github", report(RING, *many)).splitlines()
    assert [line.split(" ")[0] for line in lines] == ["::error"] + ["::warning"] * 10
    assert lines[-1].endswith("::3 more, see the summary of this job")
    assert write_report_as("github", report(REMARK)).startswith("::notice ")


def test_junit_has_a_case_for_each_subject_and_fails_only_errors() -> None:
    root = ET.fromstring(write_report_as("junit", MIXED))
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert len(cases) == len(SUBJECTS) + 2, "what is judged without being declared has a case too"
    assert root.get("tests") == "6"
    assert root.get("failures") == "3"
    assert cases["migration a"].find("failure").get("message").startswith("MG101 'a' requires")  # type: ignore[union-attr]
    assert cases["view a"].find("failure") is None, "a view of the same name is another case"
    assert cases["view V"].find("failure") is None
    assert "MG204" in (cases["view V"].findtext("system-out") or "")
    assert "migration gone" in cases


def test_gitlab_fingerprints_are_unique_and_do_not_move_with_lines() -> None:
    twin = Finding(RING.code, RING.rule, RING.severity, RING.subject, RING.message, RING.hint, place(400), RING.related)
    entries = json.loads(write_report_as("gitlab", report(RING, RING, twin, NOWHERE)))
    assert fingerprint(RING) == fingerprint(twin)
    assert len({entry["fingerprint"] for entry in entries}) == 4
    for entry in entries:
        assert set(entry) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert entry["severity"] in {"info", "minor", "major", "critical", "blocker"}
        assert entry["location"]["lines"]["begin"] >= 1
        assert not entry["location"]["path"].startswith("./")


def test_markdown_cannot_be_broken_out_of() -> None:
    text = write_report_as("markdown", MIXED)
    assert "3 errors, 1 warning, 1 remark in 2 migrations and 2 views" in text
    tokens = [
        token
        for each in MarkdownIt("commonmark").enable("table").parse(text)
        for token in (each, *(each.children or ()))
    ]
    kinds = {token.type for token in tokens}
    assert kinds <= {
        *TABLE,
        "heading_open",
        "heading_close",
        "inline",
        "text",
        "code_inline",
        "html_inline",
        "paragraph_open",
        "paragraph_close",
    }
    assert {token.content for token in tokens if token.type == "html_inline"} <= {"<br>"}, "ours"
    foreign = [
        token.content
        for token in tokens
        if token.type == "text" and ("@here" in token.content or "script" in token.content)
    ]
    assert foreign == [], "what is foreign is code"
    assert sum(token.type == "tr_open" for token in tokens) == 1 + 4, "a row a finding, but for the remark"
    assert all(count == 4 for count in cells_of(tokens))


TABLE = {f"{part}_{end}" for part in ("table", "thead", "tbody", "tr", "th", "td") for end in ("open", "close")}


def cells_of(tokens: list[Any]) -> list[int]:
    """Return the number of cells in each row."""
    counts: list[int] = []
    for token in tokens:
        if token.type == "tr_open":
            counts.append(0)
        elif token.type in {"td_open", "th_open"}:
            counts[-1] += 1
    return counts


def test_markdown_of_a_valid_graph_is_a_line_and_the_graph() -> None:
    many = [
        Finding("MG105", "redundant-requirement", Severity.INFO, Node(NodeKind.MIGRATION, f"m{n}"), "x", "", place(n))
        for n in range(95)
    ]
    text = write_report_as("markdown", report(*many, REMARK, picture="flowchart LR\n"))
    assert text.splitlines()[2:4] == ["", "96 remarks: 96 of MG105; `migrate check` lists them."]
    assert text.count("\n") < 14


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("create_orders_20260105_001", "`create_orders_20260105_001`"),
        ("a`b", "``a`b``"),
        ("`a``", "``` `a`` ```"),
        ("a|b\\|c", "`a\\|b\\\\|c`"),
        ("two\nlines", "`two lines`"),
        ("", ""),
    ],
)
def test_names_are_the_same_in_a_raw_log(text: str, written: str) -> None:
    assert code(text) == written


def test_markdown_stays_below_the_limit_and_says_how_many_more() -> None:
    many = [
        Finding("MG204", "unknown-until", Severity.WARNING, Node(NodeKind.VIEW, f"v{n}"), "x" * 200, "", place(n))
        for n in range(1000)
    ]
    text = write_report_as("markdown", report(*many, picture="flowchart LR"))
    assert len(text) <= MARKDOWN_LIMIT
    shown = text.count("MG204 unknown-until")
    assert f"\n{1000 - shown} more: `migrate check` shows them all.\n" in text
    few = write_report_as("markdown", report(RING, picture="flowchart LR\n"))
    assert few.endswith("```mermaid\nflowchart LR\n```\n\n</details>\n")
    assert "mermaid" not in write_report_as("markdown", report(RING, picture="x" * MARKDOWN_LIMIT))
