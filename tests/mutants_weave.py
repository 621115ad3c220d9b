# ruff: noqa: E501 - a table: one mutant a line
"""The safety lines of views that step aside; see `mutants.py`."""

from __future__ import annotations

from mutant import Mutant

ONE = "tests/database/test_weaving.py tests/database/test_weaving_refused.py"
CASCADE = "tests/database/test_weaving_cascade.py"
TYPED = "tests/cli/test_cli_weaving.py"
SENDS = "database/postgres/views/weaving.py"
WEAVER = "database/views/weaving.py"
ASKS = "database/postgres/views/obstacles.py"

_SAID = (
    ("an error that is no refusal is the body's", SENDS, "                if error.pgcode not in REFUSALS or connection.closed:", "                if connection.closed:", f"{ONE} -k says_the_words"),
    ("the transaction is aborted, as after any error", SENDS, "                connection.abort(_NOWHERE)  # the body must see an aborted transaction, as after any SQL error", "                pass", f"{ONE} -k 'swallowed or caught_by'"),
    ("texts that set savepoints are left alone", SENDS, "        if not may_block(text) or _SAVEPOINTS.search(text):", "        if not may_block(text):", f"{ONE} -k sets_savepoints"),
    ("only the body's own thread", SENDS, " or threading.get_ident() != self._thread:", ":", f"{ONE} -k another_thread"),
    ("only statements that can be blocked pay", SENDS, "        if not may_block(text) or _SAVEPOINTS", "        if _SAVEPOINTS", f"{ONE} -k cost_nothing"),
    ("comments stand before a first word", SENDS, '    if "--" not in text and "/*" not in text:', "    if True:", f"{ONE} -k however"),
    ("what is sent meanwhile is ours", WEAVER, "        return self.is_over or self._keeper.is_at_work", "        return self.is_over", f"{ONE} -k 'steps_aside or never_woven'"),
    ("what is open in a block is not taken again", WEAVER, "        if self._keeper.is_open(down):", "        if False:", f"{ONE} -k rolled_back_in_a_block"),
    ("nothing foreign goes down", WEAVER, "        if foreign:", "        if False:", f"{ONE} -k 'temporary or extension'"),
    ("nothing without a manager goes down", WEAVER, "        if unmanaged and not self._company.keeps_unmanaged:", "        if False:", f"{ONE} -k nobody"),
    ("a row of nobody's view is forgotten", WEAVER, "            self._ledger.forget([name for name in aside.kept if name in down and name not in self._keeper.unfilled])", "            pass", f"{ONE} -k is_kept_where"),
    ("what is down is asked of the ledger", WEAVER, "if row.state is ViewState.DOWN and not self._keeper.is_open([name])", "if not self._keeper.is_open([name])", f"{ONE} -k 'rollback or savepoints'"),
    ("what a block has down stays down in it", WEAVER, "if row.state is ViewState.DOWN and not self._keeper.is_open([name])", "if row.state is ViewState.DOWN", f"{ONE} -k keeps_it_down"),
    ("only what is missed is told", WEAVER, "        if not self.is_named_in(str(error)):", "        if not self._aside:", f"{ONE} -k misses_a_view"),
    ("other views of a manager come along", WEAVER, "            wanted = set(self._obstacles.find(others).values()) if others else set()", "            wanted = set()", f"{ONE} -k two_views_of_one_manager"),
    ("a view comes up before it is named", SENDS, "        if connection.weaves and self.is_named_in(text):", "        if False:", f"{ONE} -k 'names_a_view or after_a_commit'"),
    ("half-way it stays down", WEAVER, "                if gone or self._keeper.misses_something(error):", "                if False:", f"{ONE} -k half_way"),
    ("a successor takes over", WEAVER, "        if set(after) == set(names):", "        if True:", f"{ONE} -k 'successor or window'"),
    ("types are compared", WEAVER, "                if after.get(column, before) != before:", "                if False:", f"{ONE} -k steps_aside"),
    ("a view that somebody has just dropped", "database/postgres/views/blockers.py", "{oid: text for oid, text in ask(_VIEWS_HERE) if text}", "{oid: text for oid, text in ask(_VIEWS_HERE)}", f"{ONE} -k dropped_meanwhile"),
    ("a column that the error names", ASKS, "        if len(said) != 1:  # a word of the message may be the name of a column, so it is not certain which one is meant", "        if len(said) < 1:", f"{ONE} -k word_of_the_message"),
    ("views are up when it is asked what must hold", "executor/attempt.py", "        if self._views.must_come_back:\n", "        if False:\n", f"{ONE} -k must_hold"),
    ("a cascade is looked at", SENDS, " if _CASCADING.search(text) else {}", " if False else {}", f"{CASCADE} -k 'DO or procedure'"),
    ("a cascade is taken back", SENDS, "                mark.remove()\n                self._save(taken)", "                self._save(taken)", f"{CASCADE} -k 'takes_no_managed'"),
    ("what DROP VIEW names is meant to go", WEAVER, "        named = words_of(text) if _DROPS_VIEWS.search(text) else ()", "        named = ()", f"{CASCADE} -k meant_to_go"),
    ("a column has the name of a view", WEAVER, " if _DROPS_VIEWS.search(text) else ()", "", f"{CASCADE} -k called_as"),
    ("@migration(weave=False)", "executor/attempt.py", "self._around.weaving.wanted and self._migration.weave", "self._around.weaving.wanted", f"{ONE} -k wants_the_error"),
    ("a plan ends with 3", "workflow/rehearse.py", "        return ExitCode.INVALID_GRAPH if blocked else ExitCode.FAILED", "        return ExitCode.FAILED", f"{TYPED} -k stops_the_plan"),
    ("a repaired view of nobody has no row", "database/views/repair.py", "        if is_unmanaged(row.manager):", "        if False:", f"{TYPED} -k repaired"),
)  # fmt: skip

