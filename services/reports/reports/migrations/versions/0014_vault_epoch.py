"""In which epoch the vault is, so that a page of problems opens no text twice."""

from alembic import op
from rembuk.postgres.migrations import run_script

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    run_script(op, "0011_vault_epoch.sql")
