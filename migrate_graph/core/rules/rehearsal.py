"""MG6xx: what a rehearsal saw, judged by the size of the tables where the migrations will really run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from migrate_graph.core.footprint import Fact, Footprint, Held, Rewrite, Size, Statement
from migrate_graph.core.model import Migration
from migrate_graph.core.rules.rule import Context, Hit, Needs, Related, Severity, listed, node_of, quoted, rule
from migrate_graph.core.traces import owner_of
from migrate_graph.messages import counted, sized, some
from migrate_graph.user_files import SourceLocation

_KEEPS_READERS_OUT = "ACCESS EXCLUSIVE"
_KEEPS_WRITERS_OUT = frozenset({"SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE"})
_WRITES = "ROW EXCLUSIVE"

_HOLDS_ROWS = frozenset({"table", "column"})
_USED_BY_CODE = frozenset({"table", "foreign table", "column", "view", "matview", "sequence", "type", "function"})
_SHORT = 60


class _Step(Struct, frozen=True):
    """A migration that was watched.

    Attributes:
        migration: the migration.
        seen: what it did.
        made: names of what it and those before it in this run made: what is done to these is not reported.
    """

    migration: Migration
    seen: Footprint
    made: frozenset[str]

    def hit(
        self,
        does: str,
        hint: str,
        source: SourceLocation | None = None,
        *,
        related: tuple[Related, ...] = (),
        severity: Severity | None = None,
    ) -> Hit:
        """Return the hit that says what the migration does, and where."""
        return Hit(self.migration, f"{quoted(self.migration.name)} {does}", hint, source, related, severity)


def _steps(context: Context) -> Iterator[_Step]:
    made: set[str] = set()
    for name, seen in context.rehearsed.items():
        made |= {fact.identity for fact in seen.added}
        yield _Step(context.graph.migrations[name], seen, frozenset(made))


def _large(context: Context, step: _Step, relations: Iterable[str]) -> list[str]:
    """Return those of some relations that existed before the run, and are not small."""
    sizes, budget = step.seen.sizes, context.budget
    return [each for each in relations if each in sizes and not budget.is_small(sizes[each])]


def _told(size: Size) -> str:
    return f"{sized(size.bytes)}, {counted(size.rows, 'row')}"


def _sizes(step: _Step, relations: list[str]) -> str:
    return ", ".join(f"{each} ({_told(step.seen.sizes[each])})" for each in sorted(relations))


def _short(statement: Statement) -> str:
    text = " ".join(statement.sql.split())
    return f"`{text if len(text) <= _SHORT else text[:_SHORT] + '…'}`"


def _is_truncate(statement: Statement) -> bool:
    return statement.sql.lstrip()[: len("TRUNCATE")].upper() == "TRUNCATE"


def _until_its_end(step: _Step, first: int) -> tuple[Statement, ...]:
    """Return the statements of a transaction from one of them on: the locks of that one are held until the last has run."""
    statements = step.seen.statements
    return tuple(each for each in statements[first:] if each.transaction == statements[first].transaction)


@rule("MG601", Severity.ERROR, Needs.REHEARSAL)
def rewrites_table(context: Context) -> Iterator[Hit]:
    """A statement that rewrites a whole table.

    ## What it finds

    In a rehearsal (`--rehearse`): a table that existed before the run and got a new file, as the database itself reports. It is
    an error when the table is larger than `rehearse_budget` allows (`rewrite`, bytes; `rows`), a warning where its size is not
    known, and a remark when it is small.

    ```sql
    ALTER TABLE invoice ALTER COLUMN qty TYPE bigint;   -- bad: every row is written again, and no session can read
    ```

    ## Why it matters

    No other session can read or write the table meanwhile, and it needs its size on the disk a second time.

    ## How to fix it

    Add a column beside the old one, fill it in batches, and switch to it later.

    ```sql
    ALTER TABLE invoice ADD COLUMN qty_new bigint;      -- good: done at once
    UPDATE invoice SET qty_new = qty WHERE id BETWEEN 1 AND 20000;   -- and so on, with a commit after each batch
    ```
    """
    for step in _steps(context):
        for statement in step.seen.statements:
            for rewrite in statement.rewrites:
                if rewrite.relation not in step.made and not _is_truncate(statement):
                    size, severity = _weight(context, rewrite)
                    yield step.hit(
                        f"writes {rewrite.relation} ({size}) anew: {_short(statement)}",
                        "add a new column, fill it in batches, and drop the old one in a later release",
                        statement.source,
                        severity=severity,
                    )


def _weight(context: Context, rewrite: Rewrite) -> tuple[str, Severity]:
    if rewrite.size is None or rewrite.rows is None:
        return "its size is not known", Severity.WARNING
    size = Size(rewrite.size, rewrite.rows)
    return _told(size), Severity.INFO if context.budget.is_small(size) else Severity.ERROR


@rule("MG602", Severity.ERROR, Needs.REHEARSAL)
def blocks_readers(context: Context) -> Iterator[Hit]:
    """A lock that blocks all use of a large table while the migration continues to work.

    ## What it finds

    In a rehearsal on PostgreSQL: an `ACCESS EXCLUSIVE` lock on a table that existed before and is not small (`rehearse_budget`),
    with more work after it in the same transaction: rows that are read or written, a table that is scanned or written anew. It
    is a warning, and an error when the lock was seen to be held for longer than `lock` seconds.

    ```python
    db.executesql("ALTER TABLE invoice ADD COLUMN note text")     # locks invoice until the end
    db.executesql("UPDATE customer SET name = trim(name)")        # bad: no session can read invoice
    ```

    ## Why it matters

    The lock is held until the transaction ends, and every session that reads the table waits until then.

    ## How to fix it

    Let the statement that locks be the last one of its transaction, or give the other work a migration of its own.

    ```python
    db.executesql("UPDATE customer SET name = trim(name)")
    db.commit()                                                   # good: the lock is taken when the work is done
    db.executesql("ALTER TABLE invoice ADD COLUMN note text")
    ```
    """
    for step in _steps(context):
        for index, statement in enumerate(step.seen.statements):
            locked = [each for each, lock in statement.locks.items() if lock == _KEEPS_READERS_OUT]
            large = _large(context, step, locked)
            rest = _until_its_end(step, index)
            more = next((each for each in rest[1:] if _is_work(each)), None)
            if large and more is not None:
                yield step.hit(
                    f"keeps everybody out of {_sizes(step, large)} from {_short(statement)} "
                    f"until its transaction ends, and works on: {_short(more)}",
                    "do that work before the lock is taken, or in a migration of its own",
                    statement.source,
                    related=(Related(node_of(step.migration), f"works on: {_short(more)}", more.source),),
                    severity=_by_time(context, rest),
                )


def _is_work(statement: Statement) -> bool:
    """Return whether a statement may take long: it reads or writes rows, whatever their number was in the rehearsal."""
    return statement.held is Held.RUN and bool(
        statement.uses or statement.scans or statement.rewrites or statement.rows
    )


def _by_time(context: Context, held: tuple[Statement, ...]) -> Severity:
    seconds = sum(each.seconds for each in held)
    return Severity.ERROR if seconds > context.budget.lock else Severity.WARNING


@rule("MG603", Severity.ERROR, Needs.REHEARSAL)
def blocks_writers(context: Context) -> Iterator[Hit]:
    """A large table that is locked for writers while it is read from end to end.

    ## What it finds

    In a rehearsal on PostgreSQL: a lock that keeps writers out (`SHARE`, `SHARE ROW EXCLUSIVE`, `EXCLUSIVE`) on a table that
    existed before and is not small (`rehearse_budget`), while the table is scanned or more work follows in the same transaction:
    an index that is built without `CONCURRENTLY`, a foreign key without `NOT VALID`. It is a warning, and an error when the lock
    was seen to be held for longer than `lock` seconds.

    ```python
    @migration
    def index_customer(db):
        db.executesql("CREATE INDEX invoice_customer ON invoice (customer)")                # bad: writers wait until it is built
        return True
    ```

    ## Why it matters

    Every insert and update of the application waits until the transaction ends.

    ## How to fix it

    Build indexes concurrently, and validate foreign keys in a migration of their own.

    ```python
    @migration(transaction="none")
    def index_customer(db):
        db.executesql("CREATE INDEX CONCURRENTLY invoice_customer ON invoice (customer)")   # good
        return True
    ```
    """
    for step in _steps(context):
        for index, statement in enumerate(step.seen.statements):
            if statement.held is not Held.RUN:
                continue  # it would take another lock where it really runs
            rest = _until_its_end(step, index)
            works = any(map(_is_work, rest[1:]))
            locked = [
                each
                for each, lock in statement.locks.items()
                if lock in _KEEPS_WRITERS_OUT and (works or each in statement.scans)
            ]
            large = _large(context, step, locked)
            if large:
                yield step.hit(
                    f"keeps writers out of {_sizes(step, large)}: {_short(statement)}",
                    'an index: CREATE INDEX CONCURRENTLY with transaction="none"; a foreign key: NOT VALID, then VALIDATE '
                    "CONSTRAINT in another migration",
                    statement.source,
                    severity=_by_time(context, rest),
                )


@rule("MG604", Severity.ERROR, Needs.REHEARSAL)
def scans_under_lock(context: Context) -> Iterator[Hit]:
    """A large table that is read from end to end while it is locked for readers.

    ## What it finds

    In a rehearsal on PostgreSQL: a table that existed before, is not small (`rehearse_budget`) and was scanned, as the server
    counts, under an `ACCESS EXCLUSIVE` lock: `SET NOT NULL` without a proof, `ADD CONSTRAINT … CHECK` without `NOT VALID`. It is a
    warning, and an error when the lock was seen to be held for longer than `lock` seconds.

    ```sql
    ALTER TABLE invoice ALTER COLUMN qty SET NOT NULL;                              -- bad: every row is looked at, under the lock
    ```

    ## Why it matters

    Nothing is written, but all other sessions wait while the rows are read.

    ## How to fix it

    Prove it first, under a lock that lets others work; then PostgreSQL (12 and later) need not look again. Each line is a
    migration of its own.

    ```sql
    ALTER TABLE invoice ADD CONSTRAINT qty_there CHECK (qty IS NOT NULL) NOT VALID; -- good
    ALTER TABLE invoice VALIDATE CONSTRAINT qty_there;
    ALTER TABLE invoice ALTER COLUMN qty SET NOT NULL, DROP CONSTRAINT qty_there;
    ```
    """
    for step in _steps(context):
        held: set[str] = set()
        transaction = 0
        for index, statement in enumerate(step.seen.statements):
            if statement.transaction != transaction:
                held, transaction = set(), statement.transaction
            held |= {each for each, lock in statement.locks.items() if lock == _KEEPS_READERS_OUT}
            rewritten = {each.relation for each in statement.rewrites}
            scanned = [each for each in statement.scans if each in held and each not in rewritten]
            large = _large(context, step, scanned)
            if large:
                yield step.hit(
                    f"reads all of {_sizes(step, large)} while nobody else can: {_short(statement)}",
                    "ADD CONSTRAINT … NOT VALID, then VALIDATE CONSTRAINT in another migration; SET NOT NULL after a valid "
                    "CHECK (… IS NOT NULL) reads nothing",
                    statement.source,
                    severity=_by_time(context, _until_its_end(step, index)),
                )


@rule("MG605", Severity.WARNING, Needs.REHEARSAL)
def long_single_update(context: Context) -> Iterator[Hit]:
    """One statement that writes very many rows of a table that is in use.

    ## What it finds

    In a rehearsal: one statement that inserted, updated or deleted more rows than `rehearse_budget` allows (`rows`), in a table
    that existed before the run. On a copy without rows, a statement that may write every row is reported if the real table
    has more rows than that.

    ```python
    db.executesql("UPDATE invoice SET note = ''")                 # bad: 600,000 rows in one statement
    ```

    ## Why it matters

    Each row stays locked until the end, an error at the last row undoes all, and the dead rows are left in the table.

    ## How to fix it

    Write in batches, each with its commit, in a migration that may be resumed.

    ```python
    @migration(resumable=True)
    def fill_notes(db):
        while db.executesql(                                      # good
            "UPDATE invoice SET note = '' WHERE id IN (SELECT id FROM invoice WHERE note IS NULL LIMIT 20000) RETURNING id"
        ):
            db.commit()
        return True
    ```
    """
    for step in _steps(context):
        locked: dict[str, str] = {}
        for statement in step.seen.statements:
            locked.update({each: lock for each, lock in statement.locks.items() if lock == _WRITES})
            written = _written(context, step, statement, frozenset(locked))
            if written:
                yield step.hit(
                    f"{written}: {_short(statement)}",
                    "write in batches, each with its own db.commit(), under @migration(resumable=True)",
                    statement.source,
                )


def _written(context: Context, step: _Step, statement: Statement, locked: frozenset[str]) -> str:
    """Return how many rows of tables that were there a statement wrote, in words; empty when they are few."""
    rows, seen, most = statement.rows or 0, step.seen, context.budget.rows
    touched = [each for each in seen.sizes if any(use.startswith(f"{each}.") for use in statement.uses)]
    touched += [each for each in seen.sizes if statement.locks.get(each) == _WRITES and each not in touched]
    if rows > most:
        tables = [each for each in touched if each in seen.wrote and seen.wrote[each].rows >= rows]
        return f"writes {counted(rows, 'row')} of {', '.join(tables)} in one statement" if tables else ""
    if rows or not seen.without_rows:
        return ""
    tables = [each for each in touched if each in locked and seen.sizes[each].rows > most]
    return f"may write every row of {_sizes(step, tables)} in one statement" if tables else ""


@rule("MG606", Severity.WARNING, Needs.REHEARSAL)
def drops_data(context: Context) -> Iterator[Hit]:
    """A table or a column that is removed with its data.

    ## What it finds

    In a rehearsal: a table or a column that existed before the run, is gone after it and does not live on under another name; or
    a table that is emptied by `TRUNCATE`. A table that is known to have no rows is not reported.

    ```sql
    ALTER TABLE invoice DROP COLUMN qty;                          -- bad: nothing brings it back
    ```

    ## Why it matters

    No rollback and no later migration brings the data back, only a backup does.

    ## How to fix it

    Check that nothing needs it and that a backup contains it. Keep it under another name for one release.

    ```sql
    ALTER TABLE invoice RENAME COLUMN qty TO unused_qty;          -- good: dropped in a later release
    ```
    """
    for step in _steps(context):
        gone = [
            fact
            for fact in step.seen.removed - step.seen.renamed
            if fact.kind in _HOLDS_ROWS and not _is_of_a_view(step.seen, fact)
        ]
        lost = [fact for fact in _outermost(gone) if _may_hold(step, fact)]
        if lost:
            yield step.hit(
                f"drops {_facts(step, lost)}",
                "make sure that a backup holds it, or rename it now and drop it in a later release",
            )
        for statement in filter(_is_truncate, step.seen.statements):
            emptied = [each for each in statement.locks if each in step.seen.sizes and step.seen.sizes[each].rows]
            if emptied:
                yield step.hit(
                    f"empties {_sizes(step, emptied)}: {_short(statement)}",
                    "make sure that a backup holds it",
                    statement.source,
                )


def _outermost(facts: list[Fact]) -> list[Fact]:
    """Return facts without the columns of tables that are among them."""
    names = {fact.identity for fact in facts}
    return sorted(fact for fact in facts if not (fact.kind == "column" and owner_of(fact.identity) in names))


def _is_of_a_view(seen: Footprint, fact: Fact) -> bool:
    """Whether it is a column of a view that went, or was made anew: its rows are those of its tables."""
    views = {Fact(kind, owner_of(fact.identity)) for kind in ("view", "matview")}
    return fact.kind == "column" and not views.isdisjoint(seen.removed | seen.changed)


def _may_hold(step: _Step, fact: Fact) -> bool:
    if fact.identity in step.made:
        return False
    size = step.seen.sizes.get(fact.identity if fact.kind == "table" else owner_of(fact.identity))
    return size is None or size.rows > 0


def _facts(step: _Step, facts: list[Fact]) -> str:
    sizes = step.seen.sizes
    words = [str(fact) + (f" ({_told(sizes[fact.identity])})" if fact.identity in sizes else "") for fact in facts]
    return some(words, 5)


@rule("MG607", Severity.WARNING, Needs.REHEARSAL)
def acts_outside(context: Context) -> Iterator[Hit]:
    """A migration that does something outside of its database.

    ## What it finds

    In a rehearsal: a file that is written, a program that is started, a connection to the network or to another database. It is
    refused, so that nothing happens, unless `--allow-outside` was given; what code in C does cannot be seen.

    ```python
    subprocess.run(["systemctl", "restart", "worker"])            # bad: no rollback takes it back
    ```

    ## Why it matters

    When the migration fails, or its process dies, the database is rolled back, but the outside effect stays. It happens again
    at the next try, and in every rehearsal that allows it.

    ## How to fix it

    Do only database work in the migration. Do the rest after `migrate apply` has succeeded.

    ```sh
    migrate apply && systemctl restart worker                     # good
    ```
    """
    for step in _steps(context):
        for act in step.seen.outside:
            became = "; it was refused" if act.refused else ""
            hint = "do that after `migrate apply` has succeeded; --allow-outside lets it happen in a rehearsal"
            yield step.hit(f"{act.what}{became}", hint, act.source)


@rule("MG608", Severity.WARNING, Needs.REHEARSAL)
def not_rehearsed(context: Context) -> Iterator[Hit]:
    """A migration, or a part of it, that a rehearsal of this kind cannot show.

    ## What it finds

    A statement that cannot be part of a transaction (`VACUUM`, `CREATE DATABASE`) and was left out, a new value of an enum that
    is used in the transaction that made it, and anything else that ended the observation. It is no fault of the migration.

    ```sh
    migrate plan --rehearse                                       # bad: one transaction, in which not everything can run
    ```

    ## Why it matters

    A part that was not rehearsed may fail, lock or write when it really runs.

    ## How to fix it

    Rehearse on a database made for that, where every commit is real.

    ```sh
    migrate plan --rehearse --on scratch                          # good
    ```
    """
    hint = "migrate plan --rehearse --on scratch makes every commit really"
    for step in _steps(context):
        for why in step.seen.not_rehearsed:
            yield step.hit(f"was not watched to its end: {why}", hint)
        for statement in step.seen.statements:
            if not statement.held.ran:
                message = f"{quoted(step.migration.name)}: {_short(statement)} was {statement.held}"
                yield Hit(step.migration, message, hint, statement.source)


@rule("MG609", Severity.ERROR, Needs.REHEARSAL)
def unmanaged_dependent(context: Context) -> Iterator[Hit]:
    """A view stands in the way of a statement, and nothing takes it down.

    ## What it finds

    In a rehearsal: a statement that the database refused because a view depends on what it changes. The view is found by the class
    of the error and by the names in it, in whatever language the server speaks. A view that has a manager steps aside by itself
    (`weave`), unless something that nobody manages depends on it.

    ```python
    @migration
    def widen(db):
        db.executesql("ALTER TABLE invoice ALTER COLUMN number TYPE varchar(40)")   # bad: nobody manages the view `unpaid`
        return True
    ```

    ## Why it matters

    The migration fails where it really runs. Dropping the view by hand loses its privileges, comments and indexes.

    ## How to fix it

    Give the view a manager, which `migrate views adopt unpaid` writes (on SQLite `migrate new unpaid --view`). Then it steps aside by
    itself, and comes back as it was. With `weave = "off"`, open it around the statement.

    ```python
    @migration
    def widen(db):
        with Unpaid(db):                                                            # good: goes down, and comes up as it was
            db.executesql("ALTER TABLE invoice ALTER COLUMN number TYPE varchar(40)")
        return True
    ```
    """
    for step in _steps(context):
        for statement in step.seen.statements:
            if statement.blockers:
                names = listed(statement.blockers)
                yield step.hit(
                    f"fails at {_short(statement)}, with {names} in the way",
                    f"give it a manager (`migrate views adopt {statement.blockers[0]}`; on SQLite `migrate new NAME --view`), so "
                    "that it steps aside; where views do not do that by themselves, open it around the statement: "
                    "`with Manager(db):`",
                    statement.source,
                )


@rule("MG610", Severity.ERROR, Needs.REHEARSAL)
def leaves_invalid(context: Context) -> Iterator[Hit]:
    """A migration that leaves an index which the database does not use.

    ## What it finds

    In a rehearsal with real commits (`--on scratch`): an index that is invalid when the migration has ended. `CREATE INDEX
    CONCURRENTLY` leaves one when it fails, for instance because values are not unique.

    ```sql
    CREATE UNIQUE INDEX CONCURRENTLY customer_email ON customer (email);     -- bad: with two equal rows it fails half-way
    ```

    ## Why it matters

    Every write maintains it, but no query uses it. Building it again fails because the name is taken.

    ## How to fix it

    Make the values unique first, drop what is invalid, and build it again.

    ```sql
    DROP INDEX CONCURRENTLY customer_email;                                  -- good
    CREATE UNIQUE INDEX CONCURRENTLY customer_email ON customer (email);
    ```
    """
    for step in _steps(context):
        if step.seen.invalid:
            yield step.hit(
                f"leaves {listed(step.seen.invalid)} invalid",
                f"DROP INDEX CONCURRENTLY {step.seen.invalid[0]}; then build it again",
            )


@rule("MG611", Severity.WARNING, Needs.REHEARSAL)
def breaks_running_code(context: Context) -> Iterator[Hit]:
    """A name that running programs may use is removed.

    ## What it finds

    In a rehearsal: a table, column, view, sequence, type or function that existed before the run and is gone under its name after
    it: dropped or renamed.

    ```sql
    ALTER TABLE customer RENAME COLUMN mail TO email;             -- bad: the old program still asks for `mail`
    ```

    ## Why it matters

    Between the migration and the end of the last process of the old version every query for that name fails.

    ## How to fix it

    Add the new name beside the old one, release what uses the new one, and drop the old one after that.

    ```sql
    ALTER TABLE customer ADD COLUMN email text;                   -- good: both versions run
    ```
    """
    for step in _steps(context):
        gone = [fact for fact in step.seen.removed if fact.kind in _USED_BY_CODE and fact.identity not in step.made]
        if gone:
            yield step.hit(
                f"takes away {_facts(step, _outermost(gone))}",
                "let the old name stand until no running program uses it, and drop it in a later release",
            )


@rule("MG612", Severity.ERROR, Needs.REHEARSAL)
def fails_in_rehearsal(context: Context) -> Iterator[Hit]:
    """A migration that fails when it is tried.

    ## What it finds

    In a rehearsal: a migration that raised, or did not return a true value. Migrations that require it were not tried.

    ```python
    @migration
    def add_unique_email(db):
        db.executesql("CREATE UNIQUE INDEX customer_email ON customer (email)")     # bad: two customers have the same
        return True
    ```

    ## Why it matters

    It will fail when it really runs, unless rows or rights differ there.

    ## How to fix it

    Read the error and the line. An empty copy of the schema has no rows: `--data 1000` copies some, `--on scratch` restores the
    configured backup.

    ```console
    $ migrate plan --rehearse --data 1000                                           # good: with rows to fail on
    ```
    """
    for step in _steps(context):
        if step.seen.failure:
            hint = "migrate plan --rehearse shows what it sent until then"
            yield step.hit(f"fails: {step.seen.failure}", hint, step.seen.failed_at)
