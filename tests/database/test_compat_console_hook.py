"""Flags, the cache and exit codes of `console_hook()`."""

from __future__ import annotations

from pathlib import Path

import pytest
from compat_programs import hook, installed, three, write

import migrate_graph
from migrate_graph import Config, compat, migration
from migrate_graph.errors import (
    ConfigError,
    ExitCode,
)

pytestmark = pytest.mark.usefixtures("new_process")


def test_a_flag_is_set_and_found(config: Config, tmp_path: Path) -> None:
    config.update(schema_version="v1", flag_location=str(tmp_path))
    assert hook(config, tmp_path) == 0
    assert (tmp_path / "migrate-v1.complete").exists()
    (tmp_path / "migrations.py").write_text("raise SystemExit('not even loaded again, or at least not run')\n")
    with (
        pytest.raises(compat.MigrateLockExists, match=r"migrate-v1\.complete"),
        compat.schema_versioned_lock_file(config=config),
    ):
        pytest.fail("the block is not entered")


def test_d12_the_flag_of_another_database_does_not_count(config: Config, tmp_path: Path) -> None:
    config.update(schema_version="v1", flag_location=str(tmp_path))
    assert hook(config, tmp_path) == 0
    other = Config.load(
        {"migrate_uri": f"sqlite://{tmp_path / 'o.db'}", "schema_version": "v1", "flag_location": str(tmp_path)}
    )
    assert hook(other, tmp_path) == 0
    assert set(installed(other)) == {"m_1", "m_2", "m_3"}


def test_the_empty_flag_of_2_1_0_counts(config: Config, tmp_path: Path) -> None:
    config.update(schema_version="v1", flag_location=str(tmp_path))
    (tmp_path / "migrate-v1.complete").touch()
    assert hook(config, tmp_path) == 0
    assert not Path(config.migrate_uri.removeprefix("sqlite://")).exists()


@pytest.mark.parametrize("version", ["../x", "x" * 300])
def test_d12_a_bad_version_runs_nothing(config: Config, tmp_path: Path, version: str) -> None:
    config.update(schema_version=version, flag_location=str(tmp_path))
    assert hook(config, tmp_path) == ExitCode.USAGE
    assert not Path(config.migrate_uri.removeprefix("sqlite://")).exists()


def test_d12_an_empty_version_is_refused(config: Config) -> None:
    with pytest.raises(ConfigError, match="schema_version"):
        config.schema_version = ""


@pytest.mark.parametrize("where", ["absent", "a_file", "/proc/self"])
def test_d12_a_bad_directory_runs_nothing(config: Config, tmp_path: Path, where: str) -> None:
    (tmp_path / "a_file").touch()
    config.update(schema_version="v1", flag_location=where)
    assert hook(config, tmp_path) == ExitCode.USAGE
    assert not Path(config.migrate_uri.removeprefix("sqlite://")).exists()


def test_the_lock_file_of_a_programs_own_block(config: Config, tmp_path: Path) -> None:
    with compat.schema_versioned_lock_file(config=config) as nothing:
        assert nothing is None
    config.schema_version = "v1"
    directory = tmp_path / "flags"
    for clause in (ConfigError, NotADirectoryError):
        with pytest.raises(clause, match="does not exist"), compat.schema_versioned_lock_file(directory, config=config):
            pytest.fail("the block is not entered")
    with compat.schema_versioned_lock_file(directory, True, config):
        raise compat.MigrationFailed("x")
    flag = directory / "migrate-v1.complete"
    assert not flag.exists()

    def run(error: type[BaseException]) -> None:
        with compat.schema_versioned_lock_file(directory, config=config):
            raise error

    for error in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(error):
            run(error)
    assert not flag.exists()
    with compat.schema_versioned_lock_file(directory, config=config) as path:
        assert path == flag
        assert not flag.exists()
    assert flag.exists()


@pytest.mark.redis
def test_d13_the_cache_is_flushed_after_a_change_also_when_something_failed(
    config: Config, redis_uri: str, tmp_path: Path
) -> None:
    import redis

    cache = redis.Redis.from_url(redis_uri)
    config.redis_host = redis_uri
    write(
        tmp_path / "migrations.py", three() + "\n        @migration\n        def bad(db):\n            return False\n"
    )
    cache.set("key", "stale")
    assert hook(config, tmp_path) == ExitCode.FAILED
    assert cache.dbsize() == 0
    cache.set("key", "fresh")
    assert hook(config, tmp_path) == ExitCode.FAILED
    assert cache.dbsize() == 1


@pytest.mark.redis
def test_d13_a_flush_that_failed_is_remembered(config: Config, redis_uri: str, tmp_path: Path) -> None:
    import redis

    cache = redis.Redis.from_url(redis_uri)
    cache.set("key", "stale")
    config.update(redis_host="127.0.0.1:1", schema_version="v1", flag_location=str(tmp_path))
    assert hook(config, tmp_path) == ExitCode.PENDING_TASK
    assert set(installed(config).values()) == {True}
    assert not (tmp_path / "migrate-v1.complete").exists()
    config.redis_host = redis_uri
    assert hook(config, tmp_path) == ExitCode.OK
    assert cache.dbsize() == 0
    assert (tmp_path / "migrate-v1.complete").exists()


def test_a_bad_redis_address_runs_nothing(config: Config, tmp_path: Path) -> None:
    config.redis_host = "http://cache"
    assert hook(config, tmp_path) == ExitCode.USAGE
    assert not Path(config.migrate_uri.removeprefix("sqlite://")).exists()


def test_exit_codes_of_the_hook(config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hook(config, tmp_path) == 0
    assert hook(config, tmp_path, "--list") == 0
    assert "m_2" in capsys.readouterr().out
    assert hook(config, tmp_path, "--help") == 0
    assert hook(config, tmp_path, "absent.py") == ExitCode.USAGE
    write(
        tmp_path / "bad" / "bad.py", "from edwh_migrate import migration\n@migration\ndef bad(db):\n    return False\n"
    )
    assert hook(config, tmp_path, "bad/bad.py") == ExitCode.FAILED
    write(tmp_path / "broken" / "broken.py", "import no_such_module_here\n")
    assert hook(config, tmp_path, "broken/broken.py") == ExitCode.USAGE


def test_the_hook_runs_what_the_process_declared_as_well(config: Config, tmp_path: Path) -> None:
    @migration
    def of_the_process(db: object) -> bool:
        return True

    assert hook(config, tmp_path) == 0
    assert set(installed(config)) == {"of_the_process", "m_1", "m_2", "m_3"}


def test_the_hook_with_settings_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "pyproject.toml", "[tool.migrate]\nno_such_setting = 1\n")
    assert migrate_graph.console_hook([]) == ExitCode.USAGE
    assert "no_such_setting" in capsys.readouterr().err


def test_the_status_table(config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "migrations.py", three())
    compat.print_migrations_status_table(config)
    assert "m_1" in capsys.readouterr().out
