"""Listing and importing migrations, and several settings in one process."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

import pytest
from compat_programs import installed, three, write

import migrate_graph
from migrate_graph import Config, compat, migration, migrations
from migrate_graph.errors import (
    LoadError,
)

pytestmark = pytest.mark.usefixtures("new_process")


def test_list_migrations_of_a_file(config: Config, tmp_path: Path) -> None:
    write(tmp_path / "migrations.py", three())
    found = migrate_graph.list_migrations(config)
    assert isinstance(found, OrderedDict)
    assert list(found) == ["m_1", "m_2", "m_3"]
    assert found["m_2"].requires == ("m_1",)
    assert list(dict(migrations)) == ["m_1", "m_2", "m_3"]


def test_the_order_in_which_libraries_drive_it(config: Config, tmp_path: Path) -> None:
    """Load, list, set up, mark: what tools around edwh-migrate do, in this order."""
    write(tmp_path / "migrations.py", three())
    names = list(migrate_graph.list_migrations(config))
    with pytest.raises(compat.DatabaseNotYetInitialized) as caught:
        migrate_graph.setup_db(config=config)
    message, unfinished = caught.value.args
    assert message == "ewh_implemented_features is missing."
    unfinished.close()
    db = migrate_graph.setup_db(migrate=True, migrate_enabled=True, remove_migrate_tablefile=True, config=config)
    assert db(db.ewh_implemented_features).count() == 0
    for name in names[:2]:
        assert isinstance(migrate_graph.mark_migration(db, name=name, installed=True), int)
    assert migrate_graph.mark_migration(db, name=names[0], installed=True) is None
    db.commit()
    assert not compat.should_run(db, "m_1")
    assert compat.should_run(db, "m_3")
    db.close()
    assert migrate_graph.activate_migrations(config) is True
    assert installed(config) == dict.fromkeys(names, True)


def test_several_settings_do_not_mix(tmp_path: Path) -> None:
    configs = {}
    for name in ("a", "b"):
        write(tmp_path / name / "migrations.py", three(name))
        configs[name] = Config.load(
            {
                "migrate_uri": f"sqlite://{tmp_path / name / 'x.db'}",
                "migrations_file": str(tmp_path / name / "migrations.py"),
            }
        )
    for name in ("a", "b", "a"):
        assert list(migrate_graph.list_migrations(configs[name])) == [f"{name}_1", f"{name}_2", f"{name}_3"]
    # The store holds those of `a`; both are given what is theirs.
    assert migrate_graph.activate_migrations(configs["b"])
    assert migrate_graph.activate_migrations(configs["a"])
    for name, config in configs.items():
        assert list(installed(config)) == [f"{name}_1", f"{name}_2", f"{name}_3"]


def test_settings_without_a_file_do_not_run_those_of_another(config: Config, tmp_path: Path) -> None:
    write(tmp_path / "migrations.py", three())
    migrate_graph.list_migrations(config)
    other = Config.load({"migrate_uri": f"sqlite://{tmp_path / 'o.db'}", "migrations_file": "elsewhere.py"})
    with pytest.raises(LoadError):
        migrate_graph.activate_migrations(other)
    assert list(migrate_graph.list_migrations(other)) == []


def test_import_migrations(config: Config, tmp_path: Path) -> None:
    write(tmp_path / "deep" / "migrations.py", three("deep"))
    write(tmp_path / "deep" / "named.py", three("named"))
    for args, first in ([str(tmp_path / "deep")], "deep_1"), (["deep/named.py"], "named_1"):
        assert compat.import_migrations(args, config) is True
        assert next(iter(migrations))[0] == first
    assert migrate_graph.activate_migrations(config) is True
    assert list(installed(config)) == ["named_1", "named_2", "named_3"]


def test_d18_a_missing_file_is_no_other_file(config: Config, tmp_path: Path) -> None:
    write(tmp_path / "migrations.py", three())
    config.migrations_file = "absent.py"
    assert compat.import_migrations([], config) is False
    assert compat.import_migrations(["--dry-run"], config) is False
    assert len(migrations) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("@migration(requires='ghost')\ndef a(db): return True", "unknown"),
        ("@migration\ndef a(db): return True\n@migration\ndef a(db): return True", "Duplicate migration name a"),
        (
            "@migration(requires='b')\ndef a(db): return True\n@migration(requires='a')\ndef b(db): return True",
            "circular dependency",
        ),
    ],
)
def test_a_broken_file_is_a_value_error_and_leaves_the_store_alone(
    config: Config, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "migrations.py").write_text(f"from edwh_migrate import migration\n{text}\n")
    with pytest.raises(ValueError, match=said):
        compat.import_migrations([], config)
    assert len(migrations) == 0


def test_a_file_and_the_process_together(config: Config, tmp_path: Path) -> None:
    write(tmp_path / "migrations.py", three())

    @migration
    def of_the_process(db: object) -> bool:
        return True

    assert compat.import_migrations([], config) is True
    assert list(migrations.list()) == ["of_the_process", "m_1", "m_2", "m_3"]
    assert migrate_graph.activate_migrations(config) is True
    assert set(installed(config)) == {"of_the_process", "m_1", "m_2", "m_3"}


def test_intertwined_and_cascading_order_across_files(config: Config, tmp_path: Path) -> None:
    write(tmp_path / "other.py", """
        from edwh_migrate import migration
        @migration
        def other_20260102_001(db): return True
        @migration(requires="main_20260103_001")
        def cascades_20260104_001(db): return True
    """)  # fmt: skip
    write(tmp_path / "migrations.py", """
        from edwh_migrate import migration
        @migration
        def main_20260101_001(db): return True
        @migration
        def main_20260103_001(db): return True
        import other
        @migration
        def unnumbered(db): return True
    """)  # fmt: skip
    legacy = list(migrate_graph.list_migrations(config))
    compat.import_migrations([], Config.load({"migration_ordering_mode": "intertwined"}))
    intertwined = list(migrations.list())
    # Both as edwh-migrate 2.1.0 gives them.
    assert legacy == [
        "main_20260101_001",
        "main_20260103_001",
        "cascades_20260104_001",
        "other_20260102_001",
        "unnumbered",
    ]
    assert intertwined == [
        "unnumbered",
        "main_20260101_001",
        "other_20260102_001",
        "main_20260103_001",
        "cascades_20260104_001",
    ]


def test_reset_forgets_what_was_loaded_as_well(config: Config, tmp_path: Path) -> None:
    write(tmp_path / "migrations.py", three())
    assert len(migrate_graph.list_migrations(config)) == 3
    migrations.reset()
    assert (len(migrations), list(migrations)) == (0, [])
    assert not migrate_graph.activate_migrations(config)

    @migration
    def only(db: object) -> bool:
        return True

    assert migrate_graph.activate_migrations(config)
    assert installed(config) == {"only": True}
    migrations.reset()
    assert list(migrate_graph.list_migrations(config)) == ["m_1", "m_2", "m_3"]  # and can be loaded again


def test_a_body_sees_what_was_loaded_and_its_own_name(config: Config, tmp_path: Path) -> None:
    write(
        tmp_path / "migrations.py",
        """
        import os
        from edwh_migrate import migration, migrations
        from edwh_migrate.constants import CURRENT_MIGRATION

        @migration
        def looks(db):
            return [name for name, _ in migrations] == ["looks", "other"] and os.environ[CURRENT_MIGRATION] == "looks"

        @migration
        def other(db):
            return migrations.has("looks") and os.environ[CURRENT_MIGRATION] == "other"
        """,
    )
    before = os.environ.get("CURRENT_MIGRATION")  # noqa: TID251 - a program's environment
    assert migrate_graph.console_hook([], config=config) == 0
    assert installed(config) == {"looks": True, "other": True}
    assert os.environ.get("CURRENT_MIGRATION") == before  # noqa: TID251 - a program's environment
