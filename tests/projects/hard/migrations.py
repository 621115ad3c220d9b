"""Seventeen migrations that confuse or escape whatever watches them; the names say how."""

import io

from pydal import Field

from migrate_graph import migration


@migration
def makes_tables_01(db):
    db.executesql("CREATE TABLE stock (id serial PRIMARY KEY, qty int, code varchar(10), note text)")
    db.executesql("INSERT INTO stock (qty, code, note) SELECT n, 'c', 'n' FROM generate_series(1, 300) n")
    db.commit()
    db.executesql("CREATE TABLE move (id int, stock int REFERENCES stock DEFERRABLE INITIALLY DEFERRED)")
    return True


@migration(requires=makes_tables_01)
def commits_in_a_loop_02(db):
    for rest in range(3):
        db.executesql("UPDATE stock SET qty = qty + 1 WHERE id %% 3 = %s", (rest,))
        db.commit()
    db.executesql("INSERT INTO move VALUES (1, 1)")
    return True


@migration(requires=commits_in_a_loop_02)
def commits_by_a_statement_03(db):
    db.executesql("ALTER TABLE move ADD COLUMN note text")
    db.executesql("COMMIT")
    db.executesql("INSERT INTO move VALUES (2, 2)")
    return True


@migration(requires=commits_by_a_statement_03)
def commits_between_statements_04(db):
    db.executesql("CREATE TABLE first_half (a int); COMMIT; CREATE TABLE second_half (a int)")
    return True


@migration(requires=commits_by_a_statement_03, transaction="none")
def refuses_a_transaction_05(db):
    db.executesql("CREATE INDEX CONCURRENTLY stock_qty ON stock (qty)")
    db.executesql("VACUUM stock")
    return True


@migration(requires=makes_tables_01)
def makes_an_enum_06(db):
    db.executesql("CREATE TYPE mood AS ENUM ('calm')")
    return True


@migration(requires=makes_an_enum_06)
def widens_the_enum_07(db):
    db.executesql("ALTER TYPE mood ADD VALUE 'cross'")
    return True


@migration(requires=widens_the_enum_07)
def uses_the_new_value_08(db):
    db.executesql("CREATE TABLE feeling (mood mood DEFAULT 'cross')")
    return True


@migration(requires=makes_tables_01)
def lets_pydal_make_a_table_09(db):
    db._migrate_enabled = db._migrate = True
    db.define_table("gadget", Field("name"), Field("size", "integer"), migrate=True)
    db.gadget.insert(name="x", size=3)
    assert len(db(db.gadget.size > 1).select()) == 1
    return True


@migration(requires=lets_pydal_make_a_table_09)
def reads_what_went_before_10(db):
    assert db.executesql("SELECT count(*) FROM gadget")[0][0] == 1
    assert db.executesql("SELECT sum(qty) FROM stock")[0][0] == 300 * 301 // 2 + 300
    db.executesql("ALTER TABLE stock ALTER COLUMN qty TYPE bigint")
    return True


@migration(requires=makes_tables_01)
def spoils_its_session_11(db):
    db.executesql("SET search_path = pg_catalog")
    db.executesql("CREATE TEMP TABLE mine (a int)")
    db.executesql("SELECT nextval('public.stock_id_seq')")
    db.executesql("SELECT pg_advisory_lock(7)")
    return True


@migration(requires=spoils_its_session_11)
def finds_a_fresh_session_12(db):
    assert db.executesql("SELECT current_schema()")[0][0] == "public"
    assert db.executesql("SELECT to_regclass('mine')")[0][0] is None
    return True


@migration(requires=makes_tables_01)
def swallows_an_error_13(db):
    try:
        db.executesql("SELECT 1/0")
    except Exception:  # noqa: BLE001, S110 - that is the point
        pass
    return True


@migration(requires=makes_tables_01)
def fails_after_a_commit_14(db):
    db.executesql("CREATE TABLE kept (a int)")
    db.commit()
    db.executesql("CREATE TABLE lost (a int)")
    if db.executesql("SELECT to_regclass('lost')")[0][0]:
        raise RuntimeError("no")
    return True


@migration(requires=makes_tables_01)
def rolls_back_15(db):
    db.executesql("CREATE TABLE gone (a int)")
    db.rollback()
    found = db.executesql("SELECT to_regclass('gone'), to_regclass('kept'), to_regclass('lost')")
    assert found[0] == (None, "kept", None)
    return True


@migration(requires=makes_tables_01)
def has_cursors_of_its_own_16(db):
    cursor = db._adapter.connection.cursor("named")
    cursor.execute("SELECT id FROM stock")
    assert len(cursor.fetchmany(10)) == 10
    cursor.close()
    db._adapter.cursor.copy_expert("COPY stock (qty) FROM STDIN", io.StringIO("7\n8\n"))
    return True


@migration(requires=makes_tables_01)
def violates_what_is_deferred_17(db):
    db.executesql("INSERT INTO move VALUES (9, 999999)")
    return True
