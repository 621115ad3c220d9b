"""What is recorded of a failure, what the next run makes of it, and how a human decides."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from fault_field import Field

HEAD = "import time\nfrom child import executed, here\nfrom migrate_graph import ViewMigrationManager, migration\n\n"
VIEW = """
class V(ViewMigrationManager):
    uses = ()
    since = "base_1"
    def up(self): self.db.executesql("CREATE VIEW v AS SELECT id FROM base")
    def down(self): self.db.executesql("DROP VIEW IF EXISTS v")

@migration
def base_1(db):
    db.executesql("CREATE TABLE base (id integer)")
    with V(db):
        pass
    return True
"""


def _one(body: str, decorator: str = "@migration") -> str:
    lines = "".join(f"    {line}\n" for line in body.strip().split("\n"))
    return f"{HEAD}{decorator}\ndef one_1(db):\n    executed('one_1')\n{lines}"


def test_d01_an_exception_rolls_everything_back_and_the_view_is_there(anywhere: Field) -> None:
    anywhere.write(
        HEAD + VIEW + "\n@migration(requires=base_1)\ndef broken_2(db):\n    with V(db):\n"
        "        db.executesql('CREATE TABLE half (id integer)')\n        raise ValueError('oops')\n    return True\n"
    )
    ended = anywhere.apply()
    assert ended.code == 1
    assert re.search(r"failed +broken_2 \(migrations.py:\d+\): ValueError: oops", ended.output)
    state = anywhere.probe()
    assert (state.tables, state.views, state.views_down) == ({"base"}, {"v"}, set())
    assert state.ledger == {"base_1": "T", "broken_2": "F"}
    assert state.last("broken_2") == ("failed", 0)


def test_d03_a_kill_between_commit_and_mark_asks(anywhere: Field) -> None:
    anywhere.write(_one("db.executesql('CREATE TABLE one (id integer)')\ndb.commit()\nreturn True"))
    assert anywhere.apply(fatal=("body returned", 1)).code == -9
    anywhere.wait_until_quiet()
    ended = anywhere.apply()
    assert ended.code == 5
    assert anywhere.executions("one_1") == 1
    pattern = r"'one_1' was interrupted: started \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC on \S+ \(pid \d+\); 1 commit of its own in the database"
    assert re.search(pattern, ended.output), ended.output
    assert re.findall(r"migrate resolve .*", ended.output) == [
        "migrate resolve one_1 --applied",
        "migrate resolve one_1 --retry",
    ]


@pytest.mark.parametrize("end", ["raise ValueError('x')", "pass"])
def test_d04_a_commit_inside_the_block_and_then_an_exception(end: str, anywhere: Field) -> None:
    """Swallowed or not: the view is back, and the migration has not succeeded."""
    block = "with V(db):\n            db.commit()\n            raise KeyError('lost')"
    body = f"try:\n        {block}\n    except KeyError:\n        {end}\n    return True"
    anywhere.write(HEAD + VIEW + f"\n@migration(requires=base_1)\ndef lossy_2(db):\n    {body}\n")
    ended = anywhere.apply()
    assert ended.code == 1, ended.output
    state = anywhere.probe()
    assert state.ledger["lossy_2"] == "F"
    assert (state.views, state.views_down) == ({"v"}, set())


def test_d05_a_forgotten_return(anywhere: Field) -> None:
    anywhere.write(_one("db.executesql('CREATE TABLE one (id integer)')\ndb.commit()\nreturn True if not db else None"))
    ended = anywhere.apply()
    assert ended.code == 1
    assert "returned None" in ended.output
    assert "return True when it succeeded" in ended.output
    assert "1 commit of its own stayed in the database" in ended.output
    assert anywhere.probe().last("one_1") == ("failed", 1)


def test_d11_what_does_not_depend_on_a_refusal_goes_on(anywhere: Field) -> None:
    anywhere.write(
        HEAD
        + "@migration\ndef no_1(db):\n    return False\n\n@migration(requires=no_1)\ndef waits_2(db):\n    return True\n\n"
        "@migration\ndef free_3(db):\n    return True\n"
    )
    ended = anywhere.apply()
    assert ended.code == 1
    assert re.search("blocked +waits_2: waits for no_1", ended.output)
    assert anywhere.probe().ledger == {"no_1": "F", "free_3": "T"}


def test_d15_ddl_is_rolled_back(anywhere: Field) -> None:
    anywhere.write(
        _one(
            "db.executesql('CREATE TABLE one (id integer)')\ndb.executesql('ALTER TABLE one ADD note text')\nreturn False"
        )
    )
    assert anywhere.apply().code == 1
    assert anywhere.probe().tables == set()


@pytest.mark.parametrize(
    "declared",
    ["async def one_1(db):\n    return True", "def one_1(db):\n    yield 1", "def one_1(db):\n    return None"],
)
def test_d18_what_cannot_succeed_is_refused_before_anything_runs(declared: str, anywhere: Field) -> None:
    anywhere.write(f"{HEAD}@migration\n{declared}\n")
    ended = anywhere.apply()
    assert ended.code == 3, ended.output
    assert "MG30" in ended.output


@pytest.mark.parametrize(
    ("value", "told"),
    [("'failed'", "could mean anything"), ("(x for x in ())", "nobody runs"), ("0", "did not succeed")],
)
def test_d18_values_that_are_no_success(value: str, told: str, anywhere: Field) -> None:
    anywhere.write(_one(f"db.executesql('CREATE TABLE one (id integer)')\nreturn {value}"))
    ended = anywhere.apply()
    assert ended.code == 1
    assert told in ended.output
    assert anywhere.probe().ledger == {"one_1": "F"}


def test_d18_another_truthy_value_is_a_success_with_a_note(anywhere: Field) -> None:
    anywhere.write(_one("return 7"))
    ended = anywhere.apply()
    assert ended.code == 0
    assert "one_1 returned 7" in ended.output


def test_d18_a_migrations_file_that_is_missing(anywhere: Field) -> None:
    anywhere.write(_one("return True"))
    assert anywhere.apply("nonesuch.py").code == 2
    assert anywhere.executions("one_1") == 0


def test_system_exit_in_a_body_is_a_failure_like_any_other(anywhere: Field) -> None:
    anywhere.write(_one("db.executesql('CREATE TABLE one (id integer)')\nraise SystemExit(0)\nreturn True"))
    ended = anywhere.apply()
    assert ended.code == 1
    assert "SystemExit" in ended.output
    assert anywhere.probe().last("one_1") == ("failed", 0)


def test_resolving_is_compare_and_set(anywhere: Field) -> None:
    anywhere.write(_one("db.executesql('CREATE TABLE one (id integer)')\ndb.commit()\nreturn True"))
    assert anywhere.apply(fatal=("body returned", 1)).code == -9
    anywhere.wait_until_quiet()
    both = [
        wait()
        for wait in [anywhere.start("resolve", "one_1", "--applied"), anywhere.start("resolve", "one_1", "--retry")]
    ]
    assert sorted(each.code for each in both) == [0, 2], "the second one finds nothing to decide"
    assert anywhere.probe().journal[-1][1] == "resolved"
    log = anywhere.migrate("log", "one_1")
    assert "resolved" in log.output


def test_marking_is_written_down(anywhere: Field) -> None:
    anywhere.write(_one("return True"))
    assert anywhere.migrate("mark", "one_1", "--installed", "--reason", "done by hand").code == 0
    assert anywhere.probe().ledger == {"one_1": "T"}
    assert "done by hand" in anywhere.migrate("log", "one_1").output
    assert "nothing to do" in anywhere.apply().output
    assert anywhere.executions("one_1") == 0


def test_on_partial_stop_asks_before_it_tries_again(anywhere: Field) -> None:
    anywhere.write(_one("db.executesql('CREATE TABLE one (id integer)')\ndb.commit()\nreturn False"))
    stop = {"MIGRATE_ON_PARTIAL": "stop"}
    assert anywhere.apply(env=stop).code == 1
    assert anywhere.apply(env=stop).code == 5
    assert anywhere.executions("one_1") == 1
    assert anywhere.migrate("resolve", "one_1", "--applied", env=stop).code == 0
    assert anywhere.apply(env=stop).code == 0


def test_the_output_that_nobody_reads_stops_nothing(anywhere: Field) -> None:
    """`migrate apply 2>&1 | head -1`, and a terminal that was closed."""
    anywhere.write(
        _one("print('a' * 100000)\ntime.sleep(0.3)\ndb.executesql('CREATE TABLE one (id integer)')\nreturn True")
    )
    reader, writer = os.pipe()
    os.close(reader)
    environment = anywhere.env | {"PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen(
        [sys.executable, "-m", "migrate_graph", "apply"],
        cwd=anywhere.path,
        env=environment,
        stdout=writer,
        stderr=writer,
    )
    os.close(writer)
    process.wait(timeout=120)
    assert anywhere.probe().ledger == {"one_1": "T"}


FILL = "db.executesql('INSERT INTO one VALUES (zeroblob(1000000))')"


def test_a_full_disk_is_rolled_back_and_told(on_sqlite: Field) -> None:
    fill = "db.executesql('PRAGMA max_page_count = 40')\ndb.executesql('CREATE TABLE one (x blob)')"
    on_sqlite.write(_one(f"{fill}\n{FILL}\nreturn True"))
    ended = on_sqlite.apply()
    assert ended.code == 1
    assert "full" in ended.output
    assert "make room" in ended.output
    state = on_sqlite.probe()
    assert (state.tables, state.last("one_1")) == (set(), ("failed", 0))


def test_a_full_disk_that_is_swallowed_is_no_success(on_sqlite: Field) -> None:
    """SQLite rolls the whole transaction back by itself; what follows would be recorded without what came before."""
    body = (
        "db.executesql('PRAGMA max_page_count = 40')\ndb.executesql('CREATE TABLE one (x blob)')\ntry:\n"
        "    db.executesql('INSERT INTO one VALUES (zeroblob(1000000))')\nexcept Exception:\n    pass\nreturn True"
    )
    on_sqlite.write(_one(body))
    ended = on_sqlite.apply()
    state = on_sqlite.probe()
    assert (ended.code == 0) == (state.ledger["one_1"] == "T") == ("one" in state.tables), (
        "recorded, if and only if it is there"
    )


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_reading_after_a_kill_that_left_half_a_transaction_in_the_file(mode: str, on_sqlite: Field) -> None:
    """Pages that no longer fitted into memory are in the file already; whoever opens it next has to roll them back."""
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) INSERT INTO one SELECT i FROM n"
    on_sqlite.write(
        _one(
            f"db.executesql('PRAGMA cache_size = 5')\ndb.executesql('CREATE TABLE one (id integer)')\ndb.executesql('{many}')\n"
            "db.executesql('UPDATE one SET id = id + 1')\nreturn True"
        )
    )
    assert on_sqlite.migrate("mark", "one_1", "--pending").code == 0
    on_sqlite.query(f"PRAGMA journal_mode = {mode}")
    assert on_sqlite.apply(fatal=("success written, not committed", 1)).code == -9
    status = on_sqlite.migrate("status")
    assert status.code == 0, status.output
    assert on_sqlite.read().tables == set()
    assert on_sqlite.apply().code == 0


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_file_that_another_program_writes_to(mode: str, on_sqlite: Field) -> None:
    path = on_sqlite.uri.partition("://")[2]
    on_sqlite.write(_one("db.executesql('CREATE TABLE one (id integer)')\nreturn True"))
    assert on_sqlite.migrate("mark", "one_1", "--pending").code == 0
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(f"PRAGMA journal_mode = {mode}")
        other.execute("BEGIN IMMEDIATE")
        run = on_sqlite.start("apply", env={"MIGRATE_LOCK_TIMEOUT": "8"})
        with pytest.raises(AssertionError):
            assert on_sqlite.read().ledger == {"one_1": "T"}
        other.execute("CREATE TABLE theirs (id integer)")
        other.execute("COMMIT")
    ended = run()
    assert ended.code == 0, ended.output
    assert on_sqlite.probe().tables == {"one", "theirs"}


def test_a_reader_that_stays_in_the_way_of_a_commit(on_sqlite: Field) -> None:
    """Without WAL a commit waits until nobody reads."""
    on_sqlite.write(_one("db.executesql('CREATE TABLE one (id integer)')\nreturn True"))
    assert on_sqlite.migrate("mark", "one_1", "--pending").code == 0
    with closing(sqlite3.connect(on_sqlite.uri.partition("://")[2], isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM sqlite_master").fetchall()
        ended = on_sqlite.apply(env={"MIGRATE_LOCK_TIMEOUT": "0.3"})
        assert ended.code == 6, "the failure cannot be recorded either"
        assert "locked" in ended.output
        assert "another program" in ended.output
    assert on_sqlite.probe().tables == set()
    assert on_sqlite.apply().code == 0


@pytest.mark.parametrize("told", [True, False])
def test_a_reader_that_stays_in_the_way_of_a_commit_is_told(told: bool, on_sqlite: Field) -> None:
    on_sqlite.write(_one("db.executesql('CREATE TABLE one (id integer)')\nreturn True"))
    assert on_sqlite.migrate("mark", "one_1", "--pending").code == 0
    with closing(sqlite3.connect(on_sqlite.uri.partition("://")[2], isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM sqlite_master").fetchall()
        process = on_sqlite.open("apply", env={"MIGRATE_LOCK_TIMEOUT": "300"})
        assert "committing one_1" in process.wait_for("is held by another program")
        if told:
            ended = process.stop(signal.SIGTERM)
            assert ended.code == 143, ended.output
    if not told:
        assert process.end().code == 0
    assert on_sqlite.apply().code == 0
    assert on_sqlite.probe().tables == {"one"}


def test_exit_codes_in_json_are_those_of_the_process(anywhere: Field) -> None:
    anywhere.write(_one("return False"))
    ended = anywhere.apply("--json")
    lines = [json.loads(line) for line in ended.output.splitlines() if line.startswith("{")]
    assert (ended.code, lines[-1]["exit_code"]) == (1, 1)


_READER = """
class Reader(ViewMigrationManager):
    uses = (V,)
    since = "SINCE"
    def up(self): self.db.executesql("CREATE VIEW reader AS SELECT id FROM v")
    def down(self): self.db.executesql("DROP VIEW IF EXISTS reader")

