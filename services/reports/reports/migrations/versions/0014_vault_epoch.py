"""In which epoch the vault is, so that a page of problems opens no text twice."""

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.bring_kernel_to(11)
