"""The Merkle tree over the log: signed heads, and what proofs are made from."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.bring_kernel_to(5)
