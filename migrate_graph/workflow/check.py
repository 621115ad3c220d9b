"""Judge: every finding at once, the page of a rule, and what a change does to the graph."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from migrate_graph.core.graph import MigrationGraph
from migrate_graph.core.rules import RULES, Finding, Rule, check
from migrate_graph.errors import ExitCode, UsageError
from migrate_graph.messages import did_you_mean, similar
from migrate_graph.reports.report import Report, Subject
from migrate_graph.workflow.plan import select_nodes
from migrate_graph.workflow.project import Project, Reading, rule_settings

_CODES = re.compile(r"\s*MG\d*\s*(,\s*MG\d*\s*)*,?\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Judged:
    """What the rules say.

    Attributes:
        findings: worst first.
        exit_code: 3 when there are errors, else 0.
    """

    findings: tuple[Finding, ...]
    exit_code: int


def check_project(
    project: Project,
    reading: Reading | None = None,
    *,
    base: MigrationGraph | None = None,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    strict: bool = False,
) -> Judged:
    """Judge the graph, and with a reading its history too.

    Args:
        project: what is judged.
        reading: what the database remembers; None leaves the history rules out.
        base: the graph before a change; None leaves the rules that compare out.
        select: only these codes (`MG101`, `MG1,MG2`), and only findings about these nodes (`+billing_*`, as `plan` takes them).
        ignore: not these codes, on top of the configured ones.
        strict: warnings count as errors.

    Raises:
        UsageError: a code is unknown, or a selector means nothing.
    """
    history = reading.history if reading is not None else None
    codes = _codes_in(each for each in select if _CODES.fullmatch(each))
    selectors = [each for each in select if not _CODES.fullmatch(each)]
    settings = rule_settings(project, select=codes, ignore=_codes_in(ignore), strict=strict)
    findings = check(project.graph, history, base=base, ordering=project.ordering, settings=settings)
    if selectors:
        meant = {node.name for node in select_nodes(project, reading or Reading(), selectors)}
        findings = tuple(
            each
            for each in findings
            if not meant.isdisjoint({each.subject, *(other.subject for other in each.related)})
        )
    errors = any(finding.severity == "error" for finding in findings)
    return Judged(findings, ExitCode.INVALID_GRAPH if errors else ExitCode.OK)


def report_of(project: Project, found: Judged, *, picture: str = "") -> Report:
    """Return the findings with everything that a format needs to know besides."""
    registry = project.registry
    return Report(
        findings=found.findings,
        subjects=(
            *(Subject("migration", each.name, each.module, each.source) for each in registry.migrations),
            *(Subject("view", each.name, each.module, each.source) for each in registry.views),
        ),
        project=project.name,
        path=_shown(project),
        prefix=_prefix(project),
        exit_code=int(found.exit_code),
        line_of=project.line_of,
        picture=picture,
    )


def _codes_in(words: Iterable[str]) -> tuple[str, ...]:
    """Return the codes of rules in what was typed: `mg101,MG2` are two."""
    return tuple(code.strip().upper() for each in words for code in each.split(",") if code.strip())


def _shown(project: Project) -> str:
    path = project.path.absolute()
    return path.relative_to(project.root).as_posix() if path.is_relative_to(project.root) else str(path)


def _prefix(project: Project) -> str:
    """Return the way from the top of the repository to the directory that paths are relative to."""
    for directory in (project.root, *project.root.parents):
        if (directory / ".git").exists():
            way = project.root.relative_to(directory).as_posix()
            return "" if way == "." else f"{way}/"
    return ""


def explain(code: str) -> Rule:
    """Return a rule by its code or its name.

    Raises:
        UsageError: there is no such rule.
    """
    wanted = code.strip()
    for rule in RULES.values():
        if wanted.upper() == rule.code or wanted.lower() == rule.name:
            return rule
    names = [rule.name for rule in RULES.values()]
    near = similar(wanted.upper(), RULES, cutoff=0.7) or similar(wanted.lower(), names, cutoff=0.5)
    hint = did_you_mean(near, "migrate explain without a code lists them all")
    raise UsageError(f"there is no rule '{code}'", hint=hint)
