"""What a problem is between two regions, and what the others told of it."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    for name in ("referral", "referred_from", "referred_to"):
        op.add_column("problem", sa.Column(name, sa.Text))
    op.drop_index("problem_ended")
    ended = "reporter_of is not null and (status in ('closed', 'rejected') or referral = 'handed_over')"
    op.create_index("problem_ended", "problem", ["changed_at"], postgresql_where=sa.text(ended))
    op.create_table(
        "elsewhere",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("heard", sa.Boolean, nullable=False),
        sa.Column("region", sa.Text),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("stream_id", sa.Uuid, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("schema_version", sa.Integer, nullable=False),
        sa.Column("area", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("elsewhere_stream", "elsewhere", ["stream_id", "recorded_at"])
