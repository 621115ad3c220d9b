"""Links to the repository: on the site, in the README of the package index, in the package's links; or none, if nobody says where it is."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from email import message_from_string
from email.message import Message
from pathlib import Path
from types import ModuleType

import pytest
from site_stand import ROOT, build_site, without_a_repository

PLACE = "https://code.example.org/people/migrations"
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def told() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs")
        yield importlib.import_module("repository")


def metadata_of_a_wheel(directory: Path, **environ: str) -> Message:
    """Build the wheel as a release does, and return what the package index reads of it."""
    subprocess.run(
        [sys.executable, "-c", f"from hatchling.build import build_wheel; build_wheel({str(directory)!r})"],
        check=True, cwd=ROOT, env=without_a_repository() | environ, capture_output=True,
    )  # fmt: skip
    (wheel,) = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_string(archive.read(name).decode("utf-8"))


def targets(text: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", text)


def test_a_wheel_of_a_release_has_links_that_lead_somewhere(tmp_path: Path) -> None:
    metadata = metadata_of_a_wheel(tmp_path, MIGRATE_GRAPH_REPOSITORY=f"{PLACE}.git", GITHUB_SHA="0123abc")
    links = dict(str(url).split(", ") for url in metadata.get_all("Project-URL", []))
    assert links == {
        "Homepage": PLACE,
        "Documentation": f"{PLACE}/blob/0123abc/docs/index.md",
        "Changelog": f"{PLACE}/blob/0123abc/CHANGELOG.md",
        "Issues": f"{PLACE}/issues",
    }
    text = metadata.get_payload()
    assert isinstance(text, str)
    found = targets(text)
    assert len(found) == len(targets(README)) > 20
    for target in found:
        match = re.fullmatch(rf"{PLACE}/(blob|raw)/0123abc/([^#]+)(#[\w-]+)?", target)
        assert match is not None, f"{target} leads nowhere from the package index"
        assert (ROOT / match[2]).exists()
        assert (match[1] == "raw") == match[2].endswith(".svg"), "an image is shown only as its own bytes"


def test_a_wheel_that_nobody_released_has_the_readme_as_it_is_and_no_invented_place(tmp_path: Path) -> None:
    metadata = metadata_of_a_wheel(tmp_path)
    text = metadata.get_payload()
    assert isinstance(text, str)
    assert targets(text) == targets(README)
    assert all(", https://pypi.org/project/migrate-graph/" in str(url) for url in metadata.get_all("Project-URL", []))


def test_the_site_links_to_the_repository_only_if_somebody_says_where_it_is(site: Path, tmp_path: Path) -> None:
    linked = build_site(tmp_path, CI_PROJECT_URL=PLACE, CI_PROJECT_DIR=str(ROOT))
    for page in ("index.html", "views/index.html", "troubleshooting/index.html"):
        assert "md-source__repository" not in (site / page).read_text(encoding="utf-8")
        html = (linked / page).read_text(encoding="utf-8")
        link = re.search(r'<a href="([^"]+)"[^>]*class="md-source".*?md-source__repository">\s*(\S+)', html, re.DOTALL)
        assert link is not None
        assert link.groups() == (PLACE, "code.example.org")


@pytest.mark.parametrize(
    ("environ", "url", "page"),
    [
        ({"MIGRATE_GRAPH_REPOSITORY": f"{PLACE}/"}, PLACE, f"{PLACE}/blob/HEAD/a.md"),
        (
            {
                "GITHUB_SERVER_URL": "https://github.com",
                "GITHUB_REPOSITORY": "o/n",
                "GITHUB_SHA": "1f",
                "GITHUB_WORKSPACE": str(ROOT),
            },
            "https://github.com/o/n",
            "https://github.com/o/n/blob/1f/a.md",
        ),
        (
            {"CI_PROJECT_URL": "https://gitlab.example.org/g/n", "CI_COMMIT_SHA": "1f", "CI_PROJECT_DIR": f"{ROOT}/"},
            "https://gitlab.example.org/g/n",
            "https://gitlab.example.org/g/n/-/blob/1f/a.md",
        ),
        (
            {"CI_PROJECT_URL": "https://gitlab.example.org/mirror/n", "MIGRATE_GRAPH_REPOSITORY": PLACE},
            PLACE,
            f"{PLACE}/blob/HEAD/a.md",
        ),
    ],
)
def test_who_says_where_it_is(told: ModuleType, environ: dict[str, str], url: str, page: str) -> None:
    place = told.repository(environ)
    assert place.url == url
    assert place.page("a.md") == page


OF_ANOTHER = {
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "o/n",
    "CI_PROJECT_URL": "https://gitlab.example.org/g/n",
}
"""What the job of a project has in its environment that installs this one from its source."""


@pytest.mark.parametrize(
    "environ",
    [
        {}, {"GITHUB_REPOSITORY": "o/n"}, {"MIGRATE_GRAPH_REPOSITORY": ""}, OF_ANOTHER,
        OF_ANOTHER | {"GITHUB_WORKSPACE": str(ROOT.parent), "CI_PROJECT_DIR": str(ROOT.parent)},
    ],
)  # fmt: skip
def test_nobody_says_where_it_is(told: ModuleType, environ: dict[str, str]) -> None:
    assert told.repository(environ) is None
    assert told.with_absolute_links("[a](docs/a.md)", None) == "[a](docs/a.md)"


@pytest.mark.parametrize(
    "address",
    ["git@host:owner/name.git", "owner/name", "https://user:secret@host/o/n", "https://user@host/o/n", "file:///srv/n"],
)
def test_an_address_that_no_browser_opens_stops_the_build(told: ModuleType, address: str) -> None:
    with pytest.raises(ValueError, match="MIGRATE_GRAPH_REPOSITORY") as caught:
        told.repository({"MIGRATE_GRAPH_REPOSITORY": address})
    assert "secret" not in str(caught.value)


def test_the_variable_that_is_wrong_is_named(told: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"^CI_PROJECT_URL must be"):
        told.repository({"CI_PROJECT_URL": "owner/name", "CI_PROJECT_DIR": str(ROOT)})


def test_only_links_into_the_repository_are_changed(told: ModuleType) -> None:
    text = "[a](docs/a.md#b) ![c](docs/c.svg) [d](#d) [e](https://e.example) [f](mailto:f@example.org)"
    place = told.repository({"MIGRATE_GRAPH_REPOSITORY": PLACE})
    assert told.with_absolute_links(text, place) == (
        f"[a]({PLACE}/blob/HEAD/docs/a.md#b) ![c]({PLACE}/raw/HEAD/docs/c.svg) "
        "[d](#d) [e](https://e.example) [f](mailto:f@example.org)"
    )


def test_no_host_of_the_repository_is_written_down() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"readme", "urls"} <= set(settings["dynamic"])
    assert "repo_url" not in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
