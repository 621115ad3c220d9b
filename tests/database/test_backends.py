"""The contract of a backend and of a view catalog: one suite, run over every kind of database in `BACKENDS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from migrate_graph.core.events import LockAcquired, LockWaiting, ignore_events
from migrate_graph.core.history import AttemptState
from migrate_graph.core.model import Migration, TransactionMode
from migrate_graph.database import BACKENDS, Backend, Settings, Work, application, backend_class, open_backend
from migrate_graph.database.books.ledger import AttemptKey, Known
from migrate_graph.database.dal import discard
from migrate_graph.database.driver_errors import AttemptFailed, TroubleKind
from migrate_graph.database.names import POSTGRES, SQLITE, TableNames, schema_names, search_path
from migrate_graph.database.scratch import connect, open_scratch, same_definition, views_of
from migrate_graph.database.views.catalog import CommittedInside
from migrate_graph.errors import ConfigError, DatabaseRefused, LockTimeout
from migrate_graph.quoting import quote_identifier

KINDS = sorted({give().kind for give in BACKENDS.values()})


@pytest.fixture(
    params=[pytest.param(kind, marks=[pytest.mark.postgres] if kind == "postgres" else []) for kind in KINDS]
)
def uri(request: pytest.FixtureRequest) -> str:
    """URI of a fresh empty database; a kind without a fixture of its own fails here."""
    return str(request.getfixturevalue(f"{request.param}_uri"))


@pytest.fixture
def backend(uri: str, tmp_path: Path) -> Iterator[Backend]:
    with open_backend(Settings(uri, folder=tmp_path, lock_timeout=1), writing=True) as opened:
        opened.prepare()
        yield opened


def migration(name: str = "one_1", transaction: TransactionMode = TransactionMode.OWN) -> Migration:
    return Migration(name, lambda _db: True, transaction=transaction)


@pytest.fixture
def begin(backend: Backend) -> Iterator[Callable[..., tuple[Work, AttemptKey]]]:
    """Begin an attempt, and give it with its key; it is closed afterwards."""
    opened: list[Work] = []

    def start(name: str = "one_1", mode: TransactionMode = TransactionMode.OWN) -> tuple[Work, AttemptKey]:
        key = AttemptKey.now(name, run="run")
        work = backend.work(migration(name, mode), key)
        opened.append(work)
        work.start()
        return work, key

    yield start
    for each in opened:
        each.close()


def tables_of(uri: str) -> set[str]:
    with open_backend(Settings(uri)) as reader:
        return {name.rpartition(".")[2] for name in reader.user_relations() if not name.endswith("_seq")}


# -- opening -------------------------------------------------------------------------------------------------------------


def test_every_scheme_has_a_backend_and_no_other_one_is_taken() -> None:
    kinds = {scheme: give().kind for scheme, give in BACKENDS.items()}
    assert kinds.items() >= {"postgres": "postgres", "postgresql": "postgres", "sqlite": "sqlite"}.items()
    assert set(kinds.values()) == {"postgres", "sqlite"}
    assert backend_class("POSTGRESQL://u@h/d").kind == "postgres"
    with pytest.raises(ConfigError, match="'postgrest'"):
        backend_class("postgrest://u@h/d")
    with pytest.raises(ConfigError, match="'mysql'"), open_backend(Settings("mysql://u@h/d")):
        pass


def test_a_reader_creates_nothing(uri: str) -> None:
    with open_backend(Settings(uri)) as reader:
        assert reader.user_relations() == []
        assert not reader.has_ledger()
        assert reader.read_history().records == {}
        assert reader.fingerprint() == reader.fingerprint()
    assert not Path(uri.partition("://")[2]).exists()
    assert tables_of(uri) == set()


def test_the_tables_are_created_once(backend: Backend, uri: str) -> None:
    names = {"ewh_implemented_features", "ewh_implemented_features_journal", "ewh_implemented_features_views"}
    assert backend.has_ledger()
    backend.mark(["one_1"], installed=True, reason="", run="r")
    backend.prepare()
    assert backend.read_history().applied == {"one_1"}
    assert tables_of(uri) == names


def test_two_databases_differ_by_their_fingerprints(backend: Backend, uri: str) -> None:
    empty = backend.fingerprint()
    backend.mark(["one_1"], installed=True, reason="", run="r")
    with open_backend(Settings(uri)) as reader:
        assert reader.fingerprint() == backend.fingerprint() != empty


# -- the lock ------------------------------------------------------------------------------------------------------------


def test_one_holds_the_lock(backend: Backend, uri: str) -> None:
    assert backend.lock_holder() is None
    with open_backend(Settings(uri), writing=True) as other:
        with backend.lock(0, ignore_events) as lock:
            assert lock.is_held()
            assert other.lock_holder() is not None
            with pytest.raises(LockTimeout, match="gave up waiting"), other.lock(0, ignore_events):
                pass
            events: list[Any] = []
            with pytest.raises(LockTimeout), other.lock(0.3, events.append):
                pass
            assert [type(event) for event in events] == [LockWaiting]
        events.clear()
        with other.lock(0, events.append):
            assert [type(event) for event in events] == [LockAcquired]
        assert other.lock_holder() is None


# -- an attempt ----------------------------------------------------------------------------------------------------------


def test_a_success_is_recorded_with_its_work(backend: Backend, begin: Any, uri: str) -> None:
    work, key = begin()
    work.db.executesql("CREATE TABLE made (id integer)")
    work.check()
    work.finish(seconds=1.5, guard=lambda: None)
    assert work.leftovers() == []
    work.close()
    assert backend.outcome_of(key) == Known(succeeded=True, commits=0)
    history = backend.read_history()
    assert history.applied == {"one_1"}
    assert [(each.state.value, each.commits, each.duration) for each in history.attempts] == [("applied", 0, 1.5)]
    assert "made" in tables_of(uri)


@pytest.mark.parametrize("mode", [TransactionMode.OWN, TransactionMode.SINGLE])
def test_what_is_not_finished_never_was(mode: TransactionMode, backend: Backend, begin: Any, uri: str) -> None:
    work, key = begin(mode=mode)
    work.db.executesql("CREATE TABLE made (id integer)")
    work.close()
    assert "made" not in tables_of(uri)
    assert not backend.outcome_of(key).succeeded
    assert backend.read_history().attempts == ()


def test_a_guard_that_raises_stops_the_commit(backend: Backend, begin: Any, uri: str) -> None:
    work, key = begin()
    work.db.executesql("CREATE TABLE made (id integer)")

    def guard() -> None:
        raise LockTimeout("no")

    with pytest.raises(LockTimeout):
        work.finish(seconds=0, guard=guard)
    work.close()
    assert "made" not in tables_of(uri)
    assert not backend.outcome_of(key).succeeded


def test_own_commits_are_counted_and_survive(backend: Backend, begin: Any, uri: str) -> None:
    work, key = begin()
    for name in ("first", "second"):
        work.db.executesql(f"CREATE TABLE {name} (id integer)")
        work.db.commit()
    work.db.executesql("CREATE TABLE third (id integer)")
    work.close()
    assert {"first", "second"} <= tables_of(uri)
    assert "third" not in tables_of(uri)
    assert backend.outcome_of(key) == Known(succeeded=False, commits=2)
    assert backend.read_history().last_attempts()["one_1"].state is AttemptState.RUNNING
    backend.record_failure(key, error="boom", seconds=1)
    (attempt,) = backend.read_history().attempts
    assert (attempt.state.value, attempt.commits, attempt.error) == ("failed", 2, "boom")
    assert backend.outcome_of(key) == Known(succeeded=False, commits=2, error="boom")


def test_commits_of_a_single_transaction_are_savepoints(backend: Backend, begin: Any, uri: str) -> None:
    work, _ = begin(mode=TransactionMode.SINGLE)
    work.db.executesql("CREATE TABLE first (id integer)")
    work.db.commit()
    work.db.executesql("CREATE TABLE second (id integer)")
    work.db.rollback()
    work.check()
    work.finish(seconds=0, guard=lambda: None)
    work.close()
    assert "first" in tables_of(uri)
    assert "second" not in tables_of(uri)


def test_outside_of_a_transaction_the_marker_is_durable_first(backend: Backend, begin: Any) -> None:
    work, _ = begin(mode=TransactionMode.NONE)
    assert [(each.state.value, each.commits) for each in backend.read_history().attempts] == [("running", 1)]
    work.db.executesql("CREATE TABLE made (id integer)")
    work.check()
    work.finish(seconds=0, guard=lambda: None)
    assert backend.read_history().applied == {"one_1"}


def test_the_journal_is_a_fence(backend: Backend, begin: Any, uri: str) -> None:
    """Whoever decided about an attempt while it ran has the last word: it can no longer succeed."""
    work, key = begin()
    work.db.executesql("CREATE TABLE first (id integer)")
    work.db.commit()
    (attempt,) = backend.read_history().attempts
    assert backend.resolve("one_1", attempt=attempt.id, applied=False, reason="by hand", run="other")
    work.db.executesql("CREATE TABLE second (id integer)")
    with pytest.raises(AttemptFailed, match="another run has taken over"):
        work.finish(seconds=0, guard=lambda: None)
    work.close()
    assert "second" not in tables_of(uri)
    assert not backend.outcome_of(key).succeeded
    assert backend.read_history().applied == set()


def test_a_failure_takes_back_no_record(backend: Backend) -> None:
    backend.mark(["one_1"], installed=True, reason="", run="r")
    backend.record_failure(AttemptKey.now("one_1", run="late"), error="late", seconds=0)
    assert backend.read_history().applied == {"one_1"}


def test_nothing_is_waited_for(backend: Backend, begin: Any) -> None:
    work, _ = begin()
    assert backend.waiting_for(work) == ""
    assert not work.is_lost()


def test_exceptions_are_explained(backend: Backend, begin: Any) -> None:
    work, _ = begin()
    with pytest.raises(Exception, match="syntax error") as caught:
        work.db.executesql("THIS IS NO SQL")
    trouble = backend.explain(caught.value)
    assert trouble.kind is TroubleKind.OTHER
    assert "syntax error" in trouble.message
    assert "\n" not in trouble.message
    assert backend.explain(ValueError("first\nsecond")).message == "first"


# -- records -------------------------------------------------------------------------------------------------------------


def test_marks_are_written_and_explained(backend: Backend) -> None:
    backend.mark(["a", "b"], installed=True, reason="taken over", run="r")
    backend.mark(["b"], installed=False, reason="not yet", run="r")
    history = backend.read_history()
    assert history.applied == {"a"}
    assert [(each.name, each.state.value, each.error) for each in history.attempts] == [
        ("a", "marked", "taken over"), ("b", "marked", "taken over"), ("b", "marked", "not yet"),
    ]  # fmt: skip


def test_only_the_newest_attempt_can_be_resolved(backend: Backend, begin: Any) -> None:
    work, _ = begin()
    work.db.executesql("CREATE TABLE first (id integer)")
    work.db.commit()
    work.close()
    (attempt,) = backend.read_history().attempts
    assert not backend.resolve("one_1", attempt=attempt.id + 1, applied=True, reason="", run="r")
    assert backend.read_history().applied == set()
    assert backend.resolve("one_1", attempt=attempt.id, applied=True, reason="", run="r")
    assert not backend.resolve("one_1", attempt=attempt.id, applied=False, reason="", run="r")
    assert backend.read_history().applied == {"one_1"}


def test_an_attempt_is_not_resolved_once_another_has_begun(backend: Backend, begin: Any) -> None:
    """Whoever decides late decides about what somebody else is running."""
    for _ in range(2):
        work, _ = begin()
        work.db.executesql("CREATE TABLE IF NOT EXISTS first (id integer)")
        work.db.commit()
        work.close()
    before, now = backend.read_history().attempts
    assert not backend.resolve("one_1", attempt=before.id, applied=True, reason="", run="r")
    assert backend.read_history().applied == set()
    assert backend.resolve("one_1", attempt=now.id, applied=True, reason="", run="r")


def test_an_attempt_that_has_succeeded_is_not_resolved(backend: Backend, begin: Any) -> None:
    """Else a decision to run it again, made while it still ran, would take its record back."""
    work, _ = begin()
    work.finish(seconds=0, guard=lambda: None)
    work.close()
    (attempt,) = backend.read_history().attempts
    assert not backend.resolve("one_1", attempt=attempt.id, applied=False, reason="", run="r")
    assert backend.read_history().applied == {"one_1"}


def test_pending_tasks_are_remembered_once(backend: Backend) -> None:
    backend.add_task("flush", run="r")
    backend.add_task("flush", run="s")
    assert backend.read_history().pending_tasks == {"flush"}
    assert backend.read_history().attempts == ()
    backend.finish_task("flush")
    assert backend.read_history().pending_tasks == set()


def test_what_cannot_be_recorded_is_refused_before_anything_runs(uri: str, tmp_path: Path) -> None:
    db = application.open_dal(Settings(uri, folder=tmp_path))
    db.executesql(
        "CREATE TABLE ewh_implemented_features (id integer, name varchar(512), installed char(1), last_update_dttm timestamp)"
    )
    db.executesql("INSERT INTO ewh_implemented_features VALUES (1, 'one', 'T', NULL), (2, 'one', 'F', NULL)")
    db.commit()
    discard(db)
    with open_backend(Settings(uri, folder=tmp_path), writing=True) as backend:
        backend.prepare()
        with pytest.raises(DatabaseRefused, match="more than one row for 'one'"):
            backend.preflight(["two"])


def _by_hand(uri: str, folder: Path, *statements: str) -> None:
    db = application.open_dal(Settings(uri, folder=folder))
    for statement in statements:
        db.executesql(statement)
    db.commit()
    discard(db)


_MADE_BY_HAND = "CREATE TABLE ewh_implemented_features (id integer, name varchar(512), installed char(1), last_update_dttm timestamp)"


def _add(column: str) -> str:
    return f"ALTER TABLE ewh_implemented_features ADD COLUMN {column}"


def test_a_ledger_with_a_column_that_no_record_fills_in_is_refused_before_anything_runs(
    uri: str, tmp_path: Path
) -> None:
    table = "id integer, name varchar(512) NOT NULL, installed char(1) NOT NULL, last_update_dttm timestamp NOT NULL"
    _by_hand(
        uri, tmp_path,
        f"CREATE TABLE ewh_implemented_features ({table}, who text NOT NULL, note text NOT NULL DEFAULT '')",
        _add("maybe text"),
    )  # fmt: skip
    with open_backend(Settings(uri, folder=tmp_path), writing=True) as backend:
        backend.prepare()
        backend.preflight([])
        with pytest.raises(
            DatabaseRefused,
            match=r"cannot record migrations: ewh_implemented_features\.who is NOT NULL and has no default$",
        ):
            backend.preflight(["two"])


def test_a_column_that_the_server_fills_in_is_no_obstacle(postgres_uri: str, tmp_path: Path) -> None:
    columns = (
        "a filled", "b int GENERATED ALWAYS AS IDENTITY", "c text NOT NULL GENERATED ALWAYS AS ('x') STORED", "d text NOT NULL", "e wanted",
    )  # fmt: skip
    _by_hand(
        postgres_uri, tmp_path, _MADE_BY_HAND,
        "CREATE DOMAIN filled AS text NOT NULL DEFAULT 'x'", "CREATE DOMAIN wanted AS text NOT NULL", *map(_add, columns),
    )  # fmt: skip
    wanting = [f"ewh_implemented_features.{each} is NOT NULL and has no default" for each in "de"]
    with open_backend(Settings(postgres_uri, folder=tmp_path), writing=True) as backend:
        backend.prepare()
        with pytest.raises(DatabaseRefused, match=f": {'; '.join(wanting)}$"):
            backend.preflight(["two"])
    filling = "CREATE OR REPLACE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN %s RETURN NEW; END $$"
    _by_hand(
        postgres_uri, tmp_path, filling % "NEW.d := 'x'; NEW.e := 'x';",
        "CREATE TRIGGER fills BEFORE INSERT ON ewh_implemented_features FOR EACH ROW EXECUTE FUNCTION fill()",
    )  # fmt: skip
    with open_backend(Settings(postgres_uri, folder=tmp_path), writing=True) as backend:
        with pytest.raises(DatabaseRefused, match=f": {wanting[1]}$"):
            backend.preflight(["two"])
        key = AttemptKey.now("two", run="r")
        with pytest.raises(DatabaseRefused, match="does not allow null"):
            backend.record_failure(key, error="", seconds=0)
    _by_hand(postgres_uri, tmp_path, "ALTER TABLE ewh_implemented_features DROP COLUMN e", filling % "NEW.d := 'x';")
    with open_backend(Settings(postgres_uri, folder=tmp_path), writing=True) as backend:
        backend.preflight(["two"])
        backend.record_failure(key, error="", seconds=0)
        assert set(backend.read_history().records) == {"two"}


def test_a_ledger_that_lacks_a_column_was_made_by_hand(postgres_uri: str, tmp_path: Path) -> None:
    _by_hand(postgres_uri, tmp_path, _MADE_BY_HAND.replace(" name ", ' "Name" '))
    with (
        open_backend(Settings(postgres_uri, folder=tmp_path)) as backend,
        pytest.raises(DatabaseRefused, match='column "name" does not exist') as refused,
    ):
        backend.read_history()
    assert refused.value.hint == (
        "somebody has made or changed the tool's tables by hand: the ledger has the columns id, name, installed and last_update_dttm"
    )


def test_rows_without_a_name_are_no_duplicates(uri: str, tmp_path: Path) -> None:
    _by_hand(uri, tmp_path, _MADE_BY_HAND, "INSERT INTO ewh_implemented_features (installed) VALUES ('T'), (NULL)")
    with open_backend(Settings(uri, folder=tmp_path), writing=True) as backend:
        backend.prepare()
        backend.preflight(["two"])
        assert backend.read_history().applied == set()


@pytest.mark.parametrize("table", ["odd\"?%s'name", "100%", "a?b", "Mixed Case"])
def test_a_table_may_be_called_anything(table: str, uri: str, tmp_path: Path) -> None:
    settings = Settings(uri, table=table, folder=tmp_path)
    with open_backend(settings, writing=True) as backend:
        backend.prepare()
        key = AttemptKey.now("one", run="r")
        work = backend.work(migration("one"), key)
        work.start()
        assert work.db(work.db.ewh_implemented_features).count() == 0
        work.views.check_complete()
        work.check()
        work.finish(seconds=0, guard=lambda: None)
        work.close()
        backend.preflight(["two"])
        assert backend.read_history().applied == {"one"}
        backend.record_failure(AttemptKey.now("two", run="r"), error="?%s", seconds=0)
    db = connect(settings)
    assert db(db.ewh_implemented_features.installed == True).count() == 1  # noqa: E712 - pyDAL's query
    discard(db)


# -- names ---------------------------------------------------------------------------------------------------------------


def test_statements_are_written_for_the_driver() -> None:
    statement = """SELECT '?%', "a?%" FROM t WHERE a = ? AND b LIKE '%''?' AND c % 2 = ?"""
    assert SQLITE.sql(statement) == statement
    assert POSTGRES.sql(statement) == (
        """SELECT '?%%', "a?%%" FROM t WHERE a = %s AND b LIKE '%%''?' AND c %% 2 = %s"""
    )


def test_tables_are_named_and_quoted() -> None:
    names = TableNames.of('odd%"name', POSTGRES)
    assert names.quoted(names.ledger) == '"odd%""name"'
    names = TableNames.of("books.Features", POSTGRES)
    assert names.quoted(names.ledger) == '"books"."features"'
    assert TableNames.of("Features", SQLITE).ledger == "Features"


@pytest.mark.parametrize(
    ("schemas", "names"),
    [
        ("public", ["public"]),
        ("a, b ,c", ["a", "b", "c"]),
        ('"My, ""Schema""",$user', ['My, "Schema"', "$user"]),
        ("with space", ["with space"]),
        ("", []),
    ],
)
def test_schemas_are_listed(schemas: str, names: list[str]) -> None:
    assert schema_names(schemas) == names
    assert search_path(schemas) == ", ".join(quote_identifier(name) for name in names)


