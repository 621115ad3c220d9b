"""Walks a plan against a database: one attempt at a time, each kept as a whole or not at all."""

from migrate_graph.executor.checkpoints import Checkpoint
from migrate_graph.executor.run import Executor, RunOptions

__all__ = ["Checkpoint", "Executor", "RunOptions"]
