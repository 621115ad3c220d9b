"""Every JSON document has exactly the keys that its page tells."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from migrate_graph.core.events import EVENT_TYPES

PAGE = (Path(__file__).parents[2] / "docs/json.md").read_text(encoding="utf-8")
COMMON = {"schema_version", "kind", "tool", "exit_code"}
COMMANDS = {
    "plan": ("plan",),
    "status": ("status",),
    "drift": ("drift",),
    "findings": ("check",),
    "why": ("why", "widen_total_20260302_001"),
    "show": ("show", "widen_total_20260302_001"),
    "log": ("log",),
    "rules": ("explain",),
    "config": ("config",),
}


def schema_of(kind: str) -> Any:
    """Return a schema of the package, closed: a key that it does not tell is a fault here."""
    return closed(json.loads((files("migrate_graph.reports.schemas") / f"{kind}-1.json").read_text()))


def closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    if "type" in inner and "properties" in inner and "allOf" not in inner:
        inner.setdefault("additionalProperties", False)
    return inner


def follow(document: Any, kind: str) -> None:
    """Hold a document against the schema of its kind."""
    jsonschema.validate(document, schema_of(kind))


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
    "revert": {
        "steps[].footprint": ("plan", "steps[].footprint"),
        "rehearsal.results[]": ("plan", "rehearsal.results[]"),
    },
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
    follow(document, kind)
    settings = {"settings.*"} if kind == "config" else set()
    assert set(keys_of(own)) - settings <= told(kind)


def test_findings_and_errors_have_the_keys_that_their_page_tells(broken) -> None:
    found = broken("check", "--json")
    assert (found.code, found.json["exit_code"], found.json["kind"]) == (3, 3, "findings")
    assert any(each["related"] for each in found.json["findings"]), "else nothing is proved of them"
    assert set(keys_of({key: found.json[key] for key in ("summary", "findings")})) <= documented("findings")
    follow(found.json, "findings")
    refused = broken("plan", "--json")
    follow(refused.json, "error")
    assert (refused.json["kind"], refused.json["exit_code"]) == ("error", 3)
    own = {key: value for key, value in refused.json.items() if key not in COMMON}
    assert set(keys_of(own)) <= told("error")


def test_every_schema_is_one_and_every_documented_key_stands_in_it() -> None:
    directory = files("migrate_graph.reports.schemas")
    kinds = {each.name.removesuffix("-1.json") for each in directory.iterdir() if each.name.endswith(".json")}
    assert kinds == {*COMMANDS, "error", "baseline", "event", "verify", "revert"}
    for kind in kinds:
        jsonschema.Draft202012Validator.check_schema(schema_of(kind))
    for kind in [*COMMANDS, "error", "revert"]:
        for key in documented(kind):
            if "*" not in key and not key.startswith("nodes[].name"):
                assert stands_in(schema_of(kind), re.split(r"\.|(?=\[)", key)), f"{kind}: {key}"


def test_what_revert_shares_with_plan_is_the_same_there() -> None:
    plan, revert = (schema_of(kind)["properties"] for kind in ("plan", "revert"))
    steps = [each["steps"]["items"]["properties"]["footprint"] for each in (plan, revert)]
    assert steps[0] == steps[1]
    shared = plan["rehearsal"]["properties"]
    assert {key: revert["rehearsal"]["properties"][key] for key in shared} == shared


def stands_in(schema: Any, way: list[str]) -> bool:
    for step in way:
        while "$ref" in schema or "allOf" in schema:
            return True  # of a definition; the documents are held against it
        schema = schema.get("items") if step == "[]" else schema.get("properties", {}).get(step)
        if schema is None:
            return False
    return True


@pytest.mark.parametrize("state", ["new", "half", "failed", "died", "running"])
def test_documents_of_every_state_follow_their_schema(shop, state: str) -> None:
    """Each kind, before and after runs that end well, badly, or not at all."""
    if state != "new":
        assert shop("apply", "--to", "create_invoice_20260301_002").code == 0
    if state == "failed":
        shop.write("migrations.py", (shop.path / "migrations.py").read_text() + FAILS)
        assert shop("apply", "--keep-going").code == 1
    if state in {"died", "running"}:
        connection = sqlite3.connect(shop.path / "shop.db" if (shop.path / "shop.db").exists() else database_of(shop))
        connection.execute("UPDATE ewh_implemented_features_journal SET state = 'running', commits = 1")
        connection.execute("UPDATE ewh_implemented_features SET installed = 'F'")
        connection.execute("UPDATE ewh_implemented_features_views SET state = 'down'")
        connection.commit()
        connection.close()
    for kind in ("plan", "status", "log", "findings"):
        ran = shop(*COMMANDS[kind], "--json")
        follow(ran.json, ran.json["kind"])
    for name in shop("plan", "--json").json.get("unselected", []) or ["widen_total_20260302_001"]:
        follow(shop("show", name, "--json").json, "show")
        follow(shop("why", name, "--json").json, "why")


FAILS = """

@migration
def fails_20260401_001(db):
    db.executesql("CREATE TABLE kept (id INTEGER)")
    db.commit()
    print("said")
    db.executesql("SELECT nothing")
    return True
"""


def database_of(shop: Any) -> str:
    return str(shop.env["MIGRATE_URI"].removeprefix("sqlite://"))


def test_every_line_of_a_run_follows_its_schema(shop) -> None:
    shop.write("migrations.py", (shop.path / "migrations.py").read_text() + FAILS)
    lines = shop("apply", "--json").lines + shop("apply", "--json").lines + shop("apply", "nothing.py", "--json").lines
    assert {"version", "run_start", "migration_end", "log", "run_end", "exit", "error"} <= {
        each["type"] for each in lines
    }
    schema = schema_of("event")
    cases = {each["if"]["properties"]["type"]["const"]: set(each["then"]["properties"]) for each in schema["allOf"]}
    for line in lines:
        jsonschema.validate(line, schema)
        assert set(line) <= {"type", "seq", "ts", "message"} | cases[line["type"]]


def test_every_event_stands_in_the_schema() -> None:
    cases = {each["if"]["properties"]["type"]["const"]: each["then"] for each in schema_of("event")["allOf"]}
    for event, name in EVENT_TYPES.items():
        wanted = {*event.__struct_fields__} - {"message", "plan"}
        assert wanted <= {"message", *cases[name]["properties"]}, name


def test_baseline_follows_its_schema(shop) -> None:
    connection = sqlite3.connect(database_of(shop))
    connection.execute("CREATE TABLE alembic_version (x TEXT)")
    connection.commit()
    connection.close()
    document = shop("baseline", "--json").json
    assert document["ledgers_elsewhere"]
    follow(document, "baseline")


@pytest.mark.parametrize("kind", [*COMMANDS, "error"])
def test_every_key_is_told_in_words(kind: str) -> None:
    assert len(documented(kind)) >= 2
