"""What goes wrong while files are loaded, and what was meant to be declared and was not."""

from __future__ import annotations

import os

import pytest
from loader_stand import ONE, VIEW, Project, fault, names, nothing_left, project

from migrate_graph.authoring import ViewMigrationManager, migrations
from migrate_graph.core.graph import build_graph
from migrate_graph.core.rules import check
from migrate_graph.errors import NoRoom
from migrate_graph.loader import load

__all__ = ["nothing_left", "project"]


# --- what goes wrong ---------------------------------------------------------------------------------------------


_CONFLICT = """from migrate_graph import migration

<<<<<<< HEAD
@migration
def mine_1(db):
    return True
{base}=======
@migration
def theirs_1(db):
    return True
>>>>>>> feature
"""


@pytest.mark.parametrize("base", ["", "||||||| 1234567\nold = 1\n"], ids=["two sides", "three sides"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["here", "of Windows"])
def test_a_merge_conflict_is_named_as_one(project: Project, base: str, end: str) -> None:
    """Whatever of it Python does not understand first."""
    text = _CONFLICT.format(base=base)
    last = text.count("\n")
    error = fault(project({"migrations.py": text.replace("\n", end)}))
    told = f"a merge conflict is not resolved, from line 3 to {last} (HEAD against feature)"
    assert error.message == f"migrations.py could not be loaded: {told}"
    assert str(error.source) == "migrations.py:3"
    assert "delete the lines that begin with <<<<<<<, ======= and >>>>>>>" in error.hint


def test_a_merge_conflict_in_a_function_of_an_imported_file(project: Project) -> None:
    body = "def f():\n    x = 1\n<<<<<<<\n    x = 2\n=======\n    x = 3\n>>>>>>>\n"
    error = fault(project({"migrations.py": "import billing\n", "billing.py": f"{body}\n{body}"}))
    assert error.message.endswith("a merge conflict is not resolved, from line 3 to 7, and 1 more")
    assert str(error.source) == "billing.py:3"


@pytest.mark.parametrize(
    "text",
    [
        "x = '''\n<<<<<<< HEAD\n=======\n'''\ndef (\n",
        "x = '''\n=======\n>>>>>>> feature\n'''\ndef (\n",
        "x = '''\n<<<<<<< HEAD\n>>>>>>> feature\n'''\ndef (\n",
        "x = '''\n<<<<<<<<\n========\n>>>>>>>>\n'''\ndef (\n",
        "exec('def (')\n'''\n<<<<<<< HEAD\n=======\n>>>>>>> feature\n'''\n",
    ],
)
def test_what_only_looks_like_a_conflict_is_none(project: Project, text: str) -> None:
    assert "SyntaxError: " in fault(project({"migrations.py": text})).message


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    [
        ("x = 1\ndef (\n", 2, "SyntaxError: ", "correct the line; python -m py_compile"),
        ("\n\nimport biling\n", 3, "No module named 'biling'", "did you mean billing?"),
        ("import jsn\n", 1, "No module named 'jsn'", "did you mean json?"),
        ("import never_heard_of_it_xyz\n", 1, "No module named", "pip install never_heard_of_it_xyz"),
        ("import json.nothing\n", 1, "No module named 'json.nothing'", "has no module nothing"),
        ("from . import billing\n", 1, "attempted relative import", "without the dot"),
        ("from billing import invoicez\n", 1, "cannot import name 'invoicez'", "did you mean invoices?"),
        ("from billing import zzz\n", 1, "cannot import name 'zzz'", "correct the import"),
        ("from calendar import mine\n", 1, "cannot import name 'mine'", "calendar.py has the name of a standard module"),
        ("import calendar\ncalendar.mine\n", 2, "has no attribute 'mine'", "calendar.py has the name of a standard module"),
        ("from rich import mine\n", 1, "cannot import name 'mine'", "rich.py has the name of a package that migrate_graph needs"),
        ("import rich\nrich.mine\n", 2, "has no attribute 'mine'", "rich.py has the name of a package that migrate_graph needs"),
        ("import json\njson.mine\n", 2, "has no attribute 'mine'", "correct the line"),
        ("import round1\n", 1, "circular import", "require by name (requires='a')"),
        ("import sys\nsys.exit(3)\n", 2, "it ended the program (SystemExit: 3)", "__main__"),
        ("raise SystemExit\n", 1, "SystemExit: 0", "__main__"),
        ("def f():\n    return 1 / 0\nf()\n", 2, "ZeroDivisionError: division by zero", "correct the line"),
        ("x = 'ab\\0'\nint(x)\n", 2, "ValueError: ", "correct the line"),
        ("class E(BaseException): ...\nraise E('odd')\n", 2, "E: odd", "correct the line"),
        ("class E(Exception):\n    def __str__(self): return 1 / 0\nraise E\n", 3, "could not be loaded: E", "correct the line"),
        ("def f(n): return f(n)\nf(1)\n", 1, "RecursionError", "correct the line"),
        ("raise ExceptionGroup('two', [ValueError(1), KeyError(2)])\n", 1, "ExceptionGroup", "correct the line"),
    ],
)  # fmt: skip
def test_what_user_code_raises(project: Project, text: str, line: int, message: str, hint: str) -> None:
    root = project(
        {
            "migrations.py": text,
            "billing.py": ONE.format("invoices"),
            "calendar.py": "mine = 1",
            "rich.py": "mine = 1",
            "round1.py": "from round2 import b\na = 1\n",
            "round2.py": "from round1 import a\nb = 1\n",
        }
    )
    error = fault(root)
    assert message in error.message
    assert error.message.startswith("migrations.py could not be loaded: ")
    assert hint in error.hint
    assert error.source is not None
    if "circular" not in message:
        assert str(error.source) == f"migrations.py:{line}"
    assert error.exit_code == 2
    for ours in ("migrate_graph/loader", "importlib", "<frozen"):
        assert ours not in error.details
    assert "Traceback" in error.details or "Error" in error.details


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    [
        ("x = 1\nraise MemoryError\n", 2, "there is no memory left", "ulimit -v"),
        ("raise OSError(24, 'Too many open files', 'x.csv')\n", 1, "no more files can be opened: x.csv", "ulimit -n"),
        ("import billing\n", 3, "the disk is full", "make room"),
        ('raise RuntimeError("can\'t start new thread")\n', 1, "no thread can be started", "ulimit -u"),
    ],
)
def test_what_the_machine_lacks_is_no_fault_of_the_file(
    project: Project, text: str, line: int, message: str, hint: str
) -> None:
    root = project({"migrations.py": text, "billing.py": "import errno\n\nraise OSError(errno.ENOSPC, 'No space')\n"})
    with pytest.raises(NoRoom) as caught:
        load(root / "migrations.py")
    error = caught.value
    assert error.message == f"migrations.py could not be loaded: {message}" or message.startswith("no thread")
    assert message in error.message
    assert hint in error.hint
    assert str(error.source) == f"{'billing' if 'billing' in text else 'migrations'}.py:{line}"
    assert error.exit_code == 1


