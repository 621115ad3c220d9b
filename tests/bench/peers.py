"""The same migrations, told to each tool: what is written for it, and how it is called."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

PEERS = (
    "django>=5.2,<5.3",
    "alembic>=1.16",
    "yoyo-migrations>=9",
    "edwh-migrate[full]==2.1.0",
    "psycopg2-binary",
    "setuptools<81",
)
"""What is installed into an environment of its own to be compared with; yoyo and edwh-migrate want pkg_resources."""


@dataclass(frozen=True)
class Database:
    """A database that one tool has for itself.

    Attributes:
        uri: `postgresql://user:password@host:port/name`, or `sqlite:///absolute/path`.
    """

    uri: str

    @property
    def is_postgres(self) -> bool:
        """Whether it is on a PostgreSQL server."""
        return self.uri.startswith("postgres")

    @property
    def path(self) -> str:
        """The file of an SQLite database."""
        return self.uri.removeprefix("sqlite://")


class Tool(Protocol):
    """One tool.

    Attributes:
        name: as the table has it.
        ours: it runs in this environment, not in that of the peers.
    """

    name: str
    ours: bool

    def write(self, directory: Path, count: int, database: Database) -> None:
        """Write a project of so many migrations, each one CREATE TABLE after the one before."""

    def command(self, python: str, directory: Path) -> list[str]:
        """Return what applies everything that is pending."""

    def environ(self, directory: Path, database: Database) -> Mapping[str, str]:
        """Return what the environment must hold for that."""


def _table(number: int) -> str:
    return f"CREATE TABLE t_{number} (id integer PRIMARY KEY, name varchar(80))"


class Raw:
    """The driver alone: connect once, one transaction for each statement. Nothing is remembered."""

    name, ours = "raw driver", True

    def write(self, directory: Path, count: int, database: Database) -> None:
        """Write a program."""
        if database.is_postgres:
            connect, begin = f"import psycopg2; connection = psycopg2.connect({database.uri!r})", "None"
        else:
            connect = f"import sqlite3; connection = sqlite3.connect({database.path!r}, isolation_level=None)"
            begin = "cursor.execute('BEGIN IMMEDIATE')"
        statement = f"{_table(-1)!r}.replace('-1', str(number))"
        loop = (
            f"    cursor = connection.cursor()\n    {begin}\n    cursor.execute({statement})\n    connection.commit()\n"
        )
        (directory / "raw.py").write_text(f"{connect}\nfor number in range({count}):\n{loop}")

    def command(self, python: str, directory: Path) -> list[str]:
        """Run it."""
        return [python, str(directory / "raw.py")]

    def environ(self, directory: Path, database: Database) -> Mapping[str, str]:
        """Return nothing: all is in the program."""
        return {}


class MigrateGraph:
    """This project."""

    name, ours, imported = "migrate_graph", True, "migrate_graph"

    def write(self, directory: Path, count: int, database: Database) -> None:
        """Write `migrations.py`."""
        steps = [f"from {self.imported} import migration\n"]
        for number in range(count):
            after = f"(requires=[m_20260101_{number - 1:04d}])" if number else ""
            steps.append(
                f"@migration{after}\ndef m_20260101_{number:04d}(db):\n    db.executesql({_table(number)!r})\n    return True\n"
            )
        (directory / "migrations.py").write_text("\n\n".join(steps))
        (directory / "pyproject.toml").write_text("[tool.migrate]\n")

    def command(self, python: str, directory: Path) -> list[str]:
        """Call its command line."""
        return [str(Path(python).with_name("migrate"))]

    def environ(self, directory: Path, database: Database) -> Mapping[str, str]:
        """Return the database, as both it and its predecessor take it."""
        return {"MIGRATE_URI": database.uri if database.is_postgres else f"sqlite://{database.path}", "CI": "true"}


class InOneTransaction(MigrateGraph):
    """This project, with everything in one transaction."""

    def command(self, python: str, directory: Path) -> list[str]:
        """Call its command line."""
        return [*super().command(python, directory), "apply", "--atomic"]


class EdwhMigrate(MigrateGraph):
    """Its predecessor."""

    name, ours, imported = "edwh-migrate 2.1", False, "edwh_migrate"

    def environ(self, directory: Path, database: Database) -> Mapping[str, str]:
        """Return the database, and a directory for flags, which it always wants to have."""
        known = super().environ(directory, database)
        uri = known["MIGRATE_URI"].replace(
            "postgresql://", "postgres://"
        )  # it waits ten minutes for the other spelling
        return {**known, "MIGRATE_URI": uri, "FLAG_LOCATION": str(directory)}


class Django:
    """Django, an app of `RunSQL` migrations."""

    name, ours = "Django 5.2", False

    def write(self, directory: Path, count: int, database: Database) -> None:
        """Write an app and its settings."""
        folder = directory / "app" / "migrations"
        folder.mkdir(parents=True)
        (directory / "app" / "__init__.py").touch()
        (folder / "__init__.py").touch()
        for number in range(count):
            before = f"('app', 'm{number - 1:04d}')" if number else ""
            (folder / f"m{number:04d}.py").write_text(
                "from django.db import migrations\n\nclass Migration(migrations.Migration):\n"
                f"    dependencies = [{before}]\n    operations = [migrations.RunSQL({_table(number)!r})]\n"
            )
        parts = urlsplit(database.uri)
        engine = {"ENGINE": "django.db.backends.sqlite3", "NAME": database.path}
        if database.is_postgres:
            engine = {
                "ENGINE": "django.db.backends.postgresql", "NAME": parts.path[1:], "USER": parts.username or "",
                "PASSWORD": parts.password or "", "HOST": parts.hostname or "", "PORT": str(parts.port),
            }  # fmt: skip
        (directory / "settings.py").write_text(
            f"INSTALLED_APPS = ['app']\nDATABASES = {{'default': {engine!r}}}\nSECRET_KEY = 'bench'\n"
            "DEFAULT_AUTO_FIELD = 'django.db.models.AutoField'\n"
        )

    def command(self, python: str, directory: Path) -> list[str]:
        """Call `django migrate`."""
        return [python, "-m", "django", "migrate", "--verbosity", "0"]

    def environ(self, directory: Path, database: Database) -> Mapping[str, str]:
        """Return where the settings are."""
        return {"DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": str(directory)}


class Alembic:
    """Alembic, a chain of revisions, a transaction for each as its documentation advises for PostgreSQL."""

    name, ours = "Alembic", False

    def write(self, directory: Path, count: int, database: Database) -> None:
        """Write the scripts and their environment."""
        versions = directory / "scripts" / "versions"
        versions.mkdir(parents=True)
        uri = f"sqlite:///{database.path}"
        if database.is_postgres:  # by the driver that all others use
            uri = database.uri.replace("postgresql://", "postgresql+psycopg2://")
        (directory / "alembic.ini").write_text(
            f"[alembic]\nscript_location = {directory / 'scripts'}\nsqlalchemy.url = {uri}\npath_separator = os\n"
        )
        (directory / "scripts" / "env.py").write_text(
            textwrap.dedent(
                """\
                from alembic import context
                from sqlalchemy import create_engine

                with create_engine(context.config.get_main_option("sqlalchemy.url")).connect() as connection:
                    context.configure(connection=connection, transaction_per_migration=True)
                    with context.begin_transaction():
                        context.run_migrations()
                """
            )
        )
        for number in range(count):
            before = repr(f"m{number - 1:04d}") if number else "None"
            (versions / f"m{number:04d}.py").write_text(
                f"from alembic import op\n\nrevision = 'm{number:04d}'\ndown_revision = {before}\n\n\n"
                f"def upgrade():\n    op.execute({_table(number)!r})\n"
            )

    def command(self, python: str, directory: Path) -> list[str]:
        """Call `alembic upgrade head`."""
        return [str(Path(python).with_name("alembic")), "upgrade", "head"]

    def environ(self, directory: Path, database: Database) -> Mapping[str, str]:
        """Return nothing more."""
        return {}


class Yoyo:
    """yoyo, a folder of steps."""

    name, ours = "yoyo 9", False

    def write(self, directory: Path, count: int, database: Database) -> None:
        """Write the steps."""
        (directory / "steps").mkdir()
        for number in range(count):
            before = f"{{'m{number - 1:04d}'}}" if number else "set()"
            (directory / "steps" / f"m{number:04d}.py").write_text(
                f"from yoyo import step\n\n__depends__ = {before}\nsteps = [step({_table(number)!r})]\n"
            )
        uri = database.uri if database.is_postgres else f"sqlite:///{database.path}"
        (directory / "yoyo.ini").write_text(
            f"[DEFAULT]\nsources = steps\ndatabase = {uri}\nbatch_mode = on\nverbosity = 0\n"
        )

    def command(self, python: str, directory: Path) -> list[str]:
        """Call `yoyo apply`."""
        return [str(Path(python).with_name("yoyo")), "apply"]

    def environ(self, directory: Path, database: Database) -> Mapping[str, str]:
        """Return nothing more."""
        return {}


TOOLS: tuple[Tool, ...] = (Raw(), MigrateGraph(), Django(), Alembic(), Yoyo(), EdwhMigrate())


def clean_environ(more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of this process without what would speak to any of the tools, and what is given."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}  # noqa: TID251 - tests are an edge
    return {**kept, **more}
