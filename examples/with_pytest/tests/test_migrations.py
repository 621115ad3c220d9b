"""What the migrations of the library do to its data; that they can be applied at all, the ready tests show."""

import pytest


def test_reports_come_after_what_they_read(migrate_graph):
    assert "create_loans_20260401_002" in migrate_graph.ancestors("create_reports_20260408_001")


def test_a_reader_with_two_books_is_busy(migrated_db):
    migrated_db.executesql(
        "INSERT INTO book (id, title, author) VALUES (1, 'Notes', 'Ada Lovelace'), (2, 'Compilers', 'Grace Hopper')"
    )
    migrated_db.executesql(
        "INSERT INTO loan (id, book, reader, lent_on) VALUES (1, 1, 'Sokrates', '2026-04-20'), (2, 2, 'Sokrates', '2026-04-21')"
    )
    assert migrated_db.executesql("SELECT reader, books FROM busy_readers") == [("Sokrates", 2)]


@pytest.mark.migrated_to(before="tidy_authors_20260415_001")
def test_authors_are_turned_round(migrated_db, migrate_to):
    migrated_db.executesql(
        "INSERT INTO book (id, title, author) VALUES (1, 'Notes', 'Lovelace, Ada'), (2, 'Iliad', 'Homer')"
    )
    migrate_to("tidy_authors_20260415_001")
    assert migrated_db.executesql("SELECT author FROM book ORDER BY id") == [("Ada Lovelace",), ("Homer",)]
