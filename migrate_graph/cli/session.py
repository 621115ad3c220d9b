"""The state of one call of the program: the console, the environment, the settings, and how a project is opened."""

from __future__ import annotations

import gc
from collections.abc import MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING

from migrate_graph.errors import UsageError

if TYPE_CHECKING:
    from migrate_graph.cli.console import Console
    from migrate_graph.cli.progress import JsonProgress
    from migrate_graph.config import Config
    from migrate_graph.core.events import Event
    from migrate_graph.workflow.project import Project, Reading


class Session:
    """One call of the program.

    Attributes:
        console: writes all output.
        environ: the environment variables; those from `.env` are added.
        debug: whether to show tracebacks of migrate_graph itself.
        overrides: settings given on the command line, by name.
        json: whether JSON was asked for; errors are then written as JSON too.
        streams: whether the JSON is a stream with one object per line.
        progress: the open stream of JSON lines; None if there is none.
        is_bare: whether no command was typed, as with edwh-migrate.
        is_last: whether the process ends after this call.
    """

    def __init__(self, console: Console, environ: MutableMapping[str, str]) -> None:
        self.console = console
        self.environ = environ
        self.debug = False
        self.overrides: dict[str, object] = {}
        self._remarked: set[str] = set()
        self.json = False
        self.streams = False
        self.progress: JsonProgress | None = None
        self.is_bare = False
        self.is_last = False

    @property
    def root(self) -> Path:
        """The working directory.

        Raises:
            UsageError: the directory was removed.
        """
        try:
            return Path.cwd()
        except FileNotFoundError:
            raise UsageError(
                "the directory in which this runs is not there any more", hint='cd "$PWD", or to another directory'
            ) from None

    def config(self) -> Config:
        """Read the settings, mask their secrets in all output from now on, and put the variables of `.env` into the environment.

        Raises:
            ConfigError: with all faults in one message.
        """
        from migrate_graph.config import load_config

        self.console.take_stdout()  # from here on git, psql and user code may print too
        config = load_config(self.root, self.environ, self.overrides)
        config.share_dotenv(self.environ)
        self.guard(config)
        for remark in config.remarks:
            if remark not in self._remarked:
                self._remarked.add(remark)
                self.console.tell(f"{self.console.paint_err('note:', 'info')} {self.console.clean(remark)}")
        return config

    def guard(self, config: Config) -> None:
        """Mask the secrets of these settings in every text."""
        self.console.secrets = tuple(dict.fromkeys((*self.console.secrets, *config.secrets)))
        self.console.take_stderr()

    def project(self, path: Path | None) -> Project:
        """Load the project.

        Raises:
            ConfigError: a setting is wrong.
            LoadError: the migrations file does not exist or does not run.
        """
        from migrate_graph.workflow.project import open_project

        config = self.config()
        if self.is_last:
            # The objects of modules imported so far live to the end, so the garbage collector can skip them, especially at the end of the
            # process. Objects of user code are created later, and are collected as usual.
            gc.freeze()
        return open_project(config, path, root=self.root)

    def reading(
        self,
        project: Project,
        *,
        offline: bool = False,
        closely: bool = False,
        drift: bool = False,
        obstacles: bool = False,
    ) -> Reading:
        """Read the history of the database: its ledger, journal and views.

        Args:
            project: the loaded project.
            offline: return an empty history without asking the database.
            closely: also ask who holds the lock, and how each view of the project is in the database.
            drift: also look for changes that somebody made by hand.
            obstacles: also look for what `apply` would refuse.

        Raises:
            DatabaseUnreachable: the database does not answer.
        """
        from migrate_graph.workflow.project import read_history

        views = project.graph.views if closely else None
        return read_history(
            project.config,
            offline=offline,
            observer=self.remark,
            closely=views,
            drift=drift,
            graph=project.graph,
            obstacles=obstacles,
        )

    def asked_history(
        self, project: Project, option: str = "--history", *, drift: bool = False, obstacles: bool = False
    ) -> Reading:
        """Read the history for an option that needs a database; raise without one, since an empty history would hide all faults.

        Args:
            project: the loaded project.
            option: the option, for the message.
            drift: also look for changes that somebody made by hand.
            obstacles: also look for what `apply` would refuse.

        Raises:
            UsageError: no database is configured.
            DatabaseUnreachable: the database does not answer.
        """
        if not project.config.has_database:
            from migrate_graph.config.settings import DATABASE_HINT

            raise UsageError(f"{option} asks the database, and no database is configured", hint=DATABASE_HINT)
        reading = self.reading(project, drift=drift, obstacles=obstacles)
        if reading.note:
            self.console.tell(f"({reading.note})")
        return reading

    def remark(self, event: Event) -> None:
        """Show an event (waiting, a warning, …) on stderr, in a command that only reads."""
        from migrate_graph.cli.run_text import sentence
        from migrate_graph.core.events import LockAcquired

        if not isinstance(event, LockAcquired) or event.waited:
            self.console.tell(sentence(event))

    def who(self) -> str:
        """Return the user and the host, for the journal."""
        import getpass
        import socket

        try:
            user = getpass.getuser()
        except (OSError, KeyError, ImportError):  # the container does not know this user id, or has no list of users
            user = "unknown"
        return f"{user}@{socket.gethostname()}"

    def who_and_why(self, reason: str) -> str:
        """Return the user and the host, and the reason if one was given."""
        return f"{self.who()}: {reason}" if reason else self.who()
