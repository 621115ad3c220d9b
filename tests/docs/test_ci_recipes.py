"""What the CI page, the action and the pre-commit hook tell people to run, run."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
GOOD = "from migrate_graph import migration\n\n@migration\ndef a_1(db):\n    return True\n\n@migration(requires=[a_1])\ndef b_2(db):\n    return True\n"
BAD = GOOD.replace("requires=[a_1]", 'requires=["a_11"]')


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with a valid project in a directory below its top."""
    (tmp_path / "bin").mkdir()
    # `migrate` as a console script puts it on PATH, also where the package is not installed.
    script = tmp_path / "bin" / "migrate"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m migrate_graph "$@"\n')
    script.chmod(0o755)
    directory = tmp_path / "repo" / "services" / "shop"
    directory.mkdir(parents=True)
    (directory / "migrations.py").write_text(GOOD)
    run(
        tmp_path,
        "git init -q -b main && git add . && git -c user.name=x -c user.email=x@y commit -q -m first",
        cwd=tmp_path / "repo",
    )
    return directory


def run(tmp_path: Path, script: str, *, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"  # noqa: TID251 - tests are an edge too
    environ = {"PATH": path, "HOME": str(tmp_path), "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT), **env}
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script],
        cwd=cwd, env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip


def act(tmp_path: Path, directory: Path, **inputs: str) -> tuple[subprocess.CompletedProcess[str], str, str]:
    """Run the action's script as the runner would; give what it printed, its summary and its outputs."""
    given = {name: str(one.get("default", "")) for name, one in ACTION["inputs"].items()} | {
        name.replace("_", "-"): value for name, value in inputs.items()
    }
    step = next(step for step in ACTION["runs"]["steps"] if step.get("id") == "check")
    env = {
        name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda found: given[found[1]], value)
        for name, value in step["env"].items()
    }
    summary, output = tmp_path / "summary.md", tmp_path / "output"
    done = run(tmp_path, step["run"], cwd=directory, GITHUB_STEP_SUMMARY=str(summary), GITHUB_OUTPUT=str(output), **env)
    return done, summary.read_text() if summary.exists() else "", output.read_text()


needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@needs_git
def test_the_action_on_a_valid_graph(tmp_path: Path, project: Path) -> None:
    done, summary, output = act(tmp_path, project, base="main", strict="true")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert output == "exit-code=0\n"
    assert (project / "migrate-check.md").read_text() == summary
    assert (project / "migrate-check.svg").read_text().startswith("<svg")
    assert "nothing wrong in 2 migrations" in summary
    assert json.loads((project / "migrate-check.sarif").read_text())["version"] == "2.1.0"


@needs_git
def test_the_action_on_an_invalid_graph(tmp_path: Path, project: Path) -> None:
    (project / "migrations.py").write_text(BAD)
    done, summary, output = act(tmp_path, project, path="migrations.py")
    assert done.returncode == 3
    assert done.stdout.startswith("::error file=services/shop/migrations.py,line=")
    assert output == "exit-code=3\n"
    assert "MG102" in summary
    assert "```mermaid" in summary
    results = json.loads((project / "migrate-check.sarif").read_text())["runs"][0]["results"]
    assert [result["ruleId"] for result in results] == ["MG102"]


@needs_git
def test_the_action_says_why_it_could_not_judge(tmp_path: Path, project: Path) -> None:
    (project / "migrations.py").write_text("import nothing_of_this_name\n")
    done, summary, output = act(tmp_path, project)
    assert (done.returncode, summary, output) == (2, "", "exit-code=2\n")
    sarif = json.loads((project / "migrate-check.sarif").read_text())
    jsonschema.validate(sarif, json.loads((ROOT / "tests" / "schemas" / "sarif-2.1.0.json").read_text()))
    (invocation,) = sarif["runs"][0]["invocations"]
    assert invocation["exitCode"] == 2
    assert "nothing_of_this_name" in invocation["toolExecutionNotifications"][0]["message"]["text"]


@needs_git
@pytest.mark.parametrize("place", ["scratch", "clone"])
def test_the_action_rehearses_and_shows_it_in_the_summary(tmp_path: Path, project: Path, place: str) -> None:
    (project / ".env").write_text("MIGRATE_URI=sqlite://app.db\n")
    done, summary, output = act(tmp_path, project, rehearse=place)
    assert (done.returncode, output) == (0, "exit-code=0\n"), done.stderr
    assert "2 of 2 migrations succeeded; nothing was kept" in summary
    (project / "migrations.py").write_text(
        GOOD.replace("def b_2(db):\n", "def b_2(db):\n    db.executesql('SELECT wrong')\n")
    )
    done, summary, output = act(tmp_path, project, rehearse=place, path="migrations.py")
    assert done.returncode == 1
    assert output.endswith("exit-code=1\n")
    assert "MG612" in done.stdout
    assert "SELECT wrong" in summary
    assert not (project / "app.db").exists()


@needs_git
@pytest.mark.parametrize("hostile", ["$(touch pwned)", "; touch pwned", "--format=json", "x`touch pwned`"])
def test_the_action_takes_no_command_from_its_inputs(tmp_path: Path, project: Path, hostile: str) -> None:
    done, _, output = act(tmp_path, project, path=hostile, base=hostile, rehearse=hostile)
    assert done.returncode == 2
    assert output == "exit-code=2\n"
    assert not (project / "pwned").exists()
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step.get("run", ""), "an input pasted into a script can run commands"


