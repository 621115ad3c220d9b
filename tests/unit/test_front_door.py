"""The front door: light to open, complete, and typed."""

import pydoc
import subprocess
import sys

import pytest

import migrate_graph


def test_a_migrations_file_brings_in_nothing_heavy() -> None:
    program = (
        "from migrate_graph import migration, ViewMigrationManager, migrations, classproperty, progress; import sys;"
        "print([m for m in ('networkx', 'pydal', 'typer', 'rich', 'tomlkit', 'dotenv', 'psycopg2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", migrate_graph.__all__)
def test_every_exported_name_is_there(name: str) -> None:
    assert getattr(migrate_graph, name) is not None
    assert name in dir(migrate_graph)


@pytest.mark.parametrize("name", [name for name in migrate_graph.__all__ if name != "__version__"])
def test_help_can_be_read(name: str) -> None:
    assert pydoc.render_doc(getattr(migrate_graph, name))


def test_help_of_a_migration_can_be_read() -> None:
    assert "requires: tuple[str, ...]" in pydoc.render_doc(migrate_graph.Migration("one", print))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="migrashun"):
        _ = migrate_graph.migrashun
