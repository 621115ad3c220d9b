# ruff: noqa: E501 - a table: one mutant a line
"""The safety lines of materialized views that are filled after the commit; see `mutants.py`."""

from __future__ import annotations

from mutant import Mutant

ONE = "tests/database/test_deferred.py"
TYPED = "tests/cli/test_cli_deferred.py"
KILLED = "tests/faults/test_deferred_killed.py"
JOBS = "tests/faults/test_jobs_deferred.py"
KEEPER = "database/views/keeper.py"
UP = "database/views/up.py"
SWAP = "tests/database/test_swap.py tests/database/test_swap_faults.py"
SWAP_KILLED = "tests/faults/test_swap_killed.py"
BESIDE = "database/views/beside.py"
BUILDER = "database/postgres/views/beside.py"
AROUND = "executor/views.py"
FILLS = "database/views/refreshing.py"

_SAID = (
    ("what is to be filled stands in the row", UP, "                tuple(relation.identity for relation in each if relation.identity in unfilled),", "                (),", f"{ONE} -k 'fails_is_remembered or without_a_word or deferred_is_filled'"),
    ("what was empty stays so", UP, 'if each.kind == "MATERIALIZED VIEW" and each.identity not in empty', 'if each.kind == "MATERIALIZED VIEW"', f"{ONE} -k empty_before"),
    ("what waits is stored as filled", "database/views/block.py", "[filled(each) if each.identity in unfilled else each for each", "[each for each", f"{ONE} -k 'comes_up_with_its_rows or fails_is_remembered'"),
    ("no rows are wanted where none are declared", UP, 'and getattr(manager, "with_data", True)', "", f"{ONE} -k never_filled"),
    ("what reads it is deferred, too", "core/ways.py", "    return frozenset(wanted.union(*(nx.descendants(graph.uses, name) for name in wanted)))", "    return frozenset(wanted)", f"{ONE} -k 'deferred_is_filled'"),
    ("what is filled already is not filled twice", FILLS, "        elif not found.populated:  # else somebody has refreshed it meanwhile", "        else:", f"{ONE} -k fills_it_itself"),
    ("what is gone is forgotten", FILLS, "        if found is None:", "        if False:", f"{TYPED} -k by_hand"),
    ("one that reads another has its turn", FILLS, "            if len(left) in {0, len(waiting)}:", "            if True:", f"{ONE} -k other_order"),
    ("the next run fills first", "workflow/repair.py", "    if history.views_unfilled and fills:\n        refresh(backend, observer, interruption, reverts=reverts)\n", "    if False:\n        refresh(backend, observer, interruption)\n", f"{TYPED} -k 'next_run or by_hand'"),
    ("a run does not end well without its records", "workflow/locked_run.py", "        if gone:", "        if False:", "tests/faults/test_ledger_meanwhile.py -k takes_records"),
    ("a run does not end well without rows", "workflow/locked_run.py", "        if left:\n            names = \", \".join", "        if False:\n            names = \", \".join", f"{TYPED} -k its_code"),
    ("a migration may have mended it", "workflow/locked_run.py", "        if left and self._may_be_mended(finished):", "        if False:", f"{TYPED} -k next_run"),
    ("what was tried last is not tried again", "workflow/locked_run.py", "        return not tried or durable[-1].name != together[-1]", "        return True", f"{TYPED} -k came_after"),
    ("a process of --jobs fills its own", "executor/refreshing.py", "self.run(managers if self.is_seated else None)", "self.run(None)", f"{JOBS} -k bystander"),
    ("what a dead worker left is filled", "executor/side_by_side.py", "        refresh_after(around, self._options, [result])", "        pass", f"{JOBS} -k dies"),
    ("our own work has its settings and lock", "database/postgres/backend.py", "        work.start_unmarked()\n", "", "tests/faults/test_pooler.py -k what_we_do"),
    ("a rehearsal fills before the next step", "executor/attempt.py", "        if self._around.fills_at_once and (self._views.unfilled or self._progress.waits_for_rows):", "        if False:", f"{TYPED} -k rehearsal"),
)  # fmt: skip

_BESIDE = (
    ("a body has the old view gone before it sends", "database/postgres/session/connection.py", "        self._make_room(kind)\n", "", f"{SWAP} -k says_anything"),
    ("another block has the outer one open before", KEEPER, "        if not self._taken().issuperset(map(name_of, (*down, *up))):", "        if False:", f"{SWAP} -k blocks_in_blocks"),
    ("what it reads may not go", "core/ways.py", "and not nx.ancestors(graph.uses, name) & names - own", "", f"{SWAP} -k is_in_the_block"),
    ("what is deferred is not built before", "core/ways.py", "and view.can_swap and name not in deferred", "and view.can_swap", f"{SWAP} -k deferred_it_comes"),
    ("a view that cannot is not tried", "core/ways.py", "view.rebuild is Rebuild.SWAP and view.can_swap", "view.rebuild is Rebuild.SWAP", f"{SWAP} -k cannot_be_built"),
    ("one without rows stays so", BESIDE, '        if old[1].is_empty:', '        if False:', f"{SWAP} -k without_rows"),
    ("another schema is another view", BESIDE, "if new is None or parted(new[1].identity)[0] != parted(old.identity)[0]:", "if new is None:", f"{SWAP} -k stands_in_another"),
    ("what was left is dropped first", BESIDE, "        self._builder.drop(built.temporary_name)  # an earlier run may have left one behind a COMMIT\n", "", f"{SWAP} -k death_has_left"),
    ("a COMMIT leaves nothing of ours", KEEPER, "            if isinstance(error.__cause__, CommittedInside):\n                with self.working():\n", "            if False:\n                with self.working():\n", f"{SWAP} -k commit_of_a_reader"),
    ("what fails is undone", KEEPER, "            with self.working(), self._catalog.atomic():\n                self._build", "            with self.working():\n                self._build", f"{SWAP} -k 'query_that_fails or nobody_has or reads_the_view_itself'"),
    ("names are cut as the server does", BESIDE, "self._described(self._as_cut(plan.name))", "self._described(plan.name)", f"{SWAP} -k every_kind"),
    ("names of indexes are cut, too", BESIDE, "built.name_for(cut[each])", "built.name_for(each)", f"{SWAP} -k every_kind"),
    ("indexes run as the owner", BUILDER, "            for statement in _owner_change(old, new):\n                self._send(new, statement)\n", "", f"{SWAP} -k another_owner"),
    ("indexes by hand are built before", BUILDER, "        if is_other and (rest := item.behind_names(old.identity)):", "        if False:", f"{SWAP} -k before_the_new_one"),
    ("the planner knows before", BUILDER, '    if "planner statistics" in aspects and', '    if False and', f"{SWAP} -k before_the_new_one"),
    ("older snapshots find the rows", "authoring/sql_view.py", '(f"{create}\\n WITH NO DATA", f"REFRESH MATERIALIZED VIEW {name}", *others)', "(create, *others)", f"{SWAP} -k began_before"),
)  # fmt: skip

REBUILD = [Mutant(f"rebuild: {name}", file, old, new, tests) for name, file, old, new, tests in (*_SAID, *_BESIDE)]
