"""Prove a project's graph: watch its migrations on new databases, judge the graph by that, and infer missing requirements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from migrate_graph.core.commuting import Commuting, Pair
from migrate_graph.core.events import Observer, Result, ignore_events
from migrate_graph.core.graph import Edge, EdgeKind, Node, NodeKind
from migrate_graph.core.rules import Finding, Needs, Rule, Severity
from migrate_graph.core.traces import Entry, Trace, Traces, Trial, TrialKind, trace_of
from migrate_graph.errors import ExitCode, UsageError
from migrate_graph.messages import counted
from migrate_graph.workflow.assessment import Assessment, Judging, assess
from migrate_graph.workflow.footprint_file import write_footprints
from migrate_graph.workflow.laboratory.back_and_forth import Trip, all_trips
from migrate_graph.workflow.laboratory.closing import Closure, close
from migrate_graph.workflow.laboratory.laboratory import laboratory
from migrate_graph.workflow.laboratory.permuting import Pair as Swapped
from migrate_graph.workflow.laboratory.permuting import Permuted, Verdict, permute

if TYPE_CHECKING:
    from migrate_graph.workflow.laboratory.laboratory import Watched
    from migrate_graph.workflow.project import Project

ORDERS_OF_INFERRED = 20
"""How many orders of an inferred graph are tried by default."""


class ProofOptions(Struct, frozen=True, kw_only=True):
    """What is proved, and where.

    Attributes:
        on: a database on the server where scratch databases are made; empty: as configured.
        closure: each migration is tried after only its requirements.
        permute: how many other orders that the graph permits are tried.
        seed: the seed that these orders are drawn from.
        infer: find the edges that are missing, and try the graph with them.
        allow_outside: what bodies do outside of their database is not refused.
        reverts: each migration that has a `down` is applied, undone and applied again.
    """

    on: str = ""
    closure: bool = False
    permute: int = 0
    seed: int = 0
    infer: bool = False
    allow_outside: bool = False
    reverts: bool = False


WhoseOrders: TypeAlias = Literal["declared", "inferred"]
"""Which graph permits the orders that are tried."""


class Proof(Struct, frozen=True, kw_only=True, dict=True):
    """The result of `prove`.

    Attributes:
        found: the assessment of the project, with what was seen.
        watched: what each migration did.
        additions: with `infer`, the requirements that are missing, by the migration's name; None without `infer`.
        closure: the result of running each migration after only its requirements; None when not asked for.
        trips: the results of undoing migrations and applying them again; None when not asked for.
        orders: the result of other orders (of the inferred graph, when requirements are missing); None when not asked for.
    """

    found: Assessment
    watched: Watched
    additions: Mapping[str, tuple[str, ...]] | None = None
    closure: Closure | None = None
    orders: Permuted | None = None
    trips: tuple[Trip, ...] | None = None

    @property
    def traces(self) -> Traces:
        """What is known of each migration now."""
        return self.found.footprints or Traces()

    @property
    def whose_orders(self) -> WhoseOrders:
        """Which graph permits the orders that were tried."""
        return "inferred" if self.additions else "declared"

    @cached_property
    def commuting(self) -> Commuting:
        """Which migrations need another one, and which must not change places."""
        return _commuting(self.found.project, self.watched, self.traces)

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """The findings of the rules about the proof."""
        return self.found.findings_of(_is_about_proof)

    @property
    def exit_code(self) -> int:
        """Exit code: 1 when a migration failed in the order of the project, 3 when there are other findings, else 0."""
        if self.watched.failed or self.watched.cut:
            return ExitCode.FAILED
        is_grave = any(each.severity in {Severity.ERROR, Severity.WARNING} for each in self.findings)
        return ExitCode.INVALID_GRAPH if is_grave else ExitCode.OK

    @cached_property
    def seen(self) -> tuple[Edge, ...]:
        """The edges that are missing: with `infer` the smallest set that is sufficient, otherwise all that were found."""
        commuting = self.commuting
        pairs = commuting.missing if self.additions is not None else ()
        ties = [commuting.ties[pair] for pair in pairs] or [*commuting.undeclared, *commuting.unordered]
        return tuple(
            Edge(
                Node(NodeKind.MIGRATION, tie.before),
                Node(NodeKind.MIGRATION, tie.after),
                EdgeKind.NEEDS if tie.needs else EdgeKind.CONFLICTS,
            )
            for tie in ties
        )

    @property
    def holds_with_additions(self) -> bool:
        """Whether every order of the inferred graph that was tried gave the same result."""
        return self.additions is not None and not any(each.kind is TrialKind.INFERRED for each in self.traces.trials)

    @property
    def is_complete(self) -> bool:
        """Whether every migration was watched to its end."""
        return not (self.watched.failed or self.watched.cut)


def _is_about_proof(rule: Rule) -> bool:
    return Needs.FOOTPRINTS in rule.needs and rule.code not in {"MG703", "MG704"}  # about the file itself


Telling: TypeAlias = Callable[[str], Callable[[int, int], None]]
"""Called with the name of a piece of work; returns a function that is called with how many parts are done, and how many there are."""


def _nobody(_what: str) -> Callable[[int, int], None]:
    return lambda _done, _of: None


def prove(
    project: Project,
    options: ProofOptions,
    *,
    judging: Judging | None = None,
    observer: Observer = ignore_events,
    told: Telling = _nobody,
) -> Proof:
    """Prove the graph of a project.

    Args:
        project: the project.
        options: what is proved, and where.
        judging: how the rules judge.
        observer: called with events while migrations are watched.
        told: called with the progress of the later parts.

    Raises:
        InvalidGraph: the rules found errors in the graph itself.
        ConfigError: neither a database nor a server is named.
        DatabaseError: no database can be made.
        Stopped: a signal arrived; all scratch databases are dropped.
    """
    assess(project).refuse_errors(doing="verify")
    judging = judging or Judging()
    tuple(assess(project, judging=judging).findings)  # raises for an unknown rule before anything runs
    with laboratory(project, on=options.on, allow_outside=options.allow_outside, observer=observer) as place:
        watched = place.watch()
        traces = Traces(_entries(project, watched), trials=(*_failures(watched.failed), *_unreadable(watched)))
        proof = Proof(found=assess(project, judging=judging, footprints=traces), watched=watched)
        if not proof.is_complete:
            return proof
        if options.closure:
            proof = _with_closure(proof, close(place, watched, progress=told("on what it requires alone")))
        if options.reverts:
            proof = _with_trips(proof, all_trips(place, progress=told("up, down and up again")))
        if options.infer:
            proof = replace(proof, additions=_additions(proof.commuting.missing))
        if options.permute and not proof.additions:
            permuted = permute(place, most=options.permute, seed=options.seed, progress=told("other orders"))
            return _with_orders(proof, permuted, TrialKind.OTHER)
    if options.permute:
        return _with_inferred_orders(proof, options, observer, told)
    return proof


def _with_inferred_orders(proof: Proof, options: ProofOptions, observer: Observer, told: Telling) -> Proof:
    """Try orders of the graph that was inferred."""
    better = with_requirements(proof.found.project, proof.additions or {})
    with laboratory(better, on=options.on, allow_outside=options.allow_outside, observer=observer) as place:
        # When the order of the inferred graph is not the one that was watched, it is one of the orders to try.
        watched = proof.watched.order
        start = watched if {*watched} == {*place.order} else ()
        permuted = permute(
            place, most=options.permute, seed=options.seed, start=start, progress=told("orders of the inferred graph")
        )
    return _with_orders(proof, permuted, TrialKind.INFERRED)


def _with_trials(proof: Proof, trials: Iterable[Trial]) -> Proof:
    traces = replace(proof.traces, trials=(*proof.traces.trials, *trials))
    return replace(proof, found=replace(proof.found, footprints=traces))


def _with_closure(proof: Proof, closure: Closure) -> Proof:
    trials = [
        _trial(each.name, TrialKind.ALONE, each.failed, differences=each.differences, order=each.order)
        for each in closure.found
    ]
    return _with_trials(replace(proof, closure=closure), trials)


def _with_trips(proof: Proof, trips: tuple[Trip, ...]) -> Proof:
    trials = [
        _trial(
            trip.migration.name,
            TrialKind.AGAIN if trip.again else TrialKind.BACK,
            trip.failed,
            differences=trip.differences,
            reasons=tuple((each.what, each.source) for each in trip.objections),
        )
        for trip in trips
        if not trip.is_round
    ]
    return _with_trials(replace(proof, trips=trips), trials)


def _with_orders(proof: Proof, permuted: Permuted, kind: TrialKind) -> Proof:
    commuting = proof.found.graph.commuting
    trials = [
        _of_pair(pair, kind)
        for pair in permuted.pairs
        # For a pair with `commutes_with`, both orders are declared to be right: its rows may differ.
        if not (pair.shown.verdict is Verdict.ROWS and frozenset({pair.first, pair.then}) in commuting)
    ]
    if (failed := permuted.own.failed) is not None:  # no other order was tried, so nothing is proved
        trials.append(_trial(failed.name, kind, failed, order=permuted.own.order))
    return _with_trials(replace(proof, orders=permuted), trials)


def _of_pair(pair: Swapped, kind: TrialKind) -> Trial:
    shown = pair.shown
    trial = _trial(pair.then, kind, shown.failed, other=pair.first, differences=shown.differences, order=shown.order)
    if shown.failed is not None and shown.failed.name != pair.then:
        return replace(trial, error=f"{shown.failed.name}: {trial.error}")
    return trial


def _trial(name: str, kind: TrialKind, failed: Result | None, **more: Any) -> Trial:
    """Return a trial of a migration, with the failure when there was one."""
    if failed is None:
        return Trial(name, kind, "", None, **more)
    return Trial(name, kind, failed.error or str(failed.outcome), failed.source, **more)


def _commuting(project: Project, watched: Watched, traces: Traces) -> Commuting:
    graph = project.graph
    known = {name: entry.trace for name, entry in traces.entries.items()}
    return Commuting(watched.order, known, graph.requires.edges, graph.commuting)


def _additions(pairs: Iterable[Pair]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for before, after in pairs:
        found.setdefault(after, []).append(before)
    return {name: tuple(befores) for name, befores in found.items()}


def _entries(project: Project, watched: Watched) -> dict[str, Entry]:
    """Return the entries of the migrations that were seen, and empty ones of those in the configured backup."""
    graph, failed = project.graph, {each.name for each in watched.failed}
    entries = {name: Entry(Trace()) for name in graph.migrations if name in watched.start}
    for step in watched.plan.steps:
        name = step.migration.name
        if step.footprint is not None and name not in failed:
            views = {view: graph.views[view].fingerprint for view in step.views.up}
            uses = {view: used for view, used in step.footprint.view_uses.items() if view in views}
            entries[name] = Entry(trace_of(step.footprint), step.migration.facts.fingerprint, views, uses)
    return entries


def _failures(failed: Iterable[Result]) -> Iterable[Trial]:
    return (_trial(each.name, TrialKind.PLANNED, each) for each in failed)


def _unreadable(watched: Watched) -> Iterator[Trial]:
    for step in watched.plan.steps:
        for why in step.footprint.unreadable if step.footprint else ():
            yield Trial(step.migration.name, TrialKind.PLANNED, why, step.migration.source)


def with_additions(proof: Proof, names: Iterable[str]) -> Proof:
    """Return the proof after some additions were written into the files: the findings that they solve disappear.

    Args:
        proof: a proof with additions.
        names: names of the migrations whose additions were written.
    """
    done = {name: (proof.additions or {})[name] for name in names}
    better = with_requirements(proof.found.project, done)
    found = assess(better, judging=proof.found.judging, footprints=proof.traces)
    return Proof(
        found=found, watched=proof.watched, additions=proof.additions, closure=proof.closure, orders=proof.orders,
        trips=proof.trips,
    )  # fmt: skip


def with_requirements(project: Project, additions: Mapping[str, tuple[str, ...]]) -> Project:
    """Return the project with additional requirements."""
    migrations = tuple(
        replace(each, requires=(*each.requires, *additions.get(each.name, ()))) for each in project.registry.migrations
    )
    return project.declaring(replace(project.registry, migrations=migrations))


def require_configured(project: Project) -> None:
    """Raise when the footprint file is not about this migrations file.

    Raises:
        UsageError: another migrations file than the configured one was named.
    """
    if project.one_of_many:
        raise UsageError(
            f"{project.config.footprints} is about {project.config.migrations_file}, and another file was named",
            hint="leave out --write, or name a file of its own: --set footprints=FILE --set migrations_file=FILE",
        )


def keep(proof: Proof) -> bool:
    """Write what was seen into the footprint file; return whether its content has changed.

    Raises:
        UsageError: a migration failed, or the file cannot be written.
    """
    project = proof.found.project
    if not proof.is_complete:
        failed = counted(len(proof.watched.failed), "migration")
        raise UsageError(f"{project.config.footprints} is not written: {failed} failed", hint="correct that first")
    return write_footprints(project, Traces(proof.traces.entries))
