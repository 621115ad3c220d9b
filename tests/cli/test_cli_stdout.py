"""stdout carries one document and nothing else, whoever prints meanwhile; a file is written as what it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

LOUD = """
    import atexit
    import subprocess
    import sys

    from migrate_graph import migration

    print("LOUD import")
    sys.__stdout__.write("LOUD stream\\n")
    subprocess.run(["echo", "LOUD child"], check=True)
    atexit.register(print, "LOUD exit")
    atexit.register(subprocess.run, ["echo", "LOUD child at exit"])


    @migration
    def one_20260101_001(db):
        print("body prints")
        subprocess.run(["echo", "LOUD child of a body"], check=True)
        return True
"""


def migrate(shell, words: str, *, stderr: int | None = subprocess.PIPE) -> subprocess.CompletedProcess[bytes]:
    """Run a line of the shell; `migrate` in it is ours."""
    environ = {**os.environ, **shell.env, "PYTHON": sys.executable}  # noqa: TID251 - tests are an edge too
    line = words.replace("migrate ", '"$PYTHON" -m migrate_graph ')
    return subprocess.run(
        ["bash", "-c", line],
        cwd=shell.path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=stderr,
        check=False,
        timeout=60,
    )


@pytest.fixture
def loud(shell):
    """A project that prints in every way there is, while it is loaded, while it runs, and when the process ends."""
    shell.write("migrations.py", LOUD)
    shell.env["MIGRATE_URI"] = f"sqlite://{shell.path / 'loud.db'}"
    return shell


@pytest.mark.parametrize(
    "words",
    [
        "plan --json", "plan --format json", "plan --rehearse --json", "plan --rehearse --on scratch --json",
        "check --rehearse --format sarif", "status --json", "check --format sarif", "graph --format json", "log --json",
        "why one_20260101_001 --json",
    ],
)  # fmt: skip
def test_json_is_one_document_whoever_prints(loud, words: str) -> None:
    done = migrate(loud, f"migrate {words}")
    json.loads(done.stdout)
    assert b"LOUD child" in done.stderr, "it is not lost"
    assert b"LOUD child at exit" in done.stderr


@pytest.mark.parametrize("words", ["graph --format svg", "check --format junit"])
def test_xml_is_one_document_whoever_prints(loud, words: str) -> None:
    ET.fromstring(migrate(loud, f"migrate {words}").stdout)


def test_json_lines_stay_json_lines(loud) -> None:
    done = migrate(loud, "migrate apply --json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert (lines[0]["type"], lines[-1]["type"], lines[-1]["exit_code"]) == ("version", "exit", 0)
    assert b"LOUD child of a body" in done.stderr, "a child writes past us, to stderr"
    assert not [line for line in lines if "LOUD child of a body" in line["message"]]


def test_a_closed_stdout_hurts_nobody(shop) -> None:
    assert migrate(shop, "migrate plan --json >&-").returncode == 0


@pytest.mark.parametrize(
    ("redirections", "closed"),
    [
        ("<&-", (0,)), (">&-", (1,)), ("2>&-", (2,)), ("<&- >&-", (0, 1)), (">&- 2>&-", (1, 2)), ("<&- >&- 2>&-", (0, 1, 2)),
    ],
)  # fmt: skip
def test_a_run_opens_nothing_of_its_own_where_a_standard_stream_was_closed(
    shell, redirections: str, closed: tuple[int, ...]
) -> None:
    shell.write(
        "migrations.py",
        """
        import os

        from migrate_graph import migration

        @migration
        def one_20260101_001(db):
            kinds = [os.readlink(f"/proc/self/fd/{number}") for number in (0, 1, 2)]
            open("kinds.txt", "w").write("\\n".join(kinds))
            return True
        """,
    )
    shell.env["MIGRATE_URI"] = f"sqlite://{shell.path / 'one.db'}"
    done = migrate(shell, f"migrate apply {redirections}")
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr, "the supervisor has its own end of the socket"
    kinds = (shell.path / "kinds.txt").read_text().splitlines()
    assert {kinds[number] for number in closed} == {"/dev/null"}


def test_stderr_closed_or_joined_hurts_nobody(loud) -> None:
    json.loads(migrate(loud, "migrate plan --json 2>&-", stderr=None).stdout)
    assert b"1 to run" in migrate(loud, "migrate plan 2>&1").stdout


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("plan --format json nosuch.py", "document"),
        ("graph --format json --focus nobody", "document"),
        ("check --format=json --ignore MG999", "document"),
        ("plan --json --nosuch", "document"),
        ("apply --json nosuch.py", "stream"),
        ("--json nosuch.py", "stream"),
        ("apply --output json --to nobody", "stream"),
        ("apply --output=json --nosuch", "stream"),
        ("apply --dry-run --json --to nobody", "document"),
    ],
)
def test_a_fault_is_json_wherever_json_was_asked_for(shop, words: str, kind: str) -> None:
    ran = shop(*words.split())
    assert ran.code == 2
    assert ran.err.startswith("error: ")
    if kind == "document":
        assert (ran.json["kind"], ran.json["exit_code"]) == ("error", 2)
        assert ran.json["error"]["message"] in ran.err
    else:
        types = [line["type"] for line in ran.lines if line["type"] != "lock_acquired"]
        assert types == ["version", "error", "exit"]
        assert ran.lines[-1]["exit_code"] == 2
        assert [line["seq"] for line in ran.lines] == list(range(1, len(ran.lines) + 1))


def test_a_fault_of_ours_ends_the_stream_too(shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError("sum of parts")

    monkeypatch.setattr("migrate_graph.workflow.apply.apply_project", fails)
    ran = shop("apply", "--json")
    assert (ran.code, ran.lines[-1]["type"], ran.lines[-1]["exit_code"]) == (70, "exit", 70)


# -- files that are none ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["/dev/stdout", "-", "/dev/fd/1", "/proc/self/fd/1"])
def test_stdout_by_another_name_is_stdout(loud, name: str) -> None:
    if name == "-":
        name = "- "
    done = migrate(loud, f"echo before >> log; migrate graph --format dot -o {name} >> log; cat log")
    text = done.stdout.decode()
    assert text.startswith("before\ndigraph"), "what was there stays"
    assert text.rstrip().endswith("}")


def test_a_pipe_a_device_and_a_process_take_what_is_written(shop) -> None:
    fifo = migrate(shop, "mkfifo p; cat p > got & migrate graph -o p --format dot; wait; cat got")
    assert fifo.stdout.startswith(b"digraph")
    assert (shop.path / "p").is_fifo()
    process = migrate(
        shop,
        "mkfifo done; migrate graph --format dot -o >(cat > other; echo > done); cat done; cat other",
    )
    assert process.stdout.startswith(b"\ndigraph")
    joined = migrate(shop, "echo before > err; migrate graph --format dot -o /dev/stderr 2>> err; cat err")
    assert joined.stdout.startswith(b"before\ndigraph")
    assert migrate(shop, "migrate graph --format dot -o /dev/null").returncode == 0
    assert Path("/dev/null").is_char_device()
