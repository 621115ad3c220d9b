"""What git is asked, with what around it, and which files of a commit are written."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from migrate_graph.errors import UsageError
from migrate_graph.workflow.git import Git

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

ENVIRON = {
    "PATH": os.environ["PATH"],  # noqa: TID251 - tests are an edge too
    "GIT_AUTHOR_NAME": "x", "GIT_AUTHOR_EMAIL": "x@example.org", "GIT_COMMITTER_NAME": "x",
    "GIT_COMMITTER_EMAIL": "x@example.org", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null",
}  # fmt: skip


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    return path


def git(path: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", path, *words], env=ENVIRON, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def files(repository: Path, folder: str) -> dict[str, str]:
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "x")
    asked = Git(repository, ENVIRON)
    with asked.files_of(asked.base("HEAD").id, Path(folder)) as there:
        paths = [path for path in there.rglob("*") if path.is_symlink() or path.is_file()]
        return {
            str(path.relative_to(there)): f"-> {path.readlink()}" if path.is_symlink() else path.read_text()
            for path in paths
        }


def test_what_migrations_are_made_of(repository: Path) -> None:
    for name in ("db/migrations.py", "db/data.bin", "app/models.py", "app/logo.bin", "app/query.sql", "app/notes.txt"):
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text(name)
    assert set(files(repository, "db")) == {"db/migrations.py", "db/data.bin", "app/models.py", "app/query.sql"}


def test_a_migrations_file_at_the_top_has_texts_beside_it(repository: Path) -> None:
    for name in ("migrations.py", "rows.csv", "sql/one.sql", "big.bin"):
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text(name)
    assert set(files(repository, ".")) == {"migrations.py", "rows.csv", "sql/one.sql"}


def test_no_link_leads_out_of_the_copy(repository: Path) -> None:
    (repository / "real.py").write_text("x")
    (repository / "inside.py").symlink_to("real.py")
    (repository / "outside.py").symlink_to("../outside.py")
    (repository / "absolute.py").symlink_to("/etc/passwd")
    assert files(repository, ".") == {"real.py": "x", "inside.py": "-> real.py"}


def test_git_asks_nobody_and_locks_nothing(repository: Path, tmp_path: Path) -> None:
    script = tmp_path / "bin" / "git"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\nenv > '{tmp_path}/env'\nexec '{shutil.which('git')}' \"$@\"\n")
    script.chmod(0o755)
    given = {
        **ENVIRON,
        "PATH": f"{script.parent}:{ENVIRON['PATH']}",
        "GIT_DIR": "/x",
        "GIT_INDEX_FILE": "/x",
        "LC_ALL": "nl_NL",
    }
    Git(repository, given)
    seen = dict(line.partition("=")[::2] for line in (tmp_path / "env").read_text().splitlines())
    assert (seen["GIT_TERMINAL_PROMPT"], seen["GIT_OPTIONAL_LOCKS"], seen["LC_ALL"]) == ("0", "0", "C")
    assert not {"GIT_DIR", "GIT_INDEX_FILE"} & seen.keys()


def test_a_repository_that_is_kept_elsewhere_is_found_by_its_variables(repository: Path, tmp_path: Path) -> None:
    (repository / "migrations.py").write_text("")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "x")
    (repository / ".git").rename(tmp_path / "kept.git")
    given = {
        **ENVIRON,
        "GIT_DIR": str(tmp_path / "kept.git"),
        "GIT_WORK_TREE": str(repository),
        "GIT_CEILING_DIRECTORIES": "/",
    }
    assert Git(repository, given).top == repository


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (b"\x7fELF no program of this machine", "Exec format error"),
        (b"#!/nowhere/python\n", "No such file or directory"),
    ],
)
def test_a_git_that_cannot_be_run_is_told(repository: Path, tmp_path: Path, program: bytes, why: str) -> None:
    there = tmp_path / "bin"
    there.mkdir()
    (there / "git").write_bytes(program)
    (there / "git").chmod(0o755)
    with pytest.raises(UsageError, match=why) as caught:
        Git(repository, {"PATH": str(there)})
    assert f"git cannot be run ({there}/git)" in caught.value.message
    assert "leave --base out" in caught.value.hint


def test_without_git_that_is_told(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="git is not installed"):
        Git(repository, {"PATH": str(tmp_path)})


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let this process open no more files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Path(os.devnull).open("rb") as last:
        resource.setrlimit(resource.RLIMIT_NOFILE, (last.fileno() + 1, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_where_no_file_can_be_opened_that_is_told(repository: Path) -> None:
    (repository / "migrations.py").write_text("")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "x")
    asked = Git(repository, ENVIRON)
    with no_more_files(), pytest.raises(UsageError, match="Too many open files") as caught:
        asked.base("HEAD")
    assert "ulimit -a" in caught.value.hint


def test_where_there_is_no_room_for_the_files_that_is_told(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "migrations.py").write_text("")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "x")
    asked = Git(repository, ENVIRON)
    commit = asked.base("HEAD").id
    monkeypatch.setattr("tempfile.TemporaryDirectory", partial(tempfile.TemporaryDirectory, dir=tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="No such file or directory") as caught, asked.files_of(commit, Path()):
        pass
    assert "set TMPDIR" in caught.value.hint
