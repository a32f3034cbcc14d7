"""The other regions that the hub has told of, and by which key to seal what is for them."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "other_region",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("public_key", sa.Text, nullable=False),
        sa.Column("heard_at", sa.DateTime(timezone=True), nullable=False),
    )
