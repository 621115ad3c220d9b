"""MG3xx: what the text of a migration tells about how it will end."""

from __future__ import annotations

from collections.abc import Iterator

from migrate_graph.core.graph import NodeKind
from migrate_graph.core.model import BodyKind, unfit_arguments
from migrate_graph.core.rules.rule import Context, Hit, Severity, quoted, rule


@rule("MG301", Severity.ERROR, applied=Severity.WARNING)
def async_migration(context: Context) -> Iterator[Hit]:
    """A migration that does nothing when it is called.

    ## What it finds

    A coroutine function (`async def`), a generator (`yield` in the body), or a class.

    ```python
    @migration
    async def create_invoice(db):                    # bad
        db.executesql("CREATE TABLE invoice (…)")
        return True
    ```

    ## Why it matters

    A call creates an object and runs no line of the body (of a class: only its `__init__`). edwh-migrate takes that object for success and records the
    migration as installed.

    ## How to fix it

    Write an ordinary function, and run asynchronous code inside it.

    ```python
    @migration
    def create_invoice(db):                          # good
        db.executesql("CREATE TABLE invoice (…)")
        return True
    ```
    """
    for migration in context.graph.migrations.values():
        if migration.kind is not BodyKind.FUNCTION:
            message = f"{quoted(migration.name)} is a {_UNDONE[migration.kind]}"
            yield Hit(migration, message, f"turn {_INTO[migration.kind]}, and return True at the end")


_UNDONE = {
    BodyKind.CLASS: "class: calling it only makes an object of it",
    BodyKind.COROUTINE: "coroutine function: calling it runs none of it",
    BodyKind.GENERATOR: "generator function: calling it runs none of it",
}
_INTO = {
    BodyKind.CLASS: "it into a function of `db`",
    BodyKind.COROUTINE: "`async def` into `def`",
    BodyKind.GENERATOR: "`yield` into an ordinary loop",
}


@rule("MG302", Severity.ERROR, applied=Severity.INFO, compatible={NodeKind.MIGRATION: Severity.WARNING})
def no_success_value(context: Context) -> Iterator[Hit]:
    """A migration that can only fail.

    ## What it finds

    A body without any `return` that has a value.

    ```python
    @migration
    def create_invoice(db):
        db.executesql("CREATE TABLE invoice (…)")    # bad: returns None
    ```

    ## Why it matters

    A migration succeeds by returning True. This one returns None every time: its work is rolled back, it is recorded as
    failed, and everything behind it is blocked.

    ## How to fix it

    Return True when it succeeded.

    ```python
    @migration
    def create_invoice(db):
        db.executesql("CREATE TABLE invoice (…)")
        return True                                  # good
    ```
    """
    for migration in context.judged():
        if migration.kind is BodyKind.FUNCTION and not migration.facts.returns_value:
            message = f"{quoted(migration.name)} never returns a value, so it can only fail"
            yield Hit(migration, message, "end it with `return True`")


@rule("MG303", Severity.ERROR, applied=Severity.INFO)
def name_too_long(context: Context) -> Iterator[Hit]:
    """A name that does not fit the ledger.

    ## What it finds

    A migration whose name has more characters than the ledger's column: 512, unless the table was made narrower.

    ```python
    @migration
    def add_the_column_total_to_the_table_invoice_and_…(db): ...    # bad: 600 characters
    ```

    ## Why it matters

    Its record could not be written. `migrate apply` refuses it before anything runs, also where the column is narrower.

    ## How to fix it

    Shorten the name, and put the details into the docstring.

    ```python
    @migration
    def add_invoice_total_20260401_001(db):          # good
        \"\"\"Add the column total to the table invoice, and …\"\"\"
    ```
    """
    limit = context.ledger_name_length
    for migration in context.graph.migrations.values():
        if len(migration.name) > limit:
            message = f"{quoted(migration.name)} has {len(migration.name)} characters; the ledger holds {limit}"
            yield Hit(migration, message, f"shorten the name to at most {limit} characters")


@rule("MG304", Severity.INFO, applied=Severity.OFF)
def commit_before_return(context: Context) -> Iterator[Hit]:
    """A commit in the body just before success.

    ## What it finds

    `db.commit()` directly before `return True`.

    ```python
    @migration
    def create_invoice(db):
        db.executesql("CREATE TABLE invoice (…)")
        db.commit()                                  # bad: not needed
        return True
    ```

    ## Why it matters

    After a `return True` the work and its record are committed together. An earlier commit separates them: a crash in
    between leaves work without a record, and you must decide how to go on (`migrate resolve`).

    ## How to fix it

    Leave the commit out.

    ```python
    @migration
    def create_invoice(db):
        db.executesql("CREATE TABLE invoice (…)")
        return True                                  # good
    ```
    """
    for migration in context.judged():
        if (place := migration.facts.commits_before_return) is not None:
            message = f"{quoted(migration.name)} commits just before it returns"
            yield Hit(migration, message, "remove `db.commit()`: success commits work and record together", place)


@rule("MG305", Severity.WARNING, applied=Severity.OFF)
def create_by_definition(context: Context) -> Iterator[Hit]:
    """A table that pyDAL is asked to create, and does not.

    ## What it finds

    `db.define_table(…, migrate=True)` in the body of a migration.

    ```python
    @migration
    def create_invoice(db):
        db.define_table("invoice", Field("total", "integer"), migrate=True)   # bad
        return True
    ```

    ## Why it matters

    pyDAL's own migrations are off while a migration runs, as they were in edwh-migrate: nothing is created. If the table does
    not exist, the migration fails; if it exists, changed fields are not changed in the database.

    ## How to fix it

    Write the statement (`pydal2sql create` prints it), and define the table afterwards where the body needs it.

    ```python
    @migration
    def create_invoice(db):
        db.executesql("CREATE TABLE invoice (id SERIAL PRIMARY KEY, total INTEGER)")   # good
        db.define_table("invoice", Field("total", "integer"))
        return True
    ```
    """
    for migration in context.judged():
        if (place := migration.facts.creates_by_definition) is not None:
            message = f"{quoted(migration.name)} lets pyDAL create a table, which it does not do here"
            yield Hit(migration, message, "write the CREATE TABLE; pydal2sql create prints it", place)


@rule("MG306", Severity.ERROR, applied=Severity.OFF, compatible={NodeKind.MIGRATION: Severity.WARNING})
def wrong_arguments(context: Context) -> Iterator[Hit]:
    """A migration that cannot be called.

    ## What it finds

    A function that cannot be called with `db` alone: it takes no argument, or needs more than one. Of a decorated
    function only the wrapper is checked.

    ```python
    @migration
    def create_invoice():                            # bad
        db.executesql("CREATE TABLE invoice (…)")
        return True
    ```

    ## Why it matters

    It can only fail, with a TypeError, when it is its turn; the migrations before it are applied by then.

    ## How to fix it

    Take `db`, and give every other argument a default.

    ```python
    @migration
    def create_invoice(db, currency="EUR"):          # good
        db.executesql("CREATE TABLE invoice (…)")
        return True
    ```
    """
    for migration in context.judged():
        if arguments := unfit_arguments(migration.function):
            message = f"{quoted(migration.name)} cannot be called with `db`: its arguments are {arguments}"
            yield Hit(migration, message, "let it take `db`, and give every other argument a default")
