"""Lanes by which the sender takes what is due, and what is remembered of a contact that nobody can read here."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("delivery", sa.Column("lane", sa.Text, nullable=False, server_default=""))
    op.add_column("delivery", sa.Column("rank", sa.SmallInteger, nullable=False, server_default="0"))
    op.execute(
        """update delivery set lane = channel || case when alert_id is null then ' code' else ' alert' end
           from subscription where subscription.id = subscription_id"""
    )
    op.execute(
        """update delivery set rank = array_position(array['minor', 'moderate', 'severe', 'extreme'], severity) - 1
           from alert where alert.id = alert_id"""
    )
    op.drop_index("delivery_due", "delivery")
    due = sa.text("state in ('queued', 'failed')")
    op.create_index("delivery_due", "delivery", ["lane", "rank", "due_at"], postgresql_where=due)
    op.add_column("subscription", sa.Column("contact", sa.LargeBinary, nullable=False, server_default=""))
    known = sa.text("contact <> ''")
    op.create_index("subscription_contact", "subscription", ["contact"], postgresql_where=known)
    op.create_table(
        "contact",
        sa.Column("mark", sa.LargeBinary, primary_key=True),
        sa.Column("codes", sa.Integer, nullable=False, server_default="0"),
        sa.Column("code_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("code_for", sa.Text, nullable=False, server_default=""),
        sa.Column("bounced_at", sa.DateTime(timezone=True)),
    )
