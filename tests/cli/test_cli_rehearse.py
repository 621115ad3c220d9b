"""`plan --rehearse`, `check --rehearse`, `apply --rehearse-first`: what they show, what they end with, and that nothing is kept."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import psycopg2
import pytest
from test_cli_json import documented, keys_of, schema_of

PROJECT = """
from migrate_graph import migration


@migration
def create_20260101_001(db):
    db.executesql("CREATE TABLE invoice (id INTEGER PRIMARY KEY, qty INTEGER, note TEXT)")
    db.executesql("CREATE VIEW open_invoice AS SELECT id FROM invoice WHERE qty > 0")
    return True
"""
PENDING = """

@migration(requires=create_20260101_001)
def fill_20260102_002(db):
    for number in range(9):
        db.executesql(
            "INSERT INTO invoice (id, qty, note) VALUES (%d, 3, 'it''s hunter2')" % number
        )
    db.executesql('''
        UPDATE invoice
           SET note = 'x'   -- everybody's
         WHERE id > 6''')
    return True


@migration(requires=fill_20260102_002)
def shrink_20260103_003(db):
    db.executesql("ALTER TABLE invoice DROP COLUMN note")
    return True
"""
FAILING = """

@migration(requires=shrink_20260103_003)
def narrow_20260104_004(db):
    db.executesql("ALTER TABLE invoice DROP COLUMN qty")
    return True


@migration(requires=narrow_20260104_004)
def waits_20260105_005(db):
    return True


@migration(requires=create_20260101_001)
def acts_20260106_006(db):
    with open("written", "w") as file:
        file.write("x")
    return True
"""


@pytest.fixture
def rehearsed(shell: Any, request: pytest.FixtureRequest, database_uri: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A project with one applied migration and two pending ones, on each database."""
    shell.env["MIGRATE_URI"] = database_uri
    if database_uri.startswith("postgres"):
        server = request.getfixturevalue("postgres_server")
        monkeypatch.setenv("PATH", str(server.binaries), prepend=os.pathsep)
        request.getfixturevalue("may_create_databases")
    shell.write("migrations.py", PROJECT)
    assert shell("apply").code == 0
    shell.write("migrations.py", PROJECT + PENDING)
    return shell


def contents(uri: str) -> list[Any]:
    """Return what is in the database: columns, rows and records."""
    if uri.startswith("sqlite"):
        with closing(sqlite3.connect(uri.removeprefix("sqlite://"))) as db:
            return list(db.iterdump())
    with closing(psycopg2.connect(uri)) as db, db.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2"
        )
        found: list[Any] = cursor.fetchall()
        cursor.execute("SELECT * FROM invoice ORDER BY 1")
        found += cursor.fetchall()
        cursor.execute("SELECT name, installed FROM ewh_implemented_features ORDER BY 1")
        found += cursor.fetchall()
        cursor.execute("SELECT count(*) FROM pg_database WHERE datname LIKE 'migrate_graph%'")
        return [*found, *cursor.fetchall()]


def line_of(shell: Any, text: str) -> int:
    lines = (shell.path / "migrations.py").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def without_names(value: Any) -> Any:
    """Return a document with `*` for the names of relations that are keys in it."""
    if isinstance(value, list):
        return [without_names(each) for each in value]
    if not isinstance(value, dict):
        return value
    named = {"locks", "wrote", "sizes"}
    return {
        key: dict.fromkeys("*", without_names(next(iter(each.values()))))
        if key in named and each
        else without_names(each)
        for key, each in value.items()
    }


def is_postgres(shell: Any) -> bool:
    return str(shell.env["MIGRATE_URI"]).startswith("postgres")


def timeless(text: str) -> str:
    return re.sub(r"\d+ ms|\"seconds\": [\d.e-]+", "…", text)


