"""Writes the page of the Python names from their docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import migrate_graph
from migrate_graph.core.model import Migration

SECTIONS: dict[str, tuple[str, ...]] = {
    "In a migrations file": ("migration", "ViewMigrationManager", "SqlView", "sql_file", "classproperty", "progress", "migrations", "Migration"),
    "What a rehearsal tells": ("Rehearsal", "Footprint"),
    "Settings": ("Config", "get_config"),
    "Programs": (
        "setup_db", "activate_migrations", "console_hook", "list_migrations", "import_migrations", "mark_migration", "should_run",
        "recover_database_from_backup", "try_setup_db", "schema_versioned_lock_file", "print_migrations_status_table",
        "define_ewh_implemented_features", "truncate_appname", "install_as_edwh_migrate",
    ),
    "Exceptions": (
        "DatabaseNotYetInitialized", "InvalidConfigException", "UnknownConfigException", "RequimentsNotMet", "MigrateLockExists",
        "MigrationFailed", "EDWHMigrateException", "BaseEDWHMigrateException",
    ),
    "Types and constants": (
        "MigrationFn", "MigrationStore", "MigrationOrderingMode", "VALID_MIGRATION_ORDERING_MODES", "MIGRATION_SUFFIX_RE", "TEN_MINUTES",
    ),
}  # fmt: skip
_HEADING = re.compile(r"^(Args|Returns|Raises|Yields|Attributes):$", re.MULTILINE)
_ENTRY = re.compile(r"^    (\*{0,2}[\w.]+): ", re.MULTILINE)


def api() -> str:
    """Return the page: every public name with its signature and its docstring."""
    return "\n".join(part for section, names in SECTIONS.items() for part in (f"## {section}\n", *map(_entry, names)))


def _entry(name: str) -> str:
    value = Migration if name == "Migration" else getattr(migrate_graph, name)
    kind = value if inspect.isclass(value) or inspect.isroutine(value) else type(value)
    lines = [f"### `{name}`\n"]
    if inspect.isroutine(value):
        lines.append(f"```text\n{name}{_signature(value)}\n```\n")
    documented = (
        inspect.isclass(value) or inspect.isroutine(value) or type(value).__module__.startswith("migrate_graph")
    )
    lines.append(_markdown(inspect.getdoc(kind) or "") if documented else f"`{_constant(value)}`\n")
    if inspect.isclass(kind) and documented:
        lines += list(_methods(kind))
    return "\n".join(lines)


def _methods(kind: type) -> Iterator[str]:
    """Yield the public methods that a class of ours says something about."""
    for name, value in sorted(vars(kind).items()):
        function = getattr(value, "__func__", value)
        if not name.startswith("_") and inspect.isfunction(function) and function.__doc__:
            yield f"**`{name}{_signature(function)}`**\n\n{_markdown(inspect.getdoc(function) or '')}"


def _signature(function: Any) -> str:
    """Return it without what depends on the process or on the version of Python."""
    text = str(inspect.signature(function)).replace("'", "")
    return re.sub(r"appname: str = .*?, long_running", "appname: str = …, long_running", text)


def _constant(value: Any) -> str:
    return str(sorted(value)) if isinstance(value, set) else str(getattr(value, "pattern", value))


def _markdown(docstring: str) -> str:
    """Return a Google docstring as Markdown: each section a list."""
    parts = _HEADING.split(docstring)
    text = parts[0].strip() + "\n"
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        text += f"\n*{heading}*\n\n"
        if _ENTRY.search(body):
            entries = _ENTRY.split(body)[1:]
            text += "".join(
                f"- `{name}`: {_flowing(told)}\n" for name, told in zip(entries[::2], entries[1::2], strict=True)
            )
        else:
            text += f"{_flowing(body)}\n"
    return text


def _flowing(text: str) -> str:
    return " ".join(text.split())
