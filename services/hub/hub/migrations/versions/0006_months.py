"""How many problems there are in each month at every level of areas, and what has moved, kept as rows.

A row has a number for each status, so that a problem's change changes one row and not two. All is counted anew from the
problems, villages and months first, and lies together by level and month: 5,000,000 problems took a minute.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

STATUSES = (
    "reported", "verified", "rejected", "solution_proposed", "unassessed", "solved", "closed", "reopened",
    "referred", "handed_over", "offered", "declined", "withdrawn",
)  # fmt: skip
_SETTINGS = {"work_mem": "'128MB'", "maintenance_work_mem": "'256MB'", "enable_sort": "off"}
_KEY = ["level", "month", "area", "region", "category", "moved"]
_EACH = ", ".join(STATUSES)
_SUMS = ", ".join(f"sum({status})::integer as {status}" for status in STATUSES)
_STAND_SO = ", ".join(
    f"(count(*) filter (where coalesce(referral, status) = '{status}'))::integer as {status}" for status in STATUSES
)
_MOVED = ", ".join("-count(*)::integer" if status == "referred" else "0" for status in STATUSES)
_MONTH = "date_trunc('month', reported_at at time zone 'UTC')::date"
_LEVELS = {2: "province", 5: "regency", 8: "district", 13: "village"}

FIND = """
    insert into moved (region, id) select region, id from problem
    where referral = 'referred' and exists (
        select from problem as other
        where other.id = problem.id and other.region <> problem.region and other.referral is null)"""


def _wider(level: int, below: int) -> str:
    return f"""create temporary table by_{_LEVELS[level]} on commit drop as
               select month, left(area, {level}) as area, region, category, moved, {_SUMS} from by_{_LEVELS[below]}
               group by 1, 2, 3, 4, 5"""  # noqa: S608 - our own words


def _kept(level: int, month: str, category: str) -> str:
    return f"""insert into problem_count (level, month, area, region, category, moved, {_EACH})
               select {level}, {month}, area, region, {category}, moved, {_SUMS} from by_{_LEVELS[level]}
               group by 2, 3, 4, 5, 6"""  # noqa: S608 - our own words


FILL = [
    f"""create temporary table by_village on commit drop as
        select {_MONTH} as month, area collate "C" as area, region, category, false as moved, {_STAND_SO}
        from problem group by 1, 2, 3, 4
        union all
        select {_MONTH}, area collate "C", region, category, true, {_MOVED}
        from problem join moved using (region, id) group by 1, 2, 3, 4""",  # noqa: S608 - our own words
    _wider(8, 13),
    _wider(5, 8),
    _wider(2, 5),
    _kept(2, "date '-infinity'", "''"),
    *(_kept(level, "date '-infinity'", "category") for level in _LEVELS),
    *(_kept(level, "month", "''") for level in (2, 5, 8)),
    *(_kept(level, "month", "category") for level in _LEVELS),
    *(f"drop table by_{level}" for level in _LEVELS.values()),
]


def upgrade() -> None:
    for name, value in _SETTINGS.items():
        op.execute(f"set local {name} = {value}")
    op.create_table(
        "moved",
        sa.Column("region", sa.Text, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.PrimaryKeyConstraint("id", "region"),
    )
    op.drop_table("problem_count")
    op.create_table(
        "problem_count",
        sa.Column("level", sa.SmallInteger, nullable=False),
        sa.Column("month", sa.Date, nullable=False),
        sa.Column("area", sa.Text(collation="C"), nullable=False),
        sa.Column("region", sa.Text, nullable=False),
        sa.Column("category", sa.Text, nullable=False),
        sa.Column("moved", sa.Boolean, nullable=False),
        *(sa.Column(status, sa.Integer, nullable=False) for status in STATUSES),
    )
    op.execute("alter table problem_count set (fillfactor = 90)")
    for statement in (FIND, *FILL):
        op.execute(statement)
    op.create_primary_key("problem_count_pkey", "problem_count", _KEY)
    op.create_index("problem_count_moved", "problem_count", ["level"], postgresql_where=sa.text("moved"))
    for name in _SETTINGS:
        op.execute(f"set local {name} = default")
