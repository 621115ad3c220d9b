"""Other orders that the graph permits, and each migration on its requirements alone: what goes wrong there is brought down to two, and stays shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from bystanders import bystanding
from rehearsal_stand import run, state
from servers import PostgresServer
from verify_stand import SQLITE, VerifyStand, migrations

from migrate_graph.core.events import Outcome, Warned
from migrate_graph.workflow.laboratory.closing import Closure, close
from migrate_graph.workflow.laboratory.permuting import Pair, Permuted, Trial, Verdict, permute


@pytest.fixture(params=[pytest.param("postgres", marks=pytest.mark.postgres), "sqlite"])
def stand(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VerifyStand]:
    """A project that is tried on either kind of database."""
    if request.param == "sqlite":
        yield VerifyStand(tmp_path, SQLITE)
        return
    request.getfixturevalue("may_create_databases")
    uri = request.getfixturevalue("postgres_uri")
    with bystanding(request.getfixturevalue("postgres_admin_uri")):
        yield VerifyStand(tmp_path, uri)


def permuted(stand: VerifyStand, *, most: int = 6, seed: int = 1) -> Permuted:
    with stand.laboratory() as laboratory:
        return permute(laboratory, most=most, seed=seed)


def closed(stand: VerifyStand) -> Closure:
    with stand.laboratory() as laboratory:
        return close(laboratory, laboratory.watch())


def pairs(found: Permuted) -> set[tuple[str, str, str]]:
    return {(pair.first, pair.then, pair.shown.verdict.name) for pair in found.pairs}


def shows_again(stand: VerifyStand, pair: Pair) -> None:
    """The named order goes wrong again, and the other one well: each by itself, on a database of its own."""
    with stand.laboratory() as laboratory:
        trial = Trial(laboratory)
        assert trial.begin(pair.good).failed is None
        again = trial.run(pair.shown.order)
        assert (again.verdict, again.differences) == (pair.shown.verdict, pair.shown.differences)
        assert (again.failed and again.failed.name) == (pair.shown.failed and pair.shown.failed.name)


def graph(*declared: tuple[str, str, str]) -> str:
    """Return a file of migrations: name, what it requires, its body."""
    parts = ["from migrate_graph import migration"]
    for name, requires, body in declared:
        code = body if "db." in body else f"db.executesql({body!r})"
        lines = "".join(f"    {line}\n" for line in code.splitlines())
        parts.append(f"\n\n@migration(requires={requires.split()!r})\ndef {name}(db):\n{lines}    return True\n")
    return "\n".join(parts)


BRANCHES = graph(
    ("base", "", "CREATE TABLE account (id integer PRIMARY KEY, email text, plan text)"),
    ("drop_plan", "base", "ALTER TABLE account DROP COLUMN plan"),
    ("default_plan", "base", "UPDATE account SET plan = 'free' WHERE plan IS NULL"),
    ("email_unique", "base", "CREATE UNIQUE INDEX account_email ON account (email)"),
)


def test_two_branches_that_do_not_commute_are_one_pair_and_the_third_is_not_named(stand: VerifyStand) -> None:
    # Declared first the one that drops the column: then the project's own order fails, and that is all there is to say.
    stand.write(BRANCHES)
    own = permuted(stand).own
    assert own.failed is not None
    assert (own.verdict, own.failed.name) == (Verdict.FAILED, "default_plan")
    assert (permuted(stand).tried, permuted(stand).pairs) == ((), ())
    first, second = (
        BRANCHES.index("\n\n@migration(requires=['base'])\ndef drop_plan"),
        BRANCHES.index("\n\n@migration(requires=['base'])\ndef default"),
    )
    third = BRANCHES.index("\n\n@migration(requires=['base'])\ndef email")
    stand.write(BRANCHES[:first] + BRANCHES[second:third] + BRANCHES[first:second] + BRANCHES[third:])
    found = permuted(stand)
    assert pairs(found) == {("default_plan", "drop_plan", "FAILED")}
    (pair,) = found.pairs
    assert pair.good == ("base", "default_plan", "drop_plan")
    assert pair.shown.order == ("base", "drop_plan", "default_plan")
    assert pair.shown.failed is not None
    assert "plan" in pair.shown.failed.error
    assert len(found.tried) == 5  # there are no more
    assert found.alike == 2
    shows_again(stand, pair)


def test_what_commutes_is_alike_in_every_order(stand: VerifyStand) -> None:
    stand.write(graph(
        ("base", "", "CREATE TABLE one (id integer PRIMARY KEY, a text)"),
        ("other", "", "CREATE TABLE other (id integer PRIMARY KEY, a text)"
         if stand.on == SQLITE else "CREATE TABLE other (id serial PRIMARY KEY, a text)"),
        ("add_b", "base", "ALTER TABLE one ADD COLUMN b text DEFAULT 'b'"),
        ("add_c", "base", "ALTER TABLE one ADD COLUMN c text DEFAULT 'c'"),
        ("put", "base", "INSERT INTO one (id, a) VALUES (1, 'x')"),
        ("put_more", "base", "INSERT INTO one (id, a) VALUES (2, 'x')"),
        ("mark", "base", "CREATE INDEX one_a ON one (a)"),
        ("numbered", "other", "INSERT INTO other (id) SELECT coalesce(max(id), 0) + 1 FROM other"
         if stand.on == SQLITE else "INSERT INTO other (a) VALUES ('p')"),
        ("numbered_too", "other", "INSERT INTO other (id) SELECT coalesce(max(id), 0) + 1 FROM other"
         if stand.on == SQLITE else "INSERT INTO other (a) VALUES ('q')"),
    ))  # fmt: skip
    found = permuted(stand, most=12)
    assert (found.own.verdict, len(found.tried), found.alike, found.pairs) == (Verdict.ALIKE, 12, 12, ())


def test_another_schema_in_the_end_is_told_with_what_is_other(stand: VerifyStand) -> None:
    stand.write(graph(
        ("base", "", "CREATE TABLE t (a integer)"),
        ("once", "base", "CREATE INDEX IF NOT EXISTS i ON t (a)"),
        ("beside", "", "CREATE TABLE u (a integer)"),
        ("twice", "base", "CREATE INDEX IF NOT EXISTS i ON t (a) WHERE a > 1"),
    ))  # fmt: skip
    found = permuted(stand)
    assert pairs(found) == {("once", "twice", "FACTS")}
    (pair,) = found.pairs
    assert pair.shown.order == ("base", "twice", "once")
    (difference,) = pair.shown.differences
    assert difference.startswith("index ")
    shows_again(stand, pair)


def test_other_rows_in_the_end_are_told_apart_from_another_schema(stand: VerifyStand) -> None:
    stand.write(graph(
        ("base", "", "db.executesql('CREATE TABLE t (a integer, b integer, at text)')\ndb.executesql(\"INSERT INTO t VALUES (1, 1, '')\")"),
        ("plus", "base", "UPDATE t SET a = a + 1"),
        ("time", "base", "import random; db.executesql(f\"UPDATE t SET at = '{random.random()}'\")"),
        ("double", "base", "UPDATE t SET a = a * 2"),
        ("of_one", "base", "UPDATE t SET b = 5 WHERE b = 1"),
    ))  # fmt: skip
    found = permuted(stand)
    assert pairs(found) == {("plus", "double", "ROWS")}
    (pair,) = found.pairs
    assert len(pair.shown.differences) == 1
    assert "(a)" in pair.shown.differences[0]
    assert list(found.unstable.values()) == [{"at"}]
    shows_again(stand, pair)


def test_a_pair_that_shows_only_later_keeps_the_order_that_shows_it(stand: VerifyStand) -> None:
    # Neither of the two fails, nor is anything otherwise until a third looks.
    stand.write(graph(
        ("base", "", "db.executesql('CREATE TABLE t (a integer)')\ndb.executesql('CREATE TABLE n (x integer)')"),
        ("add", "base", "INSERT INTO t VALUES (1)"),
        ("take", "base", "INSERT INTO n SELECT count(*) FROM t"),
        ("look", "base add take", "assert db.executesql('SELECT x FROM n')[0][0] == 1"),
    ))  # fmt: skip
    found = permuted(stand)
    assert pairs(found) == {("add", "take", "FAILED")}
    (pair,) = found.pairs
    assert pair.shown.order == ("base", "take", "add", "look")
    assert pair.good == ("base", "add", "take", "look")
    shows_again(stand, pair)


def test_several_pairs_are_all_found_at_once(stand: VerifyStand) -> None:
    stand.write(graph(
        ("a", "", "CREATE TABLE a (x integer)"),
        ("b", "", "INSERT INTO a VALUES (1)"),
        ("c", "", "CREATE TABLE c (x integer)"),
        ("d", "", "INSERT INTO c VALUES (1)"),
        ("e", "c", "CREATE INDEX c_x ON c (x)"),
    ))  # fmt: skip
    found = permuted(stand, most=20)
    assert pairs(found) == {("a", "b", "FAILED"), ("c", "d", "FAILED")}
    done = closed(stand)
    assert [(one.name, one.order) for one in done.found] == [("b", ("b",)), ("d", ("d",))]
    assert all(one.failed and one.failed.error for one in done.found)


def test_on_its_requirements_alone_a_migration_must_do_what_it_does_among_all(stand: VerifyStand) -> None:
    stand.write(graph(
        ("a", "", "CREATE TABLE a (x integer)"),
        ("b", "a", "CREATE TABLE b (x integer)"),
        ("c", "a", "CREATE TABLE IF NOT EXISTS b (x integer)"),
        ("d", "b", "ALTER TABLE b ADD COLUMN y integer"),
        ("e", "a", "CREATE INDEX b_y ON b (y)"),
        ("f", "e", "CREATE TABLE f (x integer)"),
        ("g", "a d e", "CREATE TABLE g (x integer)"),
    ))  # fmt: skip
    done = closed(stand)
    told = {one.name: (one.order, one.failed.outcome if one.failed else None) for one in done.found}
    assert told == {"c": (("a", "c"), None), "e": (("a", "e"), Outcome.RAISED)}
    assert any("table" in each for each in done.found[0].differences)
    assert dict(done.behind) == {"f": "e"}
    assert done.tried == 6


def test_what_has_common_requirements_runs_them_once(stand: VerifyStand) -> None:
    """A chain of 12, and 6 on its end: 18 bodies and few databases, not 12 + 6 times 13."""
    chain = [(f"c{n}", f"c{n - 1}" if n else "", f"CREATE TABLE c{n} (x integer)") for n in range(12)]
    leaves = [(f"l{n}", "c11", f"CREATE TABLE l{n} (x integer)") for n in range(6)]
    stand.write(graph(*chain, *leaves))
    done = closed(stand)
    assert (done.found, done.tried, done.runs) == ((), 18, 18)
    assert done.databases <= 2


def test_what_a_body_does_outside_is_refused_in_every_order(stand: VerifyStand) -> None:
    written = stand.root / "written"
    stand.write(
        graph(("a", "", "SELECT 1"), ("b", "", f"open({str(written)!r}, 'w').close()\ndb.executesql('SELECT 1')"))
    )
    own = permuted(stand).own
    assert own.failed is not None
    assert "refused" in own.failed.error
    assert not written.exists()


def test_a_view_that_reads_what_a_later_migration_adds_is_found(stand: VerifyStand) -> None:
    stand.write("""
