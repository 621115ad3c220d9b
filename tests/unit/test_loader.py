"""Loading runs a file once and leaves nothing behind."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from migrate_graph.authoring import ViewMigrationManager, migrations
from migrate_graph.core.model import BodyKind, Registry
from migrate_graph.edwh_names import edwh_migrate_modules
from migrate_graph.errors import LoadError
from migrate_graph.loader import load, load_project, user_imports

ONE = "from migrate_graph import migration\n@migration\ndef {0}(db): return True\n"
VIEW = """
class {0}(ViewMigrationManager):
    uses = ()
    def up(self): ...
    def down(self): ...
"""

Project = Callable[..., Path]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Write files; give their directory."""

    def write(files: dict[str, str | bytes]) -> Path:
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
        return tmp_path

    return write


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """After every test of this file the process is as it was."""
    before, path, hooks = dict(sys.modules), sys.path[:], sys.meta_path[:]
    bytecode, out, where = sys.dont_write_bytecode, sys.stdout, Path.cwd()
    yield
    assert {name for name, module in before.items() if sys.modules.get(name) is not module} == set()
    left = {
        name
        for name, module in sys.modules.items()
        if name not in before and "/pytest-of-" in str(getattr(module, "__file__", ""))
    }
    assert left == set()
    assert not [name for name in sys.modules if name.partition(".")[0] == "edwh_migrate" and name not in before]
    assert (sys.path, sys.meta_path, sys.dont_write_bytecode, sys.stdout, Path.cwd()) == (
        path,
        hooks,
        bytecode,
        out,
        where,
    )


def names(registry: Registry) -> list[str]:
    return [each.name for each in registry.migrations]


def fault(path: Path) -> LoadError:
    with pytest.raises(LoadError) as caught:
        load(path)
    assert caught.value.hint
    return caught.value


# --- what is loaded ----------------------------------------------------------------------------------------------


def test_a_file_and_its_directory_are_the_same(project: Project) -> None:
    root = project({"migrations.py": ONE.format("first")})
    assert names(load(root)) == names(load(root / "migrations.py")) == ["first"]


def test_siblings_and_packages_in_order_of_import(project: Project) -> None:
    root = project(
        {
            "migrations.py": """
                from billing import invoices
                import pack.deep.inner
                from edwh_migrate import migration
                @migration(requires=[invoices, "inner"])
                def last(db): return True
                """,
            "billing.py": ONE.format("invoices"),
            "pack/__init__.py": "",
            "pack/deep/inner.py": "from ..shared import word\nfrom migrate_graph import migration\n@migration\ndef inner(db): return word\n",
            "pack/shared.py": "word = True",
        }
    )
    registry = load(root, root=root)
    assert names(registry) == ["invoices", "inner", "last"]
    assert [each.position for each in registry.migrations] == [0, 1, 2]
    assert [str(each.source) for each in registry.migrations] == [
        "billing.py:3",
        "pack/deep/inner.py:4",
        "migrations.py:6",
    ]
    assert [each.module for each in registry.migrations] == ["billing.py", "pack/deep/inner.py", "migrations.py"]
    assert registry.migrations[2].requires == ("invoices", "inner")
    assert registry.unreached == ()


def test_loading_twice_gives_the_same(project: Project) -> None:
    root = project({"migrations.py": "from other import *\n" + ONE.format("here"), "other.py": ONE.format("there")})
    first, second = load(root), load(root)
    assert names(first) == names(second) == ["there", "here"]
    assert [each.facts for each in first.migrations] == [each.facts for each in second.migrations]


def test_an_edit_within_the_same_second_is_seen(project: Project) -> None:
    root = project({"migrations.py": "import other\n", "other.py": ONE.format("aa")})
    assert names(load(root)) == ["aa"]
    stamp = (root / "other.py").stat().st_mtime_ns
    project({"other.py": ONE.format("bb")})
    os.utime(root / "other.py", ns=(stamp, stamp))
    assert names(load(root)) == ["bb"]
    assert not list(root.rglob("__pycache__"))


def test_two_projects_with_the_same_names_do_not_mix(project: Project) -> None:
    root = project(
        {
            f"{side}/{name}": text
            for side in ("left", "right")
            for name, text in {
                "migrations.py": "from helpers import *\n",
                "helpers.py": ONE.format(f"of_{side}"),
            }.items()
        }
    )
    assert names(load(root / "left")) == ["of_left"]
    assert names(load(root / "right")) == ["of_right"]


