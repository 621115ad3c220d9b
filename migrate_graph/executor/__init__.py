"""Runs a plan against a database: one attempt at a time; the work of an attempt is kept as a whole or not at all."""

from typing import TYPE_CHECKING, Any

from migrate_graph.executor.checkpoints import Checkpoint

if TYPE_CHECKING:
    from migrate_graph.executor.run import Executor, RunOptions

__all__ = ["Checkpoint", "Executor", "RunOptions"]


def __getattr__(name: str) -> Any:
    """Return `Executor` or `RunOptions`, imported at first use: the worker processes of `--jobs` need neither and start faster."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from migrate_graph.executor import run

    return getattr(run, name)
