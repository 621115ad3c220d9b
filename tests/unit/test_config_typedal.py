"""TypeDAL's settings are taken where nothing of ours names a database."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrate_graph.config import load_config

TOML = """
[tool.typedal]
database = "app.db"
dialect = "sqlite"
folder = "databases"
output = "src/migrations.py"
schema = "public"
"""


def test_the_table_is_a_source_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(TOML)
    config = load_config(tmp_path, {})
    assert config.migrate_uri == "sqlite://app.db"
    assert (config.db_folder, config.migrations_file) == ("databases", "src/migrations.py")
    assert config.migrate_table == "typedal_implemented_features"
    assert (config.flag_location, config.create_flag_location) == ("databases/flags", True)
    assert config.search_path is None  # TypeDAL's `public` is nobody's wish
    assert str(config.sources["migrate_uri"]) == "pyproject.toml:3 [tool.typedal]"
    assert str(config.sources["migrations_file"]) == "pyproject.toml:6 [tool.typedal]"


@pytest.mark.parametrize("own", ["MIGRATE_URI", "db_uri"])
def test_an_own_database_leaves_all_of_it_out(tmp_path: Path, own: str) -> None:
    (tmp_path / "pyproject.toml").write_text(TOML)
    config = load_config(tmp_path, {own: "sqlite://own.db"})
    assert config.migrate_uri == "sqlite://own.db"
    assert (config.migrate_table, config.migrations_file) == ("ewh_implemented_features", "migrations.py")


def test_own_settings_besides_the_database_win(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(TOML + '[tool.migrate]\nmigrate_table = "mine"\n')
    config = load_config(tmp_path, {"MIGRATIONS_FILE": "other.py"})
    assert config.migrate_uri == "sqlite://app.db"
    assert (config.migrate_table, config.migrations_file) == ("mine", "other.py")


def test_variables_win_over_the_table_and_the_environment_over_dotenv(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(TOML)
    (tmp_path / ".env").write_text("TYPEDAL_DATABASE=sqlite://one.db\nTYPEDAL_MIGRATE_TABLE=named\n")
    assert load_config(tmp_path, {}).migrate_uri == "sqlite://one.db"
    config = load_config(tmp_path, {"TYPEDAL_DATABASE": "postgres://u:secret@h/db", "DATABASE_URL": "sqlite://no.db"})
    assert (config.migrate_uri, config.migrate_table) == ("postgres://u:secret@h/db", "named")
    assert str(config.sources["migrate_uri"]) == "TYPEDAL_DATABASE in the environment"
    assert str(config.sources["migrate_table"]) == ".env"
    assert "secret" not in repr(config)


@pytest.mark.parametrize("chosen", ["table", "variable"])
def test_one_of_several_connections(tmp_path: Path, chosen: str) -> None:
    default = 'default = "production"\n' if chosen == "table" else ""
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.typedal]\n{default}[tool.typedal.production]\ndatabase = "sqlite://${{NAME}}.db"\n'
        '[tool.typedal.development]\ndatabase = "sqlite://dev.db"\n'
    )
    environ = {"NAME": "prod"} | ({} if chosen == "table" else {"TYPEDAL_CONNECTION": "development"})
    config = load_config(tmp_path, environ)
    expected = ("sqlite://prod.db", "production") if chosen == "table" else ("sqlite://dev.db", "development")
    assert config.migrate_uri == expected[0]
    assert f"[tool.typedal.{expected[1]}]" in str(config.sources["migrate_uri"])


@pytest.mark.parametrize("database", ["sqlite:memory", "mysql://u@h/db", "sqlite:memory:"])
def test_what_cannot_be_migrated_is_no_database(tmp_path: Path, database: str) -> None:
    (tmp_path / "pyproject.toml").write_text(f'[tool.typedal]\ndatabase = "{database}"\n')
    assert not load_config(tmp_path, {}).has_database
    assert load_config(tmp_path, {}).migrate_table == "ewh_implemented_features"
