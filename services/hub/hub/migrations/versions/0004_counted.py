"""How many problems there are, kept as rows."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "problem_count",
        sa.Column("level", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("month", sa.Date, primary_key=True),
        sa.Column("area", sa.Text(collation="C"), primary_key=True),
        sa.Column("region", sa.Text, primary_key=True),
        sa.Column("category", sa.Text, primary_key=True),
        sa.Column("status", sa.Text, primary_key=True),
        sa.Column("problems", sa.BigInteger, nullable=False),
    )
    op.drop_index("problem_area")
    op.create_index(
        "problem_area",
        "problem",
        ["area", "reported_at", "region", "id"],
        postgresql_ops={"area": "text_pattern_ops"},
    )
    op.create_index("problem_id", "problem", ["id"])
    op.create_index(
        "problem_referral",
        "problem",
        ["referral", "reported_at", "region", "id"],
        postgresql_where=sa.text("referral is not null"),
    )
    op.execute("""
        insert into problem_count (level, month, area, region, category, status, problems)
        select level, month, left(area, level), region, of, coalesce(referral, status), count(*)
        from problem cross join lateral (values
            (2, '-infinity'::date, category), (5, '-infinity', category), (8, '-infinity', category),
            (13, '-infinity', category), (2, '-infinity', ''),
            (2, date_trunc('month', reported_at at time zone 'UTC')::date, category),
            (2, date_trunc('month', reported_at at time zone 'UTC')::date, '')) as kept (level, month, of)
        group by 1, 2, 3, 4, 5, 6
    """)
