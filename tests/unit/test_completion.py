"""What the shell completes: found in the text of the files, the same way as by the loader."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from migrate_graph.cli.completion import complete_code, complete_name, complete_setting


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))


def test_names_are_those_that_the_loader_would_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(
        tmp_path,
        {
            # Derives from a class of a file that comes later, and mentions neither of our packages.
            "a_views.py": "from base import Base\nclass Later(Base):\n    def down(self): ...\n",
            "base.py": """
                from edwh_migrate import ViewMigrationManager as V
                class Base(V):
                    def up(self): ...
                """,
            "migrations.py": """
                import migrate_graph as mg
                @mg.migration(
                    requires=(),
                )
                def by_the_module(db): ...
                async def no_migration(db): ...
                @mg.migration
                async def a_coroutine(db): ...
                def body(db): ...
                made = mg.migration(body)
                text = '''
                @mg.migration
                def in_a_text(db): ...
                '''
                """,
            "broken.py": "from migrate_graph import migration\n@migration\ndef half(",
            "tests/test_it.py": "from migrate_graph import migration\n@migration\ndef of_a_test(db): ...\n",
            "venv/pyvenv.cfg": "",
            "venv/other.py": "from migrate_graph import migration\n@migration\ndef installed(db): ...\n",
            "foreign.py": "from celery import migration\n@migration\ndef foreign(db): ...\n",
        },
    )
    assert complete_name("") == ["Later", "a_coroutine", "body", "by_the_module"]
    assert complete_name("by") == ["by_the_module"]


def test_codes_come_with_their_names() -> None:
    assert ("MG101", "dependency-cycle") in complete_code("mg10")


def test_settings_are_completed_up_to_their_value() -> None:
    assert complete_setting("lock_timeout") == [
        ("lock_timeout_wait=", "how long to wait for another run to end; 0 = try once"),
        ("lock_timeout=", "how long a statement waits for a lock before it is retried; 0 = for ever"),
    ]
