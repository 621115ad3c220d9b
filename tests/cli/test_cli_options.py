"""An option that does nothing beside another is exit 2: every pair of every command that looks is tried."""

from __future__ import annotations

import json
import subprocess
from itertools import combinations, pairwise, permutations
from pathlib import Path
from typing import Any

import pytest

from migrate_graph.cli.command import CheckedCommand, Condition
from migrate_graph.cli.program import every_command

HEAD = """
from migrate_graph import ViewMigrationManager, migration


class Totals(ViewMigrationManager):
    uses = ()
    until = "nothing_declares_this"

    def up(self):
        self.db.executesql("CREATE VIEW totals AS SELECT 1 AS one")

    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS totals")


"""


def declared(name: str, *requires: str, tags: str = "") -> str:
    words = f"requires={list(requires)!r}, tags={tags.split()!r}"
    body = "with Totals(db):\n        pass\n    " if name.startswith("widen") else ""
    if name.startswith("lonely"):  # has a value, a row and an act for a rehearsal to tell
        table = "CREATE TABLE IF NOT EXISTS lonely AS SELECT 'a value' AS v"
        act = "with __import__('contextlib').suppress(RuntimeError):\n        open('../act', 'w').close()"
        body = f'db.executesql("{table}")\n    {act}\n    '
    return f"@migration({words})\ndef {name}(db):\n    {body}return True\n\n\n"


OLD = [f"old_20250101_{number:03}" for number in range(1, 201)]
PROJECT = (
    HEAD
    + declared(OLD[0])
    + "".join(declared(name, before) for before, name in pairwise(OLD))
    + declared("invoice_20260301_001", OLD[-1], tags="money")
    + declared("widen_20260302_001", "invoice_20260301_001", OLD[-1])  # the second one is redundant
    + declared("lonely_20260303_001")
    + declared("without_sequence")
    + declared("settled_20250103_001")
    + "".join(f"class Totals{number}(Totals):\n    since = 'widen_20260302_001'\n\n\n" for number in range(5))
)
GONE = declared("gone_20250102_001")

# How each option is typed, so that it does something by itself or beside what it needs.
SAMPLES: dict[str, dict[str, tuple[str, ...]]] = {
    "migrate plan": {
        "--graph": ("--graph", "plan.dot"), "--format": ("--format", "dot"), "-o": ("-o", "out.txt"), "--to": ("--to", "widen_20260302_001"),
        "--select": ("--select", "tag:money lonely_20260303_001"), "--exclude": ("--exclude", "widen_20260302_001 lonely_20260303_001"),
        "--check": ("--check",), "--offline": ("--offline",), "--json": ("--json",), "--renderer": ("--renderer", "dot"),
        "--all": ("--all",), "--link-template": ("--link-template", "https://host/{file}#{line}"),
        "--timings": ("--timings", "../timings.json"), "--atomic": ("--atomic",), "--jobs": ("--jobs", "2"), "--coalesce": ("--coalesce",),
        "--rehearse": ("--rehearse",), "--sql": ("--sql",), "--on": ("--on", "scratch"), "--data": ("--data", "5"),
        "--no-values": ("--no-values",), "--allow-outside": ("--allow-outside",),
    },
    "migrate check": {
        "--history": ("--history",), "--format": ("--format", "github"), "-o": ("-o", "out.txt"), "--graph": ("--graph", "check.dot"),
        "--select": ("--select", "MG105,MG204,MG401"), "--ignore": ("--ignore", "MG204"), "--strict": ("--strict",),
        "--base": ("--base", "HEAD"), "--json": ("--json",), "--renderer": ("--renderer", "dot"), "--moving": ("--moving",),
        "--report": ("--report", "sarif=check.sarif"),
        "--rehearse": ("--rehearse",), "--on": ("--on", "scratch"), "--data": ("--data", "5"), "--no-values": ("--no-values",),
        "--allow-outside": ("--allow-outside",),
    },
    "migrate status": {"--views": ("--views",), "--drift": ("--drift",), "--all": ("--all",), "--offline": ("--offline",), "--json": ("--json",)},
    "migrate graph": {
        "-o": ("-o", "graph.dot"), "--format": ("--format", "mermaid"), "--focus": ("--focus", "widen_20260302_001"), "--hops": ("--hops", "1"),
        "--select": ("--select", "+invoice_20260301_001"), "--exclude": ("--exclude", "old_20250101_1*"), "--group": ("--group", "module"),
        "--all": ("--all",), "--history": ("--history",), "--renderer": ("--renderer", "dot"),
        "--link-template": ("--link-template", "https://host/{file}#{line}"), "--ascii": ("--ascii",),
    },
    "migrate why": {
        "--before": ("--before", OLD[3]), "--file": ("--file", "../other"), "--offline": ("--offline",), "--json": ("--json",),
    },
    "migrate show": {"--file": ("--file", "../other"), "--offline": ("--offline",), "--json": ("--json",)},
    "migrate log": {
        "--file": ("--file", "../other"), "--json": ("--json",), "--graph": ("--graph", "run.dot"), "--run": ("--run", "nope"),
        "--renderer": ("--renderer", "dot"),
    },
    "migrate explain": {"--json": ("--json",)},
    "migrate config": {"--json": ("--json",)},
}  # fmt: skip
ARGUMENTS = {"migrate why": ("widen_20260302_001",), "migrate show": (OLD[7],), "migrate explain": ("MG101",)}
WRITING = {
    "migrate apply", "migrate baseline", "migrate mark", "migrate resolve", "migrate restore", "migrate init", "migrate new",
    "migrate views adopt",
    "migrate views forget",
    "migrate verify",
    "migrate revert",
    "migrate drift",
}  # fmt: skip

