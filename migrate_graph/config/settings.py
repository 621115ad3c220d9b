"""Every setting, its value, and where the value came from."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, Literal, Self, TypeVar, overload

from migrate_graph.errors import ConfigError
from migrate_graph.messages import did_you_mean, first_line, similar
from migrate_graph.redaction import redact, redact_uri
from migrate_graph.user_files import SourceLocation

T = TypeVar("T")


class SourceKind(StrEnum):
    """Where a value can come from; the later ones win."""

    DEFAULT = "default"
    PYPROJECT = "pyproject"
    DOTENV = ".env"
    ENVIRONMENT = "environment"
    OVERRIDE = "command line"
    CODE = "code"


_FILES = frozenset({SourceKind.PYPROJECT, SourceKind.DOTENV})


@dataclass(frozen=True, slots=True)
class Source:
    """Where the value of a setting came from.

    Attributes:
        kind: see `SourceKind`.
        where: `pyproject.toml:12`, `.env`, or the name of the variable; empty for defaults.
    """

    kind: SourceKind = SourceKind.DEFAULT
    where: str = ""

    def __str__(self) -> str:
        return {
            SourceKind.ENVIRONMENT: f"{self.where} in the environment",
            SourceKind.OVERRIDE: f"{self.where} on the command line",
        }.get(self.kind, self.where or str(self.kind))


# --- kinds of values ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """What values a setting takes.

    Attributes:
        expected: in words, for messages.
        read: gives the value, or raises ValueError or TypeError.
        parse: gives what `read` takes, for a text of the environment.
        skips_empty: an empty text in the environment is as good as none.
    """

    expected: str
    read: Callable[[object], T]
    parse: Callable[[str], object] = str
    skips_empty: bool = False


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise TypeError
    return value


def _text_or_nothing(value: object) -> str | None:
    return None if value is None or value == "" else _text(value)


def _text_or_empty(value: object) -> str:
    return _text_or_nothing(value) or ""


def _path(value: object) -> str:
    return _text(str(value) if isinstance(value, Path) else value)


def _path_or_empty(value: object) -> str:
    return _path(value) if value else ""


def _path_or_nothing(value: object) -> str | None:
    return _path(value) if value else None


def _version(value: object) -> str | None:
    # An empty one would be a flag that every database shares; whether it is fit for a file name, the flag knows.
    return None if value is None else _text(value)


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise TypeError
    return float(value)


def _bytes(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError
    return value


def _schema(value: object) -> str | Literal[False]:
    # An empty text left the search path alone in edwh-migrate, like `false`.
    return False if value is False or value == "" else _text(value)


def _codes(value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError
    codes = tuple(str(code).strip().upper() for code in value)
    if not all(re.fullmatch(r"MG\d{1,3}", code) for code in codes):
        raise ValueError
    return codes


_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def _parse_boolean(text: str) -> object:
    return _BOOLEANS.get(text.strip().lower(), text)


def _parse_number(text: str) -> object:
    return float(text) if re.fullmatch(r"\s*[0-9]+(\.[0-9]*)?\s*", text, re.ASCII) else text


def _parse_bytes(text: str) -> object:
    return int(text) if re.fullmatch(r"\s*[0-9]+\s*", text, re.ASCII) else text


def _parse_codes(text: str) -> object:
    return [code for code in re.split(r"[\s,]+", text) if code]


def _parse_schema(text: str) -> object:
    return False if text.strip().lower() == "false" else text


def _one_of(*choices: str) -> Kind[str]:
    def read(value: object) -> str:
        if value not in choices:
            raise ValueError
        return str(value)

    return Kind(f"one of {', '.join(choices)}", read, skips_empty=True)


TEXT = Kind("a text that is not empty", _text)
OPTIONAL_TEXT = Kind("a text", _text_or_nothing)
PATH = Kind("a path that is not empty", _path)
OPTIONAL_PATH = Kind("a path", _path_or_nothing)
PATH_OR_EMPTY = Kind("a path", _path_or_empty)
TEXT_OR_EMPTY = Kind("a text", _text_or_empty)
VERSION = Kind("a text that is not empty", _version)
BOOLEAN = Kind("true or false", _boolean, _parse_boolean, skips_empty=True)
SECONDS = Kind("a number of seconds, 0 or more", _number, _parse_number, skips_empty=True)
BYTES = Kind("a whole number of bytes, 0 or more", _bytes, _parse_bytes, skips_empty=True)
SCHEMA: Kind[str | Literal[False]] = Kind("the name of a schema, or false", _schema, _parse_schema)
CODES = Kind('a list of codes like "MG101"', _codes, _parse_codes, skips_empty=True)


# --- settings ----------------------------------------------------------------------------------------------------


class Setting(Generic[T]):
    """One setting: a validated attribute of `Config`.

    Attributes:
        name: of the attribute and the key in pyproject.toml.
        kind: what values it takes.
        default: its value when nothing says otherwise.
        description: one line.
        variables: names of environment variables that set it, in upper case.
        secret: whether its value may not be shown as it is.
    """

    def __init__(
        self, kind: Kind[T], default: T, description: str, *, ours: bool = False, secret: bool = False
    ) -> None:
        self.kind = kind
        self.default = default
        self.description = description
        self.secret = secret
        self._ours = ours

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        # A stray ERROR=1 in somebody's shell must mean nothing: only edwh-migrate's names stand alone.
        self.variables = (f"MIGRATE_{name.upper()}",) if self._ours else (name.upper(), *_ALIASES_OF.get(name, ()))

    @overload
    def __get__(self, config: None, owner: type) -> Self: ...
    @overload
    def __get__(self, config: Config, owner: type) -> T: ...
    def __get__(self, config: Config | None, owner: type) -> Self | T:
        return self if config is None else config.read(self)

    def __set__(self, config: Config, value: object) -> None:
        config.update(_skip_none=False, **{self.name: value})

    def shown(self, value: object) -> object:
        """Return a value as it may be shown."""
        if not isinstance(value, str):
            return value
        return redact_uri(redact(value)) if self.secret else redact(value)


_ALIASES = {"db_uri": "migrate_uri"}
_ALIASES_OF = {"migrate_uri": ("DB_URI",)}


class Config:
    """The settings of one project; each attribute can be read and set, and is checked when it is set."""

    migrate_uri: Setting[str] = Setting(
        TEXT, "", "the database: `postgres://user:password@host:port/database` or `sqlite:///path/to/file`", secret=True
    )
    migrations_file = Setting(PATH, "migrations.py", "the file that declares the migrations, or imports those that do")
    migration_ordering_mode = Setting(
        _one_of("legacy", "intertwined"), "legacy", "how ties are broken: by order of definition, or by trailing number"
    )
    migrate_table = Setting(TEXT, "ewh_implemented_features", "the table in which installed migrations are recorded")
    schema = Setting(SCHEMA, "public", "the search_path of PostgreSQL; `false` leaves it alone")
    database_to_restore = Setting(
        PATH_OR_EMPTY, "/data/database_to_restore.sql", "the backup that an empty database is made from"
    )
    migrate_cat_command = Setting(OPTIONAL_TEXT, None, "the command that decompresses other backups than .gz and .xz")
    schema_version = Setting(VERSION, None, "names the flag that marks a finished run; nothing runs when it is there")
    flag_location = Setting(PATH, "/flags", "the directory of the flags")
    create_flag_location = Setting(BOOLEAN, False, "create that directory when it is missing")  # noqa: FBT003 - a default
    redis_host = Setting(
        OPTIONAL_TEXT, None, "the redis whose cache is flushed after a change: a host or a URL", secret=True
    )
    db_folder = Setting(OPTIONAL_PATH, None, "the directory in which pyDAL keeps its files")
    use_typedal = Setting(BOOLEAN, False, "hand migrations a TypeDAL instead of a pyDAL")  # noqa: FBT003 - a default

    lock_timeout_wait = Setting(SECONDS, 600.0, "how long to wait for another run; 0 tries once", ours=True)
    lock_timeout = Setting(
        SECONDS, 10.0, "how long a statement waits for a lock before it is retried; 0 = for ever", ours=True
    )
    statement_timeout = Setting(SECONDS, 0.0, "how long a statement may take; 0 = as long as it likes", ours=True)
    connect_wait = Setting(SECONDS, 600.0, "how long to wait for a database that does not answer yet", ours=True)
    on_partial = Setting(
        _one_of("retry", "stop"), "retry", "whether a migration that failed after own commits is tried again", ours=True
    )
    restore_trusted = Setting(BOOLEAN, False, "let a backup use commands of psql, also `\\!`", ours=True)  # noqa: FBT003
    restore_size_limit = Setting(
        BYTES, 0, "the most bytes a backup may have when decompressed; 0 = no limit", ours=True
    )
    link_template = Setting(TEXT_OR_EMPTY, "", "links in pictures: `https://…/{file}#L{line}`", ours=True)
    ignore = Setting(CODES, (), "codes of `migrate check` rules that are switched off", ours=True)
    error = Setting(CODES, (), "codes of rules that are errors", ours=True)
    warn = Setting(CODES, (), "codes of rules that are warnings", ours=True)

    def __init__(self, values: Mapping[str, object] | None = None, *, environ: Mapping[str, str] | None = None) -> None:
        """Make a configuration of given values and defaults.

        Args:
            values: keys in any case, with `-` or `_`; None means not given.
            environ: what `update_from_env()` reads when it is given nothing else; None for the process's own.

        Raises:
            ConfigError: naming every fault at once.
        """
        self._values: dict[str, Any] = {}
        self._sources: dict[str, Source] = {}
        self._environ = environ
        self.take(_in_code(values or {}))

    @classmethod
    def load(cls, data: Mapping[str, object] | None = None, *, environ: Mapping[str, str] | None = None) -> Self:
        """Make a configuration of a mapping, as edwh-migrate's programs do.

        Raises:
            ConfigError: naming every fault at once.
        """
        return cls(data, environ=environ)

    @classmethod
    def settings(cls) -> Iterator[Setting[Any]]:
        """Return every setting, in the order in which they are documented."""
        return (each for each in vars(Config).values() if isinstance(each, Setting))

    @property
    def has_database(self) -> bool:
        """Whether a database is configured."""
        return bool(self._values.get("migrate_uri"))

    @property
    def db_uri(self) -> str:
        """Another name of `migrate_uri`."""
        return self.migrate_uri

    @db_uri.setter
    def db_uri(self, value: str) -> None:
        self.migrate_uri = value

    def read(self, setting: Setting[T]) -> T:
        """Return the value of a setting.

        Raises:
            ConfigError: no database is configured.
        """
        if setting.name == "migrate_uri" and not self.has_database:
            raise ConfigError(
                "no database is configured",
                hint="set MIGRATE_URI in the environment or in .env, or migrate_uri under [tool.migrate] in pyproject.toml",
            )
        value: T = self._values.get(setting.name, setting.default)
        return value

    @property
    def sources(self) -> dict[str, Source]:
        """Where the value of each setting came from, by name."""
        return {setting.name: self._sources.get(setting.name, Source()) for setting in self.settings()}

    def update(self, _skip_none: bool = True, **values: object) -> None:  # noqa: FBT001, FBT002 - edwh-migrate's signature
        """Set several settings; all of them or none.

        Args:
            _skip_none: a value of None means not given; otherwise it sets the default again.
            **values: by name, in any case.

        Raises:
            ConfigError: naming every fault at once.
        """
        self.take(_in_code(values, skip_none=_skip_none))

    def update_from_env(self, environ: Mapping[str, str] | None = None) -> None:
        """Take what the environment sets.

        Args:
            environ: the environment; None for the one given at construction, or else that of the process.

        Raises:
            ConfigError: naming every fault at once.
        """
        if environ is None:
            environ = os.environ if self._environ is None else self._environ  # noqa: TID251 - a program asks for it
        self.take(_in_environment(environ, SourceKind.ENVIRONMENT))

    def take(self, given: Iterable[Given], problems: Iterable[Problem] = ()) -> None:
        """Set what was given, the later over the earlier; nothing when anything is wrong.

        Args:
            given: values with their names and sources.
            problems: what was wrong already.

        Raises:
            ConfigError: naming every fault at once.
        """
        problems = list(problems)
        values, sources = dict(self._values), dict(self._sources)
        for each in given:
            setting = _setting_called(each.key or each.name)
            if setting is None:
                problems.append(_unknown(each))
                continue
            try:
                values[setting.name] = each.value_for(setting)
                sources[setting.name] = each.source
            except (TypeError, ValueError):
                problems.append(_wrong(each, setting))
        if problems:
            raise _as_error(problems)
        self._values, self._sources = values, sources

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("_") and name not in dir(type(self)):
            raise _as_error([_unknown(Given(name, value, Source(SourceKind.CODE)))])
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        shown = (
            f"{setting.name}={setting.shown(self._values.get(setting.name, setting.default))!r}"
            for setting in self.settings()
        )
        return f"<Config {' '.join(shown)}>"


# --- where values come from --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Given:
    """A value for a setting, as it was found.

    Attributes:
        name: as it was spelt.
        value: as it was found.
        source: where.
        text: it comes from a place that knows only texts.
        place: file and line, where there is one.
        key: of the setting, where the name is that of a variable.
    """

    name: str
    value: object
    source: Source
    text: bool = False
    place: SourceLocation | None = None
    key: str = ""

    def value_for(self, setting: Setting[T]) -> T:
        """Return the checked value; TypeError or ValueError when it is of the wrong kind."""
        if self.value is None or (setting.name == "migrate_uri" and self.value == ""):
            return setting.default
        if self.text and isinstance(self.value, str):
            return setting.kind.read(setting.kind.parse(self.value))
        return setting.kind.read(self.value)


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of the settings.

    Attributes:
        message: what is wrong, with file, key and value.
        hint: what to do.
    """

    message: str
    hint: str = ""


