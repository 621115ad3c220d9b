"""Findings for other tools: one file per format, one dictionary that names them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Final

from migrate_graph.errors import UsageError
from migrate_graph.messages import did_you_mean, similar

if TYPE_CHECKING:
    from migrate_graph.reports.report import Report

REPORTS: Final[dict[str, str]] = {
    "text": "for people",
    "json": "for programs",
    "github": "annotations of GitHub Actions",
    "sarif": "code scanning",
    "junit": "test reports",
    "gitlab": "GitLab Code Quality",
    "markdown": "job summaries and pull requests",
}
"""Every format with what it is for; `sarif` is `to_sarif` in `sarif.py`."""


def require_report(name: str) -> str:
    """Return the name of a format.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in REPORTS:
        hint = did_you_mean(similar(name, REPORTS, most=1), f"known: {', '.join(REPORTS)}")
        raise UsageError(f"no format is called '{name}'", hint=hint)
    return name


def write_report(report: Report, name: str) -> str:
    """Write a report in a format; only that format's file is imported.

    Raises:
        UsageError: there is no format of this name.
    """
    module = import_module(f"{__name__}.{require_report(name)}")
    write: Callable[[Report], str] = getattr(module, f"to_{name}")
    return write(report)
