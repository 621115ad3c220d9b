"""Where this project's repository is: told by whoever builds a site or a release, and never written down here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

VARIABLE = "MIGRATE_GRAPH_REPOSITORY"
_ROOT = Path(__file__).resolve().parents[1]
LOCAL_LINK = re.compile(r"(?P<image>!?)\[(?P<words>[^\]]*)\]\((?!#|[a-z]+:)(?P<target>[^)\s]+)\)")


class Repository(NamedTuple):
    """The address of a repository, and the revision of it that is being built."""

    url: str
    revision: str = "HEAD"

    @property
    def host(self) -> str:
        """Return what readers call the place."""
        name = urlsplit(self.url).hostname or ""
        return {"github.com": "GitHub", "gitlab.com": "GitLab"}.get(name, name)

    def page(self, path: str) -> str:
        """Return the address that shows a file."""
        return f"{self.url}/{self._files}blob/{self.revision}/{path}"

    def file(self, path: str) -> str:
        """Return the address of a file's own bytes, as an image needs it."""
        return f"{self.url}/{self._files}raw/{self.revision}/{path}"

    def issues(self) -> str:
        """Return the address of its issues."""
        return f"{self.url}/{self._files}issues"

    @property
    def _files(self) -> str:
        return "-/" if "gitlab" in (urlsplit(self.url).hostname or "") else ""


def repository(environ: Mapping[str, str]) -> Repository | None:
    """Return the repository that the environment names, or None: a link to a guessed place is worse than none.

    `MIGRATE_GRAPH_REPOSITORY` wins; then what GitHub Actions and GitLab CI set by themselves in a job that has checked out this project. In
    a job of another one, which only installs this, they name the other one.

    Args:
        environ: The environment of the build.

    Raises:
        ValueError: The address is not one that a browser can open.
    """
    source, url = VARIABLE, environ.get(VARIABLE, "")
    checkout = environ.get("GITHUB_WORKSPACE") or environ.get("CI_PROJECT_DIR")
    if not url and checkout and Path(checkout).resolve() == _ROOT:
        source, url = "CI_PROJECT_URL", environ.get("CI_PROJECT_URL", "")
        if not url and environ.get("GITHUB_SERVER_URL") and environ.get("GITHUB_REPOSITORY"):
            source, url = "GITHUB_SERVER_URL", f"{environ['GITHUB_SERVER_URL']}/{environ['GITHUB_REPOSITORY']}"
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme not in {"https", "http"} or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError(f"{source} must be like https://host/owner/name, without a user and without parameters")
    revision = environ.get("GITHUB_SHA") or environ.get("CI_COMMIT_SHA") or "HEAD"
    return Repository(url.rstrip("/").removesuffix(".git"), revision)


def with_absolute_links(text: str, place: Repository | None) -> str:
    """Return a page with links that lead somewhere from anywhere, or as it is if nobody has told where the repository is."""
    if place is None:
        return text

    def absolute(link: re.Match[str]) -> str:
        address = place.file if link["image"] else place.page
        return f"{link['image']}[{link['words']}]({address(link['target'])})"

    return LOCAL_LINK.sub(absolute, text)


def urls(place: Repository | None) -> dict[str, str]:
    """Return the links of the package index to this project."""
    index = "https://pypi.org/project/migrate-graph/"
    if place is None:
        return {"Homepage": index, "Changelog": f"{index}#history"}
    return {
        "Homepage": place.url,
        "Documentation": place.page("docs/index.md"),
        "Changelog": place.page("CHANGELOG.md"),
        "Issues": place.issues(),
    }
