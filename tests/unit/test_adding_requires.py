"""Requirements are written into the user's files: every other byte stays, the result is tried first, and nothing is taken away."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from migrate_graph.config import load_config
from migrate_graph.errors import UsageError
from migrate_graph.workflow import adding_requires
from migrate_graph.workflow.adding_requires import Added, add_requires, requires_line, take_snapshot
from migrate_graph.workflow.project import Project, open_project

HEAD = """import functools
import migrate_graph as mg
from migrate_graph import migration
from migrate_graph import migration as step

COMMON = ["a"]
FIRST = "a"
NAMES = dict(requires="a")

@migration
def a(db): return True

@migration
def b(db): return True

@migration
def c(db): return True

"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(root: Path) -> Project:
    return open_project(load_config(root, {}), root=root)


def written(root: Path, content: bytes, name: str = "migrations.py") -> None:
    (root / name).write_bytes(content)


def added(root: Path, **additions: list[str]) -> Added:
    project = load(root)
    return add_requires(project, additions, take_snapshot(project, {}), {})


def edited(root: Path, declaration: str, *names: str) -> str:
    """Edit the declaration of `x`, which must require these names then besides what it did; return it as it is now."""
    text = f"{HEAD}{declaration}\ndef x(db): return True\n"
    written(root, text.encode())
    before = load(root).graph.migrations["x"].requires
    found = added(root, x=list(names))
    assert (found.files, found.names, found.unable) == (("migrations.py",), ("x",), ())
    assert set(load(root).graph.migrations["x"].requires) == {*before, *names}
    now = (root / "migrations.py").read_bytes().decode()
    assert now.startswith(HEAD)
    assert now.endswith("\ndef x(db): return True\n")
    return now.removeprefix(HEAD).removesuffix("\ndef x(db): return True\n")


FORMS = [
    ("@migration", '@migration(requires="b")'),
    ("@migration  # first", '@migration(requires="b")  # first'),
    ("@mg.migration", '@mg.migration(requires="b")'),
    ("@step", '@step(requires="b")'),
    ("@migration()", '@migration(requires="b")'),
    ("@migration( )", '@migration(requires="b" )'),
    ("@migration(  # nothing yet\n)", '@migration(requires="b"  # nothing yet\n)'),
    ('@migration(tags="x")', '@migration(tags="x", requires="b")'),
    ('@migration(tags="x",)', '@migration(tags="x", requires="b")'),
    ('@migration(tags=("x"))', '@migration(tags=("x"), requires="b")'),
    (
        '@migration(\n    tags="x",  # slow\n    transaction="none",  # it builds an index\n)',
        '@migration(\n    tags="x",  # slow\n    transaction="none",  # it builds an index\n    requires="b",\n)',
    ),
    ('@migration(\n\ttags="x"  # slow\n)', '@migration(\n\ttags="x",  # slow\n\trequires="b"\n)'),
    ('@migration(tags=[\n    "x",\n])', '@migration(tags=[\n    "x",\n], requires="b")'),
    ('@migration(requires="a")', '@migration(requires=["a", "b"])'),
    ("@migration(requires='a')", "@migration(requires=['a', 'b'])"),
    ('@migration(requires=("a"), tags="x")', '@migration(requires=(["a", "b"]), tags="x")'),
    ("@migration(requires=a)", "@migration(requires=[a, b])"),
    ("@migration(requires=FIRST)", "@migration(requires=[FIRST, b])"),
    ("@migration(requires=COMMON)", "@migration(requires=[*COMMON, b])"),
    ("@migration(requires=[a])", "@migration(requires=[a, b])"),
    ('@migration(requires=["a"])', '@migration(requires=["a", "b"])'),
    ("@migration(requires=['a'])", "@migration(requires=['a', 'b'])"),
    ('@migration(requires=["a",])', '@migration(requires=["a", "b"])'),
    ("@migration(requires=[])", '@migration(requires=["b"])'),
    ("@migration(requires=())", '@migration(requires=("b",))'),
    ('@migration(requires=("a",))', '@migration(requires=("a", "b"))'),
    ('@migration(requires={"a"})', '@migration(requires={"a", "b"})'),
    ("@migration(None, [a])", "@migration(None, [a, b])"),
    ("@migration(None, a)", "@migration(None, [a, b])"),
    ("@migration(None)", '@migration(None, requires="b")'),
    ('@migration(requires=[*COMMON, "c"])', '@migration(requires=[*COMMON, "c", "b"])'),
    (
        '@migration(\n    requires=[\n        "a",  # it makes the table\n        # and later:\n    ],\n    tags="ä",\n)',
        '@migration(\n    requires=[\n        "a",  # it makes the table\n        "b",\n        # and later:\n    ],\n    tags="ä",\n)',
    ),
    (
        '@migration(requires=[\n    "a"\n  ], tags="x")',
        '@migration(requires=[\n    "a",\n    "b"\n  ], tags="x")',
    ),
    ('@migration(tags="ä", requires=["a"], ignore="MG106")', '@migration(tags="ä", requires=["a", "b"], ignore="MG106")'),
    ('@migration(requires=["a", """c"""])', '@migration(requires=["a", """c""", "b"])'),
    ("@functools.lru_cache\n@migration(requires=[a])", None),
    ("@migration(requires=[a])\n@functools.lru_cache", "@migration(requires=[a, b])\n@functools.lru_cache"),
    ("if True:\n  pass\n@migration(requires=[a])", "if True:\n  pass\n@migration(requires=[a, b])"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after"), [(one, other) for one, other in FORMS if other is not None])
def test_every_way_to_write_it_gets_one_more(before: str, after: str, root: Path) -> None:
    assert edited(root, before, "b") == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("@migration", '@migration(requires=["b", "c"])'),
        ("@migration(requires=())", '@migration(requires=("b", "c"))'),
        ("@migration(requires=[a])", "@migration(requires=[a, b, c])"),
        (
            '@migration(\n    requires=[\n        "a",\n    ],\n)',
            '@migration(\n    requires=[\n        "a",\n        "b",\n        "c",\n    ],\n)',
        ),
        ('@migration(requires=["a",\n    "a"\n])', '@migration(requires=["a",\n    "a",\n    "b", "c"\n])'),
    ],
)
def test_several_at_once(before: str, after: str, root: Path) -> None:
    assert edited(root, before, "b", "c") == after