def load_config(root: Path, environ: Mapping[str, str], overrides: Mapping[str, object] | None = None) -> Config:
    """Read the settings of a project: defaults, pyproject.toml, .env, environment, overrides; the later win.

    Args:
        root: the directory of pyproject.toml; .env is searched from here upwards.
        environ: the environment; it is not changed.
        overrides: what the command line says; None means not given.

    Raises:
        ConfigError: naming every fault at once.
    """
    config = Config(environ=environ)
    problems: list[Problem] = []
    given = [
        *_in_pyproject(root / "pyproject.toml", problems),
        *_in_dotenv(root, environ, problems),
        *_in_environment(environ, SourceKind.ENVIRONMENT),
        *_in_overrides(overrides or {}),
    ]
    config.take(given, problems)
    return config


def _setting_called(name: str) -> Setting[Any] | None:
    plain = name.lower().replace("-", "_")
    return next((each for each in Config.settings() if each.name == _ALIASES.get(plain, plain)), None)


def _in_code(values: Mapping[str, object], *, skip_none: bool = True) -> Iterator[Given]:
    for name, value in values.items():
        if value is not None or not skip_none:
            yield Given(name, value, Source(SourceKind.CODE))


def _in_overrides(overrides: Mapping[str, object]) -> Iterator[Given]:
    for name, value in overrides.items():
        if value is not None:
            yield Given(name, value, Source(SourceKind.OVERRIDE, f"--{name.replace('_', '-')}"))