# Beside the second option the first one changes nothing here, for a reason that is none of the command line.
INDIFFERENT = {
    ("migrate plan", "--rehearse", "--sql"): "a script is what was rehearsed; people type both",
    ("migrate check", "--no-values", "--rehearse"): "no finding in this project shows a statement that has a value",
    ("migrate log", "--file", ""): "the project is only asked whether a name is known that the journal does not know",
    ("migrate log", "--file", "--json"): "the same",
    ("migrate graph", "--link-template", "-o"): "a graph of this size is drawn as one box per file, which has no line",
}


def options_of(command: Any) -> set[str]:
    return {parameter.opts[0] for parameter in command.params if parameter.opts[0].startswith("-")} - {"--help", "-h"}


@pytest.fixture
def project(shell):
    """A project in git with 200 applied migrations, some pending ones, a warning, a remark and an orphan record."""
    shell.write("pyproject.toml", '[tool.migrate]\nmigration_ordering_mode = "intertwined"\n')
    shell.write("../other/migrations.py", HEAD + declared(OLD[7]) + declared("widen_20260302_001", OLD[7]))
    shell.env["MIGRATE_URI"] = f"sqlite://{shell.path / 'app.db'}"
    shell.write("migrations.py", HEAD + GONE + PROJECT.removeprefix(HEAD))
    assert shell("apply", "--select", "settled_*").code == 0
    assert shell("apply", "--fake", "--select", "old_* gone_*").code == 0
    took = [{"name": "invoice_20260301_001", "state": "applied", "duration": 5.0}]
    shell.write("../timings.json", json.dumps({"attempts": took}))
    for words in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "before"],
    ):
        subprocess.run(["git", *words], cwd=shell.path, check=True, capture_output=True)
    shell.write("migrations.py", PROJECT)
    return shell


def outcome(shell, *words: str) -> tuple[int, str, str, dict[str, bytes]]:
    """Return everything a command does: its exit code, both streams, and the files it writes, which are taken away."""
    before = set(shell.path.iterdir())
    ran = shell(*words, PATH="/usr/bin:/bin")
    files = {path.name: path.read_bytes() for path in sorted(set(shell.path.iterdir()) - before) if path.is_file()}
    for name in files:
        Path(shell.path, name).unlink()
    return ran.code, ran.out, ran.err, files