def test_inside_of_a_condition(root: Path) -> None:
    text = HEAD + "if True:\n    @migration(requires=[a])\n    def x(db): return True\n"
    written(root, text.encode())
    assert added(root, x=["b"]).names == ("x",)
    assert "    @migration(requires=[a, b])\n    def x(db)" in (root / "migrations.py").read_text()


def test_only_what_stands_above_is_named_as_a_function(root: Path) -> None:
    text = "from migrate_graph import migration\n@migration\ndef a(db): return True\n@migration(requires=[a])\ndef x(db): return True\n"
    text += "@migration\ndef later(db): return True\n"
    written(root, text.encode())
    added(root, x=["later"])
    assert '@migration(requires=[a, "later"])' in (root / "migrations.py").read_text()


BYTES = {
    "CRLF": (lambda text: text.replace("\n", "\r\n").encode(), "utf-8"),
    "a mark": (lambda text: b"\xef\xbb\xbf" + text.encode(), "utf-8"),
    "latin": (lambda text: ("# coding: latin-1\n" + text).encode("latin-1"), "latin-1"),
    "no last line end": (lambda text: text.rstrip("\n").encode(), "utf-8"),
    "form feeds": (lambda text: text.replace("@migration\ndef b", "\f\n@migration\ndef b").encode(), "utf-8"),
    "other line separators": (lambda text: text.replace("# é", "# é \u2028 \x0c \x1c").encode(), "utf-8"),
}


@pytest.mark.parametrize("kind", BYTES)
def test_every_other_byte_stays(kind: str, root: Path) -> None:
    encode, encoding = BYTES[kind]
    text = (
        HEAD
        + '# é\n@migration(\n    tags="é",  # é\n    requires=[\n        "a",\n    ],\n)\ndef x(db): return True  # é\n'
    )
    content = encode(text)
    if encoding == "latin-1":
        content = content.replace("é".encode(), b"\xe9")
    written(root, content)
    added(root, x=["b"], c=["a"])
    now = (root / "migrations.py").read_bytes()
    end = b"\r\n" if kind == "CRLF" else b"\n"
    assert now == content.replace(b'        "a",' + end, b'        "a",' + end + b'        "b",' + end).replace(
        b"@migration" + end + b"def c", b'@migration(requires="a")' + end + b"def c"
    )
    assert load(root).graph.migrations["x"].requires == ("a", "b")