from migrate_graph import ViewMigrationManager, migration


class Seen(ViewMigrationManager):
    uses = ()
    since = "a"

    def up(self):
        self.db.executesql("CREATE VIEW seen AS SELECT x, late FROM t")
        self.db.executesql("SELECT * FROM seen")

    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS seen")


@migration
def a(db):
    db.executesql("CREATE TABLE t (x integer)")
    with Seen(db):
        pass
    return True


@migration(requires=a)
def b(db):
    with Seen(db):
        db.executesql("ALTER TABLE t ADD COLUMN late integer")
    return True
""")
    with stand.laboratory() as laboratory:
        watched = laboratory.watch()
    (failed,) = watched.failed
    assert failed.name == "a"
    assert "late" in failed.error
    assert failed.source is not None
    assert failed.source.path == "migrations.py"


# -- databases that are made, and what becomes of them ------------------------------------------------------------------------


@pytest.mark.postgres
@pytest.mark.usefixtures("may_create_databases")
def test_nothing_is_left_and_a_database_of_somebody_else_is_left_alone(
    postgres_server: PostgresServer, postgres_uri: str, tmp_path: Path
) -> None:
    other = "migrate_graph_rehearsal_0123456789abcdef_1"
    try:
        run(postgres_uri, "CREATE TABLE mine (a int)", f"CREATE DATABASE {other}")
        with bystanding(postgres_server.admin_uri(other)):  # in use, if only by somebody else
            before = state(postgres_server, postgres_uri)
            stand = VerifyStand(tmp_path, postgres_uri)
            stand.write(BRANCHES)
            assert permuted(stand).own.failed is not None
            assert len(closed(stand).found) == 0
            assert state(postgres_server, postgres_uri) == before
        # what nobody is connected for was left by somebody who was killed
        closed(stand)
        assert run(postgres_uri, "SELECT count(*) FROM pg_database WHERE datname ~ '^migrate_graph'") == [(0,)]
    finally:
        run(postgres_uri, f"DROP DATABASE IF EXISTS {other}")


@pytest.mark.postgres
@pytest.mark.usefixtures("may_create_databases")
def test_two_at_once_do_not_tidy_each_other_up(
    postgres_server: PostgresServer, postgres_uri: str, tmp_path: Path
) -> None:
    stand = VerifyStand(tmp_path, postgres_uri)
    stand.write(BRANCHES)
    with stand.laboratory() as one, stand.laboratory() as other:  # whoever comes second looks for leftovers first
        for laboratory in (one, other, one):
            assert [each.name for each in laboratory.watch().failed] == ["default_plan"]


@pytest.mark.postgres
@pytest.mark.usefixtures("may_create_databases")
def test_whoever_looks_into_the_start_and_will_not_go_is_worked_around_and_told_of(
    postgres_server: PostgresServer, postgres_uri: str, tmp_path: Path
) -> None:
    stand = VerifyStand(tmp_path, postgres_uri)
    stand.write(graph(("a", "", "CREATE TABLE a (x int)"), ("b", "", "CREATE TABLE b (x int)")))
    with stand.laboratory() as laboratory:
        (start,) = run(postgres_uri, "SELECT datname FROM pg_database WHERE datname ~ '^migrate_graph'")[0]
        watcher = psycopg2.connect(postgres_server.admin_uri(start))
        found = permute(laboratory, most=1)
    assert (found.alike, len(found.tried)) == (1, 1)
    (warned,) = [event for event in stand.events if isinstance(event, Warned)]
    assert start in warned.message
    watcher.close()
    with stand.laboratory():
        pass
    assert run(postgres_uri, "SELECT count(*) FROM pg_database WHERE datname ~ '^migrate_graph'") == [(0,)]


@pytest.mark.postgres
def test_a_role_that_may_create_no_database_gets_a_schema_for_each_try(postgres_uri: str, tmp_path: Path) -> None:
    stand = VerifyStand(tmp_path, postgres_uri)
    stand.write(migrations("CREATE TABLE t (a int)", "CREATE VIEW v AS SELECT a FROM t", "DROP VIEW v"))
    with stand.laboratory() as laboratory:
        watched = laboratory.watch()
        found = permute(laboratory, most=2, seed=1)
        done = close(laboratory, watched)
    assert (found.own.verdict, found.tried, done.found, done.tried) == (Verdict.ALIKE, (), (), 3)
    assert {fact.identity for fact in watched.footprints["m2"].hangs} == {"public.t.a"}
    assert set(watched.footprints["m1"].locks) == {"public.t"}
    assert run(postgres_uri, "SELECT nspname FROM pg_namespace WHERE nspname ~ '^migrate_graph'") == []


@pytest.mark.postgres
@pytest.mark.usefixtures("may_create_databases")
def test_a_backup_is_the_start_and_its_migrations_are_not_judged(
    postgres_server: PostgresServer, postgres_uri: str, tmp_path: Path
) -> None:
    backup = tmp_path / "backup.sql"
    backup.write_text(
        "CREATE TABLE ewh_implemented_features (id serial, name varchar(512) UNIQUE, installed char(1), last_update_dttm timestamp);\n"
        "INSERT INTO ewh_implemented_features (name, installed) VALUES ('a', 'T');\nCREATE TABLE a (x int);\nINSERT INTO a VALUES (1);\n"
    )
    stand = VerifyStand(tmp_path, postgres_uri, {"DATABASE_TO_RESTORE": str(backup)})
    stand.write(graph(
        ("a", "", "raise RuntimeError('it is in the backup')\ndb.x"),
        ("b", "a", "ALTER TABLE a ADD COLUMN y int"),
        ("c", "", "assert db.executesql('SELECT count(*) FROM a')[0][0] == 1"),
    ))  # fmt: skip
    with stand.laboratory() as laboratory:
        watched = laboratory.watch()
        found = permute(laboratory, most=4)
        done = close(laboratory, watched)
    assert (watched.failed, watched.order, watched.start) == ((), ("b", "c"), frozenset({"a"}))
    assert (found.alike, len(found.tried), done.found) == (1, 1, ())
