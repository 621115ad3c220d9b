"""A worker process: it runs migrations for a run, one at a time, while other workers do the same."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from migrate_graph import forks
from migrate_graph.core.events import Outcome, Result
from migrate_graph.core.graph import build_graph
from migrate_graph.core.uses import with_known_uses
from migrate_graph.database import backend_class
from migrate_graph.errors import LoadError, MigrateGraphError, Stopped
from migrate_graph.executor.attempt import Progress, Surroundings, WeavingOptions
from migrate_graph.executor.output import isolated
from migrate_graph.executor.steps import tried
from migrate_graph.executor.watch import Watch
from migrate_graph.executor.worker_messages import (
    Assignment,
    Begin,
    Begun,
    Ended,
    Observed,
    Stop,
    StopConfirmed,
    Unfit,
    code_of,
    packed,
    unpacked,
)
from migrate_graph.loader import Loaded, load_project, user_imports
from migrate_graph.masked_stream import MaskedStream
from migrate_graph.process_end import Guard
from migrate_graph.redaction import redact
from migrate_graph.signals import Interruption, start_thread

if TYPE_CHECKING:
    from migrate_graph.core.graph import MigrationGraph
    from migrate_graph.database.books.ledger import AttemptKey

_PR_SET_PDEATHSIG = 1

_KILL = signal.SIGKILL


def work(line: Connection, parent: int) -> None:
    """Work for the run at the other end of a line, until it says that there is nothing more to do, or has ended.

    Args:
        line: the connection to the run.
        parent: number of the process that this one was forked from.
    """
    end_with(parent)
    assignment: Assignment = unpacked(line.recv_bytes())
    os.set_inheritable(line.fileno(), False)  # noqa: FBT003 - by position only
    forks.hide(line)
    sys.argv[:] = assignment.arguments
    if assignment.directory:
        with suppress(OSError):  # the directory does not exist any more
            os.chdir(assignment.directory)
    streams = _Streams(assignment.settings.secrets)
    interruption, sender = Interruption(leads=False), _Sender(line)
    orders: SimpleQueue[Any] = SimpleQueue()
    guard = Guard(lambda text: print(text, file=sys.stderr, flush=True))  # noqa: T201 - the edge of this process
    with guard.standing(), interruption.listening():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, forks.SIGNALS)  # the fork server has blocked them until now
        start_thread(_listen, line, interruption, sender, orders, name="orders")
        try:
            _Worker(assignment, interruption, sender, orders).work(streams)
        except Stopped:
            pass  # the run knows of the signal
        except MigrateGraphError as error:
            sender.send(Unfit(error))
        sender.wait_until_sent()
        guard.finish(0)


def end_with(parent: int) -> None:
    """End this process as soon as another one ends. On Linux this works also while a function in C does not release the interpreter.

    Args:
        parent: number of the other process.
    """
    if sys.platform == "linux":
        import ctypes

        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _listen(line: Connection, interruption: Interruption, sender: _Sender, orders: SimpleQueue[Any]) -> None:
    """Receive orders, also while a body runs; kill this process when the run has ended."""
    with suppress(BaseException):
        while True:
            order = unpacked(line.recv_bytes())
            if not isinstance(order, Stop):
                orders.put(order)
                continue
            sender.send(StopConfirmed())
            if not interruption.is_heard:  # a terminal or a service manager sends the signal to every process itself
                _signal_myself(order.signal)
    _signal_myself(_KILL)


def _signal_myself(
    number: int, *, kill: Callable[[int, int], None] = os.kill, pid: Callable[[], int] = os.getpid
) -> None:
    """Send a signal to this process, also when a body has replaced `os.kill` or `os.getpid`."""
    kill(pid(), number)


class _Sender:
    """Sends messages to the run from a thread of its own: a signal that ends a body must not cut a message in two."""

    def __init__(self, line: Connection) -> None:
        self._line = line
        self._messages: SimpleQueue[Any] = SimpleQueue()
        start_thread(self._work, name="sender")

    def send(self, message: Any) -> None:
        """Add a message to the queue of the sending thread."""
        self._messages.put(message)

    def wait_until_sent(self) -> None:
        """Wait until all messages are sent; the run gets them even if this process ends now."""
        done: SimpleQueue[None] = SimpleQueue()
        self._messages.put(done)
        done.get()

    def _work(self) -> None:
        while True:
            message = self._messages.get()
            if isinstance(message, SimpleQueue):
                message.put(None)
                continue
            try:
                self._line.send_bytes(packed(message))
            except BaseException:  # noqa: BLE001 - a body may have closed the line: the run would not learn what is done from here on
                _signal_myself(_KILL)


class _Streams:
    """Sends stdout and stderr of the worker to stderr, without secrets; silent while the user's files load: the run has shown that output."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._secrets = secrets
        self.is_silent = True
        with suppress(OSError):
            os.dup2(2, 1)  # only the run writes results to stdout
        sys.stdout = MaskedStream(sys.stdout, self._masked)
        sys.stderr = MaskedStream(sys.stderr, self._masked)

    def _masked(self, text: str) -> str:
        return "" if self.is_silent else redact(text, *self._secrets)


