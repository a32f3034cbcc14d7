"""What regions say to each other: their inboxes, which problems were referred, and by which keys to seal."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "inbox",
        sa.Column("region", sa.Text, primary_key=True),
        sa.Column("position", sa.BigInteger, primary_key=True),
        sa.Column("headers", sa.Text, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "inbox_read",
        sa.Column("region", sa.Text, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "referral",
        sa.Column("receiver", sa.Text, primary_key=True),
        sa.Column("problem_id", sa.Text, primary_key=True),
        sa.Column("origin", sa.Text, primary_key=True),
        sa.Column("accepted", sa.Boolean, nullable=False),
    )
    op.create_table(
        "introduced",
        sa.Column("region", sa.Text, primary_key=True),
        sa.Column("public_key", sa.Text, nullable=False),
        sa.Column("introduced_at", sa.DateTime(timezone=True), nullable=False),
    )
