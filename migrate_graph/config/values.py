"""A value of a setting: as it was found, where it came from, and how it is converted to its type."""

from __future__ import annotations

import re
import types
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

from msgspec import Struct

from migrate_graph.core.footprint import Budget
from migrate_graph.messages import did_you_mean, similar
from migrate_graph.redaction import hidden_character
from migrate_graph.user_files import SourceLocation

Seconds: TypeAlias = Annotated[float, "a number of seconds, 0 or more"]
Bytes: TypeAlias = Annotated[int, "a whole number of bytes, 0 or more"]
Jobs: TypeAlias = Annotated[int, "a whole number, 1 to 64"]
FilePath: TypeAlias = Annotated[str, "a path"]
Codes: TypeAlias = Annotated[tuple[str, ...], 'a list of codes like "MG101"']
Patterns: TypeAlias = Annotated[tuple[str, ...], 'a list of patterns like "public.log_*"']
RehearseBudget: TypeAlias = Annotated[Budget, 'a table like { rewrite = "100 MB", lock = 2.0, rows = 100000 }']
Schema: TypeAlias = Annotated[str | Literal[False], "the name of a schema, or false"]

_EXPECTED = {bool: "true or false", str: "a text"}
_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off"})
_NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?", re.ASCII)
_MOST = {float: 10**9, int: 10**18}
"""The most seconds, and the most bytes or rows, that a setting takes; Python cannot wait for ten times as many seconds."""
_DIGITS = 20


class SourceKind(StrEnum):
    """Where a value can come from; the later ones win."""

    DEFAULT = "default"
    PYPROJECT = "pyproject"
    DOTENV = ".env"
    ENVIRONMENT = "environment"
    COMMAND_LINE = "command line"
    CODE = "code"


_FILES = frozenset({SourceKind.PYPROJECT, SourceKind.DOTENV})


class Source(Struct, frozen=True):
    """Where the value of a setting came from.

    Attributes:
        kind: see `SourceKind`.
        where: `pyproject.toml:12`, `.env`, the name of a variable or of an option; empty for defaults.
    """

    kind: SourceKind = SourceKind.DEFAULT
    where: str = ""

    def __str__(self) -> str:
        return {
            SourceKind.ENVIRONMENT: f"{self.where} in the environment",
            SourceKind.COMMAND_LINE: f"{self.where} on the command line",
        }.get(self.kind, self.where or str(self.kind))


class RawValue(Struct, frozen=True):
    """A value for a setting, as it was found.

    Attributes:
        name: as it was spelt.
        value: as it was found.
        source: where it was found.
        place: file and line; None where it does not come from a file with lines.
        key: name of the setting; empty where `name` is that.
    """

    name: str
    value: object
    source: Source
    place: SourceLocation | None = None
    key: str = ""

    @property
    def is_text(self) -> bool:
        """Whether it is a text from a place that has no other types: .env, the environment, the command line."""
        return isinstance(self.value, str) and self.source.kind in {
            SourceKind.DOTENV,
            SourceKind.ENVIRONMENT,
            SourceKind.COMMAND_LINE,
        }

    @property
    def prefix(self) -> str:
        """The beginning of a message about it: its place and a colon; empty for a value from code."""
        if self.source.kind is SourceKind.CODE:
            return ""
        place = self.place or (self.source.where if self.source.kind in _FILES else self.source.kind)
        return f"{place}: "


class WrongType(ValueError):  # noqa: N818 - says what is wrong with the value
    """A value that is of another type than its setting."""


class Refused(ValueError):  # noqa: N818 - says what became of the value
    """A value of the right type that cannot be used.

    Attributes:
        why: what is wrong with it, without the value itself: it may hold a secret.
        hint: what to write instead.
    """

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint


def expected(annotation: Any, *, empty: bool) -> str:
    """Return what a setting takes, in words; `empty` when an empty text is a value too."""
    first = _members(annotation)[0]
    if get_origin(first) is Annotated:
        words = str(get_args(first)[1])
    elif get_origin(first) is Literal:
        words = f"one of {', '.join(get_args(first))}"
    else:
        words = _EXPECTED[first]
    return words if empty or words not in {"a text", "a path"} else f"{words} that is not empty"


