"""`.env`: which one is read, whose it must be, and what of it reaches other programs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from migrate_graph.config import load_config
from migrate_graph.config.dotenv import read_dotenv
from migrate_graph.errors import ConfigError


def fault(root: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_config(root, {})
    return caught.value


def test_none_above_the_repository(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SCHEMA=above\n")
    work = tmp_path / "repository" / "service"
    work.mkdir(parents=True)
    (tmp_path / "repository" / ".git").write_text("gitdir: elsewhere\n")  # a linked worktree, a submodule
    assert load_config(work, {}).schema == "public"
    (tmp_path / "repository" / ".env").write_text("SCHEMA=top\n")
    assert load_config(work, {}).schema == "top"
    (work / "pyproject.toml").write_text("")
    assert load_config(work, {}).schema == "top"


def test_none_above_the_nearest_pyproject_where_there_is_no_repository(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SCHEMA=above\n")
    (tmp_path / "project" / "deep").mkdir(parents=True)
    assert load_config(tmp_path / "project" / "deep", {}).schema == "public"
    (tmp_path / "project" / "pyproject.toml").write_text("")
    assert load_config(tmp_path / "project" / "deep", {}).schema == "public"
    (tmp_path / "project" / ".env").write_text("SCHEMA=mine\n")
    assert load_config(tmp_path / "project" / "deep", {}).schema == "mine"


def test_neither_side_of_a_merge_conflict_is_chosen(tmp_path: Path) -> None:
    """The later of the two counted, and each line of the conflict was one that is passed over."""
    (tmp_path / ".env").write_text("A=1\n<<<<<<< HEAD\nSCHEMA=ours\n=======\nSCHEMA=theirs\n>>>>>>> topic\n")
    error = fault(tmp_path)
    assert ".env:2: a merge conflict is not resolved, from line 2 to 6 (HEAD against topic)" in error.message
    assert "<<<<<<<" in (error.hint or "")


@pytest.mark.parametrize("kind", ["directory", "dangling link", "unreadable", "latin-1", "socket"])
def test_one_that_is_there_is_never_passed_over(tmp_path: Path, kind: str) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".env").write_text("SCHEMA=parent\n")
    work = tmp_path / "work"
    work.mkdir()
    file = work / ".env"
    if kind == "directory":
        file.mkdir()
    elif kind == "dangling link":
        file.symlink_to("nowhere")
    elif kind == "latin-1":
        file.write_bytes(b"SCHEMA=caf\xe9\n")
    elif kind == "socket":
        os.mknod(file, 0o140600)
    else:
        file.write_text("SCHEMA=x\n")
        file.chmod(0)
        if os.access(file, os.R_OK):
            pytest.skip("this user may read everything")
    assert ".env" in fault(work).message


def test_a_virtual_environment_of_that_name_is_no_file_of_settings(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".env").write_text("SCHEMA=parent\n")
    work = tmp_path / "work"
    (work / ".env").mkdir(parents=True)
    (work / ".env" / "pyvenv.cfg").write_text("")
    assert load_config(work, {}).schema == "parent"


def test_a_named_pipe_is_read_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".env")
    writer = threading.Thread(target=lambda: (tmp_path / ".env").write_text("SCHEMA=piped\nOTHER=too\n"), daemon=True)
    writer.start()
    config = load_config(tmp_path, {})
    environ: dict[str, str] = {}
    config.share_dotenv(environ)
    assert (config.schema, environ["OTHER"]) == ("piped", "too")
    writer.join()


def test_a_named_pipe_that_nobody_fills_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migrate_graph.config.dotenv._PATIENCE", 0.1)
    os.mkfifo(tmp_path / ".env")
    assert "named pipe" in fault(tmp_path).message


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b""])
@pytest.mark.parametrize("end", [b"\r\n", b"\n", b""])
def test_files_of_windows(tmp_path: Path, start: bytes, end: bytes) -> None:
    (tmp_path / ".env").write_bytes(start + b"MIGRATE_URI=sqlite://x.db" + end)
    assert load_config(tmp_path, {}).migrate_uri == "sqlite://x.db"


def test_a_line_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SCHEMA=a\n$!?\nMIGRATE_TABLE=b\n")
    config = load_config(tmp_path, {})
    assert (config.schema, config.migrate_table) == ("a", "b")
    assert config.remarks == (".env:2 is no NAME=value and is passed over",)


root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of other users")


@root_only
def test_one_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SCHEMA=theirs\n")
    os.chown(tmp_path / ".env", 12345, -1)
    assert "belongs to another user (uid 12345)" in fault(tmp_path).message


@root_only
def test_one_of_the_owner_of_the_project_is_taken_with_a_word(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SCHEMA=theirs\n")
    os.chown(tmp_path / ".env", 12345, -1)
    os.chown(tmp_path, 12345, -1)
    config = load_config(tmp_path, {})
    assert config.schema == "theirs"
    assert "another user (uid 12345)" in config.remarks[0]


def test_what_everybody_may_write_is_told(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SCHEMA=a\n")
    assert load_config(tmp_path, {}).remarks == ()
    (tmp_path / ".env").chmod(0o666)
    assert "can be written by everybody" in load_config(tmp_path, {}).remarks[0]
    (tmp_path / ".env").chmod(0o600)
    tmp_path.chmod(0o777)
    assert "the directory of .env" in load_config(tmp_path, {}).remarks[0]
    tmp_path.chmod(0o1777)  # sticky, as /tmp: nobody can put another one there
    assert load_config(tmp_path, {}).remarks == ()


STEERING = [
    "GIT_DIR", "GIT_SSH_COMMAND", "LD_PRELOAD", "PYTHONPATH", "PYTHONSTARTUP", "PATH", "Path", "PGSERVICE", "PGSERVICEFILE", "PGSYSCONFDIR",
    "PGPASSFILE", "PGOPTIONS", "PGHOSTADDR", "PGSSLROOTCERT", "PSQLRC", "BASH_ENV", "HOME", "TMPDIR", "OPENSSL_CONF", "HOSTALIASES",
]  # fmt: skip


def test_what_steers_programs_is_never_taken_over(tmp_path: Path) -> None:
    lines = [f"{name}=x" for name in STEERING]
    (tmp_path / ".env").write_text("\n".join([*lines, "PGPASSWORD=p", "PGUSER=u", "REGION=eu", "PATHOLOGY=1"]))
    config = load_config(tmp_path, {"PATH": "/bin"})
    environ = {"PATH": "/bin"}
    config.share_dotenv(environ)
    assert environ == {"PATH": "/bin", "PGPASSWORD": "p", "PGUSER": "u", "REGION": "eu", "PATHOLOGY": "1"}
    (remark,) = config.remarks
    assert all(name in remark for name in STEERING if name != "PATH")


def test_what_is_set_already_wins(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=file\nB=${A}\n")
    environ = {"A": "process"}
    read_dotenv(tmp_path, environ).share_with(environ)
    assert environ == {"A": "process", "B": "process"}


@pytest.mark.parametrize("line", ["LATER=a\0b", "'LA=TER'=x", "LATER=café"])
def test_what_no_environment_can_hold_is_told_and_stops_nothing(tmp_path: Path, line: str) -> None:
    (tmp_path / ".env").write_text(f"REGION=eu\n{line}\nSCHEMA=mine\n", encoding="utf-8")
    program = (
        "import os, pathlib; from migrate_graph.config import load_config; config = load_config(pathlib.Path(), {}); "
        "config.share_dotenv(os.environ); print(os.environ['REGION'], config.schema, ascii(config.remarks))"
    )
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=ascii_only, capture_output=True, text=True, check=False
    )
    assert ended.stdout.startswith("eu mine "), ended.stderr
    assert "no environment variable can hold" in ended.stdout
