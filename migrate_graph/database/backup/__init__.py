"""A backup file: found, verified, and read again for the restore."""
