"""Opens an application's own connection to the database, by the same rules as the connections of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from migrate_graph.database import backend_class
from migrate_graph.database.dal import dal_class, make_dal
from migrate_graph.database.names import TableNames

if TYPE_CHECKING:
    from migrate_graph.database import Settings


def open_dal(
    settings: Settings, *, kind: Any = None, application: str = "", migrate: bool = False, migrate_enabled: bool = False
) -> Any:
    """Connect a `DAL` as edwh-migrate does: with pyDAL's pool; the caller decides about pyDAL's own migrations.

    Args:
        settings: which database, and how to connect.
        kind: class of the `DAL`; None: `DAL` or `TypeDAL`, as the settings say.
        application: name that the server shows for the connection.
        migrate: pyDAL may alter tables that it defines.
        migrate_enabled: pyDAL may create and alter tables at all.
    """
    return make_dal(
        backend_class(settings.uri).dal_source(settings, application),
        kind or dal_class(typedal=settings.typedal),
        folder=settings.folder,
        pool_size=1,
        migrate=migrate,
        migrate_enabled=migrate_enabled,
    )


def keep_open(db: Any, settings: Settings, *, seconds: int) -> None:
    """Make a pooler between the program and the server keep an idle connection open for `seconds`; uncommitted work may be lost."""
    statement = backend_class(settings.uri).keep_open_statement(seconds)
    if statement:
        _try_statement(db, statement)


def ledger_rname(settings: Settings, table: str) -> str:
    """Return the quoted name of the ledger table, since pyDAL pastes it into SQL as it is."""
    names = TableNames.of(table, backend_class(settings.uri).dialect)
    return names.quoted(names.ledger)


def forget_table_file(db: Any, name: str) -> None:
    """Remove the file in which pyDAL remembers that it has created a table."""
    (Path(db._folder or ".") / f"{db._uri_hash}_{name}.table").unlink(missing_ok=True)  # noqa: SLF001 - has no public name


def _try_statement(db: Any, statement: str) -> None:
    """Send a statement that the server may not know; if it fails, roll back, which loses uncommitted work."""
    try:
        db.executesql(statement)
    except db._adapter.driver.Error:  # noqa: SLF001 - the driver's own root of errors
        db.rollback()


def table_is_missing(error: BaseException) -> bool:
    """Return whether a statement failed because its table does not exist, and for no other reason (a lock, a missing right)."""
    return getattr(error, "pgcode", None) == "42P01" or str(error).startswith("no such table")
