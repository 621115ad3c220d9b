"""A restored database is another one than that whose data the cache holds: after a restore it is flushed, wherever the process is killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from bodies import ask

from migrate_graph import Config
from migrate_graph.core.events import Event
from migrate_graph.database.postgres.backend import PostgresBackend
from migrate_graph.database.sqlite.backend import SqliteBackend
from migrate_graph.errors import ConfigError, ExitCode, PendingTaskFailed
from migrate_graph.workflow import cache, restore
from migrate_graph.workflow.apply import ApplyOptions, apply_project
from migrate_graph.workflow.project import open_project

pytestmark = pytest.mark.redis

FILE = "from migrate_graph import migration\n\n@migration\ndef one_1(db):\n    return True\n"
DUMP = """
CREATE TABLE ewh_implemented_features (id integer PRIMARY KEY, name varchar(512) UNIQUE, installed char(1), last_update_dttm timestamp);
INSERT INTO ewh_implemented_features (id, name, installed) VALUES (1, 'one_1', 'T');
"""


class Killed(BaseException):
    """The process ends here."""


class Place:
    """A project with a backup, an empty database, and a cache with something old in it."""

    def __init__(self, path: Path, uri: str, cache: str) -> None:
        self.uri, self.path = uri, path
        (path / "migrations.py").write_text(FILE)
        self.backup = path / "backup.sql"
        self.backup.write_text(DUMP)
        self.cache = redis.Redis.from_url(cache)
        self.config = Config.load({"migrate_uri": uri, "redis_host": cache, "database_to_restore": str(self.backup)})
        self.told: list[Event] = []
        self.fill()

    def fill(self, *_: Any) -> None:
        self.cache.set("invoice 1", "as it was")

    def restore(self) -> None:
        restore.restore_database(self.config, None, lock_wait=None, observer=self.told.append)

    def apply(self) -> None:
        assert apply_project(open_project(self.config, root=self.path), ApplyOptions(), self.told.append) == 0

    def pending(self) -> list[Any]:
        return ask(self.uri, "SELECT name FROM ewh_implemented_features_journal WHERE name = 'flush'")


@pytest.fixture
def place(tmp_path: Path, database_uri: str, redis_uri: str) -> Place:
    return Place(tmp_path, database_uri, redis_uri)


def _after(module: Any, name: str, monkeypatch: pytest.MonkeyPatch, then: Callable[..., Any]) -> None:
    """Let something happen when a function of a module has returned."""
    original = getattr(module, name)

    def both(*arguments: Any, **options: Any) -> Any:
        done = original(*arguments, **options)
        then()
        return done

    monkeypatch.setattr(module, name, both)


def _die() -> None:
    raise Killed


WAYS = {"restore": Place.restore, "apply": Place.apply}


@pytest.mark.parametrize("way", WAYS)
def test_the_cache_is_flushed(way: str, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of what came into it while the backup was restored."""
    _after(restore, "backup_for", monkeypatch, place.fill)
    _after(cache, "flush_before_restore", monkeypatch, place.fill)
    WAYS[way](place)
    assert place.cache.dbsize() == 0
    assert place.pending() == []


def _dies_when_it_is_restored(patched: pytest.MonkeyPatch) -> None:
    for backend in (PostgresBackend, SqliteBackend):
        _after(backend, "restore", patched, _die)


def _dies_before_the_note(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(cache, "remember_flush", lambda *_, **__: _die())


@pytest.mark.parametrize("dies", [_dies_when_it_is_restored, _dies_before_the_note])
@pytest.mark.parametrize("way", WAYS)
def test_killed_before_the_flush_can_be_noted(
    way: str, dies: Callable[[pytest.MonkeyPatch], None], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The restored database has no place for the note yet, and the next run finds nothing to do: so the cache was flushed before."""
    with monkeypatch.context() as patched:
        dies(patched)
        with pytest.raises(Killed):
            WAYS[way](place)
    assert ask(place.uri, "SELECT name FROM ewh_implemented_features") == [("one_1",)]
    assert place.cache.dbsize() == 0
    place.apply()
    assert place.cache.dbsize() == 0


@pytest.mark.parametrize("way", WAYS)
def test_killed_when_the_flush_is_noted(way: str, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        _after(cache, "remember_flush", patched, _die)
        with pytest.raises(Killed):
            WAYS[way](place)
    place.fill()
    assert place.pending() == [("flush",)]
    place.apply()
    assert place.cache.dbsize() == 0
    assert place.pending() == []


def test_a_cache_that_does_not_answer(place: Place) -> None:
    """The database is restored all the same, and the next run flushes."""
    config = place.config
    place.config = Config.load(
        {"migrate_uri": place.uri, "redis_host": "127.0.0.1:9", "database_to_restore": str(place.backup)}
    )
    with pytest.raises(PendingTaskFailed, match=r"the backup is restored, but the cache .* could not be flushed"):
        place.restore()
    assert [str(each) for each in place.told if "before the restore" in str(each)]
    place.config = config
    place.apply()
    assert place.cache.dbsize() == 0


def test_an_address_that_is_none_restores_nothing(place: Place) -> None:
    place.config = Config.load({"migrate_uri": place.uri, "redis_host": "http://cache"})
    with pytest.raises(ConfigError, match="is no address"):
        place.restore()
    if not place.uri.startswith("postgres"):
        assert not Path(place.uri.removeprefix("sqlite://")).exists()


def test_a_run_that_changes_nothing_leaves_the_cache_and_no_note(place: Place) -> None:
    place.config = Config.load({"migrate_uri": place.uri, "redis_host": place.config.redis_host})
    place.apply()
    place.fill()
    body = "    db.executesql('SELECT id FROM nonesuch')\n    return True\n"
    failing = f"{FILE}\n@migration(requires=one_1)\ndef two_2(db):\n{body}"
    (place.path / "migrations.py").write_text(failing)
    project = open_project(place.config, root=place.path)
    assert apply_project(project, ApplyOptions(), place.told.append) == ExitCode.FAILED
    assert place.cache.dbsize() == 1
    assert place.pending() == []


def test_without_a_cache_nothing_is_noted(place: Place) -> None:
    place.config = Config.load({"migrate_uri": place.uri, "database_to_restore": str(place.backup)})
    place.restore()
    assert place.pending() == []
    assert place.cache.dbsize() == 1
