"""Finds what a rehearsed body does outside its database (files, programs, the network, other databases), and refuses or reports it."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeAlias

from msgspec import Struct, field

from migrate_graph.core.footprint import OutsideAct
from migrate_graph.database.watching import speaker

Arguments: TypeAlias = Sequence[Any]

_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_DEVICES: Final = frozenset({os.devnull, "/dev/tty", "/dev/stdout", "/dev/stderr"})


class ActsOutside(RuntimeError):  # noqa: N818 - says what the body does
    """A rehearsed body tried to do something outside its database."""


class _Armed(Struct):
    """The watch over the body that runs now.

    Attributes:
        root: directory that places are shown relative to.
        allow: nothing is refused.
        folders: directories with the rehearsal's own files; acts on files below them are allowed.
        acts: the acts that were seen.
        others: ids of the threads that ran before the body and do not belong to it.
        judging: ids of the threads that run `_judge` now: what `_judge` itself does is not watched.
    """

    root: Path
    allow: bool
    folders: list[str]
    others: frozenset[int]
    acts: list[OutsideAct] = field(default_factory=list)
    judging: set[int] = field(default_factory=set)


_armed: _Armed | None = None
_has_hook = False


class OutsideWatch:
    """Makes the `with` block that a rehearsed body runs in; see `watching.Outside`.

    It watches the whole process, since threads that a body starts belong to the body. It cannot see C code that opens files and
    sockets by itself (a driver, a library called by ctypes), nor what the database server does.

    Args:
        root: directory that places are shown relative to.
        folders: directories in which the rehearsal keeps its own files.
        allow: nothing is refused; the acts are only reported.
    """

    def __init__(self, root: Path, *, folders: Iterable[Path] = (), allow: bool = False) -> None:
        self._root, self._allow = root, allow
        self._folders = [os.path.realpath(each) for each in folders]

    @contextmanager
    def __call__(self, _name: str) -> Iterator[list[OutsideAct]]:
        """Watch the body that runs in this block; the list holds what it did or tried to do."""
        global _armed  # noqa: PLW0603 - an audit hook belongs to the whole process
        here = threading.get_ident()
        others = frozenset(each.ident or 0 for each in threading.enumerate()) - {here}
        before, armed = _armed, _Armed(self._root, self._allow, list(self._folders), others)
        _add_hook()
        tempfile.gettempdir()  # its first call writes a file: that must not be taken for an act of the body
        with _programs_and_connections():
            _armed = armed
            try:
                yield armed.acts
            finally:
                _armed = before


def _add_hook() -> None:
    global _has_hook  # noqa: PLW0603 - as above; an audit hook cannot be removed
    if not _has_hook:
        sys.addaudithook(_hear)
        _has_hook = True


def _hear(event: str, arguments: Arguments) -> None:
    armed = _armed
    if armed is None:
        return
    describe = _ACTS.get(event)
    if describe is not None:
        _judge(armed, lambda: describe(armed, arguments))


def _judge(armed: _Armed, describe: Callable[[], str]) -> None:
    """Note an act of the body, and refuse it unless acts are allowed.

    Args:
        armed: the watch over the body.
        describe: returns the act in words; empty for an act that is always permitted.

    Raises:
        ActsOutside: the act is refused.
    """
    thread = threading.get_ident()
    if thread in armed.others or thread in armed.judging:
        return
    armed.judging.add(thread)
    try:
        what = describe()
        who = speaker(armed.root, sys._getframe(2)) if what else None  # noqa: SLF001 - only the frames tell which code acts
    finally:
        armed.judging.discard(thread)
    if who is None:
        return
    act = OutsideAct(what, who.source, refused=not armed.allow)
    if act not in armed.acts:
        armed.acts.append(act)
    if not armed.allow:
        raise ActsOutside(f"it {what}: refused in a rehearsal, where nothing outside of the database may happen")


# -- audit events -------------------------------------------------------------------------------------------------------------


def _opens(armed: _Armed, arguments: Arguments) -> str:
    path, mode, flags = (*arguments, None, 0)[:3]
    writes = any(sign in (mode or "") for sign in "wax+") or bool((flags or 0) & _WRITING)
    if not writes or os.path.isdir(path):  # noqa: PTH112 - a text; a directory is opened for writing only to make a nameless file
        return ""
    return _on_file("writes the file", armed, path)


def _on_file(verb: str, armed: _Armed, path: object, folder: object = -1) -> str:
    """Return an act on a file in words; empty for the rehearsal's own files, bytecode, and devices such as `/dev/null`."""
    text = _text(path)
    if text is None or text in _DEVICES or _is_bytecode(text) or _is_own(armed, _absolute(text, folder)):
        return ""
    return f"{verb} {text}"


