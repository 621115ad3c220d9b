"""Turns what goes wrong in a user's file while it is loaded into errors with a place, a traceback and a hint."""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

from migrate_graph.errors import DeclarationError, LoadError, MigrateGraphError, NoRoom
from migrate_graph.lacking import lacking
from migrate_graph.loader.imports import NEEDED, PACKAGES
from migrate_graph.loader.paths import Places
from migrate_graph.messages import did_you_mean, similar
from migrate_graph.redaction import redact
from migrate_graph.tracebacks import user_location, user_traceback
from migrate_graph.user_files import SourceLocation

if TYPE_CHECKING:
    from migrate_graph.merge_conflicts import Unresolved

_CORRECT: Final = "correct the line named; nothing was connected and nothing was changed"
_UNKNOWN: Final = SourceLocation("<unknown>", 1)


@contextlib.contextmanager
def told_at_once(places: Places, faults: list[DeclarationError]) -> Iterator[None]:
    """Raise the faults of declarations at the end of the block, all together and with the error that has ended it.

    Args:
        places: how files are shown.
        faults: filled while the block runs.

    Raises:
        DeclarationError: there are faults.
        LoadError: of the block.
    """
    try:
        yield
    except LoadError as error:
        if faults:
            raise _together(places, faults, error) from error
        raise
    if faults:
        raise _together(places, faults) from faults[0]


def _together(places: Places, faults: Sequence[DeclarationError], last: LoadError | None = None) -> DeclarationError:
    """Return one error for all faults, each on a line of its own; `last` is what has ended the loading."""
    told = [(places.place(each.source or _UNKNOWN), each.message, each.hint) for each in faults]
    source, message, hint = told[0]
    if last:
        told.append((last.source or source, last.message, last.hint))
    if len(told) > 1:
        lines = [f"{at}: {what}{f' ({how})' if how else ''}" for at, what, how in told]
        message, hint = "\n".join([f"{len(told)} faults", *lines]), _CORRECT.replace("line", "lines")
    return DeclarationError(
        redact(f"{source.path} could not be loaded: {message}"),
        hint=redact(hint or _CORRECT),
        source=source,
        details=last.details if last else "",
    )


@contextlib.contextmanager
def as_load_errors(
    places: Places, file: Path, *, subject: str = "", source: SourceLocation | None = None
) -> Iterator[None]:
    """Turn whatever user code raises into a LoadError; not a KeyboardInterrupt, nor an error for a lack of memory, disk or the like.

    Args:
        places: how files are shown.
        file: the file that is being loaded; its first line is named where nothing better is known.
        subject: what is being loaded, for the message; empty for the file.
        source: the place to name; None for the line where the error happened.

    Raises:
        LoadError: user code raised.
        NoRoom: the machine has no memory, thread, open file or space on its disk left, which is not caused by the file.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise
    except DeclarationError as fault:
        raise _together(places, [fault]) from fault
    except BaseException as error:
        at = user_location(error)
        where = source or at or SourceLocation(str(file), 1)
        conflict = _conflict_in(error)
        if conflict is not None:
            where = SourceLocation(where.path, conflict.line)
        what = subject or places.shown(str(file))
        # A MemoryError before a line of the file ran: so Python refuses a source that is nested too deeply.
        is_too_deep = isinstance(error, MemoryError) and at is None
        if (lack := lacking(error)) is not None and not is_too_deep:
            told = f"{what} could not be loaded: {lack.message}"
            raise NoRoom(redact(told), hint=lack.hint, source=places.place(where)) from error
        raise LoadError(
            redact(f"{what} could not be loaded: {conflict.message if conflict else _sentence(error)}"),
            hint=conflict.hint if conflict else redact(_hint_for(error, places, where)),
            source=places.place(where),
            details=redact(user_traceback(error)),
        ) from error


def _conflict_in(error: BaseException) -> Unresolved | None:
    """Return the conflict of a merge in a file that is no Python; None: something else is wrong in it."""
    if not isinstance(error, SyntaxError) or not error.filename:
        return None
    from migrate_graph.merge_conflicts import unresolved_in

    try:
        return unresolved_in(Path(error.filename).read_text("utf-8", errors="replace"))
    except (OSError, ValueError):  # the text did not come from a file
        return None


def _sentence(error: BaseException) -> str:
    """Return an exception as one line."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    try:
        first = str(error).strip().partition("\n")[0]
    except Exception:  # noqa: BLE001 - an exception whose text cannot be had must still be reported
        first = ""
    if isinstance(error, SystemExit):
        return f"it ended the program (SystemExit: {first or 0})"
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