def test_text_shows_each_statement_below_its_step_and_nothing_is_kept(rehearsed: Any) -> None:
    before = contents(rehearsed.env["MIGRATE_URI"])
    ran = rehearsed("plan", "--rehearse")
    assert ran.code == 0, ran.err
    assert contents(rehearsed.env["MIGRATE_URI"]) == before
    lines = ran.out.splitlines()
    at = next(number for number, line in enumerate(lines) if "UPDATE invoice" in line)
    assert lines[at : at + 3] == [
        "       UPDATE invoice",
        "         SET note = 'x'   -- everybody's",
        "       WHERE id > 6;",
    ]
    assert re.match(r" {9}-- migrations.py:\d+ · \d+ ms · 2 rows · uses ", lines[at + 3])
    first = int(is_postgres(rehearsed))  # it takes the lock
    more = f"… and {6 - first} more from migrations.py:{line_of(rehearsed, 'INSERT') - 1}: --format sql has them"
    assert more in ran.out
    assert ran.out.count("INSERT INTO invoice") == 3 + first
    assert "invoice: 9 inserted, 2 updated" in ran.out
    assert re.search(r"- column (public\.)?invoice\.note", ran.out)
    place = "an empty copy of the schema" if is_postgres(rehearsed) else "a copy of the file"
    assert f"rehearsed in {place}: 2 of 2 migrations succeeded; nothing was kept" in ran.out


def test_the_script_has_every_statement_and_ends_each(rehearsed: Any) -> None:
    ran = rehearsed("plan", "--sql")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.count("INSERT INTO invoice") == 9
    statements = [line for line in ran.out.splitlines() if line and not line.lstrip().startswith("--")]
    assert statements[-1] == "ALTER TABLE invoice DROP COLUMN note;"
    assert len([line for line in statements if line.endswith(";")]) == 11
    assert rehearsed("plan", "--rehearse", "-o", "plan.sql").code == 0
    assert timeless((rehearsed.path / "plan.sql").read_text()) == timeless(ran.out)
    assert timeless(rehearsed("plan", "--format", "sql").out) == timeless(ran.out)


def test_a_script_can_be_run_where_the_migrations_read_nothing(rehearsed: Any) -> None:
    script = rehearsed("plan", "--sql").out
    uri = rehearsed.env["MIGRATE_URI"]
    if uri.startswith("sqlite"):
        with closing(sqlite3.connect(uri.removeprefix("sqlite://"))) as db:
            db.executescript(script)
            assert db.execute("SELECT count(*) FROM invoice").fetchone() == (9,)
    else:
        with closing(psycopg2.connect(uri)) as db, db.cursor() as cursor:
            cursor.execute(script)
            cursor.execute("SELECT count(*) FROM invoice")
            assert cursor.fetchone() == (9,)


def test_json_follows_its_schema_and_its_page_and_is_the_same_each_time(rehearsed: Any) -> None:
    first, second = (rehearsed("plan", "--rehearse", "--json") for _ in range(2))
    assert timeless(first.out) == timeless(second.out)
    jsonschema.validate(first.json, schema_of("plan"))
    assert first.json["rehearsal"]["on"] == "clone"
    assert [each["outcome"] for each in first.json["rehearsal"]["results"]] == ["applied", "applied"]
    assert [len(each["footprint"]["statements"]) for each in first.json["steps"]] == [10, 1]
    own = without_names({key: first.json[key] for key in ("steps", "rehearsal")})
    assert set(keys_of(own)) <= documented("plan")
    assert rehearsed("plan", "--json").json["rehearsal"] is None


@pytest.mark.parametrize(
    "words", ["plan --rehearse", "plan --sql", "plan --rehearse --json", "plan --rehearse --format markdown"]
)
def test_without_values_none_is_shown(rehearsed: Any, words: str) -> None:
    assert "hunter2" in rehearsed(*words.split()).out
    ran = rehearsed(*words.split(), "--no-values")
    assert ran.code == 0
    assert "hunter2" not in ran.out + ran.err
    assert "VALUES (?, ?, ?)" in ran.out


