"""How many problems there are on each day, in provinces and regencies, kept as rows beside those of months: their level
is negative. Rows of districts go, which are sums of few rows of villages. The key is made anew behind them."""

from alembic import op

revision = "0008"
down_revision = "0007"

STATUSES = (
    "reported", "verified", "rejected", "solution_proposed", "unassessed", "solved", "closed", "reopened",
    "referred", "handed_over", "offered", "declined", "withdrawn",
)  # fmt: skip
_SETTINGS = {"work_mem": "'128MB'", "maintenance_work_mem": "'256MB'", "enable_sort": "off"}
_EACH = ", ".join(STATUSES)
_SUMS = ", ".join(f"sum({status})::integer as {status}" for status in STATUSES)
_STAND_SO = ", ".join(
    f"(count(*) filter (where coalesce(referral, status) = '{status}'))::integer as {status}" for status in STATUSES
)
_MOVED = ", ".join("-count(*)::integer" if status == "referred" else "0" for status in STATUSES)
_DAY = "(reported_at at time zone 'UTC')::date"
_REGENCY = 'left(area, 5) collate "C"'


def _kept(level: int, category: str) -> str:
    return f"""insert into problem_count (level, month, area, region, category, moved, {_EACH})
               select -{level}, day, left(area, {level}), region, {category}, moved, {_SUMS} from by_day
               group by 2, 3, 4, 5, 6"""  # noqa: S608 - our own words


FILL = [
    "delete from problem_count where level = 8",
    f"""create temporary table by_day on commit drop as
        select {_DAY} as day, {_REGENCY} as area, region, category, false as moved, {_STAND_SO}
        from problem group by 1, 2, 3, 4
        union all
        select {_DAY}, {_REGENCY}, region, category, true, {_MOVED}
        from problem join moved using (region, id) group by 1, 2, 3, 4""",  # noqa: S608 - our own words
    *(_kept(level, category) for level in (2, 5) for category in ("category", "''")),
    "drop table by_day",
]


def upgrade() -> None:
    for name, value in _SETTINGS.items():
        op.execute(f"set local {name} = {value}")
    op.drop_constraint("problem_count_pkey", "problem_count")
    for statement in FILL:
        op.execute(statement)
    key = ["level", "month", "area", "region", "category", "moved"]
    op.create_primary_key("problem_count_pkey", "problem_count", key)
    for name in _SETTINGS:
        op.execute(f"set local {name} = default")
    op.execute("analyze problem_count")
