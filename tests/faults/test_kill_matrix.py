"""SIGKILL at every boundary there is, in every kind of migration: the state is the promised one, and so is what the next run does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fault_field import Ended, Field, Templates
from side_by_side import JOBS, ONE_TRANSACTION

from migrate_graph.executor import Checkpoint

BASE = """
from child import executed, here
from migrate_graph import ViewMigrationManager, migration


@migration
def base_1(db):
    db.executesql("CREATE TABLE base (id integer PRIMARY KEY, name varchar(20))")
    return True


class V(ViewMigrationManager):
    uses = ()
    since = base_1

    def up(self):
        self.db.executesql("CREATE VIEW v AS SELECT name FROM base")

    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS v")


class W(ViewMigrationManager):
    uses = (V,)
    since = base_1

    def up(self):
        self.db.executesql("CREATE VIEW w AS SELECT name FROM v")

    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS w")


@migration(requires=base_1)
def base_2(db):
    with V(db):
        return True
"""

LAST = """

@migration(requires=special_3)
def last_4(db):
    db.executesql("CREATE TABLE last (id integer)")
    return True
"""


@dataclass(frozen=True)
class Scenario:
    """A migration to die in.

    Attributes:
        body: after `def special_3(db):`. It says `own n` when n own commits are durable.
        decorator: what is given to `@migration` besides `requires`.
        kept: by own commits, the tables that are durable at least.
        all: the tables it makes when it is through.
        fails: it never succeeds.
        always_asks: its marker is durable before the body, so that every crash in it asks a human.
        views: it opens views.
        closely: kills come within `up()` and `down()`, too.
        windows: views come up and go down by their windows: these classes are declared as well.
    """

    body: str
    decorator: str = ""
    kept: tuple[tuple[str, ...], ...] = ((),)
    all: tuple[str, ...] = ("x1", "x2", "x3")
    fails: bool = False
    always_asks: bool = False
    views: bool = False
    closely: bool = False
    windows: str = ""

    @property
    def text(self) -> str:
        lines = "".join(f"    {line}\n" for line in self.body.strip().split("\n"))
        base = BASE + self.windows
        if self.closely:
            base = base.replace("        self.db", "        here('in a manager')\n        self.db")
        return f"{base}\n\n@migration(requires=base_2{self.decorator})\ndef special_3(db):\n    executed('special_3')\n{lines}{LAST}"

    def write(self, field: Field) -> None:
        """Write the project."""
        field.write(self.text)
        if self.windows:
            field.write('[tool.migrate]\nweave = "windows"\n', "pyproject.toml")


def _make(name: str) -> str:
    return f'db.executesql("CREATE TABLE {name} (id integer)")'


_SUCCESSOR = """

class V2(ViewMigrationManager):
    uses = ()
    since = "special_3"
    replaces = V

    def up(self):
        self.db.executesql("CREATE VIEW v AS SELECT name, id FROM base")

    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS v")
