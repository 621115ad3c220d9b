"""Reads a verified dump a second time, for the restore: reports progress, judges each part again, and compares with the verified text."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from migrate_graph.core.events import RestoreFinished, RestoreStarted
from migrate_graph.database.backup.dump import ReadGauge, VerifiedDump, identity_of, open_sql, refusal
from migrate_graph.database.backup.dump_text import DumpReader, Part
from migrate_graph.errors import RestoreError
from migrate_graph.messages import counted

if TYPE_CHECKING:
    from migrate_graph.core.events import Observer


class DumpStream:
    """The second reading of a dump. Its `with` block reports that the restore starts, and, without an exception, that it has finished.

    Args:
        dump: the result of `verify`.
        observer: gets events about the progress.
    """

    def __init__(self, dump: VerifiedDump, observer: Observer) -> None:
        self._dump = dump
        self._observer = observer
        self._started = time.monotonic()
        self._gauge = ReadGauge(dump.size, observer, checking=False)

    def __enter__(self) -> DumpStream:
        self._observer(RestoreStarted(str(self._dump.path), self._dump.size))
        self._gauge.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        self._gauge.__exit__()
        if kind is None:
            self._observer(RestoreFinished(time.monotonic() - self._started))

    def parts(self) -> Iterator[Part]:
        """Yield the parts of a PostgreSQL dump; each is judged before it is yielded.

        Raises:
            RestoreError: the file has changed since it was verified.
        """
        reader = DumpReader(self.pieces(), trusted=self._dump.trusted)
        for part in reader.parts():
            if reader.faults:
                break
            if part.text:
                self.begins(part.line, part.text)
            yield part
        if reader.faults:
            raise refusal(self._dump.path, reader.faults)

    def begins(self, line: int, statement: str | bytes) -> None:
        """Note the statement that is about to be executed; reports name it if it takes long."""
        self._gauge.begins(line, statement)

    def pieces(self) -> Iterator[bytes]:
        """Yield the SQL in pieces.

        Raises:
            RestoreError: the file has changed since it was verified.
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
                    length += len(piece)
                    if length > dump.length:
                        break
                    yield piece
                    self._gauge.tell(source)
        if (length, checksum) != (dump.length, dump.checksum):
            raise RestoreError(
                f"the backup {dump.path} changed while it was being restored", hint="run again when nobody writes it"
            )


def no_ledger(path: Path, table: str) -> RestoreError:
    """Return the error for a dump without the ledger table: it would not be known which migrations are in it."""
    return RestoreError(
        f"the backup {path} holds no table {table}, which would say what it contains; it was not restored",
        hint="is migrate_table (or schema) right, and the backup of the right database?",
    )


def not_empty(label: str, table: str, relations: Sequence[str] = ()) -> RestoreError:
    """Return the error for a database that is not empty, though the ledger table is missing; it names some relations, if they are known."""
    told = f" ({counted(len(relations), 'relation')}, e.g. {', '.join(relations[:3])})" if relations else ""
    return RestoreError(
        f"{label} is not empty{told}, but the table {table} is missing",
        hint="if migrate_table and schema are right, this database lived before: migrate baseline shows what of it is there already",
    )
