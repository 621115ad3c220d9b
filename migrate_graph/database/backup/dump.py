"""A backup file: found, read and verified before anything is written to a database."""

from __future__ import annotations

import gzip
import lzma
import os
import re
import shlex
import stat
import subprocess
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from msgspec import Struct
from msgspec.structs import replace

from migrate_graph.core.events import Observer, RestoreProgress, ignore_events
from migrate_graph.database.backup.dump_text import DumpReader
from migrate_graph.database.backup.statements import TextFault
from migrate_graph.errors import RestoreError
from migrate_graph.redaction import redact
from migrate_graph.signals import start_thread

# The order of edwh-migrate 2.1.0. A sibling is used only when the configured file does not exist (2.1.0 preferred siblings).
_SIBLINGS = (".sql", ".sql.gz", ".gz", ".sql.xz", ".xz")
_MAGIC = {".gz": b"\x1f\x8b", ".xz": b"\xfd7zXZ\x00"}
_BY_PG_RESTORE = "turn it into SQL: pg_restore --no-owner -f backup.sql THIS_FILE"
_FOREIGN = {
    b"\x1f\x8b": ("gzip data", "give it the extension .sql.gz"),
    b"\xfd7zXZ\x00": ("xz data", "give it the extension .sql.xz"),
    b"\x28\xb5\x2f\xfd": ("zstd data", 'give it the extension .zst and set migrate_cat_command = "zstd -dc"'),
    b"PGDMP": ("a custom-format archive of pg_dump", _BY_PG_RESTORE),
    b"BZh": ("bzip2 data", 'give it the extension .bz2 and set migrate_cat_command = "bzip2 -dc"'),
    b"SQLite format 3\x00": ("a SQLite database, not SQL", "turn it into SQL: sqlite3 THIS_FILE .dump > backup.sql"),
    b"PK\x03\x04": ("a zip archive", "unpack it first"),
    b"7z\xbc\xaf\x27\x1c": ("a 7-zip archive", "unpack it first"),
    b"\xff\xfe": ("UTF-16 text", "save it as UTF-8"),
    b"\xfe\xff": ("UTF-16 text", "save it as UTF-8"),
}
_TAR, _TAR_AT, _HEAD = b"ustar", 257, 512
_HTML = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")
_PIECE = 1 << 20
_SILENCE_LIMIT = 600.0
_PROGRESS_EVERY = 0.5
_BEAT_EVERY = 5.0
_PLAIN_WORDS = re.compile(r"[A-Za-z_]\w*(?:\s+[A-Za-z_]\w*){0,3}")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# Bytes to which a backup may unpack where `restore_size_limit` is not set: the larger one of _ALWAYS_ALLOWED and _ALLOWED_RATIO times the
# file. A dump shrinks to about a tenth when it is packed, a malicious file (a "zip bomb") to a thousandth.
_ALWAYS_ALLOWED = 1 << 30
_ALLOWED_RATIO = 250

# Environment variables that an unpacking program gets; none of them holds a password.
_FOR_CHILDREN = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "GNUPGHOME", "SYSTEMROOT"}
# Enough for files of `xz -9`, which needs a dictionary of 64 MiB.
_MEMORY_OF_XZ = 128 << 20
_TOO_MUCH_MEMORY = "Memory usage limit exceeded"

_DAMAGE = (EOFError, zlib.error, lzma.LZMAError, OSError)


class VerifiedDump(Struct, frozen=True):
    """A dump that was read to its end and found complete.

    Attributes:
        path: path of the file.
        size: size of the file in bytes.
        length: bytes of SQL.
        checksum: CRC-32 of the SQL; the restore compares what it reads with it.
        needs_psql: the dump is trusted, and holds commands of psql.
        cat_command: the command that unpacks it; empty when this module does.
        identity: device, inode, size and time of change of the verified file.
        trusted: it may run commands of psql, and use other files.
    """

    path: Path
    size: int
    length: int
    checksum: int
    needs_psql: bool
    cat_command: str
    identity: tuple[int, ...]
    trusted: bool


def find_dump(configured: Path, *, is_default: bool) -> Path | None:
    """Find the backup file.

    Args:
        configured: the setting `database_to_restore`, as an absolute path.
        is_default: the setting has its default value, so the file need not exist.

    Returns:
        The configured file itself when it exists; else the first of its siblings (`.sql .sql.gz .gz .sql.xz .xz`);
        None when there is none and the setting has its default value.

    Raises:
        RestoreError: the setting names a file, and neither the file nor a sibling exists.
    """
    stem = configured.name
    for ending in (".gz", ".xz", ".sql"):
        stem = stem.removesuffix(ending)
    siblings = [configured.with_name(stem + ending) for ending in _SIBLINGS] if stem else []
    for candidate in (configured, *siblings):
        if _exists(candidate):
            return candidate
    if is_default:
        return None
    raise RestoreError(
        f"the backup {configured} does not exist",
        hint="set database_to_restore to the file, or remove the setting to start from an empty database",
    )


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise RestoreError(
            f"cannot look for the backup {path}: {error.strerror}", hint="check its path and rights"
        ) from None
    return True


