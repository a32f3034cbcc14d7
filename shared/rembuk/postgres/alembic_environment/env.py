"""How Alembic runs the migrations of every service: on the connection that `rembuk.postgres.migrations` hands over."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
