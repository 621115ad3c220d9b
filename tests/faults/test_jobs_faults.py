"""`apply --jobs`: what runs side by side is whole, whatever becomes of the others, of one worker, or of the run."""

from __future__ import annotations

import json
import os
from contextlib import closing
from itertools import pairwise

import psycopg2
import pytest
from fault_field import Ended, Field
from jobs_stand import (
    BARRIER,
    HEAD,
    WAITS,
    at_the_gate,
    body,
    gate,
    wait_for_waiting,
    wait_until_gone,
    workers_of,
)
from servers import PostgresServer

pytestmark = pytest.mark.postgres

# -- side by side -------------------------------------------------------------------------------------------------------------


def test_eight_independent_ones_run_four_at_a_time(on_postgres: Field) -> None:
    bodies = [body(f"m_{number}", f"meet({1000 + number // 4}, {number}, 4)") for number in range(8)]
    on_postgres.write(HEAD + BARRIER + "".join(bodies))
    ended = on_postgres.apply("--jobs", "4")
    assert ended.code == 0, ended.output
    state = on_postgres.probe()
    assert state.tables == {f"m_{number}" for number in range(8)}
    assert state.ledger == dict.fromkeys(state.tables, "T")
    assert state.journal == [(name, "applied", 0) for name, _, _ in state.journal]
    assert (
        len(
            {
                pid
                for (pid,) in on_postgres.query(
                    "SELECT pid FROM ewh_implemented_features_journal WHERE state = 'applied'"
                )
            }
        )
        == 4
    )
    assert (
        len(
            {
                run
                for (run,) in on_postgres.query(
                    "SELECT run FROM ewh_implemented_features_journal WHERE state = 'applied'"
                )
            }
        )
        == 1
    )
    assert "8 migrations to run, up to 4 at once" in ended.output
    assert f"committed: {', '.join(f'm_{number}' for number in range(8))}" in ended.output, "the order is the plan's"


def test_one_that_declares_nothing_is_not_overtaken(on_postgres: Field) -> None:
    on_postgres.write(
        HEAD
        + body("a_1")
        + body("b_2", "db.executesql('INSERT INTO a_1 VALUES (1)')", how="")
        + body("c_3", "assert db.executesql('SELECT * FROM a_1')", how="")
        + body("d_4", "assert db.executesql('SELECT * FROM a_1')", how="requires=b_2")
    )
    assert on_postgres.apply("--jobs", "4").code == 0
    assert on_postgres.probe().tables == {"a_1", "b_2", "c_3", "d_4"}


WORKING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 28009"  # of each seat's own work


CASCADES = {
    "a table": ("db.executesql('DROP TABLE shelf CASCADE')", 1),
    "caught": ("try: db.executesql('DROP TABLE shelf CASCADE')\n    except Exception: pass", 0),
    "hidden": ("db.executesql('DO $$ BEGIN DROP TABLE shelf CASCADE; END $$')", 1),
    "named": ("db.executesql('DROP VIEW books')", 0),
    "opened": ("with Books(db):\n        db.executesql('ALTER TABLE shelf DROP COLUMN more CASCADE')", 0),
    "altered": ("db.executesql('ALTER TABLE shelf ALTER COLUMN id TYPE bigint')", 1),
    "of nobody": ("db.executesql('DROP TABLE m_2 CASCADE')\n    db.executesql('CREATE TABLE m_2 (id integer)')", 0),
}


@pytest.mark.parametrize("what", CASCADES)
def test_a_cascade_takes_no_managed_view_along(what: str, on_postgres: Field) -> None:
    """Nothing steps aside there, so that it is refused; and whoever catches that has lost nothing."""
    statement, code = CASCADES[what]
    on_postgres.write(
        HEAD
        + "from migrate_graph import SqlView\n\nclass Books(SqlView):\n    uses = ()\n    query = 'SELECT id FROM shelf'\n    name = 'books'\n"
        + body(
            "m_1",
            "db.executesql('CREATE TABLE shelf (id integer, more integer)')\n    with Books(db): pass",
        )
        + body("m_2", statement, how="requires=m_1")
        + body("m_3", how="requires=m_1, independent=True")
    )
    ended = on_postgres.open("apply", "--jobs", "3").end()
    assert ended.code == code, ended.output
    told = " ".join(ended.output.split())
    reasons = (
        "no view steps aside while others run beside it (--jobs)",
        "(--jobs) no view steps aside: open its manager",
    )
    assert any(reason in told for reason in reasons) == bool(code), told
    there = on_postgres.query("SELECT count(*) FROM pg_class WHERE relname = 'books'")
    assert there == [(0 if what == "named" else 1,)]
    assert on_postgres.probe().tables >= {"m_1", "m_3"}


