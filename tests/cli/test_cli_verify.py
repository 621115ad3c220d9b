"""`migrate verify`: what it tells in each format, what it ends with, what it writes, and that the database stays as it is."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import psycopg2
import pytest
from test_cli_json import documented, keys_of, schema_of

from migrate_graph.cli.commands import verify
from migrate_graph.errors import Stopped

SHOP = """
from migrate_graph import migration


@migration
def create_account_20260101_001(db):
    db.executesql("CREATE TABLE account (id INTEGER PRIMARY KEY, email TEXT, plan VARCHAR(8))")
    return True


@migration(requires=create_account_20260101_001)
def fill_plan_20260102_001(db):
    db.executesql("UPDATE account SET plan = 'hunter2' WHERE plan IS NULL")
    return True


@migration(requires=create_account_20260101_001)
def drop_plan_20260103_001(db):
    db.executesql("ALTER TABLE account DROP COLUMN plan")
    return True


@migration
def index_email_20260104_001(db):
    db.executesql("CREATE INDEX account_email ON account (email)")
    return True
"""
ORDERED = (
    SHOP.replace(
        "@migration(requires=create_account_20260101_001)\ndef drop_plan", "@migration(requires=fill_plan_20260102_001)\ndef drop_plan"
    ).replace("@migration\ndef index_email", "@migration(requires=[create_account_20260101_001])\ndef index_email")
)  # fmt: skip
BARE = ORDERED.replace("@migration(requires=create_account_20260101_001)", "@migration").replace(
    "@migration(requires=fill_plan_20260102_001)", "@migration"
).replace("@migration(requires=[create_account_20260101_001])", "@migration")  # fmt: skip
UNSEEN = """

@migration(requires=fill_plan_20260102_001)
def nothing_to_see_20260105_001(db):
    return True
"""
BACK = """
from migrate_graph import migration


@migration(down="auto")
def create_account_20260101_001(db):
    db.executesql("CREATE TABLE account (id INTEGER PRIMARY KEY, email TEXT)")
    return True


@migration(requires=create_account_20260101_001, down="auto")
def rename_email_20260102_001(db):
    db.executesql("ALTER TABLE account RENAME COLUMN email TO mail")
    return True
"""
FAILING = (
    ORDERED
    + """

@migration(requires=drop_plan_20260103_001)
def reads_plan_20260105_001(db):
    db.executesql("SELECT plan FROM account")
    return True


@migration(requires=reads_plan_20260105_001)
def waits_20260106_001(db):
    return True
