"""The settings of this process, which edwh-migrate's programs share."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from migrate_graph.config import Config as Settings
from migrate_graph.config import load_config
from migrate_graph.config.dotenv import read_dotenv


class Config(Settings):
    """The settings of one project; what `load` makes becomes the settings of this process."""

    @classmethod
    def load(
        cls,
        data: Mapping[str, object] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        **_others: Any,  # of edwh-migrate's: where in a file they are, and how strictly they are read
    ) -> Self:
        """Make a configuration of a mapping, and let `get_config()` return it from now on.

        Raises:
            ConfigError: naming every fault at once.
        """
        given = {name: value for name, value in (data or {}).items() if not _is_nothing(name, value)}
        config = super().load(given, environ=environ)
        _process.adopt(config)
        return config

    def __repr__(self) -> str:
        return f"<Config{ {each.name: self.shown(each) for each in self.settings()} }>"


def _is_nothing(name: str, value: object) -> bool:
    """Return whether a value means "not given": TypeDAL writes an empty `migrations_file` where it has none."""
    return value == "" and name.lower().replace("-", "_") == "migrations_file"


class ProcessConfig:
    """The settings of this process, read once; what changes in the environment later is taken over."""

    def __init__(self) -> None:
        self._config: Config | None = None
        self._seen: dict[str, str] = {}

    def adopt(self, config: Config) -> None:
        """Take the settings that the program has made; the environment comes on top when they are next asked for."""
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
        """Take what is new in the environment: what the program has set itself later must not be set back."""
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

    It is what `Config.load` made last, or else what pyproject.toml, .env and the environment say. `.env` is read, and also
    made part of the environment, as edwh-migrate does.

    Raises:
        ConfigError: naming every fault at once.
    """
    return _process.read()
