"""The line is cut while a command records a decision: it says whether that may have been recorded, and `migrate status` says whether it was."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
from fault_field import TABLE, Field
from line_cutter import LineCutter
from servers import PostgresServer

pytestmark = pytest.mark.postgres

HEAD = "from child import here\nfrom migrate_graph import SqlView, migration\n\n"
ONE = """
@migration
def customer_1(db):
    db.executesql("CREATE TABLE customer (id integer)")
    {more}
    return True
"""
VIEW = """

class V(SqlView):
    uses = ()
    since = customer_1
    query = "SELECT id FROM customer"
"""
DECISION = f'INSERT INTO "public"."{TABLE}_journal"'.encode()
COMMIT = b"COMMIT"


def _write(field: Field, more: str, view: str = "") -> None:
    field.write(HEAD + ONE.format(more=more) + view)


def _lived(field: Field) -> None:
    _write(field, "pass")
    field.query("CREATE TABLE customer (id integer)")


def _empty(field: Field) -> None:
    _write(field, "pass")


def _interrupted(field: Field) -> None:
    _write(field, "db.commit(); here('in')")
    assert field.apply(fatal=("in", 1)).code == -signal.SIGKILL
    field.wait_until_quiet()


def _view_without_manager(field: Field) -> None:
    _write(field, "with V(db): pass", VIEW)
    assert field.apply().code == 0
    _write(field, "pass")


COMMANDS: dict[tuple[str, ...], Callable[[Field], None]] = {
    ("baseline", "customer_1", "--yes"): _lived,
    ("mark", "customer_1", "--installed"): _empty,
    ("apply", "--fake"): _empty,
    ("resolve", "customer_1", "--applied"): _interrupted,
    ("views", "forget", "V"): _view_without_manager,
}
commands = pytest.mark.parametrize(
    ("words", "prepare"), COMMANDS.items(), ids=lambda each: each[0] if isinstance(each, tuple) else ""
)


@contextmanager
def _cut(field: Field, server: PostgresServer, *texts: bytes, is_answered: bool) -> Iterator[dict[str, str]]:
    """Give the environment in which the line of a command is cut."""
    with closing(LineCutter(server.port, texts, is_answered=is_answered)) as cutter:
        yield {"MIGRATE_URI": field.uri.replace(f":{server.port}/", f":{cutter.port}/")}
        assert cutter.has_cut


def _is_recorded(field: Field, words: tuple[str, ...]) -> bool:
    field.wait_until_quiet()
    if words[0] == "views":
        return field.query(f"SELECT manager FROM {TABLE}_views") == []
    return field.read().ledger.get("customer_1") == "T"


@commands
@pytest.mark.parametrize("is_answered", [True, False], ids=["committed", "not committed"])
def test_a_line_that_is_cut_at_the_commit(
    words: tuple[str, ...],
    prepare: Callable[[Field], None],
    is_answered: bool,
    on_postgres: Field,
    postgres_server: PostgresServer,
) -> None:
    prepare(on_postgres)
    with _cut(on_postgres, postgres_server, DECISION, COMMIT, is_answered=is_answered) as cut:
        ended = on_postgres.migrate(*words, env=cut)
    assert ended.code == 6, ended.output
    assert "it is not known whether this was recorded" in ended.output
    assert "migrate status shows that" in ended.output
    assert _is_recorded(on_postgres, words) is is_answered
    status = on_postgres.migrate("status")
    if words[0] != "views":
        assert ("✓ customer_1" in status.output) is is_answered, status.output


@commands
def test_a_line_that_is_cut_before_the_commit(
    words: tuple[str, ...], prepare: Callable[[Field], None], on_postgres: Field, postgres_server: PostgresServer
) -> None:
    prepare(on_postgres)
    with _cut(on_postgres, postgres_server, DECISION, is_answered=True) as cut:
        ended = on_postgres.migrate(*words, env=cut)
    assert ended.code == 6, ended.output
    assert "nothing was recorded" in ended.output
    assert not _is_recorded(on_postgres, words)
    assert on_postgres.migrate(*words).code == 0
    assert _is_recorded(on_postgres, words)
