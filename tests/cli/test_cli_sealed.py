"""A sealed plan runs exactly as it was approved, or not at all, and says everything that has moved; on both databases."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import Any

import pytest
from servers import postgres_binaries
from test_cli_drift import by_hand
from test_cli_json import follow

from migrate_graph.database import Settings, open_backend

HEAD = """
    from pathlib import Path

    from migrate_graph import ViewMigrationManager, migration


    class Totals(ViewMigrationManager):
        uses = ()
        since = "create_invoice_20260301_001"

        def up(self):
            self.db.executesql("CREATE VIEW totals AS SELECT sum(total) AS total FROM invoice")

        def down(self):
            self.db.executesql("DROP VIEW IF EXISTS totals")


    @migration
    def create_invoice_20260301_001(db):
        db.executesql("CREATE TABLE invoice (id INTEGER PRIMARY KEY, total INTEGER)")
        db.executesql("CREATE TABLE bystander (id INTEGER PRIMARY KEY)")
        with Totals(db):
            pass
        return True
"""

REST = """

    @migration(requires=[create_invoice_20260301_001])
    def add_due_20260302_001(db):
        db.executesql("ALTER TABLE invoice ADD COLUMN due INTEGER DEFAULT 4711")
        db.executesql("UPDATE invoice SET due = 98765 WHERE id = 1")
        return True


    @migration(requires=[add_due_20260302_001])
    def create_note_20260303_001(db):
        if Path("stop").exists():
            raise RuntimeError("stopped on purpose")
        db.executesql("CREATE TABLE note (id INTEGER PRIMARY KEY)")
        return True


    @migration(requires=[create_invoice_20260301_001])
    def count_20260304_001(db):
        with Totals(db):
            db.executesql("ALTER TABLE invoice ADD COLUMN n INTEGER")
        return True
"""

LATER = """

    @migration
    def one_more_20260401_001(db):
        db.executesql("CREATE TABLE one_more (id INTEGER)")
        return True
"""

STEPS = ["add_due_20260302_001", "create_note_20260303_001", "count_20260304_001"]


@pytest.fixture
def half(shell: Any, database_uri: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A project of which the first migration is applied, and three are pending."""
    if database_uri.startswith("postgres"):
        shell.env["MIGRATE_REHEARSE_ON"] = request.getfixturevalue("postgres_admin_uri")
        monkeypatch.setenv("PATH", f"{postgres_binaries()}{os.pathsep}{os.environ['PATH']}")  # noqa: TID251 - tests are an edge too
    shell.write("migrations.py", HEAD + REST)
    shell.env["MIGRATE_URI"] = database_uri
    assert shell("apply", "--to", "create_invoice_20260301_001").code == 0
    return shell


@pytest.fixture
def sealed(half: Any) -> Any:
    """The same with a sealed plan for the three."""
    assert half("plan", "-o", "plan.json").code == 0
    return half


def everything_in(uri: str) -> Any:
    """Return all that a run could write."""
    rows = [
        by_hand(uri, f"SELECT * FROM ewh_implemented_features{table} ORDER BY 1")
        for table in ("", "_journal", "_views")
    ]
    with open_backend(Settings(uri)) as backend:
        return rows, backend.read_inventory().digest


def applied(shell: Any) -> list[str]:
    return [each["name"] for each in shell("status", "--json").json["migrations"] if each["status"] == "applied"]


def test_exactly_the_approved_plan_runs_and_only_once(sealed: Any, database_uri: str) -> None:
    document = json.loads((sealed.path / "plan.json").read_text())
    follow(document, "plan")
    assert [step["name"] for step in document["seal"]["steps"]] == STEPS
    ran = sealed("apply", "plan.json")
    assert (ran.code, applied(sealed)[1:]) == (0, STEPS), ran.err
    before = everything_in(database_uri)
    again = sealed("apply", "plan.json")
    assert (again.code, "already applied" in again.err) == (0, True)
    sealed.write("migrations.py", HEAD + REST + LATER)
    assert sealed("apply", "plan.json").code == 0, "what came later does not matter: the plan is done"
    assert everything_in(database_uri) == before


def test_a_plan_of_a_part_runs_that_part(half: Any) -> None:
    assert half("plan", "--to", "create_note_20260303_001", "-o", "part.json").code == 0
    assert half("apply", "part.json", "--json").code == 0
    assert applied(half)[1:] == STEPS[:2]