def test_a_source_that_is_nested_too_deeply_is_a_fault_of_the_file(project: Project) -> None:
    """Some versions of Python call that a MemoryError."""
    assert fault(project({"migrations.py": f"x = {'-' * 200_000}1\n"})).exit_code == 2


@pytest.mark.parametrize(
    "content", [b"\x00", b"x = '\xff'\n", b"\xff\xfe", b"# coding: nonsense\n", b"\xef\xbb\xbfx = ("]
)
def test_files_that_are_no_python(project: Project, content: bytes) -> None:
    error = fault(project({"migrations.py": content}))
    assert "could not be loaded" in error.message
    assert str(error.source).startswith("migrations.py:")


def test_an_error_in_a_sibling_names_the_sibling(project: Project) -> None:
    root = project(
        {"migrations.py": "import billing\n", "billing.py": "\n\nraise RuntimeError('postgres://u:hunter2@h/d')\n"}
    )
    error = fault(root)
    assert str(error.source) == "billing.py:3"
    assert 'migrations.py", line 1' in error.details
    assert "hunter2" not in error.message + error.details


def test_the_cause_of_an_error_is_trimmed_too(project: Project) -> None:
    text = (
        "import json\ntry:\n    json.loads('{')\nexcept ValueError as e:\n    raise RuntimeError('bad data') from e\n"
    )
    error = fault(project({"migrations.py": text}))
    assert "direct cause" in error.details
    assert "json.loads('{')" in error.details


def test_an_interrupt_passes(project: Project) -> None:
    with pytest.raises(KeyboardInterrupt):
        load(project({"migrations.py": "raise KeyboardInterrupt"}))


def test_a_view_that_cannot_be_evaluated_is_told_with_its_class(project: Project) -> None:
    text = "from migrate_graph import ViewMigrationManager\n" + VIEW.format("V")
    error = fault(project({"migrations.py": text + "    @property\n    def since(self): return missing\n"}))
    assert "view V could not be loaded: NameError" in error.message
    assert str(error.source) == "migrations.py:3"
    error = fault(project({"migrations.py": text.replace("()\n    def up", "(3,)\n    def up")}))
    assert "V.uses: 3" in error.message