def test_one_outside_of_a_transaction_runs_alone(on_postgres: Field) -> None:
    alone = (
        'assert db.executesql("' + WORKING + '") == [(1,)]',
        "db.executesql('CREATE INDEX CONCURRENTLY i ON n_2 (id)')",
    )
    on_postgres.write(
        HEAD
        + BARRIER
        + body("a_0", "meet(1000, 0, 2)")
        + body("a_1", "meet(1000, 1, 2)")
        + body("n_2", *alone, how="independent=True, transaction='none'")
        + body("z_3", "meet(1001, 3, 2)")
        + body("z_4", "meet(1001, 4, 2)")
    )  # fmt: skip
    ended = on_postgres.apply("--jobs", "4")
    assert ended.code == 0, ended.output


VIEWS = """

class V(ViewMigrationManager):
    uses = ()
    def up(self): self.db.executesql("CREATE VIEW v AS SELECT 1 AS one")
    def down(self): self.db.executesql("DROP VIEW IF EXISTS v")

class W(ViewMigrationManager):
    uses = (V,)
    def up(self): self.db.executesql("CREATE VIEW w AS SELECT one FROM v")
    def down(self): self.db.executesql("DROP VIEW IF EXISTS w")

class X(ViewMigrationManager):
    uses = ()
    def up(self): self.db.executesql("CREATE VIEW x AS SELECT 1 AS one")
    def down(self): self.db.executesql("DROP VIEW IF EXISTS x")
"""


def _opens(view: str, *lines: str) -> tuple[str, ...]:
    return (f"with {view}(db):", *(f"    {line}" for line in lines or ("pass",)))


def test_views_that_hang_together_never_meet_and_others_do(on_postgres: Field) -> None:
    on_postgres.write(
        HEAD
        + BARRIER
        + VIEWS
        + body("v_1", *_opens("V", "meet(1000, 1, 2)"))
        + body("x_2", *_opens("X", "meet(1000, 2, 2)"))
        + body("w_3", *_opens("W"))
        + body("v_4", *_opens("V"))
    )
    ended = on_postgres.apply("--jobs", "4")
    assert ended.code == 0, ended.output
    state = on_postgres.probe()
    assert state.views == {"v", "w", "x"}
    order = [name for name, _, _ in state.journal if name != "x_2"]
    assert order == ["v_1", "w_3", "v_4"]


def test_a_view_that_nobody_could_foresee_is_refused(on_postgres: Field) -> None:
    on_postgres.write(HEAD + VIEWS + body("a_1", "with globals()['V'](db): pass") + body("b_2", *_opens("V")))
    ended = on_postgres.apply("--jobs", "2")
    assert ended.code == 1
    assert "a_1 opens the view V, which its text does not show, while others run beside it (--jobs)" in ended.output
    assert "@migration(views=[V])" in ended.output
    assert on_postgres.probe().last("a_1") == ("failed", 0)
    assert on_postgres.apply("--jobs", "1").code == 0


def test_status_says_running_of_all_that_run(on_postgres: Field) -> None:
    """Also of one that has committed, of which the journal alone would say that it was interrupted."""
    on_postgres.write(
        HEAD + body("a_1", "db.commit()", WAITS) + body("b_2", WAITS) + body("c_3", how="requires=(a_1, b_2)")
    )
    with gate(on_postgres) as open_gate:
        process = on_postgres.open("apply", "--jobs", "2")
        wait_for_waiting(on_postgres, 2)
        told = on_postgres.migrate("status", "--json").output
        open_gate()
        assert process.end().code == 0
    states = {each["name"]: each["status"] for each in json.loads(told[told.index("{") :])["migrations"]}
    assert states == {"a_1": "running", "b_2": "running", "c_3": "blocked"}


# -- one fails ----------------------------------------------------------------------------------------------------------------


