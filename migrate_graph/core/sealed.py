"""Everything that a plan depended on when somebody approved it, and what of that has changed since."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from fnmatch import fnmatchcase

from msgspec import Struct, field

from migrate_graph.core.drift import Inventory
from migrate_graph.core.footprint import Footprint
from migrate_graph.core.graph import MigrationGraph
from migrate_graph.core.history import AttemptState, History
from migrate_graph.core.plan import Plan, Step
from migrate_graph.core.states import State

ABSENT = ""
"""Stands for a digest where nothing of this name exists."""

_HOLDERS = re.compile(r"%s|%\(\w+\)s|\?\d+|(?<![:\w])[:@$][A-Za-z_]\w*")
_AROUND = re.compile(r"\s*\?\s*")
_QUOTED = re.compile(r'("(?:[^"]|"")*")')
# After an operand, a sign is an operator; anywhere else it belongs to the value.
_SIGN = re.compile(r"([\w$]+|[?)\]])?(\s*)[-+]\s*(?=[?\d])")
_NO_OPERAND = re.compile(
    r"ALL|AND|BETWEEN|BY|CASE|DEFAULT|DISTINCT|ELSE|FROM|HAVING|ILIKE|IN|IS|LIKE|LIMIT|NOT|OFFSET|ON|OR|RETURN|RETURNING|SELECT|SET"
    r"|SIMILAR|THEN|TO|USING|VALUES|WHEN|WHERE",
    re.IGNORECASE,
)
# The NULL in IS NULL is no value.
_VALUES = re.compile(r"(?<![\w$])\d[\w.]*|(?<!\bIS )(?<!\bIS NOT )\b(?:NULL|TRUE|FALSE)\b", re.IGNORECASE)


class SealedStep(Struct, frozen=True):
    """One migration of a sealed plan.

    Attributes:
        name: of the migration.
        fingerprint: of its body.
        status: `pending`, or how an earlier attempt ended, with the commits that it kept.
        views: managers of views that it takes down, brings up, makes or retires.
        touches: relations that it touched in a rehearsal; None without one.
        shapes: the statements that it sent there, without values; None without one.
    """

    name: str
    fingerprint: str
    status: str = "pending"
    views: tuple[str, ...] = ()
    touches: tuple[str, ...] | None = None
    shapes: tuple[str, ...] | None = None


class Snapshot(Struct, frozen=True, kw_only=True):
    """Everything that a plan depends on, at one moment.

    Attributes:
        journal: identifies the database by its journal; empty where it has none.
        address: identifies the database by where it is.
        steps: what would run, in this order.
        migrations: of every declared migration, its fingerprint and what it requires.
        views: of every declared view, its fingerprint and its window.
        installed: names recorded as applied.
        view_ledger: what the database remembers of each view manager.
        facts: digests of relations, and of what belongs to none; only of those that the steps touch, where `is_whole` is not set.
        is_whole: the facts are those of the whole database.
        settings: those that decide what a step does, though its code is the same.
        server: kind and version of the server that was read, and version of this tool: digests of others cannot be compared.
    """

    journal: str
    address: str
    steps: tuple[SealedStep, ...]
    migrations: Mapping[str, tuple[str, tuple[str, ...]]]
    views: Mapping[str, tuple[str, str]]
    installed: frozenset[str]
    view_ledger: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    is_whole: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)
    server: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the steps, in order."""
        return tuple(step.name for step in self.steps)


class MovedKind(StrEnum):
    """How something differs from when a plan was made."""

    ADDED = "added"
    GONE = "gone"
    EDITED = "edited"
    REQUIREMENTS = "requirements"
    """What it requires, or its window, was edited."""
    ORDER = "order"
    LEDGER = "ledger"
    """What is recorded as applied."""
    VIEW = "view"
    """What the database remembers of a view."""
    CHANGED_BY_HAND = "changed by hand"
    SERVER = "server"
    """Another version of the server: what the database is made of cannot be compared."""
    SETTING = "setting"
    DATABASE = "database"
    """It is another database."""


class Moved(Struct, frozen=True):
    """One thing that is not as it was when the plan was made.

    Attributes:
        what: how it differs.
        name: of the migration, the view or the thing in the database; empty for none.
        told: all of this as a sentence, without its full stop.
    """

    what: MovedKind
    name: str
    told: str