def _in_environment(environ: Mapping[str, str], kind: SourceKind, where: str = "") -> Iterator[Given]:
    """Find the variables that are settings, in any case as in edwh-migrate; upper case wins."""
    named = {name.upper(): (name, text) for name, text in sorted(environ.items(), reverse=True)}
    for setting in Config.settings():
        found = [named[name] for name in reversed(setting.variables) if name in named]
        for name, text in found:
            if text or not (setting.kind.skips_empty or len(found) > 1):
                yield Given(name, text, Source(kind, where or name), text=True, key=setting.name)


def _in_dotenv(root: Path, environ: Mapping[str, str], problems: list[Problem]) -> list[Given]:
    """Read the nearest .env, from the root upwards; `${NAME}` is filled in, the process's environment is not changed."""
    base = root.absolute()
    file = _nearest_dotenv(base)
    if file is None:
        return []
    where = file.name if file.parent == base else str(file)
    try:
        values = _variables_in(file, environ)
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(f"{where} cannot be read: {error}", "make it a readable text in UTF-8"))
        return []
    return list(_in_environment(values, SourceKind.DOTENV, where))


def share_dotenv(root: Path, environ: MutableMapping[str, str]) -> None:
    """Make the nearest .env part of an environment, as edwh-migrate does: migrations read it there.

    What is set already wins. To be called after `load_config`, which says what is wrong with the file.

    Args:
        root: .env is searched from here upwards.
        environ: the environment; it is changed.
    """
    file = _nearest_dotenv(root.absolute())
    if file is not None:
        for name, text in _variables_in(file, environ).items():
            environ.setdefault(name, text)


