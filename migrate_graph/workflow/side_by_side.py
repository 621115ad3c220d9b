"""How many migrations run at once (`--jobs`), which ones must wait for others, and how long a plan takes then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from migrate_graph.core.events import Observer, Warned
from migrate_graph.database import backend_class
from migrate_graph.errors import UsageError

if TYPE_CHECKING:
    from migrate_graph.config import Config
    from migrate_graph.core.commuting import Commuting
    from migrate_graph.core.lanes import Forecast, Order
    from migrate_graph.core.plan import Plan
    from migrate_graph.workflow.assessment import Assessment
    from migrate_graph.workflow.project import Project


class Jobs(Struct, frozen=True):
    """How many migrations may run at once.

    Attributes:
        number: how many; 1: one after another.
        note: why it is 1 although the settings say more; otherwise empty.
    """

    number: int = 1
    note: str = ""


def jobs_of(config: Config, *, jobs: int | None = None, atomic: bool | None = None) -> Jobs:
    """Return how many migrations may run at once.

    Args:
        config: the settings.
        jobs: the typed value of `--jobs`; None: it was not typed.
        atomic: True: `--atomic` was typed, False: `--no-atomic`, None: neither.

    Raises:
        UsageError: more than one was typed, or is set, and that is impossible.
    """
    wanted = config.jobs if jobs is None else jobs
    if wanted == 1:
        return Jobs()
    if config.atomic if atomic is None else atomic:
        if jobs is None and atomic:
            return Jobs()  # the typed --atomic wins over the setting `jobs`
        what = f"`jobs` is set ({config.sources['jobs']})" if jobs is None else "--jobs was given"
        leave_out = "unset `jobs`" if jobs is None else "leave out --jobs"
        raise UsageError(
            f"one transaction has one connection: {what}, and `atomic` is set ({config.sources['atomic']})",
            hint=f"{leave_out}, or add --no-atomic",
        )
    if config.has_database and (why := backend_class(config.migrate_uri).why_in_a_row):
        if jobs is None:
            return Jobs(note=f"`jobs` is set ({config.sources['jobs']}), and {why}: migrations run one after another")
        raise UsageError(f"--jobs does nothing here: {why}", hint="leave out --jobs")
    return Jobs(wanted)


def why_no_workers(project: Project) -> str:
    """Return why other processes cannot run migrations of a project; empty when they can."""
    if project.imports is None:
        return "they are declared by a running program, and no file says where"
    from migrate_graph.executor.worker_options import workers_can_be_had

    return "" if workers_can_be_had() else "no further process of this Python can be started here"


def order_for(project: Project, plan: Plan, observer: Observer) -> Order:
    """Return which steps of a plan must wait for which: by their declarations, and by what the footprint file proves.

    Args:
        project: what is declared.
        plan: the plan.
        observer: called with a warning when the footprint file is damaged.
    """
    from migrate_graph.core.lanes import order_of

    one_history = project.path.is_dir()  # of numbered files
    seen = _seen(project, observer)
    return order_of(plan, project.graph, ordering=project.ordering, one_history=one_history, seen=seen)


def _seen(project: Project, observer: Observer) -> Commuting | None:
    """Return what the footprint file says about the migrations as they are now; None when it says nothing."""
    from migrate_graph.workflow.footprint_file import read_footprints

    traces = read_footprints(project)
    if traces is None:
        return None
    for line, fault in traces.faults:
        told = f"{traces.file}:{line} proves nothing about what may run side by side: {fault}"
        observer(Warned(told, hint="write it anew: migrate verify --write"))
    if not traces.entries:
        return None
    from migrate_graph.core.commuting import commuting_of, current_traces

    return commuting_of(project.graph, current_traces(project.graph, traces), project.ordering)


def forecast_of(found: Assessment, jobs: int, took: Mapping[str, float], observer: Observer) -> Forecast:
    """Return how a plan will run side by side if its steps take as long as they took earlier; see `order_for`."""
    from migrate_graph.core.lanes import forecast

    return forecast(order_for(found.project, found.planned, observer), jobs, took)
