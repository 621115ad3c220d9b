"""Loading runs a file once and leaves nothing behind."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from loader_stand import ONE, VIEW, Project, fault, names, nothing_left, project
from packaging.requirements import Requirement

from migrate_graph.authoring import migrations
from migrate_graph.core.model import BodyKind, Registry
from migrate_graph.edwh_names import edwh_migrate_modules
from migrate_graph.errors import LoadError
from migrate_graph.loader import load, load_project, user_imports
from migrate_graph.loader.imports import PACKAGES

__all__ = ["nothing_left", "project"]


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


def test_a_sibling_named_like_a_package_that_we_need_shadows_nobody(project: Project) -> None:
    """While the project is open, this package imports Redis, networkx and others for itself."""
    root = project(
        {"migrations.py": "import networkx, redis\n" + ONE.format("m")}
        | {f"{name}.py": "raise RuntimeError" for name in PACKAGES}
    )
    kept = {name: sys.modules.pop(name) for name in [*sys.modules] if name.partition(".")[0] in {"networkx", "redis"}}
    try:
        assert names(load(root)) == ["m"]
    finally:
        sys.modules.update(kept)


def test_the_packages_that_we_need_are_known() -> None:
    """All that this project itself requires, the server's and the cache's drivers too; what these bring along changes without us."""
    modules = set[str]()
    for told in distribution("migrate-graph").requires or []:
        needs = Requirement(told)
        if needs.marker is None or any(needs.marker.evaluate({"extra": extra}) for extra in ("postgres", "redis")):
            modules |= {
                file.parts[0].partition(".")[0]
                for file in distribution(needs.name).files or []
                if file.suffix == ".py" and len(file.parts) == 2
            }
    assert {"networkx", "psycopg2", "redis", "typer"} <= modules
    assert modules - PACKAGES == set()


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


@pytest.mark.parametrize(
    ("module", "used"),
    [
        ("edwh_migrate", "ViewMigrationManager, classproperty, setup_db"),
        (
            "edwh_migrate.migrate",
            "DAL, Field, TypeDAL, mark_migration, should_run, Path, Optional, os.sep, re.compile, datetime.datetime, TEN_MINUTES",
        ),
        ("edwh_migrate.view_migration_manager", "ViewMigrationManager, DAL, os.sep, t.Any, types.ModuleType, abc.ABC"),
        ("edwh_migrate.helpers", "classproperty"),
        ("edwh_migrate.constants", "CURRENT_MIGRATION"),
        ("edwh_migrate.postgres", "PostgresError, PostgresUndefinedTable"),
    ],
)
def test_a_star_gives_what_the_module_of_the_ancestor_has(project: Project, module: str, used: str) -> None:
    declared = ONE.format("m") if module != "edwh_migrate.migrate" else "@migration\ndef m(db): return True\n"
    assert names(load(project({"migrations.py": f"from {module} import *\n{used}\n{declared}"}))) == ["m"]


def test_typedal_in_annotations_is_pydal_where_it_is_not_installed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: installed(name, *rest) if name != "typedal" else None
    )
    text = "from edwh_migrate.migrate import DAL, TypeDAL\nassert TypeDAL is DAL\n" + ONE.format("m")
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
