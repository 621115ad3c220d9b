"""Bodies that fork, thread, print and change the process they run in: the run is told the truth about, and goes on."""

from __future__ import annotations

import signal
import textwrap

import pytest
from fault_field import Ended, Field
from side_by_side import NOT_IN_WORKERS

HEADER = """
import asyncio, atexit, gc, locale, multiprocessing, os, posix, signal, socket, subprocess, sys, threading, time, warnings
from concurrent.futures import ThreadPoolExecutor
from child import executed
from migrate_graph import migration

def _square(number):
    return number * number

def _is_untouched():
    state = (os.getcwd(), os.umask(0o022), sys.path[:], sys.argv[:], sys.getrecursionlimit(), socket.getdefaulttimeout(),
             sys.getswitchinterval(), gc.isenabled(),
             locale.setlocale(locale.LC_ALL), {n: signal.getsignal(n) for n in signal.valid_signals()},
             signal.getitimer(signal.ITIMER_REAL), sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())), os.fstat(1), os.fstat(2),
             warnings.filters[:], {n: v for n, v in os.environ.items() if n.startswith('PG')})
    return state
"""


def _project(field: Field, *bodies: str) -> None:
    """Write migrations `m1_1`, `m2_2` … with these bodies; each makes a table of its name first."""
    text = HEADER
    for number, body in enumerate(bodies, 1):
        name = f"m{number}_{number}"
        text += f"\n@migration\ndef {name}(db):\n    executed('{name}')\n    db.executesql('CREATE TABLE {name} (id integer)')\n"
        text += textwrap.indent(textwrap.dedent(body).strip("\n"), "    ") + "\n    return True\n"
    field.write(text)


def _apply(field: Field, timeout: float = 120, **env: str) -> Ended:
    return field.open("apply", env=env).end(timeout)


# -- forks --------------------------------------------------------------------------------------------------------------------

FORKS = {
    "pool": "with multiprocessing.get_context('fork').Pool(3) as pool:\n    assert pool.map(_square, range(9))[3] == 9",
    "terminated at once": (
        "for _ in range(10):\n    child = multiprocessing.get_context('fork').Process(target=time.sleep, args=(30,))\n"
        "    child.start()\n    child.terminate()\n    child.join()\n    assert child.exitcode == -15, child.exitcode"
    ),
    "a child that exits": "pid = os.fork()\nif not pid: sys.exit(7)\nassert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7",
    "a child that raises": (
        "pid = os.fork()\nif not pid: raise ValueError('in it')\nassert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1"
    ),
    "a child that returns": "pid = os.fork()\nif not pid: return True\nassert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0",
    "a child that closes": (
        "raw = db._adapter.connection\npid = os.fork()\nif not pid:\n    for close in (db.close, raw.close):\n        try: close()\n"
        "        except Exception: pass\n    os._exit(0)\nassert os.waitpid(pid, 0)[1] == 0"
    ),
    "a child that uses the connection": (
        "raw = db._adapter.connection\npid = os.fork()\nif not pid:\n"
        "    for use in (lambda: db.executesql('SELECT 1'), lambda: raw.cursor().execute('DROP TABLE m1_1'), raw.commit):\n"
        "        try: use()\n        except BaseException: pass\n        else: print(use, flush=True); os._exit(3)\n"
        "    os._exit(0)\nassert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0"
    ),
    "a child that prints": "pid = os.fork()\nif not pid:\n    print('from the child', flush=True)\n    os._exit(0)\nos.waitpid(pid, 0)",
    "a program": "assert subprocess.run([sys.executable, '-c', 'print(1)'], stdout=subprocess.PIPE).stdout == b'1\\n'",
    "a child that becomes a program": (
        "pid = os.fork()\nif not pid: os.execv(sys.executable, [sys.executable, '-c', 'raise SystemExit(9)'])\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9"
    ),
}


