"""Invoices, payments, refunds, and the reports about them."""

from catalog import add_reorder_level_20260216_001
from customers import add_customer_segment_20260202_001
from dialect import primary_key
from migrate_graph import migration
from orders import (
    add_order_status_20260126_002,
    create_order_lines_20260105_007,
    create_orders_20260105_006,
    order_lines_in_cents_20260309_001,
)
from views import MonthlyRevenue_V2, OrderTotals_V1, ReorderList


@migration(requires=create_orders_20260105_006)
def create_invoices_20260202_003(db):
    """One invoice for one order."""
    db.executesql(f"""
        CREATE TABLE invoice (
            id {primary_key(db)},
            customer_order INTEGER NOT NULL UNIQUE REFERENCES customer_order,
            sent_on DATE
        )
    """)
    return True


@migration(requires=create_invoices_20260202_003)
def create_payments_20260202_004(db):
    """Money that came in."""
    db.executesql(f"""
        CREATE TABLE payment (
            id {primary_key(db)},
            invoice INTEGER NOT NULL REFERENCES invoice,
            amount NUMERIC(10, 2) NOT NULL,
            paid_on DATE NOT NULL
        )
    """)
    return True


@migration(
    requires=[
        create_order_lines_20260105_007,
        add_order_status_20260126_002,
        add_customer_segment_20260202_001,
        add_reorder_level_20260216_001,
    ],
    commutes_with="import_old_shop_20260209_001",
    why="the dashboard is refreshed every night, whatever it was made of",
)
def create_reports_20260223_001(db):
    """The first reports: opening a view builds everything that stands on it as well."""
    with OrderTotals_V1(db), ReorderList(db):
        pass
    return True


@migration(requires=create_payments_20260202_004)
def create_refunds_20260323_001(db):
    """Money that went back."""
    db.executesql(f"""
        CREATE TABLE refund (
            id {primary_key(db)},
            customer_order INTEGER NOT NULL REFERENCES customer_order,
            cents INTEGER NOT NULL,
            refunded_on DATE NOT NULL
        )
    """)
    return True


@migration(requires=[create_refunds_20260323_001, order_lines_in_cents_20260309_001])
def net_revenue_20260323_002(db):
    """From now on revenue is what we keep: MonthlyRevenue_V2 takes over."""
    with MonthlyRevenue_V2(db):
        pass
    return True


@migration(requires=create_invoices_20260202_003)
def add_due_date_20260406_001(db):
    """The day on which a reminder goes out."""
    db.executesql("ALTER TABLE invoice ADD COLUMN due_on DATE")
    return True
