"""The browser of these tests."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Start a headless Chromium: playwright's own, or the machine's."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: no browser to test the page in"
    )
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        except sync_api.Error as error:
            if os.environ.get("REQUIRE_BROWSER"):  # noqa: TID251 - one CI job must not skip
                raise
            pytest.skip(f"no Chromium to test the page in: {str(error).splitlines()[0]}")
        yield browser
        browser.close()
