"""What this process has declared or loaded: `import_migrations`, `list_migrations`, and the registry of both."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from migrate_graph.authoring import migrations
from migrate_graph.compat.console import say
from migrate_graph.compat.exceptions import caught_as_before
from migrate_graph.config import Config
from migrate_graph.core.model import Migration, Registry
from migrate_graph.errors import LoadError

if TYPE_CHECKING:
    from migrate_graph.loader import Loaded


class Imported:
    """What was loaded from a file into the default store, as opposed to what this process declared itself."""

    def __init__(self) -> None:
        self._loaded: Loaded | None = None
        self._path: Path | None = None
        self._named = False
        self._resets = 0

    @property
    def loaded(self) -> Loaded | None:
        """What was loaded; None when nothing was loaded, or `migrations.reset()` was called since."""
        return self._loaded if self._resets == migrations.resets else None

    @property
    def path(self) -> Path | None:
        """The file that it was loaded from; None when nothing is loaded."""
        return self._path if self.loaded else None

    def is_for(self, config: Config) -> bool:
        """Return whether the loaded file is the one that these settings name, or was named by an argument."""
        return self._named or self._path == _configured_file(config)

    def is_other_than(self, config: Config) -> bool:
        """Return whether another file was loaded than the one that these settings name: then there may be others beside it."""
        from migrate_graph.workflow.project import is_same

        path = self.path
        return path is not None and path.is_file() and not is_same(path, _configured_file(config))

    def keep(self, loaded: Loaded, path: Path, *, named: bool) -> None:
        """Replace what was loaded before.

        Args:
            loaded: what was loaded.
            path: path of the file.
            named: the file was named by an argument, so it is used with any settings.
        """
        self.forget()
        self._loaded, self._path, self._named, self._resets = loaded, path, named, migrations.resets

    def forget(self) -> None:
        """Remove what was loaded from the default store."""
        migrations.migrations[:] = self.own()
        self._loaded = None

    def own(self) -> list[Migration]:
        """Return what this process declared itself, in order of rank."""
        bodies = {each.function for each in self._loaded.registry.migrations} if self._loaded else set()
        return [each for each in migrations.migrations if each.function not in bodies]


imported = Imported()


def _configured_file(config: Config) -> Path:
    return Path(config.migrations_file).absolute()


@caught_as_before()
def import_migrations(args: list[str], config: Config) -> bool:
    """Load the migrations of a file into the default store; nothing is run.

    Args:
        args: at most one: a file, or a directory with a `migrations.py`; empty: the configured file.
        config: the settings.

    Returns:
        Whether there is such a file.

    Raises:
        LoadError: the file does not run.
        ValueError: a name is taken, a requirement is unknown, or there is a circular dependency.
    """
    from migrate_graph.loader import load_project

    path = Path(args[0]).absolute() if args else _configured_file(config)
    if not path.exists():
        say(f"no migrations found at {path}")
        return False
    loaded = load_project(path, root=Path.cwd())
    imported.keep(loaded, path, named=bool(args))
    try:
        with migrations.defer_dependency_validation():
            for declared in loaded.registry.migrations:
                migrations.add(declared)
        migrations.resolve_order(config.migration_ordering_mode)
    except ValueError:
        imported.forget()
        raise
    return True


@caught_as_before()
def list_migrations(config: Config, args: list[str] | None = None) -> OrderedDict[str, Migration]:
    """Return the migrations by name in the order in which they run: those of the default store; when it is empty, those of the file.

    Args:
        config: the settings.
        args: see `import_migrations`; when given, this file is loaded.
    """
    if args or not (imported.own() or (imported.loaded and imported.is_for(config))):
        imported.forget()
        import_migrations(args or [], config)
    return migrations.list()


def registry_for(config: Config) -> Registry:
    """Return the content of the default store as a registry; when its file is not the one that these settings name, that one is loaded."""
    if imported.loaded and not imported.is_for(config) and not import_migrations([], config):
        raise LoadError(
            f"no migrations found at {config.migrations_file}", hint="set migrations_file, or register migrations first"
        )
    return with_own(imported.loaded.registry if imported.loaded else None)


def with_own(loaded: Registry | None) -> Registry:
    """Return a registry of what this process declared itself, followed by what was loaded."""
    from migrate_graph.loader import build_registry

    own, managers = imported.own(), migrations.managers
    if not own and not managers:
        return loaded or Registry(root=str(Path.cwd()))
    declared = build_registry(own, managers, root=Path.cwd())
    if loaded is None:
        return declared
    together = (*declared.migrations, *loaded.migrations)
    views = (*declared.views, *loaded.views)
    return replace(
        loaded,
        migrations=tuple(replace(each, position=rank) for rank, each in enumerate(together)),
        views=tuple(replace(each, position=rank) for rank, each in enumerate(views)),
    )
