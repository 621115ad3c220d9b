"""What the tests of programs that use edwh-migrate as a library share."""

# ruff: noqa: TID251 - a program's environment is what is tested there

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest
from servers import postgres_binaries

import migrate_graph
from migrate_graph import Config


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def three(prefix: str = "m") -> str:
    return f"""
        from edwh_migrate import migration

        @migration
        def {prefix}_1(db):
            db.executesql("CREATE TABLE {prefix} (id int)")
            return True

        @migration(requires=[{prefix}_1])
        def {prefix}_2(db):
            db.executesql("INSERT INTO {prefix} VALUES (2)")
            db.commit()
            return True

        @migration(requires="{prefix}_2")
        def {prefix}_3(db):
            return True
    """


def installed(config: Config) -> dict[str, bool]:
    db = migrate_graph.setup_db(config=config)
    rows = {row.name: row.installed for row in db(db.ewh_implemented_features).select()}
    db.close()
    return rows


def psql_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{postgres_binaries()}{os.pathsep}{os.environ['PATH']}")


def hook(config: Config, tmp_path: Path, *args: str) -> int:
    if not (tmp_path / "migrations.py").exists():
        write(tmp_path / "migrations.py", three())
    return migrate_graph.console_hook(list(args), config=config)