# -- connections of applications and tests -------------------------------------------------------------------------------


def test_an_application_sees_what_was_migrated(backend: Backend, uri: str, tmp_path: Path) -> None:
    backend.mark(["one_1"], installed=True, reason="", run="r")
    settings = Settings(uri, folder=tmp_path)
    db = application.open_dal(settings, application="app")
    application.keep_open(db, settings, seconds=60)
    assert db.executesql("SELECT name, installed FROM ewh_implemented_features") == [("one_1", "T")]
    with pytest.raises(Exception, match="nothing_here") as caught:
        db.executesql("SELECT * FROM nothing_here")
    assert application.table_is_missing(caught.value)
    db.rollback()
    discard(db)


def test_databases_for_one_use(request: pytest.FixtureRequest, uri: str, tmp_path: Path) -> None:
    kind = backend_class(uri).kind
    server = "" if kind == "sqlite" else request.getfixturevalue("postgres_server").admin_uri()
    scratch = open_scratch(server, directory=tmp_path, schema="public", table="ewh_implemented_features")
    made = scratch.create()
    db = connect(Settings(made.uri, folder=made.folder))
    db.executesql("CREATE TABLE base (id integer)")
    db.executesql("CREATE VIEW v AS SELECT id FROM base")
    db.commit()
    assert [each.name for each in views_of(db).values()] == ["v"]
    discard(db)
    copy = scratch.copy(made)
    with open_backend(Settings(copy.uri, folder=copy.folder)) as reader:
        assert {name.rpartition(".")[2] for name in reader.user_relations()} == {"base", "v"}
    for each in (copy, made):
        scratch.drop(each)
        assert not each.folder.exists()


