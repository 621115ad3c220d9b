"""What the builder of the site asks for: the link to the repository, and which pages a search prefers."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from repository import repository

# A guide answers a question, a reference lists everything: its many words would win each search otherwise.
WEIGHT = {"Guide": 4, "Reference": 1, "The project": 0.2}


def on_config(config: Any) -> Any:
    """Set the link to the repository, if somebody has told where it is."""
    place = repository(os.environ)  # noqa: TID251 - a build is an edge: it is told by its environment
    if place is not None:
        config.repo_url = place.url
        config.repo_name = place.host
    return config


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Set how much a page weighs in a search."""
    section = page.ancestors[-1].title if page.ancestors else "Guide"
    if section not in WEIGHT:
        raise ValueError(
            f"docs/site_hook.py does not say how much the section {section!r} of mkdocs.yml weighs in a search"
        )
    page.meta["search"] = {"boost": WEIGHT[section]}
    return markdown
