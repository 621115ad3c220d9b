"""A file is written whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from migrate_graph.atomic_write import write_whole


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    write_whole(tmp_path / "new", b"text")
    assert mode_of(tmp_path / "new") == mode_of(tmp_path / "usual")
    write_whole(tmp_path / "flag", b"", mode=0o604)
    assert mode_of(tmp_path / "flag") == 0o604


def test_what_was_there_is_replaced_and_keeps_its_permissions(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"a longer text than the next")
    file.chmod(0o640)
    write_whole(file, b"next")
    assert (file.read_bytes(), mode_of(file)) == (b"next", 0o640)
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208 - names are compared


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(file, b"new")
    assert file.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208 - names are compared


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere" / "file")
    write_whole(link, b"new")
    assert link.is_symlink()
    assert (tmp_path / "elsewhere" / "file").read_bytes() == b"new"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard: list[bytes] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_whole(pipe, b"text")
    reader.join(timeout=60)
    assert heard == [b"text"]
    assert pipe.is_fifo()


def test_the_longest_name_there_can_be_is_no_obstacle(tmp_path: Path) -> None:
    write_whole(tmp_path / ("é" * 127), b"text")
    assert (tmp_path / ("é" * 127)).read_bytes() == b"text"


@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_a_link_in_a_directory_that_everybody_may_write_is_not_followed(tmp_path: Path, mode: int) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"old")
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(mode)
    (shared / "out.svg").symlink_to(victim)
    (shared / "folder").symlink_to(tmp_path)
    (shared / "dangling").symlink_to(tmp_path / "new")
    for path in (shared / "out.svg", shared / "folder" / "victim", shared / "dangling"):
        with pytest.raises(OSError, match="not followed"):
            write_whole(path, b"new")
    assert victim.read_bytes() == b"old"
    assert not (tmp_path / "new").exists()


def test_a_link_that_must_not_be_followed_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"old")
    (tmp_path / "flag").symlink_to(tmp_path / "victim")
    write_whole(tmp_path / "flag", b"new", follow=False)
    assert not (tmp_path / "flag").is_symlink()
    assert (tmp_path / "victim").read_bytes() == b"old"


def test_links_upwards_and_in_circles(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "up").symlink_to("../..")
    write_whole(tmp_path / "a" / "b" / "up" / "file", b"text")
    assert (tmp_path / "file").read_bytes() == b"text"
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(OSError, match="symbolic links"):
        write_whole(tmp_path / "one", b"text")


@pytest.mark.parametrize("given", [None, 0o644])
def test_permissions_are_never_widened_not_even_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: int | None
) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"old")
    file.chmod(0o600)
    seen: list[int] = []
    real = os.open

    def watched(path: str | Path, flags: int, mode: int = 0o777) -> int:
        handle = real(path, flags, mode)
        if flags & os.O_CREAT:
            seen.append(stat.S_IMODE(os.fstat(handle).st_mode))
        return handle

    monkeypatch.setattr(os, "open", watched)
    write_whole(file, b"new", mode=given)
    assert seen
    assert all(not each & 0o077 for each in [*seen, mode_of(file)])


def test_special_permissions_are_not_handed_on(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    file.chmod(0o4755)
    write_whole(file, b"new")
    assert mode_of(file) == 0o755


root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of other users")


@root_only
def test_root_leaves_a_file_to_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    os.chown(file, 12345, 12345)
    file.chmod(0o600)
    write_whole(file, b"new")
    assert (file.stat().st_uid, mode_of(file)) == (12345, 0o600)


@root_only
def test_a_file_that_a_stranger_put_into_a_shared_directory_gives_him_nothing(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    for name in ("file", "pipe"):
        (tmp_path / name).write_bytes(b"") if name == "file" else os.mkfifo(tmp_path / name)
        os.chown(tmp_path / name, 12345, 12345)
        (tmp_path / name).chmod(0o666)
    write_whole(tmp_path / "file", b"new")
    assert (tmp_path / "file").stat().st_uid == os.geteuid()
    assert not mode_of(tmp_path / "file") & 0o022
    with pytest.raises(PermissionError, match="another user"):
        write_whole(tmp_path / "pipe", b"new")


def test_a_pipe_that_becomes_a_link_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "victim").write_bytes(b"old")
    real = os.open

    def late(path: str | Path, flags: int, mode: int = 0o777) -> int:
        (tmp_path / "pipe").unlink()
        (tmp_path / "pipe").symlink_to(tmp_path / "victim")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", late)
    with pytest.raises(OSError, match="symbolic links"):
        write_whole(tmp_path / "pipe", b"new")
    assert (tmp_path / "victim").read_bytes() == b"old"


@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_an_open_file_is_written_on_from_where_it_is(tmp_path: Path, path: str) -> None:
    if not os.path.lexists(path):
        pytest.skip(f"this system has no {path}")
    log = tmp_path / "log"
    log.write_text("before\n")
    code = "import sys, pathlib; from migrate_graph.atomic_write import write_whole; write_whole(pathlib.Path(sys.argv[1]), b'text')"
    with log.open("a") as stream:
        subprocess.run([sys.executable, "-c", code, path], stdout=stream, check=True)
    assert log.read_text() == "before\ntext"


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, signal; from migrate_graph import atomic_write\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"atomic_write.write_whole(pathlib.Path({str(tmp_path / 'file')!r}), b'text')"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    (left,) = tmp_path.iterdir()
    host, _, _ = left.name.removeprefix(".migrate-").rpartition("-")[0].rpartition("-")
    alive = tmp_path / f".migrate-{host}-{os.getpid()}-{'0' * 16}.tmp"
    elsewhere = tmp_path / f".migrate-other.host-1-{'0' * 16}.tmp"
    old = tmp_path / f".migrate-other.host-2-{'0' * 16}.tmp"
    mine = tmp_path / ".migrate-notes.tmp"
    for each in (alive, elsewhere, old, mine):
        each.write_bytes(b"")
    os.utime(old, (0, 0))
    write_whole(tmp_path / "file", b"text")
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "file", alive, elsewhere, mine])


@root_only
def test_what_another_user_left_is_his(tmp_path: Path) -> None:
    theirs = tmp_path / f".migrate-other.host-2-{'0' * 16}.tmp"
    theirs.write_bytes(b"")
    os.chown(theirs, 12345, -1)
    os.utime(theirs, (0, 0))
    write_whole(tmp_path / "file", b"text")
    assert theirs.exists()
