"""How many problems there are, kept as rows by the same statement that changes a problem, so that no question counts
problems one by one; and how those rows are asked.

A row counts the problems of one region and category, by status, whose area begins with `area`, as long as `level` says,
of all time (FOREVER), of one month or (`level` is negative) of one day; and where many categories come together, of
every one (EVERY). It is written by its region's projection alone. What has moved is taken off by rows of its own, which
all projections write: see MOVED.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import reduce
from operator import add
from typing import Any, Literal, get_args

from rembuk.bulk import Statement
from rembuk.contracts.status import OPEN, Between, Status
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
from sqlalchemy.dialects.postgresql import array

from hub.keeping import BEGINS, LEVEL_BELOW, PROVINCE, REGENCY, VILLAGE, Span, kept, level_of
from hub.tables import STATUSES, moved, problem, problem_count

ProblemsBy = Literal["region", "area", "category", "status", "month"]

_OPEN = (*OPEN, "referred")
AWAY = tuple(one for one in get_args(Between) if one != "referred")
"""How a problem stands in a region that it does not live in."""
_NEVER = datetime(9999, 1, 1, tzinfo=UTC)
"""So late nothing happens, and a month and a day later there still is a date."""
FOREVER: ColumnElement[date] = literal_column("'-infinity'::date")
EVERY = ""
_EACH_CATEGORY: dict[Span, tuple[int, ...]] = {"ever": (2, 5, 13), "month": (2, 5, 13), "day": (2, 5)}
_TOGETHER: dict[Span, tuple[int, ...]] = {"ever": (2,), "month": (2, 5), "day": (2, 5)}
"""The levels of which there are rows: of each category, and of every category together. A district is the sum of its
villages."""

standing: ColumnElement[Any] = func.coalesce(problem.c.referral, problem.c.status)
_MOVED = exists().where(moved.c.id == problem.c.id, moved.c.region == problem.c.region)
_AT_HOME = or_(problem.c.referral.is_(None), and_(problem.c.referral == "referred", not_(_MOVED)))
"""A problem counts where it lives: with its origin until another region has accepted it, whoever of them has heard."""

_COUNTED = """problem.region, problem.area, problem.category, coalesce(problem.referral, problem.status) as status,
              problem.reported_at, false as moved"""


def _each(told: str) -> str:
    return ", ".join(told.format(status) for status in STATUSES)


_KINDS = ", ".join(
    f"({level_of(area, span)}, '{span}', {together})"
    for together, levels_of in ((False, _EACH_CATEGORY), (True, _TOGETHER))
    for span, levels in levels_of.items()
    for area in levels
)
_ADD = f"""
    insert into problem_count (level, month, area, region, category, moved, {_each("{0}")})
    select level, {BEGINS}, left(area, abs(level)), region, case when together then '' else category end, moved,
           {_each("coalesce(sum(n) filter (where status = '{0}'), 0)")}
    from (select area, region, category, moved, status, (reported_at at time zone 'UTC')::date as day,
                 sum(n)::integer as n from changed group by 1, 2, 3, 4, 5, 6 having sum(n) <> 0) as different
         cross join (values {_KINDS}) as kept (level, span, together)
    group by 1, 2, 3, 4, 5, 6
    on conflict (level, month, area, region, category, moved)
    do update set {_each("{0} = problem_count.{0} + excluded.{0}")}"""


def counted(statement: Statement) -> Statement:
    """The same change to problems, and to how many there are."""
    return kept(statement, "problem", _COUNTED, _ADD)


ALONE = Statement(
    "alone_with_moved",
    "select pg_advisory_xact_lock('moved'::regclass::oid::bigint) where cardinality($1::uuid[]) > 0",
    ("id",),
)
"""Until the transaction ends no other projection finds out what has moved. It comes behind the changes to rows of one's
own region and before MOVED, which sees what others have committed by then: where two projections learn at once of the
two ends of a referral, the second sees both."""
MOVED = Statement(
    "moved",
    f"""
    with asked as (select distinct id from unnest($1::uuid[]) as asked (id)),
    now as (
        select region, id from problem join asked using (id)
        where referral = 'referred'
          and exists (select from problem as other
                      where other.id = problem.id and other.region <> problem.region and other.referral is null)
    ),
    gone as (
        delete from moved using asked
        where moved.id = asked.id
          and not exists (select from now where now.id = moved.id and now.region = moved.region)
        returning moved.region, moved.id
    ),
    come as (insert into moved (region, id) select region, id from now on conflict do nothing returning region, id),
    changed as (
        select region, area, category, 'referred' as status, reported_at, true as moved, n
        from problem join (select *, -1 as n from come union all select *, 1 from gone) as moving using (region, id)
    ) {_ADD}""",
    ("id",),
)
"""Finds anew which of these problems have moved, and takes them off the counts of the region that referred them."""
TIDY = Statement(
    "tidy_problem_count",
    "delete from problem_count where moved and referred = 0 and cardinality($1::uuid[]) > 0",
    ("id",),
)
"""A row from which nothing is taken off goes. No other row comes to nothing: a problem keeps its area and category."""


def counts(
    by: ProblemsBy, area: str | None, since: datetime | None, status: Status | None, **equal: Any
) -> Select[Any]:
    """A key, how many problems, and how many of them are open, each problem where it lives unless a status is asked for
    that it has elsewhere. Behind `since` there are whole months, before them days, where these are kept, and before
    these problems that are counted one by one."""
    level = LEVEL_BELOW[len(area or "")] if by == "area" else len(area or "") or PROVINCE
    begins = problem_count.c.month
    if since is None and by == "month":
        return _summed(_kept("month", begins > FOREVER, by, level, area, status, equal))
    if since is None:
        return _summed(_kept("ever", begins == FOREVER, by, level, area, status, equal))
    since = min(since, _NEVER)
    until = month = _next_month(since)
    parts = [_kept("month", begins >= month, by, level, area, status, equal)]
    if level in _EACH_CATEGORY["day"]:
        until = since.astimezone(UTC).date() + timedelta(days=1)
        days = [until + timedelta(days=n) for n in range((month - until).days)]
        parts.append(_kept("day", begins.in_(days), by, level, area, status, equal))
    return _summed(*parts, _recounted(by, level, area, status, equal, since, until))


def recounted(
    by: ProblemsBy, area: str | None, since: datetime | None, status: Status | None, **equal: Any
) -> Select[Any]:
    """What `counts` comes to, by every problem."""
    level = LEVEL_BELOW[len(area or "")]
    return _summed(_recounted(by, level, area, status, equal, since))


def within(column: Column[str], area: str) -> ColumnElement[bool]:
    """Whether a row's area is `area` or lies below it; nothing lies below a village, whose problems stand in order."""
    return column == area if len(area) == VILLAGE else column.like(f"{area}.%") | (column == area)


