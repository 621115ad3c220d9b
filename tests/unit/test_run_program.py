"""A program is run to its own end, and not to that of what it has started in the background."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from migrate_graph.database.postgres.programs import version_of
from migrate_graph.run_program import run_program
from migrate_graph.workflow.git import Git

STAYS = """#!/bin/sh
sleep 300 &
echo $! >> '{pids}'
{rest}
"""


class Wrapper:
    """A program that leaves a process behind, which holds its standard output and error, and is ended with the test."""

    def __init__(self, path: Path, rest: str) -> None:
        self.pids = path.with_suffix(".pids")
        self.program = path
        path.write_text(STAYS.format(pids=self.pids, rest=rest))
        path.chmod(0o755)

    def left(self) -> list[int]:
        """Return the processes that it has left behind."""
        return [int(line) for line in self.pids.read_text().split()]

    def end(self) -> None:
        """End them."""
        for pid in self.left():
            with suppress(ProcessLookupError):
                os.kill(pid, 9)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_a_program_leaves_running_is_not_waited_for(tmp_path: Path) -> None:
    wrapper = Wrapper(tmp_path / "program", "cat; echo told; echo complained >&2; exit 3")
    try:
        done = run_program([str(wrapper.program)], given=b"given ", patience=60)
        assert all(map(_lives, wrapper.left())), "it was left running"
    finally:
        wrapper.end()
    assert (done.returncode, done.stdout, done.stderr) == (3, b"given told\n", b"complained\n")


def test_more_than_a_pipe_holds_goes_in_and_out() -> None:
    given = b"x" * (1 << 20)
    program = "import sys; text = sys.stdin.read(); sys.stderr.write(text); sys.stdout.write(text)"
    done = run_program([sys.executable, "-c", program], given=given, patience=60)
    assert (done.stdout, done.stderr) == (given, given)


def test_a_program_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    script = tmp_path / "program"
    script.write_text(
        f"#!/bin/sh\necho $$ > '{tmp_path}/new' && mv '{tmp_path}/new' '{tmp_path}/pid'\nexec sleep 300\n"
    )
    script.chmod(0o755)
    with pytest.raises(subprocess.TimeoutExpired):
        run_program([str(script)], patience=0.5)
    if (tmp_path / "pid").exists():  # it may have been ended before its first line
        assert not _lives(int((tmp_path / "pid").read_text()))


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_is_not_waited_for_longer_than_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a wrapper of it, or git itself, has started in the background."""
    monkeypatch.setattr("migrate_graph.workflow.git._PATIENCE", 60.0)
    repository = tmp_path / "repository"
    environ = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}  # noqa: TID251
    subprocess.run(["git", "init", "-q", repository], check=True, env=environ)
    (tmp_path / "bin").mkdir()
    wrapper = Wrapper(
        tmp_path / "bin" / "git", f"echo \"$@\" >> '{tmp_path}/asked'\nexec '{shutil.which('git')}' \"$@\""
    )
    try:
        asked = Git(repository, {**environ, "PATH": f"{tmp_path / 'bin'}:{environ['PATH']}"})
        assert (asked.top, asked.head()) == (repository, "")
        assert len(wrapper.left()) == 2
        assert all(map(_lives, wrapper.left()))
    finally:
        wrapper.end()
    for line in (tmp_path / "asked").read_text().splitlines():
        assert "-c core.fsmonitor=false -c maintenance.auto=false -c gc.auto=0" in line


def test_nor_is_a_program_that_is_asked_for_its_version(tmp_path: Path) -> None:
    wrapper = Wrapper(tmp_path / "psql", "echo 'psql (PostgreSQL) 16.4 (Debian)'")
    try:
        assert version_of(str(wrapper.program)) == "16.4"
        assert all(map(_lives, wrapper.left()))
    finally:
        wrapper.end()
