"""What a view says means the same whatever style the session writes constants in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from catalog_probe import difference, probe
from view_stand import SHOP, PostgresStand

pytestmark = [pytest.mark.postgres, pytest.mark.usefixtures("bystander")]


@pytest.fixture
def stand(postgres_admin_uri: str) -> Iterator[PostgresStand]:
    stand = PostgresStand(postgres_admin_uri)
    yield stand
    stand.connection.close()


CONSTANTS = (
    "'2020-02-03 00:00+00'::timestamptz AS moment, '-1 day +02:03:04'::interval AS span, "
    "'0.30000000000000004'::float8 AS number, '2020-02-03'::date AS day"
)
STYLES = {
    "digits": ("SET extra_float_digits = 0",),
    "time zones": ("SET DateStyle = 'SQL, DMY'", "SET TimeZone = 'Asia/Kolkata'"),
    "German": ("SET DateStyle = 'German'", "SET TimeZone = 'Asia/Kolkata'", "SET IntervalStyle = 'sql_standard'"),
    "quotes": ("SET quote_all_identifiers = on",),
}


@pytest.mark.parametrize("is_killed", [False, True])
@pytest.mark.parametrize("style", STYLES)
def test_constants_mean_the_same_whatever_the_session_writes_them_like(
    stand: PostgresStand, style: str, is_killed: bool
) -> None:
    """A server writes fewer digits, or a time zone that it reads as another one, where a role or a body says so."""
    stand(
        SHOP, f"CREATE VIEW v AS SELECT id, {CONSTANTS} FROM orders", f"CREATE MATERIALIZED VIEW m AS SELECT {CONSTANTS}",
        "CREATE INDEX m_number ON m (number) WHERE number <> '0.30000000000000004'::float8",
        "ALTER VIEW v ALTER COLUMN moment SET DEFAULT '2020-02-03 00:00+00'::timestamptz",
    )  # fmt: skip
    stand.connection.commit()
    before = probe(stand.connection.cursor())
    v, m = stand.manager("V", up="CREATE VIEW v"), stand.manager("M", up="CREATE MATERIALIZED VIEW m")
    stand(*STYLES[style])
    stand.keeper.take_down([v, m], [v, m], migration="m")
    stand.connection.commit()
    if is_killed:
        stand.reconnect()
    assert stand.keeper.repair([], declared=set()) == ()
    stand.connection.commit()
    stand.reconnect()
    assert difference(before, probe(stand.connection.cursor())) == []
    assert stand(
        "SELECT number = '0.30000000000000004'::float8, moment = '2020-02-03 00:00+00'::timestamptz FROM m"
    ) == [(True, True)]


def test_rows_are_written_as_the_session_writes(stand: PostgresStand) -> None:
    stand("SET IntervalStyle = 'iso_8601'", "CREATE MATERIALIZED VIEW m AS SELECT ('1 day'::interval)::text AS said")
    stand.connection.commit()
    m = stand.manager("M", up="CREATE MATERIALIZED VIEW m")
    stand.keeper.take_down([m], [m], migration="m")
    assert stand.keeper.repair([], declared=set()) == ()
    assert stand("SELECT said FROM m") == [("P1D",)]
    assert stand("SHOW IntervalStyle") == [("iso_8601",)]
