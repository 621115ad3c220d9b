"""The words that several commands share: arguments, options, and how a command is declared with its examples."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from migrate_graph.cli.completion import complete_code, complete_name
from migrate_graph.cli.session import Session

Command = TypeVar("Command", bound=Callable[..., Any])

# Typer 0.20 and later carry their own copy of click, older ones use the package: reached through what both export.
UsageFault: type[Exception] = typer.BadParameter.__mro__[1]
"""What typer raises when a command line cannot be parsed."""

program = typer.Typer(
    name="migrate",
    # Plain help: rich would take 0.1 s, and cut the examples at the width of its boxes.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExamples:\n  migrate check\n  migrate plan --graph plan.svg\n  migrate apply",
)
views = typer.Typer(rich_markup_mode=None, help="Take control of views that exist already.")
program.add_typer(views, name="views")


def command(*examples: str, of: typer.Typer = program, name: str | None = None) -> Callable[[Command], Command]:
    """Declare a command; its examples stand at the end of its help."""
    epilog = "\b\nExamples:\n" + "\n".join(f"  {example}" for example in examples)
    return of.command(name, epilog=epilog)


def session_of(context: typer.Context) -> Session:
    """Return the session that `main` opened."""
    session = context.find_root().obj
    assert isinstance(session, Session)  # noqa: S101 - main put it there
    return session


class FindingFormat(StrEnum):
    """Formats of findings; a test compares them with `FINDING_FORMATS`, which is slow to import."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"
    SARIF = "sarif"
    JUNIT = "junit"
    GITLAB = "gitlab"
    MARKDOWN = "markdown"


class Output(StrEnum):
    """How a run is shown."""

    AUTO = "auto"
    RICH = "rich"
    PLAIN = "plain"
    JSON = "json"


class Group(StrEnum):
    """How a picture groups nodes."""

    AUTO = "auto"
    MODULE = "module"
    NONE = "none"


class Renderer(StrEnum):
    """Who lays a picture out."""

    AUTO = "auto"
    EMBEDDED = "embedded"
    DOT = "dot"


PathArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="PATH",
        help="A migrations file, or a directory with a migrations.py. Default: the configured migrations_file.",
        show_default=False,
    ),
]
# For commands whose first word is a name.
FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        "-f",
        metavar="PATH",
        help="The migrations file or its directory. Default: the configured migrations_file.",
        show_default=False,
    ),
]
NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="A migration or a view.", autocompletion=complete_name, show_default=False)
]
NamesArgument = Annotated[
    list[str], typer.Argument(metavar="NAME…", help="Migrations.", autocompletion=complete_name, show_default=False)
]
CodeArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="CODE", help="MG101, or dependency-cycle.", autocompletion=complete_code, show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON (with a schema_version) instead of text.")]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Do not ask the database: an empty history.")]
HistoryOption = Annotated[bool, typer.Option("--history", help="Ask the database too (read-only).")]
ToOption = Annotated[
    str | None,
    typer.Option(
        "--to", metavar="NAME", help="Up to this migration.", autocompletion=complete_name, show_default=False
    ),
]
SelectOption = Annotated[
    list[str],
    typer.Option(
        "--select",
        "-s",
        metavar="SEL",
        help="NAME, billing_*, +NAME, NAME+, tag:x, state:pending, module:PATH; a comma intersects, repeating unites.",
        show_default=False,
    ),
]
ExcludeOption = Annotated[
    list[str], typer.Option("--exclude", metavar="SEL", help="Take these away again.", show_default=False)
]
GraphOption = Annotated[
    Path | None,
    typer.Option(
        "--graph",
        metavar="FILE",
        help="Draw it: .svg .png .pdf .dot .mmd .html .json, by the suffix.",
        show_default=False,
    ),
]
RendererOption = Annotated[Renderer, typer.Option("--renderer", help="Who lays the picture out.")]
FocusOption = Annotated[
    list[str],
    typer.Option(
        "--focus", metavar="NAME", help="Only what is around it.", autocompletion=complete_name, show_default=False
    ),
]
HopsOption = Annotated[int, typer.Option("--hops", min=0, help="How far around --focus.")]
GroupOption = Annotated[Group, typer.Option("--group", help="module: one node per file.")]
AllOption = Annotated[bool, typer.Option("--all", help="Draw everything, however large.")]
LinkOption = Annotated[
    str | None,
    typer.Option(
        "--link-template", metavar="URL", help="Link to a line: {file} and {line} are filled in.", show_default=False
    ),
]
LockOption = Annotated[
    float | None,
    typer.Option(
        "--lock-timeout", min=0, metavar="S", help="Seconds to wait for another run; 0 tries once.", show_default=False
    ),
]
ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why, for the journal.", show_default=False)
]
