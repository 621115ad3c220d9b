"""Which statements of a text end a transaction, and which only look like it."""

from __future__ import annotations

import pytest

from migrate_graph.database.postgres.session.statements import Kind, statements

PLAIN, BEGINS, COMMITS, TWO_PHASE = Kind.PLAIN, Kind.BEGINS, Kind.COMMITS, Kind.TWO_PHASE
BACK = Kind.ROLLS_BACK


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("SELECT 1", [PLAIN]),
        ("COMMIT", [COMMITS]),
        ("commit work;", [COMMITS]),
        ("END", [COMMITS]),
        ("ABORT TRANSACTION", [BACK]),
        ("ROLLBACK AND CHAIN", [BACK]),
        ("ROLLBACK TO SAVEPOINT a", [PLAIN]),
        ("ROLLBACK WORK TO a", [PLAIN]),
        ("/* a /* nested */ */ -- and this\n ROLLBACK", [BACK]),
        (";;  ; ROLLBACK", [BACK]),
        ("ROLLBACK; INSERT INTO t VALUES (1)", [BACK, PLAIN]),
        ("BEGIN; INSERT INTO t VALUES (';'); COMMIT;", [BEGINS, PLAIN, COMMITS]),
        ("START TRANSACTION READ ONLY", [BEGINS]),
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", [BEGINS]),
        ("SET LOCAL TRANSACTION READ ONLY", [BEGINS]),
        ("SET search_path TO a", [PLAIN]),
        ("PREPARE TRANSACTION 'x'", [TWO_PHASE]),
        ("COMMIT PREPARED 'x'", [TWO_PHASE]),
        ("PREPARE p AS SELECT 1; EXECUTE p", [PLAIN, PLAIN]),
        ("DO $$ BEGIN COMMIT; END $$", [PLAIN]),
        ("DO $a$ BEGIN x := '$$;'; COMMIT; END $a$; COMMIT", [PLAIN, COMMITS]),
        ("INSERT INTO t VALUES ('a;COMMIT', E'\\';ROLLBACK;', \"b;END\")", [PLAIN]),
        ("SELECT CASE WHEN true THEN 1 END; SELECT 2", [PLAIN]),
        ("SELECT CASE WHEN true THEN 1 END; SELECT 2; END", [PLAIN, PLAIN, COMMITS]),
        ("SELECT 1;\n\t ; end", [PLAIN, COMMITS]),
        ("SELECT 1; /* so */ END", [PLAIN, COMMITS]),
        ("-- so\nEND", [COMMITS]),
        ("\n abort", [BACK]),
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END; ROLLBACK",
            [PLAIN, BACK],
        ),
        ("CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC SELECT 1; END", [PLAIN]),
        ("SELECT $1 FROM a$b$c; COMMIT", [PLAIN, COMMITS]),
        ("SELECT 'never closed; COMMIT", [PLAIN]),
        ("", [PLAIN]),
    ],
)
def test_statements_are_told_apart(text: str, kinds: list[Kind]) -> None:
    found = statements(text)
    assert [each.kind for each in found] == kinds
    assert "".join(each.text for each in found).replace(";", "").split() == text.replace(";", "").split()


def test_a_backslash_escapes_where_the_server_says_so() -> None:
    text = r"SELECT 'a\'; ROLLBACK; SELECT ';'"
    assert [each.kind for each in statements(text)] == [PLAIN, BACK, PLAIN]
    assert [each.kind for each in statements(text, backslashes=True)] == [PLAIN, PLAIN]
