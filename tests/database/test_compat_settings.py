"""The settings that a program shares with this package."""

# ruff: noqa: TID251 - a program's environment is what is tested here

from __future__ import annotations

import os
from pathlib import Path

import pytest
from compat_programs import write

import migrate_graph
from migrate_graph import compat
from migrate_graph.errors import (
    ConfigError,
)

pytestmark = pytest.mark.usefixtures("new_process")


def test_one_configuration_per_process(tmp_path: Path) -> None:
    write(tmp_path / "pyproject.toml", '[tool.migrate]\nmigrate_uri = "sqlite://one.db"\nmigrate-table = "t1"\n')
    config = migrate_graph.get_config()
    assert migrate_graph.get_config() is config
    assert (config.migrate_uri, config.migrate_table) == ("sqlite://one.db", "t1")
    config.migrate_table = "set"
    assert migrate_graph.get_config().migrate_table == "set"


def test_the_environment_is_read_anew(tmp_path: Path) -> None:
    write(tmp_path / "pyproject.toml", '[tool.migrate]\nmigrate_uri = "sqlite://one.db"\n')
    config = migrate_graph.get_config()
    os.environ["MIGRATE_URI"] = "sqlite://env.db"
    assert migrate_graph.get_config().migrate_uri == "sqlite://env.db"
    config.migrate_uri = "sqlite://set.db"
    assert migrate_graph.get_config().migrate_uri == "sqlite://set.db"
    config.update_from_env({"MIGRATE_URI": "sqlite://given.db"})
    assert config.migrate_uri == "sqlite://given.db"


def test_dotenv_becomes_part_of_the_environment_as_in_2_1_0(tmp_path: Path) -> None:
    write(tmp_path / ".env", "MIGRATE_URI=sqlite://dot.db\nSOMETHING_ELSE=x\n")
    assert migrate_graph.get_config().migrate_uri == "sqlite://dot.db"
    assert os.environ["SOMETHING_ELSE"] == "x"


def test_d08b_a_bad_value_is_told_and_does_not_drop_the_file(tmp_path: Path) -> None:
    write(tmp_path / "pyproject.toml", '[tool.migrate]\nmigrate_uri = "sqlite://one.db"\nuse_typedal = "maybe"\n')
    with pytest.raises(ConfigError, match=r"pyproject\.toml:3.*use_typedal"):
        migrate_graph.get_config()


def test_no_database_is_an_invalid_config() -> None:
    for function in (migrate_graph.setup_db, migrate_graph.activate_migrations):
        with pytest.raises(compat.InvalidConfigException, match="MIGRATE_URI not found"):
            function()


def test_what_a_program_loads_are_the_settings_of_the_process(tmp_path: Path) -> None:
    """A program that loads a test URI must not write to the one of pyproject.toml."""
    write(tmp_path / "pyproject.toml", '[tool.migrate]\nmigrate_uri = "sqlite://production.db"\n')
    loaded = migrate_graph.Config.load({"migrate_uri": "sqlite://test.db", "migrate-table": "features"})
    assert migrate_graph.get_config() is loaded
    assert isinstance(loaded, migrate_graph.Config)
    db = migrate_graph.setup_db(migrate=True, migrate_enabled=True)

    @migrate_graph.migration
    def first(db: object) -> bool:
        return True

    assert migrate_graph.activate_migrations()
    assert db(db.ewh_implemented_features.name == "first").count() == 1
    db.close()
    assert (tmp_path / "test.db").exists()
    assert not (tmp_path / "production.db").exists()
    # The one that was loaded last counts, also after the project's own were asked for.
    second = migrate_graph.Config.load({"migrate_uri": "sqlite://second.db"})
    assert migrate_graph.get_config() is second
    assert loaded.migrate_uri == "sqlite://test.db"


@pytest.mark.parametrize("where", ["environment", ".env"])
def test_the_environment_wins_over_what_is_loaded_and_says_so(tmp_path: Path, where: str) -> None:
    """As in 2.1.0, where get_config() put the environment on top of whatever the program had loaded."""
    if where == ".env":
        write(tmp_path / ".env", "MIGRATE_URI=sqlite://env.db\n")
    else:
        os.environ["MIGRATE_URI"] = "sqlite://env.db"
    migrate_graph.Config.load({"migrate_uri": "sqlite://test.db", "migrate_table": "mine"})
    with pytest.warns(UserWarning, match="names another database than Config.load"):
        config = migrate_graph.get_config()
    assert (config.migrate_uri, config.migrate_table) == ("sqlite://env.db", "mine")
    config.migrate_uri = "sqlite://set.db"
    assert migrate_graph.get_config().migrate_uri == "sqlite://set.db"


def test_settings_of_programs_are_spelled_as_they_were() -> None:
    config = migrate_graph.Config.load({"migrate_uri": "postgres://u:s3cret@h/d", "migrations_file": ""})
    assert config.migrations_file == "migrations.py"
    assert repr(config).startswith("<Config{'migrate_uri': ")
    assert "s3cret" not in repr(config)
