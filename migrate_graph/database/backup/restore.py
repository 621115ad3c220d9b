"""A verified dump, put into an empty database: all of it or nothing."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sqlite3
import subprocess
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from migrate_graph.core.events import RestoreFinished, RestoreStarted
from migrate_graph.database.backup.dump import ReadGauge, VerifiedDump, identity_of, last_words, open_sql
from migrate_graph.database.names import POSTGRES, SQLITE, TableNames, quote_literal, search_path
from migrate_graph.errors import RestoreError

if TYPE_CHECKING:
    from migrate_graph.core.events import Observer

_BUSY_WAIT = 10.0

# The environment's names for libpq's keywords: so nothing of a URI ever stands in argv (D14).
_LIBPQ = {
    "host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD",
    "dbname": "PGDATABASE", "passfile": "PGPASSFILE", "service": "PGSERVICE", "options": "PGOPTIONS",
    "client_encoding": "PGCLIENTENCODING", "connect_timeout": "PGCONNECT_TIMEOUT",
    "channel_binding": "PGCHANNELBINDING",
    "sslmode": "PGSSLMODE", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY", "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL", "requirepeer": "PGREQUIREPEER", "gssencmode": "PGGSSENCMODE", "krbsrvname": "PGKRBSRVNAME",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}  # fmt: skip

# Unpacking may be slow, statements may be long, and a server whose psql was killed must notice (PostgreSQL 14 and newer).
_SETTINGS = (
    "SELECT pg_catalog.set_config(s.name, v.value, true) FROM pg_catalog.pg_settings s JOIN (VALUES "
    "('standard_conforming_strings', 'on'), ('idle_in_transaction_session_timeout', '0'), ('statement_timeout', '0'), "
    "('client_connection_check_interval', '1000')) v(name, value) ON v.name = s.name"
)

_MISSING_LEDGER = "migrate_graph:missing-ledger"

# The first psql of each major version that knows `\restrict`, which forbids every other backslash command.
_RESTRICT_SINCE = {13: 22, 14: 19, 15: 14, 16: 10, 17: 6}

_HINTS = (
    (
        re.compile(r'role "[^"]*" does not exist|must be (owner|able to SET ROLE|member)'),
        "dump again with --no-owner --no-privileges",
    ),
    (
        re.compile(r'extension "?[^"]*"? (is not available|does not exist)|control file'),
        "install the extension on the server first",
    ),
    (
        re.compile(r"unrecognized configuration parameter"),
        "the dump was made for a newer server: dump with the server's own pg_dump",
    ),
    (re.compile(r"permission denied"), "restore with a role that may create everything in the dump"),
    (re.compile(r"cannot run inside a transaction block|cannot be executed"), "remove that statement from the dump"),
    (re.compile(r"already exists"), "the dump creates something that every new database has: remove that statement"),
)


def restore_postgres(
    dump: VerifiedDump,
    dsn: Mapping[str, str],
    *,
    schema: str | None,
    table: str,
    observer: Observer,
    psql: str | None = None,
    lock: tuple[int, int] | None = None,
) -> None:
    """Restore a dump through psql, in one transaction, into a database that was proved empty.

    Args:
        dump: what `verify(kind="postgres")` gave.
        dsn: of the database, by libpq's keywords; it reaches psql by environment.
        schema: search_path (schemas with commas between) for what the dump does not qualify; None leaves it alone.
        table: the ledger table that must exist afterwards, as configured.
        observer: told how far it is.
        psql: path of the program; None looks for it on PATH.
        lock: keys of an advisory lock that psql's transaction holds: when this process is killed, psql may live on for the
            statement it is in, and the next runner must wait for that.

    Raises:
        RestoreError: nothing was committed; the database is as it was.
    """
    program = _find_psql(psql)
    prelude = _prelude(schema, lock, restrict=not dump.trusted and _knows_restrict(program))
    with _Told(dump, observer) as told, tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(  # noqa: S603 - a fixed command line
            [program, "-X", "-q", "-v", "ON_ERROR_STOP=1", *prelude, "-f", "-"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=complaints, env=_environment(dsn),
        )  # fmt: skip
        stdin = cast("IO[bytes]", process.stdin)
        try:
            for piece in told.pieces():
                stdin.write(piece)
            # Only now is it certain that the dump was unpacked to its end and is the one that was verified.
            stdin.write(_final_words(schema, table))
            stdin.close()
            code = process.wait()
        except BrokenPipeError:
            code = process.wait() or -1
        finally:
            process.kill()  # without a COMMIT the server forgets all of it
            process.wait()
            with suppress(OSError):
                stdin.close()
        if code:
            raise _psql_failed(dump.path, code, complaints, table, dsn.get("password", ""))


def _find_psql(psql: str | None) -> str:
    found = shutil.which(psql or "psql")
    if found:
        return found
    raise RestoreError(
        f"the program '{psql or 'psql'}' was not found, and a PostgreSQL dump can only be restored through it",
        hint="install it (apt install postgresql-client, apk add postgresql-client), or add it to PATH",
    )


def _knows_restrict(program: str) -> bool:
    try:
        told = subprocess.run([program, "--version"], check=False, capture_output=True, text=True, timeout=30).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return False
    found = re.search(r"(\d+)\.(\d+)", told)
    if not found:
        return False
    major, minor = int(found[1]), int(found[2])
    return major >= 18 or minor >= _RESTRICT_SINCE.get(major, 1 << 30)


def _environment(dsn: Mapping[str, str]) -> dict[str, str]:
    inherited = dict(os.environ)  # noqa: TID251 - psql needs what this process's own driver reads there as well
    own = {_LIBPQ[keyword]: value for keyword, value in dsn.items() if keyword in _LIBPQ}
    return inherited | {"PGAPPNAME": "migrate_graph:restore", "PGCONNECT_TIMEOUT": "10"} | own


def _prelude(schema: str | None, lock: tuple[int, int] | None, *, restrict: bool) -> list[str]:
    """Return what psql does before it reads the dump, as arguments: so its errors name the dump's own lines."""
    commands = [f"\\restrict {secrets.token_hex(16)}"] if restrict else []
    commands += ["BEGIN", _SETTINGS, _search_path(schema)]
    if lock:
        commands.append(f"SELECT pg_catalog.pg_advisory_xact_lock({lock[0]}, {lock[1]})")
    return [word for command in commands for word in ("-c", command)]


