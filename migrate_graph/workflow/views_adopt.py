"""Adopt views: write managers for views that a database has and no manager owns."""

from __future__ import annotations

import ast
from pathlib import Path

from migrate_graph.core.events import Observer, Warned
from migrate_graph.core.timeline import Timeline
from migrate_graph.errors import ConfigError, UsageError
from migrate_graph.messages import typed
from migrate_graph.workflow.plan import write_file
from migrate_graph.workflow.project import Project, reading_settings
from migrate_graph.workflow.scaffolding import Written, module_of


def adopt(project: Project, names: tuple[str, ...], output: Path, *, observer: Observer) -> tuple[Written | None, int]:
    """Write a new file with a manager for each unmanaged view; the database is only read.

    Args:
        project: the project; views that it declares are not written again.
        names: names of the views that get a manager; empty: all unmanaged views.
        output: the new file.
        observer: called while the database is waited for.

    Returns:
        What was written, None when nothing was; and how many unmanaged views are left out.

    Raises:
        UsageError: the file exists, or a name is not that of an unmanaged view.
        ConfigError: no database is configured.
    """
    from migrate_graph.database import open_backend
    from migrate_graph.database.views.adoption import ManagerName

    if output.exists():
        raise UsageError(f"{output} exists already", hint="name a new file: migrate views adopt -o adopted_views.py")
    if not output.parent.is_dir():
        raise UsageError(f"there is no directory {output.parent}", hint=typed("mkdir -p", str(output.parent)))
    if not project.config.has_database:
        raise ConfigError("no database is configured", hint="set MIGRATE_URI to the database whose views are adopted")
    with open_backend(reading_settings(project.config), observer=observer) as backend:
        living = Timeline(project.graph).living(backend.read_history().applied)
        # Of two versions of a view, new managers must use the living one: it comes last, so that it wins.
        views = sorted(project.graph.views.items(), key=lambda item: item[0] in living)
        managers = {name: ManagerName(module_of(view.module), name, view.manager) for name, view in views}
        adopted = backend.adopt_views(names, managers)
    for sentence in adopted.left_out:
        observer(Warned(sentence))
    if not adopted.classes:
        return None, len(adopted.left_out)
    ast.parse(adopted.text)  # a fault in this program must not write a file that breaks the project
    write_file(output, adopted.text.encode())
    return Written(output, 1, adopted.classes), len(adopted.left_out)
