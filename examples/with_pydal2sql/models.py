"""The tables of the application: pyDAL reads and writes them, migrations create and change them."""

from pydal import Field


def define_tables(db):
    db.define_table(
        "customer",
        Field("name", "string", length=80, notnull=True),
        Field("email", "string", length=120),
    )
    db.define_table(
        "invoice",
        Field("customer", "reference customer"),
        Field("total", "double"),
        Field("paid", "boolean", default=False),
    )