@pytest.mark.parametrize(
    "words",
    [
        "plan --rehearse",
        "plan --sql",
        "plan --rehearse --json",
        "plan --rehearse --format markdown",
        "check --rehearse",
    ],
)
def test_secrets_of_the_connections_are_masked_also_in_what_was_sent(rehearsed: Any, words: str) -> None:
    rehearsed.write(
        "migrations.py",
        PROJECT
        + """
@migration(requires=create_20260101_001)
def leaks_20260102_002(db):
    db.executesql("INSERT INTO invoice (id, note) VALUES (1, 'Geheim-Wort-1')")
    print("Geheim-Wort-1")
    db.executesql("INSERT INTO nothing_of_the_kind VALUES ('Geheim-Wort-1')")
    return True
""",
    )
    ran = rehearsed(*words.split(), PGPASSWORD="Geheim-Wort-1", REDIS_HOST="redis://:Geheim-Wort-1@127.0.0.1:1/0")
    assert ran.code == 1
    assert "Geheim" not in ran.out + ran.err
    assert "***" in ran.out + ran.err


def test_a_failure_is_shown_with_its_line_and_what_waits_for_it(rehearsed: Any) -> None:
    rehearsed.write("migrations.py", PROJECT + PENDING + FAILING)
    before = contents(rehearsed.env["MIGRATE_URI"])
    ran = rehearsed("plan", "--rehearse")
    assert ran.code == 1
    assert contents(rehearsed.env["MIGRATE_URI"]) == before
    assert not (rehearsed.path / "written").exists()
    narrow, act = line_of(rehearsed, "DROP COLUMN qty"), line_of(rehearsed, "open(")
    assert re.search(rf"FAILED {{2}}migrations.py:{narrow}: \w+: ", ran.out)
    assert 'db.executesql("ALTER TABLE invoice DROP COLUMN qty")' in ran.out, "the line itself"
    assert "blocked  waits for narrow_20260104_004" in ran.out
    assert re.search(rf"outside {{2}}writes the file written \(migrations.py:{act}\): refused", ran.out)
    assert f"error MG609 migrations.py:{narrow}" in ran.out
    assert f"warning MG607 migrations.py:{act}" in ran.out
    assert "2 of 5 migrations succeeded, 2 failed, 1 not run; nothing was kept" in ran.out
    allowed = rehearsed("plan", "--rehearse", "--allow-outside")
    assert "MG607" in allowed.out
    assert (rehearsed.path / "written").exists(), "it was allowed"
    assert "3 of 5 migrations succeeded, 1 failed" in allowed.out


@pytest.mark.parametrize("name", ["text", "json", "github", "sarif", "junit", "gitlab", "markdown"])
@pytest.mark.parametrize("place", ["clone", "scratch"])
def test_check_reports_what_was_seen_in_every_format(rehearsed: Any, name: str, place: str) -> None:
    rehearsed.write("migrations.py", PROJECT + PENDING + FAILING)
    ran = rehearsed("check", "--rehearse", "--on", place, "--format", name)
    assert ran.code == 1, ran.err
    for code in ("MG607", "MG609", "MG612"):
        assert code in ran.out
    assert "2 failed" in ran.err
    if name in {"json", "sarif", "gitlab"}:
        json.loads(ran.out)
    if name == "json":
        assert ran.json["exit_code"] == 1
    if name == "junit":
        ET.fromstring(ran.out)


def test_check_is_3_for_what_is_an_error_and_0_else(rehearsed: Any) -> None:
    assert rehearsed("check", "--rehearse").code == 0
    assert rehearsed("check", "--rehearse", "--strict").code == 3, "MG606 and MG611 are warnings"
    assert rehearsed("check", "--rehearse", "--strict", "--ignore", "MG6").code == 0
    assert "MG611" in rehearsed("check", "--rehearse", "--select", "MG611").out
    rehearsed.write("pyproject.toml", '[tool.migrate]\nerror = ["MG611"]\n')
    assert rehearsed("check", "--rehearse").code == 3
    assert rehearsed("plan", "--rehearse").code == 3
    before = contents(rehearsed.env["MIGRATE_URI"])
    ran = rehearsed("apply", "--rehearse-first")
    assert ran.code == 3
    assert "MG611" in ran.err
    assert "nothing was run" in ran.err
    assert contents(rehearsed.env["MIGRATE_URI"]) == before


def test_apply_goes_on_when_the_rehearsal_went_well(rehearsed: Any) -> None:
    ran = rehearsed("apply", "--rehearse-first")
    assert ran.code == 0, ran.err
    assert "2 of 2 migrations succeeded; nothing was kept" in ran.err
    assert rehearsed("plan", "--check").code == 0
    assert rehearsed("apply", "--rehearse-first").code == 0, "there is nothing left to rehearse"


