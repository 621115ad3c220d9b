"""What the text of migrations files tells."""

import functools
import sysconfig
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from migrate_graph.authoring import collecting
from migrate_graph.core.model import BodyFacts
from migrate_graph.loader import bodies
from migrate_graph.loader.declarations import declarations_in
from migrate_graph.user_files import is_user_file

HEAD = """\
from contextlib import ExitStack, contextmanager
import functools
from migrate_graph import ViewMigrationManager, migration

class Shown(ViewMigrationManager):
    uses = ()
    def up(self): ...
    def down(self): ...

class A(Shown): ...
class B(Shown): ...
class C(Shown): ...
class Half(ViewMigrationManager): ...
"""


@pytest.fixture(autouse=True)
def nothing_declared() -> Iterator[None]:
    with collecting():
        yield


def module(directory: Path, text: str, name: str = "module") -> Any:
    """Execute a text as a file of its own."""
    file = directory / f"{name}.py"
    file.write_text(HEAD + textwrap.dedent(text), "utf-8")
    made = ModuleType(name)
    made.__file__ = str(file)
    exec(compile(file.read_bytes(), str(file), "exec"), vars(made))
    return made


def facts_of(function: Callable[..., Any], sources: bodies.Sources | None = None) -> BodyFacts:
    """Return all that the text of a body tells."""
    found: dict[str, Any] = {}
    for name in ("opened_views", "fingerprint", "code", "returns_value"):
        found |= bodies.facts_with(name, function, sources or bodies.Sources())
    return BodyFacts(**found)


def facts(directory: Path, text: str, name: str = "body") -> BodyFacts:
    return facts_of(getattr(module(directory, text), name))


# --- fingerprints ------------------------------------------------------------------------------------------------

PLAIN = """
    @migration
    def body(db):
        db.executesql("CREATE TABLE t (id)")
        for n in range(3):
            db.commit()
        return True
"""


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace("@migration", "@migration(requires='x', tags=['y'])"),
        PLAIN.replace("def body(db):", 'def body(db):\n        """Says what."""'),
        PLAIN.replace("return True", "return True  # done"),
        PLAIN.replace('"CREATE TABLE t (id)"', "'CREATE TABLE t (id)'"),
        PLAIN.replace("range(3)", "range(\n            3,\n        )"),
        PLAIN.replace("def body(db):", "def body(db: object) -> bool:"),
        "\n\n\n# elsewhere\n" + textwrap.dedent(PLAIN),
        PLAIN.replace("@migration", "@word").replace("\n", "\n    from migrate_graph import migration as word\n", 1),
        PLAIN.replace("@migration", "@mg.migration()").replace("\n", "\n    import migrate_graph as mg\n", 1),
    ],
)
def test_formatting_and_words_about_it_do_not_change_a_fingerprint(tmp_path: Path, text: str) -> None:
    assert facts(tmp_path, text).fingerprint == facts(tmp_path, PLAIN).fingerprint != ""


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace("t (id)", "u (id)"),
        PLAIN.replace("range(3)", "range(4)"),
        PLAIN.replace("db.commit()", 'db.commit("")'),
        PLAIN.replace("return True", "return 1"),
        PLAIN.replace("            db.commit()", "            pass"),
        PLAIN.replace("def body(db)", "def body(db, x='t')"),
        PLAIN.replace("@migration", "@migration\n    @functools.cache"),
        PLAIN.replace('"CREATE TABLE t (id)"', 'b"CREATE TABLE t (id)"'),
        PLAIN.replace("def body", "async def body"),
    ],
)
def test_what_a_body_does_changes_its_fingerprint(tmp_path: Path, text: str) -> None:
    assert facts(tmp_path, text).fingerprint not in {"", facts(tmp_path, PLAIN).fingerprint}


def test_a_fingerprint_is_the_same_under_every_python(tmp_path: Path) -> None:
    """Written down: another version of Python, or of this, must not call every applied migration changed."""
    assert facts(tmp_path, PLAIN).fingerprint == "88ddd4ee9130095b"


def test_a_very_deep_expression_is_read(tmp_path: Path) -> None:
    text = "def body(db):\n    return " + " + ".join(["1"] * 900) + "\n"
    assert len(facts(tmp_path, text).fingerprint) == 16


# --- return values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("returns", "text"),
    [
        (True, "def body(db):\n    return True"),
        (True, "def body(db):\n    if db:\n        return db.x()"),
        (True, "body = lambda db: None"),
        (False, "def body(db):\n    pass"),
        (False, "def body(db):\n    return"),
        (False, "def body(db):\n    return None"),
        (False, "def body(db):\n    def inner():\n        return True\n    lambda: 1\n    inner()"),
        (False, "def body(db):\n    class X:\n        def m(self):\n            return 1"),
        (True, "def body(db):\n    try:\n        pass\n    finally:\n        return 1"),
        (True, "def body(db):\n    match db:\n        case 1:\n            return 1"),
    ],
)
def test_return_values(tmp_path: Path, returns: bool, text: str) -> None:
    assert facts(tmp_path, text).returns_value is returns