"""
)
EXAMPLES = Path(__file__).parents[2] / "examples"
FILE = "migrations.footprint.json"


@pytest.fixture
def verified(shell: Any, request: pytest.FixtureRequest, database_uri: str) -> Any:
    """A project with a database of each kind, where others may be made."""
    shell.env["MIGRATE_URI"] = database_uri
    if database_uri.startswith("postgres"):
        request.getfixturevalue("may_create_databases")
    shell.write("migrations.py", SHOP)
    return shell


@pytest.fixture
def in_a_file(shell: Any, sqlite_uri: str) -> Any:
    """The same with SQLite alone, where the database makes no difference."""
    shell.env["MIGRATE_URI"] = sqlite_uri
    shell.write("migrations.py", SHOP)
    return shell


def is_postgres(shell: Any) -> bool:
    return str(shell.env["MIGRATE_URI"]).startswith("postgres")


def contents(shell: Any) -> list[Any]:
    """Return the names of all tables of the configured database, and of all databases that were made beside it."""
    uri = shell.env["MIGRATE_URI"]
    if not is_postgres(shell):
        path = Path(uri.removeprefix("sqlite://"))
        if not path.exists():
            return ["no file"]
        with closing(sqlite3.connect(path)) as db:
            return db.execute("SELECT name FROM sqlite_master ORDER BY 1").fetchall()
    with closing(psycopg2.connect(uri)) as db, db.cursor() as cursor:
        cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1")
        found: list[Any] = cursor.fetchall()
        cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE 'migrate_graph%'")
        return [*found, *cursor.fetchall()]


def codes(document: Any) -> list[tuple[str, str]]:
    return [(each["code"], each["subject"]) for each in document["findings"]]


def test_what_is_missing_is_found_and_the_database_stays_as_it_is(verified: Any) -> None:
    before = contents(verified)
    ran = verified("verify")
    assert ran.code == 3
    assert (
        "error MG701 undeclared-dependency: 'index_email_20260104_001' needs what 'create_account_20260101_001' makes, and does not "
        "require it: "
    ) in ran.out
    assert 'hint: add: requires=["create_account_20260101_001"]' in ran.out
    assert (
        "warning MG702 unordered-conflict: nothing orders 'fill_plan_20260102_001' and 'drop_plan_20260103_001', and it matters: "
    ) in ran.out
    assert "migrations.py:17" in ran.out
    assert "1 error, 1 warning in 4 migrations and 0 views" in ran.out
    assert "4 migrations watched: 3 needs and 1 conflict between them" in ran.out
    assert "watching 1 of 4: create_account_20260101_001" in ran.err
    assert contents(verified) == before
    assert not (verified.path / FILE).exists()
    assert sorted(each.name for each in verified.path.iterdir()) == ["migrations.py"]


def test_what_is_right_is_right(verified: Any) -> None:
    verified.write("migrations.py", ORDERED)
    ran = verified("verify", "--closure", "--permute", "5")
    assert (ran.code, ran.err) == (0, ran.err)
    assert "nothing wrong in 4 migrations and 0 views" in ran.out
    assert "on what it requires alone: 4 migrations tried, 0 had another result than in the full run" in ran.out
    assert "2 of 2 other orders end alike (seed 0): there are no more" in ran.out


def test_the_document_follows_its_schema_and_its_page(in_a_file: Any) -> None:
    own = {"schema_version", "kind", "tool", "exit_code"}
    seen: set[str] = set()
    tries = {
        "--closure --permute 3 --write": SHOP + UNSEEN,
        "--infer --apply-to-files": SHOP + UNSEEN,
        "--reverts": BACK,
    }
    for words, text in tries.items():
        in_a_file.write("migrations.py", text)
        ran = in_a_file("verify", "--json", *words.split())
        document = ran.json
        jsonschema.validate(document, schema_of("verify"))
        assert document["exit_code"] == ran.code
        told = {key: value for key, value in document.items() if key not in own}
        shared = {
            key.replace("findings[]", "findings[]") for key in documented("findings") if key.startswith("findings[]")
        }
        keys = {key for key in keys_of(told) if not key.startswith("closure.not_tried.")}
        assert keys <= documented("verify") | shared
        seen |= keys
    unseen = documented("verify") - seen
    assert unseen <= {key for key in documented("verify") if key.startswith("trials[].differences")}, unseen


def test_the_other_formats_hold_the_findings(in_a_file: Any) -> None:
    sarif = json.loads(in_a_file("verify", "--format", "sarif").out)
    assert [each["ruleId"] for each in sarif["runs"][0]["results"]] == ["MG701", "MG702"]
    github = in_a_file("verify", "--format", "github")
    assert github.code == 3
    assert "::error file=migrations.py,line=23," in github.out
    assert "::warning file=migrations.py,line=17," in github.out
    junit = ET.fromstring(in_a_file("verify", "--format", "junit").out)
    assert len(list(junit.iter("failure"))) >= 1
    assert "MG701" in in_a_file("verify", "--format", "markdown").out
    assert json.loads(in_a_file("verify", "--format", "gitlab").out)[0]["check_name"] == "undeclared-dependency"


def test_rules_and_subjects_can_be_chosen(in_a_file: Any) -> None:
    assert codes(in_a_file("verify", "--json", "--select", "MG702").json) == [("MG702", "drop_plan_20260103_001")]
    assert codes(in_a_file("verify", "--json", "--ignore", "MG702").json) == [("MG701", "index_email_20260104_001")]
    assert codes(in_a_file("verify", "--json", "--select", "index_*").json) == [("MG701", "index_email_20260104_001")]
    ran = in_a_file("verify", "--select", "MG705")
    assert (ran.code, "nothing wrong" in ran.out) == (0, True)


def test_a_migration_that_fails_ends_with_1_and_the_rest_is_judged(verified: Any) -> None:
    verified.write("migrations.py", FAILING)
    before = contents(verified)
    ran = verified("verify", "--closure", "--permute", "3", "--infer", "--apply-to-files")
    assert ran.code == 1
    assert "error MG705 fails-on-new-database: 'reads_plan_20260105_001' fails in the order of the project: " in ran.out
    assert "plan" in ran.out.partition("fails in the order of the project: ")[2].splitlines()[0]
    assert "migrations.py:30" in ran.out
    assert "4 migrations watched" in ran.out
    assert (verified.path / "migrations.py").read_text() == FAILING.lstrip("\n")
    document = verified("verify", "--json").json
    assert [each["outcome"] for each in document["migrations"]] == ["applied"] * 4 + ["raised", "blocked"]
    refused = verified("verify", "--write")
    assert refused.code == 1
    assert "error MG705 fails-on-new-database: 'reads_plan_20260105_001' fails" in refused.out
    assert f"{FILE} is not written: 1 migration failed" in refused.err
    assert not (verified.path / FILE).exists()
    assert contents(verified) == before


def test_what_was_found_is_shown_where_a_file_cannot_be_written(in_a_file: Any) -> None:
    (in_a_file.path / FILE).mkdir()
    ran = in_a_file("verify", "--write", "--graph", "plan.svg")
    assert (ran.code, (in_a_file.path / "plan.svg").exists()) == (3, True)
    assert "error MG701 undeclared-dependency" in ran.out
    assert ("error: cannot write" in ran.err, FILE in ran.err) == (True, True)
    quiet = in_a_file("verify", "--write", "--ignore", "MG7", "--json")
    assert (quiet.code, quiet.json["exit_code"], quiet.json["footprints"]) == (2, 2, None)


def test_no_file_that_cannot_be_written_hides_another_one_or_what_was_found(in_a_file: Any) -> None:
    (in_a_file.path / FILE).mkdir()
    (in_a_file.path / "told.txt").mkdir()
    both = in_a_file("verify", "--write", "--output", "told.txt")
    assert both.code == 3
    assert [name for name in (FILE, "told.txt") if name in both.err] == [FILE, "told.txt"]
    quiet = in_a_file("verify", "--ignore", "MG7", "--output", "told.txt")
    assert (quiet.code, "cannot write told.txt" in quiet.err) == (2, True)


def test_a_signal_does_not_hide_what_was_refused_before(in_a_file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (in_a_file.path / FILE).mkdir()

    def stopped(*_: Any, **__: Any) -> None:
        raise Stopped("stopped by SIGTERM", signal=signal.SIGTERM)

    monkeypatch.setattr(verify, "_show", stopped)
    ran = in_a_file("verify", "--write")
    assert ran.code == 128 + signal.SIGTERM
    assert ran.err.index(FILE) < ran.err.index("stopped by SIGTERM")


def test_another_file_than_the_configured_one_is_refused_before_anything_is_made(in_a_file: Any) -> None:
    in_a_file.write("others.py", SHOP)
    ran = in_a_file("verify", "others.py", "--write")
    assert (ran.code, "another file was named" in ran.err, "watching" in ran.err) == (2, True, False)


def test_a_graph_with_errors_is_refused_before_anything_is_made(in_a_file: Any) -> None:
    in_a_file.write("migrations.py", SHOP.replace("@migration\ndef index", "@migration(requires='nothing')\ndef index"))
    ran = in_a_file("verify")
    assert ran.code == 3
    assert "verify refused: the graph has 1 error" in ran.err
    assert "watching" not in ran.err


def test_what_was_seen_is_kept_and_check_judges_by_it_without_a_database(verified: Any) -> None:
    ran = verified("verify", "--write")
    assert ran.code == 3
    assert f"written: {FILE}" in ran.out
    first = (verified.path / FILE).read_bytes()
    assert b"hunter2" not in first
    assert len(first.splitlines()) == 6
    again = verified("verify", "--write")
    assert f"{FILE} is as it was" in again.out
    assert (verified.path / FILE).read_bytes() == first
    del verified.env["MIGRATE_URI"]
    found = verified("check", "--json")
    assert found.code == 3
    assert codes(found.json) == [("MG701", "index_email_20260104_001"), ("MG702", "drop_plan_20260103_001")]
    verified.write("migrations.py", SHOP.replace("    db.exec", "    # a comment\n    db.exec"))
    assert codes(verified("check", "--json").json) == codes(found.json)
    verified.write("migrations.py", SHOP.replace("account_email", "account_mail"))
    assert codes(verified("check", "--json").json) == [
        ("MG702", "drop_plan_20260103_001"), ("MG703", "index_email_20260104_001"),
    ]  # fmt: skip
    assert verified("plan", "--offline").code == 0, "only check is judged by the file"


def test_a_project_without_requirements_gets_its_graph(verified: Any) -> None:
    verified.write("migrations.py", BARE)
    assert verified("check").code == 0
    told = verified("verify", "--infer")
    assert told.code == 3
    assert "3 requirements to add, to 3 migrations:" in told.out
    assert 'requires="create_account_20260101_001"' in told.out
    assert "2 of 2 other orders of the inferred graph end alike (seed 0): there are no more" in told.out
    assert (verified.path / "migrations.py").read_text() == BARE.lstrip("\n"), "told, and not done"
    done = verified("verify", "--infer", "--apply-to-files")
    assert done.code == 0
    assert "nothing wrong" in done.out
    assert "3 migrations edited in migrations.py" in done.out
    text = (verified.path / "migrations.py").read_text()
    assert '@migration(requires="create_account_20260101_001")\ndef fill_plan_20260102_001(db):' in text
    assert '@migration(requires="fill_plan_20260102_001")\ndef drop_plan_20260103_001(db):' in text
    assert '@migration(requires="create_account_20260101_001")\ndef index_email_20260104_001(db):' in text
    after = verified("verify", "--permute", "20", "--infer")
    assert after.code == 0
    assert "nothing to add: what is declared orders all that was seen" in after.out


def test_the_shop_without_requirements_gets_a_graph_that_holds_in_20_orders(shell: Any, tmp_path: Path) -> None:
    project = tmp_path / "bare"
    shutil.copytree(EXAMPLES / "shop", project, ignore=shutil.ignore_patterns("__pycache__", "*.db*"))
    for file in project.glob("*.py"):
        text = re.sub(
            r"@migration\((?:[^()]|\([^()]*\))*?\)\n(?=def )", "@migration\n", file.read_text(encoding="utf-8")
        )
        assert "@migration(" not in text
        file.write_text(text, encoding="utf-8")
    ran = shell("-C", str(project), "verify", "--infer", "--apply-to-files")
    assert ran.code == 0
    assert "nothing wrong in 28 migrations and 8 views" in ran.out
    assert "20 of 20 other orders of the inferred graph end alike (seed 0)" in ran.out
    assert "26 migrations edited in catalog.py, customers.py, orders.py, billing.py" in ran.out
    assert not [
        each for each in shell("-C", str(project), "check", "--json").json["findings"] if each["code"] < "MG105"
    ]


def test_the_own_order_of_the_inferred_graph_is_one_of_those_that_are_tried(in_a_file: Any) -> None:
    """With the new requirements the project runs in another order than the one that was watched: where that fails, nothing holds."""
    in_a_file.write(
        "migrations.py",
        """
        from migrate_graph import migration

        @migration
        def zero(db):
            db.executesql("CREATE TABLE zero (id integer)")
            return True

        @migration
        def one(db):
            db.executesql("CREATE TABLE one (id integer)")
            return True

        @migration
        def two(db):
            db.executesql("CREATE TABLE two (id integer)")
            return True

        @migration
        def three(db):
            # What stands in the catalog is in no footprint.
            if not db.executesql("SELECT name FROM sqlite_master WHERE name = 'two'"):
                raise LookupError("two is not there")
            db.executesql("INSERT INTO zero VALUES (1)")
            return True
        """,
    )
    before = (in_a_file.path / "migrations.py").read_bytes()
    for more in ((), ("--permute", "1")):
        ran = in_a_file("verify", "--infer", "--apply-to-files", *more)
        assert (ran.code, "MG705" in ran.out) == (3, True)
        assert 'requires=["two"' in ran.out
        assert "the files are not changed: the graph does not hold with these requirements" in ran.err
        assert (in_a_file.path / "migrations.py").read_bytes() == before


def test_where_no_order_could_be_tried_nothing_is_proved(in_a_file: Any) -> None:
    """What succeeds once and fails the next time leaves nothing to compare other orders with."""
    in_a_file.write(
        "migrations.py",
        """
        from migrate_graph import migration

        RAN = []

        @migration
        def one(db):
            db.executesql("CREATE TABLE one (id integer)")
            return True

        @migration
        def fill(db):
            RAN.append(1)
            db.executesql("INSERT INTO one VALUES (1)")
            return len(RAN) < 2
        """,
    )
    before = (in_a_file.path / "migrations.py").read_bytes()
    for options in (("--infer", "--apply-to-files"), ("--permute", "2")):
        ran = in_a_file("verify", *options)
        assert (ran.code, "MG705" in ran.out) == (3, True), ran.out
        assert "none was tried, since fill failed in the order that they are compared with" in ran.out
        assert (in_a_file.path / "migrations.py").read_bytes() == before


def test_a_graph_that_does_not_hold_is_not_written(in_a_file: Any) -> None:
    in_a_file.write(
        "migrations.py",
        """
        from migrate_graph import migration

        @migration
        def one_20260101_001(db):
            db.executesql("CREATE TABLE one (id integer)")
            return True

        @migration
        def fill_20260102_001(db):
            db.executesql("INSERT INTO one VALUES (1)")
            return True

        @migration
        def either_20260103_001(db):
            # What stands in the catalog is in no footprint.
            there = db.executesql("SELECT name FROM sqlite_master WHERE name = 'one'")
            db.executesql(f"CREATE TABLE {'after' if there else 'before'} (id integer)")
            return True
        """,
    )
    before = (in_a_file.path / "migrations.py").read_bytes()
    ran = in_a_file("verify", "--infer", "--apply-to-files", "--permute", "5")
    assert ran.code == 3
    assert "MG706" in ran.out
    assert "the files are not changed: the graph does not hold with these requirements" in ran.err
    assert (in_a_file.path / "migrations.py").read_bytes() == before


def test_what_cannot_be_edited_is_told(in_a_file: Any) -> None:
    loop = BARE.replace("@migration\ndef index", "for _ in range(1):\n  @migration\n  def index").replace(
        '    db.executesql("CREATE INDEX account_email ON account (email)")\n    return True',
        '    db.executesql("CREATE INDEX account_email ON account (email)")\n    return True'.replace("    ", "      "),
    )
    in_a_file.write("migrations.py", loop)
    ran = in_a_file("verify", "--infer", "--apply-to-files")
    assert ran.code == 3, "one is still missing"
    assert "2 migrations edited in migrations.py" in ran.out
    assert "by hand: migrations.py:" in ran.out
    assert "it is declared within a loop, a function or a class" in ran.out
    assert 'requires="create_account_20260101_001"' in ran.out.partition("by hand")[2]


def test_two_that_commute_are_no_finding(in_a_file: Any) -> None:
    answered = ORDERED.replace(
        "@migration(requires=fill_plan_20260102_001)",
        "@migration(requires=create_account_20260101_001, commutes_with=fill_plan_20260102_001, why='nobody has a plan')",
    )
    in_a_file.write("migrations.py", answered)
    assert in_a_file("verify").code == 0
    shown = in_a_file("show", "drop_plan_20260103_001")
    assert "commutes with  fill_plan_20260102_001: nobody has a plan" in " ".join(
        shown.out.replace("  ", " ").split(" ")
    ).replace("with fill", "with  fill")
    node = in_a_file("show", "drop_plan_20260103_001", "--json").json["nodes"][0]
    assert (node["commutes_with"], node["why"]) == (["fill_plan_20260102_001"], "nobody has a plan")
    in_a_file.write(
        "migrations.py", answered.replace("commutes_with=fill_plan_20260102_001", "commutes_with='fill_paln'")
    )
    assert codes(in_a_file("check", "--json").json) == [("MG111", "drop_plan_20260103_001")]


def test_the_picture_shows_what_is_missing(in_a_file: Any) -> None:
    ran = in_a_file("verify", "--graph", "missing.svg")
    text = (in_a_file.path / "missing.svg").read_text()
    assert "drawn: missing.svg" in ran.err
    assert 'class="edge needs live"' in text
    assert 'class="edge conflicts live"' in text
    assert "is needed by (not declared)" in text
    assert "conflicts with (in no order)" in text
    in_a_file("verify", "--infer", "--graph", "inferred.mmd")
    mermaid = (in_a_file.path / "inferred.mmd").read_text()
    assert "-.->|needs|" in mermaid
    assert "-.-x|conflicts|" in mermaid
    in_a_file.write("migrations.py", ORDERED)
    in_a_file("verify", "--graph", "right.svg")
    assert "is needed by" not in (in_a_file.path / "right.svg").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--seed", "1"), "--seed does nothing without --permute or --infer"),
        (("--apply-to-files",), "--apply-to-files does nothing without --infer"),
        (("--format", "sarif", "--json"), "--format does nothing beside --json"),
        (("--format", "sraif"), "no format is called 'sraif'"),
        (("--permute", "0"), "invalid value for '--permute'"),
        (("--renderer", "dot"), "--renderer does nothing without"),
        (("--graph", "x.xyz"), "no picture format is called '.xyz'"),
        (("--on", "mysql://x"), "error: --on"),
        (("--select", "MG999"), "no such rule: 'MG999'"),
        (("--on", "nonsense"), "error: --on: it has no scheme"),
    ],
)
def test_what_makes_no_sense_is_refused(words: tuple[str, ...], message: str, shell: Any, sqlite_uri: str) -> None:
    shell.env["MIGRATE_URI"] = sqlite_uri
    shell.write("migrations.py", SHOP)
    ran = shell("verify", *words)
    assert ran.code == 2
    assert message in ran.err
    assert "watching" not in ran.err


def test_without_a_database_it_says_how_to_name_one(shell: Any) -> None:
    shell.write("migrations.py", SHOP)
    ran = shell("verify")
    assert ran.code == 2
    assert "--on postgres://" in ran.err


def test_the_file_of_another_project_is_not_overwritten(in_a_file: Any) -> None:
    in_a_file.write("other.py", SHOP)
    ran = in_a_file("verify", "other.py", "--write")
    assert ran.code == 2
    assert f"{FILE} is about migrations.py, and another file was named" in ran.err


def test_a_view_that_reads_what_a_later_migration_adds_is_found(verified: Any) -> None:
    verified.write(
        "migrations.py",
        """
        from migrate_graph import SqlView, migration


        class Mails(SqlView):
            uses = ()
            since = "create_account_20260101_001"
            query = "SELECT id, phone FROM account"


        @migration
        def create_account_20260101_001(db):
            db.executesql("CREATE TABLE account (id INTEGER PRIMARY KEY)")
            with Mails(db):
                pass
            return True


        @migration
        def add_phone_20260102_001(db):
            db.executesql("ALTER TABLE account ADD COLUMN phone TEXT")
            return True
        """,
    )
    ran = verified("verify")
    if not is_postgres(verified):  # SQLite takes a view of what is not there yet
        assert (ran.code, "mails, which it leaves, cannot be read: no such column: phone" in ran.out) == (3, True)
        return
    assert (ran.code, "'create_account_20260101_001' fails in the order of the project: " in ran.out) == (1, True)
    assert "phone" in ran.out


LATE_VIEW = """
from migrate_graph import SqlView, migration