def verify(
    path: Path,
    *,
    kind: str,
    cat_command: str | None = None,
    size_limit: int = 0,
    trusted: bool = False,
    observer: Observer = ignore_events,
) -> VerifiedDump:
    r"""Read a whole dump and check whether it can be restored; nothing is written anywhere.

    Args:
        path: path of the file.
        kind: kind of the database that it is for: "postgres" or "sqlite".
        cat_command: a command that unpacks files with extensions other than `.sql`, `.gz`, `.xz`: the path is appended, and SQL
            is expected on its standard output.
        size_limit: bytes of SQL allowed; 0: 1 GiB, or 250 times the size of the file, whichever is more.
        trusted: allow psql commands (`\!`, `\i`, …), and ATTACH for SQLite.
        observer: gets events about the progress.

    Raises:
        RestoreError: the dump is incomplete, is not what its name says, is too large, or has statements that would break the one
            transaction of the restore.
    """
    status = _status(path)
    command = _command_for(path, cat_command)
    _check_name(path, command)
    gauge = ReadGauge(status.st_size, observer, checking=True)
    with gauge, open_sql(path, command) as source:
        first = _Check(path, source, gauge, limit=size_limit or max(_ALWAYS_ALLOWED, _ALLOWED_RATIO * status.st_size))
        reader = DumpReader(first.pieces(), trusted=trusted)
        if kind == "postgres":
            for _ in reader.parts():
                pass
        if first.length and reader.faults:
            raise refusal(path, reader.faults)
        for _ in first.pieces():  # what the reader has not read; of a dump for SQLite all of it
            pass
    if not first.length:
        raise RestoreError(f"the backup {path} is empty", hint="make or copy it again")
    return VerifiedDump(
        path=path,
        size=status.st_size,
        length=first.length,
        checksum=first.checksum,
        needs_psql=reader.needs_psql,
        cat_command=command,
        identity=identity_of(path),
        trusted=trusted,
    )


class _Check:
    """The first reading of a dump: computes its length and checksum, and checks whether it looks like SQL at all."""

    def __init__(self, path: Path, source: SqlSource, gauge: ReadGauge, *, limit: int) -> None:
        self.length = self.checksum = 0
        self._path = path
        self._source = source
        self._gauge = gauge
        self._limit = limit

    def pieces(self) -> Iterator[bytes]:
        for piece in self._source.pieces():
            self._gauge.tell(self._source)
            if not self.length:
                _check_head(self._path, piece)
            _check_text(self._path, piece)
            self.length += len(piece)
            self.checksum = zlib.crc32(piece, self.checksum)
            if self.length > self._limit:
                raise RestoreError(
                    f"the backup {self._path} unpacks to more than {self._limit} bytes",
                    hint="is it the right file? if it is, set restore_size_limit to the bytes that it may have",
                )
            yield piece


def identity_of(path: Path) -> tuple[int, ...]:
    """Return values that change whenever the file is changed or replaced."""
    status = path.stat()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _status(path: Path) -> os.stat_result:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            made = (path / "toc.dat").is_file()
            raise RestoreError(
                f"the backup {path} is a directory{' of pg_dump' * made}",
                hint=_BY_PG_RESTORE.replace("THIS_FILE", path.name) if made else "name the file itself",
            )
        if not stat.S_ISREG(status.st_mode):
            raise RestoreError(f"the backup {path} is not a regular file", hint="name the file itself")
        with path.open("rb"):
            return status
    except OSError as error:
        raise RestoreError(
            f"the backup {path} cannot be read: {error.strerror}", hint="check its path and rights"
        ) from None


def _command_for(path: Path, cat_command: str | None) -> str:
    extension = path.suffix.lower()
    if extension == ".sql" or extension in _MAGIC:
        return ""
    if cat_command and cat_command.strip():
        return cat_command
    unknown = f"the backup {path} has the unknown extension '{extension}'"
    with path.open("rb") as file:
        if found := _foreign(file.read(_HEAD), path):
            raise RestoreError(f"{unknown} and holds {found[0]}", hint=found[1])
    raise RestoreError(
        unknown, hint='set migrate_cat_command to a command that unpacks it, e.g. "zstd -dc"; the path is appended'
    )


