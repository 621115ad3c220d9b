"""Run another program to its end, without waiting for background processes that it has started."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence


def run_program(
    words: Sequence[str], *, patience: float, environ: Mapping[str, str] | None = None, given: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run a program, and return its exit code and what it wrote until it ended.

    Its output goes into temporary files, not into pipes. A pipe stays open until the last process that holds it ends, and that may be a
    daemon that the program has started: git, a hook or a wrapper may do so.

    Args:
        words: the program by its full path, and its arguments.
        patience: seconds that it may take.
        environ: its environment; None for the environment of this process.
        given: its standard input.

    Raises:
        OSError: it cannot be started, or the disk has no room for its output.
        TimeoutExpired: it took longer, and was killed.
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
