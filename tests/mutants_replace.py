# ruff: noqa: E501 - a table: one mutant a line
"""The safety lines of views that are replaced while what reads them stays up; see `mutants.py`."""

from __future__ import annotations

from mutant import Mutant

ONE = "tests/database/test_views_replaced.py"
TYPED = "tests/cli/test_cli_renew.py"
REPLACES = "database/views/replacing.py"
SERVER = "database/postgres/views/replacing.py"
HANDED = "tests/database/test_handed_over_in_place.py"
SWAP = "tests/database/test_swap.py tests/database/test_swap_faults.py"

_SAID = (
    ("an option set by hand stays", REPLACES, '    yield from (item for item in before.items if item.aspect == "option")', "    yield from ()", f"{ONE} -k 'as_it_was or by_hand'"),
    ("what an event trigger says does not count", REPLACES, "stored = before if watched else replace(", "stored = replace(", f"{ONE} -k event_trigger"),
    ("what it was is what its creation gave it", REPLACES, "        self._in_place.was(key, before)\n", "", f"{ONE} -k event_trigger"),
    ("edited readers get their texts", REPLACES, " or bool(known and text and known != text)", "", f"{TYPED} -k edited_reader"),
    ("a reader of all columns is another view", REPLACES, "            self._grown.add(key)\n", "            pass\n", f"{ONE} -k all_columns"),
    ("a reader that was not changed stays up", REPLACES, "        return not self._in_place.is_made_by(key, how.query)", "        return True", f"{ONE} -k column_at_the_end"),
    ("a reader whose text nobody knows goes down", REPLACES, "        if how is None or len(keys) != 1:\n            raise NotThatWay(", "        if how is None or len(keys) != 1:\n            return False\n            str(", f"{ONE} -k up_of_its_own"),
    ("what retires is a declaration and nothing else", REPLACES, "        if not all(map(replacement_of, self._block.down)):\n            raise NotThatWay  # other objects of such a manager, a function for example, would stay\n", "", f"{ONE} -k successor"),
    ("a circle is refused", REPLACES, "        if self._in_place.is_circular({key for name in self._made for key in self._keys[name]}):\n            raise NotThatWay(\"it would read itself\")\n", "", f"{ONE} -k circle"),
    ("a view that reads itself is refused", REPLACES, " or _reads_itself(after):", ":", f"{ONE} -k circle"),
    ("the name must mean the same view", REPLACES, "if self._key_of(how) != key or", "if", f"{ONE} -k stand_before"),
    ("a missing view is created", REPLACES, "            if not found.keys() >= set(names) or not (names or makes_others):", "            if False:", f"{ONE} -k missing"),
    ("a view that is down comes up", REPLACES, "        if down := [name for name, row in self._rows.items() if row.state is ViewState.DOWN]:\n            raise NotThatWay(f\"{', '.join(down)} is down\")\n", "", f"{TYPED} -k stay_down"),
    ("a lock is no refusal", SERVER, "        return isinstance(error, psycopg2.Error) and (error.pgcode or \"\")[:2] in _REFUSALS", "        return isinstance(error, psycopg2.Error)", f"{ONE} -k is_waited_for"),
    ("an open block brings it up", "database/views/keeper.py", "        if self.is_open(renewal.block.names):\n            return Replaced(why_not=\"it is open in a block around this one\")\n", "", f"{ONE} -k what_else"),
    ("more than a declaration goes down", "authoring/sql_view.py", "    if not kind._is_plain():  # noqa: SLF001 - of this module\n        return None\n", "", f"{ONE} -k more_than"),
    ("beside others only what was foreseen", "executor/views.py", "        name = self._admitted(type(manager))\n        block, _ = self._block([name])", "        name = type(manager).__name__\n        self._add_undeclared(type(manager))\n        block, _ = self._block([name])", f"{TYPED} -k text_shows"),
    ("a renewal is seen in the text", "loader/bodies.py", '            if isinstance(found, ast.Attribute) and found.attr == "renew":', "            if False:", "tests/unit/test_loader_bodies.py"),
    ("each hand-over is for itself", "core/hand_overs.py", "        yield {name: old for name, old in heirs.items() if name in group}", "        yield heirs", f"{HANDED} -k for_itself"),
    ("what it reads is created before", "executor/views.py", "            if each.first.up:", "            if False:", f"{HANDED} -k begins_and_ends"),
    ("what retires as well need not stay", "executor/views.py", "leaving=each.leaving)", "leaving=())", f"{HANDED} -k begins_and_ends"),
    ("another class has made it", REPLACES, "        if owner not in self._rows and self._ledger.read_naming({before.identity}):", "        if False:", f"{ONE} -k another_name"),
    ("why it goes down is told", "executor/views.py", "            self._fall_back([*given, *heirs], Way.IN_PLACE, done.why_not)\n", "", f"{HANDED} -k for_itself"),
    ("what nobody has declared is found before", "database/views/keeper.py", "                self._down.refuse_losses(block, Observation(), ahead.lost)", "                pass", f"{SWAP} -k before_anything"),
    ("no lock is kept by looking", "database/views/ahead.py", "        with taken_back(catalog):", "        with catalog.atomic(ours=True):", f"{SWAP} -k waits_while"),
    ("what was built in vain is told", "database/views/keeper.py", "            self._fall_back(block, dict.fromkeys(block.beside, error.why))\n", "", f"{SWAP} -k takes_the_word_back"),
)  # fmt: skip

REPLACE = [Mutant(f"replace: {name}", file, old, new, tests) for name, file, old, new, tests in _SAID]
