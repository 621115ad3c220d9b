"""The fingerprint of a body or a view manager: an edit in what it uses is an edit, everything else is not."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from migrate_graph.core.model import same_fingerprint
from migrate_graph.loader import fingerprints, load

# A project in which the migration `m` and the view `V` use one thing in many ways: `{sql}` is that thing.
ONE = "from migrate_graph import migration, ViewMigrationManager\n"
USES: dict[str, dict[str, str]] = {
    "a constant": {
        "migrations.py": ONE + "SQL = '{sql}'\n@migration\ndef m(db):\n    db.executesql(SQL)\n    return True\n"
    },
    "a constant made of others": {
        "migrations.py": ONE + "A = '{sql}'\nB = [A, 1]\nC = dict(x=B)\n@migration\ndef m(db): return db(C['x'])\n"
    },
    "a list that is added to": {
        "migrations.py": ONE + "T = []\nT.append('{sql}')\n@migration\ndef m(db): return [db(t) for t in T]\n"
    },
    "a helper": {
        "migrations.py": ONE + "def make(db):\n    db('{sql}')\n@migration\ndef m(db):\n    make(db)\n    return True\n"
    },
    "a helper of a helper": {
        "migrations.py": ONE + "def a(db): db('{sql}')\ndef b(db): a(db)\n@migration\ndef m(db): return b(db)\n"
    },
    "a helper in a default": {
        "migrations.py": ONE + "def a(db): db('{sql}')\n@migration\ndef m(db, how=a): return how(db)\n"
    },
    "a lambda": {"migrations.py": ONE + "make = lambda db: db('{sql}')\n@migration\ndef m(db): return make(db)\n"},
    "a partial": {
        "migrations.py": ONE + "import functools\ndef run(db, q): db(q)\nmake = functools.partial(run, q='{sql}')\n"
        "@migration\ndef m(db): return make(db)\n"
    },
    "a decorator": {
        "migrations.py": ONE + "import functools\ndef before(f):\n    @functools.wraps(f)\n    def inner(db):\n"
        "        db('{sql}')\n        return f(db)\n    return inner\n@migration\n@before\ndef m(db): return True\n"
    },
    "a class": {
        "migrations.py": ONE
        + "class Maker:\n    def run(self, db): db('{sql}')\n@migration\ndef m(db): return Maker().run(db)\n"
    },
    "a base of a class": {
        "migrations.py": ONE + "class A:\n    q = '{sql}'\nclass B(A): ...\n@migration\ndef m(db): return db(B.q)\n"
    },
    "another migration": {
        "migrations.py": ONE
        + "@migration\ndef other(db): return db('{sql}')\n@migration\ndef m(db): return other(db)\n"
    },
    "what a factory is given": {
        "migrations.py": ONE + "def made(q):\n    @migration\n    def m(db): return db(q)\nmade('{sql}')\n"
    },
    "another module": {
        "migrations.py": ONE + "import helpers\n@migration\ndef m(db): return helpers.make(db)\n",
        "helpers.py": "from texts import SQL\ndef make(db): db(SQL)\n",
        "texts.py": "SQL = '{sql}'\n",
    },
    "a module of a package, imported in the body": {
        "migrations.py": ONE
        + "import app.texts\n@migration\ndef m(db):\n    from app.texts import SQL as q\n    return db(q)\n",
        "app/__init__.py": "",
        "app/texts.py": "SQL = '{sql}'\n",
    },
    "a star": {
        "migrations.py": ONE + "from texts import *\n@migration\ndef m(db): return db(SQL)\n",
        "texts.py": "SQL = '{sql}'\n",
    },
    "a file beside": {
        "migrations.py": ONE + "from pathlib import Path\n@migration\n"
        "def m(db): return db((Path(__file__).parent / 'sql' / '1.sql').read_text())\n",
        "sql/1.sql": "{sql}\n",
    },
    "a file by a constant": {
        "migrations.py": ONE + "from pathlib import Path\nHERE = Path(__file__).resolve().parent / 'sql'\n@migration\n"
        "def m(db):\n    file = HERE.joinpath('1.dump')\n    return db(file.read_bytes())\n",
        "sql/1.dump": "{sql}\n",
    },
    "a file by a helper": {
        "migrations.py": ONE + "from run import run\n@migration\ndef m(db): return run(db, '1.sql')\n",
        "run.py": "from pathlib import Path\ndef run(db, name):\n"
        "    with open(Path(__file__).with_name('sql') / name) as f:\n        db(f.read())\n",
        "sql/1.sql": "{sql}\n",
    },
    "a file by os.path": {
        "migrations.py": ONE + "import os\n@migration\ndef m(db):\n"
        "    with open(os.path.join(os.path.dirname(__file__), 'one')) as f:\n        return db(f.read())\n",
        "one": "{sql}\n",
    },
    "a file above": {
        "app/migrations.py": ONE + "from pathlib import Path\n@migration\n"
        "def m(db): return db(Path(__file__).parents[0].joinpath('1').with_suffix('.sql').read_text('utf-8'))\n",
        "app/1.sql": "{sql}\n",
    },
    "a resource": {
        "migrations.py": ONE + "from importlib import resources\nimport app\n@migration\n"
        "def m(db): return db(resources.files('app').joinpath('sql', '1.sql').read_text())\n",
        "app/__init__.py": "",
        "app/sql/1.sql": "{sql}\n",
    },
    "a resource, the older way": {
        "migrations.py": ONE
        + "import importlib.resources as r\nimport app\n@migration\ndef m(db): return db(r.read_text(app, '1.sql'))\n",
        "app/__init__.py": "",
        "app/1.sql": "{sql}\n",
    },
    "a directory of files": {
        "migrations.py": ONE + "from pathlib import Path\n@migration\ndef m(db):\n"
        "    for file in sorted((Path(__file__).parent / 'sql').glob('*.sql')):\n        db(file.read_text())\n    return True\n",
        "sql/1.sql": "{sql}\n",
    },
}
VIEW = "class V(ViewMigrationManager):\n    uses = ()\n    def up(self): self.make()\n    def down(self): ...\n"
VIEWS: dict[str, dict[str, str]] = {
    "up": {"migrations.py": ONE + "class V(ViewMigrationManager):\n    uses = ()\n    def up(self): self.db('{sql}')\n    def down(self): ...\n"},
    "an attribute": {"migrations.py": ONE + VIEW + "    q = '{sql}'\n    def make(self): self.db(self.q)\n"},
    "a property": {"migrations.py": ONE + VIEW + "    @property\n    def q(self): return '{sql}'\n    def make(self): self.db(self.q)\n"},
    "a constant": {"migrations.py": ONE + "Q = '{sql}'\n" + VIEW + "    def make(self): self.db(Q)\n"},
    "a base": {
        "migrations.py": ONE + "from base import Base\nclass V(Base):\n    uses = ()\n    def down(self): ...\n",
        "base.py": ONE + "class Base(ViewMigrationManager):\n    uses = ()\n    def up(self): self.db('{sql}')\n",
    },
    "a factory": {
        "migrations.py": ONE + "def view(name, q):\n    class Made(ViewMigrationManager):\n        uses = ()\n"
        "        def up(self): self.db(q)\n        def down(self): ...\n    Made.__name__ = name\n    return Made\nV = view('V', '{sql}')\n"
    },
    "type()": {
        "migrations.py": ONE + "V = type('V', (ViewMigrationManager,), {{'uses': (), 'up': lambda self: self.db('{sql}'), 'down': lambda self: 1}})\n"
    },
    "a file": {
        "migrations.py": ONE + "from pathlib import Path\n" + VIEW + "    def make(self): self.db(Path(__file__).with_name('v.sql').read_text())\n",
        "v.sql": "{sql}\n",
    },
} | {
    name: {
        "migrations.py": ONE + "import os\nfrom pathlib import Path\nHERE = Path(__file__).parent\n" + more,
        "sql/v.sql": "{sql}\n",
    }
    for name, more in {
        "a file by an attribute": "class Base(ViewMigrationManager):\n    uses = ()\n"
        "    def up(self): self.db((HERE / 'sql' / self.file).read_text())\n"
        "    def down(self): ...\nclass V(Base):\n    uses = ()\n    file = 'v.sql'\n",
        "a file by a helper": "def sql(name):\n    with open(os.path.join(HERE, 'sql', name + '.sql')) as f:\n        return f.read()\n"
        + VIEW + "    def make(self): self.db(sql('v'))\n",
        "a file by the name of the class": "class Base(ViewMigrationManager):\n    uses = ()\n    def up(self):\n"
        "        self.db((HERE / f'sql/{{type(self).__name__.lower()}}.sql').read_text())\n    def down(self): ...\nclass V(Base):\n    uses = ()\n",
        "a file by an f-string": VIEW + "    def make(self):\n        what = 'v'\n        self.db((HERE / f'sql/{{what}}.sql').read_text())\n",
        "a file by format()": VIEW + "    def make(self): self.db(open('{{}}/sql/{{}}.sql'.format(HERE, 'v')).read())\n",
        "a file by %": VIEW + "    def make(self): self.db(open('%s/sql/%s.sql' % (HERE, 'v')).read())\n",
        "a file by an entry": VIEW + "    files = {{'v': 'sql/v.sql'}}\n    def make(self): self.db((HERE / self.files['v']).read_text())\n",
    }.items()
}  # fmt: skip

Fingerprint = Callable[[str, dict[str, str], str], str]


@pytest.fixture
def fingerprint(tmp_path: Path) -> Fingerprint:
    """Write a project into a directory of its own, and return the fingerprint of its migration `m` or its view `V`."""

    def of(where: str, files: dict[str, str], sql: str) -> str:
        root = tmp_path / where
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("{{", "{").replace("}}", "}").replace("{sql}", sql))
        file = next(name for name in files if name.endswith("migrations.py"))
        registry = load(root / file)
        (found,) = [each.facts.fingerprint for each in registry.migrations if each.name == "m"] or [
            view.fingerprint for view in registry.views if view.name == "V"
        ]
        return found

    return of


@pytest.mark.parametrize("files", [pytest.param(files, id=name) for name, files in [*USES.items(), *VIEWS.items()]])
def test_an_edit_in_what_is_used_is_an_edit(fingerprint: Fingerprint, files: dict[str, str]) -> None:
    before = fingerprint("here", files, "CREATE TABLE a (id INTEGER)")
    assert before
    # In another checkout it is the same, and again in the same one.
    assert fingerprint("there", files, "CREATE TABLE a (id INTEGER)") == before
    after = fingerprint("here", files, "CREATE TABLE a (id TEXT)")
    assert after != before
    assert not same_fingerprint(before, after)


def test_what_is_not_used_and_what_does_nothing_is_no_edit(fingerprint: Fingerprint) -> None:
    files = {
        "migrations.py": ONE + "from texts import A\nfrom pathlib import Path\nimport json\nOTHER = '{sql}'\n"
        "def unused(db): db('{sql}')\n"
        "@migration(tags='{sql}')\ndef m(db):\n    '''{sql}'''\n    # {sql}\n    json.dumps(A)\n    return db(A)\n",
        "texts.py": "A = 1\nB = '{sql}'\ndef unused(): return B\n",
        "unused.sql": "{sql}",
    }
    assert fingerprint("here", files, "one") == fingerprint("here", files, "two")


def test_values_of_the_moment_are_not_looked_at(fingerprint: Fingerprint) -> None:
    """What a constant is worth today (a time, an environment, an address) is no part of the text."""
    text = "import time, os\nNOW = time.time_ns()\nHERE = os.getcwd()\nclass A: ...\nTHING = A()\n"
    files = {"migrations.py": ONE + text + "@migration\ndef m(db): return db(NOW, HERE, THING)\n"}
    assert fingerprint("here", files, "") == fingerprint("here", files, "")


def test_a_view_manager_is_named_and_not_followed(fingerprint: Fingerprint) -> None:
    files = {
        "migrations.py": ONE + "class V(ViewMigrationManager):\n    uses = ()\n    def up(self): self.db('{sql}')\n"
        "    def down(self): ...\n@migration\ndef m(db):\n    with V(db): return True\n"
    }
    assert fingerprint("here", files, "one") == fingerprint("here", files, "two")


def test_where_a_view_stands_is_no_part_of_what_it_does(fingerprint: Fingerprint) -> None:
    files = {
        "migrations.py": ONE
        + "class V(ViewMigrationManager):\n    '''{sql}'''\n    uses = ()\n    since = ignore = '{sql}'\n"
        "    def up(self): ...\n    def down(self): ...\n"
    }
    assert fingerprint("here", files, "one") == fingerprint("here", files, "two")


def test_a_file_that_is_written_or_code_is_not_read(fingerprint: Fingerprint) -> None:
    files = {
        "migrations.py": ONE + "from pathlib import Path\nHERE = Path(__file__).parent\n@migration\ndef m(db):\n"
        "    open(HERE / 'log', 'w').write('migrations.py')\n    return True\n# {sql}\n",
        "log": "{sql}",
    }
    assert fingerprint("here", files, "one") == fingerprint("here", files, "two")


def test_the_file_of_another_view_is_no_edit(fingerprint: Fingerprint) -> None:
    files = VIEWS["a file by an attribute"] | {
        "sql/other.sql": "SELECT 1",
        "other.sql": "SELECT 1",
        "sql/v.sql": "SELECT 3",
    }
    before = fingerprint("here", files, "")
    assert fingerprint("here", files | {"sql/other.sql": "SELECT 2", "other.sql": "SELECT 2"}, "") == before
    assert fingerprint("here", files | {"sql/v.sql": "SELECT 4"}, "") != before


def test_a_path_of_which_nothing_is_known_is_no_file(fingerprint: Fingerprint) -> None:
    body = "    def make(self): open(self.x); open(f'{self.x}/{self.y}'); open(f'*{self.x}'); open(f'/{self.x}'); open(f'{self.x}\\0')\n"
    body += "    def __call__(self): open('%s' % (1, 2)); open('{}'.format()); open('%d%%' % self.x); open(self.x.parent / '[v.sql')\n"
    files = {"migrations.py": ONE + VIEW + body, "v.sql": "SELECT 1", "sql/v.sql": "SELECT 1"}
    before = fingerprint("here", files, "")
    assert fingerprint("here", files | {"v.sql": "SELECT 2", "sql/v.sql": "SELECT 2"}, "") == before


def test_ends_of_lines_are_no_edit(fingerprint: Fingerprint, tmp_path: Path) -> None:
    files = USES["a file beside"]
    before = fingerprint("here", files, "x")
    (tmp_path / "there/sql").mkdir(parents=True)
    assert fingerprint("there", {**files, "sql/1.sql": "x\r\n"}, "x") == before


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a+b", "a+b", True),
        ("a+b", "a+c", False),
        ("a+b", "d+b", False),
        ("a", "a+c", True),  # recorded by a version that did not look at what is used
        ("a", "b+c", False),
        ("", "a+b", True),  # recorded by edwh-migrate
        ("a", "", True),  # a source that cannot be read
    ],
)
def test_fingerprints_are_compared_as_far_as_both_know(one: str, other: str, same: bool) -> None:
    assert same_fingerprint(one, other) is same
    assert same_fingerprint(other, one) is same


def test_a_text_of_any_kind_is_no_trouble(fingerprint: Fingerprint) -> None:
    text = textwrap.dedent("""
        from pathlib import Path
        LONG = "x" * 5000
        @migration
        def m(db):
            open("y" * 400); open(LONG); open("a\\0b"); open(Path("/") / LONG); Path(LONG).read_text()
            Path(__file__).with_name("").read_text(); Path(__file__).parents[99].read_text(); open(); files()
            path = Path("a")
            path = path / "b"
            path.glob("/x"); path.glob(""); db.open(1)
            return path.read_text()
        """)
    assert fingerprint("here", {"migrations.py": ONE + text}, "")


def test_a_shared_helper_is_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helpers = "\n".join(f"def h{i}(db): return h{i - 1}(db)" for i in range(1, 50))
    bodies = "\n".join(f"@migration\ndef m{i}(db): return h49(db)" for i in range(40))
    (tmp_path / "migrations.py").write_text(f"{ONE}def h0(db): return 1\n{helpers}\n{bodies}\n")
    read: list[str] = []
    original = fingerprints._Unit.read_function
    monkeypatch.setattr(
        fingerprints._Unit,
        "read_function",
        lambda unit, function: (read.append(function.__name__), original(unit, function)),
    )
    registry = load(tmp_path)
    assert read == [], "and none before somebody asks"
    assert all(each.facts.fingerprint for each in registry.migrations)
    assert len(read) == len(set(read)) == 90
