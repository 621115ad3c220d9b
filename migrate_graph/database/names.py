"""How tables are called and identifiers are quoted, in the two dialects."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?")


def quote_identifier(name: str) -> str:
    """Quote an identifier for a statement without parameters; both databases do it alike."""
    return '"' + name.replace('"', '""') + '"'


def search_path(schemas: str) -> str:
    """Return the value of a search_path for the setting `schema`: names with commas between, each quoted."""
    return ", ".join(quote_identifier(name.strip()) for name in schemas.split(","))


@dataclass(frozen=True, slots=True)
class Dialect:
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

    def quote(self, identifier: str) -> str:
        """Quote an identifier for a statement that is executed with parameters."""
        quoted = quote_identifier(identifier)
        return quoted.replace("%", "%%") if self.placeholder == "%s" else quoted

    def sql(self, statement: str) -> str:
        """Put this dialect's placeholder where a statement has `?`."""
        return statement if self.placeholder == "?" else statement.replace("?", self.placeholder)


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


@dataclass(frozen=True, slots=True)
class TableNames:
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
        """Quote one of the tables, with its schema where one was given."""
        quote = self.dialect.quote
        return f"{quote(self.schema)}.{quote(name)}" if self.schema else quote(name)

    def spelled(self, name: str) -> str:
        """Quote one of the tables for where no parameters are put in: pyDAL, `to_regclass`."""
        return ".".join(quote_identifier(part) for part in (self.schema, name) if part)

    @property
    def all(self) -> tuple[str, str, str]:
        """The three names."""
        return self.ledger, self.journal, self.views
