"""The Merkle tree over the log: signed heads, and what proofs are made from."""

from alembic import op
from rembuk.postgres.migrations import run_script

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run_script(op, "0005_tree.sql")
