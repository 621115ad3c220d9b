"""The `.env` of a project: found from its directory upwards, refused if another user may have put it there, and read once."""

from __future__ import annotations

import os
import re
import select
import stat
import time
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path

from msgspec import Struct

from migrate_graph.config.values import Refused
from migrate_graph.ownership import is_foreign, is_open_to_all

_PATIENCE = 2.0
"""Seconds that a named pipe may take to be filled."""

# Variables that change which programs run, where a library looks for its files, or how a program reads its input. With these,
# anyone who can write a .env could run code of their own, or change what git and libpq answer.
_UNSAFE = re.compile(
    r"GIT_.*|LD_.*|DYLD_.*|PYTHON.*|PATH|PATHEXT|_.*|SHELL|SHELLOPTS|BASHOPTS|BASH_.*|ENV|IFS|CDPATH|PS4|PROMPT_COMMAND|HOME|TMPDIR|TEMP|TMP"
    r"|XDG_.*|USERPROFILE|APPDATA|COMSPEC|SYSTEMROOT|GLIBC_.*|MALLOC_.*|GCONV_PATH|LOCPATH|NLSPATH|HOSTALIASES|LOCALDOMAIN|RES_OPTIONS"
    r"|RESOLV_.*|TZDIR|OPENSSL_.*|SSLKEYLOGFILE|KRB5.*|SSH_.*|PAGER|MANPAGER|LESS.*|EDITOR|VISUAL|BROWSER|PSQL.*|GZIP|XZ_.*|ZSTD_.*|TAR_.*"
    r"|PERL.*|RUBY.*|NODE_.*|JAVA_TOOL_OPTIONS|CLASSPATH"
    r"|PG(?!HOST$|PORT$|USER$|PASSWORD$|DATABASE$|SSLMODE$|CLIENTENCODING$|CONNECT_TIMEOUT$|TZ$).*",
    re.IGNORECASE,
)


class Dotenv(Struct, frozen=True):
    """What a `.env` holds.

    Attributes:
        where: the file, as it is shown: relative where it lies in the project's own directory.
        variables: by name, with `${NAME}` filled in.
        remarks: what the user should know about it.
    """

    where: str = ".env"
    variables: Mapping[str, str] | None = None
    remarks: tuple[str, ...] = ()

    def share_with(self, environ: MutableMapping[str, str]) -> None:
        """Add its variables to an environment, as edwh-migrate does: migrations read them there. What is set already wins."""
        for name, text in (self.variables or {}).items():
            if not _UNSAFE.fullmatch(name) and _can_be_held(name, text):
                environ.setdefault(name, text)


def read_dotenv(root: Path, environ: Mapping[str, str]) -> Dotenv:
    """Read the nearest `.env`, from a directory upwards to the top of its project.

    Args:
        root: the directory.
        environ: what `${NAME}` is looked up in first; it is not changed.

    Raises:
        Refused: it exists but cannot be used; no other one is read in its place.
    """
    base = root.absolute()
    file = next((folder / ".env" for folder in _folders(base) if _is_there(folder / ".env")), None)
    if file is None:
        return Dotenv()
    where = file.name if file.parent == base else str(file)
    try:
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        try:
            remarks = _judge(file, os.fstat(descriptor), where)
            text = _content(descriptor, where).decode("utf-8-sig")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Refused(f"{where} cannot be read: {error.strerror}", "make it a file that you may read") from None
    except UnicodeDecodeError as error:
        hint = f"byte {error.start} is no UTF-8: save it again in UTF-8"
        raise Refused(f"{where} cannot be read: it is not in UTF-8", hint) from None
    if "<<<<<<<" in text:
        from migrate_graph.merge_conflicts import unresolved_in

        if conflict := unresolved_in(text):  # which of the two sides counts must not be decided by which one comes last
            raise Refused(f"{where}:{conflict.line}: {conflict.message}", conflict.hint)
    variables, faults = _variables_in(text, environ)
    remarks += [f"{where}:{line} is no NAME=value and is passed over" for line in faults]
    if unsafe := [name for name in variables if _UNSAFE.fullmatch(name) and name not in environ]:
        remarks.append(
            f"{where} sets {', '.join(sorted(unsafe))}: not taken over, because programs are steered by it; export it instead"
        )
    if unheld := [name for name, text in variables.items() if not _can_be_held(name, text)]:
        remarks.append(
            f"{where} sets {', '.join(sorted(unheld))}: not taken over, because no environment variable can hold that"
        )
    return Dotenv(where, variables, tuple(remarks))


