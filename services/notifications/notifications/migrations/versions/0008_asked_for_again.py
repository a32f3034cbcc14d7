"""The sender hears, too, of a delivery that is asked for again."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute("drop trigger tell_sender on delivery")
    op.execute(
        "create trigger tell_sender after insert or update of state on delivery "
        "for each statement execute function tell_sender()"
    )
