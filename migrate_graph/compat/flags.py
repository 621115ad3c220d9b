"""`schema_versioned_lock_file`: sets the flag of a schema version after a block of a program."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from migrate_graph.compat.console import say
from migrate_graph.compat.exceptions import FlagLocationMissing, MigrateLockExists, MigrationFailed
from migrate_graph.compat.settings import get_config
from migrate_graph.config import Config
from migrate_graph.errors import ConfigError


@contextlib.contextmanager
def schema_versioned_lock_file(
    flag_location: str | Path | None = None, create_flag_location: bool = False, config: Config | None = None
) -> Iterator[Path | None]:
    """Set the flag of the configured schema version when the block ends without an exception.

    Args:
        flag_location: directory of the flags; None: the configured one.
        create_flag_location: create the directory when it is missing.
        config: the settings; None: `get_config()`.

    Yields:
        The path of the flag; None when no schema version is configured.

    Raises:
        MigrateLockExists: the flag exists already; the block is not entered.
        FlagLocationMissing: the directory does not exist; the block is not entered.
        ConfigError: the directory or the version cannot be used; the block is not entered.
    """
    from migrate_graph.completion_flag import CompletionFlag

    config = config or get_config()
    if config.schema_version is None:
        yield None
        return
    directory = Path(flag_location or config.flag_location)
    flag = CompletionFlag(directory, config.schema_version, create=create_flag_location or config.create_flag_location)
    try:
        flag.validate()
    except ConfigError as error:
        if flag.directory.is_dir():
            raise
        raise FlagLocationMissing(error.message, hint=error.hint) from None
    if flag.path.exists():
        raise MigrateLockExists(str(flag.path))
    try:
        yield flag.path
    except MigrationFailed as error:
        flag.path.unlink(missing_ok=True)
        say(f"migration failed, no flag is set: {error}" if error.args else "migration failed, no flag is set")
    except BaseException:
        flag.path.unlink(missing_ok=True)
        raise
    else:
        flag.path.touch()
