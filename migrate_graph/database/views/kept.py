"""Makes a manager for a view that has none, from the definition that the database stores."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from migrate_graph.database.views.catalog import Manager


class _Call(Struct, frozen=True):
    """A method that has no code of its own for `manager_text` to read, so that only `creates` and `drops` count as the manager's text."""

    function: Callable[[], None]

    def __call__(self) -> None:
        self.function()


def manager_for_unmanaged(
    name: str, what: str, *, up: Callable[[], None], down: Callable[[], None], fill_as_owner: bool = False
) -> Manager:
    """Return a manager that takes a view without a manager down, and brings it up.

    Args:
        name: name of the manager; it has a dot, which the name of a declared class cannot have.
        what: the kind of the view, and its name as SQL writes it.
        up: creates the view.
        down: drops the view.
        fill_as_owner: a materialized view is filled by the role that owns it.
    """
    said = {"creates": f"CREATE {what}", "drops": f"DROP {what}", "fill_as_owner": fill_as_owner}
    kind = type(name, (), {"up": _Call(up), "down": _Call(down), **said})
    manager: Manager = kind()
    return manager
