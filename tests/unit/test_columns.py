"""Text in columns: measured as a terminal does, broken between words, never cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate_graph.columns import broken, columns, hanging, padded, table, window

WORDS = st.lists(st.text("abc_12数é", min_size=1, max_size=30), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("text", "wide"),
    [
        ("abc", 3),
        ("", 0),
        ("数据库", 6),
        ("e\u0301", 1),
        ("ﾃｽﾄ", 3),
        ("한글", 4),
        ("😀", 2),
        ("❤\ufe0f", 2),
        ("\x07", 1),
    ],
)
def test_columns_are_those_of_a_terminal(text: str, wide: int) -> None:
    assert columns(text) == wide
    assert columns(padded(text, 10)) == 10


@given(WORDS, st.integers(20, 60), st.integers(0, 50), st.integers(0, 10))
def test_words_are_all_there_and_lines_fit(words: list[str], width: int, column: int, indent: int) -> None:
    first, *more = hanging(" ".join(words), width, column=column, indent=indent)
    assert " ".join([first, *more]).split() == words
    assert not first or column + columns(first) <= width
    for line in more:
        assert columns(line) <= max(width, indent + 20) or " " not in line.strip()


def test_a_pipe_has_no_columns() -> None:
    assert hanging("a b c " * 50, None, column=90, indent=3) == ["a b c " * 50]
    assert broken("a b", None) == ["a b"]
    assert broken("", 10) == [""]


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5), st.sampled_from([None, 60, 80, 140]))
def test_a_table_keeps_every_word(cells: list[tuple[list[str], list[str]]], width: int | None) -> None:
    rows = [(name[0], "applied", " ".join(text)) for name, text in cells]
    laid = table(rows, width, indent=2)
    for row, lines in zip(rows, laid, strict=True):
        assert " ".join(lines).split() == " ".join(row).split()
        assert all(line.startswith("  ") for line in lines)
        assert all(width is None or columns(line) <= width or " " not in line.strip() for line in lines)


def test_wide_characters_shift_nothing() -> None:
    laid = table([("数据", "x"), ("abcd", "x"), ("é", "x")])
    assert {columns(lines[0]) for lines in laid} == {7}


@given(st.text("ab数 ", min_size=1, max_size=200), st.integers(30, 80), st.data())
def test_a_window_shows_what_it_is_for(text: str, width: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, min(len(text), start + 10)))
    part, span = window(text, (start, end), width)
    assert span is not None
    assert part[span[0] : span[1]] == text[start:end]
    assert columns(part) <= width
