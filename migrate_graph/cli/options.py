"""Arguments and options that several commands share, each declared once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from migrate_graph.cli.completion import complete_code, complete_name
from migrate_graph.render import FORMATS, Grouping, Renderer
from migrate_graph.reports import REPORTS
from migrate_graph.workflow.place import Place


class Output(StrEnum):
    """How a run is shown."""

    AUTO = "auto"
    RICH = "rich"
    PLAIN = "plain"
    JSON = "json"


def is_plan_file(path: Path) -> bool:
    """Return whether an argument names a sealed plan: it ends in `.json`."""
    return path.suffix.lower() == ".json"


PathArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="PATH",
        help="A migrations file, or a directory with a migrations.py or numbered files. Default: the configured migrations_file.",
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
    ),
]
NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="A migration or a view.", autocompletion=complete_name)
]
NamesArgument = Annotated[list[str], typer.Argument(metavar="NAME…", help="Migrations.", autocompletion=complete_name)]
CodeArgument = Annotated[
    str | None, typer.Argument(metavar="CODE", help="MG101, or dependency-cycle.", autocompletion=complete_code)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON (with a schema_version) instead of text.")]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Do not ask the database: assume an empty history.")]
HistoryOption = Annotated[bool, typer.Option("--history", help="Ask the database too (read-only).")]
ToOption = Annotated[
    str | None,
    typer.Option(
        "--to", metavar="NAME", help="Only this migration and what it requires.", autocompletion=complete_name
    ),
]
AtomicOption = Annotated[
    bool | None,
    typer.Option("--atomic/--no-atomic", help="Run everything in one transaction: all of it is kept, or nothing."),
]
CoalesceOption = Annotated[
    bool | None,
    typer.Option(
        "--coalesce/--no-coalesce",
        help="Run consecutive migrations that need the same views in one transaction: drop the views once.",
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs", "-j", metavar="N", min=1, max=64, help="Run up to N migrations at the same time (PostgreSQL)."
    ),
]
SelectOption = Annotated[
    list[str],
    typer.Option(
        "--select",
        "-s",
        metavar="SEL",
        help="NAME, billing_*, +NAME, NAME+, tag:x, state:pending, module:PATH; a comma means and; repeat the option for or.",
    ),
]
ExcludeOption = Annotated[list[str], typer.Option("--exclude", metavar="SEL", help="Leave these out.")]
RulesOption = Annotated[
    list[str],
    typer.Option(
        "--select",
        metavar="CODES|SEL",
        help="Only these rules (MG101; MG1: all MG1xx), or only findings about these names: 'billing_*', +NAME.",
    ),
]
IgnoreOption = Annotated[list[str], typer.Option("--ignore", metavar="CODES", help="Switch these rules off.")]
ReportOption = Annotated[str, typer.Option("--format", metavar="FORMAT", help=f"{', '.join(REPORTS)}.")]
GraphOption = Annotated[
    Path | None,
    typer.Option(
        "--graph",
        metavar="FILE",
        help=f"Draw it into FILE: {' '.join(each.suffixes[0] for each in FORMATS.values() if each.suffixes)}, by the suffix.",
    ),
]
OutputOption = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write there instead of stdout.")
]
RendererOption = Annotated[Renderer, typer.Option("--renderer", help="Which program lays the picture out.")]
FocusOption = Annotated[
    list[str],
    typer.Option(
        "--focus", metavar="NAME", help="Only the part of the graph around NAME.", autocompletion=complete_name
    ),
]
HopsOption = Annotated[int | None, typer.Option("--hops", min=0, help="How far around --focus; 2 edges by default.")]
GroupOption = Annotated[Grouping, typer.Option("--group", help="module: one node per file.")]
AllOption = Annotated[bool, typer.Option("--all", help="Draw everything, however large.")]
LinkOption = Annotated[
    str | None, typer.Option("--link-template", metavar="URL", help="Link to a line: {file} and {line} are filled in.")
]
RehearseOption = Annotated[
    bool, typer.Option("--rehearse", help="Run the migrations in a safe place (see --on), and show what they do.")
]
PlaceOption = Annotated[
    Place,
    typer.Option(
        "--on",
        help="clone: an empty copy of the schema. scratch: a database made for this, with real commits. here: the database itself, "
        "in one transaction that is rolled back.",
    ),
]
DataOption = Annotated[
    int | None, typer.Option("--data", min=1, metavar="N", help="Copy up to N rows of each table into the clone.")
]
NoValuesOption = Annotated[bool, typer.Option("--no-values", help="Show ? for each value in SQL.")]
AllowOutsideOption = Annotated[
    bool,
    typer.Option(
        "--allow-outside", help="Let migrations write files, start programs and open connections while they are tried."
    ),
]
LockOption = Annotated[
    float | None,
    typer.Option("--lock-timeout", min=0, metavar="S", help="Seconds to wait for another run to end; 0 tries once."),
]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="The reason, for the journal.")]
