"""`init` and `new`: what they write passes check, ruff and mypy, and nothing is overwritten."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime

import pytest


def today() -> str:
    return f"{datetime.now(UTC).astimezone():%Y%m%d}"


def is_clean(shell) -> None:
    """Fail unless check, ruff (its own defaults) and mypy --strict find nothing in the project."""
    ran = shell("check", "--strict")
    assert ran.code == 0, ran.out + ran.err
    for tool in (
        ["ruff", "check", "--isolated"],
        ["ruff", "format", "--isolated", "--check"],
        ["mypy", "--strict", "--no-incremental"],
    ):
        command = [sys.executable, "-m", *tool, *(str(file) for file in sorted(shell.path.glob("*.py")))]
        done = subprocess.run(command, cwd=shell.path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_init_then_new_is_a_clean_project(shell) -> None:
    ran = shell("init")
    assert ran.code == 0
    assert "written: migrations.py:1" in ran.out
    assert "written: pyproject.toml:1" in ran.out
    assert "next: migrate new create_customers" in ran.out
    is_clean(shell)
    first = shell("new", "create_customers")
    assert first.out.endswith(f"create_customers_{today()}_001\n")
    place = re.search(r"migrations\.py:(\d+)", first.out)
    assert place
    lines = (shell.path / "migrations.py").read_text().splitlines()
    assert lines[int(place[1]) - 1].startswith("@migration"), "the line that is told is the one to look at"
    second = shell("new", "create_invoices", "--requires", "leaves")
    assert f"create_invoices_{today()}_002" in second.out
    view = shell("new", "InvoiceTotals", "--view", "--requires", f"create_invoices_{today()}_002")
    assert f"InvoiceTotals, create_invoice_totals_{today()}_003" in view.out
    top = shell("new", "dashboard", "--view", "--requires", "InvoiceTotals")
    assert "Dashboard, create_dashboard_" in top.out
    is_clean(shell)
    text = (shell.path / "migrations.py").read_text()
    assert "uses = (InvoiceTotals,)" in text
    assert "with InvoiceTotals(db)" not in text, "init has said that views come up by themselves"
    assert f'requires=["create_invoice_totals_{today()}_003"]' in text, "what it reads must live before it"
    plan = shell("plan", "--offline", "--json").json
    assert [step["name"].rpartition("_")[2] for step in plan["steps"]] == ["001", "002", "003", "004"]
    assert plan["steps"][3]["creates"] == ["Dashboard"]


@pytest.mark.postgres
def test_a_body_that_was_forgotten_fails_loudly(shell, database_uri: str) -> None:
    shell("init")
    shell("new", "create_customers")
    ran = shell("apply", MIGRATE_URI=database_uri)
    assert ran.code == 1
    assert "TODO" in ran.err
    assert "committed: nothing" in ran.err


def test_init_keeps_every_byte_of_pyproject(shell) -> None:
    before = '# ours\n[project]\nname = "shop"   # the shop\n\n[tool.ruff]\nline-length = 99\n'
    (shell.path / "pyproject.toml").write_text(before)
    assert shell("init").code == 0
    after = (shell.path / "pyproject.toml").read_text()
    assert after.startswith(before)
    assert "[tool.migrate]" in after
    assert shell("config").code == 0


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("migrations.py", "x = 1\n", "migrations.py exists already"),
        ("pyproject.toml", "[tool\n", "not valid TOML"),
        (
            "pyproject.toml",
            "<<<<<<< HEAD\n[tool.migrate]\n=======\n>>>>>>> b\n",
            "pyproject.toml:1: a merge conflict is not resolved",
        ),
        ("pyproject.toml", "tool = {}\n", "cannot be appended"),
        ("pyproject.toml", "tool = 3\n", "is not a table"),
    ],
)
def test_init_refuses_to_overwrite(shell, name: str, content: str, message: str) -> None:
    (shell.path / name).write_text(content)
    ran = shell("init")
    assert ran.code == 2
    assert message in ran.err
    assert [(file.name, file.read_text()) for file in shell.path.iterdir()] == [(name, content)]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["create customers!"], "migrate new create_customers"),
        (["class"], "migrate new m_class"),
        (["2nd_step"], "migrate new m_2nd_step"),
        (["create_customer_20260301_001"], "exists already"),
        (["more", "--requires", "create_custmer_20260301_001"], "did you mean"),
        (["more", "--requires", "Totals"], "add --view"),
        (["Totals", "--view"], "'Totals' exists already"),
    ],
)
def test_new_refuses_and_leaves_the_file_alone(shop, words: list[str], error: str) -> None:
    before = (shop.path / "migrations.py").read_text()
    ran = shop("new", *words)
    assert ran.code == 2
    assert error in ran.err
    assert (shop.path / "migrations.py").read_text() == before


def test_new_changes_nothing_that_is_there(shop) -> None:
    before = (shop.path / "migrations.py").read_text()
    assert shop("new", "more", "--requires", "leaves").code == 0
    after = (shop.path / "migrations.py").read_text()
    assert after.startswith(before)
    assert after.endswith("    return True\n")
    assert 'requires=["widen_total_20260302_001"]' in after
    assert f"def more_{today()}_001(db):" in after, "in a file without types, without types"
    assert shop("new", "again").out.endswith(f"again_{today()}_002\n")


def test_new_adds_a_name_to_an_import(shell) -> None:
    shell.write(
        "migrations.py",
        "import os\nfrom typing import Any\n\nfrom migrate_graph import migration\n\nHERE: Any = os.curdir\n",
    )
    assert shell("new", "totals", "--view").code == 0
    assert "from migrate_graph import SqlView, migration\n\nHERE" in (shell.path / "migrations.py").read_text()
    is_clean(shell)


def test_new_view_imports_the_views_of_other_files(shell) -> None:
    shell.write(
        "views.py",
        """
        from migrate_graph import ViewMigrationManager


        class Base(ViewMigrationManager):
            uses = ()

            def up(self) -> None:
                self.db.executesql("CREATE VIEW base AS SELECT 1 AS x")

            def down(self) -> None:
                self.db.executesql("DROP VIEW IF EXISTS base")
        """,
    )
    shell.write("migrations.py", '"""Steps."""\n\nimport views  # noqa: F401\n')
    assert shell("new", "Top", "--view", "--requires", "Base").code == 0
    assert "from views import Base\n" in (shell.path / "migrations.py").read_text()
    assert shell("check").code == 0


BOM = b"\xef\xbb\xbf"
WRITTEN = {
    "plain": (b"", "utf-8", "\n"),
    "byte order mark": (BOM, "utf-8", "\n"),
    "windows": (BOM, "utf-8", "\r\n"),
    "latin-1": (b"# coding: latin-1\n", "latin-1", "\n"),
    "cp1252 of windows": (b"# -*- coding: cp1252 -*-\r\n", "cp1252", "\r\n"),
}


@pytest.mark.parametrize("how", WRITTEN)
@pytest.mark.parametrize("words", [["two", "--requires", "leaves"], ["Totals", "--view"]])
def test_new_keeps_mark_encoding_and_line_ends(shell, how: str, words: list[str]) -> None:
    head, encoding, newline = WRITTEN[how]
    text = 'from migrate_graph import migration\n\n\n@migration\ndef one_20260101_001(db):\n    """Café \x0c."""\n    return True\n'
    before = head + text.replace("\n", newline).encode(encoding)
    (shell.path / "migrations.py").write_bytes(before)
    ran = shell("new", *words)
    assert ran.code == 0, ran.err
    after = (shell.path / "migrations.py").read_bytes()
    if "--view" not in words:
        assert after.startswith(before)
    assert after.startswith(head)
    assert after.count(BOM) == before.count(BOM)
    assert "Café".encode(encoding) in after
    assert (b"\r\n" in after) == (newline == "\r\n")
    assert after.count(b"\n") == after.count(newline.encode())
    assert shell("check").code == 0


def test_new_keeps_line_ends_that_are_mixed(shell) -> None:
    before = b"from migrate_graph import migration\r\n\n\n@migration\ndef one_20260101_001(db):\r\n    return True\n"
    (shell.path / "migrations.py").write_bytes(before)
    assert shell("new", "two").code == 0
    assert (shell.path / "migrations.py").read_bytes().startswith(before)


def test_new_refuses_a_name_that_the_encoding_lacks(shell) -> None:
    before = "# coding: latin-1\nfrom migrate_graph import migration\n".encode("latin-1")
    (shell.path / "migrations.py").write_bytes(before)
    ran = shell("new", "überprüfe_κ")
    assert ran.code == 2
    assert "latin-1" in ran.err or "iso-8859-1" in ran.err
    assert "save it as UTF-8" in ran.err
    assert (shell.path / "migrations.py").read_bytes() == before


def test_new_refuses_a_file_that_python_loads_although_a_comment_is_in_another_encoding(shell) -> None:
    before = "# café\nfrom migrate_graph import migration\n".encode("latin-1")
    (shell.path / "migrations.py").write_bytes(before)
    ran = shell("new", "other")
    assert (ran.code, "save it as UTF-8" in ran.err) == (2, True)
    assert "fault of migrate_graph" not in ran.err
    assert (shell.path / "migrations.py").read_bytes() == before


@pytest.mark.parametrize("end", ["", "\n", "\n\n"], ids=["no end", "end", "empty line"])
@pytest.mark.parametrize(("mark", "newline"), [(b"", "\n"), (b"", "\r\n"), (BOM, "\n"), (BOM, "\r\n")])
def test_init_keeps_mark_and_line_ends_of_pyproject(shell, mark: bytes, newline: str, end: str) -> None:
    before = mark + f'[project]\nname = "x"  # ü\nversion = "1"{end}'.replace("\n", newline).encode()
    (shell.path / "pyproject.toml").write_bytes(before)
    assert shell("init").code == 0
    after = (shell.path / "pyproject.toml").read_bytes()
    assert after.startswith(before)
    assert after.count(b"\n") == after.count(newline.encode())
    assert shell("config").code == 0
    assert "pyproject.toml" in shell("config").out


def test_init_refuses_a_pyproject_that_is_not_utf_8(shell) -> None:
    before = '[project]\nname = "caf\xe9"\n'.encode("latin-1")
    (shell.path / "pyproject.toml").write_bytes(before)
    ran = shell("init")
    assert ran.code == 2
    assert "pyproject.toml" in ran.err
    assert (shell.path / "pyproject.toml").read_bytes() == before
    assert not (shell.path / "migrations.py").exists()


@pytest.mark.parametrize(
    ("section", "file"),
    [
        ("", "migrations.py"),
        ('migrations_file = "db/steps.py"\n', "db/steps.py"),
        ('migrations-file = "db"\n', "db/migrations.py"),
    ],
)
def test_init_writes_the_file_that_settings_name_already(shell, section: str, file: str) -> None:
    if file == "db/migrations.py":
        (shell.path / "db").mkdir()
    before = f"[tool.migrate]\n{section}"
    (shell.path / "pyproject.toml").write_text(before)
    assert shell("init").code == 0
    assert (shell.path / "pyproject.toml").read_text() == before
    assert (shell.path / file).exists()
    assert shell("new", "create_customers").code == 0
    assert shell("init").code == 2
