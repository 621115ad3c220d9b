"""What hangs on managed views and is nobody's is not lost with them; functions, policies and rules come back as they were."""

from __future__ import annotations

from typing import Any

import pytest
from catalog_probe import difference, probe
from others_stand import stand
from view_stand import SHOP, PostgresStand, kept

from migrate_graph.core.events import Warned
from migrate_graph.errors import ViewError

__all__ = ["stand"]

pytestmark = pytest.mark.postgres


# -- losses -----------------------------------------------------------------------------------------------------------


# What a DROP … CASCADE of `my_teams` takes along; each with what the refusal names.
LOSSES = {
    "restrictive policy": (
        "CREATE POLICY my_team_only ON member AS RESTRICTIVE USING (team IN (SELECT team FROM my_teams))",
        "policy my_team_only ON public.member",
    ),
    "rule on a table": (
        "CREATE RULE also AS ON DELETE TO member DO ALSO SELECT * FROM my_teams",
        "rule also ON public.member",
    ),
    "function of the row type": (
        "CREATE FUNCTION stranger(my_teams) RETURNS int LANGUAGE sql AS $$ SELECT 1 $$",
        "function public.stranger(public.my_teams)",
    ),
    "procedure": (
        "CREATE PROCEDURE stranger(my_teams) LANGUAGE sql AS $$ SELECT 1 $$",
        "procedure public.stranger(public.my_teams)",
    ),
    "domain": ("CREATE DOMAIN several AS my_teams[]", "public.several"),
    "column": ("ALTER TABLE vault ADD COLUMN chosen my_teams", "public.vault.chosen"),
    "view named like a column": ('CREATE VIEW "login" AS SELECT team FROM my_teams', "view public.login"),
    "view of another schema": (
        "CREATE SCHEMA elsewhere; CREATE VIEW elsewhere.my_teams AS SELECT team FROM my_teams",
        "view elsewhere.my_teams",
    ),
    "what reads a function of it": (
        (
            "CREATE FUNCTION stranger(my_teams) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'x' $$; "
            "CREATE POLICY by_function ON vault USING (stranger(NULL::my_teams) = 'x')"
        ),
        "policy by_function ON public.vault",
    ),
    "default of a column": (
        (
            "CREATE FUNCTION stranger(my_teams) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'x' $$; "
            "ALTER TABLE vault ADD COLUMN team text DEFAULT stranger(NULL)"
        ),
        "public.vault.team",
    ),
}


@pytest.mark.parametrize("what", LOSSES)
def test_a_cascade_takes_nothing_that_is_nobodys(stand: PostgresStand, what: str) -> None:
    statement, named = LOSSES[what]
    up = "CREATE VIEW my_teams AS SELECT team FROM member WHERE login = current_user"
    stand(SHOP, "CREATE TABLE member (login name, team varchar(20))", up, statement)
    stand.connection.commit()
    before = probe(stand.connection.cursor())
    teams = stand.manager("MyTeams", up=up, down="DROP VIEW IF EXISTS my_teams CASCADE")
    for _ in range(2):
        with pytest.raises(ViewError) as caught:
            stand.keeper.take_down([teams], [teams], migration="widen")
        assert named in caught.value.message
        assert "MyTeams" in caught.value.message
        assert difference(before, probe(stand.connection.cursor())) == []
        assert stand.down_now() == []


def test_a_cascade_in_up_takes_nothing_either(stand: PostgresStand) -> None:
    up = "DROP VIEW IF EXISTS v CASCADE; CREATE VIEW v AS SELECT id FROM orders"
    stand(SHOP, "CREATE VIEW v AS SELECT id FROM orders", "CREATE POLICY p ON vault USING (id IN (SELECT id FROM v))")
    stand.connection.commit()
    before = probe(stand.connection.cursor())
    v = stand.manager("V", up=up, down="SELECT 1")
    stand.keeper.take_down([v], [v], migration="m")
    with pytest.raises(ViewError, match=r"policy p ON public\.vault"):
        stand.keeper.bring_up()
    stand.connection.rollback()
    assert difference(before, probe(stand.connection.cursor())) == []


def test_a_manager_that_drops_in_up_loses_nothing(stand: PostgresStand, roles: tuple[str, ...]) -> None:
    up = "DROP VIEW IF EXISTS v; CREATE VIEW v AS SELECT id FROM orders"
    stand(SHOP, "CREATE VIEW v AS SELECT id FROM orders", "GRANT SELECT ON v TO reader", "COMMENT ON VIEW v IS 'kept'")
    stand.connection.commit()
    before = probe(stand.connection.cursor())
    v = stand.manager("V", up=up, down="SELECT 1")
    kept(stand, [v], [v])
    assert difference(before, probe(stand.connection.cursor())) == []


# -- managers of functions, policies and rules --------------------------------------------------------------------------


CARDS = "CREATE VIEW cards AS SELECT id, note AS name FROM orders"


INITIALS = "CREATE FUNCTION initials(c cards) RETURNS text LANGUAGE sql AS $$ SELECT left(c.name, 1) $$"


KNOWN = "CREATE POLICY known ON vault USING (id IN (SELECT id FROM cards))"


HEARD = "CREATE RULE heard AS ON DELETE TO vault DO ALSO SELECT * FROM cards"


