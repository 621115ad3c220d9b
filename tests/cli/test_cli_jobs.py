"""`migrate plan --jobs` and `migrate apply --jobs`, as they are typed: lanes, the critical path, and what they are refused beside."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from migrate_graph.workflow.side_by_side import why_no_workers

FILE = """
from migrate_graph import migration

@migration
def a_1(db): return True

@migration(requires=a_1)
def b_2(db): return True

@migration(requires=a_1)
def c_3(db): return True

@migration
def d_4(db): return True

@migration(transaction="none", independent=True)
def e_5(db): return True
"""
LOG = {
    "attempts": [
        {"name": name, "state": "applied", "duration": seconds}
        for name, seconds in {"a_1": 1.0, "b_2": 4.0, "c_3": 2.0, "d_4": 1.0}.items()
    ]
}


@pytest.fixture
def project(shell: Any) -> Any:
    """A project without a database."""
    shell.write("migrations.py", FILE)
    shell.write("log.json", json.dumps(LOG))
    return shell


def test_a_plan_shows_lanes_and_the_critical_path(project: Any) -> None:
    out = project("plan", "--jobs", "2", "--timings", "log.json").out
    assert "side by side, 2 jobs: about 7.5 s, one after another 9.5 s; 1 step guessed\n" in out
    assert "    lane 1  a_1, b_2, d_4, e_5\n    lane 2  c_3\n" in out
    assert "  critical path: a_1 → b_2 → d_4 (6.0 s)\n" in out
    assert "  alone, transaction='none': e_5\n" in out
    assert "  wait for what stands before them: d_4; declare what they require, or independent=True\n" in out


def test_the_document_tells_the_same(project: Any) -> None:
    told = project("plan", "--jobs", "2", "--timings", "log.json", "--json").json["side_by_side"]
    assert (told["jobs"], told["seconds"], told["seconds_in_a_row"], told["known"]) == (2, 7.5, 9.5, 4)
    assert (told["critical_path"], told["critical_seconds"]) == (["a_1", "b_2", "d_4"], 6.0)
    assert told["lanes"][1] == {"number": 2, "steps": [{"name": "c_3", "start": 1.0, "seconds": 2.0}]}
    assert told["lanes"][0]["steps"][-1] == {"name": "e_5", "start": 6.0, "seconds": None}
    assert {"name": "c_3", "for": "a_1", "why": "requires"} in told["waits"]
    assert {"name": "d_4", "for": "c_3", "why": "place"} in told["waits"]
    assert (told["alone"], told["keeps_place"]) == (["e_5"], ["d_4"])
    assert project("plan", "--json").json["side_by_side"] is None


SEEN = """
from migrate_graph import migration

@migration
def a_1(db):
    db.executesql("CREATE TABLE a (id integer)")
    return True

@migration
def b_2(db):
    db.executesql("CREATE TABLE b (id integer)")
    return True

@migration
def c_3(db):
    db.executesql("ALTER TABLE a ADD COLUMN more integer")
    return True
