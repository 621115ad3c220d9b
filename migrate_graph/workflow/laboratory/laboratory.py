"""The laboratory of `verify`: it makes scratch databases, and runs and watches migrations there."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field
from msgspec.structs import asdict, replace

from migrate_graph.core.events import Observer, Outcome, Result, ignore_events
from migrate_graph.core.footprint import Fact, Footprint
from migrate_graph.core.history import History
from migrate_graph.core.plan import Plan, build_plan, plan_in_order
from migrate_graph.database import backend_class
from migrate_graph.database.names import schema_names
from migrate_graph.database.outside_acts import OutsideWatch
from migrate_graph.database.scratch_database import PREFIX
from migrate_graph.database.watching import Cloning, Keeping, Watching
from migrate_graph.errors import ConfigError, DatabaseRefused, UsageError
from migrate_graph.signals import Interruption
from migrate_graph.workflow.laboratory.scratch_runs import on_scratch
from migrate_graph.workflow.laboratory.trial_run import TrialResult, TrialRun, run_trial, start_on
from migrate_graph.workflow.project import database_settings, read_history

if TYPE_CHECKING:
    from migrate_graph.database import Settings
    from migrate_graph.database.contents import Contents
    from migrate_graph.database.scratch_database import Scratch, ScratchDatabase
    from migrate_graph.workflow.project import Project


SQLITE: Final = "sqlite"
"""The value of `--on` that asks for SQLite files instead of databases on a server."""


class Watched(Struct, frozen=True, kw_only=True):
    """What was seen of every migration that is not in the configured backup.

    Attributes:
        plan: what ran, in the order of the project; each step that ran has its footprint.
        results: how each step ended, and which migrations were blocked.
        cut: why the run ended too early; empty when it did not.
        remarks: what will be different in a real run.
        start: names of the migrations that the configured backup contains as applied; empty without a backup.
    """

    plan: Plan
    results: tuple[Result, ...] = ()
    cut: str = ""
    remarks: tuple[str, ...] = ()
    start: frozenset[str] = frozenset()

    @property
    def footprints(self) -> Mapping[str, Footprint]:
        """What each migration did, by its name, in the order of the run."""
        return self.plan.footprints

    @property
    def order(self) -> tuple[str, ...]:
        """The names of the migrations, in the order of the run."""
        return tuple(self.plan.places)

    @property
    def failed(self) -> tuple[Result, ...]:
        """The results of migrations that failed, or were not reached, in the project's own order on a new database."""
        return tuple(each for each in self.results if each.outcome not in {Outcome.APPLIED, Outcome.BLOCKED})


class Laboratory(Struct):
    """Runs migrations on scratch databases, which are dropped afterwards.

    Attributes:
        project: the project whose migrations run.
        scratch: makes the databases.
        interruption: knows whether a signal has arrived.
        observer: called with events while migrations are watched.
        outside: notices, and refuses, what bodies do outside of their database.
        history: what a database remembers before the first migration: nothing, or the history in the configured backup.
        plan: what runs, in the order of the project.
    """

    project: Project
    scratch: Scratch
    interruption: Interruption
    observer: Observer
    outside: OutsideWatch
    history: History = field(default_factory=History)
    plan: Plan = field(default_factory=Plan)
    _start: ScratchDatabase | None = None

    def begin(self) -> None:
        """Make the first database, which the others are copied from, and read its history."""
        made = self.scratch.create()
        there = start_on(self.project, made, self.observer)
        self.history = read_history(there.config).history
        self.plan = build_plan(self.project.graph, self.history, ordering=self.project.ordering)
        if self.scratch.can_copy:
            self._start = made
        else:
            self.scratch.drop(made)

    @property
    def order(self) -> tuple[str, ...]:
        """The names of the migrations that run, in the order of the project."""
        return tuple(self.plan.places)

    @property
    def before(self) -> dict[str, frozenset[str]]:
        """The direct requirements of each migration, among those that run."""
        migrations, places = self.project.graph.migrations, self.plan.places
        return {name: frozenset(migrations[name].requires) & places.keys() for name in places}

    def ancestors(self, name: str) -> frozenset[str]:
        """Return the direct and indirect requirements of a migration, among those that run."""
        return self.project.graph.ancestors(name) & self.plan.places.keys()

    def watch(self) -> Watched:
        """Watch every migration once, with real commits, in the order of the project.

        Raises:
            Stopped: a signal arrived.
            MigrateGraphError: no database can be made.
        """
        with self.database() as there:
            trial = self.run(there, self.plan, is_watched=True, keep_going=True, observer=self.observer)
            footprints = self.spelled(trial.footprints, there)
        steps = tuple(replace(step, footprint=footprints.get(step.migration.name)) for step in self.plan.steps)
        return Watched(
            plan=replace(self.plan, steps=steps),
            results=trial.results,
            cut=trial.cut,
            remarks=trial.remarks,
            start=frozenset(self.history.applied),
        )

    def run(
        self,
        there: Settings,
        plan: Plan,
        *,
        is_watched: bool = False,
        keep_going: bool = False,
        observer: Observer = ignore_events,
        history: History | None = None,
        reverts: bool = False,
    ) -> TrialResult:
        """Run a plan on a database.

        Args:
            there: how to connect to the database.
            plan: what runs.
            is_watched: footprints are taken.
            keep_going: migrations that do not require a failed one run all the same.
            observer: called with every event.
            history: what the database remembers; None: `self.history`.
            reverts: the steps are undone.
        """
        watching = Watching(
            root=self.project.root, keeping=Keeping.EVERYTHING, values=False, outside=self.outside, closely=is_watched
        )
        how = TrialRun(
            project=self.project, interruption=self.interruption, watching=watching,
            is_watched=is_watched, keep_going=keep_going, observer=observer, reverts=reverts,
        )  # fmt: skip
        return run_trial(how, there, plan, history or self.history)

    def in_order(self, names: Sequence[str], history: History | None = None) -> Plan:
        """Return a plan that runs these migrations in this order, which the graph must permit, after the history of a database."""
        return plan_in_order(self.project.graph, history or self.history, names)

    def contents(self, there: Settings, unstable: Mapping[str, frozenset[str]] = MappingProxyType({})) -> Contents:
        """Return the schema and the digests of the rows of a database; `unstable` columns, by table, are left out of the digests."""
        return backend_class(there.uri).contents(there, unstable=unstable)

    @contextmanager
    def database(self) -> Iterator[Settings]:
        """Make a database as it is before the first migration, yield how to connect to it, and drop it at the end."""
        made = self.new()
        try:
            yield self.settings_of(made)
        finally:
            self.scratch.drop(made)

    def new(self) -> ScratchDatabase:
        """Make a database as it is before the first migration."""
        if self._start is not None:
            with suppress(DatabaseRefused):  # the database cannot be copied while another session uses it
                return self.scratch.copy(self._start)
        made = self.scratch.create()
        start_on(self.project, made)
        return made

    def spelled(self, footprints: Mapping[str, Footprint], there: Settings) -> dict[str, Footprint]:
        """Return footprints in which the name of a scratch schema is replaced by that of the project's own schema."""
        place, own = place_of(there), self.own_schema
        if not place:
            return dict(footprints)
        itself = {Fact("schema", place)}
        return {
            name: respelled(replace(seen, hangs=seen.hangs - itself, lost=seen.lost - itself), place, own)
            for name, seen in footprints.items()
        }

    @property
    def own_schema(self) -> str:
        """The schema in which the project's tables are created."""
        return next(iter(schema_names(self.project.config.search_path or "")), "") or "public"

    def settings_of(self, made: ScratchDatabase) -> Settings:
        """Return how to connect to a scratch database."""
        return database_settings(on_scratch(self.project, made).config)