@pytest.mark.parametrize("path", SAMPLES)
def test_an_option_does_something_or_is_refused(project, path: str) -> None:
    command = dict(every_command())[path]
    samples = SAMPLES[path]
    assert options_of(command) == set(samples), "every option has a sample"
    base = (*path.split()[1:], *ARGUMENTS.get(path, ()))
    alone = {option: outcome(project, *base, *words) for option, words in samples.items()}
    nothing = outcome(project, *base)
    idle = [option for option in samples if alone[option] == nothing and (path, option, "") not in INDIFFERENT]
    assert not idle, "an option does something by itself"
    together = {
        frozenset(two): outcome(project, *base, *samples[two[0]], *samples[two[1]])
        for two in combinations(samples, 2)
        if any(alone[option][0] != 2 for option in two)
    }
    idle = [
        f"{option} beside {other}"
        for option, other in permutations(samples, 2)
        if alone[other][0] != 2
        and together[frozenset((option, other))] == alone[other]
        and (path, option, other) not in INDIFFERENT
    ]
    assert not idle


def test_every_command_is_tried_or_writes() -> None:
    assert {path for path, _ in every_command()} == set(SAMPLES) | WRITING


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("apply --dry-run --fake", "--dry-run does nothing beside --fake"),
        ("apply --dry-run --keep-going", "--dry-run does nothing beside --keep-going"),
        ("apply --dry-run --lock-timeout 3", "--dry-run does nothing beside --lock-timeout"),
        ("apply --fake --fail-fast", "--fake does nothing beside --fail-fast"),
        ("apply --keep-going --fail-fast", "--keep-going does nothing beside --fail-fast"),
        ("apply --json --output plain", "--output does nothing beside --json"),
        ("apply --atomic --keep-going", "--keep-going does nothing beside --atomic"),
        ("apply --atomic --fake", "--fake does nothing beside --atomic"),
        ("plan --atomic --format dot", "--atomic does nothing beside a picture in the place of the text"),
        ("mark a --installed --pending", "--installed does nothing beside --pending"),
        ("resolve a --applied --retry", "--applied does nothing beside --retry"),
        ("graph --hops 1", "--hops does nothing without --focus"),
        ("graph --group module --all", "--group module does nothing beside --all"),
        ("graph --renderer embedded -o g.dot", "--renderer does nothing without a picture that is laid out"),
        ("plan --link-template https://x/{file}", "--link-template does nothing without a picture with links"),
    ],
)
def test_what_is_refused_is_told_with_what_to_do(shop, words: str, message: str) -> None:
    ran = shop(*words.split())
    assert ran.code == 2
    assert not ran.out or "--json" in words
    assert f"error: {message}" in ran.err
    assert "hint: " in ran.err
    assert not (shop.path / "shop.db").exists()


def test_the_tables_name_options_that_exist() -> None:
    for path, command in every_command():
        assert isinstance(command, CheckedCommand)
        known = {option for parameter in command.params for option in parameter.opts}
        for rule in command.together:
            told = [rule.option, *(each for each in (*rule.needs, *rule.excludes) if not isinstance(each, Condition))]
            assert {each.partition("=")[0] for each in told} <= known, path


@pytest.mark.parametrize(
    ("schema", "uri", "name", "found"),
    [
        ("shop, public", None, "shop.ewh_implemented_features_views", True),
        ("shop, public", None, "public.ewh_implemented_features_views", False),
        (None, "sqlite://x.db", "main.ewh_implemented_features", True),
        (None, None, "shop.ewh_implemented_features", False),
        (None, None, "public.ewh_implemented_features", True),
    ],
)
def test_a_view_called_like_a_table_of_this_tool_with_its_schema(
    shell, schema: str | None, uri: str | None, name: str, found: bool
) -> None:
    (shell.path / "pyproject.toml").write_text(f'[tool.migrate]\nschema = "{schema}"\n' if schema else "")
    (shell.path / "migrations.py").write_text(
        "from migrate_graph import SqlView, migration\n\n@migration\ndef one_1(db):\n    return True\n\n"
        f'class V(SqlView):\n    since = "one_1"\n    name = "{name}"\n    query = "SELECT 1 AS x"\n'
    )
    ran = shell("check", **({"MIGRATE_URI": uri} if uri else {}))
    assert ("MG217" in ran.out) is found, ran.out
