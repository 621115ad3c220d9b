"""Types and constants of edwh-migrate, which programs use in their annotations."""

from __future__ import annotations

import re
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, get_args

MigrationOrderingMode: TypeAlias = Literal["legacy", "intertwined"]
VALID_MIGRATION_ORDERING_MODES = set(get_args(MigrationOrderingMode))
HeapKey: TypeAlias = tuple[int, int, int]
T_Dal = TypeVar("T_Dal")
MIGRATION_SUFFIX_RE = re.compile(r"(?P<first>\d+)(?:_(?P<second>\d+))?$")


class MigrationFn(Protocol):
    """The body of a migration."""

    @property
    def __name__(self) -> str:
        """Return the migration's name."""

    def __call__(self, db: Any, /) -> bool:
        """Change the database; return whether it succeeded."""
