"""An application's own connection to the database, made by the same rules as those of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from migrate_graph.database import is_postgres
from migrate_graph.database.dal import dal_class, forget_folder
from migrate_graph.database.names import POSTGRES, SQLITE, TableNames, search_path

if TYPE_CHECKING:
    from migrate_graph.database import Settings


def open_dal(
    settings: Settings, *, kind: Any = None, application: str = "", migrate: bool = False, migrate_enabled: bool = False
) -> Any:
    """Connect a `DAL` as edwh-migrate does: pooled, and pyDAL's own migrations as the caller wishes.

    Args:
        settings: which database, and how.
        kind: class of the `DAL`; None for what the settings say.
        application: name the server shows for the connection.
        migrate: pyDAL may alter tables that it defines.
        migrate_enabled: pyDAL may create and alter tables at all.
    """
    kind = kind or dal_class(typedal=settings.typedal)
    arguments: dict[str, Any] = {
        "migrate": migrate,
        "migrate_enabled": migrate_enabled,
        "pool_size": 1,
        "folder": str(settings.folder) if settings.folder else _default_folder(kind),
    }
    forget_folder(kind)
    if not is_postgres(settings.uri):
        return kind(settings.uri, **arguments)
    from migrate_graph.database.postgres.work import pydal_uri

    return kind(
        pydal_uri(settings.uri),
        driver_args={"connection_factory": _connector(settings, application)},
        **arguments,
    )


def _default_folder(kind: Any) -> str | None:
    """TypeDAL puts an SQLite file below `databases/` when nothing is said, and so into another file than migrations use."""
    typed = any(base.__module__.partition(".")[0] == "typedal" for base in kind.__mro__)
    return "." if typed else None


def _connector(settings: Settings, application: str) -> Any:
    """Return what pyDAL connects with, the first time and every time after."""
    import psycopg2

    from migrate_graph.database.postgres.sessions import application_name, parse_uri

    dsn: dict[str, Any] = {
        "keepalives": 1,
        **parse_uri(settings.uri),
        "application_name": application_name(application),
    }

    def connect(*_dsn: Any, **_options: Any) -> Any:
        connection = psycopg2.connect(**dsn)
        if settings.schema:
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('search_path', %s, false)", (search_path(settings.schema),))
            connection.commit()
        return connection

    return connect


def ledger_rname(settings: Settings, table: str) -> str:
    """Return the name of the ledger table as pyDAL pastes it into SQL: quoted, so that any name is harmless."""
    names = TableNames.of(table, POSTGRES if is_postgres(settings.uri) else SQLITE)
    return names.spelled(names.ledger)


def forget_table_file(db: Any, name: str) -> None:
    """Remove the file in which pyDAL remembers that it has created a table."""
    (Path(db._folder or ".") / f"{db._uri_hash}_{name}.table").unlink(missing_ok=True)  # noqa: SLF001 - has no public name


def try_statement(db: Any, statement: str) -> bool:
    """Send a statement that the server may not know; give whether it did. Uncommitted work is lost when it did not."""
    try:
        db.executesql(statement)
    except db._adapter.driver.Error:  # noqa: SLF001 - the driver's own root of errors
        db.rollback()
        return False
    return True


def table_is_missing(error: BaseException) -> bool:
    """Whether a statement failed because its table does not exist, and for no other reason (a lock, a right)."""
    return getattr(error, "pgcode", None) == "42P01" or str(error).startswith("no such table")
