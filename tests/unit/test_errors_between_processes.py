"""Every error can be told to another process: a worker that cannot say why it stopped is taken for one that died."""

from __future__ import annotations

import importlib
import pickle
import pkgutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import migrate_graph
from migrate_graph.errors import InvalidGraph, MigrateGraphError, Stopped
from migrate_graph.executor.worker_messages import Unfit
from migrate_graph.user_files import SourceLocation

OF_ITS_OWN: dict[type[MigrateGraphError], dict[str, Any]] = {
    Stopped: {"signal": int(signal.SIGTERM)},
    InvalidGraph: {"findings": ("one",)},
}


def _below(kind: type[MigrateGraphError]) -> Iterator[type[MigrateGraphError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _below(each)


def _all() -> list[type[MigrateGraphError]]:
    for module in pkgutil.walk_packages(migrate_graph.__path__, "migrate_graph."):
        room, name = module.name.split(".")[1], module.name.rpartition(".")[2]
        if room in {"errors", "workflow", "executor", "database", "compat"} and not name.endswith("_program"):
            importlib.import_module(module.name)
    found = {
        kind.__qualname__: kind for kind in _below(MigrateGraphError) if kind.__module__.startswith("migrate_graph.")
    }
    return [found[name] for name in sorted(found)]


@pytest.mark.parametrize("kind", _all(), ids=lambda kind: kind.__name__)
def test_an_error_arrives_as_it_was(kind: type[MigrateGraphError]) -> None:
    error = kind("what happened", hint="what to type", **OF_ITS_OWN.get(kind, {}))
    error.source = SourceLocation(Path("migrations.py"), 7)
    there = pickle.loads(pickle.dumps(Unfit(error))).error
    assert type(there) is kind
    assert (str(there), there.args, vars(there)) == (str(error), error.args, vars(error))
    assert there.exit_code == error.exit_code
