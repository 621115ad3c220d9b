"""What somebody changed by hand is told, adopted and, where nothing is known, not made up; on both databases."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
import pytest
from test_cli_json import follow

from migrate_graph.core.events import ignore_events
from migrate_graph.database import Settings, open_backend
from migrate_graph.database.books.bookkeeping import Bookkeeping
from migrate_graph.database.books.stored_facts import packed
from migrate_graph.errors import DatabaseUnreachable
from migrate_graph.signals import Interruption

JOURNAL = "ewh_implemented_features_journal"

BASE = """
    from migrate_graph import migration


    @migration
    def create_invoice_20260301_001(db):
        db.executesql('CREATE TABLE invoice (id INTEGER PRIMARY KEY, total INTEGER, "Odd Näme" INTEGER)')
        return True


    @migration(requires=[create_invoice_20260301_001])
    def add_due_20260302_001(db):
        db.executesql("ALTER TABLE invoice ADD COLUMN due DATE")
        return True
"""


LATER = """

    @migration
    def later_20260401_001(db):
        db.executesql("CREATE TABLE later (id INTEGER)")
        return True
"""


@contextmanager
def _connected(uri: str) -> Iterator[Any]:
    if uri.startswith("sqlite"):
        with closing(sqlite3.connect(uri.removeprefix("sqlite://"))) as connection:
            yield connection
            connection.commit()
    else:
        with closing(psycopg2.connect(uri)) as connection, connection:
            yield connection.cursor()


def by_hand(uri: str, *statements: str) -> list[Any]:
    """Do something past every migration."""
    with _connected(uri) as connection:
        for statement in statements:
            done = connection.execute(statement)
        cursor = done if uri.startswith("sqlite") else connection
        return list(cursor.fetchall()) if cursor.description else []


@pytest.fixture
def applied(shell: Any, database_uri: str) -> Any:
    """A project whose migrations are applied."""
    shell.write("migrations.py", BASE)
    shell.env["MIGRATE_URI"] = database_uri
    assert shell("apply").code == 0
    return shell


@pytest.fixture
def elsewhere(shell: Any, database_uri: str, tmp_path: Any, request: pytest.FixtureRequest) -> Iterator[str]:
    """Another empty database of the same kind."""
    if database_uri.startswith("sqlite"):
        yield f"sqlite://{tmp_path / 'elsewhere.sqlite'}"
    else:
        server = request.getfixturevalue("postgres_server")
        with server.database() as name:
            yield server.app_uri(name)


def test_nothing_done_by_hand_is_no_drift(applied: Any) -> None:
    told = applied("status", "--drift")
    assert (told.code, "drift: none" in told.out) == (0, True)
    document = applied("status", "--drift", "--json").json
    follow(document, "status")
    assert document["drift"] == {"unknown": "", "ignored": 0, "changes": []}
    assert applied("status", "--json").json["drift"] is None
    found = applied("check", "--history", "--json").json["findings"]
    assert [each for each in found if each["code"] == "MG408"] == []


def test_a_run_that_has_nothing_to_do_reads_no_facts(applied: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bookkeeping, "store_inventory", lambda *_, **__: pytest.fail("it read them"))
    assert applied("apply").code == 0


def test_an_index_made_by_hand_is_told_with_its_definition(applied: Any, database_uri: str) -> None:
    by_hand(database_uri, 'CREATE INDEX "by Händ" ON invoice (due)')
    told = applied("status", "--drift").out
    assert "added    index" in told
    assert 'CREATE INDEX "by Händ" ON' in told
    ran = applied("check", "--history", "--json")
    [finding] = [each for each in ran.json["findings"] if each["code"] == "MG408"]
    assert (ran.code, finding["severity"], finding["subject_kind"]) == (0, "warning", "object")
    assert 'CREATE INDEX "by Händ"' in finding["message"]
    follow(ran.json, "findings")
    for form in ("text", "github", "sarif", "junit", "gitlab", "markdown"):
        assert "by H" in applied("check", "--history", "--format", form).out
    assert applied("check", "--history", "--strict").code == 3
    document = applied("drift", "--json").json
    follow(document, "drift")
    assert [(each["what"], each["kind"], each["before"]) for each in document["changes"]] == [("added", "index", None)]
    follow(applied("status", "--drift", "--json").json, "status")


CHANGED_BY_HAND = [
    'CREATE INDEX by_hand ON invoice (due, "Odd Näme")',
    "ALTER TABLE invoice ADD COLUMN vat INTEGER DEFAULT 3",
    "CREATE TABLE note (id INTEGER PRIMARY KEY, invoice INTEGER REFERENCES invoice (id), text VARCHAR(20) NOT NULL DEFAULT '50% \\ ''\"\"\"')",
    "CREATE INDEX note_text ON note (text)",
    'CREATE VIEW owed AS SELECT id, total AS "Tötal" FROM invoice WHERE total > 0',
]

MORE_BY_HAND = {
    "postgres": [
        "CREATE FUNCTION twice(x integer) RETURNS integer LANGUAGE sql AS 'SELECT 2 * x'",
        "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $f$BEGIN NEW.total := '7'; RETURN NEW; END$f$",
        "CREATE TRIGGER stamps BEFORE INSERT ON invoice FOR EACH ROW EXECUTE FUNCTION stamp()",
        "ALTER TABLE invoice ADD CONSTRAINT is_some CHECK (total > 0), ALTER COLUMN total SET NOT NULL, ALTER COLUMN total SET DEFAULT 1",
        'ALTER TABLE invoice ALTER COLUMN "Odd Näme" TYPE bigint',
        "CREATE TYPE mood AS ENUM ('calm', 'a''b')",
        'CREATE TABLE counted (id serial PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, m mood, s text COLLATE "C")',
        "CREATE SCHEMA side",
        "CREATE MATERIALIZED VIEW side.m AS SELECT id FROM invoice",
        "CREATE TABLE parts (id int, at date) PARTITION BY RANGE (at)",
        "CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')",
        "COMMENT ON TABLE invoice IS 'it''s \\ here'",
        "CREATE STATISTICS stat ON id, total FROM invoice",
        "ALTER TABLE invoice ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY mine ON invoice FOR SELECT USING (total > 1)",
    ],
    "sqlite": [
        "CREATE TRIGGER stamps AFTER INSERT ON invoice BEGIN UPDATE invoice SET total = 7 WHERE id = NEW.id; END"
    ],
}

NOT_WRITTEN = {"postgres": ["table public.invoice"], "sqlite": []}


def test_what_was_done_by_hand_is_adopted_and_applies_elsewhere(
    applied: Any, database_uri: str, elsewhere: str
) -> None:
    kind = database_uri.partition(":")[0]
    by_hand(database_uri, *CHANGED_BY_HAND, *MORE_BY_HAND[kind])
    ran = applied("drift", "--adopt", "done_by_hand")
    assert ran.code == 0, ran.err
    left = [line for line in ran.out.splitlines() if line.startswith("not written")]
    assert left == (
        ["not written: table public.invoice: nothing here writes a statement for it: write it by hand"]
        if kind == "postgres"
        else []
    )
    written = (applied.path / "migrations.py").read_text()
    assert "add_due_20260302_001" in written.partition("def done_by_hand")[0].rpartition("@migration")[2]
    [name] = [word for word in ran.out.split() if word.startswith("done_by_hand_")][:1]
    assert applied("mark", name, "--installed").code == 0
    assert "unknown" in applied("status", "--drift").out, "somebody decided something"
    assert applied("apply").code == 0
    assert "drift: none" in applied("status", "--drift").out

    other = applied("apply", MIGRATE_URI=elsewhere)
    assert other.code == 0, other.err
    facts = []
    for uri in (database_uri, elsewhere):
        with open_backend(Settings(uri)) as backend:
            facts.append(
                {
                    fact: each.definition.replace("row security", "").strip()
                    for fact, each in backend.read_inventory().facts.items()
                }
            )
    differing = {fact for fact in facts[0].keys() | facts[1].keys() if facts[0].get(fact) != facts[1].get(fact)}
    assert {fact for fact in differing if fact.kind != "text"} == set(), "SQLite spells an added column otherwise"


@pytest.mark.parametrize("database_uri", ["sqlite"], indirect=True)
def test_a_virtual_table_is_adopted_without_the_tables_that_it_keeps_its_content_in(
    applied: Any, database_uri: str, elsewhere: str
) -> None:
    by_hand(database_uri, "CREATE VIRTUAL TABLE old USING fts5(word)", "CREATE VIRTUAL TABLE kept USING fts5(word)")
    assert applied("apply").code == 0
    with open_backend(Settings(database_uri), writing=True) as backend:
        backend.store_inventory(run="r")
    by_hand(
        database_uri,
        "CREATE VIRTUAL TABLE words USING fts5(word, kind)",
        "CREATE VIRTUAL TABLE place USING rtree(id, x0, x1)",
        "CREATE TABLE place_names (id)",
        "ALTER TABLE old RENAME TO new",
        "DROP TABLE kept",
        "CREATE VIRTUAL TABLE kept USING fts5(word, kind, more)",
    )
    ran = applied("drift", "--adopt", "searched")
    assert ran.code == 0, ran.err
    renamed = "old may have been renamed to new, and dropping it would lose the rows: write by hand what was done"
    assert [line for line in ran.out.splitlines() if line.startswith("not written")] == [
        "not written: column kept.kind: nothing here writes a statement for it: write it by hand",
        "not written: column kept.more: nothing here writes a statement for it: write it by hand",
        f"not written: table new: {renamed}",
        f"not written: table old: {renamed}",
    ]
    other = applied("apply", MIGRATE_URI=elsewhere)
    assert other.code == 0, other.err
    assert by_hand(elsewhere, "SELECT name FROM sqlite_master WHERE sql LIKE '%VIRTUAL%' OR name = 'place_names'") == [
        ("place",),
        ("place_names",),
        ("words",),
    ]


def test_what_went_by_hand_goes_elsewhere_too(applied: Any, database_uri: str, elsewhere: str) -> None:
    by_hand(
        database_uri, "CREATE INDEX soon_gone ON invoice (total)", "CREATE VIEW old AS SELECT id, total FROM invoice"
    )
    assert applied("apply", MIGRATE_URI=elsewhere).code == 0
    by_hand(elsewhere, "CREATE INDEX soon_gone ON invoice (total)", "CREATE VIEW old AS SELECT id, total FROM invoice")
    with open_backend(Settings(database_uri), writing=True) as backend:
        backend.store_inventory(run="r")
    by_hand(
        database_uri,
        "DROP INDEX soon_gone",
        "DROP VIEW old",
        "CREATE VIEW old AS SELECT total FROM invoice",
        "ALTER TABLE invoice DROP COLUMN due",
    )
    assert applied("drift", "--adopt", "went").code == 0
    assert applied("apply", MIGRATE_URI=elsewhere).code == 0
    with open_backend(Settings(database_uri)) as here, open_backend(Settings(elsewhere)) as there:
        assert here.read_inventory().digest == there.read_inventory().digest


def test_what_may_change_by_itself_is_left_out(applied: Any, database_uri: str) -> None:
    by_hand(
        database_uri,
        "CREATE TABLE log_2026_01 (id INTEGER PRIMARY KEY, at DATE)",
        "CREATE INDEX log_at ON log_2026_01 (at)",
    )
    pattern = "log_2026_*" if database_uri.startswith("sqlite") else "public.log_2026_*"
    applied.env["MIGRATE_DRIFT_IGNORE"] = pattern
    assert (
        "drift: none (1 left out by drift_ignore)" in applied("status", "--drift").out
        or "(2 left out" in applied("status", "--drift").out
    )
    assert applied("drift", "--adopt", "nothing").code == 2
    del applied.env["MIGRATE_DRIFT_IGNORE"]
    assert "log_2026_01" in applied("status", "--drift").out


UNKNOWN: dict[str, tuple[Callable[[str], None], str]] = {
    "never stored": (lambda uri: by_hand(uri, f"DELETE FROM {JOURNAL} WHERE state = 'owed'"), "never stored"),  # type: ignore[dict-item]
    "killed before": (
        lambda uri: by_hand(  # type: ignore[dict-item]
            uri,
            f"INSERT INTO {JOURNAL} (attempt, run, name, state, commits) SELECT 'k', 'k', name, state, commits FROM {JOURNAL} "
            "WHERE state = 'applied' LIMIT 1",
        ),
        "has not stored",
    ),
    "damaged": (
        lambda uri: by_hand(uri, f"UPDATE {JOURNAL} SET error = 'AAAA' WHERE state = 'owed'"),
        "cannot be read",
    ),  # type: ignore[dict-item]
    "another version": (lambda uri: _stored_by(uri, version="0.0.1"), "stored by migrate_graph 0.0.1"),
    "another server": (lambda uri: _stored_by(uri, server="postgres 9"), "stored on postgres 9"),
}


def _stored_by(uri: str, **changed: str) -> None:
    from msgspec.structs import replace

    with open_backend(Settings(uri)) as backend:
        text = packed(replace(backend.read_inventory(), **changed))
    by_hand(uri, f"UPDATE {JOURNAL} SET error = '{text}' WHERE state = 'owed'")


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_is_not_known_is_no_drift(applied: Any, database_uri: str, case: str) -> None:
    make, words = UNKNOWN[case]
    by_hand(database_uri, "CREATE INDEX by_hand ON invoice (total)")
    make(database_uri)
    told = applied("status", "--drift").out
    assert "drift: unknown" in told
    assert words in told.replace("\n  ", " ")
    ran = applied("check", "--history", "--json")
    assert [each for each in ran.json["findings"] if each["code"] == "MG408"] == []
    assert "drift is unknown" in ran.err
    refused = applied("drift", "--adopt", "never")
    assert (refused.code, "nothing is known" in refused.err) == (2, True)
    again = applied("apply")
    assert again.code == 0
    assert ("could store the schema of the database" in again.err) is (case == "killed before")
    if case in {"never stored", "killed before"}:
        assert "drift: none" in applied("status", "--drift").out


def test_while_a_run_is_at_work_nothing_is_told(applied: Any, database_uri: str) -> None:
    by_hand(database_uri, "CREATE INDEX by_hand ON invoice (total)")
    with (
        open_backend(Settings(database_uri), writing=True) as backend,
        backend.lock(wait=1, observer=ignore_events, interruption=Interruption()),
    ):
        told = " ".join(applied("status", "--drift").out.split())
    assert "drift: unknown" in told
    assert "a run is at work on the database" in told
    assert "by_hand" in applied("status", "--drift").out


def test_a_run_never_fails_because_facts_cannot_be_stored(
    applied: Any, database_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: Any, **__: Any) -> None:
        raise MemoryError("no room\nat all")

    applied.write("migrations.py", BASE + LATER)
    with monkeypatch.context() as patched:
        patched.setattr(Bookkeeping, "store_inventory", refuses)
        ran = applied("apply")
        assert (ran.code, ran.err.count("was not stored")) == (0, 1)
        assert applied("apply").err.count("was not stored") == 0, "nothing was done"
        assert "drift: unknown" in applied("status", "--drift").out
    assert by_hand(database_uri, "SELECT count(*) FROM later") == [(0,)]


def test_a_run_tells_what_it_will_take_for_known(applied: Any, database_uri: str) -> None:
    """After it nobody could tell what was made by hand; what may change by itself, and a run with nothing to do, are quiet."""
    by_hand(database_uri, "CREATE TABLE log_1 (id INTEGER)", 'CREATE INDEX "by Händ" ON invoice (due)')
    applied.env["MIGRATE_DRIFT_IGNORE"] = "*log_*"
    assert "by hand" not in applied("apply").err
    applied.write("migrations.py", BASE + LATER)
    ran = applied("apply")
    assert ran.code == 0
    told = " ".join(ran.err.split())
    assert "note: changed by hand since the last run: 'index " in told
    assert "by Händ" in told
    assert "log_1" not in told
    assert "drift: none" in applied("drift").out


@pytest.mark.parametrize("command", ["drift", "status --drift", "check --history"])
@pytest.mark.parametrize("fails", ["stored_inventory", "read_inventory"])
def test_a_connection_lost_in_the_middle_is_told_as_one(
    fails: str, command: str, applied: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: Any, **__: Any) -> None:
        raise DatabaseUnreachable("the connection to the database was lost")

    for kind in (Bookkeeping, *Bookkeeping.__subclasses__()):
        if fails in vars(kind):
            monkeypatch.setattr(kind, fails, lost)
    ran = applied(*command.split())
    assert ran.code == 6
    assert "the connection to the database was lost" in ran.err
    assert "drift: none" not in ran.out


@pytest.mark.parametrize("fails", ["stored_inventory", "read_inventory"])
def test_a_run_does_not_need_to_know_what_was_changed_by_hand(
    fails: str, applied: Any, database_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand(database_uri, "CREATE TABLE by_hand (id INTEGER)")
    applied.write("migrations.py", BASE + LATER)

    def refuses(*_: Any, **__: Any) -> None:
        raise ValueError("cannot be read")

    for kind in (Bookkeeping, *Bookkeeping.__subclasses__()):
        if fails in vars(kind):
            monkeypatch.setattr(kind, fails, refuses)
    ran = applied("apply")
    assert ran.code == 0
    assert "changed by hand since the last run" not in ran.err
    assert by_hand(database_uri, "SELECT count(*) FROM later") == [(0,)]


def test_what_a_run_did_that_could_not_store_it_was_not_done_by_hand(
    applied: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied.write("migrations.py", BASE + LATER)
    with monkeypatch.context() as patched:
        patched.setattr(Bookkeeping, "store_inventory", lambda *_, **__: 1 / 0)
        assert applied("apply").code == 0
    applied.write("migrations.py", BASE + LATER + LATER.replace("later", "latest"))
    ran = applied("apply")
    assert ran.code == 0
    assert "by hand since" not in ran.err


def test_only_the_last_inventory_is_kept(applied: Any, database_uri: str) -> None:
    count = f"SELECT count(*) FROM {JOURNAL} WHERE state = 'owed'"
    assert by_hand(database_uri, count) == [(1,)]
    for _ in range(3):
        with open_backend(Settings(database_uri), writing=True) as backend:
            backend.store_inventory(run="r")
    assert by_hand(database_uri, count) == [(1,)]
    assert applied("log", "--json").json["attempts"][-1]["name"] == "add_due_20260302_001"


def test_options_that_do_nothing_are_refused(applied: Any) -> None:
    assert applied("status", "--drift", "--offline").code == 2
    assert applied("drift", "--adopt", "x", "--json").code == 2
    del applied.env["MIGRATE_URI"]
    assert applied("drift").code == 2
