"""What `@migration(after=…)` promises: asked after the body, in its transaction, before the record; what does not hold is rolled back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from user_project import Project

from migrate_graph.authoring import collecting, migration
from migrate_graph.core.model import Migration
from migrate_graph.loader import load_project


def _declared(after: Any, **more: Any) -> Migration:
    with collecting() as found:

        @migration(after=after, **more)
        def one_1(db: Any) -> bool:
            return True

    return found.migrations[0]


@pytest.fixture
def anywhere(project: Project, database_uri: str) -> Project:
    project.env["MIGRATE_URI"] = database_uri
    return project


def _states(project: Project) -> dict[str, str]:
    document = json.loads(project.migrate("status", "--json").stdout)
    return {each["name"]: each["status"] for each in document["migrations"]}


HOLDS = {
    "sql": '"SELECT count(*) = 2 FROM {t}"',
    "lines": '"""\n    SELECT count(*) = 2\n    FROM {t}\n"""',
    "function": "two_rows_of_{t}",
    "by_lambda": 'lambda db: db.executesql("SELECT count(*) FROM {t}")[0][0] == 2',
    "number": '"SELECT count(*) FROM {t}"',
}
FAILS = {
    "sql": ('"SELECT count(*) = 2 FROM {t}"', "SELECT count(*) = 2 FROM {t} gave"),
    "no_row": ('"SELECT 1 FROM {t} WHERE id > 5"', "gave no row"),
    "rows": ('"SELECT id FROM {t} UNION ALL SELECT 7"', "gave 2 rows, where one is wanted"),
    "null": ('"SELECT max(id) FROM {t} WHERE id > 9"', "gave None"),
    "text": ("\"SELECT 'f'\"", "gave 'f', which is neither true nor false"),
    "function": ("two_rows_of_{t}", "two_rows_of_{t} gave False"),
    "forgot": ("lambda db: None", "gave None"),
}


def _one(name: str, after: str, *, rows: int, more: str = "", body: str = "") -> str:
    """Return a migration that makes a table with rows, and what must hold after it; a function that asks stands before it."""
    table = f"t_{name}"
    inserts = "".join(f'    db.executesql("INSERT INTO {table} (id) VALUES ({n})")\n' for n in range(rows))
    asks = f'    return db.executesql("SELECT count(*) FROM {table}")[0][0] == 2'
    return (
        f"\n\ndef two_rows_of_{table}(db):\n{asks}\n\n\n@migration(after={after.replace('{t}', table)}{more})\ndef {name}(db):\n"
        f'    db.executesql("CREATE TABLE {table} (id integer)")\n{inserts}{body}    return True\n'
    )


HEAD = "from migrate_graph import migration\n"


def _words(text: str) -> str:
    return " ".join(text.split())


def test_what_holds_lets_the_migration_be_recorded(anywhere: Project) -> None:
    anywhere.write("migrations.py", HEAD + "".join(_one(name, after, rows=2) for name, after in HOLDS.items()))
    assert anywhere.migrate("apply").returncode == 0
    assert set(_states(anywhere).values()) == {"applied"}


def test_what_does_not_hold_is_rolled_back_and_told_with_its_line(anywhere: Project) -> None:
    text = HEAD + "".join(_one(name, after, rows=1) for name, (after, _) in FAILS.items())
    anywhere.write("migrations.py", text)
    lines = text.splitlines()
    ended = anywhere.migrate("apply", "--output", "plain")
    output = _words(ended.stderr)
    assert ended.returncode == 1, output
    for name, (_, told) in FAILS.items():
        asked = f"def two_rows_of_t_{name}(" if name == "function" else f"def {name}("
        place = next(at for at, line in enumerate(lines, 1) if line.startswith(asked)) - (name != "function")
        assert told.replace("{t}", f"t_{name}") in output, name
        assert f"(migrations.py:{place}) hint: correct the body, or the condition" in output, name
    assert "committed: nothing, the database is as it was" in output
    assert set(_states(anywhere).values()) == {"failed"}
    anywhere.write("migrations.py", HEAD + "".join(_one(name, '"SELECT 1"', rows=1) for name in FAILS))
    assert anywhere.migrate("apply").returncode == 0, "no table is there, so every body runs again"


def test_in_one_transaction_all_of_it_is_rolled_back(anywhere: Project) -> None:
    anywhere.write("migrations.py", HEAD + _one("one", HOLDS["sql"], rows=2) + _one("two", FAILS["sql"][0], rows=1))
    ended = anywhere.migrate("apply", "--atomic", "--output", "plain")
    assert ended.returncode == 1
    assert "two (migrations.py:" in ended.stderr
    assert _states(anywhere) == {"one": "pending", "two": "failed"}


def test_one_that_raises_is_rolled_back_and_named(anywhere: Project) -> None:
    anywhere.write("migrations.py", HEAD + _one("one", '"SELECT * FROM nonesuch"', rows=2))
    ended = anywhere.migrate("apply", "--output", "plain")
    output = _words(ended.stderr)
    assert ended.returncode == 1
    assert "asked for its condition SELECT * FROM nonesuch (migrations.py:8)" in output
    assert "failed one (migrations.py:8)" in output
    assert _states(anywhere) == {"one": "failed"}


def test_what_stays_in_spite_of_it_is_told(anywhere: Project) -> None:
    commits = _one("commits", FAILS["sql"][0], rows=1, body="    db.commit()\n")
    alone = _one("alone", FAILS["sql"][0], rows=1, more=', transaction="none"')
    anywhere.write("migrations.py", HEAD + commits + alone)
    ended = anywhere.migrate("apply", "--output", "plain")
    output = _words(ended.stderr)
    assert ended.returncode == 1
    assert "1 commit of its own stayed in the database" in output
    assert "it runs outside of a transaction: what it had done stayed in the database" in output
    there = "".join(_one(name, f'"SELECT count(*) = 1 FROM t_{name}"', rows=0) for name in ("commits", "alone"))
    anywhere.write("migrations.py", HEAD + there.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS"))
    assert anywhere.migrate("apply").returncode == 0


@pytest.mark.postgres
def test_an_error_that_the_body_swallowed_is_not_blamed_on_the_condition(project: Project, postgres_uri: str) -> None:
    project.env["MIGRATE_URI"] = postgres_uri
    swallowed = "    try:\n        db.executesql('SELECT nonsense')\n    except Exception:\n        pass\n"
    project.write("migrations.py", HEAD + _one("one", HOLDS["sql"], rows=2, body=swallowed))
    output = _words(project.migrate("apply", "--output", "plain").stderr)
    assert "it swallowed an SQL error" in output
    assert "condition" not in output


@pytest.mark.parametrize("kind", ["sql", "function"])
def test_a_rehearsal_asks_too(anywhere: Project, kind: str) -> None:
    after, told = FAILS[kind]
    anywhere.write("migrations.py", HEAD + _one("one", after, rows=1))
    ended = anywhere.migrate("plan", "--rehearse", *_where(anywhere))
    assert ended.returncode == 1, ended.stdout
    assert told.replace("{t}", "t_one") in _words(ended.stdout)
    assert _states(anywhere) == {"one": "pending"}


@pytest.mark.parametrize("kind", ["sql", "function"])
def test_what_a_condition_asks_is_part_of_what_was_approved(anywhere: Project, kind: str, tmp_path: Path) -> None:
    """It is heard in the rehearsal as in the run, so a strict run of the plan has nothing new to refuse."""
    anywhere.write("migrations.py", HEAD + _one("one", HOLDS[kind], rows=2))
    plan = tmp_path / "plan.json"
    ended = anywhere.migrate("plan", "--rehearse", *_where(anywhere), "-o", str(plan))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert _states(anywhere) == {"one": "pending"}
    (step,) = json.loads(plan.read_text())["steps"]
    asks = [each["sql"] for each in step["footprint"]["statements"] if each["sql"].startswith("SELECT count(*)")]
    assert len(asks) == 1, asks
    ended = anywhere.migrate("apply", str(plan), "--strict")
    assert ended.returncode == 0, ended.stderr
    assert _states(anywhere) == {"one": "applied"}


def _where(project: Project) -> tuple[str, ...]:
    return ("--on", "here") if project.env["MIGRATE_URI"].startswith("postgres") else ()


def test_show_and_plan_tell_it(project: Project) -> None:
    project.write("migrations.py", HEAD + _one("one", HOLDS["lines"], rows=2))
    told = {"text": "SELECT count(*) = 2 FROM t_one", "sql": True, "path": "migrations.py", "line": 8}
    assert f"{told['text']} (migrations.py:8)" in project.migrate("show", "one").stdout
    assert json.loads(project.migrate("show", "one", "--json").stdout)["nodes"][0]["condition"] == told
    assert json.loads(project.migrate("plan", "--json").stdout)["steps"][0]["condition"] == told


def test_an_edited_condition_is_no_edited_body(tmp_path: Path) -> None:
    file = tmp_path / "migrations.py"
    prints = set()
    for after in HOLDS.values():
        file.write_text(HEAD + _one("one", after, rows=2))
        (one,) = load_project(file, root=tmp_path).registry.migrations
        prints.add(one.facts.fingerprint)
        assert one.after is not None
    assert len(prints) == 1
    assert "" not in prints


async def _coroutine(db: Any) -> bool:
    return True


def _generator(db: Any) -> Iterator[bool]:
    yield True


@pytest.mark.parametrize(
    "after", ["", "  ", 3, _coroutine, _generator], ids=["empty", "blank", "number", "async", "generator"]
)
def test_what_cannot_be_asked_is_refused_where_it_is_declared(after: Any) -> None:
    with pytest.raises(TypeError, match="after: "):
        _declared(after)


def test_a_migration_that_calls_another_does_not_ask_for_it() -> None:
    asked: list[Callable[..., Any]] = []
    assert _declared(asked.append)(None) is True
    assert asked == []