class Mails(SqlView):
    uses = ()
    since = "open_mails_20260103_001"
    query = "SELECT id, phone FROM account"


@migration
def create_account_20260101_001(db):
    db.executesql("CREATE TABLE account (id INTEGER PRIMARY KEY)")
    return True


@migration(requires=create_account_20260101_001)
def add_phone_20260102_001(db):
    db.executesql("ALTER TABLE account ADD COLUMN phone TEXT")
    return True


@migration(requires=create_account_20260101_001)
def open_mails_20260103_001(db):
    with Mails(db):
        pass
    return True
"""


def test_a_view_that_only_the_tie_break_keeps_alive_is_found(verified: Any) -> None:
    verified.write("migrations.py", LATE_VIEW)
    document = verified("verify", "--json", "--write").json
    assert codes(document) == [("MG701", "open_mails_20260103_001")]
    assert "'open_mails_20260103_001' needs what 'add_phone_20260102_001' makes" in document["findings"][0]["message"]
    assert codes(verified("check", "--json").json) == [("MG701", "open_mails_20260103_001")]
    verified.write("migrations.py", LATE_VIEW.replace("SELECT id, phone", "SELECT phone"))
    stale = verified("check", "--json").json["findings"]
    assert [(each["code"], each["subject"]) for each in stale] == [("MG703", "open_mails_20260103_001")]
    assert stale[0]["message"].endswith("of the view 'Mails'")


def test_the_shop_without_its_edge_gives_just_that_finding(shell: Any, tmp_path: Path) -> None:
    project = tmp_path / "edgeless"
    shutil.copytree(EXAMPLES / "shop", project, ignore=shutil.ignore_patterns("__pycache__", "*.db*"))
    orders = project / "orders.py"
    text = orders.read_text(encoding="utf-8")
    orders.write_text(text.replace(", create_stock_20260112_001])", "])"), encoding="utf-8")
    ran = shell("-C", str(project), "verify", "--json")
    assert ran.code == 3
    (found,) = ran.json["findings"]
    assert (found["code"], found["subject"]) == ("MG701", "import_old_shop_20260209_001")
    assert found["path"].endswith("orders.py")
    assert "create_stock_20260112_001" in found["hint"]


WRONG_BY_AN_INDEX = """

def forget_plan(db):
    db.executesql("ALTER TABLE account DROP COLUMN plan")
    return True


@migration(requires=create_account_20260101_001, down=forget_plan)
def add_plan_20260103_001(db):
    db.executesql("ALTER TABLE account ADD COLUMN plan INTEGER")
    db.executesql("CREATE INDEX by_email ON account (id)")
    return True
"""


def test_every_way_back_is_tried_on_both_databases(verified: Any) -> None:
    verified.write("migrations.py", BACK + WRONG_BY_AN_INDEX)
    ran = verified("verify", "--reverts", "--json")
    assert ran.code == 3
    assert codes(ran.json) == [("MG707", "rename_email_20260102_001"), ("MG708", "add_plan_20260103_001")]
    assert "by_email" in ran.json["findings"][1]["message"]
    assert [each["leads_back"] for each in ran.json["reverts"]] == [True, False, False]