def _check_name(path: Path, command: str) -> None:
    if command:
        return
    extension = path.suffix.lower()
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        raise RestoreError(f"the backup {path} is empty", hint="make or copy it again")
    if extension in _MAGIC and not head.startswith(_MAGIC[extension]):
        raise RestoreError(
            f"the backup {path} is not {_FOREIGN[_MAGIC[extension]][0]}, as its extension says",
            hint="give it the extension of what it is, or make it again",
        )


def _foreign(head: bytes, path: Path) -> tuple[str, str] | None:
    """Return what a file holds by its first bytes, and what to do about it; None where it may be SQL."""
    found = next((told for magic, told in _FOREIGN.items() if head.startswith(magic)), None)
    if head[_TAR_AT:].startswith(_TAR):
        found = ("a tar archive", f"unpack it first; if pg_dump has made it, {_BY_PG_RESTORE}")
    return found and (found[0], found[1].replace("THIS_FILE", path.name))


def _check_head(path: Path, piece: bytes) -> None:
    if found := _foreign(piece, path):
        raise RestoreError(f"the backup {path} holds {found[0]}", hint=found[1])
    if piece.lstrip()[:16].lower().startswith(_HTML):
        raise RestoreError(
            f"the backup {path} is an HTML page", hint="a download may have failed: fetch the backup again"
        )


def _check_text(path: Path, piece: bytes) -> None:
    if b"\0" in piece:
        raise RestoreError(f"the backup {path} is not SQL text: it holds NUL bytes", hint="make or copy it again")


def refusal(path: Path, faults: list[TextFault]) -> RestoreError:
    """Return the error that names all faults of a dump's text, with what to do."""
    told = "; ".join(f"line {fault.line}: {fault.message}" for fault in faults)
    hints = list(dict.fromkeys(fault.hint for fault in faults))
    return RestoreError(f"the backup {path} cannot be restored: {told}", hint="; ".join(hints))


class SqlSource:
    """The SQL of a dump as a stream.

    Attributes:
        length: bytes of SQL read so far.
    """

    def __init__(self, stream: BinaryIO, file: BinaryIO | None) -> None:
        self.length = 0
        self._stream = stream
        self._file = file

    def pieces(self) -> Iterator[bytes]:
        """Yield the SQL in pieces of about a megabyte, without a byte order mark."""
        while piece := self._read():
            if not self.length:
                while len(piece) < len(_BYTE_ORDER_MARK) and (more := self._read()):
                    piece += more
                piece = piece.removeprefix(_BYTE_ORDER_MARK)
            self.length += len(piece)
            if piece:
                yield piece

    def _read(self) -> bytes:
        return self._stream.read(_PIECE)

    def consumed(self) -> int | None:
        """Return how many bytes of the file were read; None when a command reads it."""
        return self._file.tell() if self._file else None


class ReadGauge:
    """Reports the progress of reading a dump at most twice a second; inside a `with` block at least every five seconds.

    Args:
        size: size of the file in bytes.
        observer: gets the events.
        checking: it is the first reading, which writes nothing.
    """

    def __init__(self, size: int, observer: Observer, *, checking: bool) -> None:
        self._size = size
        self._observer = observer
        self._checking = checking
        self._told_at = time.monotonic()
        self._progress = RestoreProgress(0, size, checking=checking)
        self._statement: tuple[int, str | bytes] | None = None
        self._ended = threading.Event()
        self._pulse: threading.Thread | None = None

    def __enter__(self) -> ReadGauge:
        self._pulse = start_thread(self._beat, name="restore")
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._pulse is not None:
            self._pulse.join()

    def tell(self, source: SqlSource) -> None:
        """Note how much of the file was read, and report it if the last report is half a second old."""
        consumed = source.consumed()
        if consumed is None:
            self._progress = RestoreProgress(source.length, 0, checking=self._checking)
        else:
            self._progress = RestoreProgress(consumed, self._size, checking=self._checking)
        if time.monotonic() - self._told_at >= _PROGRESS_EVERY:
            self._tell()

    def begins(self, line: int, statement: str | bytes) -> None:
        """Note the statement that is about to be executed; reports name it."""
        self._statement = (line, statement)

    def _tell(self) -> None:
        self._told_at = time.monotonic()
        self._observer(replace(self._progress, doing=_first_words(*self._statement) if self._statement else ""))

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT_EVERY):
            if time.monotonic() - self._told_at >= _BEAT_EVERY:
                with suppress(Exception):  # an observer that fails must not end the restore
                    self._tell()


def _first_words(line: int, statement: str | bytes) -> str:
    """Return the line and the first words of a statement, without its values, which may be secret."""
    text = statement[:200]
    found = _PLAIN_WORDS.match(text.decode("utf-8", "replace") if isinstance(text, bytes) else text)
    return f"line {line}: {' '.join(found.group().split())}" if found else f"line {line}"


