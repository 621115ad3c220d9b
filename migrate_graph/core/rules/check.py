"""Run the rules under a project's settings and give all findings in one fixed order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from migrate_graph.core.graph import MigrationGraph, Node, Ordering
from migrate_graph.core.history import History
from migrate_graph.core.model import Migration, View
from migrate_graph.core.rules.rule import RULES, Context, Finding, Hit, Rule, Severity, node_of
from migrate_graph.core.states import States
from migrate_graph.errors import UsageError
from migrate_graph.messages import did_you_mean, similar

_WORST_FIRST = list(Severity)


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """Which rules count, and how much; codes may be cut short: `MG2` means every rule of that hundred.

    Attributes:
        select: only these rules; empty for all. Naming one that is off switches it on, as a warning.
        ignore: not these; wins over everything else.
        error: these are errors.
        warn: these are warnings.
        strict: warnings count as errors.
        ledger_name_length: width of the ledger's name column, in characters.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    error: tuple[str, ...] = ()
    warn: tuple[str, ...] = ()
    strict: bool = False
    ledger_name_length: int = 512

    def severity_of(self, rule: Rule) -> Severity:
        """Return the severity of a rule under these settings; OFF when it does not count."""
        if _names(self.ignore, rule) or (self.select and not _names(self.select, rule)):
            return Severity.OFF
        severity = rule.severity
        if severity is Severity.OFF and rule.code in self.select:
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
) -> tuple[Finding, ...]:
    """Judge a graph by every rule.

    Args:
        graph: what is declared.
        history: what a database remembers; without it the rules that need one (MG4xx) are silent.
        base: the graph before a change; without it the rules that compare (MG5xx) are silent.
        ordering: how ties are broken.
        settings: which rules count, and how much; the catalogue's own severities when not given.
        standing: how each migration stands, where that is known already; else what the history says.

    Returns:
        All findings, the worst first, then by code, place and subject.

    Raises:
        UsageError: the settings or a declaration name rules that do not exist; all of them are named.
    """
    settings = settings or RuleSettings()
    _refuse_unknown_codes(graph, settings)
    context = Context(
        graph,
        history or History(),
        ordering=ordering,
        ledger_name_length=settings.ledger_name_length,
        base=base,
        standing=standing,
    )
    findings = []
    for rule in RULES.values():
        severity = settings.severity_of(rule)
        silent = (rule.needs_history and history is None) or (rule.needs_base and base is None)
        if severity is not Severity.OFF and not silent:
            findings += [finding for hit in rule.find(context) for finding in _judged(rule, severity, hit)]
    return tuple(sorted(findings, key=_reading_order))


def _judged(rule: Rule, severity: Severity, hit: Hit) -> Iterator[Finding]:
    """Make the finding of a hit, unless its declaration ignores the rule."""
    source = hit.source
    if not isinstance(hit.subject, Node):
        if _names(hit.subject.ignore, rule):
            return
        source = source or hit.subject.source
    yield Finding(rule.code, rule.name, severity, node_of(hit.subject), hit.message, hit.hint, source, hit.related)


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