def _one_fails(*, how: str) -> str:
    return (
        HEAD
        + BARRIER
        + body("a_1", "meet(1000, 1, 2)", how)
        + body("b_2", "meet(1000, 2, 2)", "time.sleep(0.3)", "db.executesql('INSERT INTO b_2 VALUES (1)')")
        + body("c_3", how="requires=a_1")
        + body("d_4", how="requires=b_2")
    )


FAILS = {"raises": "raise ValueError('oops')", "refuses": "return False"}


@pytest.mark.parametrize("how", FAILS)
@pytest.mark.parametrize("words", [(), ("--keep-going",), ("--fail-fast",)])
def test_one_fails_and_the_others_finish(how: str, words: tuple[str, ...], on_postgres: Field) -> None:
    on_postgres.write(_one_fails(how=FAILS[how]))
    ended = on_postgres.apply("--jobs", "2", *words)
    assert ended.code == 1, ended.output
    state = on_postgres.probe()
    goes_on = "--keep-going" in words or (how == "refuses" and "--fail-fast" not in words)
    assert state.tables == ({"b_2", "d_4"} if goes_on else {"b_2"}), "a dependent is not begun"
    assert state.last("a_1") == ("failed", 0)
    assert state.last("b_2") == ("applied", 0)
    assert state.ledger.get("c_3") is None
    assert ("blocked  c_3: waits for a_1" if goes_on else "2 not reached (c_3 … d_4)") in ended.output
    on_postgres.write(_one_fails(how="").replace("    meet(", "    0 and meet("))
    assert on_postgres.apply("--jobs", "2").code == 0


def test_an_end_from_inside_is_told(on_postgres: Field) -> None:
    on_postgres.write(HEAD + body("a_1", "os._exit(0)") + body("b_2"))
    ended = on_postgres.apply("--jobs", "2")
    assert ended.code == 1
    assert "os._exit(0)" in ended.output
    assert "ended with code 1" in ended.output
    state = on_postgres.probe()
    assert state.tables == {"b_2"}
    assert state.last("a_1") == ("failed", 0)


# -- one worker is killed -----------------------------------------------------------------------------------------------------

KILLED = {  # where the worker of a_1 dies: what is said of it, whether its table is there, exit code
    "in a": ("failed", 0, False, 1),
    "own": ("running", 1, True, 5),
    "body returned": ("running", 1, True, 5),
    "success written, not committed": ("running", 1, True, 5),
    "committed": ("applied", 1, True, 0),
}


@pytest.mark.parametrize("place", KILLED)
def test_a_killed_worker_leaves_the_work_of_others_whole(place: str, on_postgres: Field) -> None:
    state, commits, is_there, code = KILLED[place]
    on_postgres.write(
        HEAD
        + BARRIER
        + body("a_1", "meet(1000, 1, 3)", "here('in a')", "db.commit()", "here('own')", "db.executesql('CREATE TABLE more (id integer)')")
        + body("b_2", "meet(1000, 2, 3)", "time.sleep(0.5)")
        + body("c_3", "meet(1000, 3, 3)", "db.commit()", "time.sleep(0.5)", "db.executesql('INSERT INTO c_3 VALUES (1)')")
        + body("d_4", how="requires=(a_1, b_2)")
    )  # fmt: skip
    # The places of the executor are passed by whoever comes first; those of the body by a_1 alone.
    ended = on_postgres.apply("--jobs", "3", fatal=(place, 1), kills="one")
    if place in {"in a", "own"}:
        assert ended.code == code, ended.output
    assert "was ended by SIGKILL" in ended.output or code == 0
    found = on_postgres.probe()
    names = ["b_2", "c_3"] if place in {"in a", "own"} else []
    for name in names:
        assert found.last(name) == ("applied", {"b_2": 0, "c_3": 1}[name])
        assert name in found.tables
        assert found.ledger[name] == "T"
    if names:
        assert found.last("a_1") == (state, commits)
        assert ("a_1" in found.tables) == is_there
        assert "more" not in found.tables
        assert "d_4" not in found.tables
    for name, how, _ in found.journal:
        assert (found.ledger.get(name) == "T") == (how == "applied")
    assert on_postgres.executions("a_1") <= 1, "at most once"


