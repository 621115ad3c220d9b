"""Emptying a real Redis."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import redis
from servers import RedisServer

from migrate_graph.errors import ConfigError, PendingTaskFailed
from migrate_graph.redis_cache import check_address, flush

PASSWORD = "R3dis-Geheim-4b7a"

needs_redis = pytest.mark.redis


def client(uri: str) -> redis.Redis:
    return redis.Redis.from_url(uri)


@needs_redis
def test_the_database_of_the_url_is_emptied_and_no_other(redis_uri: str) -> None:
    base = redis_uri.removesuffix("/0")
    for number in (0, 3):
        client(f"{base}/{number}").set("key", "x")
    assert "FLUSHDB ASYNC" in flush(f"{base}/3")
    assert client(f"{base}/3").dbsize() == 0
    assert client(f"{base}/0").dbsize() == 1


@needs_redis
def test_every_spelling_of_an_address(redis_uri: str, redis_server: RedisServer) -> None:
    bare = redis_uri.removeprefix("redis://").removesuffix("/0")
    for address in (bare, f"localhost:{redis_server.port}", redis_uri, f"unix://{redis_server.socket}"):
        client(redis_uri).set("key", "x")
        flush(address)
        assert client(redis_uri).dbsize() == 0


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("cache", "redis://cache"),
        ("cache:6380", "redis://cache:6380"),
        ("cache/2", "redis://cache/2"),
        ("10.0.0.1", "redis://10.0.0.1"),
        ("[::1]:6379", "redis://[::1]:6379"),
        ("redis://:pw@cache/1", "redis://:pw@cache/1"),
        ("rediss://user:pw@cache:6379/1?ssl_cert_reqs=none", "rediss://user:pw@cache:6379/1?ssl_cert_reqs=none"),
        ("unix:///run/redis.sock?db=2", "unix:///run/redis.sock?db=2"),
        ("REDIS://Cache/1", "redis://Cache/1"),
    ],
)
def test_addresses(host: str, url: str) -> None:
    assert check_address(host) == url


@pytest.mark.parametrize(
    "host",
    [
        "", " ", "http://cache", "a b", "cache:port", "redis://", "cache/x", "cache:6379:1", "unix://", "cache:99999",
        "redis://cache?ssl_cert_reqs=none", "rediss://cache?ssl_cert_reqs=perhaps", "unix:///run/redis.sock?timeout=1",
        "redis://cache?socket_timeout=soon",
    ],
)  # fmt: skip
def test_what_is_no_address_is_told_before_anything_runs(host: str) -> None:
    with pytest.raises(ConfigError, match="is no address"):
        check_address(host)
    with pytest.raises(PendingTaskFailed, match="is no address"):
        flush(host)


def test_a_wrong_address_hides_its_password() -> None:
    with pytest.raises(ConfigError) as caught:
        check_address(f"http://user:{PASSWORD}@cache")
    assert PASSWORD not in caught.value.message


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigError, match="not installed") as caught:
        check_address("cache")
    assert "migrate-graph[redis]" in caught.value.hint


@needs_redis
class TestDenied:
    """A Redis user without FLUSHDB, as hosting providers give it."""

    @pytest.fixture
    def user(self, redis_uri: str) -> Iterator[redis.Redis]:
        admin = client(redis_uri)
        for n in range(2500):
            admin.set(f"key {n}", "x")
        yield admin
        admin.acl_deluser("worker")

    def uri(self, redis_uri: str, password: str = PASSWORD) -> str:
        return redis_uri.replace("redis://", f"redis://worker:{password}@")

    def test_d13_scan_and_unlink_instead_and_never_keys(self, user: redis.Redis, redis_uri: str) -> None:
        user.execute_command("ACL", "SETUSER", "worker", "on", f">{PASSWORD}", "~*", "+@all", "-flushdb", "-keys")
        user.config_resetstat()
        assert "2500 keys by SCAN and UNLINK" in flush(self.uri(redis_uri))
        assert user.dbsize() == 0
        commands = user.info("commandstats")
        assert commands["cmdstat_unlink"]["calls"] == 3
        assert "cmdstat_keys" not in commands
        assert "cmdstat_del" not in commands

    def test_everything_denied(self, user: redis.Redis, redis_uri: str) -> None:
        user.execute_command("ACL", "SETUSER", "worker", "on", f">{PASSWORD}", "~*", "+@all", "-flushdb", "-scan")
        with pytest.raises(PendingTaskFailed, match="could not be flushed") as caught:
            flush(self.uri(redis_uri))
        assert "UNLINK" in caught.value.hint
        assert user.dbsize() == 2500

    def test_d14_a_wrong_password_fails_at_once_and_is_not_shown(self, user: redis.Redis, redis_uri: str) -> None:
        user.execute_command("ACL", "SETUSER", "worker", "on", f">{PASSWORD}", "~*", "+@all")
        with pytest.raises(PendingTaskFailed) as caught:
            flush(self.uri(redis_uri, "Wr0ng-Geheim-0000"))
        assert "Wr0ng" not in caught.value.message + caught.value.hint
        assert "password" in caught.value.hint

    def test_a_read_only_replica_is_named_as_such(self, user: redis.Redis, redis_uri: str) -> None:
        user.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            with pytest.raises(PendingTaskFailed) as caught:
                flush(redis_uri)
        finally:
            user.execute_command("REPLICAOF", "NO", "ONE")
        assert "replica" in caught.value.hint


def test_d13_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(PendingTaskFailed, match="could not be flushed") as caught:
            flush(f"127.0.0.1:{taken.getsockname()[1]}")
    assert "is Redis running" in caught.value.hint


def test_d13_a_server_that_hangs_is_left_within_the_limit() -> None:
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: [accepted.append(server.accept()[0]) for _ in range(3)], daemon=True).start()
        started = time.monotonic()
        with pytest.raises(PendingTaskFailed, match="could not be flushed"):
            flush(f"127.0.0.1:{server.getsockname()[1]}", timeout=0.2, tries=3)
        assert time.monotonic() - started < 20
    for connection in accepted:
        connection.close()
    assert len(accepted) == 3
