"""SQLite files in a world with others: held, linked, replaced, read-only, on file systems that know no locks."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from stand import Stand
from user_project import Project
from waiting import wait_until

from migrate_graph.cli import main
from migrate_graph.core.events import Connecting, Event, LockWaiting
from migrate_graph.database import Settings, open_backend
from migrate_graph.database.sqlite import backend as backend_module
from migrate_graph.database.sqlite import lock as lock_module
from migrate_graph.errors import DatabaseRefused, DatabaseUnreachable, ExitCode, LockLost, LockTimeout

SOMEBODY = 54321


def path_of(uri: str) -> Path:
    return Path(uri.partition("://")[2])


def ignore(_event: Event) -> None:
    pass


@contextmanager
def held(path: Path) -> Iterator[sqlite3.Connection]:
    """Another program writes to the file, and lets nobody read."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield other


class Told:
    """An observer that lets a test wait for an event."""

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.seen = threading.Event()
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, self.kind):
            self.seen.set()


# -- a file that another program holds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("writing", [False, True])
def test_a_held_file_is_told_and_given_up(sqlite_uri: str, writing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_module, "_TELL_FIRST", 0.1)
    told = Told(Connecting)
    settings = Settings(sqlite_uri, connect_wait=1.5, lock_timeout=1.5)
    with (
        held(path_of(sqlite_uri)),
        pytest.raises(DatabaseUnreachable, match="locked by another program"),
        open_backend(settings, told, writing=writing),
    ):
        pytest.fail("nothing can be read")
    assert any("held by another program" in event.reason for event in told.events if isinstance(event, Connecting))
    assert backend_module._MOMENT < 2  # SQLite waits in C, deaf to signals, so long


