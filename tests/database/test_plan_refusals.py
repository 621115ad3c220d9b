"""What `apply` refuses because of what stands in the database, `plan` says beforehand: in the same words, with the same exit code."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from bodies import ask
from servers import PostgresServer
from user_project import Project

LEDGER = "ewh_implemented_features"
ONE = """
from migrate_graph import migration

@migration
def one_1(db):
    db.executesql("CREATE TABLE one (id integer)")
    return True
"""
TWO = f"""{ONE}
@migration(requires=one_1)
def two_2_is_long(db):
    db.executesql("CREATE TABLE two (id integer)")
    return True
"""
_COLUMNS = "id integer, name varchar({}), installed char(1), last_update_dttm timestamp"
_MADE_BY_HAND = f"CREATE TABLE {LEDGER} ({_COLUMNS})"
_APPLIED = f"INSERT INTO {LEDGER} (name, installed) VALUES ('one_1', 'T')"

BY_HAND = {
    "a name twice": ((_MADE_BY_HAND.format(512), _APPLIED, _APPLIED), "has more than one row for 'one_1'"),
    "a column that nothing fills": (
        (f"CREATE TABLE {LEDGER} ({_COLUMNS.format(512)}, who text NOT NULL)",),
        "who is NOT NULL and has no default",
    ),
}
ON_POSTGRES = {
    "a narrow name": ((_MADE_BY_HAND.format(6), _APPLIED), "is longer than the 6 characters"),
    "a trigger": (
        (
            _MADE_BY_HAND.format(512),
            "CREATE FUNCTION ring() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
            f"CREATE TRIGGER bell BEFORE INSERT ON {LEDGER} FOR EACH ROW EXECUTE FUNCTION ring()",
        ),
        "has the trigger bell",
    ),
}
_REFUSES = "CREATE TRIGGER bell {} BEGIN SELECT RAISE({}); END"
ON_SQLITE = {
    "a trigger": ((_MADE_BY_HAND, _REFUSES.format(f"BEFORE INSERT ON {LEDGER}", "ABORT, 'not here'")), "not here"),
    "a trigger that drops it": ((_MADE_BY_HAND, _REFUSES.format(f"BEFORE INSERT ON {LEDGER}", "IGNORE")), "drops it"),
    "a trigger that ends all": (
        (_MADE_BY_HAND, _REFUSES.format(f"AFTER INSERT ON {LEDGER}", "ROLLBACK, 'all of it'")),
        "all of it",
    ),
    "a check": ((f"CREATE TABLE {LEDGER} ({_COLUMNS}, CHECK (name <> 'one_1'))",), "CHECK constraint failed"),
}


def _check(project: Project, uri: str, by_hand: tuple[str, ...], told: str) -> None:
    project.env["MIGRATE_URI"] = uri
    project.write("migrations.py", TWO)
    ask(uri, *by_hand)
    planned = project.migrate("plan")
    as_json = project.migrate("plan", "--json")
    status = project.migrate("status")
    applied = project.migrate("apply")
    assert applied.returncode == 6, applied.stderr
    assert told in applied.stderr
    refused = next(line for line in applied.stderr.splitlines() if told in line).removeprefix("error: ")
    assert planned.returncode == 6
    assert f"migrate apply would refuse: {refused}; " in planned.stdout
    document = json.loads(as_json.stdout)
    assert (as_json.returncode, document["exit_code"]) == (6, 6)
    assert refused in document["note"]
    assert (status.returncode, refused in status.stdout) == (0, True)
    checked = project.migrate("check", "--history")
    assert (checked.returncode, checked.stderr.count(refused)) == (0, 1), checked.stdout + checked.stderr


@pytest.mark.parametrize("way", BY_HAND)
def test_plan_says_what_apply_refuses(way: str, project: Project, database_uri: str) -> None:
    _check(project, database_uri, *BY_HAND[way])


@pytest.mark.postgres
@pytest.mark.parametrize("way", ON_POSTGRES)
def test_plan_says_what_apply_refuses_on_postgres(way: str, project: Project, postgres_uri: str) -> None:
    _check(project, postgres_uri, *ON_POSTGRES[way])


@pytest.mark.parametrize("way", ON_SQLITE)
def test_plan_says_what_apply_refuses_on_sqlite(way: str, project: Project, sqlite_uri: str) -> None:
    by_hand, told = ON_SQLITE[way]
    _check(project, sqlite_uri, tuple(each.replace("{}", "512") for each in by_hand), told)


def test_a_trigger_of_the_journal_refuses_a_revert_and_plan_wrote_nothing(project: Project, sqlite_uri: str) -> None:
    project.env["MIGRATE_URI"] = sqlite_uri
    project.write("migrations.py", ONE.replace("@migration", "@migration(down=lambda db: True)"))
    assert project.migrate("apply").returncode == 0
    when = "BEFORE INSERT ON {} WHEN NEW.state = 'reverting'".format(f"{LEDGER}_journal")
    ask(sqlite_uri, "CREATE TABLE heard (name text)")
    ask(
        sqlite_uri,
        f"CREATE TRIGGER tells AFTER INSERT ON {LEDGER}_journal BEGIN INSERT INTO heard VALUES (NEW.name); END",
    )
    assert project.migrate("revert", "one_1", "--plan").returncode == 0
    assert ask(sqlite_uri, "SELECT * FROM heard") == []
    ask(sqlite_uri, _REFUSES.format(when, "ABORT, 'no way back'"))
    looked = project.migrate("revert", "one_1", "--plan")
    assert (looked.returncode, "no way back" in looked.stderr) == (6, True), looked.stdout + looked.stderr
    assert project.migrate("revert", "one_1", "--yes").returncode == 6


def test_a_record_that_is_there_twice_is_in_nobodys_way_where_nothing_runs(project: Project, database_uri: str) -> None:
    project.env["MIGRATE_URI"] = database_uri
    project.write("migrations.py", ONE)
    ask(database_uri, *BY_HAND["a name twice"][0])
    assert [project.migrate(word).returncode for word in ("plan", "apply")] == [0, 0]


def test_a_revert_is_refused_beforehand_too(project: Project, database_uri: str) -> None:
    project.env["MIGRATE_URI"] = database_uri
    project.write("migrations.py", ONE.replace("@migration", "@migration(down=lambda db: True)"))
    ask(database_uri, *BY_HAND["a name twice"][0])
    looked = project.migrate("revert", "one_1", "--plan")
    assert looked.returncode == 6, looked.stdout
    assert (
        f"migrate revert would refuse: {'postgres' if database_uri.startswith('postgres') else 'sqlite'}"
        in looked.stderr
    )
    assert project.migrate("revert", "one_1", "--yes").returncode == 6


@pytest.mark.postgres
def test_a_role_that_only_reads_is_told_what_every_role_would_meet(
    project: Project, postgres_server: PostgresServer, postgres_uri: str, postgres_database: str
) -> None:
    """What hangs on the rights of a role is not said of one that may not write: it is not the one that will run `apply`."""
    role = f"reader_{postgres_database}"
    project.env["MIGRATE_URI"] = postgres_uri
    project.write("migrations.py", ONE)
    assert project.migrate("apply").returncode == 0
    project.write("migrations.py", TWO)
    admin = postgres_server.admin_uri(postgres_database)
    ask(admin, f"CREATE ROLE {role} LOGIN PASSWORD 'secret'", f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    try:
        reading = {"MIGRATE_URI": f"postgres://{role}:secret@{postgres_uri.partition('@')[2]}"}
        done = project.migrate("plan", env=reading)
        assert (done.returncode, "refuse" in done.stdout) == (0, False), done.stdout + done.stderr
        ask(admin, f"CREATE RULE also AS ON INSERT TO {LEDGER} DO ALSO SELECT 1")
        done = project.migrate("plan", env=reading)
        assert done.returncode == 6, done.stdout + done.stderr
        assert "has the rule also" in done.stdout
        assert "belongs to the role" not in done.stdout
    finally:
        ask(admin, f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


@pytest.mark.postgres
def test_a_schema_that_is_not_there(project: Project, postgres_uri: str) -> None:
    project.env |= {"MIGRATE_URI": postgres_uri, "SCHEMA": "nowhere"}
    project.write("migrations.py", ONE)
    planned, applied = project.migrate("plan"), project.migrate("apply")
    assert (planned.returncode, applied.returncode) == (6, 6), planned.stdout + applied.stderr
    assert "schema 'nowhere' does not exist" in applied.stderr
    assert "migrate apply would refuse: schema 'nowhere' does not exist" in planned.stdout


def test_the_backup_of_an_empty_database(project: Project, database_uri: str) -> None:
    """`apply` restores it first; one that is configured and does not exist is refused."""
    project.env |= {"MIGRATE_URI": database_uri, "DATABASE_TO_RESTORE": "backup.sql"}
    project.write("migrations.py", ONE)
    planned, applied = project.migrate("plan"), project.migrate("apply")
    assert (planned.returncode, applied.returncode) == (8, 8), planned.stdout + applied.stderr
    assert "migrate apply would refuse: the backup " in planned.stdout
    backup = project.write("backup.sql", "")
    planned = project.migrate("plan")
    assert planned.returncode == 0, planned.stdout
    assert f"migrate apply first restores the backup {backup}" in planned.stdout


def test_nothing_is_written_while_looking(project: Project, sqlite_uri: str) -> None:
    project.env["MIGRATE_URI"] = sqlite_uri
    project.write("migrations.py", ONE)
    assert project.migrate("plan").returncode == 0
    with closing(sqlite3.connect(sqlite_uri.removeprefix("sqlite://"))) as file:
        assert file.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
