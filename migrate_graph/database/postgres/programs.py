"""Prepares runs of PostgreSQL's own programs: finds their version, and makes them connect with the same parameters as this process."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from migrate_graph.errors import RestoreError
from migrate_graph.run_program import run_program

_SERVICE = "migrate_graph"

# libpq's defaults of the keywords that an older psql may not know.
_DEFAULTS = {
    "channel_binding": "prefer", "gssdelegation": "0", "gssencmode": "prefer", "krbsrvname": "postgres",
    "load_balance_hosts": "disable", "max_protocol_version": "", "min_protocol_version": "", "require_auth": "",
    "ssl_max_protocol_version": "", "ssl_min_protocol_version": "TLSv1.2", "sslcertmode": "allow", "sslcompression": "0",
    "sslmode": "prefer", "sslnegotiation": "postgres", "sslsni": "1", "target_session_attrs": "any", "replication": "",
}  # fmt: skip


def version_of(program: str) -> str:
    """Return the version of one of PostgreSQL's programs (`16.4`); empty where it cannot be found out."""
    try:
        told = run_program([program, "--version"], patience=30).stdout.decode(errors="replace")
    except (OSError, subprocess.SubprocessError):
        return ""
    found = re.search(r"\d+\.\d+", told)
    return found.group() if found else ""


def parameters_of(connection: Any, given: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of a connection: those of the URI, and those that libpq took from elsewhere and that are no defaults.

    A program with an older libpq does not know some keywords. It may refuse one that the URI contains, but not one with a default value.
    """
    used = {name: value for name, value in connection.info.dsn_parameters.items() if _DEFAULTS.get(name) != value}
    password = connection.info.password
    return used | dict(given) | ({"password": password} if password else {})


@contextmanager
def service_file(parameters: Mapping[str, str], application: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the descriptor of a service file, and an environment with which a program connects with these parameters.

    The file has no name in the file system. Environment variables exist only for some keywords of libpq; `require_auth` or `sslcrl`, for
    example, would be lost.

    Args:
        parameters: of the connection, as `parameters_of` returns them.
        application: the `application_name` of the program's session.

    Raises:
        RestoreError: a parameter cannot be written into such a file.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}  # noqa: TID251 - as below
    said = {
        name: value for name, value in parameters.items() if name not in {"password", "service", "dbname"} and value
    }
    if any("\n" in value or value != value.strip() for value in said.values()):
        raise RestoreError(
            "a parameter of migrate_uri begins or ends with a blank, or has a line end in it: a program cannot be given it",
            hint="change that parameter",
        )
    lines = [f"[{_SERVICE}]", *(f"{name}={value}" for name, value in said.items()), ""]
    with tempfile.TemporaryFile() as file:
        file.write("\n".join(lines).encode())
        file.seek(0)
        own = {
            "PGSERVICEFILE": f"/dev/fd/{file.fileno()}",
            "PGSERVICE": _SERVICE,
            "PGDATABASE": parameters.get("dbname", ""),
            "PGPASSWORD": parameters.get("password", ""),
            "PGAPPNAME": application,
        }
        yield file.fileno(), inherited | {name: value for name, value in own.items() if value}
