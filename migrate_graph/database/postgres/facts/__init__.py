"""What a PostgreSQL database is made of: its objects with their definitions, read, compared, and written as statements."""
