"""`check --base`: a change judged against a git revision, without touching the checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

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


def test_the_file_of_a_query_is_part_of_its_view(repo) -> None:
    repo.write("sql/few.sql", "SELECT id FROM customer WHERE id < 3\n")
    text = (repo.path / "migrations.py").read_text() + (
        "\n\nfrom migrate_graph import SqlView, sql_file\n\n\nclass Few(SqlView):\n    uses = ()\n"
        '    since = "widen_total_20260302_001"\n    query = sql_file("sql/few.sql")\n'
    )
    opened = 'with Few(db), Totals(db):\n        db.executesql("ALTER'
    (repo.path / "migrations.py").write_text(text.replace('with Totals(db):\n        db.executesql("ALTER', opened))
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "a view")
    assert repo("check", "--base", "main").code == 0
    repo.write("sql/few.sql", "SELECT id FROM customer WHERE id < 4\n")
    ran = repo("check", "--base", "main")
    assert "MG506" in ran.out
    assert "Few" in ran.out


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
    assert (
        repo("check", "--base", "main~1").err
        == "the migrations were in migrations.py then\nnothing changed since main~1\n"
    )
    sarif = repo("check", "--format", "github", "--select", "MG303", "--strict")
    assert sarif.code == 0


def _moved_below(repo) -> None:
    (repo.path / "db").mkdir()
    git(repo, "mv", "migrations.py", "db/migrations.py")
    repo.write("pyproject.toml", '[tool.migrate]\nmigrations-file = "db/migrations.py"\n')


def _moved_with_its_project(repo) -> None:
    (repo.path / "backend").mkdir()
    git(repo, "mv", "migrations.py", "backend/migrations.py")
    repo.path /= "backend"


def _moved_and_not_added(repo) -> None:
    (repo.path / "migrations.py").rename(repo.path / "history.py")
    repo.write("pyproject.toml", '[tool.migrate]\nmigrations_file = "history.py"\n')


def _made_a_directory_of(repo) -> None:
    (repo.path / "migrations").mkdir()
    (repo.path / "migrations.py").rename(repo.path / "migrations" / "0001_shop.py")


def _renamed_the_directory(repo) -> None:
    _made_a_directory_of(repo)
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "a directory")
    git(repo, "mv", "migrations", "steps")
    repo.write("pyproject.toml", '[tool.migrate]\nmigrations_file = "steps"\n')


MOVES = [_moved_below, _moved_with_its_project, _moved_and_not_added, _made_a_directory_of, _renamed_the_directory]


@pytest.mark.parametrize("move", MOVES, ids=lambda move: move.__name__)
def test_an_edit_is_found_in_a_file_that_was_moved(repo, move, monkeypatch: pytest.MonkeyPatch) -> None:
    move(repo)
    monkeypatch.chdir(repo.path)
    ran = repo("check", "--base", "HEAD")
    assert ran.code == 0, ran.err
    assert re.fullmatch(r"the migrations were in migrations(\.py)? then\nnothing changed since HEAD\n", ran.err)
    [file] = [each for each in repo.path.rglob("*.py") if "widen_total" in each.read_text()]
    file.write_text(file.read_text().replace("return True", "return bool(1)", 1))
    ran = repo("check", "--base", "HEAD")
    assert (ran.code, "MG501" in ran.out) == (3, True), ran.out


@pytest.mark.parametrize("written", ["absolute", "above", "there and back"])
def test_a_file_outside_of_the_repository_that_the_base_names_is_not_run(
    repo, tmp_path, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = (
        tmp_path / "copies"
    )  # of the files of the base: `..` leads from there to a file that the checkout has not beside it
    copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))
    outside = copies / "outside.py"
    outside.write_text("raise SystemExit('run')\n")
    places = {
        "absolute": str(outside),
        "above": "../outside.py",
        "there and back": "sub/../../outside.py",
    }
    repo.write("sub/other.py", "")
    repo.write("pyproject.toml", f'[tool.migrate]\nmigrations_file = "{places[written]}"\n')
    git(repo, "add", "pyproject.toml", "sub/other.py")
    git(repo, "rm", "-q", "--cached", "migrations.py")
    git(repo, "commit", "-q", "-m", "the migrations are elsewhere")
    ran = repo("check", "migrations.py", "--base", "HEAD")
    assert ran.code == 0, ran.err
    assert ran.err.startswith("migrations.py did not exist at HEAD: all in it is new\nadded since HEAD: migration ")


def test_a_new_file_beside_another_is_compared_with_nothing(repo) -> None:
    repo.write(
        "other.py", "from migrate_graph import migration\n\n@migration\ndef other_20260401_001(db):\n    return True\n"
    )
    git(repo, "add", "other.py")
    ran = repo("check", "other.py", "--base", "main")
    told = "other.py did not exist at main: all in it is new\nadded since main: migration other_20260401_001\n"
    assert (ran.code, ran.err) == (0, told)


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


# --- which commit, in which repository ------------------------------------------------------------------------------


def append(shell, text: str) -> None:
    file = shell.path / "migrations.py"
    file.write_text(file.read_text() + text)


def test_what_others_did_since_this_branch_began_is_not_its_fault(repo) -> None:
    git(repo, "checkout", "-qb", "feature")
    append(repo, NEW)
    git(repo, "commit", "-qam", "feature")
    git(repo, "checkout", "-q", "main")
    append(repo, NEW.replace("add_country", "of_a_colleague").replace("return True", "db.commit()\n    return True"))
    git(repo, "commit", "-qam", "colleague")
    git(repo, "checkout", "-q", "feature")
    began = git(repo, "rev-parse", "main~1").strip()
    for revision in ("main", "main...", "main...HEAD", "main...feature"):
        ran = repo("check", "--base", revision)
        assert ran.code == 0, ran.err
        assert f"compared with {began[:12]}, where this branch left main" in ran.err
        assert "added since" in ran.err
        assert "removed" not in ran.err
    ran = repo("check", "--base", "main..")
    assert ran.code == 3
    assert "removed since main..: migration of_a_colleague" in ran.err


def test_a_revision_that_shares_nothing_is_compared_as_it_is(repo) -> None:
    git(repo, "checkout", "-q", "--orphan", "other")
    git(repo, "commit", "-qam", "unrelated")
    ran = repo("check", "--base", "main")
    assert ran.code == 0
    assert "no common commit of main and HEAD is known, so main itself is compared with" in ran.err


def test_the_variables_of_a_hook_do_not_lead_elsewhere(repo, tmp_path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    environ = {"PATH": os.environ["PATH"], **IDENTITY}  # noqa: TID251 - tests are an edge too
    subprocess.run(["git", "init", "-q", str(other)], check=True, env=environ)
    append(repo, NEW)
    hook = {
        "GIT_DIR": str(other / ".git"),
        "GIT_WORK_TREE": str(other),
        "GIT_INDEX_FILE": "/nowhere",
        "GIT_PREFIX": "x/",
    }
    ran = repo("check", "--base", "main", **hook)
    assert ran.err == "added since main: migration add_country_20260401_001\n"


def test_a_commit_hook_of_a_linked_worktree_judges_its_own_files(repo, tmp_path, monkeypatch) -> None:
    """Git tells a hook there about the repository by variables: they made the hook pass in silence."""
    hook = repo.path / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m migrate_graph check --base HEAD --select MG5\n")
    hook.chmod(0o755)
    git(repo, "worktree", "add", "-q", str(tmp_path / "linked"))
    file = tmp_path / "linked" / "migrations.py"
    file.write_text(file.read_text().replace("(id INTEGER PRIMARY KEY)", "(id INTEGER PRIMARY KEY, email TEXT)", 1))
    environ = {"PATH": os.environ["PATH"], **IDENTITY}  # noqa: TID251 - tests are an edge too
    done = subprocess.run(
        ["git", "commit", "-qam", "an edit"],
        cwd=tmp_path / "linked",
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "MG501" in done.stdout + done.stderr


def test_in_a_submodule_and_above_it(repo, tmp_path, monkeypatch) -> None:
    library = tmp_path / "library"
    library.mkdir()
    environ = {"PATH": os.environ["PATH"], **IDENTITY}  # noqa: TID251 - tests are an edge too
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=library, check=True, env=environ)
    (library / "names.py").write_text("TABLE = 'customer'\n")
    subprocess.run(["git", "add", "names.py"], cwd=library, check=True, env=environ)
    subprocess.run(["git", "commit", "-qm", "first"], cwd=library, check=True, env=environ)
    git(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "shared")
    change(repo, "from migrate_graph import", "import shared.names\nfrom migrate_graph import")
    git(repo, "commit", "-qam", "with a library")
    append(repo, NEW)
    assert repo("check", "--base", "main").err == "added since main: migration add_country_20260401_001\n"
    (repo.path / "shared" / "migrations.py").write_text("from migrate_graph import migration\n")
    monkeypatch.chdir(repo.path / "shared")
    ran = repo("check", "--base", "main")
    told = "migrations.py did not exist at main: all in it is new\nnothing changed since main\n"
    assert ran.err == told, "of the submodule, not of what it lies in"


def test_only_what_migrations_are_made_of_is_fetched_into_a_partial_clone_and_in_one_go(
    repo, tmp_path, monkeypatch
) -> None:
    origin = repo.path
    (origin / "lib").mkdir()
    for number in range(30):
        (origin / "lib" / f"asset{number}.bin").write_text(f"{number}\n")
        (origin / "lib" / f"sql{number}.sql").write_text(f"SELECT {number}\n")
    (origin / "db").mkdir()
    git(repo, "mv", "migrations.py", "db/migrations.py")
    (origin / "db" / "notes.dat").write_text("notes\n")
    git(repo, "add", "-A")
    git(repo, "config", "uploadpack.allowFilter", "true")
    git(repo, "commit", "-qm", "many files")
    git(repo, "checkout", "-qb", "feature")
    (origin / "db" / "migrations.py").write_text((origin / "db" / "migrations.py").read_text() + NEW)
    git(repo, "commit", "-qam", "feature")
    clone = tmp_path / "clone"
    git(repo, "clone", "-q", "--filter=blob:none", "--sparse", f"file://{origin}", str(clone))
    monkeypatch.chdir(clone)
    repo.path = clone
    git(repo, "sparse-checkout", "set", "db")
    before = _objects(repo)
    trace = tmp_path / "trace"
    ran = repo("check", "db", "--base", "origin/main", GIT_TRACE2_EVENT=str(trace))
    assert ran.code == 0, ran.err
    assert "added since origin/main: migration add_country_20260401_001" in ran.err
    started = [json.loads(line) for line in trace.read_text().splitlines()]
    packs = [each for each in started if each["event"] == "cmd_name" and each["name"] == "fetch"]
    assert len(packs) == 1, "one fetch, not one for each file"
    # sql0 to sql29 and the older migrations file; notes.dat has come with the checkout
    assert _objects(repo) - before == 31


def _objects(shell) -> int:
    counted = dict(line.split(": ") for line in git(shell, "count-objects", "-v").splitlines())
    return int(counted["count"]) + int(counted["in-pack"])


def test_filters_are_not_run(repo) -> None:
    git(repo, "config", "filter.lfs.smudge", "false")
    git(repo, "config", "filter.lfs.required", "true")
    (repo.path / ".gitattributes").write_text("*.bin filter=lfs\n")
    (repo.path / "big.bin").write_text("pointer\n")
    git(repo, "-c", "filter.lfs.clean=cat", "add", "-A")
    git(repo, "-c", "filter.lfs.clean=cat", "commit", "-qm", "large")
    append(repo, NEW)
    ran = repo("check", "--base", "main")
    assert (ran.code, ran.err) == (0, "added since main: migration add_country_20260401_001\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make repositories of other users")
def test_a_repository_of_another_user_names_the_setting(repo) -> None:
    for path in (repo.path, repo.path / ".git"):
        os.chown(path, 12345, -1)
    ran = repo("check", "--base", "main", **IDENTITY, HOME="/nowhere")
    assert ran.code == 2
    assert "repository of another user" in ran.err
    assert f"git config --global --add safe.directory {repo.path}" in ran.err
    safe = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": str(repo.path)}
    assert repo("check", "--base", "main", HOME="/nowhere", **safe).code == 0


def test_links_of_the_base_stay_inside(repo, tmp_path) -> None:
    (tmp_path / "outside.py").write_text("raise SystemExit('run')\n")
    (repo.path / "inside.py").symlink_to("names.py")
    (repo.path / "names.py").write_text("TABLE = 'customer'\n")
    (repo.path / "outside.py").symlink_to("../outside.py")
    change(repo, "from migrate_graph import", "import inside\nfrom migrate_graph import")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "links")
    assert repo("check", "--base", "main").code == 0


def test_names_of_files_that_are_no_utf_8(repo) -> None:
    os.mkdir(os.fsencode(repo.path) + b"/caf\xe9")  # noqa: PTH102 - bytes
    for name in ("__init__.py", "names.py"):
        with open(os.fsencode(repo.path) + b"/caf\xe9/" + name.encode(), "w") as file:  # noqa: PTH123 - bytes
            file.write("")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "bytes")
    assert repo("check", "--base", "main").code == 0