@pytest.mark.parametrize("output", ["plain", "json"])
def test_apply_runs_nothing_when_something_fails_in_rehearsal(rehearsed: Any, output: str) -> None:
    rehearsed.write("migrations.py", PROJECT + PENDING + FAILING)
    before = contents(rehearsed.env["MIGRATE_URI"])
    ran = rehearsed("apply", "--rehearse-first", "--output", output)
    assert ran.code == 1
    assert contents(rehearsed.env["MIGRATE_URI"]) == before, "not even what would have succeeded"
    if output == "json":
        assert [each["type"] for each in ran.lines] == ["version", "rehearsal", "exit"]
        for line in ran.lines:
            jsonschema.validate(line, schema_of("event"))
        assert ran.lines[-1]["exit_code"] == 1
    else:
        assert "narrow_20260104_004" in ran.err
        assert "nothing was run: the rehearsal found what must be mended first" in ran.err


@pytest.mark.parametrize("name", ["svg", "html", "dot", "mermaid"])
def test_pictures_tell_what_was_seen(rehearsed: Any, name: str) -> None:
    rehearsed.write("migrations.py", PROJECT + PENDING + FAILING)
    ran = rehearsed("plan", "--rehearse", "--graph", f"plan.{'mmd' if name == 'mermaid' else name}")
    assert ran.code == 1
    text = (rehearsed.path / f"plan.{'mmd' if name == 'mermaid' else name}").read_text()
    assert "writes 11 rows" in text
    assert "fails in rehearsal" in text
    if name == "html":
        assert "DROP COLUMN note" in text, "the panel has the statements"


def test_markdown_has_the_findings_and_folds_the_steps(rehearsed: Any) -> None:
    rehearsed.write("migrations.py", PROJECT + PENDING + FAILING)
    ran = rehearsed("plan", "--rehearse", "--format", "markdown")
    assert ran.code == 1
    assert "### Rehearsal" in ran.out
    assert "```mermaid" in ran.out
    assert f"| error | MG609 | `migrations.py:{line_of(rehearsed, 'DROP COLUMN qty')}` |" in ran.out
    assert "<details open><summary>3. narrow_20260104_004 · 1 statement · FAILED</summary>" in ran.out
    assert ran.out.count("```sql") == 5
    assert len(ran.out) < 65_536


def test_nothing_pending_is_nothing_to_rehearse(rehearsed: Any) -> None:
    assert rehearsed("apply").code == 0
    ran = rehearsed("plan", "--rehearse")
    assert ran.code == 0
    assert "0 of 0 migrations succeeded" in ran.out
    assert rehearsed("check", "--rehearse").code == 0


def test_what_was_interrupted_is_not_rehearsed_and_asked_about(rehearsed: Any) -> None:
    dies = "\n\n@migration(requires=create_20260101_001)\ndef dies_20260107_007(db):\n    import os\n    "
    dies += "db.executesql('CREATE TABLE half (a INTEGER)')\n    db.commit()\n    os.kill(os.getpid(), 9)\n    return True\n"
    rehearsed.write("migrations.py", PROJECT + dies)

    environ = {**os.environ, **rehearsed.env}  # noqa: TID251 - tests are an edge too
    subprocess.run(
        [sys.executable, "-m", "migrate_graph", "apply"],
        cwd=rehearsed.path,
        env=environ,
        check=False,
        capture_output=True,
    )
    rehearsed.write("migrations.py", PROJECT + dies + PENDING)
    ran = rehearsed("plan", "--rehearse")
    assert ran.code == 5
    assert "interrupted: dies_20260107_007" in ran.out
    assert "2 of 2 migrations succeeded" in ran.out


def test_an_invalid_graph_is_refused_before_anything_is_tried(rehearsed: Any) -> None:
    rehearsed.write(
        "migrations.py", PROJECT + "\n@migration(requires='nobody')\ndef lost_20260102_002(db):\n    return True\n"
    )
    assert rehearsed("plan", "--rehearse").code == 3
    assert rehearsed("check", "--rehearse").code == 3
    assert rehearsed("apply", "--rehearse-first").code == 3


