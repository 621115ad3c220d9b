"""Managed views: taken down and brought up without losing anything, compared, adopted."""
