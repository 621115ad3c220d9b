"""Writes what was measured into docs/performance.md, between the marks of its table."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
_END = "<!-- end -->"


def write(name: str, table: str) -> None:
    """Write a table in the place of the one that was measured before.

    Args:
        name: of the table, as its mark has it.
        table: Markdown, with a line end.
    """
    mark = f"<!-- measured: {name} -->\n"
    before, rest = PAGE.read_text(encoding="utf-8").split(mark)
    PAGE.write_text(before + mark + table + _END + rest.partition(_END)[2], encoding="utf-8")
