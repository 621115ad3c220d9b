"""Three ways to show a run while it works: redrawn in place, line by line, or as JSON lines."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from msgspec import Struct, field, to_builtins
from msgspec.structs import replace

from migrate_graph import __version__
from migrate_graph.cli.options import Output
from migrate_graph.cli.run_text import NOT_RUN, how_far, outcome_of, sentence, style_of, summary
from migrate_graph.columns import columns, shortened
from migrate_graph.core import events
from migrate_graph.core.events import EVENT_TYPES, Event, Outcome, Result
from migrate_graph.lacking import no_thread
from migrate_graph.messages import lasting, sized
from migrate_graph.redaction import one_line
from migrate_graph.signals import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from migrate_graph.cli.console import Console
    from migrate_graph.cli.session import Session
    from migrate_graph.errors import MigrateGraphError

HEARTBEAT = 30.0
"""Seconds without output after which a line says that the work goes on: CI systems end jobs that print nothing."""

PROGRESS_EVERY = 5.0
"""The least seconds between two lines about the progress of one migration: its body may report progress a thousand times."""

STREAM_VERSION = "1.2"
"""The version of the JSON lines: a minor version adds fields or types, a major version changes them. Readers ignore unknown ones."""


class Progress(Protocol):
    """An observer that shows a run; it is a context manager around the run."""

    def __call__(self, event: Event) -> None:
        """Show an event."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the display, and leave the terminal in its normal state."""


def progress_for(output: Output, console: Console) -> Progress:
    """Return the observer for an output mode; `auto` redraws in place only on an interactive terminal."""
    if output is Output.JSON:
        return JsonProgress(console)
    if output is Output.RICH or (output is Output.AUTO and console.interactive):
        return LiveProgress(console)
    return PlainProgress(console)


def show_run(session: Session, output: Output, run: Callable[[Progress], int]) -> int:
    """Show a run while it works, and return its exit code, which is also the last of the JSON lines.

    Args:
        session: has the console.
        output: how the run is shown.
        run: called with the observer that shows the run; returns the exit code.
    """
    with progress_for(output, session.console) as progress:
        if isinstance(progress, JsonProgress):
            session.progress = progress  # an error at any place is written into this stream, before the exit code
        code = int(run(progress))
        if isinstance(progress, JsonProgress):
            progress.emit("exit", "done" if code == 0 else "not done", exit_code=code)
    return code


