"""`check --base`: a change judged against a git revision, without touching the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from migrate_graph.render import FORMATS

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

IDENTITY = {
    "GIT_AUTHOR_NAME": "x", "GIT_AUTHOR_EMAIL": "x@example.org", "GIT_COMMITTER_NAME": "x",
    "GIT_COMMITTER_EMAIL": "x@example.org", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null",
}  # fmt: skip


def git(shell, *words: str) -> str:
    environ = {"PATH": os.environ["PATH"], **IDENTITY}  # noqa: TID251 - tests are an edge too
    return subprocess.run(
        ["git", *words], cwd=shell.path, env=environ, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def repo(shop):
    """The shop, committed; the environment lets git be found."""
    shop.env["PATH"] = os.environ["PATH"]  # noqa: TID251 - tests are an edge too
    git(shop, "init", "-q", "-b", "main")
    git(shop, "add", "migrations.py")
    git(shop, "commit", "-q", "-m", "first")
    return shop


def change(shell, old: str, new: str) -> None:
    file = shell.path / "migrations.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


NEW = """

@migration(requires=[widen_total_20260302_001])
def add_country_20260401_001(db):
    return True
"""


def test_additions_and_comments_are_fine(repo) -> None:
    change(repo, "return True", "# it worked\n    return True")
    change(repo, '"""Who buys."""', '"""Who buys things."""')
    (repo.path / "migrations.py").write_text((repo.path / "migrations.py").read_text() + NEW)
    before = git(repo, "status", "--porcelain"), sorted(path.name for path in (repo.path / ".git").iterdir())
    ran = repo("check", "--base", "main")
    assert (ran.code, ran.out) == (0, "nothing wrong in 4 migrations and 1 view\n")
    assert ran.err == "added since main: migration add_country_20260401_001\n"
    assert (git(repo, "status", "--porcelain"), sorted(path.name for path in (repo.path / ".git").iterdir())) == before
    assert repo("check", "--base", "HEAD~0").code == 0


@pytest.mark.parametrize(
    ("code", "old", "new"),
    [
        ("MG501", "(id INTEGER PRIMARY KEY)", "(id INTEGER PRIMARY KEY, email TEXT)"),
        (
            "MG502",
            "@migration(requires=[create_invoice_20260301_002])",
            "def nothing():\n    return lambda f: f\n@nothing()",
        ),
        ("MG503", "def widen_total_20260302_001", "def widen_totals_20260302_001"),
        (
            "MG504",
            "@migration\ndef create_customer",
            "@migration(requires=['add_country_20260401_001'])\ndef create_customer",
        ),
        ("MG505", 'since = "create_invoice_20260301_002"', 'since = "widen_total_20260302_001"'),
    ],
)
def test_what_bricks_deployed_databases_is_an_error(repo, code: str, old: str, new: str) -> None:
    change(repo, old, new)
    if code == "MG504":
        addition = NEW.replace("requires=[widen_total_20260302_001]", "")
        (repo.path / "migrations.py").write_text((repo.path / "migrations.py").read_text() + addition)
    ran = repo("check", "--base", "main", "--select", "MG5", "--json")
    assert ran.code == 3, ran.err
    assert [finding["code"] for finding in ran.json["findings"]] == [code]
    assert repo("check", "--base", "main", "--select", "MG5", "--ignore", code).code == 0
    assert code not in repo("check").out, "without a base nothing is compared"


def test_an_edit_in_a_file_that_a_body_reads_is_an_edit(repo) -> None:
    change(repo, "from migrate_graph import", "from pathlib import Path\nfrom migrate_graph import")
    (repo.path / "migrations.py").write_text(
        (repo.path / "migrations.py").read_text()
        + NEW.replace("return True", "return db.executesql(Path(__file__).with_name('country.sql').read_text())")
    )
    (repo.path / "country.sql").write_text("SELECT 1")
    git(repo, "add", "migrations.py", "country.sql")
    git(repo, "commit", "-q", "-m", "second")
    assert repo("check", "--base", "HEAD").err == "nothing changed since HEAD\n"
    (repo.path / "country.sql").write_text("SELECT 2")
    ran = repo("check", "--base", "HEAD")
    assert (ran.code, ran.err) == (3, "edited since HEAD: add_country_20260401_001\n")
    assert "MG501" in ran.out


def test_markdown_draws_the_change(repo) -> None:
    (repo.path / "migrations.py").write_text((repo.path / "migrations.py").read_text() + NEW)
    text = repo("check", "--base", "main", "--format", "markdown").out
    assert "flowchart LR" in text
    assert 'add_country<br/>_20260401_001<br/>added"]:::added' in text
    assert "widen_total<br/>_20260302_001" in text, "what it hangs on is drawn too"
    assert "create_customer" not in text


def test_a_picture_shows_what_was_added_changed_and_removed(repo) -> None:
    """Each in words, so that nobody has to tell colours apart."""
    change(repo, "def widen_total_20260302_001", "def widen_totals_20260302_001")
    change(repo, "(id INTEGER PRIMARY KEY)", "(id INTEGER PRIMARY KEY, email TEXT)")
    change(repo, 'since = "create_invoice_20260301_002"', 'since = "create_customer_20260301_001"')
    (repo.path / "migrations.py").write_text((repo.path / "migrations.py").read_text() + NEW.replace("total", "totals"))
    ran = repo("check", "--base", "main", "--graph", "change.svg")
    assert ran.code == 3
    assert ran.err.endswith("drawn: change.svg\n")
    svg = (repo.path / "change.svg").read_text()
    for words in ("since main: 2 added, 2 changed, 1 removed", "removed: renamed", "added: renamed", "changed: edited"):
        assert words in svg
    repo("check", "--base", "main", "--graph", "change.txt")
    text = (repo.path / "change.txt").read_text()
    rows = [" ".join(line.replace("│", "").split()) for line in text.splitlines()]
    shown = [row for row in rows if row[:1] in {"~", "+", "-"}]
    assert shown == [
        "~ create_customer_20260301_001 changed: edited",
        "- widen_total_20260302_001 removed: renamed",
        "+ widen_totals_20260302_001 added: renamed",
        "+ add_country_20260401_001 added",
        "~ Totals changed: since",
    ]
    repo("check", "--base", "main", "--graph", "change.json")
    nodes = json.loads((repo.path / "change.json").read_text())["nodes"]
    assert [node["state"] for node in nodes if node["name"].startswith("create_invoice")] == ["declared"]


def test_a_picture_of_no_change_says_so(repo) -> None:
    assert repo("check", "--base", "main", "--graph", "change.svg").code == 0
    assert "since main: nothing changed" in (repo.path / "change.svg").read_text()
    assert "mermaid" not in repo("check", "--base", "main", "--format", "markdown").out


@pytest.mark.parametrize("name", FORMATS)
def test_a_change_is_drawn_in_every_format(repo, name: str) -> None:
    if name == "pdf" and shutil.which("dot") is None:
        pytest.skip("PDF needs a system Graphviz")
    change(repo, "def widen_total_20260302_001", "def widen_totals_20260302_001")
    file = f"change{FORMATS[name].suffixes[0]}"
    assert repo("check", "--base", "main", "--graph", file).code == 3
    assert (repo.path / file).stat().st_size > 100


def test_from_a_directory_below_the_top(repo, monkeypatch: pytest.MonkeyPatch) -> None:
    (repo.path / "db").mkdir()
    git(repo, "mv", "migrations.py", "db/migrations.py")
    git(repo, "commit", "-q", "-m", "moved")
    monkeypatch.chdir(repo.path / "db")
    assert repo("check", "--base", "main").err == "nothing changed since main\n"
    assert repo("check", "--base", "main~1").err.count("added since main~1") == 4, "the file did not exist there"
    sarif = repo("check", "--format", "github", "--select", "MG303", "--strict")
    assert sarif.code == 0


@pytest.mark.parametrize("revision", ["nowhere", "origin/main", "--output=x", "HEAD:migrations.py"])
def test_an_unknown_revision_is_exit_2_with_the_fetch_to_type(repo, revision: str) -> None:
    ran = repo("check", f"--base={revision}")
    assert ran.code == 2
    assert f"git knows no revision '{revision}'" in ran.err
    assert "git fetch" in ran.err


def test_outside_of_a_repository(shop) -> None:
    ran = shop("check", "--base", "main", PATH=os.environ["PATH"], GIT_CEILING_DIRECTORIES="/")  # noqa: TID251
    assert ran.code == 2
    assert "not in a git repository" in ran.err
    assert "git is not installed" in shop("check", "--base", "main", PATH="/nowhere").err


def test_a_base_that_does_not_run_is_told(repo) -> None:
    (repo.path / "migrations.py").write_text("raise RuntimeError('broken then')\n")
    git(repo, "commit", "-qam", "broken")
    (repo.path / "migrations.py").write_text("from migrate_graph import migration\n")
    ran = repo("check", "--base", "main")
    assert ran.code == 2
    assert "broken then" in ran.err
