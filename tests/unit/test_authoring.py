"""The words of a migrations file."""

import functools
import threading
import warnings
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import pytest

from migrate_graph import SqlView, ViewMigrationManager, classproperty, migration, migrations, progress
from migrate_graph.authoring import Collector, MigrationStore, Running, collecting, current, running
from migrate_graph.core.model import BodyKind, Migration, TransactionMode
from migrate_graph.errors import UsageError


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture
def store() -> Iterator[MigrationStore]:
    before = list(migrations.migrations)
    migrations.reset()
    yield migrations
    migrations.migrations[:] = before


def names(store: MigrationStore) -> list[str]:
    return [name for name, _ in store]


# --- @migration --------------------------------------------------------------------------------------------------


def test_all_forms_declare(collector: Collector) -> None:
    @migration
    def bare(db: Any) -> bool:
        """Says what it does."""
        return bool(db)

    @migration()
    def called(db: Any) -> bool:
        return True

    @migration(requires=bare)
    def after_migration(db: Any) -> bool:
        return True

    def plain(db: Any) -> bool:
        return True

    direct = migration(plain)

    @migration(requires="called")
    def after_name(db: Any) -> bool:
        return True

    @migration(requires=[bare, plain, "called", bare])
    def after_several(db: Any) -> bool:
        return True

    assert collector.migrations == [bare, called, after_migration, direct, after_name, after_several]
    assert all(isinstance(each, Migration) for each in collector.migrations)
    assert after_migration.requires == ("bare",)
    assert after_name.requires == ("called",)
    assert after_several.requires == ("bare", "plain", "called")
    assert (bare.__name__, bare.description, bare(1), bare.body(0)) == ("bare", "Says what it does.", True, False)
    assert [each.position for each in collector.migrations] == [0, 1, 2, 3, 4, 5]
    assert direct.function is plain


def test_d18_a_requirement_named_twice_is_required_once(collector: Collector) -> None:
    assert migration(lambda db: True, requires=["a", "a"]).requires == ("a",)


@pytest.mark.parametrize("nothing", [None, (), [], "", set()])
def test_requiring_nothing(collector: Collector, nothing: Any) -> None:
    @migration(requires=nothing)
    def alone(db: Any) -> bool:
        return True

    assert alone.requires == ()


def test_settings_of_a_declaration(collector: Collector) -> None:
    class Seen(ViewMigrationManager):
        uses = ()

        def up(self) -> None: ...

        def down(self) -> None: ...

    @migration(transaction="none", tags="slow", views=[Seen, "Other"], ignore=["MG106", "MG302"])
    def one(db: Any) -> bool:
        return True

    assert one.transaction is TransactionMode.NONE
    assert one.tags == {"slow"}
    assert one.declared_views == ("Seen", "Other")
    assert one.touches == ("Seen", "Other")
    assert one.ignore == {"MG106", "MG302"}


@pytest.mark.parametrize("word", ["after", "down"])
def test_what_cannot_be_called_with_db_is_refused(word: str, collector: Collector) -> None:
    """Of the body MG306 says so: a project that runs today goes on to load."""

    def asks() -> bool:
        return True

    with pytest.raises(TypeError, match=rf"^{word}: asks cannot be called with db: its arguments are \(\)$"):
        migration(**{word: asks})(lambda db: True)
    migration(**{word: lambda db, also="": True})(lambda db: True)


def test_wrong_settings_are_refused(collector: Collector) -> None:
    with pytest.raises(ValueError, match="own, single, none"):
        migration(transaction="both")
    with pytest.raises(TypeError, match="requires: 3"):
        migration(requires=3)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="requires: None"):
        migration(requires=["a", None])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="a migration: 3"):
        migration(3)  # type: ignore[call-overload]
    assert collector.migrations == []


def test_d18_coroutines_and_generators_are_told_apart(collector: Collector) -> None:
    async def coroutine(db: Any) -> bool:
        return True

    async def asynchronous(db: Any) -> Any:
        yield True

    def generator(db: Any) -> Any:
        yield True

    def plain(db: Any) -> bool:
        return True

    @functools.wraps(coroutine)
    def run_to_its_end(db: Any) -> bool:
        return True

    class Body:
        def __init__(self, db: Any) -> None: ...

    kinds = [migration(each).kind for each in (coroutine, asynchronous, generator, plain, run_to_its_end, Body)]
    assert kinds == [
        BodyKind.COROUTINE,
        BodyKind.COROUTINE,
        BodyKind.GENERATOR,
        BodyKind.FUNCTION,
        BodyKind.FUNCTION,
        BodyKind.CLASS,
    ]


