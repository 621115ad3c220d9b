"""What the server would make of a dump's text."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate_graph.database.backup import dump_text
from migrate_graph.database.backup.dump_text import DumpReader, Part, PartKind
from migrate_graph.database.backup.statements import TextFault
from migrate_graph.database.sqlite.statements import sqlite_statements


def read(text: str | bytes, *, trusted: bool = False, size: int = 7) -> tuple[list[Part], list[TextFault]]:
    """Read a text in small pieces, so that every boundary is crossed."""
    data = text.encode() if isinstance(text, str) else text
    reader = DumpReader((data[start : start + size] for start in range(0, len(data), size)), trusted=trusted)
    return list(reader.parts()), reader.faults


def faults(text: str | bytes, *, trusted: bool = False, size: int = 7) -> list[tuple[int, str]]:
    return [(fault.line, fault.message) for fault in read(text, trusted=trusted, size=size)[1]]


def texts(text: str | bytes, size: int = 7) -> list[str]:
    """Return what is sent to the server, with the data of each COPY in one piece."""
    sent: list[str] = []
    for part in read(text, size=size)[0]:
        if part.kind is PartKind.DATA and sent[-1].startswith("data:"):
            sent[-1] += part.text.decode()
        elif part.kind is PartKind.DATA:
            sent.append("data:" + part.text.decode())
        elif part.kind in {PartKind.STATEMENT, PartKind.QUERY, PartKind.COPY}:
            sent.append(part.text.decode())
    return sent


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
    "COPY stdin FROM stdin;\n1\n\\.\nSELECT 1;",
    "SET client_encoding = 'UTF8';\nSET standard_conforming_strings = on;\nSET NAMES 'LATIN1';",
    "SELECT $a$ $b$ $$ ; \\! $a $a$;",
    "INSERT INTO t VALUES ('line\rline');\r\nSELECT $$ a \r b $$;",
    "SELECT 1e5, 0x1F, 1_000 AS n1e;\n",
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
        # What another program would read in another way.
        ("SELECT 1; -- x\r\\! touch pwned\n", 1, "carriage return"),
        ("SELECT 1;\rSELECT 2;\n", 1, "carriage return"),
        ("INSERT INTO t VALUES (1)\r;\n", 1, "carriage return"),
        ("SELECT 1E'\\'; \\! touch pwned\n --';\n", 1, "glued"),
        ("INSERT INTO t VALUES (1E'x'); \n", 1, "glued"),
        ("SELECT 1;\nSET standard_conforming_strings = off;\n", 2, "backslash"),
        ("SET SESSION standard_conforming_strings TO 'off';\n", 1, "backslash"),
        ("SET client_encoding = 'SJIS';\n", 1, "SJIS"),
        ("set names 'shift_jis_2004';\n", 1, "shift_jis_2004"),
        ("SET LOCAL client_encoding TO gb18030;\n", 1, "gb18030"),
        ("COPY t FROM '/etc/passwd';\n", 1, "COPY"),
        ("COPY t FROM PROGRAM 'touch pwned';\n", 1, "COPY"),
        ("COPY t TO PROGRAM 'touch pwned';\n", 1, "COPY"),
        ("COPY t (a) TO '/tmp/x';\n", 1, "COPY"),
        ("COPY t FROM E'/etc/passwd';\n", 1, "COPY"),
        ("COPY (SELECT 1 FROM stdin) TO STDOUT;\n\\! touch pwned\n\\.\n", 1, "COPY"),
        ("COPY t FROM stdin; SELECT 1;\n1\n\\.\n", 1, "follows a COPY"),
        ("\\copy t from program 'touch pwned'\n", 1, "\\copy"),
        ("\\o |touch pwned\nSELECT 1;\n", 1, "\\o"),
        ("SELECT 1 \\g |touch pwned\n", 1, "\\g"),
        ("\\set x `touch pwned`\n", 1, "\\set"),
        ("\\if true\nSELECT 1;\n\\endif\n", 1, "\\if"),
        ("\\lo_import '/etc/passwd'\nSELECT 1;", 1, "\\lo_import"),
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


def test_own_transactions_and_restrict_are_not_sent() -> None:
    text = "\\restrict k\nBEGIN;\nSELECT 1;\n COMMIT ;\n\\unrestrict k\n"
    assert texts(text) == ["SELECT 1;"]
    assert faults(text) == []


def test_what_is_sent_is_what_stands_there() -> None:
    text = (
        "-- a remark\nSELECT 1 /* ; */ ; SELECT E'a\\';'\n'b\\';';\nCOPY t FROM stdin;\n1\t\\\\.\n\\\\.\n\\.\n"
        "INSERT INTO t VALUES (1);\nCOPY e FROM stdin;\n\\.\nDO $a$ ; $b$ ; $a$;\n"
    )
    for size in (1, 2, 3, 7, 1000):
        assert texts(text, size) == [
            "SELECT 1 /* ; */ ;",
            "SELECT E'a\\';'\n'b\\';';",
            "COPY t FROM stdin;",
            "data:1\t\\\\.\n\\\\.\n",
            "INSERT INTO t VALUES (1);",
            "COPY e FROM stdin;",
            "DO $a$ ; $b$ ; $a$;",
        ]


def test_each_part_knows_its_line() -> None:
    text = "\n\nSELECT\n1;\nCOPY t FROM stdin;\n1\n2\n\\.\n/*\n*/ SELECT 2; SELECT 3;\n"
    for size in (1, 5, 1000):
        lines = {part.line for part in read(text, size=size)[0] if part.kind is not PartKind.DATA}
        assert lines == {3, 5, 9, 10}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("SELECT 1;", PartKind.QUERY),
        ("(SELECT 1) UNION SELECT 2;", PartKind.QUERY),
        ("VALUES (1);", PartKind.QUERY),
        ("TABLE t;", PartKind.QUERY),
        ("WITH a AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM a;", PartKind.QUERY),
        ("SELECT 'INTO', \"into\" /* INTO */ FROM t FOR UPDATE;", PartKind.QUERY),
        ("SELECT 1 INTO t;", PartKind.STATEMENT),
        ("WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a;", PartKind.STATEMENT),
        ("CREATE RULE r AS ON INSERT TO v DO INSTEAD INSERT INTO t VALUES (1) RETURNING id;", PartKind.STATEMENT),
        ("CREATE VIEW v AS SELECT 1;", PartKind.STATEMENT),
    ],
)
def test_what_answers_with_rows_is_known(text: str, kind: PartKind) -> None:
    parts, found = read(text)
    assert not found
    assert [part.kind for part in parts] == [kind]


@pytest.mark.parametrize(
    "text",
    [
        "FETCH ALL FROM c;",
        "EXECUTE p;",
        "INSERT INTO t VALUES (1) RETURNING *;",
        "WITH a AS (SELECT 1) DELETE FROM t RETURNING t.a;",
    ],
)
def test_other_statements_that_answer_with_rows_are_refused(text: str) -> None:
    assert "asks for rows" in faults(text)[0][1]
    assert not faults(text, trusted=True)


def test_variables_of_psql_are_plain_text() -> None:
    assert texts("SELECT :var, :'var', :\"var\", a[1:2], 'x'::text;\n") == [
        "SELECT :var, :'var', :\"var\", a[1:2], 'x'::text;"
    ]


def test_the_memory_of_a_statement_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump_text, "LONGEST_STATEMENT", 1 << 20)
    taken = 0

    def pieces() -> Iterator[bytes]:
        nonlocal taken
        yield b"SELECT '"
        for _ in range(1000):
            taken += 1
            yield b"x" * (1 << 18)

    reader = DumpReader(pieces(), trusted=False)
    assert list(reader.parts()) == []
    assert "longer than 1 MiB" in reader.faults[0].message
    assert taken < 10


@pytest.mark.parametrize("text", [b"x" * 10_000_000, b"1" * 10_000_000, b"-" * 10_000_000])
def test_a_line_without_end_is_read_in_linear_time(text: bytes) -> None:
    reader = DumpReader((text[at : at + 100_000] for at in range(0, len(text), 100_000)), trusted=False)
    assert list(reader.parts()) == []
    assert reader.faults


def test_a_header_in_the_middle_promises_nothing() -> None:
    pasted = "-- Towns, by hand.\nBEGIN;\nSELECT 1;\n--\n-- PostgreSQL database dump\n--\nSELECT 2;\nCOMMIT;\n"
    assert faults(pasted) == []


def test_of_two_dumps_one_after_another_each_must_be_whole() -> None:
    whole = "--\n-- PostgreSQL database dump\n--\n\n\\restrict a\nSELECT 1;\n--\n-- PostgreSQL database dump complete\n--\n\\unrestrict a\n"
    assert faults(whole * 2) == []
    assert "missing" in faults(whole + whole[:60])[0][1]


def test_all_faults_are_told_at_once_but_not_a_thousand() -> None:
    assert len(faults("\\! a\nROLLBACK;\n\\! b\nSELECT 1;")) == 3
    assert len(faults("\\! a\n" * 1000 + "SELECT 1;")) == 5


@given(st.lists(st.sampled_from(HARMLESS), min_size=1, max_size=6), st.integers(1, 50))
def test_dumps_one_after_another_read_like_each_alone(texts: list[str], size: int) -> None:
    assert faults("\n".join(texts), size=size) == []


@given(st.binary(max_size=200), st.integers(1, 20))
def test_no_bytes_break_the_reader_and_pieces_do_not_matter(data: bytes, size: int) -> None:
    for trusted in (False, True):
        parts, found = read(data, trusted=trusted, size=size)
        whole, expected = read(data, trusted=trusted, size=1000)
        assert found == expected
        assert [part for part in parts if part.kind is not PartKind.DATA] == [
            part for part in whole if part.kind is not PartKind.DATA
        ]
        assert _data(parts) == _data(whole)


def _data(parts: list[Part]) -> bytes:
    return b"".join(part.text for part in parts if part.kind is PartKind.DATA)


ALPHABET = [
    "'",
    '"',
    "$",
    "$a$",
    "\\",
    "E'",
    "--",
    "/*",
    "*/",
    "\n",
    "\r",
    ";",
    "(",
    ")",
    "a",
    "1",
    " ",
    "COPY t FROM stdin;\n",
    "\n\\.\n",
    "BEGIN",
]


@given(st.lists(st.sampled_from(ALPHABET), max_size=30).map("".join), st.integers(1, 5))
def test_pieces_do_not_matter_to_what_looks_like_sql(text: str, size: int) -> None:
    small, found = read(text, size=size)
    whole, expected = read(text, size=10_000)
    assert found == expected
    assert [part for part in small if part.kind is not PartKind.DATA] == [
        part for part in whole if part.kind is not PartKind.DATA
    ]
    assert _data(small) == _data(whole)


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
