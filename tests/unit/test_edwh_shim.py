"""The shim that lets every program of an environment find our names as edwh_migrate."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

SHIM = Path(__file__).parents[2] / "examples" / "edwh_migrate_shim"


def run(code: str, *site: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a program in an environment whose site-packages these directories are, as Python reads them when it starts."""
    program = f"import site\nfor each in {[str(each) for each in site]!r}: site.addsitedir(each)\n" + textwrap.dedent(
        code
    )
    return subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, env=env)


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """A directory with something installed that is called edwh_migrate."""
    package = tmp_path / "real" / "edwh_migrate"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("real = True\n")
    (package / "migrate.py").write_text("real = True\n")
    return package.parent


def test_it_costs_nothing_until_the_name_is_asked_for() -> None:
    done = run("import sys; print([name for name in sys.modules if name.startswith('migrate_graph.')])", SHIM)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.parametrize("beside", [True, False])
def test_the_name_means_this_package(real: Path, beside: bool) -> None:
    code = """
        import importlib.util
        from edwh_migrate.migrate import setup_db
        import edwh_migrate, edwh_migrate.view_migration_manager as views
        import migrate_graph
        assert setup_db is edwh_migrate.setup_db is migrate_graph.setup_db
        assert views.ViewMigrationManager is migrate_graph.ViewMigrationManager
        assert edwh_migrate.migrate.console_hook and not hasattr(edwh_migrate, "real")
        assert importlib.util.find_spec("edwh_migrate.postgres") is not None
        try:
            import edwh_migrate.nothing
        except ModuleNotFoundError:
            print("good")
    """
    done = run(code, *([real] if beside else []), SHIM)
    assert done.stdout.strip() == "good", done.stderr


def test_it_can_be_switched_off(real: Path) -> None:
    done = run("import edwh_migrate; print(edwh_migrate.real)", real, SHIM, EDWH_MIGRATE_SHIM="0")
    assert done.stdout.strip() == "True", done.stderr


def test_migrations_are_loaded_beside_it(tmp_path: Path) -> None:
    (tmp_path / "migrations.py").write_text("from edwh_migrate import migration\n@migration\ndef m(db): return True\n")
    code = f"""
        import edwh_migrate, migrate_graph.loader, pathlib
        assert [each.name for each in migrate_graph.loader.load(pathlib.Path({str(tmp_path)!r})).migrations] == ["m"]
        assert not edwh_migrate.migrations
        import edwh_migrate.migrate
        print("good")
    """
    done = run(code, SHIM)
    assert done.stdout.strip() == "good", done.stderr


def test_the_wheel_holds_what_starts_it(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="hatchling builds the wheel, and is not installed here")
    subprocess.run(
        [sys.executable, "-c", f"from hatchling.build import build_wheel; build_wheel({str(tmp_path)!r})"],
        check=True,
        cwd=SHIM,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"edwh_migrate_shim.py", "edwh_migrate_shim.pth"} <= set(names)
