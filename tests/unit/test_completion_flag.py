"""The flag of a schema version."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path

import pytest

from migrate_graph.completion_flag import CompletionFlag
from migrate_graph.core.events import Event, Warned
from migrate_graph.errors import ConfigError, ExitCode, PendingTaskFailed

HERE = "0123456789abcdef"


def write(flag: CompletionFlag, fingerprint: str = HERE) -> None:
    flag.set(fingerprint=fingerprint, names=["a", "b"], version="1.2.3")


def test_set_and_found(tmp_path: Path) -> None:
    flag = CompletionFlag(tmp_path, "v1")
    flag.validate()
    assert not flag.is_set(HERE)
    write(flag)
    assert flag.path == tmp_path / "migrate-v1.complete"
    assert flag.is_set(HERE)
    assert [path.name for path in tmp_path.iterdir()] == ["migrate-v1.complete"]
    assert not CompletionFlag(tmp_path, "v2").is_set(HERE)


def test_the_body_says_what_is_complete(tmp_path: Path) -> None:
    flag = CompletionFlag(tmp_path, "v1")
    write(flag)
    body = json.loads(flag.path.read_text())
    assert body["database"] == HERE
    assert body["schema_version"] == "v1"
    assert body["tool"] == "migrate_graph 1.2.3"
    assert body["migrations"] == hashlib.sha256(b"a\nb").hexdigest()[:16]
    assert body["completed"].endswith("+00:00")
    # Other programs wait for the file, under other users.
    assert stat.S_IMODE(flag.path.stat().st_mode) == 0o644


@pytest.mark.parametrize("text", ["", "\n", "  "])
def test_an_empty_flag_of_2_1_0_counts_for_every_database(tmp_path: Path, text: str) -> None:
    flag = CompletionFlag(tmp_path, "v1")
    flag.path.write_text(text)
    assert flag.is_set(HERE)
    assert flag.is_set()


def test_d12_the_flag_of_another_database_is_ignored_with_a_warning(tmp_path: Path) -> None:
    flag = CompletionFlag(tmp_path, "v1")
    write(flag, "another database")
    events: list[Event] = []
    assert not flag.is_set(HERE, events.append)
    assert isinstance(events[0], Warned)
    assert "another database" in events[0].message
    write(flag)
    assert flag.is_set(HERE)


def test_without_knowing_the_database_a_flag_that_names_one_decides_nothing(tmp_path: Path) -> None:
    flag = CompletionFlag(tmp_path, "v1")
    write(flag)
    events: list[Event] = []
    assert not flag.is_set(None, events.append)
    assert events == []


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"database": 1}', "\x00\xff", "null", '"x"'])
def test_a_flag_that_cannot_be_understood_is_ignored_with_a_warning(tmp_path: Path, text: str) -> None:
    flag = CompletionFlag(tmp_path, "v1")
    flag.path.write_text(text, encoding="latin-1")
    events: list[Event] = []
    assert not flag.is_set(HERE, events.append)
    assert len(events) == 1


@pytest.mark.parametrize(
    "version", ["", " ", "../x", "a/b", "x" * 201, "x" * 300, "a\nb", "é", "a b", "\x1b[31m", "a\0b"]
)
def test_d12_a_version_that_cannot_name_a_file_is_told_before_anything_runs(tmp_path: Path, version: str) -> None:
    with pytest.raises(ConfigError, match="schema_version = ") as caught:
        CompletionFlag(tmp_path, version).validate()
    assert caught.value.exit_code == ExitCode.USAGE
    assert len(caught.value.message) < 120
    assert "\x1b" not in caught.value.message


@pytest.mark.parametrize("version", ["1", "2026.03.30+b1", "x" * 200, "-", ".."])
def test_versions_that_can(tmp_path: Path, version: str) -> None:
    flag = CompletionFlag(tmp_path, version)
    flag.validate()
    write(flag)
    assert flag.path.parent == tmp_path
    assert flag.is_set(HERE)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist") as caught:
        CompletionFlag(tmp_path / "flags", "v1").validate()
    assert "create_flag_location" in caught.value.hint
    assert not (tmp_path / "flags").exists()


def test_the_directory_is_created_where_that_is_asked_for(tmp_path: Path) -> None:
    flag = CompletionFlag(tmp_path / "a" / "flags", "v1", create=True)
    flag.validate()
    write(flag)
    assert flag.is_set(HERE)


@pytest.mark.parametrize("create", [False, True])
def test_d12_a_file_in_the_way(tmp_path: Path, create: bool) -> None:
    (tmp_path / "flags").write_text("")
    for directory in (tmp_path / "flags", tmp_path / "flags" / "below"):
        with pytest.raises(ConfigError, match="flag_location"):
            CompletionFlag(directory, "v1", create=create).validate()


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no directory that nobody can write to")
def test_d12_a_directory_that_cannot_be_written_also_not_by_root() -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        CompletionFlag(Path("/proc/self"), "v1").validate()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_d12_a_read_only_directory(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="cannot be written: Permission denied"):
        CompletionFlag(tmp_path, "v1").validate()


def test_the_flag_itself_is_a_directory_or_a_dangling_link(tmp_path: Path) -> None:
    flag = CompletionFlag(tmp_path, "v1")
    flag.path.mkdir()
    with pytest.raises(ConfigError, match="not a readable file"):
        flag.validate()
    flag.path.rmdir()
    flag.path.symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigError, match="not a readable file"):
        flag.validate()


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        CompletionFlag(tmp_path / "no", "../x").validate()
    assert "schema_version" in caught.value.message
    assert "flag_location" in caught.value.message


def test_a_flag_that_cannot_be_written_is_told_and_leaves_the_old_one(tmp_path: Path) -> None:
    flag = CompletionFlag(tmp_path / "flags", "v1", create=True)
    flag.validate()
    write(flag)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(PendingTaskFailed, match="No space left") as caught:
            write(flag, "another")
    assert caught.value.exit_code == ExitCode.PENDING_TASK
    assert flag.is_set(HERE)
    assert len(list(flag.directory.iterdir())) == 1


def test_a_directory_that_vanished_during_the_run(tmp_path: Path) -> None:
    flag = CompletionFlag(tmp_path / "flags", "v1", create=True)
    flag.validate()
    flag.directory.rmdir()
    with pytest.raises(PendingTaskFailed, match="could not be written"):
        write(flag)


root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of other users")


@root_only
@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize(
    ("folder_owner", "mode", "believed"), [(0, 0o755, False), (12345, 0o755, True), (12345, 0o1777, False)]
)
def test_the_flag_of_another_user_is_not_believed(
    tmp_path: Path, folder_owner: int, mode: int, believed: bool, empty: bool
) -> None:
    flag = CompletionFlag(tmp_path / "flags", "v1", create=True)
    flag.validate()
    write(flag)
    if empty:
        flag.path.write_bytes(b"")
    os.chown(flag.path, 12345, -1)
    os.chown(flag.directory, folder_owner, -1)
    flag.directory.chmod(mode)
    flag.validate()
    events: list[Event] = []
    assert flag.is_set(HERE, events.append) is believed
    assert flag.is_set(None) is (believed and empty)
    if not believed:
        assert "another user (uid 12345)" in events[0].message
        write(flag)
        assert flag.is_set(HERE)


def test_a_flag_that_everybody_may_write_is_not_believed(tmp_path: Path) -> None:
    flag = CompletionFlag(tmp_path, "v1")
    write(flag)
    flag.path.chmod(0o666)
    events: list[Event] = []
    assert not flag.is_set(HERE, events.append)
    assert "by everybody" in events[0].message


def test_a_second_name_of_an_old_flag_is_not_believed_in_a_shared_directory(tmp_path: Path) -> None:
    flag = CompletionFlag(tmp_path, "v1")
    write(flag)
    os.link(flag.path, tmp_path / "migrate-v2.complete")
    tmp_path.chmod(0o1777)
    assert not CompletionFlag(tmp_path, "v2").is_set(HERE)


def test_a_link_in_place_of_a_flag_is_a_fault_and_never_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("")
    flag = CompletionFlag(tmp_path, "v1")
    flag.path.symlink_to(victim)
    assert not flag.is_set(HERE)
    with pytest.raises(ConfigError, match="not a readable file"):
        flag.validate()
    write(flag)
    assert victim.read_text() == ""
    assert not flag.path.is_symlink()


def test_a_pipe_in_place_of_a_flag_is_not_waited_for(tmp_path: Path) -> None:
    flag = CompletionFlag(tmp_path, "v1")
    os.mkfifo(flag.path)
    assert not flag.is_set(HERE)
    with pytest.raises(ConfigError, match="not a readable file"):
        flag.validate()