def _final_words(schema: str | None, table: str) -> bytes:
    names = TableNames.of(table, POSTGRES)
    # A stable function in the value keeps the planner from folding the failing cast away, or into every case.
    check = (
        f"SELECT CASE WHEN pg_catalog.to_regclass({quote_literal(names.quoted(names.ledger))}) IS NULL "
        f"THEN ('{_MISSING_LEDGER}' || pg_catalog.left(pg_catalog.version(), 0))::pg_catalog.int4 END;"
    )
    return "\n".join(("", "SET standard_conforming_strings = on;", _search_path(schema), check, "COMMIT;", "")).encode()


def _search_path(schema: str | None) -> str:
    if schema is None:
        return "SET LOCAL search_path TO DEFAULT;"
    return f"SELECT pg_catalog.set_config('search_path', {quote_literal(search_path(schema))}, true);"


def _psql_failed(path: Path, code: int, complaints: BinaryIO, table: str, password: str) -> RestoreError:
    told = last_words(complaints, password)
    if _MISSING_LEDGER in told:
        return _no_ledger(path, table)
    if code == 2:  # psql's own code for a connection that was lost or never made
        return RestoreError(
            f"psql lost its connection while restoring {path}{told}",
            hint="look whether the server is up, then run again",
        )
    hint = next((hint for pattern, hint in _HINTS if pattern.search(told)), "mend the dump, or make it again")
    return RestoreError(f"the backup {path} could not be restored; everything was rolled back{told}", hint=hint)


def _no_ledger(path: Path, table: str) -> RestoreError:
    return RestoreError(
        f"the backup {path} holds no table {table}, which would say what it contains; it was not restored",
        hint="is migrate_table (or schema) right, and the backup of the right database?",
    )