def _shapes(footprint: Footprint | None) -> tuple[str, ...] | None:
    """Return what a migration sent in a rehearsal; None when not all of that is known."""
    if footprint is None or footprint.not_rehearsed:
        return None
    return tuple(statement.sql for statement in footprint.statements)


def _without_values(text: str, *, is_behind_a_name: bool) -> str:
    def unsigned(match: re.Match[str]) -> str:
        word = match[1] or ("a name" if is_behind_a_name and match.start() == 0 else "")
        return match[0] if word and not _NO_OPERAND.fullmatch(word) else f"{word}{match[2]}"

    return _VALUES.sub("?", _SIGN.sub(unsigned, _HOLDERS.sub("?", text)))


def comparable(shape: str) -> str:
    """Return a text that is equal for all statements that differ only in values and spaces; signs, NULL, TRUE and FALSE are values.

    Args:
        shape: the statement, which has `?` for each literal already.
    """
    parts = _QUOTED.split(" ".join(shape.split()))  # every second one is a quoted name
    plain = "".join(part if at % 2 else _without_values(part, is_behind_a_name=at > 0) for at, part in enumerate(parts))
    return " ".join(_AROUND.sub("?", plain).split())


def snapshot_of(
    graph: MigrationGraph,
    plan: Plan,
    history: History,
    inventory: Inventory,
    *,
    journal: str,
    address: str,
    only: Collection[str] | None = None,
    ignore: Collection[str] = (),
    settings: Mapping[str, str] | None = None,
) -> Snapshot:
    """Return everything that a plan depends on.

    Args:
        graph: what is declared.
        plan: what would run; with footprints where it was rehearsed.
        history: what the database remembers.
        inventory: what it is made of.
        journal: see `Snapshot`.
        address: see `Snapshot`.
        only: names of the facts that count; None: those that the footprints tell, or all where a step has none.
        ignore: patterns of names whose facts do not count.
        settings: see `Snapshot`.
    """
    seen = [step.footprint for step in plan.steps]
    is_whole = only is None and not (seen and all(_tells_everything(footprint) for footprint in seen))
    steps = tuple(_sealed(step, history, None if is_whole else inventory) for step in plan.steps)
    touched = {name for step in steps for name in step.touches or ()}
    wanted = inventory.relations.keys() if is_whole else touched if only is None else only
    return Snapshot(
        journal=journal,
        address=address,
        steps=steps,
        migrations={
            name: (each.facts.fingerprint, tuple(sorted(each.requires)))
            for name, each in sorted(graph.migrations.items())
        },
        views={
            name: (
                each.fingerprint,
                f"since {each.since}, until {each.until}, replaces {each.replaces}, uses {', '.join(each.uses)}",
            )
            for name, each in sorted(graph.views.items())
        },
        installed=history.applied,
        view_ledger=dict(sorted(_view_ledger(history).items())),
        facts={
            name: inventory.relations.get(name, ABSENT)
            for name in sorted(wanted)
            if not any(fnmatchcase(name, pattern) for pattern in ignore)
        },
        is_whole=is_whole,
        settings=settings or {},
        server=f"{inventory.server}, migrate_graph {inventory.version}",
    )


def _sealed(step: Step, history: History, inventory: Inventory | None) -> SealedStep:
    """Return what is kept of a step; what it touches only where an inventory is given."""
    name, views, seen = step.migration.name, step.views, step.footprint
    return SealedStep(
        name=name,
        fingerprint=step.migration.facts.fingerprint,
        status=_status(step.reason.status, history, name),
        views=tuple(dict.fromkeys((*views.down, *views.up, *views.new, *views.retired))),
        touches=tuple(sorted(touched_by(seen, inventory))) if seen and inventory else None,
        shapes=_shapes(seen),
    )


def _tells_everything(footprint: Footprint | None) -> bool:
    return footprint is not None and not footprint.not_rehearsed and not footprint.failure


def _status(state: State, history: History, name: str) -> str:
    if state is not State.FAILED:
        return str(state)
    last = history.last_attempts().get(name)
    return f"{state} with {last.commits} own commits" if last and last.commits else str(State.PENDING)


