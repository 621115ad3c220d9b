"""How a command is declared: its section of the help, its examples, and which of its options go together."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, StrEnum
from functools import partial
from typing import Any, TypeAlias, TypeVar

import typer
from msgspec import Struct
from typer.core import TyperCommand
from typer.models import CommandInfo

from migrate_graph.cli.session import Session
from migrate_graph.errors import UsageError

Function = TypeVar("Function", bound=Callable[..., Any])


class Section(StrEnum):
    """The sections of the help, in their order; inside a section, commands are sorted by name."""

    DAILY = "Every day"
    LOOK = "Look closer"
    DATABASE = "Decide and repair"
    FILES = "Write files"


Typed: TypeAlias = Mapping[str, Sequence[str]]
"""The options that were typed, each under all its spellings (`-o`, `--output`), with their values."""


class Condition(Struct, frozen=True):
    """A condition about the options that were typed.

    Attributes:
        words: its name in messages, as it can be typed.
        holds: called with the typed options; returns whether the condition is true.
    """

    words: str
    holds: Callable[[Typed], bool]


COALESCE = Condition("--coalesce", lambda typed: "True" in typed.get("--coalesce", ()))
ATOMIC = Condition("--atomic", lambda typed: "True" in typed.get("--atomic", ()))


class Together(Struct, frozen=True):
    """A rule about one option: which other options it needs, and which it excludes.

    Options are written as they are typed: `--hops`, `--group=module`.

    Attributes:
        option: the option that the rule is about.
        needs: without at least one of these, the option does nothing.
        excludes: together with any of these, the option does nothing.
    """

    option: str
    needs: tuple[str | Condition, ...] = ()
    excludes: tuple[str | Condition, ...] = ()

    def require(self, typed: Typed) -> None:
        """Raise if the option was typed but does nothing.

        Raises:
            UsageError: says what to add or to leave out.
        """
        if not _condition(self.option).holds(typed):
            return
        needs, excludes = map(_condition, self.needs), map(_condition, self.excludes)
        option = self.option.replace("=", " ")
        for other in excludes:
            if other.holds(typed):
                raise UsageError(
                    f"{option} does nothing beside {other.words}", hint=f"leave out {option} or {other.words}"
                )
        wanted = list(needs)
        if wanted and not any(each.holds(typed) for each in wanted):
            words = " or ".join(each.words for each in wanted)
            raise UsageError(f"{option} does nothing without {words}", hint=f"add {words}, or leave out {option}")


def _condition(told: str | Condition) -> Condition:
    if isinstance(told, Condition):
        return told
    option, _, value = told.partition("=")
    return Condition(told.replace("=", " "), lambda typed: option in typed and (not value or value in typed[option]))


class ConvertsWhatIsTyped:
    """A command or group that converts only typed values, not defaults: typer would import pydantic for the conversion."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, including `--help`."""
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc] # a method of the class that this is mixed into
        for parameter in parameters:
            if not parameter.required and "process_value" not in vars(parameter):
                parameter.process_value = partial(_value_of, parameter, parameter.process_value)
        return parameters

    def get_help_option(self, ctx: Any) -> Any:
        """Return the parameter `--help`; its text is written through the console, like every result."""
        option = super().get_help_option(ctx)  # type: ignore[misc] # a method of the class that this is mixed into
        if option is not None:
            option.callback = _show_help
        return option


def _show_help(context: Any, parameter: Any, value: Any) -> None:
    del parameter
    if value and not context.resilient_parsing:
        session_of(context).console.show(context.get_help())
        context.exit()


def _value_of(parameter: Any, convert: Callable[[Any, Any], Any], ctx: Any, value: Any) -> Any:
    if not (value is None or value == [] or isinstance(value, Enum)):
        return convert(ctx, value)
    if value is None and (parameter.multiple or parameter.nargs == -1):
        value = ()
    return value if parameter.callback is None else parameter.callback(ctx, parameter, value)


class CheckedCommand(ConvertsWhatIsTyped, TyperCommand):
    """A command that refuses options that have no effect together."""

    together: tuple[Together, ...] = ()

    def invoke(self, ctx: Any) -> Any:
        """Check the rules about options, then run the command."""
        typed = {
            option: _values(ctx.params[parameter.name])
            for parameter in self.params
            for option in (*parameter.opts, *parameter.secondary_opts)
            if parameter.name in ctx.params and _is_typed(ctx, parameter.name)
        }
        for rule in self.together:
            rule.require(typed)
        return super().invoke(ctx)


def _is_typed(context: Any, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _values(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, (list, tuple)) else [str(value)]


class Declaration(Struct, frozen=True):
    """A command as its file declares it.

    Attributes:
        section: of the help.
        info: typer's description of the command.
        together: which options need or exclude which.
    """

    section: Section
    info: CommandInfo
    together: tuple[Together, ...]


DECLARED: dict[str, Declaration] = {}
"""The command of each file in `cli/commands/`, by the file's module name."""


def command(section: Section, *examples: str, together: tuple[Together, ...] = ()) -> Callable[[Function], Function]:
    """Declare the function of a file as a command; the command has the name of the file.

    Args:
        section: of the help.
        examples: command lines for the end of its help.
        together: which of its options need or exclude which.
    """

    def declare(function: Function) -> Function:
        name = function.__module__.rpartition(".")[2].replace("_", "-")
        epilog = "\b\nExamples:\n" + "\n".join(f"  {example}" for example in examples)
        info = CommandInfo(name, cls=CheckedCommand, callback=function, epilog=epilog)
        DECLARED[function.__module__] = Declaration(section, info, together)
        return function

    return declare


def declared_in(module: str) -> Declaration:
    """Return the command that a module declares.

    Raises:
        UsageError: the module declares no command.
    """
    if module not in DECLARED:
        raise UsageError(
            f"no command is declared in {sys.modules[module].__file__}",
            hint="write @command(Section.LOOK, 'migrate …') of migrate_graph.cli.command above its function",
        )
    return DECLARED[module]


def session_of(context: typer.Context) -> Session:
    """Return the session that `main` has put into typer's context."""
    session = context.find_root().obj
    assert isinstance(session, Session)  # noqa: S101 - main put it there
    return session
