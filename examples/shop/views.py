"""The reports: six relations in three layers, two of them in their second version.

OrderTotals ──► CustomerValue ────┐
     │                            ├──► Dashboard
     ├────────► MonthlyRevenue ───┘
     └────────► PaperOrders            ReorderList
"""

from dialect import on_postgres
from migrate_graph import ViewMigrationManager


class PlainView:
    """How most of them come and go; a view below says only what is its own."""

    relation: str
    query: str

    def up(self):
        self.db.executesql(f"CREATE VIEW {self.relation} AS {self.query}")

    def down(self):
        self.db.executesql(f"DROP VIEW IF EXISTS {self.relation}")


class StoredView(PlainView):
    """The same, kept as a table where the database can do that: PostgreSQL's materialized view."""

    key: str

    def up(self):
        if on_postgres(self.db):
            self.db.executesql(f"CREATE MATERIALIZED VIEW {self.relation} AS {self.query}")
            self.db.executesql(f"CREATE UNIQUE INDEX ON {self.relation} ({self.key})")
        else:
            super().up()

    def down(self):
        if on_postgres(self.db):
            self.db.executesql(f"DROP MATERIALIZED VIEW IF EXISTS {self.relation}")
        else:
            super().down()


class OrderTotals_V1(PlainView, ViewMigrationManager):
    """What each order is worth."""

    uses = ()
    since = "create_reports_20260223_001"
    relation = "order_totals"
    query = """
        SELECT o.id AS customer_order, o.customer, o.number, o.ordered_on,
            sum(l.quantity * l.unit_price) AS total
        FROM customer_order o JOIN order_line l ON l.customer_order = o.id
        WHERE o.status <> 'cancelled'
        GROUP BY o.id, o.customer, o.number, o.ordered_on
    """


class OrderTotals_V2(PlainView, ViewMigrationManager):
    """The same from whole cents; takes over when the prices become cents."""

    uses = ()
    since = "order_lines_in_cents_20260309_001"
    replaces = OrderTotals_V1
    relation = "order_totals"
    query = """
        SELECT o.id AS customer_order, o.customer, o.number, o.ordered_on,
            sum(l.quantity * l.unit_cents) / 100.0 AS total
        FROM customer_order o JOIN order_line l ON l.customer_order = o.id
        WHERE o.status <> 'cancelled'
        GROUP BY o.id, o.customer, o.number, o.ordered_on
    """


class CustomerValue(PlainView, ViewMigrationManager):
    """Who buys how much; stands on either version of the totals."""

    uses = (OrderTotals_V1,)
    since = "create_reports_20260223_001"
    relation = "customer_value"
    query = """
        SELECT c.id AS customer, c.segment, count(*) AS orders, sum(t.total) AS total
        FROM customer c JOIN order_totals t ON t.customer = c.id
        GROUP BY c.id, c.segment
    """


class MonthlyRevenue_V1(PlainView, ViewMigrationManager):
    """Turnover by month."""

    uses = (OrderTotals_V1,)
    since = "create_reports_20260223_001"
    relation = "monthly_revenue"
    query = """
        SELECT substr(CAST(ordered_on AS VARCHAR(10)), 1, 7) AS month, count(*) AS orders, sum(total) AS revenue
        FROM order_totals
        GROUP BY substr(CAST(ordered_on AS VARCHAR(10)), 1, 7)
    """


class MonthlyRevenue_V2(PlainView, ViewMigrationManager):
    """Turnover by month, less what went back."""

    uses = (OrderTotals_V2,)
    since = "net_revenue_20260323_002"
    replaces = MonthlyRevenue_V1
    relation = "monthly_revenue"
    query = """
        SELECT sales.month, sales.orders, sales.total - coalesce(back.total, 0) AS revenue
        FROM (
            SELECT substr(CAST(ordered_on AS VARCHAR(10)), 1, 7) AS month, count(*) AS orders, sum(total) AS total
            FROM order_totals
            GROUP BY substr(CAST(ordered_on AS VARCHAR(10)), 1, 7)
        ) sales LEFT JOIN (
            SELECT substr(CAST(refunded_on AS VARCHAR(10)), 1, 7) AS month, sum(cents) / 100.0 AS total
            FROM refund
            GROUP BY substr(CAST(refunded_on AS VARCHAR(10)), 1, 7)
        ) back ON back.month = sales.month
    """


class Dashboard(StoredView, ViewMigrationManager):
    """The first page of the back office."""

    uses = (CustomerValue, MonthlyRevenue_V1)
    since = "create_reports_20260223_001"
    relation = "dashboard"
    key = "month"
    query = """
        SELECT month, orders, revenue, (SELECT count(*) FROM customer_value WHERE orders > 1) AS loyal_customers
        FROM monthly_revenue
    """


class PaperOrders(PlainView, ViewMigrationManager):
    """Orders that came by post, until nobody sent them any more."""

    uses = (OrderTotals_V1,)
    since = "create_reports_20260223_001"
    until = "retire_paper_orders_20260330_001"
    relation = "paper_orders"
    query = """
        SELECT o.paper_number, t.total
        FROM customer_order o JOIN order_totals t ON t.customer_order = o.id
        WHERE o.paper_number IS NOT NULL
    """


class ReorderList(PlainView, ViewMigrationManager):
    """What to buy before it runs out."""

    uses = ()
    since = "create_reports_20260223_001"
    relation = "reorder_list"
    query = """
        SELECT p.sku, p.title, s.warehouse, s.quantity, s.reorder_level
        FROM stock s JOIN product p ON p.id = s.product
        WHERE s.quantity < s.reorder_level
    """
