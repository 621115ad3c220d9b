"""The modules that a run uses are after each body what they were before it."""

from __future__ import annotations

import builtins
import os
import sys
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import ClassVar

import pytest

from migrate_graph.executor import process_state
from migrate_graph.executor.process_state import KeptModules

STRANGER, OTHER = "a_module_of_nobody", "another_module_of_nobody"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    every = [sys.modules, *(module.__dict__ for module in (time, os, sys, builtins))]
    before = [names.copy() for names in every]
    yield
    for names, old in zip(every, before, strict=True):
        names.update(old)
        for added in names.keys() - old.keys():
            del names[added]


def run(modules: KeptModules, *bodies: Callable[[], object]) -> None:
    """Run bodies, one after the other."""
    for body in bodies:
        with modules:
            body()


def nothing() -> None:
    """Change nothing."""


REPLACES: dict[str, Callable[[], object]] = {
    "a function": lambda: setattr(time, "sleep", None),
    "a built-in function": lambda: setattr(builtins, "all", None),
    "what it is told by": lambda: vars(builtins).update(all=None, map=None, len=None),
    "what is taken away": lambda: delattr(time, "sleep"),
    "what is taken away where another comes": lambda: (delattr(time, "sleep"), setattr(time, "slept", 1)),
    "what is equal": lambda: setattr(os, "environ", dict(os.environ)),  # noqa: TID251 - what a body may do
    "what says that it is equal": lambda: setattr(time, "sleep", Yes()),
    "a module": lambda: sys.modules.update(json=ModuleType("json")),
    "a module that is taken away": lambda: sys.modules.pop("json"),
    "a module for another": lambda: sys.modules.update({STRANGER: sys.modules.pop("json")}),
    "the last module for another": lambda: sys.modules.update({STRANGER: sys.modules.popitem()[1]}),
    "all modules": sys.modules.clear,
}


class Yes:
    """Equals everything."""

    def __eq__(self, _other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


def state() -> list[object]:
    """Return what the bodies above replace."""
    environ = vars(os)["environ"]
    return [time.sleep, builtins.all, builtins.map, builtins.len, environ, sys.modules.get("json")]


@pytest.mark.parametrize("what", REPLACES)
@pytest.mark.parametrize("bodies_before", [0, 1, 2])
def test_what_a_body_replaces_is_put_back(what: str, bodies_before: int) -> None:
    modules, before, loaded = KeptModules(), state(), set(sys.modules)
    run(modules, *[nothing] * bodies_before, REPLACES[what])
    assert [each is other for each, other in zip(state(), before, strict=True)] == [True] * 6
    assert loaded <= sys.modules.keys()
    run(modules, REPLACES[what], nothing)
    assert time.sleep is before[0]


def test_what_a_body_has_added_stays_and_is_put_back_after_the_next_one() -> None:
    modules, added = KeptModules(), ModuleType(STRANGER)
    run(modules, nothing, lambda: sys.modules.update({STRANGER: added}))
    assert sys.modules[STRANGER] is added
    run(modules, lambda: sys.modules.update({STRANGER: ModuleType(OTHER)}))
    assert sys.modules[STRANGER] is added
    run(modules, lambda: sys.modules.pop(STRANGER))
    assert sys.modules[STRANGER] is added


def test_what_a_run_sets_itself_is_no_replacement() -> None:
    modules, before = KeptModules(), sys.stdout
    run(modules, nothing)
    sys.stdout = sys.stderr
    try:
        run(modules, nothing, lambda: setattr(time, "sleep", None))
        assert sys.stdout is sys.stderr
    finally:
        sys.stdout = before


class _Importing(tuple[str, ...]):
    """Our own names, and a thread that imports something whenever somebody looks at them."""

    modules: ClassVar[dict[str, object]] = {"one": 1, "two": 2}

    def __contains__(self, name: object) -> bool:
        self.modules[f"{name}.more"] = 3
        return super().__contains__(name)


def test_a_thread_may_import_something_while_the_modules_are_noted() -> None:
    entries = process_state._Entries(_Importing.modules, ours=_Importing(["two"]))
    entries.note()
    assert entries.values == [1, 2]
    assert entries.places == [(1, "two")]