class JsonProgress:
    """Writes one JSON object per line to stdout: first the version, then every event with `seq`, `ts` and `message`."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._sequence = 0
        self._guard = threading.Lock()

    def __enter__(self) -> Self:
        self._begin()
        return self

    def _begin(self) -> None:
        if not self._sequence:
            self.emit("version", "migrate_graph", ui=STREAM_VERSION, tool=__version__)

    def fail(self, error: MigrateGraphError) -> None:
        """Write the error that ends the stream, and the exit code as the last line."""
        self._begin()
        code = int(error.exit_code)
        self.emit("error", error.message, hint=error.hint, exit_code=code)
        self.emit("exit", "not done", exit_code=code)

    def __exit__(self, *_: object) -> None:
        """Do nothing: the terminal was not changed."""

    def __call__(self, event: Event) -> None:
        """Write an event."""
        self.emit(EVENT_TYPES[type(event)], sentence(event), **_fields(event))

    def emit(self, kind: str, message: str, **fields: Any) -> None:
        """Write one line."""
        with self._guard:
            self._sequence += 1
            ts = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            line = {"type": kind, "seq": self._sequence, "ts": ts, "message": message, **fields}
            self.console.show_event(line)


def _fields(event: Event) -> dict[str, Any]:
    """Return the fields of an event for JSON; a plan is written as the names of its steps, since a plan contains functions."""
    if isinstance(event, events.RunStarted):
        steps = [step.migration.name for step in event.plan.steps]
        blocked = [each.migration.name for each in event.plan.blocked]
        return {
            "run": event.run,
            "steps": steps,
            "blocked": blocked,
            "atomic": event.atomic,
            "jobs": event.jobs,
            "reverts": event.reverts,
        }
    if isinstance(event, events.RunFinished):
        return {**to_builtins(event), "succeeded": event.succeeded}
    if isinstance(event, events.Warned):
        return {"text": event.message, "hint": event.hint}  # in every line, the key `message` holds the whole sentence
    fields: dict[str, Any] = to_builtins(event)
    return fields


class PlainProgress:
    """Writes one line per event to stderr, with the time, and a line from time to time while a migration runs long."""

    def __init__(self, console: Console, *, heartbeat: float = HEARTBEAT) -> None:
        self.console = console
        self.heartbeat = heartbeat
        self._guard = threading.Lock()
        self._running: dict[str, _Running] = {}
        self._progressed: dict[str, float] = {}
        self._ended = threading.Event()
        self._pulse: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._pulse = start_thread(self._beat, name="heartbeat")
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._pulse is not None:
            self._pulse.join()

    def __call__(self, event: Event) -> None:
        """Write a line; at the end of the run, the summary."""
        with self._guard:
            self._remember(event)
            if isinstance(event, events.RunFinished):
                self.console.tell()
                for line in summary(event, self.console.style_err):
                    self.console.tell(line)
            elif self._is_news(event):
                self._line(
                    sentence(event), style_of(event.result.outcome) if isinstance(event, events.StepFinished) else ""
                )

    def _is_news(self, event: Event) -> bool:
        """Return whether an event gets a line; progress of one migration gets one every few seconds, and one at its end."""
        if isinstance(event, events.LockAcquired):
            return bool(event.waited)
        if isinstance(event, events.StepFinished) and event.result.outcome in NOT_RUN:
            return False  # the summary lists those that did not run
        if not isinstance(event, events.StepProgress | events.RestoreProgress):
            return True
        now = time.monotonic()
        complete = event.done == event.total if isinstance(event, events.StepProgress) else event.read == event.size
        name = event.name if isinstance(event, events.StepProgress) else _RESTORE
        if not complete and now - self._progressed.get(name, 0.0) < PROGRESS_EVERY:
            return False
        self._progressed[name] = now
        return True

    def _remember(self, event: Event) -> None:
        match event:
            case events.StepStarted():
                self._progressed.pop(event.name, None)
                self._running[event.name] = _Running(f"[{event.index}/{event.total}] {one_line(event.name)}")
            case events.RestoreStarted():
                self._progressed.pop(_RESTORE, None)
                self._running[_RESTORE] = _Running(f"restore of {one_line(event.path)}")
            case events.StepWaiting() if event.name in self._running:
                self._running[event.name].waiting = f", {one_line(event.reason)}"
            case events.StepFinished():
                self._running.pop(event.result.name, None)
            case events.RestoreFinished() | events.RunFinished():
                self._running.clear()

    def _line(self, text: str, style: str = "") -> None:
        self.console.tell(f"{_stamp(int(time.time()))} {self.console.paint_err(text, style) if style else text}")

    def _beat(self) -> None:
        while not self._ended.wait(self.heartbeat):
            with self._guard:
                for each in self._running.values():
                    self._line(f"{each.what} still running {lasting(time.monotonic() - each.since)}{each.waiting}")


class _Running(Struct):
    """A migration or a restore that runs now.

    Attributes:
        what: its name in the line that says that it is still running.
        since: when it began, by the monotonic clock.
        waiting: what it waits for, as the end of that line; empty if nothing is known.
    """

    what: str
    since: float = field(default_factory=lambda: time.monotonic())  # noqa: PLW0108 - looked up each time, since tests replace the clock
    waiting: str = ""


_RESTORE = "\0"
"""The key of a restore, among the names of migrations."""


class _Step(Struct):
    """A running migration in the live region.

    Attributes:
        since: when it began, by the monotonic clock.
        detail: what it does now.
        waiting: the last event that says what it waits for, and when that event arrived; None if it does not wait.
    """

    since: float = field(default_factory=lambda: time.monotonic())  # noqa: PLW0108 - looked up each time, since tests replace the clock
    detail: str = ""
    waiting: tuple[events.StepWaiting, float] | None = None

    def told(self) -> str:
        """Return what the migration waits for, or else what it does now."""
        return _counted_up(*self.waiting) if self.waiting else self.detail


@lru_cache(maxsize=1)
def _stamp(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class LiveProgress:
    """Redraws a live region in place, below the lines of what is finished.

    The region shows how many migrations are done, what runs, for how long, and what the database does; with several migrations at the same
    time, each has a line.
    """

    def __init__(self, console: Console) -> None:
        from rich.console import Console as RichConsole
        from rich.live import Live

        from migrate_graph.cli.console import discard

        class QuietConsole(RichConsole):
            def on_broken_pipe(self) -> None:
                """Go on without output: rich would end the process, but a closed terminal must not stop a migration."""
                self.quiet = True
                discard(console.err)

        self.console = console
        self._steps: dict[str, _Step] = {}
        self._finished: set[int] = set()
        self._total = 0
        self._detail = ""
        self._waiting: tuple[events.LockWaiting | events.Connecting, float] | None = None
        self._restored: tuple[events.RestoreProgress, float] | None = None
        colored = console.paint_err("x", "bold") != "x"
        self._rich = QuietConsole(
            file=console.err, markup=False, highlight=False, emoji=False, no_color=not colored, force_terminal=True
        )
        self._live = Live(
            get_renderable=self._region,
            console=self._rich,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        try:
            self._live.start()  # starts a thread
        except RuntimeError as error:
            self._live.stop()
            raise no_thread(error) from None
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Print a line above the live region, or change the live region."""
        match event:
            case events.StepStarted():
                self._begin()
                self._steps[event.name] = _Step()
                self._finished.discard(event.index)
                self._total = event.total
            case events.StepWaiting() | events.Connecting() | events.LockWaiting():
                self._wait(event)
            case events.StepProgress():
                self._detail_of(event.name, how_far(event))
            case events.RestoreProgress():
                self._restored = event, self._restored[1] if self._restored else time.monotonic()
            case events.StepFinished():
                self._step_finished(event)
            case events.RunStarted():
                self._total = len(event.plan.steps)
                self._begin()
            case events.RunFinished():
                self._finish(event)
            case events.LockAcquired():
                self._begin()
            case events.ViewDropped() | events.ViewCreated() | events.ViewReplaced() | events.ViewRefreshing():
                self._detail_of(
                    event.view if isinstance(event, events.ViewRefreshing) else event.migration, sentence(event)
                )
            case _:
                self._scroll(" ", sentence(event), event)

    def _step_finished(self, event: events.StepFinished) -> None:
        self._finished.add(event.index)
        self._total = event.total
        self._steps.pop(event.result.name, None)
        self._begin()
        if event.result.outcome not in NOT_RUN:
            self._scroll(_FINISHED_MARKS[style_of(event.result.outcome)], _told_by_mark(event.result), event)

    def _begin(self) -> None:
        self._detail = ""
        self._waiting = self._restored = None

    def _wait(self, event: events.StepWaiting | events.Connecting | events.LockWaiting) -> None:
        if not isinstance(event, events.StepWaiting):
            self._waiting = event, time.monotonic()
        elif event.name in self._steps:
            self._steps[event.name].waiting = event, time.monotonic()

    def _detail_of(self, name: str, detail: str) -> None:
        if name in self._steps:
            self._steps[name].detail, self._steps[name].waiting = detail, None
        else:
            self._detail = detail

    def _scroll(self, mark: str, text: str, event: Event) -> None:
        from rich.text import Text

        style = style_of(event.result.outcome) if isinstance(event, events.StepFinished) else ""
        head = f"{self.console.paint_err(mark, style) if style else mark} "
        for line in self.console.style_err.lines(text, head=head, indent=4):
            self._rich.print(Text.from_ansi(self._safe(line)), soft_wrap=True)

    def _safe(self, text: str) -> str:
        return self.console.fitting(self.console.redact(text), self.console.err)

    def _finish(self, event: events.RunFinished) -> None:
        self._live.stop()
        for line in summary(event, self.console.style_err):
            self.console.tell(line)

    def _region(self) -> Any:
        from rich.text import Text

        text = Text(overflow="fold")
        if self._restored is not None:
            self._add_restore(text, *self._restored)
        elif self._total:
            done = len(self._finished)
            self._add_bar(text, done / self._total)
            text.append(f" {done}/{self._total}  ", style="bold")
        steps = list(self._steps.items())
        for name, step in steps:
            if len(steps) > 1:
                self._add_one_of_several(text, name, step)
                continue
            text.append(self._safe(one_line(name))).append(f"  {lasting(time.monotonic() - step.since)}", style="cyan")
            self._add_detail(text, step.told(), apart="\n  ")
        self._add_detail(text, _counted_up(*self._waiting) if self._waiting else self._detail, apart="\n  ")
        return text

    def _add_one_of_several(self, text: Any, name: str, step: _Step) -> None:
        """Add the line of one of several running migrations; it is shortened to the width, and its name gets at least half of the line."""
        gap = "…" if self._safe("…") == "…" else "..."
        passed = lasting(time.monotonic() - step.since)
        room = self._rich.width - len(passed) - 4
        name, detail = self._safe(one_line(name)), self._safe(one_line(step.told()))
        wanted = columns(detail) + 2 if detail else 0
        name = shortened(name, max(room - wanted, room // 2), gap=gap)
        left = room - columns(name) - 2
        text.append(f"\n  {name}").append(f"  {passed}", style="cyan")
        self._add_detail(text, shortened(detail, left, gap=gap, tail=False) if left > len(gap) else "", apart="  ")

    def _add_detail(self, text: Any, detail: str, *, apart: str) -> None:
        if detail:
            text.append(f"{apart}{self._safe(detail)}" if text else self._safe(detail), style="magenta")

    def _add_bar(self, text: Any, part: float) -> None:
        """Add a progress bar, in ASCII characters if the terminal can show no others."""
        full = int(_BAR * min(part, 1.0))
        done, rest = ("━", "━") if self._safe("━") == "━" else ("#", "-")
        text.append(done * full, style="green").append(rest * (_BAR - full), style="bright_black")

    def _add_restore(self, text: Any, event: events.RestoreProgress, since: float) -> None:
        elapsed = time.monotonic() - since
        if event.size:
            self._add_bar(text, event.read / event.size)
        rate = f", {sized(int(event.read / elapsed))}/s" if elapsed >= 1 else ""
        text.append(f" {self._safe(sentence(event))}{rate}").append(f"  {lasting(elapsed)}", style="cyan")


_BAR = 20
"""The width of a progress bar in columns."""


def _counted_up(event: events.LockWaiting | events.Connecting | events.StepWaiting, told: float) -> str:
    """Return what is waited for and for how long; the time since the event is added.

    Args:
        event: the last event about the waiting.
        told: when the event arrived, by the monotonic clock.
    """
    passed = time.monotonic() - told
    if isinstance(event, events.StepWaiting):
        return f"waiting for {lasting(event.seconds + passed)}: {one_line(event.reason)}"
    return sentence(replace(event, waited=event.waited + passed))


def _told_by_mark(result: Result) -> str:
    """Return how a migration ended; without the word for success, since the mark before it says the same."""
    text = outcome_of(result)
    return text.partition(" ")[2] if result.outcome in {Outcome.APPLIED, Outcome.REVERTED, Outcome.DONE} else text


_FINISHED_MARKS = {"good": "✓", "error": "✗", "warning": "⊘", "muted": "-"}
