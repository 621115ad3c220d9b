"""A library that lends books."""

from pydal import Field

from migrate_graph import ViewMigrationManager, migration


@migration
def create_books_20260401_001(db):
    """What stands on the shelves."""
    db.executesql(
        "CREATE TABLE book (id INTEGER PRIMARY KEY, title VARCHAR(200) NOT NULL, author VARCHAR(200) NOT NULL)"
    )
    return True


@migration(requires=create_books_20260401_001)
def create_loans_20260401_002(db):
    """Who has which book, and since when."""
    db.executesql("""
        CREATE TABLE loan (
            id INTEGER PRIMARY KEY,
            book INTEGER NOT NULL REFERENCES book,
            reader VARCHAR(100) NOT NULL,
            lent_on DATE NOT NULL,
            returned_on DATE
        )
    """)
    return True


class LoansOut(ViewMigrationManager):
    """Books that somebody has."""

    uses = ()
    since = "create_reports_20260408_001"

    def up(self):
        self.db.executesql("""
            CREATE VIEW loans_out AS
            SELECT l.id, b.title, b.author, l.reader, l.lent_on FROM loan l JOIN book b ON b.id = l.book WHERE l.returned_on IS NULL
        """)

    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS loans_out")


class BusyReaders(ViewMigrationManager):
    """Readers with more than one book at home."""

    uses = (LoansOut,)
    since = "create_reports_20260408_001"

    def up(self):
        self.db.executesql(
            "CREATE VIEW busy_readers AS SELECT reader, count(*) AS books FROM loans_out GROUP BY reader HAVING count(*) > 1"
        )

    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS busy_readers")


@migration(requires=create_loans_20260401_002)
def create_reports_20260408_001(db):
    """What the desk looks at each morning."""
    with LoansOut(db):
        pass
    return True


@migration(requires=create_reports_20260408_001)
def tidy_authors_20260415_001(db):
    """Authors were typed in as "Lovelace, Ada"; from now on it is "Ada Lovelace"."""
    book = db.define_table("book", Field("author"), migrate=False)
    for row in db(book.author.contains(", ")).select():
        family, _, given = row.author.partition(", ")
        row.update_record(author=f"{given} {family}")
    return True
