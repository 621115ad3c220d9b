"""Restores a trusted dump that has commands of psql, by feeding it to psql in one transaction."""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from migrate_graph.core.events import Warned
from migrate_graph.database.backup.dump import last_words
from migrate_graph.database.backup.dump_text import Part, PartKind
from migrate_graph.database.backup.stream import DumpStream, no_ledger, not_empty
from migrate_graph.database.names import POSTGRES, TableNames, search_path
from migrate_graph.database.postgres.programs import service_file, version_of
from migrate_graph.database.postgres.restore.by_driver import SETTINGS, USER_RELATIONS, RestoreTarget, guarded, hint_for
from migrate_graph.errors import RestoreError
from migrate_graph.quoting import quote_identifier, quote_literal

if TYPE_CHECKING:
    from migrate_graph.core.events import Observer
    from migrate_graph.database.backup.dump import VerifiedDump


_MISSING_LEDGER = "migrate_graph:missing-ledger"
_NOT_EMPTY = "migrate_graph:not-empty"

# The first psql of each major version whose `\restrict` is safe (CVE-2026-18408). Older ones run commands that the data contains.
_SOUND_SINCE = {14: 24, 15: 19, 16: 15, 17: 11, 18: 6}
_NEWEST = max(_SOUND_SINCE)

_ERROR = re.compile(r":(\d+): \w+: +([0-9A-Z]{5}): ")


def restore_through_psql(
    dump: VerifiedDump, parameters: Mapping[str, str], target: RestoreTarget, *, observer: Observer, psql: str | None
) -> None:
    r"""Restore a trusted dump through psql, in one transaction, into a database that is proved empty inside it.

    Args:
        dump: the result of `verify(kind="postgres", trusted=True)`.
        parameters: parameters of the connection by libpq's keywords, with the password; none of them is passed in argv.
        target: where it is restored.
        observer: receives the progress, and a warning if this psql may run data as commands.
        psql: path of the program; None looks for it on PATH.

    Raises:
        RestoreError: nothing was committed; the database is as it was.
    """
    program = _find_psql(psql)
    version = version_of(program)
    if not _is_sound(version):
        observer(
            Warned(
                f"psql {version or 'of an unknown version'} may run programs that the data of the backup names",
                "it is run because of restore_trusted = true; update it (18.6, 17.11, 16.15, 15.19, 14.24)",
            )
        )
    knows_restrict = _is_sound(version)
    guard = f"migrate_graph_{secrets.token_hex(12)}"
    prelude = [word for command in _first_words(target, guard) for word in ("-c", command)]
    with (
        DumpStream(dump, observer) as stream,
        tempfile.TemporaryFile() as complaints,
        service_file(parameters, "migrate_graph:restore") as (service, environment),
    ):
        process = _begun(program, prelude, complaints, service, environment)
        stdin = cast("IO[bytes]", process.stdin)
        try:
            for text in _texts(stream.parts(), restrict=knows_restrict):
                stdin.write(text)
            # Only now is it certain that the dump was read to its end, and that it is the one that was verified.
            stdin.write(_last_words_of_ours(target, guard))
            stdin.close()
            code = process.wait()
        except BrokenPipeError:
            code = process.wait() or -1
        finally:
            process.kill()  # without a COMMIT the server rolls everything back
            process.wait()
            with suppress(OSError):
                stdin.close()
        if code:
            raise _failed(dump, code, complaints, target)


