"""What a report is made of: the findings, and what they are about."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct, field

from migrate_graph.redaction import one_line
from migrate_graph.user_files import SourceLocation

if TYPE_CHECKING:
    from migrate_graph.core.rules import Finding, Severity


class Subject(Struct, frozen=True):
    """A migration or a view that was judged.

    Attributes:
        kind: `migration` or `view`.
        name: its name.
        module: the file that declares it.
        source: where it is declared.
    """

    kind: str
    name: str
    module: str
    source: SourceLocation


class Report(Struct, frozen=True, kw_only=True):
    """What a format renders: the findings, and what they are about.

    Attributes:
        findings: worst first, as `check` gives them.
        subjects: everything that was judged.
        project: name to show.
        path: of the migrations file, for findings that have no place of their own.
        prefix: from the top of the repository to the directory that paths are relative to; hosts want paths from the top.
        exit_code: what the process will end with.
        line_of: returns the line of source at a place, or an empty string.
        picture: Mermaid text of the graph for the Markdown summary; empty for none.
    """

    findings: tuple[Finding, ...]
    subjects: tuple[Subject, ...] = ()
    project: str = ""
    path: str = "migrations.py"
    prefix: str = ""
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


def fingerprint(finding: Finding) -> str:
    """Identify a finding by its code and names, so that it stays the same when lines move."""
    names = [
        finding.code,
        finding.subject.name,
        finding.message,
        *(related.subject.name for related in finding.related),
    ]
    return hashlib.sha256("\0".join(names).encode("utf-8", "surrogatepass")).hexdigest()


def legible(text: str) -> str:
    """Return foreign text with its line ends, but without control characters."""
    return "\n".join(one_line(line) for line in text.splitlines())
