"""The ready tests of the pytest plugin: what each of them finds in a project."""

from __future__ import annotations

import pytest
from plugin_stand import SHOP, Project, databases_of, project
from servers import PostgresServer

__all__ = ["project"]

pytest_plugins = ["pytester"]


# -- ready tests -------------------------------------------------------------------------------------------------------


def test_all_ready_tests_pass_for_a_sound_project(project: Project) -> None:
    done = project.ready("all", arguments=("-v",))
    done.assert_outcomes(passed=4)
    done.stdout.fnmatch_lines(
        [
            "migrate_graph::graph_is_valid PASSED*",
            "migrate_graph::applies_from_scratch PASSED*",
            "migrate_graph::applies_twice_without_work PASSED*",
            "migrate_graph::every_view_is_rebuilt_equal PASSED*",
        ]
    )
    done.stdout.fnmatch_lines(["collect* 4 items"])


def test_they_can_be_chosen(project: Project) -> None:
    done = project.ready("graph_is_valid", "applies_from_scratch", arguments=("-v", "-k", "graph_is_valid"))
    done.assert_outcomes(passed=1, deselected=1)


def test_a_misspelt_one_is_refused(project: Project) -> None:
    done = project.ready("graph_is_fine")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*there is no graph_is_fine; use all, or some of: graph_is_valid, *"])


def test_who_asks_for_one_file_gets_one_file(project: Project) -> None:
    project.configure('migrate_graph_tests = "all"')
    project.write("tests/test_own.py", "def test_own(): pass")
    project.run("tests/test_own.py").assert_outcomes(passed=1)
    project.run("tests/test_own.py::test_own").assert_outcomes(passed=1)
    project.run("tests").assert_outcomes(passed=5)
    project.run().assert_outcomes(passed=5)


def test_an_invalid_graph_is_shown_as_check_shows_it(project: Project) -> None:
    project.declare(SHOP, '@migration(requires="create_nothing")\ndef late_20260403_001(db):\n    return True')
    done = project.ready("graph_is_valid")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        [
            "error MG102 unknown-requirement: *create_nothing*",
            "  --> migrations.py:*",
            "*hint: *",
            "1 error in 4 migrations*",
        ]
    )


def test_an_invalid_graph_does_not_apply(project: Project) -> None:
    project.declare(SHOP, '@migration(requires="create_nothing")\ndef late_20260403_001(db):\n    return True')
    done = project.ready("applies_from_scratch", "every_view_is_rebuilt_equal")
    done.assert_outcomes(failed=2)
    done.stdout.fnmatch_lines(["error MG102 unknown-requirement: *create_nothing*"])


def test_what_fails_from_scratch_is_named_with_all_that_waits_for_it(project: Project) -> None:
    project.declare(
        SHOP,
        """
        @migration
        def forgetful_20260403_001(db):
            if db is None:
                return True

        @migration(requires=forgetful_20260403_001)
        def patient_20260403_002(db):
            return True
        """,
    )
    done = project.ready("applies_from_scratch")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        [
            "forgetful_20260403_001 (migrations.py:*): returned None*",
            "hint: *return True*",
            "not applied because of that: patient_20260403_002",
        ]
    )


def test_a_migration_that_unrecords_another_is_found(project: Project) -> None:
    project.declare(
        SHOP,
        """
        @migration(requires=shout_20260402_001)
        def tidy_20260403_001(db):
            db.executesql("DELETE FROM ewh_implemented_features WHERE name = 'shout_20260402_001'")
            return True
        """,
    )
    done = project.ready("applies_from_scratch", "applies_twice_without_work")
    done.assert_outcomes(failed=2)
    told = "the ledger has lost 1 record during this run: shout_20260402_001 is not installed any more*"
    done.stdout.fnmatch_lines([told, "*applies_twice_without_work*", told])