def at_home(query: Select[Any], status: Status | None) -> Select[Any]:
    """The query for problems with a status, or for those that are at home."""
    if status in AWAY:
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
    span: Span,
    begins: ColumnElement[bool],
    by: ProblemsBy,
    level: int,
    area: str | None,
    status: Status | None,
    equal: dict[str, Any],
) -> Select[Any]:
    """By the rows that count in spans that begin so."""
    kept, rows = problem_count.c, level if level in _EACH_CATEGORY[span] else VILLAGE
    which = [status] if status else [one for one in STATUSES if one not in AWAY]
    opened = [one for one in which if one in _OPEN]
    key: ColumnElement[str]
    numbers: list[ColumnElement[Any]]
    if by == "status":
        key = func.unnest(array([literal(one) for one in which]))
        numbers = [func.unnest(array([func.sum(kept[one]) if one in among else literal(0) for one in which]))
                   for among in (which, opened)]  # fmt: skip
    else:
        keys = {"month": func.to_char(kept.month, "YYYY-MM"), "area": func.left(kept.area, level)}
        key = keys[by] if by in keys else kept[by]
        numbers = [func.sum(reduce(add, (kept[one] for one in among), literal(0))) for among in (which, opened)]
    query = select(key.label("key"), numbers[0].label("problems"), numbers[1].label("open"))
    if by != "status":
        query = query.group_by(kept.month if by == "month" else key)
    query = query.where(kept.level == level_of(rows, span), begins)
    if area is not None:
        query = query.where(kept.area >= area, kept.area < f"{area}/")  # itself, and what goes on after a dot
    together = rows in _TOGETHER[span] and by != "category" and equal.get("category") is None
    query = query.where(kept.category == EVERY if together else kept.category != EVERY)
    return _equal(query, problem_count, equal)


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
        if len(area) >= REGENCY:  # as an index has it
            query = query.where(func.left(problem.c.area, literal_column(str(REGENCY))) == area[:REGENCY])
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
