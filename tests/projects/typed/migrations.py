"""A project under strict types."""

from typing import Any

import migrate_graph
from migrate_graph import (
    Config,
    ViewMigrationManager,
    activate_migrations,
    classproperty,
    get_config,
    list_migrations,
    mark_migration,
    migration,
    migrations,
    progress,
    setup_db,
)


@migration
def one_20260101_001(db: Any) -> bool:
    """First."""
    db.executesql("CREATE TABLE one (id INTEGER)")
    return True


@migration(requires=[one_20260101_001, "zero"], transaction="single", tags=["a"])
def two_20260101_002(db: Any) -> bool:
    """Second."""
    progress(1, 2, "rows")
    with Totals(db) as totals:
        print(totals.db)
    return True


@migration()
def three_20260101_003(db: Any) -> bool:
    """Third."""
    return bool(one_20260101_001(db))


class Totals(ViewMigrationManager):
    """A view."""

    uses = ()
    since = "one_20260101_001"

    def up(self) -> None:
        """Create."""
        self.db.executesql("CREATE VIEW v AS SELECT 1")

    def down(self) -> None:
        """Drop."""
        self.db.executesql("DROP VIEW IF EXISTS v")


class More(ViewMigrationManager):
    """Another."""

    uses = (Totals,)
    replaces = Totals

    @classproperty
    def since(cls) -> str:
        """When."""
        return "one"

    def up(self) -> None:
        """Create."""

    def down(self) -> None:
        """Drop."""


def drive() -> None:
    """Use the compatible names."""
    config: Config = get_config()
    config = Config.load({"migrate_uri": "sqlite://x.db"})
    for name, each in list_migrations(config).items():
        print(name.upper(), each.requires)
    db = setup_db(config=config)
    mark_migration(db, name="one", installed=True)
    ok: bool = activate_migrations(config)
    print(ok, migrations.has("one"), len(migrations), migrate_graph.__version__.upper())