def place_of(there: Settings) -> str:
    """Return the name of the scratch schema; empty when a whole scratch database was made."""
    place = (there.schema or "").partition(",")[0].strip()
    return place if place.startswith(PREFIX) else ""


def respelled(value: Any, old: str, new: str) -> Any:
    """Return a copy of a nested value in which `old` is replaced by `new` in every text."""
    if isinstance(value, str) and type(value) is str:
        return value.replace(old, new)
    if isinstance(value, Struct):
        return replace(value, **{name: respelled(each, old, new) for name, each in asdict(value).items()})
    if isinstance(value, Mapping):
        return {respelled(key, old, new): respelled(each, old, new) for key, each in value.items()}
    if isinstance(value, tuple | frozenset):
        return type(value)(respelled(each, old, new) for each in value)
    return value


@contextmanager
def laboratory(
    project: Project, *, on: str = "", allow_outside: bool = False, observer: Observer = ignore_events
) -> Iterator[Laboratory]:
    """Yield a laboratory for the migrations of a project; all of its databases are dropped at the end.

    Args:
        project: the project; the caller has checked that its graph is valid.
        on: a database on the server that makes the scratch databases, or `sqlite` for files; empty: `rehearse_on`, or the configured
            database, as in rehearsals.
        allow_outside: what bodies do outside of their database is not refused.
        observer: called with events while migrations are watched.

    Raises:
        ConfigError: neither a database nor a server is named.
        DatabaseRefused: no database may be made; the hint says what else can be done.
        Stopped: a signal arrived.
    """
    project = _with_database(project, on)
    config, interruption = project.config, Interruption()
    with interruption.listening(), tempfile.TemporaryDirectory(prefix="migrate_graph_verify_") as name:
        folder = Path(name)
        cloning = Cloning(
            server=config.rehearse_on or "", data=0, folder=folder, observer=observer, interruption=interruption
        )
        outside = OutsideWatch(project.root, folders=(folder,), allow=allow_outside)
        with backend_class(config.migrate_uri).fresh(database_settings(config), cloning) as scratch:
            made = Laboratory(project, scratch, interruption, observer, outside)
            made.begin()
            yield made


def _with_database(project: Project, on: str) -> Project:
    """Return the project with settings that say where scratch databases are made: on a server, or as files."""
    config = copy.copy(project.config)
    if on.lower() == SQLITE:
        # No file of this name is made: each scratch database has a file of its own.
        config.update(migrate_uri="sqlite://scratch.sqlite")
    elif on:
        try:
            config.update(rehearse_on=on)
        except ConfigError as error:
            raise UsageError(error.message.replace("rehearse_on", "--on", 1), hint=error.hint) from None
        if not config.has_database or backend_class(on) is not backend_class(config.migrate_uri):
            config.update(migrate_uri=on)
    if not config.has_database:
        raise ConfigError(
            "verify runs the migrations on databases that it makes and drops, and none is configured",
            hint="name a server, for example --on postgres://user:password@host:5432/postgres, or set MIGRATE_URI",
        )
    return replace(project, config=config)