def test_a_file_that_is_held_for_a_while_is_waited_for(sqlite_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by statements of our own, long after connecting."""
    monkeypatch.setattr(backend_module, "_TELL_FIRST", 0.1)
    told = Told(Connecting)
    with open_backend(Settings(sqlite_uri, lock_timeout=30), told, writing=True) as backend:
        other = sqlite3.connect(path_of(sqlite_uri), isolation_level=None, check_same_thread=False)
        other.execute("BEGIN EXCLUSIVE")

        def release() -> None:
            told.seen.wait(20)
            other.execute("COMMIT")
            other.close()

        thread = threading.Thread(target=release)
        thread.start()
        backend.prepare()
        thread.join()
        assert told.seen.is_set()
        assert backend.has_ledger()


@pytest.mark.parametrize("when", ["before", "while a body waits"])
def test_a_held_file_hears_a_signal(sqlite_uri: str, project: Project, when: str) -> None:
    project.env["MIGRATE_URI"] = sqlite_uri
    project.write("migrations.py", """
        from migrate_graph import migration

        @migration
        def one_1(db):
            open("here", "w").close()
            while not __import__("os").path.exists("held"):
                pass
            db.executesql("CREATE TABLE made (id int)")
            return True
    """)  # fmt: skip
    assert project.migrate("mark", "one_1", "--installed").returncode == 0
    assert project.migrate("mark", "one_1", "--pending").returncode == 0
    command = [sys.executable, "-m", "migrate_graph", "apply"]
    with closing(sqlite3.connect(path_of(sqlite_uri), isolation_level=None)) as other:
        if when == "before":
            other.execute("BEGIN EXCLUSIVE")
        process = subprocess.Popen(command, cwd=project.path, env=project.env, stderr=subprocess.PIPE, text=True)
        try:
            said: list[str] = []
            if when != "before":
                wait_until((project.path / "here").exists)
                other.execute("BEGIN EXCLUSIVE")
                (project.path / "held").touch()
            assert process.stderr is not None
            while "another program" not in "".join(said):
                said.append(process.stderr.readline())
                assert said[-1], said
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=120)
        finally:
            process.kill()
            process.communicate()
    assert process.returncode == ExitCode.SIGNAL + signal.SIGTERM
    with closing(sqlite3.connect(path_of(sqlite_uri))) as database:
        assert not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'made'").fetchall()


# -- one file, one lock -------------------------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from migrate_graph.database import Settings, open_backend

with open_backend(Settings("sqlite://" + sys.argv[1]), writing=True) as backend, backend.lock(5, lambda _: None):
    Path(sys.argv[2]).touch()
    sys.stdin.readline()
"""


@contextmanager
def another_run(path: Path, witness: Path) -> Iterator[None]:
    """Another process holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, path, witness], stdin=subprocess.PIPE, text=True)
    try:
        wait_until(witness.exists)
        yield
        process.communicate("\n", timeout=120)
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(not lock_module._HAS_OPEN_FILE_LOCKS, reason="locks of open files are there on Linux only")
@pytest.mark.parametrize("way", ["a hard link", "a symbolic link", "another spelling"])
def test_names_of_one_file_meet_at_one_lock(sqlite_uri: str, tmp_path: Path, way: str) -> None:
    path = path_of(sqlite_uri)
    sqlite3.connect(path).close()
    path.touch()
    (tmp_path / "elsewhere").mkdir()
    other = tmp_path / "elsewhere" / "other.db"
    if way == "a hard link":
        other.hardlink_to(path)
    elif way == "a symbolic link":
        other.symlink_to(path)
    else:
        other = tmp_path / "elsewhere" / ".." / path.name
    with open_backend(Settings(f"sqlite://{other}"), writing=True) as backend:
        with another_run(path, tmp_path / "witness"), pytest.raises(LockTimeout), backend.lock(0, ignore):
            pytest.fail("two runs on one file")
        with backend.lock(5, ignore) as lock:
            assert lock.is_held()


def test_a_lock_file_that_was_removed_and_made_anew_is_waited_for(sqlite_uri: str) -> None:
    """Who locks a file that nobody can find any more holds nothing: the next run locks its successor."""
    beside = path_of(sqlite_uri).with_name("database.sqlite.migrate.lock")
    told = Told(LockWaiting)
    entered = threading.Event()
    with beside.open("w") as old:
        fcntl.flock(old, fcntl.LOCK_EX)

        def run() -> None:
            with open_backend(Settings(sqlite_uri), writing=True) as backend, backend.lock(30, told):
                entered.set()

        thread = threading.Thread(target=run)
        thread.start()
        assert told.seen.wait(20)
        beside.unlink()
        with beside.open("w") as new:
            fcntl.flock(new, fcntl.LOCK_EX)
            told.seen.clear()
            fcntl.flock(old, fcntl.LOCK_UN)
            assert told.seen.wait(20)  # it waits for the new one
            assert not entered.is_set()
        thread.join(20)
    assert entered.is_set()


def _replacement(path: Path) -> Path:
    """A file with another history."""
    new = path.with_name("new.sqlite")
    with open_backend(Settings(f"sqlite://{new}"), writing=True) as backend:
        backend.prepare()
        backend.mark(["of_the_new_one"], installed=True, reason="", run="r")
    return new


@pytest.mark.parametrize("of_open_files", [lock_module._HAS_OPEN_FILE_LOCKS, False])
def test_a_file_that_is_replaced_during_the_wait_is_opened_again(
    sqlite_uri: str, monkeypatch: pytest.MonkeyPatch, of_open_files: bool
) -> None:
    monkeypatch.setattr(lock_module, "_HAS_OPEN_FILE_LOCKS", of_open_files)
    path = path_of(sqlite_uri)
    new = _replacement(path)
    beside = path.with_name("database.sqlite.migrate.lock")
    told = Told(LockWaiting)
    seen: list[object] = []
    with beside.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        def run() -> None:
            with open_backend(Settings(sqlite_uri), writing=True) as backend, backend.lock(30, told) as lock:
                backend.prepare()
                seen.extend([backend.read_history().applied, lock.is_held()])

        thread = threading.Thread(target=run)
        thread.start()
        assert told.seen.wait(20)
        new.replace(path)
        fcntl.flock(file, fcntl.LOCK_UN)
        thread.join(20)
    assert seen == [{"of_the_new_one"}, True]


@pytest.mark.parametrize("of_open_files", [lock_module._HAS_OPEN_FILE_LOCKS, False])
def test_a_file_that_is_replaced_during_a_run_ends_it(
    sqlite_uri: str, monkeypatch: pytest.MonkeyPatch, of_open_files: bool
) -> None:
    monkeypatch.setattr(lock_module, "_HAS_OPEN_FILE_LOCKS", of_open_files)
    path = path_of(sqlite_uri)
    new = _replacement(path)
    stand = Stand(sqlite_uri)
    called: list[str] = []

    def one_1(_db: Any) -> bool:
        new.replace(path)
        return True

    def two_2(_db: Any) -> bool:
        called.append("two_2")
        return True

    with pytest.raises(LockLost):
        stand.run(one_1, two_2)
    assert not called
    assert stand.history().applied == {"of_the_new_one"}


def test_the_lock_file_has_mode_and_owner_of_the_database(sqlite_uri: str) -> None:
    path = path_of(sqlite_uri)
    path.touch()
    path.chmod(0o660)
    if os.geteuid() == 0:
        os.chown(path, SOMEBODY, SOMEBODY)
    with open_backend(Settings(sqlite_uri), writing=True) as backend, backend.lock(5, ignore):
        pass
    made = path.with_name("database.sqlite.migrate.lock").stat()
    assert stat.S_IMODE(made.st_mode) == 0o660
    assert (made.st_uid, made.st_gid) == (path.stat().st_uid, path.stat().st_gid)


def test_a_lock_file_is_no_way_into_other_files(sqlite_uri: str, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    path_of(sqlite_uri).with_name("database.sqlite.migrate.lock").symlink_to(precious)
    with (
        open_backend(Settings(sqlite_uri), writing=True) as backend,
        pytest.raises(DatabaseRefused, match="lock file"),
        backend.lock(5, ignore),
    ):
        pytest.fail("locked through a link")
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EIO])
@pytest.mark.parametrize("call", ["flock", "fcntl"])
def test_a_file_system_without_locks_is_refused(
    sqlite_uri: str,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: int,
    call: str,
) -> None:
    if call == "fcntl" and (code == errno.EINVAL or not lock_module._HAS_OPEN_FILE_LOCKS):
        pytest.skip("not a refusal: an old kernel, or another system, has the lock beside the file only")

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, call, refuse)
    project.write("migrations.py", "")
    monkeypatch.chdir(project.path)
    assert main(["apply"], environ={"MIGRATE_URI": sqlite_uri}) == ExitCode.DATABASE
    said = capsys.readouterr().err
    assert os.strerror(code) in said
    assert "hint:" in said


# -- read-only ----------------------------------------------------------------------------------------------------------------

MIGRATIONS = """
from migrate_graph import migration

@migration
def one_1(db):
    db.executesql("CREATE TABLE made (id int)")
    return True
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that everybody can reach, which pytest's are not."""
    directory = Path(tempfile.mkdtemp(prefix="mg-shared-"))
    directory.chmod(0o755)
    (directory / "migrations.py").write_text(MIGRATIONS)
    yield directory
    directory.chmod(0o755)
    shutil.rmtree(directory)


def as_somebody(directory: Path, *words: str, database: str = "app.db") -> tuple[int, str]:
    """Run a command as an ordinary user, who owns nothing here when the tests run as root."""
    reader, writer = os.pipe()
    if not (child := os.fork()):
        code = 99
        try:
            os.dup2(writer, 1)
            os.dup2(writer, 2)
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(SOMEBODY)
                os.setuid(SOMEBODY)
            os.chdir(directory)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            code = main(
                list(words), environ={"MIGRATE_URI": f"sqlite://{directory / database}", "HOME": "/nonexistent"}
            )
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


def seal(directory: Path) -> None:
    for path in directory.iterdir():
        path.chmod(0o444)
    directory.chmod(0o555)


def apply_as_owner(directory: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "migrate_graph", "apply"], check=False, cwd=directory, capture_output=True, text=True,
        env={"MIGRATE_URI": f"sqlite://{directory / 'app.db'}", "HOME": "/nonexistent"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
@pytest.mark.parametrize("lock_file", [True, False])
def test_nothing_pending_on_a_read_only_database_is_done(shared: Path, mode: str, lock_file: bool) -> None:
    with closing(sqlite3.connect(shared / "app.db")) as database:
        database.execute(f"PRAGMA journal_mode = {mode}")
    apply_as_owner(shared)
    if not lock_file:
        (shared / "app.db.migrate.lock").unlink()
    seal(shared)
    before = (shared / "app.db").read_bytes()
    for words in (["apply"], ["status"], ["plan"], ["log"]):
        code, said = as_somebody(shared, *words)
        assert code == 0, said
        assert "Traceback" not in said
    code, said = as_somebody(shared, "status")
    assert "one_1" in said
    assert (shared / "app.db").read_bytes() == before


def test_something_pending_on_a_read_only_database_is_refused(shared: Path) -> None:
    apply_as_owner(shared)
    with (shared / "migrations.py").open("a") as file:
        file.write(MIGRATIONS.replace("one_1", "two_2"))
    seal(shared)
    code, said = as_somebody(shared, "apply")
    assert code == ExitCode.DATABASE
    assert "not writable" in said


def test_a_log_that_cannot_be_read_is_no_reason_to_show_an_old_state(shared: Path) -> None:
    """Without its log a database in WAL mode is read as it is; with one, what is in the log would be missing."""
    with closing(sqlite3.connect(shared / "app.db", isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        apply_as_owner(shared)
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.execute("DELETE FROM ewh_implemented_features")
        log = (shared / "app.db-wal").read_bytes()
        database = (shared / "app.db").read_bytes()
    (shared / "app.db").write_bytes(database)
    (shared / "app.db-wal").write_bytes(log)
    (shared / "app.db-shm").unlink(missing_ok=True)
    seal(shared)
    code, said = as_somebody(shared, "status")
    assert code == ExitCode.DATABASE, said
    assert "Traceback" not in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file that belongs to another")
def test_a_lock_file_of_another_user_stops_nobody(shared: Path) -> None:
    apply_as_owner(shared)
    (shared / "app.db").chmod(0o666)
    assert (shared / "app.db.migrate.lock").stat().st_uid == 0
    with (shared / "migrations.py").open("a") as file:
        file.write(MIGRATIONS.replace("one_1", "two_2").replace("made", "made_2"))
    shared.chmod(0o777)
    code, said = as_somebody(shared, "apply")
    assert code == 0, said


# -- what is no database, or not ours to use ---------------------------------------------------------------------------------


def _damaged(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE t (x)")
        database.commit()
    content = bytearray(path.read_bytes())
    content[40:2000] = b"\xff" * 1960
    path.write_bytes(content)


NO_DATABASES: dict[str, tuple[Any, int, str, str]] = {
    "a directory": (Path.mkdir, 6, "app.db is a directory, not an SQLite file", "name a file in it: sqlite:///"),
    "a text": (
        lambda path: path.write_text("words " * 99),
        6,
        "is not an SQLite database, or is damaged",
        "migrate_uri",
    ),
    "damaged": (_damaged, 6, "is not an SQLite database, or is damaged", "migrate_uri"),
    "a pipe": (os.mkfifo, 6, "app.db is a pipe, a device or a socket", "name a file in migrate_uri"),
    "a device": (
        lambda path: path.symlink_to(os.devnull),
        6,
        "app.db is a pipe, a device or a socket",
        "name a file in migrate_uri",
    ),
    "a link to itself": (lambda path: path.symlink_to(path), 2, "names a link that leads to itself", "ls -l "),
}


@pytest.mark.parametrize("words", ["status", "apply", "drift"])
@pytest.mark.parametrize("what", NO_DATABASES)
def test_what_is_no_database_is_called_what_it_is(shared: Path, what: str, words: str) -> None:
    if what == "a link to itself" and sys.version_info >= (3, 13):
        pytest.skip("Python resolves it without a word, and SQLite says no more than that it cannot be opened")
    make, ends, told, hint = NO_DATABASES[what]
    make(shared / "app.db")
    shared.chmod(0o777)
    code, said = as_somebody(shared, words)
    assert (code, told in said, hint in said) == (ends, True, True), said
    assert "Traceback" not in said


def test_a_run_leaves_no_warning_of_its_own(shared: Path) -> None:
    """Where warnings are shown, for example in Python's development mode."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "migrate_graph", "apply"], check=False, cwd=shared, capture_output=True, text=True,
        env={"MIGRATE_URI": f"sqlite://{shared / 'app.db'}", "HOME": "/nonexistent"},
    )  # fmt: skip
    assert (done.returncode, "Warning" in done.stderr) == (0, False), done.stderr


def test_a_pipe_in_the_place_of_the_lock_file_keeps_nobody_waiting(shared: Path) -> None:
    apply_as_owner(shared)
    lock = shared / "app.db.migrate.lock"
    lock.unlink()
    os.mkfifo(lock, 0o444)
    code, said = as_somebody(shared, "status")
    assert (code, "1 applied" in said) == (0, True), said


def test_a_file_below_a_file_is_no_reason_to_make_a_directory(shared: Path) -> None:
    (shared / "file").touch()
    code, said = as_somebody(shared, "apply", database="file/app.db")
    assert (code, f"{shared}/file is a file" in said, "mkdir" in said) == (6, True, False), said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file that belongs to another")
@pytest.mark.parametrize(
    ("rights", "there", "words", "told"),
    [
        (0o755, 0o600, "status", "app.db may not be read by this user"),
        (0o755, 0o600, "apply", "app.db may not be read by this user"),
        (0o755, None, "apply", "app.db does not exist, and this user may not make it in "),
        (0o700, 0o644, "status", "app.db is in a directory that this user may not enter"),
        (0o700, None, "apply", "app.db is in a directory that this user may not enter"),
    ],
)
def test_a_right_that_is_missing_is_named(shared: Path, rights: int, there: int | None, words: str, told: str) -> None:
    inner = shared / "inner"
    inner.mkdir()
    if there is not None:
        with closing(sqlite3.connect(inner / "app.db")) as database:
            database.execute("CREATE TABLE t (x)")
        (inner / "app.db").chmod(there)
    inner.chmod(rights)
    code, said = as_somebody(shared, words, database="inner/app.db")
    assert (code, told in said, "rights" in said) == (6, True, True), said
    assert "Traceback" not in said