WEAVE = [Mutant(f"weave: {name}", file, old, new, tests) for name, file, old, new, tests in _SAID]

WINDOWS = "tests/database/test_windows.py"
CORE = "tests/unit/test_core_windows.py"
SHOWN = "tests/cli/test_cli_windows.py"
TURN = "executor/views.py"
BACK = "tests/database/test_revert_weaving.py"

_TURNED = (
    ("views are up before the windows turn", TURN, "            self.work.views.check_complete()\n        self._learning(", "            pass\n        self._learning(", f"{WINDOWS} -k stay_down"),
    ("a swallowed error is told first", TURN, "        self.work.check()\n        if self.were_opened:\n            self.work.views.check_complete()\n        self._learning(", "        if self.were_opened:\n            self.work.views.check_complete()\n        self._learning(", f"{WINDOWS} -k swallowed"),
    ("what was dropped by hand is not dropped again", TURN, "        if gone:\n            views.forget", "        if False:\n            views.forget", f"{WINDOWS} -k dropped_by_hand"),
    ("what exists without a record is there", TURN, "        if foreign := self._unrecorded - built:", "        if (foreign := self._unrecorded - built) and False:", f"{SHOWN} -k exist_already"),
    ("unless another one has made it", "database/views/keeper.py", "            if any(each in keys and identities.get(keys[each], \"\") not in made for each in names)", "            if any(each in keys for each in names)", f"{SHOWN} -k exist_already"),
    ("or it is to replace that", "workflow/project.py", " and history.view_texts.keys().isdisjoint(predecessors(name))", "", f"{SHOWN} -k faked"),
    ("undoing opens no windows", "executor/revert.py", "        return False\n\n    def open_undone", "        return super().has_turn()\n\n    def open_undone", f"{SHOWN} -k revert"),
    ("views step aside for a way back", "executor/revert.py", "function=self._undo, after=None, resumable=False)", "function=self._undo, after=None, resumable=False, weave=False)", f"{BACK} -k 'aside_for_a_down or stops_it'"),
    ("where that is switched on", "workflow/locked_run.py", "RunOptions(reverts=True, weaving=weaving_options(self._config))", "RunOptions(reverts=True)", f"{BACK} -k 'switched_off or nobody'"),
    ("what an opened view reads is up before it", TURN, "            self._clear_the_way(moment.used_by(block.up))", "            pass", f"{BACK} -k aside_for_a_down"),
    ("undoing takes away nothing that came up by chance", "core/undoing.py", ", late=False)", ")", f"{CORE} -k undoing"),
    ("the last step waits for all", "core/lanes.py", "            mine |= dict.fromkeys(takewhile(migration.name.__ne__, waits), WaitKind.VIEWS)", "            pass", f"{CORE} -k side_by_side"),
    ("workers know that there are windows", "executor/worker.py", "replace(loaded.registry, views=views, windows=assignment.windows)", "replace(loaded.registry, views=views)", f"{SHOWN} -k side_by_side"),
    ("workers know what is late", "executor/side_by_side.py", "            overdue=self._overdue,", "            overdue={},", f"{SHOWN} -k side_by_side"),
    ("what is made by hand is taken over", "core/timeline.py", "            down=tuple(reversed(now.dependencies_first(moved | first))),", "            down=tuple(reversed(now.dependencies_first(moved))),", f"{WINDOWS} -k by_hand"),
    ("what went unnoticed is named in the end", "workflow/locked_run.py", "        if missing:\n            names = [f", "        if False:\n            names = [f", "tests/faults/test_views_dropped_unnoticed.py"),
    ("readers go down before a hand-over", "core/timeline.py", "        moved = gone | self._readers_of(gone, built)", "        moved = set(gone)", f"{CORE} -k takes_over"),
)  # fmt: skip

WEAVE += [Mutant(f"windows: {name}", file, old, new, tests) for name, file, old, new, tests in _TURNED]
