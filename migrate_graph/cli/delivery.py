"""Write the result of a command: to stdout, or into a file."""

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
    """Return the style for text in a file, or on stdout if `output` is None."""
    return session.console.style if output is None else IN_A_FILE


def deliver_lines(session: Session, lines: Iterable[str], output: Path | None = None) -> None:
    """Write lines for people, to stdout or into a file."""
    if output is None:
        for line in lines:
            session.console.show(line)
    else:
        text = "".join(f"{session.console.redact(line)}\n" for line in lines)
        deliver_document(session, text.encode("utf-8", "replace"), output)


def deliver_json(session: Session, document: dict[str, object], output: Path | None = None) -> None:
    """Write a JSON document, to stdout or into a file."""
    deliver_document(session, f"{session.console.json_text(document)}\n".encode(), output)


def deliver_document(session: Session, content: bytes, output: Path | None = None) -> None:
    """Write a finished document, to stdout or into a file; its values were redacted before.

    Raises:
        UsageError: the file cannot be written.
    """
    from migrate_graph.workflow.plan import write_file

    if output is None or is_stdout(output):
        session.console.show_document(content)
    else:
        write_file(output, content)


def safe_report(session: Session, found: Assessment, report: Report, **more: Any) -> Report:
    """Return a report with the secrets masked, also in the source lines that it quotes.

    Args:
        session: has the secrets.
        found: the assessed project.
        report: about that project.
        more: further fields of the report, which contain no secrets.
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
    """Write a report that contains no secrets.

    Args:
        session: has the console.
        report: the findings.
        name: of the format.
        output: a file; None for stdout.
        folds: see `to_text`.
        more: yields further lines below the report; used only for the format `text`.
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
    """Return whether a file name means stdout; such a result goes to the console's stream, since descriptor 1 leads to stderr."""
    return str(output) in {"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}


def is_stream(output: Path) -> bool:
    """Return whether a file is a pipe, a device or an open descriptor, which is written to but never replaced."""
    if is_stdout(output) or str(output).startswith(("/dev/stderr", "/dev/fd/", "/proc/self/fd/")):
        return True
    try:
        mode = output.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


_FEW = 8
"""The number of names that one line shows."""


def tell_written(session: Session, written: Written) -> None:
    """Print which file was written, at which line, and the names that were added."""
    from migrate_graph.user_files import shown_from

    shown = shown_from(written.path, session.root)
    few = written.names[:_FEW]
    more = f" and {len(written.names) - len(few)} more" if len(written.names) > len(few) + 1 else ""
    declared = f"  {listed(few if more else written.names)}{more}" if written.names else ""
    session.console.show(f"written: {session.console.clean(shown)}:{written.line}{declared}")
