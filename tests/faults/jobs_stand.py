"""Migrations that run side by side, the gate that they wait at, and the processes that run them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

from child import executed
from fault_field import Field

assert executed  # the bodies below import it
HEAD = "import glob, os, time\nfrom child import executed, here\nfrom migrate_graph import ViewMigrationManager, migration\n"

# Opens when so many are inside; a body that is alone gives up. What is written down in files is there for good.
BARRIER = '''

def meet(group, number, of):
    """Wait until all of a group are inside at once."""
    open(f"in-{group}-{number}", "w").close()
    deadline = time.monotonic() + 40
    while len(glob.glob(f"in-{group}-*")) < of:
        assert time.monotonic() < deadline, f"{number} was alone in {group}"
        assert not glob.glob(f"in-{group + 1}-*"), "more are inside than there are jobs"
        time.sleep(0.02)
'''


def body(name: str, *lines: str, how: str = "independent=True") -> str:
    """Write a migration that makes a table of its name."""
    told = "".join(f"    {line}\n" for line in lines)
    return (
        f"\n\n@migration({how})\ndef {name}(db):\n    executed('{name}')\n"
        f"    db.executesql('CREATE TABLE {name} (id integer)')\n{told}    return True\n"
    )


WAITS = "db.executesql('SET lock_timeout = 0'); db.executesql('SELECT pg_advisory_lock_shared(4242, 1)')"
"""Waits until the test opens the gate, however long that takes: a body that gives up is tried again, and says something else then."""


FOR_EVER = (
    "collections.deque(itertools.chain(map(operator.not_, map(os.mkdir, ['deaf'])), itertools.repeat(None)), maxlen=0)"
)
"""A C function that keeps the interpreter; a directory shows that it has begun."""


@contextmanager
def gate(field: Field) -> Iterator[Any]:
    """Keep bodies waiting; what is given opens the gate."""
    with closing(field.connect()) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT pg_advisory_lock(4242, 1)")
        yield lambda: cursor.execute("SELECT pg_advisory_unlock(4242, 1)")


def wait_for_waiting(field: Field, number: int) -> None:
    """Wait until so many bodies stand at the gate."""
    asked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 4242 AND NOT granted"
    deadline = time.monotonic() + 60
    while field.query(asked) != [(number,)]:
        assert time.monotonic() < deadline, f"{number} bodies never stood at the gate"
        time.sleep(0.02)


def workers_of(process: Any) -> list[int]:
    """Return the processes that work for a run."""
    return [worker for server in servers_of(process) for worker in children_of(server)]


def servers_of(process: Any) -> list[int]:
    """Return the processes that workers of a run are forked from."""
    return [pid for pid in children_of(process.process.pid) if b"side_by_side.py" in command_of(pid)]


def children_of(pid: int) -> list[int]:
    """Return the children of a process."""
    with suppress(OSError), open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123 - of the system
        return [int(word) for word in file.read().split()]
    return []


def command_of(pid: int) -> bytes:
    """Return how a process was called."""
    with suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123 - as above
        return file.read()
    return b""


def is_gone(pid: int) -> bool:
    """Return whether a process has ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - as above
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until_gone(pids: list[int]) -> None:
    """Wait until processes have ended."""
    deadline = time.monotonic() + 60
    while not all(map(is_gone, pids)):
        assert time.monotonic() < deadline, f"some of {pids} live on"
        time.sleep(0.02)


def at_the_gate(field: Field, *, more: tuple[str, ...] = ()) -> Any:
    """Start a run with three bodies at the gate, and one behind them."""
    bodies = [body(f"m_{number}", WAITS, *more) for number in range(3)]
    field.write(HEAD + "".join(bodies) + body("n_4", how="requires=(m_0, m_1, m_2)"))
    process = field.open("apply", "--jobs", "3")
    wait_for_waiting(field, 3)
    return process
