"""What this process has declared or loaded: `import_migrations`, `list_migrations`, and the registry of both."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migrate_graph.authoring import migrations
from migrate_graph.compat.console import say
from migrate_graph.config import Config
from migrate_graph.core.model import Migration, Registry
from migrate_graph.errors import LoadError

if TYPE_CHECKING:
    from migrate_graph.loader import ProjectImports


@dataclass
class Imported:
    """What the default store holds from a file, as opposed to what this process declared itself.

    Attributes:
        registry: what was loaded; None when nothing was.
        path: the file.
        named: it was named by an argument, and so belongs to no settings.
        imports: lets bodies import what lies beside the file.
    """

    registry: Registry | None = None
    path: Path | None = None
    named: bool = False
    imports: ProjectImports | None = None

    def is_for(self, config: Config) -> bool:
        """Return whether what was loaded is what these settings name."""
        return self.named or self.path == _configured_file(config)

    def forget(self) -> None:
        """Take out of the default store what was loaded."""
        loaded = self._bodies()
        migrations.migrations[:] = [each for each in migrations.migrations if each.function not in loaded]
        self.registry = self.path = self.imports = None

    def own(self) -> list[Migration]:
        """Return what this process declared itself, in order of rank."""
        loaded = self._bodies()
        return [each for each in migrations.migrations if each.function not in loaded]

    def _bodies(self) -> set[Any]:
        return {each.function for each in self.registry.migrations} if self.registry else set()


imported = Imported()


def _configured_file(config: Config) -> Path:
    return Path(config.migrations_file).absolute()


def import_migrations(args: list[str], config: Config) -> bool:
    """Load the migrations of a file into the default store; nothing is run.

    Args:
        args: at most one: a file, or a directory with a `migrations.py`; without one the configured file.
        config: the settings.

    Returns:
        Whether there is such a file.

    Raises:
        LoadError: it does not run.
        ValueError: a name is taken, a requirement is unknown, or there is a circular dependency.
    """
    from migrate_graph.loader import load_project

    path = Path(args[0]).absolute() if args else _configured_file(config)
    if not path.exists():
        say(f"no migrations found at {path}")
        return False
    loaded = load_project(path, root=Path.cwd())
    imported.forget()
    imported.registry, imported.imports = loaded.registry, loaded.imports
    imported.path, imported.named = path, bool(args)
    try:
        with migrations.defer_dependency_validation():
            for declared in loaded.registry.migrations:
                migrations.add(declared)
        migrations.resolve_order(config.migration_ordering_mode)
    except ValueError:
        imported.forget()
        raise
    return True


def list_migrations(config: Config, args: list[str] | None = None) -> OrderedDict[str, Migration]:
    """Return the migrations by name in the order in which they run: those of this process, or else of the file.

    Args:
        config: the settings.
        args: as for `import_migrations`.
    """
    if args or not (imported.own() or (imported.registry and imported.is_for(config))):
        imported.forget()
        import_migrations(args or [], config)
    return migrations.list()


def registry_for(config: Config) -> Registry:
    """Return what the default store holds as a registry; what was loaded for other settings is loaded anew for these."""
    if imported.registry and not imported.is_for(config) and not import_migrations([], config):
        raise LoadError(
            f"no migrations found at {config.migrations_file}", hint="set migrations_file, or register migrations first"
        )
    return with_own(imported.registry)


def with_own(loaded: Registry | None) -> Registry:
    """Put what this process declared itself before what was loaded."""
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
