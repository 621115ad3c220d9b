"""The shop's whole history: importing a file is what makes its migrations part of it."""

import billing
import catalog
import customers
import orders
import views

__all__ = ["billing", "catalog", "customers", "orders", "views"]
