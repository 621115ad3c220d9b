"""All commands in the order in which the help lists them, under one program with the global options."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from migrate_graph import __version__
from migrate_graph.cli import reading, writing
from migrate_graph.cli.console import Color
from migrate_graph.cli.options import UsageFault, program, session_of, views
from migrate_graph.errors import UsageError

Exit = typer.Exit

__all__ = ["Exit", "UsageFault", "app", "program", "reading", "views", "writing"]

_ORDER = (
    "plan", "apply", "check", "status", "graph", "why", "show", "log", "explain", "config", "new", "init", "mark", "resolve", "restore",
)  # fmt: skip


@program.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    *,
    color: Annotated[
        Color, typer.Option("--color", help="When to colour; else NO_COLOR, FORCE_COLOR, or a terminal.")
    ] = Color.AUTO,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of migrate_graph itself.")] = False,
    directory: Annotated[
        Path | None,
        typer.Option("-C", "--directory", metavar="DIR", help="Work there instead of here.", show_default=False),
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Show the version.", is_eager=True)] = False,
) -> None:
    """Prove the graph of your migrations, draw the plan, apply it safely.

    Without a command: migrate [PATH] is migrate apply [PATH], migrate -l is migrate status.
    """
    session = session_of(context)
    if version:
        session.console.show(f"migrate_graph {__version__}")
        raise typer.Exit
    session.console.recolor(color)
    session.debug = debug
    if directory is not None:
        try:
            os.chdir(directory)
        except OSError as error:
            raise UsageError(f"cannot work in {directory}: {error.strerror}", hint="-C takes a directory") from error


def app() -> Any:
    """Return the program as a group of commands, in the order of its help."""
    program.registered_commands.sort(key=lambda info: _ORDER.index(info.name or info.callback.__name__))  # type: ignore[union-attr] # each has one
    return typer.main.get_command(program)
