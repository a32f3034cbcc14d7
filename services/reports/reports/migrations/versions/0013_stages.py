"""Indexes of lists by stage instead of by status: a list of every status is a merge of three walks and not of thirteen.
While they are made the projection waits; accepting and reading go on."""

from alembic import op

revision = "0013"
down_revision = "0012"

AREA_KEYS = {"province": "left(area, 2)", "regency": "left(area, 5)", "district": "left(area, 8)", "village": "area"}
ENDED = ("closed", "rejected")
STAGE = f"case when referral is not null then 'between' when status in {ENDED} then 'ended' else 'open' end"


def upgrade() -> None:
    op.execute("set local maintenance_work_mem = '256MB'")
    for level, key in AREA_KEYS.items():
        for more, category in (("stage", ""), ("category_stage", "category, ")):
            everything = (level, more) in (("province", "stage"), ("regency", "stage"))
            op.execute(
                f"create index problem_{level}_{more} on problem "
                f"({key}, {category}({STAGE}), reported_at, position, (coalesce(referral, status)))"
                f"{'' if everything else ' where public'}"
            )
    for level in AREA_KEYS:  # last, for then readers wait
        op.execute(f"drop index problem_{level}_status, problem_{level}_category")
    op.execute("analyze problem")
