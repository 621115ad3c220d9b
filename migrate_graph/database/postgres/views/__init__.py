"""Views on PostgreSQL: read completely, taken down for a statement that they block, and restored with all their properties."""
