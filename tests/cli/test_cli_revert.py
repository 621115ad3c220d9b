"""`migrate revert --plan` and `--rehearse`: the statements that will run, what they take and leave, for people and for programs."""

from __future__ import annotations

import os
import re
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from test_cli_json import COMMON, documented, follow, keys_of, told

PROJECT = """
    from migrate_graph import ViewMigrationManager, migration


    class Totals(ViewMigrationManager):
        uses = ()
        since = "create_invoice_1"

        def up(self):
            self.db.executesql("CREATE VIEW totals AS SELECT id FROM invoice")

        def down(self):
            self.db.executesql("DROP VIEW IF EXISTS totals")


    @migration(down="auto")
    def create_invoice_1(db):
        db.executesql("CREATE TABLE invoice (id INTEGER PRIMARY KEY, total INTEGER)")
        db.executesql("INSERT INTO invoice (id) VALUES (1), (2)")
        with Totals(db):
            pass
        return True


    def forget_vat(db):
        db.executesql("ALTER TABLE invoice DROP COLUMN vat")
        return True


    @migration(requires=create_invoice_1, down=forget_vat)
    def add_vat_2(db):
        db.executesql("ALTER TABLE invoice ADD COLUMN vat INTEGER")
        db.executesql("CREATE INDEX invoice_total ON invoice (total)")
        return True
"""


@pytest.fixture
def applied(shell: Any) -> Any:
    """A project that is applied to a file."""
    shell.write("migrations.py", PROJECT)
    shell.env["MIGRATE_URI"] = f"sqlite://{shell.path / 'shop.db'}"
    assert shell("apply").code == 0
    return shell


def test_a_plan_shows_what_will_be_sent(applied: Any) -> None:
    ran = applied("revert", "create_invoice_1", "--with-dependents", "--plan")
    assert ran.code == 0
    assert "1  add_vat_2  migrations.py:" in ran.out
    assert re.search(r"^ +by forget_vat \(migrations\.py:\d+\)$", ran.out, re.MULTILINE)
    assert re.search(r"^ +DROP TABLE invoice;$", ran.out, re.MULTILINE)
    assert "views down for good: Totals" in ran.out


def test_a_plan_for_programs_is_what_its_page_and_its_schema_say(applied: Any) -> None:
    document = applied("revert", "create_invoice_1", "--with-dependents", "--plan", "--json").json
    follow(document, "revert")
    assert set(document) >= COMMON
    first, second = document["steps"]
    assert first["down"] == {
        "statements": None,
        "function": "forget_vat",
        "path": "migrations.py",
        "line": first["down"]["line"],
    }
    assert second["down"] == {"statements": ["DROP TABLE invoice"], "function": None, "path": None, "line": None}
    assert (second["after"], second["views_retired"], document["rehearsal"]) == (["add_vat_2"], ["Totals"], None)
    rehearsed = applied("revert", "create_invoice_1", "--with-dependents", "--rehearse", "--json")
    follow(rehearsed.json, "revert")
    assert rehearsed.json["rehearsal"]["losses"] == [{"what": "table invoice", "unit": "row", "count": 2}]
    own = {key: value for key, value in rehearsed.json.items() if key not in COMMON}
    keys = {re.sub(r"\.(sizes|locks|wrote)\.[^.]+", r".\1.*", key) for key in keys_of(own)}
    assert keys <= told("revert")
    assert {key for key in documented("revert") if not re.search(r"[\[.*]", key)} == set(own)
    assert applied("plan", "--check").code == 0, "nothing was undone"


def test_a_rehearsal_tells_what_a_way_back_leaves(applied: Any) -> None:
    ran = applied("revert", "add_vat_2", "--rehearse")
    assert ran.code == 0
    assert "ALTER TABLE invoice DROP COLUMN vat;" in ran.out
    told = " ".join(ran.out.split())
    assert "add_vat_2: its way back does not restore what was there before: index invoice_total, too" in told
    refused = applied("revert", "add_vat_2")
    assert refused.code == 5
    assert (
        "nothing was undone, since add_vat_2: its way back does not restore what was there before: index invoice_total, too"
        in " ".join(refused.err.split())
    )
    assert applied("revert", "add_vat_2", "--yes").code == 0


def test_one_that_leads_back_says_so(applied: Any) -> None:
    text = (applied.path / "migrations.py").read_text()
    forgets = 'executesql("DROP INDEX invoice_total")\n    db.executesql("ALTER TABLE invoice DROP COLUMN vat")'
    applied.write("migrations.py", text.replace('executesql("ALTER TABLE invoice DROP COLUMN vat")', forgets))
    ran = applied("revert", "add_vat_2", "--rehearse")
    assert "it restores what was there before, and can be applied again" in ran.out
    assert applied("revert", "add_vat_2").code == 0
    assert applied("apply").code == 0


