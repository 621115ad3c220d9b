"""Assess a project once per command: its text, JSON, picture, report and run all read this one value."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from migrate_graph.core.graph import MigrationGraph, Node, NodeKind
from migrate_graph.core.plan import Plan, build_plan
from migrate_graph.core.rules import RULES, Doing, Finding, Needs, Rule, RuleSettings, Severity, check
from migrate_graph.core.selection import select as select_nodes
from migrate_graph.core.states import States, standing_of, states_of
from migrate_graph.core.timeline import Timeline
from migrate_graph.errors import ExitCode, InvalidGraph, MigrateGraphError
from migrate_graph.messages import counted
from migrate_graph.workflow.project import Project, Reading, rule_settings, unknown_name, would_refuse

if TYPE_CHECKING:
    from migrate_graph.core.history import StoredView
    from migrate_graph.core.traces import Traces
    from migrate_graph.workflow.revision import Base

_CODES = re.compile(r"\s*MG\d*\s*(,\s*MG\d*\s*)*,?\s*", re.IGNORECASE)


class Selection(Struct, frozen=True):
    """Which part of the project is meant; everything when all three are empty.

    Attributes:
        to: up to and including this migration.
        select: selectors; a migration is meant when one of them matches it.
        exclude: selectors; a migration that one of them matches is not meant.
        names: exact names; only these migrations are meant. None: all.
    """

    to: str | None = None
    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    names: frozenset[str] | None = None

    def __bool__(self) -> bool:
        return bool(self.to or self.select or self.exclude or self.names is not None)


class Judging(Struct, frozen=True):
    """How the rules judge in one command, in addition to the project's settings.

    Attributes:
        select: only these codes (`MG101`, `MG1,MG2`), and only findings about these nodes (`+billing_*`).
        ignore: codes that are left out.
        strict: warnings count as errors.
        doing: what the command does; the severity of some rules depends on it.
        errors_only: at first only findings that can stop the command are looked for; the others when `findings` is read.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    strict: bool = False
    doing: Doing = Doing.CHECK
    errors_only: bool = False

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes among `select`: `mg101,MG2` are two."""
        return _split(each for each in self.select if _CODES.fullmatch(each))

    @property
    def subjects(self) -> tuple[str, ...]:
        """The selectors among `select`."""
        return tuple(each for each in self.select if not _CODES.fullmatch(each))

    def settings(self, project: Project) -> RuleSettings:
        """Return the settings of the rules."""
        return rule_settings(project, select=self.codes, ignore=_split(self.ignore), strict=self.strict)


class Assessment(Struct, frozen=True, kw_only=True, eq=False, dict=True):
    """What one command knows: the declarations, the history, the findings, the plan, and the state of each migration and view.

    Attributes:
        project: the project that is assessed.
        reading: what the database remembers; empty when no database was asked.
        plan: what would run; None when no database was asked.
        base: the graph before a change, and what has changed since; None when nothing is compared.
        judging: how the rules judge.
        footprints: what is known of migrations that were watched; None when the command does not need it.
    """

    project: Project
    reading: Reading
    plan: Plan | None
    base: Base | None = None
    judging: Judging = field(default_factory=Judging)
    footprints: Traces | None = None

    @property
    def graph(self) -> MigrationGraph:
        """The graph of what is declared."""
        return self.project.graph

    @cached_property
    def states(self) -> States:
        """The state of each migration and view."""
        return states_of(self.graph, self.reading.history if self.plan is not None else None, self.plan)

    @property
    def planned(self) -> Plan:
        """The plan; only for commands that have read a history."""
        assert self.plan is not None  # noqa: S101 - a fault of ours
        return self.plan

    @cached_property
    def refusal(self) -> MigrateGraphError | None:
        """The error with which `apply` would end before it runs the plan, as far as reading the database tells; None: with none."""
        reading, names = self.reading, [step.migration.name for step in self.planned.steps]
        # The steps of a revert are applied, those of a run are not.
        installed = reading.history.applied.isdisjoint(names)
        found = reading.obstacles
        return reading.refused or (found.refusal(names, installed=installed) if found is not None else None)

    @property
    def note(self) -> str:
        """What is to be said of the database first: why nothing was read of it, or what `apply` would refuse; empty: nothing."""
        return self.reading.note or (would_refuse(self.refusal) if self.refusal is not None else "")

    @property
    def has_ways(self) -> bool:
        """Whether the configured database has several ways in which views come up again."""
        from migrate_graph.database import has_ways

        return self.project.config.has_database and has_ways(self.project.config.migrate_uri)

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """The findings of the rules, the worst first; findings about the history only when one was read.

        Raises:
            UsageError: a code is unknown, or a selector means nothing.
        """
        return self.findings_of(lambda _rule: True)

    def findings_of(self, only: Callable[[Rule], bool]) -> tuple[Finding, ...]:
        """Return the findings of some rules.

        Args:
            only: returns whether a rule is asked.

        Raises:
            UsageError: a code is unknown, or a selector means nothing.
        """
        found = self._found(only=only)
        if not self.judging.subjects:
            return found
        meant = select_nodes(self.judging.subjects, self.graph, self.states)
        return tuple(each for each in found if meant & {each.subject, *(other.subject for other in each.related)})

    def _found(self, *, only: Callable[[Rule], bool] = lambda _rule: True, grave: bool = False) -> tuple[Finding, ...]:
        return check(
            self.graph,
            self.reading.history if self.plan and self.reading.was_read else None,
            base=self.base.graph if self.base else None,
            ordering=self.project.ordering,
            settings=self.judging.settings(self.project),
            standing=self.plan.standing if self.plan else None,
            rehearsed=self.plan.footprints if self.plan and self.plan.footprints else None,
            drifted=self.reading.drift.changes if self.reading.drift else (),
            footprints=self.footprints,
            doing=self.judging.doing,
            only=only,
            errors_only=grave,
        )

    @cached_property
    def grave_findings(self) -> tuple[Finding, ...]:
        """The findings that can stop the command: errors, and those that are warnings only for `doing`. Applied bodies are not read."""
        return self._found(grave=True) if self.judging.errors_only else self.findings

    @cached_property
    def edited_views(self) -> dict[str, int]:
        """The existing views whose text was edited, each with the place of the step that creates the new text; 0: no step does."""
        return {
            node.name: known.brought_up[0] if known.brought_up else 0
            for node, known in self.states.items()
            if node.kind is NodeKind.VIEW and known.changed
        }

    @cached_property
    def views_brought_back(self) -> tuple[StoredView, ...]:
        """The views that an earlier run left down, and that `apply` brings back before it runs anything; a run at work does so itself."""
        history, graph = self.reading.history, self.graph
        if not history.views_down or self.reading.lock_holder is not None:
            return ()
        living = Timeline(graph).living(history.applied)
        return tuple(each for each in history.views_down if each.manager in living or each.manager not in graph.views)

    @property
    def exit_code(self) -> int:
        """Exit code of `check`: 3 when there are errors, else 0."""
        errors = any(finding.severity is Severity.ERROR for finding in self.findings)
        return ExitCode.INVALID_GRAPH if errors else ExitCode.OK

    @property
    def errors_of_graph(self) -> int:
        """Number of errors in the graph itself; with any, the graph cannot be used."""
        grave = (each for each in self.grave_findings if each.severity is Severity.ERROR)
        return sum(not RULES[each.code].needs_more for each in grave)

    @property
    def errors_of_rehearsal(self) -> int:
        """Number of errors in what a rehearsal saw."""
        return sum(
            each.severity is Severity.ERROR and Needs.REHEARSAL in RULES[each.code].needs
            for each in self.grave_findings
        )

    def refuse_errors(self, *, doing: str) -> None:
        """Raise when the graph has errors.

        Findings about the history do not count: an orphan record must not stop a deployment (edwh-migrate goes on, too), and an
        interrupted migration stops only the migrations that require it.

        Args:
            doing: the command that is refused, for the message (`plan`, `apply`).

        Raises:
            InvalidGraph: the rules found errors in the graph.
        """
        if self.errors_of_graph:
            raise InvalidGraph(
                f"{doing} refused: the graph has {counted(self.errors_of_graph, 'error')}",
                findings=self.findings,
                hint="migrate check shows every finding, migrate graph -o graph.svg draws it",
            )

    def refuse_what_no_history_excuses(self, *, doing: str) -> None:
        """Raise for errors that do not depend on the history; called before the database is connected.

        Args:
            doing: see `refuse_errors`.

        Raises:
            InvalidGraph: the rules found such errors in the graph.
        """
        found = self._found(only=lambda rule: rule.applied is None, grave=True)
        if any(each.severity is Severity.ERROR for each in found):
            self.refuse_errors(doing=doing)

    def with_rehearsed(self, plan: Plan) -> Assessment:
        """Return the assessment with another plan, for example a rehearsed one: then the rules judge what was seen, too."""
        return replace(self, plan=plan)

    def drawn(self, include: Sequence[str], exclude: Sequence[str] = ()) -> frozenset[Node]:
        """Return the nodes that selectors match.

        Raises:
            UsageError: a selector means nothing.
        """
        return select_nodes(include, self.graph, self.states, exclude=exclude)


def assess(
    project: Project,
    reading: Reading | None = None,
    *,
    selection: Selection | None = None,
    judging: Judging | None = None,
    base: Base | None = None,
    footprints: Traces | None = None,
) -> Assessment:
    """Assess a project.

    Args:
        project: the project; its graph may be invalid.
        reading: what the database remembers; None: no database is asked, so there is no plan and nothing has a state.
        selection: which migrations a plan is made of.
        judging: how the rules judge.
        base: the graph before a change; None: the rules that compare are left out.
        footprints: what is known of migrations that were watched; None: the rules about that are left out.

    Raises:
        UsageError: a name or a selector means nothing.
    """
    plan = _plan(project, reading, selection) if reading is not None else None
    return Assessment(
        project=project,
        reading=reading or Reading(),
        plan=plan,
        base=base,
        judging=judging or Judging(),
        footprints=footprints,
    )


def _plan(project: Project, reading: Reading, selection: Selection | None) -> Plan:
    graph, history = project.graph, reading.history
    standing = standing_of(
        graph,
        history,
        ordering=project.ordering,
        stop_on_partial=project.config.on_partial == "stop",
        at_work=reading.lock_holder is not None,
        running=_running(project, reading),
    )
    chosen = _chosen(project, standing, selection) if selection else None
    return build_plan(graph, history, ordering=project.ordering, selection=chosen, standing=standing)


def _running(project: Project, reading: Reading) -> frozenset[str]:
    """Return the migrations that another run executes now; empty when there is none, or when they cannot be identified."""
    holder, names = reading.lock_holder, project.graph.migrations
    found = set()
    for told in filter(None, (holder.migration, *holder.beside)) if holder else ():
        cut = [told] if told in names else [name for name in names if name.startswith(told)]  # a server keeps 63 bytes
        found |= set(cut) if len(cut) == 1 else set()
    return frozenset(found)


def _chosen(project: Project, standing: States, selection: Selection) -> frozenset[str]:
    """Return the names of the selected migrations."""
    chosen = frozenset(project.graph.migrations)
    if selection.names is not None:
        chosen &= selection.names
    if selection.to is not None:
        if selection.to not in project.graph.migrations:
            raise unknown_name(project, selection.to)
        chosen = project.graph.ancestors(selection.to) | {selection.to}
    if selection.select or selection.exclude:
        nodes = select_nodes(selection.select, project.graph, standing, exclude=selection.exclude)
        chosen &= {node.name for node in nodes if node.kind is NodeKind.MIGRATION}
    return chosen


def _split(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(code.strip().upper() for each in words for code in each.split(",") if code.strip())
