"""A file of the project is shown relative to its root wherever it is told, also where a link leads to the project."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from migrate_graph.core.model import Migration
from migrate_graph.database.watching import _place
from migrate_graph.loader.paths import Places
from migrate_graph.tracebacks import user_location
from migrate_graph.user_files import shown_from
from migrate_graph.workflow.ways_back import told_of

BODY = """
def down(db):
    return frame() if db is None else 1 / 0
"""


@pytest.fixture(params=["itself", "by a link", "at the other end of a link"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """The directory that paths are relative to, and the same as the interpreter knows it."""
    real, link = tmp_path / "real", tmp_path / "link"
    (real / "db").mkdir(parents=True)
    (real / "db/migrations.py").write_text(BODY)
    link.symlink_to(real)
    return {"itself": (real, real), "by a link": (link, real)}.get(request.param, (real, link))


def down_in(folder: Path) -> Any:
    """Return the function of the file, as it is when it was loaded from there."""
    import sys

    names: dict[str, Any] = {"frame": lambda: sys._getframe(1)}
    exec(compile(BODY, str(folder / "db/migrations.py"), "exec"), names)
    return names["down"]


def test_the_place_of_a_way_back(root: tuple[Path, Path]) -> None:
    shown, real = root
    told = told_of(SimpleNamespace(root=shown), Migration("a", lambda _: True, down=down_in(real)))  # type: ignore[arg-type]
    assert str(told.source) == "db/migrations.py:2"


def test_the_place_of_an_error(root: tuple[Path, Path]) -> None:
    shown, real = root
    with pytest.raises(ZeroDivisionError) as caught:
        down_in(real)(1)
    assert str(user_location(caught.value, root=str(shown))) == "db/migrations.py:3"


def test_the_place_of_a_statement(root: tuple[Path, Path]) -> None:
    shown, real = root
    assert str(_place(down_in(real)(None), shown)) == "db/migrations.py:3"


def test_the_place_of_a_declaration(root: tuple[Path, Path]) -> None:
    shown, real = root
    assert Places(shown, shown).shown(str(real / "db/migrations.py")) == "db/migrations.py"


def test_what_lies_elsewhere_stays_as_it_is(tmp_path: Path) -> None:
    assert shown_from("/elsewhere/x.py", tmp_path) == "/elsewhere/x.py"
    assert shown_from("<string>", tmp_path) == "<string>"