# --- hints -------------------------------------------------------------------------------------------------------


_HINTS: Final[Mapping[type[BaseException], str]] = {
    MemoryError: "it is nested too deeply for Python, or there is no memory left to read it",
    SystemExit: 'put what ends the program under if __name__ == "__main__":',
}


def _hint_for(error: BaseException, places: Places, where: SourceLocation) -> str:
    own = error.hint if isinstance(error, MigrateGraphError) else _argument_meant(error)
    if own:
        return own
    if isinstance(error, SyntaxError):
        return f"correct the line; python -m py_compile {places.shown(where.path)} shows it too"
    for kind, hint in _HINTS.items():
        if isinstance(error, kind):
            return hint
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _missing_module(error.name, places)
    if isinstance(error, ImportError):
        return _failed_import(error, places)
    hidden = (
        isinstance(error, AttributeError)
        and isinstance(error.obj, ModuleType)
        and _hidden_file(error.obj.__name__, places)
    )
    return hidden or _CORRECT


_UNKNOWN_ARGUMENT: Final = re.compile(r"migration\(\) got an unexpected keyword argument '(\w+)'")
_OTHER_WORDS: Final = {
    **dict.fromkeys(("depends", "depends_on", "dependencies", "needs"), "requires"),
    **dict.fromkeys(("undo", "rollback", "backward", "backwards", "downgrade", "reverse"), "down"),
    **dict.fromkeys(("uses", "opens"), "views"),
    "tag": "tags",
}


def _argument_meant(error: BaseException) -> str:
    """Return the hint for an argument that `@migration` does not have; empty for other errors."""
    wrong = _UNKNOWN_ARGUMENT.match(_sentence(error).partition(": ")[2])
    if not wrong:
        return ""
    from migrate_graph.authoring.declare import migration

    name = wrong[1]
    known = [each for each in inspect.signature(migration).parameters if each != "func"]
    near = [_OTHER_WORDS[name]] if name in _OTHER_WORDS else similar(name, known, most=1, cutoff=0.7)
    return did_you_mean((f"`{each}=`" for each in near), f"@migration takes {', '.join(known)}")


def _missing_module(name: str, places: Places) -> str:
    root, _, rest = name.partition(".")
    if rest and root in sys.modules:
        return f"the package {root} is there, but has no module {rest}"
    beside = [entry.stem for entry in places.directory.iterdir() if entry.suffix == ".py" or entry.is_dir()]
    near = _nearest(root, beside) or _nearest(root, _installed())
    return did_you_mean(near, f"install it where migrate runs (python -m pip install {root}), or correct the name")


def _failed_import(error: ImportError, places: Places) -> str:
    if "relative import" in str(error):
        return "name the module without the dot: the file's directory is importable"
    name = error.name or ""
    if hint := _hidden_file(name, places):
        return hint
    if "circular import" in str(error):
        wanted = f"requires='{_wanted(error)}'" if _wanted(error) else "requires='its_name'"
        return f"two files import each other: let one of them require by name ({wanted}) instead of importing it"
    wanted = _wanted(error)
    near = _nearest(wanted, dir(sys.modules[name])) if wanted and name in sys.modules else []
    return did_you_mean(near, f"correct the import, or add it to {name or 'the module'}")


def _hidden_file(name: str, places: Places) -> str:
    """Return the hint for a file of the user that is not found because another module has its name; empty if there is none."""
    beside = places.directory / f"{name}.py"
    if name not in NEEDED or not beside.exists():
        return ""
    owner = "a package that migrate_graph needs" if name in PACKAGES else "a standard module"
    return f"{beside.name} has the name of {owner}, which wins: rename the file"


def _wanted(error: ImportError) -> str:
    """Return the name that could not be imported; Python 3.12 tells it, 3.11 only in its message."""
    told = str(error).partition("cannot import name '")[2].partition("'")[0]
    return str(getattr(error, "name_from", None) or told)


def _nearest(name: str, known: list[str]) -> list[str]:
    return similar(name, known, most=1, cutoff=0.75)


def _installed() -> list[str]:
    from importlib.metadata import packages_distributions

    return [*packages_distributions(), *sys.stdlib_module_names]
