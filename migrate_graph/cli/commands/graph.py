"""`migrate graph`: how the graph is built, drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from migrate_graph.cli.command import Section, Together, command, session_of
from migrate_graph.cli.drawing import LAID_OUT, LINKED, NO_LANES, Drawing, require_format
from migrate_graph.cli.options import (
    AllOption,
    ExcludeOption,
    FocusOption,
    GroupOption,
    HistoryOption,
    HopsOption,
    LinkOption,
    PathArgument,
    RendererOption,
    SelectOption,
)
from migrate_graph.errors import UsageError
from migrate_graph.render import FORMATS, Grouping, PictureOptions, Renderer


@command(
    Section.LOOK,
    "migrate graph",
    "migrate graph -o graph.svg",
    "migrate graph --focus add_total_20260402_001 --hops 1",
    "migrate graph --group module -o overview.png",
    together=(
        Together("--hops", needs=("--focus",)),
        Together("--group=module", excludes=("--all",)),
        Together("--all", excludes=("--focus", "--select", "--exclude")),
        Together("--ascii", excludes=(NO_LANES,)),
        Together("--renderer", needs=(LAID_OUT,)),
        Together("--link-template", needs=(LINKED,)),
    ),
)
def graph(
    context: typer.Context,
    path: PathArgument = None,
    *,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write there; the suffix decides the format.")
    ] = None,
    format_name: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help=f"{', '.join(FORMATS)}.")
    ] = None,
    focus: FocusOption = [],  # noqa: B006 - typer copies it
    hops: HopsOption = None,
    select: SelectOption = [],  # noqa: B006 - typer copies it
    exclude: ExcludeOption = [],  # noqa: B006 - typer copies it
    group: GroupOption = Grouping.AUTO,
    all_nodes: AllOption = False,
    history: HistoryOption = False,
    renderer: RendererOption = Renderer.AUTO,
    link_template: LinkOption = None,
    ascii_only: Annotated[
        bool, typer.Option("--ascii", help="Draw in the terminal with ASCII characters only.")
    ] = False,
) -> None:
    """Draw how the graph is built. Draws invalid graphs, too; in the terminal when no file is named."""
    from migrate_graph.workflow.assessment import assess

    session = session_of(context)
    chosen = format_name or (None if output else "text")
    require_format(chosen or "text", {"text"}, output if chosen is None else None, output)
    if not history and any("state:" in each for each in (*select, *exclude)):
        raise UsageError("without a database nothing has a state", hint="add --history")
    session.overrides["link_template"] = link_template
    project = session.project(path)
    found = assess(project, session.asked_history(project) if history else None)
    drawn = Drawing(
        question="graph",
        renderer=renderer,
        options=PictureOptions(
            everything=all_nodes, focus=tuple(focus), hops=2 if hops is None else hops, grouping=group
        ),
        select=tuple(select),
        exclude=tuple(exclude),
    )
    if output is not None and chosen != "text":
        drawn.write(session, found, output, chosen)
    else:
        drawn.show(session, found, chosen or "text", output, ascii_only=ascii_only)