def _view_ledger(history: History) -> dict[str, str]:
    down = {stored.manager: "down" for stored in history.views_down}
    return {name: f"up {text}" for name, text in history.view_texts.items()} | down


def touched_by(footprint: Footprint, inventory: Inventory) -> set[str]:
    """Return what a migration touched or made, by the names that `Inventory.relations` has."""
    known = inventory.relations
    found = {*footprint.locks, *footprint.wrote, *footprint.inserts, *footprint.checked}
    found |= {
        relation for name in (*footprint.uses, *footprint.writes) for relation in _prefixes(name) if relation in known
    }
    for fact in footprint.added | footprint.changed | footprint.removed | footprint.hangs | footprint.calls:
        described = inventory.facts.get(fact)
        relation = (
            described.relation if described else next((each for each in _prefixes(fact.identity) if each in known), "")
        )
        found.add(relation or (fact.identity if fact.kind in _STAND_BY_NAME else str(fact)))
    return found


_STAND_BY_NAME = frozenset({"table", "view", "matview", "sequence", "foreign table"})


def _prefixes(name: str) -> Iterator[str]:
    """Yield the parts that a qualified name begins with, the longest first: of `a.b.c`, `a.b` and `a`."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


class Verdict(Struct, frozen=True):
    """What has become of a sealed plan.

    Attributes:
        done: its steps that are applied already, in order.
        left: its steps that are not.
        moved: everything that has moved; empty when the plan can run.
        unseen: why changes by hand are not looked for; empty when they are.
    """

    done: tuple[str, ...]
    left: tuple[str, ...]
    moved: tuple[Moved, ...] = ()
    unseen: str = ""

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is left to do."""
        return not self.left


def done_of(sealed: Snapshot, history: History) -> tuple[str, ...]:
    """Return which steps are applied already."""
    return tuple(name for name in sealed.names if name in history.applied)


def verdict(sealed: Snapshot, now: Snapshot, history: History) -> Verdict:
    """Return what has moved since a plan was sealed; what its own applied steps have changed does not count.

    Args:
        sealed: as it was.
        now: as it is, for the steps that are left.
        history: what the database remembers.
    """
    done = done_of(sealed, history)
    left = tuple(name for name in sealed.names if name not in done)
    if not left:
        return Verdict(done, left)
    moved = list(_other_database(sealed, now)) or [
        *_graph(sealed, now),
        *_steps(sealed, now, left),
        *_ledger(sealed, now, done),
        *_own_prefix(sealed, history, done),
        *_view_rows(sealed, now, done),
    ]
    if not moved:
        moved = [*_settings(sealed, now), *_step_views(sealed, now)]
    unseen = ""
    if sealed.server != now.server:
        told = f"the schema of the database was read by {sealed.server}, and now by {now.server}"
        moved.append(Moved(MovedKind.SERVER, now.server, told))
    elif done and sealed.is_whole:
        unseen = "the plan was made without a rehearsal, and a part of it has run: whether anything was changed by hand cannot be told"
    elif not moved or moved[0].what is not MovedKind.DATABASE:
        moved += _facts(sealed, now, done)
    return Verdict(done, left, tuple(moved), unseen)


def _other_database(sealed: Snapshot, now: Snapshot) -> Iterator[Moved]:
    same = sealed.journal == now.journal if sealed.journal else sealed.address == now.address
    if not same:
        yield Moved(MovedKind.DATABASE, "", "the plan was made for another database")


def _graph(sealed: Snapshot, now: Snapshot) -> Iterator[Moved]:
    for kind, was, is_now in (("migration", sealed.migrations, now.migrations), ("view", sealed.views, now.views)):
        yield from (Moved(MovedKind.ADDED, name, f"{kind} '{name}' was added") for name in is_now if name not in was)
        yield from (Moved(MovedKind.GONE, name, f"{kind} '{name}' is gone") for name in was if name not in is_now)
        for name in (each for each in was if each in is_now):
            if was[name][0] != is_now[name][0]:
                yield Moved(MovedKind.EDITED, name, f"{kind} '{name}' was edited")
            if was[name][1] != is_now[name][1]:
                told = f"{kind} '{name}' has another place: what it requires, or its window, was edited"
                yield Moved(MovedKind.REQUIREMENTS, name, told)