def test_a_missing_file_is_never_another_one(project: Project) -> None:
    root = project({"migrations.py": ONE.format("m"), "billing.py": ""})
    assert fault(root / "biling.py").hint == f"did you mean {root / 'billing.py'}?"
    assert fault(root / "billing").hint == f"did you mean {root / 'billing.py'}?"
    assert "does not exist" in fault(root / "--dry-run").message
    assert "no directory" in fault(root / "nowhere" / "migrations.py").hint
    assert fault(root / ("x" * 5000)).message.endswith("File name too long")
    assert "does not exist" in fault(root / "nul\0byte").message
    (root / "link.py").symlink_to("gone.py")
    assert "points to gone.py" in fault(root / "link.py").message
    os.mkfifo(root / "pipe")
    assert "is no file" in fault(root / "pipe").message


def test_a_directory_without_migrations_is_told(project: Project) -> None:
    root = project({"steps.py": ONE.format("m"), "empty/x": ""})
    assert fault(root).hint == f"name the file: migrate plan {root / 'steps.py'}"
    assert fault(root / "empty").hint == "migrate init writes a first one"
    project({"migrations.py/x": ""})
    assert "holds no migrations.py" in fault(root).message


def test_a_failed_loading_leaves_nothing_either(project: Project) -> None:
    root = project({"migrations.py": "import good, bad", "good.py": ONE.format("m"), "bad.py": "1 / 0"})
    fault(root)
    project({"bad.py": ""})
    assert names(load(root)) == ["m"]


# --- files that nobody imports -----------------------------------------------------------------------------------


def test_forgotten_files_are_found_by_their_text(project: Project) -> None:
    root = project(
        {
            "migrations.py": "import reached, exec_loaded\nfrom views import Base\n",
            "reached.py": ONE.format("a"),
            "exec_loaded.py": "p = __file__.replace('exec_loaded', 'by_exec')\nexec(compile(open(p).read(), p, 'exec'))\n",
            "by_exec.py": ONE.format("b"),
            "views.py": "from migrate_graph import ViewMigrationManager\n" + VIEW.format("Base"),
            "deep/forgotten.py": "1 / 0\n" + ONE.format("c"),
            "more_views.py": "from views import Base\nclass Late(Base): ...\n",
            "plain.py": "migration = 1",
            "broken.py": "from migrate_graph import migration\ndef (",
            ".hidden/x.py": ONE.format("d"),
            "tests/test_x.py": ONE.format("d"),
            "conftest.py": ONE.format("d"),
            "node_modules/x.py": ONE.format("d"),
            "venv/pyvenv.cfg": "",
            "venv/x.py": ONE.format("d"),
            "other/pyproject.toml": "",
            "other/migrations.py": ONE.format("d"),
        }
    )
    found = load(root, root=root).unreached
    assert [(each.path, each.names) for each in found] == [
        ("more_views.py", (("Late", 2),)),
        ("deep/forgotten.py", (("c", 4),)),
    ]


def test_a_manager_of_a_forgotten_file_is_found_whatever_else_has_its_base_name(project: Project) -> None:
    """A library may have a class of that name that lacks something."""
    libraries = [type("Base", (ViewMigrationManager,), {}) for _ in range(9)]
    root = project(
        {
            "migrations.py": "from views import Base\n" + ONE.format("a"),
            "views.py": "from migrate_graph import ViewMigrationManager\n" + VIEW.format("Base"),
            "more_views.py": "from views import Base\nclass Late(Base): ...\n",
        }
    )
    assert [each.path for each in load(root, root=root).unreached] == ["more_views.py"]
    assert libraries


def test_looking_for_forgotten_files_ends(project: Project) -> None:
    root = project({f"d{n}/x.py": "" for n in range(3)} | {"migrations.py": ""})
    (root / "d0" / "loop").symlink_to(root)
    os.mkfifo(root / "pipe.py")
    assert load(root).unreached == ()


def test_two_thousand_migrations_load_in_seconds(project: Project) -> None:
    import time

    body = "from migrate_graph import migration\n"
    body += "".join(f"@migration\ndef m{n}(db):\n    db.executesql('x')\n    return True\n" for n in range(2000))
    root = project({"migrations.py": body})
    start = time.process_time()
    assert len(load(root).migrations) == 2000
    assert time.process_time() - start < 6


# --- declarations that were lost ---------------------------------------------------------------------------------


def test_decorators_that_lost_their_function_are_found(project: Project) -> None:
    root = project(
        {
            "migrations.py": """
                from migrate_graph import migration
                def forgets(function): ...
                migration(tags="slow")
                def lost(db): ...
                @migration
                @forgets
                def none(db): ...
                reused = migration(tags="slow")
                @reused
                def one(db): ...
                @reused
                def two(db): ...
                @migration(requires=one)
                def three(db): ...
                @migration()
                def four(db): ...
                """
        }
    )
    registry = load(root)
    assert [str(place) for place in registry.unused_decorators] == ["migrations.py:4", "migrations.py:6"]
    assert [each.name for each in registry.migrations] == ["one", "two", "three", "four"]
    assert load(root).unused_decorators == registry.unused_decorators


