"""View managers that were not declared while the files were loaded: they take part, or the migration fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from user_project import Project

FIRST = """
from edwh_migrate import migration, ViewMigrationManager

def rebuild(db):
    db.executesql("DROP TABLE item")
    db.executesql("CREATE TABLE item (id INTEGER, title TEXT, price INTEGER)")

@migration
def first_20260101_001(db):
    db.executesql("CREATE TABLE item (id INTEGER, title TEXT)")
    db.executesql("CREATE VIEW below AS SELECT id FROM item")
    db.executesql("CREATE VIEW above AS SELECT id FROM below")
    return True
"""
MANAGERS = """
from edwh_migrate import ViewMigrationManager

class Below(ViewMigrationManager):
    uses = ()
    def up(self): self.db.executesql("CREATE VIEW below AS SELECT id, title FROM item")
    def down(self): self.db.executesql("DROP VIEW IF EXISTS below")

class Above(ViewMigrationManager):
    uses = (Below,)
    def up(self): self.db.executesql("CREATE VIEW above AS SELECT id, title FROM below")
    def down(self): self.db.executesql("DROP VIEW IF EXISTS above")
"""
OPENS = """
@migration(requires=first_20260101_001)
def second_20260102_001(db):
{how}
    with Below(db):
        rebuild(db)
    return True
"""
HOW = {
    "imported in the body": "    from late import Below",
    "from an installed package": "    from acme_views.managers import Below",
    "in the body itself": """
    class Below(ViewMigrationManager):
        uses = ()
        def up(self): self.db.executesql("CREATE VIEW below AS SELECT id, title FROM item")
        def down(self): self.db.executesql("DROP VIEW IF EXISTS below")
    class Above(Below):
        uses = (Below,)
        def up(self): self.db.executesql("CREATE VIEW above AS SELECT id, title FROM below")
        def down(self): self.db.executesql("DROP VIEW IF EXISTS above")
""",
    "made by type()": """
    def run(sql): return lambda self: self.db.executesql(sql)
    Below = type("Below", (ViewMigrationManager,), dict(
        uses=(), up=run("CREATE VIEW below AS SELECT id, title FROM item"), down=run("DROP VIEW IF EXISTS below")))
    Above = type("Above", (ViewMigrationManager,), dict(
        uses=(Below,), up=run("CREATE VIEW above AS SELECT id, title FROM below"), down=run("DROP VIEW IF EXISTS above")))
""",
}

Ask = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def shop(project: Project, database_uri: str) -> Project:
    """A project whose first migration is applied; its views were made by hand, narrower than the managers make them."""
    project.env["MIGRATE_URI"] = database_uri
    project.env["PYTHONPATH"] = str(project.path / "site-packages")
    project.write("site-packages/acme_views/managers.py", MANAGERS)
    project.write("site-packages/acme_views/__init__.py", "")
    project.write("migrations.py", FIRST)
    done = project.migrate("apply")
    assert done.returncode == 0, done.stdout + done.stderr
    return project


def columns(uri: str, view: str) -> list[str]:
    if uri.startswith("sqlite"):
        import sqlite3

        connection: Any = sqlite3.connect(uri.removeprefix("sqlite://"))
    else:
        import psycopg2

        connection = psycopg2.connect(uri)
    cursor = connection.cursor()
    cursor.execute(f"SELECT * FROM {view}")
    found = [column[0] for column in cursor.description]
    connection.close()
    return found


@pytest.mark.parametrize("how", HOW)
def test_a_manager_that_was_not_declared_takes_part(shop: Project, database_uri: str, how: str) -> None:
    if "late" in HOW[how]:
        shop.write("late.py", MANAGERS)
    shop.write("migrations.py", FIRST + OPENS.format(how=HOW[how]))
    done = shop.migrate("apply", "--set", "ignore=MG104") if "late" in HOW[how] else shop.migrate("apply")
    assert done.returncode == 0, done.stdout + done.stderr
    assert columns(database_uri, "below") == ["id", "title"]
    assert columns(database_uri, "above") == ["id", "title"]  # its relative as well
    assert "not declared while the files were loaded" in done.stdout + done.stderr
    assert "Above" in done.stdout + done.stderr


def test_one_that_uses_a_declared_view_goes_down_with_it(shop: Project, database_uri: str) -> None:
    below, above = MANAGERS.split("class Above")
    shop.write("migrations.py", below + FIRST + OPENS.format(how="    import late"))
    shop.write(
        "late.py", "from edwh_migrate import ViewMigrationManager\nfrom migrations import Below\nclass Above" + above
    )
    done = shop.migrate("apply", "--set", "ignore=MG104")
    assert done.returncode == 0, done.stdout + done.stderr
    assert columns(database_uri, "above") == ["id", "title"]


def test_another_manager_of_a_declared_name_fails_the_migration(shop: Project, database_uri: str) -> None:
    shop.write("migrations.py", MANAGERS + FIRST + OPENS.format(how=HOW["in the body itself"]))
    done = shop.migrate("apply")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "two view managers are called Below" in done.stdout + done.stderr
    assert columns(database_uri, "below") == ["id"]  # as it was


def test_a_file_that_is_executed_again_declares_the_same_managers(shop: Project, database_uri: str) -> None:
    """By `runpy`, or under another module name: the class is another object, the manager is the same."""
    shop.write("views.py", MANAGERS)
    how = "    import importlib, views\n    Below = importlib.reload(views).Below"
    shop.write("migrations.py", "import views\n" + FIRST + OPENS.format(how=how))
    done = shop.migrate("apply")
    assert done.returncode == 0, done.stdout + done.stderr
    assert columns(database_uri, "above") == ["id", "title"]
    assert "not declared" not in done.stdout + done.stderr


def test_programs_may_open_what_they_import_late(tmp_path: Path, shop: Project, database_uri: str) -> None:
    import subprocess
    import sys

    shop.write("late.py", MANAGERS)
    shop.write(
        "program.py", FIRST + OPENS.format(how="    from late import Below") + "\n" + "assert activate_migrations()\n"
    )
    shop.write(
        "main.py",
        "import migrate_graph; migrate_graph.install_as_edwh_migrate()\n"
        "import edwh_migrate, builtins; builtins.activate_migrations = edwh_migrate.activate_migrations\nimport program\n",
    )
    done = subprocess.run(
        [sys.executable, "main.py"],
        check=False,
        cwd=shop.path,
        env={"MIGRATE_URI": database_uri},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert columns(database_uri, "above") == ["id", "title"]
