"""The command line: parse, call a use case, show, exit."""

from __future__ import annotations

import gc
import linecache
import os
import sys
from collections.abc import MutableMapping, Sequence

from migrate_graph.cli.argv import arranged
from migrate_graph.cli.console import Console, let_go
from migrate_graph.cli.session import Session
from migrate_graph.errors import ExitCode, MigrateGraphError, UsageError
from migrate_graph.messages import did_you_mean


def main(words: Sequence[str] | None = None, *, environ: MutableMapping[str, str] | None = None) -> int:
    """Run one command.

    Args:
        words: what was typed after the program's name; None for `sys.argv`.
        environ: the environment; None for that of the process.

    Returns:
        What the process ends with.
    """
    # Importing makes objects that all stay: to look through them every 700 took 7 % of a command.
    gc.set_threshold(50_000)
    typed = list(sys.argv[1:] if words is None else words)
    surroundings = os.environ if environ is None else environ  # noqa: TID251 - the edge: here the process ends
    session = Session(Console(environ=surroundings), surroundings)
    try:
        code = run(session, typed)
        session.console.out.flush()
    except BrokenPipeError:  # the reader of stdout has gone (`migrate plan | head`)
        return ExitCode.SIGNAL + 13
    else:
        return code
    finally:
        let_go(sys.stdout, sys.stderr)


def run(session: Session, typed: list[str]) -> int:
    """Run one command in a session; every error becomes a message and an exit code."""
    try:
        return _invoke(session, typed)
    except MigrateGraphError as error:
        return _tell(session, error)
    except KeyboardInterrupt:
        session.console.tell("stopped")
        return ExitCode.SIGNAL + 2
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - a fault of ours: one clear line instead of a traceback
        return _tell_fault(session, error)


def _invoke(session: Session, typed: list[str]) -> int:
    from migrate_graph.cli.program import Exit, UsageFault
    from migrate_graph.cli.program import program as get_program

    session.debug = "--debug" in typed
    session.console.json = "--json" in typed
    program = get_program()
    if "_MIGRATE_COMPLETE" in session.environ:
        program.main(prog_name="migrate")  # the shell asks for completions; typer answers and leaves
    try:
        # Not `program.main`: it has its own ideas of interrupts, closed pipes and exit codes.
        with program.make_context("migrate", arranged(typed, program.names()), obj=session) as context:
            program.invoke(context)
    except Exit as done:
        return int(done.exit_code)
    except UsageFault as fault:
        raise _usage_error(fault) from fault
    return ExitCode.OK


def _usage_error(fault: Exception) -> UsageError:
    """Return typer's complaint in the form of ours."""
    context = getattr(fault, "ctx", None)
    command = context.command_path if context is not None else "migrate"
    near = getattr(fault, "possibilities", None)
    message = getattr(fault, "message", "") if near else fault.format_message()  # type: ignore[attr-defined] # click's
    message, _, proposal = (message.strip() or str(fault)).partition(". Did you mean ")
    hint = did_you_mean(sorted(near or ()), f"{command} --help")
    hint = f"did you mean {proposal}" if proposal else hint
    return UsageError(message[:1].lower() + message[1:].rstrip("."), hint=hint)


def _tell(session: Session, error: MigrateGraphError) -> int:
    from migrate_graph.errors import InvalidGraph

    console = session.console
    if session.debug:
        _tell_traceback(session, error)
    if isinstance(error, InvalidGraph):
        from migrate_graph.reports.report import Report
        from migrate_graph.reports.text import to_text

        report = Report(findings=error.findings, line_of=lambda place: linecache.getline(place.path, place.line))
        for line in to_text(report, console.paint_err).splitlines()[:-1]:
            console.tell(line)
    console.tell_error(error)
    if console.json:
        from migrate_graph.cli.json_document import error_document

        console.show_json(error_document(error, int(error.exit_code)))
    return int(error.exit_code)


def _tell_fault(session: Session, error: Exception) -> int:
    if session.debug:
        _tell_traceback(session, error)
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f" ({frame.tb_frame.f_code.co_filename}:{frame.tb_lineno})" if frame is not None else ""
    hint = "this is a fault of migrate_graph: run the command again with --debug and report what it says"
    session.console.tell_error(MigrateGraphError(f"{type(error).__name__}: {error}{place}", hint=hint))
    return ExitCode.FAULT


def _tell_traceback(session: Session, error: BaseException) -> None:
    import traceback

    for line in "".join(traceback.format_exception(error)).rstrip().splitlines():
        session.console.tell(line)
