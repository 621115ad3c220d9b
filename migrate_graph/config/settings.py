"""Every setting, declared once: its type, default, variable, option, help and check."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Self, get_origin, get_type_hints

from msgspec import Struct

from migrate_graph.config.dotenv import Dotenv
from migrate_graph.config.secrets import secrets_in
from migrate_graph.config.uris import checked_uri
from migrate_graph.config.values import (
    Bytes,
    Codes,
    FilePath,
    Jobs,
    Patterns,
    RawValue,
    Refused,
    RehearseBudget,
    Schema,
    Seconds,
    Source,
    SourceKind,
    WrongType,
    converted,
    expected,
)
from migrate_graph.core.footprint import Budget
from migrate_graph.errors import ConfigError
from migrate_graph.messages import did_you_mean, similar
from migrate_graph.redaction import redact, redact_setting


class Setting(Struct, frozen=True):
    """One setting.

    Attributes:
        name: its attribute of `Config`, and its key in pyproject.toml.
        annotation: its type, which says how a value is converted.
        default: its value when it is not set.
        help: one line.
        flag: the option of the command line; `--set NAME` takes every setting.
        variables: names of environment variables that set it, in capitals; the first one wins.
        secret: whether its value may not be shown as it is.
        empty: whether an empty text is a value; mostly it switches something off.
        check: returns the value as it is kept, or raises Refused.
    """

    name: str
    annotation: Any
    default: Any
    help: str
    flag: str
    variables: tuple[str, ...]
    secret: bool
    empty: bool
    check: Callable[[Any], Any] | None

    @property
    def skips_empty(self) -> bool:
        """Whether an empty variable counts as not set, because an empty text cannot be a value."""
        return get_origin(self.annotation) is Literal or not (
            self.default is MISSING or isinstance(self.default, str | None)
        )

    @property
    def expected(self) -> str:
        """What it takes, in words."""
        return expected(self.annotation, empty=self.empty)

    def value_of(self, raw: RawValue) -> Any:
        """Return the checked value of what was found.

        Raises:
            WrongType: it is of another type.
            Refused: its check refuses it.
        """
        if raw.value is None or (raw.value == "" and self.name == "migrate_uri"):
            return self.default
        value = converted(raw.value, self.annotation, from_text=raw.is_text, empty=self.empty)
        return self.check(value) if self.check and value not in {None, ""} else value

    def shown(self, value: object) -> object:
        """Return a value as it may be shown."""
        if not isinstance(value, str):
            return value
        return redact_setting(value) if self.secret else redact(value)


def setting(
    default: Any,
    help: str,  # noqa: A002 - the word of option parsers
    *,
    flag: str = "",
    ours: bool = False,
    secret: bool = False,
    empty: bool | None = None,
    check: Callable[[Any], Any] | None = None,
    aliases: tuple[str, ...] = (),
) -> Any:
    """Declare a setting.

    Variables of settings that edwh-migrate has are named like the setting. Those of the others (`ours`) begin with `MIGRATE_`:
    an ERROR=1 in somebody's shell must not set anything.
    """
    may_be_empty = default is None or default == "" if empty is None else empty

    def called(name: str, annotation: Any) -> Setting:
        own = f"MIGRATE_{name.upper()}" if ours else name.upper()
        variables = (own, *aliases)
        return Setting(name, annotation, default, help, flag or f"--set {name}", variables, secret, may_be_empty, check)

    metadata = {"called": called}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


def _checked_table(name: str) -> str:
    if found := re.search(r"[?%\"'`;\\]", name):
        raise Refused(f"the name of a table with {found[0]!r} is not supported", "use letters, digits and underscores")
    return name


def _checked_codes(codes: tuple[str, ...]) -> tuple[str, ...]:
    codes = tuple(code.upper() for code in codes)
    if not all(re.fullmatch(r"MG\d{1,3}", code) for code in codes):
        raise WrongType
    return codes


_DANGEROUS_SCHEME = re.compile(r"(javascript|data|vbscript|blob|filesystem):", re.IGNORECASE)


def _checked_server(uri: str) -> str:
    uri = checked_uri(uri)
    if not uri.lower().startswith("postgres"):
        raise Refused(
            "copies are made on servers of PostgreSQL only", "write postgres://user:password@host:port/database"
        )
    return uri


def _checked_template(template: str) -> str:
    # The beginning of a link decides what a click does, so the name of a file may not stand there.
    if _DANGEROUS_SCHEME.match(template) or not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://|\.{0,2}/|#", template):
        raise Refused(
            "a link begins with https://, with another scheme that opens something, or with /",
            "write https://host/path/{file}#L{line}, or vscode://file/{file}:{line}",
        )
    return template


MOST_JOBS = 64


def _checked_jobs(jobs: int) -> int:
    """Refuse a number of jobs that is too large for most servers: each job has two connections."""
    if not 1 <= jobs <= MOST_JOBS:
        raise Refused(f"{jobs} is no number of jobs", f"write a number from 1 to {MOST_JOBS}; 1 is one after another")
    return jobs


def _checked_timeout(seconds: float) -> float:
    """Refuse what PostgreSQL, which counts milliseconds, would take for none, or not at all."""
    if 0 < seconds < SHORTEST_TIMEOUT:
        raise Refused("PostgreSQL takes less than a millisecond for no limit", "write 0.001 or more; 0 = no limit")
    if seconds > LONGEST_TIMEOUT:
        raise Refused(f"PostgreSQL has no timeout of more than {LONGEST_TIMEOUT:,} seconds", "write 0 for no limit")
    return seconds


SHORTEST_TIMEOUT, LONGEST_TIMEOUT = 0.001, (2**31 - 1) // 1000


@dataclass(init=False, repr=False, eq=False)
class Config:
    """The settings of one project; each attribute can be read and set, and is checked when it is set."""

    migrate_uri: str = setting(
        MISSING,
        "the database: `postgres://user:password@host:port/database` or `sqlite://path/to/file`",
        flag="--uri",
        secret=True,
        check=checked_uri,
        aliases=("DB_URI",),
    )
    migrations_file: FilePath = setting(
        "migrations.py", "the file that declares the migrations, or imports those that do"
    )
    migration_ordering_mode: Literal["legacy", "intertwined", "declared"] = setting(
        "legacy",
        "which of several possible migrations comes first: by order of declaration (`legacy`), or by the number at the end "
        "of the name (`intertwined`); `declared`: as `legacy`, and `requires` says all that `--jobs` must know",
    )
    migrate_table: str = setting(
        "ewh_implemented_features", "the table in which installed migrations are recorded", check=_checked_table
    )
    schema: Schema = setting(
        "public", "the search_path of sessions in PostgreSQL; if this is not set, or `false`, they keep their own"
    )
    database_to_restore: FilePath = setting(
        "/data/database_to_restore.sql",
        "the backup that is restored into an empty database; an empty text means none",
        empty=True,
    )
    migrate_cat_command: str | None = setting(None, "the command that decompresses other backups than .gz and .xz")
    schema_version: str | None = setting(
        None, "names the flag that marks a finished run; when that flag exists, nothing runs", empty=False
    )
    flag_location: FilePath = setting("/flags", "the directory of the flags")
    create_flag_location: bool = setting(False, "create that directory when it is missing")  # noqa: FBT003 - a default
    redis_host: str | None = setting(
        None, "the redis whose cache is flushed after a change: a host or a URL", secret=True
    )
    db_folder: FilePath | None = setting(None, "the directory in which pyDAL keeps its files")
    use_typedal: bool = setting(False, "hand migrations a TypeDAL instead of a pyDAL")  # noqa: FBT003 - a default

    lock_timeout_wait: Seconds = setting(
        600.0, "how long to wait for another run to end; 0 = try once", flag="--lock-timeout", ours=True
    )
    lock_timeout: Seconds = setting(
        10.0,
        "how long a statement waits for a lock before it is retried; 0 = for ever",
        ours=True,
        check=_checked_timeout,
    )
    statement_timeout: Seconds = setting(
        0.0, "how long a statement may take; 0 = no limit", ours=True, check=_checked_timeout
    )
    session: Literal["reused", "fresh"] = setting(
        "reused", "whether the session of a migration that succeeded is reset and used for the next one", ours=True
    )
    connect_wait: Seconds = setting(600.0, "how long to wait for a database that does not answer yet", ours=True)
    on_partial: Literal["retry", "stop"] = setting(
        "retry", "whether a migration that failed after commits of its own is tried again", ours=True
    )
    atomic: bool = setting(
        False,  # noqa: FBT003 - a default
        "run all that is pending as one transaction: all of it is kept, or nothing",
        flag="--atomic",
        ours=True,
    )
    coalesce: bool = setting(
        False,  # noqa: FBT003 - a default
        "run consecutive migrations that need the same views as one transaction, in which the views are dropped once",
        flag="--coalesce",
        ours=True,
    )
    jobs: Jobs = setting(
        1, "how many migrations may run at once (PostgreSQL)", flag="--jobs", ours=True, check=_checked_jobs
    )
    weave: Literal["blocked", "windows", "off"] = setting(
        "blocked",
        "whether views that block a statement are dropped and created again automatically; "
        "`windows`: views are also created, dropped and replaced automatically, by the migrations that they name",
        ours=True,
    )
    unmanaged: Literal["refuse", "keep"] = setting(
        "refuse",
        "what happens if a view without a manager blocks a statement: the statement fails, or the view is created again "
        "with the definition that the database has",
        ours=True,
    )
    restore_trusted: bool = setting(False, "let a backup use commands of psql, also `\\!`", ours=True)  # noqa: FBT003
    restore_size_limit: Bytes = setting(
        0, "the most bytes a backup may have when decompressed; 0 = 1 GiB, or 250 times its size", ours=True
    )
    link_template: str = setting(
        "", "links in pictures: `https://…/{file}#L{line}`", flag="--link-template", ours=True, check=_checked_template
    )
    rehearse_on: str | None = setting(
        None,
        "a database on the server where copies for rehearsals are made; if not set, the server of `migrate_uri`",
        ours=True,
        secret=True,
        check=_checked_server,
    )
    rehearse_budget: RehearseBudget = setting(
        Budget(),
        "what a migration may cost before a rehearsal objects: bytes of a table that is rewritten or scanned under a lock, "
        "seconds of such a lock, rows that one statement writes",
        ours=True,
    )
    drift_ignore: Patterns = setting(
        (),
        "patterns for the names of what programs change by themselves, such as partitions; such changes are no drift",
        ours=True,
    )
    footprints: FilePath = setting(
        "migrations.footprint.json",
        "the file in which `migrate verify --write` keeps what it saw, for `migrate check`, `--jobs` and views without `uses`",
        ours=True,
    )
    ignore: Codes = setting((), "codes of `migrate check` rules that are switched off", ours=True, check=_checked_codes)
    error: Codes = setting((), "codes of rules that are errors", ours=True, check=_checked_codes)
    warn: Codes = setting((), "codes of rules that are warnings", ours=True, check=_checked_codes)

    def __init__(self, values: Mapping[str, object] | None = None, *, environ: Mapping[str, str] | None = None) -> None:
        """Make a configuration of given values and defaults.

        Args:
            values: keys in any case, with `-` or `_`; None means not given.
            environ: the environment that `update_from_env()` reads by default; None for that of the process.

        Raises:
            ConfigError: naming every fault at once.
        """
        self._sources: dict[str, Source] = {}
        self._environ = environ
        self._dotenv = Dotenv()
        self._remarks: tuple[str, ...] = ()
        self.take(_in_code(values or {}))

    @classmethod
    def load(cls, data: Mapping[str, object] | None = None, *, environ: Mapping[str, str] | None = None) -> Self:
        """Make a configuration of a mapping, as edwh-migrate's programs do.

        Raises:
            ConfigError: naming every fault at once.
        """
        return cls(data, environ=environ)

    @staticmethod
    def settings() -> Iterator[Setting]:
        """Return every setting, in the order in which they are documented."""
        return iter(_declared().values())

    @property
    def has_database(self) -> bool:
        """Whether a database is configured."""
        return "migrate_uri" in self.__dict__

    @property
    def search_path(self) -> str | None:
        """The search_path that is set in sessions; None where `schema` is not set, or `false`: then sessions keep their own.

        edwh-migrate used its default of `public` only after a restore, in a session that ended at once.
        """
        is_set = self.sources["schema"].kind is not SourceKind.DEFAULT
        return self.schema or None if is_set else None

    @property
    def db_uri(self) -> str:
        """Another name of `migrate_uri`."""
        return self.migrate_uri

    @db_uri.setter
    def db_uri(self, value: str) -> None:
        self.migrate_uri = value

    @property
    def sources(self) -> dict[str, Source]:
        """Where the value of each setting came from, by name."""
        return {each.name: self._sources.get(each.name, Source()) for each in self.settings()}

    def shown(self, setting: Setting) -> object:
        """Return the value of a setting as it may be shown; None for a database that is not configured."""
        return setting.shown(self.__dict__.get(setting.name, setting.default))

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
        """Set what the environment sets.

        Args:
            environ: the environment; None for the one given at construction, or else that of the process.

        Raises:
            ConfigError: naming every fault at once.
        """
        from migrate_graph.config.sources import in_environment

        self.take(*in_environment(self._surroundings if environ is None else environ))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the owner of the settings should know, although nothing is wrong."""
        return self._remarks

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every password in these settings and in the places where libpq looks for one; no output may contain them."""
        addresses = {
            "database": self.__dict__.get("migrate_uri"),
            "cache": self.redis_host,
            "rehearsals": self.rehearse_on,
        }
        return secrets_in(addresses, self._surroundings)

    @property
    def _surroundings(self) -> Mapping[str, str]:
        return os.environ if self._environ is None else self._environ  # noqa: TID251 - a program asks for it

    def remember(self, dotenv: Dotenv, remarks: Iterable[str]) -> None:
        """Store the .env that the settings were read from, and the remarks about them."""
        self._dotenv, self._remarks = dotenv, tuple(remarks)

    def share_dotenv(self, environ: MutableMapping[str, str]) -> None:
        """Add the variables of .env to an environment, as edwh-migrate does: migrations read them there.

        Variables that are set already win. Those that change how programs run (PATH, PYTHONPATH, GIT_DIR, PGSERVICEFILE …) are left out.
        """
        self._dotenv.share_with(environ)

    def take(self, given: Iterable[RawValue], problems: Iterable[Problem] = ()) -> None:
        """Set what was given; later values win over earlier ones. When anything is wrong, nothing is set.

        Args:
            given: values with their names and sources.
            problems: what was wrong already.

        Raises:
            ConfigError: naming every fault at once.
        """
        problems = list(problems)
        values: dict[str, Any] = {}
        sources = dict(self._sources)
        for each in given:
            setting = setting_called(each.key or each.name)
            if setting is None:
                problems.append(_unknown(each))
                continue
            try:
                values[setting.name] = setting.value_of(each)
                sources[setting.name] = each.source
            except WrongType:
                problems.append(_wrong(each, setting))
            except Refused as refused:
                problems.append(Problem(f"{each.prefix}{each.name}: {refused.why}", refused.hint))
        if problems:
            raise as_error(problems)
        self._sources = sources
        self.__dict__.update(values)
        if self.__dict__.get("migrate_uri", "") is MISSING:
            del self.__dict__["migrate_uri"]

    def __setattr__(self, name: str, value: object) -> None:
        if name in _declared():
            self.update(_skip_none=False, **{name: value})
        elif name.startswith("_") or hasattr(type(self), name):
            super().__setattr__(name, value)
        else:
            raise as_error([_unknown(RawValue(name, value, Source(SourceKind.CODE)))])

    if not TYPE_CHECKING:  # a type checker would take any name

        def __getattr__(self, name: str) -> object:
            if name == "migrate_uri":
                raise no_database()
            raise AttributeError(name=name, obj=self)

    def __repr__(self) -> str:
        return f"<Config {' '.join(f'{each.name}={self.shown(each)!r}' for each in self.settings())}>"


@cache
def _declared() -> dict[str, Setting]:
    """Return the settings by name, each with the type of its annotation."""
    types = get_type_hints(Config, include_extras=True)
    return {each.name: each.metadata["called"](each.name, types[each.name]) for each in fields(Config)}


def setting_called(name: str) -> Setting | None:
    """Return the setting of a name in any case, with `-` or `_`."""
    plain = name.lower().replace("-", "_")
    return _declared().get("migrate_uri" if plain in {"db_uri", "uri"} else plain)


def _in_code(values: Mapping[str, object], *, skip_none: bool = True) -> Iterator[RawValue]:
    for name, value in values.items():
        if value is not None or not skip_none:
            yield RawValue(name, value, Source(SourceKind.CODE))


# --- faults ------------------------------------------------------------------------------------------------------


class Problem(Struct, frozen=True):
    """One fault of the settings.

    Attributes:
        message: what is wrong, with file, key and value.
        hint: what to do.
    """

    message: str
    hint: str = ""


DATABASE_HINT = "set MIGRATE_URI, for example in .env: MIGRATE_URI=sqlite://app.db"
"""What to type where a database is needed, and none is configured."""


def no_database() -> ConfigError:
    """Return the error of a program that asks for the URI of a database, where none is configured."""
    return ConfigError("no database is configured", hint=DATABASE_HINT)


def _unknown(given: RawValue) -> Problem:
    near = similar(given.name.lower().replace("-", "_"), _declared(), most=1)
    hint = did_you_mean(near, "migrate config lists every setting")
    return Problem(f"{given.prefix}there is no setting {given.name!r}", hint)


def _wrong(given: RawValue, setting: Setting) -> Problem:
    shown = redact(repr(given.value) if not isinstance(given.value, str) else repr(setting.shown(given.value)))
    if len(shown) > 80:
        shown = f"{shown[:77]}..."
    message = f"{given.prefix}{given.name} = {shown}, but it takes {setting.expected}"
    one_of, _, choices = setting.expected.partition("one of ")
    near = [] if one_of else similar(str(given.value), choices.split(", "), most=1)
    return Problem(message, did_you_mean(near, f"{setting.name}: {setting.help}"))


def as_error(problems: list[Problem]) -> ConfigError:
    """Make one error of all problems; each message names its own place."""
    if len(problems) == 1:
        return ConfigError(problems[0].message, hint=problems[0].hint)
    listed = "".join(f"\n{each.message}" + (f" ({each.hint})" if each.hint else "") for each in problems)
    return ConfigError(f"{len(problems)} settings are wrong:{listed}", hint="correct them all; nothing was connected")
