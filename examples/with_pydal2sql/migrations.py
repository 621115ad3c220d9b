"""What pydal2sql wrote: `create` for the first models, `alter` when they had grown. Only `requires` was added, which it does not write."""

from edwh_migrate import migration
from pydal import DAL


@migration
def create_customer_20260301_001(db: DAL):
    db.executesql("""
        CREATE TABLE "customer"(
            "id" INTEGER PRIMARY KEY AUTOINCREMENT,
            "name" CHAR(80) NOT NULL
        );
    """)
    db.commit()

    return True


@migration(requires=create_customer_20260301_001)
def create_invoice_20260301_001(db: DAL):
    db.executesql("""
        CREATE TABLE "invoice"(
            "id" INTEGER PRIMARY KEY AUTOINCREMENT,
            "customer" INTEGER REFERENCES "customer" ("id") ON DELETE CASCADE ON UPDATE CASCADE  ,
            "total" DOUBLE
        );
    """)
    db.commit()

    return True


@migration(requires=create_customer_20260301_001)
def alter_customer_20260302_001(db: DAL):
    db.executesql("""
        ALTER TABLE "customer" ADD "email" CHAR(120);
    """)
    db.commit()

    return True


@migration(requires=create_invoice_20260301_001)
def alter_invoice_20260302_001(db: DAL):
    db.executesql("""
        ALTER TABLE "invoice" ADD "paid" CHAR(1);
    """)
    db.commit()

    return True
