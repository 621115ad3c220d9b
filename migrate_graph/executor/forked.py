"""Ends a forked child process in which a body returns or raises: the run continues only in the parent."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import NoReturn

from migrate_graph.process_end import really_exit
from migrate_graph.tracebacks import user_traceback


@contextlib.contextmanager
def ended_in_children() -> Iterator[None]:
    """At the end of the block, end every process but the one that entered it, with the exit code that Python would use."""
    process = os.getpid()
    try:
        yield
    except BaseException as error:
        if os.getpid() != process:
            _leave(error)
        raise
    if os.getpid() != process:
        really_exit(0)


def _leave(error: BaseException) -> NoReturn:
    if isinstance(error, SystemExit):
        really_exit(error.code if isinstance(error.code, int) else int(error.code is not None))
    # Not through sys.stderr: a lock that another thread held at the fork is never released in the child.
    with contextlib.suppress(OSError):
        os.write(2, f"{user_traceback(error)}\n".encode("utf-8", "backslashreplace"))
    really_exit(1)