@pytest.mark.parametrize("way", FORKS)
def test_a_body_may_fork(way: str, anywhere: Field) -> None:
    """The statement after it is not cancelled, the session not ended, and the run goes on in one process only."""
    _project(anywhere, f"{FORKS[way]}\ndb.executesql('INSERT INTO m1_1 VALUES (1)')", "db.executesql('SELECT 1')")
    ended = _apply(anywhere)
    assert ended.code == 0, ended.output
    assert ended.output.count("ok m2_2") == 1
    assert (anywhere.executions("m1_1"), anywhere.executions("m2_2")) == (1, 1)
    assert anywhere.query("SELECT count(*) FROM m1_1") == [(1,)]
    assert anywhere.probe().journal == [("m1_1", "applied", 0), ("m2_2", "applied", 0)]


def test_a_hundred_children_that_are_terminated(anywhere: Field) -> None:
    """A signal that a child receives before its handlers are its own would stop the run."""
    _project(
        anywhere,
        "context = multiprocessing.get_context('fork')\nfor number in range(100):\n"
        "    child = context.Process(target=time.sleep, args=(30,))\n    child.start()\n    child.terminate()\n"
        "    db.executesql(f'INSERT INTO m1_1 VALUES ({number})')\n    child.join()\n    assert child.exitcode == -15",
    )
    ended = _apply(anywhere)
    assert ended.code == 0, ended.output
    assert anywhere.query("SELECT count(*) FROM m1_1") == [(100,)]


@NOT_IN_WORKERS
def test_a_child_that_outlives_the_run_holds_no_lock(anywhere: Field) -> None:
    """Neither after a normal end nor after a kill: the socket and the lock's file are not the child's."""
    stay = "import pathlib\nif not os.fork():\n    os.close(0); os.close(1); os.close(2)\n    time.sleep(300)\n    os._exit(0)\n"
    leave = "if os.path.exists('die'):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    try:
        (anywhere.path / "die").touch()
        _project(
            anywhere,
            stay.replace("time.sleep(300)", "open('pids', 'a').write(f'{os.getpid()}\\n')\n    time.sleep(300)")
            + leave,
        )
        assert anywhere.open("apply").end().code == -9
        (anywhere.path / "die").unlink()
        ended = anywhere.open("apply", "--lock-timeout", "5").end()
        assert ended.code == 0, ended.output
        assert anywhere.open("apply", "--lock-timeout", "0").end().code == 0
    finally:
        import os

        for pid in (anywhere.path / "pids").read_text().split():
            os.kill(int(pid), signal.SIGKILL)


# -- threads ------------------------------------------------------------------------------------------------------------------

THREADS = {
    "a thread": "worker = threading.Thread(target=lambda: db.executesql('INSERT INTO m1_1 VALUES (1)'))\nworker.start()\nworker.join()",
    "a pool": "with ThreadPoolExecutor() as pool:\n    pool.submit(db.executesql, 'INSERT INTO m1_1 VALUES (1)').result()",
    "an event loop": "asyncio.run(asyncio.to_thread(db.executesql, 'INSERT INTO m1_1 VALUES (1)'))",
    "swallowed": "with ThreadPoolExecutor() as pool:\n    pool.submit(db.executesql, 'INSERT INTO m1_1 VALUES (1)').exception()",
}


@pytest.mark.parametrize("way", THREADS)
def test_db_in_another_thread_is_refused_at_once(way: str, anywhere: Field) -> None:
    """Also where nobody looks at what the thread raised: something of its work is missing."""
    _project(anywhere, THREADS[way])
    ended = _apply(anywhere)
    assert ended.code == 1, ended.output
    assert "db was used in the thread" in ended.output
    assert "is tried again" not in ended.output
    assert anywhere.probe().tables == set()


@pytest.mark.parametrize("place", ["body", "import"])
def test_a_thread_that_is_left_running_is_named_and_not_waited_for(place: str, anywhere: Field) -> None:
    start = "threading.Thread(target=time.sleep, args=(300,), name='left-behind').start()"
    _project(anywhere, start if place == "body" else "pass")
    if place == "import":
        file = anywhere.path / "migrations.py"
        file.write_text(f"{file.read_text()}\n{start}\n")
    ended = _apply(anywhere, timeout=120)
    assert ended.code == 0, ended.output
    assert "left-behind" in ended.output
    assert anywhere.probe().tables == {"m1_1"}