class _CommandSource(SqlSource):
    """The output of `migrate_cat_command`; the command is killed when it writes nothing for ten minutes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        super().__init__(cast("BinaryIO", process.stdout), None)
        self._process = process

    def _read(self) -> bytes:
        watch = threading.Timer(_SILENCE_LIMIT, self._process.kill)
        watch.daemon = True
        watch.start()
        try:
            return super()._read()
        finally:
            watch.cancel()


@contextmanager
def open_sql(path: Path, command: str) -> Iterator[SqlSource]:
    """Open a dump as SQL; if the block ends without an error, unpacking had no error either.

    Args:
        path: path of the file.
        command: the command that unpacks it; empty for `.sql`, `.gz` and `.xz`.

    Raises:
        RestoreError: unpacking failed.
    """
    if command:
        with _open_command(path, command) as source:
            yield source
        return
    try:
        with path.open("rb") as file:
            yield SqlSource(_unpacked(file, path.suffix.lower()), file)
    except lzma.LZMAError as error:
        if str(error) != _TOO_MUCH_MEMORY:
            raise _damaged(path, error) from None
        raise RestoreError(
            f"the backup {path} wants more than {_MEMORY_OF_XZ >> 20} MiB of memory to be unpacked (its dictionary is that large)",
            hint="pack it again with a plain xz -9, or unpack it first",
        ) from None
    except _DAMAGE as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> RestoreError:
    return RestoreError(f"the backup {path} is damaged or cut off: {error}", hint="make or copy it again")


def _unpacked(file: BinaryIO, extension: str) -> BinaryIO:
    match extension:
        case ".gz":
            return cast("BinaryIO", gzip.GzipFile(fileobj=file))
        case ".xz":
            return cast("BinaryIO", _Xz(file))
        case _:
            return file


class _Xz:
    """Unpacks an .xz file with limited memory, which `lzma.LZMAFile` does not: a file of a few bytes may require 4 GiB."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._machine = lzma.LZMADecompressor(memlimit=_MEMORY_OF_XZ)

    def read(self, size: int) -> bytes:
        """Return the next bytes, `size` at most; empty at the end.

        Raises:
            EOFError: the file ends too early.
            LZMAError: the file is damaged, or requires too much memory.
        """
        while True:
            packed = b""
            if self._machine.eof:
                packed = self._next_stream()
                if not packed:
                    return b""
                self._machine = lzma.LZMADecompressor(memlimit=_MEMORY_OF_XZ)
            elif self._machine.needs_input:
                packed = self._file.read(_PIECE)
                if not packed:
                    raise EOFError("it ends before its end-of-stream marker")
            if piece := self._machine.decompress(packed, size):
                return piece

    def _next_stream(self) -> bytes:
        """Return the beginning of the next stream, before which there may be zeros; empty at the end of the file."""
        packed = self._machine.unused_data or self._file.read(_PIECE)
        while packed and not (begun := packed.lstrip(b"\0")):
            packed = self._file.read(_PIECE)
        return begun if packed else b""


@contextmanager
def _open_command(path: Path, command: str) -> Iterator[SqlSource]:
    try:
        # Absolute, so that a file name cannot be taken for an option.
        argv = [*shlex.split(command), str(path.absolute())]
    except ValueError as error:
        raise RestoreError(f"migrate_cat_command cannot be read: {error}", hint="balance its quotes") from None
    with tempfile.TemporaryFile() as complaints:
        try:
            process = subprocess.Popen(  # noqa: S603 - the user's own setting, split into words, no shell
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, env=child_environment()
            )
        except OSError as error:
            raise RestoreError(
                f"migrate_cat_command does not start: '{redact(argv[0])}': {error.strerror}",
                hint="install the program, or give its full path",
            ) from None
        try:
            yield _CommandSource(process)
            code = process.wait(timeout=_SILENCE_LIMIT)
        finally:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
        if code:
            raise RestoreError(
                f"migrate_cat_command failed on {path} with exit code {code}{last_words(complaints)}",
                hint=f"try it by hand: {redact(command)} {shlex.quote(str(path))} | head",
            )


def child_environment() -> dict[str, str]:
    """Return the environment for an unpacking program: the variables that it needs, without the secrets of this process."""
    inherited = os.environ  # noqa: TID251 - a child would inherit exactly these variables
    return {name: value for name, value in inherited.items() if name in _FOR_CHILDREN or name.startswith("LC_")}


def last_words(complaints: BinaryIO, *secrets: str) -> str:
    """Return the last lines that a program wrote to its standard error, redacted, to be appended to a message."""
    complaints.seek(0, 2)
    complaints.seek(max(0, complaints.tell() - 4000))
    lines = complaints.read().decode("utf-8", "replace").strip().splitlines()[-6:]
    return ": " + redact(" / ".join(line.strip() for line in lines), *secrets) if lines else ""
