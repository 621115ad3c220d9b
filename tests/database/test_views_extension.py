"""An extension is updated, moved and made anew under a view that reads it: what belongs to the view stays."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import psycopg2
import pytest
from servers import PostgresServer

from migrate_graph.cli import main

pytestmark = pytest.mark.postgres

PROJECT = """
from migrate_graph import ViewMigrationManager, migration


class SlowQueries(ViewMigrationManager):
    uses = ()
    since = "base_20260101_001"

    def up(self):
        self.db.executesql("CREATE VIEW slow_queries AS SELECT query, calls FROM statistics_of_queries() WHERE calls > 10")

    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS slow_queries")


@migration
def base_20260101_001(db):
    db.executesql("CREATE EXTENSION {extension} VERSION '1.0'")
    with SlowQueries(db):
        pass
    db.executesql("GRANT SELECT ON slow_queries TO pg_monitor")
    db.executesql("COMMENT ON COLUMN slow_queries.calls IS 'how often'")
    return True


@migration(requires=base_20260101_001)
def upgrade_20260102_001(db):
    with SlowQueries(db):
        db.executesql("{change}")
    return True
"""
FIRST = """
CREATE FUNCTION statistics_of_queries(OUT query text, OUT calls int8) RETURNS SETOF record LANGUAGE sql AS
    $$ VALUES ('SELECT 1', 20::int8), ('SELECT 2', 1) $$;
"""
# As in pg_stat_statements 1.8: the result has other columns, so what reads it must be gone.
SECOND = """
DROP FUNCTION statistics_of_queries();
CREATE FUNCTION statistics_of_queries(OUT userid oid, OUT query text, OUT calls int8) RETURNS SETOF record LANGUAGE sql AS
    $$ VALUES (10::oid, 'SELECT 1', 20::int8), (10, 'SELECT 2', 1) $$;
"""


@pytest.fixture
def extension(postgres_server: PostgresServer) -> Iterator[str]:
    """Install an extension of two versions on the server."""
    name = f"statements_{uuid.uuid4().hex[:8]}"  # tests may run side by side
    folder = next(postgres_server.binaries.parent.glob("share/**/extension"), None)
    if folder is None:
        pytest.skip(f"{postgres_server.binaries.parent} has no directory of extensions")
    files = {
        f"{name}.control": "default_version = '2.0'\nrelocatable = true\n",
        f"{name}--1.0.sql": FIRST,
        f"{name}--1.0--2.0.sql": SECOND,
    }
    written: list[Path] = []
    try:
        for each, text in files.items():
            written.append(folder / each)
            try:
                written[-1].write_text(text, encoding="utf-8")
            except PermissionError as error:
                pytest.skip(f"no extension can be installed: {error}")
        yield name
    finally:
        for path in written:
            path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER EXTENSION {extension} UPDATE",
        "DROP EXTENSION {extension}; CREATE EXTENSION {extension}",
        "CREATE SCHEMA elsewhere; ALTER EXTENSION {extension} SET SCHEMA elsewhere; ALTER EXTENSION {extension} SET SCHEMA public",
    ],
    ids=["updated", "made anew", "moved and back"],
)
def test_an_extension_changes_under_a_view(
    tmp_path: Path, postgres_admin_uri: str, extension: str, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = change.format(extension=extension)
    (tmp_path / "migrations.py").write_text(
        dedent(PROJECT.format(extension=extension, change=change)), encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    environ = {"MIGRATE_URI": postgres_admin_uri, "HOME": str(tmp_path)}
    assert main(["apply", "--to", "base_20260101_001"], environ=environ) == 0
    with psycopg2.connect(postgres_admin_uri) as connection, connection.cursor() as cursor:
        if "UPDATE" in change:
            with pytest.raises(psycopg2.errors.DependentObjectsStillExist):
                cursor.execute(change)  # with the view in its way
            connection.rollback()
    connection.close()
    assert main(["apply"], environ=environ) == 0
    with psycopg2.connect(postgres_admin_uri) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT extversion, has_table_privilege('pg_monitor', 'slow_queries', 'SELECT'), col_description('slow_queries'::regclass, 2) "
            "FROM pg_extension WHERE extname = %s",
            (extension,),
        )
        assert cursor.fetchall() == [("1.0" if "SET SCHEMA" in change else "2.0", True, "how often")]
        cursor.execute("SELECT * FROM slow_queries")
        assert cursor.fetchall() == [("SELECT 1", 20)]
    connection.close()