@pytest.mark.parametrize(
    "words",
    ["plan --rehearse", "plan --sql", "check --rehearse", "apply --rehearse-first", "plan --rehearse --on scratch"],
)
def test_without_a_database_it_is_told_what_to_set(shell: Any, words: str) -> None:
    shell.write("migrations.py", PROJECT)
    ran = shell(*words.split())
    assert (ran.code, ran.out) == (2, "")
    assert "no database is configured" in ran.err or "none is configured" in ran.err
    assert "MIGRATE_URI" in ran.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("plan --on scratch", "--on does nothing without --rehearse"),
        ("plan --data 5", "--data does nothing without --rehearse"),
        ("plan --no-values", "--no-values does nothing without --rehearse"),
        ("check --allow-outside", "--allow-outside does nothing without --rehearse"),
        ("plan --sql --json", "--sql does nothing beside --json"),
        ("plan --sql --format text", "--sql does nothing beside --format"),
        ("plan --rehearse --offline", "--offline does nothing beside --rehearse"),
        ("plan --rehearse --on scratch --data 5", "--data does nothing beside --on scratch"),
        ("plan --rehearse --data 0", "--data"),
        ("plan --rehearse --on moon", "moon"),
        ("apply --rehearse-first --fake", "--rehearse-first does nothing beside --fake"),
        ("apply --dry-run --rehearse-first", "--dry-run does nothing beside --rehearse-first"),
    ],
)
def test_what_does_nothing_is_refused(shell: Any, words: str, told: str) -> None:
    shell.write("migrations.py", PROJECT)
    shell.env["MIGRATE_URI"] = f"sqlite://{shell.path}/x.db"
    ran = shell(*words.split())
    assert ran.code == 2
    assert told in ran.err
    assert not Path(shell.path, "x.db").exists()


@pytest.mark.parametrize("words", ["--on here", "--data 5"])
def test_sqlite_says_that_it_has_one_way(shell: Any, words: str) -> None:
    shell.write("migrations.py", PROJECT)
    shell.env["MIGRATE_URI"] = f"sqlite://{shell.path}/x.db"
    ran = shell("plan", "--rehearse", *words.split())
    assert ran.code == 2
    assert "an SQLite database is" in ran.err
    assert "leave out" in ran.err


@pytest.mark.parametrize("columns", ["40", "60", "80", "140"])
def test_lines_fit_the_terminal_where_words_can_be_broken(
    rehearsed: Any, columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from migrate_graph.cli.console import Console

    rehearsed.write("migrations.py", PROJECT + PENDING + FAILING)
    monkeypatch.setattr(Console, "width", property(lambda _self: int(columns)))
    ran = rehearsed("plan", "--rehearse")
    too_long = [
        line for line in ran.out.splitlines() if len(line) > int(columns) and len(line.split()[-1]) + 12 < int(columns)
    ]
    assert [line for line in too_long if "Traceback" not in line and not line.startswith("           ")] == []


def test_hostile_text_becomes_nothing_else(rehearsed: Any) -> None:
    rehearsed.write(
        "migrations.py",
        PROJECT
        + """
@migration(requires=create_20260101_001)
def hostile_20260102_002(db):
    db.executesql("INSERT INTO invoice (id, note) VALUES (1, '\\x1b[31m</details>``` | \\u202e -- ;')")
    db.executesql("SELECT 1 --")
    raise ValueError("\\x1b[2J\\n; DROP TABLE invoice; --")
    return True
""",
    )
    for words in ("plan --rehearse", "plan --sql", "plan --rehearse --format markdown", "plan --rehearse --json"):
        ran = rehearsed(*words.split())
        assert ran.code == 1
        assert "\x1b" not in ran.out + ran.err
        assert "\u202e" not in ran.out + ran.err
    script = rehearsed("plan", "--sql").out
    assert not [line for line in script.splitlines() if line.startswith(("; DROP", "DROP"))]
    assert "SELECT 1 --\n;" in script, "behind a comment a semicolon would be part of it"
    markdown = rehearsed("plan", "--rehearse", "--format", "markdown").out
    assert "````sql" in markdown
