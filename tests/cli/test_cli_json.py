"""Every JSON document has exactly the keys that its page tells."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).parents[2] / "docs/json.md").read_text(encoding="utf-8")
COMMON = {"schema_version", "kind", "tool", "exit_code"}
COMMANDS = {
    "plan": ("plan",),
    "status": ("status",),
    "findings": ("check",),
    "why": ("why", "widen_total_20260302_001"),
    "show": ("show", "widen_total_20260302_001"),
    "log": ("log",),
    "rules": ("explain",),
    "config": ("config",),
}


def documented(kind: str) -> set[str]:
    """Return the keys of a section's table."""
    section = PAGE.partition(f"\n## {kind}\n")[2].partition("\n## ")[0]
    first_cells = re.findall(r"^\| (`[^|]*?) \|", section, re.MULTILINE)
    return {key for cell in first_cells for key in re.findall(r"`([^`]+)`", cell)}


def keys_of(value: Any, way: str = "") -> Iterator[str]:
    """Yield every key of a document with the way to it: `steps[].name`."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            name = "*" if way == "settings" else key
            found = f"{way}.{name}" if way else name
            yield found
            yield from keys_of(item, found)
    elif isinstance(value, list):
        for item in value:
            yield from keys_of(item, f"{way}[]")


SHARED = {
    "plan": {"findings[]": ("findings", "findings[]")},
    "error": {"findings[]": ("findings", "findings[]")},
    "show": {"nodes[]": ("status", "migrations[]"), "nodes[].attempts[]": ("log", "attempts[]")},
}
"""What a section tells by naming another one."""


def told(kind: str) -> set[str]:
    """Return the keys that a section tells, also by naming another one."""
    own = documented(kind)
    for here, (other, there) in SHARED.get(kind, {}).items():
        own |= {here + key.removeprefix(there) for key in documented(other) if key.startswith(f"{there}.")}
    return own


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_document_has_the_keys_that_its_page_tells(shop, kind: str) -> None:
    assert shop("apply", "--to", "create_invoice_20260301_002").code == 0
    document = shop(*COMMANDS[kind], "--json").json
    assert (document["kind"], document["schema_version"], document["exit_code"]) == (kind, 1, 0)
    assert set(document) >= COMMON
    own = {key: value for key, value in document.items() if key not in COMMON}
    assert {key for key in told(kind) if not re.search(r"[\[.*]", key)} == set(own)
    settings = {"settings.*"} if kind == "config" else set()
    assert set(keys_of(own)) - settings <= told(kind)


def test_findings_and_errors_have_the_keys_that_their_page_tells(broken) -> None:
    found = broken("check", "--json")
    assert (found.code, found.json["exit_code"], found.json["kind"]) == (3, 3, "findings")
    assert any(each["related"] for each in found.json["findings"]), "else nothing is proved of them"
    assert set(keys_of({key: found.json[key] for key in ("summary", "findings")})) <= documented("findings")
    refused = broken("plan", "--json")
    assert (refused.json["kind"], refused.json["exit_code"]) == ("error", 3)
    own = {key: value for key, value in refused.json.items() if key not in COMMON}
    assert set(keys_of(own)) <= told("error")


@pytest.mark.parametrize("kind", [*COMMANDS, "error"])
def test_every_key_is_told_in_words(kind: str) -> None:
    assert len(documented(kind)) >= 2
