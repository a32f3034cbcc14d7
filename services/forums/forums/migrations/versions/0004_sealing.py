"""Keys recorded with events; what is sealed, or what reports seals, is no longer among the rows."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.bring_kernel_to(7)
    op.drop_column("member", "name")
    op.drop_column("meeting", "minutes")
    op.drop_column("commitment", "note")
    op.drop_column("open_problem", "description")
