"""Which open problems live in another region, or may come to."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("open_problem", sa.Column("away", sa.Boolean, nullable=False, server_default=sa.false()))