def restore_sqlite(dump: VerifiedDump, path: Path, *, table: str, observer: Observer) -> None:
    """Restore a dump into a temporary database, check that, then copy it over the empty one in one transaction.

    The copy is SQLite's own backup: atomic even when the process is killed, and right where a rename would be wrong: with
    open connections, a symbolic link, or a file that is a mount point.

    Args:
        dump: what `verify(kind="sqlite")` gave.
        path: of the database file, which may not exist yet.
        table: the ledger table that must exist afterwards.
        observer: told how far it is.

    Raises:
        RestoreError: the database is as it was.
    """
    try:
        with (
            _Told(dump, observer) as told,
            tempfile.TemporaryDirectory(prefix=".migrate-restore-", dir=path.parent) as work,
            closing(sqlite3.connect(Path(work) / "restored.sqlite", isolation_level=None)) as fresh,
        ):
            _fill(fresh, dump, told.pieces())
            _judge(fresh, dump.path, table)
            _copy(fresh, path)
    except OSError as error:
        raise RestoreError(
            f"cannot write beside {path}: {error.strerror}", hint="check the directory's rights and free space"
        ) from None
    except UnicodeDecodeError:
        raise RestoreError(f"the backup {dump.path} is not UTF-8 text", hint="make the dump again") from None
    except sqlite3.Error as error:
        raise RestoreError(
            f"the backup {dump.path} could not be copied into {path}: {error}",
            hint="close other programs that use the database, and check the free space",
        ) from None


def _fill(database: sqlite3.Connection, dump: VerifiedDump, pieces: Iterable[bytes]) -> None:
    if not dump.trusted:
        database.set_authorizer(_deny_other_files)
    # A temporary file of ours alone: a crash loses nothing that anybody has.
    for pragma in ("synchronous = OFF", "journal_mode = MEMORY", "locking_mode = EXCLUSIVE"):
        database.execute(f"PRAGMA {pragma}").close()
    for line, statement in sqlite_statements(pieces):
        if statement.startswith("."):
            raise RestoreError(
                f"the backup {dump.path} cannot be restored: line {line}: {statement.split()[0]!r} is a command of sqlite3",
                hint="make the dump with: sqlite3 DATABASE .dump",
            )
        try:
            database.execute(statement)
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise _statement_failed(dump.path, line, error) from None
    if database.in_transaction:
        raise RestoreError(
            f"the backup {dump.path} was cut off: it ends inside its own transaction (BEGIN without COMMIT)",
            hint="make or copy it again",
        )


def _statement_failed(dump: Path, line: int, error: sqlite3.Error | sqlite3.Warning) -> RestoreError:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_AUTH:
        return RestoreError(
            f"the backup {dump} cannot be restored: line {line} reaches for another file (ATTACH or VACUUM)",
            hint="if you trust whoever made the file: restore_trusted = true",
        )
    return RestoreError(
        f"the backup {dump} could not be restored: line {line}: {error}", hint="mend the dump, or make it again"
    )


def _deny_other_files(action: int, *_names: str | None) -> int:
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_ATTACH else sqlite3.SQLITE_OK


_SQLITE_TOKEN = re.compile(r"""--[^\n]*|/\*|['"`\[]|;""")
_CLOSING = {"/*": "*/", "[": "]"}


