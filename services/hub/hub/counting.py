"""How many problems there are, kept as rows by the same statement that changes a problem, so that no question counts
problems one by one; and how those rows are asked.

A row counts the problems of one region, category and status whose area begins with `area`, as long as `level` says, of
all time (FOREVER), or in the provinces of one month; and there of every category together, too (EVERY). It is written
by its region's projection alone.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, Literal, get_args

from rembuk.bulk import Statement
from rembuk.contracts.status import OPEN, Between, Status
from rembuk.web.reading import lies_in
from sqlalchemy import (
    Column,
    ColumnElement,
    Select,
    Table,
    and_,
    exists,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    union_all,
)

from hub.tables import problem, problem_count

ProblemsBy = Literal["region", "area", "category", "status", "month"]

_OPEN = (*OPEN, "referred")
_AWAY = tuple(one for one in get_args(Between) if one != "referred")
"""How a problem stands in a region that it does not live in."""
PROVINCE, VILLAGE = 2, 13
LEVEL_BELOW = {None: PROVINCE, 2: 5, 5: 8, 8: 13, 13: 13}
"""Of an area, by the length of its code: how long the codes right below it are."""
FOREVER: ColumnElement[date] = literal_column("'-infinity'::date")

EVERY = ""

standing: ColumnElement[Any] = func.coalesce(problem.c.referral, problem.c.status)
_accepted = problem.alias("accepted")
_MOVED = exists().where(
    _accepted.c.id == problem.c.id, _accepted.c.region != problem.c.region, _accepted.c.referral.is_(None)
)
_AT_HOME = or_(problem.c.referral.is_(None), and_(problem.c.referral == "referred", not_(_MOVED)))
"""A problem counts where it lives: with its origin until another region has accepted it, whoever of them has heard."""

_COUNTED = """problem.region, problem.area, problem.category, coalesce(problem.referral, problem.status) as status,
              problem.reported_at"""
_ADD = """merge into problem_count as old using (
    select level, month, left(area, level) as area, region, of as category, status, sum(n)::bigint as n
    from changed cross join lateral (values
        (2, '-infinity'::date, category), (5, '-infinity', category), (8, '-infinity', category),
        (13, '-infinity', category), (2, '-infinity', ''),
        (2, date_trunc('month', reported_at at time zone 'UTC')::date, category),
        (2, date_trunc('month', reported_at at time zone 'UTC')::date, '')) as kept (level, month, of)
    group by 1, 2, 3, 4, 5, 6 having sum(n) <> 0
) as new on old.level = new.level and old.month = new.month and old.area = new.area
    and old.region = new.region and old.category = new.category and old.status = new.status
when matched and old.problems + new.n = 0 then delete
when matched then update set problems = old.problems + new.n
when not matched then insert (level, month, area, region, category, status, problems)
    values (new.level, new.month, new.area, new.region, new.category, new.status, new.n)"""


def counted(statement: Statement) -> Statement:
    """The same change to problems, and to how many there are."""
    if statement.sql.startswith("insert"):
        changed = f"with after as ({statement.sql} returning {_COUNTED}), changed as (select *, 1 as n from after)"
    else:
        setting, _, which = statement.sql.partition(" from ")
        changed = (
            f"with before as (select {_COUNTED} from problem, {which}), "
            f"after as ({setting} from {which} returning {_COUNTED}), "
            "changed as (select *, 1 as n from after union all select *, -1 from before)"
        )
    return Statement(statement.name, f"{changed} {_ADD}", statement.parameters)


def counts(
    by: ProblemsBy, area: str | None, since: datetime | None, status: Status | None, **equal: Any
) -> Select[Any]:
    """A key, how many problems, and how many of them are open, each problem where it lives unless a status is asked for
    that it has elsewhere. Within a month, and of months within a province, problems are counted one by one."""
    level = LEVEL_BELOW[len(area) if area else None] if by == "area" else len(area or "") or PROVINCE
    if (by == "month" or since) and level != PROVINCE:
        return _summed(_recounted(by, level, area, status, equal, since))
    parts = [_kept(by, level, area, status, equal, since)]
    begins = _next_month(since) if since else None
    if status in (None, "referred"):
        parts.append(_moved(by, level, area, equal, begins))
    if since is not None:
        parts.append(_recounted(by, level, area, status, equal, since, begins))
    return _summed(*parts)


def recounted(
    by: ProblemsBy, area: str | None, since: datetime | None, status: Status | None, **equal: Any
) -> Select[Any]:
    """What `counts` comes to, by every problem."""
    level = LEVEL_BELOW[len(area) if area else None]
    return _summed(_recounted(by, level, area, status, equal, since))


def within(column: Column[str], area: str) -> ColumnElement[bool]:
    """Whether a row's area is `area` or lies below it; nothing lies below a village, whose problems stand in order."""
    return column == area if len(area) == VILLAGE else lies_in(column, area)


