"""What was bought, and what became of it."""

from catalog import create_products_20260105_002, create_stock_20260112_001, fill_categories_20260105_003
from customers import create_addresses_20260105_005, create_customers_20260105_004
from dialect import on_postgres, primary_key
from migrate_graph import migration
from views import OrderTotals_V1, OrderTotals_V2


@migration(requires=create_customers_20260105_004)
def create_orders_20260105_006(db):
    """Orders; those that came by post carry the number of their form."""
    db.executesql(f"""
        CREATE TABLE customer_order (
            id {primary_key(db)},
            customer INTEGER NOT NULL REFERENCES customer,
            number VARCHAR(12) NOT NULL UNIQUE,
            paper_number VARCHAR(12),
            ordered_on DATE NOT NULL
        )
    """)
    return True


@migration(requires=[create_orders_20260105_006, create_products_20260105_002])
def create_order_lines_20260105_007(db):
    """What an order consists of, at the price of that day."""
    db.executesql(f"""
        CREATE TABLE order_line (
            id {primary_key(db)},
            customer_order INTEGER NOT NULL REFERENCES customer_order,
            product INTEGER NOT NULL REFERENCES product,
            quantity INTEGER NOT NULL,
            unit_price NUMERIC(8, 2) NOT NULL
        )
    """)
    return True


@migration(requires=create_orders_20260105_006)
def index_orders_by_day_20260119_002(db):
    """The back office lists orders by day."""
    db.executesql("CREATE INDEX customer_order_by_day ON customer_order (ordered_on)")
    return True


@migration(requires=create_orders_20260105_006)
def add_order_status_20260126_002(db):
    """Orders can be cancelled."""
    db.executesql("ALTER TABLE customer_order ADD COLUMN status VARCHAR(20) NOT NULL DEFAULT 'open'")
    return True


@migration(requires=[create_orders_20260105_006, create_addresses_20260105_005])
def create_shipments_20260202_002(db):
    """Parcels on their way."""
    db.executesql(f"""
        CREATE TABLE shipment (
            id {primary_key(db)},
            customer_order INTEGER NOT NULL REFERENCES customer_order,
            address INTEGER NOT NULL REFERENCES address,
            shipped_on DATE
        )
    """)
    return True


@migration(requires=[create_order_lines_20260105_007, fill_categories_20260105_003, create_stock_20260112_001])
def import_old_shop_20260209_001(db):
    """Bring over what the old shop sold."""
    db.executesql("""
        INSERT INTO customer (name, email) VALUES
            ('Ada Lovelace', 'ada@example.org'), ('Grace Hopper', 'grace@example.org'),
            ('Sokrates', 'sokrates@example.org')
    """)
    db.executesql("""
        INSERT INTO product (category, sku, title, price) VALUES
            (1, 'TEA-001', 'Assam, 250 g', 8.95), (2, 'COF-001', 'Espresso, 1 kg', 21.50), (3, 'CUP-001', 'Cup', 4.25)
    """)
    db.executesql("INSERT INTO stock (product, warehouse, quantity) VALUES (1, 'Delft', 40), (2, 'Delft', 3)")
    db.executesql("""
        INSERT INTO customer_order (customer, number, paper_number, ordered_on) VALUES
            (1, '2025-0001', NULL, '2025-11-03'), (1, '2025-0002', 'F-17', '2025-12-01'),
            (2, '2025-0003', NULL, '2025-12-24')
    """)
    db.executesql("""
        INSERT INTO order_line (customer_order, product, quantity, unit_price) VALUES
            (1, 1, 2, 8.95), (1, 3, 4, 4.25), (2, 2, 1, 21.50), (3, 1, 1, 8.95), (3, 2, 2, 20.00)
    """)
    return True


# The reports are made in billing.py, which needs the tables above; hence the name instead of the function.
@migration(
    requires="create_reports_20260223_001",
    commutes_with=import_old_shop_20260209_001,
    why="the numbers of the old shop fit into either width",
)
def widen_order_number_20260302_001(db):
    """The new web shop numbers its orders in 40 characters; PostgreSQL refuses this while a view reads the column."""
    with OrderTotals_V1(db):
        if on_postgres(db):  # SQLite does not limit the length
            db.executesql("ALTER TABLE customer_order ALTER COLUMN number TYPE VARCHAR(40)")
    return True


@migration(requires=[widen_order_number_20260302_001, import_old_shop_20260209_001])
def order_lines_in_cents_20260309_001(db):
    """Whole cents instead of fractions: OrderTotals_V2 takes over, and all that stands on it is built again."""
    with OrderTotals_V2(db):
        db.executesql("ALTER TABLE order_line ADD COLUMN unit_cents INTEGER NOT NULL DEFAULT 0")
        db.executesql("UPDATE order_line SET unit_cents = CAST(round(unit_price * 100) AS INTEGER)")
        db.executesql("ALTER TABLE order_line DROP COLUMN unit_price")
    return True


@migration(requires=order_lines_in_cents_20260309_001)
def retire_paper_orders_20260330_001(db):
    """Nobody orders by post any more; the window of PaperOrders closes here."""
    db.executesql("DROP VIEW paper_orders")
    return True


@migration(requires=retire_paper_orders_20260330_001)
def drop_paper_number_20260330_002(db):
    """The last trace of the paper forms."""
    db.executesql("ALTER TABLE customer_order DROP COLUMN paper_number")
    return True
