"""Where a result goes: to stdout, or into a file that is written whole."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from migrate_graph.cli.console import IN_A_FILE
from migrate_graph.cli.text import listed

if TYPE_CHECKING:
    from migrate_graph.cli.console import TextStyle
    from migrate_graph.cli.session import Session
    from migrate_graph.reports.report import Report
    from migrate_graph.workflow.assessment import Assessment
    from migrate_graph.workflow.scaffolding import Written


def style_for(session: Session, output: Path | None) -> TextStyle:
    """Return how text is written there; nobody looks at columns in a file."""
    return session.console.style if output is None else IN_A_FILE


def deliver_lines(session: Session, lines: Iterable[str], output: Path | None = None) -> None:
    """Write lines for people."""
    if output is None:
        for line in lines:
            session.console.show(line)
    else:
        text = "".join(f"{session.console.redact(line)}\n" for line in lines)
        deliver_document(session, text.encode("utf-8", "replace"), output)


def deliver_json(session: Session, document: dict[str, object], output: Path | None = None) -> None:
    """Write a JSON document."""
    deliver_document(session, f"{session.console.json_text(document)}\n".encode(), output)


def deliver_document(session: Session, content: bytes, output: Path | None = None) -> None:
    """Write a finished document; its values were redacted before.

    Raises:
        UsageError: the file cannot be written.
    """
    from migrate_graph.workflow.plan import write_file

    if output is None or is_stdout(output):
        session.console.show_document(content)
    else:
        write_file(output, content)


def safe_report(session: Session, found: Assessment, report: Report, **more: Any) -> Report:
    """Return a report without secrets, with lines of source that have none either.

    Args:
        session: knows the secrets.
        found: the project.
        report: on it.
        more: fields of the report that hold no secrets.
    """
    redact = session.console.redact
    safe: Report = session.console.redacted(report)
    return replace(safe, line_of=lambda place: redact(found.project.line_of(place)), **more)


def deliver_report(
    session: Session,
    report: Report,
    name: str,
    output: Path | None,
    *,
    folds: bool = True,
    more: Callable[[TextStyle], Iterable[str]] = lambda _style: (),
) -> None:
    """Write a report that is safe.

    Args:
        session: where to.
        report: the findings.
        name: of the format.
        output: a file; None for stdout.
        folds: see `to_text`.
        more: what people are told below it.
    """
    from migrate_graph.reports import write_report
    from migrate_graph.reports.text import to_text

    if name == "text":
        style = style_for(session, output)
        text = to_text(report, style.paint, style.width, folds=folds)
        deliver_lines(session, [*text.splitlines(), *more(style)], output)
    else:
        deliver_document(session, write_report(report, name).encode("utf-8", "replace"), output)


def is_stdout(output: Path) -> bool:
    """Return whether a file is another name of stdout; our own stream leads there, descriptor 1 does not."""
    return str(output) in {"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}


def is_stream(output: Path) -> bool:
    """Return whether a file is a pipe, a device or an open descriptor: written to as it is, never replaced."""
    if is_stdout(output) or str(output).startswith(("/dev/stderr", "/dev/fd/", "/proc/self/fd/")):
        return True
    try:
        mode = output.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


_FEW = 8
"""Names that one line shows."""


def tell_written(session: Session, written: Written) -> None:
    """Print which file was written, where in it, and what it declares now."""
    from migrate_graph.user_files import shown_from

    shown = shown_from(written.path, session.root)
    few = written.names[:_FEW]
    more = f" and {len(written.names) - len(few)} more" if len(written.names) > len(few) + 1 else ""
    declared = f"  {listed(few if more else written.names)}{more}" if written.names else ""
    session.console.show(f"written: {session.console.clean(shown)}:{written.line}{declared}")
