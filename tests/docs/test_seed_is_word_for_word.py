"""The code of `examples/seed` is the code of the documentation it comes from."""

from pathlib import Path

import pytest

SEED = Path(__file__).parents[2] / "examples" / "seed"


def _lines(text: str) -> list[str]:
    """Return what is said, whatever the indentation: the plain text has lost it."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def _blocks(lines: list[str]) -> list[list[str]]:
    """Cut a file where it imports anew: each block of the documentation starts with its import."""
    starts = [number for number, line in enumerate(lines) if line.startswith("from edwh_migrate import")]
    return [lines[start:end] for start, end in zip(starts, [*starts[1:], len(lines)], strict=True)]


def _stands_in(block: list[str], text: list[str]) -> bool:
    return any(text[start : start + len(block)] == block for start in range(len(text)))


@pytest.mark.parametrize("project", ["first", "views"])
def test_each_block_stands_in_the_documentation(project: str) -> None:
    text = _lines((SEED / "edwh-migrate.txt").read_text(encoding="utf-8"))
    code = (SEED / project / "migrations.py").read_text(encoding="utf-8")
    # Unfinished in the documentation; finished here, because unfinished it cannot run.
    code = code.replace("CREATE TABLE feature (id INTEGER PRIMARY KEY)", "CREATE TABLE ...")
    blocks = _blocks(_lines(code))
    assert blocks
    for block in blocks:
        assert _stands_in(block, text), "\n".join(block)


def test_nothing_of_the_documentation_is_left_out() -> None:
    text = _lines((SEED / "edwh-migrate.txt").read_text(encoding="utf-8"))
    blocks = [
        block
        for project in ("first", "views")
        for block in _blocks(_lines((SEED / project / "migrations.py").read_text(encoding="utf-8")))
    ]
    assert len(blocks) == sum(line.startswith("from edwh_migrate import") for line in text)
