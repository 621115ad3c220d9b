"""What else must go so that a column changes its type is dropped and created again, or the change is left: what is written can run."""

from __future__ import annotations

import pytest
from adopting_stand import adopted

from migrate_graph.core.footprint import Fact

pytestmark = pytest.mark.postgres

BASE = """
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TABLE t (id int PRIMARY KEY, n int, m int);
CREATE TABLE byst (id int PRIMARY KEY, n int);
CREATE POLICY stays ON byst USING (n > 0);
CREATE TABLE parted (id int, n int) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (9);
CREATE TABLE parent (n int UNIQUE);
CREATE TABLE child (n int REFERENCES parent (n));
CREATE TABLE g (id int, a int, g int GENERATED ALWAYS AS (a + 1) STORED CONSTRAINT positive CHECK (g > 0));
CREATE INDEX g_index ON g (g);
COMMENT ON COLUMN g.g IS 'one more';
CREATE VIEW of_g AS SELECT id, g FROM g;
"""

POLICY = "CREATE POLICY p ON t USING (n > 0)"
ELSEWHERE = "CREATE POLICY p ON byst USING (EXISTS (SELECT FROM t WHERE n > 0))"
WHEN = "CREATE TRIGGER w BEFORE UPDATE ON t FOR EACH ROW WHEN (NEW.n > 0) EXECUTE FUNCTION touch(); ALTER TABLE t DISABLE TRIGGER w"
OF = (
    "CREATE TRIGGER o BEFORE UPDATE OF n ON t FOR EACH ROW EXECUTE FUNCTION touch(); COMMENT ON TRIGGER o ON t IS 'why'"
)
RULE = "CREATE RULE r AS ON UPDATE TO t WHERE NEW.n > 5 DO INSTEAD NOTHING"
ATOMIC = (
    "CREATE FUNCTION a() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT sum(n) FROM t; END; REVOKE ALL ON FUNCTION a() FROM PUBLIC;"
    "CREATE FUNCTION b() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT a() + 1; END; CREATE VIEW v AS SELECT b() AS b;"
    "CREATE POLICY q ON byst USING (id > b())"
)
GONE = "DROP FUNCTION IF EXISTS a() CASCADE; DROP POLICY IF EXISTS p ON t; DROP POLICY IF EXISTS p ON byst; DROP TRIGGER IF EXISTS w ON t;"
GONE += "DROP TRIGGER IF EXISTS o ON t; DROP RULE IF EXISTS r ON t;"
PARTED = "CREATE POLICY p ON part USING (n > 0); CREATE TRIGGER o AFTER UPDATE OF n ON parted FOR EACH ROW EXECUTE FUNCTION touch()"
LATER = "CREATE TABLE s (id int, a int, g int GENERATED ALWAYS AS (a + 1) STORED, z int)"


@pytest.mark.parametrize(
    "there", [POLICY, ELSEWHERE, WHEN, OF, RULE, ATOMIC], ids=lambda each: " ".join(each.split()[1:3])
)
def test_what_reads_a_column_goes_and_comes_back_around_its_change(postgres_uri: str, there: str) -> None:
    adoption, here, elsewhere = adopted(
        postgres_uri, f"{BASE};{there}", f"{GONE} ALTER TABLE t ALTER n TYPE bigint; {there}"
    )
    assert elsewhere == here
    assert adoption.left == ()
    assert not any("stays" in statement for statement in adoption.statements)


WHOLE = {
    "a policy that changed as well": (
        POLICY,
        f"{GONE} ALTER TABLE t ALTER n TYPE text; CREATE POLICY p ON t USING (n > '0')",
    ),
    "of a partition": (
        PARTED,
        f"DROP TRIGGER o ON parted; DROP POLICY p ON part; ALTER TABLE parted ALTER n TYPE bigint; {PARTED}",
    ),
    "a generated column": (
        "",
        (
            "DROP VIEW of_g; ALTER TABLE g DROP g, ALTER a TYPE bigint; ALTER TABLE g ADD g int GENERATED ALWAYS AS (a + 1) STORED CONSTRAINT "
            "positive CHECK (g > 0); CREATE INDEX g_index ON g (g); COMMENT ON COLUMN g.g IS 'one more'; CREATE VIEW of_g AS SELECT id, g FROM g"
        ),
    ),
    "a generated column with another expression": (
        LATER,
        "ALTER TABLE s DROP g; ALTER TABLE s ADD g bigint GENERATED ALWAYS AS (a + 2) STORED",
    ),
    "both ends of a foreign key": (
        "",
        (
            "ALTER TABLE child DROP CONSTRAINT child_n_fkey; ALTER TABLE parent ALTER n TYPE text; ALTER TABLE child ALTER n TYPE text;"
            "ALTER TABLE child ADD FOREIGN KEY (n) REFERENCES parent (n)"
        ),
    ),
    "a routine whose column went": (
        ATOMIC,
        "CREATE OR REPLACE FUNCTION a() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT sum(m) FROM t; END; ALTER TABLE t DROP n",
    ),
    "a routine whose table went": (
        "CREATE TABLE gone (n int); CREATE FUNCTION f() RETURNS SETOF gone LANGUAGE sql AS 'SELECT * FROM gone'",
        "DROP FUNCTION f(); DROP TABLE gone",
    ),
    "a routine between views": (
        "",
        (
            "CREATE VIEW z AS SELECT 1 AS x; CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT x FROM z; END;"
            "CREATE VIEW a AS SELECT f() AS x"
        ),
    ),
    "a routine that returns rows of a view": (
        "",
        "CREATE VIEW z AS SELECT 1 AS x; CREATE FUNCTION f() RETURNS SETOF z LANGUAGE sql AS 'SELECT * FROM z'; CREATE VIEW a AS SELECT x FROM f()",
    ),
    "a routine and a view that name each other": (
        "",
        (
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE VIEW a AS SELECT f() AS x;"
            "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT x FROM a'"
        ),
    ),
    "several new columns": ("", "ALTER TABLE t ADD z int; ALTER TABLE t ADD a int"),
}


