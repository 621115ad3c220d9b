"""Ends a forked child in which a body returns or raises: the run goes on in its parent only."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import NoReturn

from migrate_graph.process_end import really_exit
from migrate_graph.tracebacks import user_traceback


@contextlib.contextmanager
def ended_in_children() -> Iterator[None]:
    """End every process but this one at the end of the block, as Python ends one in which nothing is left to do."""
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
    # Past the streams: who held their locks when it was forked never gives them back here.
    with contextlib.suppress(OSError):
        os.write(2, f"{user_traceback(error)}\n".encode("utf-8", "backslashreplace"))
    really_exit(1)
