"""No secret in any format of any command, and every document parses: values are redacted, never documents."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from migrate_graph.cli.console import Console
from migrate_graph.render import FORMATS
from migrate_graph.reports import REPORTS

SECRETS = ("s3cr3t/word", "s3cr3t%2Fword", "hunter2secret")

PROJECT = '''
    """Reset the password: 'hunter2secret'."""
    from migrate_graph import ViewMigrationManager, migration


    class Accounts(ViewMigrationManager):
        """Reset the password: hunter2secret"""

        uses = ("password=hunter2secret",)
        since = "reset_password"

        def up(self):
            self.db.executesql("CREATE VIEW accounts AS SELECT 1 AS one")

        def down(self):
            self.db.executesql("DROP VIEW IF EXISTS accounts")


    @migration(tags=["password:hunter2secret", 'pwd="hunter2secret"'])
    def reset_password(db):
        """Reset the password:"""
        return True


    @migration(requires=[reset_password, 'pwd=hunter2secret'])
    def quoted(db):
        """Say password="hunter2secret", 'password': 'hunter2secret', <b>password=hunter2secret</b> to postgres://app:s3cr3t%2Fword@db/x"""
        return True


    def hostile(db):
        """password: "hunter2secret\\\\", {"password":"hunter2secret"}"""
        raise ValueError('cannot log in with password="hunter2secret": {"password": "hunter2secret"} as s3cr3t/word')
        return True


    hostile.__name__ = 'password="hunter2secret"}]'
    migration(hostile)
'''
VALID = PROJECT.replace('"password=hunter2secret",', "").replace(""", 'pwd=hunter2secret'""", "")
URI = "postgres://app:s3cr3t%2Fword@db.example/shop"


class Page(HTMLParser):
    """Takes the data out of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.data: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag == "script" and dict(attrs).get("type") == "application/json"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.data.append(data)
            self._inside = False


def html(text: str) -> object:
    page = Page()
    page.feed(text)
    return [json.loads(each) for each in page.data] or pytest.fail("the page has no data")


def dot(text: str) -> None:
    """Require that every quote of every line is closed."""
    assert re.fullmatch(r'(?:[^"]|"(?:[^"\\]|\\.)*")*', text, re.DOTALL)
    assert text.rstrip().endswith("}")


def annotations(text: str) -> None:
    assert all(line.startswith("::") for line in text.splitlines())


PARSERS: dict[str, Callable[[str], object]] = {
    "json": json.loads, "sarif": json.loads, "gitlab": json.loads, "svg": ET.fromstring, "graphml": ET.fromstring, "junit": ET.fromstring,
    "html": html, "dot": dot, "github": annotations, "text": str, "markdown": str, "mermaid": str,
}  # fmt: skip


def commands() -> Iterator[tuple[str, str]]:
    """Yield every document of every command that looks, with its format."""
    for name, each in FORMATS.items():
        if each.text:
            yield f"graph --format {name}", name
            yield f"plan --offline --format {name}", name
    for name in REPORTS:
        yield f"check --format {name}", name
    for words in (
        "status --offline",
        "show quoted --offline",
        "why reset_password",
        "config",
        "explain",
        "plan --offline",
    ):
        yield f"{words} --json", "json"
        yield words, "text"


def require_clean(text: str) -> None:
    for secret in SECRETS:
        assert secret not in text, re.findall(f".{{0,40}}{re.escape(secret)}.{{0,20}}", text)[:3]


@pytest.mark.parametrize(("words", "name"), list(commands()))
@pytest.mark.parametrize("project", ["valid", "broken"])
def test_documents_parse_and_hold_no_secret(shell, words: str, name: str, project: str) -> None:
    shell.write("migrations.py", VALID if project == "valid" else PROJECT)
    ran = shell(*words.split(), MIGRATE_URI=URI)
    is_refused = project == "broken" and words.partition(" ")[0] in {"check", "plan"}
    assert ran.code == (3 if is_refused else 0)
    if ran.code == 0 or words.startswith("check") or name == "json":
        PARSERS[name](ran.out)
    require_clean(ran.out + ran.err)


@pytest.mark.parametrize("name", [name for name, each in FORMATS.items() if each.text])
def test_files_hold_no_secret(shell, name: str) -> None:
    shell.write("migrations.py", PROJECT)
    file = shell.path / f"picture{FORMATS[name].suffixes[0]}"
    assert shell("graph", "-o", str(file), MIGRATE_URI=URI).code == 0
    PARSERS[name](file.read_text(encoding="utf-8"))
    require_clean(file.read_text(encoding="utf-8"))


def test_what_a_run_tells_holds_no_secret(shell) -> None:
    shell.write("migrations.py", VALID)
    database = f"sqlite://{shell.path / 'a.db'}"
    for words in ("apply --output plain", "apply --json", "apply --output rich"):
        ran = shell(*words.split(), MIGRATE_URI=database)
        assert ran.code == 1
        if "--json" in words:
            assert ran.lines[-1]["type"] == "exit"
        text = (ran.out + ran.err).replace("s3cr3t/word", "")  # the password of another database: nobody can know it
        require_clean(text)
    for name in ("json", "dot", "html", "mermaid", "text"):
        ran = shell("graph", "--history", "--format", name, MIGRATE_URI=database)
        PARSERS[name](ran.out)
        assert "hunter2secret" not in ran.out
    for words in ("log --json", "status --json", "show quoted --json"):
        assert "hunter2secret" not in json.dumps(shell(*words.split(), MIGRATE_URI=database).json)


def test_a_finished_document_is_not_touched(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    console = Console(environ={})
    console.secrets = ("hunter2secret",)
    content = b'{"description": "Reset the password:", "next": "hunter2secret"}'
    console.show_document(content)
    assert capsysbinary.readouterr().out == content
