"""Who vouches for the log's tree heads, and for whose it vouches."""

from alembic import op
from rembuk.postgres.migrations import run_script

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run_script(op, "0008_witness.sql")