def test_a_wrapper_may_return_on_its_own_account(tmp_path: Path) -> None:
    text = """
    def passing(function):
        @functools.wraps(function)
        def wrapper(db):
            return function(db)
        return wrapper
    def succeeding(function):
        @functools.wraps(function)
        def wrapper(db):
            function(db)
            return True
        return wrapper
    @migration
    @passing
    def forgot(db):
        pass
    @migration
    @succeeding
    def fine(db):
        pass
    """
    made = module(tmp_path, text)
    assert not facts_of(made.forgot).returns_value
    assert facts_of(made.fine).returns_value
    place = bodies.definition_of(made.fine.function, bodies.Sources())
    assert place is not None
    assert Path(made.__file__).read_text().splitlines()[place.line - 1].strip() == "def fine(db):"


def test_a_commit_just_before_the_return(tmp_path: Path) -> None:
    lines = (HEAD + "def body(db):\n    if db:\n        self.db.commit()\n        return True\n").splitlines()
    found = facts(tmp_path, "def body(db):\n    if db:\n        self.db.commit()\n        return True\n")
    assert found.commits_before_return is not None
    assert "commit" in lines[found.commits_before_return.line - 1]


@pytest.mark.parametrize(
    "text",
    [
        "def body(db):\n    db.commit()\n    db.x()\n    return True",
        "def body(db):\n    db.commit()\n    return False",
        "def body(db):\n    def inner():\n        db.commit()\n        return True\n    return inner()",
        "def body(db):\n    commit()\n    return True",
        "body = lambda db: db.commit()",
    ],
)
def test_no_commit_just_before_the_return(tmp_path: Path, text: str) -> None:
    assert facts(tmp_path, text).commits_before_return is None


# --- views -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("views", "text"),
    [
        ("A", "def body(db):\n    with A(db): pass"),
        ("B A", "def body(db):\n    with B(db) as b, A(db): pass"),
        ("A", "def body(db):\n    A.renew(db)"),
        ("", "def body(db):\n    print(A.uses, A.name)"),
        ("A", "renew = A.renew\ndef body(db):\n    renew(db)"),
        ("A", "class Space:\n    V = A\ndef body(db):\n    Space.V.renew(db)"),
        ("A", "def body(db):\n    A(db).__enter__()\n    A(db)"),
        ("A B", "def body(db):\n    [v for v in [A(db), B(db)]]"),
        ("C", "def body(db):\n    with ExitStack() as s:\n        s.enter_context(C(db))"),
        ("A B", "def body(db):\n    for view in (A, B):\n        with view(db): pass"),
        ("B C", "ALL = (B, C)\ndef body(db):\n    for view in ALL:\n        with view(db): pass"),
        ("A", "W = A\ndef body(db):\n    with W(db): pass"),
        ("A", "class Space:\n    V = A\ndef body(db):\n    with Space.V(db): pass"),
        ("A", "import sys, types\nmod = types.ModuleType('mod'); mod.V = A\ndef body(db):\n    with mod.V(db): pass"),
        ("A B", "def two(db):\n    with B(db): pass\ndef one(db):\n    with A(db):\n        two(db)\ndef body(db):\n    one(db)"),
        ("A B", "def one(db):\n    A(db)\n    two(db)\ndef two(db):\n    B(db)\n    one(db)\ndef body(db):\n    one(db)\n    two(db)"),
        ("A", "def body(db):\n    A(db)\n    body(db)"),
        ("A", "@contextmanager\ndef down(db):\n    with A(db):\n        yield\ndef body(db):\n    with down(db): pass"),
        ("A", "@functools.cache\ndef helper(db):\n    A(db)\ndef body(db):\n    helper(db)"),
        ("A", "def helper(view, db):\n    with view(db): pass\ndef body(db):\n    helper(A, db)"),
        ("A", "def helper(db, x):\n    A(db)\nother = functools.partial(helper, x=1)\ndef body(db):\n    other(db)"),
        ("A", "@migration\ndef other(db):\n    A(db)\ndef body(db):\n    other(db)"),
        ("A", "def make(view):\n    def body(db):\n        with view(db): pass\n    return body\nbody = make(A)"),
        ("A", "def make(run):\n    def body(db):\n        run(db)\n    return body\ndef go(db):\n    A(db)\nbody = make(go)"),
        ("A", "def opening(view):\n    def outer(f):\n        @functools.wraps(f)\n        def inner(db):\n            with view(db):\n                return f(db)\n        return inner\n    return outer\n@opening(A)\ndef body(db):\n    return 1"),  # noqa: E501
        ("A", "body = lambda db: A(db)"),
        ("A", "class Util:\n    @staticmethod\n    def go(db):\n        A(db)\ndef body(db):\n    Util.go(db)"),
        ("A", "def body(db):\n    def inner():\n        with A(db): pass\n    inner()"),
        ("", "def body(db):\n    isinstance(db, A)\n    print(A.uses)\n    x: A = None"),
        ("", "def body(db):\n    A(db).down()"),
        ("", "def body(db):\n    view = A(db)\n    view.down()"),
        ("", "def body(db):\n    for view in (A, B):\n        view(db).down()"),
        ("", "ALL = (A, B)\ndef body(db):\n    for view in ALL:\n        view(db).down()"),
        ("", "def helper(db):\n    A(db).down()\ndef body(db):\n    helper(db)"),
        ("A", "def body(db):\n    A(db).down()\n    A(db).up()"),
        ("A", "def body(db):\n    view = A(db)\n    view.down()\n    view.up()"),
        ("A", "def body(db):\n    view = A(db)\n    view.down()\n    with view: pass"),
        ("A B", "def body(db):\n    for view in (A, B):\n        view(db).down()\n        view(db).up()"),
        ("B", "def body(db):\n    A(db).down()\n    with B(db): pass"),
        ("B", "def helper(db):\n    with B(db): pass\n    return db\ndef body(db):\n    A(helper(db)).down()"),
        ("B", "def helper(db):\n    with B(db): pass\ndef body(db):\n    helper(db).down()"),
        ("", "def body(db, A=None):\n    with A(db): pass"),
        ("", "def body(db):\n    A = 1\n    print(A)"),
        ("", "def body(db):\n    with open('x'), Half(db): pass\n    dict(a=1); missing(db)"),
    ],
)  # fmt: skip
def test_views_that_a_body_opens(tmp_path: Path, views: str, text: str) -> None:
    assert facts(tmp_path, text).opened_views == tuple(views.split())


