"""networkx, imported when it is first used: the import takes longer than most runs, and many runs do not need it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = ["nx"]


class _Late:
    """Stands for a module, and imports it when one of its attributes is used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> object:
        return getattr(import_module(self._name), attribute)


if TYPE_CHECKING:
    import networkx as nx
else:
    nx = _Late("networkx")
