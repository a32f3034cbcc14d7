"""How far a log has come, and what stands at a position of it: each question is one statement, asked by everybody here.

It imports little, for `rembuk status` starts with it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from rembuk.events.rows import COLUMNS

if TYPE_CHECKING:
    import asyncpg

_POSITION = "select position from log.head"
_END = """select position, recorded_at, extract(epoch from recorded_at - clock_timestamp())::float8 as ahead_s
          from log.head"""
_ID = "select id from log.event where position = $1"
_RECORDED_AT = "select recorded_at from log.event where position = $1"
_WAITING = """select greatest(0, extract(epoch from clock_timestamp() - recorded_at))::float8
              from log.event where position = $1 + 1"""
_OLDER_THAN = "select recorded_at < now() - make_interval(secs => $2) from log.event where position = $1"
_BEGUN_AT = "select stream_id from log.event where position = $1 and version = 1"
_TYPES = "select position, type from log.event where stream_id = $1 order by version"
_COUNTS = """select type, substring(metadata->>'actor' from '^reaction:(.*)') as reaction, count(*) as events
             from log.event where position > $1 and position <= $2 group by 1, 2"""


class LogEnd(msgspec.Struct, frozen=True):
    """The last position of a log (0: it is empty), when its event was recorded, and for how long that time is still to
    come: more than nothing where the clock was set back."""

    position: int
    recorded_at: datetime
    ahead_s: float


class PositionedType(msgspec.Struct, frozen=True):
    """The type of the event at a position."""

    position: int
    type: str


class TypeCount(msgspec.Struct, frozen=True):
    """So many events of one type, which the reaction of that name recorded (None: no reaction did)."""

    type: str
    reaction: str | None
    events: int


async def last_position(connection: asyncpg.Connection[Any]) -> int:
    """0 for an empty log."""
    return int(await connection.fetchval(_POSITION))


async def log_end(connection: asyncpg.Connection[Any]) -> LogEnd:
    [row] = await connection.fetch(_END)
    return LogEnd(*row)


async def event_id(connection: asyncpg.Connection[Any], position: int) -> UUID | None:
    """Of the event at a position; None where there is none."""
    found: UUID | None = await connection.fetchval(_ID, position)
    return found


async def recorded_at(connection: asyncpg.Connection[Any], position: int) -> datetime | None:
    """When the event at a position was recorded; None where there is none."""
    moment: datetime | None = await connection.fetchval(_RECORDED_AT, position)
    return moment


async def waiting_s(connection: asyncpg.Connection[Any], position: int) -> float:
    """The lag of whoever has come to a position, in seconds: the age of the first event behind it, 0.0 without one."""
    return float(await connection.fetchval(_WAITING, position) or 0.0)


async def is_older(connection: asyncpg.Connection[Any], position: int, seconds: float) -> bool:
    """Whether there is an event at a position that was recorded longer ago than that."""
    return bool(await connection.fetchval(_OLDER_THAN, position, seconds))


async def begun_at(connection: asyncpg.Connection[Any], position: int) -> UUID | None:
    """The aggregate whose first event stands at a position; None where none does."""
    found: UUID | None = await connection.fetchval(_BEGUN_AT, position)
    return found


async def types_of(connection: asyncpg.Connection[Any], aggregate: UUID) -> list[PositionedType]:
    """The types of an aggregate's events, in order."""
    return [PositionedType(*row) for row in await connection.fetch(_TYPES, aggregate)]


async def type_counts(connection: asyncpg.Connection[Any], after: int, until: int) -> list[TypeCount]:
    """The events after one position up to another, by type and reaction."""
    return [TypeCount(*row) for row in await connection.fetch(_COUNTS, after, until)]


def first_event(alias: str, aggregate: str) -> str:
    """SQL for a join: the event that an aggregate began with, as a table of that alias."""
    return f"log.event as {alias} on {alias}.stream_id = {aggregate} and {alias}.version = 1"


def has_event(aggregate: str, type: str) -> str:
    """An SQL condition: whether an event of that type was recorded of an aggregate."""
    return f"exists (select from log.event where event.stream_id = {aggregate} and event.type = '{type}')"


HISTORY = f"select {COLUMNS} from log.event where stream_id = $1"  # noqa: S608 - our own names
"""The events of an aggregate $1, as rows, in any order."""
