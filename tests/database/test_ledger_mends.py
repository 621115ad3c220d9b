"""What keeps migrations from being recorded is told with the statement that mends it: typed as it stands, the next run goes on."""

from __future__ import annotations

import pytest
from bodies import ask
from servers import PostgresServer
from user_project import Project

from migrate_graph.quoting import quote_identifier

LEDGER = "ewh_implemented_features"
TWO = """
from migrate_graph import migration

@migration
def one_1(db):
    db.executesql("CREATE TABLE one (id integer)")
    return True

@migration(requires=one_1)
def two_2_is_long(db):
    db.executesql("CREATE TABLE two (id integer)")
    return True
"""
_COLUMNS = "id integer, name varchar({}), installed char(1), last_update_dttm timestamp"
_MADE = f"CREATE TABLE {LEDGER} ({_COLUMNS.format(512)})"
_VALUES = f"INSERT INTO {LEDGER} (name, installed) VALUES "

BY_HAND = {
    "a name twice": (_MADE, f"{_VALUES} ('it''s', NULL), ('it''s', 'T'), ('it''s', 'F'), ('other', 'T')"),
    "a column that nothing fills": (f'CREATE TABLE {LEDGER} ({_COLUMNS.format(512)}, "Who else" text NOT NULL)',),
}
ON_POSTGRES = {
    "a narrow name": (f"CREATE TABLE {LEDGER} ({_COLUMNS.format(6)})",),
    "a key that nothing fills": (_MADE, f"ALTER TABLE {LEDGER} ADD PRIMARY KEY (id)"),
    "a trigger": (
        _MADE,
        "CREATE FUNCTION ring() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
        f'CREATE TRIGGER "Bell ""1""" BEFORE INSERT ON {LEDGER} FOR EACH ROW EXECUTE FUNCTION ring()',
    ),
    "a rule": (_MADE, f'CREATE RULE "Also" AS ON INSERT TO {LEDGER} DO ALSO SELECT 1'),
}
_VERBS = ("ALTER ", "DELETE ", "DROP ", "GRANT ")


def _statements(text: str) -> list[str]:
    """Return the statements of a hint, without what is said behind them."""
    lines = (line.strip().removeprefix("hint: ") for line in text.splitlines())
    found = [line.partition(";")[0] for line in lines if line.startswith(_VERBS)]
    return list(dict.fromkeys(each.replace("…", "nextval('numbers')") for each in found))


def _mended(project: Project, as_admin: str, env: dict[str, str] | None = None) -> None:
    project.write("migrations.py", TWO)
    planned, applied = project.migrate("plan", env=env), project.migrate("apply", env=env)
    assert (planned.returncode, applied.returncode) == (6, 6), planned.stdout + applied.stderr
    mends = _statements(applied.stderr)
    assert mends, applied.stderr
    assert all(each in planned.stdout for each in mends if "nextval" not in each), planned.stdout
    ask(as_admin, *mends)
    again = project.migrate("apply", env=env)
    assert again.returncode == 0, f"{mends}\n{again.stderr}"


@pytest.mark.parametrize("way", BY_HAND)
def test_what_is_said_can_be_typed(way: str, project: Project, database_uri: str) -> None:
    project.env["MIGRATE_URI"] = database_uri
    ask(database_uri, *BY_HAND[way])
    _mended(project, database_uri)
    if way == "a name twice":
        rows = ask(database_uri, f"SELECT name, installed FROM {LEDGER} WHERE name IN ('it''s', 'other') ORDER BY name")
        assert [tuple(row) for row in rows] == [("it's", "T"), ("other", "T")], "the row that counts is kept"


@pytest.mark.postgres
@pytest.mark.parametrize("way", ON_POSTGRES)
def test_what_is_said_can_be_typed_on_postgres(way: str, project: Project, postgres_uri: str) -> None:
    project.env["MIGRATE_URI"] = postgres_uri
    ask(postgres_uri, "CREATE SEQUENCE numbers", *ON_POSTGRES[way])
    _mended(project, postgres_uri)


@pytest.mark.postgres
@pytest.mark.parametrize("lacks", ["rights", "connections"])
def test_what_a_role_lacks_can_be_typed(
    lacks: str, project: Project, postgres_server: PostgresServer, postgres_uri: str, postgres_database: str
) -> None:
    role = f"Half-{postgres_database}"
    quoted, admin = quote_identifier(role), postgres_server.admin_uri(postgres_database)
    project.env["MIGRATE_URI"] = postgres_uri
    project.write("migrations.py", "from migrate_graph import migration\n")
    assert project.migrate("apply").returncode == 0
    limit, rights = (1, "ALL") if lacks == "connections" else (-1, "SELECT, INSERT")
    ask(
        admin,
        f"CREATE ROLE {quoted} LOGIN PASSWORD 'secret' CONNECTION LIMIT {limit}",
        f"GRANT {rights} ON ALL TABLES IN SCHEMA public TO {quoted}",
        f"GRANT CREATE ON SCHEMA public TO {quoted}",
    )
    if lacks == "connections":
        ask(admin, f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {quoted}")
    try:
        ask(admin, *(f"ALTER TABLE {LEDGER}{each} OWNER TO CURRENT_USER" for each in ("", "_journal", "_views")))
        env = {"MIGRATE_URI": f"postgres://{role}:secret@{postgres_uri.partition('@')[2]}"}
        _mended(project, admin, env)
    finally:
        ask(admin, f"DROP OWNED BY {quoted} CASCADE", f"DROP ROLE {quoted}")