def test_a_pool_of_threads_that_is_left_idle_is_not_spoken_of(on_sqlite: Field) -> None:
    _project(on_sqlite, "global pool\npool = ThreadPoolExecutor()\npool.submit(int).result()")
    ended = _apply(on_sqlite)
    assert (ended.code, "left by user code" in ended.output) == (0, False)


# -- the honest end -----------------------------------------------------------------------------------------------------------

ENDS = {
    "_exit": "os._exit(0)",
    "_exit of posix": "posix._exit(0)",
    "_exit in a thread": "threading.Thread(target=os._exit, args=(0,)).start()\ntime.sleep(30)",
    "exec": "os.execv(sys.executable, [sys.executable, '-c', ''])",
    "execlp": "os.execlp(sys.executable, sys.executable, '-c', '')",
    "exit": "sys.exit(0)",
    "atexit, then an error": "atexit.register(os._exit, 0)\nraise ValueError",
    "a function at exit, then an error": "atexit.register(lambda: os._exit(0))\nraise ValueError",
    "the daemon's trick": "if os.fork(): os._exit(0)\ntime.sleep(0.1)",
    "every descriptor closed, then an error": "os.closerange(0, 3)\nraise ValueError",
    "stdout closed, then an error": "sys.__stdout__.close()\nsys.stdout.close()\nraise ValueError",
    "stderr closed, then an error": "sys.__stderr__.close()\nsys.stderr.close()\nraise ValueError",
    "no memory": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (1, 1))\nbytearray(10**8)",
    "no memory, caught": (
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (1, 1))\ntry: bytearray(10**8)\nexcept MemoryError: raise ValueError"
    ),
    "db taken apart": "db._adapter.connection.close()\ndb._adapter = None\nraise ValueError",
    "everything closed, then an error": "os.closerange(0, 1024)\nraise ValueError",
}


@pytest.mark.parametrize("way", ENDS)
def test_no_failure_ends_with_0(way: str, anywhere: Field) -> None:
    _project(anywhere, ENDS[way])
    ended = _apply(anywhere)
    assert ended.code not in {0, 70, 120}, ended.output
    assert anywhere.probe().tables == set()
    assert "m1_1" not in {name for name, installed in anywhere.probe().ledger.items() if installed == "T"}


@NOT_IN_WORKERS
def test_an_end_from_inside_is_told(anywhere: Field) -> None:
    _project(anywhere, ENDS["_exit"])
    ended = _apply(anywhere)
    assert ended.code == 1
    assert "os._exit(0)" in ended.output
    assert anywhere.probe().last("m1_1") is None, "it is as after a kill: nothing was kept, nothing is recorded"


STILL_GOOD = {
    "stdout closed": "sys.__stdout__.close()\nsys.stdout.close()",
    "stderr closed": "sys.__stderr__.close()\nsys.stderr.close()",
    "descriptors closed": "os.closerange(0, 3)",
    "at exit": "atexit.register(os._exit, 0)",
    "at exit with another number": "atexit.register(os._exit, 3)",
    "something at exit that does not end": "atexit.register(time.sleep, 300)",
}


@pytest.mark.parametrize("way", STILL_GOOD)
def test_a_success_is_told_whatever_the_body_did_to_the_streams(way: str, on_sqlite: Field) -> None:
    _project(on_sqlite, STILL_GOOD[way], "pass")
    ended = _apply(on_sqlite, timeout=120)
    assert ended.code == (3 if "another number" in way else 0), ended.output
    assert "ok m2_2" in ended.output
    assert on_sqlite.probe().tables == {"m1_1", "m2_2"}


# -- the process is put back --------------------------------------------------------------------------------------------------