def _begun(
    program: str, prelude: Sequence[str], complaints: IO[bytes], service: int, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603 - a fixed command line
            [program, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", *prelude, "-f", "-"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=complaints, env=environment, pass_fds=(service,),
        )  # fmt: skip
    except OSError as error:
        raise RestoreError(
            f"{program} does not start: {error.strerror or error}", hint="install psql anew; nothing was restored"
        ) from None


def _find_psql(psql: str | None) -> str:
    found = shutil.which(psql or "psql")
    if found:
        return found
    if psql and len(psql.split()) > 1:
        raise RestoreError(
            f"'{psql}' is a command with arguments: it cannot be given the connection without showing its password",
            hint="install psql on this machine, or take the commands of psql out of the backup",
        )
    raise RestoreError(
        f"the program '{psql or 'psql'}' was not found, and a backup with commands of psql can only be restored through it",
        hint="install it (apt install postgresql-client, apk add postgresql-client), or add it to PATH",
    )


def _is_sound(version: str) -> bool:
    r"""Return whether a psql of this version never runs data as commands, if the dump has `\restrict`."""
    if not version:
        return False
    major, minor = map(int, version.split("."))
    return major > _NEWEST or minor >= _SOUND_SINCE.get(major, 1 << 30)


def _first_words(target: RestoreTarget, guard: str) -> list[str]:
    """Return the statements that psql runs before the dump. They are passed as arguments, so that line numbers in errors are the dump's."""
    values = ", ".join(f"({quote_literal(name)}, {quote_literal(value)})" for name, value in SETTINGS.items())
    settings = (
        "SELECT pg_catalog.set_config(v.name, v.value, true) FROM pg_catalog.pg_settings s "
        f"JOIN (VALUES {values}) v(name, value) ON v.name OPERATOR(pg_catalog.=) s.name"
    )
    return [
        "BEGIN",
        settings,
        f"SELECT pg_catalog.pg_advisory_xact_lock({target.lock[0]}, {target.lock[1]})",
        _fail_if(f"EXISTS ({USER_RELATIONS})", _NOT_EMPTY),
        *guarded(guard),
        _search_path(target.schema),
    ]


def _texts(parts: Iterator[Part], *, restrict: bool) -> Iterator[bytes]:
    """Yield the input of psql: every part at the same line as in the dump, without the dump's own BEGIN and COMMIT."""
    line = 1
    for part in parts:
        text = part.text
        if part.kind is PartKind.END_OF_DATA:
            text = b"\\.\n"
        elif part.kind is PartKind.OWN_TRANSACTION or (part.kind is PartKind.RESTRICT and not restrict):
            continue
        elif part.kind in {PartKind.COPY, PartKind.RESTRICT, PartKind.COMMAND}:
            text += b"\n"
        missing = max(0, part.line - line)
        line += missing + text.count(b"\n")
        yield (b"\n" * missing or b" ") + text if part.kind not in {PartKind.DATA, PartKind.END_OF_DATA} else text


def _last_words_of_ours(target: RestoreTarget, guard: str) -> bytes:
    names = TableNames.of(target.table, POSTGRES)
    there = f"pg_catalog.to_regclass({quote_literal(names.quoted(names.ledger))}) IS NULL"
    words = ("\n", "RESET SESSION AUTHORIZATION", "RESET ALL", _search_path(target.schema),
             _fail_if(there, _MISSING_LEDGER), f"DELETE FROM pg_temp.{quote_identifier(guard)}", "COMMIT", "")  # fmt: skip
    return ";\n".join(words).lstrip(";").encode()


def _fail_if(condition: str, message: str) -> str:
    # The cast of a constant would fail in planning, whatever the condition says. A stable function in the value prevents that.
    return (
        f"SELECT CASE WHEN {condition} "
        f"THEN ('{message}' || pg_catalog.left(pg_catalog.version(), 0))::pg_catalog.int4 END"
    )


def _search_path(schema: str | None) -> str:
    if schema is None:
        return "SET LOCAL search_path TO DEFAULT"
    return f"SELECT pg_catalog.set_config('search_path', {quote_literal(search_path(schema))}, true)"


def _failed(dump: VerifiedDump, code: int, complaints: BinaryIO, target: RestoreTarget) -> RestoreError:
    told = last_words(complaints, *target.secrets)
    if _MISSING_LEDGER in told:
        return no_ledger(dump.path, target.table)
    if _NOT_EMPTY in told:
        return not_empty(target.label, target.table)
    if code == 2:  # psql's own code for a connection that was lost or never made
        return RestoreError(
            f"psql lost its connection while restoring {dump.path}; {target.state_after_failure()}{told}",
            hint="look whether the server is up, then run again",
        )
    found = _ERROR.search(told)
    hint = hint_for(found[2], Part(PartKind.STATEMENT, 0)) if found else "mend the dump, or make it again"
    return RestoreError(
        f"the backup {dump.path} could not be restored; {target.state_after_failure()}{told}", hint=hint
    )
