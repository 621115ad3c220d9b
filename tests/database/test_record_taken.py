"""A trigger of the ledger that takes a record away: the migration is not called applied, and nothing of it is kept."""

from __future__ import annotations

from typing import Any

import pytest
from bodies import ask
from stand import Stand

from migrate_graph.core.events import Outcome

LEDGER = "ewh_implemented_features"

_AS_POSTGRES = (
    "CREATE FUNCTION take() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} END $$; CREATE TRIGGER t {} ON " + LEDGER
)
_EACH = "BEFORE INSERT OR UPDATE"

TAKEN_ON_POSTGRES = {
    "dropped": (_AS_POSTGRES + " FOR EACH ROW EXECUTE FUNCTION take()").format("RETURN NULL;", _EACH),
    "called not installed": (_AS_POSTGRES + " FOR EACH ROW EXECUTE FUNCTION take()").format(
        "NEW.installed := 'F'; RETURN NEW;", _EACH
    ),
    "given another name": (_AS_POSTGRES + " FOR EACH ROW EXECUTE FUNCTION take()").format(
        "NEW.name := 'other_1'; RETURN NEW;", _EACH
    ),
    "deleted": (_AS_POSTGRES + " EXECUTE FUNCTION take()").format(
        f"DELETE FROM {LEDGER}; RETURN NULL;", "AFTER INSERT OR UPDATE"
    ),
}
TAKEN_ON_SQLITE = {
    "dropped": f"CREATE TRIGGER t BEFORE INSERT ON {LEDGER} BEGIN SELECT RAISE(IGNORE); END",
    "called not installed": f"CREATE TRIGGER t AFTER INSERT ON {LEDGER} BEGIN UPDATE {LEDGER} SET installed = 'F'; END",
    "deleted": f"CREATE TRIGGER t AFTER INSERT ON {LEDGER} BEGIN DELETE FROM {LEDGER}; END",
}


def _check(uri: str, taking: str, **run: Any) -> None:
    def before_1(db: Any) -> bool:
        db.executesql("CREATE TABLE t (id integer)")
        return True

    def body_1(db: Any) -> bool:
        db.executesql("INSERT INTO t VALUES (1)")
        db.executesql(taking)
        return True

    stand = Stand(uri)
    assert stand.run(before_1).results[0].outcome is Outcome.APPLIED
    result = stand.run(before_1, body_1, **run).results[-1]
    assert result.outcome is Outcome.RAISED, result
    assert ask(uri, "SELECT count(*) FROM t") == [(0,)]
    assert stand.history().applied == {"before_1"}


@pytest.mark.postgres
@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize("way", TAKEN_ON_POSTGRES)
def test_a_record_that_is_taken_on_postgres(way: str, atomic: bool, postgres_uri: str) -> None:
    _check(postgres_uri, TAKEN_ON_POSTGRES[way], atomic=atomic)


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize("way", TAKEN_ON_SQLITE)
def test_a_record_that_is_taken_on_sqlite(way: str, atomic: bool, sqlite_uri: str) -> None:
    _check(sqlite_uri, TAKEN_ON_SQLITE[way], atomic=atomic)