@pytest.mark.parametrize(
    "name",
    [
        "types.py",
        "json.py",
        "this-has.dots-and dashes.py",
        "élan_迁移.py",
        "2026 🎉.py",
        "class.py",
        "__init__.py",
        "__main__.py",
        "pytest.py",
        "migrate_graph.py",
        "edwh_migrate.py",
        "no_suffix",
        "quote'\"<b>.py",
        "new\nline.py",
    ],
)
def test_files_of_any_name(project: Project, name: str) -> None:
    root = project(
        {
            name: "import types, json, pytest\nassert types.ModuleType and json.loads and pytest.mark\n"
            + ONE.format("first")
        }
    )
    assert names(load(root / name)) == ["first"]
    import json
    import types

    assert "/pytest-of-" not in str(json.__file__) + str(types.__file__)


def test_a_sibling_named_like_a_standard_module_shadows_nobody(project: Project) -> None:
    root = project(
        {"migrations.py": "import wave\n" + ONE.format(0).replace("def 0", "def m"), "wave.py": "raise RuntimeError"}
    )
    assert names(load(root)) == ["m"]
    sys.modules.pop("wave", None)


def test_a_data_directory_named_like_an_installed_package_shadows_nobody(project: Project) -> None:
    root = project({"migrations.py": "import tomlkit\ntomlkit.parse\n" + ONE.format("m"), "tomlkit/data.txt": ""})
    assert names(load(root)) == ["m"]


def test_a_package_beside_a_file_of_its_name(project: Project) -> None:
    root = project(
        {
            "migrations.py": "import migrations.billing\n",
            "migrations/__init__.py": "",
            "migrations/billing.py": ONE.format("m"),
        }
    )
    assert names(load(root)) == ["m"]


def test_a_circle_of_imports_declares_once(project: Project) -> None:
    root = project(
        {
            "migrations.py": ONE.format("first") + "import other\n",
            "other.py": "from migrations import first, migration\n@migration(requires=first)\ndef second(db): return True\n",
        }
    )
    assert names(load(root)) == ["first", "second"]


def test_two_functions_of_one_name_are_both_kept(project: Project) -> None:
    root = project({"migrations.py": ONE.format("twin") + "import other\n", "other.py": ONE.format("twin")})
    assert [str(each.module) for each in load(root).migrations] == ["migrations.py", "other.py"]


def test_an_empty_file_is_an_empty_registry(project: Project) -> None:
    registry = load(project({"migrations.py": ""}))
    assert (registry.migrations, registry.views, registry.unreached) == ((), (), ())


def test_d18_what_does_not_run_when_called_is_recorded_as_such(project: Project) -> None:
    text = "from migrate_graph import migration\n@migration\nasync def a(db): return True\n@migration\ndef b(db): yield 1\n"
    assert [each.kind for each in load(project({"migrations.py": text})).migrations] == [
        BodyKind.COROUTINE,
        BodyKind.GENERATOR,
    ]


def test_views_are_evaluated(project: Project) -> None:
    root = project(
        {
            "migrations.py": "from views import Lower, Upper\n"
            + ONE.format("opens").replace("True", "Upper(db) and True"),
            "views.py": "from migrate_graph import ViewMigrationManager\n"
            + VIEW.format("Lower")
            + """
@(lambda kind: kind)
class Upper(Lower):
    '''Stands on Lower.'''
    since = 'opens'
    replaces = Lower
    @property
    def uses(self): return (Lower,)
""",
        }
    )
    registry = load(root, root=root)
    lower, upper = registry.views
    assert (upper.name, upper.uses, upper.since, upper.replaces, upper.position) == (
        "Upper",
        ("Lower",),
        "opens",
        "Lower",
        1,
    )
    assert (upper.module, upper.description, lower.description) == ("views.py", "Stands on Lower.", "")
    assert upper.source.line in {8, 9}
    assert registry.migrations[0].touches == ("Upper",)


def test_facts_stand_in_the_registry(project: Project) -> None:
    text = "from migrate_graph import migration\n@migration\n\n\ndef m(db):\n    db.commit()\n    return True\n"
    (found,) = load(project({"migrations.py": text}), root=project({})).migrations
    assert str(found.source) == "migrations.py:5"
    assert str(found.facts.commits_before_return) == "migrations.py:6"
    assert len(found.facts.fingerprint) == 16


