"""Alerts that are withdrawn, and those that correct them; found by what they are about."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("alert", sa.Column("corrects", sa.Uuid))
    op.add_column("alert", sa.Column("withdrawn_at", sa.DateTime(timezone=True)))
    op.create_index("alert_about", "alert", ["about"], postgresql_where=sa.text("about is not null"))
