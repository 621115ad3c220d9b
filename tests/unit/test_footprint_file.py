"""The footprint file: the same for the same, made for merging, and never believed when somebody has damaged it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate_graph.core.footprint import Fact
from migrate_graph.core.rules import Severity
from migrate_graph.core.traces import Entry, Touch, Trace, Traces
from migrate_graph.errors import UsageError
from migrate_graph.workflow.assessment import assess
from migrate_graph.workflow.footprint_file import footprint_text, path_of, read_footprints, write_footprints
from migrate_graph.workflow.project import open_project

MIGRATIONS = """
from migrate_graph import migration


@migration
def make_20260101_001(db):
    db.executesql("CREATE TABLE stock (product TEXT)")
    return True


@migration
def use_20260102_001(db):
    db.executesql("UPDATE stock SET product = 'secret'")
    return True
"""


def facts(*told: str) -> frozenset[Fact]:
    return frozenset(Fact(*each.split(" ", 1)) for each in told)


FULL = Trace(
    makes=facts("relation public.t", "column public.t.a"),
    changes=facts('column public."a ""b""".x'),
    removes=frozenset({Fact("operator class", "public.o using btree")}),
    needs=facts("schema public", "function public.f(integer, text)"),
    lost=facts("column public.ö.ä"),
    rows={
        "public.t": {Touch.UPDATE: frozenset({"b", "a"}), Touch.INSERT: frozenset({"*"})},
        "a": {Touch.READ: frozenset({"x"})},
    },
    fires=frozenset({"public.u", "public.t"}),
)
ENTRIES = {"make": Entry(FULL, "12+34", {"W": "2", "V": "1"}), "a": Entry(Trace(), "56")}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from migrate_graph.config import load_config

    monkeypatch.chdir(tmp_path)
    Path("migrations.py").write_text(MIGRATIONS, encoding="utf-8")
    return lambda: open_project(load_config(tmp_path, {}), root=tmp_path)


def written(text: str) -> None:
    Path("migrations.footprint.json").write_text(text, encoding="utf-8")


def test_what_was_written_is_read(project: Any) -> None:
    assert write_footprints(project(), Traces(ENTRIES))
    found = read_footprints(project())
    assert found == Traces(ENTRIES, "migrations.footprint.json")
    assert path_of(project()).name == "migrations.footprint.json"


def test_it_is_sorted_a_line_each_and_written_only_when_it_changes(project: Any) -> None:
    turned = Traces(dict(reversed(ENTRIES.items())))
    text = footprint_text(Traces(ENTRIES))
    assert footprint_text(turned) == text
    assert text.splitlines()[0] == '{"footprint format": 1'
    assert text.splitlines()[1] == ',"a": {"fingerprint": "56"}'
    assert text.splitlines()[2].startswith(
        ',"make": {"fingerprint": "12+34", "views": {"V": "1", "W": "2"}, "makes": {"column": '
    )
    assert text.splitlines()[3:] == ["}"]
    assert '"update": ["a", "b"]' in text
    assert '"fires": ["public.t", "public.u"]' in text
    assert write_footprints(project(), Traces(ENTRIES))
    before = path_of(project()).stat().st_mtime_ns
    assert not write_footprints(project(), turned)
    assert path_of(project()).stat().st_mtime_ns == before


