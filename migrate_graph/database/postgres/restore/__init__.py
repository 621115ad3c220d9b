"""Restores of a dump: through the driver, or through psql."""
