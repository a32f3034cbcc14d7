"""Rows that say how many others there are: kept by the same statement that changes those, for a whole batch and in the
projection's transaction, so that they are right whenever anybody looks. Each counts a region's rows of an area, as long
as its `level` says, and of a span of time: all of it (FOREVER), a month, or (`level` is negative) a day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Literal, NamedTuple

from rembuk.postgres.bulk import Statement

Span = Literal["ever", "month", "day"]

PROVINCE, REGENCY, VILLAGE = 2, 5, 13
LEVEL_BELOW = {0: PROVINCE, 2: 5, 5: 8, 8: 13, 13: 13}
"""Of an area, by the length of its code: how long the codes right below it are."""
FOREVER = "-infinity"
BEGINS = f"case span when 'ever' then '{FOREVER}' when 'month' then date_trunc('month', day)::date else day end"
"""When the span begins to which a `day` belongs."""
_NEVER = datetime(9999, 1, 1, tzinfo=UTC)
"""So late nothing happens, and a month and a day later there still is a date."""


def kept(statement: Statement, table: str, columns: str, add: str) -> Statement:
    """The same change to rows of a table, and `add`, which reads from `changed` those `columns` of the rows as they
    were, with -1 as `n`, and as they are, with 1."""
    if statement.sql.startswith("insert"):
        changed = f"with after as ({statement.sql} returning {columns}), changed as (select *, 1 as n from after)"
    else:
        setting, _, which = statement.sql.partition(" from ")
        changed = (
            f"with before as (select {columns} from {table}, {which}), "
            f"after as ({setting} from {which} returning {columns}), "
            "changed as (select *, 1 as n from after union all select *, -1 from before)"
        )
    return Statement(statement.name, f"{changed} {add}", statement.parameters)


def level_of(area: int, span: Span) -> int:
    """The `level` of the rows of areas whose codes are so long."""
    return -area if span == "day" else area


def spans(table: str, by_month: bool, since: int | None) -> list[tuple[Span, str, str]]:
    """Which rows of `table` to sum up: of which span, when it begins, and how often each counts. `since` is the number
    of the first parameter that `Since` is, None where all time is asked for."""
    if since is not None:
        days, times = f"month = any(${since + 1}::date[])", f"${since + 2}::int"
        return [("month", _each_month(table, f"${since}"), "1"), ("day", days, times)]
    return [("month", _each_month(table), "1")] if by_month else [("ever", f"month = '{FOREVER}'", "1")]


def _each_month(table: str, begin: str = "null") -> str:
    """From `begin` on, one by one: along the key of the table each is found by itself, where a range of them would be a
    walk past all areas."""
    end, first = f"select max(month) from {table}", f"select min(month) from {table} where month > '{FOREVER}' and"
    return f"""month = any(array(select generate_series(
        greatest({begin}::date, ({first} level = {PROVINCE}))::timestamp, ({end} where level = {PROVINCE})::timestamp,
        interval '1 month')::date))"""


class Since(NamedTuple):
    """All that begins with a moment, as spans of which there are rows and a rest to count one by one: the months from
    `month` on; `days`, added (`days_times` is 1) or taken off (-1); and what happens from `begin` until before `end`,
    times `rest_times`."""

    month: date
    days: list[date]
    days_times: int
    begin: datetime
    end: datetime
    rest_times: int


def since(moment: datetime, by_day: bool = True) -> Since:
    """In UTC. Of a month and of a day the smaller part is read: added to what follows, or taken off the whole. Where
    there are no rows of days, `by_day` is false."""
    moment = min(moment, _NEVER).astimezone(UTC)
    if not by_day:
        first = _midnight(moment).replace(day=1)
        following = _midnight(first + timedelta(days=31)).replace(day=1)
        rest = _smaller(first, moment, following)
        return Since((following if rest[2] > 0 else first).date(), [], 1, *rest)
    rest = _smaller(_midnight(moment), moment, _midnight(moment) + timedelta(days=1))
    day = rest[1] if rest[2] > 0 else rest[0]
    first = day.replace(day=1)
    following = (first + timedelta(days=31)).replace(day=1)
    begin, end, times = _smaller(first, day, following)
    days = [begin.date() + timedelta(days=n) for n in range((end - begin).days)]
    return Since((following if times > 0 else first).date(), days, times, *rest)


def _smaller(first: datetime, moment: datetime, following: datetime) -> tuple[datetime, datetime, int]:
    """What to add to what is from `following` on (1), or to take off what is from `first` on (-1)."""
    return (moment, following, 1) if following - moment < moment - first else (first, moment, -1)


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)
