"""Check: the findings as a report, and the page of a rule."""

from __future__ import annotations

from migrate_graph.core.rules import RULES, Finding, Rule
from migrate_graph.errors import UsageError
from migrate_graph.messages import did_you_mean, similar
from migrate_graph.reports.report import Report, Subject
from migrate_graph.user_files import shown_from
from migrate_graph.workflow.assessment import Assessment
from migrate_graph.workflow.project import Project


def report_of(found: Assessment, findings: tuple[Finding, ...] | None = None) -> Report:
    """Return a report: findings, and everything else that a report format needs.

    Args:
        found: the assessment.
        findings: the findings of the report; None: all.
    """
    project = found.project
    registry = project.registry
    return Report(
        findings=found.findings if findings is None else findings,
        subjects=(
            *(Subject("migration", each.name, each.module, each.source) for each in registry.migrations),
            *(Subject("view", each.name, each.module, each.source) for each in registry.views),
        ),
        project=project.name,
        path=shown_from(project.path, project.root),
        prefix=_prefix(project),
        exit_code=int(found.exit_code),
        line_of=project.line_of,
    )


def _prefix(project: Project) -> str:
    """Return the path from the top of the repository to the directory that shown paths are relative to."""
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
