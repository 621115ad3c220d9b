"""Run the rules under a project's settings and give all findings in one fixed order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct, field

from migrate_graph.core.footprint import Budget, Footprint
from migrate_graph.core.graph import MigrationGraph, Node, Ordering
from migrate_graph.core.history import History
from migrate_graph.core.model import Migration, View
from migrate_graph.core.rules.rule import RULES, Context, Doing, Finding, Hit, Needs, Rule, Severity, Unless, node_of
from migrate_graph.core.states import States, standing_of
from migrate_graph.core.traces import Traces
from migrate_graph.errors import UsageError
from migrate_graph.messages import did_you_mean, similar

if TYPE_CHECKING:
    from migrate_graph.core.drift import Drifted

_WORST_FIRST = list(Severity)


class RuleSettings(Struct, frozen=True):
    """Which rules count, and how much; codes may be cut short: `MG2` means every rule of that hundred.

    Attributes:
        select: only these rules; empty for all. Naming one that is off switches it on, as a warning.
        ignore: not these; wins over everything else.
        error: these are errors.
        warn: these are warnings.
        strict: warnings count as errors.
        ledger_name_length: width of the ledger's name column, in characters.
        ledger: the setting `migrate_table`.
        schema: the schema that a name without one means; empty: it is not known.
        budget: what a migration may cost before a rehearsal objects.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    error: tuple[str, ...] = ()
    warn: tuple[str, ...] = ()
    strict: bool = False
    ledger_name_length: int = 512
    ledger: str = "ewh_implemented_features"
    schema: str = ""
    budget: Budget = field(default_factory=Budget)

    def severity_of(self, rule: Rule, milder: Severity | None = None) -> Severity:
        """Return the severity of a rule under these settings; OFF when it does not count.

        Args:
            rule: the rule.
            milder: its severity for one place; None for its own.
        """
        if _names(self.ignore, rule) or (self.select and not _names(self.select, rule)):
            return Severity.OFF
        severity = rule.severity if milder is None else milder
        if rule.severity is Severity.OFF and rule.code in self.select:
            severity = Severity.WARNING
        if _names(self.warn, rule):
            severity = Severity.WARNING
        if _names(self.error, rule) or (self.strict and severity is Severity.WARNING):
            severity = Severity.ERROR
        return severity


def check(
    graph: MigrationGraph,
    history: History | None = None,
    *,
    base: MigrationGraph | None = None,
    ordering: Ordering = Ordering.LEGACY,
    settings: RuleSettings | None = None,
    standing: States | None = None,
    rehearsed: Mapping[str, Footprint] | None = None,
    drifted: tuple[Drifted, ...] = (),
    footprints: Traces | None = None,
    doing: Doing = Doing.CHECK,
    only: Callable[[Rule], bool] = lambda _rule: True,
    errors_only: bool = False,
) -> tuple[Finding, ...]:
    """Judge a graph by every rule.

    Args:
        graph: what is declared.
        history: what a database remembers; without it the rules that need one (MG4xx) are silent.
        base: the graph before a change; without it the rules that compare (MG5xx) are silent.
        ordering: how ties are broken.
        settings: which rules count, and how much; the catalogue's own severities when not given.
        standing: the state of each migration, where that is known already; otherwise it is derived from the history.
        rehearsed: what was seen of each migration that was rehearsed, in the order in which they ran; without it the rules about
            that (MG6xx) are silent.
        drifted: what somebody changed in the database by hand; empty where nobody has looked.
        footprints: what is known of migrations that were watched; without it the rules about that (MG7xx) are silent.
        doing: what the graph is judged for.
        only: returns whether a rule is run.
        errors_only: run only the rules whose severity is ERROR, by itself or as it is configured.

    Returns:
        All findings, the worst first, then by code, place and subject.

    Raises:
        UsageError: the settings or a declaration name rules that do not exist; all of them are named.
    """
    settings = settings or RuleSettings()
    _refuse_unknown_codes(graph, settings)
    if standing is None:  # only rules that need a history ask for it
        standing = {} if history is None else standing_of(graph, history, ordering=ordering)
    context = Context(
        graph,
        history or History(),
        ordering,
        settings.ledger_name_length,
        graph if base is None else base,
        standing,
        rehearsed or {},
        footprints or Traces(),
        settings.budget,
        drifted,
        ledger=settings.ledger,
        schema=settings.schema,
    )
    judge = _Judge(context, settings, doing, asked=history is not None)
    given = {Needs.HISTORY: history, Needs.BASE: base, Needs.REHEARSAL: rehearsed, Needs.FOOTPRINTS: footprints}
    findings = []
    for rule in RULES.values():
        is_blind = bool(rule.needs) and all(given[each] is None for each in rule.needs)
        silent = is_blind or not only(rule) or (errors_only and not _may_be_grave(rule, settings))
        if settings.severity_of(rule) is not Severity.OFF and not silent:
            context.passes_history_over = errors_only and _is_mild_as_history(rule, settings)
            findings += [finding for hit in rule.find(context) for finding in judge.judged(rule, hit)]
    return tuple(sorted(findings, key=_reading_order))


