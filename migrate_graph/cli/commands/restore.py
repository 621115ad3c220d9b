"""`migrate restore`: restore the backup into a database that is proved empty."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from migrate_graph.cli.command import Section, command, session_of
from migrate_graph.cli.options import LockOption, Output


@command(Section.DATABASE, "migrate restore", "migrate restore backup.sql.gz")
def restore(
    context: typer.Context,
    backup: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Default: the configured database_to_restore.")
    ] = None,
    *,
    lock_timeout: LockOption = None,
) -> None:
    """Restore the backup into a database that is proved empty."""
    from migrate_graph.cli.progress import progress_for
    from migrate_graph.workflow.restore import restore_database

    session = session_of(context)
    session.overrides["lock_timeout_wait"] = lock_timeout
    config = session.config()
    with progress_for(Output.AUTO, session.console) as progress:
        restored = restore_database(config, backup, lock_wait=None, observer=progress)
    session.console.show(f"restored: {session.console.clean(str(restored))}")
