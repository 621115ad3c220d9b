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
    with pytest.raises(compat.InvalidConfigException, match="MIGRATE_URI not found"):
        migrate_graph.setup_db()
