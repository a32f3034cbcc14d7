"""Indexes in the order of the list of problems: of all, of a regency and of a place, the last two by status. While they
are made the projections wait, and answering goes on."""

from alembic import op

revision = "0007"
down_revision = "0006"

_STANDING = "coalesce(referral, status)"
_ORDER = "reported_at, region, id"


def upgrade() -> None:
    op.execute("set local maintenance_work_mem = '256MB'")
    for name in ("reported", "area", "referral"):
        op.execute(f"drop index problem_{name}")
    op.execute(f"create index problem_reported on problem ({_ORDER}, ({_STANDING}), category)")
    op.execute(f"create index problem_regency on problem (left(area, 5), ({_STANDING}), {_ORDER}, category)")
    op.execute(f"create index problem_place on problem (area, ({_STANDING}), {_ORDER}, category)")
    op.execute("analyze problem")
