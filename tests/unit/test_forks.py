"""What is put aside in a forked child is what was hidden, and nothing that has got its number since."""

from __future__ import annotations

import os
from collections import OrderedDict
from io import FileIO
from pathlib import Path

import pytest

from migrate_graph import forks
from migrate_graph.database.sqlite import lock


def written_by_child(descriptor: int, reader: int) -> bytes:
    """Return what reaches a pipe when a forked child writes to it; the writing end is closed here."""
    if not (child := os.fork()):
        os.write(descriptor, b"word")
        os._exit(0)
    os.waitpid(child, 0)
    os.close(descriptor)
    with os.fdopen(reader, "rb") as pipe:
        return pipe.read()


def test_what_is_hidden_is_nothing_in_a_child() -> None:
    reader, writer = os.pipe()
    hidden = FileIO(writer, "w", closefd=False)
    forks.hide(hidden)
    assert written_by_child(writer, reader) == b""


def test_a_number_that_means_another_file_since_is_left_alone(tmp_path: Path) -> None:
    hidden = FileIO(os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR), "r+", closefd=False)
    forks.hide(hidden)
    reader, writer = os.pipe()
    os.dup2(writer, hidden.fileno())  # somebody has closed it by its number
    os.close(writer)
    assert written_by_child(hidden.fileno(), reader) == b"word"


def test_a_file_that_is_let_go_is_closed_unless_its_number_means_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_opened", OrderedDict())
    monkeypatch.setattr(lock, "_MOST_OPENED", 1)
    first, second, third, other = (tmp_path / name for name in ("first", "second", "third", "other"))
    for path in (first, second, third, other):
        path.touch()

    number = opened(first)
    assert forks.file_of(number) == lock.identity(first)
    again = opened(second)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)

    with other.open() as file:
        os.dup2(file.fileno(), again)  # a body has closed it, and opened something
    opened(third)
    assert forks.file_of(again) == lock.identity(other)
    os.close(again)


def opened(database: Path) -> int:
    """Return the descriptor that is kept open for the lock of a database."""
    file = lock._opened_again(database)
    assert file is not None
    return file.fileno()
