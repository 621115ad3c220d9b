"""Who may use a migration's connection: the thread that runs the migration, in its own process."""

from __future__ import annotations

import os
import threading

_HINT = "gather in threads and processes, write in the body; or open a connection of your own there, outside of the migration"


class ForeignUse(RuntimeError):  # noqa: N818 - names what happened
    """A migration's `db` was used where it cannot be."""


class Owner:
    """The thread and the process in which a `db` was made.

    Attributes:
        refused: which other thread tried to use the `db`, in words; empty when none did.
    """

    def __init__(self) -> None:
        self.refused = ""
        self._thread = threading.get_ident()
        self._process = os.getpid()

    def check(self) -> None:
        """Refuse other threads and processes, at once: letting them wait would make them wait for the migration itself.

        Raises:
            ForeignUse: the caller is another thread, or a forked child.
        """
        self.check_process()
        if threading.get_ident() != self._thread:
            self.refused = f"the thread {threading.current_thread().name!r}"
            raise ForeignUse(
                f"db was used in {self.refused}: a migration has one connection, in its own thread; {_HINT}"
            )

    def check_process(self) -> None:
        """Refuse forked children.

        Raises:
            ForeignUse: the caller is a forked child.
        """
        if os.getpid() != self._process:
            raise ForeignUse(
                f"db was used in a forked child (pid {os.getpid()}): the connection is the migration's own; {_HINT}"
            )