def test_bodies_without_code_can_be_declared(collector: Collector) -> None:
    def body(db: Any, flag: bool) -> bool:
        return flag

    declared = migration(functools.partial(body, flag=True))
    assert (declared.name, declared("db")) == ("body", True)
    assert migration(len).source.path == __file__


def test_a_partial_that_was_given_a_name_has_that_name_as_in_edwh_migrate(collector: Collector) -> None:
    def base(db: object, table: str) -> bool:
        return True

    first, second = functools.partial(base, table="a"), functools.partial(base, table="b")
    first.__name__, second.__name__ = "fill_a", "fill_b"  # type: ignore[attr-defined]
    around = functools.partial(second)

    declared = [migration(first), migration(second, requires=[first]), migration(requires=around)(base)]

    assert [each.name for each in declared] == ["fill_a", "fill_b", "base"]
    assert [each.requires for each in declared] == [(), ("fill_a",), ("fill_b",)]


# --- collectors --------------------------------------------------------------------------------------------------


def test_a_collector_judges_nothing_and_leaves_the_store_alone(store: MigrationStore) -> None:
    with collecting() as outer:
        migration(_named("twice"), requires="unknown")
        migration(_named("twice"))
        with collecting() as inner:
            migration(_named("inner"))
            assert names(migrations) == ["inner"]
        assert names(migrations) == ["twice", "twice"]
        assert migrations.has("twice")
    assert [each.name for each in outer.migrations] == ["twice", "twice"]
    assert [each.name for each in inner.migrations] == ["inner"]
    assert not store


def test_a_collector_is_of_its_own_thread_and_of_those_it_starts(store: MigrationStore) -> None:
    opened = threading.Event()

    def declare_elsewhere() -> None:
        assert opened.wait(20)
        migration(_named("elsewhere"))

    before = threading.Thread(target=declare_elsewhere)
    before.start()
    with collecting() as collector:
        opened.set()
        before.join()
        inside = threading.Thread(target=lambda: migration(_named("inside")))
        inside.start()
        inside.join()
        assert [each.name for each in collector.migrations] == ["inside"]
    assert names(store) == ["elsewhere"]


def _named(name: str) -> Any:
    def body(db: Any) -> bool:
        return True

    body.__name__ = name
    return body


# --- the default store -------------------------------------------------------------------------------------------


def test_the_store_keeps_the_ancestors_promises(store: MigrationStore) -> None:
    assert (len(store), bool(store), store.has("a")) == (0, False, False)
    store.register_ordered(_named("a"))
    store.register_ordered(_named("b"))
    store.register_ordered(_named("c"), ["a"])
    store.register_ordered(_named("d"), [store.list()["a"], "c"])
    assert names(store) == ["a", "c", "d", "b"]
    assert list(store.list()) == names(store)
    assert (len(store), bool(store), store.has("d")) == (4, True, True)
    store.reset()
    assert not store


def test_the_store_refuses_duplicates_and_strangers(store: MigrationStore) -> None:
    migration(_named("a"))
    with pytest.raises(ValueError, match="Duplicate migration name a"):
        migration(_named("a"))
    with pytest.raises(ValueError, match="b depends on x which is unknown"):
        migration(_named("b"), requires="x")
    with store.defer_dependency_validation():
        migration(_named("b"), requires="x")
    with pytest.raises(ValueError, match="b depends on x which is unknown"):
        store.resolve_order()
    with pytest.raises(ValueError, match="c depends on x"):
        migration(_named("c"), requires="x")


def test_the_store_resolves_as_the_ancestor(store: MigrationStore) -> None:
    with store.defer_dependency_validation():
        for name, requires in (("late_2_0", ["base_9"]), ("base_9", []), ("free_1", []), ("tail_3", ["free_1"])):
            migration(_named(name), requires)
    store.resolve_order()
    assert names(store) == ["base_9", "late_2_0", "free_1", "tail_3"]
    store.resolve_order("intertwined")
    assert names(store) == ["free_1", "tail_3", "base_9", "late_2_0"]


def test_d27_a_circle_is_told_without_the_innocent(store: MigrationStore) -> None:
    with store.defer_dependency_validation():
        for name, requires in (("a", ["b"]), ("b", ["a"]), ("innocent", ["b"])):
            migration(_named(name), requires)
    with pytest.raises(ValueError, match="circular dependency") as caught:
        store.resolve_order()
    assert "innocent" not in str(caught.value)