def _text(path: object) -> str | None:
    """Return a path as text; None for a file descriptor, since its opening was already judged."""
    if isinstance(path, int):
        return None
    with suppress(TypeError, ValueError):
        return os.fsdecode(path)  # type: ignore[arg-type] # whatever it is
    return None


def _is_bytecode(path: str) -> bool:
    return "__pycache__" in Path(path).parts  # Python writes it when the body imports a module


def _absolute(path: str, folder: object) -> str:
    if isinstance(folder, int) and folder >= 0 and not os.path.isabs(path):  # noqa: PTH117 - a text
        with suppress(OSError):
            return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)  # noqa: PTH115, PTH118 - as above
    return path


def _is_own(armed: _Armed, path: str) -> bool:
    real = os.path.realpath(path)
    return any(real == folder or real.startswith(folder + os.sep) for folder in armed.folders)


def _on_one(verb: str, folder_at: int) -> Callable[[_Armed, Arguments], str]:
    """Return a function that describes an act on one file; `folder_at` is the position of the directory's descriptor in its arguments."""

    def describe(armed: _Armed, arguments: Arguments) -> str:
        folder = arguments[folder_at] if 0 < folder_at < len(arguments) else -1
        return _on_file(verb, armed, arguments[0], folder)

    return describe


def _on_two(verb: str, *, both: bool) -> Callable[[_Armed, Arguments], str]:
    """Return a function that describes an act with a source and a target; `both` when the act changes the source, too."""

    def describe(armed: _Armed, arguments: Arguments) -> str:
        source, target, *folders = arguments
        on_source = _on_file(verb, armed, source, (folders or [-1])[0]) if both else ""
        on_target = _on_file(verb, armed, target, (folders or [-1])[-1])
        return f"{verb} {_text(source)} to {_text(target)}" if on_source or on_target else ""

    return describe


def _makes_temporary(armed: _Armed, arguments: Arguments) -> str:
    """Add what `tempfile` makes to the permitted folders, and return nothing to refuse: no other program knows its name."""
    name = _text(arguments[0])
    if name:
        armed.folders.append(os.path.realpath(name))
    return ""


def _runs(at: int) -> Callable[[_Armed, Arguments], str]:
    def describe(_: _Armed, arguments: Arguments) -> str:
        program = arguments[at] if len(arguments) > at else ""
        if isinstance(program, list | tuple):
            program = program[0] if program else ""
        text = _text(program) or ""
        return f"runs {text.split()[0] if text.split() else 'a program'}"  # the arguments may hold a password

    return describe


def _says(what: str) -> Callable[[_Armed, Arguments], str]:
    return lambda _armed, _arguments: what


def _signals(_: _Armed, arguments: Arguments) -> str:
    to, number = arguments[:2]
    if not number:  # signal 0 only asks whether the process exists
        return ""
    return f"sends signal {number} to {'itself' if to == os.getpid() else f'process {to}'}"


def _connects(_: _Armed, arguments: Arguments) -> str:
    address = arguments[1]
    if isinstance(address, tuple) and len(address) >= 2:
        return f"connects to {address[0]}:{address[1]}"
    return f"connects to {_text(address) or 'another program'}"


