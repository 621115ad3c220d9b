"""Projects for the loader, each in a directory of its own, and what a loading must not leave behind."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from migrate_graph.core.model import Registry
from migrate_graph.errors import LoadError
from migrate_graph.loader import load

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
