"""What cannot be meant in a declaration: each fault has a place and a hint, and one loading tells all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from loader_stand import Project, fault, nothing_left, project

from migrate_graph.authoring import SqlView, ViewMigrationManager, collecting, migration, migrations
from migrate_graph.errors import DeclarationError
from migrate_graph.loader import load, load_project, user_imports

__all__ = ["nothing_left", "project"]

HEAD = "from migrate_graph import SqlView, ViewMigrationManager, migration\n\n"

FAULTS: dict[str, tuple[str, str]] = {
    "@migration('one')\ndef two(db): ...": ("a migration: 'one' is no function", "`@migration(requires='one')`"),
    "@migration(['one'])\ndef two(db): ...": ("['one'] is no function", "`@migration(requires=['one'])`"),
    "class Do:\n    def __call__(self, db): ...\nmigration(Do())": ("an object of Do is neither", "declare a function"),
    "class Do:\n    @migration\n    @classmethod\n    def two(cls, db): ...": (
        "two is a class method",
        "remove @classmethod",
    ),
    "@migration(requires=5)\ndef two(db): ...": ("requires: 5 is neither a name", "write a name, or the function"),
    "@migration(requires=[['one']])\ndef two(db): ...": ("requires: ['one'] is neither", "write one list of names"),
    "@migration(requires=b'one')\ndef two(db): ...": ("requires: b'one' is neither", "write it without the b: 'one'"),
    "@migration(requires=[None])\ndef two(db): ...": ("requires: None is neither", "take None out of the list"),
    "class V(SqlView):\n    query = 'SELECT 1'\n@migration(requires=V(None))\ndef two(db): ...": (
        "requires: an object of V is neither",
        "name the class, V, instead of an object of it",
    ),
    "@migration(transaction='Single')\ndef two(db): ...": ("transaction='Single' is unknown", 'transaction="single"?'),
    "@migration(why=5)\ndef two(db): ...": ("why: 5 is no text", "write it in quotes"),
    "@migration(weave='off')\ndef two(db): ...": ("weave: 'off' is neither True nor False", "without quotes"),
    "@migration(after=5)\ndef two(db): ...": ("after: 5 is neither SQL", "write SQL that gives one true value"),
    "@migration(down='one')\ndef two(db): ...": ("down: 'one' is neither", "name the function itself"),
    "@migration\ndef one(db): ...\n@migration(down=one)\ndef two(db): ...": (
        "down: one is a migration, which `migrate apply` runs as well",
        "remove @migration above it; if it is both, write `down=one.body`",
    ),
    "class V(SqlView):\n    query = ''": ("V.query is empty", "write its SELECT statement"),
    "class V(SqlView):\n    query = 'SELECT\\n<<<<<<< HEAD\\n1\\n=======\\n2\\n>>>>>>> topic\\n'": (
        "V.query: a merge conflict is not resolved, from line 2 to 6 (HEAD against topic)",
        "delete the lines that begin with <<<<<<<",
    ),
    "class V(SqlView):\n    query = 5": ("V.query is no text: 5", "write it as text"),
    "class V(SqlView):\n    query = 'SELECT 1'\n    rebuild = 'later'": (
        "V.rebuild = 'later' is unknown",
        "leave it out",
    ),
    "class V(SqlView):\n    query = 'SELECT 1'\n    uses = (each for each in ('W',))": (
        "V.uses can be read only once",
        "write a tuple: `uses = (…,)`",
    ),
    "class V(SqlView):\n    query = 'SELECT 1'\n    since = ('a', 'b')": ("V.since names 2 things", '`since = "b"`'),
    "class V(SqlView):\n    query = 'SELECT 1'\n    replaces = 5": ("V.replaces: 5 is neither", "write a name"),
    "class V(SqlView):\n    query = 'SELECT 1'\n    ignore = 210": ("V.ignore: 210 is no text", "write it in quotes"),
}


@pytest.mark.parametrize("text", FAULTS)
def test_each_fault_says_what_is_wrong_and_what_to_write(project: Project, text: str) -> None:
    message, hint = FAULTS[text]
    error = fault(project({"migrations.py": HEAD + text}))
    assert isinstance(error, DeclarationError)
    assert error.message.startswith("migrations.py could not be loaded: ")
    assert message in error.message
    assert hint in error.hint
    assert error.source is not None
    marked = text.splitlines()[error.source.line - 3]
    assert marked.startswith(("@migration(", "migration(", "    @migration", "class V"))


def test_one_loading_tells_all_faults_of_all_files(project: Project) -> None:
    """Also those of views that are found when everything is declared, and the error that has ended the loading."""
    files = {
        "migrations.py": HEAD + "import billing\n@migration(requires=5, tags=6)\ndef one(db): ...\n"
        "class V(SqlView):\n    query = 'SELECT 1'\n    since = 7\n",
        "billing.py": HEAD + "@migration('one')\ndef two(db): ...\n@migration(requires=two)\ndef three(db): ...\n",
    }
    error = fault(project(files))
    assert error.message.splitlines() == [
        "billing.py could not be loaded: 4 faults",
        "billing.py:3: a migration: 'one' is no function (write `@migration(requires='one')`)",
        "migrations.py:4: requires: 5 is neither a name nor something that has one (write a name, or the function or class itself)",
        "migrations.py:4: tags: 6 is no text (write it in quotes)",
        "migrations.py:6: V.since: 7 is neither a name nor something that has one (write a name, or the function or class itself)",
    ]
    files["migrations.py"] += "import nowhere_at_all\n"
    ended = fault(project(files))
    assert "4 faults" in ended.message, "the views were not asked any more"
    assert "migrations.py:9: migrations.py could not be loaded: ModuleNotFoundError" in ended.message
    assert "import nowhere_at_all" in ended.details


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("require", "did you mean `requires=`?"),
        ("depends_on", "did you mean `requires=`?"),
        ("rollback", "did you mean `down=`?"),
        ("zzz", "@migration takes requires, transaction, tags, "),
    ],
)
def test_an_argument_that_there_is_not_is_told_with_those_that_there_are(
    project: Project, word: str, hint: str
) -> None:
    error = fault(project({"migrations.py": f"{HEAD}@migration({word}='one')\ndef two(db): ...\n"}))
    assert f"unexpected keyword argument '{word}'" in error.message
    assert error.hint.startswith(hint)


def _wrong_query() -> None:
    type("V", (SqlView,), {"query": "", "__module__": __name__})


def _wrong_rebuild() -> None:
    members = {"uses": (), "rebuild": "later", "up": print, "down": print, "__module__": __name__}
    type("V", (ViewMigrationManager,), members)


@pytest.mark.parametrize(
    "declare", [lambda: migration(requires=5), lambda: migration("one"), _wrong_query, _wrong_rebuild]
)  # type: ignore[arg-type, call-overload]
def test_a_program_gets_a_fault_at_once(declare: Callable[[], Any]) -> None:
    """As both of the types that were raised before; a collector that is no loading keeps nothing back either."""
    before = len(migrations.managers)
    with pytest.raises(TypeError) as caught:
        declare()
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, DeclarationError)
    assert caught.value.source is not None
    assert caught.value.source.path == __file__
    assert len(migrations.managers) == before
    with collecting() as collector, pytest.raises(DeclarationError):
        declare()
    assert not collector.migrations
    assert not collector.managers


def test_a_module_that_a_body_imports_gets_a_fault_at_once(project: Project) -> None:
    root = project(
        {"migrations.py": HEAD + "@migration\ndef one(db): ...\n", "late.py": HEAD + "migration(requires=5)\n"}
    )
    loaded = load_project(root)
    with user_imports(loaded.imports, loaded.registry), pytest.raises(DeclarationError, match="requires: 5"):
        __import__("late")


def test_a_requirement_that_a_generator_yields_is_kept(project: Project) -> None:
    """It was read twice: the second time it was empty, and the migration required nothing."""
    text = (
        "@migration\ndef one(db): ...\n"
        "@migration(requires=(each for each in ['one']), commutes_with=(each for each in ['two']))\ndef three(db): ...\n"
        "both = migration(requires=iter([one]), tags=iter(['slow']))\n"
        "@both\ndef two(db): ...\n@both\ndef four(db): ...\n"
    )
    registry = load(project({"migrations.py": HEAD + text}))
    assert {each.name: each.requires for each in registry.migrations} == {
        "one": (), "three": ("one",), "two": ("one",), "four": ("one",),
    }  # fmt: skip
    assert {each.name: each.tags for each in registry.migrations if each.tags} == {
        "two": {"slow"}, "four": {"slow"},
    }  # fmt: skip
    assert registry.migrations[1].commutes_with == ("two",)
