"""What one call of the program carries along: the console, where it works, and how it opens a project."""

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
        console: where everything goes out.
        environ: the environment; what .env sets is added to it.
        debug: show our own tracebacks.
        overrides: settings that the command line gives, by name.
        json: stdout is for a program, so an error is told as JSON too.
        streams: that program reads one JSON object a line.
        progress: the open stream of JSON lines; None where there is none.
        is_bare: no command was named, as with edwh-migrate.
        is_last: the process ends with it.
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
        """The directory it works in.

        Raises:
            UsageError: somebody has removed it.
        """
        try:
            return Path.cwd()
        except FileNotFoundError:
            raise UsageError(
                "the directory in which this runs is not there any more", hint='cd "$PWD", or to another directory'
            ) from None

    def config(self) -> Config:
        """Read the settings; from here on no text carries their secrets, and migrations find in the environment what .env sets.

        Raises:
            ConfigError: naming every fault at once.
        """
        from migrate_graph.config import load_config

        self.console.take_stdout()  # from here on others write too: git, psql, the user's own files
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
            # What is imported by now stays to the end: the garbage collector need not look through it again, above all not when the process
            # ends. What user code makes is looked through as always.
            gc.freeze()
        return open_project(config, path, root=self.root)

    def reading(
        self, project: Project, *, offline: bool = False, closely: bool = False, drift: bool = False
    ) -> Reading:
        """Read what the database remembers.

        Raises:
            DatabaseUnreachable: it does not answer.
        """
        from migrate_graph.workflow.project import read_history

        views = project.graph.views if closely else None
        return read_history(
            project.config, offline=offline, observer=self.remark, closely=views, drift=drift, graph=project.graph
        )

    def asked_history(self, project: Project, option: str = "--history", *, drift: bool = False) -> Reading:
        """Read the history that an option asked for: to judge an empty one instead would pass in silence.

        Args:
            project: whose.
            option: as it was typed.
            drift: also look what somebody changed by hand.

        Raises:
            UsageError: no database is configured.
            DatabaseUnreachable: it does not answer.
        """
        if not project.config.has_database:
            from migrate_graph.config.settings import DATABASE_HINT

            raise UsageError(f"{option} asks the database, and no database is configured", hint=DATABASE_HINT)
        reading = self.reading(project, drift=drift)
        if reading.note:
            self.console.tell(f"({reading.note})")
        return reading

    def remark(self, event: Event) -> None:
        """Show on stderr what a reading command waits for."""
        from migrate_graph.cli.run_text import sentence
        from migrate_graph.core.events import LockAcquired

        if not isinstance(event, LockAcquired) or event.waited:
            self.console.tell(sentence(event))

    def who(self) -> str:
        """Return who is at the keyboard, for the journal."""
        import getpass
        import socket

        try:
            user = getpass.getuser()
        except (OSError, KeyError, ImportError):  # no such user in this container, or no list of them
            user = "unknown"
        return f"{user}@{socket.gethostname()}"

    def who_and_why(self, reason: str) -> str:
        """Return who is at the keyboard, with the reason that was given."""
        return f"{self.who()}: {reason}" if reason else self.who()