CHANGES = {
    "asyncio": (
        "async def main():\n    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, int)\nasyncio.run(main())"
    ),
    "handlers": "for number in (15, 2, 1, 14, 10): signal.signal(number, lambda *_: None)",
    "default handlers": "signal.signal(15, signal.SIG_DFL)",
    "wakeup": "signal.set_wakeup_fd(-1)",
    "blocked signals": "signal.pthread_sigmask(signal.SIG_BLOCK, {15})",
    "directory": "os.makedirs('deep', exist_ok=True)\nos.chdir('deep')",
    "umask": "os.umask(0o777)",
    "locale": "locale.setlocale(locale.LC_ALL, 'C')",
    "paths": "sys.path[:] = []\nsys.argv[:] = []",
    "limits": "sys.setrecursionlimit(5000)\nsocket.setdefaulttimeout(0.001)\nsys.setswitchinterval(50)\ngc.disable()",
    "streams": "sys.stdout = sys.stderr = sys.__stdout__ = None",
    "descriptors": "os.close(2)",
    "alarm": "signal.signal(14, lambda *_: 1 / 0)\nsignal.alarm(1)",
    "warnings": "warnings.simplefilter('error')",
    "what libpq reads": "os.environ.update(PGOPTIONS='-c search_path=nowhere', PGUSER='nobody')",
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_body_changes_in_the_process_is_put_back(change: str, on_sqlite: Field) -> None:
    """The next one meets the process as it was; the first one is told to look, to have something to compare with."""
    look = "open('{}', 'w').write(repr(_is_untouched()))"
    _project(on_sqlite, look.format("before"), CHANGES[change], look.format("after"))
    ended = _apply(on_sqlite)
    assert ended.code == 0, ended.output
    assert (on_sqlite.path / "after").read_text() == (on_sqlite.path / "before").read_text()
    assert "ok m3_3" in ended.output


@pytest.mark.parametrize("change", ["asyncio", "handlers", "default handlers", "wakeup", "blocked signals"])
def test_a_signal_is_heard_in_the_next_body(change: str, anywhere: Field) -> None:
    endless = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000000) SELECT max(i) FROM n"
    )
    statement = "SELECT pg_sleep(300)" if anywhere.is_postgres else endless
    _project(anywhere, CHANGES[change], f"print('here')\ndb.executesql('{statement}')")
    process = anywhere.open("apply")
    process.wait_for("m2_2 | here")
    process.wait_until_in_c()  # where Python's own handlers do not run
    ended = process.stop(signal.SIGTERM)
    assert ended.code == 143, ended.output
    assert anywhere.probe().tables == {"m1_1"}


# What tests of the body's own project replace, and forget to put back.
REPLACED = {
    "time": "time.sleep = time.monotonic = time.time = time.perf_counter = None",
    "frozen time": "time.time = time.monotonic = time.perf_counter = lambda: 0.0",
    "builtins": (
        "import builtins\nfor name in ('len', 'str', 'isinstance', 'getattr', 'any', 'sorted', 'tuple', 'open', 'print', 'Exception'):\n"
        "    setattr(builtins, name, None)"
    ),
    "os": "os.getcwd = os.umask = os.dup2 = os.close = os.getpid = os.path = None",
    "signal": "signal.signal = signal.getsignal = signal.getitimer = signal.setitimer = None",
    "threading": "threading.Thread = threading.Lock = threading.current_thread = threading.enumerate = None",
    "sys": "sys.getrecursionlimit = sys.exc_info = sys.setswitchinterval = None",
    "contextlib": "import contextlib\ncontextlib.suppress = contextlib.ExitStack = None",
    "json": "import json\njson.dumps = json.loads = None",
    "locale and gc": "locale.setlocale = gc.enable = gc.isenabled = None",
    "uuid and socket": "import uuid\nuuid.uuid4 = socket.gethostname = socket.setdefaulttimeout = socket.getdefaulttimeout = None",
    "modules": "[sys.modules.pop(name) for name in list(sys.modules) if name.startswith(('migrate_graph', 'json', 'time'))]",
    "all modules": "sys.modules.clear()",
    "what finds modules": "sys.meta_path.clear(), sys.path_hooks.clear(), sys.path_importer_cache.clear(), sys.path.clear()",
}


