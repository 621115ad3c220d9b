"""The settings of TypeDAL, for projects that name their database there and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec.structs import replace

from migrate_graph.config.dotenv import Dotenv
from migrate_graph.config.pyproject import filled, places_of_keys, tool_table
from migrate_graph.config.values import RawValue, Source, SourceKind

PREFIX = "TYPEDAL_"

# Settings with the same name in TypeDAL, those with another name there, and TypeDAL's defaults.
_SAME = (
    "database_to_restore", "migrate_cat_command", "schema_version", "redis_host", "migrate_table", "flag_location", "create_flag_location",
)  # fmt: skip
_ALIASES = {"db_uri": "database", "db_type": "dialect", "db_folder": "folder"}
_NAMES = {name: name for name in _SAME} | {
    "database": "migrate_uri",
    "folder": "db_folder",
    "output": "migrations_file",
}
_DEFAULTS: dict[str, object] = {
    "folder": "databases",
    "migrate_table": "typedal_implemented_features",
    "create_flag_location": True,
}


_OURS = re.compile(r"\s*(postgres\w*|psql|pgsql|sqlite3?)(\+\w+)?://", re.IGNORECASE)
"""Databases that can be migrated; TypeDAL's own default is a database in memory, which cannot."""


def of_typedal(pyproject: Path, dotenv: Dotenv, environ: Mapping[str, str]) -> list[RawValue]:
    """Return the settings that TypeDAL hands to edwh-migrate; none where it names no database.

    They come from `[tool.typedal]`, or the connection in it that `default` or `TYPEDAL_CONNECTION` names; variables that begin with
    `TYPEDAL_` win. `schema` is not taken over: TypeDAL's default of `public` would set a search_path that nobody has asked for.
    """
    known = {**(dotenv.variables or {}), **environ}
    variables = dict(_in_variables(dotenv.variables or {}, SourceKind.DOTENV, dotenv.where))
    variables |= _in_variables(environ, SourceKind.ENVIRONMENT, "")
    connection = str(variables["connection"].value) if "connection" in variables else ""
    found = {**dict(_in_pyproject(pyproject, connection, known)), **variables}
    if "database" not in found:
        return []
    database, dialect = found["database"], found.get("dialect")
    if ":" not in str(database.value) and dialect is not None:
        database = found["database"] = replace(database, value=f"{dialect.value}://{database.value}")
    if not _OURS.match(str(database.value)):
        return []
    for name, value in _DEFAULTS.items():
        found.setdefault(name, RawValue(name, value, database.source))
    flags = f"{found['folder'].value}/flags"
    found.setdefault("flag_location", RawValue("flag_location", flags, database.source))
    return [replace(each, key=_NAMES[name]) for name, each in found.items() if name in _NAMES and each.value != ""]


def _in_pyproject(file: Path, connection: str, known: Mapping[str, str]) -> Iterator[tuple[str, RawValue]]:
    """Yield what `[tool.typedal]` sets; nothing for a missing or faulty file: `[tool.migrate]` reports its faults."""
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return
    settings = tool_table(text, file.name, "typedal")
    if not isinstance(settings, dict):
        return
    table, connection = "tool.typedal", connection or str(settings.get("default") or "")
    inner = settings.get(connection) if connection else None
    if isinstance(inner, dict):
        settings, table = inner, f"{table}.{connection}"
    places = places_of_keys(text, file.name, table)
    for name, value in settings.items():
        if isinstance(value, str | bool):
            place = places.get(name)
            source = Source(SourceKind.PYPROJECT, f"{place or file.name} [{table}]")
            yield _plain(name), RawValue(name, filled(value, known)[0], source, place)


def _in_variables(variables: Mapping[str, str], kind: SourceKind, where: str) -> Iterator[tuple[str, RawValue]]:
    for name, text in variables.items():
        if name.upper().startswith(PREFIX) and text.strip():
            yield _plain(name[len(PREFIX) :]), RawValue(name, text, Source(kind, where or name))


def _plain(name: str) -> str:
    plain = name.lower().replace("-", "_")
    return _ALIASES.get(plain, plain)