def test_the_name_is_a_setting(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("pyproject.toml").write_text('[tool.migrate]\nfootprints = "kept/seen.json"\n', encoding="utf-8")
    Path("kept").mkdir()
    from migrate_graph.config import load_config

    there = open_project(load_config(Path.cwd(), {}), root=Path.cwd())
    write_footprints(there, Traces(ENTRIES))
    assert Path("kept/seen.json").exists()
    assert read_footprints(there) == Traces(ENTRIES, "kept/seen.json")


def test_without_a_file_nothing_is_known(project: Any) -> None:
    assert read_footprints(project()) is None
    assert assess(project(), footprints=read_footprints(project())).findings == ()


def test_it_is_about_the_configured_file_only(project: Any) -> None:
    from migrate_graph.config import load_config

    write_footprints(project(), Traces(ENTRIES))
    Path("other.py").write_text(MIGRATIONS, encoding="utf-8")
    other = open_project(load_config(Path.cwd(), {}), Path("other.py"), root=Path.cwd())
    assert read_footprints(other) is None


def test_one_that_cannot_be_written_says_so(project: Any) -> None:
    path_of(project()).mkdir()
    with pytest.raises(UsageError, match="cannot write"):
        write_footprints(project(), Traces(ENTRIES))
    (finding,) = assess(project(), footprints=read_footprints(project())).findings
    assert (finding.code, finding.message) == (
        "MG704", "migrations.footprint.json cannot be used: it cannot be read (Is a directory)",
    )  # fmt: skip


GOOD = footprint_text(Traces(ENTRIES))
DAMAGED: dict[str, tuple[str, int, str]] = {
    "empty": ("", 1, "it is not JSON (Expecting value)"),
    "cut off": (GOOD[:60], 3, "it is not JSON"),
    "another document": ("[]", 1, "it is not what migrate verify --write writes"),
    "without its head": ('{"a": {"fingerprint": "1"}}', 1, "it is not what migrate verify --write writes"),
    "of a later version": (GOOD.replace("1", "2", 1), 1, "it is of format 2, and this version reads 1"),
    "marks of a merge": (
        GOOD.replace(',"a"', '<<<<<<< HEAD\n,"a"'), 2, "git could not merge it, and left its marks",
    ),
    "one of three marks": (GOOD.replace(',"make"', '=======\n,"make"'), 3, "git could not merge it, and left its marks"),
    "a name twice": (GOOD.replace("\n}", '\n,"a": {"fingerprint": "7"}\n}'), 4, "it tells of 'a' twice"),
    "no entry": (GOOD.replace('{"fingerprint": "56"}', "[]"), 2, "what it tells of 'a' makes no sense"),
    "no fingerprint": (GOOD.replace('{"fingerprint": "56"}', "{}"), 2, "what it tells of 'a' makes no sense"),
    "a number": (GOOD.replace('"56"', "56"), 2, "what it tells of 'a' makes no sense"),
    "an unknown word": (GOOD.replace('"56"}', '"56", "made": {}}'), 2, "what it tells of 'a' makes no sense"),
    "an unknown touch": (GOOD.replace('"update"', '"updat"'), 3, "what it tells of 'make' makes no sense"),
    "a text for a list": (GOOD.replace('["public.t", "public.u"]', '"public.t"'), 3, "what it tells of 'make' makes no sense"),
    "a list for kinds": (GOOD.replace('"56"}', '"56", "needs": ["a"]}'), 2, "what it tells of 'a' makes no sense"),
    "a list for rows": (GOOD.replace('"56"}', '"56", "rows": [1]}'), 2, "what it tells of 'a' makes no sense"),
    "too deep": ("[" * 100_000, 1, "it is not JSON"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_a_finding_with_its_line(case: str, project: Any) -> None:
    text, line, why = DAMAGED[case]
    written(text)
    found = assess(project(), footprints=read_footprints(project()))
    assert [(each.code, each.severity) for each in found.findings] == [("MG704", Severity.ERROR)]
    assert found.findings[0].message.startswith(f"migrations.footprint.json cannot be used: {why}")
    assert str(found.findings[0].source) == f"migrations.footprint.json:{line}"
    assert found.exit_code == 3


def test_bytes_that_are_no_text_are_a_finding(project: Any) -> None:
    path_of(project()).write_bytes(b"\xff\xfe\x00{\x80")
    assert [each.code for each in assess(project(), footprints=read_footprints(project())).findings] == ["MG704"]


@pytest.mark.parametrize("kept", ["\ufeff", "\r\n"])
def test_what_editors_do_to_files_does_no_harm(kept: str, project: Any) -> None:
    text = GOOD.replace("\n", "\r\n") if kept == "\r\n" else kept + GOOD
    path_of(project()).write_bytes(text.encode())
    assert read_footprints(project()) == Traces(ENTRIES, "migrations.footprint.json")


@given(
    st.binary(max_size=60)
    | st.text(max_size=60).map(str.encode)
    | st.integers(0, len(GOOD)).map(lambda at: GOOD[:at].encode())
)
def test_whatever_stands_there_is_read_or_a_fault(content: bytes) -> None:
    import tempfile
    from types import SimpleNamespace

    with tempfile.TemporaryDirectory() as directory:
        config = SimpleNamespace(footprints="f.json")
        stand_in: Any = SimpleNamespace(root=Path(directory), config=config, one_of_many=False)
        path_of(stand_in).write_bytes(content)
        found = read_footprints(stand_in)
        assert found is not None
        assert found.faults or found.entries == ENTRIES or content.strip() == b'{"footprint format": 1}'


# -- with the rules ------------------------------------------------------------------------------------------------------------


def kept(project: Any) -> None:
    """Write what a database would have told of the project."""
    graph = project().graph
    relation, column = Fact("relation", "public.stock"), Fact("column", "public.stock.product")
    known = {
        "make_20260101_001": Trace(makes=frozenset({relation, column})),
        "use_20260102_001": Trace(needs=frozenset({relation, column}), rows={"public.stock": {Touch.UPDATE: frozenset({"product"})}}),
    }  # fmt: skip
    entries = {name: Entry(trace, graph.migrations[name].facts.fingerprint) for name, trace in known.items()}
    write_footprints(project(), Traces(entries))


def codes(project: Any) -> list[str]:
    return [each.code for each in assess(project(), footprints=read_footprints(project())).findings]


def test_the_graph_is_judged_without_a_database_as_long_as_the_text_is_the_same(project: Any) -> None:
    kept(project)
    assert codes(project) == ["MG701"]
    source = Path("migrations.py")
    source.write_text(MIGRATIONS.replace("    db.exec", "    # about the stock\n    db.exec"), encoding="utf-8")
    assert codes(project) == ["MG701"], "a comment changes nothing"
    source.write_text(
        MIGRATIONS.replace("@migration\ndef use", "@migration(requires='make_20260101_001')\ndef use"), encoding="utf-8"
    )
    assert codes(project) == [], "nor does what is declared"
    source.write_text(MIGRATIONS.replace("'secret'", "'other'"), encoding="utf-8")
    assert codes(project) == ["MG703"]


def test_values_are_not_kept(project: Any) -> None:
    kept(project)
    assert "secret" not in path_of(project()).read_text(encoding="utf-8")


# -- with git --------------------------------------------------------------------------------------------------------------------


def git(*words: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], check=False, capture_output=True, text=True
    )
    return done.stdout + done.stderr


def branch(name: str, *added: str) -> None:
    git("checkout", "-q", "-b", name, "main")
    found = {"b": Entry(Trace(), "b"), "y": Entry(Trace(), "y"), **{each: Entry(Trace(), each) for each in added}}
    written(footprint_text(Traces(found)))
    git("commit", "-qam", name)
    git("checkout", "-q", "main")


@pytest.mark.parametrize(
    ("one", "other", "attributes"),
    [
        ("a_1", "z_1", ""),
        ("m_1", "n_1", "migrations.footprint.json merge=union\n"),
        ("c", "c2", "*.json merge=union\n"),
    ],
)
def test_two_branches_that_add_a_migration_merge(one: str, other: str, attributes: str, project: Any) -> None:
    git("init", "-q", "-b", "main")
    written(footprint_text(Traces({"b": Entry(Trace(), "b"), "y": Entry(Trace(), "y")})))
    Path(".gitattributes").write_text(attributes, encoding="utf-8")
    git("add", ".")
    git("commit", "-qm", "base")
    branch("one", one)
    branch("other", other)
    git("merge", "-q", "one")
    told = git("merge", "-q", "--no-edit", "other")
    assert "CONFLICT" not in told
    found = read_footprints(project())
    assert found is not None
    assert set(found.entries) == {"b", "y", one, other}
    assert json.loads(path_of(project()).read_text(encoding="utf-8"))["footprint format"] == 1
    again = footprint_text(found)
    assert [line[:3] for line in again.splitlines()[1:-1]] == sorted(line[:3] for line in again.splitlines()[1:-1])


def test_what_git_cannot_merge_is_found(project: Any) -> None:
    git("init", "-q", "-b", "main")
    written(footprint_text(Traces({"b": Entry(Trace(), "b"), "y": Entry(Trace(), "y")})))
    git("add", ".")
    git("commit", "-qm", "base")
    branch("one", "m_1")
    branch("other", "n_1")
    git("merge", "-q", "one")
    assert "CONFLICT" in git("merge", "-q", "other")
    assert codes(project) == ["MG704"]
