"""`migrate apply --atomic` and `migrate plan --atomic`, as they are typed."""

from __future__ import annotations

from typing import Any

import pytest

GOOD = """
from migrate_graph import migration

@migration
def first_1(db):
    db.executesql("CREATE TABLE first (id INTEGER)")
    db.commit()
    return True

@migration(requires=first_1)
def second_2(db):
    db.executesql("CREATE TABLE second (id INTEGER)")
    return True
"""
FAILS = GOOD.replace('    db.executesql("CREATE TABLE second (id INTEGER)")\n', '    raise ValueError("oops")\n')
ALONE = (
    GOOD
    + """
@migration(transaction="none")
def alone_3(db):
    db.executesql("VACUUM")
    return True

@migration(requires=second_2)
def ends_4(db):
    db.executesql("INSERT INTO first VALUES (1)")
    db.executesql("COMMIT")
    return True

@migration
def last_5(db):
    return True
"""
)


@pytest.fixture
def shop(shell: Any) -> Any:
    """An empty SQLite database; `shop.write("migrations.py", …)` comes first."""
    shell.env["MIGRATE_URI"] = f"sqlite://{shell.path / 'shop.db'}"
    return shell


def _states(shop: Any) -> dict[str, str]:
    return {each["name"]: each["status"] for each in shop("status", "--json").json["migrations"]}


def test_all_or_nothing(shop: Any) -> None:
    shop.write("migrations.py", FAILS)
    ran = shop("apply", "--atomic")
    assert ran.code == 1
    assert "2 migrations to run, all of them or none" in ran.err
    assert "[1/2] done first_1" in ran.err
    assert "0 applied, 1 failed, 1 rolled back in" in ran.err
    assert "1 rolled back (first_1)" in ran.err
    assert "committed: nothing, the database is as it was" in ran.err
    assert "then migrate apply --atomic" in ran.err
    assert _states(shop) == {"first_1": "pending", "second_2": "failed"}
    assert (
        "nothing of the run was kept (--atomic); 1 migration before it in the run was rolled back with it"
        in shop("log").out
    )
    shop.write("migrations.py", GOOD)
    ran = shop("apply", "--atomic")
    assert ran.code == 0
    assert "2 applied in one transaction in" in ran.err
    assert "committed: first_1, second_2" in ran.err
    assert _states(shop) == {"first_1": "applied", "second_2": "applied"}


@pytest.mark.parametrize("words", [(), ("apply",)])
def test_the_setting(words: tuple[str, ...], shop: Any) -> None:
    shop.write("migrations.py", FAILS)
    assert shop(*words, MIGRATE_ATOMIC="true").code == 1
    assert _states(shop)["first_1"] == "pending"
    shop.write("pyproject.toml", "[tool.migrate]\natomic = true\n")
    assert shop(*words).code == 1
    assert _states(shop)["first_1"] == "pending"
    assert shop("apply", "--no-atomic").code == 1
    assert _states(shop)["first_1"] == "applied"


def test_without_the_setting_each_is_kept(shop: Any) -> None:
    shop.write("migrations.py", FAILS)
    assert shop().code == 1
    assert _states(shop)["first_1"] == "applied"


def test_json_lines(shop: Any) -> None:
    shop.write("migrations.py", FAILS)
    ran = shop("apply", "--atomic", "--json")
    start, end = ([line for line in ran.lines if line["type"] == kind] for kind in ("run_start", "run_end"))
    assert start[0]["atomic"]
    assert end[0]["atomic"]
    assert [each["outcome"] for each in end[0]["results"]] == ["rolled back", "raised"]
    ended = [line["result"]["outcome"] for line in ran.lines if line["type"] == "migration_end"]
    assert ended == ["done", "raised"]


def test_what_cannot_take_part_is_named_before_anything_runs(shop: Any) -> None:
    shop.write("migrations.py", ALONE)
    ran = shop("apply", "--atomic")
    assert ran.code == 2
    assert "the plan cannot be one transaction" in ran.err
    assert "alone_3 (migrations.py:15): transaction='none' runs outside of any transaction" in ran.err
    assert "ends_4 (migrations.py:22): it sends COMMIT" in ran.err
    assert "migrate apply --no-atomic --to alone_3" in ran.err
    assert "migrate apply --no-atomic --to ends_4" in ran.err
    assert "migrate apply --atomic" in ran.err
    assert set(_states(shop).values()) == {"pending"}
    assert not shop("log").out.strip()


def test_the_commands_lead_around_it(shop: Any) -> None:
    shop.write("migrations.py", ALONE)
    for command in shop("plan", "--atomic", "--json").json["atomic"]["commands"]:
        _, *words = command.split()
        assert shop(*words).code == 0, command
    assert set(_states(shop).values()) == {"applied"}


