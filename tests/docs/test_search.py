"""Whoever comes with the words of another tool finds a page that answers: each stands in the text of the page that is named here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"

ANSWERED_BY = {
    "downgrade": "reverting",
    "revert": "reverting",
    "undo": "reverting",
    "rollback": "reverting",
    "squash": "coming-from",
    "autogenerate": "coming-from",
    "models": "pydal",
    "--sql": "coming-from",
    "dry run": "troubleshooting",
    "baseline": "existing-database",
    "existing database": "existing-database",
    "staging": "deployment",
    "production": "deployment",
    "conflict": "teams",
    "merge": "teams",
    "rebase": "teams",
    "branch": "teams",
    "parallel branches": "teams",
    "verify": "verifying",
    "fresh install": "teams",
    "missing dependency": "teams",
    "commute": "verifying",
    "reset": "troubleshooting",
    "seed": "recipes",
    "data migration": "troubleshooting",
    "backfill": "recipes",
    "placeholder": "recipes",
    "constraint": "troubleshooting",
    "index concurrently": "recipes",
    "DATABASE_URL": "configuration",
    "environment": "configuration",
    "secret": "configuration",
    "Docker": "deployment",
    "Kubernetes": "deployment",
    "init container": "deployment",
    "replica": "deployment",
    "py4web": "pydal",
    "web2py": "pydal",
    "fake_migrate": "pydal",
    "pydal2sql": "pydal",
    "TypeDAL": "pydal",
    "editor": "troubleshooting",
    "FAQ": "troubleshooting",
    "troubleshooting": "troubleshooting",
    "macOS": "reliability",
    "Windows": "reliability",
    "Alembic": "coming-from",
    "Django": "coming-from",
    "Flyway": "coming-from",
    "Sqitch": "coming-from",
    "PgBouncer": "reliability",
    "standby": "troubleshooting",
    "read-only": "troubleshooting",
    "lock": "reliability",
    "timeout": "reliability",
    "view": "views",
    "materialized view": "views",
    "weave": "weaving",
    "used by a view": "troubleshooting",
    "permission": "troubleshooting",
    "role": "troubleshooting",
}


@pytest.mark.parametrize("word", ANSWERED_BY)
def test_a_word_is_answered(word: str) -> None:
    text = (DOCS / f"{ANSWERED_BY[word]}.md").read_text(encoding="utf-8")
    assert re.search(rf"(?<!\w){re.escape(word)}", text, re.IGNORECASE)


def test_the_pages_are_on_the_site() -> None:
    site = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    assert all(f": {page}.md" in site for page in ANSWERED_BY.values())
