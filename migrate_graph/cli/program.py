"""The program: its global options, and the commands that it finds in `cli/commands/`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from inspect import cleandoc
from pathlib import Path
from platform import python_version
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from migrate_graph import __version__
from migrate_graph.cli import commands
from migrate_graph.cli.command import ConvertsWhatIsTyped, Section, declared_in, session_of
from migrate_graph.cli.completion import complete_setting
from migrate_graph.cli.console import Color
from migrate_graph.errors import UsageError

Exit = typer.Exit

# Typer 0.20 and later contain a copy of click, older ones use the package. This class is found in both cases.
UsageFault: type[Exception] = typer.BadParameter.__mro__[1]
"""The exception that typer raises when a command line cannot be parsed."""


class CommandFolder(ConvertsWhatIsTyped, TyperGroup):
    """The commands of a folder. Each file is a command, imported only when it is needed; a subfolder is a group of commands."""

    folder = commands.__name__

    def names(self) -> dict[str, str]:
        """Return the module of each command, by the command's name."""
        return _files_of(self.folder)

    def section_of(self, name: str) -> Section:
        """Return the section of a command; a group belongs to the first section among those of its commands."""
        return _section_of(self.names()[name])

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands, sorted by section."""
        del ctx
        sections = list(Section)
        return sorted(self.names(), key=lambda name: (sections.index(self.section_of(name)), name))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import and return a command; None when there is none of this name."""
        del ctx
        module = self.names().get(cmd_name)
        if module is not None and cmd_name not in self.commands:
            self.commands[cmd_name] = _command_of(cmd_name, module)
        return self.commands.get(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the typed command. For an unknown one all commands are imported, since typer proposes the most similar of `commands`."""
        for name in self.names() if args and args[0] not in self.names() else ():
            self.get_command(ctx, name)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, section by section."""
        names = self.list_commands(ctx)
        limit = formatter.width - 6 - max(map(len, names))
        for section in Section:
            of_section = [name for name in names if self.section_of(name) is section]
            if of_section:
                with formatter.section(section.value):
                    rows = [(name, self._short_help(name, limit)) for name in of_section]
                    formatter.write_dl([(name.ljust(max(map(len, names))), text) for name, text in rows])

    def _short_help(self, name: str, limit: int) -> str:
        """Return the first sentence of a command's help, without building its options."""
        module = import_module(self.names()[name])
        text = module.__doc__ if hasattr(module, "__path__") else declared_in(module.__name__).info.callback.__doc__
        short: str = TyperCommand(name, help=cleandoc(text or "")).get_short_help_str(limit)
        return short


@cache
def _files_of(folder: str) -> dict[str, str]:
    # Not `pkgutil.iter_modules`: its import takes longer than to list a directory.
    (directory,) = map(Path, import_module(folder).__path__)
    files = (each for each in directory.iterdir() if each.suffix == ".py" or (each / "__init__.py").is_file())
    names = sorted(each.stem for each in files if not each.stem.startswith("_"))
    return {name.replace("_", "-"): f"{folder}.{name}" for name in names}


def _section_of(module: str) -> Section:
    imported = import_module(module)
    if hasattr(imported, "__path__"):
        return min(_section_of(each) for each in _files_of(module).values())
    return declared_in(module).section


def _command_of(name: str, module: str) -> Any:
    """Return the command of a module, or the group of commands of a package."""
    imported = import_module(module)
    if hasattr(imported, "__path__"):
        group = type("Group", (CommandFolder,), {"folder": module})
        return group(name=name, help=imported.__doc__, rich_markup_mode=None)
    declared = declared_in(module)
    found: Any = typer.main.get_command_from_info(declared.info, pretty_exceptions_short=False, rich_markup_mode=None)
    found.together = declared.together
    return found


def _other_owner() -> str:
    """Return the names of other installed packages that have a script named `migrate`; empty without any.

    The files are read directly: the import of `importlib.metadata` would take longer than everything else here.
    """
    files = (file for folder in sys.path for file in Path(folder).glob("*.dist-info/entry_points.txt"))
    owners = {file.parent.name.partition("-")[0].replace("_", "-") for file in files if _brings_our_script(file)}
    return ", ".join(sorted(owners - {"migrate-graph"}))


def _brings_our_script(entry_points: Path) -> bool:
    try:
        text = entry_points.read_text(encoding="utf-8", errors="replace")
    except OSError:  # the package is being installed or removed just now
        return False
    scripts = text.partition("[console_scripts]")[2].partition("\n[")[0]
    return any(line.partition("=")[0].strip() == "migrate" for line in scripts.splitlines())


_program = typer.Typer(
    name="migrate",
    cls=CommandFolder,
    # No rich help: it would take 0.1 s, and cut the examples at the width of its boxes.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExamples:\n  migrate check\n  migrate plan --graph plan.svg\n  migrate apply",
)


@_program.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    *,
    color: Annotated[
        Color, typer.Option("--color", help="When to colour; auto: by NO_COLOR, FORCE_COLOR, or in terminals.")
    ] = Color.AUTO,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of migrate_graph itself.")] = False,
    directory: Annotated[
        Path | None, typer.Option("-C", "--directory", metavar="DIR", help="Work in DIR, not in the current directory.")
    ] = None,
    uri: Annotated[
        str | None, typer.Option("--uri", metavar="URI", help="The database; wins over MIGRATE_URI.")
    ] = None,
    setting: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A setting, as migrate config lists them.",
            autocompletion=complete_setting,
        ),
    ] = [],  # noqa: B006 - typer copies it
    version: Annotated[
        bool, typer.Option("--version", help="Show the version, and where it is installed.", is_eager=True)
    ] = False,
) -> None:
    """Prove the graph of your migrations, draw the plan, apply it safely.

    Without a command: migrate [PATH] is migrate apply [PATH], migrate -l is migrate status.
    """
    session = session_of(context)
    if version:
        session.console.show(f"migrate_graph {__version__}")
        session.console.show(f"installed in {Path(commands.__path__[0]).parents[1]}, run by Python {python_version()}")
        if other := _other_owner():
            session.console.show(
                f"{other} is installed too and brings a script named migrate: migrate-graph is always ours"
            )
        raise typer.Exit
    session.console.recolor(color)
    session.debug = debug
    session.overrides |= {"migrate_uri": uri, **dict(map(_setting, setting))}
    if directory is not None:
        try:
            os.chdir(directory)
        except OSError as error:
            raise UsageError(f"cannot work in {directory}: {error.strerror}", hint="-C takes a directory") from error


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--set {name} says no value", hint=f"--set {name}=VALUE; migrate config lists the settings")
    return name, value


@cache
def program() -> Any:
    """Return the program as a group of commands."""
    return typer.main.get_command(_program)


def every_command(group: Any = None, path: str = "migrate") -> Iterator[tuple[str, Any]]:
    """Yield every command with the words to type for it (`migrate views adopt`), in the order of the help."""
    group = program() if group is None else group
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if isinstance(command, CommandFolder):
            yield from every_command(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command
