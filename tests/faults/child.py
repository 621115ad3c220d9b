"""What runs in a child process of the fault tests: the real command line, with a kill at a place of the test's choice."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import migrate_graph.executor
import migrate_graph.executor.checkpoints
from migrate_graph.cli import main

_arrivals: dict[str, int] = {}
_fatal: tuple[str, int] | None = None
_trace: Path | None = None


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


_how: Callable[[], None] = _die


def expect(fatal: tuple[str, int] | None, trace: Path | None, *, die: Callable[[], None] = _die) -> None:
    """Choose where this process dies, and how, and where it writes down what it passes."""
    global _fatal, _trace, _how
    _fatal, _trace, _how = (fatal[0], fatal[1]) if fatal else None, trace, die


def here(place: str) -> None:
    """Pass a place; at the n-th arrival at the one that was chosen the process is gone, as by `kill -9`."""
    _arrivals[place] = _arrivals.get(place, 0) + 1
    if _trace is not None:
        with _trace.open("a") as trace:
            trace.write(f"{place}\n")
    if _fatal == (place, _arrivals[place]):
        _how()
        time.sleep(60)


def executed(name: str) -> None:
    """Write down, where no rollback reaches, that a body is executed."""
    with Path("executed").open("a") as log:
        log.write(f"{name}\n")


def run(
    words: list[str],
    directory: str,
    environ: dict[str, str],
    output: str,
    fatal: list[Any] | None = None,
    trace: str | None = None,
    side_by_side: str = "",
    first_delay: float | None = None,
) -> None:
    """Run the command line here, with everything it prints in a file, and end with its exit code.

    With `side_by_side` workers do the work, and die at the place as well; alone, when it is `one`. With `first_delay` it waits so
    many seconds before it tries again.
    """
    file = Path(trace) if trace else None
    expect((fatal[0], fatal[1]) if fatal and side_by_side != "one" else None, file)
    if side_by_side:
        from side_by_side import prepare

        prepare((fatal[0], fatal[1]) if fatal else None, file, only=side_by_side == "one")
    setattr(migrate_graph.executor.checkpoints, "reached", lambda checkpoint: here(checkpoint.value))  # noqa: B010
    if first_delay is not None:
        options = migrate_graph.executor.RunOptions
        setattr(migrate_graph.executor, "RunOptions", partial(options, first_delay=first_delay))  # noqa: B010
    os.chdir(directory)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - the process ends with it
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - as above
    code: Any = 99
    try:
        code = main(words, environ=environ)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(code))
