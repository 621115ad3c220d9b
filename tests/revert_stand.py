"""A project on a database that is applied and reverted in this process."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2

from migrate_graph.config import load_config
from migrate_graph.core.events import Event, Warned
from migrate_graph.core.footprint import Fact
from migrate_graph.core.graph import Node, NodeKind
from migrate_graph.core.history import History
from migrate_graph.core.states import State, standing_of
from migrate_graph.database import backend_class
from migrate_graph.workflow.apply import ApplyOptions, apply_project
from migrate_graph.workflow.project import Project, database_settings, open_project, read_history
from migrate_graph.workflow.revert import RevertOptions, revert_project


class Shop:
    """A project on a database, in this process."""

    def __init__(self, path: Path, uri: str, copies: str) -> None:
        self.path, self.uri, self.copies = path, uri, copies
        self.events: list[Event] = []
        path.mkdir()

    def project(self, text: str | None = None, **settings: Any) -> Project:
        if text is not None:
            (self.path / "migrations.py").write_text(text)
        given = {"migrate_uri": self.uri, "rehearse_on": self.copies or None, **settings}
        return open_project(load_config(self.path, {}, given), root=self.path)

    def apply(self, text: str | None = None, **settings: Any) -> int:
        return apply_project(self.project(text, **settings), ApplyOptions(), self.events.append)

    def revert(self, name: str, text: str | None = None, **options: Any) -> int:
        settings = options.pop("settings", {})
        return revert_project(self.project(text, **settings), name, RevertOptions(**options), self.events.append)

    @property
    def history(self) -> History:
        return read_history(self.project().config).history

    def state(self, name: str) -> State:
        return standing_of(self.project().graph, self.history)[Node(NodeKind.MIGRATION, name)].state

    @property
    def told(self) -> str:
        return "\n".join(event.message for event in self.events if isinstance(event, Warned))

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        connect: Callable[[str], Any] = psycopg2.connect if self.uri.startswith("postgres") else sqlite3.connect
        with closing(
            connect(self.uri if self.uri.startswith("postgres") else self.uri.partition("://")[2])
        ) as connection:
            cursor = connection.cursor()
            cursor.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
            connection.commit()
            return list(rows)

    def columns(self, relation: str) -> list[str]:
        connect: Callable[[str], Any] = psycopg2.connect if self.uri.startswith("postgres") else sqlite3.connect
        with closing(
            connect(self.uri if self.uri.startswith("postgres") else self.uri.partition("://")[2])
        ) as connection:
            cursor = connection.cursor()
            cursor.execute(f"SELECT * FROM {relation}")
            return [each[0] for each in cursor.description]

    def facts(self) -> dict[Fact, str]:
        """Return what the database is made of, with the definitions."""
        settings = database_settings(self.project().config)
        return dict(backend_class(settings.uri).contents(settings, unstable={}).facts)
