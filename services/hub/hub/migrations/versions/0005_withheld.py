"""Of problems that are not public only their regency: no row tells which, so all is read anew from the mirrors."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    for table in ("problem", "problem_count", "meeting", "activity"):
        op.execute(f"delete from {table}")  # noqa: S608 - our own words
    for table in ("checkpoint", "quarantine"):
        op.execute(f"delete from {table} where follower = 'projection'")  # noqa: S608 - our own words