def _write(*edits: tuple[str, str], more: str = "") -> Callable[[Any], None]:
    def change(shell: Any) -> None:
        text = HEAD + REST + more
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        shell.write("migrations.py", text)

    return change


def _by_hand(*statements: str) -> Callable[[Any], None]:
    return lambda shell: by_hand(shell.env["MIGRATE_URI"], *statements) and None


def _typed(*words: str) -> Callable[[Any], None]:
    def run(shell: Any) -> None:
        assert shell(*words).code == 0

    return run


def _without(text: str, name: str) -> str:
    return re.sub(rf"\n\n    @migration[^\n]*\n    def {name}.*?return True\n", "\n", text, flags=re.DOTALL)


MOVES: dict[str, tuple[Callable[[Any], None], list[str]]] = {
    "added": (_write(more=LATER), ["migration 'one_more_20260401_001' was added"]),
    "edited": (_write(("4711", "4712")), ["migration 'add_due_20260302_001' was edited"]),
    "edited, applied": (
        _write(("bystander (id INTEGER", "bystander (id BIGINT")),
        ["migration 'create_invoice_20260301_001' was edited"],
    ),
    "gone": (
        lambda shell: shell.write("migrations.py", _without(HEAD + REST, "count_20260304_001")) and None,
        ["migration 'count_20260304_001' is gone"],
    ),
    "order": (
        _write(("@migration(requires=[create_invoice_20260301_001])\n    def count", "@migration(requires=[create_note_20260303_001])\n    def count")),
        ["migration 'count_20260304_001' has another place"],
    ),
    "view text": (_write(("sum(total) AS total", "max(total) AS total")), ["view 'Totals' was edited"]),
    "view window": (
        _write(("        uses = ()", '        uses = ()\n        until = "count_20260304_001"')),
        ["view 'Totals' has another place"],
    ),
    "ledger, added": (_typed("mark", "count_20260304_001", "--installed"), ["'count_20260304_001' is applied, and 'add_due_20260302_001'"]),
    "ledger, taken away": (
        _typed("mark", "create_invoice_20260301_001", "--pending"), ["was recorded as applied, and is not", "would have to run, too"],
    ),
    "an index by hand": (_by_hand("CREATE INDEX by_hand ON invoice (total)"), ["invoice was changed in the database"]),
    "a table by hand": (_by_hand("CREATE TABLE by_hand (id INTEGER)"), ["by_hand is there, and was not"]),
    "a table gone": (_by_hand("DROP TABLE bystander"), ["bystander is gone in the database"]),
    "a view by hand": (_by_hand("DROP VIEW totals", "CREATE VIEW totals AS SELECT 1 AS total"), ["totals was changed in the database"]),
    "a view row": (_by_hand("DELETE FROM ewh_implemented_features_views"), ["view 'Totals' was made anew, taken down or forgotten"]),
}  # fmt: skip


IN_THE_CODE = {"added", "edited", "edited, applied", "gone", "order", "view text", "view window"}
"""What moves in the code moves alike for both databases."""


@pytest.mark.parametrize(
    ("database_uri", "case"),
    [("sqlite", case) for case in MOVES]
    + [pytest.param("postgres", case, marks=pytest.mark.postgres) for case in MOVES if case not in IN_THE_CODE],
    indirect=["database_uri"],
)
def test_whatever_moved_is_named_and_nothing_is_written(sealed: Any, database_uri: str, case: str) -> None:
    move, expected = MOVES[case]
    move(sealed)
    before = everything_in(database_uri)
    ran = sealed("apply", "plan.json")
    assert everything_in(database_uri) == before
    assert ran.code == 9, ran.err
    told = " ".join(ran.err.split())
    assert "plan.json is stale" in told
    for words in expected:
        assert words in told
    shown = sealed("show", "plan.json")
    assert shown.code == 0
    assert all(words in " ".join(shown.out.split()) for words in expected)
    assert "stale" in shown.out


