"""Paths that are not UTF-8, terminals without Unicode, and outputs that are no plain files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from migrate_graph.render import FORMATS

PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
EVERY_FORMAT = """
import sys
from migrate_graph.cli import main
from migrate_graph.render import FORMATS

folder = sys.argv[1]
codes = {}
for name, each in FORMATS.items():
    if name != "pdf":  # needs a program that may not be here
        codes[name] = main(["graph", folder, "--format", name, "-o", f"out.{name}"])
    codes[f"check {name}"] = main(["plan", folder, "--offline", "--graph", f"plan{each.suffixes[0]}"]) if each.suffixes and name != "pdf" else 0
codes["status"] = main(["status", folder, "--offline"])
codes["plan"] = main(["plan", folder, "--offline"])
codes["check"] = main(["check", folder])
assert not any(codes.values()), codes
"""


@pytest.mark.parametrize("folder", ["plain", "ümläut", os.fsdecode(b"caf\xe9")], ids=["ascii", "unicode", "not utf-8"])
def test_everything_is_drawn_wherever_the_files_are_and_whatever_the_terminal(shop, folder: str) -> None:
    try:
        (shop.path / folder).mkdir()
    except OSError:
        pytest.skip("this file system takes no such name")
    (shop.path / "migrations.py").rename(shop.path / folder / "migrations.py")
    environ = {**os.environ, **PLAIN}  # noqa: TID251 - tests are an edge too
    done = subprocess.run(
        [sys.executable, "-c", EVERY_FORMAT, folder], cwd=shop.path, env=environ, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert b"70" not in done.stderr
    json.loads((shop.path / "out.json").read_text(encoding="utf-8"))
    assert {path.suffix for path in shop.path.glob("out.*")} >= {f".{name}" for name in FORMATS if name != "pdf"}


def run(directory: Path, *words: str, shell: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a shell, `MIGRATE …` in its text being ours."""
    text = shell.replace("MIGRATE", f"{sys.executable} -m migrate_graph")
    return subprocess.run(["bash", "-c", text], cwd=directory, capture_output=True, check=False)


@pytest.mark.parametrize("words", ["check --format json", "plan --offline --json", "graph --format json"])
def test_what_was_in_a_file_that_is_appended_to_stays(shop, words: str) -> None:
    done = run(shop.path, shell=f"echo kept > log; MIGRATE {words} -o /dev/stdout >> log")
    assert done.returncode == 0, done.stderr
    kept, _, rest = (shop.path / "log").read_text().partition("\n")
    assert kept == "kept"
    json.loads(rest)


@pytest.mark.parametrize("words", ["check --format json", "plan --offline --json", "graph --format json"])
@pytest.mark.parametrize(
    "typed",
    ["mkfifo pipe; cat pipe > out & MIGRATE {} -o pipe && wait && test -p pipe", "MIGRATE {} -o >(cat > out); wait $!"],
    ids=["named pipe", "process substitution"],
)
def test_a_pipe_is_written_into_and_stays_a_pipe(shop, words: str, typed: str) -> None:
    done = run(shop.path, shell=typed.format(words))
    assert done.returncode == 0, done.stderr
    json.loads((shop.path / "out").read_text())


def test_standard_error_is_a_place_too(shop) -> None:
    done = run(shop.path, shell="MIGRATE graph --format json -o /dev/stderr")
    json.loads(done.stderr[: done.stderr.rindex(b"}") + 1])


@pytest.mark.parametrize("words", ["check --format json", "plan --offline --json", "graph --format json"])
def test_no_link_that_somebody_left_in_a_shared_directory_is_written_through(shop, tmp_path, words: str) -> None:
    shared = Path("/dev/shm") if Path("/dev/shm").is_dir() else tmp_path
    folder = Path(tempfile.mkdtemp(dir=shared))
    try:
        folder.chmod(0o1777)
        (tmp_path / "victim").write_text("precious")
        (folder / "trap.json").symlink_to(tmp_path / "victim")
        ran = shop(*words.split(), "-o", str(folder / "trap.json"))
        assert ran.code == 2
        assert "not followed" in ran.err
        assert (tmp_path / "victim").read_text() == "precious"
        assert shop(*words.split(), "-o", str(folder / "new.json")).code == 0
        json.loads((folder / "new.json").read_text())
    finally:
        shutil.rmtree(folder)
