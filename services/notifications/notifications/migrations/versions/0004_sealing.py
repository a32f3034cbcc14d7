"""Keys recorded with events, and who was erased."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.bring_kernel_to(7)
