"""The event log, what followers remember, sealed persons' keys, subscriptions, alerts and the ledger of deliveries."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.bring_kernel_to(3)
    op.create_table(
        "subscription",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("area", sa.Text, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("categories", JSONB, nullable=False),
        sa.Column("language", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True)),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("subscription_area", "subscription", ["area"], postgresql_where=sa.text("status = 'confirmed'"))
    op.create_table(
        "alert",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False, unique=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("area", sa.Text, nullable=False),
        sa.Column("category", sa.Text, nullable=False),
        sa.Column("headline", JSONB, nullable=False),
        sa.Column("text", JSONB, nullable=False),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("urgency", sa.Text, nullable=False),
        sa.Column("certainty", sa.Text, nullable=False),
        sa.Column("about", sa.Uuid),
        sa.Column("source_id", sa.Uuid),
        sa.Column("source_type", sa.Text, nullable=False),
        sa.Column("recipients", sa.Integer, nullable=False),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("alert_area", "alert", ["area", "position"], postgresql_ops={"area": "text_pattern_ops"})
    op.create_table(
        "delivery",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("alert_id", sa.Uuid),
        sa.Column("subscription_id", sa.Uuid, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("delivery_due", "delivery", ["due_at"], postgresql_where=sa.text("state in ('queued', 'failed')"))
    op.create_index("delivery_of_alert", "delivery", ["alert_id", "number"])
    op.execute(
        "create function tell_sender() returns trigger language plpgsql as "
        "$$ begin notify delivery_queued; return null; end $$"
    )
    op.execute("create trigger tell_sender after insert on delivery for each statement execute function tell_sender()")
