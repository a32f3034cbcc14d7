"""What an operator took out of quarantine, and why."""

from alembic import op
from rembuk.postgres.migrations import run_script

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_script(op, "0004_skipped.sql")
