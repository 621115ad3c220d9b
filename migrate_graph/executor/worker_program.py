"""The program of a worker: it is given the number of an inherited socket, and hears there first where its modules are."""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection


def _main() -> None:
    line = Connection(int(sys.argv[1]))
    sys.path[:] = line.recv()
    from migrate_graph.executor.worker import work

    work(line)


if __name__ == "__main__":
    _main()
