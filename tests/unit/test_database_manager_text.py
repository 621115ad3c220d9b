"""What the text of a manager tells of its relations."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from migrate_graph import SqlView, ViewMigrationManager
from migrate_graph.database.postgres.views.restoration import _ADDED
from migrate_graph.database.views.manager_text import names_created, speaks_of, text_of

TEXT_ELSEWHERE = "CREATE VIEW elsewhere AS SELECT 1"


class Base:
    db: Any

    def down(self) -> None:
        """Drop nothing."""


class Plain(Base):
    """Reads v_read, and is not top."""

    __module__ = "top"

    def up(self) -> None:
        self.db.executesql(
            "create or replace view\n  Shop . \"V \"\"A\" AS SELECT '100%%' FROM v_read; COMMENT ON VIEW other IS ''"
        )

    def down(self) -> None:
        self.db.executesql("DROP MATERIALIZED VIEW IF EXISTS v_old")


class ByGlobal(Base):
    def up(self) -> None:
        def run() -> None:
            self.db.executesql(TEXT_ELSEWHERE)

        run()


class ByAttribute(Base):
    sql = "CREATE TEMP VIEW by_attribute AS SELECT 1"

    def up(self) -> None:
        self.db.executesql(self.sql)


class PutTogether(Base):
    name = "v_together"

    def up(self) -> None:
        self.db.executesql(f"CREATE VIEW {self.name} AS SELECT 1")
        self.db.executesql(f"DROP VIEW IF EXISTS {self.name}")
        self.db.executesql("CREATE VIEW {} AS SELECT 1".format("v_formatted"))
        self.db.executesql("CREATE VIEW prefix_%s AS SELECT 1" % "x")  # noqa: UP031 - people do


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Plain, ('Shop . "V ""A"',)),
        (ByGlobal, ("elsewhere",)),
        (ByAttribute, ("by_attribute",)),
        (PutTogether, ()),
    ],
)
def test_the_views_that_a_manager_creates(kind: type, names: tuple[str, ...]) -> None:
    assert names_created(kind) == names


@pytest.mark.parametrize(
    ("kind", "name", "spoken"),
    [
        (Plain, "V_READ", True),
        (Plain, "read", False),
        (Plain, "top", False),  # where the class stands says nothing of what it creates
        (Plain, "v_old", False),  # only dropped
        (ByGlobal, "elsewhere", True),
        (PutTogether, "v_together", True),
        (PutTogether, "v_formatted", True),
    ],
)
def test_what_a_manager_speaks_of(kind: type, name: str, spoken: bool) -> None:
    assert speaks_of(kind, name) is spoken


def _keeping_its_name(up: Any) -> Any:
    @functools.wraps(up)
    def wrapper(self: Any) -> None:
        up(self)

    return wrapper


def _with_another_name(up: Any) -> Any:
    def wrapper(self: Any) -> None:
        up(self)

    return wrapper


class _Decorator:
    """Called like a function; `update_wrapper` is all that tells what it wraps."""

    def __init__(self, up: Any) -> None:
        functools.update_wrapper(self, up)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return functools.partial(self.__wrapped__, instance)  # type: ignore[attr-defined]


def _by(decorator: Any) -> type:
    class Decorated(Base):
        @decorator
        def up(self) -> None:
            self.db.executesql("CREATE VIEW v AS SELECT 1")

        def down(self) -> None:
            self.db.executesql("DROP VIEW IF EXISTS v")

    return Decorated


def _of(sql: str) -> type:
    class Enclosing(Base):
        def up(self) -> None:
            self.db.executesql(sql)

    return Enclosing


class Helped(Base):
    def up(self) -> None:
        self.create(1)

    def create(self, number: int) -> None:
        self.db.executesql("CREATE VIEW v AS SELECT 1")

    def down(self) -> None:
        self.db.executesql("DROP VIEW IF EXISTS v")


class Partly(Helped):
    up = functools.partialmethod(Helped.create, 1)  # type: ignore[assignment]


class Inheriting(Helped):
    def up(self) -> None:
        super().up()


class Reading(Helped):
    @property
    def sql(self) -> str:
        return "CREATE VIEW v AS SELECT 1"

    def up(self) -> None:
        self.db.executesql(self.sql)


@pytest.mark.parametrize(
    "kind",
    [
        _by(_keeping_its_name),
        _by(_with_another_name),
        _by(_Decorator),
        _of("CREATE VIEW v AS SELECT 1"),
        Helped,
        Partly,
        Inheriting,
        Reading,
    ],
)
def test_what_up_leads_to_is_its_text(kind: type) -> None:
    """Behind a decorator, in another method, in what it encloses: otherwise `down()` alone would seem to be the whole text."""
    assert names_created(kind) == ("v",)
    assert text_of(kind).is_complete
    assert speaks_of(kind, "v")


def test_a_docstring_is_not_what_it_does() -> None:
    class Silent(Base):
        """Once created v_gone."""

        def up(self) -> None:
            self.db.executesql("SELECT 1")

    assert not speaks_of(Silent, "v_gone")


def test_no_word_of_ours_counts_as_said_by_a_manager() -> None:
    """A property that the text of a manager mentions is left to the manager, and not restored."""

    class Declared(SqlView):
        uses = ()
        name = "a"
        query = "SELECT 1"

    class Managed(ViewMigrationManager):
        uses = ()

        def up(self) -> None:
            """Create nothing."""

        def down(self) -> None:
            """Drop nothing."""

    assert text_of(Managed).texts == ()
    asked = {word for word, _ in _ADDED.values() if word}
    assert {word for word in asked if text_of(Declared).says(word)} == set()