@pytest.mark.parametrize("after", ["return True", "return 1 / 0"])
@pytest.mark.parametrize("replaced", REPLACED)
def test_functions_that_a_body_replaces_are_put_back(replaced: str, after: str, anywhere: Field) -> None:
    _project(anywhere, f"{REPLACED[replaced]}\n{after}", "pass")
    ended = _apply(anywhere)
    assert ended.code == ("1 / 0" in after), ended.output
    assert ("ZeroDivisionError" in ended.output) == ("1 / 0" in after)
    assert anywhere.probe().tables == (set() if ended.code else {"m1_1", "m2_2"})


def test_a_library_that_finds_modules_stays_when_the_body_that_imported_it_is_over(on_sqlite: Field) -> None:
    """Its other modules are found by what it has put there."""
    (on_sqlite.path / "late.py").write_text(
        "import sys, types, importlib.machinery\n"
        "class Finder:\n    def find_spec(self, name, path=None, target=None):\n"
        "        return importlib.machinery.ModuleSpec(name, self) if name == 'late_more' else None\n"
        "    def create_module(self, spec): return types.ModuleType(spec.name)\n    def exec_module(self, module): pass\n"
        "sys.meta_path.append(Finder())\n"
    )
    _project(on_sqlite, "import late", "import late_more")
    ended = _apply(on_sqlite)
    assert ended.code == 0, ended.output


def test_a_file_may_empty_what_finds_modules(on_sqlite: Field) -> None:
    _project(on_sqlite, "pass")
    file = on_sqlite.path / "migrations.py"
    file.write_text(f"{file.read_text()}\nsys.meta_path.clear()\n")
    assert _apply(on_sqlite).code not in {70}


@pytest.mark.parametrize(
    "how",
    [
        "raise KeyboardInterrupt",
        "signal.signal(2, signal.default_int_handler)\nos.kill(os.getpid(), 2)\ntime.sleep(300)",
    ],
)
def test_a_body_that_interrupts_itself_stops_the_run_as_ctrl_c_does(how: str, anywhere: Field) -> None:
    _project(anywhere, "pass", how, "pass")
    ended = _apply(anywhere)
    assert ended.code == 130, ended.output
    assert "INTERRUPTED m2_2" in ended.output
    assert "Traceback" not in ended.output
    assert "migrate apply (goes on where this run stopped)" in ended.output
    assert anywhere.probe().tables == {"m1_1"}
    assert anywhere.probe().last("m2_2") == ("failed", 0)


@pytest.mark.parametrize("replaced", ["time", "signal", "contextlib"])
def test_a_signal_is_heard_while_a_body_has_replaced_functions(replaced: str, on_sqlite: Field) -> None:
    _project(on_sqlite, f"wait = time.sleep\nprint('here')\n{REPLACED[replaced]}\nwait(300)")
    process = on_sqlite.open("apply")
    process.wait_for("m1_1 | here")
    ended = process.stop(signal.SIGTERM)
    assert ended.code == 143, ended.output
    assert "INTERRUPTED m1_1" in ended.output


def test_an_alarm_of_a_body_does_not_undo_what_is_committed(anywhere: Field) -> None:
    """Set to go off at every moment between the return and the next body, many times over."""
    _project(
        anywhere,
        *[
            f"def ring(*_): raise TimeoutError('too late')\nsignal.signal(14, ring)\nsignal.setitimer(signal.ITIMER_REAL, {number} / 20000)"
            for number in range(1, 41)
        ],
    )
    ended = _apply(anywhere, timeout=120)
    state = anywhere.probe()
    recorded = {name for name, installed in state.ledger.items() if installed == "T"}
    assert recorded == state.tables, "recorded if, and only if, its work is there"
    told = {line.split()[4] for line in ended.output.splitlines() if "] ok m" in line}
    assert {name for name in recorded if f"ok {name} " in ended.output} == recorded, (told, ended.output)


# -- what a body prints -------------------------------------------------------------------------------------------------------