# -- the view catalog ----------------------------------------------------------------------------------------------------


@pytest.fixture
def catalog(uri: str, begin: Any) -> tuple[Any, Any]:
    """A view catalog on an attempt's own connection, and the `DAL` of that."""
    work, _ = begin()
    return backend_class(uri).catalog_on(work.db._adapter.connection), work.db


def test_a_block_of_the_catalog_is_undone_when_it_raises(catalog: Any) -> None:
    views, db = catalog
    db.executesql("CREATE TABLE base (id integer)")

    def fail() -> None:
        with views.atomic():
            db.executesql("CREATE VIEW v AS SELECT id FROM base")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with views.atomic(), views.atomic():
        db.executesql("CREATE VIEW w AS SELECT id FROM base")
    assert {each.name for each in views.every_view().values()} == {"w"}
    assert not views.is_aborted()


def test_a_block_that_somebody_committed_says_so(catalog: Any) -> None:
    views, db = catalog

    def commit() -> None:
        with views.atomic():
            db.executesql("CREATE TABLE base (id integer)")
            db.executesql("COMMIT")

    with pytest.raises(CommittedInside):
        commit()


def test_commits_can_be_held_back(catalog: Any, backend: Backend) -> None:
    views, db = catalog
    with views.commits_held():
        db.executesql("CREATE TABLE base (id integer)")
        db.commit()
    assert "base" not in {name.rpartition(".")[2] for name in backend.user_relations()}
    db.executesql("SELECT 1")
    views.commit()
    assert "base" in {name.rpartition(".")[2] for name in backend.user_relations()}


def test_a_view_comes_back_from_what_was_stored(catalog: Any) -> None:
    views, db = catalog
    db.executesql("CREATE TABLE base (id integer, name varchar(10))")
    db.executesql("CREATE VIEW v AS SELECT id, name FROM base")
    ((key, stored),) = views.every_view().items()
    assert views.describe([key]) == {key: stored}
    assert (stored.name, stored.kind) == ("v", "VIEW")
    assert stored == type(stored).from_json(stored.to_json())
    assert views.find([stored]).keys() == {stored.identity}
    db.executesql("DROP VIEW v")
    assert views.find([stored]) == {}
    views.recreate(stored)
    (again,) = views.every_view().values()
    assert (again.identity, again.columns) == (stored.identity, stored.columns)
    assert same_definition(again, stored)


def test_there_is_room_for_others_or_it_says_why_not(backend: Backend) -> None:
    room = backend.room_for(2)
    assert (room.number, room.why) == {
        "postgres": (2, ""),
        "sqlite": (1, "SQLite lets one connection write at a time"),
    }[backend.kind]
    assert room.why == backend_class("sqlite://x" if backend.kind == "sqlite" else "postgres://x").why_in_a_row
