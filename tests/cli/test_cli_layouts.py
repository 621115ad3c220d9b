"""Projects of several files: a directory of numbered ones, and files that the migrations file imports."""

from __future__ import annotations

import pytest

FILE = "from migrate_graph import migration\n@migration\ndef {name}(db):\n    return True\n"


@pytest.fixture
def numbered(shell):
    """A project whose migrations are one file each, under the default settings."""
    shell.env["MIGRATE_URI"] = f"sqlite://{shell.path / 'a.db'}"
    shell.write("migrations/0001_first.py", FILE.format(name="first_20260101_001"))
    shell.write("migrations/0002_second.py", FILE.format(name="second_20260102_001"))
    return shell


def test_a_directory_of_numbered_files_is_a_project(numbered) -> None:
    assert numbered("check").out == "nothing wrong in 2 migrations and 0 views\n"
    assert numbered("check", "migrations").code == 0
    assert numbered("apply").code == 0
    assert numbered("plan", "--check").code == 0
    assert "second_20260102_001" in numbered("status").out


def test_new_writes_a_new_file_with_a_free_number(numbered) -> None:
    assert numbered("new", "add_total", "--requires", "leaves").code == 0
    assert numbered("new", "add_tax").code == 0
    names = sorted(file.name for file in (numbered.path / "migrations").glob("2*.py"))
    assert [name[9:] for name in names] == ["001_add_total.py", "002_add_tax.py"]
    assert numbered("check").out == "nothing wrong in 4 migrations and 0 views\n"
    assert "requires=" in (numbered.path / "migrations" / names[0]).read_text()


def test_new_in_a_named_file_of_the_directory(numbered) -> None:
    assert numbered("new", "add_total", "-f", "migrations/0003_total.py").code == 0
    assert "def add_total_" in (numbered.path / "migrations/0003_total.py").read_text()
    assert numbered("new", "first_20260101_001", "-f", "migrations/0003_total.py").code == 2


def test_new_in_one_of_several_files_numbers_against_all(shell) -> None:
    shell.write("billing.py", "from migrate_graph import migration\n")
    shell.write("shipping.py", "from migrate_graph import migration\n")
    shell.write("migrations.py", "import billing, shipping\n")
    for file in ("billing.py", "migrations.py"):
        assert shell("new", "step", "-f", file).code == 0
    shell.write("billing.py", (shell.path / "billing.py").read_text())
    assert shell("new", "step", "-f", "billing.py").code == 0
    text = (shell.path / "billing.py").read_text() + (shell.path / "migrations.py").read_text()
    numbers = sorted(line.split("(")[0][-3:] for line in text.splitlines() if line.startswith("def step"))
    assert numbers == ["001", "002", "003"]


def test_the_base_of_a_directory_is_read_as_well(numbered) -> None:
    import os
    import subprocess

    numbered.env["PATH"] = os.environ["PATH"]  # noqa: TID251 - tests are an edge too
    for words in (
        ("init", "-q", "-b", "main"),
        ("add", "migrations"),
        ("-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "-qm", "1"),
    ):
        subprocess.run(["git", *words], check=True, cwd=numbered.path)
    assert "nothing changed" in numbered("check", "--base", "HEAD").err
    numbered.write("migrations/0001_first.py", FILE.format(name="first_20260101_001").replace("True", "db"))
    assert numbered("check", "--base", "HEAD").code == 3
