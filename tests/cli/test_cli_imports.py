"""What a command imports and parses: counted, never timed. Most runs have nothing to do, and should cost little."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from migrate_graph.loader.imports import NEEDED, PACKAGES

_HEAVY = frozenset({"networkx", "pydantic", "pydal", "psycopg2", "sqlite3", "rich", "tomlkit", "wasmtime", "redis"})

# Runs a command in a new process; then tells which of the modules were imported, and how many files were parsed.
_RUN = """
import json, os, sys
from pathlib import Path
from migrate_graph.loader import sources
words, heavy, told = json.loads(sys.argv[1])
parsed, parse = [], sources._parsed
sources._parsed = lambda text: parsed.append(1) or parse(text)
from migrate_graph.cli import main
code = main(words, environ=os.environ)
imported = {name.partition(".")[0] for name in sys.modules}
Path(told).write_text(json.dumps([code, len(parsed), sorted(imported & set(heavy))]))
"""

_MIGRATIONS = """
from migrate_graph import migration

LIMIT = 3

@migration
def one_20260101_001(db):
    db.executesql("CREATE TABLE one (id integer)")
    return True

@migration(requires=one_20260101_001)
def two_20260101_002(db):
    db.executesql("CREATE TABLE two (id integer)")
    return LIMIT == 3
"""


def _run(directory: Path, uri: str, *words: str) -> tuple[int, int, set[str]]:
    """Return exit code, parsed files, and which heavy modules were imported."""
    told = directory / "told.json"
    ran = subprocess.run(
        [sys.executable, "-c", _RUN, json.dumps([words, sorted(_HEAVY), str(told)])],
        cwd=directory, env={"MIGRATE_URI": uri, "CI": "true", "HOME": str(directory)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not ran.returncode, ran.stderr
    code, parsed, modules = json.loads(told.read_text())
    return code, parsed, set(modules)


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(word: str, tmp_path: Path) -> None:
    assert _run(tmp_path, "sqlite://app.db", word) == (0, 0, set())


_FOUNDATION = frozenset(
    {
        "__future__", "gc", "shlex", "linecache", "tokenize", "token", "traceback",
        "urllib", "urllib.parse", "ipaddress",  # for redaction; up to Python 3.12 pathlib imports them, too
        "decimal", "_decimal", "_socket", "typing_extensions",  # for msgspec: to make a dozen dataclasses takes as long as all of it
        *(f"migrate_graph.{name}" for name in (
            "columns", "edwh_names", "errors", "foreign_text", "forks", "masked_stream", "messages", "process_end", "redaction", "supervisor",
            "render", "reports", "reports.document", "workflow", "workflow.place",
        )),
    }
)  # fmt: skip
"""What help needs besides typer and the command line's own files: what is small."""

_BEYOND_TYPER = """
import os, sys
import typer
known = set(sys.modules)
from migrate_graph.cli import main
main(sys.argv[1:2], environ=os.environ)
open(sys.argv[2], "w").write(" ".join(set(sys.modules) - known))
"""


@pytest.mark.parametrize("word", ["--help", "--version", "--no-such-option"])
def test_help_version_and_a_wrong_word_import_little_more_than_typer(word: str, tmp_path: Path) -> None:
    """By name, since each module that is not here costs as much as all of these."""
    told = tmp_path / "told.json"
    subprocess.run(
        [sys.executable, "-c", _BEYOND_TYPER, word, str(told)],
        cwd=tmp_path, env={"CI": "true", "HOME": str(tmp_path)}, capture_output=True, check=True,
    )  # fmt: skip
    imported = told.read_text().split()
    ours = ("migrate_graph.cli", "typer.", "click.", "msgspec")
    more = {name for name in imported if name != "migrate_graph" and not name.startswith(ours)} - _FOUNDATION
    assert more == set()
    commands = [name for name in imported if name.startswith("migrate_graph.cli.commands.")]
    assert len(commands) < 2 or word == "--help", "only who lists them all needs all commands"


def test_a_wrong_word_imports_nothing_heavy(tmp_path: Path) -> None:
    code, parsed, modules = _run(tmp_path, "sqlite://app.db", "apply", "--no-such-option")
    assert (code, parsed, modules) == (2, 0, set())


