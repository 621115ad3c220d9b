"""What the URI of a database may look like; a doubtful or impossible one is refused before anything is connected."""

from __future__ import annotations

import re

from migrate_graph.config.values import Refused

_POSTGRES = re.compile(r"(?P<name>postgres(?:ql|[23])?)(?:[+:][a-z0-9_]+)?", re.IGNORECASE)
_ALSO_POSTGRES = frozenset({"psql", "pgsql", "postgis", "django.contrib.gis.db.backends.postgis"})
"""Names of PostgreSQL in django-environ and dj-database-url."""
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.:_-]*")
_HOST = r"(?:\[[^\[\]]*\]|[^\[\]:,]*)(?::\d{0,5})?"
_HOSTS = re.compile(f"{_HOST}(?:,{_HOST})*")
_ENCODE = "percent-encode it: %40 is @, %2F is /, %23 is #, %3F is ?, %25 is %"


def checked_uri(uri: str) -> str:
    """Return the URI of a database as the drivers take it.

    `postgresql+psycopg2://` and the like, which SQLAlchemy and Django write, become `postgresql://`; `postgres2://` and
    `postgres3://` stay, because pyDAL maps types by them. No message holds a part of the URI after its scheme: it is in
    doubt where the password ends.

    Raises:
        Refused: it has no scheme, is ambiguous, or names a database that cannot be used.
    """
    scheme, separator, rest = uri.partition("://")
    if scheme.lower() in {"sqlite:memory", "sqlite:memory:"}:
        raise _in_memory()
    if not separator or not _SCHEME.fullmatch(scheme):
        raise Refused("it has no scheme", "write postgres://user:password@host:port/database, or sqlite://path/to/file")
    if scheme.lower() in _ALSO_POSTGRES:
        scheme = "postgresql"
    if match := _POSTGRES.fullmatch(scheme):
        _check_postgres(rest)
        name = match["name"].lower()
        return f"{name if '+' in scheme else scheme}://{rest}"
    if scheme.lower().partition("+")[0] == "sqlite":
        return f"sqlite://{_checked_file(rest)}"
    return uri


def _check_postgres(rest: str) -> None:
    """Refuse an ambiguous URI: libpq ends a password at the first `@`, other programs at the last, and neither may be meant."""
    authority, _, tail = rest.partition("/")
    path, _, query = tail.partition("?")
    user, at, hosts = authority.rpartition("@")
    hosts, _, odd = hosts.partition("?")
    if "@" in user:
        raise Refused("user or password holds a raw '@'", _ENCODE)
    if "#" in user + hosts + path:
        raise Refused("it holds a raw '#'", _ENCODE)
    if "@" in path or (not at and "@" in query.partition("=")[0]):
        raise Refused("user or password holds a raw '/'", _ENCODE)
    if not _HOSTS.fullmatch(hosts):
        raise Refused("what follows the host is no port", f"write host:port; if it is part of the password, {_ENCODE}")
    if any("=" not in pair for pair in (*odd.split("&"), *query.split("&")) if pair):
        raise Refused("a parameter after '?' has no value", f"write ?name=value; in a password, {_ENCODE}")
    if re.search(r"%(?![0-9A-Fa-f]{2})", user + hosts + path):
        raise Refused("it holds a raw '%'", _ENCODE)


def _checked_file(name: str) -> str:
    """Return the path of a file: `/absolute/x.db`, `x.db`, and SQLAlchemy's `//absolute/x.db` and `/./x.db`."""
    if "?" in name:
        raise Refused(
            "it has parameters after '?', and a file takes none",
            "leave them out; lock_timeout sets how long to wait for a file that is locked",
        )
    path = name[1:] if name.startswith(("/./", "/../")) else name
    if path.strip("/").lower() in {":memory:", "file::memory:"}:
        raise _in_memory()
    if path.endswith("/") or not path.strip("/"):
        raise Refused("it names no file", "write sqlite://path/to/file")
    if re.fullmatch(r"/[^/]+", path):
        raise Refused(
            f"it means {path} in the root directory",
            f"write sqlite://{path[1:]} for a file in the working directory, sqlite:///{path} for that one",
        )
    return path if re.fullmatch(r"/+[^/]+", path) else re.sub(r"^/+", "/", path)


def _in_memory() -> Refused:
    return Refused("a database in memory is gone when the process ends", "name a file: sqlite://path/to/file")
