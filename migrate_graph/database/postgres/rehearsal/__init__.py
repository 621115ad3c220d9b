"""Rehearsals on PostgreSQL: in a copy or in one transaction, with every statement recorded."""
