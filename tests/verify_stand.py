"""Tries projects on scratch databases, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from migrate_graph.config import load_config
from migrate_graph.core.events import Event
from migrate_graph.core.footprint import Fact, Footprint
from migrate_graph.workflow.laboratory.laboratory import Laboratory, Watched, laboratory
from migrate_graph.workflow.project import Project, open_project

SQLITE = "sqlite"
"""Scratch databases are files."""


@dataclass
class VerifyStand:
    """A project, and where scratch databases are made."""

    root: Path
    on: str
    settings: dict[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def write(self, text: str) -> None:
        """Write the project: one file."""
        (self.root / "migrations.py").write_text(text)

    def open(self) -> Project:
        """Load the project."""
        return open_project(load_config(self.root, self.settings), root=self.root)

    @contextmanager
    def laboratory(self) -> Iterator[Laboratory]:
        """Open a place to try it."""
        with laboratory(self.open(), on=self.on, observer=self.events.append) as found:
            yield found

    def watch(self) -> Watched:
        """Watch everything once."""
        with self.laboratory() as found:
            return found.watch()

    def footprints(self, *bodies: str) -> dict[str, Footprint]:
        """Watch migrations `m1`, `m2`, … with these bodies, each of which requires the one before; all must succeed."""
        self.write(migrations(*bodies))
        watched = self.watch()
        assert not watched.failed, watched.failed
        return dict(watched.footprints)


def migrations(*bodies: str, head: str = "", requires: bool = True, mode: str = "own") -> str:
    """Return a file of migrations `m1`, `m2`, …; a body is SQL unless it holds `db`."""
    parts = ["from migrate_graph import migration", head]
    for number, body in enumerate(bodies, 1):
        need = f"requires='m{number - 1}', " if requires and number > 1 else ""
        code = body if "db" in body.split(".")[0] or "db." in body else f"db.executesql({body!r})"
        lines = "".join(f"    {line}\n" for line in code.strip("\n").splitlines())
        parts.append(f"\n\n@migration({need}transaction={mode!r})\ndef m{number}(db):\n{lines}    return True\n")
    return "\n".join(parts)


def words(facts: frozenset[Fact]) -> set[str]:
    """Return facts in words."""
    return {f"{fact.kind} {fact.identity}" for fact in facts}
