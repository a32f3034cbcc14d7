"""Which problems are public, and which are for forums alone: no row tells, so they are read anew from the stream."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute("delete from open_problem")
    op.execute("delete from checkpoint where follower = 'open_problems'")
    op.execute("delete from quarantine where follower = 'open_problems'")
    op.add_column("open_problem", sa.Column("public", sa.Boolean, nullable=False))
