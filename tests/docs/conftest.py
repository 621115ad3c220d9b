"""The site, built once for all tests that look at it."""

from __future__ import annotations

from pathlib import Path

import pytest
from site_stand import build_site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("material", reason="mkdocs-material builds the site, and is not installed here")
    return build_site(tmp_path_factory.mktemp("site"))
