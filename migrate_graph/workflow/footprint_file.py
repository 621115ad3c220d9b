"""The footprint file: `migrate verify --write` stores there what it saw, and `migrate check` reads it without a database."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, ValidationError, convert

from migrate_graph.core.footprint import Fact
from migrate_graph.core.traces import Entry, Touch, Trace, Traces
from migrate_graph.messages import first_line
from migrate_graph.workflow.plan import write_file

if TYPE_CHECKING:
    from migrate_graph.workflow.project import Project

_FORMAT: Final = 1
"""Version of the format; increased when older versions of the program would misread the file."""

_HEAD: Final = "footprint format"
_FACTS: Final = ("makes", "changes", "removes", "needs", "lost")
_MARKS: Final = ("<<<<<<<", "=======", ">>>>>>>", "|||||||")


def path_of(project: Project) -> Path:
    """Return where the footprint file of a project is, or would be."""
    return project.root / project.config.footprints


def read_footprints(project: Project) -> Traces | None:
    """Return the content of the footprint file; None when there is none. A file that cannot be used gives its faults.

    The file is about the configured migrations file: when another one was named, the result is None.
    """
    if project.one_of_many:
        return None
    shown = project.config.footprints
    try:
        content = path_of(project).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        return Traces(file=shown, faults=((1, f"it cannot be read ({error.strerror})"),))
    try:
        return Traces(_entries_of(content), shown)
    except _UnusableError as fault:
        return Traces(file=shown, faults=((fault.line, fault.why),))


def write_footprints(project: Project, traces: Traces) -> bool:
    """Write the footprint file whole or not at all; return whether its content has changed.

    Raises:
        UsageError: the file cannot be written.
    """
    path, content = path_of(project), footprint_text(traces).encode("utf-8", "surrogatepass")
    try:
        if path.read_bytes() == content:
            return False
    except OSError:
        pass
    write_file(path, content)
    return True


def footprint_text(traces: Traces) -> str:
    """Return the text of the footprint file; the same traces give the same text on every machine.

    Each migration is one line that begins with its comma, so git can merge lines that two branches have added anywhere.
    """
    lines = [f'{{"{_HEAD}": {_FORMAT}']
    for name in sorted(traces.entries):
        lines.append(f",{_json(name)}: {_json(_document(traces.entries[name]))}")
    return "\n".join([*lines, "}", ""])


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _document(entry: Entry) -> dict[str, Any]:
    trace = entry.trace
    rows = {
        table: {str(touch): sorted(columns) for touch, columns in sorted(touches.items())}
        for table, touches in sorted(trace.rows.items())
    }
    told = {
        "views": dict(sorted(entry.views.items())),
        "uses": {view: sorted(used) for view, used in sorted(entry.uses.items())},
        **{word: _by_kind(getattr(trace, word)) for word in _FACTS},
        "rows": rows,
        "fires": sorted(trace.fires),
    }
    return {"fingerprint": entry.fingerprint, **{word: value for word, value in told.items() if value}}


def _by_kind(facts: Iterable[Fact]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for fact in sorted(facts):
        found.setdefault(fact.kind, []).append(fact.identity)
    return found


# -- reading ------------------------------------------------------------------------------------------------------------------


class _UnusableError(Exception):
    """Why a footprint file cannot be used, with the line of the fault."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line
        self.why = why


class _TwiceError(ValueError):
    """A name stands twice in the file."""


def _entries_of(content: bytes) -> dict[str, Entry]:
    lines = content.decode("utf-8", "replace").splitlines()
    for number, line in enumerate(lines, start=1):
        if line.startswith(_MARKS):
            raise _UnusableError(number, "git could not merge it, and left its marks")
    document = _parsed(content, lines)
    if not isinstance(document, dict) or not isinstance(document.get(_HEAD), int):
        raise _UnusableError(1, "it is not what migrate verify --write writes")
    if document[_HEAD] != _FORMAT:
        raise _UnusableError(1, f"it is of format {document[_HEAD]}, and this version reads {_FORMAT}")
    entries = {}
    for name, told in document.items():
        if name != _HEAD:
            try:
                entries[name] = _entry_of(told)
            except (ValueError, ValidationError):
                raise _UnusableError(_line_of(name, lines), f"what it tells of '{name}' makes no sense") from None
    return entries


def _parsed(content: bytes, lines: list[str]) -> Any:
    try:
        return json.loads(content, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise _UnusableError(error.lineno, f"it is not JSON ({error.msg})") from None
    except _TwiceError as twice:
        name = str(twice)
        raise _UnusableError(_line_of(name, lines, last=True), f"it tells of '{name}' twice") from None
    except (ValueError, RecursionError) as error:
        raise _UnusableError(1, f"it is not JSON ({first_line(error)})") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(next(name for place, name in enumerate(names) if name in names[:place]))
    return found


def _line_of(name: str, lines: list[str], *, last: bool = False) -> int:
    """Return the number of the line about a migration; 1 when there is none."""
    places = [number for number, line in enumerate(lines, start=1) if line.lstrip(" ,{").startswith(_json(name))]
    return places[-1 if last else 0] if places else 1


class _Told(Struct, forbid_unknown_fields=True):
    """What the file tells of one migration, as `_document` writes it; for the fields see `Entry` and `Trace`."""

    fingerprint: str
    views: dict[str, str] = {}
    uses: dict[str, frozenset[str]] = {}
    makes: dict[str, frozenset[str]] = {}
    changes: dict[str, frozenset[str]] = {}
    removes: dict[str, frozenset[str]] = {}
    needs: dict[str, frozenset[str]] = {}
    lost: dict[str, frozenset[str]] = {}
    rows: dict[str, dict[Touch, frozenset[str]]] = {}
    fires: frozenset[str] = frozenset()


def _entry_of(told: Any) -> Entry:
    """Return the entry of a migration.

    Raises:
        ValueError, ValidationError: the value is not a valid entry.
    """
    read = convert(told, _Told)
    if not read.uses.keys() <= read.views.keys():
        raise ValueError(*read.uses)
    facts = {word: _facts(getattr(read, word)) for word in _FACTS}
    return Entry(Trace(**facts, rows=read.rows, fires=read.fires), read.fingerprint, read.views, read.uses)


def _facts(by_kind: Mapping[str, frozenset[str]]) -> frozenset[Fact]:
    return frozenset(Fact(kind, identity) for kind, found in by_kind.items() for identity in found)