"""


def test_a_footprint_file_says_what_may_run_side_by_side(shell: Any) -> None:
    """Of a body that was edited since nothing is known."""
    shell.write("migrations.py", SEEN)
    in_a_row = shell("plan", "--jobs", "2", "--json").json["side_by_side"]
    assert [len(lane["steps"]) for lane in in_a_row["lanes"]] == [3]
    assert shell("verify", "--write", MIGRATE_URI="sqlite://seen.sqlite").code == 3
    told = shell("plan", "--jobs", "2", "--json").json["side_by_side"]
    assert [[step["name"] for step in lane["steps"]] for lane in told["lanes"]] == [["a_1", "c_3"], ["b_2"]]
    assert told["waits"] == [{"name": "c_3", "for": "a_1", "why": "place"}]
    shell.write("migrations.py", SEEN.replace("TABLE b (id integer)", "TABLE b (id bigint)"))
    told = shell("plan", "--jobs", "2", "--json").json["side_by_side"]
    assert [len(lane["steps"]) for lane in told["lanes"]] == [3]


def test_a_damaged_footprint_file_proves_nothing_and_that_is_told(
    shell: Any, sqlite_uri: str, postgres_uri: str
) -> None:
    shell.write("migrations.py", SEEN)
    assert shell("verify", "--write", MIGRATE_URI=sqlite_uri).code == 3
    file = shell.path / "migrations.footprint.json"
    file.write_text("<<<<<<< HEAD\n" + file.read_text())
    told = "migrations.footprint.json:1 proves nothing about what may run side by side: git could not merge it"
    planned = shell("plan", "--offline", "--jobs", "2", "--json")
    assert [len(lane["steps"]) for lane in planned.json["side_by_side"]["lanes"]] == [3]
    assert (planned.code, told in planned.err) == (0, True)
    assert told not in shell("plan", "--offline").err, "nobody asks the file"
    applied = shell("apply", "--jobs", "2", "--output", "plain", MIGRATE_URI=postgres_uri)
    assert (applied.code, told in applied.err, "migrate verify --write" in applied.err) == (0, True, True), applied.err


def test_without_timings_nothing_is_promised(project: Any) -> None:
    assert "side by side, 2 jobs; how long is not known (--timings)\n" in project("plan", "--jobs", "2").out
    told = project("plan", "--jobs", "2", "--json").json["side_by_side"]
    assert (told["seconds"], told["seconds_in_a_row"], told["critical_seconds"]) == (None, None, None)
    assert {step["start"] for lane in told["lanes"] for step in lane["steps"]} == {None}


def test_a_row_is_called_one(project: Any) -> None:
    project.write("migrations.py", FILE.partition("@migration(requires=a_1)\ndef c_3")[0])
    told = (
        "side by side, 2 jobs: nothing, each step waits for the one before it: about 5.0 s, one after another 5.0 s\n"
    )
    assert told in project("plan", "--jobs", "2", "--timings", "log.json").out


def test_the_setting_and_the_ordering_count(project: Any) -> None:
    project.write("pyproject.toml", '[tool.migrate]\njobs = 3\nmigration_ordering_mode = "declared"\n')
    told = project("plan", "--json").json["side_by_side"]
    assert told["jobs"] == 3
    assert {each["why"] for each in told["waits"]} == {"requires"}
    assert project("plan", "--jobs", "1", "--json").json["side_by_side"] is None
    assert project("plan", "--atomic", "--json").json["side_by_side"] is None, "what is typed comes first"


def test_numbered_files_are_one_history(project: Any) -> None:
    for number in (1, 2):
        project.write(
            f"steps/000{number}_x.py",
            f"from migrate_graph import migration\n@migration\ndef x_{number}(db): return True\n",
        )
    told = project("plan", "steps", "--jobs", "2", "--json").json["side_by_side"]
    assert told["waits"] == [{"name": "x_2", "for": "x_1", "why": "place"}]


@pytest.mark.parametrize(
    ("words", "settings", "told"),
    [
        (("--jobs", "2", "--atomic"), "", "--jobs does nothing beside --atomic"),
        (("--jobs", "2", "--sql"), "", "--jobs does nothing beside --sql"),
        (("--jobs", "2", "--format", "svg"), "", "--jobs does nothing beside a picture in the place of the text"),
        (("--jobs", "0"), "", "invalid value for '--jobs'"),
        (("--jobs", "2"), "atomic = true", "--jobs was given, and `atomic` is set (pyproject.toml:2)"),
        ((), "atomic = true\njobs = 2", "`jobs` is set (pyproject.toml:3), and `atomic` is set (pyproject.toml:2)"),
        (("--jobs", "2"), 'migrate_uri = "sqlite://x.db"', "--jobs does nothing here: SQLite lets one connection write"),
        ((), "jobs = 65", "65 is no number of jobs"),
        ((), "jobs = 0", "0 is no number of jobs"),
    ],
)  # fmt: skip
def test_what_it_is_refused_for(project: Any, words: tuple[str, ...], settings: str, told: str) -> None:
    project.write("pyproject.toml", f"[tool.migrate]\n{settings}\n")
    ran = project("plan", *words)
    assert ran.code == 2
    assert told in ran.err


def test_a_setting_does_not_stop_a_plan_on_sqlite(project: Any) -> None:
    project.write("pyproject.toml", '[tool.migrate]\njobs = 2\nmigrate_uri = "sqlite://x.db"\n')
    ran = project("plan", "--json")
    assert ran.code == 0
    assert ran.json["side_by_side"] is None


SQLITE = '[tool.migrate]\nmigrate_uri = "sqlite://x.db"\n'


@pytest.mark.parametrize(
    ("words", "settings", "told"),
    [
        (("--jobs", "2"), "", "--jobs does nothing here: SQLite lets one connection write at a time"),
        (("--jobs", "2", "--dry-run"), "", "--jobs does nothing here: SQLite lets one connection write at a time"),
        (("--jobs", "2", "--atomic"), "", "--jobs does nothing beside --atomic"),
        (("--jobs", "2", "--fake"), "", "--jobs does nothing beside --fake"),
        (("--jobs", "2"), "atomic = true", "one transaction has one connection"),
        ((), "atomic = true\njobs = 2", "one transaction has one connection"),
    ],
)
def test_what_apply_is_refused_for(project: Any, words: tuple[str, ...], settings: str, told: str) -> None:
    project.write("pyproject.toml", f"{SQLITE}{settings}\n")
    ran = project("apply", *words)
    assert ran.code == 2
    assert told in ran.err
    assert not (project.path / "x.db").exists(), "nothing was touched"


def test_where_only_the_setting_asks_for_it_sqlite_runs_in_a_row_and_says_so_first(project: Any) -> None:
    project.write("pyproject.toml", f"{SQLITE}jobs = 2\n")
    project.write("migrations.py", FILE.replace('transaction="none", ', ""))
    ran = project("apply")
    assert ran.code == 0
    first, *_ = ran.err.splitlines()
    assert "`jobs` is set (pyproject.toml:3), and SQLite lets one connection write at a time" in first
    assert "migrations run one after another" in first
    assert project("apply", "--no-atomic", "--jobs", "1").code == 0


def test_one_job_is_possible_anywhere(project: Any) -> None:
    project.write("pyproject.toml", f"{SQLITE}jobs = 2\n")
    project.write("migrations.py", FILE.replace('transaction="none", ', ""))
    ran = project("apply", "--jobs", "1")
    assert ran.code == 0
    assert "one after another" not in ran.err


def test_what_a_running_program_declares_runs_in_a_row() -> None:
    assert "declared by a running program" in why_no_workers(SimpleNamespace(imports=None))  # type: ignore[arg-type]
    assert why_no_workers(SimpleNamespace(imports=object())) == ""  # type: ignore[arg-type]


def test_without_a_python_to_start_everything_runs_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "")
    assert "no further process of this Python" in why_no_workers(SimpleNamespace(imports=object()))  # type: ignore[arg-type]
