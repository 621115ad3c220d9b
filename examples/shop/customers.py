"""Who buys here, and where they live."""

from pydal import Field

from dialect import primary_key
from migrate_graph import migration, progress


@migration
def create_customers_20260105_004(db):
    """People with an address for mail."""
    db.executesql(f"""
        CREATE TABLE customer (
            id {primary_key(db)},
            name VARCHAR(120) NOT NULL,
            email VARCHAR(200) NOT NULL
        )
    """)
    return True


@migration(requires=create_customers_20260105_004)
def create_addresses_20260105_005(db):
    """Where parcels go."""
    db.executesql(f"""
        CREATE TABLE address (
            id {primary_key(db)},
            customer INTEGER NOT NULL REFERENCES customer,
            street VARCHAR(200) NOT NULL,
            city VARCHAR(120) NOT NULL,
            country CHAR(2) NOT NULL
        )
    """)
    return True


@migration(requires=create_customers_20260105_004)
def unique_customer_email_20260119_001(db):
    """One account for one mailbox, however it is capitalised."""
    db.executesql("CREATE UNIQUE INDEX customer_email ON customer (lower(email))")
    return True


@migration(requires=create_customers_20260105_004)
def add_customer_segment_20260202_001(db):
    """Private customers and businesses see different prices."""
    db.executesql("ALTER TABLE customer ADD COLUMN segment VARCHAR(20) NOT NULL DEFAULT 'private'")
    return True


@migration(requires=add_customer_segment_20260202_001)
def add_customer_names_20260316_001(db):
    """Room for the parts of a name."""
    db.executesql("ALTER TABLE customer ADD COLUMN given_name VARCHAR(60)")
    db.executesql("ALTER TABLE customer ADD COLUMN family_name VARCHAR(60)")
    return True


@migration(requires=[add_customer_names_20260316_001, "import_old_shop_20260209_001"])
def split_customer_names_20260316_002(db):
    """Fill the parts from the whole, and tell how far it is: this takes a while on the real table."""
    customer = db.define_table("customer", Field("name"), Field("given_name"), Field("family_name"), migrate=False)
    rows = db(customer.given_name == None).select(customer.id, customer.name)  # noqa: E711 - pyDAL's IS NULL
    for done, row in enumerate(rows, start=1):
        given, _, family = row.name.rpartition(" ")
        row.update_record(given_name=given, family_name=family)
        progress(done, len(rows), "customers")
    return True
