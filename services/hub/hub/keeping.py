"""Rows that say how many others there are: kept by the same statement that changes those, for a whole batch and in the
projection's transaction, so that they are right whenever anybody looks. Each counts a region's rows of an area, as long
as its `level` says, and of a span of time: all of it (FOREVER), a month, or (`level` is negative) a day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Literal, NamedTuple

from rembuk.bulk import Statement

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


def months(table: str, begin: str = "null") -> str:
    """Those from `begin` on of which there are rows, one by one: along the key of the table each is found by itself,
    where a range of them would be a walk past all areas."""
    end, first = f"select max(month) from {table}", f"select min(month) from {table} where month > '{FOREVER}' and"
    return f"""array(select generate_series(
        greatest({begin}::date, ({first} level = {PROVINCE}))::timestamp, ({end} where level = {PROVINCE})::timestamp,
        interval '1 month')::date)"""


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


def since(moment: datetime) -> Since:
    """In UTC. Of a month and of a day the smaller part is read: added to what follows, or taken off the whole."""
    moment = min(moment, _NEVER).astimezone(UTC)
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    next_midnight = midnight + timedelta(days=1)
    late = next_midnight - moment < moment - midnight
    rest = (moment, next_midnight, 1) if late else (midnight, moment, -1)
    day = (next_midnight if late else midnight).date()
    month, next_month = day.replace(day=1), (day.replace(day=28) + timedelta(days=4)).replace(day=1)
    if next_month - day < day - month:
        return Since(next_month, _days(day, next_month), 1, *rest)
    return Since(month, _days(month, day), -1, *rest)


def _days(first: date, end: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((end - first).days)]
