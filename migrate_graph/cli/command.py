"""How a command is declared: its section of the help and its examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import typer
from typer.models import CommandInfo

from migrate_graph.cli.session import Session

Function = TypeVar("Function", bound=Callable[..., Any])


class Section(StrEnum):
    """The parts of the help, in their order; within one, commands stand by name."""

    DAILY = "Every day"
    LOOK = "Look closer"
    DATABASE = "Decide and repair"
    FILES = "Write files"


@dataclass(frozen=True, slots=True)
class Declaration:
    """A command as its file declares it.

    Attributes:
        section: of the help.
        info: what typer makes a command of.
    """

    section: Section
    info: CommandInfo


DECLARED: dict[str, Declaration] = {}
"""The command of each file in `cli/commands/`, by the file's module name."""


def command(section: Section, *examples: str) -> Callable[[Function], Function]:
    """Declare the command of a file; its name is the file's.

    Args:
        section: where the help lists it.
        examples: what the end of its help shows.
    """

    def declare(function: Function) -> Function:
        name = function.__module__.rpartition(".")[2].replace("_", "-")
        epilog = "\b\nExamples:\n" + "\n".join(f"  {example}" for example in examples)
        DECLARED[function.__module__] = Declaration(section, CommandInfo(name, callback=function, epilog=epilog))
        return function

    return declare


def session_of(context: typer.Context) -> Session:
    """Return the session that `main` opened."""
    session = context.find_root().obj
    assert isinstance(session, Session)  # noqa: S101 - main put it there
    return session