"""

# SQLite changes no types, and refuses nothing because of a view.
_WIDER = "if db._dbname == 'postgres':\n    db.executesql('ALTER TABLE base ALTER COLUMN name TYPE varchar(30)')"

SCENARIOS = {
    "transactional": Scenario(f"{_make('x1')}\nhere('half')\n{_make('x2')}\n{_make('x3')}\nreturn True"),
    "own commits": Scenario(
        f"{_make('x1')}\ndb.commit()\nhere('own 1')\n{_make('x2')}\nhere('half')\ndb.commit()\nhere('own 2')\n{_make('x3')}\nreturn True",
        kept=((), ("x1",), ("x1", "x2")),
    ),
    "raw commit": Scenario(
        f"{_make('x1')}\ndb.executesql('COMMIT')\nhere('own 1')\n{_make('x2')}\nhere('half')\n{_make('x3')}\nreturn True",
        kept=((), ("x1",)),
    ),
    "driver commit": Scenario(
        f"{_make('x1')}\ndb._adapter.connection.commit()\nhere('own 1')\n{_make('x2')}\nhere('half')\n{_make('x3')}\nreturn True",
        kept=((), ("x1",)),
    ),
    "cursor of the driver": Scenario(
        "cursor = db._adapter.connection.cursor()\ncursor.execute('CREATE TABLE x1 (id integer)')\ncursor.execute('COMMIT')\n"
        f"here('own 1')\n{_make('x2')}\nhere('half')\n{_make('x3')}\nreturn True",
        kept=((), ("x1",)),
    ),
    "views": Scenario(f"with V(db):\n    {_make('x1')}\n{_make('x2')}\n{_make('x3')}\nreturn True", views=True),
    "views with a commit inside": Scenario(
        f"with V(db):\n    {_make('x1')}\n    db.commit()\n    here('own 1')\n    {_make('x2')}\n    here('half')\n{_make('x3')}\nreturn True",
        kept=((), ("x1",)), views=True,
    ),
    "views that step aside": Scenario(
        f"{_make('x1')}\n{_WIDER}\nhere('half')\n{_make('x2')}\n{_make('x3')}\nreturn True", views=True, closely=True
    ),
    "views that step aside, with a commit": Scenario(
        f"{_WIDER}\n{_make('x1')}\ndb.commit()\nhere('own 1')\n{_make('x2')}\nhere('half')\n{_make('x3')}\nreturn True",
        kept=((), ("x1",)), views=True, closely=True,
    ),
    "a window, after a commit": Scenario(
        f"{_make('x1')}\ndb.commit()\nhere('own 1')\n{_make('x2')}\n{_make('x3')}\nreturn True",
        kept=((), ("x1",)), views=True, closely=True, windows=_SUCCESSOR,
    ),
    "none": Scenario(
        f"{_make('x1')}\nhere('half')\nif db._dbname == 'postgres':\n    db.executesql('CREATE INDEX CONCURRENTLY i ON x1 (id)')\n"
        f"{_make('x2')}\n{_make('x3')}\nreturn True",
        decorator=", transaction='none'", kept=((), ()), always_asks=True,
    ),
    "single": Scenario(
        f"{_make('x1')}\ndb.commit()\nhere('half')\n{_make('x2')}\ndb.commit()\n{_make('x3')}\nreturn True",
        decorator=", transaction='single'",
    ),
    "raises": Scenario(f"{_make('x1')}\nhere('half')\nif db:\n    raise ValueError('oops')\nreturn True", fails=True),
    "refuses after a commit": Scenario(
        f"{_make('x1')}\ndb.commit()\nhere('own 1')\n{_make('x2')}\nreturn False", kept=((), ("x1",)), fails=True
    ),
}  # fmt: skip

WOVEN = {"views that step aside", "views that step aside, with a commit"}
NOT_WOVEN = pytest.mark.skipif(
    JOBS > 1, reason="with --jobs no view steps aside: others may be at work on it (docs/weaving.md)"
)
NAMES = [pytest.param(name, marks=NOT_WOVEN) if name in WOVEN else name for name in SCENARIOS]

KINDS = [pytest.param("postgres", marks=pytest.mark.postgres), "sqlite"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_a_kill_at_every_boundary_leaves_what_is_promised(
    name: str, kind: str, templates: Templates, tmp_path: Path
) -> None:
    for field, passed, ended in _killed(SCENARIOS[name], kind, templates, tmp_path):
        assert ended.code == -9, f"{passed[-1]} was not reached: {ended.output}"
        _Dead(field, SCENARIOS[name], passed).judge()


def _killed(
    scenario: Scenario, kind: str, templates: Templates, path: Path, *words: str, kills: str = "all"
) -> Iterator[tuple[Field, list[str], Ended]]:
    """Yield, for each boundary that a run passes, one that was killed there, with the places that it had passed."""
    whole = templates.copy(kind, SCENARIOS["views"].text, path / "whole", "--to", "base_2")
    scenario.write(whole)
    arrivals = whole.arrivals("--to", "special_3", *words)
    templates.drop(whole)
    assert len(arrivals) >= 6
    for index, fatal in enumerate(arrivals):
        field = templates.copy(kind, SCENARIOS["views"].text, path / f"kill-{index}", "--to", "base_2")
        scenario.write(field)
        ended = field.apply("--to", "special_3", *words, fatal=fatal, kills=kills)
        yield field, [place for place, _ in arrivals[: index + 1]], ended
        templates.drop(field)


BRIEFLY = "views with a commit inside"
WITH_JOBS = ("--jobs", "4")


@pytest.mark.postgres
@pytest.mark.skipif(JOBS > 1, reason="the test above runs all scenarios with --jobs then")
def test_a_kill_at_every_boundary_of_a_run_with_jobs(templates: Templates, tmp_path: Path) -> None:
    for field, passed, ended in _killed(SCENARIOS[BRIEFLY], "postgres", templates, tmp_path, *WITH_JOBS):
        assert ended.code == -9, f"{passed[-1]} was not reached: {ended.output}"
        _Dead(field, SCENARIOS[BRIEFLY], passed).judge()


@pytest.mark.postgres
@pytest.mark.parametrize("name", NAMES if JOBS > 1 else [BRIEFLY])
def test_a_kill_of_a_worker_at_every_boundary_is_settled_by_the_run(
    name: str, templates: Templates, tmp_path: Path
) -> None:
    """`make faults` tries all scenarios."""
    scenario = SCENARIOS[name]
    for field, passed, ended in _killed(scenario, "postgres", templates, tmp_path, *WITH_JOBS, kills="one"):
        _Dead(field, scenario, passed).judge_by(ended)


OF_THE_RUN = {Checkpoint.RUN_STARTED, Checkpoint.RUN_FINISHED}
"""What no worker passes."""


class _Dead:
    """A run that was killed after it had passed some places."""

    def __init__(self, field: Field, scenario: Scenario, passed: list[str]) -> None:
        self.field = field
        self.scenario = scenario
        self.passed = passed
        own = [place for place in passed if place.startswith("own ")]
        self.commits = len(own)
        if scenario.always_asks and Checkpoint.ATTEMPT_STARTED in passed:
            self.commits = 1

    def judge_by(self, ended: Ended) -> None:
        """Only a worker died, and the run has told what became of its migration."""
        if self.passed[-1] in OF_THE_RUN:
            assert ended.code == int(self.scenario.fails), ended.output
            return
        code = 0 if Checkpoint.COMMITTED in self.passed else 1
        if self.commits and Checkpoint.FAILURE_RECORDED not in self.passed:
            code = code and 5
        assert ended.code == code, f"{self.passed} {ended.output}"
        state = self.field.probe()
        if code == 0:
            self.applied()
        elif code == 5:
            assert "was ended by SIGKILL" in ended.output
            self.interrupted()
        else:
            assert state.last("special_3") == ("failed", self.commits), f"{self.passed} {state}"
            assert state.tables == {"base", *self.scenario.kept[self.commits]}
            assert (state.views, state.views_down) == ({"v", "w"}, set())
            assert self.field.executions("last_4") == 0

    def judge(self) -> None:
        state = self.field.probe()
        for view, manager in (("v", "V"), ("w", "W")):
            assert (view in state.views) != (manager in state.views_down), f"I4: {self.passed} {state}"
        if Checkpoint.COMMITTED in self.passed:
            self.applied()
        elif Checkpoint.FAILURE_RECORDED in self.passed:
            self.failed()
        elif self.commits:
            self.interrupted()
        else:
            self.nothing()

    def applied(self) -> None:
        state = self.field.read()
        assert state.ledger["special_3"] == "T"
        assert state.last("special_3") == ("applied", self.commits), self.passed
        assert set(self.scenario.all) <= state.tables
        self.through()
        assert self.field.executions("special_3") == 1

    def failed(self) -> None:
        state = self.field.read()
        assert state.ledger["special_3"] == "F"
        assert state.last("special_3") == ("failed", self.commits)
        assert state.tables == {"base", *self.scenario.kept[self.commits]}

    def nothing(self) -> None:
        state = self.field.read()
        assert state.last("special_3") is None, f"{self.passed} {state}"
        assert "special_3" not in state.ledger
        assert state.tables == {"base"}, self.passed
        assert state.views == {"v", "w"}
        if self.scenario.fails:
            assert self.field.apply().code == 1
        else:
            self.through()

    def through(self) -> None:
        """The next run needs nobody."""
        ended = self.field.apply()
        assert ended.code == 0, ended.output
        state = self.field.probe()
        assert state.tables == {"base", "last", *self.scenario.all}
        assert state.views == {"v", "w"}
        assert not state.views_down
        if self.scenario.windows:
            assert self.field.query("SELECT id FROM v") == []

    def interrupted(self) -> None:
        state = self.field.read()
        assert state.last("special_3") == ("running", self.commits), f"{self.passed} {state}"
        assert state.ledger.get("special_3") is None
        assert {"base", *self.scenario.kept[self.commits]} <= state.tables
        ended = self.field.apply()
        assert ended.code == 5, ended.output
        for word in (
            "special_3",
            "commit",
            "pid",
            "migrate resolve special_3 --applied",
            "migrate resolve special_3 --retry",
        ):
            assert word in ended.output
        after = self.field.probe()
        assert after.tables == state.tables, "an interrupted migration was run again"
        assert after.views == {"v", "w"}, "views are repaired by the next run"
        assert not after.views_down
        executed = self.field.executions("special_3")
        assert self.field.migrate("resolve", "special_3", "--applied").code == 0
        assert self.field.apply().code == 0
        assert self.field.executions("special_3") == executed
        final = self.field.probe()
        assert final.ledger == {"base_1": "T", "base_2": "T", "special_3": "T", "last_4": "T"}
        if self.scenario.windows:
            assert self.field.query("SELECT id FROM v") == [], "the successor comes up with the step after"


WHOLE_RUNS = {
    "all of it": Scenario(
        f"with V(db):\n    {_make('x1')}\n    db.commit()\n    here('half')\n{_make('x2')}\ndb.commit()\n{_make('x3')}\nreturn True",
        views=True,
    ),
    "it fails in the end": Scenario(f"with V(db):\n    {_make('x1')}\nreturn True", views=True, fails=True),
    "views step aside": Scenario(
        f"{_WIDER}\n{_make('x1')}\ndb.commit()\nhere('half')\n{_make('x2')}\n{_make('x3')}\nreturn True", views=True
    ),
}
ENDS = {
    "all of it": """