def test_classes_that_lack_something_of_a_view_are_kept_with_their_place(project: Project) -> None:
    root = project(
        {
            "migrations.py": """
                from migrate_graph import SqlView, ViewMigrationManager, migration
                from billing import Billed
                class Totals(SqlView):
                    qurey = "SELECT 1 AS a"
                class Lines(Billed): ...
                @migration
                def one(db): ...
                """,
            "billing.py": """
                from migrate_graph import ViewMigrationManager
                class Billed(ViewMigrationManager):
                    def up(self): ...
                """,
        }
    )
    registry = load(root)
    assert [(each.manager.__name__, str(each.source), each.lacks) for each in registry.unfinished] == [
        ("Billed", "billing.py:3", ("down",)),
        ("Totals", "migrations.py:4", ("query",)),
        ("Lines", "migrations.py:6", ("down",)),
    ]
    found = [each for each in check(build_graph(registry)) if each.code == "MG216"]
    assert [each.message for each in found] == ["class 'Totals' is no view: it has no query"]


def test_classes_of_the_process_that_are_no_views_are_not_kept() -> None:
    class Half(ViewMigrationManager):
        def up(self) -> None: ...

    assert migrations.unfinished == []


def test_decorators_above_the_declaration_are_found(project: Project) -> None:
    """Only those that return something else; a name that was given to something else later is none."""
    root = project(
        {
            "migrations.py": """
                import migrate_graph as mg
                from functools import partial, wraps
                from migrate_graph import migration as declared
                def timed(body, *_):
                    return wraps(body)(lambda db: body(db))
                def tried(times):
                    return lambda body: lambda db: [body(db) for _ in range(times)]
                def kept(body):
                    return body
                @timed
                @tried(3)
                @declared(requires="fine")
                def one(db): ...
                @timed
                @mg.migration
                def two(db): ...
                @kept
                @declared
                def fine(db): ...
                @declared
                @timed
                def right(db): ...
                @declared
                @timed
                def again(db): ...
                def again(): ...
                def body(db): ...
                declared(body)
                def own(body):
                    return timed(declared(body))
                @own
                def three(db): ...
                class Ours:
                    step = staticmethod(declared)
                @timed
                @Ours.step
                def four(db): ...
                tagged = partial(declared, tags=["x"])
                @timed
                @tagged
                def five(db): ...
                def after(*names):
                    return declared(requires=names)
                @timed
                @after("fine")
                def six(db): ...
                @timed
                @{"of a": declared}["of a"]
                def unknown(db): ...
                """
        }
    )
    registry = load(root)
    assert [(each.migration, each.decorators, str(each.source)) for each in registry.decorated_above] == [
        ("one", ("timed", "tried(3)"), "migrations.py:11"),
        ("two", ("timed",), "migrations.py:15"),
        ("four", ("timed",), "migrations.py:36"),
        ("five", ("timed",), "migrations.py:40"),
        ("six", ("timed",), "migrations.py:45"),
    ]
    declared = [each.name for each in registry.migrations]
    assert declared == ["one", "two", "fine", "right", "again", "body", "three", "four", "five", "six", "unknown"]


def test_functions_that_lost_their_decorator_are_found(project: Project) -> None:
    root = project(
        {
            "migrations.py": """
                import billing, helpers
                from migrate_graph import migration
                def lost_20260101_001(db): ...
                @migration
                def kept_20260101_002(db): ...
                def body_20260101_003(db): ...
                declared = migration(body_20260101_003)
                def used_20260101_004(db): ...
                @migration
                def caller_20260101_005(db): return used_20260101_004(db)
                def helper(db): ...
                def version_1_2(db): ...
                class Group:
                    def method_20260101_006(self): ...
                if True:
                    async def under_20260101_7(db): ...
                """,
            "billing.py": ONE.format("a") + "\ndef lost_20260202_001(db): ...\n",
            "helpers.py": "def load_20260101_001(): ...\n",
        }
    )
    found = {file.path: [name for name, _ in file.names] for file in load(root).undecorated}
    assert found == {
        str(root / "migrations.py"): ["lost_20260101_001", "under_20260101_7"],
        str(root / "billing.py"): ["lost_20260202_001"],
    } or found == {
        "migrations.py": ["lost_20260101_001", "under_20260101_7"],
        "billing.py": ["lost_20260202_001"],
    }
