"""What can be asked about all regions: how each one's streams stand, and what their problems and meetings come to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from asyncpg import Record
from rembuk.areas.lookup import areas
from rembuk.broker.stream_names import stream_name
from rembuk.contracts.status import Status
from rembuk.flow.standing import SET_ASIDE_BY_STREAM
from rembuk.postgres.database import PlainSql
from rembuk.postgres.read_engine import connected
from rembuk.transparency.tree import origin
from rembuk.web.metrics import Gauge
from rembuk.web.reading import Timestamp, decode_cursor, encode_cursor
from rembuk.witness.standing import COSIGNED
from sqlalchemy import (
    Row,
    Select,
    Table,
    TextClause,
    func,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncEngine

from hub import counting, deliberating, keeping, listing
from hub.counting import ProblemsBy
from hub.deliberating import MeetingsBy
from hub.domain import State
from hub.tables import WITHHELD, activity, region_stream

Shown = Literal[State, "unwatched"]
EventsBy = Literal["region", "service", "type", "month"]

UNWATCHED_AFTER = timedelta(seconds=20)
"""So long after the last look nobody knows how a stream stands: the hub's worker or its nats-server is away."""

_STREAMS = """from region_stream join region on region.name = region_stream.region where region.revoked_at is null"""
_LABELS = "region, upper(region || '_' || service) as stream"
_LAG = "greatest(0, region_position - least(position, shown))"
_LAG_S = """greatest(0, extract(epoch from now() - coalesce(
                missing_since,
                case when state = 'cut_off' then coalesce(answered_at, since)
                     when region_position > least(position, shown) then moved_at end,
                now())))::float"""
_LETTERS = """select region.*, coalesce((select max(position) from inbox where region = name), 0) as letters,
                     coalesce((select position from inbox_read where region = name), 0) as letters_fetched
              from region"""
GAUGES = (
    Gauge(
        "rembuk_hub_lag_events",
        "Events that a region is known to have and the hub does not show",
        f"select {_LAG}, {_LABELS} {_STREAMS}",
    ),
    Gauge(
        "rembuk_hub_lag_seconds",
        "Age of the first of these, or for how long it has not come; for how long a region that is cut off is silent",
        f"select {_LAG_S}, {_LABELS} {_STREAMS}",
    ),
    Gauge(
        "rembuk_hub_looked_seconds",
        "For how long nobody has looked at a region's stream",
        f"select abs(extract(epoch from now() - looked_at))::float, {_LABELS} {_STREAMS}",
    ),
    Gauge(
        "rembuk_hub_letters_waiting",
        "What others have said to a region and it has not fetched",
        f"select letters - letters_fetched, name as region from ({_LETTERS}) as letters where revoked_at is null",
    ),
    Gauge("rembuk_hub_state", "1 for the state of a region's stream", f"select 1, {_LABELS}, state {_STREAMS}"),
)


class Cosigned(msgspec.Struct, frozen=True):
    """The last tree head of a log that this hub has cosigned."""

    size: int
    at: Timestamp


class Stream(msgspec.Struct, frozen=True):
    """How one service's stream of a region stands at the hub, and since when.

    `position` is the last event that the hub holds, `shown` the last in its read model, `region_position` the last that
    the region is known to have. `level`: all is shown. `behind`: not yet. `cut_off`: the region does not answer, and
    may have more than is known. `stalled`: it answers, and yet nothing comes. `diverged`: it does not have what the
    hub holds; where it has something else instead, `diverged_at` says. `unwatched`: the hub has not looked of late.
    `behind_s` is the age of the first event that is not shown, or, where that cannot be known, for how long nothing has
    come or been heard."""

    service: str
    state: Shown
    since: Timestamp
    position: int
    shown: int
    region_position: int
    behind_events: int
    behind_s: float
    quarantined: int
    looked_at: Timestamp
    answered_at: Timestamp | None
    diverged_at: int | None
    cosigned: Cosigned | None
    error: str


class Region(msgspec.Struct, frozen=True):
    """A region that is admitted, or was; `streams` are none before the first look. So many `letters` others have sent
    it, up to `letters_fetched` of which it has asked for the next one."""

    name: str
    admitted_at: Timestamp
    revoked_at: Timestamp | None
    letters: int
    letters_fetched: int
    streams: list[Stream]


class Count(msgspec.Struct, frozen=True):
    """So many problems, and how many of them are open. `name` is that of an area. What is not public counts in its
    regency, not below, and in place of its category under `withheld`."""

    key: str
    problems: int
    open: int
    name: str | None = None


class Deliberated(msgspec.Struct, frozen=True):
    """So many meetings of forums, how many of them were held, and how many solutions were agreed there."""

    key: str
    meetings: int
    held: int
    agreements: int
    name: str | None = None


class Happened(msgspec.Struct, frozen=True):
    """So many events."""

    key: str
    events: int


class Problem(msgspec.Struct, frozen=True):
    """A problem as a national picture has it; its region can tell more. One that a region referred to another has
    the same `id` in both, and is told of where it lives. Of one that is not public the regency is told, and neither its
    `id` nor its category."""

    region: str
    id: UUID | None
    area: str
    category: str | None
    status: Status
    reported_at: Timestamp
    changed_at: Timestamp


class ProblemPage(msgspec.Struct, frozen=True):
    """Problems, newest first; `next_cursor` is null on the last page."""

    items: list[Problem]
    next_cursor: str | None = None


