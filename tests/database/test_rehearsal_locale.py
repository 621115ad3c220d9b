"""A copy sorts and compares text by the rules of the original, whoever's rules these are."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg2
import pytest
from rehearsal_stand import RehearsalStand, run
from servers import PostgresServer

from migrate_graph.database.postgres.places import Locale
from migrate_graph.quoting import quote_literal


@pytest.mark.parametrize(
    ("version", "provider", "expected"),
    [
        (14, (None, None, None), ""),
        (14, ("i", "de", None), ""),
        (15, (None, None, None), " LOCALE_PROVIDER libc"),
        (16, ("c", None, None), " LOCALE_PROVIDER libc"),
        (15, ("i", "de", None), " LOCALE_PROVIDER icu ICU_LOCALE <de>"),
        (18, ("i", "und", "v < w"), " LOCALE_PROVIDER icu ICU_LOCALE <und> ICU_RULES <v < w>"),
        (17, ("b", "C.UTF-8", None), " LOCALE_PROVIDER builtin BUILTIN_LOCALE <C.UTF-8>"),
    ],
)
def test_a_database_is_created_with_the_same_rules(
    version: int, provider: tuple[str | None, str | None, str | None], expected: str
) -> None:
    options = Locale("UTF8", "C", "C.UTF-8", *provider).options(version)
    said = " ENCODING <UTF8> LC_COLLATE <C> LC_CTYPE <C.UTF-8>" + expected
    for value in ("UTF8", "C", "C.UTF-8", "de", "und", "v < w"):
        said = said.replace(f"<{value}>", quote_literal(value))
    assert options == said


KINDS = {
    "libc": "LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C'",
    "ICU": "LOCALE_PROVIDER icu ICU_LOCALE 'de-u-co-phonebk' ENCODING 'UTF8'",
    "builtin": "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' ENCODING 'UTF8'",
}

ASKED = (
    "SELECT coalesce(d.j ->> 'datlocprovider', '') || ' ' || coalesce(d.j ->> 'datlocale', d.j ->> 'daticulocale', d.j ->> 'datcollate') "
    "FROM (SELECT to_jsonb(x) AS j FROM pg_database x WHERE datname = current_database()) d"
)

TEXT = f"""
from migrate_graph import migration


@migration
def one_1(db):
    db.executesql("CREATE TABLE t (id int)")
    assert db.executesql({ASKED!r}) == [(EXPECTED,)], db.executesql({ASKED!r})
    return True
"""


@pytest.mark.postgres
@pytest.mark.usefixtures("may_create_databases")
@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_has_the_rules_of_the_original(
    kind: str, postgres_uri: str, postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if postgres_server.version < 150000:
        pytest.skip("before PostgreSQL 15 all rules are those of the operating system")
    monkeypatch.setenv("PATH", str(postgres_server.binaries), prepend=os.pathsep)
    name = postgres_uri.rpartition("/")[2]
    postgres_server.execute(f"DROP DATABASE {name}")
    try:
        postgres_server.execute(f"CREATE DATABASE {name} TEMPLATE template0 OWNER app {KINDS[kind]}")
    except psycopg2.Error as error:
        postgres_server.execute(f"CREATE DATABASE {name} OWNER app")
        pytest.skip(f"this server has no rules of {kind}: {error}".strip())
    ((expected,),) = run(postgres_uri, ASKED)
    (tmp_path / "migrations.py").write_text(TEXT.replace("EXPECTED", repr(expected)))
    done = RehearsalStand(postgres_uri, tmp_path).rehearse("clone")
    assert done.exit_code == 0, done
