"""How tables are called and SQL is spelled in the two dialects."""

from __future__ import annotations

import re
from functools import lru_cache

from msgspec import Struct

from migrate_graph.errors import ConfigError
from migrate_graph.quoting import quote_identifier

_LONGEST_NAME = 63
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?")
_QUOTED_OR_SPECIAL = re.compile(r'"(?:[^"]|"")*"|\'(?:[^\']|\'\')*\'|[?%]')
_SCHEMA = re.compile(r'\s*("(?:[^"]|"")*"|[^,]*)\s*(?:,|$)')


def schema_names(schemas: str) -> list[str]:
    """Return the schemas that the setting `schema` names: with commas between, each quoted or not."""
    names = (found.strip() for found in _SCHEMA.findall(schemas))
    return [
        name[1:-1].replace('""', '"') if name.startswith('"') and name.endswith('"') else name for name in names if name
    ]


def search_path(schemas: str) -> str:
    """Return the value of a search_path for the setting `schema`."""
    return ", ".join(map(quote_identifier, schema_names(schemas)))


class Dialect(Struct, frozen=True):
    """Where the two databases' SQL differs.

    Attributes:
        placeholder: of a parameter in a statement.
        folds_case: a plain unquoted identifier means its lower-case form (PostgreSQL).
        serial: type of the journal's growing id.
        ledger_serial: type of the ledger's id, as pyDAL declares it.
        name_type: type of the ledger's name column, as pyDAL declares it.
        moment: type of a UTC timestamp.
    """

    placeholder: str
    folds_case: bool
    serial: str
    ledger_serial: str
    name_type: str
    moment: str

    def op(self, operator: str) -> str:
        """Write an operator so that no other one of its name, in some schema of the search_path, is taken for it."""
        return f"OPERATOR(pg_catalog.{operator})" if self.folds_case else operator

    def function(self, name: str) -> str:
        """Write a function's name, likewise."""
        return f"pg_catalog.{name}" if self.folds_case else name

    def text(self, column: str) -> str:
        """Write a column to be read as text: what a driver cannot read as a date, for example, can still be named then."""
        return f"CAST({column} AS pg_catalog.text)" if self.folds_case else column

    def sql(self, statement: str) -> str:
        """Write a statement for the driver: `?` outside of quotes is a parameter, everything else means itself."""
        return statement if self.placeholder == "?" else _with_placeholder(statement, self.placeholder)


@lru_cache(maxsize=256)
def _with_placeholder(statement: str, placeholder: str) -> str:
    return _QUOTED_OR_SPECIAL.sub(
        lambda found: placeholder if found[0] == "?" else found[0].replace("%", "%%"), statement
    )


POSTGRES = Dialect(
    placeholder="%s",
    folds_case=True,
    serial="BIGSERIAL PRIMARY KEY",
    ledger_serial="SERIAL PRIMARY KEY",
    name_type="VARCHAR(512)",
    moment="TIMESTAMP WITH TIME ZONE",
)


SQLITE = Dialect(
    placeholder="?",
    folds_case=False,
    serial="INTEGER PRIMARY KEY AUTOINCREMENT",
    ledger_serial="INTEGER PRIMARY KEY AUTOINCREMENT",
    name_type="CHAR(512)",
    moment="TEXT",
)


class TableNames(Struct, frozen=True):
    """The tool's tables, as (schema or "", name) after folding; quoted on demand.

    edwh-migrate pastes `migrate_table` unquoted into SQL, so a plain name follows the database's folding rules, and
    `schema.table` names a schema; anything that is no plain identifier is taken literally.
    """

    schema: str
    ledger: str
    dialect: Dialect

    @classmethod
    def of(cls, table: str, dialect: Dialect) -> TableNames:
        """Resolve the configured `migrate_table`."""
        schema, name = "", table
        if _PLAIN.fullmatch(table):
            folded = table.lower() if dialect.folds_case else table
            schema, _, name = folded.rpartition(".")
        if dialect.folds_case and len(f"{name}_journal".encode()) > _LONGEST_NAME:
            raise ConfigError(
                f"migrate_table = {table!r} is too long: PostgreSQL cuts names at {_LONGEST_NAME} bytes, and ours are made from it",
                hint=f"use at most {_LONGEST_NAME - len('_journal')} bytes, or rename the table with ALTER TABLE … RENAME TO …",
            )
        return cls(schema, name, dialect)

    @property
    def journal(self) -> str:
        """Name of the journal."""
        return f"{self.ledger}_journal"

    @property
    def views(self) -> str:
        """Name of the view ledger."""
        return f"{self.ledger}_views"

    def quoted(self, name: str) -> str:
        """Quote one of the tables, with its schema where there is one."""
        return ".".join(quote_identifier(part) for part in (self.schema, name) if part)

    @property
    def all(self) -> tuple[str, str, str]:
        """The three names."""
        return self.ledger, self.journal, self.views
