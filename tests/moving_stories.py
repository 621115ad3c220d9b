"""Random stories of a project whose views change hands while edwh-migrate and this tool take turns on one database."""

from __future__ import annotations

import random
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migrate_graph import setup_db
from migrate_graph.authoring.running import Running, running
from migrate_graph.config import Config
from migrate_graph.core.graph import Ordering
from migrate_graph.core.timeline import Timeline
from migrate_graph.loader import user_imports
from migrate_graph.workflow.project import open_project

STYLES = ("literal", "attribute", "file", "function")
"""How a manager comes by its SQL: its text tells less from one to the next."""


@dataclass
class Manager:
    """One class of a view: `since` and `until` are numbers of migrations."""

    name: str
    version: int
    style: str
    since: int | None = None
    until: int | None = None
    replaces: str | None = None


@dataclass
class ManagedView:
    """One relation, and the classes that have it in turn."""

    place: int
    uses: tuple[int, ...]
    cascade: bool
    managers: list[Manager]

    @property
    def now(self) -> Manager:
        return self.managers[-1]


@dataclass
class Story:
    """A project that is edited before each of its migrations, and who runs it."""

    seed: int
    cascades: bool
    views: list[ManagedView] = field(default_factory=list)
    opened: list[list[str]] = field(default_factory=list)
    """By migration: names of the classes that its body opens."""
    dropped: dict[int, str] = field(default_factory=dict)
    """By migration: the class whose view it drops for good."""
    dying: int | None = None
    """The migration that dies once, after a commit inside its first block, where a file `die` lies beside it."""

    def __post_init__(self) -> None:
        self._draw = random.Random(self.seed)
        for place in range(self._draw.randint(1, 4)):
            self._add(place, None)

    def _add(self, place: int, since: int | None) -> None:
        below = [each.place for each in self.views if each.now.until is None]
        uses = tuple(sorted(self._draw.sample(below, min(len(below), self._draw.randint(0, 1)))))
        cascade = self.cascades and self._draw.random() < 0.5
        first = Manager(f"View{place}", 1, self._draw.choice(STYLES), since)
        self.views.append(ManagedView(place, uses, cascade, [first]))

    def stages(self, count: int) -> Iterator[tuple[str, bool, bool]]:
        """Edit the project and add a migration, again and again.

        Yields:
            What was edited, whether edwh-migrate runs it, and whether a run of this tool died before.
        """
        theirs = self._draw.random() < 0.5
        self.opened.append([view.now.name for view in self.views])
        yield "begin", theirs, False
        for at in range(1, count):
            edits = [self._edit(at) for _ in range(self._draw.randint(1, 2))]
            living = [view.now.name for view in self.views if view.now.until in {None, at}]
            must = [view.now.name for view in self.views if at in {view.now.since, view.now.until}]
            also = self._draw.sample(living, self._draw.randint(0 if must else 1, len(living))) if living else []
            self.opened.append([name for name in living if name in {*must, *also}])
            theirs = not theirs if self._draw.random() < 0.6 else theirs
            dies = not theirs and self._draw.random() < 0.3
            if dies:
                self.dying = at
            yield ", ".join(edits), theirs, dies

    def edit_after_death(self) -> str:
        """Edit what a project may edit before it runs again."""
        view = self._draw.choice([view for view in self.views if view.now.name not in self.dropped.values()])
        kind = self._draw.choice((self._rename, self._restyle, self._swap))
        kind(view, 0)
        return f"{kind.__name__[1:]} {view.now.name}"

    def _edit(self, at: int) -> str:
        settled = [view for view in self.views if view.now.until is None and view.now.since != at]
        kind = self._draw.choice(("rename", "hand over", "restyle", "add", "retire", "forget", "swap"))
        if kind == "add":
            self._add(len(self.views), at)
            return f"add View{len(self.views) - 1}"
        if not settled:
            return "nothing"
        view = self._draw.choice(settled)
        getattr(self, f"_{kind.replace(' ', '_')}")(view, at)
        return f"{kind} {view.now.name}"

    def _rename(self, view: ManagedView, _at: int) -> None:
        old, new = view.now.name, view.now.name + "x"
        view.now.name = new
        self.opened = [[new if name == old else name for name in names] for names in self.opened]
        self.dropped = {place: new if name == old else name for place, name in self.dropped.items()}
        for each in view.managers:
            each.replaces = new if each.replaces == old else each.replaces

    def _swap(self, view: ManagedView, _at: int) -> None:
        """Exchange the names of two classes."""
        other = self._draw.choice(self.views)
        if len(view.managers) > 1 or len(other.managers) > 1:
            return
        one, two = view.now.name, other.now.name
        view.now.name, other.now.name = two, one
        names = {one: two, two: one}
        self.opened = [[names.get(name, name) for name in each] for each in self.opened]
        self.dropped = {place: names.get(name, name) for place, name in self.dropped.items()}

    def _restyle(self, view: ManagedView, _at: int) -> None:
        view.now.style = self._draw.choice(STYLES)

    def _hand_over(self, view: ManagedView, at: int) -> None:
        style = self._draw.choice(STYLES)
        view.managers.append(
            Manager(f"View{view.place}v{view.now.version + 1}", view.now.version + 1, style, at, None, view.now.name)
        )

    def _retire(self, view: ManagedView, at: int) -> None:
        if any(view.place in each.uses for each in self.views) or len(self.views) == 1 or at in self.dropped:
            return self._restyle(view, at)
        for manager in view.managers:
            manager.until = at
        self.dropped[at] = view.now.name
        return None

    def _forget(self, view: ManagedView, _at: int) -> None:
        """Take the earlier classes out of the project: old migrations open the present one."""
        gone = {manager.name for manager in view.managers[:-1]}
        if gone:
            view.managers[:-1] = []
            view.now.replaces = view.now.since = None
            self.opened = [
                list(dict.fromkeys(view.now.name if name in gone else name for name in names)) for names in self.opened
            ]

    # -- what it writes ---------------------------------------------------------------------------------------------

    def write(self, directory: Path) -> None:
        """Write the project's files as they are now."""
        for view in self.views:
            for manager in view.managers:
                (directory / f"up{view.place}v{manager.version}.sql").write_text(self._up(view, manager))
                (directory / f"down{view.place}.sql").write_text(self._down(view))
        parts = [
            "import os",
            "from pathlib import Path\n",
            "from edwh_migrate import ViewMigrationManager, migration\n",
        ]
        parts += ["HERE = Path(__file__).parent\n", "def read(name): return (HERE / name).read_text()\n"]
        parts += [
            "def die(db):\n    if (HERE / 'die').exists():\n        db.commit()\n        os.kill(os.getpid(), 9)\n"
        ]
        parts += [self._class(view, manager) for view in self.views for manager in view.managers]
        parts += [self._migration(at) for at in range(len(self.opened))]
        (directory / "migrations.py").write_text("\n\n".join(parts))

    def _up(self, view: ManagedView, manager: Manager) -> str:
        below = " UNION ALL ".join(f"SELECT id, grown FROM v{each}" for each in view.uses) or "SELECT id, grown FROM t"
        return f"CREATE VIEW v{view.place} AS SELECT id, grown, {manager.version} AS version FROM ({below}) AS below"

    def _down(self, view: ManagedView) -> str:
        return f"DROP VIEW IF EXISTS v{view.place}" + " CASCADE" * view.cascade

    def _class(self, view: ManagedView, manager: Manager) -> str:
        up, down = repr(self._up(view, manager)), repr(self._down(view))
        extra = ""
        if manager.style == "attribute":
            extra = f"    relation = 'v{view.place}'\n"
            up = "f" + up.replace(f"v{view.place} AS", "{self.relation} AS", 1)
            down = "f" + down.replace(f"v{view.place}", "{self.relation}", 1)
        elif manager.style == "file":
            up, down = f"read('up{view.place}v{manager.version}.sql')", f"read('down{view.place}.sql')"
        elif manager.style == "function":
            # A literal that is no statement about the view stands beside: the text seems to say everything.
            up = f"'SELECT 1'); self.db.executesql(read('up{view.place}v{manager.version}.sql')"
            down = f"'DROP INDEX IF EXISTS no_such_index'); self.db.executesql(read('down{view.place}.sql')"
        uses = ", ".join(
            f"{self.views[each].now.name if self._is_first(each) else self._first(each)}" for each in view.uses
        )
        return textwrap.dedent(f"""\
            class {manager.name}(ViewMigrationManager):
                uses = ({uses}{"," * bool(uses)})
                since = {f"m{manager.since}" if manager.since is not None else ""!r}
                until = {f"m{manager.until}" if manager.until is not None else ""!r}
                replaces = {manager.replaces}
            {{extra}}
                def up(self): self.db.executesql({{up}})
                def down(self): self.db.executesql({{down}})
        """).format(extra=extra, up=up, down=down)

    def _is_first(self, place: int) -> bool:
        return len(self.views[place].managers) == 1

    def _first(self, place: int) -> str:
        return self.views[place].managers[0].name

    def _migration(self, at: int) -> str:
        also = ", resumable=True" if at == self.dying else ""
        lines = ["@migration" if not at else f"@migration(requires='m{at - 1}'{also})", f"def m{at}(db):"]
        if not at:
            lines.append("    db.executesql('CREATE TABLE t (id integer, grown varchar(10))')")
        for name in self.opened[at]:
            lines += [f"    with {name}(db):", f"        db.executesql(\"INSERT INTO t VALUES ({at}, 'grown')\")"]
            lines += ["        die(db)"] * (at == self.dying)
        if at in self.dropped:
            lines.append(f"    {self.dropped[at]}(db).down()")
        return "\n".join([*lines, "    return True", ""])

    # -- what must be there -------------------------------------------------------------------------------------------

    def expected(self) -> dict[str, int]:
        """Return the views that must be there, each with the version of its text."""
        return {f"v{view.place}": view.now.version for view in self.views if view.now.until is None}


