"""How Alembic runs here: on the connection that `rembuk.postgres.migrations` hands over."""

from alembic import context

from reports.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