@pytest.mark.postgres
@pytest.mark.usefixtures("may_create_databases")
def test_a_rehearsal_on_postgres_undoes_a_copy_and_nothing_else(
    shell: Any, postgres_server: Any, postgres_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(postgres_server.binaries), prepend=os.pathsep)  # where a pg_dump of its version is
    shell.write("migrations.py", PROJECT)
    shell.env["MIGRATE_URI"] = postgres_uri
    assert shell("apply").code == 0
    words = ("revert", "create_invoice_1", "--with-dependents", "--rehearse")
    ran = shell(*words)
    assert ran.code == 0, ran.err
    told = " ".join(ran.out.split())
    assert "ALTER TABLE invoice DROP COLUMN vat;" in told
    assert "DROP TABLE public.invoice;" in told
    assert "add_vat_2: its way back does not restore what was there before: index public.invoice_total, too" in told
    document = shell(*words, "--json").json
    follow(document, "revert")
    assert document["rehearsal"]["losses"] == [{"what": "table public.invoice", "unit": "row", "count": 2}]
    assert document["steps"][0]["footprint"]["locks"] == {"public.invoice": "ACCESS EXCLUSIVE"}
    with closing(psycopg2.connect(postgres_uri)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id, vat FROM invoice ORDER BY id")
        assert cursor.fetchall() == [(1, None), (2, None)]
        cursor.execute("SELECT datname FROM pg_database WHERE datname ~ '^migrate_graph'")
        assert cursor.fetchall() == []
    assert shell("plan", "--check").code == 0, "nothing was undone"
    refused = shell(*words[:-1])
    assert refused.code == 5
    assert "this data goes: table public.invoice (2 rows)" in " ".join(refused.err.split())


def test_what_is_not_additive_is_refused_by_a_plan_too(applied: Any) -> None:
    text = (applied.path / "migrations.py").read_text()
    applied.write("migrations.py", text.replace("down=forget_vat", 'down="auto"') + REMOVES)
    assert applied("apply").code == 0
    ran = applied("revert", "remove_3", "--plan")
    assert ran.code == 2
    assert (
        "no way back can be derived for 'remove_3': removes the column invoice.vat, which was there before" in ran.err
    )
    assert "(migrations.py:" in ran.err
    assert 'down=function instead of down="auto"' in ran.err
    assert applied("revert", "add_vat_2", "--with-dependents", "--yes").code == 2
    wrong = applied("revert", "remove_3", "--plan", "--json")
    assert (wrong.code, wrong.json["kind"]) == (2, "error")


REMOVES = """

@migration(requires=add_vat_2, down="auto")
def remove_3(db):
    db.executesql("ALTER TABLE invoice DROP COLUMN vat")
    return True
"""


def test_another_word_than_auto_is_refused_where_it_stands(applied: Any) -> None:
    text = (applied.path / "migrations.py").read_text()
    applied.write("migrations.py", text.replace('down="auto"', 'down="automatic"'))
    ran = applied("check")
    assert ran.code == 2
    assert "'automatic' is neither a function of db nor \"auto\"" in ran.err


ALL_WAYS = """

def wrong(db):
    db.executesql("DROP TABLE nonesuch")
    return True


@migration(requires=add_vat_2, down=wrong)
def fails_3(db):
    db.executesql("CREATE TABLE three (id INTEGER)")
    return True


@migration(requires=fails_3, down="auto")
def writes_4(db):
    db.executesql("CREATE TABLE four (id INTEGER)")
    db.executesql("INSERT INTO invoice (id) VALUES (9)")
    return True


def too_little(db):
    return True


@migration(requires=writes_4, down=too_little)
def stays_5(db):
    db.executesql("CREATE TABLE IF NOT EXISTS five (id INTEGER)")
    return True


@migration(requires=stays_5, down=too_little)
def again_6(db):
    db.executesql("CREATE TABLE six (id INTEGER)")
    return True


def fine(db):
    db.executesql("DROP TABLE seven")
    return True


@migration(requires=again_6, down=fine)
def round_7(db):
    db.executesql("CREATE TABLE seven (id INTEGER)")
    return True


@migration(requires=round_7, down=too_little)
def rows_8(db):
    db.executesql("INSERT INTO invoice (id) VALUES (77)")
    return True


@migration(requires=rows_8)
def without_9(db):
    return True
"""


def test_verify_tries_every_way_back(shell: Any) -> None:
    shell.write("migrations.py", PROJECT)
    (shell.path / "migrations.py").write_text((shell.path / "migrations.py").read_text() + ALL_WAYS)
    ran = shell("verify", "--reverts", "--on", "sqlite", "--json")
    assert ran.code == 3
    follow(ran.json, "verify")
    found = {(each["subject"], each["code"]): each for each in ran.json["findings"]}
    assert set(found) == {
        ("add_vat_2", "MG708"), ("fails_3", "MG707"), ("writes_4", "MG707"), ("stays_5", "MG708"), ("again_6", "MG708"),
        ("rows_8", "MG707"),
    }  # fmt: skip
    assert "'rows_8' fails when it is applied again after its way back: " in found["rows_8", "MG707"]["message"]
    assert "index invoice_total, too" in found["add_vat_2", "MG708"]["message"]
    assert "no such table: nonesuch" in found["fails_3", "MG707"]["message"]
    assert "puts rows into invoice" in found["writes_4", "MG707"]["message"]
    text = (shell.path / "migrations.py").read_text().splitlines()
    assert "INSERT INTO invoice (id) VALUES (9)" in text[found["writes_4", "MG707"]["line"] - 1]
    assert [(each["name"], each["leads_back"]) for each in ran.json["reverts"]] == [
        ("create_invoice_1", True), ("add_vat_2", False), ("fails_3", False), ("writes_4", False), ("stays_5", False), ("again_6", False),
        ("round_7", True), ("rows_8", False),
    ]  # fmt: skip
    assert ran.json["reverts"][0]["derived"] == ["DROP TABLE invoice"]
    text = shell("verify", "--reverts", "--on", "sqlite")
    assert (
        "2 of 8 ways back restore what was there before, and can be applied again; 1 migration without one" in text.out
    )
    assert "MG707" in text.out
    assert shell("verify", "--reverts", "--on", "sqlite", "--select", "MG701").code == 0
    assert shell("verify", "--on", "sqlite").code == 0, "it is only tried where it is asked for"


MORE = """

    @migration(requires=create_invoice_1)
    def add_due_3(db):
        db.executesql("ALTER TABLE invoice ADD COLUMN due INTEGER")
        return True
"""


def test_what_requires_it_is_listed_in_the_order_in_which_it_goes(shell: Any) -> None:
    shell.write("migrations.py", PROJECT + MORE)
    shell.env["MIGRATE_URI"] = f"sqlite://{shell.path / 'shop.db'}"
    assert shell("apply").code == 0
    ran = shell("revert", "create_invoice_1", "--yes")
    assert ran.code == 3
    assert ran.err.index("add_due_3") < ran.err.index("add_vat_2")
    assert shell("status", "--json").json["migrations"][0]["status"] == "applied"


def test_everything_that_tells_of_a_migration_knows_that_it_was_reverted(applied: Any) -> None:
    assert applied("revert", "add_vat_2", "--yes").code == 0
    assert "add_vat_2         reverted" in applied("status").out
    assert [each["status"] for each in applied("status", "--json").json["migrations"]] == ["applied", "reverted"]
    assert re.search(r"add_vat_2 +reverted", applied("log").out)
    assert "reverted" in applied("show", "add_vat_2").out
    assert "reverted" in applied("graph", "--history", "--format", "mermaid").out
    assert applied("plan", "--select", "state:reverted", "--json").json["steps"][0]["status"] == "reverted"
    assert "state          reverted" in applied("why", "add_vat_2").out
    assert applied("why", "add_vat_2", "--json").json["state"] == "reverted"
    assert applied("why", "add_vat_2", "--offline", "--json").json["state"] is None
    assert applied("plan", "--json").json["steps"][0]["name"] == "add_vat_2"


def test_what_to_type_after_a_failure_names_what_was_meant(applied: Any) -> None:
    """Alone, and when what requires it is undone already."""
    text = (applied.path / "migrations.py").read_text()
    applied.write(
        "migrations.py",
        text + "\n\n@migration(requires=add_vat_2, down=lambda db: True)\ndef last_3(db):\n    return True\n",
    )
    assert applied("apply").code == 0
    text = (applied.path / "migrations.py").read_text()
    applied.write(
        "migrations.py",
        text.replace('    db.executesql("ALTER TABLE invoice DROP COLUMN vat")\n    return True', "    return False"),
    )
    ran = applied("revert", "add_vat_2", "--with-dependents", "--yes")
    assert ran.code == 1, ran.err
    assert "then migrate revert add_vat_2 --with-dependents" in ran.err
    ran = applied("revert", "add_vat_2", "--yes")
    assert ran.code == 1, ran.err
    assert ran.err.splitlines()[-1].endswith("then migrate revert add_vat_2")
