"""The command line: parse, call a use case, show, exit."""

from __future__ import annotations

import gc
import linecache
import os
import sys
import traceback
from collections.abc import MutableMapping, Sequence

from migrate_graph.cli.argv import arranged, meant_by, wants_json
from migrate_graph.cli.console import Console, flush_at_exit, open_what_is_closed
from migrate_graph.cli.session import Session
from migrate_graph.errors import ExitCode, InvalidGraph, MigrateGraphError, ResultLost, Stopped, UsageError
from migrate_graph.messages import did_you_mean
from migrate_graph.process_end import Guard


def main(words: Sequence[str] | None = None, *, environ: MutableMapping[str, str] | None = None) -> int:
    """Run one command.

    Args:
        words: what was typed after the program's name; None for `sys.argv`.
        environ: the environment variables; None for those of the process.

    Returns:
        The exit code.
    """
    open_what_is_closed()
    # Imports create many objects that live to the end. The default, a garbage collection for every 700, took 7 % of a command's time.
    gc.set_threshold(50_000)
    typed = list(sys.argv[1:] if words is None else words)
    surroundings = os.environ if environ is None else environ  # noqa: TID251 - the edge: here the process ends
    session = Session(Console(environ=surroundings), surroundings)
    if words is not None:
        return _run_whole(session, typed, goes_on=True)
    session.is_last = True
    guard = Guard(session.console.tell)
    with guard.standing():
        code = _run_whole(session, typed, goes_on=False)
        guard.finish(code)
    return code


def _run_whole(session: Session, typed: list[str], *, goes_on: bool) -> int:
    """Run one command, and flush the output streams."""
    try:
        code = run(session, typed, goes_on=goes_on)
    except BrokenPipeError:  # the reader of stdout has closed it (`migrate plan | head`)
        return ExitCode.SIGNAL + 13
    else:
        return code
    finally:
        flush_at_exit(session.console.out, sys.stdout, sys.stderr)


def run(session: Session, typed: list[str], *, goes_on: bool = True) -> int:
    """Run one command in a session; turn every error into a message and an exit code.

    Args:
        session: the console and the environment of the call.
        typed: the words after the program's name.
        goes_on: whether the process goes on after the command; then stdout and stderr are restored. Otherwise user code that prints
            while the process ends must not reach stdout.
    """
    try:
        code = _invoke(session, typed)
        session.console.flush()
    except MigrateGraphError as error:
        return _show_error(session, error)
    except KeyboardInterrupt:
        return _show_error(session, Stopped("stopped", signal=2))
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - a bug of migrate_graph, for example, becomes one clear line instead of a traceback
        return _show_error(session, _explained(error), cause=error)
    else:
        return code
    finally:
        if goes_on:
            session.console.return_stdout()
            session.console.return_stderr()


def _invoke(session: Session, typed: list[str]) -> int:
    from migrate_graph.cli.program import Exit, UsageFault, program

    session.debug = "--debug" in typed
    session.json = wants_json(typed)
    group = program()
    if "_MIGRATE_COMPLETE" in session.environ:
        group.main(prog_name="migrate")  # the shell asks for completions; typer answers and ends the process
    words = arranged(typed, group.names())
    session.is_bare = words.count("apply") > typed.count("apply")
    session.streams = session.json and "apply" in words and "--dry-run" not in words
    try:
        # Not `group.main`: it handles interrupts, closed pipes and exit codes differently.
        with group.make_context("migrate", words, obj=session) as context:
            group.invoke(context)
    except Exit as done:
        return int(done.exit_code)
    except UsageFault as fault:
        raise _usage_error(fault) from fault
    return ExitCode.OK


def _usage_error(fault: Exception) -> UsageError:
    """Return typer's error about the command line as a `UsageError`, with a hint."""
    context = getattr(fault, "ctx", None)
    command = context.command_path if context is not None else "migrate"
    near = getattr(fault, "possibilities", None)
    message = getattr(fault, "message", "") if near else fault.format_message()  # type: ignore[attr-defined] # click's
    message, _, proposal = (message.strip() or str(fault)).partition(". Did you mean ")
    hint = did_you_mean(sorted(near or ()), f"{command} --help")
    hint = f"did you mean {proposal}" if proposal else hint
    hint = meant_by(str(getattr(fault, "option_name", ""))) or hint
    return UsageError(message[:1].lower() + message[1:].rstrip("."), hint=hint)


def _show_error(session: Session, error: MigrateGraphError, *, cause: BaseException | None = None) -> int:
    """Show an error as text, and also as JSON if JSON was asked for; return the exit code."""
    console, code = session.console, int(error.exit_code)
    if session.debug:
        console.tell("".join(traceback.format_exception(cause or error)).rstrip())
    if isinstance(error, InvalidGraph):
        for line in _findings_text(error, console):
            console.tell(line)
    console.tell_error(error)
    if session.json:
        try:
            _show_json_error(session, error)
        except ResultLost as lost:
            console.tell_error(lost)
    return code


def _findings_text(error: InvalidGraph, console: Console) -> list[str]:
    from migrate_graph.reports.report import Report
    from migrate_graph.reports.text import to_text

    report = Report(findings=error.findings, line_of=lambda place: linecache.getline(place.path, place.line))
    return to_text(report, console.paint_err).splitlines()[:-1]


def _show_json_error(session: Session, error: MigrateGraphError) -> None:
    if session.streams:
        from migrate_graph.cli.progress import JsonProgress

        progress = session.progress or JsonProgress(session.console)
        progress.fail(error)
    else:
        from migrate_graph.cli.json_document import error_document

        session.console.show_json(error_document(error, int(error.exit_code)))


def _explained(error: Exception) -> MigrateGraphError:
    """Return an unexpected exception as a `MigrateGraphError` that says what to do."""
    from migrate_graph.lacking import lacking
    from migrate_graph.loader.hidden_modules import hidden

    return lacking(error) or hidden(error) or (_refused(error) if isinstance(error, OSError) else _fault(error))


def _refused(error: OSError) -> MigrateGraphError:
    """Return an error of the operating system as a `MigrateGraphError`: the environment is at fault, not migrate_graph."""
    words = filter(None, (error.strerror or str(error) or type(error).__name__, error.filename and str(error.filename)))
    return MigrateGraphError(
        f"the system refuses what this needs: {': '.join(words)}",
        hint="mend that and run the command again; with --debug it says where it was",
    )


def _fault(error: Exception) -> MigrateGraphError:
    """Return the error for a bug in migrate_graph, with its place, in one line."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f" ({frame.tb_frame.f_code.co_filename}:{frame.tb_lineno})" if frame is not None else ""
    hint = "this is a fault of migrate_graph: run the command again with --debug and report what it says"
    fault = MigrateGraphError(f"{type(error).__name__}: {error}{place}", hint=hint)
    fault.exit_code = ExitCode.FAULT  # type: ignore[misc] # set on the instance: no class has this exit code
    return fault