BY_HAND = {
    "@migration(**NAMES)": "its arguments are filled in by * or **",
    "@migration(*[None])": "its arguments are filled in by * or **",
    '@migration(requires=["a"] + COMMON)': "its requirements are computed",
    '@migration(requires=[n for n in "a"])': "its requirements are computed",
    "@migration(requires=None)": "its requirements are written as nothing at all",
    '@functools.partial(migration, requires="a")': "no @migration stands above a function of its name",
    "@(lambda f: migration(f))": "no @migration stands above a function of its name",
}


@pytest.mark.parametrize("declaration", BY_HAND)
def test_what_cannot_be_edited_is_said_with_the_line_to_add(declaration: str, root: Path) -> None:
    text = f"{HEAD}{declaration}\ndef x(db): return True\n".encode()
    written(root, text)
    before = load(root).graph.migrations["x"].requires
    found = added(root, x=["b", "c"])
    assert (root / "migrations.py").read_bytes() == text
    assert (found.files, found.names) == ((), ())
    (unable,) = found.unable
    assert (unable.migration.name, unable.why) == ("x", BY_HAND[declaration])
    assert unable.line == requires_line([*before, "b", "c"])


GENERATED = {
    "a loop": (
        "for name in ('x', 'y'):\n    def f(db): return True\n    f.__name__ = name\n    migration(f)\n",
        "several migrations are declared there by a loop or a function",
    ),
    "a loop of one": (
        "for _ in range(1):\n    @migration\n    def x(db): return True\n", "it is declared within a loop, a function or a class",
    ),
    "a function": (
        "def make():\n    @migration\n    def x(db): return True\nmake()\n", "it is declared within a loop, a function or a class",
    ),
    "another name": (
        "def f(db): return True\nf.__name__ = 'x'\nmigration(f)\n", "no @migration stands above a function of its name",
    ),
    "a partial": (
        "def x(db, n): return True\nmigration(functools.partial(x, n=1))\n", "it is not declared by a function",
    ),
    "compiled text": (
        "exec(compile('@migration\\ndef x(db): return True\\n', 'somewhere.py', 'exec'))\n", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", GENERATED)
def test_generated_ones_are_added_by_hand_and_the_rest_is_written(kind: str, root: Path) -> None:
    text, why = GENERATED[kind]
    written(root, (HEAD + text).encode())
    found = added(root, x=["b"], c=["a"])
    assert found.names == ("c",)
    assert [(each.migration.name, each.line) for each in found.unable] == [("x", 'requires="b"')]
    assert found.unable[0].why.startswith(why)
    assert (root / "migrations.py").read_text() == HEAD.replace(
        "@migration\ndef c", '@migration(requires="a")\ndef c'
    ) + text


def test_several_files_at_once(root: Path) -> None:
    written(root, b"import more.steps\nfrom migrate_graph import migration\n@migration\ndef a(db): return True\n")
    (root / "more").mkdir()
    written(root, b"from migrate_graph import migration\n@migration\ndef m(db): return True\n", "more/steps.py")
    found = added(root, a=["m"])
    assert found.files == ("migrations.py",)
    project = load(root)
    assert add_requires(project, {}, take_snapshot(project, {}), {}) == Added()
    written(
        root,
        b"import more.steps\nfrom migrate_graph import migration\n@migration\ndef a(db): return True\n@migration\ndef b(db): return True\n",
    )
    found = added(root, m=["a"], b=["a"])
    assert found.files == ("more/steps.py", "migrations.py")
    assert found.names == ("m", "b")


def test_a_name_that_the_encoding_lacks_is_left_to_people(root: Path) -> None:
    head = "# coding: latin-1\nfrom migrate_graph import migration\n"
    other = "@migration\ndef f(db): return True\n"
    written(root, (head + "import later\n" + other).encode("latin-1"))
    written(
        root, "from migrate_graph import migration\n@migration\ndef größe_ł(db): return True\n".encode(), "later.py"
    )
    found = added(root, f=["größe_ł"])
    assert [each.why for each in found.unable] == [
        "its file is written in an encoding that has not all letters of the names"
    ]


def test_old_line_ends_are_left_alone(root: Path) -> None:
    text = (HEAD + "@migration\ndef x(db): return True\n").replace("\n", "\r").encode()
    written(root, text)
    found = added(root, x=["b"])
    assert [each.why for each in found.unable] == ["its encoding or its line ends are of a kind that cannot be kept"]


def test_nothing_is_written_where_somebody_was_at_work(root: Path) -> None:
    written(root, HEAD.encode())
    project = load(root)
    snapshot = take_snapshot(project, {})
    changed = HEAD.encode() + b"# more\n"
    written(root, changed)
    with pytest.raises(UsageError, match=r"migrations\.py was changed while"):
        add_requires(project, {"b": ["a"]}, snapshot, {})
    assert (root / "migrations.py").read_bytes() == changed
    (root / "migrations.py").unlink()
    with pytest.raises(UsageError, match=r"migrations\.py was changed while"):
        add_requires(project, {"b": ["a"]}, snapshot, {})
    assert not (root / "migrations.py").exists()


def test_nothing_is_written_when_another_commit_is_checked_out(root: Path) -> None:
    from os import environ  # noqa: TID251 - tests are an edge too

    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True, capture_output=True)

    written(root, HEAD.encode())
    git("init", "-q")
    project = load(root)
    assert take_snapshot(project, environ).head == ""
    git("add", ".")
    git("commit", "-qm", "one")
    snapshot = take_snapshot(project, environ)
    assert len(snapshot.head) == 40
    git("commit", "-qm", "two", "--allow-empty")
    with pytest.raises(UsageError, match="another commit is checked out"):
        add_requires(project, {"b": ["a"]}, snapshot, environ)
    assert (root / "migrations.py").read_bytes() == HEAD.encode()
    assert add_requires(project, {"b": ["a"]}, take_snapshot(project, environ), environ).names == ("b",)


def test_nothing_is_written_when_the_new_text_would_not_give_the_wanted_graph(root: Path) -> None:
    text = HEAD + "NAME = 'b'\n@migration(requires=NAME)\ndef x(db): return True\nNAME = 'c'\nLIST = a\nLATE = ['a']\n"
    text += "@migration(requires=LATE)\ndef y(db): return True\nLATE = 'a'\n"
    written(root, text.encode())
    with pytest.raises(
        UsageError, match="the files are not changed: with the new requirements they would not load"
    ) as told:
        added(root, y=["b"])
    assert told.value.hint == "add them by hand"
    assert (root / "migrations.py").read_bytes() == text.encode()
    clever = HEAD + "import sys\ndef x(db): return True\nx = migration(x) if 'x' not in dir(sys) else x\n"
    clever += "@migration(requires=['a'] if len(open(__file__).read()) % 2 else ['a'])\ndef y(db): return True\n"
    written(root, clever.encode())
    assert added(root, y=["b"]).names == ()


def test_a_text_that_gives_another_graph_is_not_written(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(root, HEAD.encode())
    monkeypatch.setattr(adding_requires, "requires_line", lambda names: 'requires=["a", "c"]')
    with pytest.raises(UsageError, match=r"would not give the wanted graph \(b\)"):
        added(root, b=["a"])
    assert (root / "migrations.py").read_bytes() == HEAD.encode()


def test_a_file_that_cannot_be_written_leaves_the_others_as_they_were(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = b"import more\nfrom migrate_graph import migration\n@migration\ndef a(db): return True\n@migration\ndef b(db): return True\n"
    other = b"from migrate_graph import migration\n@migration\ndef m(db): return True\n"
    written(root, one)
    written(root, other, "more.py")
    write = adding_requires.write_file

    def write_file(path: Path, content: bytes) -> None:
        if path.name == "more.py":
            raise UsageError("cannot write more.py: No space left on device")
        write(path, content)

    monkeypatch.setattr(adding_requires, "write_file", write_file)
    with pytest.raises(UsageError, match="No space left"):
        added(root, b=["a"], m=["a"])
    assert ((root / "migrations.py").read_bytes(), (root / "more.py").read_bytes()) == (one, other)


def test_permissions_stay(root: Path) -> None:
    written(root, HEAD.encode())
    (root / "migrations.py").chmod(0o640)
    added(root, b=["a"])
    assert (root / "migrations.py").stat().st_mode & 0o777 == 0o640


def test_the_trial_leaves_nothing_behind(root: Path) -> None:
    import sys

    written(root, HEAD.encode())
    before = set(sys.modules)
    added(root, b=["a"])
    assert {name for name in set(sys.modules) - before if "migrations" in name} == set()


@pytest.mark.parametrize(
    ("names", "line"), [(["a"], 'requires="a"'), (["a", "b"], 'requires=["a", "b"]'), (["it's"], 'requires="it\'s"')]
)
def test_the_line_can_be_typed(names: Any, line: str) -> None:
    assert requires_line(names) == line
