"""The file that says a schema version is complete: `<flag_location>/migrate-<schema_version>.complete`."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from migrate_graph.atomic_write import write_whole
from migrate_graph.core.events import Observer, Warned, ignore_events
from migrate_graph.errors import ConfigError, PendingTaskFailed
from migrate_graph.ownership import is_foreign, is_open_to_all

_READING = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_LONGEST = 1 << 16
_VERSION = re.compile(r"[A-Za-z0-9._+-]{1,200}")


class CompletionFlag(Struct, frozen=True):
    """The flag file of one schema version; the file may not exist yet.

    Attributes:
        directory: the setting `flag_location`.
        version: the setting `schema_version`.
        create: the setting `create_flag_location`.
    """

    directory: Path
    version: str
    create: bool = False

    @property
    def path(self) -> Path:
        """The path of the flag file."""
        return self.directory / f"migrate-{self.version}.complete"

    def validate(self) -> None:
        """Check, before anything runs, that the flag can be read and written; create the directory if `create` is set.

        Raises:
            ConfigError: with all faults in one message.
        """
        faults = [fault for fault in (self._fault_of_version(), self._fault_of_directory()) if fault]
        if not faults and (fault := self._fault_of_file()):
            faults = [fault]
        if faults:
            raise ConfigError("; ".join(fault for fault, _ in faults), hint="; ".join(hint for _, hint in faults))

    def _fault_of_version(self) -> tuple[str, str] | None:
        if _VERSION.fullmatch(self.version):
            return None
        shown = self.version if len(self.version) <= 40 else f"{self.version[:37]}..."
        return (
            f"schema_version = {shown!r} cannot name a flag",
            "use 1 to 200 letters, digits, dots, underscores, plus and minus signs, or unset SCHEMA_VERSION",
        )

    def _fault_of_directory(self) -> tuple[str, str] | None:
        directory = self.directory
        try:
            if self.create:
                directory.mkdir(parents=True, exist_ok=True)
            if not directory.is_dir():
                what = "is not a directory" if directory.exists() else "does not exist"
                return f"flag_location = {str(directory)!r} {what}", "create it, or set create_flag_location = true"
            # Tested by writing: the permissions do not show a read-only file system.
            with tempfile.TemporaryFile(dir=directory):
                return None
        except OSError as error:
            return (
                f"flag_location = {str(directory)!r} cannot be written: {error.strerror}",
                "check its path and rights",
            )

    def _fault_of_file(self) -> tuple[str, str] | None:
        try:
            status = self.path.lstat()
            if stat.S_ISREG(status.st_mode):
                os.close(os.open(self.path, _READING))
                return None
        except FileNotFoundError:
            return None
        except OSError:
            pass
        return f"the flag {self.path} is not a readable file", "remove it"

    def _read(self) -> tuple[bytes, str]:
        """Return the content of the flag, and why it cannot be trusted (empty if it can)."""
        handle = os.open(self.path, _READING)
        try:
            status, folder = os.fstat(handle), self.directory.stat()
            text = os.read(handle, _LONGEST)
        finally:
            os.close(handle)
        if not stat.S_ISREG(status.st_mode):
            return b"", "is no file"
        if is_foreign(status) and (status.st_uid != folder.st_uid or is_open_to_all(folder)):
            return text, f"belongs to another user (uid {status.st_uid})"
        if is_open_to_all(status):
            return text, "can be written by everybody on this machine"
        if status.st_nlink > 1 and is_open_to_all(folder):
            return text, "is another file under a second name"
        return text, ""

    def is_set(self, fingerprint: str | None = None, observer: Observer = ignore_events) -> bool:
        """Return whether this schema version is complete in a database.

        A flag is trusted only if it belongs to this user, to root or to the owner of the directory, and nobody else can have written
        it. The empty flag of edwh-migrate 2.1.0 names no database, so it counts for every database. A flag of migrate_graph counts
        only for the database that it names. The flag of another database is ignored with a warning: otherwise this database would
        never be migrated.

        Args:
            fingerprint: of the database; None when it is not known yet: then only an empty flag counts.
            observer: gets a warning that says why a flag is ignored.
        """
        try:
            text, why = self._read()
        except FileNotFoundError:
            return False
        except OSError as error:
            text, why = b"", f"cannot be read ({error.strerror})"
        if not why and not text.strip():
            return True
        database = _database_in(text)
        if fingerprint is None or (database == fingerprint and not why):
            return fingerprint is not None
        why = why or ("belongs to another database" if database else "cannot be understood")
        observer(
            Warned(f"the flag {self.path} {why}, so it is ignored", "it will be written anew when this run is complete")
        )
        return False

    def set(self, *, fingerprint: str, names: Iterable[str], version: str) -> None:
        """Write the flag file completely or not at all.

        Args:
            fingerprint: of the database that is complete.
            names: of its migrations, in order.
            version: of migrate_graph.

        Raises:
            PendingTaskFailed: it could not be written.
        """
        body = {
            "schema_version": self.version,
            "database": fingerprint,
            "migrations": hashlib.sha256("\n".join(names).encode()).hexdigest()[:16],
            "completed": datetime.now(UTC).isoformat(timespec="seconds"),
            "tool": f"migrate_graph {version}",
        }
        try:
            # Readable for everybody: processes of other users wait for this file.
            write_whole(self.path, (json.dumps(body, indent=2) + "\n").encode(), mode=0o644, follow=False)
        except OSError as error:
            raise PendingTaskFailed(
                f"the migrations are complete, but the flag {self.path} could not be written: {error.strerror}",
                hint="check the directory, then run `migrate` again: it applies nothing twice",
            ) from None


def _database_in(text: bytes) -> str:
    """Return the fingerprint of the database that a flag names; empty when the flag cannot be parsed."""
    try:
        database = json.loads(text)["database"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
    return database if isinstance(database, str) else ""
