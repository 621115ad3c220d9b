"""Runs a migrations file once and collects what it declares; the process knows nothing of the file's modules afterwards."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from migrate_graph.authoring import Collector, ViewMigrationManager, collecting, declared_at
from migrate_graph.core.model import (
    DecoratedAbove,
    FactsOnDemand,
    Migration,
    Registry,
    Unfinished,
    UnreachedFile,
    UsesFrom,
    View,
)
from migrate_graph.core.uses import with_uses
from migrate_graph.loader.bodies import definition_of, facts_with
from migrate_graph.loader.created import relations_created
from migrate_graph.loader.faults import as_load_errors, told_at_once
from migrate_graph.loader.fingerprints import fingerprint_of_manager
from migrate_graph.loader.imports import ProjectImports, run_directory, run_file, with_texts
from migrate_graph.loader.meanings import as_loaded
from migrate_graph.loader.paths import Places, file_at, root_of
from migrate_graph.loader.sources import Sources
from migrate_graph.loader.unreachable import decorators_above, undecorated_functions, unreached_files
from migrate_graph.user_files import SourceLocation, is_user_file

T = TypeVar("T")

__all__ = ["Loaded", "ProjectImports", "build_registry", "load", "load_project", "user_imports", "with_texts"]


class Loaded(Struct, frozen=True):
    """The result of running a migrations file.

    Attributes:
        registry: what was declared.
        imports: lets bodies that import while they run find the modules beside their file again.
    """

    registry: Registry
    imports: ProjectImports


def load(path: Path, *, root: Path | None = None) -> Registry:
    """Return what a migrations file declares, with everything it imports; for those who run no bodies.

    Args:
        path: a Python file, a directory that holds a `migrations.py`, or one of numbered files.
        root: the directory that shown paths are relative to; None for the current one when the file is below it, else
            the file's own.

    Raises:
        LoadError: it does not exist, or it does not run.
    """
    return load_project(path, root=root).registry


def load_project(path: Path, *, root: Path | None = None) -> Loaded:
    """Run a migrations file, with everything it imports; the arguments and errors are those of `load`."""
    file = file_at(Path(path)).absolute()
    places = Places(root_of(file, root), file.parent)
    imports = ProjectImports(file.parent)
    with collecting() as collector, imports.opened(collector):
        # What user code prints must not be mixed with the output of the command.
        collector.faults = []
        with told_at_once(places, collector.faults):
            with contextlib.redirect_stdout(sys.stderr), as_load_errors(places, file):
                run_directory(file) if file.is_dir() else run_file(file)
            registry = _registry_of(collector, file, places)
    return Loaded(registry, imports)


def _registry_of(collector: Collector, file: Path, places: Places) -> Registry:
    return build_registry(
        collector.migrations,
        collector.managers,
        root=places.root,
        unreached=unreached_files(file, places, collector),
        undecorated=undecorated_functions(file, places, collector),
        unused_decorators=[places.place(each) for each in collector.unused if is_user_file(each.path)],
        unfinished=[Unfinished(kind, places.place(at)) for kind, at in collector.unfinished if is_user_file(at.path)],
        decorated_above=decorators_above(places, collector),
        directory=places.directory,
    )


@contextlib.contextmanager
def user_imports(imports: ProjectImports | None, registry: Registry) -> Iterator[None]:
    """Make the modules of a loaded project importable again: bodies may import while they run.

    Bodies get the same modules that were loaded. What they import for the first time is removed afterwards. The store
    `migrations` holds what was loaded.

    Args:
        imports: from `load_project`; None for declarations of the process: then nothing happens.
        registry: from the same loading.
    """
    if imports is None:
        yield
        return
    # A module imported this late may declare something: that is not part of the run, and must not reach the default store.
    with collecting() as collector, imports.opened(collector):
        collector.migrations += registry.migrations
        collector.managers += [view.manager for view in registry.views]
        yield
        _warn_of_late(collector.migrations[len(registry.migrations) :])


def _warn_of_late(declared: Sequence[Migration]) -> None:
    for late in declared:
        warnings.warn_explicit(
            f"{late.name} was declared while migrations ran, and is no part of this run: import its file when migrations load",
            UserWarning,
            late.source.path,
            late.source.line,
        )


def build_registry(
    migrations: Iterable[Migration],
    managers: Iterable[type[ViewMigrationManager]],
    *,
    root: Path,
    unreached: Sequence[UnreachedFile] = (),
    undecorated: Sequence[UnreachedFile] = (),
    unused_decorators: Sequence[SourceLocation] = (),
    unfinished: Sequence[Unfinished] = (),
    decorated_above: Sequence[DecoratedAbove] = (),
    directory: Path | None = None,
) -> Registry:
    """Turn declarations into values: positions, places, facts from the source text, views evaluated.

    Args:
        migrations: in order of declaration.
        managers: concrete view managers, in order of declaration.
        root: the directory that shown paths are relative to.
        unreached: files that declare something and were not imported.
        undecorated: functions that seem to lack `@migration`.
        unused_decorators: where `migration(…)` was called and declared nothing.
        unfinished: subclasses of view managers that are no views.
        decorated_above: decorators above `@migration` that have no effect.
        directory: the directory of the migrations file; modules are named relative to it.

    Raises:
        LoadError: `uses`, `since`, `until` or `replaces` of a view manager cannot be evaluated.
    """
    places = Places(root.absolute(), (directory or root).absolute())
    sources, modules = Sources(places.shown), dict(sys.modules)
    described = tuple(
        _described(declared, at, places, sources, modules) for at, declared in enumerate(_each_once(migrations))
    )
    sources.forget_lines()
    return Registry(
        migrations=described,
        views=_with_uses(
            [_evaluated(manager, at, places, sources) for at, manager in enumerate(_each_once(managers))], sources
        ),
        unreached=tuple(unreached),
        undecorated=tuple(undecorated),
        unused_decorators=tuple(unused_decorators),
        unfinished=tuple(unfinished),
        decorated_above=tuple(decorated_above),
        root=str(places.root),
    )


def _with_uses(views: list[View], sources: Sources) -> tuple[View, ...]:
    """Return the views, each with its `uses`; where a view leaves them out, the names of other views are read from their managers' text."""
    if any(each.uses_from is UsesFrom.GUESSED for each in views):
        views = [each if each.relations else replace(each, relations=_created_by(each, sources)) for each in views]
    return with_uses(views)