def at_home(query: Select[Any], status: Status | None) -> Select[Any]:
    """The query for problems with a status, or for those that are at home."""
    if status in _AWAY:
        return query.where(problem.c.referral == status)
    if status == "referred":
        return query.where(problem.c.referral == status, not_(_MOVED))
    if status is not None:
        return query.where(problem.c.referral.is_(None), problem.c.status == status)
    return query.where(_AT_HOME)


def _summed(*parts: Select[Any]) -> Select[Any]:
    every = union_all(*parts).subquery()
    problems, are_open = func.sum(every.c.problems), func.sum(every.c.open)
    query = select(every.c.key, problems.label("problems"), are_open.label("open"))
    return query.group_by(every.c.key).having(problems > 0).order_by(every.c.key)


def _kept(
    by: ProblemsBy, level: int, area: str | None, status: Status | None, equal: dict[str, Any], since: datetime | None
) -> Select[Any]:
    """By the rows that count."""
    kept = problem_count.c
    key: ColumnElement[str] = func.to_char(kept.month, "YYYY-MM") if by == "month" else kept[by]
    number = func.sum(kept.problems)
    columns: list[Any] = [key.label("key"), number.label("problems")]
    are_open = number.filter(kept.status.in_(_OPEN)).label("open")
    query = select(*columns, are_open).where(kept.level == level).group_by(kept.month if by == "month" else key)
    if since is not None:
        query = query.where(kept.month >= _next_month(since))
    else:
        query = query.where(kept.month > FOREVER if by == "month" else kept.month == FOREVER)
    if area is not None:
        query = query.where(kept.area >= area, kept.area < f"{area}/")  # itself, and what goes on after a dot
    if level == PROVINCE and by != "category" and equal.get("category") is None:
        query = query.where(kept.category == EVERY)
    else:
        query = query.where(kept.category != EVERY)
    query = query.where(kept.status == status if status else kept.status.not_in(_AWAY))
    return _equal(query, problem_count, equal)


def _moved(by: ProblemsBy, level: int, area: str | None, equal: dict[str, Any], since: date | None) -> Select[Any]:
    """Those that another region has accepted and their origin has not heard of: they count there alone."""
    columns: list[Any] = [_key(by, level), literal(-1).label("problems"), literal(-1).label("open")]
    query = select(*columns).where(problem.c.referral == "referred", _MOVED)
    return _narrowed(query, area, since, equal)


def _recounted(
    by: ProblemsBy,
    level: int,
    area: str | None,
    status: Status | None,
    equal: dict[str, Any],
    since: datetime | None,
    until: date | None = None,
) -> Select[Any]:
    """By the problems themselves."""
    key = _key(by, level)
    are_open = func.count().filter(standing.in_(_OPEN)).label("open")
    columns: list[Any] = [key, func.count().label("problems"), are_open]
    query = at_home(select(*columns), status)
    if until is not None:
        query = query.where(problem.c.reported_at < _moment(until))
    return _narrowed(query, area, since, equal).group_by(key)


def _key(by: ProblemsBy, level: int) -> ColumnElement[str]:
    keys = {
        "month": func.to_char(func.timezone("UTC", problem.c.reported_at), "YYYY-MM"),
        "area": func.left(problem.c.area, level),
        "status": standing,
    }
    return (keys[by] if by in keys else problem.c[by]).label("key")


def _narrowed(
    query: Select[Any], area: str | None, since: datetime | date | None, equal: dict[str, Any]
) -> Select[Any]:
    if area is not None:
        query = query.where(within(problem.c.area, area))
    if since is not None:
        query = query.where(problem.c.reported_at >= _moment(since))
    return _equal(query, problem, equal)


def _equal(query: Select[Any], table: Table, equal: dict[str, Any]) -> Select[Any]:
    return query.where(*(table.c[name] == value for name, value in equal.items() if value is not None))


def _next_month(moment: datetime) -> date:
    """When the next month begins, in UTC."""
    moment = moment.astimezone(UTC)
    return date(moment.year + moment.month // 12, moment.month % 12 + 1, 1)


def _moment(day: datetime | date) -> datetime:
    return day if isinstance(day, datetime) else datetime(day.year, day.month, day.day, tzinfo=UTC)
