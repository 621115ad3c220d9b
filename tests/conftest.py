"""Fixtures of all tests: databases, Redis, a temporary project and the command line in a child process."""

from __future__ import annotations

import compileall
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import hypothesis
import pytest
from servers import PostgresServer, RedisServer, ServerUnavailable
from user_project import Project, RunMigrate, clean_environment

_Server = TypeVar("_Server", PostgresServer, RedisServer)

# A deadline would measure the machine, not the code. The suite always tries the same examples, so that a change is judged by what it
# changes; `make explore` looks for new ones.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=2_000, print_blob=True)
hypothesis.settings.load_profile("suite")

# Whoever starts the suite in the background, or under nohup, has it ignore these; children would inherit that, and we respect it.
for _number, _handler in {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}.items():
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _handler)


def pytest_configure(config: pytest.Config) -> None:
    """Compile the package once: the command line runs in thousands of children, which write no bytecode, and would each compile it."""
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(Path(__file__).parents[1] / "migrate_graph", quiet=2)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Return the id of bytes: the argument's name, which pytest numbers. Compressed bytes hold the time, and workers must agree on ids."""
    return argname if isinstance(val, bytes | bytearray) else None


def _started(kind: type[_Server]) -> _Server:
    """Start a server, or skip with the reason; on CI that fails, or what matters would quietly not run."""
    try:
        server = kind()
        server.start()
    except ServerUnavailable as error:
        if os.environ.get("CI"):  # noqa: TID251 - tests are an edge too
            pytest.fail(f"a server is needed on CI: {error}", pytrace=False)
        pytest.skip(str(error))
    return server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The PostgreSQL of this session (of this worker, under xdist), started at first use."""
    server = _started(PostgresServer)
    yield server
    server.close()


@pytest.fixture(scope="session")
def roles(postgres_server: PostgresServer) -> tuple[str, ...]:
    """Roles of the server that tests give privileges to; nobody can log in as one."""
    names = ("reader", "clerk", "keeper", "auditor")
    postgres_server.execute(*(f"CREATE ROLE {name}" for name in names))
    return names


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of this test alone, to stop and kill; costs about two seconds."""
    server = _started(PostgresServer)
    yield server
    server.close()


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> Iterator[str]:
    """Name of a fresh empty database, owned by the role `app`."""
    with postgres_server.database() as name:
        yield name


@pytest.fixture
def postgres_uri(postgres_server: PostgresServer, postgres_database: str) -> str:
    """URI of a fresh empty database, as its owner `app`."""
    return postgres_server.app_uri(postgres_database)


@pytest.fixture
def postgres_admin_uri(postgres_server: PostgresServer, postgres_database: str) -> str:
    """URI of the same database as `postgres_uri`, as the superuser."""
    return postgres_server.admin_uri(postgres_database)


@pytest.fixture
def may_create_databases(postgres_server: PostgresServer) -> Iterator[None]:
    """The role `app` may create databases in this test."""
    postgres_server.execute("ALTER ROLE app CREATEDB")
    yield
    postgres_server.execute("ALTER ROLE app NOCREATEDB")


@pytest.fixture
def sqlite_uri(tmp_path: Path) -> str:
    """URI of an SQLite file that does not exist yet."""
    return f"sqlite://{tmp_path / 'database.sqlite'}"


@pytest.fixture(params=[pytest.param("postgres", marks=pytest.mark.postgres), "sqlite"])
def database_uri(request: pytest.FixtureRequest) -> str:
    """URI of a fresh empty database, once of each kind."""
    return str(request.getfixturevalue(f"{request.param}_uri"))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The Redis of this session, started at first use."""
    server = _started(RedisServer)
    yield server
    server.close()


@pytest.fixture
def redis_uri(redis_server: RedisServer) -> str:
    """URI of database 0 of an empty Redis."""
    redis_server.flush()
    return redis_server.uri


@pytest.fixture
def run_migrate(tmp_path_factory: pytest.TempPathFactory) -> RunMigrate:
    """Run the command line in a child process with a clean environment: `run_migrate("plan", cwd=…, env={…})`."""
    home = tmp_path_factory.mktemp("home")

    def run(
        *args: str | Path, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 120, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "migrate_graph", *map(str, args)],
            check=False, cwd=cwd, env=clean_environment(home, env), timeout=timeout, input=stdin,
            capture_output=True, text=True, encoding="utf-8", errors="replace",
        )  # fmt: skip

    return run


@pytest.fixture
def project(tmp_path: Path, run_migrate: RunMigrate) -> Project:
    """An empty project; see `Project`."""
    path = tmp_path / "project"
    path.mkdir()
    return Project(path, run_migrate)
