"""How many problems there are, kept as rows by the same statement that changes a problem, so that no question counts
problems one by one; and how those rows are asked.

A row counts the problems of one region and category, by status, whose area begins with `area`, as long as `level` says,
of all time (FOREVER), of one month or (`level` is negative) of one day; and where many categories come together, of
every one (EVERY). It is written by its region's projection alone. What has moved is taken off by rows of its own, which
all projections write: see MOVED.
"""

from __future__ import annotations

from functools import cache
from typing import Literal, get_args

from rembuk.contracts.status import OPEN, Between, Status
from rembuk.postgres.bulk import Statement

from hub.keeping import BEGINS, FOREVER, LEVEL_BELOW, PROVINCE, REGENCY, VILLAGE, Span, kept, level_of, spans
from hub.tables import STANDING, STATUSES

ProblemsBy = Literal["region", "area", "category", "status", "month"]

_OPEN = (*OPEN, "referred")
AWAY = tuple(one for one in get_args(Between) if one != "referred")
"""How a problem stands in a region that it does not live in."""
EVERY = ""
_EACH_CATEGORY: dict[Span, tuple[int, ...]] = {"ever": (2, 5, 13), "month": (2, 5, 13), "day": (2, 5)}
_TOGETHER: dict[Span, tuple[int, ...]] = {"ever": (2,), "month": (2, 5), "day": (2, 5)}
"""The levels of which there are rows: of each category, and of every category together. A district is the sum of its
villages."""

AT_HOME = f"""({STANDING} <> 'referred'
    or not exists (select from moved where moved.id = problem.id and moved.region = problem.region))"""
"""Of the problems that are not away: they count where they live, with their origin until another region has accepted
them, whoever of the two has heard."""

_COUNTED = f"""problem.region, problem.area, problem.category, {STANDING} as status,
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


def by_day(by: ProblemsBy, area: int) -> bool:
    """Whether there are rows of days that such a question can ask."""
    return _level(by, area) in _EACH_CATEGORY["day"]


@cache
def counts(by: ProblemsBy, area: int, status: Status | None, region: bool, category: bool, since: bool) -> str:
    """Rows of a key, how many problems, and how many of them are open, each problem where it lives unless a status is
    asked for that it has elsewhere. The parameters are those of the filters and, with `since`, the parts that
    `keeping.since` makes of it; `area` is the length of an area's code, 0 for none."""
    given = [name for name, asked in (("area", area), ("region", region), ("category", category)) if asked]
    number = {name: f"${n}" for n, name in enumerate(given, 1)}
    equal = [f"{name} = {number[name]}" for name in given if name != "area"]
    inside = [f"area >= {number['area']}", f"area < {number['area']} || '/'"] if area else []  # itself, or with a dot
    statuses = [status] if status else [one for one in STATUSES if one not in AWAY]
    opened = [one for one in statuses if one in _OPEN]
    level, first = _level(by, area), len(given) + 1

    def those(span: Span, begins: str, times: str) -> str:
        rows = level if level in _EACH_CATEGORY[span] else VILLAGE
        together = rows in _TOGETHER[span] and by != "category" and not category
        categories = f"category {'=' if together else '>'} '{EVERY}'"  # which is found out in the key
        where = " and ".join([f"level = {level_of(rows, span)}", begins, categories, *inside, *equal])
        if by == "status":
            each, are_open = (", ".join(f"sum({one})" if one in some else "0" for one in statuses)
                              for some in (statuses, opened))  # fmt: skip
            return f"""select unnest(array[{", ".join(map(repr, statuses))}]) as key,
                              {times} * unnest(array[{each}]) as problems, {times} * unnest(array[{are_open}]) as open
                       from problem_count where {where}"""
        key = "date_trunc('month', month)::date" if by == "month" and span == "day" else _key(by, level)
        return f"""select {key} as key, {times} * ({" + ".join(statuses)}) as problems,
                          {times} * ({" + ".join(opened) or "0"}) as open
                   from problem_count where {where}"""

    parts = [those(*span) for span in spans("problem_count", by == "month", first if since else None)]
    if since:
        begin, end, times = (f"${first + n}" for n in (3, 4, 5))
        which = [f"{STANDING} in ({', '.join(map(repr, statuses))})", AT_HOME, *equal]
        which += [f"reported_at >= {begin}", f"reported_at < {end}", *_lies_in(area, number.get("area", ""))]
        month = "date_trunc('month', reported_at at time zone 'UTC')::date"
        key = {"month": month, "status": STANDING}.get(by) or _key(by, level)
        others = ", ".join(repr(one) for one in statuses if one not in opened) or "null"  # fewer to compare with
        are_open = f"case when {STANDING} in ({others}) then 0 else {times}::int end"
        parts.append(f"select {key}, {times}::int, {are_open} from problem where {' and '.join(which)}")
    told = "to_char(key, 'YYYY-MM')" if by == "month" else "key"
    return f"""select {told} as key, sum(problems)::bigint as problems, sum(open)::bigint as open
               from ({" union all ".join(parts)}) as counted group by counted.key having sum(problems) > 0 order by 1"""


def _level(by: ProblemsBy, area: int) -> int:
    return LEVEL_BELOW[area] if by == "area" else area or PROVINCE


def _key(by: ProblemsBy, level: int) -> str:
    return f'left(area, {level}) collate "C"' if by == "area" else by


def _lies_in(area: int, code: str) -> list[str]:
    """Of problems, as an index has it; those of a district are in its villages."""
    regency = f"left(area, {REGENCY})"
    match area:
        case 0:
            return []
        case 2:
            return [f"left(area, {PROVINCE}) = {code}"]
        case 5:
            return [f"{regency} = {code}"]
        case 8:
            villages = f"level = {VILLAGE} and month = '{FOREVER}' and area >= {code} and area < {code} || '/'"
            return [f"""area = any(array(select area collate "default" from problem_count where {villages}))"""]
        case _:
            return [f"area = {code}"]
