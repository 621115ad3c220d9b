"""Finds, in the source of bodies, what ends differently than with edwh-migrate 2.1.0."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec import Struct

from migrate_graph.loader.sources import Sources, chain_of, own_nodes
from migrate_graph.user_files import SourceLocation

if TYPE_CHECKING:
    from migrate_graph.core.model import Migration


class Difference(Struct, frozen=True):
    """One thing that will be different.

    Attributes:
        what: what was found.
        here: how it behaves now.
        way: what to do about it.
        where: the setting, package or place in the code.
    """

    what: str
    here: str
    way: str
    where: str = ""


def of_body(migration: Migration, sources: Sources, *, on_sqlite: bool) -> Iterator[Difference]:
    """Yield what a body does that ends differently than with edwh-migrate.

    Args:
        migration: the migration with the body.
        sources: the texts of the project's files.
        on_sqlite: the database is SQLite, or may be.
    """
    chain = chain_of(migration.function)
    node = sources.node_of(chain[-1]) if chain else None
    if node is None:
        return
    parts = list(own_nodes(node))
    late = {name for part in parts for name in _names_made(part)}
    for part in parts:
        line = SourceLocation(migration.source.path, getattr(part, "lineno", migration.source.line))
        for looked_at in (_caught, _returned, _printed, _opened_late, _declared_late, _worked_elsewhere):
            if told := looked_at(part, late):
                what, here, way = told
                yield Difference(f"{migration.name} {what}", here, way, str(line))
        refused = _refused_inside(part) if on_sqlite and migration.transaction != "none" else ""
        if refused:
            yield Difference(
                f"{migration.name} says {refused}",
                "SQLite refuses it after other statements: here a migration is one transaction",
                'declare it with @migration(transaction="none")',
                str(line),
            )


_Told = tuple[str, str, str]


def _raises(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(node, ast.Raise | ast.Return) for node in ast.walk(handler))


def _caught(part: ast.AST, _late: set[str]) -> _Told | None:
    if not isinstance(part, ast.Try) or all(_raises(handler) for handler in part.handlers):
        return None
    return (
        "catches an exception and goes on",
        "an SQL error that is swallowed fails the migration; on PostgreSQL nothing after it was applied anyway",
        "put the statement between SAVEPOINT and ROLLBACK TO, or let the exception pass",
    )


def _returned(part: ast.AST, _late: set[str]) -> _Told | None:
    if not isinstance(part, ast.Return) or not isinstance(part.value, ast.Constant | ast.JoinedStr):
        return None
    value = part.value.value if isinstance(part.value, ast.Constant) else "text"
    if not value or value is True:
        return None
    return (
        f"returns {value!r}",
        "it counts as success, as before, with a warning: it may have been meant as a failure",
        "return True or False",
    )


def _printed(part: ast.AST, _late: set[str]) -> _Told | None:
    if not isinstance(part, ast.Call) or not isinstance(part.func, ast.Name) or part.func.id != "print":
        return None
    return (
        "prints",
        "it stands on stderr, with what the run tells; stdout holds results only",
        "write migrate > log 2>&1",
    )


def _opened_late(part: ast.AST, late: set[str]) -> _Told | None:
    if not isinstance(part, ast.With | ast.AsyncWith):
        return None
    opened = {each.id for item in part.items for each in ast.walk(item.context_expr) if isinstance(each, ast.Name)}
    if not opened & late:
        return None
    return (
        f"opens {', '.join(sorted(opened & late))}, which its body imports or makes",
        "it takes part, with a warning: nothing could be checked about it",
        "import it at the top of the migrations file",
    )


def _declared_late(part: ast.AST, _late: set[str]) -> _Told | None:
    decorators = part.decorator_list if isinstance(part, ast.FunctionDef) else []
    if not any(isinstance(each, ast.Name) and each.id == "migration" for one in decorators for each in ast.walk(one)):
        return None
    return (
        "declares a migration in its body",
        "it is named in a warning and not run; 2.1.0 ran it at the end of the same run",
        "declare it at the top of the migrations file",
    )


_WORKERS = frozenset(
    {"Thread", "ThreadPool", "ThreadPoolExecutor", "Process", "ProcessPoolExecutor", "Pool", "to_thread", "fork"}
)


def _worked_elsewhere(part: ast.AST, _late: set[str]) -> _Told | None:
    if not isinstance(part, ast.Call) or ast.unparse(part.func).rpartition(".")[2] not in _WORKERS:
        return None
    return (
        "starts a thread or a process",
        "it fails if `db` is used there; 2.1.0 opened another connection there, outside of the migration's transaction",
        "open a connection there with setup_db(), or only gather there, and write in the body",
    )


def _names_made(part: ast.AST) -> Iterator[str]:
    """Yield the names that an import or a class statement defines."""
    if isinstance(part, ast.Import | ast.ImportFrom):
        yield from ((each.asname or each.name).partition(".")[0] for each in part.names)
    elif isinstance(part, ast.ClassDef):
        yield part.name


def _refused_inside(part: ast.AST) -> str:
    """Return the word of a statement that SQLite refuses inside a transaction; empty for anything else."""
    text = part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else ""
    found = re.match(r"\s*(VACUUM|DETACH)\b", text, re.IGNORECASE)
    return found[1] if found else ""
