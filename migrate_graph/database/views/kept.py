"""Makes a manager of a view that has none: what the database itself says of it creates it again."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from migrate_graph.database.views.catalog import Manager


class _Call(Struct, frozen=True):
    """A method without a text of its own: what a view without a manager says of itself is its definition alone."""

    function: Callable[[], None]

    def __call__(self) -> None:
        self.function()


def manager_of_nobodys(
    name: str, what: str, *, up: Callable[[], None], down: Callable[[], None], fill_as_owner: bool = False
) -> Manager:
    """Return what takes a view without a manager down, and brings it up.

    Args:
        name: what the manager is called; it has a dot, which no class has.
        what: the kind of the view, and its name as SQL writes it.
        up: creates it.
        down: drops it.
        fill_as_owner: a materialized view is filled as the one who owns it.
    """
    said = {"creates": f"CREATE {what}", "drops": f"DROP {what}", "fill_as_owner": fill_as_owner}
    kind = type(name, (), {"up": _Call(up), "down": _Call(down), **said})
    manager: Manager = kind()
    return manager
