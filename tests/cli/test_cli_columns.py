"""On a terminal of 60, 80 and 140 columns: lines fit, words are whole, carets stand under their code."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from migrate_graph.columns import columns

MIGRATIONS = """
    from migrate_graph import ViewMigrationManager, migration


    class 合計View(ViewMigrationManager):
        uses = ()
        since = "create_customer_accounts_20260101_001"

        def up(self):
            self.db.executesql("CREATE VIEW totals AS SELECT 1 AS one")

        def down(self):
            self.db.executesql("DROP VIEW IF EXISTS totals")


    @migration
    def create_customer_accounts_20260101_001(db):
        with 合計View(db):
            pass
        return True


    @migration(requires=[create_customer_accounts_20260101_001], tags=["a rather long tag that fills the line of the decorator"])
    def add_顧客_names_20260102_001(db):
        return True


    @migration(requires=["add_顧客_names_20260102_001", "create_customer_accounts_20260101_001"], tags=["so_that_this_is_far_right"])
    def widen_the_total_of_every_invoice_20260103_001(db):
        raise ValueError("the total of invoice 4711 is larger than a column of that width can hold, so it cannot be widened")
        return True


    @migration(requires=[widen_the_total_of_every_invoice_20260103_001])
    def drop_the_old_totals_20260104_001(db):
        return True
"""
WIDE = [60, 80, 140]


def on_a_terminal(shell, width: int, *words: str) -> list[str]:
    """Run a command on a terminal of its own; return the lines it shows, without colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    environ = {**os.environ, **shell.env, "TERM": "dumb", "LANG": "C.UTF-8"}  # noqa: TID251 - tests are an edge too
    environ = {name: value for name, value in environ.items() if name not in {"COLUMNS", "LINES", "CI"}}
    child = subprocess.Popen(
        [sys.executable, "-m", "migrate_graph", *words], cwd=shell.path, env=environ, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the terminal is closed on the other side
            break
        if not piece:
            break
        shown += piece
    child.wait(timeout=60)
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).splitlines()


@pytest.fixture
def project(shell):
    shell.write("migrations.py", MIGRATIONS)
    shell.env["MIGRATE_URI"] = f"sqlite://{shell.path / 'a.db'}"
    assert shell("apply").code == 1
    return shell


COMMANDS = [
    "plan", "status", "status --all", "check", "graph", "log", "show 合計View", "why widen_the_total_of_every_invoice_20260103_001",
    "explain", "explain MG104", "config",
]  # fmt: skip


@pytest.mark.parametrize("width", WIDE)
@pytest.mark.parametrize("words", COMMANDS)
def test_lines_fit_and_words_are_whole(project, words: str, width: int) -> None:
    lines = on_a_terminal(project, width, *words.split())
    piped = project(*words.split()).out
    assert lines
    too_long = [line for line in lines if columns(line) > width and " " in line.strip()]
    assert not too_long
    for name in re.findall(r"\w+_20260\d\d\d_\d\d\d", piped):
        assert name in " ".join(lines), "no name is cut"


@pytest.mark.parametrize("width", WIDE)
@pytest.mark.parametrize(
    "words", ["apply --output rich", "apply nowhere_at_all_with_a_long_name/and_a_longer_one/migrations.py"]
)
def test_what_a_run_and_an_error_tell_fits(project, words: str, width: int) -> None:
    lines = on_a_terminal(project, width, *words.split())
    shown = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).replace("\r", "") for line in lines]
    assert any("error:" in line or line.startswith("  failed") for line in shown)
    assert not [line for line in shown if columns(line) > width and " " in line.strip()]


def test_wide_characters_shift_no_column(project) -> None:
    lines = [
        line for line in on_a_terminal(project, 140, "status", "--all") if "2026010" in line and " applied " in line
    ]
    assert len({columns(line[: line.index(" applied ")]) for line in lines}) == 1


@pytest.mark.parametrize("width", WIDE)
def test_a_caret_stands_under_its_code(project, width: int) -> None:
    lines = on_a_terminal(project, width, "check")
    at = next(number for number, line in enumerate(lines) if "^" in line and "|" in line)
    code, caret = lines[at - 1], lines[at]
    start = columns(caret[: caret.index("^")])
    before = next(end for end in range(len(code)) if columns(code[:end]) == start)
    length = caret.count("^")
    pointed = next(code[before:end] for end in range(before, len(code) + 1) if columns(code[before:end]) == length)
    assert re.fullmatch(r"\w+", pointed), pointed


def test_the_failure_is_the_last_thing_on_the_screen(shell) -> None:
    rest = "".join(
        f"\n\n@migration(requires=['m{number - 1:03}'])\ndef m{number:03}(db):\n    return True\n"
        for number in range(2, 101)
    )
    shell.write(
        "migrations.py",
        "from migrate_graph import migration\n\n\n@migration\ndef m000(db):\n    return True\n\n\n"
        "@migration(requires=['m000'])\ndef m001(db):\n    raise ValueError('no such total')\n    return True\n" + rest,
    )
    shell.env["MIGRATE_URI"] = f"sqlite://{shell.path / 'a.db'}"
    ran = shell("apply")
    assert ran.code == 1
    tail = ran.err.splitlines()[-12:]
    at = next(number for number, line in enumerate(tail) if line.startswith("  failed"))
    assert "m001 (migrations.py:" in tail[at]
    assert "no such total" in tail[at]
    assert [line.partition(":")[0] for line in tail[at + 1 :]] == ["committed", "next"]
    assert "  99 not reached (m002 … m100)" in ran.err or "blocked" in ran.err
    assert ran.err.count("m050") == 0, "nobody reads 99 lines"
    status = shell("status").out.splitlines()
    assert status[-2].startswith("failed m001 (migrations.py:")
    assert status[-1] == "next: migrate plan"
    assert len(status) < 15
    assert len(shell("status", "--all").out.splitlines()) > 100


def test_a_terminal_that_is_not_utf8_shows_one_sign_for_one_state(project) -> None:
    def shown(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "migrate_graph", *words], cwd=project.path, capture_output=True, check=True,
            env={**os.environ, **project.env, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},  # noqa: TID251
        )  # fmt: skip
        return done.stdout.decode("ascii")

    def sign(text: str, name: str) -> str:
        line = next(line for line in text.splitlines() if name in line)
        found = re.search(r"(\S)\s+" + name, line)
        assert found is not None, line
        return found[1]

    status, drawn = shown("status", "--all"), shown("graph", "--history")
    for name in ("create_customer_accounts", "widen_the_total", "drop_the_old"):
        assert sign(status, name) == sign(drawn, name)
    assert len({sign(status, name) for name in ("create_customer_accounts", "widen_the_total", "drop_the_old")}) == 3
