"""Runs another program to its end, whatever it leaves running: nobody waits for a process that it has started in the background."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence


def run_program(
    words: Sequence[str], *, patience: float, environ: Mapping[str, str] | None = None, given: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run a program, and return what it wrote until it ended.

    It writes into files. A pipe ends when the last process that holds it does, which may be a daemon that the program has started:
    git starts some, and so may a hook or a wrapper.

    Args:
        words: the program by its full path, and its arguments.
        patience: seconds that it may take.
        environ: its environment; None for that of this process.
        given: what it reads from its standard input.

    Raises:
        OSError: it does not start, or there is no room for what it writes.
        TimeoutExpired: it took longer, and was ended.
    """
    with (
        tempfile.TemporaryFile() as asked,
        tempfile.TemporaryFile() as told,
        tempfile.TemporaryFile() as complaints,
    ):
        asked.write(given)
        asked.seek(0)
        process = subprocess.Popen(words, env=environ, stdin=asked, stdout=told, stderr=complaints)  # noqa: S603 - by its full path
        try:
            code = process.wait(patience)
        finally:
            process.kill()
            process.wait()
        told.seek(0)
        complaints.seek(0)
        return subprocess.CompletedProcess(list(words), code, told.read(), complaints.read())