def _connects_to_host(_: _Armed, arguments: Arguments) -> str:
    return f"connects to {arguments[1]}:{arguments[2]}" if arguments[2] else f"connects to {arguments[1]}"


def _opens_database(armed: _Armed, arguments: Arguments) -> str:
    name = _text(arguments[0]) or ""
    if name in {"", ":memory:"} or "mode=memory" in name or "mode=ro" in name:
        return ""
    file = name.removeprefix("file://").removeprefix("file:").partition("?")[0]
    return "" if _is_own(armed, file) else f"opens the database {file}"


_ACTS: Final[dict[str, Callable[[_Armed, Arguments], str]]] = {
    "open": _opens,
    "os.remove": _on_one("removes", 1),
    "os.rmdir": _on_one("removes", 1),
    "os.mkdir": _on_one("makes the directory", 2),
    "os.truncate": _on_one("cuts the file", 0),
    "os.chmod": _on_one("changes the rights of", 2),
    "os.chown": _on_one("changes the owner of", 3),
    "os.utime": _on_one("changes the times of", 3),
    "os.setxattr": _on_one("changes attributes of", 0),
    "os.removexattr": _on_one("changes attributes of", 0),
    "os.rename": _on_two("renames", both=True),
    "os.link": _on_two("links", both=False),
    "os.symlink": _on_two("links", both=False),
    "tempfile.mkstemp": _makes_temporary,
    "tempfile.mkdtemp": _makes_temporary,
    "subprocess.Popen": _runs(1),
    "os.system": _runs(0),
    "os.exec": _runs(0),
    "os.posix_spawn": _runs(0),
    "os.spawn": _runs(1),
    "os.startfile": _runs(0),
    "pty.spawn": _runs(0),
    "os.fork": _says("forks a process"),
    "os.forkpty": _says("forks a process"),
    "os.kill": _signals,
    "os.killpg": _signals,
    "http.client.connect": _connects_to_host,
    "smtplib.connect": _connects_to_host,
    "ftplib.connect": _connects_to_host,
    "imaplib.open": _connects_to_host,
    "poplib.connect": _connects_to_host,
    "socket.connect": _connects,
    "socket.sendto": _connects,
    "socket.sendmsg": _connects,
    "socket.bind": _says("listens for connections"),
    "syslog.syslog": _says("writes to the log of the system"),
    "webbrowser.open": _says("opens a web browser"),
    "sqlite3.connect": _opens_database,
}
"""Functions that describe an act in words, by the name of its audit event (PEP 578)."""


# -- acts without an audit event ----------------------------------------------------------------------------------------------

_UNTOLD: Final = (
    ("psycopg2", "_connect", "opens a connection to a database of its own"),
    ("_posixsubprocess", "fork_exec", "starts a process"),
    ("os", "mkfifo", "makes a pipe in the file system"),
    ("os", "mknod", "makes a node in the file system"),
)
"""Functions that are wrapped while a body runs, and what they do."""


@contextmanager
def _programs_and_connections() -> Iterator[None]:
    """Replace the functions in `_UNTOLD` by wrappers that report each call, until the block ends."""
    real: list[tuple[Any, str, Any]] = []
    try:
        for module_name, name, what in _UNTOLD:
            module = _module(module_name)
            if hasattr(module, name):
                real.append((module, name, getattr(module, name)))
                setattr(module, name, _told(real[-1][2], what))
        yield
    finally:
        for module, name, call in real:
            setattr(module, name, call)


def _module(name: str) -> Any:
    with suppress(ImportError):  # a project on SQLite needs no driver of PostgreSQL
        return import_module(name)
    return None


def _told(call: Callable[..., Any], what: str) -> Callable[..., Any]:
    def told(*arguments: Any, **options: Any) -> Any:
        if _armed is not None:
            _judge(_armed, lambda: what)
        return call(*arguments, **options)

    return told