class PlainOpener:
    """Opens views as edwh-migrate does: no ledger of views, nothing looked at."""

    def __init__(self, graph: Any, name: str, applied: set[str]) -> None:
        self._graph, self._name, self._applied = graph, name, applied
        self._up: list[tuple[str, ...]] = []

    def enter(self, manager: Any) -> None:
        block = Timeline(self._graph).block(type(manager).__name__, applied=self._applied, running=self._name)
        for name in block.down:
            self._graph.views[name].manager(manager.db).down()
        self._up.append(block.up)

    def leave(self, manager: Any, error: BaseException | None) -> None:
        for name in self._up.pop():
            self._graph.views[name].manager(manager.db).up()


def run_as_edwh_migrate(directory: Path, config: Config) -> None:
    """Run what is pending as edwh-migrate 2.1.0 does, which knows nothing of our tables."""
    from migrate_graph import DatabaseNotYetInitialized, mark_migration

    project = open_project(config, root=directory)
    try:
        db = setup_db(config=config)
    except DatabaseNotYetInitialized:
        db = setup_db(config=config, migrate=True, migrate_enabled=True, remove_migrate_tablefile=True)
    table = db.ewh_implemented_features
    applied = {row.name for row in db(table.installed == True).select()}  # noqa: E712 - pyDAL's query
    with user_imports(project.imports, project.registry):
        for name in project.graph.order(Ordering.LEGACY):
            if name not in applied:
                opener = PlainOpener(project.graph, name, applied)
                with running(Running(name, lambda: applied, opener, lambda *_: None)):
                    assert project.graph.migrations[name].function(db)
                mark_migration(db, name, installed=True)
                db.commit()
                applied.add(name)
    db.close()
