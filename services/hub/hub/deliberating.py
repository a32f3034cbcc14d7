"""How many meetings there are, how many of them were held and what was agreed there, kept as rows of meeting_count; and
how those rows are asked. Each is written by its region's projection alone."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Literal, get_args

from rembuk.postgres.bulk import Statement

from hub.keeping import BEGINS, LEVEL_BELOW, PROVINCE, REGENCY, VILLAGE, Span, kept, level_of, spans

MeetingsBy = Literal["region", "area", "month"]

LEVELS = (PROVINCE, REGENCY, VILLAGE)
"""A district is the sum of its villages."""
_KINDS = ", ".join(f"({level_of(of, span)}, '{span}')" for of, span in product(LEVELS, get_args(Span)))
_ADD = f"""
    insert into meeting_count (level, month, area, region, meetings, held, agreements)
    select level, {BEGINS}, left(area, abs(level)), region, sum(n), sum(case when held_at is null then 0 else n end),
           sum(n * coalesce(agreements, 0))
    from (select *, (scheduled_at at time zone 'UTC')::date as day from changed) as changed
         cross join (values {_KINDS}) as kept (level, span)
    group by 1, 2, 3, 4
    on conflict (level, month, area, region)
    do update set meetings = meeting_count.meetings + excluded.meetings, held = meeting_count.held + excluded.held,
                  agreements = meeting_count.agreements + excluded.agreements"""


def counted(statement: Statement) -> Statement:
    """The same change to meetings, and to how many there are."""
    columns = ("region", "area", "scheduled_at", "held_at", "agreements")
    return kept(statement, "meeting", ", ".join(f"meeting.{column}" for column in columns), _ADD)


@cache
def counts(by: MeetingsBy, area: int, region: bool, since: bool) -> str:
    """Rows of a key and the three numbers. The parameters are those of the filters and, with `since`, the parts that
    `keeping.since` makes of it. `area` is the length of an area's code, 0 for none; a month is that in which a meeting
    was scheduled."""
    given = [name for name, asked in (("area", area), ("region", region)) if asked]
    number = {name: f"${n}" for n, name in enumerate(given, 1)}
    equal = [f"region = {number['region']}"] if region else []
    inside = [f"area >= {number['area']}", f"area < {number['area']} || '/'"] if area else []
    of = LEVEL_BELOW[area] if by == "area" else area or PROVINCE
    key = {"region": "region", "area": f'left(area, {of}) collate "C"', "month": "month"}[by]

    first = len(given) + 1

    def those(span: Span, begins: str, times: str) -> str:
        which = [f"level = {level_of(of if of in LEVELS else VILLAGE, span)}", begins, *inside, *equal]
        of_month = "date_trunc('month', month)::date" if by == "month" and span == "day" else key
        return f"""select {of_month} as key, {times} * meetings as meetings, {times} * held as held,
                          {times} * agreements as agreements
                   from meeting_count where {" and ".join(which)}"""

    parts = [those(*span) for span in spans("meeting_count", by == "month", first if since else None)]
    if since:
        begin, end, times = (f"${first + n}" for n in (3, 4, 5))
        which = [f"scheduled_at >= {begin}", f"scheduled_at < {end}", *equal]
        if area:
            which.append(f"left(area, {area}) = {number['area']}")
        one = "date_trunc('month', scheduled_at at time zone 'UTC')::date" if by == "month" else key
        parts.append(f"""
            select {one}, {times}::int, case when held_at is null then 0 else {times}::int end,
                   {times}::int * coalesce(agreements, 0)
            from meeting where {" and ".join(which)}""")
    told = "to_char(key, 'YYYY-MM')" if by == "month" else "key"
    return f"""select {told} as key, sum(meetings) as meetings, sum(held) as held, sum(agreements) as agreements
               from ({" union all ".join(parts)}) as counted group by counted.key having sum(meetings) > 0 order by 1"""
