"""The tables of a pyproject.toml: what stands in them and on which line, with variables filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping

from migrate_graph.config.settings import Problem
from migrate_graph.messages import first_line
from migrate_graph.redaction import redact
from migrate_graph.user_files import SourceLocation


def tool_table(text: str, file: str, name: str, *, package: str = "") -> dict[str, object] | Problem:
    """Parse a pyproject.toml; return its table of one tool, or what is wrong.

    Args:
        text: of the file.
        file: its name, as it is shown.
        name: of the tool.
        package: another name of the tool, with underscores, under which its table may not stand; empty: nobody looks for one.
    """
    if name not in text:
        return {}
    import tomllib  # slow to import, and most commands of most projects have no need of it

    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return no_toml(error, text, file)
    except (ValueError, RecursionError) as error:  # a number with thousands of digits, brackets in brackets without end
        return Problem(f"{file}: cannot be read: {redact(first_line(error))}", "correct the value")
    tool = parsed.get("tool", {})
    settings = tool.get(name, {}) if isinstance(tool, dict) else tool
    if not isinstance(settings, dict):
        return Problem(f"{file}: tool.{name} is no table", f"write [tool.{name}] and settings below it")
    if package and (stray := _misnamed(parsed, tool, name, package)):
        return Problem(f"{_place_of(stray, text, file)}: nothing reads the table [{stray}]", f"write [tool.{name}]")
    return settings


def no_toml(error: Exception, text: str, file: str) -> Problem:
    """Return what is wrong with a file that is not valid TOML.

    Args:
        error: the error of the parser.
        text: of the file.
        file: its name, as it is shown.
    """
    from migrate_graph.merge_conflicts import unresolved_in

    if conflict := unresolved_in(text):
        return Problem(f"{file}:{conflict.line}: {conflict.message}", conflict.hint)
    why = redact(first_line(error))
    place = re.search(r" \(at line (\d+), column (\d+)\)", why)
    where = f"{file}:{place[1]}:{place[2]}" if place else file
    return Problem(f"{where}: not valid TOML: {why.replace(place[0], '') if place else why}", "correct the line")


def _misnamed(parsed: Mapping[str, object], tool: Mapping[str, object], name: str, package: str) -> str:
    """Return the name of a table that was probably meant for a tool, but that no program reads; empty where there is none.

    Args:
        parsed: a pyproject.toml.
        tool: its table `tool`.
        name: of the tool.
        package: its other name, with underscores.
    """
    meant = (f"tool.{key}" for key in tool if key != name and key.lower().replace("-", "_") in {name, package})
    return next(meant, name if isinstance(parsed.get(name), dict) else "")


_VARIABLE = re.compile(
    r"\\(?P<escaped>[\\$])|(?P<pair>\$\$)|\$(?P<bare>[A-Za-z_]\w*)"
    r"|\$\{(?P<name>[A-Za-z_]\w*)(?::?(?P<sign>[-=+?])|:)?(?P<word>(?:[^{}]|\{[^{}]*\})*)\}"
)


def filled(value: object, known: Mapping[str, str]) -> tuple[object, list[str]]:
    """Return a value with `$NAME`, `${NAME}`, `${NAME:-default}` and `${NAME:default}` filled in, and the names that are not set.

    This is what edwh-migrate does.
    """
    missing: list[str] = []
    folded = {**{name.upper(): text for name, text in known.items()}, **known}

    def fill(match: re.Match[str]) -> str:
        if match["escaped"] or match["pair"]:
            return match["escaped"] or match["pair"]
        name = match["bare"] or match["name"]
        text = folded.get(name) or folded.get(name.upper()) or ""
        if match["sign"] == "+":
            return _VARIABLE.sub(fill, match["word"]) if text else ""
        if not text and match["word"] and match["sign"] != "?":
            return _VARIABLE.sub(fill, match["word"])
        if not text and name not in known:
            missing.append(name)
        return text

    if isinstance(value, str):
        return _VARIABLE.sub(fill, value), missing
    if isinstance(value, list):
        return [_VARIABLE.sub(fill, each) if isinstance(each, str) else each for each in value], missing
    return value, missing


_HEADER = re.compile(r"\s*\[\[?\s*(?P<table>[^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*(?P<quote>["']?)(?P<key>[\w-]+)(?P=quote)\s*[=.]""")


def _table_of(header: re.Match[str]) -> str:
    return re.sub(r"[\s\"']", "", header["table"])


def _place_of(table: str, text: str, file: str) -> SourceLocation | str:
    """Return where the header of a table stands; the file alone where there is none."""
    headers = ((number, _HEADER.match(line)) for number, line in enumerate(text.splitlines(), 1))
    lines = (number for number, header in headers if header and f"{_table_of(header)}.".startswith(f"{table}."))
    return next((SourceLocation(file, line) for line in lines), file)


def places_of_keys(text: str, file: str, table: str) -> dict[str, SourceLocation]:
    """Return the line of each key below a table's header (`tool.migrate`), which the parser does not tell."""
    places: dict[str, SourceLocation] = {}
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            inner = _table_of(header)
            inside = inner == table
            if inner.startswith(f"{table}."):  # the table is the value of a key
                places.setdefault(inner.removeprefix(f"{table}.").partition(".")[0], SourceLocation(file, number))
        elif inside and (key := _KEY.match(line)):
            places.setdefault(key["key"], SourceLocation(file, number))
    return places
