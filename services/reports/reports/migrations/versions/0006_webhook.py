"""Up to where each partner's webhook was sent."""

from alembic import op
from rembuk.postgres.migrations import run_script

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run_script(op, "0009_webhook.sql")
