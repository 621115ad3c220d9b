"""The passwords that a project works with, wherever they are kept; no output may contain them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qsl

from migrate_graph.redaction import secrets_of

_LONGEST = 1 << 16


def secrets_in(addresses: Mapping[str, str | None], environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return every password that can turn up in a message of a driver, a server or a migration.

    Args:
        addresses: the URIs in the settings, by their purpose.
        environ: the environment, in which libpq finds passwords and the names of files with passwords.
    """
    found = [secret for address in addresses.values() if address for secret in secrets_of(address)]
    found += [environ[name] for name in ("PGPASSWORD", "PGSSLPASSWORD", "REDIS_PASSWORD") if environ.get(name)]
    found += secrets_of(environ.get("DATABASE_URL", ""))
    if (database := addresses.get("database")) and database.lower().startswith("postgres"):
        found += _in_files_of_libpq(database, environ)
    return tuple(dict.fromkeys(found))


def _in_files_of_libpq(uri: str, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield all passwords in the files that libpq reads: any of them may be the one that it sends."""
    parameters = dict(parse_qsl(uri.partition("?")[2]))
    home = Path(environ["HOME"]) if environ.get("HOME") else None
    for text in _texts(parameters.get("passfile") or environ.get("PGPASSFILE"), home, ".pgpass"):
        for line in text.splitlines():
            fields = re.split(r"(?<!\\):", line)
            if len(fields) >= 5 and not line.startswith("#"):
                yield re.sub(r"\\(.)", r"\1", ":".join(fields[4:]))
    for text in _texts(environ.get("PGSERVICEFILE"), home, ".pg_service.conf"):
        yield from re.findall(r"^\s*(?:ssl)?password\s*=\s*(.*\S)", text, re.MULTILINE)


def _texts(named: str | None, home: Path | None, usual: str) -> Iterator[str]:
    file = Path(named) if named else home / usual if home else None
    try:
        if file is not None and file.is_file():
            with file.open(encoding="utf-8", errors="replace") as stream:
                yield stream.read(_LONGEST)
    except OSError:  # then libpq cannot read it either
        return