@pytest.mark.parametrize("case", WHOLE)
def test_what_is_written_makes_another_database_the_same(postgres_uri: str, case: str) -> None:
    before, by_hand = WHOLE[case]
    adoption, here, there = adopted(postgres_uri, f"{BASE};{before}", by_hand)
    assert there == here
    assert [each for each in adoption.left if "a cast" not in each[1]] == []


LEFT = {
    "a circle of views": (
        "",
        (
            "CREATE VIEW a AS SELECT 1 AS x; CREATE VIEW b AS SELECT x FROM a; CREATE OR REPLACE VIEW a AS "
            "SELECT x FROM b; CREATE VIEW c AS SELECT x FROM b"
        ),
        {
            Fact("view", "public.a"): "it is in a circle with public.b, so that no order is right",
            Fact("view", "public.b"): "it is in a circle with public.a, so that no order is right",
            Fact("view", "public.c"): "it needs public.a, which is not written",
        },
    ),
    "a circle through a routine": (
        "",
        (
            "CREATE VIEW a AS SELECT 1 AS x; CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT x FROM a; END;"
            "CREATE OR REPLACE VIEW a AS SELECT f() AS x"
        ),
        {
            Fact("view", "public.a"): "it is in a circle with public.f(), so that no order is right",
            Fact("function", "public.f()"): "it is in a circle with public.a, so that no order is right",
        },
    ),
    "a view that a routine needs": (
        "CREATE VIEW a AS SELECT n FROM t; CREATE FUNCTION f() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT sum(n) FROM a; END",
        (
            "DROP FUNCTION f(); DROP VIEW a; ALTER TABLE t ALTER n TYPE bigint; CREATE VIEW a AS SELECT n FROM t;"
            "CREATE FUNCTION f() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT sum(n) FROM a; END"
        ),
        {
            Fact(
                "column", "public.t.n"
            ): "public.a reads it, and function public.f() needs public.a, which would have to be dropped",
        },
    ),
    "a partition key": (
        "",
        (
            "DROP TABLE parted; CREATE TABLE parted (id bigint, n int) PARTITION BY RANGE (id); "
            "CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (9)"
        ),
        {Fact("column", "public.parted.id"): "the partition key of table public.parted needs it"},
    ),
    "a row type": (
        "CREATE TABLE r (id int); CREATE TABLE uses_r (x r)",
        "ALTER TABLE uses_r DROP x; ALTER TABLE r ALTER id TYPE bigint; ALTER TABLE uses_r ADD x r",
        {Fact("column", "public.r.id"): "column x of table public.uses_r needs it"},
    ),
    "a default that calls a routine": (
        f"{ATOMIC};CREATE TABLE d (x bigint DEFAULT a())",
        (
            f"{GONE} ALTER TABLE t ALTER n TYPE text; CREATE FUNCTION a() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT 1::bigint FROM t "
            "WHERE n > ''; "
            f"END; {ATOMIC.partition('PUBLIC;')[2]}; ALTER TABLE d ALTER x SET DEFAULT a(); ALTER TABLE t ADD CHECK (n > '0'), ADD y int"
        ),
        {
            Fact("column", "public.t.n"): "default value for column x of table public.d needs it",
            Fact("function", "public.a()"): "it needs public.t.n, whose change is not written",
            Fact("constraint", "public.t.t_n_check"): "it needs public.t.n, whose change is not written",
        },
    ),
    "a generated column that is not the last": (
        LATER,
        (
            "ALTER TABLE s DROP g; ALTER TABLE s ALTER a TYPE bigint; ALTER TABLE s ADD g int GENERATED ALWAYS AS (a + 1) STORED;"
            "ALTER TABLE s DROP z; ALTER TABLE s ADD z int"
        ),
        {
            Fact(
                "column", "public.s.a"
            ): "the generated column public.s.g would have to be dropped and added, and stands before other columns",
        },
    ),
    "a generated column with privileges": (
        "",
        (
            "GRANT SELECT (g) ON g TO PUBLIC; DROP VIEW of_g; ALTER TABLE g DROP g, ALTER a TYPE bigint; ALTER TABLE g ADD g int "
            "GENERATED ALWAYS AS (a + 1) STORED; GRANT SELECT (g) ON g TO PUBLIC; CREATE VIEW of_g AS SELECT id, g FROM g"
        ),
        {
            Fact(
                "column", "public.g.a"
            ): "the generated column public.g.g would have to be dropped and added, and has privileges of its own",
        },
    ),
}


@pytest.mark.parametrize("case", LEFT)
def test_what_no_order_of_statements_does_is_left_with_the_reason(postgres_uri: str, case: str) -> None:
    before, by_hand, why = LEFT[case]
    adoption, _, there = adopted(postgres_uri, f"{BASE};{before}", f"{by_hand}; CREATE INDEX bystander ON byst (n)")
    assert Fact("index", "public.bystander") in there
    told = dict(adoption.left)
    assert {fact: told.get(fact) for fact in why} == {fact: f"{said}: write it by hand" for fact, said in why.items()}
