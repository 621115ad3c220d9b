"""A command is a file: the program, its help, its order and its page find it there."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from migrate_graph.cli import commands
from migrate_graph.cli.command import DECLARED, Section
from migrate_graph.cli.program import CommandFolder, every_command, program
from migrate_graph.errors import UsageError

FOLDER = Path(commands.__path__[0])
FILES = sorted(path for path in FOLDER.rglob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_file_declares_one_command_of_its_own_name(path: Path) -> None:
    way = path.relative_to(FOLDER).with_suffix("").parts
    declared = DECLARED[importlib.import_module(".".join([commands.__name__, *way])).__name__]
    assert declared.info.name == way[-1].replace("_", "-")
    assert path.read_text(encoding="utf-8").count("\n@command(") == 1
    assert f"migrate {' '.join(way)}".replace("_", "-") in dict(every_command())


def test_help_lists_every_command_once_by_section_and_name(shell) -> None:
    text = shell("--help").out
    listed = re.findall(r"^  ([a-z-]+)  +\S", text.partition("Every day:")[2].partition("Examples:")[0], re.MULTILINE)
    assert sorted(listed) == sorted(program().names())
    places = [list(Section).index(program().section_of(name)) for name in listed]
    assert [(place, name) for place, name in zip(places, listed, strict=True)] == sorted(
        zip(places, listed, strict=True)
    )


def test_a_new_file_is_a_command_and_nothing_else_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "more_commands"
    (folder / "tables").mkdir(parents=True)
    (folder / "__init__.py").write_text('"""More."""\n')
    (folder / "tables" / "__init__.py").write_text('"""Look at tables."""\n')
    (folder / "tables" / "list_all.py").write_text(
        '"""List them."""\n'
        "from migrate_graph.cli.command import Section, command\n\n\n"
        '@command(Section.LOOK, "migrate tables list-all")\n'
        "def anything() -> None:\n"
        '    """List every table."""\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    group = type("Group", (CommandFolder,), {"folder": "more_commands"})(name="more", rich_markup_mode=None)
    assert [path for path, _ in every_command(group, "migrate")] == ["migrate tables list-all"]
    assert group.section_of("tables") is Section.LOOK
    assert "List every table." in group.get_command(None, "tables").get_command(None, "list-all").help


def test_a_file_that_declares_no_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "fewer_commands"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""Fewer."""\n')
    file = folder / "forgotten.py"
    file.write_text('"""List them."""\n\n\ndef forgotten() -> None:\n    """List every table."""\n')
    monkeypatch.syspath_prepend(tmp_path)
    group = type("Group", (CommandFolder,), {"folder": "fewer_commands"})(name="fewer", rich_markup_mode=None)
    for asked in (lambda: group.section_of("forgotten"), lambda: group.get_command(None, "forgotten")):
        with pytest.raises(UsageError, match=re.escape(str(file))) as caught:
            asked()
        assert "@command(" in caught.value.hint


def test_a_command_imports_only_its_own_file() -> None:
    code = (
        "import sys; from migrate_graph.cli import main; main(['explain', 'MG101'])\n"
        "print(sorted(name for name in sys.modules if name.startswith('migrate_graph.cli.commands.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['migrate_graph.cli.commands.explain']"
