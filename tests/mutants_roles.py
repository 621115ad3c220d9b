# ruff: noqa: E501 - a table: one mutant a line
"""The safety lines of bodies that become another role; see `mutants.py`."""

from __future__ import annotations

from mutant import Mutant

ONE = "tests/database/test_views_roles.py"
ACTS = "database/postgres/session/as_ourselves.py"
WORK = "database/postgres/work.py"

_SAID = (
    ("the tool's tables are written as ourselves", ACTS, "        if was is None or now is None or now == was:", "        if True:", f"{ONE} -k 'survive and own'"),
    ("for the transaction alone", ACTS, "        local = connection.info.transaction_status == INTRANS", "        local = False", f"{ONE} -k ends_with_it"),
    ("the user is set only where it is another one", ACTS, '("session_authorization", "role") if now[0] != then[0] else ("role",)', '("session_authorization", "role")', f"{ONE} -k 'survive and none'"),
    ("what was begun by hand is not ended", WORK, "            if begun_by_hand or self._connection.who_before is not None:", "            if False:", f"{ONE} -k begins_by_hand"),
    ("a marker is written as ourselves at once", WORK, "        with self._ourselves.acting():", "        if True:", f"{ONE} -k 'begins_by_hand'"),
    ("who it was is asked first", "database/postgres/session/connection.py", "                self.who_before = cursor.fetchone()", "                pass", f"{ONE} -k 'survive and own'"),
    ("an error leaves the role", ACTS, "            if not aborted:", "            if False:", f"{ONE} -k 'survives_an_error and none'"),
)  # fmt: skip

ROLES = [Mutant(f"roles: {name}", file, old, new, tests) for name, file, old, new, tests in _SAID]
