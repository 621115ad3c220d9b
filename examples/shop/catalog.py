"""What the shop sells, and how much of it lies on the shelves."""

from dialect import primary_key
from migrate_graph import migration


@migration
def create_categories_20260105_001(db):
    """A tree of categories."""
    db.executesql(f"""
        CREATE TABLE category (
            id {primary_key(db)},
            parent INTEGER REFERENCES category,
            title VARCHAR(80) NOT NULL
        )
    """)
    return True


@migration(requires=create_categories_20260105_001)
def create_products_20260105_002(db):
    """Products, each in one category."""
    db.executesql(f"""
        CREATE TABLE product (
            id {primary_key(db)},
            category INTEGER REFERENCES category,
            sku VARCHAR(32) NOT NULL UNIQUE,
            title VARCHAR(200) NOT NULL,
            price NUMERIC(8, 2) NOT NULL
        )
    """)
    return True


@migration(requires=create_categories_20260105_001)
def fill_categories_20260105_003(db):
    """The categories we open with."""
    db.executesql("INSERT INTO category (title) VALUES ('Tea'), ('Coffee'), ('Cups')")
    return True


@migration(requires=create_products_20260105_002)
def create_stock_20260112_001(db):
    """How many of each product lie in which warehouse."""
    db.executesql("""
        CREATE TABLE stock (
            product INTEGER NOT NULL REFERENCES product,
            warehouse VARCHAR(40) NOT NULL,
            quantity INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (product, warehouse)
        )
    """)
    return True


@migration(requires=create_products_20260105_002)
def add_product_weight_20260126_001(db):
    """Grams, for the price of a parcel."""
    db.executesql("ALTER TABLE product ADD COLUMN weight INTEGER NOT NULL DEFAULT 0")
    return True


@migration(requires=create_stock_20260112_001)
def add_reorder_level_20260216_001(db):
    """Below this many we order again."""
    db.executesql("ALTER TABLE stock ADD COLUMN reorder_level INTEGER NOT NULL DEFAULT 10")
    return True
