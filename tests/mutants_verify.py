# ruff: noqa: E501 - a table: one mutant a line
"""The safety lines of verify; see `mutants.py`."""

from __future__ import annotations

from mutant import Mutant

ORDERS = "tests/database/test_verify_orders.py"
TYPED = "tests/cli/test_cli_verify.py"
ADDING = "tests/unit/test_adding_requires.py"
EDIT = "workflow/adding_requires.py"
PROOF = "workflow/proof.py"

_SAID = (
    ("rows are compared by the names of columns (PostgreSQL)", "database/postgres/facts/contents.py", "for column in sorted(texts) if", "for column in texts if", f"{ORDERS} -k 'commutes_is_alike and postgres'"),
    ("rows are compared by the names of columns (SQLite)", "database/sqlite/contents.py", "sorted(columns[name])", "[*columns[name]]", f"{ORDERS} -k 'commutes_is_alike and sqlite'"),
    ("a rule that does not exist is refused first", PROOF, "    tuple(assess(project, judging=judging).findings)", "    ()", f"{TYPED} -k no_sense"),
    ("a view that cannot be read is told", PROOF, "(*_failures(watched.failed), *_unreadable(watched))", "tuple(_failures(watched.failed))", f"{TYPED} -k a_later_migration_adds"),
    ("nothing is written in another file", EDIT, "        if not is_same:", "        if False:", f"{ADDING} -k somebody_was_at_work"),
    ("nothing is written on another commit", EDIT, "    if _head(project, environ) != snapshot.head:", "    if False:", f"{ADDING} -k another_commit"),
    ("the new texts are tried first", EDIT, "    if list(found) != list(wanted) or found != wanted or _of_views(project.graph) != _of_views(graph):", "    if False:", f"{ADDING} -k 'another_graph or wanted_graph'"),
    ("files are put back", EDIT, "            write_file(path, snapshot.contents[path])", "            pass", f"{ADDING} -k leaves_the_others"),
    ("the files stay where the inferred graph does not hold", "cli/commands/verify.py", "    if not proof.holds_with_additions:", "    if False:", f"{TYPED} -k 'does_not_hold'"),
    ("a lost connection of a migration proves nothing", "workflow/laboratory/trial_run.py", "        if result.passes == ANSWERS:", "        if False:", "tests/database/test_rehearse_cut.py -k 'proves_nothing and SUCCESS_WRITTEN'"),
    ("what a migration left that could not be read proves nothing", "database/postgres/watched.py", "            self._backend.unseen = self._backend.unseen or error", "            pass", "tests/database/test_rehearse_cut.py -k 'proves_nothing and survey'"),
)  # fmt: skip

VERIFY = [Mutant(f"verify: {name}", file, old, new, tests) for name, file, old, new, tests in _SAID]