@needs_git
def test_the_shell_commands_of_the_page(tmp_path: Path, project: Path) -> None:
    blocks = re.findall(r"^```(?:sh|console)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    commands = [
        line.removeprefix("$ ").split("#")[0].strip()
        for block in blocks
        for line in block.splitlines()
        if re.match(r"(\$ )?migrate ", line)
    ]
    assert len(commands) >= 6
    uri = f"sqlite://{tmp_path / 'shop.db'}"
    assert run(tmp_path, "migrate apply", cwd=project, MIGRATE_URI=uri).returncode == 0
    for command in commands:
        done = run(tmp_path, command.replace("origin/main", "main"), cwd=project, MIGRATE_URI=uri)
        assert done.returncode == 0, (command, done.stderr)


def workflow(title: str) -> Any:
    section = PAGE.split(f"## {title}\n", 1)[1]
    found = re.search(r"^```yaml\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert found
    return yaml.safe_load(textwrap.dedent(found[1]))


@needs_git
def test_the_gitlab_recipe(tmp_path: Path, project: Path) -> None:
    job = workflow("GitLab")["migrations"]
    for text, code in ((GOOD, 0), (BAD, 3)):
        (project / "migrations.py").write_text(text)
        done = run(tmp_path, "\n".join(job["script"][1:]), cwd=project)
        assert done.returncode == code, done.stderr
        for report in job["artifacts"]["reports"].values():
            assert (project / report).stat().st_size
    entry = json.loads((project / "code-quality.json").read_text())[0]
    assert entry["location"]["path"] == "services/shop/migrations.py"


def test_the_github_recipe_gives_only_inputs_that_exist() -> None:
    (ours,) = [step for step in workflow("GitHub")["jobs"]["migrations"]["steps"] if "migrate_graph" in step["uses"]]
    assert set(ours["with"]) <= set(ACTION["inputs"])


def test_no_token_that_may_write_is_where_the_code_of_a_pull_request_runs() -> None:
    whole = workflow("GitHub")
    assert whole[True] == "pull_request"  # `on:` is a boolean for YAML 1.1
    assert whole["permissions"] == {}
    checking, uploading = whole["jobs"]["migrations"], whole["jobs"]["code-scanning"]
    assert checking["permissions"] == {"contents": "read"}
    checkout = next(step for step in checking["steps"] if step["uses"].startswith("actions/checkout"))
    assert checkout["with"]["persist-credentials"] is False
    assert uploading["needs"] == "migrations"
    assert not any("checkout" in step["uses"] or "run" in step for step in uploading["steps"])
    assert "pull_request_target" not in (ROOT / "docs" / "ci.md").read_text().split("```yaml")[1]


def test_what_others_made_is_named_by_commit() -> None:
    steps = [step for job in workflow("GitHub")["jobs"].values() for step in job["steps"]]
    assert not any("${{" in step.get("run", "") for step in steps), "an input pasted into a script can run commands"
    for step in (step for step in steps if "uses" in step):
        name, _, version = step["uses"].partition("@")
        assert name.startswith("OWNER/") or re.fullmatch("[0-9a-f]{40}", version), step
    assert not any("uses" in step for step in ACTION["runs"]["steps"]), "the action brings nobody else's code"


@pytest.mark.parametrize("hostile", ["*", "$(touch pwned)", "x; touch pwned", "`touch pwned`"])
def test_what_is_to_be_installed_is_words_and_no_pattern(tmp_path: Path, project: Path, hostile: str) -> None:
    step = next(step for step in ACTION["runs"]["steps"] if step["name"] == "Install")
    (tmp_path / "bin" / "python").write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    (tmp_path / "bin" / "python").chmod(0o755)
    done = run(tmp_path, step["run"], cwd=project, WHAT=f"migrate-graph -r requirements.txt {hostile}")
    expected = ["-m", "pip", "install", "--quiet", "migrate-graph", "-r", "requirements.txt", *hostile.split()]
    assert done.stdout.splitlines() == expected
    assert not (project / "pwned").exists()


def test_the_page_names_the_commands_that_run_nothing_of_the_project() -> None:
    text = PAGE.split("## Whose code runs\n", 1)[1]
    named = set(re.findall(r"`(\w+)`", text.partition("All commands do this except ")[2].partition(".")[0]))
    folder = ROOT / "migrate_graph" / "cli" / "commands"
    files = [file for file in folder.rglob("*.py") if file.name != "__init__.py"]
    assert named == {file.stem for file in files if ".project(" not in file.read_text()}


@needs_git
def test_the_pre_commit_hook(tmp_path: Path, project: Path) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert workflow("Before the commit")["repos"][0]["hooks"][0]["id"] == hook["id"] == "migrate-check"
    assert not hook["pass_filenames"]
    assert run(tmp_path, hook["entry"], cwd=project).returncode == 0
    (project / "migrations.py").write_text(BAD)
    assert run(tmp_path, hook["entry"], cwd=project).returncode == 3


def test_the_json_example_follows_the_schema() -> None:
    found = re.search(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    jsonschema.validate(
        json.loads(found[1]),
        json.loads((ROOT / "migrate_graph" / "reports" / "schemas" / "findings-1.json").read_text()),
    )