def _nearest_dotenv(base: Path) -> Path | None:
    return next((each for folder in (base, *base.parents) if (each := folder / ".env").is_file()), None)


def _variables_in(file: Path, environ: Mapping[str, str]) -> dict[str, str]:
    from dotenv import dotenv_values
    from dotenv.variables import parse_variables

    values: dict[str, str] = {}
    for name, text in dotenv_values(file, interpolate=False, encoding="utf-8").items():
        if text is not None:
            known = {**values, **environ}
            values[name] = "".join(atom.resolve(known) for atom in parse_variables(text))
    return values


def _in_pyproject(file: Path, problems: list[Problem]) -> list[Given]:
    """Read `[tool.migrate]`; what is no table, or no TOML, becomes a problem."""
    try:
        text = file.read_text("utf-8-sig")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(f"{file.name} cannot be read: {error}", "make it a readable text in UTF-8"))
        return []
    settings = _tool_migrate(text, file.name) if "migrate" in text else {}  # tomlkit takes its time
    if isinstance(settings, Problem):
        problems.append(settings)
        return []
    return list(_in_table(settings, file.name, _lines_of_keys(text)))


def _tool_migrate(text: str, file: str) -> dict[str, object] | Problem:
    """Parse a pyproject.toml; give its `[tool.migrate]`, or what is wrong."""
    import tomlkit
    from tomlkit.exceptions import ParseError, TOMLKitError

    try:
        tool = tomlkit.parse(text).unwrap().get("tool", {})
    except ParseError as error:
        return Problem(
            f"{file}:{error.line}:{error.col}: not valid TOML: {redact(first_line(error))}", "correct the line"
        )
    except (TOMLKitError, ValueError) as error:
        return Problem(f"{file}: not valid TOML: {redact(first_line(error))}", "correct the file")
    settings = tool.get("migrate", {}) if isinstance(tool, dict) else tool
    if not isinstance(settings, dict):
        return Problem(f"{file}: tool.migrate is no table", "write [tool.migrate] and settings below it")
    return settings


