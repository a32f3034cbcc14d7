"""How many meetings there are, by month and day at three levels of areas, kept as rows. Meetings are found by when they
were scheduled, no longer by their area."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_KEY = ["level", "month", "area", "region"]
_SUMS = "sum(meetings), sum(held), sum(agreements)"
_SPANS = {"ever": "'-infinity'::date", "month": "date_trunc('month', day)::date", "day": "day"}


def _kept(level: int, span: str) -> str:
    return f"""insert into meeting_count (level, month, area, region, meetings, held, agreements)
               select {-level if span == "day" else level}, {_SPANS[span]}, left(area, {level}), region, {_SUMS}
               from meeting_day group by 2, 3, 4"""  # noqa: S608 - our own words


FILL = [
    """create temporary table meeting_day on commit drop as
       select (scheduled_at at time zone 'UTC')::date as day, area collate "C" as area, region, count(*) as meetings,
              count(held_at) as held, coalesce(sum(agreements), 0) as agreements
       from meeting group by 1, 2, 3""",
    *(_kept(level, span) for level in (2, 5, 13) for span in _SPANS),
    "drop table meeting_day",
]


def upgrade() -> None:
    op.execute("drop index meeting_area")  # from here on projections wait
    op.create_table(
        "meeting_count",
        sa.Column("level", sa.SmallInteger, nullable=False),
        sa.Column("month", sa.Date, nullable=False),
        sa.Column("area", sa.Text(collation="C"), nullable=False),
        sa.Column("region", sa.Text, nullable=False),
        sa.Column("meetings", sa.Integer, nullable=False),
        sa.Column("held", sa.Integer, nullable=False),
        sa.Column("agreements", sa.Integer, nullable=False),
    )
    op.execute("alter table meeting_count set (fillfactor = 90)")
    for statement in FILL:
        op.execute(statement)
    op.create_primary_key("meeting_count_pkey", "meeting_count", _KEY)
    op.create_index("meeting_scheduled", "meeting", ["scheduled_at"])
    op.execute("analyze meeting_count")
    op.execute("analyze meeting")