# --- view managers -----------------------------------------------------------------------------------------------


with collecting():  # not into the default store, which other tests look at

    class Base(ViewMigrationManager):
        uses = ()

        def up(self) -> None:
            self.db.log.append(f"+{type(self).__name__}")

        def down(self) -> None:
            self.db.log.append(f"-{type(self).__name__}")


class Ledger:
    """As much of a DAL as a manager outside a run asks for."""

    def __init__(self, *applied: str) -> None:
        self.log: list[str] = []
        self.queries = 0
        self.ewh_implemented_features = self
        self.installed = self.name = "column"
        self.applied = applied

    def __call__(self, query: Any) -> "Ledger":
        self.queries += 1
        return self

    def select(self, *columns: Any) -> list[Any]:
        return [type("Row", (), {"name": name, "installed": True}) for name in self.applied]


def test_windows_may_be_attributes_properties_or_classproperties(collector: Collector) -> None:
    @migration
    def opening(db: Any) -> bool:
        return True

    class Read(Base):
        uses = ()
        since = opening

    class Reader(Base):
        @property
        def uses(self) -> Any:
            return (Read,)

        @classproperty
        def since(cls) -> str:  # noqa: N805 - a classproperty is given the class
            return f"{cls.__name__}_opens".lower()

        @functools.cached_property
        def until(self) -> Any:
            return opening.function

        replaces = Read

    view = Reader.as_view(position=7)
    assert (view.name, view.uses, view.since, view.until, view.replaces) == (
        "Reader",
        ("Read",),
        "reader_opens",
        "opening",
        "Read",
    )
    assert (view.position, view.source.path) == (7, __file__)
    assert Read.as_view().since == "opening"
    assert (Read.since is opening, ViewMigrationManager.since, ViewMigrationManager.until) == (True, "", "")


def test_a_missing_uses_is_a_warning_at_the_class(collector: Collector) -> None:
    with pytest.warns(UserWarning, match="Silent does not say which views it uses") as told:

        class Silent(ViewMigrationManager):
            def up(self) -> None: ...

            def down(self) -> None: ...

    assert told[0].filename == __file__
    assert Silent.as_view().uses == ()
    assert not Silent.declares("uses")


def test_abstract_classes_are_no_views_and_subclasses_are_views_of_their_own(collector: Collector) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        class Half(ViewMigrationManager):
            def up(self) -> None: ...

        class Whole(Half):
            uses = ()

            def down(self) -> None: ...

        class Next(Whole):
            replaces = Whole

    assert collector.managers == [Whole, Next]
    assert Next.as_view().uses == ()
    assert Next.declares("uses")


@pytest.mark.parametrize("kind", [ViewMigrationManager, SqlView])
def test_every_attribute_of_a_manager_is_a_setting_or_only_told_to_it(kind: type[ViewMigrationManager]) -> None:
    """A new attribute must be among the names that a misspelt one is compared with (MG215)."""
    bases = (base for base in kind.__mro__ if base.__module__.startswith("migrate_graph."))
    attributes = {
        name
        for base in bases
        for name, value in vars(base).items()
        if not name.startswith("_") and not isinstance(value, FunctionType | classmethod | staticmethod)
    }
    assert {*kind._settings} == attributes - {"deferred"}


def test_a_view_ignores_rules_by_a_word_or_by_several(collector: Collector) -> None:
    class One(Base):
        ignore = "MG210"

    class Several(Base):
        @classproperty
        def ignore(cls) -> Any:  # noqa: N805 - a classproperty is given the class
            return ["MG210", "MG2"]

    class Wrong(Base):
        ignore = (210,)

    assert One.as_view().ignore == {"MG210"}
    assert Several.as_view().ignore == {"MG210", "MG2"}
    assert Base.as_view().ignore == set()
    with pytest.raises(TypeError, match=r"Wrong\.ignore: 210 is no text"):
        Wrong.as_view()


