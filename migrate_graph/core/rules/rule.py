"""What a rule is, what it is given, and what it says."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from migrate_graph.core.footprint import Budget, Footprint
from migrate_graph.core.graph import MigrationGraph, Node, NodeKind, Ordering
from migrate_graph.core.history import History
from migrate_graph.core.late import nx
from migrate_graph.core.model import Migration, Unfinished, UnreachedFile, View
from migrate_graph.core.states import States
from migrate_graph.core.timeline import Timeline
from migrate_graph.core.traces import Trace, Traces
from migrate_graph.core.uses import uses_seen
from migrate_graph.messages import did_you_mean, similar, some
from migrate_graph.user_files import SourceLocation

if TYPE_CHECKING:
    from migrate_graph.core.commuting import Commuting
    from migrate_graph.core.comparison import Comparison
    from migrate_graph.core.drift import Drifted

# Looking for names that are like an unknown one takes milliseconds; it is done for so many unknown names only.
_SUGGESTIONS = 40
_SHOWN = 80


class Severity(StrEnum):
    """How bad a finding is: only an ERROR stops a plan."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    OFF = "off"


class Doing(StrEnum):
    """What the graph is judged for.

    CHECK: to tell everything.
    RUN: `plan` and `apply`.
    COMPATIBLE: a bare `migrate`, and the functions that programs of edwh-migrate call: a project that ran with edwh-migrate is
        stopped only by faults that would lose something, or skip it without a message.
    """

    CHECK = "check"
    RUN = "run"
    COMPATIBLE = "compatible"


class Related(Struct, frozen=True):
    """Another place that a finding is about: a member of a cycle, the other of two duplicates.

    Attributes:
        subject: the migration or view.
        message: what it does there (`requires b`).
        source: where.
    """

    subject: Node
    message: str
    source: SourceLocation | None = None

    @classmethod
    def at(cls, declared: Migration | View, message: str) -> Related:
        """Return the place of a declaration."""
        return cls(node_of(declared), message, declared.source)


class Finding(Struct, frozen=True):
    """One fault of the user's graph.

    Attributes:
        code: `MG101`.
        rule: `dependency-cycle`.
        severity: after the user's configuration.
        subject: what it is about: a migration or view, declared or only named somewhere, or a file.
        message: what is wrong (lower case, no full stop).
        hint: something to do or type.
        source: where.
        related: other places, in reading order (a cycle's edges one by one).
    """

    code: str
    rule: str
    severity: Severity
    subject: Node
    message: str
    hint: str
    source: SourceLocation | None = None
    related: tuple[Related, ...] = ()


class Hit(Struct, frozen=True):
    """What a rule says of one place; `check` makes a finding of it.

    Attributes:
        subject: what it is about: a declaration, or a node without one (a file, a recorded name).
        message: as in `Finding`.
        hint: as in `Finding`.
        source: where; the declaration's own place when not given.
        related: as in `Finding`.
        severity: a milder one than the rule's own, where this place is not as bad as others that the rule finds; None for its own.
    """

    subject: Migration | View | Node
    message: str
    hint: str
    source: SourceLocation | None = None
    related: tuple[Related, ...] = ()
    severity: Severity | None = None


def node_of(subject: Migration | View | Node) -> Node:
    """Return the node of a declaration."""
    if isinstance(subject, Migration):
        return Node(NodeKind.MIGRATION, subject.name)
    return Node(NodeKind.VIEW, subject.name) if isinstance(subject, View) else subject


Find: TypeAlias = Callable[["Context"], Iterator[Hit]]


class Needs(StrEnum):
    """What a rule looks at beside the declarations.

    HISTORY: what a database remembers.
    BASE: an earlier graph to compare with.
    REHEARSAL: a plan that was rehearsed.
    FOOTPRINTS: footprints of all migrations, kept or seen just now.
    """

    HISTORY = "history"
    BASE = "base"
    REHEARSAL = "rehearsal"
    FOOTPRINTS = "footprints"


class Unless(StrEnum):
    """What keeps a rule about a view from being milder in a bare `migrate`.

    OPENED: a pending migration opens the view: it would be skipped in silence.
    AFFECTED: a pending migration opens the view or one that it depends on, or moves its window: it would fail there.
    """

    NOTHING = "nothing"
    OPENED = "opened"
    AFFECTED = "affected"


