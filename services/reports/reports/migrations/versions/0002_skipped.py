"""What an operator took out of quarantine, and why."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.bring_kernel_to(4)
