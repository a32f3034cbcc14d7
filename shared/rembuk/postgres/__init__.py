"""A service's own PostgreSQL: connections, migrations, statements for many rows."""
