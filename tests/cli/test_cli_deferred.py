"""Deferred materialized views: what the commands say of them, in text and to programs, and what they end with."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from bodies import ask
from test_cli_json import schema_of

PROJECT = """
from migrate_graph import SqlView, ViewMigrationManager, migration


@migration
def create_20260101_001(db):
    db.executesql("CREATE TABLE t (id serial PRIMARY KEY, c varchar(10), weight int DEFAULT 1)")
    db.executesql("INSERT INTO t (c) VALUES ('one')")
    with Shares(db), Mine(db):
        return True


class Shares(SqlView):
    uses = ()
    since = create_20260101_001
    rebuild = "deferred"
    materialized = True
    query = "SELECT id, c::text AS c, 100 / weight AS share FROM t"


class Mine(ViewMigrationManager):
    '''A manager with statements of its own.'''
    uses = ()
    since = create_20260101_001
    rebuild = "deferred"

    def up(self):
        self.db.executesql("CREATE MATERIALIZED VIEW mine AS SELECT c FROM t" + " WITH NO DATA" * self.deferred)

    def down(self):
        self.db.executesql("DROP MATERIALIZED VIEW IF EXISTS mine")
"""
WIDER = """

@migration(requires=create_20260101_001)
def widen_20260102_002(db):
    db.executesql("ALTER TABLE t ALTER COLUMN c TYPE varchar(20)")
    db.executesql("UPDATE t SET weight = 0")
    return True
"""
MENDED = """

@migration(requires=widen_20260102_002)
def mend_20260103_003(db):
    db.executesql("UPDATE t SET weight = 2")
    return True
