"""Where a result goes: to stdout, or into a file that is written whole."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from migrate_graph.cli.text import listed

if TYPE_CHECKING:
    from migrate_graph.cli.session import Session
    from migrate_graph.workflow.scaffolding import Written


def deliver_lines(session: Session, lines: Iterable[str], output: Path | None) -> None:
    """Write lines for people."""
    from migrate_graph.workflow.plan import write_file

    if output is None:
        for line in lines:
            session.console.show(line)
    else:
        write_file(output, "".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))


def deliver_json(session: Session, document: dict[str, object], output: Path | None) -> None:
    """Write a JSON document."""
    if output is None:
        session.console.show_json(document)
    else:
        deliver_lines(session, session.console.json_text(document).splitlines(), output)


def tell_written(session: Session, written: Written) -> None:
    """Print which file was written, where in it, and what it declares now."""
    root = session.root
    shown = written.path.relative_to(root) if written.path.is_relative_to(root) else written.path
    declared = f"  {listed(written.names)}" if written.names else ""
    session.console.show(f"written: {session.console.clean(str(shown))}:{written.line}{declared}")
