"""Output of edwh-migrate's functions, on the console of the command line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from migrate_graph.errors import MigrateGraphError


def tell(error: MigrateGraphError) -> int:
    """Show an error, and return the exit code that goes with it."""
    from migrate_graph.cli.console import Console

    Console(environ=os.environ).tell_error(error)
    return error.exit_code


def say(text: str) -> None:
    """Show a line of progress."""
    from migrate_graph.cli.console import Console

    Console(environ=os.environ).tell(text)
