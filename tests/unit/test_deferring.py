"""Whether a manager's own `up()` can leave the rows out is judged by everything that it leads to, and never guessed against it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migrate_graph import SqlView, ViewMigrationManager, classproperty, migrations
from migrate_graph.authoring import collecting
from migrate_graph.database.views.manager_text import text_of

WITH_ROWS = "CREATE MATERIALIZED VIEW v AS SELECT 1 AS n"
WITHOUT = "CREATE MATERIALIZED VIEW v AS SELECT 1 AS n WITH NO DATA"


def create(manager: Any) -> None:
    manager.db.executesql(WITH_ROWS + " WITH NO DATA" * manager.deferred)


def create_at_once(db: Any) -> None:
    db.executesql(WITH_ROWS)


def told(db: Any, *, deferred: bool) -> None:
    db.executesql(WITHOUT if deferred else WITH_ROWS)


def logged(function: Any) -> Any:
    @functools.wraps(function)
    def around(*arguments: Any) -> Any:
        return function(*arguments)

    return around


class Base(ViewMigrationManager):
    uses = ()
    rebuild = "deferred"
    sql = WITH_ROWS

    def down(self) -> None:
        self.db.executesql("DROP MATERIALIZED VIEW IF EXISTS v" if self.deferred else "")

    def unused(self) -> bool:
        return self.deferred


class Asks(Base):
    def up(self) -> None:
        self.db.executesql(WITH_ROWS + (" WITH NO DATA" if self.deferred else ""))


class AsksByName(Base):
    def up(self) -> None:
        self.db.executesql(WITH_ROWS + " WITH" + " NO DATA" * getattr(self, "deferred"))  # noqa: B009 - as somebody may


class AsksInAFunction(Base):
    def up(self) -> None:
        create(self)


class AsksInAMethod(Base):
    def up(self) -> None:
        self._create()

    def _create(self) -> None:
        self.db.executesql(self._text)

    @property
    def _text(self) -> str:
        return WITH_ROWS + " WITH NO DATA" * self.deferred


class AsksBehindADecorator(Base):
    @logged
    def up(self) -> None:
        self.db.executesql(WITH_ROWS + " WITH NO DATA" * self.deferred)


class AsksInAClassProperty(Base):
    @classproperty
    def _end(cls) -> str:  # noqa: N805 - a classproperty is given the class
        return " WITH NO DATA"

    def up(self) -> None:
        self.db.executesql(WITH_ROWS + self._end)


class NeverFills(Base):
    def up(self) -> None:
        self.db.executesql(WITHOUT)


class NeverFillsByAConstant(Base):
    sql = WITHOUT

    def up(self) -> None:
        self.db.executesql(self.sql)


class Handed(Base):
    def up(self) -> None:
        told(self.db, deferred=self.deferred)


class CannotBeSeen(Base):
    def up(self) -> None:
        with Path("v.sql").open(encoding="utf-8") as file:
            self.db.executesql(file.read())


class OfAMixin:
    db: Any
    deferred: bool

    def up(self) -> None:
        self.db.executesql(WITH_ROWS + " WITH NO DATA" * self.deferred)


class Mixed(OfAMixin, Base):
    pass


class OwnOfASqlView(SqlView):
    uses = ()
    rebuild = "deferred"
    materialized = True
    query = "SELECT 1 AS n"


class AtOnce(Base):
    """CREATE MATERIALIZED VIEW v … WITH NO DATA is what it does not do."""

    def up(self) -> None:
        """Not WITH NO DATA, whatever is deferred."""
        self.db.executesql(WITH_ROWS)


class AtOnceInAFunction(Base):
    def up(self) -> None:
        create_at_once(self.db)


class AtOnceByAConstant(Base):
    def up(self) -> None:
        self.db.executesql(self.sql)


class AtOnceByAClassProperty(Base):
    @classproperty
    def _text(cls) -> str:  # noqa: N805 - a classproperty is given the class
        return WITH_ROWS

    def up(self) -> None:
        self.db.executesql(self._text)


class Ordinary(Base):
    def up(self) -> None:
        self.db.executesql("CREATE OR REPLACE VIEW v AS SELECT 1 AS n")


# They belong to no project of this process.
migrations.managers[:] = [each for each in migrations.managers if each.__module__ != __name__]


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    with collecting():
        yield


@pytest.mark.parametrize(
    "manager",
    [
        Asks, AsksByName, AsksInAFunction, AsksInAMethod, AsksBehindADecorator, AsksInAClassProperty, NeverFills,
        NeverFillsByAConstant, Handed, CannotBeSeen, Mixed, OwnOfASqlView,
    ],
)  # fmt: skip
def test_it_can(manager: type[ViewMigrationManager]) -> None:
    assert manager.can_defer()
    assert manager.as_view().can_defer


@pytest.mark.parametrize("manager", [AtOnce, AtOnceInAFunction, AtOnceByAConstant, AtOnceByAClassProperty, Ordinary])
def test_it_cannot(manager: type[ViewMigrationManager]) -> None:
    assert not manager.can_defer()
    assert not manager.as_view().can_defer


def test_where_it_is_not_asked_for_nobody_looks() -> None:
    class Inline(AtOnce):
        rebuild = "inline"

    assert Inline.as_view().can_defer


def test_a_docstring_creates_nothing() -> None:
    assert all("does not do" not in text and "whatever" not in text for text in text_of(AtOnce).texts)
