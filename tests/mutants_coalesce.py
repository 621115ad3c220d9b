# ruff: noqa: E501 - a table: one mutant a line
"""The safety lines of steps that share a transaction; see `mutants.py`."""

from __future__ import annotations

from mutant import Mutant

ONE = "tests/database/test_coalescing.py"
CORE = "tests/unit/test_core_coalescing.py"
HELD = "database/views/held.py"

_SAID = (
    ("what ends its transaction is apart", "core/coalescing.py", "    return not migration.resumable and why_apart(migration) is None", "    return True", f"{CORE} -k shares_no"),
    ("a new value of an enum", "core/coalescing.py", "    return _fits(migration) and migration.facts.adds_enum_value is None", "    return _fits(migration)", f"{CORE} -k enum"),
    ("a part that waits", "executor/run.py", "            if segment is not None and self._can_begin(segment, progress):", "            if segment is not None:", f"{ONE} -k part_waits"),
    ("what was in the way stays down", HELD, "        stays = not any(map(is_unmanaged, block.names)) and self._held.is_needed_later(block.names)", "        stays = False", f"{ONE} -k made_once"),
    ("a statement that alters a table does not notice", HELD, "        if weaves and _ALTERS.match(text):", "        if False:", f"{ONE} -k made_once"),
    ("no session more than two", "database/postgres/backend.py", "        self._spare.close()  # a run has at most two sessions: the keeper and one that works", "        pass", f"{ONE} -k two_connections"),
)  # fmt: skip

COALESCE = [Mutant(f"coalesce: {name}", file, old, new, tests) for name, file, old, new, tests in _SAID]
