"""What a body does beside its database in a rehearsal: it is refused, told with its line, and let be where it is nobody's business."""

from __future__ import annotations

import contextlib
import inspect
import logging
import multiprocessing
import os
import shutil
import signal
import smtplib
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg2
import pytest

from migrate_graph.core.footprint import OutsideAct
from migrate_graph.database import outside_acts
from migrate_graph.database.outside_acts import ActsOutside, OutsideWatch

Body = Callable[[Path], object]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Make a directory with a file that is to stay as it is."""
    (tmp_path / "kept.txt").write_text("kept", encoding="utf-8")
    return tmp_path


def watched(body: Body, place: Path, *, allow: bool = False, folders: tuple[Path, ...] = ()) -> list[OutsideAct]:
    """Run a body as a rehearsal does, whatever it raises."""
    with (
        OutsideWatch(Path(__file__).parent, folders=folders, allow=allow)("a migration") as acts,
        contextlib.suppress(Exception),
    ):
        body(place)
    return acts


def listing(place: Path) -> dict[str, tuple[str, int]]:
    return {each.name: (each.read_text() if each.is_file() else "", each.stat().st_mode) for each in place.iterdir()}


def _mkdir(place: Path) -> None:
    (place / "new").mkdir()


def _swallow(place: Path) -> None:
    with contextlib.suppress(Exception):
        (place / "a").write_text("x")
    with contextlib.suppress(Exception):
        (place / "b").write_text("x")


def _write_new(place: Path) -> None:
    with contextlib.suppress(ActsOutside):
        (place / "new").write_text("x")


def _in_thread(place: Path) -> None:
    thread = threading.Thread(target=_write_new, args=(place,))
    thread.start()
    thread.join()


def _in_pool(place: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(os.remove, place / "kept.txt").result()


def _process(_: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=print)
    process.start()
    process.join()


WRITES: dict[str, Body] = {
    "writes the file {place}/new": lambda place: (place / "new").write_text("x"),
    "writes the file {place}/kept.txt": lambda place: (place / "kept.txt").open("a"),
    "writes the file {place}/kept.txt ": lambda place: (place / "kept.txt").open("r+"),
    "writes the file {place}/low": lambda place: os.open(place / "low", os.O_CREAT | os.O_RDONLY),
    "writes the file {place}/copy": lambda place: shutil.copyfile(place / "kept.txt", place / "copy"),
    "removes {place}/kept.txt": lambda place: (place / "kept.txt").unlink(),
    "removes {place}": os.rmdir,
    "makes the directory {place}/new": _mkdir,
    "renames {place}/kept.txt to {place}/lost": lambda place: (place / "kept.txt").rename(place / "lost"),
    "renames {place}/kept.txt to {place}/over": lambda place: (place / "kept.txt").replace(place / "over"),
    "links {place}/kept.txt to {place}/hard": lambda place: os.link(place / "kept.txt", place / "hard"),
    "links {place}/kept.txt to {place}/soft": lambda place: (place / "soft").symlink_to(place / "kept.txt"),
    "changes the rights of {place}/kept.txt": lambda place: (place / "kept.txt").chmod(0o777),
    "changes the times of {place}/kept.txt": lambda place: os.utime(place / "kept.txt"),
    "changes the owner of {place}/kept.txt": lambda place: os.chown(place / "kept.txt", -1, -1),
    "cuts the file {place}/kept.txt": lambda place: os.truncate(place / "kept.txt", 0),
    "makes a pipe in the file system": lambda place: os.mkfifo(place / "pipe"),
    "opens the database {place}/other.db": lambda place: sqlite3.connect(place / "other.db"),
    "opens the database {place}/other.db ": lambda place: sqlite3.connect(f"file:{place}/other.db?mode=rwc", uri=True),
    "removes {place}/kept.txt ": _in_pool,
    "writes the file {place}/new ": _in_thread,
    "writes the file {place}/log.txt": lambda place: logging.FileHandler(place / "log.txt"),
}
RUNS: dict[str, Body] = {
    "runs touch": lambda place: subprocess.run(["touch", place / "new"], check=True),
    "runs touch ": lambda place: os.system(f"touch {place}/new"),
    "runs /bin/sh": lambda place: subprocess.run(f"touch {place}/new", shell=True, check=True),
    "forks a process": lambda _: os.fork() or os._exit(0),
    "runs true": lambda _: os.posix_spawnp("true", ["true"], os.environ),  # noqa: TID251 - what is tried
    "starts a process": _process,
    "sends signal 28 to process 1": lambda _: os.kill(1, signal.SIGWINCH),
    "sends signal 9 to itself": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "connects to 127.0.0.1:9": lambda _: socket.create_connection(("127.0.0.1", 9)),
    "connects to 127.0.0.1:9 ": lambda _: urllib.request.urlopen("http://127.0.0.1:9/"),
    "connects to 127.0.0.1:25": lambda _: smtplib.SMTP("127.0.0.1", 25),
    "connects to /run/nobody.sock": lambda _: socket.socket(socket.AF_UNIX).connect("/run/nobody.sock"),
    "connects to 127.0.0.1:514": lambda _: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 514)),
    "listens for connections": lambda _: socket.socket().bind(("127.0.0.1", 0)),
    "opens a connection to a database of its own": lambda _: psycopg2.connect("host=127.0.0.1 port=9"),
}


@pytest.mark.parametrize("what", [*WRITES, *RUNS])
def test_an_act_is_refused_and_told_with_its_line(place: Path, what: str) -> None:
    body = {**WRITES, **RUNS}[what]
    before = listing(place)
    acts = watched(body, place)
    assert [each.what for each in acts] == [what.strip().format(place=place)]
    assert acts[0].refused
    assert listing(place) == before
    lines, first = (
        inspect.getsourcelines(_write_new if body is _in_thread else body) if body is not os.rmdir else ([], 0)
    )
    if body is os.rmdir:
        assert acts[0].source is not None
    elif acts[0].source is not None:
        assert acts[0].source.path == Path(__file__).name
        assert first <= acts[0].source.line < first + len(lines)
    else:
        assert body is _in_pool, "a thread of the library has no line of the user's"


@pytest.mark.parametrize("what", [each for each in WRITES if "owner" not in each])  # it stays whose it is
def test_what_is_allowed_happens_and_is_told_all_the_same(place: Path, what: str) -> None:
    before = listing(place), place.stat().st_mtime_ns
    acts = watched(WRITES[what], place, allow=True)
    assert [each.what for each in acts] == [what.strip().format(place=place)]
    assert not acts[0].refused
    if what != "removes {place}":  # it is not empty
        changed = (listing(place), place.stat().st_mtime_ns) != before
        assert changed or what.strip().endswith("kept.txt") or "log" in what


def test_what_a_body_swallows_is_told_each_time(place: Path) -> None:
    assert [each.what.rpartition("/")[2] for each in watched(_swallow, place)] == ["a", "b"]


def test_the_refusal_says_what_it_refuses(place: Path) -> None:
    with (
        OutsideWatch(place)("m"),
        pytest.raises(ActsOutside, match=r"it writes the file .*/new: refused in a rehearsal"),
    ):
        (place / "new").write_text("x")


HARMLESS: dict[str, Body] = {
    "reads a file": lambda place: (place / "kept.txt").read_text(),
    "writes to nowhere": lambda _: Path(os.devnull).write_text("x"),
    "writes to a descriptor": lambda _: os.fdopen(os.dup(1), "w").close(),
    "makes a temporary file": lambda _: tempfile.NamedTemporaryFile().close(),
    "makes a file without a name": lambda _: tempfile.TemporaryFile().close(),
    "makes a temporary directory": lambda _: _with_temporary_directory(),
    "looks up a name": lambda _: socket.getaddrinfo("127.0.0.1", 80),
    "asks whether it lives": lambda _: os.kill(os.getpid(), 0),
    "handles a signal": lambda _: signal.signal(signal.SIGUSR1, signal.SIG_DFL),
    "has a database in memory": lambda _: sqlite3.connect(":memory:").close(),
    "makes a pair of sockets": lambda _: [each.close() for each in socket.socketpair()],
    "prints": lambda _: sys.stderr.write("hello"),
}


def _with_temporary_directory() -> None:
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "deep").mkdir()
        (Path(directory) / "deep" / "file").write_text("x")


@pytest.mark.parametrize("what", HARMLESS)
def test_what_leaves_nothing_outside_is_let_be(place: Path, what: str) -> None:
    assert watched(HARMLESS[what], place) == []
    before = listing(place)
    with OutsideWatch(place)("m"):
        HARMLESS[what](place)
    assert listing(place) == before


def test_what_a_body_imports_may_be_compiled(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "imported_in_a_body.py").write_text("x = 1", encoding="utf-8")
    monkeypatch.syspath_prepend(place)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)

    def body(_: Path) -> None:
        import imported_in_a_body  # type: ignore[import-not-found] # noqa: F401

    assert watched(body, place) == []
    assert list(place.glob("__pycache__/*"))


def test_the_rehearsals_own_files_are_let_be_however_they_are_reached(place: Path) -> None:
    own = place / "own"
    own.mkdir()
    (place / "door").symlink_to(own)
    (own / "out").symlink_to(place)

    def body(_: Path) -> None:
        (place / "door" / "table").write_text("x")
        with contextlib.suppress(ActsOutside):
            (own / "out" / "new").write_text("x")

    assert [each.what for each in watched(body, place, folders=(own,))] == [f"writes the file {own}/out/new"]
    assert (own / "table").exists()
    assert not (place / "new").exists()


def test_threads_of_others_go_on(place: Path) -> None:
    go, done = threading.Event(), threading.Event()

    def bystander() -> None:
        go.wait(10)
        (place / "of the bystander").write_text("x")
        done.set()

    thread = threading.Thread(target=bystander)
    thread.start()
    with OutsideWatch(place)("m") as acts:
        go.set()
        assert done.wait(10)
    thread.join()
    assert acts == []


def test_after_the_body_everything_is_as_before(place: Path) -> None:
    functions = psycopg2._connect, os.mkfifo
    with OutsideWatch(place)("outer") as outer:
        with OutsideWatch(place)("inner") as inner, contextlib.suppress(ActsOutside):
            (place / "new").write_text("x")
        with contextlib.suppress(ActsOutside):
            (place / "newer").write_text("x")
    assert [len(inner), len(outer)] == [1, 1]
    assert (psycopg2._connect, os.mkfifo) == functions
    (place / "new").write_text("x")


def test_only_one_hook_is_ever_added(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    added: list[object] = []
    monkeypatch.setattr(sys, "addaudithook", added.append)
    monkeypatch.setattr(outside_acts, "_has_hook", False)
    for _ in range(3):
        with OutsideWatch(place)("m"):
            pass
    assert len(added) == 1
