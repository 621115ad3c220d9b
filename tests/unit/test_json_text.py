"""Documents as text: as `json` writes them, without secrets, each text looked at once."""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate_graph.cli.json_text import indented
from migrate_graph.cli.redacted import redacted


class Word(StrEnum):
    OWN = "own hunter2"


class Number(IntEnum):
    TWO = 2


class Place(NamedTuple):
    file: str
    line: int


@dataclass(frozen=True)
class Told:
    text: str


def _mask(text: str) -> str:
    return text.replace("hunter2", "***")


def _as_ever(document: Any) -> str:
    return json.dumps(redacted(document, _mask), indent=2, default=str)


_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["hunter2", "a hunter2"])
)


@given(st.recursive(_LEAVES, lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(_LEAVES, inner)))
def test_a_document_is_written_as_json_writes_it(document: Any) -> None:
    assert indented(document, _mask) == _as_ever(document)


@pytest.mark.parametrize(
    "value",
    [
        Word.OWN, Number.TWO, Place("hunter2.py", 3), {"hunter2", "b"}, frozenset(), Told("hunter2"), Path("a/b"),
        MappingProxyType({"a": ["hunter2"]}), OrderedDict(), OrderedDict(a={"b": [1, "hunter2"]}), 10**30,
        {Word.OWN: 1, 2: 2, None: 3, True: 4, 1.5: 5}, {"a hunter2": 1, "a ***": 2},
    ],
)  # fmt: skip
def test_what_is_rare_in_a_document_is_written_likewise(value: Any) -> None:
    for document in (value, [value], {"in": {"it": [value, value]}}):
        assert indented(document, _mask) == _as_ever(document)


def test_a_text_is_looked_through_once_however_often_it_stands_there() -> None:
    seen: Counter[str] = Counter()

    def counts(text: str) -> str:
        seen[text] += 1
        return text

    indented([{"name": f"m_{number}", "status": "pending"} for number in range(100)], counts)
    assert set(seen.values()) == {1}
    assert len(seen) == 103
