"""The `DAL` that a migration is called with, put upon a connection that is ours."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any


def dal_class(*, typedal: bool) -> Any:
    """Return `pydal.DAL`, or `typedal.TypeDAL` where the project asks for it.

    Raises:
        ConfigError: TypeDAL is asked for and not installed.
    """
    if not typedal:
        from pydal import DAL

        return DAL
    try:
        from typedal import TypeDAL
    except ImportError as error:
        from migrate_graph.errors import ConfigError

        raise ConfigError(
            "use_typedal is set, but TypeDAL is not installed", hint="pip install 'migrate-graph[typedal]'"
        ) from error
    return TypeDAL


def make_dal(
    uri: str,
    connector: Callable[[], Any],
    *,
    typedal: bool,
    folder: Path | None,
    driver_args: dict[str, Any],
    prime: bool,
) -> Any:
    """Make a `DAL` whose connections, also those it opens after a `db.close()`, come from `connector`.

    Args:
        uri: what pyDAL parses; it never connects with it.
        connector: gives a connection.
        typedal: make a TypeDAL.
        folder: directory of pyDAL's files.
        driver_args: for adapters that connect while they are made (PostgreSQL).
        prime: run pyDAL's first statements (client encoding, REGEXP …) now, before the attempt starts.
    """
    arguments: dict[str, Any] = {
        "folder": str(folder) if folder else None,
        "migrate": False,
        "migrate_enabled": False,
        "pool_size": 0,
        "attempts": 1,
        "driver_args": driver_args,
    }
    if typedal:
        arguments |= {"use_pyproject": False, "use_env": False, "enable_typedal_caching": False}
        arguments["folder"] = arguments["folder"] or "."
    kind = dal_class(typedal=typedal)
    forget_folder(kind)
    db = kind(uri, **arguments)
    db._adapter.connector = connector  # noqa: SLF001 - pyDAL's own extension point has no public name
    if prime:
        db._adapter.get_connection()  # noqa: SLF001 - as above
    return db


def forget_folder(kind: Any) -> None:
    """Keep a new `DAL` from taking the folder of an earlier one of this thread, and so another SQLite file, when it has none."""
    kind.set_folder("")


def define_ledger(db: Any, *, rname: str, migrate: bool = False) -> Any:
    """Define `db.ewh_implemented_features` on whatever table the project configured, as edwh-migrate does.

    Args:
        db: a `DAL`.
        rname: the table's name, as it is pasted into SQL.
        migrate: pyDAL creates the table, where the `DAL` lets it.
    """
    from pydal import Field

    return db.define_table(
        "ewh_implemented_features",
        Field("name", unique=True),
        Field("installed", "boolean", default=False),
        Field("last_update_dttm", "datetime", default=dt.datetime.now),
        rname=rname,
        migrate=migrate,
    )


def discard(db: Any) -> None:
    """Close a `DAL` without pyDAL's commit, and make pyDAL forget it.

    `DAL.close()` commits, so that a half-done migration would become durable.
    """
    from pydal._globals import THREAD_LOCAL

    with contextlib.suppress(Exception):  # whatever a broken connection says, the server rolls back
        db._adapter.close("rollback")  # noqa: SLF001 - the only way to close without a commit
    group = getattr(THREAD_LOCAL, "_pydal_db_instances_", {})
    remaining = [other for other in group.get(db._db_uid, []) if other is not db]  # noqa: SLF001 - as above
    if remaining:
        group[db._db_uid] = remaining  # noqa: SLF001 - as above
    else:
        group.pop(db._db_uid, None)  # noqa: SLF001 - as above