class _Worker:
    """Loads the project again and runs the migrations that the run orders."""

    def __init__(
        self, assignment: Assignment, interruption: Interruption, sender: _Sender, orders: SimpleQueue[Any]
    ) -> None:
        self._assignment = assignment
        self._interruption = interruption
        self._sender = sender
        self._orders = orders
        self._observer = isolated(lambda event: sender.send(Observed(event)))

    def work(self, streams: _Streams) -> None:
        """Load the project, connect, and run the migrations that are ordered.

        Raises:
            MigrateGraphError: the project cannot be loaded, or has changed, or there is no connection.
            Stopped: a signal arrived before the worker was ready.
        """
        loaded, graph = self._load()
        streams.is_silent = False
        assignment = self._assignment
        backend = backend_class(assignment.settings.uri).seated(assignment.settings, assignment.seat)
        watch = Watch(self._observer, every=assignment.watch_every)
        try:
            backend.connect(observer=self._observer, interruption=self._interruption)
            around = Surroundings(
                backend, backend.lock_of_run, self._observer, self._interruption, watch, assignment.shown_root,
                open_work=backend.work, is_seated=True, weaving=WeavingOptions(wanted=assignment.weaves),
            )  # fmt: skip
            with user_imports(loaded.imports, loaded.registry), watch.running():
                while isinstance(order := self._orders.get(), Begin):
                    self._sender.send(self._one(order.name, around, graph))
        finally:
            backend.close()

    def _load(self) -> tuple[Loaded, MigrationGraph]:
        assignment = self._assignment
        loaded = load_project(assignment.path, root=assignment.root)
        views = with_known_uses(loaded.registry.views, assignment.uses)
        graph = build_graph(replace(loaded.registry, views=views, windows=assignment.windows))
        if code_of(graph, assignment.names) != assignment.code:
            raise LoadError(
                "a process that was to run migrations beside others has loaded other ones: the files were changed since the run began, "
                "or declare something else each time they are loaded",
                hint="run migrate apply again; without --jobs they are loaded once",
            )
        return loaded, graph

    def _one(self, name: str, around: Surroundings, graph: MigrationGraph) -> Ended:
        migration = graph.migrations[name]
        if self._interruption.signal:
            result = Result(name, Outcome.NOT_REACHED, source=migration.source)
            return Ended(result, None, self._interruption.signal)
        assignment = self._assignment
        progress = Progress(
            run=assignment.run,
            graph=graph,
            applied=set(),
            overdue=assignment.overdue.get(name, frozenset()),
            unrecorded=assignment.unrecorded,
        )
        result = tried(around, assignment.patience, migration, progress, begins=self._begins)
        return Ended(result, progress.broken, self._interruption.signal)

    def _begins(self, key: AttemptKey) -> None:
        self._sender.send(Begun(key))
        self._sender.wait_until_sent()
