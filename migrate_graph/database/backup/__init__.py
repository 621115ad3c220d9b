"""A backup file: found, verified, and restored into an empty database."""
