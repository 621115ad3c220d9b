"""Opens a `DAL`, always on a connection that this package has opened."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from msgspec import Struct

from migrate_graph.errors import MigrateGraphError, UsageError

_LEDGER = "ewh_implemented_features"
_TYPEDAL = "TypeDAL"


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


def typedal_hint(body: Callable[..., Any], error: BaseException) -> str:
    """Return what to do about a body that takes its `db` for a TypeDAL where it is a pyDAL `DAL`; empty where that is not the cause.

    Args:
        body: the function of a migration.
        error: the exception that it has raised.
    """
    if not isinstance(error, AttributeError):
        return ""
    # A property of a user's exception may raise, and an annotation may name what is imported only while types are checked.
    with contextlib.suppress(Exception):
        if _is_plain_dal(error.obj) and (_is_annotated(body) or hasattr(dal_class(typedal=True), str(error.name))):
            return "db is pyDAL's DAL here: with `use_typedal = true` in [tool.migrate], migrations get a TypeDAL"
    return ""


def _is_plain_dal(value: object) -> bool:
    from pydal import DAL

    return isinstance(value, DAL) and all(kind.__name__ != _TYPEDAL for kind in type(value).__mro__)


def _is_annotated(body: Callable[..., Any]) -> bool:
    """Return whether the first annotation of a function is TypeDAL, whatever module it is imported from."""
    first = next(iter(body.__annotations__.values()), None)
    return (first.rpartition(".")[2] if isinstance(first, str) else getattr(first, "__name__", "")) == _TYPEDAL


def import_dal(*, typedal: bool) -> None:
    """Import what the first `DAL` of a process would import; no import connects or starts a thread."""
    import pydal.dialects
    import pydal.parsers
    import pydal.representers  # noqa: F401 - pyDAL imports these while a `DAL` is made

    with contextlib.suppress(MigrateGraphError):  # TypeDAL is not installed: each attempt reports that itself
        dal_class(typedal=typedal)


class DalSource(Struct, frozen=True):
    """Where the connections of a `DAL` come from.

    Attributes:
        uri: the URI that pyDAL parses; pyDAL never connects with it.
        connect: opens a connection; it ignores the arguments that pyDAL passes.
        while_made: pyDAL connects while the `DAL` is made (PostgreSQL).
        finds_table: a query that returns whether a table exists, with the table's name as its parameter; empty: nothing is asked.
        sets_up: pyDAL's first statements on a connection must run; False where the connection already has their settings.
    """

    uri: str
    connect: Callable[..., Any]
    while_made: bool
    finds_table: str = ""
    sets_up: bool = True

    __repr__ = object.__repr__  # a traceback with values would show the fields, which hold secrets


def make_dal(source: DalSource, kind: Any, *, folder: Path | None, **options: Any) -> Any:
    """Make a `DAL` whose connections, also those it opens after a `db.close()`, come from `source`.

    pyDAL's first statements (client encoding, REGEXP …) have run when this returns.

    Args:
        source: where its connections come from.
        kind: class of the `DAL`.
        folder: directory of pyDAL's files.
        options: arguments for the class; pyDAL's own migrations are off unless an option turns them on.
    """
    arguments = {"migrate": False, "migrate_enabled": False, "pool_size": 0} | options
    if source.while_made:
        arguments["driver_args"] = {"connection_factory": source.connect}
    _forget_folder(kind)
    db = kind(source.uri, folder=str(folder) if folder else _default_folder(kind), **arguments)
    db._adapter.connector = source.connect  # noqa: SLF001 - pyDAL's own extension point has no public name
    db._adapter.get_connection()  # noqa: SLF001 - as above
    return db


def make_own_dal(source: DalSource, *, typedal: bool, folder: Path | None) -> Any:
    """Make the `DAL` (or `TypeDAL`) that a migration is called with; it does not read the application's settings."""
    quiet = {"use_pyproject": False, "use_env": False, "enable_typedal_caching": False} if typedal else {}
    kind = dal_class(typedal=True) if typedal else _own_class()
    db = make_dal(source, kind, folder=folder, attempts=1, **quiet)
    if source.finds_table:
        _refuse_to_create_nothing(db, source.finds_table)
    return db


@cache
def _own_class() -> Any:
    """Return a subclass of `DAL` that makes a table in `_LAZY_TABLES` when it is first used; see `define_ledger_later`.

    pyDAL's own option `lazy_tables` would also apply to the tables of the project: their `define_table()` would return None.
    """
    from pydal import DAL

    def find(db: Any, name: str) -> Any:
        later = db.__dict__.get("_LAZY_TABLES", {})
        if name in later:
            tablename, fields, options = later.pop(name)
            return db.lazy_define_table(tablename, *fields(), **options)
        return DAL.__getattr__(db, name)

    return type("DAL", (DAL,), {"__getattr__": find, "__module__": DAL.__module__})


