"""From every prefix of a random history, also one that stumbled, upgrading to the end leaves the same views."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from bystanders import bystanding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace
from servers import PostgresServer

from migrate_graph.authoring import ViewMigrationManager, collecting, migration
from migrate_graph.config import Config
from migrate_graph.core.events import ignore_events
from migrate_graph.core.graph import Ordering, build_graph
from migrate_graph.errors import ExitCode
from migrate_graph.loader import build_registry
from migrate_graph.workflow.apply import ApplyOptions, apply_project
from migrate_graph.workflow.assessment import Selection
from migrate_graph.workflow.project import Project


class Life(Struct, frozen=True):
    """One view of a history, and what becomes of it.

    Attributes:
        uses: places of the views it reads.
        since: place of the migration that creates it.
        handed_over: place of the migration from which on a second version stands for it; None for never.
        until: place of the migration that retires it; None for never.
    """

    uses: tuple[int, ...]
    since: int
    handed_over: int | None
    until: int | None


class Story(Struct, frozen=True):
    """A history: migrations that follow one another, views, and where each migration opens which of them.

    Attributes:
        length: number of migrations.
        lives: of the views.
        opened: places of the views that each migration opens.
        prefix: how many migrations run first.
        stumble: what the first migration after these does at its first attempt, inside the blocks; None for nothing.
    """

    length: int
    lives: tuple[Life, ...]
    opened: tuple[tuple[int, ...], ...]
    prefix: int
    stumble: str | None


def _living(life: Life, length: int) -> range:
    return range(life.since, length if life.until is None else life.until)


@st.composite
def stories(draw: st.DrawFn) -> Story:
    length = draw(st.integers(2, 6))
    lives: list[Life] = []
    for place in range(draw(st.integers(1, 6))):
        uses = tuple(draw(st.lists(st.sampled_from(range(place)), unique=True, max_size=2))) if place else ()
        if len(uses) == 2 and not {*_living(lives[uses[0]], length)} & {*_living(lives[uses[1]], length)}:
            uses = uses[:1]
        first = max((lives[each].since for each in uses), default=0)
        last = min((lives[each].until or length for each in uses), default=length)
        since = draw(st.integers(first, last - 1))  # it lives while everything lives that it reads
        until = draw(st.integers(since + 1, last)) if draw(st.booleans()) else last
        middle = range(since + 1, until)
        handed_over = draw(st.none() | st.sampled_from(middle)) if middle else None
        lives.append(Life(uses, since, handed_over, None if until == length else until))
    opened = []
    for at in range(length):
        alive = [place for place, life in enumerate(lives) if life.since <= at <= (life.until or length)]
        born = [place for place in alive if at in {lives[place].since, lives[place].handed_over}]
        also = draw(st.lists(st.sampled_from(alive), unique=True, max_size=3)) if alive else []
        opened.append(tuple(dict.fromkeys([*born, *also])))
    prefix = draw(st.integers(0, length - 1))
    stumble = draw(st.sampled_from([None, "raise", "commit and raise", "return False", "swallow"]))
    return Story(length, tuple(lives), tuple(opened), prefix, stumble)


class StumbleError(Exception):
    """A migration ended in the middle."""


class World:
    """A story told in one database."""

    def __init__(self, story: Story, uri: str, directory: str) -> None:
        self.story = story
        self.stumbling: int | None = None
        self.config = Config.load({"migrate_uri": uri, "database_to_restore": "", "db_folder": directory})
        with collecting() as declared:
            managers = [manager for place in range(len(story.lives)) for manager in self._versions(place)]
            for at in range(story.length):
                self._declare(at, {manager.__name__: manager for manager in managers})
        registry = build_registry(declared.migrations, declared.managers, root=Path(directory))
        self.project = Project(
            self.config, registry, build_graph(registry), Path(directory), Path(directory), "story", Ordering.LEGACY
        )

    def _versions(self, place: int) -> list[type[ViewMigrationManager]]:
        life = self.story.lives[place]
        versions = [self._manager(f"V{place}", place, "old", f"m{life.since}", None)]
        if life.handed_over is not None:
            versions.append(self._manager(f"W{place}", place, "new", f"m{life.handed_over}", versions[0]))
        return versions

    def _manager(self, name: str, place: int, mark: str, since: str, replaces: Any) -> type[ViewMigrationManager]:
        life = self.story.lives[place]
        reads = " UNION ALL ".join(f"SELECT id, grown FROM r{each}" for each in life.uses) or "SELECT id, grown FROM t"

        def up(self: Any) -> None:
            self.db.executesql(f"CREATE VIEW r{place} AS SELECT id, grown, '{mark}' AS version FROM ({reads}) AS below")

        def down(self: Any) -> None:
            self.db.executesql(f"DROP VIEW IF EXISTS r{place}")

        until = None if life.until is None else f"m{life.until}"
        uses = tuple(_known[f"V{each}"] for each in life.uses)
        body = {"__module__": __name__, "up": up, "down": down, "uses": uses, "since": since, "until": until}
        _known[name] = type(name, (ViewMigrationManager,), body | {"replaces": replaces})
        return _known[name]

    def _declare(self, at: int, managers: dict[str, type[ViewMigrationManager]]) -> None:
        names = [self._version_at(place, at) for place in self.story.opened[at]]

        def body(db: Any) -> bool:
            if at == 0:
                db.executesql("CREATE TABLE t (id integer, grown varchar(10))")
            try:
                with ExitStack() as blocks:
                    for name in names:
                        blocks.enter_context(managers[name](db))
                    self._change(at, db)
                    self._stumble(at, db)
            except StumbleError:
                if self.story.stumble != "swallow" or not names:
                    raise
            for place in self._retiring(at):
                managers[self._version_at(place, at)](db).down()
            return not (self.stumbling == at and self.story.stumble == "return False")

        body.__name__ = body.__qualname__ = f"m{at}"
        migration(requires=[f"m{at - 1}"] if at else None, views=names)(body)

    def _retiring(self, at: int) -> list[int]:
        return [place for place, life in enumerate(self.story.lives) if life.until == at][::-1]

    def _change(self, at: int, db: Any) -> None:
        """Change the type of a column: possible where every living view is down."""
        reached = set(self.story.opened[at])
        for place, life in enumerate(self.story.lives):
            reached |= {place} if reached & set(life.uses) else set()
        if not reached >= {
            place for place, life in enumerate(self.story.lives) if life.since <= at <= (life.until or at)
        }:
            db.executesql(f"INSERT INTO t VALUES ({at}, 'grown')")
        elif db._uri.startswith("sqlite"):
            db.executesql(f"CREATE TABLE fresh (id integer, grown varchar({20 + at}))")
            db.executesql("INSERT INTO fresh SELECT id, grown FROM t")
            db.executesql("DROP TABLE t")
            db.executesql("ALTER TABLE fresh RENAME TO t")
        else:
            db.executesql(f"ALTER TABLE t ALTER COLUMN grown TYPE varchar({20 + at})")

    def _version_at(self, place: int, at: int) -> str:
        handed_over = self.story.lives[place].handed_over
        return f"V{place}" if handed_over is None or at < handed_over else f"W{place}"

    def _stumble(self, at: int, db: Any) -> None:
        if self.stumbling != at or self.story.stumble == "return False":
            return
        if self.story.stumble in {"commit and raise", "swallow"} and at:  # m0 could not be tried again
            db.commit()
        raise StumbleError

    def apply(self, *, count: int | None = None) -> int:
        selection = Selection() if count is None else Selection(to=f"m{count - 1}")
        options = ApplyOptions(selection=selection)
        return apply_project(self.project, options, ignore_events)


_known: dict[str, Any] = {}


def tell(story: Story, uri: str, directory: str, *, broken: bool) -> list[Any]:
    """Run a story, in one go or in two with a stumble between; give the views that are there at the end."""
    world = World(story, uri, directory)
    if broken:
        if story.prefix:
            assert world.apply(count=story.prefix) == ExitCode.OK
        if story.stumble:
            world.stumbling = story.prefix
            before = views_of(uri)
            assert world.apply() == ExitCode.FAILED
            assert views_of(uri) == before
            world.stumbling = None
        world = World(story, uri, directory)  # another process would know nothing of the first
    with bystanding(uri) if broken and story.prefix else nullcontext():
        assert world.apply() == ExitCode.OK
    return views_of(uri)


def views_of(uri: str) -> list[Any]:
    if uri.startswith("sqlite"):
        connection: Any = sqlite3.connect(uri.removeprefix("sqlite://"))
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'view' ORDER BY name"
    else:
        connection = psycopg2.connect(uri)
        query = "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public' ORDER BY 1"
    cursor = connection.cursor()
    cursor.execute(query)
    found = cursor.fetchall()
    for name, _ in found:
        cursor.execute(f"SELECT * FROM {name}")  # each of them works
    connection.close()
    return [tuple(row) for row in found]


def judge(story: Story, whole: list[Any], parts: list[Any]) -> None:
    assert parts == whole
    there = {name for name, _ in whole}
    assert there == {f"r{place}" for place, life in enumerate(story.lives) if life.until is None}
    for name, definition in whole:
        version = "new" if story.lives[int(name[1:])].handed_over is not None else "old"
        assert f"'{version}'" in definition


CHECKS = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]}


@given(stories())
@settings(max_examples=20, **CHECKS)
def test_upgrading_from_every_prefix_ends_in_the_same_views_on_sqlite(story: Story) -> None:
    with tempfile.TemporaryDirectory() as directory:
        found = [tell(story, f"sqlite://{directory}/{broken}.db", directory, broken=broken) for broken in (False, True)]
    judge(story, *found)


@pytest.mark.postgres
@given(stories())
@settings(max_examples=8, **CHECKS)
def test_upgrading_from_every_prefix_ends_in_the_same_views_on_postgres(
    postgres_server: PostgresServer, story: Story
) -> None:
    found = []
    with tempfile.TemporaryDirectory() as directory:
        for broken in (False, True):
            with postgres_server.database() as name:
                found.append(tell(story, postgres_server.app_uri(name), directory, broken=broken))
    judge(story, *found)


def test_every_prefix_of_one_long_story(tmp_path: Path) -> None:
    """A diamond whose base is handed over in the middle and whose top retires; each prefix, each way to stumble."""
    lives = (
        Life((), 0, 2, None),
        Life((0,), 0, None, None),
        Life((0,), 1, None, None),
        Life((1, 2), 1, 3, 4),
    )
    story = Story(6, lives, ((0, 1), (2, 3), (0,), (0, 3), (1,), (0,)), 0, None)
    whole = tell(story, f"sqlite://{tmp_path}/whole.db", str(tmp_path), broken=False)
    for prefix in range(story.length):
        for stumble in (None, "commit and raise", "swallow"):
            broken = replace(story, prefix=prefix, stumble=stumble)
            uri = f"sqlite://{tmp_path}/{prefix}-{stumble}.db".replace(" ", "-")
            judge(broken, whole, tell(broken, uri, str(tmp_path), broken=True))
