"""What the builder of the package asks for: the README with links that lead somewhere from the package index, and the project's links."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

REPOSITORY = runpy.run_path(str(Path(__file__).with_name("repository.py")))


class PackageHook(MetadataHookInterface):
    """Writes what depends on where the repository is."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the long description and the links."""
        place = REPOSITORY["repository"](os.environ)  # noqa: TID251 - a build is an edge: it is told by its environment
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": REPOSITORY["with_absolute_links"](text, place),
        }
        metadata["urls"] = REPOSITORY["urls"](place)