@migration(requires=special_3)
def last_4(db):
    with V(db):
        db.executesql("CREATE TABLE last (id integer)")
    here("last")
    return True
""",
    "views step aside": """

@migration(requires=special_3)
def last_4(db):
    db.executesql("CREATE TABLE last (id integer)")
    with V(db):
        here("last")
    if db._dbname == "postgres":
        db.executesql("ALTER TABLE base ALTER COLUMN name TYPE text")
    return True
""",
    "it fails in the end": """

@migration(requires=special_3)
def last_4(db):
    with V(db):
        db.executesql("CREATE TABLE last (id integer)")
    if db:
        raise ValueError("oops")
    return True
""",
}


@ONE_TRANSACTION
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", WHOLE_RUNS)
def test_a_kill_at_every_boundary_of_one_transaction_leaves_nothing_or_all(
    name: str, kind: str, templates: Templates, tmp_path: Path
) -> None:
    scenario = WHOLE_RUNS[name]
    text = scenario.text.removesuffix(LAST) + ENDS[name]
    whole = templates.copy(kind, SCENARIOS["views"].text, tmp_path / "whole", "--to", "base_2")
    whole.write(text)
    arrivals = whole.arrivals("--atomic")
    templates.drop(whole)
    assert len(arrivals) >= 12
    for index, fatal in enumerate(arrivals):
        field = templates.copy(kind, SCENARIOS["views"].text, tmp_path / f"kill-{index}", "--to", "base_2")
        field.write(text)
        ended = field.apply("--atomic", fatal=fatal)
        assert ended.code == -9, f"{fatal} was not reached: {ended.output}"
        passed = [place for place, _ in arrivals[: index + 1]]
        state = field.probe()
        assert state.views == {"v", "w"}, passed
        assert not state.views_down, passed
        if Checkpoint.COMMITTED in passed:
            assert state.tables == {"base", "last", *scenario.all}, passed
            assert [state.last(each) for each in ("special_3", "last_4")] == [("applied", 0)] * 2
            assert state.ledger == {"base_1": "T", "base_2": "T", "special_3": "T", "last_4": "T"}
        else:
            assert state.tables == {"base"}, passed
            assert state.last("special_3") is None, passed
            failed = Checkpoint.FAILURE_RECORDED in passed
            assert state.last("last_4") == (("failed", 0) if failed else None), passed
            assert state.ledger.items() - {("last_4", "F")} == {"base_1": "T", "base_2": "T"}.items(), passed
        again = field.apply("--atomic")
        assert again.code == int(scenario.fails), again.output
        after = field.probe()
        assert after.views == {"v", "w"}
        assert after.tables == ({"base"} if scenario.fails else {"base", "last", *scenario.all})
        templates.drop(field)


def test_the_matrix_has_every_checkpoint(templates: Templates, tmp_path: Path) -> None:
    """A new step of the executor without a kill in it fails here."""
    seen: set[str] = set()
    for name in ("views", "raises"):
        field = templates.copy("sqlite", SCENARIOS["views"].text, tmp_path / name, "--to", "base_2")
        field.write(SCENARIOS[name].text)
        seen |= {place for place, _ in field.arrivals("--to", "special_3")}
    # PostgreSQL's alone: see test_deferred_killed.py and test_swap_killed.py.
    others = {Checkpoint.VIEW_FILLED, Checkpoint.VIEW_REFRESHED, Checkpoint.VIEW_BUILT}
    assert seen - {"half"} == {str(checkpoint) for checkpoint in Checkpoint} - others


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_migration_can_be_tried_again(kind: str, templates: Templates, tmp_path: Path) -> None:
    field = templates.copy(kind, SCENARIOS["views"].text, tmp_path / "project", "--to", "base_2")
    field.write(SCENARIOS["own commits"].text.replace("CREATE TABLE x", "CREATE TABLE IF NOT EXISTS x"))
    assert field.apply(fatal=("own 1", 1)).code == -9
    field.wait_until_quiet()
    assert field.migrate("resolve", "special_3", "--retry").code == 0
    again = field.migrate("resolve", "special_3", "--retry")
    assert again.code == 2, "there is nothing to decide any more"
    assert field.apply().code == 0
    assert field.executions("special_3") == 2
