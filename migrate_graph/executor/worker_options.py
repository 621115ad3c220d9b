"""What a run needs to have its steps run by worker processes (`--jobs`), and whether that is possible here."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from migrate_graph.core.lanes import Order
    from migrate_graph.database import Settings
    from migrate_graph.executor.fork_server import ForkServer

PROGRAM = Path(__file__).with_name("fork_server_program.py")
"""The program of the fork server: the process that workers are forked from."""


def workers_can_be_had() -> bool:
    """Return whether worker processes can be started here."""
    return os.name == "posix" and bool(sys.executable) and not getattr(sys, "frozen", False) and PROGRAM.is_file()


class WorkerOptions(Struct, frozen=True):
    """What a run needs to have its steps run by worker processes.

    Attributes:
        jobs: how many migrations run at once.
        order: which steps each step waits for.
        settings: how to connect to the database.
        server: the process that workers are forked from.
        path: the migrations file, or the directory of numbered files.
        root: the directory that shown paths are relative to.
        arguments: `sys.argv` as it was when the files were loaded.
        directory: the working directory as it was then; empty: the current one.
    """

    jobs: int
    order: Order
    settings: Settings
    server: ForkServer
    path: Path
    root: Path
    arguments: list[str]
    directory: str