def test_everything_that_moved_is_named_at_once(sealed: Any, database_uri: str) -> None:
    _write(("4711", "4712"), ("sum(total)", "max(total)"), more=LATER)(sealed)
    by_hand(database_uri, "CREATE INDEX by_hand ON invoice (total)")
    ran = sealed("apply", "plan.json", "--json")
    assert ran.code == 9
    [error] = [line for line in ran.lines if line["type"] == "error"]
    for words in (
        "add_due_20260302_001",
        "'Totals' was edited",
        "'one_more_20260401_001' was added",
        "invoice was changed",
    ):
        assert words in json.dumps(error)
    document = sealed("show", "plan.json", "--json").json
    follow(document, "show")
    assert len(document["plan"]["moved"]) == 4
    assert document["plan"]["can_run"] is False


def test_another_database_is_told(sealed: Any, tmp_path: Any) -> None:
    ran = sealed("apply", "plan.json", MIGRATE_URI=f"sqlite://{tmp_path / 'other.sqlite'}")
    assert (ran.code, "made for another database" in ran.err) == (9, True)


def test_what_was_stopped_goes_on_with_the_rest(sealed: Any, database_uri: str) -> None:
    sealed.write("stop", "")
    assert sealed("apply", "plan.json").code == 1
    assert applied(sealed)[1:] == STEPS[:1]
    (sealed.path / "stop").unlink()
    assert "can run: 2 steps left" in sealed("show", "plan.json").out
    ran = sealed("apply", "plan.json")
    assert ran.code == 0, ran.err
    assert "1 of 3 steps of plan.json are applied already" in ran.err
    assert "cannot be told" in ran.err, "no rehearsal told what the first step touches"
    assert applied(sealed)[1:] == STEPS


@pytest.mark.parametrize("how", ["by hand", "another body"])
def test_what_is_done_must_be_the_plan_s_own(sealed: Any, how: str) -> None:
    if how == "by hand":
        assert sealed("mark", STEPS[0], "--installed").code == 0
    else:
        _write(("4711", "4712"))(sealed)
        assert sealed("apply", "--to", STEPS[0]).code == 0
        _write()(sealed)
    ran = sealed("apply", "plan.json")
    assert ran.code == 9
    assert f"'{STEPS[0]}' is recorded as applied, and the body that the plan has did not run" in " ".join(
        ran.err.split()
    )


def test_a_new_database_is_planned_and_stopped_and_goes_on(shell: Any, database_uri: str) -> None:
    shell.write("migrations.py", HEAD + REST)
    shell.env["MIGRATE_URI"] = database_uri
    assert shell("plan", "-o", "plan.json").code == 0
    shell.write("stop", "")
    assert shell("apply", "plan.json").code == 1
    (shell.path / "stop").unlink()
    ran = shell("apply", "plan.json")
    assert ran.code == 0, ran.err
    assert len(applied(shell)) == 4


def test_a_rehearsed_plan_depends_only_on_what_it_touches(half: Any, database_uri: str) -> None:
    assert half("plan", "--rehearse", "-o", "plan.json").code == 0
    text = (half.path / "plan.json").read_text()
    assert "98765" not in text, "values are left out"
    assert "SET due = ? WHERE id = ?" in text
    assert "Geheim" not in text
    document = json.loads(text)
    follow(document, "plan")
    assert document["seal"]["facts"]["whole"] is False
    assert "sends  ALTER TABLE invoice ADD COLUMN due" in half("show", "plan.json").out
    by_hand(database_uri, "CREATE INDEX far_away ON bystander (id)")
    index = "CREATE INDEX by_hand ON invoice (total)"
    by_hand(database_uri, index)
    ran = half("apply", "plan.json")
    assert (ran.code, "invoice was changed" in ran.err, "bystander" in ran.err) == (9, True, False)
    by_hand(database_uri, "DROP INDEX by_hand", "CREATE TABLE note (id INTEGER)")
    ran = half("apply", "plan.json")
    assert (ran.code, "note is there, and was not" in ran.err) == (9, True)
    by_hand(database_uri, "DROP TABLE note")
    half.write("stop", "")
    assert half("apply", "plan.json").code == 1
    (half.path / "stop").unlink()
    ran = half("apply", "plan.json")
    assert ran.code == 0, ran.err
    assert "cannot be told" not in ran.err


@pytest.mark.parametrize("option", ["--atomic", "--rehearse-first", "--keep-going", "--fail-fast"])
def test_options_of_a_run_go_with_a_plan(sealed: Any, option: str) -> None:
    ran = sealed("apply", "plan.json", option)
    if option == "--keep-going":
        assert ran.code == 2
    else:
        assert (ran.code, applied(sealed)[1:]) == (0, STEPS), ran.err


