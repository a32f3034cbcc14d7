"""Where the followers of a service stand, what they have set aside, what their reactions were refused.

It imports little, for `rembuk status` starts with it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import asyncpg

_FOLLOWERS = "select follower, stream, position from checkpoint order by follower, stream"
_POSITION = "select coalesce(max(position), 0), now() from checkpoint where follower = $1 and stream = $2"
_FURTHEST = "select coalesce(max(position), 0) from checkpoint where stream = $1"
_SET_BACK = """with set_back as (update checkpoint set position = $2, recorded_at = null
                                where stream = $1 and position > $2 returning follower),
                    released as (delete from quarantine where stream = $1 and position > $2)
               select follower from set_back"""
_REFUSED = "select follower, count(*) from reaction where outcome = 'refused' group by follower"
_SET_ASIDE = """select follower, stream, count(distinct stream_id) as aggregates, count(*) as events,
                       min(position) as first
                from quarantine group by follower, stream order by follower, stream"""
_AGGREGATES = """select follower, stream, stream_id as aggregate, count(*) as events, min(position) as first,
                        (array_agg(type order by position))[1] as type,
                        (array_agg(error order by position))[1] as error, min(quarantined_at) as since
                 from quarantine group by follower, stream, stream_id order by follower, stream, first"""
_EVENTS = """select follower, stream, position, type, error, headers::text, data, quarantined_at as since
             from quarantine where stream_id = $1 order by follower, stream, position"""
SET_ASIDE_BY_STREAM = "select stream, count(distinct position) as events from quarantine group by stream"
"""How many events of each stream some follower has set aside: for a reader with an engine of its own."""


class CheckpointPosition(msgspec.Struct, frozen=True):
    """The last position of a stream that a follower has processed."""

    follower: str
    stream: str
    position: int


class SetAside(msgspec.Struct, frozen=True):
    """What a follower has set aside of a stream, the first of it at position `first`."""

    follower: str
    stream: str
    aggregates: int
    events: int
    first: int


class AggregateAside(msgspec.Struct, frozen=True):
    """What a follower has set aside of one aggregate: so many events, the first of them at fault for `error`."""

    follower: str
    stream: str
    aggregate: str
    events: int
    first: int
    type: str
    error: str
    since: datetime


class EventAside(msgspec.Struct, frozen=True):
    """An event that a follower has set aside, as it came."""

    follower: str
    stream: str
    position: int
    type: str
    error: str
    headers: str
    data: bytes
    since: datetime


async def checkpoint_positions(connection: asyncpg.Connection[Any]) -> list[CheckpointPosition]:
    """Of every follower in every stream, by name."""
    return [CheckpointPosition(*row) for row in await connection.fetch(_FOLLOWERS)]


async def position_and_time(connection: asyncpg.Connection[Any], follower: str, stream: str) -> tuple[int, datetime]:
    """The last position that a follower has processed, 0 before the first, and what the database's clock shows."""
    [[position, now]] = await connection.fetch(_POSITION, follower, stream)
    return position, now


async def furthest(connection: asyncpg.Connection[Any], stream: str) -> int:
    """The last position of a stream that any follower has processed."""
    return int(await connection.fetchval(_FURTHEST, stream))


async def set_back(connection: asyncpg.Connection[Any], stream: str, position: int) -> list[str]:
    """Have whoever followed a stream beyond a position go on from there; the followers concerned."""
    return [row["follower"] for row in await connection.fetch(_SET_BACK, stream, position)]


async def refusals(connection: asyncpg.Connection[Any]) -> dict[str, int]:
    """How many commands of a reaction the domain has refused, by follower."""
    return dict(await connection.fetch(_REFUSED))


async def set_aside(connection: asyncpg.Connection[Any]) -> list[SetAside]:
    """What is in quarantine, by follower and stream."""
    return [SetAside(*row) for row in await connection.fetch(_SET_ASIDE)]


async def aggregates_aside(connection: asyncpg.Connection[Any]) -> list[AggregateAside]:
    """What is in quarantine, by follower, stream and aggregate."""
    return [AggregateAside(*row) for row in await connection.fetch(_AGGREGATES)]


async def events_aside(connection: asyncpg.Connection[Any], aggregate: str) -> list[EventAside]:
    """What is in quarantine of an aggregate, in order."""
    return [EventAside(*row) for row in await connection.fetch(_EVENTS, aggregate)]
