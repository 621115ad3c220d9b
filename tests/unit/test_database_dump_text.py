"""What psql would make of a dump's text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate_graph.database.backup.dump_text import DumpText
from migrate_graph.database.backup.restore import sqlite_statements


def read(text: str, *, trusted: bool = False, size: int = 7) -> DumpText:
    """Read a text in small pieces, so that every boundary is crossed."""
    dump = DumpText(trusted=trusted)
    data = text.encode()
    for start in range(0, len(data), size):
        dump.feed(data[start : start + size])
    dump.finish()
    return dump


def faults(text: str, *, trusted: bool = False) -> list[tuple[int, str]]:
    return [(fault.line, fault.message) for fault in read(text, trusted=trusted).faults]


HARMLESS = [
    "SELECT 1;",
    "SELECT 1;\n-- COMMIT; \\! rm -rf /\n",
    "SELECT 'COMMIT; \\! rm';",
    "SELECT 'it''s; ROLLBACK;\n\\! x';",
    'SELECT "a;ROLLBACK;\\!" FROM t;',
    "SELECT E'a\\'; ROLLBACK; \\! x';",
    "SELECT E'a'' \\\\';",
    "SELECT U&'\\0041;';",
    "/* ROLLBACK; /* \\! nested */ \\! */ SELECT 1;",
    "DO $$ BEGIN ROLLBACK; END $$;",
    "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $_a1$ BEGIN; ROLLBACK; $$ x $$ \\! END; $_a1$;",
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END;",
    "CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC SELECT 1; END;\nSELECT 2;",
    "CREATE RULE r AS ON INSERT TO t DO (DELETE FROM a; DELETE FROM b);",
    "COPY t (a, b) FROM stdin;\n1\tROLLBACK;\n\\N\t\\! x\n'\n\\.\nSELECT 1;",
    "COPY t FROM STDIN WITH (FORMAT csv);\r\n1,2\r\n\\.\r\nSELECT 1;",
    "COPY t FROM stdin;\n\\.\n",
    "COPY t TO stdout;",
    'COPY "from" ("stdin") FROM stdin;\n1\n\\.\n',
    "INSERT INTO a VALUES (1, 'x; ROLLBACK', -2, 4/2, \"q;\");\n",
    "INSERT INTO a VALUES ('it''s; \n ROLLBACK;');\nINSERT INTO a VALUES (E'\\\\');\n",
    "INSERT INTO a VALUES ($$; ROLLBACK;$$);\n",
    "INSERT INTO a VALUES (1); -- ROLLBACK;\n",
    "SAVEPOINT a; ROLLBACK TO a; ROLLBACK TRANSACTION TO SAVEPOINT a; RELEASE a;",
    "PREPARE q AS SELECT 1;",
    "CREATE TABLE commit_log (rollback int); ",
    "SELECT $1 + 1e5 ; SELECT x$y$z FROM t;",
    "\\restrict abc\nSELECT 1;\n\\unrestrict abc\n",
    "BEGIN;\nSELECT 1;\nCOMMIT;\n",
    "START TRANSACTION; SELECT 1; END TRANSACTION;",
    "SELECT E'a'\n   '\\'; ROLLBACK; ';",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_quoted_or_data_is_no_command(text: str) -> None:
    assert faults(text) == []


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("SELECT 1;\n\\! rm -rf /\n", 2, "\\!"),
        ("SELECT 1 \\gexec\n", 1, "\\gexec"),
        ("SELECT 1;\n\n\\i /etc/passwd\n", 3, "\\i"),
        ("SELECT 'a'; \\! x\n", 1, "\\!"),
        ("SELECT 'a\\'; \\! x\n", 1, "\\!"),
        ("SELECT E'a', '\\'; \\! x\n", 1, "\\!"),
        ("SELECT E'a' '\\'; \\! x\n", 1, "\\!"),
        ("SELECT E'a'\n,'\\'; \\! x\n", 2, "\\!"),
        ("\\connect other\nSELECT 1;", 1, "\\connect"),
        ("SELECT 1;\nROLLBACK;", 2, "ROLLBACK"),
        ("select 1;\nrollback ;", 2, "ROLLBACK"),
        ("SELECT 1; ABORT;", 1, "ABORT"),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE; COMMIT;", 1, "BEGIN ISOLATION"),
        ("BEGIN; COMMIT AND CHAIN;", 1, "COMMIT AND CHAIN"),
        ("PREPARE TRANSACTION 'x';", 1, "PREPARE TRANSACTION"),
        ("COMMIT PREPARED 'x';", 1, "COMMIT PREPARED"),
        ("INSERT INTO a VALUES (1); ROLLBACK;\n", 1, "ROLLBACK"),
        ("INSERT INTO a VALUES ('x') \\gexec\n;\n", 1, "\\gexec"),
        ("INSERT INTO a VALUES ('x' /* ; \n */); ROLLBACK;\n", 2, "ROLLBACK"),
        ("INSERT INTO a VALUES ('x\\'); ROLLBACK;\n", 1, "ROLLBACK"),
        ("CREATE DATABASE x;", 1, "CREATE DATABASE"),
        ("COPY t FROM stdin;\n1\n\\.\n\\! x\n", 4, "\\!"),
        ("\\.\nSELECT 1;", 1, "\\."),
    ],
)
def test_what_breaks_the_one_transaction_is_named_with_its_line(text: str, line: int, word: str) -> None:
    found = faults(text)
    assert found[0][0] == line
    assert word in found[0][1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no SQL statement"),
        ("-- nothing\n", "no SQL statement"),
        ("SELECT 1", "middle of the statement of line 1"),
        ("SELECT 1;\nSELECT (1;\n", "middle of the statement of line 2"),
        ("SELECT 'abc", "inside a string"),
        ("SELECT E'abc\\';", "inside an escape string"),
        ("DO $x$ BEGIN", "inside a dollar-quoted text"),
        ("/* a /* b */ SELECT 1;", "inside a comment"),
        ("COPY t FROM stdin;\n1\n2", "inside the data of a COPY"),
        ("BEGIN; SELECT 1;", "inside its own transaction"),
        ("--\n-- PostgreSQL database dump\n--\nSELECT 1;\n", "'-- PostgreSQL database dump complete' is missing"),
    ],
)
def test_a_cut_is_found_wherever_it_falls(text: str, said: str) -> None:
    assert said in faults(text)[-1][1]


def test_a_complete_dump_has_its_trailer() -> None:
    assert not faults("-- PostgreSQL database dump\nSELECT 1;\n--\n-- PostgreSQL database dump complete\n--\n")


def test_a_trusted_dump_may_hold_commands_but_may_not_leave_the_transaction() -> None:
    assert faults("\\set x 1\nSELECT 1 \\gexec\nSELECT 2;", trusted=True) == []
    assert "\\c" in faults("\\c other\nSELECT 2;", trusted=True)[0][1]


def test_own_transactions_and_restrict_are_left_out() -> None:
    text = "\\restrict k\nBEGIN;\nSELECT 1;\n COMMIT ;\n\\unrestrict k\n"
    dump = read(text)
    assert [text[a:b] for a, b in dump.left_out] == ["\\restrict k", "BEGIN;", "COMMIT ;", "\\unrestrict k"]


def test_all_faults_are_told_at_once_but_not_a_thousand() -> None:
    assert len(faults("\\! a\nROLLBACK;\n\\! b\nSELECT 1;")) == 3
    assert len(faults("\\! a\n" * 1000 + "SELECT 1;")) == 5


@given(st.lists(st.sampled_from(HARMLESS), min_size=1, max_size=6), st.integers(1, 50))
def test_dumps_one_after_another_read_like_each_alone(texts: list[str], size: int) -> None:
    assert [fault.message for fault in read("\n".join(texts), size=size).faults] == []


@given(st.binary(max_size=200), st.integers(1, 20))
def test_no_bytes_break_the_reader_and_pieces_do_not_matter(data: bytes, size: int) -> None:
    def run(step: int) -> tuple[object, ...]:
        dump = DumpText(trusted=False)
        for start in range(0, len(data), step):
            dump.feed(data[start : start + step])
        dump.finish()
        return dump.faults, dump.left_out, dump.statements

    assert run(size) == run(1000)


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("SELECT 1; SELECT 2;", [(1, "SELECT 1;"), (1, "SELECT 2;")]),
        ("SELECT ';\n;';\n\nSELECT 2;\n", [(1, "SELECT ';\n;';"), (4, "SELECT 2;")]),
        ("-- a; b\nSELECT 1; -- c;\nSELECT 2;", [(1, "-- a; b\nSELECT 1;"), (2, "-- c;\nSELECT 2;")]),
        (
            "CREATE TRIGGER t AFTER INSERT ON a BEGIN\nDELETE FROM b;\nDELETE FROM c;\nEND;\nSELECT 1;",
            [
                (1, "CREATE TRIGGER t AFTER INSERT ON a BEGIN\nDELETE FROM b;\nDELETE FROM c;\nEND;"),
                (5, "SELECT 1;"),
            ],
        ),
        ("/* ; \n ; */ SELECT 1;", [(1, "/* ; \n ; */ SELECT 1;")]),
        ('SELECT ";" , [;], `;`;', [(1, 'SELECT ";" , [;], `;`;')]),
        (".open x\nSELECT 1;", [(1, ".open x\n"), (2, "SELECT 1;")]),
        ("SELECT '\n.shell x\n';", [(1, "SELECT '\n.shell x\n';")]),
        ("SELECT 1;\nSELECT (", [(1, "SELECT 1;"), (2, "SELECT (")]),
        ("\n\n", []),
    ],
)
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_sqlite_statements_are_told_apart_as_sqlite_does(
    text: str, statements: list[tuple[int, str]], size: int
) -> None:
    data = text.encode()
    assert list(sqlite_statements(data[i : i + size] for i in range(0, len(data), size))) == statements