@migration(requires=base_1, resumable=True)
def widen_2(db):
    with V(db):
        db.commit()
        here("kept")
    return True
"""


def test_plan_says_which_views_come_back_first(anywhere: Field) -> None:
    """Those that a killed run left down, and that should exist now: the window of the other one was moved meanwhile."""
    anywhere.write(HEAD + VIEW + _READER.replace("SINCE", "base_1"))
    assert anywhere.apply(fatal=("kept", 1)).code == -9
    anywhere.wait_until_quiet()
    assert anywhere.probe().views_down == {"V", "Reader"}
    anywhere.write(HEAD + VIEW + _READER.replace("SINCE", "widen_2"))
    planned = anywhere.migrate("plan")
    assert planned.code == 0, planned.output
    told = next(line for line in planned.output.splitlines() if "brought back first" in line)
    assert re.fullmatch(r"left down by an earlier run, so brought back first: \S*v\W* \(V\)", told.strip()), told
    document = json.loads(anywhere.migrate("plan", "--json").output)
    assert [(each["manager"], each["migration"]) for each in document["views_down"]] == [("V", "widen_2")]
    assert anywhere.apply().code == 0
    assert "brought back first" not in anywhere.migrate("plan").output
    assert json.loads(anywhere.migrate("plan", "--json").output)["views_down"] == []