def test_bytes_that_a_body_writes_to_its_stdout(on_sqlite: Field) -> None:
    _project(
        on_sqlite,
        "sys.stdout.buffer.write('grüße\\n'.encode())\nsys.stdout.buffer.flush()\nsys.__stdout__.write('past the front\\n')\n"
        "print('half \\udc80 a pair')\nprint('no end', end='')",
    )
    process = on_sqlite.open("apply")
    ended = process.end()
    assert ended.code == 0, ended.output
    for line in ("m1_1 | grüße", "m1_1 | past the front", "m1_1 | half \\udc80 a pair", "m1_1 | no end"):
        assert line in ended.output


# -- exceptions that cannot be told -------------------------------------------------------------------------------------------

TEXTS = {
    "NUL": "raise ValueError('a\\0b')",
    "surrogate": "raise ValueError('a\\udc80b')",
    "not of the database": "raise ValueError('→ … 漢字 🙂')",
    "raises": "class Bad(Exception):\n    def __str__(self): raise RuntimeError\nraise Bad",
    "exits": "class Bad(Exception):\n    def __str__(self): raise SystemExit(0)\nraise Bad",
    "never ends": "class Bad(Exception):\n    def __str__(self):\n        while True: pass\nraise Bad",
    "long": "raise ValueError('x' * 50_000_000)",
    "no text": "class Bad(Exception):\n    def __str__(self): return 5\nraise Bad",
    "bad argument": "class Bad:\n    def __repr__(self): raise ValueError\nraise Exception(Bad(), Bad())",
    "every attribute": "class Bad(Exception):\n    def __getattribute__(self, name): raise RuntimeError(name)\nraise Bad",
    "own string": (
        "class Text(str):\n    def strip(self, *_): raise ValueError\n    partition = strip\n"
        "class Bad(Exception):\n    def __str__(self): return Text('x')\nraise Bad"
    ),
    "chained": (
        "class Bad(Exception):\n    def __str__(self): raise RuntimeError\n"
        "try: raise Bad\nexcept Bad as error: raise ValueError('outer') from error"
    ),
    "a group": "raise ExceptionGroup('many', [ValueError('a\\0'), KeyError('\\udcff')])",
    "returned": "class Bad:\n    def __repr__(self): raise ValueError\n    def __bool__(self): return False\nreturn Bad()",
    "unknown truth": "class Bad:\n    def __bool__(self): raise ValueError\nreturn Bad()",
}


@pytest.mark.parametrize("way", TEXTS)
def test_an_exception_is_recorded_whatever_it_says(way: str, anywhere: Field) -> None:
    _project(anywhere, TEXTS[way], "pass")
    ended = anywhere.open("apply", "--keep-going").end()
    assert ended.code == 1, ended.output[-3000:]
    assert "FAILED m1_1" in ended.output
    assert "ok m2_2" in ended.output, "the run goes on"
    state = anywhere.probe()
    assert (state.last("m1_1"), state.tables) == (("failed", 0), {"m2_2"})


@pytest.mark.postgres
@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
@pytest.mark.parametrize("way", ["NUL", "surrogate", "not of the database", "returned"])
def test_a_database_of_another_encoding(way: str, encoding: str, on_postgres: Field, postgres_server: object) -> None:
    name = f"other_{encoding.lower()}_{abs(hash(way)) % 10**6}"
    postgres_server.execute(  # type: ignore[attr-defined] # a PostgresServer
        f"CREATE DATABASE {name} OWNER app TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    try:
        on_postgres.uri = on_postgres.env["MIGRATE_URI"] = postgres_server.app_uri(name)  # type: ignore[attr-defined]
        test_an_exception_is_recorded_whatever_it_says(way, on_postgres)
        ended = on_postgres.migrate("mark", "m1_1", "--installed", "--reason", "it is → done 🙂")
        assert ended.code == 0, ended.output
    finally:
        on_postgres.wait_until_quiet()
        postgres_server.execute(f"DROP DATABASE {name}")  # type: ignore[attr-defined]
