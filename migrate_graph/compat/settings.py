"""The settings of this process, which edwh-migrate's programs share."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from migrate_graph.config import Config, load_config


class _ProcessConfig:
    """The settings of this process, read once; what changes in the environment later is taken over."""

    def __init__(self) -> None:
        self._config: Config | None = None
        self._seen: dict[str, str] = {}

    def read(self) -> Config:
        if self._config is None:
            self._config = load_config(Path.cwd(), os.environ)
            for remark in self._config.remarks:
                warnings.warn(remark, stacklevel=4)
        else:
            # Only what is new: what the program has set itself must not be set back.
            new = {name: text for name, text in os.environ.items() if self._seen.get(name) != text}
            self._config.update_from_env(new)
        self._config.share_dotenv(os.environ)
        self._seen = dict(os.environ)
        return self._config


_process = _ProcessConfig()


def get_config() -> Config:
    """Return the settings of this process: one object, whose attributes can be set.

    `.env` is read, and also made part of the environment, as edwh-migrate does.

    Raises:
        ConfigError: naming every fault at once.
    """
    return _process.read()
