"""The names of the tool's tables, and where the SQL of PostgreSQL and SQLite differs."""

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
    """Return the schemas that the setting `schema` names: separated by commas, each quoted or not."""
    names = (found.strip() for found in _SCHEMA.findall(schemas))
    return [
        name[1:-1].replace('""', '"') if name.startswith('"') and name.endswith('"') else name for name in names if name
    ]


def search_path(schemas: str) -> str:
    """Return the value of a search_path for the setting `schema`."""
    return ", ".join(map(quote_identifier, schema_names(schemas)))


class Dialect(Struct, frozen=True):
    """Where the SQL of the two databases differs.

    Attributes:
        placeholder: what stands for a parameter in a statement.
        folds_case: a plain unquoted identifier means its lower-case form (PostgreSQL).
        serial: type of the journal's growing id.
        ledger_serial: type of the ledger's id, as pyDAL declares it.
        name_type: type of the ledger's name column, as pyDAL declares it.
        moment: type of a UTC timestamp.
        violations: a statement that checks deferred constraints at once: it raises, or returns a row for each fault; `{}` is the ledger.
    """

    placeholder: str
    folds_case: bool
    serial: str
    ledger_serial: str
    name_type: str
    moment: str
    violations: str

    def op(self, operator: str) -> str:
        """Write an operator with its schema, so that no operator of the same name elsewhere in the search_path is used."""
        return f"OPERATOR(pg_catalog.{operator})" if self.folds_case else operator

    def function(self, name: str) -> str:
        """Write the name of a function with its schema, for the same reason."""
        return f"pg_catalog.{name}" if self.folds_case else name

    def text(self, column: str) -> str:
        """Write a column as text: then the driver does not fail on a value it cannot convert, and a message can name that value."""
        return f"CAST({column} AS pg_catalog.text)" if self.folds_case else column

    def sql(self, statement: str) -> str:
        """Write a statement for the driver: `?` outside of quotes is a parameter, everything else is taken literally."""
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
    violations="SET CONSTRAINTS ALL IMMEDIATE",
)


SQLITE = Dialect(
    placeholder="?",
    folds_case=False,
    serial="INTEGER PRIMARY KEY AUTOINCREMENT",
    ledger_serial="INTEGER PRIMARY KEY AUTOINCREMENT",
    name_type="CHAR(512)",
    moment="TEXT",
    violations="SELECT \"table\", parent FROM pragma_foreign_key_check('{}')",
)


class TableNames(Struct, frozen=True):
    """The names of the tool's tables and their schema, as the catalog of the database spells them.

    edwh-migrate pastes `migrate_table` unquoted into SQL. So PostgreSQL folds a plain name to lower case, and `schema.table` names
    a schema. Any other text is taken literally.

    Attributes:
        schema: schema of the tables; empty where the setting names none.
        ledger: name of the ledger table.
        dialect: how the SQL is written.
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
        """Name of the journal table."""
        return f"{self.ledger}_journal"

    @property
    def views(self) -> str:
        """Name of the view ledger's table."""
        return f"{self.ledger}_views"

    def quoted(self, name: str) -> str:
        """Return the quoted name of one of the tables, with its schema where there is one."""
        return ".".join(quote_identifier(part) for part in (self.schema, name) if part)

    @property
    def all(self) -> tuple[str, str, str]:
        """Names of ledger, journal and view ledger."""
        return self.ledger, self.journal, self.views