def test_views_imported_inside_a_body(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "acme_views", module(tmp_path, "", "acme_views"))
    text = "def body(db):\n    from acme_views import A as First\n    import acme_views as av\n    import acme_views\n"
    text += "    from missing import nothing\n    with First(db), av.B(db), acme_views.C(db), nothing(db): pass\n"
    assert facts(tmp_path, text).opened_views == ("A", "B", "C")


def test_helpers_of_installed_packages_are_not_followed(tmp_path: Path) -> None:
    installed = tmp_path / "site-packages"
    installed.mkdir()
    made = module(installed, "def helper(db):\n    A(db)", "installed")
    mine = module(tmp_path, "def body(db):\n    helper(db)")
    mine.helper = made.helper
    assert facts_of(mine.body).opened_views == ()
    assert not is_user_file(functools.__file__)
    assert not is_user_file(bodies.__file__)
    assert not is_user_file("<string>")
    assert is_user_file(mine.__file__)


def test_no_link_is_followed_to_tell_pythons_files_from_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of modules are asked about in each command: that was a sixth of its time."""
    is_user_file.cache_clear()
    mine = str(tmp_path / "mine.py")
    round_about = f"{Path(functools.__file__).parent}/{'../' * 20}{mine}"
    assert is_user_file(mine)
    assert is_user_file(round_about)

    monkeypatch.setattr(Path, "resolve", lambda *_: pytest.fail("followed a link"))
    for name in {functools.__file__, bodies.__file__, sysconfig.__file__, textwrap.__file__}:
        assert not is_user_file(name)
    is_user_file.cache_clear()


# --- what cannot be read -----------------------------------------------------------------------------------------


def test_nobody_is_accused_unseen() -> None:
    space: dict[str, Any] = {}
    exec("def body(db): pass", space)

    class Callable:
        def __call__(self, db: Any) -> None: ...

    for body in (space["body"], len, functools.partial(len), Callable(), print):
        assert facts_of(body) == BodyFacts()
    assert bodies.definition_of(len, bodies.Sources()) is None


def test_a_circle_of_wrappers_ends() -> None:
    def body(db: Any) -> bool:
        return True

    body.__wrapped__ = body  # type: ignore[attr-defined]
    assert facts_of(body).returns_value


def test_a_file_that_changed_into_nonsense_is_not_read(tmp_path: Path) -> None:
    made = module(tmp_path, "def body(db): pass")
    Path(made.__file__).write_bytes(b"def \x00 (")
    assert facts_of(made.body) == BodyFacts()


def test_four_times_as_many_migrations_take_about_four_times_as_long(tmp_path: Path) -> None:
    def seconds(count: int) -> float:
        one = "def m{0}(db):\n    helper(db)\n    with A(db):\n        db.executesql('x {0}')\n        db.commit()\n    return True\n"
        made = module(tmp_path, "def helper(db):\n    B(db)\n" + "".join(one.format(n) for n in range(count)))
        start = time.process_time()
        sources = bodies.Sources()
        found = [facts_of(getattr(made, f"m{n}"), sources) for n in range(count)]
        taken = time.process_time() - start
        assert {each.opened_views for each in found} == {("B", "A")}
        assert len({each.fingerprint for each in found}) == count
        return taken

    assert seconds(2000) < 10 * seconds(500), "16 times would be quadratic"


def test_a_long_chain_of_helpers_is_followed(tmp_path: Path) -> None:
    text = "".join(f"def h{n}(db):\n    h{n + 1}(db)\n" for n in range(3000)) + "def h3000(db):\n    A(db)\n"
    assert facts(tmp_path, text, "h0").opened_views == ("A",)


# --- declarations by text ----------------------------------------------------------------------------------------

KNOWN: dict[str, frozenset[str]] = {"Mine": frozenset(), "Abstract": frozenset({"down"})}


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ("m", "from migrate_graph import migration\n@migration\ndef m(db): ..."),
        ("m", "from edwh_migrate import migration as word\n@word(requires=['x'])\nasync def m(db): ..."),
        ("m", "from edwh_migrate.migrate import migration\n@migration()\ndef m(db): ..."),
        ("m", "import migrate_graph as mg\n@mg.migration\ndef m(db): ..."),
        ("m", "import edwh_migrate.migrate\n@edwh_migrate.migrate.migration\ndef m(db): ..."),
        ("m", "from edwh_migrate import migrate\n@migrate.migration\ndef m(db): ..."),
        ("m", "from migrate_graph import *\n@migration\ndef m(db): ..."),
        ("m n", "from migrate_graph import migration\nif 1:\n  try:\n    @migration\n    def m(db): ...\n  finally:\n    @migration\n    def n(db): ..."),  # noqa: E501
        ("m", "from migrate_graph import migration\ndef m(db): ...\nx = migration(m)"),
        ("m", "from migrate_graph import migration\ndef m(db): ...\nmigration(requires='a')(m)"),
        ("V", "from migrate_graph import ViewMigrationManager\nclass V(ViewMigrationManager):\n  def up(self): ...\n  def down(self): ..."),
        ("V", "import migrate_graph\nclass V(migrate_graph.ViewMigrationManager):\n  def up(self): ...\n  down = up"),
        ("V", "from migrate_graph import ViewMigrationManager as B\nclass H(B):\n  def up(self): ...\nclass V(H):\n  def down(self): ..."),
        ("V", "from views import Mine\nclass V(Mine): ..."),
        ("V", "import views\nclass V(views.Mine): ..."),
        ("V", "from views import Abstract\nclass V(Abstract):\n  def down(self): ...\nclass W(Abstract): ..."),
        ("", "from migrate_graph import ViewMigrationManager\nclass V(ViewMigrationManager):\n  def up(self): ..."),
        ("", "from migrate_graph import ViewMigrationManager\nimport abc\nclass V(ViewMigrationManager):\n  def up(self): ...\n  @abc.abstractmethod\n  def down(self): ..."),  # noqa: E501
        ("V", "from migrate_graph import SqlView\nclass V(SqlView):\n  query = 'SELECT 1'"),
        ("V", "import migrate_graph\nclass V(migrate_graph.SqlView):\n  query: str = 'SELECT 1'"),
        ("V", "from migrate_graph import SqlView\nclass B(SqlView):\n  query: str\nclass V(B):\n  query = 'SELECT 1'"),
        ("", "from migrate_graph import SqlView\nclass V(SqlView):\n  name = 'v'"),
        ("", "from migrate_graph import migration\ndef outer():\n  @migration\n  def m(db): ..."),
        ("", "from alembic import migration\n@migration\ndef m(db): ..."),
        ("", "# from migrate_graph import migration\n'@migration'"),
        ("", "from .migrate_graph import migration\n@migration\ndef m(db): ..."),
        ("", "def ("),
        ("", "\0"),
    ],
)  # fmt: skip
def test_declarations_by_text(found: str, text: str) -> None:
    assert [name for name, _ in declarations_in(text.encode(), KNOWN)] == found.split()


def test_declarations_know_their_lines() -> None:
    text = b"from migrate_graph import migration\n\n@migration(\n)\ndef m(db): ...\n"
    assert declarations_in(text, {}) == (("m", 5),)