def _in_table(settings: Mapping[str, object], file: str, lines: Mapping[str, int]) -> Iterator[Given]:
    for name, value in settings.items():
        place = SourceLocation(file, lines[name]) if name in lines else None
        yield Given(name, value, Source(SourceKind.PYPROJECT, str(place or file)), place=place)


_HEADER = re.compile(r"\s*\[\s*(?P<table>[^\[\]]+?)\s*\]\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*(?P<quote>["']?)(?P<key>[\w-]+)(?P=quote)\s*=""")


def _lines_of_keys(text: str) -> dict[str, int]:
    """Return the line of each key below `[tool.migrate]`; tomlkit does not tell."""
    lines: dict[str, int] = {}
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            inside = re.sub(r"[\s\"']", "", header["table"]) == "tool.migrate"
        elif inside and (key := _KEY.match(line)):
            lines.setdefault(key["key"], number)
    return lines


# --- faults ------------------------------------------------------------------------------------------------------


def _unknown(given: Given) -> Problem:
    names = [setting.name for setting in Config.settings()]
    near = similar(given.name.lower().replace("-", "_"), names, most=1)
    hint = did_you_mean(near, "migrate config lists every setting")
    return Problem(f"{_where(given)}there is no setting {given.name!r}", hint)


def _wrong(given: Given, setting: Setting[Any]) -> Problem:
    shown = redact(repr(given.value) if not isinstance(given.value, str) else repr(setting.shown(given.value)))
    if len(shown) > 80:
        shown = f"{shown[:77]}..."
    message = f"{_where(given)}{given.name} = {shown}, but it takes {setting.kind.expected}"
    one_of, _, choices = setting.kind.expected.partition("one of ")
    near = [] if one_of else similar(str(given.value), choices.split(", "), most=1)
    return Problem(message, did_you_mean(near, f"{setting.name}: {setting.description}"))


def _where(given: Given) -> str:
    if given.source.kind is SourceKind.CODE:
        return ""
    place = given.place or (given.source.where if given.source.kind in _FILES else given.source.kind)
    return f"{place}: "


def _as_error(problems: list[Problem]) -> ConfigError:
    """Make one error of all problems; each message names its own place."""
    if len(problems) == 1:
        return ConfigError(problems[0].message, hint=problems[0].hint)
    listed = "".join(f"\n{each.message}" + (f" ({each.hint})" if each.hint else "") for each in problems)
    return ConfigError(f"{len(problems)} settings are wrong:{listed}", hint="correct them all; nothing was connected")
