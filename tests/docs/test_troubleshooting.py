"""The page of messages speaks of messages that there are."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
# As it is shown: literals that follow each other are one text.
SOURCES = re.sub(
    r'"\s*\n\s*f?"',
    "",
    "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "migrate_graph").rglob("*.py"))),
)
SERVERS = {
    "cannot run inside a transaction block",
    "VACUUM",
    "CREATE INDEX CONCURRENTLY",
    "cannot drop",
    "because other objects depend on it",
}
"""What the database says or is told, not what we say."""
HEADINGS = re.findall(r"^### (.+)$", PAGE.partition("\n## It does not find my project")[2], re.MULTILINE)
MESSAGES = sorted(
    {
        part.strip()
        for heading in HEADINGS
        for quoted in re.findall(r"`([^`]+)`", heading)
        for part in quoted.split("…")
        if part.strip()
    }
    - SERVERS
)


@pytest.mark.parametrize("message", MESSAGES)
def test_the_message_exists(message: str) -> None:
    assert message in SOURCES


def test_the_page_speaks_of_many() -> None:
    assert len(MESSAGES) > 15
