"""Connections for a program's own use: `setup_db`, and functions that read and write records there."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from migrate_graph.compat.exceptions import DatabaseNotYetInitialized
from migrate_graph.compat.settings import config_with_database
from migrate_graph.config import Config


def define_ewh_implemented_features(db: Any, rname: str = "ewh_implemented_features", migrate: bool = True) -> Any:
    """Define the ledger table on a connection, as `db.ewh_implemented_features`."""
    from migrate_graph.database.dal import define_ledger

    return define_ledger(db, rname=rname, migrate=migrate)


def setup_db(
    migrate: bool = False,
    migrate_enabled: bool = False,
    appname: str = " ".join(sys.argv),
    long_running: bool | int = False,
    dal_class: Any = None,
    impl_feat_table_name: str | None = None,
    folder: str | None = None,
    config: Config | None = None,
    remove_migrate_tablefile: bool = False,
) -> Any:
    """Connect to the database for the use of an application.

    Args:
        migrate: pyDAL may alter tables that it defines.
        migrate_enabled: pyDAL may create tables, the ledger table too.
        appname: name that the server shows for the connection.
        long_running: keep PGPOOL from closing an idle connection, for so many seconds (3600 for True).
        dal_class: class of the connection; None: pyDAL's `DAL`, or `TypeDAL` with `use_typedal`.
        impl_feat_table_name: name of the ledger table; None: `migrate_table`.
        folder: directory of pyDAL's files; None: `db_folder`.
        config: the settings; None: `get_config()`.
        remove_migrate_tablefile: delete pyDAL's file about the ledger table, so that pyDAL creates the table again.

    Raises:
        InvalidConfigException: no database is configured.
        DatabaseNotYetInitialized: the ledger table is missing; the connection is its second argument.
    """
    from migrate_graph.database import application
    from migrate_graph.workflow.project import database_settings

    config = config_with_database(config)
    settings = database_settings(config)
    settings = replace(settings, folder=Path(folder)) if folder else settings
    db = application.open_dal(
        settings, kind=dal_class, application=appname, migrate=migrate, migrate_enabled=migrate_enabled
    )
    if long_running:
        application.keep_open(db, settings, seconds=3600 if long_running is True else int(long_running))
    if remove_migrate_tablefile:
        application.forget_table_file(db, "ewh_implemented_features")
    table = impl_feat_table_name or config.migrate_table
    define_ewh_implemented_features(db, application.ledger_rname(settings, table))
    db.commit()
    try:
        db(db.ewh_implemented_features).count()
    except Exception as error:
        db.rollback()
        if application.table_is_missing(error):
            raise DatabaseNotYetInitialized(f"{table} is missing.", db) from error
        raise
    return db


def should_run(db: Any, name: str) -> bool:
    """Return whether a migration is not installed, according to the ledger on this connection."""
    row = db(db.ewh_implemented_features.name == name).select().first()
    return not (row and row.installed)


def mark_migration(db: Any, name: str, installed: bool) -> int | None:
    """Write the record of a migration on this connection, without a commit.

    Returns:
        The id of a new record; None when the record existed and was updated.
    """
    table = db.ewh_implemented_features
    added: int | None = table.update_or_insert(
        table.name == name, name=name, installed=bool(installed), last_update_dttm=dt.datetime.now()
    )
    return added


def truncate_appname(name: str, max_len: int = 63) -> str:
    """Return the beginning of a connection's name: the server cuts off a longer one, with a warning."""
    return name[:max_len]
