"""What a body creates, told from its text."""

from __future__ import annotations

from typing import Any

import pytest

from migrate_graph.loader.created import relations_created

SHARED = "CREATE TABLE shared (id int)"


def helper(db: Any) -> None:
    db.executesql("CREATE UNLOGGED TABLE helped (id int)")


def plain(db: Any) -> None:
    db.executesql("CREATE TABLE plain (id int)")


def several(db: Any) -> None:
    db.executesql('CREATE TABLE IF NOT EXISTS public.one (id int); create  materialized view "Two" as select 1')


def through(db: Any) -> None:
    helper(db)
    db.executesql(SHARED)


def by_pydal(db: Any) -> None:
    db.define_table("defined", migrate=True)


def temporary(db: Any) -> None:
    db.executesql("CREATE TEMP TABLE t (id int); CREATE TEMPORARY VIEW v AS SELECT 1")


def commented(db: Any) -> None:
    db.executesql("-- CREATE TABLE gone (id int)\n/* CREATE VIEW too AS */ SELECT 1")


def put_together(db: Any) -> None:
    for name in ("a", "b"):
        db.executesql(f"CREATE TABLE {name} (id int)")


def quoted(db: Any) -> None:
    db.executesql(
        'CREATE TABLE "a ""b""" (id int); CREATE TABLE [of access] (id int); CREATE TABLE `of mysql` (id int)'
    )


def told(db: Any) -> None:
    """CREATE TABLE documented (id int)"""
    for each in ("CREATE TABLE listed (id int)", "SELECT 1"):
        db.executesql(each)


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (told, {"listed"}),
        (plain, {"plain"}),
        (several, {"one", "Two"}),
        (through, {"helped", "shared"}),
        (by_pydal, {"defined"}),
        (temporary, set()),
        (commented, set()),
        (put_together, set()),
        (quoted, {'a "b"', "of access", "of mysql"}),
        (len, set()),
    ],
)
def test_names(body: Any, names: set[str]) -> None:
    assert relations_created(body) == names
