"""A body that takes its `db` for a TypeDAL, without the setting that makes it one, is told of the setting."""

from __future__ import annotations

import pytest
from user_project import Project

HEAD = "from __future__ import annotations\nfrom migrate_graph import migration\nfrom typedal import TypeDAL\n\n@migration\n"
HINT = "`use_typedal = true`"
BODIES = {
    "what only TypeDAL has": ("db", "db.define", True),
    "it says so": ("db: TypeDAL", "db.something", True),
    "it says so otherwise": ("db: typedal.core.TypeDAL", "db.something", True),
    "a table that is not defined": ("db", "db.something", False),
    "another object": ("db: TypeDAL", "len.define", False),
    "another error": ("db: TypeDAL", "1 / 0", False),
}


@pytest.mark.parametrize("options", [(), ("--atomic",)], ids=["each by itself", "atomic"])
@pytest.mark.parametrize("way", BODIES)
def test_the_setting_is_named(project: Project, sqlite_uri: str, way: str, options: tuple[str, ...]) -> None:
    argument, statement, is_hinted = BODIES[way]
    project.env["MIGRATE_URI"] = sqlite_uri
    project.write("migrations.py", f"{HEAD}def one_1({argument}):\n    {statement}\n    return True\n")
    done = project.migrate("apply", *options)
    assert done.returncode == 1, done.stderr
    assert (HINT in " ".join(done.stderr.split())) is is_hinted, done.stderr


def test_with_the_setting_it_runs(project: Project, sqlite_uri: str) -> None:
    project.env |= {"MIGRATE_URI": sqlite_uri, "USE_TYPEDAL": "1"}
    project.write("migrations.py", f"{HEAD}def one_1(db: TypeDAL):\n    db.define\n    return True\n")
    assert project.migrate("apply").returncode == 0
    project.write("migrations.py", f"{HEAD}def two_2(db: TypeDAL):\n    db.something\n    return True\n")
    assert HINT not in project.migrate("apply").stderr
