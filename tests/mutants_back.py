# ruff: noqa: E501 - a table: one mutant a line
"""The safety lines of going back, of sealed plans and of drift; see `mutants.py`."""

from __future__ import annotations

from mutant import Mutant

CORE = "tests/unit/test_core_way_back.py"
AUTO = "tests/database/test_down_auto.py"
APPROVED = "tests/database/test_approved.py"
CONDITIONS = "tests/database/test_conditions.py -k rehearsal_asks"
DOWN = "tests/database/test_revert.py"
KILLED = "tests/faults/test_revert_faults.py"
TYPED = "tests/cli/test_cli_revert.py"
SEALED = "tests/unit/test_core_sealed.py"
SEALS = "tests/cli/test_cli_sealed.py"
DRIFT = "tests/unit/test_core_drift.py"
DRIFTS = "tests/cli/test_cli_drift.py"
WAY = "core/way_back.py"
FORTH = "workflow/laboratory/back_and_forth.py"
WAYS = "workflow/ways_back.py"
SEAL = "core/sealed.py"
REVERT = "workflow/revert.py"

_SAID = (
    ("a statement that nobody approved is not sent", "executor/approved.py", "            self._others[shape] = None\n            self.refuse()", "            self._others[shape] = None", f"{SEALS} -k 'refused_where'"),
    ("it fails also where the body has caught that", "executor/attempt.py", "            self._listener.refuse()\n", "", f"{SEALS} -k 'refused_where'"),
    ("what was sent besides is told", "executor/attempt.py", "                self._warn(remark)", "                pass", f"{SEALS} -k 'other_statements_are_told'"),
    ("what is sent on a new connection is heard", "database/postgres/work.py", "        connection.hears = self._hears", "        pass", f"{APPROVED} -k 'postgres and new'"),
    ("what is sent on a new connection of SQLite is heard", "database/sqlite/work.py", "        self._connection.hears = self._hears\n\n    def _execute", "        pass\n\n    def _execute", f"{APPROVED} -k 'sqlite and new'"),
    ("what the configured backup has done is not derived", FORTH, "        for name in place.history.applied & set(names):", "        for name in ():", f"{AUTO} -k configured_backup"),
    ("a condition is asked in a rehearsal, too", "executor/attempt.py", "                    refused = self._after_body(work)", "                    pass", CONDITIONS),
    ("rows of older tables", WAY, "        _of_rows(seen, own | theirs, at),", "        (),", f"{CORE} -k rows_of_older"),
    ("what may have gone otherwise elsewhere", WAY, "        _of_conditions(seen, own, theirs),", "        (),", f"{CORE} -k otherwise_elsewhere"),
    ("what could not be watched", WAY, "for why in seen.not_rehearsed),", "for why in ()),", f"{CORE} -k not_be_watched"),
    ("what was there before", WAY, "        if change.before is not None:", "        if False:", f"{CORE} -k there_before"),
    ("what is said of older things", WAY, "            if not _is_about(fact.identity, named):", "            if False:", f"{CORE} -k there_before"),
    ("what nothing drops", WAY, "            not drop_of(change)", "            False", f"{CORE} -k there_before"),
    ("views of managers", WAY, "    changes = [change for change in changes if change.relation not in theirs]", "    changes = [*changes]", f"{CORE} -k managers"),
    ("what hangs on others first", WAY, "    added.sort(key=lambda change: -rank_of(change.fact))", "    pass", f"{CORE} -k hangs_on"),
    ("a way back that cannot be derived", WAYS, "        raise UsageError(\"\\n\".join(told), hint=ADVICE)", "        pass", f"{TYPED} -k not_additive"),
    ("what dropping leaves", FORTH, "        if differences:\n            why", "        if False:\n            why", f"{AUTO} -k dropping_leaves"),
    ("the second way there", FORTH, "            trip = self._again(trip, after)", "            pass", f"{TYPED} -k every_way_back"),
    ("a new database after one that did not lead back", FORTH, "            self._renew()\n", "            pass\n", f"{TYPED} -k every_way_back"),
    ("what a way back leaves", REVERT, "    told += foreseen.deviations", "    pass", f"{TYPED} -k way_back_leaves"),
    ("what goes besides", WAYS, "        if besides:", "        if False:", f"{AUTO} -k by_hand"),
    ("tables of pyDAL", "workflow/laboratory/derived_down.py", "        self._files.forget(db, self._gone)", "        pass", f"{AUTO} -k pydal"),
    ("tables of pyDAL that stay", WAYS, "                down.put_back()", "                pass", f"{AUTO} -k pydal"),
    ("tables of pyDAL in a copy", "database/table_files.py", "        if self._database != database:", "        if False:", f"{AUTO} -k pydal"),
    ("a decision about a revert brings its views back", "workflow/mark.py", "            if history.views_down:\n", "            if False:\n", f"{KILLED} -k decision_brings"),
    ("edited since", REVERT, "    _refuse_edited(found, name, options, observer)\n", "    pass\n", f"{DOWN} -k edited_since"),
    ("a version that is complete no more", REVERT, "            flag.path.unlink(missing_ok=True)", "            pass", f"{DOWN} -k complete_no_more"),
    ("dependents that are applied", REVERT, "    if len(names) > 1 and not with_dependents:", "    if False:", f"{DOWN} -k undone_in_order"),
    ("data that goes is counted", REVERT, "zip(losses, counts, strict=True) if rows)", "zip(losses, counts, strict=True) if False)", f"{DOWN} -k data_goes"),
    ("another database", SEAL, "    if not same:", "    if False:", f"{SEALED} -k 'moved_is_named or by_its_address'"),
    ("a body that was edited", SEAL, "was[name][0] != is_now[name][0]", "False", f"{SEALED} -k moved_is_named"),
    ("another order", SEAL, "sorted(now.names) == sorted(left) and now.names != left", "False", f"{SEALED} -k another_place"),
    ("records that came", SEAL, "sorted(now.installed - sealed.installed - set(done))", "()", f"{SEALED} -k records_that_came"),
    ("records that went", SEAL, "sorted(sealed.installed - now.installed)", "()", f"{SEALED} -k records_that_came"),
    ("a beginning that is another", SEAL, "    if done != sealed.names[: len(done)]:", "    if False:", f"{SEALED} -k as_if_it_had_run"),
    ("what was changed by hand", SEAL, "        moved += _facts(sealed, now, done)", "        pass", f"{SEALED} -k moved_is_named"),
    ("rows that cascades delete", "database/sqlite/rehearsal.py", "        self._recount(before)\n", "", "tests/database/test_rehearsal_sqlite.py -k rows_are_counted"),
    ("another setting", SEAL, "*_settings(sealed, now), ", "", f"{SEALED} -k another_setting"),
    ("views of the steps left", SEAL, ", *_step_views(sealed, now)]", "]", f"{SEALED} -k steps_left"),
    ("a file that was changed", "workflow/sealing.py", '        intact = sealed.get("digest") == _digest(document)', "        intact = True", f"{SEALS} -k no_sealed_plan"),
    ("a stale plan", "workflow/sealing.py", "    if not found.moved:\n        return\n", "    return\n", f"{SEALS} -k everything_that_moved"),
    ("facts of another version", "core/drift.py", "    if before.version != after.version:", "    if False:", f"{DRIFT} -k cannot_be_compared"),
    ("facts of another server", "core/drift.py", "    if before.server != after.server:", "    if False:", f"{DRIFT} -k cannot_be_compared"),
    ("facts that are old", "core/history.py", "attempt.id > self.facts_at and not changed_nothing", "False", f"{DRIFT} -k known_to_be_old"),
    ("attempts that left nothing", "core/history.py", "attempt.id > self.facts_at and not changed_nothing", "attempt.id > self.facts_at", f"{DRIFT} -k known_to_be_old"),
    ("a run is at work", "workflow/drift.py", "    if backend.lock_holder() is not None:\n        return \"a run is at work", "    if False:\n        return \"a run is at work", f"{DRIFTS} -k at_work"),
    ("facts that cannot be stored", "workflow/drift.py", "    except Exception as error:  # noqa: BLE001 - the migrations are done, and must not count as failed because of this", "    except ZeroDivisionError as error:", f"{DRIFTS} -k never_fails"),
    ("a run compares with facts that are its own", "workflow/drift.py", "not history.facts_at or not history.facts_are_current:\n        return\n", "not history.facts_at:\n        return\n", f"{DRIFTS} -k not_done_by_hand"),
    ("facts that cannot be compared stop no run", "workflow/drift.py", "    except Exception:  # noqa: BLE001 - the migrations must run all the same", "    except ZeroDivisionError:", f"{DRIFTS} -k need_to_know"),
)  # fmt: skip

BACK = [Mutant(f"back: {name}", file, old, new, tests) for name, file, old, new, tests in _SAID]