def _steps(sealed: Snapshot, now: Snapshot, left: tuple[str, ...]) -> Iterator[Moved]:
    if sorted(now.names) == sorted(left) and now.names != left:
        yield Moved(MovedKind.ORDER, "", f"the order is another: {', '.join(now.names)}")
    status = {step.name: step.status for step in now.steps}
    was = {step.name: step.status for step in sealed.steps}
    for name in left:
        if name in status and status[name] != was[name]:
            yield Moved(MovedKind.LEDGER, name, f"'{name}' was {was[name]}, and is {status[name]}")
        elif name not in status and name in now.migrations:
            told = f"'{name}' cannot run now: it, or what it requires, was interrupted or needs a decision"
            yield Moved(MovedKind.LEDGER, name, told)
    for name in now.names:
        if name not in was:
            yield Moved(MovedKind.ORDER, name, f"'{name}' would have to run, too")


def _ledger(sealed: Snapshot, now: Snapshot, done: tuple[str, ...]) -> Iterator[Moved]:
    for name in sorted(now.installed - sealed.installed - set(done)):
        yield Moved(MovedKind.LEDGER, name, f"'{name}' is recorded as applied, and was not")
    for name in sorted(sealed.installed - now.installed):
        yield Moved(MovedKind.LEDGER, name, f"'{name}' was recorded as applied, and is not")


def _own_prefix(sealed: Snapshot, history: History, done: tuple[str, ...]) -> Iterator[Moved]:
    if done != sealed.names[: len(done)]:
        first = next(name for name in sealed.names if name not in done)
        after = [name for name in done if sealed.names.index(name) > sealed.names.index(first)]
        told = f"'{after[0]}' is applied, and '{first}', which the plan runs before it, is not"
        yield Moved(MovedKind.LEDGER, after[0], told)
    attempts = history.last_attempts()
    for step in sealed.steps[: len(done)]:
        attempt = attempts.get(step.name)
        if step.name in done and (
            attempt is None or attempt.state is not AttemptState.APPLIED or attempt.fingerprint != step.fingerprint
        ):
            told = f"'{step.name}' is recorded as applied, and the body that the plan has did not run"
            yield Moved(MovedKind.LEDGER, step.name, told)


def _view_rows(sealed: Snapshot, now: Snapshot, done: tuple[str, ...]) -> Iterator[Moved]:
    passed = {view for step in sealed.steps if step.name in done for view in step.views}
    for name in sorted(sealed.view_ledger.keys() | now.view_ledger.keys()):
        if name not in passed and sealed.view_ledger.get(name) != now.view_ledger.get(name):
            yield Moved(MovedKind.VIEW, name, f"view '{name}' was made anew, taken down or forgotten in the database")


def _settings(sealed: Snapshot, now: Snapshot) -> Iterator[Moved]:
    for name, value in sealed.settings.items():
        is_now = now.settings.get(name)
        if value != is_now:
            yield Moved(MovedKind.SETTING, name, f"the setting {name} was {value}, and is {is_now}")


def _step_views(sealed: Snapshot, now: Snapshot) -> Iterator[Moved]:
    """Yield the steps left that would do something else with views, though the code and the records are the same."""
    before = {step.name: set(step.views) for step in sealed.steps}
    for step in now.steps:
        was = before.get(step.name, set())
        for name in sorted(was ^ {*step.views}):
            how = "would not come up or go down any more" if name in was else "would come up or go down, too"
            yield Moved(MovedKind.VIEW, name, f"at '{step.name}' view '{name}' {how}")


def _facts(sealed: Snapshot, now: Snapshot, done: tuple[str, ...]) -> Iterator[Moved]:
    passed = {name for step in sealed.steps if step.name in done for name in step.touches or ()}
    for name in sorted(sealed.facts.keys() | now.facts.keys()):
        was, is_now = sealed.facts.get(name, ABSENT), now.facts.get(name, ABSENT)
        if name not in passed and was != is_now:
            how = "is there, and was not" if was == ABSENT else "is gone" if is_now == ABSENT else "was changed"
            yield Moved(MovedKind.CHANGED_BY_HAND, name, f"{name} {how} in the database")
