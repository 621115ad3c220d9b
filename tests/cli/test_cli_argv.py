"""What is said is about the right place, in the right words."""

from __future__ import annotations

import re

import pytest

from migrate_graph.cli import argv
from migrate_graph.cli.program import every_command, program

STEP = """
from migrate_graph import migration


@migration
def {name}(db):
    return True
"""


@pytest.mark.parametrize(
    ("decorated", "line", "marked"),
    [
        ("@migration(requires=['b'])\ndef a(db): return True", 4, "'b'"),
        ("@migration(\n    requires=[\n        'b',\n    ]\n)\ndef a(db): return True", 6, "'b'"),
        ("ahead = ['b']\n\n@migration(requires=ahead)\ndef a(db): return True", 7, " a("),
    ],
)
def test_the_caret_is_below_the_whole_name(shell, decorated: str, line: int, marked: str) -> None:
    shell.write("migrations.py", f"from migrate_graph import migration\n\n\n{decorated}\n")
    place, text, caret = shell("check").out.splitlines()[1:4]
    assert place == f"  --> migrations.py:{line}"
    assert caret.index("^") == text.index(marked) + 1
    assert caret.count("^") == 1


def test_the_caret_finds_decorators_right_below_other_lines(shell) -> None:
    shell.write(
        "migrations.py", "from migrate_graph import migration\n@migration(requires=['b'])\ndef a(db): return True\n"
    )
    assert "  --> migrations.py:2\n    2 | @migration(requires=['b'])\n" in shell("check").out


def test_the_caret_of_a_view_is_at_its_window(shell) -> None:
    shell.write(
        "migrations.py",
        """
        from migrate_graph import ViewMigrationManager


        class V(ViewMigrationManager):
            uses = ()
            since = "nowhere"

            def up(self):
                self.db("nowhere")

            def down(self): ...
        """,
    )
    assert '  --> migrations.py:6\n    6 |     since = "nowhere"\n      |              ^^^^^^^\n' in shell("check").out


VIEWS = """
    from migrate_graph import ViewMigrationManager, migration


    class Hooks:
        uses = ()

        def up(self): ...

        def down(self): ...


    class First(Hooks, ViewMigrationManager):
        since = "step_1"


    class Second(Hooks, ViewMigrationManager):
        since = "step_2"
        replaces = First


    class Short(Hooks, ViewMigrationManager):
        since = "step_1"
        until = "step_2"


    class Late(Hooks, ViewMigrationManager):
        since = "step_3"


    class Always(Hooks, ViewMigrationManager): ...


    @migration
    def step_1(db):
        with First(db), Short(db), Always(db):
            return True


    @migration(requires=[step_1])
    def step_2(db):
        with Second(db), Short(db):
            return True


    @migration(requires=[step_2])
    def step_3(db):
        with Late(db):
            return True
"""


def test_status_tells_of_each_view_why_it_lives_or_not(shell) -> None:
    shell.write("migrations.py", VIEWS)
    shell.env["MIGRATE_URI"] = f"sqlite://{shell.path / 'x.db'}"
    assert shell("apply", "--to", "step_2").code == 0
    ran = shell("status", "--views")
    assert ran.out.splitlines()[3:] == [
        "  \N{EN DASH} First   replaced by Second",
        "  ✓ Second  lives (since step_2)",
        "  \N{EN DASH} Short   retired (until step_2)",
        "  ○ Late    not yet (since step_3)",
        "  ✓ Always  lives",
        "",
        "next: migrate plan",
    ]
    views = {view["name"]: view for view in shell("status", "--json").json["views"]}
    assert views["First"]["replaced_by"] == "Second"
    assert [name for name, view in views.items() if view["retired"]] == ["Short"]
    assert "state       replaced by Second" in shell("show", "First").out


def test_independent_files_side_by_side_run_by_their_names(shell) -> None:
    shell.write("billing.py", STEP.format(name="first"))
    shell.write("shipping.py", STEP.format(name="second"))
    shell.env["MIGRATE_URI"] = f"sqlite://{shell.path / 'x.db'}"
    ran = shell("check", "billing.py")
    assert (ran.code, "warning MG104" in ran.out) == (0, True)
    assert shell("check", "billing.py", "--strict").code == 3
    assert [shell("apply", name).code for name in ("billing.py", "shipping.py")] == [0, 0]
    shell.write("pyproject.toml", '[tool.migrate]\nerror = ["MG104"]\n')
    assert shell("check", "billing.py").code == 3, "the project may know better"


def test_a_forgotten_import_of_the_configured_file_stays_an_error(shell) -> None:
    shell.write("migrations.py", STEP.format(name="first"))
    shell.write("billing.py", STEP.format(name="second"))
    for words in (["check"], ["check", "."], ["check", "migrations.py"], ["check", "./migrations.py"]):
        assert shell(*words).code == 3, words
    assert shell("plan").code == 0, "a stray file stops no deployment"


def test_migrations_find_in_the_environment_what_dotenv_sets(run_migrate, tmp_path) -> None:
    (tmp_path / ".env").write_text("MIGRATE_URI=sqlite://x.db\nSHOP=corner\nHOUSE=${SHOP}-1\nTAKEN=no\n")
    (tmp_path / "migrations.py").write_text(
        "import os\nfrom migrate_graph import migration\n"
        "names = ('SHOP', 'HOUSE', 'TAKEN')\nwhile_loading = [os.environ[name] for name in names]\n\n\n"
        "@migration\ndef first(db):\n"
        "    assert while_loading == [os.environ[name] for name in names] == ['corner', 'corner-1', 'yes']\n"
        "    return True\n"
    )
    done = run_migrate("apply", cwd=tmp_path, env={"TAKEN": "yes"})
    assert done.returncode == 0, done.stderr


BROUGHT = [
    "history", "heads", "current", "stamp", "upgrade", "downgrade", "rollback", "reset", "lint", "makemigrations", "sqlmigrate",
    "showmigrations",
]  # fmt: skip


@pytest.mark.parametrize("word", sorted({*BROUGHT, *argv._BROUGHT, "Upgrade"} - {*program().names()}))
def test_a_word_of_another_tool_gets_what_it_is_called_here(shop, word: str) -> None:
    ran = shop(word)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"error: there is no command '{word}'\nhint: ")
    assert not (shop.path / "shop.db").exists()


@pytest.mark.parametrize("option", argv._OPTIONS)
def test_an_option_of_another_tool_gets_what_it_is_called_here(shop, option: str) -> None:
    ran = shop("apply", option)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.endswith(f"hint: {argv._OPTIONS[option]}\n"), ran.err
    assert not (shop.path / "shop.db").exists()


@pytest.mark.parametrize("word", argv._BROUGHT)
def test_what_is_proposed_can_be_typed(word: str) -> None:
    """Every `migrate X --option` in an answer is a command with that option."""
    commands = dict(every_command())
    chosen = argv._brought(word, program().names())
    for text in re.findall(r"migrate ((?:-?-?[\w-]+ ?)+)", chosen):
        words = text.split()
        if words[0].startswith("-") or words[0] == "COMMAND":
            continue
        command = commands.get(f"migrate {' '.join(words[:2])}") or commands[f"migrate {words[0]}"]
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        assert {each for each in words if each.startswith("--")} <= known


def test_a_project_may_have_the_name_of_a_command_of_another_tool(shop) -> None:
    shop.write("history/migrations.py", "from migrate_graph import migration\n")
    assert shop("history", "--dry-run").code == 0
    (shop.path / "upgrade").mkdir()
    assert shop("upgrade").code == 2
