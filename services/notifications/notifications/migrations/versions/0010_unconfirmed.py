"""Unconfirmed subscriptions by their age."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    unconfirmed = sa.text("status = 'requested'")
    op.create_index("subscription_unconfirmed", "subscription", ["requested_at"], postgresql_where=unconfirmed)
