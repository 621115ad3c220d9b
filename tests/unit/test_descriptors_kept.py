"""The descriptors of the process are after a body what they were before it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrate_graph.executor.process_state import kept

INPUT = 0


@pytest.fixture(autouse=True)
def _input_of_the_tests() -> Iterator[None]:
    before = os.dup(INPUT)
    yield
    os.dup2(before, INPUT)
    os.close(before)


@pytest.mark.parametrize("is_inherited", [True, False])
def test_children_inherit_a_descriptor_as_before(is_inherited: bool) -> None:
    os.set_inheritable(INPUT, is_inherited)
    with kept(lambda: None):
        os.set_inheritable(INPUT, not is_inherited)
    assert os.get_inheritable(INPUT) is is_inherited


def test_another_file_is_put_away(tmp_path: Path) -> None:
    before = os.fstat(INPUT)
    with kept(lambda: None), (tmp_path / "other").open("wb") as other:
        os.dup2(other.fileno(), INPUT)
        assert not os.path.samestat(os.fstat(INPUT), before)
    assert os.path.samestat(os.fstat(INPUT), before)
