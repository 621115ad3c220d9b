"""Pictures on the command line: what is drawn, in which format, and where it goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from migrate_graph.cli.delivery import deliver_document, deliver_lines, is_stdout, is_stream
from migrate_graph.cli.options import Group, Renderer
from migrate_graph.errors import UsageError
from migrate_graph.messages import did_you_mean, similar
from migrate_graph.render import FORMATS, format_of

if TYPE_CHECKING:
    from migrate_graph.cli.session import Session
    from migrate_graph.render.picture import Picture
    from migrate_graph.workflow.plan import Selection
    from migrate_graph.workflow.project import Project, Reading
    from migrate_graph.workflow.revision import Base


PICTURES = [name for name in FORMATS if name not in {"text", "json", "markdown"}]


_PIPE_WIDTH = 140
"""Columns of a drawing that goes into a pipe or a file."""


_LANE_STYLES = {
    "applied": "muted",
    "retired": "muted",
    "pending": "info",
    "failed": "error",
    "interrupted": "error",
    "cycle": "error",
    "blocked": "warning",
    "orphan": "warning",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A picture that was asked for."""

    question: str
    renderer: Renderer = Renderer.AUTO
    everything: bool = False
    focus: tuple[str, ...] = ()
    hops: int = 2
    group: Group = Group.AUTO
    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    selection: Selection | None = None
    history: bool = True
    change: Base | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it is about a change that changes nothing."""
        return self.change is not None and not self.change.comparison

    def draw(self, session: Session, project: Project, reading: Reading, format_name: str) -> bytes:
        """Draw it in a format."""
        from migrate_graph.render import render

        return render(self.compose(session, project, reading), format_name, renderer=self.renderer)

    def compose(self, session: Session, project: Project, reading: Reading) -> Picture:
        """Choose what is shown, in whatever format."""
        title = session.console.clean(" · ".join(part for part in (project.name, reading.database) if part))
        if self.change is not None:
            from migrate_graph.render.compose.change import picture_of_change

            found, before = self.change.comparison, self.change.graph
            revision = self.change.revision
            return picture_of_change(found, before=before, after=project.graph, title=title, revision=revision)
        from migrate_graph.render.picture import Grouping, PictureOptions
        from migrate_graph.workflow.plan import Selection, picture_of, select_nodes

        selected = select_nodes(project, reading, self.select, self.exclude) if self.select or self.exclude else None
        options = PictureOptions(
            title=title,
            everything=self.everything,
            focus=self.focus,
            hops=self.hops,
            selected=selected,
            grouping=Grouping(self.group),
            link_template=project.config.link_template,
        )
        return picture_of(
            project,
            reading,
            question=self.question,
            options=options,
            selection=self.selection or Selection(),
            stateless=not self.history,
        )

    def write(
        self, session: Session, project: Project, reading: Reading, file: Path, format_name: str | None = None
    ) -> None:
        """Draw it into a file."""
        chosen = format_name or format_of(file)
        deliver_document(session, self.draw(session, project, reading, chosen), file)
        if not is_stream(file):
            session.console.tell(f"drawn: {session.console.clean(str(file))}")

    def show_lanes(self, session: Session, project: Project, reading: Reading, *, ascii_only: bool) -> None:
        """Draw it as lanes, as wide as the terminal and in its colours."""
        from migrate_graph.render.formats.lanes import to_lines

        console = session.console
        lines = to_lines(
            self.compose(session, project, reading),
            width=console.width or _PIPE_WIDTH,
            ascii_only=ascii_only or not console.draws,
        )
        paint = console.paint_out
        deliver_lines(
            session,
            (paint(line.text, _LANE_STYLES[line.state]) if line.state in _LANE_STYLES else line.text for line in lines),
            None,
        )

    def show(self, session: Session, project: Project, reading: Reading, format_name: str, output: Path | None) -> None:
        """Draw it to stdout, or into a file that need not have the format's suffix."""
        to_terminal = (output is None or is_stdout(output)) and session.console.out.isatty()
        if to_terminal and not FORMATS[format_name].text:
            raise UsageError(f"a terminal cannot show {format_name}", hint=f"add -o graph.{format_name}")
        deliver_document(session, self.draw(session, project, reading, format_name), output)


def require_format(chosen: str, own: set[str], graph: Path | None, output: Path | None) -> None:
    """Refuse, before any work, a format or a file that cannot be written."""
    from migrate_graph.workflow.plan import picture_format

    if chosen not in own and chosen not in FORMATS:
        known = list(dict.fromkeys([*sorted(own), *FORMATS]))
        hint = did_you_mean(similar(chosen, known, most=1), f"known: {', '.join(known)}")
        raise UsageError(f"no format is called '{chosen}'", hint=hint)
    for file, name in ((graph, None), (output, chosen)):
        if file is not None and not is_stream(file):
            picture_format(file, name)