class Rule(Struct, frozen=True):
    """One rule of `check`.

    Attributes:
        code: `MG101`; never reused for something else.
        name: `dependency-cycle`: what it finds, as a bad pattern.
        severity: unless configured otherwise.
        find: finds every place.
        page: what `migrate explain` shows, as Markdown: a summary line, then three headings.
        needs: without these it finds nothing; of several, one is enough.
        applied: severity of what is history in the database that was asked; None where that makes no difference.
        running: severity in `plan` and `apply`; None where that makes no difference.
        compatible: severity in a bare `migrate`, by the kind of its subject; for kinds that are missing, that of `apply`.
        unless: of views, what keeps `compatible` from being used.
    """

    code: str
    name: str
    severity: Severity
    find: Find
    page: str
    needs: tuple[Needs, ...]
    applied: Severity | None
    running: Severity | None
    compatible: Mapping[NodeKind, Severity]
    unless: Unless

    @property
    def needs_more(self) -> bool:
        """Whether it needs more than declarations: a database, a rehearsal or footprints."""
        return bool({*self.needs} - {Needs.BASE})

    @property
    def summary(self) -> str:
        """The first line of the page."""
        return self.page.partition("\n")[0]


RULES: dict[str, Rule] = {}
"""Every rule by code, in order of the codes of each hundred."""


def rule(
    code: str,
    severity: Severity,
    *needs: Needs,
    applied: Severity | None = None,
    running: Severity | None = None,
    compatible: Mapping[NodeKind, Severity] | None = None,
    unless: Unless = Unless.NOTHING,
) -> Callable[[Find], Find]:
    """Enter a function into the catalogue; its name is the rule's name, its docstring the rule's page.

    Args:
        code: not yet taken.
        severity: unless configured otherwise; the other severities are never worse.
        *needs: call it only when one of these is there.
        applied: as in `Rule`.
        running: as in `Rule`.
        compatible: as in `Rule`.
        unless: as in `Rule`.
    """

    def enter(find: Find) -> Find:
        if code in RULES:
            message = f"{code} is taken by {RULES[code].name}"
            raise AssertionError(message)
        name, page = find.__name__.replace("_", "-"), inspect.cleandoc(find.__doc__ or "")
        RULES[code] = Rule(code, name, severity, find, page, needs, applied, running, compatible or {}, unless)
        return find

    return enter


