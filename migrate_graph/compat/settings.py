"""The settings of this process, which all functions of edwh-migrate share: `Config` and `get_config`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from migrate_graph.compat.exceptions import InvalidConfigException
from migrate_graph.config import Config as Settings
from migrate_graph.config import load_config
from migrate_graph.config.dotenv import read_dotenv
from migrate_graph.errors import ConfigError


class Config(Settings):
    """The settings of one project; those that `load` returns become the settings of this process."""

    @classmethod
    def load(
        cls,
        data: Mapping[str, object] | str | Path | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        key: str = "tool.migrate",
        **_others: Any,  # arguments of edwh-migrate that have no effect here
    ) -> Self:
        """Make a configuration of a mapping, or of a table of a TOML file; from now on `get_config()` returns it.

        Args:
            data: the settings, or the path of a TOML file.
            environ: the environment that `update_from_env()` reads; None: that of the process.
            key: the table in the file.

        Raises:
            ConfigError: a setting is wrong; the message names every fault.
            FileNotFoundError: there is no such file.
        """
        if isinstance(data, str | Path):
            data = _table_of(Path(data), key)
        given = {name: value for name, value in (data or {}).items() if not _is_nothing(name, value)}
        config = super().load(given, environ=environ)
        _process.adopt(config)
        return config

    @classmethod
    def from_env(cls, load_dotenv: bool = False, **_others: Any) -> Self:
        """Make a configuration of the environment; from now on `get_config()` returns it.

        Args:
            load_dotenv: read `.env` as well.

        Raises:
            ConfigError: a setting is wrong; the message names every fault.
        """
        config = cls.load({})
        config.update_from_env({**_dotenv(load_dotenv=load_dotenv), **os.environ})
        return config

    def __repr__(self) -> str:
        return f"<Config{ {each.name: self.shown(each) for each in self.settings()} }>"


def _dotenv(*, load_dotenv: bool) -> Mapping[str, str]:
    return (read_dotenv(Path.cwd(), os.environ).variables or {}) if load_dotenv else {}


def _table_of(file: Path, key: str) -> Mapping[str, object]:
    import tomllib

    try:
        table: Any = tomllib.loads(file.read_text("utf-8-sig"))
        for word in filter(None, key.split(".")):
            table = table[word]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ConfigError(f"{file} has no table [{key}] that can be read: {error!r}", hint="correct the file") from None
    found: Mapping[str, object] = table
    return found


def _is_nothing(name: str, value: object) -> bool:
    """Return whether a value means "not given": TypeDAL writes an empty `migrations_file` where it has none."""
    return value == "" and name.lower().replace("-", "_") == "migrations_file"


class ProcessConfig:
    """The settings of this process. They are read once; variables that change in the environment later are added."""

    def __init__(self) -> None:
        self._config: Config | None = None
        self._seen: dict[str, str] = {}

    def adopt(self, config: Config) -> None:
        """Use settings that the program has made; the environment is added to them at the next `read`."""
        self._config, self._seen = config, {}

    def read(self) -> Config:
        """Return the settings as they are now."""
        if self._config is None:
            self._config = load_config(Path.cwd(), os.environ, kind=Config)
            for remark in self._config.remarks:
                warnings.warn(remark, stacklevel=4)
        else:
            self._add_environment(self._config)
        self._config.share_dotenv(os.environ)
        self._seen = dict(os.environ)
        return self._config

    def _add_environment(self, config: Settings) -> None:
        """Add only new or changed variables of the environment: settings that the program itself has changed must stay."""
        if not self._seen:  # made by the program: edwh-migrate let .env and the environment win over it
            config.remember(read_dotenv(Path.cwd(), os.environ), ())
            config.share_dotenv(os.environ)
        new = {name: text for name, text in os.environ.items() if self._seen.get(name) != text}
        given = config.migrate_uri if config.has_database else ""
        config.update_from_env(new)
        if given and not self._seen and config.migrate_uri != given:
            warnings.warn(
                f"{config.sources['migrate_uri']} names another database than Config.load() was given, and wins",
                stacklevel=5,
            )


_process = ProcessConfig()


def get_config() -> Config:
    """Return the settings of this process: one object, whose attributes can be set.

    It is what `Config.load` returned last, or else what pyproject.toml, .env and the environment say. The variables of `.env` are
    also added to the environment, as edwh-migrate does.

    Raises:
        ConfigError: a setting is wrong; the message names every fault.
    """
    return _process.read()


def config_with_database(config: Settings | None) -> Settings:
    """Return the given settings, or those of this process.

    Raises:
        InvalidConfigException: they name no database.
    """
    config = config or get_config()
    if not config.has_database:
        raise InvalidConfigException("$MIGRATE_URI not found in environment", hint="set MIGRATE_URI, or migrate_uri")
    return config
