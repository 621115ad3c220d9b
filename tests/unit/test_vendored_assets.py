"""Files that others made are what their origin says, and none lies here without one."""

import hashlib
import tomllib
from pathlib import Path

import pytest

ASSETS = Path(__file__).parents[2] / "migrate_graph" / "render" / "assets"
FILES = tomllib.loads((ASSETS / "ORIGINS.toml").read_text(encoding="utf-8"))["file"]
OURS = {"page.html", "page.css", "page.js", "ORIGINS.toml", "__init__.py"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file["path"])
def test_each_is_what_its_origin_has(file: dict[str, str]) -> None:
    assert hashlib.sha256((ASSETS / file["path"]).read_bytes()).hexdigest() == file["sha256"]
    assert file["origin"].startswith("https://")
    assert file["version"]
    assert (ASSETS / file["license"]).stat().st_size > 500


def test_every_foreign_file_has_an_origin() -> None:
    paths = [path for path in ASSETS.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    there = {str(path.relative_to(ASSETS)) for path in paths}
    assert there - OURS == {file["path"] for file in FILES} | {file["license"] for file in FILES}