class Context(Struct, dict=True):
    """What rules are given: the graph, what a database remembers, and what several rules work out of them.

    Attributes:
        graph: what is judged.
        history: what the database remembers; empty without one.
        ordering: how ties are broken.
        ledger_name_length: width of the ledger's name column, in characters.
        base: the graph before a change; the graph itself without one.
        standing: the state of each migration, and of each name that the database has and nothing declares.
        rehearsed: what was seen of each migration that was rehearsed, in the order in which they ran; empty without a rehearsal.
        footprints: what is known of migrations that were watched; empty where they were not read.
        budget: what a migration may cost.
        drifted: what somebody changed in the database by hand; empty where nobody has looked.
        ledger: the setting `migrate_table`.
        schema: the schema that a name without one means; empty: it is not known.
        passes_history_over: what the running rule finds about applied migrations would not be shown, so it may leave them out.
    """

    graph: MigrationGraph
    history: History
    ordering: Ordering
    ledger_name_length: int
    base: MigrationGraph
    standing: States
    rehearsed: Mapping[str, Footprint]
    footprints: Traces
    budget: Budget
    drifted: tuple[Drifted, ...]
    passes_history_over: bool = False
    ledger: str = ""
    schema: str = ""
    _suggestions_left: int = _SUGGESTIONS

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The migrations in the order in which they run; those on or behind a cycle last."""
        return self.graph.order(self.ordering)

    @cached_property
    def opened(self) -> frozenset[str]:
        """The views that pending migrations open themselves."""
        return frozenset(view for name in self._pending for view in self.graph.migrations[name].touches)

    @cached_property
    def affected(self) -> frozenset[str]:
        """The views that pending migrations open, or whose windows they move, and all views that use one of these."""
        moved = {name for name, view in self.graph.views.items() if {view.since, view.until} & self._pending}
        below = {name for name in (self.opened | moved) if name in self.graph.uses}
        return frozenset(below.union(*(nx.descendants(self.graph.uses, name) for name in below)))

    def judged(self) -> Iterator[Migration]:
        """Return the migrations that a rule about bodies looks at."""
        passed_over = self.history.applied if self.passes_history_over else frozenset()
        return (each for name, each in self.graph.migrations.items() if name not in passed_over)

    @cached_property
    def _pending(self) -> frozenset[str]:
        return frozenset(self.graph.migrations) - self.history.applied

    def is_history(self, subject: Migration | View | Node) -> bool:
        """Return whether nothing pending concerns a declaration; a file is never history."""
        if isinstance(subject, Migration):
            return subject.name in self.history.applied
        return isinstance(subject, View) and subject.name not in self.affected

    @cached_property
    def misplaced(self) -> frozenset[str]:
        """Migrations that require, directly or not, a name that nothing declares: their place in the order means nothing yet."""
        unknown = self.graph.unknown_requirements
        if not unknown:
            return frozenset()
        return frozenset(name for layer in nx.bfs_layers(self.graph.requires, unknown) for name in layer)

    @cached_property
    def comparison(self) -> Comparison:
        """What changed since the base."""
        from migrate_graph.core.comparison import compare

        return compare(before=self.base, after=self.graph)

    @cached_property
    def timeline(self) -> Timeline:
        """The views over time, in this order of migrations."""
        return Timeline(self.graph, self.order)

    @cached_property
    def current(self) -> dict[str, Trace]:
        """The traces of the migrations that still have the text with which they were watched."""
        from migrate_graph.core.commuting import current_traces

        return current_traces(self.graph, self.footprints)

    def is_same_view(self, name: str, view: str) -> bool:
        """Return whether a view still has the text that it had when a migration that made it was watched."""
        from migrate_graph.core.commuting import is_same_view

        return is_same_view(self.graph, self.footprints.entries[name], view)

    @cached_property
    def uses_seen(self) -> dict[str, frozenset[str]]:
        """Which managers each view was seen to use with the text that it has now; one that was not seen is left out."""
        entries = self.footprints.entries.values()
        found = {
            name: seen for name, view in self.graph.views.items() if (seen := uses_seen(view, entries)) is not None
        }
        for footprint in self.rehearsed.values():
            for name, used in footprint.view_uses.items():
                found[name] = found.get(name, set()) | used
        return {name: frozenset(used) for name, used in found.items() if name in self.graph.views}

    @cached_property
    def commuting(self) -> Commuting:
        """What these traces say about the graph; migrations on or behind a cycle are left out."""
        from migrate_graph.core.commuting import commuting_of

        return commuting_of(self.graph, self.current, self.ordering)

    @cached_property
    def _unreached(self) -> dict[str, tuple[UnreachedFile, int]]:
        return {name: (file, line) for file in self.graph.registry.unreached for name, line in file.names}

    @cached_property
    def _unfinished(self) -> dict[str, Unfinished]:
        return {each.manager.__name__: each for each in self.graph.registry.unfinished}

    def where_is(self, name: str, among: Iterable[str], otherwise: str) -> str:
        """Return the hint for a name that nothing declares.

        Args:
            name: the unknown name.
            among: the names it may have been meant for.
            otherwise: what to do when nothing is like it.
        """
        if name in self._unreached:
            file, line = self._unreached[name]
            return f"defined in {file.path}:{line}, which nothing imports: {self.how_to_import(file)}"
        if name in self._unfinished:
            each = self._unfinished[name]
            return f"{quoted(name)} ({each.source}) has {without(each.lacks)}: write it, or name a class that is a view"
        if name in self.graph.views:
            return f"{quoted(name)} is a view manager: name a migration, such as the one that first opens it"
        if name in self.graph.migrations:
            return f"{quoted(name)} is a migration: name a view manager"
        several = [word.strip() for word in name.split(",")]
        if len(several) > 1 and not {*several}.isdisjoint(among):
            return f"name them one by one: {several}"
        near = self._similar(name, among)
        hint = did_you_mean(map(quoted, near), otherwise)
        # Two names may look the same and not be it: letters of other alphabets, marks of their own, spaces without width.
        return f"{hint} here stands {name!a}" if near and not name.isascii() else hint

    def _similar(self, name: str, among: Iterable[str]) -> list[str]:
        """Return at most two names like this one, best first; none after many questions, so that a rule stays fast."""
        self._suggestions_left -= 1
        if self._suggestions_left < 0 or len(name) > self.ledger_name_length:
            return []
        alike = [other for other in among if _letters(other) == _letters(name)]
        return alike[:1] or similar(name, among, cutoff=0.7)

    def how_to_import(self, file: UnreachedFile) -> str:
        """Return how a file beside the migrations is imported."""
        path = PurePosixPath(file.path)
        homes = {PurePosixPath(migration.module).parent for migration in self.graph.migrations.values()}
        above = [home for home in homes if path.is_relative_to(home)]
        if above:
            path = path.relative_to(min(above, key=lambda home: len(home.parts)))
        parts = (*path.parent.parts, path.stem)
        if all(part.isidentifier() for part in parts):
            return f"add `import {'.'.join(parts)}`"
        return "import it, under a name that Python can import"


def _letters(name: str) -> str:
    """Return a name as Python compares names in its source, without spaces around it."""
    if name.isascii():
        return name
    from unicodedata import normalize  # imported here: needed only for error messages

    return normalize("NFKC", name).strip()


def quoted(name: str) -> str:
    """Return a name in quotes, for a message; a long one is shortened."""
    return f"'{name if len(name) <= _SHOWN else name[:_SHOWN] + '…'}'"


def without(lacks: Iterable[str]) -> str:
    """Return what a class lacks, for a message: `no down() and no up()`."""
    return " and ".join(f"no {name}" if name == "query" else f"no {name}()" for name in lacks)


def listed(names: Iterable[str], *, limit: int = 5) -> str:
    """Return names in quotes, joined; of those beyond the limit, only their number."""
    shown = [quoted(name) for name in names]
    if len(shown) > limit:
        return some(shown, limit)
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
