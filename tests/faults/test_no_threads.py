"""A machine that gives no thread more: a run ends in words, whichever thread it was, and no migration is blamed."""

from __future__ import annotations

import os
import subprocess
import sys

from fault_field import Field

from migrate_graph.errors import ExitCode

_PROGRAM = """
import sys
import threading

allowed, start = int(sys.argv.pop(1)), threading.Thread.start


def refused(thread):
    global allowed
    allowed -= 1
    if allowed < 0:
        print("refused:", thread.name, file=sys.stderr)
        raise RuntimeError("can't start new thread")
    start(thread)


threading.Thread.start = refused
from migrate_graph.cli import main

raise SystemExit(main())
"""

_MIGRATION = """
@migration
def one_{number}(db):
    db.executesql("CREATE TABLE one_{number} (id integer)")
    return True
"""


def test_whichever_thread_is_refused(anywhere: Field) -> None:
    anywhere.write(_PROGRAM, "limited.py")
    migrations, refused = "from migrate_graph import migration\n", set[str]()
    environ = anywhere.env | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for allowed in range(30):
        migrations += _MIGRATION.format(number=allowed)
        anywhere.write(migrations)
        ended = subprocess.run(
            [sys.executable, "limited.py", f"{allowed}", "apply"],
            cwd=anywhere.path, env=environ, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        names = [
            line.partition(": ")[2].removeprefix("migrate_graph ")
            for line in ended.stderr.splitlines()
            if line.startswith("refused: ")
        ]
        if not names:
            assert ended.returncode == ExitCode.OK
            break
        refused.update(names)
        # Nobody needs the one that asks what a statement waits for.
        assert ended.returncode == (ExitCode.OK if {*names} == {"watch"} else ExitCode.FAILED), ended.stderr
        assert ended.returncode == ExitCode.OK or "error: no thread can be started" in ended.stderr
        assert ended.returncode == ExitCode.OK or "raise the limits on memory and on threads" in ended.stderr
        assert "FAILED" not in ended.stderr
    assert refused >= {"heartbeat", "signals", "watch", *(["connect", "statements"] if anywhere.is_postgres else [])}
    assert anywhere.apply().code == ExitCode.OK