def sqlite_statements(pieces: Iterable[bytes]) -> Iterator[tuple[int, str]]:
    """Yield each statement of a dump with the line it begins on; what is left unfinished at the end comes too.

    `sqlite3.complete_statement` reads from the start every time, so it is asked only at semicolons outside quotes: once
    for each statement, and oftener only inside triggers.
    """
    pending: list[str] = []
    start = 0
    closing = ""
    for number, line in enumerate(_lines(pieces), start=1):
        begin = position = 0
        while position < len(line):
            if closing:
                at = line.find(closing, position)
                position = at + len(closing) if at >= 0 else len(line)
                closing = "" if at >= 0 else closing
                continue
            token = _SQLITE_TOKEN.search(line, position)
            position = token.end() if token else len(line)
            if token and token.group() == ";":
                statement = "".join((*pending, line[begin:position])).lstrip()
                if sqlite3.complete_statement(statement):
                    yield start or number, statement
                    pending.clear()
                    start, begin = 0, position
            elif token and not token.group().startswith("--"):
                closing = _CLOSING.get(token.group(), token.group())
        pending.append(line[begin:])
        if not start and (line[begin:].strip() or closing):
            start = number
        if start == number and begin == 0 and line.startswith("."):
            yield start, line
            pending.clear()
            start = 0
    if rest := "".join(pending).strip():
        yield start, rest


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    rest: list[bytes] = []
    for piece in pieces:
        *whole, last = piece.split(b"\n")
        for line in whole:
            yield b"".join((*rest, line, b"\n")).decode()
            rest.clear()
        rest.append(last)
    yield b"".join(rest).decode()


def _judge(database: sqlite3.Connection, dump: Path, table: str) -> None:
    database.set_authorizer(None)
    verdict = database.execute("PRAGMA integrity_check").fetchone()[0]
    if verdict != "ok":
        raise RestoreError(f"the backup {dump} makes a damaged database: {verdict}", hint="make the dump again")
    ledger = TableNames.of(table, SQLITE).ledger
    query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND lower(name) = lower(?)"
    if not database.execute(query, (ledger,)).fetchone()[0]:
        raise _no_ledger(dump, table)


def _copy(fresh: sqlite3.Connection, path: Path) -> None:
    existed = path.exists()
    deadline = time.monotonic() + _BUSY_WAIT

    def give_up(status: int, _remaining: int, _total: int) -> None:
        # Left alone, `backup` tries again for ever while another program holds the file.
        if status != sqlite3.SQLITE_DONE and time.monotonic() > deadline:
            raise sqlite3.OperationalError("database is locked")

    try:
        with closing(sqlite3.connect(path, timeout=0)) as target:
            fresh.backup(target, progress=give_up)
    except sqlite3.Error:
        if not existed:
            path.unlink(missing_ok=True)
        raise


class _Told:
    """A dump's SQL, streamed once more: progress is told, and it must be what was verified."""

    def __init__(self, dump: VerifiedDump, observer: Observer) -> None:
        self._dump = dump
        self._observer = observer
        self._started = time.monotonic()
        self._gauge = ReadGauge(dump.size, observer, checking=False)

    def __enter__(self) -> _Told:
        self._observer(RestoreStarted(str(self._dump.path), self._dump.size))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        if kind is None:
            self._observer(RestoreFinished(time.monotonic() - self._started))

    def pieces(self) -> Iterator[bytes]:
        """Yield the SQL without what is left out.

        Raises:
            RestoreError: the file is not the one that was verified.
        """
        dump = self._dump
        try:
            same = identity_of(dump.path) == dump.identity
        except OSError:
            same = False
        length = checksum = 0
        if same:
            with open_sql(dump.path, dump.cat_command) as source:
                for piece in source.pieces():
                    checksum = zlib.crc32(piece, checksum)
                    yield _without(piece, length, dump.left_out)
                    length += len(piece)
                    self._gauge.tell(source)
        if (length, checksum) != (dump.length, dump.checksum):
            raise RestoreError(
                f"the backup {dump.path} changed while it was being restored", hint="run again when nobody writes it"
            )


def _without(piece: bytes, offset: int, ranges: tuple[tuple[int, int], ...]) -> bytes:
    """Blank out what lies in `ranges` of a piece that begins at `offset`; line ends stay, since errors count lines."""
    if not offset:
        piece = b"   " + piece[3:] if piece.startswith(b"\xef\xbb\xbf") else piece
    touched = [
        (max(a - offset, 0), min(b - offset, len(piece))) for a, b in ranges if a < offset + len(piece) and b > offset
    ]
    if not touched:
        return piece
    blanked = bytearray(piece)
    for start, end in touched:
        blanked[start:end] = re.sub(rb"[^\n]", b" ", blanked[start:end])
    return bytes(blanked)