def test_what_cannot_be_meant_is_a_type_error(collector: Collector) -> None:
    class Two(Base):
        since = ("a", "b")

    class Three(Base):
        uses = (3,)

    for flag in ("resumable", "independent", "weave"):
        with pytest.raises(TypeError, match=f"{flag}: 'off' is neither True nor False"):
            migration(**{flag: "off"})(print)  # type: ignore[call-overload] # what a type checker would refuse
    with pytest.raises(TypeError, match="tags: 5 is no text"):
        migration(tags=5)(print)  # type: ignore[call-overload] # what a type checker would refuse
    with pytest.raises(TypeError, match=r"Two\.since names 2 things"):
        Two.as_view()
    with pytest.raises(TypeError, match=r"Three\.uses: 3"):
        Three.as_view()


def test_a_manager_inside_a_run_is_the_runs_matter(collector: Collector) -> None:
    told: list[Any] = []

    class Opener:
        def enter(self, manager: ViewMigrationManager) -> None:
            told.append(("enter", manager))

        def leave(self, manager: ViewMigrationManager, error: BaseException | None) -> None:
            told.append(("leave", manager, error))

    class Shown(Base):
        uses = ()
        since = "now"
        until = "then"

    def report(done: int, total: int | None, unit: str) -> None:
        told.append((done, total, unit))

    assert current() is None
    progress(1)
    with running(Running("now", frozenset, Opener(), report)):
        with Shown("db") as entered:
            assert entered.should_run()
            assert entered.check_since()
            assert entered.check_until()
        progress(3, 9, "rows")
        boom = RuntimeError("boom")
        with pytest.raises(RuntimeError, match="boom"), Shown("db") as failed:
            raise boom
    assert told == [
        ("enter", entered),
        ("leave", entered, None),
        (3, 9, "rows"),
        ("enter", failed),
        ("leave", failed, boom),
    ]
    assert current() is None


def test_the_same_manager_may_be_opened_twice_at_once(collector: Collector) -> None:
    class Once(Base):
        uses = ()

    db = Ledger()
    manager = Once(db, {})
    with manager, manager:
        pass
    assert db.log == ["-Once", "-Once", "+Once", "+Once"]


def test_outside_a_run_relatives_go_along_and_the_ledger_is_read_once(collector: Collector) -> None:
    class Bottom(Base):
        uses = ()

    class Left(Base):
        uses = (Bottom,)
        since = "opened"

    class Right(Base):
        @property
        def uses(self) -> Any:
            return [Bottom]

        until = "closed"

    class Top(Base):
        uses = (Left, Right)

    class Future(Base):
        uses = (Bottom,)
        since = "never"

    db = Ledger("opened")
    with Bottom(db):
        db.log.append("work")
    assert db.log == ["-Top", "-Right", "-Left", "-Bottom", "work", "+Bottom", "+Left", "+Right", "+Top"]
    assert db.queries == 1
    assert [kind(Ledger("opened")).should_run() for kind in (Bottom, Left, Future)] == [True, True, False]
    assert not Right(Ledger("closed")).check_until()
    assert not Future(Ledger()).check_since()


def test_outside_a_run_a_successor_takes_over(collector: Collector) -> None:
    class First(Base):
        uses = ()

    class Second(First):
        replaces = First
        since = "handed_over"

    db = Ledger("handed_over")
    with First(db):
        pass
    assert db.log == ["-Second", "+Second"]
    assert not First(Ledger("handed_over")).should_run()
    assert First(Ledger()).should_run()


def test_outside_a_run_nothing_comes_up_after_an_exception(collector: Collector) -> None:
    class Fragile(Base):
        uses = ()

    db = Ledger()
    with pytest.raises(ZeroDivisionError), Fragile(db):
        _ = 1 / 0
    assert db.log == ["-Fragile"]


def test_outside_a_run_strangers_do_no_harm(collector: Collector) -> None:
    class Broken(Base):
        @property
        def uses(self) -> Any:
            raise NameError("not mine")

    class Sound(Base):
        uses = ()

    db = Ledger()
    with Sound(db):
        pass
    assert db.log == ["-Sound", "+Sound"]


def test_outside_a_run_a_connection_without_the_ledger_is_told(collector: Collector) -> None:
    class Windowed(Base):
        uses = ()
        since = "x"

    with pytest.raises(UsageError) as caught:
        Windowed(object()).check_since()
    assert "setup_db" in caught.value.hint


def test_a_module_executed_again_replaces_its_views_in_the_default_store() -> None:
    before = list(migrations.managers)
    try:
        for _ in range(2):

            class Again(Base):
                uses = ()

        assert [kind.__name__ for kind in migrations.managers if kind.__name__ == "Again"] == ["Again"]
        assert migrations.managers[-1] is Again
    finally:
        migrations.managers[:] = before
