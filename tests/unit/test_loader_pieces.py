"""A long file is compiled and parsed a piece at a time, and does, says and means what it does as a whole."""

from __future__ import annotations

import ast
import gc
import itertools
import linecache
from collections import Counter
from pathlib import Path
from types import CodeType

import pytest

from migrate_graph.core.graph import build_graph
from migrate_graph.core.history import History
from migrate_graph.core.plan import build_plan
from migrate_graph.core.rules import check
from migrate_graph.errors import LoadError
from migrate_graph.loader import load, load_project, pieces, sources
from migrate_graph.loader.sources import Sources

STEP = '''
@migration
def step_{0}_001(db):
    """Says
def nothing(): it only looks like a function
@nor like this one
class Or: this one"""
    with V{1}(db):
        db.executesql(f"ALTER TABLE t ADD COLUMN {{COLUMN}}_{0} integer")
    db.commit()
    return True
'''
VIEW = """
class V{0}(ViewMigrationManager):
    uses = ()
    def up(self):
        self.db.executesql("CREATE VIEW v_{0} AS SELECT 1")
    def down(self):
        self.db.executesql("DROP VIEW v_{0}")
"""
HEAD = """'''What the file is for.'''
from __future__ import annotations
from migrate_graph import ViewMigrationManager, migration

COLUMN = "c"
"""


