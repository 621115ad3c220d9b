"""What is typed wrong, or typed in the ancestor's way."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import migrate_graph
from migrate_graph import __version__
from migrate_graph.cli.argv import arranged
from migrate_graph.cli.program import program
from migrate_graph.errors import UsageError

COMMANDS = tuple(program().names())


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ([], ["apply"]),
        (["x.py"], ["apply", "x.py"]),
        (["some/dir"], ["apply", "some/dir"]),
        (["-l"], ["status"]),
        (["x.py", "--list"], ["status", "x.py"]),
        (["plan", "--debug", "--check"], ["--debug", "plan", "--check"]),
        (["plan", "-C", "there", "--color=never"], ["-C", "there", "--color=never", "plan"]),
        (["--keep-going"], ["apply", "--keep-going"]),
        (["log", "--", "--debug"], ["log", "--", "--debug"]),
        (["-h"], ["-h"]),
    ],
)
def test_what_is_typed_is_brought_into_one_form(typed: list[str], meant: list[str]) -> None:
    assert arranged(typed, COMMANDS) == meant


def test_an_existing_file_needs_no_suffix_to_be_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no command 'steps'"):
        arranged(["steps"], COMMANDS)
    (tmp_path / "steps").mkdir()
    assert arranged(["steps"], COMMANDS) == ["apply", "steps"]


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (["aply"], "there is no command 'aply'", "did you mean 'migrate apply'?"),
        (["qqqqqq"], "there is no command 'qqqqqq'", "migrate --help lists the commands"),
        (["plan", "--chek"], "no such option: --chek", "--check"),
        (["--dry-rum"], "no such option: --dry-rum", "--dry-run"),
        (["views", "adpot"], "no such command 'adpot'", "did you mean 'adopt'?"),
        (["check", "--format", "sarrif"], "no format is called 'sarrif'", "did you mean sarif?"),
        (["why"], "missing argument 'NAME'", "migrate why --help"),
        (["apply", "--keep-going", "--fail-fast"], "--keep-going does nothing beside --fail-fast", "leave out"),
        (["-C", "/nowhere/at/all", "plan"], "cannot work in /nowhere/at/all", "-C takes a directory"),
        (["mark", "a"], "say what the record will be", "migrate mark a --installed, or --pending"),
        (
            ["resolve", "a"],
            "say how it is resolved",
            "migrate resolve a --applied, or --retry; of a revert, --applied or --reverted",
        ),
        (["explain", "MG1001"], "there is no rule 'MG1001'", "did you mean MG101"),
        (["explain", "dependancy-cycle"], "there is no rule", "dependency-cycle"),
        (["plan", "--format", "jsn"], "no format is called 'jsn'", "did you mean json?"),
        (["plan", "--graph", "out.xyz"], "no picture format is called '.xyz'", ".svg"),
        (["graph", "-o", "nowhere/out.svg"], "there is no directory nowhere", "mkdir -p nowhere"),
        (["check", "--graph", "."], "", ""),
    ],
)
def test_d18_a_mistake_is_exit_2_with_something_to_type(shop, words: list[str], error: str, hint: str) -> None:
    ran = shop(*words)
    assert ran.code == 2
    assert error in ran.err
    assert f"hint: {hint}" in ran.err if hint.startswith(("did", "mkdir", "migrate")) else hint in ran.err
    assert not ran.out
    assert "Traceback" not in ran.err
    assert not (shop.path / "shop.db").exists(), "nothing was touched"


def test_d18_a_missing_file_never_falls_through_to_another(shop) -> None:
    ran = shop("nosuch.py")
    assert ran.code == 2
    assert "nosuch.py" in ran.err
    assert not (shop.path / "shop.db").exists()


def test_d18_dry_run_is_an_option_and_not_a_file(shop) -> None:
    ran = shop("--dry-run")
    assert ran.code == 0
    assert "3 to run" in ran.out
    assert not (shop.path / "shop.db").exists()


@pytest.mark.parametrize("command", [(), *[(name,) for name in COMMANDS], ("views", "adopt")])
def test_every_command_has_help_with_an_example(shell, command: tuple[str, ...]) -> None:
    ran = shell(*command, "--help")
    assert ran.code == 0
    assert ran.out.startswith("Usage: migrate")
    if command != ("views",):
        assert f"Examples:\n    migrate {' '.join(command)}".rstrip() in ran.out
    assert "…" not in ran.out.replace("NAME…", ""), "a short help that is cut says nothing"


def test_help_needs_neither_networkx_nor_pydal_nor_rich() -> None:
    heavy = "{'networkx', 'pydal', 'rich', 'tomlkit', 'wasmtime', 'psycopg2', 'sqlite3'}"
    for words in (["--help"], ["plan", "--help"], ["apply", "--help"]):
        code = f"import sys; from migrate_graph.cli import main; main({words!r}); sys.exit(bool({heavy} & set(sys.modules)))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"migrate {' '.join(words)} imports something heavy"


def test_version_says_whose_it_is_and_where(
    shell, run_migrate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Path(migrate_graph.__file__).parent
    ran = shell("--version")
    assert ran.code == 0
    name, place = ran.out.splitlines()[:2]
    assert name == f"migrate_graph {__version__}"
    assert place.startswith(f"installed in {package}, run by Python 3.")
    other = tmp_path / "edwh_migrate-2.1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: edwh-migrate\nVersion: 2.1.0\n")
    (other / "entry_points.txt").write_text("[console_scripts]\nmigrate = edwh_migrate.migrate:console_hook\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "edwh-migrate is installed too and brings a script named migrate" in shell("--version").out
    assert run_migrate("--version", cwd=tmp_path).stdout.startswith(f"{name}\n")
    assert run_migrate("aply", cwd=tmp_path).returncode == 2


def test_both_scripts_are_the_same_program() -> None:
    pyproject = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert pyproject["project"]["scripts"] == dict.fromkeys(("migrate", "migrate-graph"), "migrate_graph.__main__:main")


@pytest.mark.parametrize(
    "program",
    [["-m", "migrate_graph"], ["-c", "import sys; from migrate_graph.__main__ import main; sys.exit(main())"]],
)
def test_ctrl_c_while_the_program_is_still_imported(program: list[str], tmp_path: Path) -> None:
    (tmp_path / "msgspec.py").write_text("raise KeyboardInterrupt")  # in the place of what is imported first
    ran = subprocess.run(
        [sys.executable, *program, "apply"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "")


def test_another_directory(shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "3 to run" in shop("plan", "-C", "shop").out


def test_an_empty_directory_is_told_what_is_missing(shell) -> None:
    for command in ("plan", "apply", "check", "status", "graph"):
        ran = shell(command)
        assert ran.code == 2, command
        assert "migrations.py" in ran.err
        assert "hint:" in ran.err


def test_a_file_that_does_not_run_is_told_by_its_line(shell) -> None:
    shell.write("migrations.py", "import nothing_like_this\n")
    ran = shell("plan")
    assert ran.code == 2
    assert "migrations.py:1" in ran.err
    assert "migrate_graph/" not in ran.err, "no frame of ours"


def test_a_fault_of_ours_is_one_line_and_exit_70(shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError("sum of parts")

    monkeypatch.setattr("migrate_graph.workflow.assessment.assess", fails)
    ran = shop("plan")
    assert ran.code == 70
    assert ran.err.startswith("error: ZeroDivisionError: sum of parts (")
    assert "--debug" in ran.err
    assert "Traceback" not in ran.err
    assert "Traceback" in shop("plan", "--debug").err


def test_an_interrupt_outside_of_a_run_is_130(shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def stops(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("migrate_graph.workflow.assessment.assess", stops)
    ran = shop("plan")
    assert (ran.code, ran.err) == (130, "error: stopped\n")


def test_an_error_is_json_too_where_json_was_asked_for(broken) -> None:
    ran = broken("plan", "--json")
    assert ran.code == 3
    assert ran.json["exit_code"] == 3
    assert ran.json["kind"] == "error"
    assert {finding["code"] for finding in ran.json["findings"]} == {"MG101", "MG102"}
    assert "error:" in ran.err
    assert broken("show", "nobody", "--json").json["error"]["message"] == "nothing is called 'nobody' in shop"


def test_a_closed_pipe_is_no_traceback(shop) -> None:
    command = f"{sys.executable} -m migrate_graph graph --format dot | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=shop.path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() in {"0", "141"}
    assert done.stderr == ""


@pytest.mark.parametrize(
    "words",
    [
        "plan",
        "plan --json",
        "graph --format dot",
        "status",
        "explain",
        "config",
        "mark create_customer_20260301_001 --installed",
        "--help",
        "--version",
        "apply -h",
        "views -h",
        "views adopt --help",
    ],
)
def test_a_result_that_the_disk_does_not_take_is_no_traceback_and_no_success(shop, words: str) -> None:
    command = f"{sys.executable} -m migrate_graph {words} > /dev/full"
    environ = {**os.environ, **shop.env}  # noqa: TID251 - tests are an edge too
    done = subprocess.run(
        ["bash", "-c", command], cwd=shop.path, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "error: cannot write the result to stdout: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "fault of migrate_graph" not in done.stderr


@pytest.mark.parametrize("words", ["nosuch", "apply --nosuch", "plan --to nobody", "views nosuch"])
def test_an_error_that_stderr_does_not_take_keeps_its_exit_code(shop, words: str) -> None:
    command = f"{sys.executable} -m migrate_graph {words} 2> /dev/full"
    environ = {**os.environ, **shop.env}  # noqa: TID251 - tests are an edge too
    done = subprocess.run(["bash", "-c", command], cwd=shop.path, env=environ, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--show-completion bash", "error: the disk is full"),
        ("--install-completion bash", "error: the system refuses what this needs: No such file"),
    ],
)
def test_what_the_system_refuses_is_no_fault_of_ours(shop, words: str, told: str) -> None:
    """A disk that is full, a home that cannot be written."""
    environ = {**os.environ, **shop.env, "HOME": "/proc", "SHELL": "/bin/bash"}  # noqa: TID251 - tests are an edge too
    command = f"{sys.executable} -m migrate_graph {words} > /dev/full"
    done = subprocess.run(
        ["bash", "-c", command], cwd=shop.path, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert told in done.stderr
    assert "fault of migrate_graph" not in done.stderr


@pytest.mark.parametrize("words", ["apply", "check", "plan --json", "init", "new other", "config"])
def test_a_directory_that_somebody_has_removed_is_named(shop, words: str) -> None:
    environ = {**os.environ, **shop.env}  # noqa: TID251 - tests are an edge too
    command = f"mkdir gone && cd gone && rmdir ../gone && {sys.executable} -m migrate_graph {words}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=shop.path, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "error: the directory in which this runs is not there any more" in done.stderr


def test_an_error_keeps_its_exit_code_where_the_disk_does_not_take_its_json(broken) -> None:
    command = f"{sys.executable} -m migrate_graph plan --json > /dev/full"
    environ = {**os.environ, **broken.env}  # noqa: TID251 - tests are an edge too
    done = subprocess.run(
        ["bash", "-c", command], cwd=broken.path, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "cannot write the result to stdout" in done.stderr


def test_the_hint_to_make_a_directory_can_be_typed_whatever_its_name(shop) -> None:
    there = shop.path / "with space" / "app.db"
    assert f"mkdir -p '{there.parent}'" in shop("--uri", f"sqlite://{there}", "apply").err


@pytest.mark.parametrize("words", ["apply --json", "apply --output plain 2>&1", "apply --output rich 2>&1"])
def test_a_reader_that_goes_away_stops_no_run(shop, words: str) -> None:
    command = f"{sys.executable} -m migrate_graph {words} | head -c 1; echo ${{PIPESTATUS[0]}}"
    environ = {**os.environ, **shop.env}  # noqa: TID251 - tests are an edge too
    # bytes: the one that is read may be the first of a character of three
    done = subprocess.run(["bash", "-c", command], cwd=shop.path, env=environ, capture_output=True, check=False)
    assert done.stdout[1:].strip() == b"0", done.stdout
    assert done.stderr == b""
    assert "3 applied" in shop("status").out


def test_a_link_in_place_of_the_lock_file_empties_nothing(shop, tmp_path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (shop.path / "shop.db.migrate.lock").symlink_to(victim)
    assert shop("apply").code == 6
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("command", [
    "plan", "apply", "status", "check", "check --format sarif", "check --format github", "log --json", "config --json", "graph --format json",
    "graph -o x.svg", "graph -o x.html", "graph --format mermaid",
])  # fmt: skip
def test_paths_that_are_no_utf_8(shop, tmp_path, monkeypatch, command: str) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (shop.path / "migrations.py").rename(folder / "migrations.py")
    monkeypatch.chdir(folder)
    shop.env["MIGRATE_URI"] = "sqlite://shop.db"
    shop.env["MIGRATE_LINK_TEMPLATE"] = "https://example.org/{file}#L{line}"
    shop.env["MIGRATIONS_FILE"] = str(folder / "migrations.py")
    ran = shop(*command.split())
    assert ran.code == 0, ran.err


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ("sarif", "names no file"),
        ("=x", "no format is called ''"),
        ("sarrif=x", "did you mean"),
        ("sarif=", "names no file"),
    ],
)
def test_a_report_names_a_format_and_a_file(shop, report: str, message: str) -> None:
    ran = shop("check", "--report", report)
    assert ran.code == 2
    assert message in ran.err


def test_several_reports_are_written_in_one_run(shop) -> None:
    ran = shop("check", "--report", "sarif=a.sarif", "--report", "junit=b.xml", "--report", "markdown=c.md")
    assert ran.code == 0
    assert "nothing wrong" in ran.out
    assert (shop.path / "a.sarif").read_text().startswith("{")
    assert (shop.path / "b.xml").read_text().startswith("<?xml")
    assert "```mermaid" in (shop.path / "c.md").read_text()


@pytest.mark.parametrize("beside", [("-o", "a.out"), ("--report", "junit=./a.out"), ("--graph", "a.svg")])
def test_two_reports_never_go_into_one_file(shop, beside: tuple[str, str]) -> None:
    ran = shop("check", *beside, "--report", "sarif=a.out" if "svg" not in beside[1] else "sarif=a.svg")
    assert ran.code == 2
    assert "two outputs go into a." in ran.err
    assert not (shop.path / "a.out").exists()


def test_a_report_that_cannot_be_written_does_not_hide_why_nothing_was_judged(shop) -> None:
    shop.write("migrations.py", "import nothing_of_this_name\n")
    ran = shop("check", "--report", "sarif=nowhere/a.sarif")
    assert ran.code == 2
    assert "nothing_of_this_name" in ran.err