def test_a_worker_that_dies_is_said_what_to_do_about(on_postgres: Field) -> None:
    on_postgres.write(HEAD + body("a_1", "db.commit()", "here('own')") + body("b_2"))
    ended = on_postgres.apply("--jobs", "2", fatal=("own", 1), kills="one")
    assert ended.code == 5, ended.output
    assert "migrate resolve a_1 --applied" in ended.output
    assert on_postgres.probe().tables == {"a_1", "b_2"}
    assert on_postgres.apply("--jobs", "2").code == 5, "it is not run again by itself"
    assert on_postgres.migrate("resolve", "a_1", "--applied").code == 0
    assert on_postgres.apply("--jobs", "2").code == 0


@pytest.mark.parametrize("commits", [0, 1])
def test_a_failure_that_a_worker_has_recorded_before_its_end_is_the_result(commits: int, on_postgres: Field) -> None:
    """The next run tries it again, as the journal says, and so this one asks for no decision."""
    own = ("db.commit()",) * commits
    on_postgres.write(HEAD + body("a_1", *own, "return False") + body("b_2", how="requires=a_1"))
    ended = on_postgres.apply("--jobs", "2", fatal=("failure recorded", 1), kills="one")
    assert ended.code == 1, ended.output
    assert "returned False" in ended.output
    assert ("returned False (1 commit of its own stayed in the database)" in ended.output) == bool(commits)
    assert "migrate resolve" not in ended.output
    assert "SIGKILL" not in ended.output
    assert on_postgres.probe().last("a_1") == ("failed", commits)
    told = on_postgres.query("SELECT error FROM ewh_implemented_features_journal WHERE name = 'a_1'")
    assert told == [("returned False",)], "why is not written over"
    on_postgres.write(HEAD + body("a_1").replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS"))
    assert on_postgres.apply("--jobs", "2").code == 0


# -- the run itself is killed, or loses its lock ------------------------------------------------------------------------------


def test_without_the_run_its_workers_end_and_nothing_is_committed(on_postgres: Field) -> None:
    with gate(on_postgres) as open_gate:
        process = at_the_gate(on_postgres, more=("db.commit()",))
        workers = workers_of(process)
        assert len(workers) == 3
        process.process.kill()
        assert process.end().code == -9
        wait_until_gone(workers)
        open_gate()
    state = on_postgres.probe()
    assert state.tables == set()
    assert state.journal == []
    assert on_postgres.apply("--jobs", "3").code == 0
    assert on_postgres.executions("n_4") == 1


@pytest.mark.parametrize("commits", [False, True])
def test_nothing_is_committed_without_the_lock(commits: bool, on_postgres: Field) -> None:
    caught = ("try:", "    db.commit()", "except Exception as error:", "    print('refused:', error)")
    with gate(on_postgres) as open_gate:
        process = at_the_gate(on_postgres, more=caught if commits else ())
        on_postgres.query(
            "SELECT pg_terminate_backend(l.pid) FROM pg_locks l WHERE l.locktype = 'advisory' AND l.classid = 28007"
        )
        open_gate()
        ended = process.end()
    assert ended.code == 6, ended.output
    assert "the lock" in ended.output
    assert "next: migrate apply, when the database answers" in ended.output
    assert "correct" not in ended.output
    if commits:
        assert ended.output.count("refused: the lock of this run is lost") == 3
    state = on_postgres.probe()
    assert state.tables == set()
    assert "T" not in state.ledger.values()
    assert on_postgres.executions("n_4") == 0
    on_postgres.write((on_postgres.path / "migrations.py").read_text().replace(WAITS, "pass"))
    assert on_postgres.apply("--jobs", "3").code == 0


def test_another_run_waits_for_workers_that_are_left(on_postgres: Field) -> None:
    """The lock of the run is gone with it; what its workers' sessions still do keeps the next run from beginning."""
    with closing(psycopg2.connect(on_postgres.uri)) as left:
        on_postgres.write(HEAD + body("a_1"))
        (key,) = _keys_of_a_run(on_postgres)
        left.cursor().execute("SELECT pg_advisory_lock_shared(28008, %s)", (key,))
        ended = on_postgres.apply("--jobs", "2", "--lock-timeout", "0")
        assert ended.code == 75, ended.output
    assert on_postgres.apply("--jobs", "2").code == 0


def _keys_of_a_run(field: Field) -> set[int]:
    with gate(field):
        field.write(HEAD + body("look_0", WAITS), "other.py")
        process = field.open("apply", "other.py")
        wait_for_waiting(field, 1)
        found = field.query(
            "SELECT CAST(CAST(objid AS bigint) AS bit(32))::int FROM pg_locks WHERE locktype = 'advisory' AND classid = 28007"
        )
        process.process.kill()
        process.end()
    field.wait_until_quiet()
    return {key for (key,) in found}


# -- what stands in the way ---------------------------------------------------------------------------------------------------


def test_workers_load_the_files_where_and_as_the_run_did(on_postgres: Field) -> None:
    """A file may read the arguments and take them away, and go to another directory: bodies find it there, as in a row."""
    (on_postgres.path / "inner").mkdir()
    changing = "assert sys.argv.pop(1) == 'apply'\nsys.argv.clear()\nsys.path.pop(0)\nos.chdir('inner')\n"
    there = "assert os.path.basename(os.getcwd()) == 'inner'"
    on_postgres.write(HEAD + f"import os, sys\n{changing}" + body("a_1", there) + body("b_2", there))
    ended = on_postgres.open("apply", "--jobs", "2").end()
    assert ended.code == 0, ended.output
    assert "2 applied" in ended.output


def test_files_that_say_something_else_when_they_are_loaded_again_are_refused(on_postgres: Field) -> None:
    on_postgres.write(
        HEAD
        + body("a_1")
        + f"if 'worker' in repr(__import__('sys').argv) or os.getppid() != {os.getpid()}:\n    pass\n"
    )
    changing = HEAD + body("a_1") + body("b_2") + "\n\nif 'MG_SECOND' in os.environ:\n" + "".join(
        f"    {line}\n" for line in body("c_3").strip().splitlines()
    ) + "os.environ['MG_SECOND'] = 'yes'\n"  # fmt: skip
    on_postgres.write(changing)
    ended = on_postgres.apply("--jobs", "2")
    assert ended.code == 2, ended.output
    assert "has loaded other ones" in ended.output
    assert on_postgres.probe().tables == set()
    assert on_postgres.apply("--to", "b_2", "--jobs", "1").code == 0


READS = "db.executesql('INSERT INTO {0} VALUES (%s)' % len({1}))"
READ_MEANWHILE = {
    "made by another one": ("with open('data.txt', 'w') as file: file.write('one')", "open('data.txt').read()"),
    "edited by another one": ("with open('there.txt', 'a') as file: file.write('e')", "open('there.txt').read()"),
    "of the system": ("pass", "open('/proc/self/stat').read()[:3]"),
}


@pytest.mark.parametrize("file", READ_MEANWHILE)
def test_files_that_a_body_reads_are_no_other_code(file: str, on_postgres: Field) -> None:
    """It reads them when it runs, in a worker or not: the second one is started, and loads, when the first body is over."""
    writes, reads = READ_MEANWHILE[file]
    on_postgres.write("on", "there.txt")
    on_postgres.write(
        HEAD
        + body("a_1", writes)
        + body("b_2", READS.format("b_2", reads), how="requires=[a_1]")
        + body("c_3", READS.format("c_3", reads), how="requires=[a_1]")
    )
    ended = on_postgres.apply("--jobs", "2")
    assert ended.code == 0, ended.output
    assert on_postgres.query("SELECT (SELECT id FROM b_2), (SELECT id FROM c_3)") == [(3, 3)]


def test_a_path_of_modules_that_is_no_text_is_no_hindrance(on_postgres: Field) -> None:
    """Import passes over such an entry; a worker does as well, and loads what the run has loaded."""
    told = "import sys\nfrom pathlib import Path\nsys.path[:0] = [Path(__file__).parent, b'lib', None]\n"
    on_postgres.write(told + HEAD + body("a_1") + body("b_2"))
    ended = on_postgres.apply("--jobs", "2")
    assert ended.code == 0, ended.output
    assert on_postgres.probe().tables == {"a_1", "b_2"}


def test_a_retry_is_a_new_attempt_of_the_same_worker(on_postgres: Field) -> None:
    error = "DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$"
    once = ("if not os.path.exists('tried'):", "    open('tried', 'w').close()", f"    db.executesql({error!r})")
    on_postgres.write(HEAD + body("a_1", *once) + body("b_2"))
    ended = on_postgres.apply("--jobs", "2")
    assert ended.code == 0, ended.output
    assert "a_1 is tried again, attempt 2 of 5" in ended.output
    rows = [row for row in on_postgres.probe().journal if row[0] == "a_1"]
    assert rows == [("a_1", "failed", 0), ("a_1", "applied", 0)]


def test_it_is_not_done_where_it_was_not_asked_for(on_postgres: Field) -> None:
    on_postgres.write(HEAD + body("a_1", "print('pid', os.getppid())") + body("b_2", "print('pid', os.getppid())"))
    ended: Ended = on_postgres.apply("--jobs", "1")
    assert ended.code == 0
    assert "at once" not in ended.output
    pids = {
        pid for (pid,) in on_postgres.query("SELECT pid FROM ewh_implemented_features_journal WHERE state = 'applied'")
    }
    assert len(pids) == 1


def test_seats_are_given_only_while_there_is_something_to_do(on_postgres: Field) -> None:
    """No more processes than steps that are ready: two sides of a diamond need two."""
    names = ["a_1", "b_2", "c_3", "d_4"]
    needs = {"a_1": "independent=True", "b_2": "requires=a_1", "c_3": "requires=a_1", "d_4": "requires=(b_2, c_3)"}
    on_postgres.write(HEAD + BARRIER + "".join(
        body(name, *(["meet(1000, 1 if db and __name__ and '" + name + "' == 'b_2' else 2, 2)"] if name in {"b_2", "c_3"} else []), how=needs[name])
        for name in names
    ))  # fmt: skip
    ended = on_postgres.apply("--jobs", "8")
    assert ended.code == 0, ended.output
    pids = [
        pid
        for (pid,) in on_postgres.query(
            "SELECT pid FROM ewh_implemented_features_journal WHERE state = 'applied' ORDER BY id"
        )
    ]
    assert len(set(pids)) == 2
    started = [line for line in ended.output.splitlines() if " start " in line]
    assert all(before <= after for before, after in pairwise(line.partition("[")[2] for line in started))


@pytest.mark.parametrize(
    ("allowed", "told"),
    [(6, "migrations run up to 2 at once, not 4"), (4, "migrations run one after another, not 4"), (9, "")],
)
def test_no_more_run_at_once_than_connections_are_allowed(
    allowed: int, told: str, on_postgres: Field, postgres_server: PostgresServer
) -> None:
    """A worker more would wait for a connection that its own run holds."""
    on_postgres.write(HEAD + "".join(body(f"m_{number}") for number in range(4)))
    name = on_postgres.uri.rpartition("/")[2]
    postgres_server.execute(f"ALTER DATABASE {name} CONNECTION LIMIT {allowed}")
    ended = on_postgres.apply("--jobs", "4", env={"MIGRATE_CONNECT_WAIT": "1"})
    assert ended.code == 0, ended.output
    assert told in ended.output
    assert ("CONNECTION LIMIT" in ended.output) == bool(told)
    assert ("4 at once need 9 connections" in ended.output) == bool(told)


@pytest.mark.usefixtures("may_create_databases")
def test_a_rehearsal_that_comes_first_goes_in_a_row(on_postgres: Field, postgres_server: PostgresServer) -> None:
    text = "from migrate_graph import migration\n" + "".join(
        f"\n@migration(independent=True)\ndef m_{n}(db):\n    db.executesql('CREATE TABLE m_{n} (id integer)')\n    return True\n"
        for n in range(2)
    )
    path = {"PATH": f"{postgres_server.binaries}:{on_postgres.env['PATH']}"}
    on_postgres.write(text.replace("CREATE TABLE m_1", "CREATE TABEL m_1"))
    ended = on_postgres.open("apply", "--jobs", "2", "--rehearse-first", env=path).end()
    assert ended.code == 1, ended.output
    assert "nothing was run" in ended.output
    on_postgres.write(text)
    ended = on_postgres.open("apply", "--jobs", "2", "--rehearse-first", env=path).end()
    assert ended.code == 0, ended.output
    assert "2 migrations to run, up to 2 at once" in ended.output
    assert on_postgres.probe().tables == {"m_0", "m_1"}