def test_a_view_made_differently_by_hand_is_found(project: Project) -> None:
    project.declare(
        SHOP,
        """
        @migration(requires=shout_20260402_001, views=[])
        def by_hand_20260403_001(db):
            db.executesql("DROP VIEW initials")
            db.executesql("CREATE VIEW initials AS SELECT id, substr(name, 1, 2) AS initial FROM names")
            return True
        """,
    )
    done = project.ready("every_view_is_rebuilt_equal")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        [
            "after Names (migrations.py:*) was taken down and brought up again:",
            '  "initials" was',
            "*substr(name, 1, 2)*",
            "  and is now",
            "*substr(name, 1, 1)*",
            "after Initials (migrations.py:*) was taken down and brought up again:",
        ]
    )


def test_a_view_whose_up_no_longer_works_is_found(project: Project) -> None:
    project.declare(
        SHOP,
        """
        @migration(requires=shout_20260402_001)
        def rename_20260403_001(db):
            db.executesql("ALTER TABLE customer RENAME TO client")  # SQLite rewrites the view, nobody rewrites up()
            return True
        """,
    )
    done = project.ready("every_view_is_rebuilt_equal")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["rebuild of Names (migrations.py:*): *no such table: main.customer*"])


def test_a_view_that_was_never_built_is_found(project: Project) -> None:
    text = SHOP.replace("with Names(db):\n            pass", "db.executesql('SELECT 1')")
    assert text != SHOP
    project.declare(text)
    done = project.ready("every_view_is_rebuilt_equal")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(['  "names" was not there before'])


def test_without_views_there_is_nothing_to_rebuild(project: Project) -> None:
    project.declare("from migrate_graph import migration\n@migration\ndef only_1(db):\n    return True")
    project.ready("every_view_is_rebuilt_equal").assert_outcomes(skipped=1)


REHEARSED = """
    import pytest

    FAILS = "fails_20260404_001"


    @pytest.mark.migrated_to("shout_20260402_001")
    def test_what_a_migration_does(migrated_db, rehearsal):
        migrated_db.executesql("INSERT INTO customer (id, name) VALUES (1, 'Ada'), (2, 'Bob')")
        done = rehearsal("whisper_20260403_001")
        (seen,) = done.footprints.values()
        assert done.exit_code == 0
        assert [each.sql for each in seen.statements] == ["UPDATE customer SET name = lower(name)"]
        assert seen.statements[0].source.line > 1
        assert [(name.rpartition(".")[2], wrote.updated) for name, wrote in seen.wrote.items()] == [("customer", 2)]
        assert migrated_db.executesql("SELECT name FROM customer ORDER BY id") == [("Ada",), ("Bob",)]


    @pytest.mark.migrated_to("shout_20260402_001")
    def test_a_failure_fails_the_test(rehearsal):
        rehearsal()


    @pytest.mark.migrated_to("shout_20260402_001")
    def test_a_failure_can_be_looked_at(rehearsal, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        done = rehearsal(check=False)
        assert done.exit_code == 1
        assert [act.what for act in done.footprints[FAILS].outside] == ["writes the file written"]
        assert not (tmp_path / "written").exists()
        rehearsal(FAILS, allow_outside=True)
        assert (tmp_path / "written").exists()
"""


def test_a_rehearsal_tells_what_a_migration_does(project: Project) -> None:
    rehearse_in(project)


@pytest.mark.postgres
def test_a_rehearsal_on_postgres_tells_the_same(project: Project, postgres_server: PostgresServer) -> None:
    rehearse_in(project, "--migrate-uri", postgres_server.admin_uri())
    assert not databases_of(postgres_server)


def rehearse_in(project: Project, *words: str) -> None:
    project.declare(
        SHOP,
        """
        @migration(requires=shout_20260402_001)
        def whisper_20260403_001(db):
            db.executesql("UPDATE customer SET name = lower(name)")
            return True

        @migration(requires=whisper_20260403_001)
        def fails_20260404_001(db):
            with open("written", "w") as file:
                file.write("x")
            return True
        """,
    )
    project.write("tests/test_rehearsed.py", REHEARSED)
    done = project.run(*words)
    done.assert_outcomes(passed=2, failed=1)
    done.stdout.fnmatch_lines(
        ["fails_20260404_001 (migrations.py:*): ActsOutside: it writes the file written: refused*"]
    )