def test_nothing_to_do_imports_the_driver_alone(database_uri: str, tmp_path: Path) -> None:
    """No body is parsed either: what is applied is history."""
    (tmp_path / "migrations.py").write_text(_MIGRATIONS)
    driver = {"psycopg2"} if database_uri.startswith("postgres") else {"sqlite3"}
    code, parsed, modules = _run(tmp_path, database_uri, "apply")
    assert (code, parsed) == (0, 1)
    assert modules >= driver | {"pydal"}
    assert _run(tmp_path, database_uri, "apply") == (0, 0, driver)
    code, _, modules = _run(tmp_path, database_uri, "status")
    assert (code, modules) == (0, driver)


_AT_WORK = (
    "migrate_graph.executor.",
    "migrate_graph.database.views.",
    "migrate_graph.database.backup.",
    "migrate_graph.workflow.sealing",
    "migrate_graph.workflow.drift",
    *(f"migrate_graph.core.{name}" for name in ("sealed", "drift", "lanes", "commuting", "way_back", "undoing")),
    *(
        f"migrate_graph.database.{kind}.{name}"
        for kind in ("postgres", "sqlite")
        for name in ("work", "catalog", "restore")
    ),
)
"""What only a run imports that has something to do, or was asked for something special."""

_MODULES = """
import os, sys
from migrate_graph.cli import main
code = main(sys.argv[2:], environ=os.environ)
open(sys.argv[1], "w").write(" ".join(sys.modules))
sys.exit(code)
"""