def test_what_an_obstacle_requires_comes_first_in_one_transaction(shop: Any) -> None:
    shop.write(
        "migrations.py",
        "from migrate_graph import migration\n"
        + "".join(
            f"@migration(requires={needs!r}, transaction={mode!r})\ndef {name}(db):\n    return True\n"
            for name, needs, mode in (
                ("a_1", [], "own"),
                ("b_2", ["a_1"], "own"),
                ("c_3", ["b_2"], "none"),
                ("d_4", ["c_3"], "own"),
                ("e_5", ["a_1"], "own"),
                ("f_6", ["d_4", "e_5"], "none"),
            )
        ),
    )
    commands = shop("plan", "--atomic", "--json").json["atomic"]["commands"]
    assert commands == [
        "migrate apply --atomic --to b_2",
        "migrate apply --no-atomic --to c_3",
        "migrate apply --atomic --select +d_4 --select +e_5",
        "migrate apply --no-atomic --to f_6",
    ]
    for command in commands:
        _, *words = command.split()
        assert shop(*words).code == 0, command
    assert set(_states(shop).values()) == {"applied"}


def test_plan_says_whether_it_is_possible(shop: Any) -> None:
    shop.write("migrations.py", GOOD)
    ran = shop("plan", "--atomic")
    assert ran.code == 0
    assert "one transaction: possible" in ran.out
    assert shop("plan", "--atomic", "--json").json["atomic"] == {
        "possible": True, "obstacles": [], "undecided": [], "adds_enum_values": [], "commands": [],
    }  # fmt: skip
    assert shop("plan", "--atomic", "--check").code == 4
    assert shop("plan", "--json").json["atomic"] is None
    shop.write("migrations.py", ALONE)
    ran = shop("apply", "--dry-run", "--atomic")
    assert ran.code == 2
    assert "one transaction: not possible, 2 of 5 migrations do not fit" in ran.out
    assert "migrate apply --no-atomic --to alone_3" in ran.out
    told = shop("plan", MIGRATE_ATOMIC="true")
    assert (told.code, told.out) == (2, ran.out)
    document = shop("plan", "--atomic", "--json").json
    assert document["exit_code"] == 2
    assert {"name": "ends_4", "why": "it sends COMMIT", "path": "migrations.py", "line": 22} in document["atomic"][
        "obstacles"
    ]


def test_nothing_to_do_is_nothing_to_refuse(shop: Any) -> None:
    shop.write("migrations.py", ALONE)
    assert shop("apply").code == 0
    assert shop("apply", "--atomic").code == 0
    assert shop("plan", "--atomic").code == 0


@pytest.mark.parametrize("option", ["--keep-going", "--fail-fast", "--fake"])
def test_options_that_would_do_nothing(option: str, shop: Any) -> None:
    shop.write("migrations.py", GOOD)
    ran = shop("apply", "--atomic", option)
    assert ran.code == 2
    assert "does nothing beside --atomic" in ran.err
    assert set(_states(shop).values()) == {"pending"}


@pytest.mark.parametrize("option", ["--keep-going", "--fail-fast"])
def test_options_that_would_do_nothing_beside_the_setting(option: str, shop: Any) -> None:
    shop.write("migrations.py", GOOD)
    ran = shop("apply", option, MIGRATE_ATOMIC="1")
    assert ran.code == 2
    assert f"{option} does nothing in one transaction" in ran.err
    assert "--no-atomic" in ran.err
    assert shop("apply", option, "--no-atomic", MIGRATE_ATOMIC="1").code == 0


def test_what_needs_a_decision_stops_all(shop: Any) -> None:
    shop.write("migrations.py", GOOD.replace("db.commit()\n", 'db.commit()\n    raise ValueError("oops")\n', 1))
    assert shop("apply", MIGRATE_ON_PARTIAL="stop").code == 1
    shop.write("migrations.py", GOOD + "\n@migration\ndef free_3(db):\n    return True\n")
    ran = shop("apply", "--atomic", MIGRATE_ON_PARTIAL="stop")
    assert ran.code == 5
    assert "nothing was run" in ran.err
    assert "migrate resolve first_1 --applied" in ran.err
    assert _states(shop)["free_3"] == "pending"
    told = shop("plan", "--atomic", MIGRATE_ON_PARTIAL="stop")
    assert told.code == 5
    assert "one transaction: not before a decision about first_1" in told.out


def test_the_setting_is_shown(shop: Any) -> None:
    shop.write("migrations.py", GOOD)
    shop.write("pyproject.toml", "[tool.migrate]\natomic = true\n")
    shown = next(line for line in shop("config").out.splitlines() if line.strip().startswith("atomic "))
    assert "pyproject.toml" in shown