def test_a_rehearsal_comes_only_where_the_plan_can_run(sealed: Any) -> None:
    _write(("4711", "4712"))(sealed)
    ran = sealed("apply", "plan.json", "--rehearse-first")
    assert (ran.code, "was edited" in ran.err) == (9, True)


@pytest.mark.parametrize("database_uri", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "options",
    [
        ("--to", STEPS[0]),
        ("--select", "x"),
        ("--exclude", "x"),
        ("--fake",),
        ("--dry-run",),
        ("--coalesce",),
        ("--jobs", "2"),
    ],
)
def test_options_that_choose_something_else_are_refused(sealed: Any, options: tuple[str, ...]) -> None:
    ran = sealed("apply", "plan.json", *options)
    assert (ran.code, f"{options[0]} does nothing beside plan.json" in ran.err) == (2, True)


def _edit(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda document: {**document, **changes}


def _edit_seal(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda document: {**document, "seal": {**document["seal"], **changes}}


DAMAGED: dict[str, tuple[Any, str]] = {
    "not JSON": ("{", "is no JSON"),
    "empty": ("", "is no JSON"),
    "binary": (b"\xff\xfe\x00", "is no JSON"),
    "deep": ("[" * 100_000, "is no JSON"),
    "a list": ("[1]", "is no plan"),
    "foreign": ('{"format_version": "1.2", "terraform_version": "1.9"}', "is no plan"),
    "another document": ('{"kind": "status"}', "is no plan"),
    "no seal": (_edit(seal=None), "without a seal"),
    "another version": (_edit(tool={"name": "migrate_graph", "version": "9.9"}), "made by migrate_graph 9.9"),
    "no version": (_edit(tool=None), "made by migrate_graph unknown"),
    "another format": (_edit_seal(format=2), "was made by"),
    "a step more": (lambda document: {**document, "steps": []}, "was changed after it was made"),
    "a seal edited": (_edit_seal(installed=["x"]), "was changed after it was made"),
    "a digest edited": (_edit_seal(digest="0" * 64), "was changed after it was made"),
    "a seal without steps": (_edit_seal(steps=3), "was changed after it was made"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_files_that_are_no_sealed_plan_are_refused_in_words(shop: Any, case: str) -> None:
    make, words = DAMAGED[case]
    assert shop("plan", "-o", "plan.json").code == 0
    file = shop.path / "plan.json"
    if callable(make):
        make = json.dumps(make(json.loads(file.read_text())))
    file.write_bytes(make if isinstance(make, bytes) else make.encode())
    for command in ("apply", "show"):
        ran = shop(command, "plan.json")
        assert (ran.code, words in ran.err) == (2, True), ran.err
    assert applied(shop) == []


def test_a_file_that_is_not_there_or_no_file_is_refused(shop: Any) -> None:
    assert shop("apply", "nothing.json").code == 2
    (shop.path / "folder.json").mkdir()
    assert (shop("apply", "folder.json").code, shop("show", "folder.json").code) == (2, 2)


def test_a_plan_without_a_database_has_no_seal(shop: Any) -> None:
    assert shop("plan", "--offline", "-o", "plan.json").code == 0
    assert json.loads((shop.path / "plan.json").read_text())["seal"] is None
    assert "without a seal" in shop("apply", "plan.json").err
    assert shop("plan", "--json").json["seal"] is None, "printed plans read no facts"


def test_a_declared_name_is_a_name_also_where_it_ends_in_json(shop: Any) -> None:
    shop.write(
        "migrations.py",
        'from migrate_graph import migration\n\n\ndef odd(db):\n    return True\n\n\nodd.__name__ = "odd.json"\nmigration(odd)\n',
    )
    shown = shop("show", "odd.json")
    if shown.code == 2:
        pytest.fail(shown.err)
    assert shown.out.startswith("odd.json")
    assert shop("apply").code == 0
    shop.write("migrations.py", "raise RuntimeError('broken')")
    assert shop("show", "odd.json").code == 2


def test_a_plan_is_shown_where_nothing_else_can_be(sealed: Any) -> None:
    assert "can run: 3 steps left" in sealed("show", "plan.json").out
    assert "not known: offline" in sealed("show", "plan.json", "--offline").out
    sealed.write("migrations.py", "raise RuntimeError('broken')")
    shown = sealed("show", "plan.json")
    assert (shown.code, STEPS[0] in shown.out, "whether it can run is not known" in shown.out) == (0, True, True)
    del sealed.env["MIGRATE_URI"]
    _write()(sealed)
    assert "no database is configured" in sealed("show", "plan.json").out


# What a migration sends may depend on anything: here on a variable.
BY_VARIABLE = """
    import os

    @migration(requires=[create_invoice_20260301_001])
    def by_variable_20260305_001(db):
        mark = "%s" if db._dbname == "postgres" else "?"
        for number in (-1, 2, None):
            db.executesql(f"INSERT INTO bystander (id) SELECT coalesce({mark}, 7)", placeholders=(number,))
        db.executesql("DELETE FROM bystander WHERE id = 7 AND 'x' <> 'y''z'")
        for statement in filter(None, os.environ["MORE"].splitlines()):
            try:
                db.executesql(statement)
            except RuntimeError if "swallow" not in statement else Exception:
                pass
            if "kept" in statement:
                db.commit()
        with Totals(db):
            pass
        return True
"""


@pytest.fixture
def by_variable(half: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A shop with a rehearsed plan, of which one migration sends what a variable says."""
    half.write("migrations.py", HEAD + BY_VARIABLE)
    monkeypatch.setenv("MORE", "ALTER TABLE invoice ADD COLUMN due numeric(8, 2)")
    assert half("plan", "--rehearse", "-o", "plan.json").code == 0
    return half


def test_other_values_are_the_same_statements(by_variable: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORE", "ALTER  TABLE invoice ADD COLUMN due numeric(10, 3);\n")
    ran = by_variable("apply", "plan.json", "--strict")
    assert ran.code == 0, ran.err
    assert "when the plan was approved" not in ran.err


def test_other_statements_are_told(by_variable: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORE", "CREATE TABLE besides (id INTEGER)\n")
    ran = by_variable("apply", "plan.json")
    assert ran.code == 0
    assert (
        "by_variable_20260305_001 has sent what it did not send when the plan was approved: CREATE TABLE besides (id INTEGER)"
        in " ".join(ran.err.split())
    )


@pytest.mark.parametrize("how", ["", " -- swallow", " -- swallow, and be kept"])
def test_other_statements_are_refused_where_that_is_wanted(
    by_variable: Any, database_uri: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MORE", f"CREATE TABLE besides (id INTEGER){how}\n")
    ran = by_variable("apply", "plan.json", "--strict")
    assert ran.code == 1
    assert (
        "by_variable_20260305_001 sends what it did not send when the plan was approved: CREATE TABLE besides"
        in ran.err
    )
    assert "or leave --strict out" in ran.err
    with pytest.raises(Exception, match="besides"):
        by_hand(database_uri, "DROP TABLE besides")
    monkeypatch.setenv("MORE", "")
    assert by_variable("apply", "plan.json", "--strict").code == (9 if "kept" in how else 0), (
        "what it committed before stays"
    )


WOVEN = """

    @migration(requires=[create_invoice_20260301_001])
    def wider_20260306_001(db):
        statements = ["ALTER TABLE invoice ALTER COLUMN total TYPE bigint"] if db._dbname == "postgres" else [
            "CREATE TABLE wider (id INTEGER PRIMARY KEY, total BIGINT)",
            "INSERT INTO wider SELECT id, total FROM invoice",
            "DROP TABLE invoice",
            "ALTER TABLE wider RENAME TO invoice",
        ]
        for each in statements:
            db.executesql(each)
        return True
"""


def test_views_that_step_aside_are_as_approved(half: Any) -> None:
    """The manager's own statements are no surprise, in neither database."""
    half.write("migrations.py", HEAD + WOVEN)
    assert half("plan", "--rehearse", "-o", "plan.json").code == 0
    ran = half("apply", "plan.json", "--strict")
    assert ran.code == 0, ran.err
    assert "Totals stepped aside" in " ".join(ran.err.split())
    assert "when the plan was approved" not in ran.err


def test_strict_wants_a_plan_that_was_rehearsed(sealed: Any) -> None:
    ran = sealed("apply", "plan.json", "--strict")
    assert (ran.code, "does not say what add_due_20260302_001" in ran.err) == (2, True)
    ran = sealed("apply", "--strict")
    assert (ran.code, "--strict goes with a sealed plan" in ran.err) == (2, True)


@pytest.mark.parametrize("rehearsed", [(), ("--rehearse",)])
def test_views_come_up_only_as_the_plan_says(shop: Any, rehearsed: tuple[str, ...]) -> None:
    """A setting decides which views a run makes: with another one nothing runs."""
    shop.write(
        "migrations.py",
        """
        from migrate_graph import SqlView, migration


        class Names(SqlView):
            since = "create_shop_20260101_001"
            query = "SELECT name FROM shop"


        @migration
        def create_shop_20260101_001(db):
            db.executesql("CREATE TABLE shop (id integer, name varchar(20))")
            return True
        """,
    )
    assert shop("plan", *rehearsed, "-o", "plan.json").code == 0
    stale = shop("apply", "plan.json", MIGRATE_WEAVE="windows")
    assert (stale.code, "view 'Names' would come up or go down, too" in stale.err) == (9, True)
    assert shop("plan", *rehearsed, "-o", "plan.json", MIGRATE_WEAVE="windows").code == 0
    stale = shop("apply", "plan.json")
    assert (stale.code, "view 'Names' would not come up or go down any more" in stale.err) == (9, True)
    assert shop("apply", "plan.json", MIGRATE_WEAVE="windows").code == 0
    assert shop("apply", "plan.json", MIGRATE_WEAVE="windows").code == 0, "already applied"


@pytest.mark.parametrize("has_run", [False, True])
@pytest.mark.parametrize("variable", ["MIGRATE_WEAVE=off", "MIGRATE_UNMANAGED=keep"])
def test_whether_views_step_aside_is_as_approved(
    sealed: Any,
    database_uri: str,
    variable: str,
    has_run: bool,
) -> None:
    """Which views step aside, no step says: the setting itself is compared, also where the plan goes on."""
    if has_run:
        sealed.write("stop", "")
        assert sealed("apply", "plan.json").code == 1
        (sealed.path / "stop").unlink()
    before = everything_in(database_uri)
    name, _, value = variable.partition("=")
    setting = name.removeprefix("MIGRATE_").lower()
    stale = sealed("apply", "plan.json", **{name: value})
    assert (stale.code, f"the setting {setting} was" in stale.err) == (9, True), stale.err
    assert everything_in(database_uri) == before
    assert sealed("apply", "plan.json").code == 0


def test_a_plan_with_windows_goes_on_where_views_came_late(shop: Any) -> None:
    """Views that came up with the steps that are done are no other ones for those that are left."""
    shop.env["MIGRATE_WEAVE"] = "windows"
    shop.write("migrations.py", LATE)
    assert shop("apply", "--to", "create_shop_20260101_001").code == 0
    shop.write("migrations.py", LATE + VIEWS)
    assert shop("plan", "-o", "plan.json").code == 0
    shop.write("stop", "")
    assert shop("apply", "plan.json").code == 1
    (shop.path / "stop").unlink()
    ran = shop("apply", "plan.json")
    assert ran.code == 0, ran.err
    assert "1 of 3 steps" in ran.err


LATE = """
    from pathlib import Path

    from migrate_graph import SqlView, migration


    @migration
    def create_shop_20260101_001(db):
        db.executesql("CREATE TABLE shop (id integer, name varchar(20))")
        return True
"""

VIEWS = """

    class Late(SqlView):
        since = "create_shop_20260101_001"
        query = "SELECT name FROM shop"


    class Whenever(SqlView):
        query = "SELECT count(*) AS n FROM shop"


    class Successor(SqlView):
        since = "third_20260104_001"
        replaces = Late
        query = "SELECT name, id FROM shop"


    @migration(requires=create_shop_20260101_001)
    def first_20260102_001(db):
        db.executesql("INSERT INTO shop VALUES (1, 'a')")
        return True


    @migration(requires=first_20260102_001)
    def second_20260103_001(db):
        if Path("stop").exists():
            raise RuntimeError("stopped on purpose")
        with Late(db):
            pass
        return True


    @migration(requires=second_20260103_001)
    def third_20260104_001(db):
        db.executesql("INSERT INTO shop VALUES (2, 'b')")
        return True
"""
