"""What a release says of itself: version, changes, names, and what it brings along."""

from __future__ import annotations

import importlib
import re
import tomllib
from datetime import date
from importlib.metadata import version
from pathlib import Path

import pytest

import migrate_graph

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_newest_version_of_the_changelog_is_the_one_that_is_installed() -> None:
    found = re.findall(
        r"^## \[(.+?)\](?: - (\S+))?$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert found[0] == ("Unreleased", "")
    assert found[1][0] == migrate_graph.__version__
    dates = [date.fromisoformat(day) for _, day in found[1:]]
    assert dates == sorted(dates, reverse=True)


def test_every_public_name_stands_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    sections = importlib.import_module("api_page").SECTIONS
    assert {name for names in sections.values() for name in names} == set(migrate_graph.__all__) - {"__version__"}


def test_every_dependency_is_told_with_its_lowest_version_and_its_licence() -> None:
    rows = re.findall(
        r"^\| `([\w-]+)` \| ([\w.]+) \| [^|]+ \| [^|]+ \| [^|]+ \|$",
        (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    extras = PROJECT["optional-dependencies"]
    wanted = [
        *PROJECT["dependencies"],
        *(each for name in extras for each in extras[name] if name not in {"dev", "full"}),
    ]
    assert set(rows) == {tuple(each.split(">=")) for each in wanted}, "and none has an upper bound"


def test_the_metadata_is_whole() -> None:
    assert {"authors", "license", "keywords"} <= PROJECT.keys()
    assert {"urls", "readme"} <= set(PROJECT["dynamic"])
    for minor in (11, 12, 13):
        assert f"Programming Language :: Python :: 3.{minor}" in PROJECT["classifiers"]
    assert version("migrate-graph")  # of the environment that the tests run in