def test_nothing_to_do_imports_nothing_that_works(database_uri: str, tmp_path: Path) -> None:
    """By name, and in number: most runs have nothing to do, and half of their time goes into imports."""
    (tmp_path / "migrations.py").write_text(_MIGRATIONS)
    assert _run(tmp_path, database_uri, "apply")[0] == 0
    told = tmp_path / "told"
    ran = subprocess.run(
        [sys.executable, "-c", _MODULES, str(told), "apply"],
        cwd=tmp_path, env={"MIGRATE_URI": database_uri, "CI": "true", "HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not ran.returncode, ran.stderr
    ours = {name for name in told.read_text().split() if name.startswith("migrate_graph")}
    assert {name for name in ours if name.startswith(_AT_WORK)} == {"migrate_graph.executor.checkpoints"}
    assert len(ours) <= 142, "each costs every run some time"


_LEAVES_A_RING = """
import gc
from pathlib import Path
from migrate_graph import migration

Path("put_aside.txt").write_text(f"{gc.get_freeze_count() > 0} {gc.isenabled()}")

class Ring:
    def __del__(self):
        Path("ended.txt").write_text("collected")

@migration
def one_20260101_001(db):
    ring = Ring()
    ring.itself = ring
    return True
"""


def test_what_is_imported_is_put_aside_for_the_garbage_collector_and_what_user_code_makes_is_not(
    tmp_path: Path,
) -> None:
    """What a body has left, and only the collector can reach, is ended when the process ends."""
    (tmp_path / "migrations.py").write_text(_LEAVES_A_RING)
    ran = subprocess.run(
        [sys.executable, "-m", "migrate_graph", "apply"],
        cwd=tmp_path, env={"MIGRATE_URI": "sqlite://app.db", "CI": "true", "HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not ran.returncode, ran.stderr
    assert (tmp_path / "put_aside.txt").read_text() == "True True"
    assert (tmp_path / "ended.txt").read_text() == "collected"


def test_a_program_that_goes_on_keeps_its_garbage_collected(tmp_path: Path) -> None:
    (tmp_path / "migrations.py").write_text(_LEAVES_A_RING)
    assert _run(tmp_path, "sqlite://app.db", "check")[0] == 0
    assert (tmp_path / "put_aside.txt").read_text() == "False True"


_NOTED = """
import os, sys
from pathlib import Path
from migrate_graph import migration

def noted(number, **place):
    def body(db):
        Path(f"{{number}}.told").write_text(" ".join([str(os.getpid()), *sys.modules]))
        return True
    body.__name__ = f"step_{{number}}"
    return migration(**place)(body)

step_0 = noted(0, {0})
step_1 = noted(1, {1})
step_2 = noted(2, {2})
"""


def _told_by(directory: Path, uri: str, *places: str) -> list[list[str]]:
    """Run three migrations with two jobs; return of each the number of its process, and what was imported there."""
    (directory / "migrations.py").write_text(_NOTED.format(*places))
    assert _run(directory, uri, "apply", "--jobs", "2")[0] == 0
    return [(directory / f"{number}.told").read_text().split() for number in range(3)]


def test_a_worker_imports_only_what_an_attempt_needs(postgres_uri: str, tmp_path: Path) -> None:
    told = _told_by(tmp_path, postgres_uri, *["independent=True"] * 3)
    assert len({process for process, *_ in told}) <= 2
    for _, *imported in told:
        assert _HEAVY & {name.partition(".")[0] for name in imported} == {"psycopg2", "pydal", "sqlite3"}
        rooms = (f"migrate_graph.{room}" for room in ("cli", "workflow", "render", "reports", "config"))
        assert not [name for name in imported if name.startswith(("typer", "click", *rooms))]
        walks = {f"migrate_graph.executor.{name}" for name in ("run", "atomic", "undo", "side_by_side", "crew")}
        assert not walks.intersection(imported), "the run walks"
        rare = {
            "core.sealed",
            "core.drift",
            "database.books.stored_facts",
            "database.postgres.atomic",
            "database.views.held",
        }
        assert not {f"migrate_graph.{name}" for name in rare}.intersection(imported), (
            "no attempt beside others needs them"
        )
        assert sum(name.startswith("migrate_graph.") for name in imported) <= 145, "each costs every worker some time"


_NEWLY = """
import os, sys
from pathlib import Path
from migrate_graph import migration

loaded = set(sys.modules)

@migration(independent=True)
def a_1(db):
    return True

@migration(requires=a_1)
def b_2(db):
    db.executesql("CREATE TABLE t (id integer)")
    Path("newly").write_text(" ".join(sys.modules.keys() - loaded))
    return True

@migration(independent=True)
def c_3(db):
    return True
"""


def test_a_worker_has_what_it_needs_from_its_fork_server(postgres_uri: str, tmp_path: Path) -> None:
    """What it imports itself each worker imports again, while the others wait for the processor."""
    (tmp_path / "migrations.py").write_text(_NEWLY)
    assert _run(tmp_path, postgres_uri, "apply", "--jobs", "2")[0] == 0
    assert set((tmp_path / "newly").read_text().split()) <= {"migrations"}


def test_what_runs_in_a_row_needs_no_worker(postgres_uri: str, tmp_path: Path) -> None:
    told = _told_by(tmp_path, postgres_uri, "", "requires=[step_0]", "requires=[step_1]")
    assert len({process for process, *_ in told}) == 1
    assert all("migrate_graph.cli" in imported for _, *imported in told), "it is the run itself"


@pytest.mark.parametrize(
    ("program", "names"),
    [
        ([str(Path(sys.executable).with_name("migrate"))], NEEDED - {"__future__"}),
        (["-m", "migrate_graph"], {"gc", "queue", "select", "uuid", *PACKAGES}),  # `python -m` itself imports more
    ],
    ids=["script", "module"],
)
def test_a_project_whose_files_have_the_names_of_modules_that_we_need(
    program: list[str], names: set[str], database_uri: str, tmp_path: Path
) -> None:
    """None of them is imported instead, however late a command imports what it needs."""
    for name in names:
        (tmp_path / f"{name}.py").write_text("raise RuntimeError(__name__)")
    (tmp_path / "migrations.py").write_text(_MIGRATIONS)
    environ = {"MIGRATE_URI": database_uri, "CI": "true", "HOME": str(tmp_path)}
    for words in ("plan --graph plan.svg", "graph -o graph.png", "apply", "status --json", "check --history"):
        ran = subprocess.run(
            [sys.executable, *program, *words.split()],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not ran.returncode, ran.stderr


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("redis", "", "apply"),
        ("networkx", "raise RuntimeError('of somebody')", "why two_20260101_002"),
        ("graphviz", "def draw(): ...", "graph -o graph.svg"),
        ("typer", "", "plan"),
        ("difflib", "", "show nothing_of_this_name"),
    ],
)
def test_a_file_on_pythonpath_that_was_imported_in_the_place_of_what_we_need_is_named(
    name: str, text: str, words: str, tmp_path: Path
) -> None:
    """It comes before the installed package of that name, in every program: this was told as a fault of migrate_graph."""
    (tmp_path / "migrations.py").write_text(_MIGRATIONS)
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / f"{name}.py").write_text(text)
    ran = subprocess.run(
        [sys.executable, "-m", "migrate_graph", *words.split()], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"MIGRATE_URI": "sqlite://app.db", "CI": "true", "HOME": str(tmp_path), "REDIS_HOST": "127.0.0.1:1", "PYTHONPATH": str(tmp_path / "path")},
    )  # fmt: skip
    assert f"{name}.py was imported in the place of {name}, which migrate_graph needs (" in ran.stderr
    assert "hint: rename the file, or take its directory out of PYTHONPATH" in ran.stderr
    assert ran.returncode == 2