"""


@pytest.fixture
def deferred(shell: Any, postgres_uri: str) -> Any:
    """A project whose views are filled; what is pending widens a column, and leaves rows that one view cannot read."""
    shell.env["MIGRATE_URI"] = postgres_uri
    shell.write("migrations.py", PROJECT)
    ran = shell("apply")
    assert ran.code == 0, ran.err
    assert ask(postgres_uri, "SELECT share FROM shares") == [(100,)]
    shell.write("migrations.py", PROJECT + WIDER)
    return shell


@pytest.fixture
def waiting(deferred: Any) -> Any:
    """The same, when that is applied."""
    ran = deferred("apply")
    assert ran.code == 7, ran.err
    deferred.said = ran.err
    return deferred


@pytest.mark.postgres
def test_a_failed_refresh_ends_with_its_code_and_with_how_to_go_on(waiting: Any) -> None:
    said = waiting.said
    assert "refreshed public.mine (Mine)" in said
    assert "public.shares (Shares) could not be refreshed: division by zero" in said
    assert "REFRESH MATERIALIZED VIEW public.shares by hand" in said
    assert "the migrations are applied; without their rows still: public.shares (Shares)" in said
    assert "then run migrate apply again: it refreshes them first" in said
    assert "widen_20260102_002: Shares, Mine came up without rows, to be refreshed" in said


@pytest.mark.postgres
def test_after_a_revert_nobody_is_sent_to_apply_it_again(waiting: Any) -> None:
    """The rows come by the statement that the hint names."""
    undone = WIDER.replace("create_20260101_001)", "create_20260101_001, down=lambda db: True)")
    waiting.write("migrations.py", PROJECT + undone)
    ran = waiting("revert", "widen_20260102_002", "--yes")
    assert ran.code == 7, ran.err
    assert "REFRESH MATERIALIZED VIEW public.shares (migrate apply refreshes them, too" in " ".join(ran.err.split())
    assert "could not be refreshed" in ran.err
    assert "run migrate apply again" not in ran.err


@pytest.mark.postgres
def test_everything_that_reads_says_so(waiting: Any) -> None:
    assert "without its rows: public.shares; the next `migrate apply` refreshes it" in waiting("status").out
    told = waiting("status", "--json").json
    jsonschema.validate(told, schema_of("status"))
    row = {"relation": "public.shares", "manager": "Shares", "migration": "widen_20260102_002"}
    assert told["views_unfilled"] == [row]
    assert {each["name"]: each["unfilled"] for each in told["views"]} == {"Shares": ["public.shares"], "Mine": []}
    assert "without their rows, so refreshed first: public.shares (Shares)" in waiting("plan").out
    told = waiting("plan", "--json").json
    jsonschema.validate(told, schema_of("plan"))
    assert told["views_unfilled"] == [row]
    assert "MG409" in waiting("check", "--history").out


@pytest.mark.postgres
def test_the_next_run_refreshes_first_and_fails_as_long_as_that_does(waiting: Any) -> None:
    """Also where nothing is pending; and a migration that mends it is not kept from running."""
    ran = waiting("apply")
    assert ran.code == 7, ran.err
    waiting.write("migrations.py", PROJECT + WIDER + MENDED)
    ran = waiting("apply")
    assert ran.code == 0, ran.err
    assert ran.err.count("could not be refreshed") == 1
    assert "refreshed public.shares (Shares)" in ran.err
    assert ask(waiting.env["MIGRATE_URI"], "SELECT share FROM shares") == [(50,)]
    assert waiting("status", "--json").json["views_unfilled"] == []


@pytest.mark.postgres
@pytest.mark.parametrize("done", ["REFRESH MATERIALIZED VIEW shares", "DROP MATERIALIZED VIEW shares"])
def test_what_somebody_does_by_hand_meanwhile_counts(waiting: Any, done: str) -> None:
    ask(waiting.env["MIGRATE_URI"], "UPDATE t SET weight = 5", done)
    ran = waiting("apply")
    assert ran.code == 0, ran.err
    assert "refreshing" not in ran.err
    assert ("is there no longer" in ran.err) is done.startswith("DROP")
    assert waiting("status", "--json").json["views_unfilled"] == []


@pytest.mark.postgres
def test_programs_are_told_of_each(deferred: Any) -> None:
    ran = deferred("apply", "--json")
    assert ran.code == 7
    lines = [json.loads(line) for line in ran.out.splitlines()]
    for line in lines:
        jsonschema.validate(line, schema_of("event"))
    told = [(each["type"], each["view"]) for each in lines if each["type"].startswith("view_")]
    assert ("view_refresh_end", "Mine") in told
    assert ("view_refresh_start", "Shares") in told
    assert ("view_refresh_end", "Shares") not in told
    assert {each["view"]: each["unfilled"] for each in lines if each["type"] == "view_create"} == {
        "Mine": True,
        "Shares": True,
    }
    (ended,) = [each for each in lines if each["type"] == "run_end"]
    assert ended["results"][0]["unfilled"] == ["Shares", "Mine"]
    assert lines[-1]["exit_code"] == 7


@pytest.mark.postgres
@pytest.mark.usefixtures("may_create_databases")
@pytest.mark.parametrize("place", ["here", "clone", "scratch"])
def test_a_rehearsal_tells_what_is_refreshed_after(
    deferred: Any, postgres_server: Any, monkeypatch: Any, place: str
) -> None:
    deferred.write("migrations.py", PROJECT + WIDER.replace("weight = 0", "weight = 2") + READS)
    monkeypatch.setenv("PATH", str(postgres_server.binaries), prepend=":")
    ran = deferred("plan", "--rehearse", "--on", place)
    told = deferred("plan", "--rehearse", "--on", place, "--json").json
    assert ran.code == 0, ran.out + ran.err
    assert "after    Shares, Mine: refreshed after the commit; until then without rows" in ran.out
    assert [each["unfilled"] for each in told["rehearsal"]["results"]] == [["Shares", "Mine"], []]
    assert not told["views_unfilled"]
    assert deferred("status", "--json").json["views_unfilled"] == []
    assert ask(deferred.env["MIGRATE_URI"], "SELECT share FROM shares") == [(100,)]


@pytest.mark.postgres
@pytest.mark.usefixtures("may_create_databases")
@pytest.mark.parametrize("place", ["here", "scratch"])
def test_a_rehearsal_tells_what_cannot_be_refreshed_and_ends_as_apply_would(
    deferred: Any, postgres_server: Any, monkeypatch: Any, place: str
) -> None:
    monkeypatch.setenv("PATH", str(postgres_server.binaries), prepend=":")
    ran = deferred("plan", "--rehearse", "--on", place)
    told = deferred("plan", "--rehearse", "--on", place, "--json")
    script = deferred("plan", "--sql", "--on", place)
    folded = deferred("plan", "--rehearse", "--on", place, "--format", "markdown")
    deferred.write("migrations.py", PROJECT + WIDER + MENDED)
    mended = deferred("plan", "--rehearse", "--on", place, "--json")
    why = "public.shares (Shares) could not be refreshed: division by zero"
    assert (ran.code, told.code, script.code, folded.code) == (7, 7, 7, 7), ran.err
    assert f"no rows  {why}" in ran.out
    assert "1 of 1 migration succeeded, 1 view could not be refreshed; nothing was kept" in ran.out
    jsonschema.validate(told.json, schema_of("plan"))
    assert (told.json["exit_code"], told.json["rehearsal"]["exit_code"]) == (7, 7)
    assert [each["unrefreshed"] for each in told.json["rehearsal"]["results"]] == [[why]]
    assert f"-- no rows: {why}" in script.out
    assert "<details open>" in folded.out
    assert mended.code == 0, mended.err
    assert [each["unrefreshed"] for each in mended.json["rehearsal"]["results"]] == [[why], []]
    assert ask(deferred.env["MIGRATE_URI"], "SELECT share FROM shares") == [(100,)]


@pytest.mark.postgres
@pytest.mark.usefixtures("may_create_databases")
def test_nothing_runs_after_a_rehearsal_in_which_a_view_stays_without_rows(
    deferred: Any, postgres_server: Any, monkeypatch: Any
) -> None:
    """The clone is empty: its one row is one that the migration makes."""
    monkeypatch.setenv("PATH", str(postgres_server.binaries), prepend=":")
    deferred.write(
        "migrations.py", PROJECT + WIDER.replace("UPDATE t SET weight = 0", "INSERT INTO t (weight) VALUES (0)")
    )
    ran = deferred("apply", "--rehearse-first")
    assert ran.code == 7, ran.err
    assert "public.shares (Shares) could not be refreshed: division by zero" in ran.err
    assert "nothing was run" in ran.err
    assert ask(deferred.env["MIGRATE_URI"], "SELECT count(*) FROM t") == [(1,)]


READS = """