def _can_be_held(name: str, text: str) -> bool:
    """Return whether an environment can hold a variable: no NUL, a name without `=`, and characters that the locale can encode."""
    try:
        os.fsencode(name + text)
    except UnicodeEncodeError:
        return False
    return bool(name) and "=" not in name and "\0" not in name + text


def _folders(base: Path) -> Iterator[Path]:
    """Yield the directory and those above it, to the top of the repository, or else to the nearest pyproject.toml."""
    above = [base, *base.parents]
    for mark in (".git", "pyproject.toml"):
        for number, folder in enumerate(above):
            if (folder / mark).exists():
                yield from above[: number + 1]
                return
    yield base


def _is_there(file: Path) -> bool:
    # Some people name their virtual environment `.env`.
    return os.path.lexists(file) and not (file / "pyvenv.cfg").exists()


def _judge(file: Path, status: os.stat_result, where: str) -> list[str]:
    """Return remarks about who can change a file.

    Raises:
        Refused: it belongs to another user, who does not own its directory: so it may have nothing to do with the project.
    """
    folder = file.parent.stat()
    remarks = []
    if is_foreign(status):
        if status.st_uid != folder.st_uid:
            hint = f"if it is meant: sudo chown {os.geteuid()} {file}; if not, remove it"
            raise Refused(f"{where} belongs to another user (uid {status.st_uid})", hint)
        remarks.append(
            f"{where} and its directory belong to another user (uid {status.st_uid}), who so decides about the settings"
        )
    if stat.S_ISREG(status.st_mode) and is_open_to_all(status):
        remarks.append(f"{where} can be written by everybody on this machine: chmod o-w {file}")
    if is_open_to_all(folder, sticky=False):
        remarks.append(f"the directory of {where} can be written by everybody on this machine: chmod o-w {file.parent}")
    return remarks


def _content(descriptor: int, where: str) -> bytes:
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        return b"".join(iter(lambda: os.read(descriptor, 1 << 20), b""))
    if not stat.S_ISFIFO(status.st_mode):
        raise Refused(f"{where} is no file", "remove it, or make it a file with NAME=value lines")
    pieces: list[bytes] = []  # password managers serve a .env as a named pipe
    until = time.monotonic() + _PATIENCE
    while select.select([descriptor], [], [], max(0.0, until - time.monotonic()))[0]:
        if not (piece := os.read(descriptor, 1 << 16)):
            return b"".join(pieces)
        pieces.append(piece)
    raise Refused(
        f"{where} is a named pipe, and nobody wrote to it within {_PATIENCE:.0f} s", "start what fills it, or remove it"
    )


def _variables_in(text: str, environ: Mapping[str, str]) -> tuple[dict[str, str], list[int]]:
    """Return the variables, and the numbers of the lines that are none."""
    from io import StringIO

    from dotenv.parser import parse_stream
    from dotenv.variables import parse_variables

    values: dict[str, str] = {}
    faults: list[int] = []
    for binding in parse_stream(StringIO(text)):
        if binding.key is not None and binding.value is not None:
            known = {**values, **environ}
            values[binding.key] = "".join(atom.resolve(known) for atom in parse_variables(binding.value))
        elif binding.error or binding.key is not None:
            faults.append(binding.original.line)
    return values, faults