def over_cards(stand: PostgresStand) -> list[Any]:
    stand(SHOP, CARDS, INITIALS, KNOWN, HEARD)
    stand(
        "REVOKE EXECUTE ON FUNCTION initials(cards) FROM PUBLIC",
        "GRANT EXECUTE ON FUNCTION initials(cards) TO clerk WITH GRANT OPTION",
        "GRANT CREATE ON SCHEMA public TO keeper",
        "ALTER FUNCTION initials(cards) OWNER TO keeper",
        "ALTER FUNCTION initials(cards) SET search_path = public, pg_temp",
        "COMMENT ON FUNCTION initials(cards) IS 'as <kind> says'",
        "COMMENT ON POLICY known ON vault IS 'whom we know'",
        "COMMENT ON RULE heard ON vault IS 'listen'",
    )
    stand.connection.commit()
    return [
        stand.manager("Cards", up=CARDS),
        stand.manager("Initials", up=INITIALS, down="DROP FUNCTION IF EXISTS initials(cards)"),
        stand.manager("Known", up=KNOWN, down="DROP POLICY IF EXISTS known ON vault"),
        stand.manager("Heard", up=HEARD, down="DROP RULE IF EXISTS heard ON vault"),
    ]


def function_privileges(stand: PostgresStand) -> list[Any]:
    return stand(
        "SELECT proname::text, proacl::text, proowner::regrole::text, proconfig FROM pg_proc WHERE oid >= 16384 ORDER BY 1"
    )


def test_functions_policies_and_rules_over_a_view_come_back_as_they_were(
    stand: PostgresStand, roles: tuple[str, ...]
) -> None:
    managers = over_cards(stand)
    before, privileges = probe(stand.connection.cursor()), function_privileges(stand)
    for _ in range(2):
        kept(stand, managers[::-1], managers)
        assert difference(before, probe(stand.connection.cursor())) == []
        assert function_privileges(stand) == privileges
    assert not [event for event in stand.events if isinstance(event, Warned)]


@pytest.mark.parametrize("alone", [1, 2, 3])
def test_each_of_them_alone_comes_back_too(stand: PostgresStand, roles: tuple[str, ...], alone: int) -> None:
    manager = over_cards(stand)[alone]
    before, privileges = probe(stand.connection.cursor()), function_privileges(stand)
    kept(stand, [manager], [manager])
    assert difference(before, probe(stand.connection.cursor())) == []
    assert function_privileges(stand) == privileges
    assert len(stand.calls) == 2


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_what_a_manager_drops_must_be_there_again(stand: PostgresStand, roles: tuple[str, ...], lost: int) -> None:
    managers = over_cards(stand)
    before = probe(stand.connection.cursor())
    managers[lost].__class__.statement_up = "SELECT 1"
    stand.keeper.take_down(managers[::-1], managers, migration="m")
    named = [
        "",
        r"function public\.initials\(public\.cards\)",
        r"policy known ON public\.vault",
        r"rule heard ON public\.vault",
    ]
    with pytest.raises(ViewError, match=named[lost]):
        stand.keeper.bring_up()
    stand.connection.rollback()
    assert difference(before, probe(stand.connection.cursor())) == []


def test_after_a_crash_they_come_back_as_well(stand: PostgresStand, roles: tuple[str, ...]) -> None:
    managers = over_cards(stand)
    before, privileges = probe(stand.connection.cursor()), function_privileges(stand)
    for living in (managers, []):  # by their managers, and from what is stored
        stand.keeper.take_down(managers[::-1], managers, migration="m")
        stand.connection.commit()
        stand.reconnect()
        assert stand.down_now() == ["Cards", "Heard", "Initials", "Known"]
        assert stand.keeper.repair(living, declared={type(each).__name__ for each in living}) == ()
        stand.connection.commit()
        assert difference(before, probe(stand.connection.cursor())) == []
        assert function_privileges(stand) == privileges


def test_a_manager_whose_sql_is_put_together_loses_nothing(stand: PostgresStand, roles: tuple[str, ...]) -> None:
    stand(SHOP, "CREATE VIEW part_0 AS SELECT id FROM orders", "CREATE VIEW part_1 AS SELECT id FROM part_0")
    stand("CREATE VIEW stranger AS SELECT id FROM part_1", "GRANT SELECT ON part_1 TO reader")
    stand.connection.commit()

    class Parts:
        def up(self) -> None:
            for number in range(2):
                below = f"part_{number - 1}" if number else "orders"
                stand(f"CREATE VIEW part_{number} AS SELECT id FROM {below}")

        def down(self) -> None:
            for number in (1, 0):
                stand(f"DROP VIEW IF EXISTS part_{number}" + " CASCADE" * cascade)

    before = probe(stand.connection.cursor())
    cascade = True
    manager: Any = Parts()
    with pytest.raises(ViewError, match=r"view public\.stranger"):
        kept(stand, [manager], [manager])
    stand.connection.rollback()
    assert difference(before, probe(stand.connection.cursor())) == []
    stand("DROP VIEW stranger")
    stand.connection.commit()
    stand.keeper._blocks.clear()
    before = probe(stand.connection.cursor())
    cascade = False
    for _ in range(2):
        kept(stand, [manager], [manager])
        assert difference(before, probe(stand.connection.cursor())) == []
