"""`migrate views adopt`: write view managers for existing views."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from migrate_graph.cli.command import Section, command, session_of
from migrate_graph.cli.delivery import tell_written
from migrate_graph.cli.options import FileOption


@command(Section.FILES, "migrate views adopt", "migrate views adopt v_dashboard -o views.py")
def adopt(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME…", help="Default: all unmanaged views.")] = None,
    *,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="A new file for the managers.")] = Path(
        "views.py"
    ),
    file: FileOption = None,
) -> None:
    """Write view managers for existing views of a PostgreSQL database."""
    from migrate_graph.messages import counted
    from migrate_graph.workflow.views_adopt import adopt as write_managers

    session = session_of(context)
    project = session.project(file)
    written, left_out = write_managers(project, tuple(names or ()), output, observer=session.remark)
    if written is None:
        others = f"{counted(left_out, 'view')} left out" if left_out else "every view has a manager"
        session.console.show(f"nothing to adopt: {others}")
        return
    tell_written(session, written)
    session.console.show(f"{counted(len(written.names), 'view')} adopted")
    session.console.show(f"next: import {written.path.stem} in {project.path.name}, then migrate check")