@migration(requires=widen_20260102_002)
def reads_20260103_003(db):
    return bool(db.executesql("SELECT count(share) FROM shares"))
"""


@pytest.mark.postgres
def test_workers_refresh_what_they_have_run_before_others_read_it(deferred: Any) -> None:
    text = PROJECT + WIDER.replace("weight = 0", "weight = 2").replace(
        '    db.executesql("ALTER', '    with Shares(db), Mine(db):\n     db.executesql("ALTER'
    )
    deferred.write("migrations.py", text + READS + READS.replace("_003", "_004"))
    ran = deferred("apply", "--jobs", "2")
    assert ran.code == 0, ran.err
    assert "refreshed public.shares (Shares)" in ran.err
    assert ask(deferred.env["MIGRATE_URI"], "SELECT share FROM shares") == [(50,)]


def test_the_words_mean_inline_on_sqlite(shell: Any, sqlite_uri: str) -> None:
    """SQLite has no materialized views: a manager that says how is as any other."""
    shell.env["MIGRATE_URI"] = sqlite_uri
    text = (
        PROJECT.split("class Mine", maxsplit=1)[0]
        .replace(", Mine(db)", "")
        .replace("c::text AS c", "c")
        .replace("serial", "integer")
    )
    shell.write("migrations.py", text.replace("@migration\n", '@migration(views=["deferred", "Shares"])\n'))
    ran = shell("apply")
    assert ran.code == 0, ran.err
    assert "refresh" not in ran.err
    assert "without" not in shell("status").out


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ('rebuild = "later"', "Shares.rebuild = 'later' is unknown: use one of inline, deferred"),
        ("rebuild = 3", "use one of"),
    ],
)
def test_an_unknown_word_is_told_with_its_place(shell: Any, sqlite_uri: str, word: str, said: str) -> None:
    shell.env["MIGRATE_URI"] = sqlite_uri
    shell.write("migrations.py", PROJECT.replace('rebuild = "deferred"', word, 1))
    ran = shell("plan")
    assert ran.code == 2
    assert said in ran.err
    assert "migrations.py:12: " in ran.err, ran.err


def test_a_word_without_effect_is_found(shell: Any) -> None:
    shell.write("migrations.py", PROJECT.replace(' + " WITH NO DATA" * self.deferred', ""))
    ran = shell("check")
    assert "MG213" in ran.out
    assert "'Mine'" in ran.out
    assert "'Shares'" not in ran.out


# Draws a number when it is asked, also where it fails then: no rollback gives it back.
COUNTED = """
from migrate_graph import SqlView, migration


