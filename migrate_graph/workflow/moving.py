"""Finds what will behave differently than with edwh-migrate 2.1.0, in this project and this database."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from migrate_graph.config import SourceKind
from migrate_graph.core.rules import Severity
from migrate_graph.database import is_one_file
from migrate_graph.loader.declarations import python_files, read_bytes
from migrate_graph.loader.sources import Sources
from migrate_graph.workflow.moving_bodies import Difference, of_body

if TYPE_CHECKING:
    from migrate_graph.workflow.assessment import Assessment

_MOST_SCRIPTS = 500
_SCRIPTS = re.compile(r"(Dockerfile.*|Procfile|Makefile|.*\.(sh|bash|ya?ml|ini|toml|mk))")
_LEFT_OUT = frozenset({"node_modules", "venv", "__pycache__", "site-packages"})


def differences(found: Assessment) -> tuple[Difference, ...]:
    """Return what a project that comes from edwh-migrate should know before it switches.

    Args:
        found: the project, judged; with a history where a database was asked.
    """
    kinds = (
        _of_settings,
        _of_bodies,
        _of_views,
        _of_findings,
        _of_programs,
        _of_packages,
        _of_scripts,
        _of_the_database,
    )
    return tuple(each for kind in kinds for each in kind(found))


def _of_settings(found: Assessment) -> Iterator[Difference]:
    config, root = found.project.config, found.project.root
    sources = config.sources
    if config.search_path:
        yield Difference(
            f"schema = {config.schema!r} is set",
            "it is the search_path of every session; 2.1.0 used it after a restore only",
            "leave it out to keep the search_path of the database or the role",
            str(sources["schema"]),
        )
    backup = config.database_to_restore
    if backup and sources["database_to_restore"].kind is not SourceKind.DEFAULT and not (root / backup).exists():
        yield Difference(
            f"the configured backup {backup} is absent",
            "an empty database is refused with exit code 8; 2.1.0 looked for files beside it, then started from scratch",
            "put the file there, or leave the setting out to start from scratch",
            str(sources["database_to_restore"]),
        )
    if backup and (root / backup).is_file():
        yield Difference(
            f"the backup {backup} is restored into an empty database",
            "all of it or nothing: the first SQL error ends it, psql's own commands are refused, the ledger must be in it",
            "try it: migrate restore into an empty database",
            str(sources["database_to_restore"]),
        )
    if config.redis_host:
        yield Difference(
            "redis_host is set",
            "the database of that URL is flushed after a change, at once; 2.1.0 deleted key by key at every start",
            "nothing, unless the redis forbids FLUSHDB and SCAN",
            str(sources["redis_host"]),
        )
    if config.schema_version:
        yield Difference(
            f"schema_version = {config.schema_version!r} is set",
            "the flag names its database and counts for no other; its directory is checked before anything runs",
            f"see that {config.flag_location} exists and can be written",
            str(sources["schema_version"]),
        )


def _of_bodies(found: Assessment) -> Iterator[Difference]:
    """Yield the differences in the bodies of migrations that are not applied yet."""
    sources, config = Sources(), found.project.config
    applied = found.reading.history.applied
    on_sqlite = config.has_database and is_one_file(config.migrate_uri)
    for migration in found.graph.migrations.values():
        if migration.name not in applied:
            yield from of_body(migration, sources, on_sqlite=on_sqlite)


def _of_views(found: Assessment) -> Iterator[Difference]:
    from migrate_graph.database.views.manager_text import text_of

    for view in found.graph.views.values():
        if text_of(view.manager).says("CASCADE"):
            yield Difference(
                f"{view.name} drops with CASCADE",
                "what goes along and no manager of the block owns stops the migration before anything is dropped",
                "give each dependent a manager with `uses` (migrate views adopt writes them)",
                str(view.source),
            )


_ALSO_TOLD = frozenset({"MG305"})
"""Rules that are reported although they are not errors: their migrations fail when they run."""


def _of_findings(found: Assessment) -> Iterator[Difference]:
    for finding in found.findings:
        if finding.severity is Severity.ERROR or finding.code in _ALSO_TOLD:
            yield Difference(
                f"{finding.code} {finding.message}",
                "migrate plan and migrate apply refuse it; a bare migrate stops only for what would be lost or skipped",
                finding.hint,
                str(finding.source or ""),
            )


_PROGRAM = {
    re.compile(rb"^\s*(?:from|import)\s+edwh_migrate\b", re.MULTILINE): (
        "imports edwh_migrate outside of the migrations",
        "that name means this package only while migrations are loaded and run",
        "call migrate_graph.install_as_edwh_migrate() first, or install the package edwh-migrate-shim",
    ),
    re.compile(rb"\bConfig\.load\("): (
        "calls Config.load()",
        "the result is get_config()'s from now on, also a second one: 2.1.0 returned the first one again",
        "hand the configuration to each function that takes one",
    ),
    re.compile(rb"already installed\b"): (
        "looks for the text 'already installed'",
        "it is not written: what is installed already is no line of a run",
        "ask migrate status --json, or the ledger",
    ),
    re.compile(rb"\bactivate_migrations\("): (
        "calls activate_migrations()",
        "it returns whether all went well, as before, and raises where there was nothing to run on",
        "let a MigrateGraphError end the program, as any exception",
    ),
    re.compile(rb"\bget_config\(\)"): (
        "calls get_config()",
        "what the program sets on it stays, until the variable of that setting changes",
        "nothing, unless the environment was to win over the program",
    ),
    re.compile(rb"\bschema_versioned_lock_file\("): (
        "calls schema_versioned_lock_file()",
        "its directory must be there only where a schema version is configured; the flag names its database",
        "nothing, unless another program reads the flag",
    ),
    re.compile(rb"\bRequimentsNotMet\b"): (
        "catches RequimentsNotMet",
        "it is never raised: dependents of what failed are blocked, and independent migrations run",
        "look at what activate_migrations() returns, or at its failed_migrations",
    ),
}


def _of_programs(found: Assessment) -> Iterator[Difference]:
    loaded = {Path(found.project.root, each.source.path).resolve() for each in found.graph.migrations.values()}
    loaded.add(found.project.path.resolve())
    for path in python_files(found.project.root):
        text = read_bytes(path)
        for pattern, (what, here, way) in _PROGRAM.items():
            match = pattern.search(text)
            if match and not (path.resolve() in loaded and b"edwh_migrate" in match[0]):
                line = text.count(b"\n", 0, match.end()) + 1
                shown = f"{path.relative_to(found.project.root)}"
                yield Difference(f"{shown} {what}", here, way, f"{shown}:{line}")


def _of_packages(_found: Assessment) -> Iterator[Difference]:
    for package in sorted(metadata.distributions(), key=lambda each: str(each.metadata["Name"]).lower()):
        name = str(package.metadata["Name"])
        if name.lower().replace("_", "-") == "edwh-migrate":
            yield Difference(
                f"edwh-migrate {package.version} is installed as well",
                "both own the program `migrate`: the one that was installed last wins",
                "pip uninstall edwh-migrate, then install migrate-graph again; migrate-graph is a second name of ours",
                name,
            )
        elif any(
            re.match(r"edwh[-_]migrate\b(?![-_])", each) for each in package.requires or () if "extra" not in each
        ):
            yield Difference(
                f"{name} requires edwh-migrate",
                "pip brings it in again, with its program `migrate`",
                "install edwh-migrate-shim in its place (examples/edwh_migrate_shim)",
                name,
            )


_IN_SCRIPTS = {
    re.compile(r"already installed"): (
        "looks for the text 'already installed'",
        "it is not written: what is installed already is no line of a run",
        "ask migrate status --json",
    ),
    re.compile(r"\bmigrate\b[^|&;\n]*\s(-l|--list)\b[^\n]*\|"): (
        "reads what migrate --list prints",
        "the list has another layout",
        "read migrate status --json",
    ),
    re.compile(r"\bmigrate\b(?!\s+(?!apply)[a-z]+\b)(?!.*(2>&1|--list|\s-l\b))[^|&;\n]*[^|]\|\s*\w"): (
        "reads what migrate prints",
        "what a run does is told on stderr; stdout holds results only",
        "write migrate 2>&1 | …, or migrate apply --json | …",
    ),
    # Not for commands that only read, and not when stderr goes to the same file.
    re.compile(r"\bmigrate\b(?!\s+(?!apply)[a-z]+\b)(?!.*2>&1)[^|&;\n]*[^2&]>{1,2}\s*(?!&)\S"): (
        "keeps the output of migrate in a file",
        "what a run does is told on stderr; stdout holds results only",
        "write migrate > log 2>&1",
    ),
    re.compile(r"\$\?[\"']?\s*(-eq|==?)\s*[\"']?1\b"): (
        "tests for the exit code 1",
        "there are more codes: 0 still means that everything is done",
        "test for != 0",
    ),
}


def _of_scripts(found: Assessment) -> Iterator[Difference]:
    for path in islice(_scripts(found.project.root), _MOST_SCRIPTS):
        text = read_bytes(path).decode(errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            for pattern, (what, here, way) in _IN_SCRIPTS.items():
                if "migrate" in text and pattern.search(line):
                    shown = f"{path.relative_to(found.project.root)}"
                    yield Difference(f"{shown} {what}", here, way, f"{shown}:{number}")


def _scripts(root: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(root):
        below[:] = sorted(name for name in below if name not in _LEFT_OUT and name != ".git")
        yield from (Path(folder) / name for name in sorted(names) if _SCRIPTS.fullmatch(name))


def _of_the_database(found: Assessment) -> Iterator[Difference]:
    history, table = found.reading.history, found.project.config.migrate_table
    if history.records and not history.attempts:
        yield Difference(
            f"{table} was written by edwh-migrate",
            f"the first run puts {table}_journal and {table}_views beside it",
            "give the role the right to create tables, once",
            found.reading.database,
        )
