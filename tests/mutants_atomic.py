# ruff: noqa: E501 - a table: one mutant a line
"""The safety lines of runs that are one transaction; see `mutants.py`."""

from __future__ import annotations

from mutant import Mutant

ONE = "tests/database/test_atomic.py tests/database/test_atomic_troubled.py"
VIEWS = "tests/database/test_atomic_views.py"
TYPED = "tests/cli/test_cli_atomic.py"
FAULTS = "tests/faults/test_atomic_faults.py"
PG = "database/postgres/atomic.py"
SHARED = "database/postgres/shared_work.py"
LITE = "database/sqlite/atomic.py"
HELD = "database/views/held.py"
WALK = "executor/atomic.py"

_SAID = (
    ("nothing else commits while a `DAL` is made", PG, "            return  # pyDAL commits when a `DAL` is made or closed", "            pass", f"{ONE} -k between_two_migrations"),
    ("a body's connection stays open", PG, '            self.refuse("closes its connection")', "            pass", f"{ONE} -k 'close and postgres'"),
    ("who catches a refusal has failed", PG, "            connection.refuse(connection.ended)", "            pass", f"{ONE} -k swallowed"),
    ("isolation level", PG, '        self.refuse(f"calls set_isolation_level({level}), which ends the transaction")', "        super().set_isolation_level(level)", f"{ONE} -k isolation"),
    ("client encoding", PG, '            self.refuse("sets another client encoding, which ends the transaction")', "            super().set_client_encoding(encoding)", f"{ONE} -k encoding"),
    ("reset", PG, '        self.refuse("resets its connection")', "        super().reset()", f"{ONE} -k reset"),
    ("hidden end: the savepoint is gone", PG, "            raise self.ended_error() from None", "            raise", f"{ONE} -k hidden"),
    ("hidden end: another transaction", PG, "        if not rows or rows[0][1] != self._began:", "        if not rows:", f"{ONE} -k hidden"),
    ("an error that was swallowed", SHARED, "        if self._connection.info.transaction_status == INERROR:", "        if False:", f"{ONE} -k swallowed"),
    ("roles and settings are forgotten", PG, 'f"{_AS_OURSELVES}; RESET ALL; ', 'f"', f"{ONE} -k 'what_a_body_leaves or a_role'"),
    ("temporary tables are forgotten", PG, "DISCARD TEMP; ", "", f"{ONE} -k what_a_body_leaves"),
    ("prepared statements are forgotten", PG, "DEALLOCATE ALL; ", "", f"{ONE} -k what_a_body_leaves"),
    ("cursors are forgotten", PG, "CLOSE ALL; ", "", f"{ONE} -k what_a_body_leaves"),
    ("channels are forgotten", PG, "UNLISTEN *; ", "", "tests/faults/test_pooler.py -k one_transaction"),
    ("advisory locks are forgotten", PG, "SELECT pg_catalog.pg_advisory_unlock_all()", "SELECT 1", f"{ONE} -k what_a_body_leaves"),
    ("the driver forgets", PG, "            self._run.put_driver_back()", "            pass", f"{ONE} -k tells_the_driver"),
    ("deferred constraints are checked", PG, '_CHECKED = "SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED"', '_CHECKED = "SELECT 1"', f"{ONE} -k 'deferred or immediate'"),
    ("constraints are deferred again", PG, "; SET CONSTRAINTS ALL DEFERRED", "", f"{ONE} -k 'deferred or immediate'"),
    ("immediate constraints are immediate again", PG, 'f"; SET CONSTRAINTS {named} IMMEDIATE" if named else ""', '""', f"{ONE} -k immediate_unless"),
    ("new constraints are looked at", PG, "            self._run.look_at_constraints()", "            pass", f"{ONE} -k immediate_unless"),
    ("threads are kept out", PG, "                self.owner.check()  # a thread", "                pass  # a thread", f"{ONE} -k 'threads and postgres'"),
    ("the anchor, by which an aborted transaction is known", PG, '"" if self._began else f"SAVEPOINT {ANCHOR}; "', '""', f"{ONE} -k in_the_way"),
    ("only the body's own beginning is gone back to", PG, 'point = "SAVEPOINT migrate_graph; " if has_point else ""', 'point = ""', f"{ONE} -k 'savepoints and postgres'"),
    ("a way back that is not there", PG, "            self.connection.missed_point = True", "            pass", f"{ONE} -k unforeseen"),
    ("who swallows that he cannot go back", PG, '            self.connection.refuse("goes back to its beginning")', "            return", f"{ONE} -k swallows_that_he"),
    ("read-only until the end of its migration", PG, "            self.connection.missed_point = not self.connection.has_point", "            pass", f"{ONE} -k 'leaves_in_its_session and read'"),
    ("who mentions a rollback goes back", WALK, '        if "rollback" in names:', "        if False:", f"{ONE} -k mentions_a_rollback"),
    ("SQLite: a body's connection stays open", LITE, '            self.refuse("closes its connection")', "            pass", f"{ONE} -k 'close and sqlite'"),
    ("SQLite: raw ends", LITE, "            if ends_transaction(sql):", "            if False:", f"{ONE} -k 'raw or swallowed or script'"),
    ("SQLite: statements that stay behind", LITE, "            if word := stands_alone(sql):", "            if word := '':", f"{ONE} -k 'attach or vacuum'"),
    ("SQLite: foreign keys", LITE, '            self.refuse("sets PRAGMA foreign_keys, which has no effect inside a transaction")', "            pass", f"{ONE} -k 'foreign'"),
    ("SQLite: pragmas are put back", LITE, 'f"PRAGMA {name} = {value}"', '"SELECT 1"', f"{ONE} -k in_its_connection"),
    ("SQLite: temporary tables are dropped", LITE, 'f"DROP {kind} IF EXISTS temp.{quote_identifier(name)}"', '"SELECT 1"', f"{ONE} -k in_its_connection"),
    ("SQLite: functions are taken back", LITE, "            self._made.append(undo)", "            pass", f"{ONE} -k in_its_connection"),
    ("SQLite: rows are plain again", LITE, "        self.row_factory, self.text_factory = None, str", "        pass", f"{ONE} -k in_its_connection"),
    ("SQLite: threads are kept out", LITE, "                self.owner.check()  # a thread", "                pass  # a thread", f"{ONE} -k 'threads and sqlite'"),
    ("SQLite: who broke a reference", LITE, "        return not (self.held.was_used or self._broke_a_reference)", "        return not self.held.was_used", f"{ONE} -k 'checked_with_its_migration and sqlite'"),
    ("SQLite: what was broken before is nobody's fault", LITE, "self._broken_references() - self._known", "self._broken_references()", f"{ONE} -k broken_before"),
    ("a failure undoes what was done before", WALK, "            if not self._one(step.migration, self._place(index, plan), around, tried, progress):\n                    break", "            self._one(step.migration, self._place(index, plan), around, tried, progress)", f"{ONE} -k nothing_is_kept"),
    ("what ends blocked is not kept", WALK, "        if tried.is_durable:", "        if tried.end is None:", "tests/faults/test_ledger_meanwhile.py -k takes_a_record_keeps_nothing"),
    ("a signal that a body caught", WALK, "isinstance(end, Applied) and self._around.interruption.signal", "False", f"{ONE} -k a_body_caught"),
    ("what a body recorded counts", WALK, "                    progress.applied.update(run.installed(names))", "                    pass", f"{ONE} -k counts_at_once"),
    ("what was durable is looked up", WALK, "        may_be_kept = failed is not None and failed.commits != 0", "        may_be_kept = False", f"{ONE} -k hidden"),
    ("a lost commit is settled by looking", WALK, "        if settled.result.outcome is Outcome.APPLIED:", "        if False:", f"{ONE} -k settled_by_looking"),
    ("the whole run is tried again", WALK, "        if settled.retry and not progress.broken", "        if False and not progress.broken", f"{ONE} -k in_the_way"),
    ("a careful run where something was put off", WALK, "            if tried.may_go_otherwise and not intent.careful:", "            if False:", f"{VIEWS} -k unseen"),
    ("views come up before whoever could notice", HELD, "        if self._held and not self._at_work and self._held.may_notice(text, weaves=self.weaves):", "        if False:", f"{VIEWS} -k could_notice"),
    ("what is not plain may notice", HELD, "        return not _PLAIN.match(text) or not", "        return not", f"{VIEWS} -k could_notice"),
    ("what names a view, or what it reads, notices", HELD, " or not self._names.isdisjoint(words_of(text))", "", f"{VIEWS} -k 'could_notice or protected'"),
    ("what a view reads counts as its name", HELD, "            found |= words_of(read)", "            pass", f"{VIEWS} -k protected"),
    ("views that nobody needs any more come up", HELD, "        if self._held and not self._held.is_needed_later(self._held.managers):", "        if False:", f"{VIEWS} -k after_all"),
    ("going back holds again", HELD, "        self._entries, self._names = dict(self._saved[0]), set(self._saved[1])", "        pass", f"{VIEWS} -k going_back"),
    ("views that are held are not missing, others are", HELD, "return [name for name in super()._missing() if name not in self._held.managers]", "return []", f"{VIEWS} -k swallowed"),
    ("views that did not come up are held on", HELD, "            self._held.put_back(entries)\n            raise\n\n    def _again", "            raise\n\n    def _again", f"{VIEWS} -k swallows_that"),
    ("no commit while views are held, on PostgreSQL", "database/postgres/atomic.py", "        self.held.require_none()\n", "", f"{VIEWS} -k 'body_records and postgres'"),
    ("no commit while views are held, on SQLite", LITE, "        self.held.require_none()\n", "", f"{VIEWS} -k 'body_records and sqlite'"),
    ("what others have down is not missing", "database/views/keeper.py", "sorted(self._opened.intersection(stored.manager for stored in self._ledger.read_down()))", "sorted({stored.manager for stored in self._ledger.read_down()})", "tests/faults/test_views_of_others_down.py -k after_another"),
    ("what does not fit is refused", "workflow/apply.py", "    if options.atomic:\n        require_possible(plan)", "    pass", TYPED),
    ("what needs a decision is refused", "workflow/one_transaction.py", "    if plan.undecided:\n        names", "    if False:\n        names", f"{TYPED} -k decision"),
)  # fmt: skip

ATOMIC = [Mutant(f"atomic: {name}", file, old, new, tests) for name, file, old, new, tests in _SAID]
