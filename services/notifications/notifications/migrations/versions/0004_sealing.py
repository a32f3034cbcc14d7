"""Keys recorded with events, and who was erased."""

from alembic import op
from rembuk.postgres.migrations import SEALING_SCRIPTS, run_script

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    for script in SEALING_SCRIPTS:
        run_script(op, script)