def written(directory: Path, *, size: int = 600, before: str = "", after: str = "") -> Path:
    """Write a file that is long enough for pieces; the functions of its docstrings are none."""
    views = "".join(VIEW.format(number) for number in range(size // 10))
    steps = "".join(STEP.format(number, number % (size // 10)) for number in range(size))
    file = directory / "migrations.py"
    file.write_text(HEAD + before + views + steps + after)
    assert file.stat().st_size > 100_000
    return file


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the texts that were compiled as pieces, without their empty lines."""
    found: list[int] = []
    original = pieces.pieces_of

    def counting(text: str, read: object) -> object:
        def counted(part: str) -> object:
            found.append(len(part.lstrip("\n")))
            return read(part)  # type: ignore[operator]

        return original(text, counted)

    monkeypatch.setattr(pieces, "pieces_of", counting)
    return found


def test_a_long_file_is_loaded_as_it_is_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path)
    in_pieces = load(file)
    found = [(each.name, each.source, repr(each.facts)) for each in in_pieces.migrations]
    with monkeypatch.context() as patched:
        patched.setattr(pieces, "_LONG", 10**9)
        patched.setattr(pieces, "_LENGTH", 10**9)
        whole = load(file)
        assert found == [(each.name, each.source, repr(each.facts)) for each in whole.migrations]
    assert [(each.name, each.source, each.fingerprint) for each in in_pieces.views] == [
        (each.name, each.source, each.fingerprint) for each in whole.views
    ]
    for one, other in zip(in_pieces.migrations, whole.migrations, strict=True):
        assert one.function.__code__ == other.function.__code__
        assert [*one.function.__code__.co_positions()] == [*other.function.__code__.co_positions()]


def test_a_long_file_is_never_compiled_as_a_whole(tmp_path: Path, compiled: list[int]) -> None:
    file = written(tmp_path)
    load(file)
    assert len(compiled) > 10
    assert max(compiled) < 20_000


def test_what_the_file_is_and_imports_from_the_future_holds_for_all_of_it(tmp_path: Path) -> None:
    file = written(tmp_path, after="\ndef last(x: Nowhere): pass\nWHAT = __doc__, last.__annotations__\n")
    found = load_project(file).registry.migrations[0].function.__globals__
    assert found["WHAT"] == ("What the file is for.", {"x": "Nowhere"})


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ("def f(:\n    pass\n", 0),
        ("x = '''never ends\n", 0),
        ("def f():\n    pass\nreturn 1\n", 2),
        ("def f():\n        pass\n    pass\n", 2),
        ("(\n", 0),
    ],
)
def test_what_is_no_python_is_told_as_python_does(wrong: str, line: int, tmp_path: Path) -> None:
    file = written(tmp_path, after="TELL = print('it ran')\n" + wrong)
    with pytest.raises(SyntaxError) as expected:
        compile(file.read_bytes(), str(file), "exec")
    with pytest.raises(LoadError) as raised:
        load(file)
    assert raised.value.source is not None
    assert raised.value.source.line == expected.value.lineno
    assert expected.value.lineno == file.read_text()[: -len(wrong)].count("\n") + 1 + line
    assert str(expected.value.msg) in str(raised.value)


def test_nothing_of_a_file_runs_whose_last_line_is_no_python(tmp_path: Path) -> None:
    file = written(tmp_path, before=f"open({str(tmp_path / 'ran')!r}, 'w')\n", after="def f(:\n")
    with pytest.raises(LoadError):
        load(file)
    assert not (tmp_path / "ran").exists()


def test_an_exception_names_its_line(tmp_path: Path) -> None:
    file = written(tmp_path, after="\n1 / 0\n")
    with pytest.raises(LoadError) as raised:
        load(file)
    assert raised.value.source is not None
    assert linecache.getline(str(file), raised.value.source.line) == "1 / 0\n"


def test_a_file_that_never_ends_a_text_is_read_a_few_times(compiled: list[int]) -> None:
    text = "x = 1\n" * 2000 + "y = '''\n" + "def f(): pass\n" * 20_000
    assert (
        len(pieces.codes_of((text + "'''\n").encode(), "file")) == 1
    )  # nothing can be cut off after the first function
    assert sum(compiled) < 6 * len(text)
    compiled.clear()
    with pytest.raises(SyntaxError):
        pieces.codes_of(text.encode(), "file")
    assert sum(compiled) < 6 * len(text)


def test_a_file_with_annotations_of_its_own_is_one_piece_where_python_keeps_them_together() -> None:
    """As Python 3.14 compiles it: `__annotate__` of a later piece would take the place of that of an earlier one."""
    text = f"def f(): pass  # {'long' * 20}\n" * 1_500 + "__annotate__ = 1\n"
    assert len(pieces.codes_of(text.encode(), "file")) == 1
    assert len(pieces.codes_of(text.replace("__annotate__", "annotate").encode(), "file")) > 1


@pytest.mark.parametrize(
    "data",
    [
        b"# -*- coding: latin-1 -*-\n" + "é = 'ü'\r\n".encode("latin-1") * 12_000,
        b"\xef\xbb\xbf" + "é = 'ü'\r".encode() * 12_000,
        f"def f():\n  é = '''\r\n\r'''  # {'long' * 20}\n".encode() * 1_200,
    ],
)
def test_encodings_and_ends_of_lines_are_python_s(data: bytes) -> None:
    whole = compile(data, "file", "exec", dont_inherit=True)
    found = [const for code in pieces.codes_of(data, "file") for const in code.co_consts if isinstance(const, CodeType)]
    assert found == [const for const in whole.co_consts if isinstance(const, CodeType)]


@pytest.mark.parametrize("data", [b"\xff = 1\n" * 60_000, b"# coding: nonsense\n" + b"x = 1\n" * 60_000])
def test_what_cannot_be_decoded_is_told_as_python_does(data: bytes) -> None:
    with pytest.raises(SyntaxError) as expected:
        compile(data, "file", "exec")
    with pytest.raises(SyntaxError) as raised:
        pieces.codes_of(data, "file")
    assert str(raised.value) == str(expected.value)


def test_few_trees_are_kept_however_long_the_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_MOST_PIECES", 4)
    file = written(tmp_path, size=900)
    before = _trees()  # others may keep theirs
    registry = load(file)
    assert check(build_graph(registry))  # each commits before it returns
    kept = _trees() - before
    everything = sum(1 for _ in ast.walk(ast.parse(file.read_text())))
    assert 5 * kept < everything


def _trees() -> int:
    """Return how many nodes of syntax trees are kept by anybody."""
    gc.collect()
    return sum(isinstance(each, ast.AST) for each in gc.get_objects())


def test_each_piece_is_parsed_a_few_times_whoever_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_MOST_PIECES", 4)
    file = written(tmp_path, size=900)
    registry = load(file)
    parsed = 0
    original = ast.parse

    def counting(text: str) -> ast.Module:
        nonlocal parsed
        parsed += len(text.lstrip("\n"))
        return original(text)

    monkeypatch.setattr(ast, "parse", counting)
    check(build_graph(registry))
    assert parsed < 3 * file.stat().st_size


def test_a_plan_and_its_findings_parse_each_piece_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the plan asks of a body, and what the rules ask after it, is read in one look."""
    file = written(tmp_path, size=900)
    parsed = Counter[str]()
    original = ast.parse

    def counting(text: str, *more: str) -> ast.Module:
        parsed[text] += 1
        return original(text, *more)

    monkeypatch.setattr(ast, "parse", counting)
    registry = load(file)
    graph = build_graph(registry)
    assert len(build_plan(graph, History()).steps) == 900
    assert check(graph)
    pieces_parsed = sum(parsed.values())
    assert pieces_parsed > 20
    assert pieces_parsed <= len(parsed) + 2, "a view or a body at a border may be asked for later"


def test_a_function_is_found_wherever_it_is_asked_for(tmp_path: Path) -> None:
    registry = load(written(tmp_path))
    found = Sources()
    functions = [each.function for each in registry.migrations]
    mixed = [*functions[::97], *functions[::-53], *functions[::31]]
    for function in mixed:
        node = found.node_of(function)
        assert node is not None
        assert (node.name, node.decorator_list[0].lineno) == (function.__name__, function.__code__.co_firstlineno)  # type: ignore[union-attr]


def test_names_bound_in_several_pieces_are_all_found(tmp_path: Path) -> None:
    lines = itertools.chain.from_iterable(
        (f"TABLES = [{number}]\n", f"def f{number}(): pass\n") for number in range(1_500)
    )
    file = tmp_path / "many.py"
    file.write_text("".join(lines) + "from math import *\n")
    found = Sources().file(str(file), {})
    assert [ast.unparse(each) for each in found.bindings("TABLES")] == [f"TABLES = [{n}]" for n in range(1_500)]
    assert [ast.unparse(each) for each in found.stars()] == ["from math import *"]
    assert found.bindings("nothing") == []
