"""URIs of databases: those of other tools are understood, and what cannot be meant is refused without being shown."""

from pathlib import Path

import pytest

from migrate_graph.config import Config, load_config
from migrate_graph.errors import ConfigError


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("postgres://u:p@h:5432/d", "postgres://u:p@h:5432/d"),
        ("postgresql+psycopg2://u:p@h/d", "postgresql://u:p@h/d"),
        ("postgresql+psycopg://u@h/d?sslmode=require", "postgresql://u@h/d?sslmode=require"),
        ("postgresql+asyncpg://h/d", "postgresql://h/d"),
        ("postgres:psycopg2://u@h/d", "postgres:psycopg2://u@h/d"),
        ("postgres2://u@h/d", "postgres2://u@h/d"),
        ("psql://u@h/d", "postgresql://u@h/d"),
        ("pgsql://u@h/d", "postgresql://u@h/d"),
        ("postgis://u@h/d", "postgresql://u@h/d"),
        ("postgres3:psycopg2://u@h/d", "postgres3:psycopg2://u@h/d"),
        ("postgres://u:a%40b%2Fc%23d@h/d", "postgres://u:a%40b%2Fc%23d@h/d"),
        ("postgres://u@h1:1,h2:2/d?target_session_attrs=read-write", None),
        ("postgres://u@[::1]:5432/d", None),
        ("postgres:///d?host=/var/run/postgresql", None),
        ("postgres://%2Fvar%2Frun/d", None),
        ("postgres://u:p:q@h/d?options=-c%20search_path%3Da", None),
        ("postgres://u@h/d?options=-csearch_path=a@b", None),
        ("sqlite://app.db", "sqlite://app.db"),
        ("sqlite:///srv/app.db", "sqlite:///srv/app.db"),
        ("sqlite:////srv/app.db", "sqlite:///srv/app.db"),
        ("sqlite:///./app.db", "sqlite://./app.db"),
        ("sqlite:///../app.db", "sqlite://../app.db"),
        ("sqlite+pysqlite:////srv/app.db", "sqlite:///srv/app.db"),
        ("sqlite:////app.db", "sqlite:////app.db"),
        ("mysql://u:p@h/d", "mysql://u:p@h/d"),  # refused where it is opened: `check` needs no database
    ],
)
def test_what_is_meant(written: str, meant: str | None) -> None:
    config = Config.load({"migrate_uri": written})
    assert config.migrate_uri == (meant or written)
    config.migrate_uri = config.migrate_uri  # what is kept may be set again
    assert config.migrate_uri == (meant or written)


SECRET = "hunter2-and-more"


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        (f"postgres://u:{SECRET}@{SECRET}@db.example/d", "a raw '@'"),
        (f"postgres://u:{SECRET}/{SECRET}@db.example/d", "a raw '/'"),
        (f"postgres://u:{SECRET}/x?{SECRET}@db.example/d", "a raw '/'"),
        (f"postgres://u:123/{SECRET}@db.example/d", "a raw '/'"),
        (f"postgres://u:{SECRET}#x@db.example/d", "a raw '#'"),
        (f"postgres://u:#{SECRET}/x@db.example/d", "a raw '#'"),
        (f"postgres://u:{SECRET}%zz@db.example/d", "a raw '%'"),
        (f"postgres://u:{SECRET}", "no port"),
        (f"postgres://db.example/d?{SECRET}", "no value"),
        (f"u:{SECRET}@db.example/d", "no scheme"),
        (f"postgresql+psycopg2://u:{SECRET}@x@db.example/d", "a raw '@'"),
        ("sqlite://app.db?timeout=5", "parameters"),
        ("sqlite:///app.db?mode=ro", "parameters"),
        ("sqlite://:memory:", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:memory", "in memory"),
        ("sqlite:////:memory:", "in memory"),
        ("sqlite://", "no file"),
        ("sqlite:///", "no file"),
        ("sqlite:///folder/", "no file"),
        ("sqlite:///app.db", "root directory"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_any_question_and_never_shown(
    tmp_path: Path, uri: str, why: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path, {"MIGRATE_URI": uri})
    assert why in caught.value.message
    assert caught.value.hint
    assert "hunter2" not in caught.value.message + caught.value.hint
    assert "MIGRATE_URI" in caught.value.message


def test_the_hint_for_a_file_in_the_root_directory_names_both_that_can_be_meant(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path, {"MIGRATE_URI": "sqlite:///app.db"})
    assert "sqlite://app.db " in caught.value.hint
    assert "sqlite:////app.db " in caught.value.hint


def test_database_url_is_taken_where_nothing_of_ours_names_a_database(tmp_path: Path) -> None:
    config = load_config(tmp_path, {"DATABASE_URL": "postgresql+psycopg2://u@h/d"})
    assert config.migrate_uri == "postgresql://u@h/d"
    assert str(config.sources["migrate_uri"]) == "DATABASE_URL in the environment"
    (tmp_path / "pyproject.toml").write_text('[tool.migrate]\nmigrate_uri = "sqlite://mine.db"\n')
    assert load_config(tmp_path, {"DATABASE_URL": "postgres://h/d"}).migrate_uri == "sqlite://mine.db"


def test_database_url_of_another_program_means_nothing(tmp_path: Path) -> None:
    assert not load_config(tmp_path, {"DATABASE_URL": "mysql://u:p@h/d"}).has_database
    assert not load_config(tmp_path, {"DATABASE_URL": "postgres://h/d", "MIGRATE_URI": ""}).has_database


def test_database_url_in_dotenv(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DATABASE_URL=sqlite://dot.db\n")
    config = load_config(tmp_path, {})
    assert (config.migrate_uri, config.sources["migrate_uri"].where) == ("sqlite://dot.db", ".env")


@pytest.mark.parametrize(
    ("uri", "adapter"),
    [
        ("postgres2://u:p@h/d", "PostgreNew"),
        ("postgres3:psycopg2://h/d", "PostgreBoolean"),
        ("postgresql://u:p@h/d", "Postgre"),
    ],
)
def test_types_are_mapped_by_the_scheme_as_pydal_does(uri: str, adapter: str) -> None:
    pytest.importorskip("psycopg2")
    from pydal.adapters import adapters

    from migrate_graph.database import backend_class
    from migrate_graph.database.postgres.session.opening import pydal_uri

    assert adapters.get_for(pydal_uri(uri).partition("://")[0]).__name__ == adapter
    assert backend_class(uri).__name__ == "PostgresBackend"


def test_a_table_whose_journal_would_have_its_own_name_is_refused_on_postgresql() -> None:
    from migrate_graph.database.names import POSTGRES, SQLITE, TableNames

    assert TableNames.of("x" * 55, POSTGRES).journal == "x" * 55 + "_journal"
    assert TableNames.of("x" * 63, SQLITE).ledger == "x" * 63
    for name in ("x" * 56, "schema." + "x" * 63, "é" * 30):
        with pytest.raises(ConfigError, match="too long"):
            TableNames.of(name, POSTGRES)