def _refuse_to_create_nothing(db: Any, finds_table: str) -> None:
    """Make `define_table(…, migrate=True)` raise for a table that does not exist: pyDAL would silently create nothing."""
    original = db.define_table

    def define_table(tablename: str, *fields: Any, **options: Any) -> Any:
        table = original(tablename, *fields, **options)
        wanted = options.get("migrate", False)
        if wanted and not db._migrate_enabled and tablename in db.tables:  # noqa: SLF001 - has no public name
            name = db[tablename]._rname  # noqa: SLF001 - as above
            if not db.executesql(finds_table, (name,))[0][0]:
                raise UsageError(
                    f"define_table('{tablename}', migrate={wanted!r}) creates nothing here, and there is no table {name}",
                    hint="write the CREATE TABLE (pydal2sql create prints it); pyDAL's own migrations are off while ours run",
                )
        return table

    db.define_table = define_table


def _default_folder(kind: Any) -> str | None:
    """Return the folder to give to a `DAL` without one.

    TypeDAL would put its SQLite file below `databases/`, which is another file than the one that migrations use.
    """
    typed = any(base.__module__.partition(".")[0] == "typedal" for base in kind.__mro__)
    return "." if typed else None


def _forget_folder(kind: Any) -> None:
    """Clear the folder that pyDAL remembers for this thread: a new `DAL` without a folder would use it, and open another SQLite file."""
    kind.set_folder("")


def define_ledger(db: Any, *, rname: str, migrate: bool = False) -> Any:
    """Define `db.ewh_implemented_features` on the ledger table of the project, as edwh-migrate does.

    Args:
        db: a `DAL`.
        rname: name of the ledger table, as it is pasted into SQL.
        migrate: pyDAL creates the table, if the `DAL` permits that.
    """
    return db.define_table(_LEDGER, *_ledger_fields(), rname=rname, migrate=migrate)


def define_ledger_later(db: Any, *, rname: str) -> None:
    """Define the ledger table when it is first used: most migrations do not use it, and defining it takes as long as a small statement."""
    if type(db) is not _own_class():
        define_ledger(db, rname=rname)
        return
    db._LAZY_TABLES[_LEDGER] = (_LEDGER, _ledger_fields, {"rname": rname, "migrate": False})  # noqa: SLF001 - has no public name
    db.tables.append(_LEDGER)


def _ledger_fields() -> tuple[Any, ...]:
    from pydal import Field

    return (
        Field("name", unique=True),
        Field("installed", "boolean", default=False),
        Field("last_update_dttm", "datetime", default=dt.datetime.now),
    )


def attach(db: Any, source: DalSource) -> None:
    """Attach a `DAL` that `forget` has disconnected to a connection of `source`, as if it had been made with that source."""
    from pydal._globals import THREAD_LOCAL

    adapter = db._adapter  # noqa: SLF001 - pyDAL has no public name for any of this
    adapter.connector = source.connect
    if source.while_made:
        adapter.driver_args["connection_factory"] = source.connect
    THREAD_LOCAL._pydal_db_instances_.setdefault(db._db_uid, []).append(db)  # noqa: SLF001 - as above
    THREAD_LOCAL._pydal_last_insert_ = None
    _forget_folder(type(db))
    if source.sets_up:
        adapter.get_connection()
        return
    connection = source.connect()
    setattr(THREAD_LOCAL, adapter._connection_uname_, connection)
    setattr(THREAD_LOCAL, adapter._cursors_uname_, connection.cursor())


def discard(db: Any) -> None:
    """Close a `DAL` without pyDAL's commit, and make pyDAL forget it.

    `DAL.close()` commits, so that a half-done migration would become durable.
    """
    with contextlib.suppress(Exception):  # when the connection is broken, the server rolls back
        db._adapter.close("rollback")  # noqa: SLF001 - the only way to close without a commit
    forget(db)


def forget(db: Any) -> None:
    """Disconnect a `DAL` from its connection, which stays open, and make pyDAL forget it; using it later raises `UsageError`."""
    from pydal._globals import THREAD_LOCAL

    with contextlib.suppress(Exception):  # the cursor may be gone
        db._adapter.cursor.close()  # noqa: SLF001 - pyDAL has no public name for any of this
    with contextlib.suppress(AttributeError):  # a body may have deleted its attributes
        adapter = db._adapter  # noqa: SLF001 - as above
        adapter.connector = _refuse_to_connect
        for name in (adapter._cursors_uname_, adapter._connection_uname_):
            vars(THREAD_LOCAL).pop(name, None)
    group = getattr(THREAD_LOCAL, "_pydal_db_instances_", {})
    remaining = [other for other in group.get(db._db_uid, []) if other is not db]  # noqa: SLF001 - as above
    if remaining:
        group[db._db_uid] = remaining  # noqa: SLF001 - as above
    else:
        group.pop(db._db_uid, None)  # noqa: SLF001 - as above


def _refuse_to_connect(*_arguments: Any, **_options: Any) -> Any:
    raise UsageError(
        "this db belonged to something that has ended, a migration perhaps",
        hint="use the db that the function is called with",
    )
