"""A database that has relations but no ledger: which other tool has a ledger there, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from migrate_graph.errors import RestoreError

DEFAULT_LEDGER = "ewh_implemented_features"
"""Name of the ledger table unless `migrate_table` names another one."""
LEDGERS_OF_OTHERS = {
    "alembic_version": "Alembic",
    "django_migrations": "Django",
    "typedal_implemented_features": "TypeDAL",
    "_yoyo_migration": "yoyo",
    "flyway_schema_history": "Flyway",
    "databasechangelog": "Liquibase",
    "schema_migrations": "Rails, dbmate or golang-migrate",
    "goose_db_version": "goose",
    "_sqlx_migrations": "sqlx",
    "_prisma_migrations": "Prisma",
    "knex_migrations": "Knex",
    "atlas_schema_revisions": "Atlas",
    DEFAULT_LEDGER: "edwh-migrate",
}
"""The tables in which other tools remember their migrations, with the name of the tool."""
_OWN_SHAPE = frozenset({"TypeDAL", "edwh-migrate"})


def ledgers_among(relations: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return the relations that are the ledger of a tool, each with the name of the tool."""
    found = ((relation, LEDGERS_OF_OTHERS.get(without_schema(relation))) for relation in relations)
    return tuple((relation, tool) for relation, tool in found if tool)


def advice(elsewhere: Sequence[tuple[str, str]], *, table: str) -> str:
    """Return what to do about ledgers of other tools, or with other names; empty without any.

    Args:
        elsewhere: the ledgers, each with the name of the tool.
        table: name of the missing ledger.
    """
    told = []
    for relation, tool in elsewhere:
        if tool in _OWN_SHAPE:
            if settings := _settings_for(relation, table):  # without settings, it has the right name but is not a table
                told.append(f"{relation} is a ledger of {tool}: to go on with it, set {settings}")
        else:
            told.append(f"{relation} is the ledger of {tool}: what it lists is there already")
    return "; ".join(told)


def without_schema(relation: str) -> str:
    """Return the name of a relation as a catalog lists it, without its schema."""
    return relation.rpartition(".")[2]


def refusal(database: str, relations: Sequence[str], table: str) -> RestoreError:
    """Return the error for a database that has relations but no ledger, and is refused.

    Args:
        database: label of the database.
        relations: its relations.
        table: name of the missing ledger.
    """
    from migrate_graph.database.backup.stream import not_empty

    error = not_empty(database, table, relations)
    told = advice(ledgers_among(relations), table=table)
    return RestoreError(error.message, hint=f"{told}\n{error.hint}") if told else error


def _settings_for(relation: str, table: str) -> str:
    """Return the settings with which a relation would be found as the ledger.

    Args:
        relation: the relation, with its schema.
        table: the present value of `migrate_table`.
    """
    schema, _, name = relation.rpartition(".")
    settings = [f'schema = "{schema}"'] if schema and (schema != "public" or name == table) else []
    if name != table:
        settings.append(f'migrate_table = "{name}"')
    return " and ".join(settings)