def _may_be_grave(rule: Rule, settings: RuleSettings) -> bool:
    return Severity.ERROR in {rule.severity, settings.severity_of(rule)}


def _is_mild_as_history(rule: Rule, settings: RuleSettings) -> bool:
    return rule.applied is not None and settings.severity_of(rule, rule.applied) not in {
        Severity.ERROR,
        Severity.WARNING,
    }


class _Judge(Struct, frozen=True):
    """Makes findings of hits: the severity depends on what the graph is judged for, and on whether the subject is history."""

    context: Context
    settings: RuleSettings
    doing: Doing
    asked: bool

    def judged(self, rule: Rule, hit: Hit) -> Iterator[Finding]:
        """Make the finding of a hit, unless its declaration ignores the rule or it does not count here."""
        source, hint = hit.source, hit.hint
        if not isinstance(hit.subject, Node):
            if _names(hit.subject.ignore, rule):
                return
            source = source or hit.subject.source
        severity = self.settings.severity_of(rule, self._milder(rule, hit))
        if severity is Severity.OFF:
            return
        if rule.applied is not None and not self.asked and isinstance(hit.subject, Migration):
            hint = f"{hint}, if it is not applied yet"
        yield Finding(rule.code, rule.name, severity, node_of(hit.subject), hit.message, hint, source, hit.related)

    def _milder(self, rule: Rule, hit: Hit) -> Severity:
        chosen = [rule.severity]
        if self.doing is not Doing.CHECK and rule.running:
            chosen.append(rule.running)
        if self.doing is Doing.COMPATIBLE and not self._is_kept(rule, hit):
            chosen += [severity for kind, severity in rule.compatible.items() if kind is node_of(hit.subject).kind]
        if hit.severity:
            chosen.append(hit.severity)
        if self.asked and rule.applied and self.context.is_history(hit.subject):
            chosen.append(rule.applied)
        return max(chosen, key=_WORST_FIRST.index)

    def _is_kept(self, rule: Rule, hit: Hit) -> bool:
        name = node_of(hit.subject).name
        if rule.unless is Unless.OPENED:
            return name in self.context.opened
        return rule.unless is Unless.AFFECTED and name in self.context.affected


def _reading_order(finding: Finding) -> tuple[object, ...]:
    place = (finding.source.path, finding.source.line) if finding.source else ("", 0)
    return _WORST_FIRST.index(finding.severity), finding.code, place, finding.subject.name, finding.message


def _names(codes: Iterable[str], rule: Rule) -> bool:
    return any(rule.code.startswith(code) for code in codes)


def _refuse_unknown_codes(graph: MigrationGraph, settings: RuleSettings) -> None:
    """Raise for codes that name no rule: a typo there would switch off, or fail to switch off, in silence."""
    named = [(code, "") for code in (*settings.select, *settings.ignore, *settings.error, *settings.warn)]
    declared: tuple[Migration | View, ...] = (*graph.registry.migrations, *graph.registry.views)
    for each in declared:
        named += [(code, f" in `ignore` of '{each.name}' ({each.source})") for code in sorted(each.ignore)]
    # The shortest code that counts is a hundred, `MG1`: an empty one or `M` would switch off everything.
    unknown = [
        (code, place)
        for code, place in named
        if len(code) < len("MG1") or not any(known.startswith(code) for known in RULES)
    ]
    if not unknown:
        return
    faults = ", ".join(dict.fromkeys(f"'{code}'{place}" for code, place in unknown))
    close = (near for code, _ in unknown for near in similar(code.upper(), RULES, most=1, cutoff=0.7))
    raise UsageError(f"no such rule: {faults}", hint=did_you_mean(close, f"the rules are {', '.join(RULES)}"))