@migration
def create_20260101_001(db):
    db.executesql("CREATE SEQUENCE tries")
    db.executesql("CREATE TABLE t (weight int)")
    db.executesql("INSERT INTO t VALUES (0)")
    with Share(db):
        return True


class Share(SqlView):
    uses = ()
    since = create_20260101_001
    rebuild = "deferred"
    materialized = True
    query = "SELECT nextval('tries') AS nth, 1 / weight AS share FROM t"
"""
AFTER = """

@migration(requires=create_20260101_001)
def second_20260102_002(db):
    {}
"""
# Beside it the second can run: with --jobs workers are started.
BESIDE = """

@migration(requires=create_20260101_001, independent=True)
def beside_20260102_003(db):
    return True
"""


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("body", "words", "code", "tries"),
    [
        ("", (), 7, 1),
        ("return True", (), 7, 2),
        ("return 1 / 0", (), 1, 1),
        ("return False", (), 1, 1),
        ("db.executesql('CREATE TABLE IF NOT EXISTS u ()'); db.commit(); return 1 / 0", (), 1, 2),
        ("db.executesql('UPDATE t SET weight = 1'); db.commit(); return 1 / 0", (), 1, 2),
        ("return True", ("--coalesce",), 7, 1),
        ("return True", ("--atomic",), 7, 1),
        ("return 1 / 0", ("--atomic",), 1, 0),
        ("return True", ("--jobs", "2"), 7, 2),
    ],
)
def test_a_refresh_that_failed_is_tried_again_only_when_something_came_after_it(
    body: str, words: tuple[str, ...], code: int, tries: int, shell: Any, postgres_uri: str
) -> None:
    shell.env["MIGRATE_URI"] = postgres_uri
    more = (
        AFTER.format(body).replace("\n    return", "\n    with Share(db): pass\n    return")
        if words == ("--coalesce",)
        else AFTER.format(body)
    )
    shell.write("migrations.py", COUNTED + (more if body else "") + (BESIDE if "--jobs" in words else ""))
    ran = shell("apply", *words)
    assert ran.code == code, ran.err
    assert ("3 migrations to run, up to 2 at once" in ran.err) is ("--jobs" in words)
    counted = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM tries"
    there = ask(postgres_uri, "SELECT to_regclass('tries') IS NOT NULL")
    assert (ask(postgres_uri, counted) if there == [(True,)] else [(0,)]) == [(tries,)]
    before = tries
    is_mended = "UPDATE" in body
    assert ("refreshed public.share" in ran.err) is is_mended
    ran = shell("apply", *words)
    if tries and not is_mended:
        assert ran.code == code
        again = 2 if "commit" in body else 1
        assert ask(postgres_uri, counted) == [(before + again,)], "once at the start"
