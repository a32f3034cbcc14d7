"""Who vouches for the log's tree heads, and for whose it vouches."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.bring_kernel_to(8)
