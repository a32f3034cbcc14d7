"""Indexes in the order of a page of problems, for an area at each level, by status, and by category and status. While
they are made the projection waits; accepting and reading go on."""

from alembic import op

revision = "0009"
down_revision = "0008"

AREA_KEYS = {"province": "left(area, 2)", "regency": "left(area, 5)", "district": "left(area, 8)", "village": "area"}
STANDING = "(coalesce(referral, status))"


def upgrade() -> None:
    op.execute("set local maintenance_work_mem = '256MB'")
    op.execute("drop index problem_area")
    op.execute("drop index problem_status")
    op.execute("create index problem_newest on problem (reported_at, position)")
    for level, key in AREA_KEYS.items():
        op.execute(f"create index problem_{level}_status on problem ({key}, {STANDING}, reported_at, position)")
        op.execute(
            f"create index problem_{level}_category on problem ({key}, category, {STANDING}, reported_at, position)"
        )
    op.execute("analyze problem")  # what the indexes are made of has statistics of its own
