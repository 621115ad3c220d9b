"""The application: it creates no table, whatever its models say."""

from models import define_tables
from pydal import DAL

db = DAL("sqlite://app.db", folder="databases", migrate=False)
define_tables(db)
ada = db.customer.insert(name="Ada", email="ada@example.org")
db.invoice.insert(customer=ada, total=12.5, paid=True)
db.commit()
for row in db(db.invoice.customer == db.customer.id).select():
    print(row.customer.name, row.invoice.total, row.invoice.paid)
