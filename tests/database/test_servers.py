"""The test harness itself: what other tests take for granted."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg2
import pytest
import redis
import servers
from servers import APP_PASSWORD, PostgresServer


@pytest.mark.postgres
def test_each_test_gets_an_empty_database_of_its_own(postgres_uri: str, postgres_admin_uri: str) -> None:
    with psycopg2.connect(postgres_uri) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_user, (SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace)"
        )
        assert cursor.fetchone() == ("app", 0)
        cursor.execute("CREATE TABLE t (id int)")
    connection.close()
    connection = psycopg2.connect(postgres_admin_uri)
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        assert cursor.fetchone() == (True,)
        cursor.execute("SELECT tableowner FROM pg_tables WHERE tablename = 't'")
        assert cursor.fetchone() == ("app",)
    connection.close()


@pytest.mark.postgres
def test_a_wrong_password_is_refused(postgres_uri: str) -> None:
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(postgres_uri.replace(APP_PASSWORD, "wrong"))


@pytest.mark.postgres
def test_a_server_can_be_stopped_and_started(own_postgres: PostgresServer) -> None:
    own_postgres.execute("CREATE TABLE kept (id int)")
    own_postgres.stop()
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(own_postgres.admin_uri())
    own_postgres.start()
    own_postgres.execute("SELECT * FROM kept")


@pytest.mark.redis
def test_redis_is_empty(redis_uri: str) -> None:
    client = redis.Redis.from_url(redis_uri)
    assert client.dbsize() == 0
    client.set("k", "v")


@pytest.mark.redis
def test_redis_is_empty_again(redis_uri: str) -> None:
    test_redis_is_empty(redis_uri)


def test_nothing_of_this_shell_reaches_a_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    from user_project import clean_environment

    monkeypatch.setenv("MIGRATE_URI", "sqlite://wrong")
    show = "import os; print(os.environ.get('MIGRATE_URI'), os.environ['HOME'])"
    env = clean_environment(tmp_path)
    done = subprocess.run([sys.executable, "-c", show], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", str(tmp_path)]


def test_what_a_killed_test_process_has_left_in_memory_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "_MEMORY", tmp_path)
    monkeypatch.setattr(servers, "_ROOM", 0)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / f"mg-pg-{ended.pid}-x" / "data").mkdir(parents=True)
    (tmp_path / f"mg-pg-{os.getpid()}-x").mkdir()
    mine = servers._new_directory("pg")
    assert {each.name for each in tmp_path.iterdir()} == {f"mg-pg-{os.getpid()}-x", mine.name}


def test_no_other_test_process_is_given_a_port_that_is_taken() -> None:
    program = "import servers; print(servers.free_port()); input()"
    environment = {**os.environ, "PYTHONPATH": str(Path(servers.__file__).parent)}  # noqa: TID251 - a child's
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        theirs = int(other.stdout.readline())
        held = (Path(tempfile.gettempdir()) / f"migrate-graph-test-ports-{os.geteuid()}" / str(theirs)).open("a")
        with held, pytest.raises(BlockingIOError):
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = {servers.free_port() for _ in range(3)}
        assert len(ours) == 3
        assert theirs not in ours
        other.communicate("")
