"""Runs of the fault tests in several processes: also a row of migrations is given to workers, and a worker can be killed at any place.

As a program it is what workers are forked from, as `migrate_graph/executor/fork_server_program.py` is, with the places of `child`.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

JOBS = int(os.environ.get("MIGRATE_GRAPH_FAULT_JOBS", "1"))  # noqa: TID251 - tests are an edge too
"""With so many jobs every `migrate apply` of the fault tests runs, where that is possible."""

NOT_IN_WORKERS = pytest.mark.skipif(
    JOBS > 1,
    reason="with --jobs it is the run that hears, and that tells of its worker's end: test_jobs_faults.py says how",
)
"""A test of what becomes of the one process of a run."""

IN_THIS_ORDER = pytest.mark.skipif(
    JOBS > 1,
    reason="with --jobs nothing says that the first of its migrations comes before the last: neither requires the other",
)
"""A test of migrations that count on an order which nobody has declared."""

ONE_TRANSACTION = pytest.mark.skipif(
    JOBS > 1,
    reason="--jobs beside --atomic or --coalesce is exit 2, since one transaction has one connection: test_cli_jobs.py, test_cli_coalesce.py",
)
"""A test of several migrations in one transaction."""

PATIENT = {"MIGRATE_GRAPH_FAULT_PATIENT": "1"}
"""With this in its environment a run waits long for a worker to say that it heard: also on a busy machine only a deaf one is taken for deaf."""

AT_FORK = "MIGRATE_GRAPH_FAULT_FORK"
"""In the environment of a run: the how-many-eth fork of its fork server goes wrong, and how: `2 killed`, `1 refused`."""

_PLACES = "MIGRATE_GRAPH_FAULT_PLACES"


def with_jobs(words: tuple[str, ...], *, is_postgres: bool) -> tuple[str, ...]:
    """Return what is typed, with `--jobs` where the fault tests are run so."""
    alone = {"--atomic", "--coalesce", "--dry-run", "--fake", "--jobs", "--rehearse-first"}
    if JOBS > 1 and is_postgres and words[:1] == ("apply",) and not alone & set(words):
        return (*words, "--jobs", str(JOBS))
    return words


def prepare(fatal: tuple[str, int] | None = None, trace: Path | None = None, *, only: bool = False) -> None:
    """Have this process give every plan to workers, and them die at a place.

    Args:
        fatal: a place, and the how-many-eth arrival there; the run dies with its worker.
        trace: where arrivals are written down.
        only: the worker dies alone.
    """
    import migrate_graph.core.lanes
    import migrate_graph.executor.worker_options

    setattr(migrate_graph.executor.worker_options, "PROGRAM", Path(__file__))  # noqa: B010
    setattr(migrate_graph.core.lanes.Order, "is_a_row", property(lambda _order: False))  # noqa: B010
    os.environ[_PLACES] = json.dumps([fatal, str(trace) if trace else None, only])  # noqa: TID251


def _serve() -> None:
    """Fork workers, as the program of the package does."""
    import child

    import migrate_graph.executor.checkpoints
    from migrate_graph.executor import fork_server_program

    fatal, trace, only = json.loads(os.environ.pop(_PLACES))  # noqa: TID251
    run = os.getppid()

    def die(number: int = signal.SIGKILL) -> None:
        Path(f"died-{os.getpid()}").touch()
        if not only:
            os.kill(run, number)
        os.kill(os.getpid(), number)

    child.expect(fatal, Path(trace) if trace else None, die=die)
    reached: Any = lambda checkpoint: child.here(checkpoint.value)  # noqa: E731
    setattr(migrate_graph.executor.checkpoints, "reached", reached)  # noqa: B010
    if AT_FORK in os.environ:  # noqa: TID251
        number, how = os.environ[AT_FORK].split()  # noqa: TID251
        setattr(os, "fork", _going_wrong(os.fork, int(number), how))  # noqa: B010
    fork_server_program.main()


def _going_wrong(fork: Callable[[], int], number: int, how: str) -> Callable[[], int]:
    left = iter(range(number, 0, -1))

    def forked() -> int:
        if next(left, 0) == 1:
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return fork()

    return forked


def _run() -> None:
    """Run the command line, as `python -m migrate_graph` does."""
    from migrate_graph.cli import main

    prepare()
    if PATIENT.items() <= os.environ.items():  # noqa: TID251
        import migrate_graph.executor.worker_pool

        setattr(migrate_graph.executor.worker_pool, "_UNRESPONSIVE_AFTER", 60.0)  # noqa: B010
    sys.exit(main())


if __name__ == "__main__":
    if sys.argv[1:2] == ["migrate"]:
        del sys.argv[1]
        _run()
    else:
        _serve()