def test_paths_are_relative_to_the_current_directory_when_the_file_is_below(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project({"app/migrations.py": ONE.format("m"), "elsewhere/x": ""})
    with monkeypatch.context() as patch:
        patch.chdir(root)
        assert str(load(Path("app")).migrations[0].source) == "app/migrations.py:3"
        patch.chdir(root / "elsewhere")
        registry = load(root / "app")
        assert str(registry.migrations[0].source) == "migrations.py:3"
        assert registry.root == str(root / "app")
        assert str(load(root / "app", root=root).migrations[0].source) == "app/migrations.py:3"


def test_a_linked_file_imports_from_where_the_link_is(project: Project) -> None:
    root = project({"releases/migrations.py": "import beside\n", "beside.py": ONE.format("m")})
    (root / "migrations.py").symlink_to(root / "releases" / "migrations.py")
    assert names(load(root)) == ["m"]


def test_what_a_file_prints_does_not_reach_stdout(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    load(project({"migrations.py": "print('hello')\n"}))
    assert capsys.readouterr() == ("", "hello\n")


def test_a_file_sees_what_it_has_declared(project: Project) -> None:
    text = (
        ONE.format("m")
        + "from edwh_migrate import migrations\nassert list(migrations.list()) == ['m'] and migrations.has('m')\n"
    )
    assert names(load(project({"migrations.py": text}))) == ["m"]


# --- edwh_migrate ------------------------------------------------------------------------------------------------


def test_every_import_of_the_ancestor_works(project: Project) -> None:
    text = """
        import edwh_migrate, edwh_migrate.migrate
        from edwh_migrate import migration, migrations, ViewMigrationManager, classproperty, Config
        from edwh_migrate.migrate import migration as again, migrations as store
        from edwh_migrate.view_migration_manager import ViewMigrationManager as Manager
        from edwh_migrate.helpers import classproperty as cp
        from edwh_migrate.constants import CURRENT_MIGRATION
        from edwh_migrate.__about__ import __version__
        assert again is migration is edwh_migrate.migrate.migration and Manager is ViewMigrationManager and cp is classproperty
        assert CURRENT_MIGRATION == "CURRENT_MIGRATION" and __version__ == "2.1.0"
        assert not hasattr(edwh_migrate, "no_such_name")
        @edwh_migrate.migration
        def m(db): return True
        """
    assert names(load(project({"migrations.py": text}))) == ["m"]


def test_a_misspelt_name_of_the_ancestor_is_told(project: Project) -> None:
    error = fault(project({"migrations.py": "from edwh_migrate import migratoin\n"}))
    assert error.hint == "did you mean migration?"


def test_a_real_edwh_migrate_is_put_back(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    real = (
        project({"real/edwh_migrate/__init__.py": "real = 1", "real/edwh_migrate/migrate.py": "", "migrations.py": ""})
        / "real"
    )
    program = f"""
import sys
sys.path.insert(0, {str(real)!r})
import edwh_migrate, edwh_migrate.migrate
before = edwh_migrate, edwh_migrate.migrate
from pathlib import Path
from migrate_graph.loader import load
file = Path({str(real.parent)!r}) / "migrations.py"
file.write_text("import edwh_migrate\\nassert not hasattr(edwh_migrate, 'real')\\n@edwh_migrate.migration\\ndef m(db): return True")
assert [m.name for m in load(file).migrations] == ["m"]
assert before == (sys.modules["edwh_migrate"], sys.modules["edwh_migrate.migrate"]) and edwh_migrate.migrate is before[1]
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_aliases_touch_nothing_by_themselves() -> None:
    modules = edwh_migrate_modules()
    assert next(iter(modules)) == "edwh_migrate"
    assert "edwh_migrate" not in sys.modules


# --- packages elsewhere ------------------------------------------------------------------------------------------


def test_installed_packages_that_declare_are_loaded_every_time(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project(
        {
            "site-packages/acme_base/__init__.py": "LOADED = []",
            "site-packages/acme_schema/__init__.py": "from .steps import first\n",
            "site-packages/acme_schema/steps.py": "import acme_base\nacme_base.LOADED.append(1)\n"
            + ONE.format("first"),
            "site-packages/acme_bundle/__init__.py": "from acme_schema import first\n",
            "app/migrations.py": "import acme_bundle\n" + ONE.format("second"),
        }
    )
    monkeypatch.syspath_prepend(root / "site-packages")
    assert names(load(root / "app")) == ["first", "second"]
    assert names(load(root / "app")) == ["first", "second"]
    assert "acme_schema" not in sys.modules
    base: Any = sys.modules.pop("acme_base")  # no declarations, no project file: it stays, like any library
    assert base.LOADED == [1, 1]


def test_what_the_process_had_imported_is_left_alone_or_put_back(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project(
        {
            "shop/__init__.py": "",
            "shop/models.py": "COUNT = []\n",
            "shop/steps.py": "import shop.models\nshop.models.COUNT.append(1)\n" + ONE.format("step"),
            "migrations.py": "from shop import steps\nimport shop.models\n",
        }
    )
    with monkeypatch.context() as patch:
        patch.syspath_prepend(root)
        import shop.models  # type: ignore[import-not-found]

        from migrate_graph.authoring import collecting

        with collecting():
            import shop.steps  # type: ignore[import-not-found]

        before = (sys.modules["shop"], sys.modules["shop.models"], sys.modules["shop.steps"])
        assert names(load(root)) == names(load(root)) == ["step"]
        assert before == (sys.modules["shop"], sys.modules["shop.models"], sys.modules["shop.steps"])
        assert shop.steps is before[2]
        assert shop.models.COUNT == [1, 1, 1]
    for name in ("shop.steps", "shop.models", "shop"):
        del sys.modules[name]


# --- bodies that import while they run ---------------------------------------------------------------------------


def test_bodies_find_the_modules_they_were_loaded_with(project: Project) -> None:
    root = project(
        {
            "migrations.py": """
                import sys
                import state
                from migrate_graph import migration
                sys.path.append(__file__.rpartition("/")[0] + "/lib")
                @migration
                def m(db):
                    import late, state, far
                    from edwh_migrate import migration
                    state.seen.append(late.word)
                    return state
                def helper(): ...
                """,
            "state.py": "seen = []",
            "late.py": "from migrate_graph import migration\nword = 'late'\n@migration\ndef stray(db): return True\n",
            "lib/far.py": "",
        }
    )
    loaded = load_project(root)
    registry = loaded.registry
    (m,) = registry.migrations
    with pytest.raises(ModuleNotFoundError):
        m("db")
    for _ in range(2):
        with user_imports(loaded.imports, registry):
            state = m("db")
    assert state.seen == ["late", "late"]
    assert registry.unreached != ()
    sys.modules.pop("far", None)
    with user_imports(None, Registry()):
        pass


# --- what goes wrong ---------------------------------------------------------------------------------------------


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
        ("import round1\n", 1, "circular import", "require by name (requires='a')"),
        ("import sys\nsys.exit(3)\n", 2, "it ended the program (SystemExit: 3)", "__main__"),
        ("raise SystemExit\n", 1, "SystemExit: 0", "__main__"),
        ("def f():\n    return 1 / 0\nf()\n", 2, "ZeroDivisionError: division by zero", "correct the line"),
        ("x = 'ab\\0'\nint(x)\n", 2, "ValueError: ", "correct the line"),
        ("class E(BaseException): ...\nraise E('odd')\n", 2, "E: odd", "correct the line"),
        ("class E(Exception):\n    def __str__(self): return 1 / 0\nraise E\n", 3, "could not be loaded: E", "correct the line"),
        ("def f(n): return f(n)\nf(1)\n", 1, "RecursionError", "correct the line"),
        ("from migrate_graph import migration\nmigration(transaction='x')\n", 2, "transaction='x' is unknown", "correct"),
        ("raise ExceptionGroup('two', [ValueError(1), KeyError(2)])\n", 1, "ExceptionGroup", "correct the line"),
    ],
)  # fmt: skip
def test_what_user_code_raises(project: Project, text: str, line: int, message: str, hint: str) -> None:
    root = project(
        {
            "migrations.py": text,
            "billing.py": ONE.format("invoices"),
            "calendar.py": "mine = 1",
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


# --- a migrations file inside a package --------------------------------------------------------------------------


def test_a_package_imports_itself_and_its_migrations(project: Project) -> None:
    root = project(
        {
            "app/__init__.py": "from .migrations import noop\n",
            "app/models.py": "TABLES = ['a']\n",
            "app/migrations.py": """
                from migrate_graph import migration, ViewMigrationManager
                from app.models import TABLES
                class V(ViewMigrationManager):
                    uses = ()
                    def up(self): ...
                    def down(self): ...
                @migration(views=V)
                def m(db):
                    import app
                    return TABLES, V
                def noop(): ...
                """,
        }
    )
    loaded = load_project(root / "app")
    (m,), (view,) = loaded.registry.migrations, loaded.registry.views
    with user_imports(loaded.imports, loaded.registry):
        assert m("db") == (["a"], view.manager)
    assert str(root) not in sys.path
    assert "app" not in sys.modules


def test_two_declarations_of_one_name_stay_two(project: Project) -> None:
    root = project(
        {"migrations.py": "from migrate_graph import migration\nfor _ in (1, 2):\n    @migration\n    def m(db): ...\n"}
    )
    assert names(load(root)) == ["m", "m"]


def test_child_processes_find_the_modules_of_the_project(project: Project) -> None:
    root = project(
        {
            "work.py": "def double(n): return 2 * n\n",
            "migrations.py": """
                import multiprocessing, work
                from migrate_graph import migration
                @migration
                def m(db):
                    with multiprocessing.get_context("spawn").Pool(1) as pool:
                        return pool.map(work.double, [1, 2])
                """,
        }
    )
    loaded = load_project(root)
    (m,) = loaded.registry.migrations
    with user_imports(loaded.imports, loaded.registry):
        assert m("db") == [2, 4]


# --- declarations that were lost ---------------------------------------------------------------------------------


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


# --- a directory of numbered files -------------------------------------------------------------------------------

NUMBERED = {
    "migrations/0002_orders.py": "from .base import step\nfrom edwh_migrate import migration\n"
    "@migration(requires='customers')\ndef orders(db): return step()\n",
    "migrations/0001_customers.py": "from migrate_graph import migration\n@migration\ndef customers(db): return 1\n",
    "migrations/base.py": "def step(): return 2\n",
    "migrations/test_0001.py": "raise AssertionError\n",
}


@pytest.mark.parametrize("init", [None, "", "from . import a0003\n"])
@pytest.mark.parametrize("where", ["migrations", "migrations.py"])
def test_numbered_files_are_found(project: Project, init: str | None, where: str) -> None:
    more = {} if init is None else {"migrations/__init__.py": init}
    if init:
        more["migrations/a0003.py"] = ONE.format("third")
    loaded = load_project((root := project({**NUMBERED, **more})) / where)
    expected = ["customers", "orders"] if not init else ["third", "customers", "orders"]
    assert names(loaded.registry) == expected
    assert loaded.registry.unreached == ()
    orders = loaded.registry.migrations[-1]
    with user_imports(loaded.imports, loaded.registry):
        assert orders("db") == 2
    assert names(load(root / where)) == expected
    assert not [name for name in sys.modules if name.partition(".")[0] == "migrations"]


def test_a_file_of_that_name_wins(project: Project) -> None:
    root = project({**NUMBERED, "migrations.py": ONE.format("only")})
    assert names(load(root / "migrations.py")) == ["only"]


def test_independent_files_are_no_directory_of_migrations(project: Project) -> None:
    root = project({"migrations/billing.py": ONE.format("a"), "migrations/shipping.py": ONE.format("b")})
    for where in ("migrations", "migrations.py"):
        with pytest.raises(LoadError):
            load(root / where)


@pytest.mark.parametrize("way", ["a pool", "a thread", "_thread"])
def test_what_threads_of_a_file_declare_is_declared(project: Project, way: str) -> None:
    """Modules that are imported in threads belong to the file that started these, as in edwh-migrate."""
    start = {
        "a pool": "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor() as pool: list(pool.map(import_module, ['billing', 'shipping']))\n",
        "a thread": "import threading\nfor name in ('billing', 'shipping'):\n"
        "    thread = threading.Thread(target=import_module, args=(name,)); thread.start(); thread.join()\n",
        "_thread": "import _thread, queue\ndone = queue.Queue()\n"
        "def work(name): import_module(name); done.put(1)\n"
        "for name in ('billing', 'shipping'): _thread.start_new_thread(work, (name,))\n"
        "done.get(timeout=60); done.get(timeout=60)\n",
    }[way]
    root = project(
        {
            "migrations.py": "from importlib import import_module\n" + ONE.format("first") + start,
            "billing.py": ONE.format("bill") + "from migrate_graph import ViewMigrationManager\n" + VIEW.format("V"),
            "shipping.py": ONE.format("ship"),
        }
    )
    loaded = load(root)
    assert sorted(each.name for each in loaded.migrations) == ["bill", "first", "ship"]
    assert [each.name for each in loaded.views] == ["V"]
    assert not migrations


def test_a_thread_that_ran_before_declares_for_the_process(project: Project) -> None:
    """A program's own thread is none of the file that is loaded meanwhile."""
    import threading

    from migrate_graph.authoring.store import collecting, is_collecting

    asked, answered, said = threading.Event(), threading.Event(), []

    def wait() -> None:
        asked.wait(20)
        said.append(is_collecting())
        answered.set()

    thread = threading.Thread(target=wait)
    thread.start()
    with collecting():
        asked.set()
        assert answered.wait(20)
    thread.join()
    assert said == [False]