class HubQueries:
    """Reads of the national read model."""

    def __init__(self, engine: AsyncEngine, plain: PlainSql) -> None:
        self._engine, self._plain = engine, plain

    async def regions(self) -> list[Region]:
        """Every region that was ever admitted, by name."""
        found: dict[str, Region] = {
            row.name: Region(row.name, row.admitted_at, row.revoked_at, row.letters, row.letters_fetched, [])
            for row in await self._all(text(f"{_LETTERS} order by name"))
        }
        heads = {row.origin: Cosigned(row.size, row.cosigned_at) for row in await self._all(text(COSIGNED))}
        aside = {row.stream: row.events for row in await self._all(text(SET_ASIDE_BY_STREAM))}
        [[now]] = await self._all(select(func.now()))  # the clock by which the worker has looked
        for row in await self._all(select(region_stream).order_by(region_stream.c.service)):
            if row.region in found:
                quarantined = aside.get(stream_name(row.region, row.service), 0)
                head = heads.get(origin(row.region, row.service))
                unwatched = abs(now - row.looked_at) > UNWATCHED_AFTER or found[row.region].revoked_at is not None
                found[row.region].streams.append(_stream(row, now, unwatched, quarantined, head))
        return list(found.values())

    async def problems_by(
        self, by: ProblemsBy, area: str | None, since: datetime | None, status: Status | None,
        region: str | None, category: str | None,
    ) -> list[Count]:  # fmt: skip
        """Numbers of problems, by key, each where it lives unless a status is asked for that it has elsewhere."""
        query = counting.counts(
            by, len(area or ""), status, region is not None, category is not None, since is not None
        )
        filters = [asked for asked in (area, region, category) if asked is not None]
        begins = keeping.since(since, counting.by_day(by, len(area or ""))) if since else ()
        rows = await self._plain.rows(query, *filters, *begins)
        return [Count(key, problems, are_open, _name(key, by)) for key, problems, are_open in rows]

    async def meetings_by(
        self, by: MeetingsBy, area: str | None, since: datetime | None, region: str | None
    ) -> list[Deliberated]:
        """Numbers of meetings, by key; a month is that in which they were scheduled."""
        query = deliberating.counts(by, len(area or ""), region is not None, since is not None)
        filters = [asked for asked in (area, region) if asked is not None]
        rows = await self._plain.rows(query, *filters, *(keeping.since(since) if since else ()))
        return [
            Deliberated(key, meetings, held, agreements, _name(key, by)) for key, meetings, held, agreements in rows
        ]

    async def events_by(self, by: EventsBy, **equal: Any) -> list[Happened]:
        """Numbers of events, by key."""
        key = (func.to_char(activity.c.month, "YYYY-MM") if by == "month" else activity.c[by]).label("key")
        query = _equal(select(key, func.sum(activity.c.events).label("events")), activity, equal)
        return [Happened(row.key, int(row.events)) for row in await self._all(query.group_by(key).order_by(key))]

    async def problems(
        self, area: str | None, status: Status | None, region: str | None, category: str | None,
        cursor: str | None, limit: int,
    ) -> ProblemPage:  # fmt: skip
        """Problems, newest first, each as for `problems_by`; raises Refused for a cursor that is none."""
        before = () if cursor is None else decode_cursor(cursor, Timestamp, _Name, UUID)
        query = listing.page(len(area or ""), status, region is not None, category is not None, cursor is not None)
        filters = [asked for asked in (area, region, category) if asked is not None]
        rows = await self._plain.rows(query, limit + 1, *filters, *before)
        last = rows[limit - 1] if len(rows) > limit else None
        more = encode_cursor(last["reported_at"], last["region"], _beginning(last)) if last else None
        return ProblemPage([_problem(row) for row in rows[:limit]], more)

    async def _all(self, query: Select[Any] | TextClause) -> Sequence[Row[Any]]:
        async with connected(self._engine) as connection:
            rows: Sequence[Row[Any]] = (await connection.execute(query)).all()
            return rows


_Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9]*\Z")]


def _stream(row: Row[Any], now: datetime, unwatched: bool, quarantined: int, cosigned: Cosigned | None) -> Stream:
    missing = max(0, row.region_position - min(row.position, row.shown))
    behind_since = row.missing_since
    if behind_since is None and row.state == "cut_off":
        behind_since = row.answered_at or row.since
    elif behind_since is None and (missing or unwatched):
        behind_since = row.moved_at if missing else row.looked_at
    return Stream(
        service=row.service,
        state="unwatched" if unwatched else row.state,
        since=row.looked_at if unwatched else row.since,
        position=row.position,
        shown=row.shown,
        region_position=row.region_position,
        behind_events=missing,
        behind_s=max(0.0, (now - behind_since).total_seconds()) if behind_since else 0.0,
        quarantined=quarantined,
        looked_at=row.looked_at,
        answered_at=row.answered_at,
        diverged_at=row.diverged_at,
        cosigned=cosigned,
        error=row.error,
    )


def _problem(row: Record) -> Problem:
    """By place: `listing` has the columns in the order of the fields."""
    if row["category"] != WITHHELD:
        return Problem(*row)
    return Problem(row["region"], None, row["area"], None, *row[4:])


def _beginning(row: Record) -> UUID:
    """The id of a problem for a cursor, which anybody can read: of one that is not public only how it begins, before
    which no other comes that its region reported in the same microsecond."""
    whole: UUID = row["id"]
    return UUID(int=whole.int >> 80 << 80) if row["category"] == WITHHELD else whole


def _equal(query: Select[Any], table: Table, equal: dict[str, Any]) -> Select[Any]:
    return query.where(*(table.c[name] == value for name, value in equal.items() if value is not None))


def _name(key: str, by: str) -> str | None:
    """Of an area that there is: a region may report in one that we do not know."""
    return areas()[key].name if by == "area" and key in areas() else None
