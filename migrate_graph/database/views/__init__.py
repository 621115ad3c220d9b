"""Managed views: dropped and created again without losing anything, compared, adopted."""
