"""Where settings are read: pyproject.toml, .env, the environment, the command line; the later ones win."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TypeVar, overload

from migrate_graph.config.dotenv import Dotenv, read_dotenv
from migrate_graph.config.pyproject import filled, places_of_keys, tool_table
from migrate_graph.config.settings import Config, Problem, setting_called
from migrate_graph.config.typedal import of_typedal
from migrate_graph.config.values import RawValue, Refused, Source, SourceKind
from migrate_graph.messages import similar

AnyConfig = TypeVar("AnyConfig", bound=Config)
FALLBACK = "DATABASE_URL"
"""The variable that names the database where no setting does."""

_FALLBACK_SCHEMES = re.compile(r"\s*(postgres|sqlite|psql|pgsql|postgis)[a-z0-9+:_]*://", re.IGNORECASE)


@overload
def load_config(root: Path, environ: Mapping[str, str], overrides: Mapping[str, object] | None = None) -> Config: ...


@overload
def load_config(
    root: Path, environ: Mapping[str, str], overrides: Mapping[str, object] | None = None, *, kind: type[AnyConfig]
) -> AnyConfig: ...


def load_config(
    root: Path,
    environ: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
    *,
    kind: type[Config] = Config,
) -> Config:
    """Read the settings of a project: defaults, pyproject.toml, .env, environment, command line; the later win.

    Args:
        root: the directory of pyproject.toml; .env is searched from here upwards, to the top of the project.
        environ: the environment; it is not changed.
        overrides: values from the command line, by the name of the setting; None means not given.
        kind: the class of the result.

    Raises:
        ConfigError: naming every fault at once.
    """
    problems: list[Problem] = []
    try:
        dotenv = read_dotenv(root, environ)
    except Refused as refused:
        dotenv = Dotenv()
        problems.append(Problem(refused.why, refused.hint))
    remarks = list(dotenv.remarks)
    # A variable of .env is filled in as edwh-migrate did it: from the environment first.
    known = {**(dotenv.variables or {}), **environ}
    given = [
        *_in_pyproject(root / "pyproject.toml", known, problems, remarks),
        *_in_variables(dotenv.variables or {}, SourceKind.DOTENV, dotenv.where),
        *_in_variables(environ, SourceKind.ENVIRONMENT),
        *_on_the_command_line(overrides or {}),
    ]
    problems += contradictions(given)
    remarks += _crossed(given)
    remarks += _misspelt(dotenv.variables or {}, dotenv.where)
    remarks += _misspelt(environ, "environment")
    config = kind(environ=environ)
    config.take([*_fallback(given, dotenv, environ, root / "pyproject.toml"), *given], problems)
    config.remember(dotenv, remarks)
    return config


def in_environment(environ: Mapping[str, str]) -> tuple[list[RawValue], list[Problem]]:
    """Return the settings in an environment, and a problem for each contradiction among them."""
    given = list(_in_variables(environ, SourceKind.ENVIRONMENT))
    return given, contradictions(given)


def contradictions(given: Sequence[RawValue]) -> list[Problem]:
    """Return a problem for each two names of one setting that have different values in one place: none of them should win."""
    return [
        Problem(f"{first.prefix}{first.name} and {second.name} differ, and mean the same setting", "remove one of them")
        for first, second in combinations(given, 2)
        if first.source.kind is second.source.kind and _differ(first, second)
    ]


def _crossed(given: Sequence[RawValue]) -> list[str]:
    """Return a remark for each setting that .env and the environment set under two names, with different values."""
    kinds = (SourceKind.DOTENV, SourceKind.ENVIRONMENT)
    return [
        f"{first.name} ({first.source}) and {second.name} ({second.source}) differ: {second.name} wins"
        for first, second in combinations(given, 2)
        if (first.source.kind, second.source.kind) == kinds and _differ(first, second)
    ]


def _differ(first: RawValue, second: RawValue) -> bool:
    one, other = (setting_called(each.key or each.name) for each in (first, second))
    return (
        one is other is not None
        and first.name.lower() != second.name.lower()
        and str(first.value).strip() != str(second.value).strip()
        and "" not in {first.value, second.value}
    )


def _fallback(
    given: Sequence[RawValue], dotenv: Dotenv, environ: Mapping[str, str], pyproject: Path
) -> Iterator[RawValue]:
    """Yield what TypeDAL's settings or DATABASE_URL say, where no source sets the database, not even to an empty text.

    A DATABASE_URL of an unknown kind belongs to another program, and is ignored.
    """
    if any(setting_called(each.key or each.name) is setting_called("migrate_uri") for each in given):
        return
    if found := of_typedal(pyproject, dotenv, environ):
        yield from found
        return
    places = (
        (dotenv.variables or {}, Source(SourceKind.DOTENV, dotenv.where)),
        (environ, Source(SourceKind.ENVIRONMENT, FALLBACK)),
    )
    for variables, source in places:
        if _FALLBACK_SCHEMES.match(variables.get(FALLBACK, "")):
            yield RawValue(FALLBACK, variables[FALLBACK], source, key="migrate_uri")


def _on_the_command_line(overrides: Mapping[str, object]) -> Iterator[RawValue]:
    for name, value in overrides.items():
        if value is not None:
            setting = setting_called(name)
            flag = setting.flag if setting else f"--set {name}"
            yield RawValue(flag, value, Source(SourceKind.COMMAND_LINE, flag), key=name)


def _in_variables(variables: Mapping[str, str], kind: SourceKind, where: str = "") -> Iterator[RawValue]:
    """Yield the variables that are settings, in upper or lower case and with `-` or `_`, as in edwh-migrate; the plain spelling wins."""
    ordered = sorted(variables.items(), key=lambda item: (item[0] == _plain(item[0]), item))
    named = {_plain(name): (name, text) for name, text in ordered}
    for setting in Config.settings():
        found = [named[name] for name in reversed(setting.variables) if name in named]
        for name, text in found:
            if text.strip() or not (setting.skips_empty or len(found) > 1):
                yield RawValue(name, text, Source(kind, where or name), key=setting.name)


_PACKAGE_PREFIX, _PREFIX = "MIGRATE_GRAPH_", "MIGRATE_"
_NEAR, _VERY_NEAR = 0.8, 0.9


def _misspelt(variables: Mapping[str, str], where: str) -> list[str]:
    """Remark on variables that look like those of settings, and are none."""
    names = sorted(name for name in variables if _plain(name).startswith("MIGRAT"))
    meant = {name: _meant_by(_plain(name)) for name in names}
    return [f"{where}: {name} is no setting; did you mean {other}?" for name, other in meant.items() if other]


def _meant_by(name: str) -> str:
    """Return the variable of a setting that one which begins with `MIGRAT` may be meant for; empty where it is one, or like none."""
    settings = list(Config.settings())
    known = [variable for each in settings for variable in each.variables]
    if name in known:
        return ""
    by_end = {each.name.upper().removeprefix(_PREFIX): each.variables[0] for each in settings} | {"URL": "MIGRATE_URI"}
    prefix = next((each for each in (_PACKAGE_PREFIX, _PREFIX) if name.startswith(each)), "")
    end = name.removeprefix(prefix)
    if not prefix:
        return next(iter(similar(name, known, most=1, cutoff=_VERY_NEAR)), "")
    return by_end.get(end) or next((by_end[each] for each in similar(end, by_end, most=1, cutoff=_NEAR)), "")


def _plain(name: str) -> str:
    return name.upper().replace("-", "_")


# --- pyproject.toml ------------------------------------------------------------------------------------------------


def _in_pyproject(
    file: Path, known: Mapping[str, str], problems: list[Problem], remarks: list[str]
) -> Iterator[RawValue]:
    """Yield what `[tool.migrate]` sets; a file that cannot be read, or is wrong, becomes a problem."""
    try:
        content = file.read_text("utf-8-sig")
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(f"{file.name} cannot be read: {error}", "make it a readable text in UTF-8"))
        return
    settings = tool_table(content, file.name, "migrate", package="migrate_graph")
    if isinstance(settings, Problem):
        problems.append(settings)
        return
    places = places_of_keys(content, file.name, "tool.migrate")
    for name, value in settings.items():
        place = places.get(name)
        where = str(place or file.name)
        text, missing = filled(value, known)
        remarks += [f"{where}: {name} names ${{{each}}}, which is not set: taken as empty" for each in missing]
        yield RawValue(name, text, Source(SourceKind.PYPROJECT, where), place=place)
