"""Up to where each partner's webhook was sent."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.bring_kernel_to(9)
