"""Breaks the safety lines of a copy of the package one at a time, and asks the tests to notice each.

`python tests/mutants.py [WORD…]` tries those whose name holds one of the words. A line that can be broken without a test failing is
either without a test or without a use.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mutant import Mutant
from mutants_atomic import ATOMIC
from mutants_back import BACK
from mutants_backup import BACKUP
from mutants_coalesce import COALESCE
from mutants_jobs import JOBS
from mutants_process import PROCESS
from mutants_rebuild import REBUILD
from mutants_replace import REPLACE
from mutants_roles import ROLES
from mutants_sessions import SESSIONS
from mutants_verify import VERIFY
from mutants_weave import WEAVE
from mutants_weave_sqlite import WEAVE_SQLITE

ROOT = Path(__file__).parents[1]
BODIES = "tests/faults/test_bodies_and_the_process.py"
LINES = "tests/database/test_safety_lines.py"
VIEWS = "tests/database/test_views_others.py tests/database/test_views_belongings.py"
CHANGED = "tests/database/test_views_changed_meanwhile.py"
NOTICED = "noticed"


MUTANTS = [
    *ATOMIC,
    *VERIFY,
    *BACK,
    *WEAVE,
    *REBUILD,
    *ROLES,
    *REPLACE,
    *WEAVE_SQLITE,
    *COALESCE,
    *BACKUP,
    *JOBS,
    *PROCESS,
    *SESSIONS,
    Mutant(
        "git: no housekeeping",
        "workflow/git.py",
        "*_NO_HOUSEKEEPING, *words",
        "*words",
        "tests/unit/test_run_program.py -k git",
    ),
    Mutant(
        "revert: what was half undone",
        "core/history.py",
        "name in last and last[name].state in _HALF_UNDONE",
        "False",
        "tests/unit/test_core_undoing.py",
    ),
    Mutant(
        "revert: data that goes",
        "workflow/revert.py",
        "    if told and not options.yes:",
        "    if False:",
        "tests/database/test_revert.py -k data_goes",
    ),
    Mutant(
        "revert: what requires it by now",
        "executor/revert.py",
        "progress.graph.descendants(migration.name) & progress.applied",
        "()",
        "tests/database/test_revert.py -k meanwhile",
    ),
    Mutant(
        "record: a ledger that somebody made by hand",
        "database/books/ledger.py",
        "        if self.has_unique_names:",
        "        if True:",
        "tests/database/test_hand_made_ledger.py",
    ),
    Mutant(
        "record: unique for every row, at once",
        "database/postgres/requirements.py",
        "AND i.indisunique AND i.indimmediate ",
        "AND i.indisunique ",
        "tests/database/test_hand_made_ledger.py",
    ),
    *(
        Mutant(
            f"no work is lost without a word: {call}",
            "database/postgres/session/connection.py",
            f'self._refuse_to_lose("{call}")',
            "pass",
            f"tests/database/test_raw_ends.py -k 'without_a_word and {call}'",
        )
        for call in ("reset", "set_isolation_level", "set_client_encoding")
    ),
    *(
        Mutant(
            f"no work is lost without a word: {what}",
            "database/postgres/session/connection.py",
            line,
            broken,
            f"tests/database/test_raw_ends.py -k 'without_a_word and reset and ({tests})'",
        )
        for what, line, broken, tests in (
            (
                "what a function writes",
                "return int(self._answer(_WRITING)) > int(has_marker)",
                "return False",
                "function",
            ),
            ("another transaction", "self._open and not self._is_another_transaction()", "self._open", "begun"),
            (
                "an error behind it",
                "return self._sent_in == self._began if self._open",
                "return False if self._open",
                "caught",
            ),
            ("an error by hand", "else not self._failed_in_sight\n", "else False\n", "hand"),
        )
    ),
    Mutant(
        "session given back clean",
        "database/postgres/session/connection.py",
        "        if kind in ENDS and self.reset_session:\n            self.reset_session()",
        "        pass",
        "tests/faults/test_pooler.py -k stays_with_it",
    ),
    Mutant(
        "which ledger, once the lock is taken",
        "database/postgres/backend.py",
        "if self._lock_key() == holding[0].key:",
        "if True:",
        "tests/faults/test_postgres_with_others.py -k made_meanwhile",
    ),
    Mutant(
        "work of the dead, once the lock is taken",
        "database/postgres/backend.py",
        "            waited += self._wait_for_work(max(wait, _LAST_MOMENT), observer, interruption)\n",
        "",
        "tests/faults/test_postgres_with_others.py -k still_commits",
    ),
    Mutant(
        "a wait before a body",
        "executor/attempt.py",
        'work.patiently(f"beginning {self._migration.name}", work.start)',
        "work.start()",
        "tests/faults/test_postgres_with_others.py -k without_a_transaction",
    ),
    Mutant(
        "a wait after a body",
        "executor/attempt.py",
        "work.patiently(self._looking, lambda: self._judge(work))",
        "self._judge(work)",
        "tests/faults/test_postgres_with_others.py -k has_left",
    ),
    Mutant(
        "a wait for a reader of a file",
        "database/sqlite/work.py",
        "                    if self.held_up is not None:\n                        self.held_up(waited)\n",
        "",
        "tests/faults/test_states.py -k commit_is_told",
    ),
    Mutant(
        "another connection's loss",
        "executor/attempt.py",
        "        if work is not None and not work.is_lost():",
        "        if False:",
        f"{LINES}::test_the_loss_of_another_connection_is_an_error_like_any_other",
    ),
    Mutant(
        "timeouts that are off",
        "database/postgres/session/opening.py",
        'settings.append(("statement_timeout", _milliseconds(self._settings.statement_timeout)))',
        "pass",
        "tests/faults/test_postgres_with_others.py -k is_off",
    ),
    Mutant(
        "marker: work lock",
        "database/postgres/work.py",
        "if not is_ours:",
        "if False:",
        f"{LINES}::test_no_transaction_begins_when_another_holds_the_work_lock",
    ),
    Mutant(
        "session: work lock",
        "database/postgres/backend.py",
        "kind, lock=keys, ours=False)\n        if not self._sessions.pooled and not connection.got_lock:",
        "kind, ours=False)\n        if False:",
        f"{LINES}::test_the_work_lock_lives_as_long_as_the_session",
    ),
    Mutant(
        "journal fence",
        "database/books/ledger.py",
        "return len(self._run(self._statements.finish, self._finish_values(key, seconds))) == 1",
        "return self._run(self._statements.finish, self._finish_values(key, seconds)) is not None",
        "tests/database/test_backends.py -k is_a_fence",
    ),
    Mutant(
        "a record that stays",
        "database/books/ledger.py",
        "f\"AND EXISTS (SELECT 1 FROM {ledger} WHERE name {op('=')} ? AND installed {op('=')} ?) RETURNING id\",",
        "f\"AND ('' {op('=')} ? OR ? <> '') RETURNING id\",",
        "tests/database/test_record_taken.py",
    ),
    Mutant(
        "what was caught of a commit",
        "database/postgres/session/connection.py",
        "                self._forget_transaction()\n                self.lost_work = self.lost_work or _COMMIT_FAILED",
        "                self._forget_transaction()",
        "tests/database/test_raw_ends.py -k catches",
    ),
    Mutant(
        "a commit that the server has refused",
        "database/postgres/session/connection.py",
        "                self._forget_transaction()\n                self.lost_work = self.lost_work or _COMMIT_FAILED",
        "                self.lost_work = self.lost_work or _COMMIT_FAILED",
        "tests/database/test_raw_ends.py -k refuses",
    ),
    Mutant(
        "lock asked before a body",
        "executor/attempt.py",
        "if not (lock_checked or self._holds_lock()):",
        "if False:",
        f"{LINES}::test_nothing_begins_when_the_lock_is_lost",
    ),
    Mutant(
        "lock asked before a commit",
        "executor/attempt.py",
        "        if not self._holds_lock(self._around.lock.seems_held):\n",
        "        if False:\n",
        f"{LINES}::test_a_lock_that_is_lost_in_the_last_migration_is_told",
    ),
    Mutant(
        "replaced lock file",
        "database/sqlite/backend.py",
        "if files.is_current() and self._is_opened_file():",
        "if True:",
        "tests/faults/test_concurrency.py -k replaced",
    ),
    Mutant(
        "result of the unlock",
        "database/postgres/session/held_lock.py",
        "            return bool(cursor.fetchone()[0])",
        "            return bool(cursor.fetchone())",
        f"{LINES}::test_a_lock_that_somebody_released_is_told",
    ),
    Mutant(
        "record taken back",
        "database/books/ledger.py",
        "AND (installed IS NULL OR NOT {self._is_installed}) RETURNING",
        "RETURNING",
        "tests/faults/test_ledger_meanwhile.py -k taken_back_by",
    ),
    Mutant(
        "success overwritten",
        "database/books/ledger.py",
        '"WHERE failed.state',
        "\"WHERE 'x' <> failed.state OR failed.state",
        f"{LINES}::test_a_success_that_is_recorded_is_no_failure_any_more",
    ),
    Mutant(
        "ignored pragma",
        "database/sqlite/work.py",
        "            self._refuse_ignored_pragma(sql)\n",
        "            pass\n",
        f"{LINES}::test_foreign_keys_cannot_be_switched_in_a_transaction",
    ),
    Mutant(
        "INVALID before",
        "database/postgres/work.py",
        "self._invalid_indexes() - self._invalid_before",
        "self._invalid_indexes()",
        f"{LINES}::test_only_an_index_that_became_invalid_meanwhile_is_told",
    ),
    Mutant(
        "INVALID of others",
        "database/postgres/work.py",
        "'ShareUpdateExclusiveLock'",
        "'NoLock'",
        "tests/faults/test_server_faults.py -k building",
    ),
    Mutant(
        "of an extension",
        "database/postgres/restore/by_driver.py",
        "d.deptype = 'e'",
        "d.deptype = '?'",
        f"{LINES}::test_what_belongs_to_an_extension_makes_no_database_full",
    ),
    Mutant(
        "look before saying failed",
        "executor/attempt.py",
        "        if known.succeeded:\n            return self._applied()",
        "        if False:\n            return self._applied()",
        f"{LINES}::test_an_exception_after_the_commit_undoes_no_success",
    ),
    Mutant(
        "lost after own commits",
        "executor/attempt.py",
        "if known.commits and isinstance(end, Stopped | Lost | Died):",
        "if known.commits and isinstance(end, Stopped | Died):",
        "tests/faults/test_server_faults.py -k lost_after",
    ),
    Mutant(
        "a swallowed loss",
        "executor/attempt.py",
        "if isinstance(end, Refused | Raised) and work.is_lost():",
        "if False:",
        "tests/faults/test_server_faults.py -k lost_after",
    ),
    Mutant(
        "again only if nothing was kept",
        "executor/attempt.py",
        "is TroubleKind.RETRY and commits == 0",
        "is TroubleKind.RETRY",
        f"{LINES}::test_a_failing_run_is_tried_again_only_if_nothing_was_kept",
    ),
    Mutant(
        "unknown is not none",
        "executor/attempt.py",
        "self._failure(end, Outcome.INTERRUPTED, commits=None)",
        "self._failure(end, Outcome.INTERRUPTED, commits=0)",
        "tests/faults/test_server_faults.py -k come_back",
    ),
    Mutant(
        "ledger read again",
        "executor/run.py",
        "                look_again(self._surroundings, progress, (step.migration.name, *step.migration.requires))\n",
        "                pass\n",
        "tests/faults/test_ledger_meanwhile.py",
    ),
    Mutant(
        "views: what a plain DROP has left",
        "database/postgres/views/plain_views.py",
        " OR {there} THEN",
        " THEN",
        f"{VIEWS} -k plain_statement_left",
    ),
    Mutant(
        "views: an event trigger that came after the look",
        "database/postgres/views/plain_views.py",
        "CASE WHEN {IS_WATCHED} OR ",
        "CASE WHEN ",
        f"{VIEWS} -k comes_after_the_first_look",
    ),
    Mutant(
        "views: a namesake of the new one",
        "database/postgres/views/catalog.py",
        "now is None or not now.views.issuperset(made)",
        "now is None",
        f"{VIEWS} -k 'temporary_namesake or relation_of_the_server'",
    ),
    Mutant(
        "views: what others have changed since the look",
        "database/postgres/views/unchanged.py",
        "EXISTS (SELECT FROM ({rows}) r WHERE",
        "EXISTS (SELECT FROM ({rows}) r WHERE false AND",
        f"{CHANGED} -k bare_view",
    ),
    Mutant(
        "views: what others have added to a bare view since the look",
        "database/postgres/views/unchanged.py",
        'f"{is_plain} AND {_more(1,',
        'f"false AND {_more(1,',
        f"{CHANGED} -k bare_view",
    ),
    Mutant(
        "views: what others have said since the look",
        "database/postgres/views/unchanged.py",
        "in enumerate(_ADDED_TO[1:], 2)",
        "in enumerate(_ADDED_TO[2:], 3)",
        f"{CHANGED} -k materialized_view",
    ),
    Mutant(
        "views: what others change while the DROP waits",
        "database/views/down.py",
        "if self._catalog.is_race(error):",
        "if False:",
        f"{CHANGED} -k drop_waits",
    ),
    Mutant(
        "views: what others change before up() drops it",
        "database/views/up.py",
        "self._catalog.confirm(seen, changes.gone, is_plain=False)",
        "pass",
        f"{CHANGED} -k up_drops",
    ),
    Mutant(
        "views: the session goes on",
        "database/postgres/views/looks.py",
        "self._connection, self._asked = (\n            ref(connection),",
        "self._connection, self._asked = (\n            (lambda: connection),",
        "tests/database/test_costs.py -k opens_costs",
    ),
    Mutant(
        "views: SQLite asks again",
        "database/sqlite/schema.py",
        "            part.error = None  # an `Observation` may still hold it, and must check it anew\n",
        "            pass\n",
        "tests/database/test_views_sqlite.py -k does_not_hide",
    ),
    Mutant(
        "ledger read for views",
        "executor/views.py",
        "self.work.read_applied() - {self.migration}",
        "frozenset()",
        "tests/faults/test_ledger_meanwhile.py -k view",
    ),
    Mutant(
        "lock before a commit: what its socket tells",
        "database/postgres/session/held_lock.py",
        " and not has_news(self.connection)",
        "",
        f"{LINES} -k in_the_last_migration",
    ),
    Mutant(
        "lock before a commit: whose session it is",
        "database/postgres/session/held_lock.py",
        "(self.is_alone and not",
        "(True and not",
        f"{LINES} -k others_may_have",
    ),
    Mutant(
        "lock held twice",
        "database/postgres/backend.py",
        'f"SELECT {once} AND {once}", (RUN_CLASS, key) * 2',
        'f"SELECT {once}", (RUN_CLASS, key)',
        f"{LINES} -k held_twice",
    ),
    Mutant(
        "resumable",
        "core/states.py",
        "(state is AttemptState.RUNNING and not migration.resumable)",
        "state is AttemptState.RUNNING",
        "tests/unit/test_core_states.py -k resumable",
    ),
    Mutant(
        "commuting: what clashes with less",
        "core/commuting.py",
        "clash and _covers(doing, did)",
        "clash",
        "tests/unit/test_core_commuting.py",
    ),
    Mutant(
        "commuting: what is excused",
        "core/commuting.py",
        " and name not in self._excused)",
        ")",
        "tests/unit/test_core_commuting.py",
    ),
    Mutant(
        "decision: about the newest attempt",
        "database/books/ledger.py",
        "f\"AND id {self._is} (SELECT {self._dialect.function('max')}(id) FROM {self._journal} WHERE name {self._is} ?) RETURNING id\",",
        "f\"AND ('' {self._is} ? OR id > 0) RETURNING id\",",
        "tests/database/test_backends.py -k another_has_begun",
    ),
    Mutant(
        "decision: about none that has succeeded",
        "database/books/ledger.py",
        'f"AND (state {self._is} {of_these}) "',
        'f"AND (state {self._is} {of_these} OR id > 0) "',
        "tests/database/test_backends.py -k has_succeeded",
    ),
    Mutant(
        "decision: whether it may be recorded",
        "workflow/locked.py",
        "            is_committing = True\n",
        "            pass\n",
        "tests/faults/test_recording_cut.py -k at_the_commit",
    ),
    Mutant(
        "cache: flushed before a restore",
        "workflow/restore.py",
        "        flush_before_restore(config, observer, interruption)\n        backend.restore(dump, observer=observer, psql=psql)\n",
        "        backend.restore(dump, observer=observer, psql=psql)\n        flush_before_restore(config, observer, interruption)\n",
        "tests/database/test_restore_cache.py -k killed_before",
    ),
    Mutant(
        "cache: noted after a restore",
        "workflow/restore.py",
        "                remember_flush(config, backend)\n",
        "",
        "tests/database/test_restore_cache.py -k is_noted",
    ),
    Mutant(
        "cache: no note stays where nothing changed",
        "workflow/cache.py",
        'so the cache was left alone"))\n        backend.finish_task(FLUSH)',
        'so the cache was left alone"))',
        "tests/database/test_restore_cache.py -k changes_nothing",
    ),
    Mutant("paths", "executor/process_state.py", "        sys.path[:] = self._paths\n", "", f"{BODIES} -k put_back"),
    Mutant("children end", "executor/forked.py", "        really_exit(0)\n", "        return\n", f"{BODIES} -k fork"),
]


def _copy(target: Path) -> None:
    for name in ("migrate_graph", "tests", "docs", "examples"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", target)


def _tested(tests: str, copy: Path) -> subprocess.CompletedProcess[str]:
    """Return how tests end in the copy."""
    where, _, chosen = tests.partition(" -k ")
    words = [sys.executable, "-m", "pytest", "-q", "-x", "--timeout=90", "-p", "no:cacheprovider", *where.split()]
    words += ["-k", chosen.strip("'")] if chosen else []
    # Children must import the copy, too, not what is installed.
    environment = os.environ | {"PYTHONPATH": str(copy)}  # noqa: TID251 - a program of its own
    return subprocess.run(words, cwd=copy, env=environment, check=False, capture_output=True, text=True)


def _try(mutant: Mutant, copy: Path, whole: dict[str, bool]) -> str:
    """Break a line in the copy, run its tests, and mend it; return what became of the mutant.

    Args:
        mutant: which.
        copy: of the package and its tests.
        whole: whether tests pass with nothing broken, as far as that was tried.
    """
    if mutant.tests not in whole:
        whole[mutant.tests] = _tested(mutant.tests, copy).returncode == 0
    if not whole[mutant.tests]:
        return "OUTDATED: its tests fail with nothing broken"
    file = copy / "migrate_graph" / mutant.file
    text = file.read_text(encoding="utf-8")
    if text.count(mutant.line) != 1:
        return f"OUTDATED: its line stands {text.count(mutant.line)} times in {mutant.file}"
    file.write_text(text.replace(mutant.line, mutant.broken), encoding="utf-8")
    try:
        ran = _tested(mutant.tests, copy)
    finally:
        file.write_text(text, encoding="utf-8")
    if ran.returncode not in {0, 1}:
        return f"OUTDATED: its tests cannot run:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}"
    return NOTICED if ran.returncode else "SURVIVES"


def main(words: list[str]) -> int:
    """Try the mutants; end with 1 unless each was noticed."""
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)]
    noticed, whole = 0, dict[str, bool]()
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory)
        _copy(copy)
        for mutant in chosen:
            became = _try(mutant, copy, whole)
            noticed += became == NOTICED
            print(f"{became:8}  {mutant.name}", flush=True)  # noqa: T201 - to whoever called it
    print(f"{noticed} of {len(chosen)} noticed")  # noqa: T201 - as above
    return noticed < len(chosen)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
