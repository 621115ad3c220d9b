"""Restores a dump of SQLite: runs it in a temporary database, checks that, and copies it over the empty database in one transaction."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from migrate_graph.database.backup.dump_text import LONGEST_STATEMENT
from migrate_graph.database.backup.stream import DumpStream, no_ledger, not_empty
from migrate_graph.database.names import SQLITE, TableNames
from migrate_graph.database.sqlite.leftovers import prefix
from migrate_graph.database.sqlite.statements import sqlite_statements
from migrate_graph.errors import RestoreError

if TYPE_CHECKING:
    from migrate_graph.core.events import Observer
    from migrate_graph.database.backup.dump import VerifiedDump
    from migrate_graph.signals import Interruption

USER_RELATIONS = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
"""The query for the names of all relations that do not belong to SQLite itself."""

_BUSY_WAIT = 10.0
# After the first page the target is locked, and nothing is written yet: then `look` compares it. A ledger has at least two pages.
_PAGES_AT_A_TIME = 1

# The actions that a dump needs in its own database, and no others: no ATTACH, no file, no setting that stays after the statement.
_ALLOWED = {
    sqlite3.SQLITE_ALTER_TABLE, sqlite3.SQLITE_ANALYZE, sqlite3.SQLITE_CREATE_INDEX, sqlite3.SQLITE_CREATE_TABLE,
    sqlite3.SQLITE_CREATE_TRIGGER, sqlite3.SQLITE_CREATE_VIEW, sqlite3.SQLITE_DELETE, sqlite3.SQLITE_DROP_INDEX,
    sqlite3.SQLITE_DROP_TABLE, sqlite3.SQLITE_DROP_TRIGGER, sqlite3.SQLITE_DROP_VIEW, sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE, sqlite3.SQLITE_REINDEX, sqlite3.SQLITE_SAVEPOINT,
    sqlite3.SQLITE_SELECT, sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_UPDATE,
}  # fmt: skip
_ALLOWED_PRAGMAS = {
    "application_id", "defer_foreign_keys", "encoding", "foreign_keys", "integrity_check",
    "legacy_alter_table", "quick_check", "recursive_triggers", "synchronous", "user_version",
}  # fmt: skip
# Permitted values of PRAGMA cache_size; larger ones take too much memory. -65536 means 64 MiB, 16384 pages of 4 KiB are the same.
_CACHES = range(-65536, 16385)
_TEMPORARY_FILES = {"0", "1", "default", "file"}
_ALLOWED_QUESTIONS = {"data_version", "page_size", "schema_version"}  # modules of SQLite read these
_ALLOWED_MODULES = {"fts3", "fts4", "fts5", "rtree", "rtree_i32", "geopoly"}
_REFUSED_FUNCTIONS = {"load_extension", "fts3_tokenizer", "sqlite_log", "edit", "readfile", "writefile"}

# How many times larger than the dump's text the temporary database may be.
_GROWTH = 32
_ALWAYS_ALLOWED = 1 << 30


def restore_sqlite(
    dump: VerifiedDump, path: Path, *, table: str, observer: Observer, interruption: Interruption | None = None
) -> None:
    """Restore a dump into a temporary database, check that, then copy it over the empty one in one transaction.

    The copy is made by SQLite's own backup function. It is atomic even when the process is killed, and it works where a rename would
    be wrong: with open connections, a symbolic link, or a file that is a mount point.

    Args:
        dump: the result of `verify(kind="sqlite")`.
        path: path of the database file, which may not exist yet.
        table: name of the ledger table, which must exist afterwards.
        observer: gets events about the progress.
        interruption: ends a statement, or the copy, when a signal arrives.

    Raises:
        RestoreError: the restore failed; the database is as it was before.
    """
    try:
        with (
            DumpStream(dump, observer) as stream,
            _work_directory(path) as work,
            closing(sqlite3.connect(work / "restored.sqlite", isolation_level=None)) as fresh,
            _interruptible(interruption, fresh),
        ):
            _fill(fresh, dump, stream)
            _judge(fresh, dump.path, table)
            _copy(fresh, path, table)
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


@contextmanager
def _interruptible(interruption: Interruption | None, fresh: sqlite3.Connection) -> Iterator[None]:
    if interruption is None:
        yield
        return
    with interruption.stopping(fresh.interrupt):
        yield


# -- leftovers ----------------------------------------------------------------------------------------------------------------


@contextmanager
def _work_directory(path: Path) -> Iterator[Path]:
    """Yield a new directory beside the database, and remove it afterwards.

    Its name begins with `leftovers.prefix`, so that a later run removes it if this process is killed.
    """
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    directory = path.parent / f"{prefix(path)}{moment}-{os.getpid()}-{secrets.token_hex(4)}"
    directory.mkdir(mode=0o700)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


# -- the temporary database ---------------------------------------------------------------------------------------------------


def _fill(database: sqlite3.Connection, dump: VerifiedDump, stream: DumpStream) -> None:
    # Nobody else uses this temporary file, so a crash may destroy it.
    for pragma in ("synchronous = OFF", "journal_mode = MEMORY", "locking_mode = EXCLUSIVE"):
        database.execute(f"PRAGMA {pragma}").close()
    refused: list[str] = []
    if not dump.trusted:
        _harden(database, dump, refused)
    for line, statement in sqlite_statements(stream.pieces()):
        refused.clear()
        stream.begins(line, statement)
        if statement.startswith("."):
            raise RestoreError(
                f"the backup {dump.path} cannot be restored: line {line}: {statement.split()[0]!r} is a command of sqlite3",
                hint="make the dump with: sqlite3 DATABASE .dump",
            )
        try:
            database.execute(statement)
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise _statement_failed(dump.path, line, error, refused) from None
    if database.in_transaction:
        raise RestoreError(
            f"the backup {dump.path} was cut off: it ends inside its own transaction (BEGIN without COMMIT)",
            hint="make or copy it again",
        )


def _harden(database: sqlite3.Connection, dump: VerifiedDump, refused: list[str]) -> None:
    """Limit an untrusted dump to the actions that a dump needs, and its database to a size that fits the dump."""
    (size,) = database.execute("PRAGMA page_size").fetchone()
    limit = max(_ALWAYS_ALLOWED, _GROWTH * dump.length) // int(size)
    database.execute(f"PRAGMA max_page_count = {limit}").close()
    defensive = getattr(sqlite3, "SQLITE_DBCONFIG_DEFENSIVE", None)
    if defensive is not None:  # Python 3.12
        database.setconfig(defensive, True)  # type: ignore[attr-defined] # noqa: FBT003 - the driver's own signature
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 2 * LONGEST_STATEMENT)
    functions = {name.lower() for name, *_ in database.execute("PRAGMA function_list")} - _REFUSED_FUNCTIONS
    database.set_authorizer(_authorizer(functions, refused))


def _authorizer(functions: set[str], refused: list[str]) -> Callable[..., int]:
    def judge(action: int, first: str | None, second: str | None, *_: str | None) -> int:
        if action in _ALLOWED:
            return sqlite3.SQLITE_OK
        what = f"action {action}"
        if action == sqlite3.SQLITE_FUNCTION:
            what = f"the function {second}"
            allowed = (second or "").lower() in functions
        elif action == sqlite3.SQLITE_PRAGMA:
            what = f"PRAGMA {first}"
            name = (first or "").lower()
            allowed = (
                name in _ALLOWED_PRAGMAS or (second is None and name in _ALLOWED_QUESTIONS) or _is_modest(name, second)
            )
        elif action in {sqlite3.SQLITE_CREATE_VTABLE, sqlite3.SQLITE_DROP_VTABLE}:
            what = f"the module {second} of a virtual table"
            allowed = (second or "").lower() in _ALLOWED_MODULES
        else:
            allowed = False
            what = _ACTIONS.get(action, what)
        if not allowed:
            refused.append(what)
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY

    return judge


def _is_modest(pragma: str, value: str | None) -> bool:
    """Return whether a PRAGMA sets the use of memory to a permitted value, or only reads it."""
    if pragma == "temp_store":
        return value is None or value.strip("'\"").lower() in _TEMPORARY_FILES
    if pragma != "cache_size":
        return False
    try:
        return value is None or int(value.strip("'\"")) in _CACHES
    except ValueError:
        return False


_ACTIONS = {
    sqlite3.SQLITE_ATTACH: "another file (ATTACH or VACUUM)",
    sqlite3.SQLITE_DETACH: "another file (DETACH)",
    sqlite3.SQLITE_CREATE_TEMP_TABLE: "a temporary table",
    sqlite3.SQLITE_CREATE_TEMP_VIEW: "a temporary view",
    sqlite3.SQLITE_CREATE_TEMP_TRIGGER: "a temporary trigger",
    sqlite3.SQLITE_CREATE_TEMP_INDEX: "a temporary index",
}


def _statement_failed(
    dump: Path, line: int, error: sqlite3.Error | sqlite3.Warning, refused: list[str]
) -> RestoreError:
    if refused:
        return RestoreError(
            f"the backup {dump} cannot be restored: line {line} uses {refused[0]}, which no dump needs that only fills a database",
            hint="if you trust whoever made the file: restore_trusted = true",
        )
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return RestoreError(
            f"the backup {dump} could not be restored: line {line}: {error}",
            hint="make room on the disk; if the backup is far smaller than its database: restore_trusted = true",
        )
    return RestoreError(
        f"the backup {dump} could not be restored: line {line}: {error}", hint="mend the dump, or make it again"
    )


def _judge(database: sqlite3.Connection, dump: Path, table: str) -> None:
    verdict = database.execute("PRAGMA integrity_check").fetchone()[0]
    if verdict != "ok":
        raise RestoreError(f"the backup {dump} makes a damaged database: {verdict}", hint="make the dump again")
    ledger = TableNames.of(table, SQLITE).ledger
    query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND lower(name) = lower(?)"
    if not database.execute(query, (ledger,)).fetchone()[0]:
        raise no_ledger(dump, table)


# -- the target ---------------------------------------------------------------------------------------------------------------


def _copy(fresh: sqlite3.Connection, path: Path, table: str) -> None:
    """Copy the temporary database over the target; before, check again that the target is empty, and once it is locked, that it is unchanged."""
    existed = path.exists()
    deadline = time.monotonic() + _BUSY_WAIT
    begun: list[bytes] = []

    def look(status: int, _remaining: int, _total: int) -> None:
        # Without this, `backup` would try for ever while another program holds the file.
        if status in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            if time.monotonic() > deadline:
                raise sqlite3.OperationalError("database is locked")
        elif not begun:
            begun.append(_state(path))  # from here on no other program can write
            if begun[0] != before:
                raise RestoreError(
                    f"{path} was changed by another program during the restore",
                    hint="stop that program, then run again",
                )

    try:
        with closing(sqlite3.connect(path, timeout=0)) as target:
            before = _state(path)
            relations = [name for (name,) in target.execute(USER_RELATIONS)]
            if relations:
                raise not_empty(str(path), table, relations)
            fresh.backup(target, pages=_PAGES_AT_A_TIME, progress=look, sleep=0.05)
    except (sqlite3.Error, RestoreError):
        if not existed and not path.stat().st_size:
            path.unlink(missing_ok=True)
        raise


def _state(path: Path) -> bytes:
    """Return bytes that change with every transaction: header and size of the file and of its write-ahead log."""
    state = b""
    for file in (path, path.with_name(f"{path.name}-wal")):
        try:
            with file.open("rb") as handle:
                state += handle.read(100) + str(os.fstat(handle.fileno()).st_size).encode()
        except FileNotFoundError:
            state += b"-"
    return state
