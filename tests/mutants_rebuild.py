# ruff: noqa: E501 - a table: one mutant a line
"""The safety lines of materialized views that are filled after the commit; see `mutants.py`."""

from __future__ import annotations

from mutant import Mutant

ONE = "tests/database/test_deferred.py"
TYPED = "tests/cli/test_cli_deferred.py"
KILLED = "tests/faults/test_deferred_killed.py"
JOBS = "tests/faults/test_jobs_deferred.py"
KEEPER = "database/views/keeper.py"
FILLS = "database/views/refreshing.py"

_SAID = (
    ("what is to be filled stands in the row", KEEPER, "                tuple(relation.identity for relation in each if relation.identity in unfilled),", "                (),", f"{ONE} -k 'fails_is_remembered or without_a_word or deferred_is_filled'"),
    ("what was empty stays so", KEEPER, 'if each.kind == "MATERIALIZED VIEW" and each.identity not in empty', 'if each.kind == "MATERIALIZED VIEW"', f"{ONE} -k empty_before"),
    ("what waits is stored as filled", "database/views/block.py", "[filled(each) if each.identity in unfilled else each for each", "[each for each", f"{ONE} -k 'comes_up_with_its_rows or fails_is_remembered'"),
    ("no rows are wanted where none are declared", KEEPER, 'and getattr(manager, "with_data", True)', "", f"{ONE} -k never_filled"),
    ("what reads it is deferred, too", "executor/views.py", "    return frozenset(wanted.union(*(nx.descendants(graph.uses, name) for name in wanted)))", "    return frozenset(wanted)", f"{ONE} -k 'deferred_is_filled'"),
    ("what is filled already is not filled twice", FILLS, "        elif not found.populated:  # else somebody was faster", "        else:", f"{ONE} -k fills_it_itself"),
    ("what is gone is forgotten", FILLS, "        if found is None:", "        if False:", f"{TYPED} -k by_hand"),
    ("one that reads another has its turn", FILLS, "            if len(left) in {0, len(waiting)}:", "            if True:", f"{ONE} -k other_order"),
    ("the next run fills first", "workflow/apply.py", "    if history.views_unfilled and fills:\n        _refresh(backend, observer, interruption)\n", "    if False:\n        _refresh(backend, observer, interruption)\n", f"{TYPED} -k 'next_run or by_hand'"),
    ("a run does not end well without rows", "workflow/apply.py", "        if left:\n            names = \", \".join", "        if False:\n            names = \", \".join", f"{TYPED} -k its_code"),
    ("a migration may have mended it", "workflow/apply.py", "        if left and self._may_be_mended(finished):", "        if False:", f"{TYPED} -k next_run"),
    ("what was tried last is not tried again", "workflow/apply.py", "        return not tried or durable[-1].name != together[-1]", "        return True", f"{TYPED} -k came_after"),
    ("a process of --jobs fills its own", "executor/refreshing.py", "self.run(managers if self.is_seated else None)", "self.run(None)", f"{JOBS} -k bystander"),
    ("what a dead worker left is filled", "executor/side_by_side.py", "        refresh_after(around, self._options, [result])", "        pass", f"{JOBS} -k dies"),
    ("our own work has its settings and lock", "database/postgres/backend.py", "        work.start_unmarked()\n", "", "tests/faults/test_pooler.py -k what_we_do"),
    ("a rehearsal fills before the next step", "executor/attempt.py", "        if self._around.fills_at_once and (self._views.unfilled or self._walk.waits_for_rows):", "        if False:", f"{TYPED} -k rehearsal"),
)  # fmt: skip

REBUILD = [Mutant(f"rebuild: {name}", file, old, new, tests) for name, file, old, new, tests in _SAID]