def _created_by(view: View, sources: Sources) -> tuple[str, ...]:
    up = getattr(view.manager, "up", None)
    names = relations_created(up, sources) if callable(up) else ()
    return tuple(sorted('"' + name.replace('"', '""') + '"' for name in names))


def _each_once(declared: Iterable[T]) -> Iterator[T]:
    """Leave out the declarations of a file that was executed a second time, under another module name."""
    first: dict[tuple[str, SourceLocation], str] = {}
    for each in declared:
        source = each.source if isinstance(each, Migration) else declared_at(each)  # type: ignore[arg-type] # a manager
        module = str(getattr(each.function if isinstance(each, Migration) else each, "__module__", None))
        if first.setdefault((each.__name__, source), module) == module:  # type: ignore[attr-defined] # both have one
            yield each


def _described(
    declared: Migration, position: int, places: Places, sources: Sources, modules: Mapping[str, ModuleType]
) -> Migration:
    def read(name: str) -> dict[str, object]:
        with as_loaded(modules):
            return facts_with(name, declared.function, sources)

    source = definition_of(declared.function, sources) or declared.source
    return replace(
        declared,
        position=position,
        source=places.place(source),
        module=places.module(source.path),
        facts=FactsOnDemand(read),
        after=declared.after and replace(declared.after, source=places.place(declared.after.source)),
    )


def _evaluated(manager: type[ViewMigrationManager], position: int, places: Places, sources: Sources) -> View:
    source = declared_at(manager)
    with as_load_errors(places, Path(source.path), subject=f"view {manager.__name__}", source=source):
        view = manager.as_view(position=position)
    return replace(
        view,
        source=places.place(source),
        module=places.module(source.path),
        fingerprint=fingerprint_of_manager(manager, sources),
    )