def converted(value: object, annotation: Any, *, from_text: bool, empty: bool) -> Any:
    """Convert a value to the type that a setting is annotated with.

    Args:
        value: as it was found.
        annotation: `str`, `bool`, `float`, `int`, a `Literal`, a tuple of texts, or a union of one of these and None or False.
        from_text: it comes from a place that knows only texts, such as the environment.
        empty: an empty text is a value too.

    Raises:
        WrongType: it is of another type.
        Refused: it holds an invisible character.
    """
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str):
        value = _trimmed(value, is_path=FilePath in _members(annotation))
    wanted, *others = (plain for member in _members(annotation) for plain in _members(_unwrapped(member)))
    # In edwh-migrate an empty text left the search path unchanged, as `false` does.
    if Literal[False] in others and (value is False or value == "" or (from_text and str(value).lower() == "false")):
        return False
    if type(None) in others and value == "" and empty:
        return None
    return _as_type(value, _unwrapped(wanted), from_text=from_text, empty=empty)


def _members(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in {Union, types.UnionType} else (annotation,)


def _unwrapped(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _trimmed(text: str, *, is_path: bool) -> str:
    """Remove what editors and secret stores add at the ends: line ends, blanks, a byte order mark.

    Raises:
        Refused: it holds an invisible character.
    """
    text = text.strip("\ufeff").strip()
    if fault := hidden_character(text, lone_bytes=not is_path):
        if "(\\udc" in fault:
            raise Refused(
                f"it holds {fault}, a byte that is no UTF-8",
                "write it in ASCII; for the path of a database: a relative one, from the directory itself",
            )
        raise Refused(
            f"it holds {fault}, which nobody sees", "write it again by hand; copied text may carry such characters"
        )
    return text


def _as_type(value: object, wanted: Any, *, from_text: bool, empty: bool) -> Any:
    if get_origin(wanted) is Literal:
        if value in get_args(wanted):
            return value
    elif get_origin(wanted) is tuple:
        return _texts(value, from_text=from_text)
    elif wanted is str:
        if isinstance(value, str) and (value or empty):
            return value
    elif wanted is Budget:
        return _budget(value, from_text=from_text)
    elif wanted is bool:
        return _boolean(value, from_text=from_text)
    else:
        return _number(value, wanted, from_text=from_text)
    raise WrongType


def _boolean(value: object, *, from_text: bool) -> bool:
    if from_text and str(value).lower() in _TRUE | _FALSE:
        return str(value).lower() in _TRUE
    if not isinstance(value, bool):
        raise WrongType
    return value


def _number(value: object, wanted: type[float] | type[int], *, from_text: bool) -> float:
    if from_text and _NUMBER.fullmatch(text := str(value)):
        value = float(text) if "." in text or len(text) > _DIGITS else int(text)
    if isinstance(value, bool) or not isinstance(value, (int, wanted)) or not 0 <= value < float("inf"):
        raise WrongType
    if value > _MOST[wanted]:
        raise Refused(f"it is more than {_MOST[wanted]:,}", "write a smaller number")
    return wanted(value)


def _texts(value: object, *, from_text: bool) -> tuple[str, ...]:
    if from_text:
        value = [text for text in re.split(r"[\s,]+", str(value)) if text]
    if not isinstance(value, list | tuple | set | frozenset) or not all(isinstance(each, str) for each in value):
        raise WrongType
    return tuple(each.strip() for each in value)


def _budget(value: object, *, from_text: bool) -> Budget:
    """Return the budget in a table; amounts that it does not name have their defaults.

    In .env, the environment and the command line it is written `rewrite=100 MB, lock=2, rows=100000`.
    """
    if isinstance(value, Budget):
        return value
    if from_text:
        value = {key.strip(): text.strip() for each in str(value).split(",") for key, _, text in [each.partition("=")]}
    if not isinstance(value, dict):
        raise WrongType
    kinds = {"rewrite": int, "lock": float, "rows": int}
    unknown = [str(key) for key in value if key not in kinds]
    if unknown:
        raise Refused(
            f"there is no budget for {', '.join(unknown)}",
            did_you_mean(similar(unknown[0], kinds, most=1), f"it takes {', '.join(kinds)}"),
        )
    amounts = {key: _bytes(each) if key == "rewrite" else each for key, each in value.items()}
    return Budget(**{key: _number(each, kinds[key], from_text=from_text) for key, each in amounts.items()})  # type: ignore[arg-type]


_UNITS = {"": 1, "BYTES": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]*)?)\s*([A-Za-z]*)", re.ASCII)


def _bytes(value: object) -> object:
    """Return the bytes of a size, written as `100 MB` or as a number."""
    if not isinstance(value, str):
        return value
    found = _SIZE.fullmatch(value.strip())
    if found is None or found[2].upper() not in _UNITS:
        raise Refused(f"{value!r} is no size", "write a number of bytes, or one with a unit: 100 MB, 1.5 GB")
    return round(float(found[1]) * _UNITS[found[2].upper()])
