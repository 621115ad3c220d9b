"""Walks a plan against a database: one attempt at a time, each kept as a whole or not at all."""

from typing import TYPE_CHECKING, Any

from migrate_graph.executor.checkpoints import Checkpoint

if TYPE_CHECKING:
    from migrate_graph.executor.run import Executor, RunOptions

__all__ = ["Checkpoint", "Executor", "RunOptions"]


def __getattr__(name: str) -> Any:
    """Return what walks a plan; the processes of `--jobs`, which walk none, begin sooner without it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from migrate_graph.executor import run

    return getattr(run, name)
