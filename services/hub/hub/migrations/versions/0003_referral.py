"""How a problem stands between two regions."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("problem", sa.Column("referral", sa.Text))
