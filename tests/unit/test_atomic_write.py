"""A file is written whole or not at all."""

from __future__ import annotations

import os
import stat
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
    reader.join(timeout=10)
    assert heard == [b"text"]
    assert pipe.is_fifo()


def test_the_longest_name_there_can_be_is_no_obstacle(tmp_path: Path) -> None:
    write_whole(tmp_path / ("é" * 127), b"text")
    assert (tmp_path / ("é" * 127)).read_bytes() == b"text"
