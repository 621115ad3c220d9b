"""Run migrations from a program: `activate_migrations`, `console_hook`, and the table of migrations with their states."""

from __future__ import annotations

import copy
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from migrate_graph.compat.console import tell
from migrate_graph.compat.declared import imported, registry_for, with_own
from migrate_graph.compat.exceptions import caught_as_before
from migrate_graph.compat.settings import config_with_database, get_config
from migrate_graph.config import Config
from migrate_graph.errors import ConfigError, ExitCode

TEN_MINUTES = 600


@caught_as_before()
def activate_migrations(
    config: Config | None = None, max_time: int = TEN_MINUTES, failed_migrations: list[str] | None = None
) -> bool:
    """Run the pending migrations of the default store, under the lock.

    Args:
        config: the settings; None: `get_config()`.
        max_time: seconds to wait for a database that does not answer.
        failed_migrations: a list that the names of failed migrations are appended to.

    Returns:
        Whether there are migrations and all of them are installed.

    Raises:
        InvalidConfigException: no database is configured.
        MigrateGraphError: nothing could be run, or the cache could not be flushed; the message says why.
    """
    from migrate_graph.cli.progress import PlainProgress
    from migrate_graph.core.events import Event, StepFinished
    from migrate_graph.core.rules import Doing
    from migrate_graph.workflow.apply import ApplyOptions, apply_project

    config = copy.copy(config_with_database(config))  # only the copy is changed below
    project = project_for(config)
    config.connect_wait = max_time
    config.schema_version = None  # only `console_hook` sets the flag
    config.ignore = (*config.ignore, "MG109")  # without migrations, this function returns False
    with PlainProgress(session_of(config).console) as progress:

        def observer(event: Event) -> None:
            if isinstance(event, StepFinished) and event.result.outcome.failed and failed_migrations is not None:
                failed_migrations.append(event.result.name)
            progress(event)

        code = apply_project(project, ApplyOptions(doing=Doing.COMPATIBLE), observer)
    if code > ExitCode.SIGNAL:
        signal.raise_signal(code - ExitCode.SIGNAL)  # the run is rolled back; now the program's own handler runs
    return code == ExitCode.OK and bool(project.registry.migrations)


def project_for(config: Config) -> Any:
    """Return the project of what this process has declared or loaded."""
    from migrate_graph.workflow.project import project_of

    root = Path.cwd()
    return project_of(
        config,
        registry_for(config),
        path=imported.path or root,
        root=root,
        one_of_many=imported.is_other_than(config),
        imports=imported.loaded.imports if imported.loaded else None,
    )


def session_of(config: Config) -> Any:
    """Return a session of the command line with these settings, which also runs what this process declared itself."""
    from migrate_graph.cli.console import Console
    from migrate_graph.cli.session import Session

    class GivenSession(Session):
        def config(self) -> Config:
            self.guard(config)
            return config

        def project(self, path: Path | None) -> Any:
            project = super().project(path)
            return project.declaring(with_own(project.registry))

    session = GivenSession(Console(environ=os.environ), os.environ)
    session.guard(config)
    return session


def console_hook(args: Sequence[str], config: Config | None = None) -> int:
    """Do what `migrate` does with these arguments; return its exit code.

    Args:
        args: the arguments after the program's name.
        config: the settings; None: `get_config()`.
    """
    from migrate_graph.cli import run

    try:
        session = session_of(config or get_config())
    except ConfigError as error:
        return tell(error)
    return run(session, list(args))


def console_script() -> NoReturn:
    """Run `migrate` with the arguments of this process, and end the process with its exit code."""
    sys.exit(console_hook(sys.argv[1:]))


def print_migrations_status_table(config: Config) -> None:
    """Show every migration with its state."""
    console_hook(["--list"], config)
