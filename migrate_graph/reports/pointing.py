"""Where in the source a finding points: the line and the word that are wrong, rather than the declaration around them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from migrate_graph.redaction import one_line
from migrate_graph.reports.report import Report
from migrate_graph.user_files import SourceLocation

if TYPE_CHECKING:
    from migrate_graph.core.rules import Finding

_LINES_AROUND = 40
"""How many lines around a declaration are searched for its decorators and attributes."""


def place_of(finding: Finding, report: Report) -> tuple[SourceLocation, tuple[int, int] | None]:
    """Return where a finding points as a host wants it: the place from the top of the repository, and the columns from 1.

    The second column is the one behind the word; None instead of columns where the word is not found.
    """
    source = finding.source
    if source is None:
        return report.place(None), None
    place, span = pointed_at(finding, source, lambda line: report.line_of(SourceLocation(source.path, line)))
    return report.place(place), (span[0] + 1, span[1] + 1) if span else None


def pointed_at(
    finding: Finding, source: SourceLocation, text_at: Callable[[int], str]
) -> tuple[SourceLocation, tuple[int, int] | None]:
    """Find the name that a finding is about: first one that the declaration mentions, else the declared name itself.

    Args:
        finding: what is wrong.
        source: where its subject is declared.
        text_at: returns the text of a line.

    Returns:
        The place of the name, and where in its line it begins and ends; None for that where the name is not found.
    """
    mentioned = [name for name in re.findall(r"'([^']+)'", finding.message) if name != finding.subject.name]
    around = [*_decorator_lines(source.line, text_at), source.line, *_class_lines(source.line, text_at)]
    searched = [(name, line) for name in dict.fromkeys(mentioned) for line in around]
    for name, line in (*searched, (finding.subject.name, source.line)):
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
