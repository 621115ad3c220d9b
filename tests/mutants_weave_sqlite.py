# ruff: noqa: E501 - a table: one mutant a line
"""The safety lines of views of SQLite that step aside; see `mutants.py`."""

from __future__ import annotations

from mutant import Mutant

ONE = "tests/database/test_weaving_sqlite.py"
TYPED = "tests/cli/test_cli_weaving_sqlite.py"
SENDS = "database/sqlite/weaving.py"
ASKS = "database/sqlite/obstacles.py"

_SAID = (
    ("nothing steps aside outside of a transaction", SENDS, "        if not connection.in_transaction:", "        if False:", f"{ONE} -k outside_of_a"),
    ("only what can break a view pays", SENDS, "        if not _BREAKS.match(statement):", "        if False:", f"{ONE} -k cost_nothing"),
    ("views are looked at before they may break", SENDS, "            self._looks.look(statement)\n", "            pass\n", f"{ONE} -k rebuilt_under"),
    ("what the body has broken is found", SENDS, "        self.must_look = True", "        pass", f"{ONE} -k must_hold"),
    ("a view comes up before it is named", SENDS, "        if self.is_named_in(statement):", "        if False:", f"{ONE} -k names_a_view"),
    ("what steps aside is not the migration's", "database/sqlite/recorder.py", "        (notes, self.notes), (recorder, self.recorder) = (self.notes, None), (self.recorder, None)", "        notes, recorder = self.notes, self.recorder", f"{TYPED} -k rehearsal_tells"),
    ("views left unreadable stop a plan", "database/sqlite/rehearsal.py", "                self._rehearsal.recorder.blocked_by(self._weaver.without_manager)", "                pass", f"{TYPED} -k stops_the_plan"),
    ("all that miss a table go together", ASKS, "            found = {each for each in self._seen if self._is_view(each) and self._misses_a_relation(self._seen[each])}", "            found = set()", f"{ONE} -k all_that_miss"),
    ("a column is found through a view", ASKS, "            found.add(table)  # without it, this view's column would get another name", "            pass", f"{ONE} -k gives_its_name"),
    ("a name ends where another one goes on", ASKS, "                row = max(rows, key=lambda row: len(row[1]))", "                row = rows[0]", f"{ONE} -k begins_another"),
    ("a view must be readable when it is up", ASKS, "        return replace(before, token=tuple(parts))", "        return before", f"{ONE} -k 'table_that_a_view or half_way'"),
    ("what was broken before is nobody's fault", ASKS, "            if seen.error or relation is None or not relation.is_view:", "            if relation is None or not relation.is_view:", f"{ONE} -k long_been_broken"),
    ("triggers write where they wrote", ASKS, "                self._put_triggers_back(name, relation)\n", "                pass\n", f"{ONE} -k rebuilt_under"),
    ("the text of before the body", ASKS, '            if first != seen.sql and self._ask(name, seen.name, seen.sql).error:', "            if False:", f"{ONE} -k rebuilt_under"),
)  # fmt: skip

WEAVE_SQLITE = [Mutant(f"weave on SQLite: {name}", file, old, new, tests) for name, file, old, new, tests in _SAID]
