"""What is never said, and what is said at once, when a program connects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from compat_programs import hook, psql_on_path, write
from servers import APP_PASSWORD

import migrate_graph
from migrate_graph import Config, migration
from migrate_graph.errors import (
    DatabaseUnreachable,
    ExitCode,
)

pytestmark = pytest.mark.usefixtures("new_process")


@pytest.mark.postgres
def test_d14_no_password_in_what_is_said(
    postgres_uri: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    psql_on_path(monkeypatch)
    write(tmp_path / "backup.sql", f"SELECT '{APP_PASSWORD}'::int;\n")
    config = Config.load({"migrate_uri": postgres_uri, "database_to_restore": str(tmp_path / "backup.sql")})
    assert hook(config, tmp_path) == ExitCode.RESTORE
    assert hook(config, tmp_path, "config") == 0
    said = capfd.readouterr()
    assert APP_PASSWORD not in said.out + said.err + repr(config)


@pytest.mark.postgres
@pytest.mark.parametrize(
    "change", [lambda uri: uri.replace(APP_PASSWORD, "wrong-password"), lambda uri: uri + "_absent"]
)
def test_d10_what_waiting_cannot_mend_fails_at_once(postgres_uri: str, change: Callable[[str], str]) -> None:
    @migration
    def fine(db: object) -> bool:
        return True

    with pytest.raises(DatabaseUnreachable):
        migrate_graph.activate_migrations(Config.load({"migrate_uri": change(postgres_uri)}))


def test_a_folder_of_one_database_is_not_that_of_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyDAL remembers a folder for every later `DAL` of the thread that has none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    for folder in ("elsewhere", None):
        config = Config.load({"migrate_uri": "sqlite://same.db", "db_folder": folder})
        db = migrate_graph.setup_db(migrate=True, migrate_enabled=True, config=config)
        db.commit()
        db.close()
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.db")) == [
        "elsewhere/same.db",
        "same.db",
    ]
